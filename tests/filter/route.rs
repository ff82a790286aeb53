//! Packets that rules send another way than the routing table: route-to, reply-to, dup-to.

use pf::kpi::Problem;
use pf_abi::*;

use crate::common::packets::*;
use crate::common::rules::*;
use crate::gate::{BLOCKED, Gate};

/// What is diverted does not go on.
const GONE: Result<Vec<u8>, Option<Reason>> = Err(None);

fn gate(rules: &[Loaded]) -> Gate {
    let gate = Gate::new(&[]);
    gate.each(|machine| {
        machine.pf.attach_interface(4, b"em2").unwrap();
        machine.load(RulesetKind::Filter, rules).unwrap();
    });
    gate
}

fn out() -> Ip {
    ip("10.0.0.1", "198.51.100.7")
}

/// The packet as a router sends it on.
fn hopped(ip: &Ip) -> Ip {
    Ip {
        ttl: ip.ttl - 1,
        ..ip.clone()
    }
}

fn any() -> Loaded {
    (pass().keep_state(), vec![])
}

#[test]
fn packets_of_a_state_take_its_way_and_answers_do_not() {
    for (ip, gateway) in [
        (out(), "192.0.2.254"),
        (ip("fd00::1", "2001:db8:7::7"), "2001:db8:2::fe"),
    ] {
        let rule = pass().inward().on("em1").keep_state();
        let gate = gate(&[any(), routed(rule, Route::To, &[&format!("em2 {gateway}")])]);
        for (flags, seq) in [(SYN, 1000), (SYN, 1000)] {
            let syn = segment(1025, 80, flags, seq, 0);
            assert_eq!(gate.receive_inside(&ip.tcp(&syn)), GONE);
            assert_eq!(gate.routed(), [(4, gateway.to_owned(), hopped(&ip).tcp(&syn))]);
        }
        let answer = ip.back().tcp(&segment(80, 1025, SYN | ACK, 9000, 1001));
        assert!(gate.cross(4, false, &answer).is_ok());
        assert_eq!(gate.send_inside(&answer), Ok(answer));
        assert_eq!((gate.routed(), gate.states()), (vec![], 2));
    }
}

#[test]
fn without_an_address_the_next_stop_is_the_destination() {
    let gate = gate(&[routed(pass().inward().keep_state(), Route::To, &["em2"])]);
    assert_eq!(gate.receive_inside(&out().udp(1025, 53, b"?")), GONE);
    assert_eq!(gate.routed()[0].1, "198.51.100.7");
}

#[test]
fn a_rule_without_state_routes_its_own_packets() {
    let gate = gate(&[routed(pass().outward().on("em0"), Route::To, &["em2 192.0.2.254"])]);
    let packet = out().udp(1025, 53, b"?");
    assert_eq!(gate.send(&packet), GONE);
    // The TTL was lowered when it was forwarded.
    assert_eq!(gate.routed(), [(4, "192.0.2.254".to_owned(), packet.clone())]);
    assert_eq!(gate.send_inside(&packet), Ok(packet));
    assert_eq!(gate.states(), 0);
}

#[test]
fn replies_go_back_where_the_request_came_from() {
    let rule = pass().inward().on("em2").keep_state();
    let gate = gate(&[any(), routed(rule, Route::ReplyTo, &["em2 192.0.2.254"])]);
    let request = ip("198.51.100.7", "10.0.0.80");
    let syn = request.tcp(&segment(1025, 80, SYN, 1000, 0));
    assert_eq!(gate.cross(4, false, &syn), Ok(syn.clone()));
    assert_eq!(gate.send_inside(&syn), Ok(syn));
    assert_eq!(gate.routed(), []);
    // The routing table would have it leave by em0.
    let answer = request.back().tcp(&segment(80, 1025, SYN | ACK, 9000, 1001));
    assert_eq!(gate.receive_inside(&answer), Ok(answer.clone()));
    assert_eq!(gate.send(&answer), GONE);
    assert_eq!(gate.routed(), [(4, "192.0.2.254".to_owned(), answer.clone())]);
    // Where it is on the right interface already, the gateway still is the rule's.
    assert_eq!(gate.cross(4, true, &answer), GONE);
    assert_eq!(gate.routed(), [(4, "192.0.2.254".to_owned(), answer)]);
}

#[test]
fn an_error_about_a_reply_takes_the_way_of_replies() {
    let rule = pass().inward().on("em2").keep_state();
    let gate = gate(&[any(), routed(rule, Route::ReplyTo, &["em2 192.0.2.254"])]);
    let request = ip("198.51.100.7", "10.0.0.80").udp(1025, 53, b"?");
    let arrived = gate.cross(4, false, &request).unwrap();
    let error = ip("10.0.0.80", "198.51.100.7").error(&arrived);
    assert_eq!(gate.send(&error), GONE);
    assert_eq!(gate.routed(), [(4, "192.0.2.254".to_owned(), error)]);
}

#[test]
fn a_copy_goes_the_other_way() {
    let rule = pass().inward().on("em1").keep_state();
    let gate = gate(&[any(), routed(rule, Route::DupTo, &["em2 192.0.2.254"])]);
    let packet = out().udp(1025, 53, b"?");
    let answer = out().back().udp(53, 1025, b"!");
    assert_eq!(gate.receive_inside(&packet), Ok(packet.clone()));
    assert_eq!(gate.send_inside(&answer), Ok(answer.clone()));
    let copies = [packet, answer].map(|packet| (4, "192.0.2.254".to_owned(), packet));
    assert_eq!(gate.routed(), copies);
}

#[test]
fn uplinks_share_the_load() {
    let hops = ["em0 192.0.2.254", "em2 203.0.113.254"];
    let mut rule = routed(pass().inward().on("em1").keep_state(), Route::To, &hops);
    rule = rule.choosing(PoolKind::RoundRobin);
    let by = |gate: &Gate, host: u8, port: u16| {
        let from = ip(&format!("10.0.0.{host}"), "198.51.100.7");
        assert_eq!(gate.receive_inside(&from.udp(port, 53, b"?")), GONE);
        gate.routed()[0].0
    };
    let turns = gate(&[any(), rule.clone()]);
    assert_eq!([1025, 1026, 1027, 1028].map(|port| by(&turns, 1, port)), [1, 4, 1, 4]);
    assert_eq!(by(&turns, 1, 1026), 4, "a connection stays where it is");
    let sticky = gate(&[any(), rule.sticky()]);
    assert_eq!([1025, 1026, 1027].map(|port| by(&sticky, 1, port)), [1; 3]);
    assert_eq!([1025, 1026, 1027].map(|port| by(&sticky, 2, port)), [4; 3]);
}

#[test]
fn the_other_interface_has_its_own_rules() {
    let divert = routed(pass().inward().on("em1").keep_state(), Route::To, &["em2 192.0.2.254"]);
    let gate = gate(&[(block(), vec![]), divert.clone()]);
    assert_eq!(gate.receive_inside(&out().udp(1025, 53, b"?")), BLOCKED);
    assert_eq!(gate.routed(), [], "nothing passes out of em2");
    // Translated there.
    let gate = self::gate(&[any(), divert]).nat(&[nat("203.0.113.1").on("em2").ports(0, 0)]);
    assert_eq!(gate.receive_inside(&out().udp(1025, 53, b"?")), GONE);
    let [(4, _, packet)] = &gate.routed()[..] else { panic!() };
    assert_eq!(sound(packet), "203.0.113.1:1025 > 198.51.100.7:53");
    let answer = ip("198.51.100.7", "203.0.113.1").udp(53, 1025, b"!");
    let back = gate.cross(4, false, &answer).unwrap();
    assert_eq!(
        sound(&gate.send_inside(&back).unwrap()),
        "198.51.100.7:53 > 10.0.0.1:1025"
    );
}

#[test]
fn no_packet_goes_round_in_circles() {
    let gate = gate(&[
        routed(pass().outward().on("em0"), Route::To, &["em2 192.0.2.254"]),
        routed(pass().outward().on("em2"), Route::To, &["em0 203.0.113.254"]),
    ]);
    assert_eq!(gate.send(&out().udp(1025, 53, b"?")), BLOCKED);
    assert_eq!(gate.routed(), []);
}

#[test]
fn a_packet_at_its_end_is_reported() {
    let rule = || pass().inward().on("em1");
    let gate = gate(&[any(), routed(rule(), Route::To, &["em2 192.0.2.254"])]);
    for last in [out(), ip("fd00::1", "2001:db8:7::7")] {
        let gate = match last.src.is_ipv4() {
            true => &gate,
            false => &self::gate(&[any(), routed(rule(), Route::To, &["em2"])]),
        };
        assert_eq!(gate.receive_inside(&Ip { ttl: 1, ..last }.udp(1025, 53, b"?")), GONE);
        assert_eq!((gate.reports(), gate.routed()), (vec![(2, Problem::Expired)], vec![]));
    }
}

#[test]
fn a_packet_that_is_too_long_is_reported_or_cut() {
    let gate = gate(&[any(), routed(pass().inward().on("em1"), Route::To, &["em2"])]);
    let mut packet = out().udp(1025, 53, &[0; 1480]);
    assert_eq!(gate.receive_inside(&packet), GONE);
    assert_eq!((gate.reports(), gate.routed().len()), (vec![], 1));
    packet[6] = 0x40;
    packet[10..12].fill(0);
    let sum = checksum(&[&packet[..20]]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(gate.receive_inside(&packet), GONE);
    assert_eq!(
        (gate.reports(), gate.routed().len()),
        (vec![(2, Problem::TooBig(1500))], 0)
    );
    let packet = ip("fd00::1", "2001:db8:7::7").udp(1025, 53, &[0; 1480]);
    assert_eq!(gate.receive_inside(&packet), GONE);
    assert_eq!(gate.reports(), [(2, Problem::TooBig(1500))]);
}

#[test]
fn a_way_that_is_gone_leads_nowhere() {
    let gate = gate(&[
        any(),
        routed(pass().inward().on("em1").keep_state(), Route::To, &["em2"]),
    ]);
    let packet = out().udp(1025, 53, b"?");
    assert_eq!(gate.receive_inside(&packet), GONE);
    assert_eq!(gate.routed().len(), 1);
    gate.each(|machine| machine.pf.detach_interface(4).unwrap());
    assert_eq!(gate.receive_inside(&packet), BLOCKED);
    assert_eq!(gate.routed(), []);
    gate.each(|machine| machine.pf.attach_interface(7, b"em2").unwrap());
    assert_eq!(gate.receive_inside(&packet), GONE);
    assert_eq!(gate.routed()[0].0, 7);
}

#[test]
fn fastroute_is_the_way_of_the_routing_table() {
    let gate = gate(&[routed(pass().inward().keep_state(), Route::Fast, &[])]);
    let packet = out().udp(1025, 53, b"?");
    assert_eq!(gate.receive_inside(&packet), Ok(packet));
}

#[test]
fn a_way_needs_an_interface() {
    let gate = gate(&[]);
    let mut rule = routed(pass().inward(), Route::To, &["em2 192.0.2.254"]);
    rule.1[0].ifname = IfName::EMPTY;
    let load = |rule: Loaded| gate.machine().load(RulesetKind::Filter, &[rule]);
    assert_eq!(load(rule), Err(pf::kpi::Errno::Einval));
    assert_eq!(load(routed(pass(), Route::To, &[])), Err(pf::kpi::Errno::Einval));
    assert_eq!(load(routed(pass(), Route::Fast, &["em2"])), Err(pf::kpi::Errno::Einval));
}

#[test]
fn a_restored_state_takes_its_way_again() {
    let hops = ["em0 192.0.2.254", "em2 203.0.113.254"];
    let rule = routed(pass().inward().on("em1").keep_state(), Route::To, &hops).choosing(PoolKind::RoundRobin);
    let gate = gate(&[rule]);
    for port in [1025, 1026] {
        assert_eq!(gate.receive_inside(&out().udp(port, 53, b"?")), GONE);
    }
    assert_eq!(gate.routed().iter().map(|(by, ..)| *by).collect::<Vec<_>>(), [1, 4]);
    gate.each(|machine| {
        let states = machine.dump();
        machine.ioctl(DIOCCLRSTATES, &mut IocStateKill::default()).unwrap();
        assert_eq!(machine.add_states(&states), Ok(2));
    });
    for (port, by) in [(1026, 4), (1025, 1)] {
        assert_eq!(gate.receive_inside(&out().udp(port, 53, b"?")), GONE);
        assert_eq!(gate.routed()[0].0, by);
    }
}

#[test]
fn a_restored_state_whose_way_is_gone_takes_the_one_that_there_is() {
    let rule = |hop| routed(pass().inward().on("em1").keep_state(), Route::To, &[hop]);
    let gate = gate(&[rule("em2 203.0.113.254")]);
    let packet = out().udp(1025, 53, b"?");
    assert_eq!(gate.receive_inside(&packet), GONE);
    gate.routed();
    gate.each(|machine| {
        let states = machine.dump();
        machine.ioctl(DIOCCLRSTATES, &mut IocStateKill::default()).unwrap();
        machine.load(RulesetKind::Filter, &[rule("em0 192.0.2.254")]).unwrap();
        assert_eq!(machine.add_states(&states), Ok(1));
        assert_eq!(machine.dump()[0].rule, 0);
    });
    assert_eq!(gate.receive_inside(&packet), GONE);
    let [(1, to, _)] = &gate.routed()[..] else { panic!() };
    assert_eq!(to, "192.0.2.254");
}

#[test]
fn a_copy_is_judged_where_it_leaves() {
    let copied = || {
        routed(
            pass().inward().on("em1").keep_state(),
            Route::DupTo,
            &["em2 192.0.2.254"],
        )
    };
    let packet = out().udp(1025, 53, b"?");
    // What stands in its way there stands in nobody else's, and nobody is told.
    let refuse = block()
        .outward()
        .on("em2")
        .change(|rule| (rule.rule_flag, rule.return_icmp) = (PFRULE_RETURNICMP, 0x0303));
    let gate = gate(&[any(), copied(), (refuse, vec![])]);
    assert_eq!(gate.forward(&packet), Ok(packet.clone()));
    assert_eq!((gate.routed(), gate.sent()), (vec![], vec![]));
    assert_eq!(gate.rule(2).packets, [0, 1]);
    // It is translated there.
    let gate = self::gate(&[any(), copied()]).nat(&[nat("203.0.113.1").on("em2").ports(0, 0)]);
    for _ in 0..2 {
        assert_eq!(gate.receive_inside(&packet), Ok(packet.clone()));
        let [(4, to, copy)] = &gate.routed()[..] else { panic!() };
        assert_eq!(to, "192.0.2.254");
        assert_eq!(sound(copy), "203.0.113.1:1025 > 198.51.100.7:53");
        assert_eq!(copy[8], packet[8], "its TTL is as it came");
    }
    // It may be sent another way there, but no copy of it is made.
    let again = routed(pass().outward().on("em2"), Route::To, &["em0 192.0.2.9"]);
    let gate = self::gate(&[any(), copied(), again]);
    assert_eq!(gate.receive_inside(&packet), Ok(packet.clone()));
    assert_eq!(gate.routed(), [(1, "192.0.2.9".to_owned(), packet.clone())]);
    let again = routed(pass().outward().on("em2"), Route::DupTo, &["em0 192.0.2.9"]);
    let gate = self::gate(&[any(), copied(), again]);
    assert_eq!(gate.receive_inside(&packet), Ok(packet.clone()));
    assert_eq!(gate.routed(), [(4, "192.0.2.254".to_owned(), packet)]);
}

#[test]
fn a_copy_is_in_no_bound_state_s_way() {
    let bound = || {
        pass()
            .proto(TCP)
            .flags(SYN, SYN | ACK)
            .keep_state()
            .with(PFRULE_IFBOUND)
    };
    let copied = routed(bound().inward().on("em1"), Route::DupTo, &["em2"]);
    let gate = gate(&[(block(), vec![]), (bound().outward(), vec![]), copied]);
    let there = |segment: &Segment| {
        let packet = out().tcp(segment);
        assert_eq!(gate.forward(&packet), Ok(packet.clone()));
        assert_eq!(gate.routed(), [(4, "198.51.100.7".to_owned(), packet)]);
    };
    there(&segment(1025, 80, SYN, 1000, 0));
    let answer = out().back().tcp(&segment(80, 1025, SYN | ACK, 9000, 1001));
    assert_eq!(gate.forward_back(&answer), Ok(answer));
    gate.routed();
    // No rule but the state of the packet itself lets a copy of this pass.
    there(&segment(1025, 80, ACK, 1001, 9001));
    let interfaces: Vec<_> = gate.machine().dump().iter().map(|state| state.ifname).collect();
    let expected = ["em1", "em0"].map(|name| IfName::new(name).unwrap());
    assert_eq!(interfaces.len(), 2);
    assert!(expected.iter().all(|name| interfaces.contains(name)));
}

#[test]
fn what_is_diverted_may_be_copied_where_it_leaves() {
    let gate = gate(&[
        any(),
        routed(pass().inward().on("em1"), Route::To, &["em2 192.0.2.254"]),
        routed(pass().outward().on("em2"), Route::DupTo, &["em0 192.0.2.9"]),
    ]);
    assert_eq!(gate.receive_inside(&out().udp(1025, 53, b"?")), GONE);
    let packet = hopped(&out()).udp(1025, 53, b"?");
    let expected = [(1, "192.0.2.9"), (4, "192.0.2.254")].map(|(at, to)| (at, to.to_owned(), packet.clone()));
    assert_eq!(gate.routed(), expected);
}

/// Fragments of a packet, each with so many bytes of its data.
fn pieces(ip: &Ip, packet: &[u8], len: usize) -> Vec<Vec<u8>> {
    let (proto, at) = transport(packet).unwrap();
    let data = &packet[at..];
    let parts = data.chunks(len).enumerate();
    parts
        .map(|(n, part)| {
            let more = (n + 1) * len < data.len();
            ip.clone().with_fragment((n * len) as u16, more).packet(proto, part)
        })
        .collect()
}

#[test]
fn what_came_in_fragments_goes_the_other_way_as_one_decision() {
    for ip in [out(), ip("fd00::1", "2001:db8:7::7")] {
        let rule = pass().inward().on("em1").proto(UDP).port(53).keep_state();
        let gate = gate(&[any(), routed(rule, Route::To, &["em2"])]).scrub(&[scrub()]);
        let whole = ip.udp(1025, 53, &[7; 1480]);
        let mut fragments = pieces(&ip, &whole, 800);
        let last = fragments.pop().unwrap();
        for fragment in &fragments {
            assert_eq!(gate.receive_inside(fragment), crate::gate::KEPT);
        }
        assert_eq!(gate.routed(), [], "nothing leaves before all is there");
        assert_eq!(gate.receive_inside(&last), GONE);
        let routed = gate.routed();
        assert!(routed.iter().all(|(at, ..)| *at == 4));
        let hopped = hopped(&ip);
        let sent: Vec<_> = routed.into_iter().map(|(.., packet)| packet).collect();
        match ip.src.is_ipv4() {
            // IPv4 may be cut by whoever sends it on: it is handed over as a whole.
            true => assert_eq!(sent, [hopped.udp(1025, 53, &[7; 1480])]),
            // In IPv6 it goes on as it came, cut where it was.
            false => {
                let expected = pieces(&hopped, &hopped.udp(1025, 53, &[7; 1480]), 800);
                assert_eq!(sent.len(), expected.len());
                for (sent, expected) in sent.iter().zip(&expected) {
                    assert_eq!(sent, expected);
                    assert!(sent.len() <= last.len().max(fragments[0].len()));
                }
            }
        }
        assert_eq!(gate.states(), 2, "one on each interface");
        // A copy is cut in the same way.
        let rule = pass().inward().on("em1").proto(UDP).port(53).keep_state();
        let gate = self::gate(&[any(), self::routed(rule, Route::DupTo, &["em2"])]).scrub(&[scrub()]);
        for fragment in pieces(&ip, &whole, 800) {
            assert_eq!(gate.receive_inside(&fragment).map(|_| ()).err().flatten(), None);
        }
        let copies = gate.routed();
        assert_eq!(copies.len(), if ip.src.is_ipv4() { 1 } else { 2 });
        assert!(copies.iter().all(|(at, _, packet)| *at == 4 && packet.len() <= 1508));
    }
}
