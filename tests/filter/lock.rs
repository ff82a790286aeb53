//! The lock: no state is found, none is made, none goes, and whatever needs none passes by the rules.

use pf_abi::*;

use crate::common::packets::*;
use crate::common::rules::*;
use crate::gate::{BLOCKED, Gate, check_table, dropped};

fn v4() -> Ip {
    ip("10.0.0.1", "198.51.100.7")
}

#[test]
fn a_connection_waits_for_the_lock_to_go() {
    let gate = Gate::new(&[pass().keep_state()]);
    let question = v4().udp(1025, 53, b"question");
    let answer = v4().back().udp(53, 1025, b"answer");
    gate.send(&question).unwrap();
    let before = gate.machine().dump();
    let searches = gate.machine().status().fcounters[FCNT_STATE_SEARCH];
    gate.set_lock(true);
    for _ in 0..3 {
        assert_eq!(gate.send(&question), dropped(Reason::StateLocked));
        assert_eq!(gate.receive(&answer), dropped(Reason::StateLocked));
    }
    let other = v4().udp(1026, 53, b"question");
    assert_eq!(gate.send(&other), dropped(Reason::StateLocked));
    assert_eq!(gate.machine().status().counters[Reason::StateLocked as usize], 7);
    assert_eq!(gate.machine().status().fcounters[FCNT_STATE_SEARCH], searches);
    assert_eq!(gate.machine().dump(), before);
    assert_eq!(
        gate.rule(0).packets,
        [0, 1],
        "what was dropped is not counted as let through"
    );
    gate.set_lock(false);
    assert_eq!(gate.receive(&answer), Ok(answer.clone()));
    assert_eq!(gate.send(&other), Ok(other));
    assert_eq!(gate.states(), 2);
    check_table(gate.machine());
}

#[test]
fn tcp_goes_on_where_it_stood() {
    let gate = Gate::new(&[block(), pass().outward().proto(TCP).flags(SYN, SYN | ACK).keep_state()]);
    let there = |gate: &Gate, seq: u32| gate.send(&v4().tcp(&segment(1025, 80, ACK, seq, 9001).with_data(1000)));
    gate.send(&v4().tcp(&segment(1025, 80, SYN, 1000, 0))).unwrap();
    gate.receive(&v4().back().tcp(&segment(80, 1025, SYN | ACK, 9000, 1001)))
        .unwrap();
    there(&gate, 1001).unwrap();
    gate.set_lock(true);
    // By the rules alone, which are about the first packet of a connection only.
    assert_eq!(there(&gate, 2001), BLOCKED);
    assert_eq!(
        gate.send(&v4().tcp(&segment(1026, 80, SYN, 1, 0))),
        dropped(Reason::StateLocked)
    );
    gate.set_lock(false);
    assert!(there(&gate, 2001).is_ok());
}

#[test]
fn what_needs_no_state_passes_by_the_rules_alone() {
    let gate = Gate::new(&[
        pass().proto(UDP).port(53).keep_state(),
        pass().proto(UDP).port(54),
        block().proto(UDP).port(55).return_any(),
        pass().proto(ICMP).keep_state(),
    ]);
    let udp = |port: u16| v4().udp(1025, port, b"question");
    gate.send(&udp(53)).unwrap();
    gate.set_lock(true);
    assert_eq!(gate.send(&udp(54)), Ok(udp(54)));
    assert_eq!(gate.send(&udp(55)), BLOCKED);
    assert_eq!(gate.answers().len(), 1);
    assert_eq!(gate.send(&v4().ping(7)), dropped(Reason::StateLocked));
    // No state would be kept for these.
    let error = v4().error(&v4().back().udp(53, 1025, b"answer"));
    let part = v4().with_fragment(64, false).packet(UDP, b"rest");
    for packet in [error, part] {
        assert_eq!(gate.send(&packet), Ok(packet));
    }
    assert_eq!(gate.states(), 1);
}

#[test]
fn what_is_to_be_translated_waits_too() {
    let gate = Gate::new(&[block().proto(TCP).return_any()])
        .nat(&[no_nat().proto(GRE), nat("192.0.2.1").outward().from("10.0.0.0/8")])
        .rdr(&[rdr("10.0.0.80").to("192.0.2.1").proto(UDP)]);
    gate.set_lock(true);
    assert_eq!(
        gate.send(&v4().udp(1025, 53, b"question")),
        dropped(Reason::StateLocked)
    );
    let incoming = ip("198.51.100.7", "192.0.2.1").udp(1025, 53, b"question");
    assert_eq!(gate.receive(&incoming), dropped(Reason::StateLocked));
    let tunnel = v4().packet(GRE, b"tunnel");
    assert_eq!(gate.send(&tunnel), Ok(tunnel));
    // What the rules block is blocked.
    assert_eq!(gate.send(&v4().tcp(&segment(1025, 80, SYN, 1, 0))), BLOCKED);
    assert_eq!(sound(&gate.answers()[0]), "198.51.100.7:80 > 10.0.0.1:1025");
    assert_eq!(gate.states(), 0);
}

#[test]
fn ports_that_are_taken_are_of_no_interest() {
    let gate = Gate::new(&[]).nat(&[nat("192.0.2.1").outward().from("10.0.0.0/8").ports(0, 0)]);
    gate.send(&v4().udp(1025, 53, b"question")).unwrap();
    gate.load_filter(&[block().return_any()]);
    let other = ip("10.0.0.2", "198.51.100.7").udp(1025, 53, b"question");
    assert_eq!(gate.send(&other), dropped(Reason::StateInsert));
    // No state is looked at, and the packet is blocked as any other.
    gate.set_lock(true);
    assert_eq!(gate.send(&other), BLOCKED);
    assert_eq!(gate.answers().len(), 1);
}

#[test]
fn time_passes_without_effect() {
    let gate = Gate::new(&[pass().keep_state()]);
    gate.send(&v4().udp(1025, 53, b"question")).unwrap();
    gate.set_lock(true);
    gate.tick(1000);
    assert_eq!((gate.states(), gate.rule(0).states), (1, 1));
    gate.set_lock(false);
    gate.tick(10);
    assert_eq!((gate.states(), gate.rule(0).states), (0, 0));
}

#[test]
fn ioctls_go_on() {
    let gate = Gate::new(&[pass().keep_state()]);
    gate.send(&v4().udp(1025, 53, b"question")).unwrap();
    gate.set_lock(true);
    gate.each(|machine| machine.add_state(&crate::common::connection(5)).unwrap());
    gate.load_filter(&[block()]);
    assert_eq!(gate.machine().dump().len(), 2);
    assert_eq!(gate.send(&v4().udp(1025, 53, b"question")), BLOCKED);
    gate.set_lock(false);
    assert!(gate.send(&v4().udp(1025, 53, b"question")).is_ok());
    check_table(gate.machine());
}
