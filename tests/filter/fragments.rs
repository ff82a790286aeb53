//! Fragments under scrub rules.

use pf_abi::*;
use proptest::prelude::*;

use crate::common::packets::*;
use crate::common::rules::*;
use crate::gate::{BLOCKED, Fate, Gate, KEPT, dropped};

fn v4() -> Ip {
    ip("10.0.0.1", "198.51.100.7")
}

fn v6() -> Ip {
    ip("fd00::1", "2001:db8:7::7")
}

/// A gate that passes everything.
fn gate(rule: Rule) -> Gate {
    Gate::new(&[pass().allow_opts()]).scrub(&[rule])
}

const LOST: Fate = Err(Some(Reason::Fragment));

/// The data of a whole packet.
fn data_of(packet: &[u8]) -> &[u8] {
    if packet[0] >> 4 == 4 {
        &packet[usize::from(packet[0] & 15) * 4..]
    } else {
        &packet[40..]
    }
}

/// The part of a whole packet from `start` to `end`, as a fragment. Of IPv6, the packet has no extension headers.
fn part(whole: &[u8], start: usize, end: usize) -> Vec<u8> {
    let data = data_of(whole);
    fragment(whole, start, &data[start..end], end < data.len())
}

/// A fragment with the headers of a whole packet and these data.
fn fragment(whole: &[u8], start: usize, data: &[u8], more: bool) -> Vec<u8> {
    if whole[0] >> 4 == 4 {
        let header_len = whole.len() - data_of(whole).len();
        let mut bytes = whole[..header_len].to_vec();
        bytes[2..4].copy_from_slice(&((header_len + data.len()) as u16).to_be_bytes());
        let frag = u16::from_be_bytes([bytes[6], bytes[7]]) & 0x4000 | (start / 8) as u16 | u16::from(more) << 13;
        bytes[6..8].copy_from_slice(&frag.to_be_bytes());
        bytes[10..12].fill(0);
        let sum = checksum(&[&bytes]);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        bytes.extend(data);
        bytes
    } else {
        let (src, dst) = addresses(whole);
        let ip = Ip {
            src,
            dst,
            ..ip("::", "::")
        };
        ip.with_fragment(start as u16, more).packet(whole[6], data)
    }
}

/// Parts of these sizes, the last with what is left.
pub(crate) fn parts(whole: &[u8], size: usize) -> Vec<Vec<u8>> {
    let len = data_of(whole).len();
    (0..len)
        .step_by(size)
        .map(|at| part(whole, at, len.min(at + size)))
        .collect()
}

/// The whole packet out of one end of the gate: itself, or for IPv6 what was cut of it.
fn out(gate: &Gate, packets: &[Vec<u8>]) -> Option<Vec<u8>> {
    let mut whole = None;
    for packet in packets {
        match gate.send(packet) {
            Ok(bytes) if bytes.is_empty() => (),
            Ok(bytes) => assert!(whole.replace(bytes).is_none(), "twice"),
            Err(reason) => assert_eq!(reason, Some(Reason::Fragment)),
        }
    }
    let cut = gate.answers();
    if !cut.is_empty() {
        assert_eq!(whole.replace(join(&cut)), None);
    }
    whole
}

/// Puts IPv6 fragments together that are in order.
fn join(fragments: &[Vec<u8>]) -> Vec<u8> {
    let mut whole = fragments[0][..40].to_vec();
    whole[6] = fragments[0][40];
    for (n, fragment) in fragments.iter().enumerate() {
        assert_eq!(fragment[6], 44);
        assert_eq!(
            fragment.len(),
            40 + usize::from(u16::from_be_bytes([fragment[4], fragment[5]]))
        );
        assert_eq!(fragment[44..48], [1, 2, 3, 4], "the identification is kept");
        let offset_more = u16::from_be_bytes([fragment[42], fragment[43]]);
        assert_eq!(usize::from(offset_more & !7), whole.len() - 40);
        assert_eq!(offset_more & 1 == 1, n + 1 < fragments.len());
        whole.extend(&fragment[48..]);
    }
    let len = (whole.len() - 40) as u16;
    whole[4..6].copy_from_slice(&len.to_be_bytes());
    whole
}

fn big(ip: &Ip, len: usize) -> Vec<u8> {
    let data: Vec<u8> = (0..len).map(|n| (n * 7 + n / 256) as u8).collect();
    ip.udp(1025, 53, &data)
}

#[test]
fn a_packet_is_judged_when_all_of_it_is_there() {
    for ip in [v4(), v6()] {
        let whole = big(&ip, 3000);
        let rules = [block(), pass().proto(UDP).port(53).keep_state()];
        let gate = Gate::new(&rules).scrub(&[scrub()]);
        let parts = parts(&whole, 1400);
        for packet in &parts[1..] {
            assert_eq!(gate.send(packet), KEPT);
        }
        assert_eq!(gate.states(), 0);
        assert_eq!(out(&gate, &parts[..1]), Some(whole.clone()));
        assert_eq!((gate.states(), gate.machine().pf.norm().held()), (1, 0));
        // The rule has counted one packet, as long as the whole.
        assert_eq!(
            (gate.rule(1).packets, gate.rule(1).bytes[1]),
            ([0, 1], whole.len() as u64)
        );
        gate.load_filter(&[block()]);
        assert_eq!(out(&gate, &parts), Some(whole.clone()), "by its state");
        // One that is blocked is blocked as a whole, too.
        let other = big(&Ip { ttl: 9, ..ip.back() }, 3000);
        let fates: Vec<_> = self::parts(&other, 1400).iter().map(|part| gate.send(part)).collect();
        assert_eq!(fates, [KEPT, KEPT, BLOCKED]);
    }
}

#[test]
fn headers_are_those_of_the_first_fragment() {
    let ip = v4().with_options(&[148, 4, 0, 0]);
    let whole = ip.udp(1025, 53, &[7; 100]);
    let gate = gate(scrub());
    let mut parts = parts(&whole, 48);
    // The others come with another TTL, and without options.
    for part in &mut parts[1..] {
        *part = fragment(
            &v4().udp(1025, 53, &[]),
            usize::from(u16::from_be_bytes([part[6], part[7]]) & 0x1fff) * 8,
            data_of(part),
            part[6] & 0x20 != 0,
        );
    }
    parts.reverse();
    assert_eq!(out(&gate, &parts), Some(whole));
}

#[test]
fn extension_headers_stay_where_they_are() {
    let hop = |ip: Ip| ip.with_extension(0, &[0, 0, 5, 2, 0, 0, 1, 0]);
    let udp = v6().udp(1025, 53, &[9; 200]);
    let gate = gate(scrub());
    let data = &udp[40..];
    let parts: Vec<_> = [(0, 96), (96, 208)]
        .map(|(start, end): (usize, usize)| {
            hop(v6())
                .with_fragment(start as u16, end < 208)
                .packet(UDP, &data[start..end])
        })
        .into();
    assert_eq!(gate.send(&parts[0]), KEPT);
    assert_eq!(gate.send(&parts[1]), KEPT);
    // Cut again as it was, but for the longest, which decides.
    let cut = gate.answers();
    assert_eq!(cut.len(), 2);
    assert_eq!(cut[0], hop(v6()).with_fragment(0, true).packet(UDP, &data[..112]));
    assert_eq!(cut[1], hop(v6()).with_fragment(112, false).packet(UDP, &data[112..]));
}

#[test]
fn ipv6_goes_on_in_fragments_no_longer_than_they_came() {
    let whole = big(&v6(), 4000);
    let gate = gate(scrub());
    for part in parts(&whole, 1232) {
        assert_eq!(gate.receive_inside(&part), KEPT);
    }
    let cut = gate.returned();
    assert_eq!(cut, parts(&whole, 1232));
    assert_eq!(join(&cut), whole);
    assert_eq!(gate.answers(), [] as [Vec<u8>; 0]);
}

#[test]
fn ipv6_is_translated_as_a_whole_on_its_way_through() {
    // Only what comes in is scrubbed: on the way out it is known by its mark.
    let gate = Gate::new(&[block(), pass().proto(UDP).port(53).keep_state()])
        .scrub(&[scrub().inward()])
        .nat(&[nat("2001:db8::1").on("em0").from("fd00::/8")]);
    let whole = big(&v6(), 4000);
    for part in parts(&whole, 1232) {
        assert_eq!(gate.receive_inside(&part), KEPT);
    }
    let fates = gate.forward_returned(1);
    assert_eq!(fates, vec![KEPT; fates.len()]);
    let cut = gate.answers();
    assert_eq!(cut.len(), 4);
    assert!(cut.iter().all(|fragment| fragment.len() <= 1280));
    let sent = join(&cut);
    assert!(sound(&sent).starts_with("2001:db8::1:"), "{}", ends(&sent));
    assert_eq!(sent[48..], whole[48..]);
    assert_eq!(gate.states(), 2);
    // And back.
    let [high, low] = sent[40..42].try_into().unwrap();
    let back = ip("2001:db8:7::7", "2001:db8::1").udp(53, u16::from_be_bytes([high, low]), &[5; 3000]);
    for part in parts(&back, 1232) {
        assert_eq!(gate.receive(&part), KEPT);
    }
    assert_eq!(gate.forward_returned(2), [KEPT, KEPT, KEPT]);
    assert_eq!(sound(&join(&gate.answers())), "2001:db8:7::7:53 > fd00::1:1025");
}

#[test]
fn a_tag_goes_along_with_what_is_cut() {
    let name = CName::new("inside").unwrap();
    let gate = Gate::new(&[
        block(),
        pass().inward().change(|rule| rule.tagname = name),
        pass().outward().change(|rule| rule.match_tagname = name),
    ])
    .scrub(&[scrub().inward()]);
    for part in parts(&big(&v6(), 4000), 1232) {
        assert_eq!(gate.receive_inside(&part), KEPT);
    }
    let fates = gate.forward_returned(1);
    assert_eq!(fates, vec![KEPT; 4]);
    assert_eq!(join(&gate.answers()), big(&v6(), 4000));
}

#[test]
fn a_fragment_that_is_the_whole_waits_for_nobody() {
    let packet = v6().with_fragment(0, false).udp(1025, 53, b"question");
    assert_eq!(gate(scrub()).send(&packet), Ok(packet));
}

#[test]
fn fragments_are_translated_as_a_whole() {
    let gate = Gate::new(&[pass()])
        .scrub(&[scrub()])
        .nat(&[nat("192.0.2.1").on("em0").from("10.0.0.0/8")]);
    let whole = big(&v4(), 2000);
    let sent = out(&gate, &parts(&whole, 1000)).unwrap();
    assert!(sound(&sent).starts_with("192.0.2.1:"), "{}", ends(&sent));
    assert_eq!(data_of(&sent)[8..], data_of(&whole)[8..]);
}

#[test]
fn without_a_rule_that_matches_fragments_are_judged_one_by_one() {
    let whole = big(&v4(), 2000);
    for gate in [
        gate(scrub().proto(TCP)),
        gate(scrub().on("em1")),
        gate(no_scrub()),
        Gate::new(&[]).scrub(&[no_scrub().proto(UDP), scrub()]),
    ] {
        for part in parts(&whole, 1000) {
            assert_eq!(gate.send(&part), Ok(part));
        }
    }
    // With ports it cannot be told yet whether it matches.
    let rules = [no_scrub().proto(UDP).port(54), scrub().proto(UDP).port(99)];
    let gate = Gate::new(&[]).scrub(&rules);
    assert_eq!(out(&gate, &parts(&whole, 1000)), Some(whole));
}

#[test]
fn fragments_that_must_not_be_fragmented_need_no_df() {
    let mut whole = big(&v4(), 2000);
    whole[6] |= 0x40;
    whole[10..12].fill(0);
    let sum = checksum(&[&whole[..20]]);
    whole[10..12].copy_from_slice(&sum.to_be_bytes());
    for part in parts(&whole, 1000) {
        assert_eq!(gate(scrub()).send(&part), dropped(Reason::Normalize));
    }
    let sent = out(&gate(scrub().with(PFRULE_NODF)), &parts(&whole, 1000));
    assert_eq!(sent, Some(big(&v4(), 2000)));
}

// Attacks.

#[test]
fn a_ping_of_death_is_dropped() {
    let data = [7; 1480];
    for ip in [v4(), v6()] {
        let gate = gate(scrub());
        let proto = if ip.src.is_ipv4() { ICMP } else { ICMP6 };
        let send = |start: u16, len: usize, more| {
            gate.send(&ip.clone().with_fragment(start, more).packet(proto, &data[..len]))
        };
        for start in (0..65_120).step_by(1480) {
            assert_eq!(send(start, 1480, true), KEPT);
        }
        // 65120 + 416 would be one byte more than an offset can say.
        assert_eq!(send(65_120, 416, false), LOST);
        if ip.src.is_ipv4() {
            // These bytes would do, were it not for the header.
            assert_eq!(send(65_120, 415, false), LOST);
            assert_eq!(gate.machine().pf.norm().held(), 0);
        }
    }
}

#[test]
fn what_cannot_be_a_fragment_is_dropped() {
    for ip in [v4(), v6()] {
        let gate = gate(scrub());
        for (start, len, more) in [
            (64, 0, false),
            (64, 0, true),
            (64, 63, true),
            (0, 7, true),
            (65_528, 8, false),
            (65_520, 64, true),
        ] {
            let packet = ip.clone().with_fragment(start, more).packet(UDP, &vec![1; len]);
            assert_eq!(gate.send(&packet), LOST, "{start} {len} {more}");
        }
        assert_eq!(gate.machine().pf.norm().held(), 0);
    }
}

#[test]
fn tiny_fragments_hide_nothing() {
    // The port is in the second fragment; without scrub such a one is dropped.
    for ip in [v4(), v6()] {
        let whole = ip.tcp(&segment(1025, 80, SYN, 1000, 0));
        let tiny = parts(&whole, 8);
        assert_eq!(Gate::new(&[]).send(&tiny[0]), LOST);
        let gate = Gate::new(&[pass().proto(TCP).port(80), block().proto(TCP).flags(SYN, SYN)]).scrub(&[scrub()]);
        let fates: Vec<_> = tiny.iter().map(|part| gate.send(part)).collect();
        assert_eq!(fates, [KEPT, KEPT, BLOCKED]);
        gate.load_filter(&[pass().proto(TCP).port(80)]);
        assert_eq!(out(&gate, &tiny), Some(whole));
    }
}

#[test]
fn a_last_fragment_that_contradicts_another_makes_the_packet_void() {
    for ip in [v4(), v6()] {
        let whole = ip.packet(GRE, &[7; 96]);
        let cases: [&[(usize, usize, bool)]; 4] = [
            // Two ends.
            &[(64, 96, false), (32, 64, false)],
            // More behind the end, or as far as it.
            &[(32, 64, false), (64, 96, true)],
            &[(64, 96, false), (64, 96, true)],
            // An end before what is there.
            &[(64, 96, true), (32, 64, false)],
        ];
        for case in cases {
            let gate = gate(scrub());
            let send = |(start, end, more): (usize, usize, bool)| {
                gate.send(&fragment(&whole, start, &data_of(&whole)[start..end], more))
            };
            assert_eq!(send(case[0]), KEPT);
            let counted = gate.machine().status().counters[Reason::Fragment as usize];
            assert_eq!(send(case[1]), LOST, "{case:?}");
            let lost = gate.machine().status().counters[Reason::Fragment as usize] - counted;
            assert_eq!(lost, 2, "both are counted");
            // Nothing is left of it; in IPv6, nothing more is taken either.
            assert_eq!(send((0, 32, true)), if ip.src.is_ipv4() { KEPT } else { LOST });
            assert_eq!(gate.machine().pf.norm().held(), 1);
        }
    }
}

#[test]
fn of_an_overlap_the_older_counts_in_ipv4() {
    // A teardrop: the second fragment lies within the first.
    let whole = v4().packet(GRE, &[7; 64]);
    let gate = gate(scrub());
    assert_eq!(gate.send(&fragment(&whole, 0, &[1; 40], true)), KEPT);
    assert_eq!(gate.send(&fragment(&whole, 8, &[2; 16], true)), LOST);
    // One that overlaps two, and fills what is between them.
    assert_eq!(gate.send(&fragment(&whole, 48, &[3; 8], true)), KEPT);
    let sent = gate.send(&fragment(&whole, 16, &[4; 48], false)).unwrap();
    let expected = [&[1; 40][..], &[4; 8], &[3; 8], &[4; 8]].concat();
    assert_eq!(data_of(&sent), expected);
    sound(&sent);
}

#[test]
fn an_overlap_makes_an_ipv6_packet_void_for_good() {
    let whole = v6().packet(GRE, &[7; 64]);
    let gate = gate(scrub());
    assert_eq!(gate.send(&part(&whole, 0, 32)), KEPT);
    // The very same again is no overlap (RFC 8200, 4.5).
    assert_eq!(gate.send(&part(&whole, 0, 32)), LOST);
    assert_eq!(gate.send(&part(&whole, 24, 48)), LOST);
    for (start, end) in [(0, 32), (32, 48), (48, 64)] {
        assert_eq!(gate.send(&part(&whole, start, end)), LOST);
    }
    // Until it is forgotten.
    gate.tick(31);
    assert_eq!(gate.machine().pf.norm().held(), 0);
    assert_eq!(out(&gate, &parts(&whole, 32)), Some(whole));
}

#[test]
fn endless_fragments_come_to_an_end() {
    for ip in [v4(), v6()] {
        let gate = gate(scrub());
        let lost = (0..2000u16)
            .filter(|n| gate.send(&ip.clone().with_fragment(n * 16, true).packet(UDP, &[1; 8])) != KEPT)
            .count();
        assert!(lost > 0);
        assert!(gate.machine().pf.norm().held() <= 256);
    }
}

fn held(gate: &Gate) -> usize {
    gate.machine().pf.norm().held()
}

fn lost(gate: &Gate) -> u64 {
    gate.machine().pf.stats().reason(Reason::Fragment)
}

#[test]
fn what_waits_is_bounded_and_the_oldest_goes_first() {
    let gate = gate(scrub());
    gate.each(|machine| machine.set_limit(Limit::Frags, 100));
    let first = |n: u8| {
        fragment(
            &ip(&format!("10.1.0.{n}"), "198.51.100.7").packet(GRE, &[n; 16]),
            0,
            &[n; 8],
            true,
        )
    };
    for n in 0..150 {
        assert_eq!(gate.send(&first(n)), KEPT);
        assert!(held(&gate) <= 100);
    }
    assert_eq!((held(&gate), lost(&gate)), (100, 50));
    let whole = |n: u8| ip(&format!("10.1.0.{n}"), "198.51.100.7").packet(GRE, &[n; 16]);
    let rest = |n: u8| fragment(&whole(n), 8, &[n; 8], false);
    assert_eq!(gate.send(&rest(149)), Ok(whole(149)));
    assert_eq!(gate.send(&rest(60)), Ok(whole(60)));
    assert_eq!(gate.send(&rest(49)), KEPT, "its beginning is gone");
    // None may wait: none does.
    gate.each(|machine| machine.set_limit(Limit::Frags, 0));
    assert_eq!(gate.send(&first(1)), dropped(Reason::Memory));
}

#[test]
fn what_waits_is_bounded_in_bytes() {
    let gate = gate(scrub());
    gate.each(|machine| machine.set_limit(Limit::Frags, 10));
    // Ten of them would be ten times as much as ten fragments of the usual size.
    for n in 0..10 {
        let whole = ip(&format!("10.1.0.{n}"), "198.51.100.7").packet(GRE, &[n; 19_000]);
        assert_eq!(gate.send(&part(&whole, 0, 16_000)), KEPT);
    }
    assert_eq!((held(&gate), lost(&gate)), (1, 9));
}

#[test]
fn a_change_of_the_limit_loses_nothing() {
    let gate = gate(scrub());
    let whole = |n: u8| ip(&format!("10.1.0.{n}"), "198.51.100.7").packet(GRE, &[n; 16]);
    for n in 0..200 {
        assert_eq!(gate.send(&fragment(&whole(n), 0, &[n; 8], true)), KEPT);
    }
    for (limit, from, to) in [(100_000, 0, 100), (300, 100, 200)] {
        gate.each(|machine| machine.set_limit(Limit::Frags, limit));
        assert_eq!(held(&gate), 200 - from);
        for n in (from..to).map(|n| n as u8) {
            assert_eq!(gate.send(&fragment(&whole(n), 8, &[n; 8], false)), Ok(whole(n)));
        }
    }
}

#[test]
fn what_has_waited_too_long_goes() {
    let gate = gate(scrub());
    gate.each(|machine| machine.set_timeout(Timeout::Frag, 5));
    let whole = big(&v4(), 2000);
    let parts = parts(&whole, 1000);
    assert_eq!(gate.send(&parts[0]), KEPT);
    gate.tick(4);
    assert_eq!(gate.send(&parts[1]), KEPT);
    assert_eq!(held(&gate), 2);
    // It is the first that counts.
    gate.tick(1);
    assert_eq!((held(&gate), lost(&gate)), (0, 2));
    assert_eq!(gate.send(&parts[2]), KEPT);
}

#[test]
fn many_thousand_go_in_one_tick() {
    let gate = gate(scrub());
    for n in 0..5000u16 {
        let [a, b] = n.to_be_bytes();
        let ip = ip(&format!("10.1.{a}.{b}"), "198.51.100.7");
        assert_eq!(gate.send(&ip.with_fragment(0, true).packet(GRE, &[1; 8])), KEPT);
    }
    assert_eq!(held(&gate), 5000);
    gate.tick(30);
    assert_eq!((held(&gate), lost(&gate)), (0, 5000));
}

#[test]
fn of_more_than_a_tick_may_drop_the_next_drops_the_rest() {
    const MOST: usize = 1 << 15;
    let gate = gate(scrub());
    gate.each(|machine| machine.set_limit(Limit::Frags, 2 << 15));
    for n in 0..MOST as u32 + 100 {
        let [_, a, b, c] = n.to_be_bytes();
        let ip = ip(&format!("10.{a}.{b}.{c}"), "198.51.100.7");
        assert_eq!(gate.send(&ip.with_fragment(0, true).packet(GRE, &[1; 8])), KEPT);
    }
    gate.advance(30);
    for left in [100, 0] {
        gate.each(|machine| machine.pf.purge());
        assert_eq!(held(&gate), left);
    }
}

#[test]
fn packets_are_told_apart_by_all_that_their_fragments_have_in_common() {
    let gate = gate(scrub());
    let one = v4().packet(GRE, &[1; 16]);
    let mut other_id = one.clone();
    other_id[5] ^= 1;
    let others = [
        other_id,
        v4().packet(GRE + 1, &[1; 16]),
        ip("10.0.0.2", "198.51.100.7").packet(GRE, &[1; 16]),
        ip("10.0.0.1", "198.51.100.8").packet(GRE, &[1; 16]),
    ];
    assert_eq!(gate.send(&part(&one, 0, 8)), KEPT);
    for other in others {
        assert_eq!(gate.send(&part(&other, 8, 16)), KEPT);
    }
    // One that comes in is another than one that goes out.
    assert_eq!(gate.receive(&part(&one, 8, 16)), KEPT);
    assert_eq!(gate.send(&part(&one, 8, 16)), Ok(one));
}

#[test]
fn behind_the_packet_there_is_nothing() {
    for ip in [v4(), v6()] {
        let gate = gate(scrub());
        let whole = big(&ip, 100);
        let mut parts = parts(&whole, 56);
        for part in &mut parts {
            part.extend([0xee; 9]);
        }
        assert_eq!(out(&gate, &parts), Some(whole));
    }
}

#[test]
fn routing_header_0_hides_in_no_fragment() {
    let rh0 = [UDP, 2, 0, 1, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1];
    let data = [&rh0[..], data_of(&v6().udp(1, 2, &[1; 24]))].concat();
    let gate = gate(scrub());
    // The type is in the first fragment, or the header ends in the second one, which is against RFC 7112.
    let packet = |start: usize, end: usize| {
        v6().with_fragment(start as u16, end < data.len())
            .packet(43, &data[start..end])
    };
    assert_eq!(gate.send(&packet(0, 32)), dropped(Reason::IpOption));
    assert_eq!(gate.send(&packet(0, 16)), dropped(Reason::Short));
}

// crop and drop-ovl.

#[test]
fn crop_lets_pass_each_byte_once() {
    let whole = v4().packet(GRE, &[7; 96]);
    let gate = gate(scrub().with(PFRULE_FRAGCROP));
    let send = |start: usize, end: usize| gate.send(&part(&whole, start, end));
    assert_eq!(send(0, 32), Ok(part(&whole, 0, 32)));
    assert_eq!(send(0, 32), LOST);
    assert_eq!(send(8, 24), LOST);
    // The front of it has passed.
    assert_eq!(send(24, 48), Ok(part(&whole, 32, 48)));
    assert_eq!(send(64, 96), Ok(part(&whole, 64, 96)));
    // The back of it has: what is left is not the last any more.
    assert_eq!(send(56, 96), Ok(part(&whole, 56, 64)));
    assert_eq!(send(40, 96), Ok(part(&whole, 48, 56)));
    for (start, end) in [(0, 88), (48, 56)] {
        assert_eq!(send(start, end), LOST);
    }
    // Contradictions.
    assert_eq!(gate.send(&fragment(&whole, 96, &[1; 8], true)), LOST);
    assert_eq!(gate.send(&fragment(&whole, 88, &[1; 4], false)), LOST);
    assert_eq!(held(&gate), 1);
    gate.tick(30);
    assert_eq!(held(&gate), 0);
    assert_eq!(send(0, 32), Ok(part(&whole, 0, 32)));
}

#[test]
fn drop_ovl_lets_nothing_pass_behind_an_overlap() {
    let whole = v4().packet(GRE, &[7; 96]);
    let gate = gate(scrub().with(PFRULE_FRAGDROP));
    let send = |start: usize, end: usize| gate.send(&part(&whole, start, end));
    assert_eq!(send(0, 32), Ok(part(&whole, 0, 32)));
    assert_eq!(send(64, 96), Ok(part(&whole, 64, 96)));
    assert_eq!(send(24, 48), LOST);
    assert_eq!(send(32, 64), LOST, "nothing more of it");
    gate.tick(30);
    assert_eq!(send(32, 64), Ok(part(&whole, 32, 64)));
    assert_eq!(send(32, 64), LOST, "a repetition is an overlap");
    assert_eq!(send(64, 96), LOST);
}

#[test]
fn what_is_cropped_to_less_than_a_header_is_dropped() {
    let whole = v4().packet(TCP, &[7; 96]);
    let gate = gate(scrub().with(PFRULE_FRAGCROP));
    assert_eq!(gate.send(&part(&whole, 24, 48)), Ok(part(&whole, 24, 48)));
    assert_eq!(gate.send(&part(&whole, 0, 16)), LOST);
    assert_eq!(gate.send(&part(&whole, 8, 32)), LOST);
}

// Properties.

/// Cuts in units of eight bytes.
fn cuts() -> impl Strategy<Value = (usize, Vec<(usize, usize)>)> {
    (2usize..40, 0usize..8).prop_flat_map(|(units, odd)| {
        let len = units * 8 - odd;
        let ranges = prop::collection::vec((0..units, 1usize..20), 1..30);
        let ranges = ranges.prop_map(move |ranges| {
            ranges
                .into_iter()
                .map(|(start, units)| (start * 8, (start * 8 + units * 8).min(len)))
                .filter(|(start, end)| start < end && (*start, *end) != (0, len))
                .collect()
        });
        (Just(len), ranges)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_order_with_repetitions_gives_the_packet(
        is_v6: bool, len in 1usize..4000, size in 1usize..60,
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..60), seed: u64,
    ) {
        let whole = big(&if is_v6 { v6() } else { v4() }, len);
        let mut parts = parts(&whole, (size * 8).max(len.div_ceil(200).next_multiple_of(8)));
        prop_assume!(parts.len() > 1);
        let repeated: Vec<_> = order.iter().map(|at| at.get(&parts).clone()).collect();
        parts.splice(0..0, repeated);
        // A shuffle of its own for each.
        let mut state = seed;
        for at in (1..parts.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            parts.swap(at, (state >> 33) as usize % (at + 1));
        }
        let gate = gate(scrub());
        let mut wholes = vec![];
        for part in &parts {
            if let Ok(bytes) = gate.send(part)
                && !bytes.is_empty()
            {
                wholes.push(bytes);
            }
            let cut = gate.answers();
            if !cut.is_empty() {
                wholes.push(join(&cut));
            }
        }
        // What is repeated after it was complete may make another one.
        prop_assert!(!wholes.is_empty());
        prop_assert!(wholes.iter().all(|bytes| *bytes == whole));
    }

    #[test]
    fn overlaps_go_by_the_rule_of_the_older((len, ranges) in cuts(), v6_too: bool) {
        let ip = if v6_too { v6() } else { v4() };
        let whole = ip.packet(GRE, &vec![0; len]);
        let gate = gate(scrub());
        let send = |start: usize, end: usize, n: usize| {
            gate.send(&fragment(&whole, start, &vec![n as u8; end - start], end < len))
        };
        // The model: who wrote a byte first.
        let mut model = vec![None; len];
        let mut seen: Vec<(usize, usize)> = vec![];
        for (n, (start, end)) in ranges.into_iter().enumerate() {
            let overlaps = model[start..end].iter().any(Option::is_some);
            let is_new = model[start..end].iter().any(Option::is_none);
            let fate = send(start, end, n);
            if v6_too && overlaps {
                prop_assert_eq!(&fate, &LOST);
                if !seen.contains(&(start, end)) {
                    // Void, whatever comes.
                    prop_assert_eq!(send(0, len.min(8), 0), LOST);
                    return Ok(());
                }
                continue;
            }
            seen.push((start, end));
            for byte in &mut model[start..end] {
                byte.get_or_insert(n as u8);
            }
            if !is_new {
                prop_assert_eq!(&fate, &LOST);
            } else if model.iter().all(Option::is_some) && seen.iter().any(|(_, end)| *end == len) {
                let expected: Vec<u8> = model.iter().flatten().copied().collect();
                let sent = if v6_too && seen.len() > 1 {
                    prop_assert_eq!(&fate, &KEPT);
                    join(&gate.answers())
                } else {
                    fate.unwrap()
                };
                prop_assert_eq!(data_of(&sent), expected);
                return Ok(());
            } else {
                prop_assert_eq!(&fate, &KEPT);
            }
        }
    }

    #[test]
    fn crop_and_drop_ovl_let_no_byte_pass_twice((len, ranges) in cuts(), strict: bool) {
        let whole = v4().packet(GRE, &vec![0; len]);
        let gate = gate(scrub().with(if strict { PFRULE_FRAGDROP } else { PFRULE_FRAGCROP }));
        let mut passed = vec![false; len];
        let mut is_void = false;
        for (start, end) in ranges {
            let before = passed[start..end].to_vec();
            let fate = gate.send(&part(&whole, start, end));
            is_void |= strict && before.contains(&true);
            let expected = before.iter().position(|passed| !passed).filter(|_| !is_void).map(|front| {
                let more = before[front..].iter().position(|passed| *passed).unwrap_or(before.len() - front);
                (start + front, start + front + more)
            });
            match expected {
                None => prop_assert_eq!(fate, LOST),
                Some((from, to)) => {
                    prop_assert_eq!(fate, Ok(part(&whole, from, to)));
                    passed[from..to].fill(true);
                }
            }
        }
    }
}
