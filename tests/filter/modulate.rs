//! `modulate state`: either end sees numbers of the other that are not its own, and the connection is none the worse for it.

use pf_abi::*;

use crate::common::packets::*;
use crate::common::rules::*;
use crate::gate::{Fate, Gate, dropped};

/// What pfctl(8) makes of `pass modulate state`, with NAT for whoever is inside, and with a server there.
fn gate() -> Gate {
    Gate::new(&[block(), pass().flags(SYN, SYN | ACK).modulate_state()])
}

const FAMILIES: [(&str, &str); 2] = [("10.0.0.1", "198.51.100.7"), ("fd00::1", "2001:db8:7::7")];

/// The numbers of a segment: its sequence number, and what it acknowledges.
fn numbers(packet: &[u8]) -> (u32, u32) {
    let (_, at) = transport(packet).unwrap();
    let number = |at: usize| u32::from_be_bytes(packet[at..at + 4].try_into().unwrap());
    (number(at + 4), number(at + 8))
}

/// Where each end's numbers begin, as it has them itself.
const CLIENT: u32 = 0xffff_fff0;
const SERVER: u32 = 9000;

/// A connection from the inside to the outside, of which each end is seen as the other sees it.
struct Connection<'a> {
    gate: &'a Gate,
    there: Ip,
    /// What is added to the client's numbers, and to the server's.
    shifts: (u32, u32),
}

impl<'a> Connection<'a> {
    fn open(gate: &'a Gate, there: Ip) -> Self {
        let syn = there.tcp(&segment(1025, 80, SYN, CLIENT, 0).with_scale(7));
        let seen = gate.send(&syn).unwrap();
        assert_eq!(wrong_checksums(&seen), [""; 0]);
        let client = numbers(&seen).0.wrapping_sub(CLIENT);
        assert_eq!(numbers(&seen).1, 0, "a SYN acknowledges nothing");
        let mut connection = Connection {
            gate,
            there,
            shifts: (client, 0),
        };
        let answer = connection.say_server(&segment(80, 1025, SYN | ACK, SERVER, CLIENT.wrapping_add(1)).with_scale(7));
        let seen = answer.unwrap();
        connection.shifts.1 = numbers(&seen).0.wrapping_sub(SERVER);
        assert_eq!(numbers(&seen).1, CLIENT.wrapping_add(1));
        connection.client(&segment(1025, 80, ACK, CLIENT.wrapping_add(1), SERVER + 1));
        assert_eq!(gate.state().timeout, PFTM_TCP_ESTABLISHED);
        assert!(connection.shifts.0 != 0 && connection.shifts.1 != 0);
        connection
    }

    /// A segment of the client's with its own numbers and those that it has seen of the server.
    fn say_client(&self, segment: &Segment) -> Fate {
        let ack = match segment.flags & ACK {
            0 => 0,
            _ => segment.ack.wrapping_add(self.shifts.1),
        };
        self.gate.send(&self.there.tcp(&Segment { ack, ..segment.clone() }))
    }

    fn say_server(&self, segment: &Segment) -> Fate {
        let ack = match segment.flags & ACK {
            0 => 0,
            _ => segment.ack.wrapping_add(self.shifts.0),
        };
        self.gate
            .receive(&self.there.back().tcp(&Segment { ack, ..segment.clone() }))
    }

    /// A segment of the client's passes, and the server sees it as the numbers have it on its side.
    fn client(&self, segment: &Segment) {
        let seq = segment.seq.wrapping_add(self.shifts.0);
        let expected = self.there.tcp(&Segment { seq, ..segment.clone() });
        assert_eq!(self.say_client(segment), Ok(expected));
    }

    fn server(&self, segment: &Segment) {
        let seq = segment.seq.wrapping_add(self.shifts.1);
        let expected = self.there.back().tcp(&Segment { seq, ..segment.clone() });
        assert_eq!(self.say_server(segment), Ok(expected));
    }
}

#[test]
fn each_end_sees_other_numbers_in_both_families_and_directions() {
    for (inside, outside) in FAMILIES {
        for there in [ip(inside, outside), ip(outside, inside)] {
            let gate = gate();
            let connection = Connection::open(&gate, there);
            let client = CLIENT.wrapping_add(1);
            connection.client(&segment(1025, 80, ACK | PUSH, client, SERVER + 1).with_data(100));
            connection.server(&segment(80, 1025, ACK, SERVER + 1, client.wrapping_add(100)).with_data(1001));
            connection.client(&segment(1025, 80, ACK | FIN, client.wrapping_add(100), SERVER + 1002));
            connection.server(&segment(80, 1025, ACK | FIN, SERVER + 1002, client.wrapping_add(101)));
            connection.client(&segment(1025, 80, ACK, client.wrapping_add(101), SERVER + 1003));
            assert_eq!(gate.state().timeout, PFTM_TCP_CLOSED);
        }
    }
}

#[test]
fn what_is_said_again_gets_the_same_numbers() {
    let gate = gate();
    let there = ip("10.0.0.1", "198.51.100.7");
    let syn = there.tcp(&segment(1025, 80, SYN, CLIENT, 0));
    let first = gate.send(&syn).unwrap();
    gate.advance(3);
    assert_eq!(gate.send(&syn), Ok(first.clone()));
    let ack = numbers(&first).0.wrapping_add(1);
    let answer = there.back().tcp(&segment(80, 1025, SYN | ACK, SERVER, ack));
    let seen = gate.receive(&answer);
    gate.advance(3);
    assert_eq!(gate.receive(&answer), seen);
    assert_eq!(gate.send(&syn), Ok(first));
    // The next connection gets others.
    let other = gate.send(&there.tcp(&segment(1026, 80, SYN, CLIENT, 0))).unwrap();
    assert!(numbers(&other).0.abs_diff(ack) > 1_000_000);
}

#[test]
fn selective_acknowledgments_are_shifted_wherever_they_lie() {
    let gate = gate();
    let connection = Connection::open(&gate, ip("10.0.0.1", "198.51.100.7"));
    let client = CLIENT.wrapping_add(1);
    connection.server(&segment(80, 1025, ACK, SERVER + 1, client).with_data(1000));
    connection.server(&segment(80, 1025, ACK, SERVER + 2001, client).with_data(1000));
    let blocks = |padding: usize, edges: &[u32]| {
        let mut options = vec![1; padding];
        options.extend([5, (2 + edges.len() * 4) as u8]);
        options.extend(edges.iter().flat_map(|edge| edge.to_be_bytes()));
        options.resize(options.len().next_multiple_of(4), 0);
        options
    };
    let edges = [SERVER + 2001, SERVER + 3001, u32::MAX, 5];
    for padding in 0..4 {
        let sack = |edges: &[u32]| Segment {
            options: blocks(padding, edges),
            ..segment(1025, 80, ACK, client, SERVER + 1001)
        };
        let told = sack(&edges.map(|edge| edge.wrapping_add(connection.shifts.1)));
        let seen = connection.say_client(&told).unwrap();
        let expected = Segment {
            seq: client.wrapping_add(connection.shifts.0),
            ..sack(&edges)
        };
        assert_eq!(seen, connection.there.tcp(&expected));
    }
    // What is no option for sure is left alone.
    let odd = Segment {
        options: vec![5, 9, 0, 0, 0, 1, 0, 0, 0, 2, 5, 40],
        ..segment(1025, 80, ACK, client, SERVER + 1001)
    };
    connection.client(&odd);
}

#[test]
fn a_connection_that_is_picked_up_in_the_middle_keeps_its_numbers() {
    let gate = Gate::new(&[pass().modulate_state()]);
    let there = ip("10.0.0.1", "198.51.100.7");
    for first in [
        segment(1025, 80, ACK, 5000, 9000).with_data(100),
        segment(1026, 80, SYN | ACK, 5000, 9000),
        segment(1027, 80, FIN | ACK, 5000, 9000),
    ] {
        let packet = there.tcp(&first);
        assert_eq!(gate.send(&packet), Ok(packet));
    }
    // So does the end of which the SYN|ACK has gone another way.
    let syn = gate.send(&there.tcp(&segment(1028, 80, SYN, 1000, 0))).unwrap();
    let ack = gate.send(&there.tcp(&segment(1028, 80, ACK, 1001, 9001))).unwrap();
    let shift = numbers(&syn).0.wrapping_sub(1000);
    assert_eq!(numbers(&ack), (1001u32.wrapping_add(shift), 9001));
    let late = there
        .back()
        .tcp(&segment(80, 1028, SYN | ACK, 9000, 1001u32.wrapping_add(shift)));
    assert_eq!(numbers(&gate.receive(&late).unwrap()), (9000, 1001));
    assert!(gate.machine().dump().iter().all(|state| state.dst.seqdiff == 0));
}

#[test]
fn windows_are_what_they_are_without() {
    let plain = Gate::new(&[block(), pass().flags(SYN, SYN | ACK).keep_state()]);
    let there = ip("10.0.0.1", "198.51.100.7");
    plain
        .send(&there.tcp(&segment(1025, 80, SYN, CLIENT, 0).with_scale(7)))
        .unwrap();
    let client = CLIENT.wrapping_add(1);
    plain
        .receive(
            &there
                .back()
                .tcp(&segment(80, 1025, SYN | ACK, SERVER, client).with_scale(7)),
        )
        .unwrap();
    plain
        .send(&there.tcp(&segment(1025, 80, ACK, client, SERVER + 1)))
        .unwrap();
    let gate = gate();
    let connection = Connection::open(&gate, there);
    let mut mismatches = 0;
    for n in 0..400u32 {
        // Steps that are within every window, at an edge, and beyond.
        let step = n.wrapping_mul(0x9e37_79b9) >> (7 + n % 25);
        let data = segment(
            1025,
            80,
            ACK | if n % 97 == 96 { RST } else { 0 },
            client.wrapping_add(step),
            SERVER + 1,
        );
        let back = segment(80, 1025, ACK, SERVER + 1, client.wrapping_add(step / 2)).with_data(n as usize);
        for (packet, from_client) in [(data.with_data(7), true), (back, false)] {
            let (without, with) = if from_client {
                (
                    plain.send(&connection.there.tcp(&packet)),
                    connection.say_client(&packet),
                )
            } else {
                (
                    plain.receive(&connection.there.back().tcp(&packet)),
                    connection.say_server(&packet),
                )
            };
            assert_eq!(
                without.as_ref().map(Vec::len),
                with.as_ref().map(Vec::len),
                "{packet:?}"
            );
            mismatches += usize::from(without == dropped(Reason::StateMismatch));
        }
    }
    assert!((50..750).contains(&mismatches), "{mismatches}");
    let peers =
        |state: SyncState| [state.src, state.dst].map(|peer| (peer.seqlo, peer.seqhi, peer.max_win, peer.state));
    assert_eq!(peers(gate.state()), peers(plain.state()));
}

#[test]
fn a_reset_hits_on_both_sides() {
    let gate = gate();
    let connection = Connection::open(&gate, ip("10.0.0.1", "198.51.100.7"));
    let bare = segment(80, 1025, RST, SERVER + 1, 0);
    let shifted = Segment {
        seq: bare.seq.wrapping_add(connection.shifts.1),
        ..bare.clone()
    };
    let there = &connection.there;
    assert_eq!(
        gate.receive(&there.back().tcp(&shifted)),
        dropped(Reason::StateMismatch)
    );
    assert_eq!(gate.receive(&there.back().tcp(&bare)), Ok(there.back().tcp(&shifted)));
    // One that refuses the connection acknowledges the SYN as the server has seen it.
    let seen = gate.send(&there.tcp(&segment(1026, 80, SYN, 5, 0))).unwrap();
    let refusal = there
        .back()
        .tcp(&segment(80, 1026, RST | ACK, 0, numbers(&seen).0.wrapping_add(1)));
    let expected = there.back().tcp(&segment(80, 1026, RST | ACK, 0, 6));
    assert_eq!(gate.receive(&refusal), Ok(expected));
}

#[test]
fn icmp_errors_quote_the_numbers_that_their_receiver_knows() {
    for (inside, outside) in FAMILIES {
        for nat in [false, true] {
            let gate = if nat && inside.contains('.') {
                gate().nat(&[crate::common::rules::nat("192.0.2.1").on("em0")])
            } else {
                gate()
            };
            let there = ip(inside, outside);
            let syn = there.tcp(&segment(1025, 80, SYN, CLIENT, 0));
            let seen = gate.send(&syn).unwrap();
            let (src, _) = addresses(&seen);
            let router = ip(outside, &src.to_string());
            // All of it, the fixed header, and the eight bytes that there have to be.
            let (_, at) = transport(&seen).unwrap();
            for quoted in [seen.len(), at + 18, at + 8] {
                let error = gate.receive(&router.error(&seen[..quoted])).unwrap();
                assert_eq!(error, ip(outside, inside).error(&syn[..quoted]), "{quoted}");
            }
            // About a number that was never sent.
            let mut forged = seen.clone();
            forged[at + 4] ^= 0x80;
            assert_eq!(gate.receive(&router.error(&forged)), dropped(Reason::StateMismatch));
        }
    }
}

#[test]
fn a_modulated_connection_outlives_dump_and_restore() {
    let before = gate();
    let shifts = Connection::open(&before, ip("10.0.0.1", "198.51.100.7")).shifts;
    let records = before.machine().dump();
    assert_eq!((records[0].src.seqdiff, records[0].dst.seqdiff), shifts);
    let after = gate();
    after.each(|machine| assert_eq!(machine.add_states(&records), Ok(1)));
    let connection = Connection {
        gate: &after,
        there: ip("10.0.0.1", "198.51.100.7"),
        shifts,
    };
    // Both have gone on meanwhile.
    let (client, server) = (CLIENT.wrapping_add(50_000_000), SERVER + 70_000_000);
    connection.server(&segment(80, 1025, ACK, server, client).with_data(1000));
    connection.client(&segment(1025, 80, ACK, client, server + 1000).with_data(10));
    connection.server(&segment(80, 1025, ACK, server + 1000, client + 10));
    let restored = after.state();
    assert_eq!((restored.src.seqdiff, restored.dst.seqdiff), shifts);
    // Of one whose answer was still to come, nobody knows whether it has come meanwhile: the server keeps its numbers.
    let before = gate();
    let there = ip("10.0.0.1", "198.51.100.7");
    let syn = there.tcp(&segment(1025, 80, SYN, CLIENT, 0));
    let seen = before.send(&syn).unwrap();
    let records = before.machine().dump();
    let after = gate();
    after.each(|machine| assert_eq!(machine.add_states(&records), Ok(1)));
    assert_eq!(after.send(&syn), Ok(seen.clone()));
    let answer = segment(80, 1025, SYN | ACK, SERVER, numbers(&seen).0.wrapping_add(1));
    let seen = after.receive(&there.back().tcp(&answer)).unwrap();
    assert_eq!(wrong_checksums(&seen), [""; 0]);
    assert_eq!(numbers(&seen), (SERVER, CLIENT.wrapping_add(1)));
}

#[test]
fn it_is_a_matter_of_tcp_alone() {
    let gate = Gate::new(&[pass().modulate_state()]);
    let there = ip("10.0.0.1", "198.51.100.7");
    for packet in [
        there.udp(1025, 53, b"query"),
        there.ping(7),
        there.packet(GRE, &[0; 40]),
    ] {
        assert_eq!(gate.send(&packet), Ok(packet));
    }
    assert_eq!(gate.states(), 3);
}

#[test]
fn a_damaged_segment_stays_damaged() {
    let gate = gate();
    let connection = Connection::open(&gate, ip("10.0.0.1", "198.51.100.7"));
    let client = CLIENT.wrapping_add(1);
    let ack = (SERVER + 1).wrapping_add(connection.shifts.1);
    let mut packet = connection
        .there
        .tcp(&segment(1025, 80, ACK, client, ack).with_data(100));
    *packet.last_mut().unwrap() ^= 1;
    assert_eq!(wrong_checksums(&gate.send(&packet).unwrap()), ["TCP"]);
}
