//! Rules that go by tables: who is in, who is not, and what is counted.

use std::collections::HashSet;

use pf::kpi::{Direction, Errno};
use pf_abi::*;

use crate::common::packets::*;
use crate::common::rules::*;
use crate::common::{Machine, tables};
use crate::gate::{Gate, dropped};

/// `from <name>` or `from ! <name>`
fn from(rule: Rule, name: &str) -> Rule {
    rule.change(|rule| end(&mut rule.src, name))
}

fn to(rule: Rule, name: &str) -> Rule {
    rule.change(|rule| end(&mut rule.dst, name))
}

fn end(end: &mut RuleAddr, name: &str) {
    let (name, negated) = match name.strip_prefix("! ") {
        Some(name) => (name, 1),
        None => (name, 0),
    };
    end.neg = negated;
    end.addr.kind = PF_ADDR_TABLE;
    end.addr.set_tblname(TableName::new(name).unwrap());
}

fn running(rules: &[Rule]) -> Machine {
    let machine = Machine::new();
    load(&machine, rules);
    machine.command(DIOCSTART).unwrap();
    machine
}

fn load(machine: &Machine, rules: &[Rule]) {
    let rules: Vec<Loaded> = rules.iter().map(|rule| (rule.clone(), vec![])).collect();
    machine.load(RulesetKind::Filter, &rules).unwrap();
}

/// Whether a datagram from this source comes in.
fn passes(machine: &Machine, src: &str) -> bool {
    let dst = if src.contains(':') {
        "2001:db8::7"
    } else {
        "198.51.100.7"
    };
    let packet = ip(src, dst).udp(1025, 53, b"question");
    machine.send(1, Direction::In, &packet).is_some()
}

#[test]
fn a_table_blocks_who_is_in_it() {
    let machine = running(&[from(block(), "bad")]);
    assert!(passes(&machine, "10.1.2.3"), "it is not defined yet");
    machine.make_table(
        "bad",
        &["10.0.0.0/8", "! 10.1.0.0/16", "10.1.2.0/24", "2001:db8:1::/48"],
    );
    for (src, is_bad) in [
        ("10.2.2.3", true),
        ("10.1.1.1", false),
        ("10.1.2.3", true),
        ("192.0.2.1", false),
        ("2001:db8:1::5", true),
        ("2001:db8:2::5", false),
    ] {
        assert_eq!(passes(&machine, src), !is_bad, "{src}");
    }
    // It changes while the rule stays.
    let mut gone = tables::addrs(&["10.0.0.0/8"]);
    machine.addresses_call(DIOCRDELADDRS, "bad", 0, &mut gone).unwrap();
    assert!(passes(&machine, "10.2.2.3"));
}

#[test]
fn everybody_but_who_is_in_a_table() {
    let machine = running(&[from(block(), "! good")]);
    assert!(
        !passes(&machine, "10.0.0.1"),
        "nobody is in a table that is not defined"
    );
    machine.make_table("good", &["10.0.0.0/24", "! 10.0.0.9"]);
    assert!(passes(&machine, "10.0.0.1"));
    assert!(!passes(&machine, "10.0.0.9"));
    assert!(!passes(&machine, "192.0.2.1"));
}

#[test]
fn the_families_are_apart() {
    let machine = running(&[from(block(), "bad")]);
    machine.make_table("bad", &["::/0"]);
    assert!(passes(&machine, "10.0.0.1"));
    assert!(!passes(&machine, "2001:db8::1"));
    machine.make_table("bad", &["0.0.0.0/0"]);
    assert!(!passes(&machine, "10.0.0.1"));
}

#[test]
fn packets_are_counted_at_the_table_and_its_entry() {
    let machine = running(&[from(block(), "bad"), from(pass(), "good")]);
    machine.make_table("bad", &["10.0.0.0/8", "! 10.1.0.0/16", "192.0.2.1"]);
    machine.make_table("good", &["172.16.0.1"]);
    for src in ["10.0.0.1", "10.0.0.2", "10.1.0.1", "172.16.0.1", "192.0.2.1"] {
        passes(&machine, src);
    }
    let len = ip("10.0.0.1", "198.51.100.7").udp(1025, 53, b"question").len() as u64;
    let bad = machine.table_stats("bad");
    assert_eq!((bad.matched, bad.nomatch, bad.cnt), (3, 2, 3));
    assert_eq!(bad.packets[PFR_DIR_IN], [3, 0, 0]);
    assert_eq!(bad.bytes[PFR_DIR_IN], [3 * len, 0, 0]);
    assert_eq!(bad.packets[PFR_DIR_OUT], [0; 3]);
    let counted: Vec<_> = machine
        .address_stats("bad")
        .iter()
        .map(|it| (tables::text(&it.a), it.packets[PFR_DIR_IN], it.bytes[PFR_DIR_IN]))
        .collect();
    assert_eq!(
        counted,
        [
            ("10.0.0.0/8".to_owned(), [2, 0], [2 * len, 0]),
            ("! 10.1.0.0/16".to_owned(), [0, 0], [0, 0]),
            ("192.0.2.1".to_owned(), [1, 0], [len, 0]),
        ]
    );
    let good = machine.table_stats("good");
    assert_eq!((good.matched, good.packets[PFR_DIR_IN]), (1, [0, 1, 0]));
    assert_eq!(machine.address_stats("good")[0].packets[PFR_DIR_IN], [0, 1]);
    // Cleared, the addresses too.
    let arg = IocTable {
        flags: PFR_FLAG_ADDRSTOO,
        ..IocTable::default()
    };
    machine
        .table_call(true, DIOCRCLRTSTATS, arg, &mut [tables::table("bad")])
        .unwrap();
    let bad = machine.table_stats("bad");
    assert_eq!((bad.matched, bad.packets), (0, [[0; 3]; 2]));
    assert_eq!(machine.address_stats("bad")[0].packets, [[0; 2]; 2]);
}

#[test]
fn packets_of_a_state_are_counted_by_the_address_that_made_it() {
    let machine = running(&[to(pass(), "servers").keep_state()]);
    machine.make_table("servers", &["198.51.100.0/24"]);
    let there = ip("10.0.0.1", "198.51.100.7").udp(1025, 53, b"question");
    let back = ip("198.51.100.7", "10.0.0.1").udp(53, 1025, b"answer");
    machine.send(1, Direction::Out, &there).unwrap();
    machine.send(1, Direction::In, &back).unwrap();
    machine.send(1, Direction::Out, &there).unwrap();
    let stats = machine.address_stats("servers");
    assert_eq!(stats[0].packets, [[0, 1], [0, 2]]);
    assert_eq!(stats[0].bytes[PFR_DIR_IN], [0, back.len() as u64]);
    assert_eq!(
        machine.table_stats("servers").matched,
        1,
        "looked up for the first alone"
    );
    // It passes on though the table no longer has it.
    let mut gone = tables::addrs(&["198.51.100.0/24"]);
    machine.addresses_call(DIOCRDELADDRS, "servers", 0, &mut gone).unwrap();
    machine.send(1, Direction::In, &back).unwrap();
    assert_eq!(machine.table_stats("servers").packets[PFR_DIR_IN], [0, 1, 1]);
}

#[test]
fn a_translation_goes_by_a_table() {
    let machine = running(&[]);
    machine.make_table("inside", &["10.0.0.0/24"]);
    let (rule, pool) = nat("192.0.2.1").af(AF_INET);
    machine.load(RulesetKind::Nat, &[(from(rule, "inside"), pool)]).unwrap();
    let out = |src: &str| {
        let packet = ip(src, "198.51.100.7").udp(1025, 53, b"question");
        addresses(&machine.send(1, Direction::Out, &packet).unwrap()).0
    };
    assert_eq!(out("10.0.0.1").to_string(), "192.0.2.1");
    assert_eq!(out("10.0.1.1").to_string(), "10.0.1.1");
    assert_eq!(machine.address_stats("inside")[0].packets[PFR_DIR_OUT], [0, 1]);
}

#[test]
fn a_table_stays_as_long_as_a_state_of_its_rule() {
    let machine = running(&[from(pass(), "good").keep_state()]);
    assert_eq!(machine.tables().len(), 1);
    machine.make_table("good", &["10.0.0.1"]);
    assert!(passes(&machine, "10.0.0.1"));
    load(&machine, &[]);
    assert_eq!(machine.tables()[0].1 & PFR_TFLAG_REFERENCED, PFR_TFLAG_REFERENCED);
    machine
        .table_call(true, DIOCRDELTABLES, IocTable::default(), &mut [tables::table("good")])
        .unwrap();
    assert_eq!(machine.tables().len(), 1);
    machine.ioctl(DIOCCLRSTATES, &mut IocStateKill::default()).unwrap();
    assert_eq!(machine.tables(), []);
}

#[test]
fn who_connects_too_often_comes_into_a_table() {
    let limited = pass().inward().keep_state().tracking(true).change(|rule| {
        rule.max_src_conn = 1;
        rule.overload_tblname = TableName::new("bad").unwrap();
    });
    let gate = Gate::new(&[limited, from(block(), "bad").inward().quick()]);
    let open = |host: &str, port: u16| {
        let ip = ip(host, "192.0.2.1");
        gate.receive(&ip.tcp(&segment(port, 80, SYN, 1000, 0)))?;
        gate.send(&ip.back().tcp(&segment(80, port, SYN | ACK, 9000, 1001)))?;
        gate.receive(&ip.tcp(&segment(port, 80, ACK, 1001, 9001))).map(drop)
    };
    assert_eq!(
        gate.machine().tables().len(),
        1,
        "it is there without having been defined"
    );
    assert_eq!(open("10.0.0.1", 1025), Ok(()));
    assert_eq!(open("10.0.0.1", 1026), Err(Some(Reason::SrcLimit)));
    assert_eq!(gate.machine().status().lcounters[LCNT_OVERLOAD_TABLE], 1);
    gate.each(|machine| machine.pf.catch_up());
    assert_eq!(gate.machine().table_addresses("bad").unwrap(), ["10.0.0.1"]);
    assert_eq!(open("10.0.0.1", 1027), Err(None), "it is blocked from now on");
    assert_eq!(open("10.0.0.2", 1027), Ok(()));
    // The table goes with the rules that speak of it.
    gate.each(|machine| load(machine, &[]));
    gate.each(|machine| machine.ioctl(DIOCCLRSTATES, &mut IocStateKill::default()).unwrap());
    gate.tick(200);
    assert_eq!(gate.machine().tables(), []);
}

/// `-> <name>`
fn into(mut translation: Loaded, name: &str) -> Loaded {
    let mut table = RuleAddr::default();
    end(&mut table, name);
    translation.1[0].addr = table.addr;
    translation.change(|rule| rule.rpool.opts = PF_POOL_ROUNDROBIN)
}

#[test]
fn servers_of_a_table_take_turns() {
    let machine = running(&[pass()]);
    let rule = into(rdr("10.0.0.1").af(AF_INET), "servers");
    machine.load(RulesetKind::Rdr, &[rule]).unwrap();
    let mut port = 1024;
    let mut server = || {
        port += 1;
        let packet = ip("198.51.100.7", "192.0.2.1").udp(port, 53, b"question");
        let passed = machine.send(1, Direction::In, &packet)?;
        Some(addresses(&passed).1.to_string())
    };
    assert_eq!(server(), None, "there is none");
    machine.make_table("servers", &["10.0.0.1", "10.0.0.2", "! 10.0.0.3", "2001:db8::1"]);
    let given: HashSet<_> = (0..8).map(|_| server().unwrap()).collect();
    assert_eq!(given, ["10.0.0.1", "10.0.0.2"].map(str::to_owned).into());
    // One that comes is given out, and one that has gone is not.
    machine.add_addresses("servers", &["10.0.0.4"]).unwrap();
    let mut gone = tables::addrs(&["10.0.0.1"]);
    machine.addresses_call(DIOCRDELADDRS, "servers", 0, &mut gone).unwrap();
    assert_eq!(machine.addresses(Action::Rdr, 0)[0].addr.p, 4, "as many addresses");
    let given: HashSet<_> = (0..8).map(|_| server().unwrap()).collect();
    assert_eq!(given, ["10.0.0.2", "10.0.0.4"].map(str::to_owned).into());
}

#[test]
fn networks_of_a_table_give_all_their_addresses_but_those_that_are_negated() {
    let machine = running(&[]);
    machine.make_table("outside", &["192.0.2.0/29", "! 192.0.2.4/30", "203.0.113.1"]);
    let rule = into(nat("192.0.2.1").af(AF_INET), "outside");
    machine.load(RulesetKind::Nat, &[rule]).unwrap();
    let given: HashSet<_> = (0..60)
        .map(|n| {
            let packet = ip("10.0.0.1", "198.51.100.7").udp(1025 + n, 53, b"question");
            addresses(&machine.send(1, Direction::Out, &packet).unwrap())
                .0
                .to_string()
        })
        .collect();
    let expected = ["192.0.2.0", "192.0.2.1", "192.0.2.2", "192.0.2.3", "203.0.113.1"];
    assert_eq!(given, expected.map(str::to_owned).into());
}

#[test]
fn without_a_gateway_in_its_table_a_way_leads_nowhere() {
    let there = ip("10.0.0.1", "198.51.100.7").udp(1025, 53, b"question");
    let gate = |kind, rule: Rule| {
        let gate = Gate::new(&[]);
        let way = into(routed(rule.inward().on("em1").af(AF_INET), kind, &["em2"]), "gateways");
        gate.each(|machine| {
            machine.pf.attach_interface(4, b"em2").unwrap();
            machine.load(RulesetKind::Filter, std::slice::from_ref(&way)).unwrap();
        });
        gate
    };
    for (kind, rule) in [
        (Route::To, pass().keep_state()),
        (Route::To, pass()),
        (Route::ReplyTo, pass().keep_state()),
    ] {
        let gate = gate(kind, rule);
        for none in [&[][..], &["! 192.0.2.253"]] {
            gate.each(|machine| machine.make_table("gateways", none));
            assert_eq!(gate.receive_inside(&there), dropped(Reason::StateInsert));
            assert_eq!(gate.states(), 0);
        }
        // The next packet goes where there is one by then.
        gate.each(|machine| machine.make_table("gateways", &["192.0.2.254"]));
        if kind == Route::To {
            assert_eq!(gate.receive_inside(&there), Err(None));
        } else {
            assert!(gate.receive_inside(&there).is_ok());
            let back = ip("198.51.100.7", "10.0.0.1").udp(53, 1025, b"answer");
            assert_eq!(gate.send_inside(&back), Err(None));
        }
        assert_eq!(gate.routed()[0].1, "192.0.2.254");
    }
    // A state that comes back finds no way either, and would be left to the routing table.
    let old = gate(Route::To, pass().keep_state());
    old.each(|machine| machine.make_table("gateways", &["192.0.2.254"]));
    assert_eq!(old.receive_inside(&there), Err(None));
    let new = gate(Route::To, pass().keep_state());
    new.each(|machine| {
        machine.make_table("gateways", &[]);
        let state = old.machine().dump()[0];
        assert_eq!(machine.add_state(&state), Err(Errno::Eopnotsupp));
    });
    // What is to be copied passes without a copy.
    let gate = gate(Route::DupTo, pass().keep_state());
    assert_eq!(gate.receive_inside(&there), Ok(there));
    assert_eq!((gate.routed(), gate.states()), (vec![], 1));
}

#[test]
fn a_pool_of_a_table_is_taken_in_turn() {
    let machine = running(&[]);
    for opts in [PF_POOL_NONE, PF_POOL_BITMASK, PF_POOL_SRCHASH] {
        let rule = into(rdr("10.0.0.1").af(AF_INET), "servers").change(|rule| rule.rpool.opts = opts);
        assert_eq!(machine.load(RulesetKind::Rdr, &[rule]), Err(Errno::Einval));
    }
    let without_family = into(rdr("10.0.0.1"), "servers").change(|rule| rule.af = AF_UNSPEC);
    assert_eq!(machine.load(RulesetKind::Rdr, &[without_family]), Err(Errno::Einval));
    assert_eq!(machine.tables(), [], "what was refused leaves no table");
}
