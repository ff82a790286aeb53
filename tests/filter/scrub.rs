//! What scrub rules change in whole packets.

use pf_abi::*;

use crate::common::packets::*;
use crate::common::rules::*;
use crate::gate::{BLOCKED, Gate, dropped};

fn v4() -> Ip {
    ip("10.0.0.1", "198.51.100.7")
}

fn v6() -> Ip {
    ip("fd00::1", "2001:db8:7::7")
}

/// A gate with one scrub rule that lets everything pass.
fn gate(rule: Rule) -> Gate {
    Gate::new(&[pass().allow_opts()]).scrub(&[rule])
}

/// The packet with other bytes at a place, and IPv4's checksum to fit.
fn with(packet: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    packet[at..at + bytes.len()].copy_from_slice(bytes);
    if packet[0] >> 4 == 4 {
        packet[10..12].fill(0);
        let sum = checksum(&[&packet[..usize::from(packet[0] & 15) * 4]]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    packet
}

#[test]
fn min_ttl_raises_what_is_less() {
    for ip in [v4(), v6()] {
        let at = if ip.src.is_ipv4() { 8 } else { 7 };
        let packet = ip.udp(1025, 53, b"question");
        let gate = gate(scrub().min_ttl(40));
        for (ttl, then) in [(1, 40), (39, 40), (40, 40), (41, 41), (255, 255)] {
            let before = with(&packet, at, &[ttl]);
            assert_eq!(gate.send(&before), Ok(with(&packet, at, &[then])), "{ttl}");
        }
    }
}

#[test]
fn no_df_lets_routers_fragment() {
    let packet = with(&v4().udp(1025, 53, b"question"), 6, &[0x40, 0]);
    assert_eq!(gate(scrub()).send(&packet), Ok(packet.clone()));
    let gate = gate(scrub().with(PFRULE_NODF));
    assert_eq!(gate.send(&packet), Ok(with(&packet, 6, &[0, 0])));
    // What has no identification gets one, as it may need it now.
    let without_id = with(&packet, 4, &[0, 0]);
    let sent = gate.send(&without_id).unwrap();
    assert_eq!(sound(&sent), sound(&packet));
    assert_ne!(sent[4..6], [0, 0]);
    assert_eq!(sent, with(&with(&packet, 4, &sent[4..6]), 6, &[0, 0]));
    // IPv6 has no such bit.
    let packet = v6().udp(1025, 53, b"question");
    assert_eq!(gate.send(&packet), Ok(packet));
}

#[test]
fn random_id_gives_each_packet_another() {
    let packet = v4().udp(1025, 53, b"question");
    let gate = gate(scrub().with(PFRULE_RANDOMID));
    let ids: std::collections::BTreeSet<_> = (0..20)
        .map(|_| {
            let sent = gate.send(&packet).unwrap();
            sound(&sent);
            assert_eq!(with(&sent, 4, &packet[4..6]), packet);
            [sent[4], sent[5]]
        })
        .collect();
    assert!(ids.len() > 15 && !ids.contains(&[0, 0]), "{ids:?}");
}

#[test]
fn max_mss_lowers_what_a_syn_offers() {
    for ip in [v4(), v6()] {
        let syn = |options: &[u8], flags| {
            ip.tcp(&Segment {
                options: options.to_vec(),
                ..segment(1025, 80, flags, 1000, 0)
            })
        };
        let gate = gate(scrub().max_mss(1400));
        // At an even and at an odd place.
        for (before, after) in [
            (&[2, 4, 0x05, 0xb4][..], &[2, 4, 0x05, 0x78][..]),
            (&[1, 2, 4, 0x05, 0xb4, 1, 1, 1], &[1, 2, 4, 0x05, 0x78, 1, 1, 1]),
            (&[2, 4, 0x05, 0x78], &[2, 4, 0x05, 0x78]),
            (&[2, 4, 0x02, 0x00], &[2, 4, 0x02, 0x00]),
            (&[3, 3, 7, 1], &[3, 3, 7, 1]),
            (&[], &[]),
        ] {
            assert_eq!(gate.send(&syn(before, SYN)), Ok(syn(after, SYN)));
            assert_eq!(gate.send(&syn(before, SYN | ACK)), Ok(syn(after, SYN | ACK)));
        }
        // It means nothing elsewhere.
        let other = syn(&[2, 4, 0x05, 0xb4], ACK);
        assert_eq!(gate.send(&other), Ok(other));
        // The state knows what the other end will hear.
        gate.load_filter(&[pass().keep_state()]);
        gate.send(&syn(&[2, 4, 0x05, 0xb4], SYN)).unwrap();
        assert_eq!(gate.state().src.mss, 1400);
    }
}

#[test]
fn the_first_rule_that_matches_decides() {
    let packet = |port| v4().udp(1025, port, b"question");
    let ttl = |gate: &Gate, packet: &[u8]| gate.send(packet).unwrap()[8];
    let gate = Gate::new(&[]).scrub(&[
        no_scrub().proto(UDP).port(53),
        scrub().inward().min_ttl(200),
        scrub().proto(UDP).port(54).min_ttl(100),
        scrub().on("em1").min_ttl(110),
        scrub().to("198.51.100.0/24").min_ttl(120),
        scrub().min_ttl(130),
    ]);
    assert_eq!(ttl(&gate, &packet(53)), 64);
    assert_eq!(ttl(&gate, &packet(54)), 100);
    assert_eq!(ttl(&gate, &packet(55)), 120);
    assert_eq!(gate.receive(&v4().back().udp(53, 1025, b"answer")).unwrap()[8], 200);
    assert_eq!(gate.send_inside(&packet(55)).unwrap()[8], 110);
    let elsewhere = ip("10.0.0.1", "203.0.113.1").udp(1025, 53, b"x");
    assert_eq!(ttl(&gate, &elsewhere), 64);
    let elsewhere = ip("10.0.0.1", "203.0.113.1").ping(1);
    assert_eq!(ttl(&gate, &elsewhere), 130);
    // Each is counted by the rule that changed it.
    let counted: Vec<_> = gate
        .machine()
        .rules(Action::Scrub)
        .iter()
        .map(|rule| rule.packets)
        .collect();
    assert_eq!(counted, [[0, 0], [1, 0], [0, 1], [0, 1], [0, 1], [0, 1]]);
}

#[test]
fn tcp_flags_that_make_no_sense_are_refused_or_repaired() {
    let tcp = |flags, urgent: u16| {
        let mut segment = segment(1025, 80, flags, 1000, 0);
        segment.options = vec![];
        let packet = v4().tcp(&segment);
        // The urgent pointer, and the checksum to fit.
        let sum = !(u16::from_be_bytes([packet[36], packet[37]]));
        let (sum, carry) = sum.overflowing_add(urgent);
        let sum = !(sum + u16::from(carry));
        let packet = with(&packet, 38, &urgent.to_be_bytes());
        with(&packet, 36, &sum.to_be_bytes())
    };
    let gate = gate(scrub());
    for flags in [
        0,
        FIN,
        PUSH,
        32,
        SYN | RST,
        SYN | 32,
        SYN | PUSH,
        RST | FIN,
        FIN | PUSH | 32,
    ] {
        assert_eq!(gate.send(&tcp(flags, 0)), dropped(Reason::Normalize), "{flags}");
        // Without a rule it is nobody's business.
        let packet = tcp(flags, 0);
        assert_eq!(Gate::new(&[]).send(&packet), Ok(packet));
    }
    for flags in [
        SYN,
        SYN | ACK,
        ACK,
        FIN | ACK,
        RST,
        RST | ACK,
        ACK | PUSH,
        ACK | 32 | PUSH,
    ] {
        assert_eq!(gate.send(&tcp(flags, 0)), Ok(tcp(flags, 0)), "{flags}");
    }
    assert_eq!(gate.send(&tcp(SYN | FIN | ACK, 0)), Ok(tcp(SYN | ACK, 0)));
    assert_eq!(gate.send(&tcp(ACK, 700)), Ok(tcp(ACK, 0)));
    assert_eq!(gate.send(&tcp(ACK | 32, 700)), Ok(tcp(ACK | 32, 700)));
    // What is refused is not seen by the rules.
    gate.load_filter(&[block()]);
    assert_eq!(gate.send(&tcp(0, 0)), dropped(Reason::Normalize));
    assert_eq!(gate.send(&tcp(SYN, 0)), BLOCKED);
}

#[test]
fn a_damaged_packet_stays_damaged() {
    let mut packet = v4().tcp(&Segment {
        options: vec![2, 4, 5, 0xb4],
        ..segment(1025, 80, SYN, 1000, 0)
    });
    packet[36] ^= 1;
    packet[10] ^= 1;
    let gate = gate(scrub().max_mss(1000).min_ttl(100).with(PFRULE_RANDOMID));
    let sent = gate.send(&packet).unwrap();
    assert_eq!(wrong_checksums(&sent), ["IP", "TCP"]);
}

#[test]
fn a_driver_s_name_is_all_of_its_interfaces() {
    let packet = v4().udp(1025, 53, b"question");
    let ttls = |gate: &Gate| [gate.send(&packet), gate.send_inside(&packet)].map(|sent| sent.unwrap()[8]);
    assert_eq!(ttls(&gate(scrub().on("em").min_ttl(100))), [100, 100]);
    assert_eq!(ttls(&gate(scrub().on("! em").min_ttl(100))), [64, 64]);
    assert_eq!(ttls(&gate(scrub().on("re").min_ttl(100))), [64, 64]);
}
