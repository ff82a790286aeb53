//! Anything at all, at both hooks, with a ruleset that has a little of everything: nothing panics, what passes is sound, and the
//! state table is in order afterwards.

use pf_abi::*;
use proptest::prelude::*;

use crate::common::packets::*;
use crate::common::rules::*;
use crate::fragments::parts;
use crate::gate::{Fate, Gate, check_table};

fn gate() -> Gate {
    Gate::new(&[
        pass().keep_state(),
        block().proto(UDP).dst_port(PortOp::Range, [60, 70]).return_any(),
        block().proto(TCP).port(81).return_rst(9),
        block().fragment().inward(),
        pass().inward().on("em0").keep_state().allow_opts(),
        pass().proto(ICMP).icmp(8, None),
        pass().af(AF_INET6).proto(ICMP6).keep_state().max(3),
        block().from("10.0.0.4").quick(),
        block().on("em1").return_icmp((3, 13), (1, 1)).proto(GRE),
    ])
    .nat(&[
        no_nat().proto(GRE),
        nat("192.0.2.1").on("em0").from("10.0.0.0/8").ports(1024, 1027),
        nat("2001:db8::1").on("em0").from("fd00::/8"),
    ])
    .rdr(&two_servers())
    .scrub(&[
        no_scrub().proto(GRE).inward(),
        scrub().on("em1").inward().with(PFRULE_FRAGCROP | PFRULE_NODF),
        scrub().on("lo0").with(PFRULE_FRAGDROP),
        scrub()
            .proto(TCP)
            .with(PFRULE_REASSEMBLE_TCP | PFRULE_RANDOMID)
            .max_mss(1000)
            .min_ttl(30),
        scrub().with(PFRULE_NODF),
    ])
}

/// Something to do.
#[derive(Debug, Clone)]
enum Step {
    /// A packet crosses an interface: its number, and which way.
    Packet(u16, bool, Vec<u8>),
    /// The same in fragments: how long they are, and in which order they come, some of them twice.
    Parts(u16, bool, Vec<u8>, usize, Vec<prop::sample::Index>),
    /// A packet that has passed comes again, is answered, or has an error made about it.
    About(prop::sample::Index, About),
    Lock(bool),
    Tick(u64),
}

/// What comes of a packet that has passed.
#[derive(Debug, Clone)]
enum About {
    Again,
    /// The next router hands it on.
    Forwarded,
    /// With these flags, so far on, where it is TCP.
    Answer(u8, u8),
    Error(Option<prop::sample::Index>),
}

/// A packet that has passed, the interface that it crossed, and which way.
type Passed = (u16, bool, Vec<u8>);

impl About {
    fn packet(&self, (on, out, about): &Passed) -> Option<Passed> {
        let (src, dst) = addresses(about);
        let back = Ip {
            src: dst,
            dst: src,
            ..ip("::", "::")
        };
        let (proto, at) = transport(about)?;
        let header = about.get(at..)?;
        let number = |at: usize| Some(u32::from_be_bytes(header.get(at..at + 4)?.try_into().ok()?));
        let port = |at: usize| Some(u16::from_be_bytes(header.get(at..at + 2)?.try_into().ok()?));
        match self {
            About::Again => Some((*on, *out, about.clone())),
            About::Forwarded => Some((3 - (*on).min(2), !*out, about.clone())),
            About::Answer(flags, by) => {
                let packet = match proto {
                    TCP => {
                        let end = number(4)?.wrapping_add(u32::from(*by));
                        back.tcp(&segment(port(2)?, port(0)?, *flags, number(8)?, end).with_scale(2))
                    }
                    UDP => back.udp(port(2)?, port(0)?, b"answer"),
                    ICMP | ICMP6 => back.pong(port(4)?),
                    proto => back.packet(proto, b"answer"),
                };
                Some((*on, !*out, packet))
            }
            About::Error(end) => {
                let shown = end.map_or(about.len(), |end| end.index(about.len() + 1));
                Some((*on, !*out, back.error(&about[..shown])))
            }
        }
    }
}

/// Few enough hosts and ports that packets meet each other's states.
fn ips() -> impl Strategy<Value = Ip> {
    let inside = prop::sample::select(vec!["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "192.0.2.1"]);
    let outside = prop::sample::select(vec!["198.51.100.7", "198.51.100.8"]);
    let inside6 = prop::sample::select(vec!["fd00::1", "fd00::3", "2001:db8::1"]);
    let outside6 = prop::sample::select(vec!["2001:db8:7::7", "2001:db8:7::8"]);
    let v4 = (inside, outside, prop::bool::weighted(0.1)).prop_map(|(inside, outside, options)| {
        let ip = ip(inside, outside);
        if options { ip.with_options(&[148, 4, 0, 0]) } else { ip }
    });
    let v6 = (inside6, outside6, 0..8u8).prop_map(|(inside, outside, extension)| {
        let ip = ip(inside, outside);
        match extension {
            0 => ip.with_extension(0, &[0, 0, 5, 2, 0, 0, 1, 0]),
            1 => ip.with_extension(60, &[0, 0, 1, 4, 0, 0, 0, 0]),
            2 => ip.with_extension(43, &[0, 0, 2, 1, 0, 0, 0, 0]),
            3 => ip.with_fragment(0, false),
            _ => ip,
        }
    });
    (prop_oneof![v4, v6], any::<bool>()).prop_map(|(ip, back)| if back { ip.back() } else { ip })
}

fn ports() -> impl Strategy<Value = u16> {
    prop::sample::select(vec![0, 53, 65, 80, 81, 82, 1024, 1025, 1026, 1027])
}

fn sound_packets() -> impl Strategy<Value = Vec<u8>> {
    let seq = || prop_oneof![4 => 1000u32..1010, 1 => any::<u32>()];
    let tcp = (
        ips(),
        ports(),
        ports(),
        (0u8..64, seq(), seq(), any::<u16>()),
        0usize..40,
    )
        .prop_map(|(ip, src, dst, (flags, seq, ack, window), len)| {
            // More often than not, those that make a connection.
            let flags = *[SYN, SYN | ACK, ACK, ACK, FIN | ACK, RST, RST | ACK]
                .get(usize::from(flags))
                .unwrap_or(&flags);
            let segment = segment(src, dst, flags, seq, ack).with_window(window).with_data(len);
            ip.tcp(&match flags & SYN {
                0 if seq % 2 == 0 => segment.with_stamps(seq, ack),
                0 => segment,
                _ if window % 2 == 0 => segment.with_stamps(seq, 0),
                _ => segment.with_scale(3),
            })
        });
    let udp = (ips(), ports(), ports(), any::<bool>()).prop_map(|(ip, src, dst, unchecked)| match unchecked {
        true => ip.udp_unchecked(src, dst, b"data"),
        false => ip.udp(src, dst, b"data"),
    });
    let icmp = (ips(), any::<u8>(), ports()).prop_map(|(ip, kind, id)| match kind {
        0..100 => ip.ping(id),
        100..200 => ip.pong(id),
        _ => ip.icmp(kind, 0, u32::from(id), &[0; 20]),
    });
    let other = (ips(), any::<u8>()).prop_map(|(ip, proto)| ip.packet(proto | 0x80, b"whatever"));
    let fragment = (
        ips(),
        0u16..20,
        any::<bool>(),
        prop::sample::select(vec![TCP, UDP, GRE]),
        0usize..40,
    )
        .prop_map(|(ip, offset, more, proto, len)| ip.with_fragment(offset * 8, more).packet(proto, &vec![9; len]));
    let plain = prop_oneof![4 => tcp, 2 => udp, 2 => icmp, 1 => other, 1 => fragment].boxed();
    let quoted = prop_oneof![3 => plain.clone(), 1 => prop::collection::vec(any::<u8>(), 0..80)];
    let error = (ips(), quoted, any::<prop::sample::Index>(), 0u8..14).prop_map(|(ip, quoted, end, kind)| {
        let shown = &quoted[..if kind < 4 {
            end.index(quoted.len() + 1)
        } else {
            quoted.len()
        }];
        let kind = match kind {
            0..5 => return ip.error(shown),
            kind => kind,
        };
        ip.icmp(kind, 0, 0, shown)
    });
    prop_oneof![4 => plain, 1 => error]
}

/// Bytes changed, cut off, or added.
fn mutated(packets: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    // The fields that say how long things are.
    let lengths = prop::collection::vec(
        (
            prop::sample::select(vec![0, 2, 3, 4, 5, 6, 7, 9, 20, 24, 32, 40, 44, 52]),
            any::<u8>(),
        ),
        0..2,
    );
    let tail = prop::collection::vec(any::<u8>(), 0..20);
    (packets, changes, lengths, any::<prop::sample::Index>(), 0..4u8, tail).prop_map(
        |(mut packet, changes, lengths, end, mode, tail)| {
            for (at, to) in changes {
                let at = at.index(packet.len().max(1));
                if let Some(byte) = packet.get_mut(at) {
                    *byte = to;
                }
            }
            for (at, to) in lengths {
                if let Some(byte) = packet.get_mut(at) {
                    *byte = to;
                }
            }
            match mode {
                0 => packet.truncate(end.index(packet.len() + 1)),
                1 => packet.extend(tail),
                _ => (),
            }
            packet
        },
    )
}

fn steps() -> impl Strategy<Value = Step> {
    let packets = prop_oneof![
        6 => sound_packets(),
        3 => mutated(sound_packets()),
        1 => prop::collection::vec(any::<u8>(), 0..120),
    ];
    let flags = prop::sample::select(vec![
        SYN,
        SYN | ACK,
        SYN | ACK,
        ACK,
        ACK,
        ACK,
        FIN | ACK,
        RST,
        RST | ACK,
    ]);
    let about = prop_oneof![
        1 => Just(About::Again),
        1 => Just(About::Forwarded),
        3 => (flags, 0u8..3).prop_map(|(flags, by)| About::Answer(flags, by)),
        1 => prop::option::of(any::<prop::sample::Index>()).prop_map(About::Error),
    ];
    prop_oneof![
        30 => (any::<prop::sample::Index>(), about).prop_map(|(index, about)| Step::About(index, about)),
        10 => (1u16..=3, any::<bool>(), sound_packets(), 1usize..6, prop::collection::vec(any::<prop::sample::Index>(), 0..12))
            .prop_map(|(on, out, packet, size, order)| Step::Parts(on, out, packet, size * 8, order)),
        30 => (1u16..=3, any::<bool>(), packets).prop_map(|(on, out, packet)| Step::Packet(on, out, packet)),
        1 => any::<bool>().prop_map(Step::Lock),
        1 => (0u64..100).prop_map(Step::Tick),
    ]
}

/// What pf lets pass has no checksum that was right and is wrong now.
fn check(before: &[u8], after: &Fate) {
    let Ok(after) = after else { return };
    if after.is_empty() {
        return;
    }
    if transport(before).is_none() {
        // The last part, or one of several: what is in them has no checksum of its own.
        assert!(!wrong_checksums(after).contains(&"IP") || wrong_checksums(before).contains(&"IP"));
        return;
    }
    assert_eq!(before.len(), after.len());
    if wrong_checksums(before).is_empty() {
        assert_eq!(wrong_checksums(after), [""; 0], "{before:02x?} became {after:02x?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_out_of_order_afterwards(steps in prop::collection::vec(steps(), 1..120)) {
        let gate = gate();
        let mut passed: Vec<Passed> = vec![];
        for step in steps {
            let crossings = match step {
                Step::Packet(on, out, packet) => vec![(on, out, packet)],
                Step::Parts(on, out, packet, size, order) => {
                    let parts = parts(&packet, size);
                    let again = order.iter().filter(|_| !parts.is_empty()).map(|at| at.get(&parts).clone());
                    again.chain(parts.clone()).map(|part| (on, out, part)).collect()
                }
                Step::About(_, _) if passed.is_empty() => vec![],
                // What passed of late is where things go on.
                Step::About(index, about) => {
                    let about = about.packet(&passed[passed.len() - 1 - index.index(passed.len().min(8))]);
                    about.into_iter().collect()
                }
                Step::Lock(lock) => {
                    gate.set_lock(lock);
                    vec![]
                }
                Step::Tick(seconds) => {
                    gate.tick(seconds);
                    vec![]
                }
            };
            for (on, out, packet) in crossings {
                let fate = gate.cross(on, out, &packet);
                check(&packet, &fate);
                for answer in gate.answers() {
                    // What it quotes may have been broken before.
                    let wrong = wrong_checksums(&answer);
                    prop_assert!(wrong.iter().all(|of| of.starts_with("quoted")), "{:?}", wrong);
                }
                gate.returned();
                if let Ok(packet) = fate
                    && !packet.is_empty()
                {
                    passed.push((on, out, packet));
                }
            }
        }
        gate.each(check_table);
        let states: u32 = (0..9).map(|nr| gate.rule(nr).states).sum();
        prop_assert!(states as usize <= gate.states());
        // All of it goes in the end.
        gate.set_lock(false);
        gate.advance(100_000);
        gate.tick(10);
        prop_assert_eq!(gate.states(), 0);
        prop_assert_eq!(gate.machine().pf.norm().held(), 0);
        let left: u32 = (0..9).map(|nr| gate.rule(nr).states).sum();
        prop_assert_eq!(left, 0);
    }
}
