//! Anchors: which rules of which rulesets decide, and who counts.

use pf_abi::*;

use crate::common::packets::*;
use crate::common::rules::*;
use crate::gate::{BLOCKED, Gate};

use RulesetKind::{Filter, Nat, Rdr};

/// A ruleset's path and its filter rules, each with what it calls.
type Content<'a> = (&'a str, &'a [(Rule, &'a str)]);

fn gate(rulesets: &[Content<'_>]) -> Gate {
    let gate = Gate::new(&[]);
    for (path, rules) in rulesets {
        gate.each(|machine| machine.load_into(path, Filter, rules).unwrap());
    }
    gate
}

fn udp(port: u16) -> Vec<u8> {
    ip("198.51.100.7", "192.0.2.1").udp(1025, port, b"question")
}

fn passes(gate: &Gate, port: u16) -> bool {
    let fate = gate.receive(&udp(port));
    assert!(fate == BLOCKED || fate == Ok(udp(port)));
    fate.is_ok()
}

fn port(rule: Rule, port: u16) -> Rule {
    rule.proto(UDP).port(port)
}

#[test]
fn the_last_rule_decides_wherever_it_stands() {
    let main = [(block(), ""), (pass(), "a"), (port(block(), 3), "")];
    let a = [(port(pass(), 1), ""), (port(pass(), 3), "")];
    let gate = gate(&[("", &main), ("a", &a)]);
    assert_eq!([1, 2, 3].map(|port| passes(&gate, port)), [true, false, false]);
}

#[test]
fn quick_within_an_anchor_ends_it_all() {
    let main = [(pass(), "a"), (block(), "")];
    let a = [(port(pass().quick(), 1), ""), (pass(), "")];
    let gate = gate(&[("", &main), ("a", &a)]);
    assert_eq!([1, 2].map(|port| passes(&gate, port)), [true, false]);
}

#[test]
fn a_quick_anchor_ends_it_where_a_rule_of_it_matched() {
    let main = [(block(), ""), (pass().quick(), "a"), (block(), "")];
    let a = [(port(pass(), 1), ""), (pass(), "b")];
    let b = [(port(pass(), 2), "")];
    let gate = gate(&[("", &main), ("a", &a), ("a/b", &b)]);
    assert_eq!([1, 2, 3].map(|port| passes(&gate, port)), [true, true, false]);
}

#[test]
fn the_criteria_of_its_rule_guard_an_anchor() {
    let main = [(block(), ""), (pass().proto(UDP).on("em0").inward(), "a")];
    let gate = gate(&[("", &main), ("a", &[(pass(), "")])]);
    assert!(passes(&gate, 1));
    assert_eq!(gate.receive_inside(&udp(1)), BLOCKED);
    let tcp = ip("198.51.100.7", "192.0.2.1").tcp(&segment(1, 80, SYN, 0, 0));
    assert_eq!(gate.receive(&tcp), BLOCKED);
}

#[test]
fn a_wildcard_calls_every_child_by_name() {
    let main = [(block(), ""), (pass(), "a/*")];
    let gate = gate(&[
        ("", &main),
        ("a", &[(port(pass(), 9), "")]),
        ("a/y", &[(port(block(), 1), ""), (port(pass(), 2), "")]),
        ("a/x", &[(port(pass(), 1), ""), (port(pass(), 3), "")]),
        ("a/x/deeper", &[(port(pass(), 8), "")]),
    ]);
    // x comes before y.
    let fates = [1, 2, 3, 8, 9].map(|port| passes(&gate, port));
    assert_eq!(fates, [false, true, true, false, false]);
    // A child that comes later is called as well.
    gate.each(|machine| machine.load_into("a/z", Filter, &[(port(pass(), 1), "")]).unwrap());
    assert!(passes(&gate, 1));
    gate.each(|machine| machine.load_into("a/z", Filter, &[]).unwrap());
    assert!(!passes(&gate, 1));
    assert_eq!(gate.machine().anchors("a").unwrap(), ["x", "y"]);
}

#[test]
fn a_quick_wildcard_ends_it_after_all_its_children() {
    let main = [(pass().quick(), "a/*"), (block(), "")];
    let gate = gate(&[
        ("", &main),
        ("a/x", &[(port(block(), 1), "")]),
        ("a/y", &[(port(pass(), 1), "")]),
    ]);
    assert_eq!([1, 2].map(|port| passes(&gate, port)), [true, false]);
}

#[test]
fn an_anchor_without_rules_decides_nothing() {
    let gate = gate(&[("", &[(block(), ""), (pass(), "nothing"), (pass(), "none/*")])]);
    assert!(!passes(&gate, 1));
}

#[test]
fn anchors_that_call_each_other_come_to_an_end() {
    let loops = [(pass(), "/a"), (pass(), "/b"), (pass(), "/a"), (port(pass(), 1), "")];
    let gate = gate(&[("", &[(block(), ""), (pass(), "a")]), ("a", &loops), ("b", &loops)]);
    assert_eq!([1, 2].map(|port| passes(&gate, port)), [true, false]);
}

#[test]
fn anchors_may_stand_as_deep_as_their_paths_go() {
    let gate = gate(&[("", &[(block(), ""), (pass(), "d")])]);
    let mut path = "d".to_owned();
    for _ in 0..30 {
        gate.each(|machine| machine.load_into(&path, Filter, &[(pass(), "d")]).unwrap());
        path.push_str("/d");
    }
    gate.each(|machine| machine.load_into(&path, Filter, &[(port(pass(), 1), "")]).unwrap());
    assert_eq!([1, 2].map(|port| passes(&gate, port)), [true, false]);
}

#[test]
fn both_rules_count_the_packets_and_the_states() {
    let main = [(block(), ""), (pass().label("call"), "a")];
    let gate = gate(&[("", &main), ("a", &[(port(pass(), 1).keep_state(), "")])]);
    for _ in 0..3 {
        assert!(passes(&gate, 1));
    }
    let machine = gate.machine();
    let outer = &machine.rules_of("", Action::Pass).unwrap()[1].0;
    let inner = &machine.rules_of("a", Action::Pass).unwrap()[0].0;
    for rule in [outer, inner] {
        assert_eq!((rule.packets, rule.states), ([3, 0], 1));
    }
    assert_eq!((outer.evaluations, inner.evaluations), (1, 1));
    let state = gate.state();
    assert_eq!((state.rule, state.anchor), (0, 1));
}

#[test]
fn translations_stand_in_anchors_too() {
    let gate = Gate::new(&[]);
    gate.each(|machine| {
        let (call, _) = no_rdr();
        machine
            .load_into("", Rdr, &[(call.change(|rule| rule.action = PF_RDR), "web")])
            .unwrap();
        let (call, _) = no_nat();
        machine
            .load_into("", Nat, &[(call.change(|rule| rule.action = PF_NAT), "out/*")])
            .unwrap();
        machine.translate_in(
            "web",
            Rdr,
            &[no_rdr().from("198.51.100.9"), rdr("10.0.0.2").proto(TCP).port(80)],
        );
        machine.translate_in("out/a", Nat, &[nat("192.0.2.1").from("10.0.0.0/8")]);
    });
    let syn = segment(1025, 80, SYN, 0, 0);
    let seen = gate.receive(&ip("198.51.100.7", "192.0.2.1").tcp(&syn)).unwrap();
    assert_eq!(seen, ip("198.51.100.7", "10.0.0.2").tcp(&syn));
    let other = ip("198.51.100.9", "192.0.2.1").tcp(&syn);
    assert_eq!(gate.receive(&other), Ok(other.clone()));
    let sent = gate.send(&ip("10.0.0.7", "198.51.100.8").udp(53, 53, b"x")).unwrap();
    assert_eq!(sent[12..16], [192, 0, 2, 1]);
    // Without its ports a fragment may be one that is to be translated.
    let fragment = ip("198.51.100.7", "192.0.2.1")
        .with_fragment(1480, false)
        .packet(TCP, &[0; 40]);
    assert_eq!(gate.receive(&fragment), crate::gate::dropped(Reason::Fragment));
    let not = ip("198.51.100.9", "192.0.2.1")
        .with_fragment(1480, false)
        .packet(TCP, &[0; 40]);
    assert_eq!(gate.receive(&not), Ok(not.clone()));
}

#[test]
fn a_state_finds_its_rule_in_its_anchor_again() {
    let rulesets: [Content<'_>; 4] = [
        ("", &[(block(), ""), (pass(), "a"), (pass(), "w/*")]),
        ("a", &[(block(), ""), (port(pass(), 1).keep_state(), ""), (pass(), "b")]),
        ("a/b", &[(port(pass(), 2).keep_state(), "")]),
        ("w/x", &[(block().proto(TCP), ""), (port(pass(), 3).keep_state(), "")]),
    ];
    let old = gate(&rulesets);
    for port in [1, 2, 3] {
        assert!(passes(&old, port));
    }
    let states = old.machine().dump();
    let of = |port: u16| states.iter().find(|it| it.gwy.port.get() == port).unwrap();
    assert_eq!((of(1).rule, of(1).anchor), (1, 1), "as NetBSD's own pf tells it");
    assert_eq!((of(2).anchor, of(3).anchor), (1, 2));
    // Another machine loads them in another order.
    let new = gate(&[rulesets[3], rulesets[2], rulesets[1], rulesets[0]]);
    assert_eq!(new.machine().add_states(&states), Ok(3));
    let again = new.machine().dump();
    for port in [1, 2, 3] {
        let other = again.iter().find(|it| it.gwy.port.get() == port).unwrap();
        assert_eq!((other.rule, other.anchor), (of(port).rule, of(port).anchor), "{port}");
    }
    let states_of = |path: &str, nr: usize| new.machine().rules_of(path, Action::Pass).unwrap()[nr].0.states;
    assert_eq!([states_of("a", 1), states_of("a/b", 0), states_of("w/x", 1)], [1, 1, 1]);
    assert_eq!([states_of("", 1), states_of("", 2)], [2, 1]);
    // Where the anchor is not loaded there is no rule, and the state lives.
    let bare = gate(&[("", &[(block(), "")])]);
    assert_eq!(bare.machine().add_states(&states), Ok(3));
    assert!(
        bare.machine()
            .dump()
            .iter()
            .all(|it| (it.rule, it.anchor) == (NO_RULE, NO_RULE))
    );
}

#[test]
fn a_long_list_decides_as_a_short_one_does() {
    // Rules of every sort, so that each way of the index is gone; the last of them that matches decides.
    let mut rules = vec![block()];
    for n in 0..200u16 {
        rules.push(match n % 5 {
            0 => pass().proto(UDP).port(n),
            1 => pass().proto(UDP).from(&format!("10.0.{n}.0/24")),
            2 => block().proto(UDP).to(&format!("10.1.0.{n}")),
            3 => block().proto(UDP).src_port(PortOp::Range, [n, n + 3]),
            _ => pass().from(&format!("2001:db8:{n}::/48")),
        });
    }
    let long = Gate::new(&rules);
    let wanted = |src: [u8; 4], dst: [u8; 4], ports: (u16, u16)| {
        let mut fate = false;
        for n in 0..200u16 {
            match n % 5 {
                0 if ports.1 == n => fate = true,
                1 if src[..3] == [10, 0, n as u8] => fate = true,
                2 if dst == [10, 1, 0, n as u8] => fate = false,
                3 if (n..=n + 3).contains(&ports.0) => fate = false,
                _ => (),
            }
        }
        fate
    };
    for n in 0..400u16 {
        let [a, b] = [(n * 7 % 203) as u8, (n * 11 % 207) as u8];
        let (src, dst) = ([10, 0, a, 1], [10, 1, 0, b]);
        let ports = (n * 13 % 500, 1 + n * 3 % 220);
        let ends = [src, dst].map(|octets| std::net::IpAddr::from(octets).to_string());
        let packet = ip(&ends[0], &ends[1]).udp(ports.0, ports.1, b"");
        assert_eq!(
            long.receive(&packet).is_ok(),
            wanted(src, dst, ports),
            "{src:?} {dst:?} {ports:?}"
        );
    }
    let v6 = ip("2001:db8:63::1", "2001:db8::1").ping(1);
    assert_eq!(long.receive(&v6), BLOCKED);
    let v6 = ip("2001:db8:99::1", "2001:db8::1").ping(1);
    assert_eq!(long.receive(&v6), Ok(v6.clone()));
    // A rule that cannot match is not even looked at.
    assert_eq!(long.rule(1).evaluations, 0);
}

#[test]
fn a_list_may_be_within_an_anchor_and_go_on_behind_one() {
    let mut main: Vec<(Rule, &str)> = (0..40).map(|n| (port(block(), 100 + n), "")).collect();
    main.insert(20, (pass(), "a"));
    main.push((port(block(), 7), ""));
    let a: Vec<(Rule, &str)> = (0..40).map(|n| (port(pass(), 90 + n), "")).collect();
    let gate = gate(&[("", &main), ("a", &a)]);
    let fates = [7, 95, 100, 119, 120, 129, 139].map(|port| passes(&gate, port));
    assert_eq!(fates, [false, true, true, true, false, false, false]);
    assert_eq!(gate.machine().load_into("a", Filter, &[]), Ok(()));
}
