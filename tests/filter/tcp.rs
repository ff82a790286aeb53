//! TCP as it crosses the filter: options read from the packet, resets that go out, states that make way. The windows themselves
//! are tested beside the code.

use std::sync::{Arc, Mutex};

use pf::kpi::{Direction, Kernel, Mbuf};
use pf_abi::*;

use crate::common::Machine;
use crate::common::packets::*;
use crate::common::rules::*;
use crate::gate::{BLOCKED, Gate, dropped, judge};

fn there() -> Ip {
    ip("10.0.0.1", "198.51.100.7")
}

/// What pfctl(8) makes of `pass out`.
fn stateful() -> Gate {
    Gate::new(&[block(), pass().outward().flags(SYN, SYN | ACK).keep_state()])
}

fn open(gate: &Gate, scales: [Option<u8>; 2]) {
    let offer = |segment: Segment, scale: Option<u8>| match scale {
        Some(shift) => segment.with_scale(shift),
        None => segment,
    };
    let syn = offer(segment(1025, 80, SYN, 1000, 0), scales[0]);
    gate.send(&there().tcp(&syn)).unwrap();
    let answer = offer(segment(80, 1025, SYN | ACK, 9000, 1001), scales[1]);
    gate.receive(&there().back().tcp(&answer)).unwrap();
    gate.send(&there().tcp(&segment(1025, 80, ACK, 1001, 9001))).unwrap();
    assert_eq!(gate.state().timeout, PFTM_TCP_ESTABLISHED);
}

#[test]
fn the_options_of_a_syn_are_read() {
    let gate = stateful();
    let syn = Segment {
        options: vec![2, 4, 5, 180, 1, 3, 3, 7, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0],
        ..segment(1025, 80, SYN, 1000, 0)
    };
    gate.send(&there().tcp(&syn)).unwrap();
    let state = gate.state();
    assert_eq!((state.src.mss, state.src.wscale), (1460, PF_WSCALE_FLAG | 7));
    let answer = Segment {
        options: vec![2, 4, 4, 0, 3, 3, 2, 0],
        ..segment(80, 1025, SYN | ACK, 9000, 1001)
    };
    gate.receive(&there().back().tcp(&answer)).unwrap();
    let state = gate.state();
    assert_eq!((state.dst.mss, state.dst.wscale), (1024, PF_WSCALE_FLAG | 2));
    // Broken ones are as good as none.
    let gate = stateful();
    let syn = Segment {
        options: vec![2, 40, 3, 3],
        ..segment(1025, 80, SYN, 1000, 0)
    };
    gate.send(&there().tcp(&syn)).unwrap();
    assert_eq!((gate.state().src.mss, gate.state().src.wscale), (0, 0));
}

#[test]
fn the_first_flight_fills_the_window() {
    for scales in [
        [None, None],
        [Some(7), Some(7)],
        [Some(7), None],
        [None, Some(7)],
        [Some(0), Some(14)],
    ] {
        let gate = stateful();
        open(&gate, scales);
        let data = |seq: u32, len: usize| there().tcp(&segment(1025, 80, ACK, seq, 9001).with_data(len));
        assert!(gate.send(&data(1001, 40_000)).is_ok(), "{scales:?}");
        assert!(gate.send(&data(41_001, 25_535)).is_ok(), "{scales:?}");
        assert_eq!(
            gate.send(&data(66_536, 1)),
            dropped(Reason::StateMismatch),
            "{scales:?}"
        );
    }
}

#[test]
fn what_does_not_belong_is_dropped_and_changes_nothing() {
    let gate = stateful();
    open(&gate, [Some(7), Some(7)]);
    let before = gate.state();
    for stranger in [
        segment(80, 1025, RST, 9500, 0),
        segment(80, 1025, RST | ACK, 5, 1001),
        segment(80, 1025, SYN, 9001, 0),
        segment(80, 1025, ACK, 1 << 31, 1001).with_data(10),
        segment(80, 1025, ACK, 9001, 1 << 30),
    ] {
        assert_eq!(
            gate.receive(&there().back().tcp(&stranger)),
            dropped(Reason::StateMismatch),
            "{stranger:?}"
        );
    }
    let syn = there().tcp(&segment(1025, 80, SYN, 1 << 30, 0));
    assert_eq!(gate.send(&syn), dropped(Reason::StateMismatch));
    assert_eq!(gate.state(), before);
    assert_eq!(gate.answers().len(), 0);
}

#[test]
fn a_state_is_made_by_a_syn_alone_where_the_rule_says_so() {
    let gate = stateful();
    for flags in [ACK, SYN | ACK, RST, FIN | ACK, 0] {
        assert_eq!(gate.send(&there().tcp(&segment(1025, 80, flags, 1, 1))), BLOCKED);
    }
    assert_eq!(gate.states(), 0);
    // By anything, where it does not.
    let gate = Gate::new(&[pass().keep_state()]);
    gate.send(&there().tcp(&segment(1025, 80, ACK, 5000, 9000).with_data(100)))
        .unwrap();
    gate.receive(&there().back().tcp(&segment(80, 1025, ACK, 9000, 5100).with_data(100)))
        .unwrap();
    gate.send(&there().tcp(&segment(1025, 80, ACK, 5100, 9100))).unwrap();
    assert_eq!((gate.states(), gate.state().timeout), (1, PFTM_TCP_ESTABLISHED));
}

#[test]
fn an_old_connection_is_reset_for_a_new_one() {
    for (inside, outside) in [("10.0.0.1", "198.51.100.7"), ("fd00::1", "2001:db8:7::7")] {
        let gate = stateful();
        let there = ip(inside, outside);
        gate.send(&there.tcp(&segment(1025, 80, SYN, 1000, 0))).unwrap();
        // The server takes the old one to be alive.
        let challenge = there.back().tcp(&segment(80, 1025, ACK, 77_777, 999_999));
        assert_eq!(gate.receive(&challenge), dropped(Reason::StateMismatch));
        let answers = gate.answers();
        assert_eq!(answers.len(), 1);
        assert_eq!(sound(&answers[0]), ends(&there.tcp(&segment(1025, 80, 0, 0, 0))));
        let (_, at) = transport(&answers[0]).unwrap();
        let expected = there.tcp(&segment(1025, 80, RST, 999_999, 0).with_window(0));
        assert_eq!(answers[0][at..], expected[at..]);
        // No answer to a forgery, and none to a reset.
        let mut damaged = challenge.clone();
        damaged[at + 8] ^= 1;
        assert_eq!(gate.receive(&damaged), dropped(Reason::StateMismatch));
        let reset = there.back().tcp(&segment(80, 1025, RST | ACK, 77_777, 999_999));
        assert_eq!(gate.receive(&reset), dropped(Reason::StateMismatch));
        assert_eq!(gate.answers().len(), 0);
        // The SYN comes again, and all is well.
        gate.send(&there.tcp(&segment(1025, 80, SYN, 1000, 0))).unwrap();
        gate.receive(&there.back().tcp(&segment(80, 1025, SYN | ACK, 9000, 1001)))
            .unwrap();
    }
}

#[test]
fn a_port_that_is_refused_says_so() {
    let gate = stateful();
    gate.send(&there().tcp(&segment(1025, 80, SYN, 1000, 0))).unwrap();
    let blind = there().back().tcp(&segment(80, 1025, RST, 0, 0));
    assert_eq!(gate.receive(&blind), dropped(Reason::StateMismatch));
    let refusal = there().back().tcp(&segment(80, 1025, RST | ACK, 0, 1001));
    assert_eq!(gate.receive(&refusal), Ok(refusal));
    assert_eq!(gate.state().timeout, PFTM_TCP_CLOSED);
}

#[test]
fn a_closed_connection_makes_way() {
    let gate = stateful();
    open(&gate, [None, None]);
    gate.receive(&there().back().tcp(&segment(80, 1025, RST, 9001, 0)))
        .unwrap();
    let id = gate.state().id;
    gate.send(&there().tcp(&segment(1025, 80, SYN, 500_000, 0))).unwrap();
    assert_ne!(gate.state().id, id);
    assert_eq!((gate.state().timeout, gate.rule(1).states), (PFTM_TCP_FIRST_PACKET, 1));
    // By the rules of now: where they let nobody in, nobody comes.
    gate.receive(&there().back().tcp(&segment(80, 1025, RST | ACK, 0, 500_001)))
        .unwrap();
    gate.load_filter(&[block()]);
    assert_eq!(gate.send(&there().tcp(&segment(1025, 80, SYN, 600_000, 0))), BLOCKED);
    assert_eq!(gate.states(), 0);
}

/// What was dumped of one filter, restored into another.
fn restored(from: &Gate) -> Gate {
    let records = from.machine().dump();
    let gate = stateful();
    gate.each(|machine| assert_eq!(machine.add_states(&records), Ok(records.len())));
    gate
}

#[test]
fn a_connection_goes_on_behind_a_filter_that_restored_it() {
    type Seen = fn(&Gate);
    let seen: [Seen; 4] = [
        // The SYN alone, the handshake in part, all of it, and some data.
        |gate| {
            gate.send(&there().tcp(&segment(1025, 80, SYN, 1000, 0).with_scale(7)))
                .unwrap();
        },
        |gate| {
            gate.send(&there().tcp(&segment(1025, 80, SYN, 1000, 0).with_scale(7)))
                .unwrap();
            let answer = segment(80, 1025, SYN | ACK, 9000, 1001).with_scale(7);
            gate.receive(&there().back().tcp(&answer)).unwrap();
        },
        |gate| open(gate, [Some(7), Some(7)]),
        |gate| {
            open(gate, [Some(7), Some(7)]);
            gate.send(&there().tcp(&segment(1025, 80, ACK, 1001, 9001).with_data(500)))
                .unwrap();
        },
    ];
    for seen in seen {
        let before = stateful();
        seen(&before);
        // Both have gone on for megabytes, and either may be the first to be seen.
        let from_server = |seq: u32, ack: u32| there().back().tcp(&segment(80, 1025, ACK, seq, ack).with_data(1000));
        let from_client = |seq: u32, ack: u32| there().tcp(&segment(1025, 80, ACK, seq, ack).with_data(1000));
        for server_first in [true, false] {
            let gate = restored(&before);
            let (client, server) = (500_000_000, 700_000_000);
            assert_eq!(
                gate.receive(&there().back().tcp(&segment(80, 1025, RST, server, 0))),
                dropped(Reason::StateMismatch)
            );
            assert_eq!(
                gate.send(&there().tcp(&segment(1025, 80, SYN, client, 0))),
                dropped(Reason::StateMismatch)
            );
            if server_first {
                gate.receive(&from_server(server, client)).unwrap();
                gate.send(&from_client(client, server + 1000)).unwrap();
            } else {
                gate.send(&from_client(client, server)).unwrap();
                gate.receive(&from_server(server, client + 1000)).unwrap();
            }
            for n in 1..10 {
                gate.receive(&from_server(server + n * 1000, client + n * 1000))
                    .unwrap();
                gate.send(&from_client(client + n * 1000, server + (n + 1) * 1000))
                    .unwrap();
            }
            assert_eq!(gate.state().timeout, PFTM_TCP_ESTABLISHED);
            assert_eq!(gate.answers().len(), 0, "nobody was reset");
            gate.receive(&there().back().tcp(&segment(80, 1025, RST, server + 12_000, 0)))
                .unwrap_err();
            gate.receive(&there().back().tcp(&segment(80, 1025, RST, server + 10_000, 0)))
                .unwrap();
        }
    }
}

#[test]
fn the_log_says_what_is_wrong_with_a_segment_where_it_is_asked_for() {
    let lines = Arc::<Mutex<Vec<String>>>::default();
    let to = lines.clone();
    let log = move |_, line: std::fmt::Arguments<'_>| to.lock().unwrap().push(line.to_string());
    let machine = Machine::of(Kernel::seeded(1).with_log(Box::new(log)));
    machine.command(DIOCSTART).unwrap();
    let rules = [(pass().modulate_state(), vec![])];
    machine.load(RulesetKind::Filter, &rules).unwrap();
    let cross = |direction, packet: &[u8]| judge(&machine, 1, direction, Mbuf::from_bytes(packet));
    let seen = cross(Direction::Out, &there().tcp(&segment(1025, 80, SYN, 1000, 0))).unwrap();
    let isn = u32::from_be_bytes(seen[24..28].try_into().unwrap());
    let answer = segment(80, 1025, SYN | ACK, 9000, isn.wrapping_add(1)).with_window(1000);
    cross(Direction::In, &there().back().tcp(&answer)).unwrap();
    let strangers = [
        (segment(1025, 80, RST, 500, 0), "reset off its number"),
        (segment(1025, 80, SYN, 1 << 30, 0), "SYN inside the connection"),
        (segment(1025, 80, ACK, 3000, 0).with_data(10), "data beyond the window"),
        (
            segment(1025, 80, PUSH, 1001u32.wrapping_sub(1 << 20), 0).with_data(10),
            "data before the window",
        ),
        (segment(1025, 80, ACK, 1001, 1 << 31).with_data(10), "acknowledges "),
    ];
    let refuse = |segment: &Segment| {
        let packet = there().tcp(segment);
        assert_eq!(
            cross(Direction::Out, &packet),
            dropped(Reason::StateMismatch),
            "{segment:?}"
        );
        std::mem::take(&mut *lines.lock().unwrap())
    };
    for (stranger, _) in &strangers {
        assert_eq!(refuse(stranger), [""; 0], "unless asked");
    }
    machine.ioctl(DIOCSETDEBUG, &mut PF_DEBUG_NOISY.clone()).unwrap();
    for (stranger, what) in &strangers {
        let said = refuse(stranger);
        let begin = format!("BAD state: {what}");
        assert!(said.len() == 1 && said[0].starts_with(&begin), "{begin}, {said:?}");
        assert!(said[0].contains("10.0.0.1:1025 > 198.51.100.7:80"), "{said:?}");
        assert!(
            said[0].contains(&format!("seq={}", stranger.seq)) && said[0].len() < 256,
            "{said:?}"
        );
    }
    // One a second, where there may be many.
    machine.ioctl(DIOCSETDEBUG, &mut PF_DEBUG_MISC.clone()).unwrap();
    machine.advance(1);
    assert_eq!([0; 3].map(|_| refuse(&strangers[0].0).len()), [1, 0, 0]);
    machine.advance(1);
    assert_eq!(refuse(&strangers[0].0).len(), 1);
}
