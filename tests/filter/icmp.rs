//! ICMP errors: whose they are, what they quote, and what a translation has to change in them.

use pf_abi::*;

use crate::common::packets::*;
use crate::common::rules::*;
use crate::gate::{BLOCKED, Gate, dropped};

/// A connection from the inside to the outside, and what the outside sees it come from.
struct Family {
    inside: &'static str,
    gateway: &'static str,
    outside: &'static str,
    /// Somebody on the way, outside and inside.
    router: &'static str,
    inner_router: &'static str,
}

const FAMILIES: [Family; 2] = [
    Family {
        inside: "10.0.0.1",
        gateway: "192.0.2.1",
        outside: "198.51.100.7",
        router: "203.0.113.9",
        inner_router: "10.9.9.9",
    },
    Family {
        inside: "fd00::1",
        gateway: "2001:db8::1",
        outside: "2001:db8:7::7",
        router: "2001:db8:9::9",
        inner_router: "fd00:9::9",
    },
];

impl Family {
    fn nat(&self) -> Gate {
        Gate::new(&[pass().keep_state()]).nat(&[nat(self.gateway).on("em0").outward().from(self.inside)])
    }

    /// The gateway's address stands for a server inside.
    fn rdr(&self) -> Gate {
        Gate::new(&[pass().keep_state()]).rdr(&[
            rdr(self.inside).on("em0").to(self.gateway).proto(TCP).ports(8080, 0),
            rdr(self.inside).on("em0").to(self.gateway).proto(UDP).ports(8080, 0),
            rdr(self.inside).on("em0").to(self.gateway),
        ])
    }
}

/// Packets of each protocol between two ports, or with an identifier.
fn kinds(ip: &Ip, src_port: u16, dst_port: u16) -> Vec<Vec<u8>> {
    vec![
        ip.tcp(&segment(src_port, dst_port, SYN, 1000, 0).with_data(700)),
        ip.udp(src_port, dst_port, &[7; 700]),
        ip.ping(src_port),
        ip.packet(GRE, &[7; 700]),
    ]
}

/// Quotations: all of a packet, the eight bytes of its transport header that every error has, and some lengths between. (One
/// that ends within a checksum shows half of what it was.)
fn quotations(packet: &[u8]) -> Vec<&[u8]> {
    let (proto, at) = transport(packet).unwrap();
    let mut lens = vec![packet.len(), 548.min(packet.len()), at + 8, at + 9];
    if proto == TCP {
        lens.extend([at + 15, at + 16, at + 18, at + 19, at + 20]);
    }
    lens.into_iter().filter_map(|len| packet.get(..len)).collect()
}

#[test]
fn an_error_comes_back_to_who_was_translated() {
    for family in FAMILIES {
        let (inside, gateway) = (ip(family.inside, family.outside), ip(family.gateway, family.outside));
        for sent in kinds(&inside, 1025, 80) {
            let gate = family.nat();
            let out = gate.send(&sent).unwrap();
            // From the other end itself, and from somebody on the way.
            for from in [family.outside, family.router] {
                for (quoted, original) in quotations(&out).into_iter().zip(quotations(&sent)) {
                    let error = ip(from, family.gateway).error(quoted);
                    let expected = ip(from, family.inside).error(original);
                    assert_eq!(gate.receive(&error), Ok(expected.clone()), "{}", ends(&error));
                    sound(&expected);
                }
            }
            assert_eq!(out[..1], gateway.udp(1, 1, b"")[..1]);
            let state = gate.state();
            assert_eq!(join_counter(state.packets[0]), 1);
            assert!(join_counter(state.packets[1]) >= 8);
        }
    }
}

#[test]
fn an_error_goes_out_from_who_was_translated() {
    // The outside answers, and somebody inside has no use for the answer.
    for family in FAMILIES {
        let inside = ip(family.inside, family.outside);
        for (sent, port) in kinds(&inside, 1025, 80).into_iter().zip([true, true, false, false]) {
            let gate = family.nat();
            let out = gate.send(&sent).unwrap();
            let (proto, at) = transport(&out).unwrap();
            let given = u16::from_be_bytes([out[at], out[at + 1]]);
            let id = u16::from_be_bytes([out[at + 4], out[at + 5]]);
            let answer = |ip: Ip, port: u16, id: u16| match proto {
                TCP => ip.tcp(&segment(80, port, SYN | ACK, 9000, 1701).with_data(33)),
                UDP => ip.udp(80, port, b"an answer that nobody wants"),
                GRE => ip.packet(GRE, b"back"),
                _ => ip.pong(id),
            };
            let outside = answer(ip(family.outside, family.gateway), given, id);
            let answered = gate.receive(&outside).unwrap();
            assert_eq!(answered, answer(inside.back(), 1025, 1025), "{port}");
            for from in [family.inside, family.inner_router] {
                for (quoted, original) in quotations(&answered).into_iter().zip(quotations(&outside)) {
                    let error = ip(from, family.outside).error(quoted);
                    let expected = ip(family.gateway, family.outside).error(original);
                    assert_eq!(gate.send(&error), Ok(expected), "{}", ends(&error));
                }
            }
        }
    }
}

#[test]
fn errors_about_what_was_redirected() {
    for family in FAMILIES {
        let (outside, inside) = (ip(family.outside, family.gateway), ip(family.outside, family.inside));
        for sent in kinds(&outside, 1025, 80) {
            let gate = family.rdr();
            let redirected = gate.receive(&sent).unwrap();
            // The server refuses, or somebody in front of it.
            for from in [family.inside, family.inner_router] {
                for (quoted, original) in quotations(&redirected).into_iter().zip(quotations(&sent)) {
                    let error = ip(from, family.outside).error(quoted);
                    let expected = ip(family.gateway, family.outside).error(original);
                    assert_eq!(gate.send(&error), Ok(expected), "{}", ends(&error));
                }
            }
            // It answers, and the client refuses.
            let (proto, _) = transport(&sent).unwrap();
            let answer = |ip: Ip, port: u16| match proto {
                TCP => ip.tcp(&segment(port, 1025, SYN | ACK, 9000, 1701).with_data(33)),
                UDP => ip.udp(port, 1025, b"an answer"),
                GRE => ip.packet(GRE, b"back"),
                _ => ip.pong(1025),
            };
            let back = answer(inside.back(), 8080);
            let out = gate.send(&back).unwrap();
            assert_eq!(out, answer(outside.back(), 80));
            for (quoted, original) in quotations(&out).into_iter().zip(quotations(&back)) {
                let error = ip(family.router, family.gateway).error(quoted);
                let expected = ip(family.router, family.inside).error(original);
                assert_eq!(gate.receive(&error), Ok(expected), "{}", ends(&error));
            }
        }
    }
}

#[test]
fn errors_without_translation_pass_as_they_are() {
    for family in FAMILIES {
        for sent in kinds(&ip(family.inside, family.outside), 1025, 80) {
            let gate = Gate::new(&[block(), pass().outward().keep_state()]);
            gate.send(&sent).unwrap();
            let error = ip(family.router, family.inside).error(&sent);
            assert_eq!(gate.receive(&error), Ok(error.clone()));
            // They say nothing of how far the connection has come.
            let state = gate.state();
            assert_eq!(state.packets.map(join_counter), [1, 1]);
            assert_eq!(state.dst.state, 0);
        }
    }
}

#[test]
fn errors_go_all_the_way_through_a_router() {
    // Two states for a connection, one for each interface that it crosses, and nothing passes but by them.
    for family in FAMILIES {
        let gate = Gate::new(&[
            block(),
            pass().inward().on("em1").keep_state(),
            pass().outward().on("em0").keep_state(),
        ])
        .nat(&[nat(family.gateway).on("em0").outward().from(family.inside)]);
        let inside = ip(family.inside, family.outside);
        for sent in kinds(&inside, 1025, 80) {
            let out = gate.forward(&sent).unwrap();
            let error = ip(family.router, family.gateway).error(&out);
            let expected = ip(family.router, family.inside).error(&sent);
            assert_eq!(gate.forward_back(&error), Ok(expected), "{}", ends(&error));
        }
        // An answer that nobody wants any more.
        let out = gate.forward(&inside.udp(1026, 53, b"question")).unwrap();
        let (_, at) = transport(&out).unwrap();
        let given = u16::from_be_bytes([out[at], out[at + 1]]);
        let answer = ip(family.outside, family.gateway).udp(53, given, b"answer");
        let arrived = gate.forward_back(&answer).unwrap();
        let error = ip(family.inside, family.outside).error(&arrived);
        let expected = ip(family.gateway, family.outside).error(&answer);
        assert_eq!(gate.forward(&error), Ok(expected));
        // And none that nobody sent.
        let stranger = ip(family.router, family.gateway).error(&inside.udp(1, 2, b"forged"));
        assert_eq!(gate.forward_back(&stranger), BLOCKED);
    }
}

#[test]
fn every_kind_of_error_finds_its_connection() {
    let family = &FAMILIES[0];
    let sent = ip(family.inside, family.outside).udp(1025, 53, b"question");
    let gate = Gate::new(&[block(), pass().outward().keep_state()]);
    gate.send(&sent).unwrap();
    for kind in [3, 4, 5, 11, 12] {
        let error = ip(family.router, family.inside).icmp(kind, 0, 1400, &sent);
        assert_eq!(gate.receive(&error), Ok(error.clone()), "type {kind}");
    }
    let family = &FAMILIES[1];
    let sent = ip(family.inside, family.outside).udp(1025, 53, b"question");
    gate.send(&sent).unwrap();
    for kind in 1..=4 {
        let error = ip(family.router, family.inside).icmp(kind, 0, 1400, &sent);
        assert_eq!(gate.receive(&error), Ok(error.clone()), "type {kind}");
    }
}

#[test]
fn an_error_about_nothing_goes_by_the_rules() {
    for family in FAMILIES {
        let gate = Gate::new(&[block(), pass().outward().keep_state()]);
        let sent = ip(family.inside, family.outside).udp(1025, 53, b"question");
        let error = ip(family.router, family.inside).error(&sent);
        assert_eq!(gate.receive(&error), BLOCKED);
        gate.send(&sent).unwrap();
        for other in [
            ip(family.inside, family.outside).udp(1026, 53, b"question"),
            ip(family.inside, family.outside).udp(1025, 54, b"question"),
            ip(family.inside, family.router).udp(1025, 53, b"question"),
            ip(family.inside, family.outside).tcp(&segment(1025, 53, SYN, 1, 0)),
            // The other way round it was never sent.
            ip(family.outside, family.inside).udp(53, 1025, b"answer"),
        ] {
            let error = ip(family.router, family.inside).error(&other);
            assert_eq!(gate.receive(&error), BLOCKED, "{}", ends(&error));
        }
        gate.load_filter(&[pass()]);
        let other = ip(family.inside, family.outside).udp(1026, 53, b"question");
        let error = ip(family.router, family.inside).error(&other);
        assert_eq!(gate.receive(&error), Ok(error));
    }
}

#[test]
fn an_error_about_nothing_does_not_leave_with_an_address_from_behind_nat() {
    let about = ip("198.51.100.7", "10.0.0.1").udp(53, 1025, b"late");
    let error = ip("10.0.0.1", "198.51.100.7").error(&about);
    let own = ip("192.0.2.1", "198.51.100.7").error(&ip("198.51.100.7", "192.0.2.1").udp(53, 1025, b"late"));
    let nat = nat("192.0.2.1").on("em0");
    let gate = Gate::new(&[pass()]).nat(&[nat]);
    assert_eq!(gate.send(&error), dropped(Reason::StateMismatch));
    assert_eq!(gate.send(&own), Ok(own.clone()), "that of the firewall itself does");
    // What nat has nothing to do with goes by the rules.
    assert_eq!(gate.send_inside(&error), Ok(error.clone()));
    assert_eq!(Gate::new(&[pass()]).send(&error), Ok(error));
}

#[test]
fn an_error_that_does_not_fit_is_refused() {
    for family in FAMILIES {
        let gate = Gate::new(&[pass().keep_state()]);
        let inside = ip(family.inside, family.outside);
        gate.send(&inside.tcp(&segment(1025, 80, SYN, 1000, 0))).unwrap();
        gate.receive(&inside.back().tcp(&segment(80, 1025, SYN | ACK, 9000, 1001)))
            .unwrap();
        let about = |seq: u32| inside.tcp(&segment(1025, 80, ACK, seq, 9001));
        let error = |to: &str, seq: u32| ip(family.router, to).error(&about(seq));
        assert!(gate.receive(&error(family.inside, 1001)).is_ok());
        assert!(gate.receive(&error(family.inside, 1000)).is_ok());
        // A number that was never sent: whoever it is has not seen the connection.
        for seq in [1001 + 66_000, 1 << 31, 0u32.wrapping_sub(66_000)] {
            assert_eq!(gate.receive(&error(family.inside, seq)), dropped(Reason::StateMismatch));
        }
        // To somebody who did not send it.
        assert_eq!(
            gate.receive(&error(family.gateway, 1001)),
            dropped(Reason::StateMismatch)
        );
        let packets = gate.state().packets.map(join_counter);
        assert_eq!(packets, [1, 3]);
    }
}

#[test]
fn quotations_that_cannot_be_are_dropped() {
    let gate = Gate::new(&[pass().allow_opts()]);
    for family in FAMILIES {
        let inside = ip(family.inside, family.outside);
        let sent = inside.udp(1025, 53, b"question");
        let (_, at) = transport(&sent).unwrap();
        let error = |quoted: &[u8]| ip(family.router, family.inside).error(quoted);
        for len in 0..at + 8 {
            assert_eq!(gate.receive(&error(&sent[..len])), dropped(Reason::Short), "{len}");
        }
        let part = inside.clone().with_fragment(64, true).packet(UDP, &[7; 64]);
        assert_eq!(gate.receive(&error(&part)), dropped(Reason::Fragment));
        // The first fragment shows its ports, and belongs to its connection.
        let first = inside.clone().with_fragment(0, true).packet(UDP, &sent[at..]);
        assert!(gate.receive(&error(&first)).is_ok());
        let mut other = sent.clone();
        other[0] = other[0] & 15 | 0x50;
        assert_eq!(gate.receive(&error(&other)), dropped(Reason::Short));
    }
    let (v4, v6) = (&FAMILIES[0], &FAMILIES[1]);
    let mut sent = ip(v4.inside, v4.outside).udp(1025, 53, b"question");
    sent[0] = 0x44;
    assert_eq!(
        gate.receive(&ip(v4.router, v4.inside).error(&sent)),
        dropped(Reason::Short)
    );
    sent[0] = 0x4f;
    assert_eq!(
        gate.receive(&ip(v4.router, v4.inside).error(&sent)),
        dropped(Reason::Short)
    );
    let padding = [0, 0, 1, 4, 0, 0, 0, 0];
    let chain = ip(v6.inside, v6.outside)
        .with_extension(60, &padding)
        .with_extension(0, &padding);
    let error = ip(v6.router, v6.inside).error(&chain.udp(1025, 53, b"question"));
    assert_eq!(gate.receive(&error), dropped(Reason::IpOption));
}

#[test]
fn quotations_with_options_are_translated_too() {
    let family = &FAMILIES[1];
    let gate = family.nat();
    let options = [0, 0, 1, 4, 0, 0, 0, 0];
    let inside = ip(family.inside, family.outside).with_extension(60, &options);
    let sent = inside.udp(1025, 53, b"question");
    let out = gate.send(&sent).unwrap();
    for (quoted, original) in quotations(&out).into_iter().zip(quotations(&sent)) {
        let error = ip(family.router, family.gateway).error(quoted);
        let expected = ip(family.router, family.inside).error(original);
        assert_eq!(gate.receive(&error), Ok(expected));
    }
    let family = &FAMILIES[0];
    let gate = Gate::new(&[pass().keep_state().allow_opts()]).nat(&[nat(family.gateway)]);
    let sent = ip(family.inside, family.outside)
        .with_options(&[148, 4, 0, 0])
        .udp(1025, 53, b"question");
    let out = gate.send(&sent).unwrap();
    for (quoted, original) in quotations(&out).into_iter().zip(quotations(&sent)) {
        let error = ip(family.router, family.gateway)
            .with_options(&[148, 4, 0, 0])
            .error(quoted);
        let expected = ip(family.router, family.inside)
            .with_options(&[148, 4, 0, 0])
            .error(original);
        assert_eq!(gate.receive(&error), Ok(expected));
    }
}

#[test]
fn options_of_an_error_need_the_connection_s_rule_to_allow_them() {
    let family = &FAMILIES[0];
    let gate = Gate::new(&[pass().keep_state()]);
    let sent = ip(family.inside, family.outside).udp(1025, 53, b"question");
    gate.send(&sent).unwrap();
    let error = ip(family.router, family.inside)
        .with_options(&[148, 4, 0, 0])
        .error(&sent);
    assert_eq!(gate.receive(&error), dropped(Reason::IpOption));
}

#[test]
fn a_quoted_udp_packet_without_a_checksum_stays_without() {
    let family = &FAMILIES[0];
    let gate = family.nat();
    let sent = ip(family.inside, family.outside).udp_unchecked(1025, 53, b"question");
    let out = gate.send(&sent).unwrap();
    let error = ip(family.router, family.gateway).error(&out);
    assert_eq!(gate.receive(&error), Ok(ip(family.router, family.inside).error(&sent)));
}

#[test]
fn damage_in_a_quotation_stays() {
    let family = &FAMILIES[0];
    let gate = family.nat();
    let sent = ip(family.inside, family.outside).udp(1025, 53, b"question");
    let mut out = gate.send(&sent).unwrap();
    // TTL and checksum as they were far away, and a bit that fell.
    out[8] -= 1;
    let last = out.len() - 1;
    out[last] ^= 1;
    let error = ip(family.router, family.gateway).error(&out);
    assert_eq!(wrong_checksums(&error), ["quoted IP", "quoted UDP"]);
    let back = gate.receive(&error).unwrap();
    assert_eq!(wrong_checksums(&back), ["quoted IP", "quoted UDP"]);
    assert_eq!(ends(&back), "203.0.113.9 > 10.0.0.1 (10.0.0.1:1025 > 198.51.100.7:53)");
    let mut damaged = ip(family.router, family.gateway).error(&sent);
    damaged[22] ^= 1;
    assert_eq!(wrong_checksums(&damaged), ["ICMP"]);
}
