//! Headers of all kinds: good, cut off, impossible, with options, in fragments; each bad one is counted for what it is.

use pf::kpi::{Direction, Kernel, Mbuf};
use pf_abi::*;

use crate::common::Machine;
use crate::common::packets::*;
use crate::common::rules::*;
use crate::gate::{BLOCKED, Gate, dropped, judge};

const V4: (&str, &str) = ("10.0.0.1", "198.51.100.7");
const V6: (&str, &str) = ("fd00::1", "2001:db8:7::7");

fn v4() -> Ip {
    ip(V4.0, V4.1)
}

fn v6() -> Ip {
    ip(V6.0, V6.1)
}

/// A packet of each kind.
fn kinds() -> Vec<Vec<u8>> {
    let syn = segment(1025, 80, SYN, 1000, 0).with_scale(7);
    let of = |ip: Ip| {
        vec![
            ip.tcp(&syn),
            ip.tcp(&segment(1026, 80, PUSH | ACK, 7, 8).with_data(33)),
            ip.udp(1025, 53, b"question"),
            ip.udp(1025, 54, b""),
            ip.ping(77),
            ip.packet(GRE, b"anything"),
            ip.packet(200, b""),
        ]
    };
    let mut kinds = of(v4());
    kinds.extend(of(v6()));
    kinds.extend(of(v6().with_extension(60, &[0, 0, 1, 4, 0, 0, 0, 0])));
    kinds.push(v4().udp_unchecked(1025, 55, b"unchecked"));
    kinds
}

#[test]
fn packets_of_all_kinds_pass_and_are_remembered() {
    for packet in kinds() {
        let gate = Gate::new(&[pass().keep_state()]);
        assert_eq!(gate.send(&packet), Ok(packet.clone()), "{}", ends(&packet));
        let state = gate.state();
        let (proto, _) = transport(&packet).unwrap();
        assert_eq!((state.proto, state.direction), (proto, PF_OUT));
        assert_eq!(state.lan, state.gwy);
        // It goes by the state now, whatever the rules say.
        gate.load_filter(&[block()]);
        assert_eq!(gate.send(&packet), Ok(packet));
        assert_eq!(gate.states(), 1);
    }
}

#[test]
fn what_is_behind_the_packet_is_nobody_s_business() {
    for mut packet in kinds() {
        let gate = Gate::new(&[pass().keep_state()]);
        packet.extend(b"padding of the link");
        assert_eq!(gate.send(&packet), Ok(packet.clone()));
        assert_eq!(gate.send(&packet), Ok(packet));
    }
}

#[test]
fn a_packet_that_is_cut_off_is_too_short() {
    let gate = Gate::new(&[]);
    for packet in kinds() {
        for len in 0..packet.len() {
            assert_eq!(
                gate.send(&packet[..len]),
                dropped(Reason::Short),
                "{len} of {}",
                ends(&packet)
            );
        }
    }
    assert_eq!(gate.states(), 0);
}

/// A change of some bytes of a packet.
fn changed(packet: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    packet[at..at + bytes.len()].copy_from_slice(bytes);
    packet
}

#[test]
fn a_length_that_cannot_be_is_too_short() {
    let tcp = v4().tcp(&segment(1025, 80, SYN, 1, 0));
    let udp = v4().udp(1025, 53, b"question");
    let (tcp6, udp6) = (v6().tcp(&segment(1025, 80, SYN, 1, 0)), v6().udp(1025, 53, b"question"));
    let bad = [
        // No IP at all, and IP of another version.
        changed(&tcp, 0, &[0x05]),
        changed(&tcp, 0, &[0x55]),
        // A header of less than twenty bytes.
        changed(&tcp, 0, &[0x44]),
        changed(&tcp, 0, &[0x40]),
        // A packet shorter than its header, one that ends within TCP's, and one longer than what is there.
        changed(&tcp, 2, &[0, 19]),
        changed(&tcp, 2, &[0, 39]),
        changed(&tcp, 2, &[0, 41]),
        changed(&tcp, 2, &[0xff, 0xff]),
        changed(&tcp6, 4, &[0, 19]),
        changed(&tcp6, 4, &[0, 21]),
        changed(&tcp6, 4, &[0xff, 0xff]),
        changed(&udp6, 4, &[0, 0]),
        // A TCP header of less than twenty bytes, and one longer than the packet.
        changed(&tcp, 32, &[0x40]),
        changed(&tcp, 32, &[0x60]),
        changed(&tcp6, 52, &[0x00]),
        changed(&tcp6, 52, &[0xf0]),
        // A UDP packet shorter than its header, one longer than IP's payload, one to nowhere.
        changed(&udp, 24, &[0, 7]),
        changed(&udp, 24, &[0, 17]),
        changed(&udp, 22, &[0, 0]),
        changed(&udp6, 44, &[0, 0]),
        changed(&udp6, 42, &[0, 0]),
        // Each family has an ICMP of its own.
        v4().packet(ICMP6, &[128, 0, 0, 0, 0, 1, 0, 1]),
        v6().packet(ICMP, &[8, 0, 0, 0, 0, 1, 0, 1]),
    ];
    let gate = Gate::new(&[]);
    for packet in bad {
        assert_eq!(gate.send(&packet), dropped(Reason::Short), "{packet:02x?}");
        assert_eq!(gate.receive(&packet), dropped(Reason::Short), "{packet:02x?}");
    }
}

/// A router alert, and nothing but padding.
const ALERT: [u8; 4] = [148, 4, 0, 0];
const PADDING: [u8; 4] = [1, 1, 1, 0];

#[test]
fn options_need_a_rule_that_allows_them() {
    for options in [ALERT, PADDING] {
        let packet = v4().with_options(&options).udp(1025, 53, b"question");
        for rule in [pass(), pass().keep_state()] {
            let gate = Gate::new(std::slice::from_ref(&rule));
            assert_eq!(gate.send(&packet), dropped(Reason::IpOption));
            assert_eq!((gate.states(), gate.rule(0).packets), (0, [0, 0]));
            let gate = Gate::new(&[rule.allow_opts()]);
            assert_eq!(gate.send(&packet), Ok(packet.clone()));
            assert_eq!(gate.send(&packet), Ok(packet.clone()));
        }
        // Without a rule they do not pass, and what is blocked is blocked.
        assert_eq!(Gate::new(&[]).send(&packet), dropped(Reason::IpOption));
        assert_eq!(Gate::new(&[block().allow_opts()]).send(&packet), BLOCKED);
    }
}

#[test]
fn options_within_a_connection_need_its_rule_to_allow_them() {
    let without = v4().udp(1025, 53, b"question");
    let with = v4().with_options(&ALERT).udp(1025, 53, b"question");
    for (rule, fate) in [
        (pass().keep_state(), dropped(Reason::IpOption)),
        (pass().keep_state().allow_opts(), Ok(with.clone())),
    ] {
        let gate = Gate::new(&[rule]);
        gate.send(&without).unwrap();
        assert_eq!(gate.send(&with), fate);
        let packets = 1 + u64::from(fate.is_ok());
        assert_eq!(join_counter(gate.state().packets[0]), packets);
    }
}

#[test]
fn options_that_are_none_are_never_allowed() {
    let gate = Gate::new(&[pass().allow_opts()]);
    for options in [
        [148, 5, 0, 0],
        [148, 1, 0, 0],
        [148, 0, 0, 0],
        [1, 1, 1, 148],
        [1, 1, 148, 3],
    ] {
        let packet = v4().with_options(&options).udp(1025, 53, b"question");
        assert_eq!(gate.send(&packet), dropped(Reason::IpOption), "{options:?}");
    }
}

#[test]
fn extension_headers_are_walked_along() {
    let options = [0, 0, 1, 4, 0, 0, 0, 0];
    let good = [
        v6().with_extension(0, &options),
        v6().with_extension(60, &options),
        v6().with_extension(0, &options).with_extension(60, &options),
        // An authentication header, whose length counts in fours.
        v6().with_extension(51, &[0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1]),
    ];
    let gate = Gate::new(&[block(), pass().proto(UDP).port(53)]);
    for ip in good {
        let packet = ip.udp(1025, 53, b"question");
        assert_eq!(gate.send(&packet), Ok(packet.clone()));
        assert_eq!(gate.send(&ip.udp(1025, 54, b"question")), BLOCKED);
    }
    // What is encrypted, and nothing at all, stand for themselves.
    for proto in [50, 59] {
        let gate = Gate::new(&[block(), pass().proto(proto)]);
        let packet = v6().with_extension(60, &options).packet(proto, b"whatever");
        assert_eq!(gate.send(&packet), Ok(packet.clone()));
    }
}

#[test]
fn a_routing_header_needs_a_rule_that_allows_it() {
    let mobile = v6()
        .with_extension(43, &[0, 0, 2, 1, 0, 0, 0, 0])
        .udp(1025, 53, b"question");
    assert_eq!(Gate::new(&[pass()]).send(&mobile), dropped(Reason::IpOption));
    assert_eq!(Gate::new(&[pass().allow_opts()]).send(&mobile), Ok(mobile.clone()));
    // That of type 0 is not allowed by any (RFC 5095).
    let source = v6()
        .with_extension(43, &[0, 0, 0, 0, 0, 0, 0, 0])
        .udp(1025, 53, b"question");
    assert_eq!(
        Gate::new(&[pass().allow_opts()]).send(&source),
        dropped(Reason::IpOption)
    );
}

#[test]
fn extension_headers_out_of_place_are_dropped() {
    let options = [0, 0, 1, 4, 0, 0, 0, 0];
    let gate = Gate::new(&[pass().allow_opts()]);
    let udp = |ip: Ip| ip.udp(1025, 53, b"question");
    let late = v6().with_extension(60, &options).with_extension(0, &options);
    assert_eq!(
        gate.send(&udp(late)),
        dropped(Reason::IpOption),
        "hop-by-hop options come first"
    );
    let twice = v6().with_fragment(0, false).with_fragment(0, false);
    assert_eq!(
        gate.send(&udp(twice)),
        dropped(Reason::IpOption),
        "a fragment of a fragment"
    );
    let many = (0..17).fold(v6(), |ip, _| ip.with_extension(60, &options));
    assert_eq!(
        gate.send(&udp(many)),
        dropped(Reason::IpOption),
        "more than anybody needs"
    );
    let overrun = v6().with_extension(60, &[0, 0, 1, 5, 0, 0, 0, 0]);
    assert_eq!(
        gate.send(&udp(overrun)),
        dropped(Reason::IpOption),
        "an option beyond its header"
    );
    let jumbo = v6().with_extension(0, &[0, 0, 0xc2, 4, 0, 1, 0, 0]);
    assert_eq!(gate.send(&udp(jumbo)), dropped(Reason::IpOption), "a jumbogram");
    let long = v6().with_extension(60, &[0, 9, 1, 4, 0, 0, 0, 0]);
    assert_eq!(
        gate.send(&udp(long)),
        dropped(Reason::Short),
        "a header beyond the packet"
    );
}

#[test]
fn fragments_are_judged_by_what_all_of_them_show() {
    for ip in [v4(), v6()] {
        let first = ip.clone().with_fragment(0, true).packet(TCP, &[7; 64]);
        let middle = ip.clone().with_fragment(64, true).packet(TCP, &[7; 64]);
        let last = ip.clone().with_fragment(128, false).packet(TCP, &[7; 3]);
        for packet in [first, middle, last] {
            let passes = |rules: &[Rule]| {
                let gate = Gate::new(rules);
                let fate = gate.send(&packet);
                assert_eq!(gate.states(), 0);
                assert!(fate == Ok(packet.clone()) || fate == BLOCKED);
                fate.is_ok()
            };
            assert!(passes(&[]));
            // What they may or may not carry does not match; nor is anything kept of them.
            for rule in [
                block().proto(TCP).port(80),
                block().proto(TCP).src_port(PortOp::NotEqual, [80, 0]),
                block().proto(TCP).flags(SYN, SYN | ACK),
                block().proto(UDP),
            ] {
                assert!(passes(&[rule]));
            }
            assert!(passes(&[pass().keep_state()]));
            for rule in [
                block().proto(TCP),
                block().fragment(),
                block().to(V4.1),
                block().to(V6.1),
            ] {
                let is_about = rule.af == AF_UNSPEC || (rule.af == AF_INET) == ip.src.is_ipv4();
                assert_eq!(passes(&[rule]), !is_about);
            }
        }
        // `fragment` is about nothing else.
        let whole = ip.tcp(&segment(1025, 80, SYN, 1, 0));
        assert_eq!(Gate::new(&[block().fragment()]).send(&whole), Ok(whole));
    }
}

#[test]
fn fragments_that_cannot_be_judged_are_dropped() {
    for ip in [v4(), v6()] {
        let fragment = |offset, more, proto, len| {
            let payload = vec![7; len];
            ip.clone().with_fragment(offset, more).packet(proto, &payload)
        };
        let icmp = if ip.src.is_ipv4() { ICMP } else { ICMP6 };
        let bad = [
            // The first does not show the header, or another could overwrite it.
            fragment(0, true, TCP, 16),
            fragment(8, true, TCP, 64),
            fragment(16, false, TCP, 5),
            fragment(8, false, TCP, 8),
            // None of a packet.
            fragment(64, false, UDP, 0),
            fragment(64, true, UDP, 63),
            fragment(65_528, false, UDP, 8),
            fragment(65_520, true, UDP, 64),
        ];
        let gate = Gate::new(&[pass().allow_opts()]);
        for packet in bad {
            assert_eq!(gate.send(&packet), dropped(Reason::Fragment), "{packet:02x?}");
        }
        for packet in [
            fragment(0, true, TCP, 24),
            fragment(24, false, TCP, 1),
            fragment(0, true, UDP, 8),
            fragment(8, false, UDP, 1),
            fragment(0, true, icmp, 8),
            fragment(8, true, GRE, 8),
            fragment(65_520, false, UDP, 15),
        ] {
            assert_eq!(gate.send(&packet), Ok(packet.clone()), "{packet:02x?}");
        }
    }
}

#[test]
fn a_fragment_that_is_the_whole_is_none() {
    let packet = v6().with_fragment(0, false).udp(1025, 53, b"question");
    let gate = Gate::new(&[block(), pass().proto(UDP).port(53).keep_state()]);
    assert_eq!(gate.send(&packet), Ok(packet.clone()));
    assert_eq!(gate.state().proto, UDP);
    let answer = v6().back().udp(53, 1025, b"answer");
    assert_eq!(gate.receive(&answer), Ok(answer.clone()));
    assert_eq!(Gate::new(&[block().fragment()]).send(&packet), Ok(packet));
}

#[test]
fn a_fragment_is_not_translated_in_parts() {
    let part = v4().with_fragment(64, false).packet(UDP, b"rest");
    let nat = || nat("192.0.2.1").outward();
    // It would be, or might be, for all that it shows.
    for rule in [nat(), nat().proto(UDP), nat().proto(UDP).port(53), nat().port(53)] {
        let gate = Gate::new(&[]).nat(&[rule]);
        assert_eq!(gate.send(&part), dropped(Reason::Fragment));
    }
    let covered = [no_nat().from("10.0.0.0/8"), no_nat().proto(UDP)];
    for shield in covered {
        assert_eq!(Gate::new(&[]).nat(&[shield, nat()]).send(&part), Ok(part.clone()));
    }
    let shield = no_nat().proto(UDP).port(53);
    assert_eq!(
        Gate::new(&[]).nat(&[shield, nat()]).send(&part),
        dropped(Reason::Fragment)
    );
    for other in [nat().proto(TCP), nat().from("10.9.0.0/16"), nat().on("em1")] {
        assert_eq!(Gate::new(&[]).nat(&[other]).send(&part), Ok(part.clone()));
    }
    let incoming = v4().back().with_fragment(64, false).packet(UDP, b"rest");
    let gate = Gate::new(&[]).nat(&[nat()]).rdr(&[rdr("10.0.0.2").proto(TCP).port(80)]);
    assert_eq!(gate.receive(&incoming), Ok(incoming));
}

#[test]
fn it_does_not_matter_where_a_packet_is_split() {
    let fates = |cut: Option<usize>, packet: &[u8]| {
        let machine = Machine::of(Kernel::seeded(1));
        machine.command(DIOCSTART).unwrap();
        let rules = [
            nat("192.0.2.1").from("10.0.0.0/8").ports(0, 0),
            nat("2001:db8::1").from("fd00::/8").ports(0, 0),
        ];
        machine.load(RulesetKind::Nat, &rules).unwrap();
        let mbuf = || match cut {
            None => Mbuf::from_bytes(packet),
            Some(cut) => Mbuf::split(packet, cut),
        };
        // Without a state, and with one.
        let fates = [(); 2].map(|()| judge(&machine, 1, Direction::Out, mbuf()));
        (fates, machine.dump())
    };
    let mut packets = kinds();
    packets.push(v4().with_options(&ALERT).udp(1025, 53, b"question"));
    packets.push(v4().with_fragment(64, false).packet(UDP, b"rest"));
    packets.push(v4().error(&v4().back().udp(53, 1025, b"answer")));
    packets.push(v6().error(&v6().back().udp(53, 1025, b"answer")));
    for packet in packets {
        let whole = fates(None, &packet);
        for cut in 0..=packet.len() {
            assert_eq!(fates(Some(cut), &packet), whole, "{} cut at {cut}", ends(&packet));
        }
    }
}

#[test]
fn a_disabled_filter_and_a_skipped_interface_see_nothing() {
    let packet = v4().udp(1025, 53, b"question");
    let gate = Gate::new(&[block()]);
    assert_eq!(gate.send(&packet), BLOCKED);
    let flag = |cmd: u64| {
        gate.each(|machine| {
            let mut arg = IocIface {
                name: IfName::new("em0").unwrap(),
                flags: PFI_IFLAG_SKIP,
                ..IocIface::default()
            };
            machine.ioctl(cmd, &mut arg).unwrap();
        });
    };
    flag(DIOCSETIFFLAG);
    assert_eq!(gate.send(&packet), Ok(packet.clone()));
    assert_eq!(gate.send(b"no packet at all"), Ok(b"no packet at all".to_vec()));
    assert_eq!(gate.receive_inside(&packet), BLOCKED);
    flag(DIOCCLRIFFLAG);
    assert_eq!(gate.send(&packet), BLOCKED);
    gate.each(|machine| machine.command(DIOCSTOP).unwrap());
    assert_eq!(gate.send(&packet), Ok(packet));
}

#[test]
fn a_skipped_interface_leaves_the_others_as_they_are() {
    let gate = Gate::new(&[block().on("em0"), pass().on("em1").inward().keep_state()])
        .scrub(&[scrub()])
        .nat(&[nat("192.0.2.1").on("em0")]);
    gate.each(|machine| {
        let mut arg = IocIface {
            // All of the driver but em1.
            name: IfName::new("em").unwrap(),
            flags: PFI_IFLAG_SKIP,
            ..IocIface::default()
        };
        machine.ioctl(DIOCSETIFFLAG, &mut arg).unwrap();
        arg.name = IfName::new("em1").unwrap();
        machine.ioctl(DIOCCLRIFFLAG, &mut arg).unwrap();
    });
    let question = v4().udp(1025, 53, b"question");
    assert_eq!(gate.forward(&question), Ok(question), "neither blocked nor translated");
    assert_eq!(gate.states(), 1, "em1's");
    // On its way back nothing is looked at before em1.
    let answer = v4().back().udp(53, 1025, b"answer");
    assert_eq!(gate.forward_back(&answer), Ok(answer));
    assert_eq!(gate.state().packets.map(join_counter), [1, 1]);
    // Nothing waits for the rest of a packet either.
    let fragment = v4().with_fragment(0, true).packet(UDP, &[0; 64]);
    assert_eq!(gate.receive(&fragment), Ok(fragment.clone()));
    assert_eq!(gate.receive_inside(&fragment), crate::gate::KEPT);
}
