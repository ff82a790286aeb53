//! What the packets of the fuzz target meet: a ruleset with a little of everything that is quick to reach, and one with all the rest.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use pf::kpi::host::Diversions;
use pf::kpi::{Kernel, Mbuf, Problem, SocketOwner};
use pf_abi::*;

use crate::common::Machine;
use crate::common::packets::{GRE, ICMP, ICMP6, SYN, TCP, UDP};
use crate::common::rules::*;

/// What pf sends itself, and lets come in again, until the machine's surroundings see to it.
#[derive(Clone, Default)]
pub(crate) struct Aside {
    /// What pf says itself.
    pub(crate) said: Arc<Mutex<Vec<Mbuf>>>,
    /// Where it comes in again, and what.
    pub(crate) returned: Arc<Mutex<Vec<(u16, Mbuf)>>>,
}

/// Where packets go past the routing table: one of the interfaces is narrow.
struct Ways;

impl Diversions for Ways {
    fn mtu(&self, ifindex: u16) -> Option<u16> {
        match ifindex {
            1 | 2 => Some(1500),
            4 => Some(96),
            _ => None,
        }
    }

    fn divert(&self, packet: Mbuf, ifindex: u16, _: IpAddr) {
        assert!(packet.len() <= usize::from(self.mtu(ifindex).unwrap()) || packet.to_bytes()[0] >> 4 == 4);
    }

    fn report(&self, packet: Mbuf, _: u16, _: Problem) {
        assert!(packet.len() <= 1 << 16);
    }
}

fn kernel(aside: &Aside) -> Kernel {
    let (said, returned) = (aside.said.clone(), aside.returned.clone());
    Kernel::seeded(1)
        .with_packet_log(Box::new(|_, header, packet| {
            assert_eq!(header.length, PFLOG_REAL_HDRLEN);
            assert!(packet.len() <= 1 << 16);
        }))
        .with_output(Box::new(move |packet| said.lock().unwrap().push(packet)))
        .with_input(Box::new(move |ifindex, packet| {
            assert!(packet.is_refragmented());
            returned.lock().unwrap().push((ifindex, packet));
        }))
        .with_diversions(Ways)
        .with_sockets(Box::new(|ends| {
            (ends.local.1 < 1024).then_some(SocketOwner { uid: 7, gid: 8 })
        }))
        .with_queues(&["std"])
}

fn load(machine: &Machine, kind: RulesetKind, rules: &[Loaded]) {
    machine.load(kind, rules).unwrap();
}

fn unpooled(rules: Vec<Rule>) -> Vec<Loaded> {
    rules.into_iter().map(|rule| (rule, vec![])).collect()
}

fn log(rule: Rule, log: u8, to: u8) -> Rule {
    rule.change(|rule| (rule.log, rule.logif) = (log, to))
}

/// States, blocking with answers, nat and rdr.
pub(crate) fn plain(aside: &Aside) -> Machine {
    let machine = Machine::of(kernel(aside));
    machine.set_limit(Limit::States, 64);
    let queue = |rule: Rule| rule.change(|rule| rule.qname = CName::new("std").unwrap());
    let filter = vec![
        log(pass().keep_state(), PF_LOG | PF_LOG_ALL, 3),
        block().proto(UDP).dst_port(PortOp::Range, [60, 70]).return_any(),
        block().proto(TCP).port(81).return_rst(9),
        log(block().fragment().inward(), PF_LOG, 0),
        queue(pass().inward().on("em0").keep_state().allow_opts()),
        pass().proto(ICMP).icmp(8, None),
        pass().af(AF_INET6).proto(ICMP6).keep_state().max(3),
        block().from("10.0.0.4").quick(),
        block().on("em1").return_icmp((3, 13), (1, 1)).proto(47),
        log(pass().proto(TCP).keep_state().timeout(Timeout::TcpFirst, 2), PF_LOG, 1),
    ];
    load(&machine, RulesetKind::Filter, &unpooled(filter));
    let nat = [
        no_nat().proto(47),
        nat("192.0.2.1").on("em0").from("10.0.0.0/8").ports(1024, 1027),
        nat("2001:db8::1").on("em0").from("fd00::/8"),
    ];
    load(&machine, RulesetKind::Nat, &nat);
    load(&machine, RulesetKind::Rdr, &two_servers());
    machine.command(DIOCSTART).unwrap();
    machine
}

/// `from <name>`
fn from_table(rule: Rule, name: &str) -> Rule {
    rule.change(|rule| {
        rule.src.addr.kind = PF_ADDR_TABLE;
        rule.src.addr.set_tblname(TableName::new(name).unwrap());
    })
}

/// `-> <name>`
fn into_table(mut rule: Loaded, name: &str) -> Loaded {
    rule.1[0].addr.kind = PF_ADDR_TABLE;
    rule.1[0].addr.set_tblname(TableName::new(name).unwrap());
    rule.change(|rule| rule.rpool.opts = PF_POOL_ROUNDROBIN)
}

/// Scrub, anchors, tables, pools, binat, other ways, synproxy, modulate, source tracking, tags, users, bound states.
pub(crate) fn rich(aside: &Aside) -> Machine {
    let machine = Machine::of(kernel(aside));
    machine.pf.attach_interface(4, b"em2").unwrap();
    machine.set_addresses(1, &["192.0.2.1/24", "192.0.2.2/24", "2001:db8::1/64"]);
    machine.set_limit(Limit::States, 64);
    machine.set_limit(Limit::SrcNodes, 16);
    machine.set_limit(Limit::Frags, 24);
    machine.make_table("bad", &["10.0.0.4"]);
    machine.make_table("servers", &["10.0.0.2/31", "! 10.0.0.3", "fd00::2", "10.0.0.80"]);
    scrubs(&machine);
    filters(&machine);
    anchors(&machine);
    translations(&machine);
    machine.command(DIOCSTART).unwrap();
    machine
}

fn scrubs(machine: &Machine) {
    let scrub = vec![
        no_scrub().proto(GRE).inward(),
        log(
            scrub().on("em1").inward().with(PFRULE_FRAGCROP | PFRULE_NODF),
            PF_LOG,
            1,
        ),
        scrub().on("em2").with(PFRULE_FRAGDROP),
        log(
            scrub()
                .proto(TCP)
                .with(PFRULE_REASSEMBLE_TCP | PFRULE_RANDOMID)
                .max_mss(1000)
                .min_ttl(30),
            PF_LOG,
            2,
        ),
        scrub().with(PFRULE_NODF),
    ];
    load(machine, RulesetKind::Scrub, &unpooled(scrub));
}

fn filters(machine: &Machine) {
    let overloading = pass()
        .proto(TCP)
        .port(80)
        .keep_state()
        .flags(SYN, SYN | 16)
        .tracking(true)
        .change(|rule| {
            (rule.max_src_conn, rule.max_src_states, rule.max_src_nodes) = (2, 5, 3);
            rule.max_src_conn_rate = ConnRate { limit: 3, seconds: 9 };
            rule.overload_tblname = TableName::new("bad").unwrap();
            rule.flush = PF_FLUSH | PF_FLUSH_GLOBAL;
        });
    let proxied = pass().proto(TCP).port(81).synproxy_state().max(4);
    let modulated = pass().proto(TCP).port(82).modulate_state();
    let plain = vec![
        pass().keep_state().allow_opts(),
        block().proto(UDP).port(65).return_any(),
        pass().inward().on("em0").tag("WAN").keep_state(),
        pass().outward().on("em1").tagged("WAN").keep_state(),
        modulated,
        overloading,
        proxied.clone(),
        pass()
            .proto(UDP)
            .port(1024)
            .keep_state()
            .tracking(false)
            .change(|rule| rule.max_src_states = 2),
        pass().proto(UDP).port(1025).keep_state().with(PFRULE_IFBOUND),
        block()
            .proto(UDP)
            .port(1026)
            .change(|rule| (rule.uid.id[0], rule.uid.op) = (7, PortOp::Equal.into())),
        pass().proto(ICMP).keep_state().change(|rule| rule.prob = u32::MAX / 2),
        log(from_table(block().quick(), "bad"), PF_LOG | PF_LOG_ALL, 0),
    ];
    let mut filter = unpooled(plain);
    let udp = |port| pass().inward().on("em1").proto(UDP).port(port).keep_state();
    let hops = ["em2 192.0.2.254", "em0 203.0.113.254"];
    filter.extend([
        routed(udp(53), Route::To, &hops)
            .choosing(PoolKind::RoundRobin)
            .sticky(),
        routed(udp(1027), Route::DupTo, &["em2 192.0.2.254"]),
        routed(
            pass().inward().on("em2").keep_state(),
            Route::ReplyTo,
            &["em2 192.0.2.254"],
        ),
        routed(proxied.inward().on("em1"), Route::To, &["em2 192.0.2.254"]),
        routed(pass().outward().on("em0").proto(GRE), Route::To, &["em2"]),
    ]);
    let mut calls: Vec<(Rule, &str)> = vec![(pass().proto(ICMP6), "six"), (pass().quick(), "w/*")];
    let mut transaction = machine.begin(&[RulesetKind::Filter]);
    let ticket = transaction.ticket(RulesetKind::Filter);
    for (rule, pool) in &filter {
        machine.add_rule(ticket, rule, pool).unwrap();
    }
    for (rule, call) in calls.drain(..) {
        machine.add_rule_to("", ticket, &rule, call).unwrap();
    }
    transaction.call(machine, DIOCXCOMMIT).unwrap();
}

fn anchors(machine: &Machine) {
    let inner = [
        (pass().keep_state().tag("SIX"), ""),
        (block().icmp(1, None), ""),
        (pass(), "/w/x"),
        (pass(), "deep"),
    ];
    machine.load_into("six", RulesetKind::Filter, &inner).unwrap();
    let deep = [(pass().tagged("SIX").keep_state().max(2), ""), (pass(), "/six")];
    machine.load_into("six/deep", RulesetKind::Filter, &deep).unwrap();
    let wild = [(block().from("198.51.100.8").proto(TCP).port(53).return_rst(0), "")];
    machine.load_into("w/x", RulesetKind::Filter, &wild).unwrap();
    let wild = [(pass().inward().proto(GRE).keep_state(), "")];
    machine.load_into("w/y", RulesetKind::Filter, &wild).unwrap();
}

fn translations(machine: &Machine) {
    let dynamic = |mut rule: Loaded| {
        rule.1[0].addr = dynamic_addr("em0");
        rule
    };
    let four = |rule: Loaded| rule.on("em0").from("10.0.0.0/8");
    let mut dynamic_v4 = dynamic(four(nat("192.0.2.1")).proto(UDP).port(53));
    dynamic_v4.0.af = AF_INET;
    let nats = [
        no_nat().proto(GRE),
        dynamic_v4,
        four(nat("192.0.2.8/30"))
            .proto(TCP)
            .choosing(PoolKind::RoundRobin)
            .sticky()
            .ports(1024, 1027),
        four(nat("192.0.2.16/28")).proto(UDP).choosing(PoolKind::Bitmask),
        four(nat("192.0.2.32/28")).proto(ICMP).choosing(PoolKind::SourceHash),
        nat("2001:db8:9::/64")
            .on("em0")
            .from("fd00::/8")
            .choosing(PoolKind::Random),
    ];
    load(machine, RulesetKind::Nat, &nats);
    let rdrs = [
        no_rdr().from("198.51.100.9"),
        into_table(
            rdr("10.0.0.2").on("em0").to("192.0.2.1").proto(UDP).af(AF_INET),
            "servers",
        ),
        rdr("10.0.0.1")
            .and(&["10.0.0.2", "10.0.0.3"])
            .on("em0")
            .to("192.0.2.1")
            .proto(TCP)
            .choosing(PoolKind::RoundRobin)
            .sticky(),
        rdr("fd00::3").on("em0").to("2001:db8::1").pass_on(),
    ];
    load(machine, RulesetKind::Rdr, &rdrs);
    let (call, _) = no_binat();
    let calls = [(call.change(|rule| rule.action = PF_BINAT), "b")];
    machine.load_into("", RulesetKind::Binat, &calls).unwrap();
    let binats = [
        no_binat().proto(ICMP),
        binat("10.0.0.3", "192.0.2.3").on("em0"),
        binat("fd00:0:0:1::/64", "2001:db8:1::/64"),
    ];
    machine.translate_in("b", RulesetKind::Binat, &binats);
}
