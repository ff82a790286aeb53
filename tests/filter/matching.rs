//! Criteria beside addresses and ports: tags, users, routes, systems, type of service, chance, the interface of a state.

use std::sync::Arc;

use pf::kpi::{Direction, Kernel, Mbuf, SocketEnds, SocketOwner, SoftNet};
use pf::{Pf, Verdict};
use pf_abi::*;

use crate::common::packets::*;
use crate::common::rules::*;
use crate::common::{Machine, Transaction};
use crate::gate::{BLOCKED, Gate};

use RulesetKind::Filter;

fn udp(port: u16) -> Vec<u8> {
    ip("198.51.100.7", "192.0.2.1").udp(1025, port, b"question")
}

fn loaded(kernel: Kernel, rules: &[Rule]) -> Machine {
    let machine = Machine::of(kernel);
    let rules: Vec<Loaded> = rules.iter().map(|rule| (rule.clone(), vec![])).collect();
    machine.load(Filter, &rules).unwrap();
    machine.command(DIOCSTART).unwrap();
    machine
}

fn passes(machine: &Machine, packet: &[u8]) -> bool {
    machine.send(1, Direction::In, packet).is_some()
}

/// Lets a packet cross two interfaces, in at the first and out at the second, as a router does: the same packet.
fn forward(pf: &Pf, packet: &[u8]) -> bool {
    let level = SoftNet::raise();
    match pf.hook(&level, Direction::In, 1, Mbuf::from_bytes(packet)) {
        Verdict::Pass(packet) => matches!(pf.hook(&level, Direction::Out, 2, packet), Verdict::Pass(_)),
        Verdict::Drop | Verdict::Kept | Verdict::Routed => false,
    }
}

#[test]
fn a_tag_goes_from_one_interface_to_the_next() {
    let rules = [
        pass().inward().proto(UDP).port(53).tag("dns"),
        block().outward(),
        pass().outward().tagged("dns"),
    ];
    let machine = loaded(Kernel::seeded(1), &rules);
    assert!(forward(&machine.pf, &udp(53)));
    assert!(!forward(&machine.pf, &udp(54)));
}

#[test]
fn a_tag_sticks_though_another_rule_decides() {
    let rules = [
        pass().tag("first"),
        pass().proto(UDP).port(53).tag("second"),
        pass().proto(UDP).port(54),
        block().outward(),
        pass().outward().tagged("second").proto(UDP).port(53),
        pass().outward().tagged("first").proto(UDP).port(54),
    ];
    let machine = loaded(Kernel::seeded(1), &rules);
    assert!(forward(&machine.pf, &udp(53)) && forward(&machine.pf, &udp(54)));
    assert!(!forward(&machine.pf, &udp(55)));
}

#[test]
fn not_tagged_is_any_other_tag_and_none() {
    let rules = [
        pass().inward().proto(UDP).port(53).tag("dns"),
        block().outward().tagged("! dns"),
    ];
    let machine = loaded(Kernel::seeded(1), &rules);
    assert!(forward(&machine.pf, &udp(53)));
    assert!(!forward(&machine.pf, &udp(54)));
}

#[test]
fn packets_of_a_state_keep_its_tag() {
    let rules = [
        pass().inward().tag("known").keep_state(),
        block().outward(),
        pass().outward().tagged("known"),
    ];
    let machine = loaded(Kernel::seeded(1), &rules);
    assert!(forward(&machine.pf, &udp(53)));
    assert_eq!(machine.pf.states().len(), 1);
    assert!(forward(&machine.pf, &udp(53)), "by the state, and tagged");
}

/// Root has port 22, user 1000 of group 100 has everything else of TCP, and of UDP there is port 53 alone, which is user 77's.
fn sockets(ends: &SocketEnds) -> Option<SocketOwner> {
    let owner = |uid, gid| Some(SocketOwner { uid, gid });
    match (ends.is_tcp, ends.local.1) {
        (true, 22) => owner(0, 0),
        (true, _) => owner(1000, 100),
        (false, 53) => owner(77, 7),
        _ => None,
    }
}

fn owned(op: PortOp, id: [u32; 2]) -> RuleId {
    RuleId {
        id,
        op: op.into(),
        ..RuleId::default()
    }
}

#[test]
fn a_socket_has_a_user_and_a_group() {
    let about = |change: fn(&mut Rule), packet: &[u8]| {
        let kernel = Kernel::seeded(1).with_sockets(Box::new(sockets));
        !passes(&loaded(kernel, &[block().change(change)]), packet)
    };
    let tcp = |port| ip("198.51.100.7", "192.0.2.1").tcp(&segment(1025, port, SYN, 0, 0));
    let root = |rule: &mut Rule| rule.uid = owned(PortOp::Equal, [0, 0]);
    assert!(about(root, &tcp(22)) && !about(root, &tcp(80)));
    let people = |rule: &mut Rule| rule.uid = owned(PortOp::Range, [1000, 60_000]);
    assert!(about(people, &tcp(80)) && !about(people, &tcp(22)));
    let staff = |rule: &mut Rule| rule.gid = owned(PortOp::Less, [50, 0]);
    assert!(about(staff, &tcp(22)) && !about(staff, &tcp(80)) && about(staff, &udp(53)));
    let nobody = |rule: &mut Rule| rule.uid = owned(PortOp::Equal, [u32::MAX, 0]);
    assert!(about(nobody, &udp(9)) && !about(nobody, &udp(53)));
    assert!(!about(staff, &udp(9)), "no socket, no group");
    assert!(about(nobody, &ip("198.51.100.7", "192.0.2.1").ping(1)));
}

#[test]
fn a_socket_is_looked_for_by_its_own_end() {
    let asked = Arc::new(std::sync::Mutex::new(vec![]));
    let seen = asked.clone();
    let kernel = Kernel::seeded(1).with_sockets(Box::new(move |ends| {
        seen.lock().unwrap().push(*ends);
        None
    }));
    let rule = block().change(|rule| rule.uid = owned(PortOp::Equal, [0, 0]));
    let machine = loaded(kernel, &[rule]);
    let packet = ip("198.51.100.7", "192.0.2.1").udp(1025, 53, b"");
    machine.send(1, Direction::In, &packet);
    machine.send(1, Direction::Out, &packet);
    let octets = |text: &str| {
        let mut octets = [0; 16];
        octets[..4].copy_from_slice(&text.parse::<std::net::Ipv4Addr>().unwrap().octets());
        octets
    };
    let (far, near) = ((octets("198.51.100.7"), 1025), (octets("192.0.2.1"), 53));
    let asked = asked.lock().unwrap();
    assert_eq!(asked.len(), 2);
    assert_eq!((asked[0].local, asked[0].remote), (near, far), "in: it is for us");
    assert_eq!((asked[1].local, asked[1].remote), (far, near), "out: it is from us");
    assert!(!asked[0].is_tcp && !asked[0].is_ipv6);
}

/// 10/8 is by em1 (index 2), everything else of IPv4 by em0, and of IPv6 there is nothing.
fn routes(is_ipv6: bool, to: &[u8; 16]) -> Option<u16> {
    match (is_ipv6, to[0]) {
        (true, _) => None,
        (false, 10) => Some(2),
        (false, _) => Some(1),
    }
}

fn special(kind: u8) -> impl Fn(&mut Rule) {
    move |rule| rule.src.addr.kind = kind
}

#[test]
fn a_source_without_a_route_and_one_with_another() {
    let about = |kind, negated: bool, src: &str| {
        let rule = block()
            .change(special(kind))
            .change(|rule| rule.src.neg = negated.into());
        let machine = loaded(Kernel::seeded(1).with_routes(Box::new(routes)), &[rule]);
        let dst = if src.contains(':') { "2001:db8::1" } else { "192.0.2.1" };
        !passes(&machine, &ip(src, dst).ping(1))
    };
    assert!(about(PF_ADDR_NOROUTE, false, "2001:db8:7::7"));
    assert!(!about(PF_ADDR_NOROUTE, false, "10.0.0.1"));
    assert!(about(PF_ADDR_NOROUTE, true, "10.0.0.1"));
    // It comes in at em0.
    assert!(about(PF_ADDR_URPFFAILED, false, "10.0.0.1"), "which is em1's");
    assert!(!about(PF_ADDR_URPFFAILED, false, "198.51.100.7"));
    assert!(about(PF_ADDR_URPFFAILED, false, "2001:db8:7::7"));
}

/// The routing table has such an address only together with a link. Without neighbour discovery, which speaks from it, nothing goes.
#[test]
fn an_address_of_every_link_is_reached_by_the_packet_s() {
    let blocks = |kind: u8, is_destination: bool, src: &str, dst: &str| {
        let rule = block().change(|rule| {
            let end = if is_destination { &mut rule.dst } else { &mut rule.src };
            end.addr.kind = kind;
        });
        let machine = loaded(Kernel::seeded(1).with_routes(Box::new(routes)), &[rule]);
        !passes(&machine, &ip(src, dst).ping(1))
    };
    for src in ["fe80::1", "febf::1"] {
        assert!(!blocks(PF_ADDR_NOROUTE, false, src, "ff02::1:ff00:1"));
        assert!(!blocks(PF_ADDR_URPFFAILED, false, src, "ff02::1:ff00:1"));
        assert!(!blocks(PF_ADDR_NOROUTE, true, src, "ff02::1:ff00:1"));
        assert!(!blocks(PF_ADDR_NOROUTE, true, src, "fe80::2"));
    }
    assert!(blocks(PF_ADDR_URPFFAILED, false, "fec0::1", "ff02::1"));
    assert!(
        blocks(PF_ADDR_NOROUTE, true, "fe80::1", "ff05::1"),
        "a site has many links"
    );
}

#[test]
fn another_routing_table_is_refused() {
    let rule = |rtableid| (pass().change(|rule| rule.rtableid = rtableid), vec![]);
    for (rtableid, outcome) in [(-1, Ok(())), (0, Ok(())), (1, Err(pf::kpi::Errno::Eopnotsupp))] {
        assert_eq!(Machine::new().load(Filter, &[rule(rtableid)]), outcome);
    }
}

#[test]
fn a_label_of_a_route_is_refused() {
    let machine = Machine::new();
    let rule = block().change(special(PF_ADDR_RTLABEL));
    assert_eq!(machine.load(Filter, &[(rule, vec![])]), Err(pf::kpi::Errno::Eopnotsupp));
}

#[test]
fn the_type_of_service_is_compared_whole() {
    let gate = Gate::new(&[block().change(|rule| rule.tos = 0x10)]);
    let with_tos = |tos: u8| {
        let mut packet = udp(53);
        packet[1] = tos;
        packet[10..12].fill(0);
        let sum = checksum(&[&packet[..20]]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet
    };
    assert_eq!(gate.receive(&with_tos(0x10)), BLOCKED);
    for tos in [0, 0x08, 0x18] {
        assert_eq!(gate.receive(&with_tos(tos)), Ok(with_tos(tos)));
    }
    let mut v6 = ip("2001:db8:7::7", "2001:db8::1").ping(1);
    assert_eq!(gate.receive(&v6), Ok(v6.clone()));
    (v6[0], v6[1]) = (0x61, 0);
    assert_eq!(gate.receive(&v6), BLOCKED, "the traffic class");
}

#[test]
fn chance_decides_as_often_as_it_is_told() {
    let machine = loaded(Kernel::seeded(7), &[block().change(|rule| rule.prob = u32::MAX / 4)]);
    let blocked = (0..1000).filter(|_| !passes(&machine, &udp(53))).count();
    assert!((180..320).contains(&blocked), "a quarter of 1000: {blocked}");
}

/// A SYN as an old Linux sends it.
fn linux_syn() -> Vec<u8> {
    let mut syn = segment(1025, 80, SYN, 0, 0);
    syn.window = 5840;
    syn.options = vec![2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];
    ip("198.51.100.7", "192.0.2.1").tcp(&syn)
}

/// `S4:64:0:60:M*,S,T,N,W7:Linux:2.6::`, but for the don't-fragment bit.
fn linux() -> OsfpIoctl {
    let options = [
        PF_OSFP_TCPOPT_MSS,
        PF_OSFP_TCPOPT_SACK,
        PF_OSFP_TCPOPT_TS,
        PF_OSFP_TCPOPT_NOP,
        PF_OSFP_TCPOPT_WSCALE,
    ];
    let mut print = OsfpIoctl {
        tcpopts: options.into_iter().fold(0, |all, it| all << 3 | it),
        optcnt: 5,
        wsize: 4,
        psize: 60,
        ttl: 64,
        wscale: 7,
        flags: PF_OSFP_WSIZE_MSS | PF_OSFP_MSS_DC | PF_OSFP_MSS | PF_OSFP_WSCALE,
        ..OsfpIoctl::default()
    };
    print.os.os = osfp_number(3, 5, 0);
    print.os.class_nm = CName::new("Linux").unwrap();
    print.os.version_nm = CName::new("2.6").unwrap();
    print
}

#[test]
fn a_syn_shows_its_system() {
    let about = |os: u32, packet: &[u8]| {
        let machine = Machine::of(Kernel::seeded(1));
        machine.ioctl(DIOCOSFPADD, &mut linux()).unwrap();
        let rule = block().proto(TCP).change(|rule| rule.os_fingerprint = os);
        machine.load(Filter, &[(rule, vec![])]).unwrap();
        machine.command(DIOCSTART).unwrap();
        !passes(&machine, packet)
    };
    let syn = linux_syn();
    assert!(about(osfp_number(3, 0, 0), &syn) && about(osfp_number(3, 5, 0), &syn));
    assert!(!about(osfp_number(4, 0, 0), &syn) && !about(PF_OSFP_UNKNOWN, &syn));
    let plain = ip("198.51.100.7", "192.0.2.1").tcp(&segment(1025, 80, SYN, 0, 0));
    assert!(!about(osfp_number(3, 0, 0), &plain) && about(PF_OSFP_UNKNOWN, &plain));
    assert!(!about(osfp_number(3, 0, 0), &udp(53)) && !about(PF_OSFP_UNKNOWN, &udp(53)));
}

#[test]
fn fingerprints_are_added_told_and_flushed() {
    let machine = Machine::of(Kernel::seeded(1));
    machine.ioctl(DIOCOSFPADD, &mut linux()).unwrap();
    assert_eq!(machine.ioctl(DIOCOSFPADD, &mut linux()), Err(pf::kpi::Errno::Eexist));
    let mut told = OsfpIoctl::default();
    machine.read_ioctl(DIOCOSFPGET, &mut told).unwrap();
    assert_eq!(told, linux());
    told.getnum = 1;
    assert_eq!(machine.read_ioctl(DIOCOSFPGET, &mut told), Err(pf::kpi::Errno::Ebusy));
    told.getnum = -1;
    assert_eq!(machine.read_ioctl(DIOCOSFPGET, &mut told), Err(pf::kpi::Errno::Ebusy));
    machine.command(DIOCOSFPFLUSH).unwrap();
    told.getnum = 0;
    assert_eq!(machine.read_ioctl(DIOCOSFPGET, &mut told), Err(pf::kpi::Errno::Ebusy));
}

#[test]
fn packets_see_fingerprints_that_are_left_alone() {
    let machine = Machine::of(Kernel::seeded(1));
    let rule = block()
        .proto(TCP)
        .change(|rule| rule.os_fingerprint = osfp_number(3, 0, 0));
    machine.load(Filter, &[(rule, vec![])]).unwrap();
    machine.command(DIOCSTART).unwrap();
    let is_seen = || !passes(&machine, &linux_syn());
    let wait = |seconds| {
        machine.advance(seconds);
        machine.pf.purge();
    };
    machine.ioctl(DIOCOSFPADD, &mut linux()).unwrap();
    wait(1);
    assert!(!is_seen(), "more may come");
    wait(1);
    assert!(is_seen());
    // Whoever loads rules right behind puts them in place with these.
    machine.command(DIOCOSFPFLUSH).unwrap();
    let mut transaction = Transaction::new(&[Filter]);
    transaction.call(&machine, DIOCXBEGIN).unwrap();
    wait(10);
    assert!(is_seen());
    transaction.call(&machine, DIOCXROLLBACK).unwrap();
    wait(1);
    assert!(!is_seen());
}

#[test]
fn a_bound_state_holds_on_its_interface_alone() {
    let bound = |rule: &mut Rule| rule.rule_flag |= PFRULE_IFBOUND;
    let rules = [block(), pass().on("em0").proto(UDP).port(53).keep_state()];
    let answer = ip("192.0.2.1", "198.51.100.7").udp(53, 1025, b"answer");
    let floating = Gate::new(&rules);
    floating.receive(&udp(53)).unwrap();
    assert_eq!(floating.state().ifname.as_str(), Some("all"));
    assert_eq!(floating.send_inside(&answer), Ok(answer.clone()), "on any interface");
    let [first, second] = rules;
    let gate = Gate::new(&[first, second.change(bound)]);
    gate.receive(&udp(53)).unwrap();
    assert_eq!(gate.state().ifname.as_str(), Some("em0"));
    assert_eq!(gate.send_inside(&answer), BLOCKED);
    assert_eq!(gate.send(&answer), Ok(answer.clone()));
    // An error about it as well.
    let error = ip("203.0.113.1", "192.0.2.1").error(&answer);
    assert_eq!(gate.receive_inside(&error), BLOCKED);
    assert_eq!(gate.receive(&error), Ok(error.clone()));
}
