//! States that are not used any more go, each in its time, and their memory with them.

use pf_abi::*;

use crate::common::packets::*;
use crate::common::rules::*;
use crate::common::{Machine, connection};
use crate::gate::{Gate, check_table};

fn v4() -> Ip {
    ip("10.0.0.1", "198.51.100.7")
}

/// Ticks until there is no state, one a second.
fn lifetime(gate: &Gate) -> u64 {
    // Each tick looks at the whole table.
    gate.each(|machine| machine.set_timeout(Timeout::Interval, 1));
    (0..100_000)
        .find(|_| {
            let gone = gate.states() == 0;
            if !gone {
                gate.tick(1);
            }
            gone
        })
        .unwrap()
}

fn handshake(gate: &Gate) {
    gate.send(&v4().tcp(&segment(1025, 80, SYN, 1000, 0))).unwrap();
    gate.receive(&v4().back().tcp(&segment(80, 1025, SYN | ACK, 9000, 1001)))
        .unwrap();
    gate.send(&v4().tcp(&segment(1025, 80, ACK, 1001, 9001))).unwrap();
}

/// What brings a connection into a phase.
type Phase = fn(&Gate);

const PHASES: [(Timeout, Phase); 15] = [
    (Timeout::TcpFirst, |gate| {
        gate.send(&v4().tcp(&segment(1025, 80, SYN, 1000, 0))).unwrap();
    }),
    (Timeout::TcpOpening, |gate| {
        gate.send(&v4().tcp(&segment(1025, 80, SYN, 1000, 0))).unwrap();
        gate.receive(&v4().back().tcp(&segment(80, 1025, SYN | ACK, 9000, 1001)))
            .unwrap();
    }),
    (Timeout::TcpEstablished, handshake),
    (Timeout::TcpClosing, |gate| {
        handshake(gate);
        gate.send(&v4().tcp(&segment(1025, 80, FIN | ACK, 1001, 9001))).unwrap();
    }),
    (Timeout::TcpFinWait, |gate| {
        handshake(gate);
        gate.send(&v4().tcp(&segment(1025, 80, FIN | ACK, 1001, 9001))).unwrap();
        gate.receive(&v4().back().tcp(&segment(80, 1025, FIN | ACK, 9001, 1002)))
            .unwrap();
    }),
    (Timeout::TcpClosed, |gate| {
        handshake(gate);
        gate.send(&v4().tcp(&segment(1025, 80, FIN | ACK, 1001, 9001))).unwrap();
        gate.receive(&v4().back().tcp(&segment(80, 1025, FIN | ACK, 9001, 1002)))
            .unwrap();
        gate.send(&v4().tcp(&segment(1025, 80, ACK, 1002, 9002))).unwrap();
    }),
    (Timeout::TcpClosed, |gate| {
        handshake(gate);
        gate.receive(&v4().back().tcp(&segment(80, 1025, RST, 9001, 0)))
            .unwrap();
    }),
    (Timeout::UdpFirst, |gate| {
        gate.send(&v4().udp(1025, 53, b"question")).unwrap();
    }),
    (Timeout::UdpSingle, |gate| {
        gate.send(&v4().udp(1025, 53, b"question")).unwrap();
        gate.send(&v4().udp(1025, 53, b"question")).unwrap();
    }),
    (Timeout::UdpMultiple, |gate| {
        gate.send(&v4().udp(1025, 53, b"question")).unwrap();
        gate.receive(&v4().back().udp(53, 1025, b"answer")).unwrap();
        gate.send(&v4().udp(1025, 53, b"thanks")).unwrap();
    }),
    (Timeout::IcmpFirst, |gate| {
        gate.send(&v4().ping(7)).unwrap();
    }),
    (Timeout::IcmpError, |gate| {
        gate.send(&v4().ping(7)).unwrap();
        gate.receive(&v4().back().pong(7)).unwrap();
    }),
    (Timeout::OtherFirst, |gate| {
        gate.send(&v4().packet(GRE, b"there")).unwrap();
    }),
    (Timeout::OtherSingle, |gate| {
        gate.send(&v4().packet(GRE, b"there")).unwrap();
        gate.receive(&v4().back().packet(GRE, b"back")).unwrap();
    }),
    (Timeout::OtherMultiple, |gate| {
        gate.send(&v4().packet(GRE, b"there")).unwrap();
        gate.receive(&v4().back().packet(GRE, b"back")).unwrap();
        gate.send(&v4().packet(GRE, b"there")).unwrap();
    }),
];

#[test]
fn each_phase_has_its_time() {
    for (at, (timeout, phase)) in PHASES.into_iter().enumerate() {
        let gate = Gate::new(&[pass().keep_state()]);
        gate.each(|machine| machine.set_timeout(timeout, 17));
        phase(&gate);
        assert_eq!(gate.state().timeout, u8::from(timeout), "phase {at}");
        assert_eq!(lifetime(&gate), 17, "phase {at}");
        assert_eq!(gate.rule(0).states, 0);
        assert_eq!(gate.machine().status().fcounters[FCNT_STATE_REMOVALS], 1);
    }
}

#[test]
fn a_rule_may_have_timeouts_of_its_own() {
    for (timeout, phase) in PHASES {
        let gate = Gate::new(&[pass().keep_state().timeout(timeout, 5)]);
        phase(&gate);
        assert_eq!(lifetime(&gate), 5);
    }
}

#[test]
fn a_packet_begins_the_time_anew() {
    let gate = Gate::new(&[pass().keep_state()]);
    let question = v4().udp(1025, 53, b"question");
    gate.each(|machine| machine.set_timeout(Timeout::Interval, 1));
    for _ in 0..10 {
        gate.send(&question).unwrap();
        gate.tick(25);
        assert_eq!(gate.states(), 1);
    }
    gate.tick(5);
    assert_eq!(gate.states(), 0);
    // One that is refused does not.
    let gate = Gate::new(&[pass().keep_state()]);
    gate.each(|machine| machine.set_timeout(Timeout::TcpEstablished, 20));
    handshake(&gate);
    gate.tick(10);
    gate.receive(&v4().back().tcp(&segment(80, 1025, RST, 1, 0)))
        .unwrap_err();
    assert_eq!(lifetime(&gate), 10);
}

/// Fills a table with states of UDP.
fn fill(gate: &Gate, states: u32) {
    for n in 0..states {
        let [_, a, b, c] = n.to_be_bytes();
        let packet = ip(&format!("10.{a}.{b}.{c}"), "198.51.100.7").udp(1025, 53, b"question");
        gate.send(&packet).unwrap();
    }
}

#[test]
fn the_whole_table_is_seen_within_an_interval() {
    for interval in [1, 2, 7, 10] {
        let gate = Gate::new(&[pass().keep_state()]);
        fill(&gate, 6000);
        gate.each(|machine| machine.set_timeout(Timeout::Interval, interval));
        gate.tick(59);
        assert_eq!(gate.states(), 6000);
        // A part of it in each tick, and not much more than its share.
        let mut left = 6000;
        for tick in 1..=interval {
            gate.tick(1);
            let gone = left - gate.states();
            let share = 6000 / interval as usize;
            assert!(
                (share * 3 / 4..=share * 5 / 4 + 1).contains(&gone),
                "{gone} in tick {tick} of {interval}"
            );
            left -= gone;
        }
        assert_eq!((left, gate.states(), gate.rule(0).states), (0, 0, 0));
        check_table(gate.machine());
    }
}

#[test]
fn a_tick_has_an_end_however_large_the_table_is() {
    const MOST: usize = 1 << 18;
    const STATES: u32 = 300_000;
    let machine = Machine::new();
    machine.set_limit(Limit::States, 2 * STATES);
    machine.set_timeout(Timeout::Interval, 1);
    let expiring = |n| SyncState {
        expire: 1,
        ..connection(n)
    };
    for from in (0..STATES).step_by(10_000) {
        let states: Vec<_> = (from..from + 10_000).map(expiring).collect();
        machine.add_states(&states).unwrap();
    }
    machine.advance(10);
    let left = || machine.pf.states().len();
    machine.pf.purge();
    let gone = STATES as usize - left();
    assert!((MOST / 2..=MOST + 64).contains(&gone), "{gone}");
    // And it goes on from there.
    machine.pf.purge();
    assert_eq!(left(), 0);
}

#[test]
fn what_is_in_use_stays() {
    let gate = Gate::new(&[pass().keep_state()]);
    fill(&gate, 2000);
    gate.tick(50);
    for n in 0..500u32 {
        let [_, a, b, c] = n.to_be_bytes();
        let packet = ip(&format!("10.{a}.{b}.{c}"), "198.51.100.7").udp(1025, 53, b"question");
        gate.send(&packet).unwrap();
    }
    gate.tick(20);
    assert_eq!((gate.states(), gate.rule(0).states), (500, 500));
    check_table(gate.machine());
}

#[test]
fn states_live_shorter_as_the_table_fills() {
    let gate = Gate::new(&[pass().keep_state()]);
    gate.each(|machine| {
        machine.set_timeout(Timeout::AdaptiveStart, 100);
        machine.set_timeout(Timeout::AdaptiveEnd, 300);
    });
    fill(&gate, 200);
    // Half of the way, half of the time; as they go, there is more time.
    gate.each(|machine| machine.set_timeout(Timeout::Interval, 1));
    gate.tick(29);
    assert_eq!(gate.states(), 200);
    gate.tick(1);
    assert!((100..200).contains(&gate.states()), "{}", gate.states());
    gate.tick(30);
    assert_eq!(gate.states(), 0);
    // Beyond the end there is none.
    gate.each(|machine| machine.set_timeout(Timeout::AdaptiveEnd, 150));
    fill(&gate, 160);
    gate.tick(1);
    assert!(gate.states() < 150);
}

#[test]
fn a_rule_with_adaptive_timeouts_of_its_own_counts_its_own_states() {
    let own = pass()
        .proto(UDP)
        .port(53)
        .keep_state()
        .timeout(Timeout::AdaptiveStart, 10)
        .timeout(Timeout::AdaptiveEnd, 30);
    let gate = Gate::new(&[pass().keep_state(), own]);
    gate.each(|machine| machine.set_timeout(Timeout::Interval, 1));
    // Others do not count, and do not shrink.
    for port in 1..=100 {
        gate.send(&v4().udp(port, 80, b"question")).unwrap();
    }
    for port in 1..=20 {
        gate.send(&v4().udp(port, 53, b"question")).unwrap();
    }
    gate.tick(29);
    assert_eq!((gate.rule(0).states, gate.rule(1).states), (100, 20));
    gate.tick(1);
    let left = gate.rule(1).states;
    assert!((10..20).contains(&left), "half of the time: {left}");
    gate.tick(29);
    assert_eq!(
        (gate.rule(0).states, gate.rule(1).states > 0),
        (100, true),
        "fewer of them have more time"
    );
    gate.tick(1);
    assert_eq!((gate.rule(0).states, gate.rule(1).states), (0, 0));
    // A rule without an end does not shrink, whatever the global ones are.
    let gate = Gate::new(&[pass().keep_state().timeout(Timeout::AdaptiveStart, 1)]);
    gate.each(|machine| {
        machine.set_timeout(Timeout::Interval, 1);
        machine.set_timeout(Timeout::AdaptiveStart, 1);
        machine.set_timeout(Timeout::AdaptiveEnd, 2);
    });
    fill(&gate, 20);
    gate.tick(50);
    assert_eq!(gate.states(), 20);
}

#[test]
fn a_rule_outlives_its_rulesets_as_long_as_it_has_states() {
    let gate = Gate::new(&[pass().keep_state().timeout(Timeout::UdpFirst, 300)]);
    gate.send(&v4().udp(1025, 53, b"question")).unwrap();
    gate.load_filter(&[block()]);
    gate.tick(250);
    assert_eq!(gate.states(), 1, "the old rule's timeout");
    gate.tick(60);
    assert_eq!(gate.states(), 0);
}
