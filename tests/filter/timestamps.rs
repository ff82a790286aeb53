//! `scrub reassemble tcp`: TTL, timestamps, and what a dump keeps of them.

use pf_abi::*;

use crate::common::Machine;
use crate::common::packets::*;
use crate::common::rules::*;
use crate::gate::{Fate, Gate, dropped};

const OLD: Fate = Err(Some(Reason::BadTimestamp));

/// A connection from 10.0.0.1 or fd00::1 port 1025 to port 80, on its way out, with timestamps.
struct Talk {
    gate: Gate,
    ip: Ip,
    /// What is added to the timestamps of either end.
    modulators: [u32; 2],
    sent: [u32; 2],
}

const CLOCKS: [u32; 2] = [70_000, 4_000_000_000];

fn gate() -> Gate {
    Gate::new(&[pass().keep_state()]).scrub(&[scrub().with(PFRULE_REASSEMBLE_TCP)])
}

/// Timestamps at an odd place.
fn stamps(val: u32, ecr: u32) -> Vec<u8> {
    [&[1, 8, 10][..], &val.to_be_bytes(), &ecr.to_be_bytes(), &[0]].concat()
}

fn found(packet: &[u8]) -> (u32, u32) {
    let (_, at) = transport(packet).unwrap();
    let word = |from: usize| u32::from_be_bytes(packet[at + from..at + from + 4].try_into().unwrap());
    (word(23), word(27))
}

impl Talk {
    fn new(ip: Ip) -> Self {
        Self::at(gate(), ip)
    }

    /// With the handshake done.
    fn at(gate: Gate, ip: Ip) -> Self {
        let mut talk = Talk {
            gate,
            ip,
            modulators: [0; 2],
            sent: [1000, 9000],
        };
        let syn = talk.segment(0, SYN, 0, CLOCKS[0], 0);
        let sent = talk.pass(0, &syn).unwrap();
        sound(&sent);
        talk.modulators[0] = found(&sent).0.wrapping_sub(CLOCKS[0]);
        assert_eq!(found(&sent).1, 0);
        talk.sent[0] += 1;
        let echo = found(&sent).0;
        let answer = talk.segment(1, SYN | ACK, 0, CLOCKS[1], echo);
        let sent = talk.pass(1, &answer).unwrap();
        sound(&sent);
        talk.modulators[1] = found(&sent).0.wrapping_sub(CLOCKS[1]);
        assert_eq!(found(&sent).1, CLOCKS[0], "its own clock comes back");
        talk.sent[1] += 1;
        assert_eq!(talk.say(0, 0, CLOCKS[0] + 1, CLOCKS[1]), Ok(()));
        talk
    }

    fn segment(&self, from: usize, flags: u8, len: usize, val: u32, ecr: u32) -> Segment {
        let (src, dst) = if from == 0 { (1025, 80) } else { (80, 1025) };
        let ack = if flags & ACK != 0 { self.sent[1 - from] } else { 0 };
        Segment {
            options: stamps(val, ecr),
            ..segment(src, dst, flags, self.sent[from], ack).with_data(len)
        }
    }

    fn pass(&self, from: usize, segment: &Segment) -> Fate {
        if from == 0 {
            self.gate.send(&self.ip.tcp(segment))
        } else {
            self.gate.receive(&self.ip.back().tcp(segment))
        }
    }

    /// Data from one end, whose clock says `val`, and which has seen the other's clock at `seen`.
    fn say(&mut self, from: usize, len: usize, val: u32, seen: u32) -> Result<(), Option<Reason>> {
        let echo = seen.wrapping_add(self.modulators[1 - from]);
        let segment = self.segment(from, ACK, len, val, echo);
        let sent = self.pass(from, &segment)?;
        sound(&sent);
        assert_eq!(found(&sent), (val.wrapping_add(self.modulators[from]), seen));
        self.sent[from] += len as u32;
        Ok(())
    }
}

fn both() -> [Ip; 2] {
    [ip("10.0.0.1", "198.51.100.7"), ip("fd00::1", "2001:db8:7::7")]
}

#[test]
fn timestamps_are_modulated_and_come_back_as_they_were() {
    for ip in both() {
        let mut talk = Talk::new(ip);
        assert_ne!(talk.modulators, [0; 2]);
        assert_ne!(talk.modulators[0], talk.modulators[1]);
        for n in 0..5 {
            assert_eq!(
                talk.say(0, 100, CLOCKS[0] + n * 10, CLOCKS[1] + (n * 10).saturating_sub(5)),
                Ok(())
            );
            assert_eq!(talk.say(1, 1000, CLOCKS[1] + n * 10 + 5, CLOCKS[0] + n * 10), Ok(()));
        }
    }
    // Nobody can tell the connections of a host from one another.
    let talks: Vec<_> = (1..4)
        .map(|n| Talk::new(ip(&format!("10.0.0.{n}"), "198.51.100.7")).modulators)
        .collect();
    assert_eq!(talks[0], talks[1], "each gate draws the same");
    let gate = gate();
    let mods: Vec<_> = (1..4)
        .map(|n| {
            let syn = Segment {
                options: stamps(7, 0),
                ..segment(1025 + n, 80, SYN, 1, 0)
            };
            found(&gate.send(&ip("10.0.0.1", "198.51.100.7").tcp(&syn)).unwrap()).0
        })
        .collect();
    assert!(mods[0] != mods[1] && mods[1] != mods[2]);
}

#[test]
fn a_syn_that_is_repeated_gets_the_same() {
    let gate = gate();
    let ip = &both()[0];
    let syn = |val| {
        let options = stamps(val, 0);
        found(
            &gate
                .send(&ip.tcp(&Segment {
                    options,
                    ..segment(1025, 80, SYN, 1, 0)
                }))
                .unwrap(),
        )
        .0
    };
    assert_eq!(syn(100).wrapping_add(1000), syn(1100));
}

#[test]
fn what_goes_back_or_ahead_is_dropped() {
    for ip in both() {
        let mut talk = Talk::new(ip);
        let [a, b] = CLOCKS;
        assert_eq!(talk.say(0, 10, a + 100, b), Ok(()));
        assert_eq!(talk.say(1, 10, b + 100, a + 100), Ok(()));
        // Older than what the other end has seen.
        assert_eq!(talk.say(0, 10, a + 99, b + 100), OLD.map(drop));
        assert_eq!(talk.say(0, 10, a + 100, b + 100), Ok(()));
        // Out of order, but not seen by the other end yet.
        assert_eq!(talk.say(0, 10, a + 500, b + 100), Ok(()));
        assert_eq!(talk.say(0, 10, a + 400, b + 100), Ok(()));
        // Faster than any clock: 30 seconds are forgiven.
        assert_eq!(talk.say(0, 10, a + 500 + 31 * 1100 + 1, b + 100), OLD.map(drop));
        assert_eq!(talk.say(0, 10, a + 500 + 31 * 1100, b + 100), Ok(()));
        talk.gate.advance(100);
        let a = a + 500 + 31 * 1100;
        assert_eq!(talk.say(0, 10, a + 131 * 1100 + 1, b + 100), OLD.map(drop));
        talk.gate.each(|machine| machine.set_timeout(Timeout::TsDiff, 60));
        assert_eq!(talk.say(0, 10, a + 131 * 1100 + 1, b + 100), Ok(()));
    }
}

#[test]
fn what_was_never_sent_is_not_echoed() {
    for ip in both() {
        let mut talk = Talk::new(ip);
        let [a, b] = CLOCKS;
        for (echo, fate) in [
            (b + 1, Err(Some(Reason::BadTimestamp))),
            (b - 1, Err(Some(Reason::BadTimestamp))),
            (b.wrapping_add(1 << 31), Err(Some(Reason::BadTimestamp))),
            (b, Ok(())),
        ] {
            assert_eq!(talk.say(0, 10, a + 1, echo), fate, "{echo}");
        }
    }
}

#[test]
fn a_clock_that_stood_for_24_days_may_say_anything() {
    let mut talk = Talk::new(both()[0].clone());
    let [a, b] = CLOCKS;
    assert_eq!(talk.say(1, 10, b + 10, a + 1), Ok(()));
    talk.gate.advance(24 * 24 * 60 * 60);
    assert_eq!(talk.say(0, 10, a - 5000, b + 10), Ok(()));
    assert_eq!(talk.say(1, 10, b + 5, a - 5000), Ok(()));
}

#[test]
fn data_without_a_timestamp_has_lost_it() {
    let ip = both()[0].clone();
    let mut talk = Talk::new(ip.clone());
    let without = |talk: &Talk, flags, len| {
        let segment = Segment {
            options: vec![],
            ..talk.segment(0, flags, len, 0, 0)
        };
        let packet = talk.ip.tcp(&segment);
        (talk.gate.send(&packet), packet)
    };
    // Nothing was expected yet.
    let (fate, packet) = without(&talk, ACK, 0);
    assert_eq!(fate, Ok(packet));
    assert_eq!(talk.say(0, 10, CLOCKS[0] + 1, CLOCKS[1]), Ok(()));
    assert_eq!(without(&talk, ACK, 10).0, OLD);
    let (fate, packet) = without(&talk, ACK, 0);
    assert_eq!(fate, Ok(packet));
    // Somebody on the way takes them out of all data: so be it.
    let mut talk = Talk::new(ip);
    let (fate, packet) = without(&talk, ACK, 10);
    assert_eq!(fate, Ok(packet));
    talk.sent[0] += 10;
    let (fate, packet) = without(&talk, ACK, 10);
    assert_eq!(fate, Ok(packet));
}

#[test]
fn a_reset_is_believed_by_its_sequence_number_alone() {
    let talk = Talk::new(both()[0].clone());
    let reset = Segment {
        options: vec![],
        ..talk.segment(1, RST, 0, 0, 0)
    };
    let packet = talk.ip.back().tcp(&reset);
    assert_eq!(talk.gate.receive(&packet), Ok(packet));
    let talk = Talk::new(both()[0].clone());
    assert!(talk.pass(1, &talk.segment(1, RST, 0, 1, 1)).is_ok());
}

#[test]
fn the_ttl_never_sinks() {
    for ip in both() {
        let mut talk = Talk::new(ip.clone());
        let at = if ip.src.is_ipv4() { 8 } else { 7 };
        let mut ttl = |ttl| {
            talk.ip.ttl = ttl;
            let packet = talk.segment(0, ACK, 0, CLOCKS[0] + 1, 0);
            let sent = talk.pass(0, &packet).unwrap();
            sound(&sent);
            sent[at]
        };
        assert_eq!([64, 1, 63, 70, 64, 70].map(&mut ttl), [64, 64, 64, 70, 70, 70]);
        // Each end has its own.
        talk.ip.ttl = 20;
        let packet = talk.segment(1, ACK, 0, CLOCKS[1] + 1, 0);
        assert_eq!(talk.pass(1, &packet).unwrap()[at], 64);
        // What does not belong to the connection changes nothing.
        talk.ip.ttl = 200;
        let stray = Segment {
            seq: 0x4000_0000,
            ..talk.segment(0, ACK, 9, CLOCKS[0] + 1, 0)
        };
        assert_eq!(talk.pass(0, &stray), dropped(Reason::StateMismatch));
        talk.ip.ttl = 64;
        let packet = talk.segment(0, ACK, 0, CLOCKS[0] + 1, 0);
        assert_eq!(talk.pass(0, &packet).unwrap()[at], 70);
    }
}

#[test]
fn connections_without_timestamps_and_from_the_middle_are_let_be() {
    let ip = &both()[0];
    let gate = gate();
    let syn = ip.tcp(&segment(1025, 80, SYN, 1000, 0));
    assert_eq!(gate.send(&syn), Ok(syn));
    let answer = Segment {
        options: stamps(7, 8),
        ..segment(80, 1025, SYN | ACK, 9000, 1001)
    };
    // One end has them: that is no agreement, but its clock is nobody's business.
    let sent = gate.receive(&ip.back().tcp(&answer)).unwrap();
    sound(&sent);
    let middle = ip.tcp(&Segment {
        options: stamps(50, 60),
        ..segment(1026, 80, ACK, 5000, 6000).with_data(20)
    });
    assert_eq!(gate.send(&middle), Ok(middle));
    // Nor is anything kept where no rule says so.
    let plain = Gate::new(&[pass().keep_state()]).scrub(&[scrub()]);
    let syn = ip.tcp(&Segment {
        options: stamps(7, 0),
        ..segment(1025, 80, SYN, 1000, 0)
    });
    assert_eq!(plain.send(&syn), Ok(syn));
    assert_eq!(plain.state().src.scrub, SyncScrub::default());
}

#[test]
fn a_restored_connection_keeps_its_modulators() {
    for ip in both() {
        let mut talk = Talk::new(ip.clone());
        let [a, b] = CLOCKS;
        assert_eq!(talk.say(0, 10, a + 10, b), Ok(()));
        assert_eq!(talk.say(1, 10, b + 10, a + 10), Ok(()));
        let state = talk.gate.state();
        assert_eq!(state.src.scrub.ts_mod, talk.modulators[0]);
        assert_eq!(state.dst.scrub.ts_mod, talk.modulators[1]);
        for scrub in [state.src.scrub, state.dst.scrub] {
            assert_eq!(
                (scrub.scrub_flag, scrub.flags, scrub.ttl),
                (PFSYNC_SCRUB_FLAG_VALID, PFSS_TIMESTAMP | PFSS_DATA_TS, 64)
            );
        }
        // Without scrub rules, and long after, both ends' clocks further on than any check would let pass.
        let new = Gate::new(&[pass().keep_state()]);
        new.each(|machine: &Machine| machine.add_state(&state).unwrap());
        assert_eq!(new.state().src.scrub, state.src.scrub);
        talk.gate = new;
        let (a, b) = (a + 1_000_000, b.wrapping_add(50_000_000));
        assert_eq!(talk.say(0, 100, a, b), Ok(()));
        assert_eq!(talk.say(1, 100, b, a), Ok(()));
        // From there on it is as strict as before.
        assert_eq!(talk.say(0, 10, a - 1, b), OLD.map(drop));
        assert_eq!(talk.say(0, 10, a + 100_000, b), OLD.map(drop));
        assert_eq!(talk.say(1, 10, b + 1, a + 1), OLD.map(drop));
        assert_eq!(talk.say(0, 10, a + 100, b), Ok(()));
        assert_eq!(talk.gate.state().src.scrub, state.src.scrub);
        talk.ip.ttl = 3;
        let packet = talk.segment(0, ACK, 0, a + 100, 0);
        let at = if ip.src.is_ipv4() { 8 } else { 7 };
        assert_eq!(talk.pass(0, &packet).unwrap()[at], 64);
    }
}

#[test]
fn a_restored_handshake_goes_on() {
    let ip = both()[0].clone();
    let old = gate();
    let syn = Segment {
        options: stamps(CLOCKS[0], 0),
        ..segment(1025, 80, SYN, 1000, 0)
    };
    let sent = found(&old.send(&ip.tcp(&syn)).unwrap()).0;
    let state = old.state();
    let new = Gate::new(&[pass().keep_state()]);
    new.each(|machine: &Machine| machine.add_state(&state).unwrap());
    let answer = Segment {
        options: stamps(5, sent),
        ..segment(80, 1025, SYN | ACK, 9000, 1001)
    };
    let answer = new.receive(&ip.back().tcp(&answer)).unwrap();
    sound(&answer);
    assert_eq!(found(&answer).1, CLOCKS[0]);
    assert_ne!(
        found(&answer).0,
        5,
        "the other end is modulated from its first segment on"
    );
}
