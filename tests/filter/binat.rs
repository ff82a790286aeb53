//! binat: an address or a network inside stands for one outside, in both directions.

use pf_abi::*;

use crate::common::packets::*;
use crate::common::rules::*;
use crate::gate::{BLOCKED, Gate, check_table, dropped};

const CASES: [[&str; 3]; 2] = [
    ["10.0.0.5", "192.0.2.5", "198.51.100.7"],
    ["fd00::5", "2001:db8::5", "2001:db8:7::7"],
];

/// Networks inside and outside.
fn gate() -> Gate {
    Gate::new(&[]).binat(&[
        binat("10.0.0.0/24", "192.0.2.0/24").on("em0"),
        binat("fd00::/64", "2001:db8::/64").on("em0"),
    ])
}

#[test]
fn a_connection_from_the_inside_goes_out_and_back() {
    for [inside, outside, server] in CASES {
        let gate = gate();
        let syn = segment(1025, 80, SYN, 1000, 0);
        let out = gate.forward(&ip(inside, server).tcp(&syn));
        assert_eq!(out, Ok(ip(outside, server).tcp(&syn)));
        let answer = segment(80, 1025, SYN | ACK, 9000, 1001);
        let back = gate.forward_back(&ip(server, outside).tcp(&answer));
        assert_eq!(back, Ok(ip(server, inside).tcp(&answer)));
        check_table(gate.machine());
    }
}

#[test]
fn a_connection_from_the_outside_comes_in_and_goes_back() {
    for [inside, outside, client] in CASES {
        let gate = gate();
        let syn = segment(1025, 80, SYN, 1000, 0);
        let back = gate.forward_back(&ip(client, outside).tcp(&syn));
        assert_eq!(back, Ok(ip(client, inside).tcp(&syn)));
        let answer = segment(80, 1025, SYN | ACK, 9000, 1001);
        let out = gate.forward(&ip(inside, client).tcp(&answer));
        assert_eq!(out, Ok(ip(outside, client).tcp(&answer)));
        check_table(gate.machine());
    }
}

#[test]
fn echoes_and_what_has_no_ports_go_both_ways() {
    for [inside, outside, other] in CASES {
        let gate = gate();
        assert_eq!(
            gate.forward(&ip(inside, other).ping(77)),
            Ok(ip(outside, other).ping(77))
        );
        assert_eq!(
            gate.forward_back(&ip(other, outside).pong(77)),
            Ok(ip(other, inside).pong(77))
        );
        assert_eq!(
            gate.forward_back(&ip(other, outside).ping(78)),
            Ok(ip(other, inside).ping(78))
        );
        assert_eq!(
            gate.forward(&ip(inside, other).pong(78)),
            Ok(ip(outside, other).pong(78))
        );
        let tunnel = |from: &str, to: &str| ip(from, to).packet(GRE, b"tunnel");
        assert_eq!(gate.forward_back(&tunnel(other, outside)), Ok(tunnel(other, inside)));
        check_table(gate.machine());
    }
}

#[test]
fn what_is_not_the_networks_stays_as_it_is() {
    let gate = gate();
    for packet in [
        ip("10.0.1.5", "198.51.100.7").udp(1025, 53, b"?"),
        ip("fd01::5", "2001:db8:7::7").udp(1025, 53, b"?"),
    ] {
        assert_eq!(gate.forward(&packet), Ok(packet));
    }
    let other = ip("198.51.100.7", "192.0.3.5").udp(1025, 53, b"?");
    assert_eq!(gate.receive(&other), Ok(other));
    // On another interface either.
    let inside = ip("198.51.100.7", "192.0.2.5").udp(1025, 53, b"?");
    assert_eq!(gate.receive_inside(&inside), Ok(inside));
    assert_eq!(gate.states(), 0);
}

#[test]
fn a_destination_may_limit_it() {
    let gate = Gate::new(&[]).binat(&[binat("10.0.0.5", "192.0.2.5").on("em0").to("198.51.100.0/24")]);
    let to = |dst: &str| gate.forward(&ip("10.0.0.5", dst).udp(1025, 53, b"?")).unwrap();
    assert_eq!(sound(&to("198.51.100.7")), "192.0.2.5:1025 > 198.51.100.7:53");
    assert_eq!(sound(&to("203.0.113.9")), "10.0.0.5:1025 > 203.0.113.9:53");
    let from = |src: &str| gate.receive(&ip(src, "192.0.2.5").udp(2025, 53, b"?")).unwrap();
    assert_eq!(sound(&from("198.51.100.7")), "198.51.100.7:2025 > 10.0.0.5:53");
    assert_eq!(sound(&from("203.0.113.9")), "203.0.113.9:2025 > 192.0.2.5:53");
}

#[test]
fn it_comes_before_nat_and_after_rdr() {
    let gate = gate().nat(&[nat("192.0.2.200").on("em0")]).rdr(&[rdr("10.0.0.80")
        .on("em0")
        .to("192.0.2.5")
        .proto(TCP)
        .port(80)]);
    let out = gate
        .forward(&ip("10.0.0.5", "198.51.100.7").udp(1025, 53, b"?"))
        .unwrap();
    assert_eq!(sound(&out), "192.0.2.5:1025 > 198.51.100.7:53");
    let out = gate
        .forward(&ip("10.0.9.5", "198.51.100.7").udp(1025, 53, b"?"))
        .unwrap();
    assert!(sound(&out).starts_with("192.0.2.200:"));
    let to = |port| {
        let packet = ip("198.51.100.7", "192.0.2.5").tcp(&segment(1025, port, SYN, 1, 0));
        sound(&gate.receive(&packet).unwrap())
    };
    assert_eq!(to(80), "198.51.100.7:1025 > 10.0.0.80:80");
    assert_eq!(to(81), "198.51.100.7:1025 > 10.0.0.5:81");
}

#[test]
fn who_is_not_to_be_translated_by_it_may_be_by_nat() {
    let gate = Gate::new(&[])
        .binat(&[
            no_binat().on("em0").from("10.0.0.5"),
            binat("10.0.0.0/24", "192.0.2.0/24").on("em0"),
        ])
        .nat(&[nat("192.0.2.200").on("em0")]);
    let out = |src: &str| sound(&gate.forward(&ip(src, "198.51.100.7").udp(1025, 53, b"?")).unwrap());
    assert!(out("10.0.0.5").starts_with("192.0.2.200:"));
    assert!(out("10.0.0.6").starts_with("192.0.2.6:1025"));
}

#[test]
fn filter_rules_see_the_translated_packet() {
    let gate = Gate::new(&[
        block(),
        pass().outward().from("192.0.2.5").keep_state(),
        pass().inward().to("10.0.0.6").keep_state(),
    ])
    .binat(&[binat("10.0.0.0/24", "192.0.2.0/24").on("em0")]);
    assert!(gate.send(&ip("10.0.0.5", "198.51.100.7").udp(1, 53, b"?")).is_ok());
    assert_eq!(gate.send(&ip("10.0.0.6", "198.51.100.7").udp(1, 53, b"?")), BLOCKED);
    assert!(gate.receive(&ip("198.51.100.7", "192.0.2.6").udp(1, 53, b"?")).is_ok());
    assert_eq!(gate.receive(&ip("198.51.100.7", "192.0.2.5").udp(1, 54, b"?")), BLOCKED);
}

#[test]
fn errors_are_translated_in_both_directions() {
    for [inside, outside, other] in CASES {
        let gate = gate();
        let hop = if other.contains(':') {
            "2001:db8:8::1"
        } else {
            "203.0.113.1"
        };
        let sent = ip(inside, other).udp(1025, 53, b"question");
        let out = gate.forward(&sent).unwrap();
        let back = gate.forward_back(&ip(hop, outside).error(&out));
        assert_eq!(back, Ok(ip(hop, inside).error(&sent)));
        // The inside host says that it has no such port.
        let sent = ip(other, outside).udp(1026, 54, b"question");
        let arrived = gate.forward_back(&sent).unwrap();
        let error = gate.forward(&ip(inside, other).error(&arrived));
        assert_eq!(error, Ok(ip(outside, other).error(&sent)));
        // The same about a ping, from outside to inside.
        let ping = ip(other, outside).ping(99);
        let arrived = gate.forward_back(&ping).unwrap();
        let error = gate.forward(&ip(inside, other).error(&arrived));
        assert_eq!(error, Ok(ip(outside, other).error(&ping)));
    }
}

#[test]
fn fragments_of_it_are_not_let_through_as_they_are() {
    let gate = gate();
    let fragment = |src: &str, dst: &str| ip(src, dst).with_fragment(64, true).packet(UDP, &[0; 64]);
    assert_eq!(
        gate.send(&fragment("10.0.0.5", "198.51.100.7")),
        dropped(Reason::Fragment)
    );
    assert_eq!(
        gate.receive(&fragment("198.51.100.7", "192.0.2.5")),
        dropped(Reason::Fragment)
    );
    let other = fragment("10.0.1.5", "198.51.100.7");
    assert_eq!(gate.send(&other), Ok(other));
}

#[test]
fn both_networks_are_of_one_size() {
    let gate = Gate::new(&[]);
    let refused = gate
        .machine()
        .load(RulesetKind::Binat, &[binat("10.0.0.0/24", "192.0.2.0/25").on("em0")]);
    assert_eq!(refused, Err(pf::kpi::Errno::Einval));
}

/// `binat-anchor path`
fn binat_anchor(path: &str) -> (Rule, &str) {
    let (call, _) = no_binat();
    (call.change(|rule| rule.action = PF_BINAT), path)
}

#[test]
fn it_stands_in_anchors_too() {
    let gate = Gate::new(&[]);
    gate.each(|machine| {
        let (guarded, path) = binat_anchor("a");
        let calls = [
            (guarded.on("em0").to("198.51.100.0/24"), path),
            binat_anchor("w/*"),
            binat_anchor("/w/x"),
        ];
        machine.load_into("", RulesetKind::Binat, &calls).unwrap();
        machine.translate_in(
            "a",
            RulesetKind::Binat,
            &[no_binat().from("10.0.0.9"), binat("10.0.0.0/24", "192.0.2.0/24")],
        );
        machine.translate_in("w/x", RulesetKind::Binat, &[binat("10.0.1.5", "203.0.113.5").on("em0")]);
    });
    let udp = |src: &str, dst: &str| ip(src, dst).udp(1025, 53, b"?");
    let out = |src: &str, dst: &str| sound(&gate.send(&udp(src, dst)).unwrap());
    let back = |src: &str, dst: &str| sound(&gate.receive(&udp(src, dst)).unwrap());
    assert_eq!(out("10.0.0.5", "198.51.100.7"), "192.0.2.5:1025 > 198.51.100.7:53");
    assert_eq!(back("198.51.100.8", "192.0.2.6"), "198.51.100.8:1025 > 10.0.0.6:53");
    // The rule that calls guards them, by the other end's address in both directions.
    assert_eq!(out("10.0.0.5", "198.51.7.7"), "10.0.0.5:1025 > 198.51.7.7:53");
    assert_eq!(back("198.51.7.7", "192.0.2.5"), "198.51.7.7:1025 > 192.0.2.5:53");
    assert_eq!(out("10.0.0.9", "198.51.100.7"), "10.0.0.9:1025 > 198.51.100.7:53");
    assert_eq!(out("10.0.1.5", "198.51.7.7"), "203.0.113.5:1025 > 198.51.7.7:53");
    assert_eq!(back("198.51.7.8", "203.0.113.5"), "198.51.7.8:1025 > 10.0.1.5:53");
    // Without its ports a fragment may be one that is to be translated.
    let fragment = |src: &str, dst: &str| ip(src, dst).with_fragment(1480, false).packet(TCP, &[0; 40]);
    assert_eq!(
        gate.receive(&fragment("198.51.100.8", "192.0.2.6")),
        dropped(Reason::Fragment)
    );
    assert_eq!(
        gate.send(&fragment("10.0.1.5", "198.51.7.7")),
        dropped(Reason::Fragment)
    );
    let other = fragment("198.51.7.7", "192.0.2.6");
    assert_eq!(gate.receive(&other), Ok(other));
    check_table(gate.machine());
}

#[test]
fn a_restored_state_finds_its_rule_again() {
    let load = |gate: &Gate, in_anchor: bool| {
        gate.each(|machine| {
            let rules = [
                binat("10.9.0.0/24", "192.0.3.0/24"),
                binat("10.0.0.0/24", "192.0.2.0/24"),
            ];
            let calls = [binat_anchor("empty"), binat_anchor("a")];
            if in_anchor {
                machine.load_into("", RulesetKind::Binat, &calls).unwrap();
                machine.translate_in("a", RulesetKind::Binat, &rules);
            } else {
                machine.load(RulesetKind::Binat, &rules).unwrap();
            }
            // In these lists nothing of that number is the rule.
            let decoys = |decoy: fn(&str) -> Loaded| [decoy("192.0.2.1").on("wm0"), decoy("192.0.2.1").on("wm0")];
            machine.load(RulesetKind::Nat, &decoys(nat)).unwrap();
            machine.load(RulesetKind::Rdr, &decoys(rdr)).unwrap();
        });
    };
    for in_anchor in [false, true] {
        let old = Gate::new(&[]);
        load(&old, in_anchor);
        let udp = |src: &str, dst: &str| ip(src, dst).udp(1025, 53, b"?");
        old.send(&udp("10.0.0.5", "198.51.100.7")).unwrap();
        old.receive(&udp("198.51.100.7", "192.0.2.6")).unwrap();
        let states = old.machine().dump();
        assert_eq!(states.len(), 2);
        assert!(states.iter().all(|state| state.nat_rule & 0xf_ffff == BINAT_RULE | 1));
        let new = Gate::new(&[]);
        load(&new, in_anchor);
        assert_eq!(new.machine().add_states(&states), Ok(2));
        let again = new.machine().dump();
        assert!(again.iter().all(|state| state.nat_rule == states[0].nat_rule));
        let path = if in_anchor { "a" } else { "" };
        let counts = || -> Vec<u32> {
            let rules = new.machine().rules_of(path, Action::Binat).unwrap();
            rules.iter().map(|(rule, _)| rule.states).collect()
        };
        assert_eq!(counts(), [0, 2]);
        // Where it is not loaded there is none, and the state lives.
        let bare = Gate::new(&[]);
        assert_eq!(bare.machine().add_states(&states), Ok(2));
        assert!(bare.machine().dump().iter().all(|state| state.nat_rule == NO_RULE));
    }
}
