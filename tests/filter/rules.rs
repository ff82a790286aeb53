//! Which rule decides, what it decides, what the sender hears of it, and what is counted.

use pf_abi::*;

use crate::common::packets::*;
use crate::common::rules::*;
use crate::gate::{BLOCKED, Fate, Gate, dropped};

fn v4() -> Ip {
    ip("198.51.100.7", "192.0.2.1")
}

fn v6() -> Ip {
    ip("2001:db8:7::7", "2001:db8::1")
}

/// Whether a rule is about a packet that comes in from the outside.
#[track_caller]
fn is_about(rule: Rule, packet: &[u8]) -> bool {
    let fate = Gate::new(&[rule.change(|rule| rule.action = PF_DROP)]).receive(packet);
    assert!(fate == BLOCKED || fate == Ok(packet.to_vec()));
    fate.is_err()
}

fn udp(port: u16) -> Vec<u8> {
    v4().udp(1025, port, b"question")
}

#[test]
fn the_last_rule_decides_or_the_first_that_is_quick() {
    let fate = |rules: &[Rule]| Gate::new(rules).receive(&udp(53)).is_ok();
    assert!(fate(&[]));
    assert!(fate(&[block(), pass()]));
    assert!(!fate(&[pass(), block()]));
    assert!(fate(&[block(), pass(), block().proto(TCP)]));
    assert!(!fate(&[pass(), block().quick(), pass()]));
    assert!(fate(&[pass().quick(), block().quick()]));
    assert!(!fate(&[pass().quick().proto(TCP), block()]));
}

#[test]
fn ports_are_compared_in_every_way() {
    let port = |op: PortOp, ports: [u16; 2]| {
        let matches = |port: u16| is_about(pass().proto(UDP).dst_port(op, ports), &udp(port));
        [1, 99, 100, 101, 150, 199, 200, 201, 65_535].map(matches)
    };
    let [t, f] = [true, false];
    assert_eq!(port(PortOp::Equal, [100, 0]), [f, f, t, f, f, f, f, f, f]);
    assert_eq!(port(PortOp::NotEqual, [100, 0]), [t, t, f, t, t, t, t, t, t]);
    assert_eq!(port(PortOp::Less, [100, 0]), [t, t, f, f, f, f, f, f, f]);
    assert_eq!(port(PortOp::LessOrEqual, [100, 0]), [t, t, t, f, f, f, f, f, f]);
    assert_eq!(port(PortOp::Greater, [200, 0]), [f, f, f, f, f, f, f, t, t]);
    assert_eq!(port(PortOp::GreaterOrEqual, [200, 0]), [f, f, f, f, f, f, t, t, t]);
    // 100 >< 200 is without its ends, 100:200 is with them, 100 <> 200 is all outside.
    assert_eq!(port(PortOp::InsideRange, [100, 200]), [f, f, f, t, t, t, f, f, f]);
    assert_eq!(port(PortOp::Range, [100, 200]), [f, f, t, t, t, t, t, f, f]);
    assert_eq!(port(PortOp::OutsideRange, [100, 200]), [t, t, f, f, f, f, f, t, t]);
    assert_eq!(port(PortOp::None, [0, 0]), [t; 9]);
    assert!(is_about(pass().proto(UDP).src_port(PortOp::Equal, [1025, 0]), &udp(53)));
    assert!(!is_about(pass().proto(UDP).src_port(PortOp::Equal, [53, 0]), &udp(53)));
    assert!(is_about(
        pass().proto(TCP).port(80),
        &v6().tcp(&segment(1, 80, SYN, 0, 0))
    ));
}

#[test]
fn addresses_are_compared_by_their_mask() {
    let packet = udp(53);
    for (end, expected) in [
        ("198.51.100.7", true),
        ("198.51.100.0/24", true),
        ("198.51.100.6/31", true),
        ("198.51.100.8/31", false),
        ("198.51.100.8", false),
        ("0.0.0.0/0", true),
        ("any", true),
        ("! 198.51.100.7", false),
        ("! 198.51.100.0/24", false),
        ("! 10.0.0.0/8", true),
        ("2001:db8:7::7", false),
        ("! 2001:db8:7::7", false),
    ] {
        assert_eq!(is_about(pass().from(end), &packet), expected, "from {end}");
        let back = v4().back().udp(53, 1025, b"answer");
        assert_eq!(is_about(pass().to(end), &back), expected, "to {end}");
    }
    let packet = v6().ping(1);
    for (end, expected) in [
        ("2001:db8:7::7", true),
        ("2001:db8:7::/64", true),
        ("2001:db8:7::/47", true),
        ("2001:db8:8::/46", false),
        ("2001:db8:7::8/125", false),
        ("! 2001:db8:7::7", false),
        ("! fd00::/8", true),
    ] {
        assert_eq!(is_about(pass().from(end), &packet), expected, "from {end}");
    }
}

#[test]
fn interfaces_directions_families_and_protocols() {
    let packet = udp(53);
    assert!(is_about(pass().on("em0"), &packet));
    assert!(!is_about(pass().on("em1"), &packet));
    assert!(!is_about(pass().on("! em0"), &packet));
    assert!(is_about(pass().on("! em1"), &packet));
    assert!(is_about(pass().on("! gif0"), &packet));
    assert!(!is_about(pass().on("gif0"), &packet));
    assert!(is_about(pass().inward(), &packet));
    assert!(!is_about(pass().outward(), &packet));
    assert!(is_about(pass().af(AF_INET), &packet));
    assert!(!is_about(pass().af(AF_INET6), &packet));
    assert!(is_about(pass().af(AF_INET6), &v6().ping(1)));
    assert!(is_about(pass().proto(UDP), &packet));
    assert!(!is_about(pass().proto(TCP), &packet));
    assert!(is_about(pass().proto(GRE), &v4().packet(GRE, b"")));
    let out = Gate::new(&[block().outward()]);
    assert_eq!((out.send(&packet), out.receive(&packet)), (BLOCKED, Ok(packet)));
}

#[test]
fn flags_are_compared_within_their_set() {
    for flags in 0..32 {
        let packet = v4().tcp(&segment(1025, 80, flags, 1, 1));
        let about = is_about(pass().flags(SYN, SYN | ACK), &packet);
        assert_eq!(about, flags & (SYN | ACK) == SYN, "{flags:#x}");
        let none = is_about(pass().proto(TCP).flags(0, FIN | SYN | RST), &packet);
        assert_eq!(none, flags & (FIN | SYN | RST) == 0, "{flags:#x}");
    }
    // What has no flags is not asked for them: `pass all` is `flags S/SA` to pfctl(8).
    for packet in [udp(53), v4().ping(1), v6().ping(1), v4().packet(GRE, b"")] {
        assert!(is_about(pass().flags(SYN, SYN | ACK), &packet));
    }
}

#[test]
fn icmp_is_told_by_type_and_code() {
    let ping = v4().ping(1);
    assert!(is_about(pass().proto(ICMP).icmp(8, None), &ping));
    assert!(!is_about(pass().proto(ICMP).icmp(0, None), &ping));
    assert!(is_about(pass().proto(ICMP).icmp(8, Some(0)), &ping));
    assert!(!is_about(pass().proto(ICMP).icmp(8, Some(1)), &ping));
    let error = v4().error(&v4().back().udp(53, 1025, b"answer"));
    assert!(is_about(pass().proto(ICMP).icmp(3, Some(3)), &error));
    assert!(!is_about(pass().proto(ICMP).icmp(3, Some(0)), &error));
    let ping = v6().ping(1);
    assert!(is_about(pass().af(AF_INET6).proto(ICMP6).icmp(128, None), &ping));
    assert!(!is_about(pass().af(AF_INET6).proto(ICMP6).icmp(129, None), &ping));
}

#[test]
fn only_a_rule_that_keeps_state_lets_the_answer_in() {
    let question = v4().back().udp(1025, 53, b"question");
    let answer = v4().udp(53, 1025, b"answer");
    for (rule, fate) in [
        (pass().outward(), BLOCKED),
        (pass().outward().keep_state(), Ok(answer.clone())),
    ] {
        let gate = Gate::new(&[block(), rule]);
        gate.send(&question).unwrap();
        assert_eq!(gate.receive(&answer), fate);
        assert_eq!(gate.states(), usize::from(fate.is_ok()));
    }
    // Nothing else comes in by it.
    let gate = Gate::new(&[block(), pass().outward().keep_state()]);
    gate.send(&question).unwrap();
    for stranger in [
        v4().udp(53, 1026, b"answer"),
        v4().udp(54, 1025, b"answer"),
        ip("198.51.100.8", "192.0.2.1").udp(53, 1025, b"answer"),
        ip("198.51.100.7", "192.0.2.2").udp(53, 1025, b"answer"),
        v4().tcp(&segment(53, 1025, SYN, 1, 0)),
        v4().udp(1025, 53, b"question"),
    ] {
        assert_eq!(gate.receive(&stranger), BLOCKED, "{}", ends(&stranger));
    }
}

#[test]
fn icmp_messages_that_are_no_queries_are_not_remembered() {
    let gate = Gate::new(&[pass().keep_state()]);
    let packets = [
        v4().icmp(9, 0, 0, b"router"),
        v4().icmp(42, 0, 0, b"extended echo"),
        v6().icmp(133, 0, 0, b""),
        v6().icmp(135, 0, 0, &[0xfd; 16]),
        v6().icmp(143, 0, 0, b"listener"),
        v4().error(&v4().back().udp(53, 1025, b"answer")),
    ];
    for packet in &packets {
        assert_eq!(gate.receive(packet), Ok(packet.clone()));
    }
    assert_eq!(gate.states(), 0);
    // Nor do they go by the state of a query whose identifier is 0.
    gate.receive(&v6().ping(0)).unwrap();
    gate.load_filter(&[block()]);
    assert_eq!(gate.receive(&packets[3]), BLOCKED);
}

#[test]
fn a_rule_has_so_many_states_and_no_more() {
    let gate = Gate::new(&[pass().keep_state().max(2)]);
    let of = |port: u16| v4().udp(port, 53, b"question");
    assert!(gate.receive(&of(1)).is_ok() && gate.receive(&of(2)).is_ok());
    assert_eq!(gate.receive(&of(3)), dropped(Reason::StateLimit));
    assert_eq!(gate.machine().status().lcounters[LCNT_STATES], 1);
    assert!(gate.receive(&of(2)).is_ok());
    assert_eq!((gate.states(), gate.rule(0).states), (2, 2));
    // What was dropped is not counted as let through.
    assert_eq!(gate.rule(0).packets[0], 3);
}

#[test]
fn a_full_table_takes_no_more() {
    let gate = Gate::new(&[pass().keep_state()]);
    gate.each(|machine| machine.set_limit(Limit::States, 2));
    let of = |port: u16| v4().udp(port, 53, b"question");
    assert!(gate.receive(&of(1)).is_ok() && gate.receive(&of(2)).is_ok());
    assert_eq!(gate.receive(&of(3)), dropped(Reason::StateLimit));
    assert_eq!((gate.states(), gate.rule(0).states), (2, 2));
}

#[test]
fn everything_is_counted_once() {
    let gate = Gate::new(&[pass().inward().keep_state(), block().proto(TCP), pass().proto(GRE)]);
    gate.each(|machine| {
        let ifname = IfName::new("em0").unwrap();
        let mut arg = IocIf { ifname };
        machine.ioctl(DIOCSETSTATUSIF, &mut arg).unwrap();
    });
    let (question, answer) = (udp(53), v4().back().udp(53, 1025, b"the answer"));
    gate.receive(&question).unwrap();
    gate.receive(&question).unwrap();
    gate.send(&answer).unwrap();
    assert_eq!(gate.receive(&v4().tcp(&segment(1, 2, SYN, 0, 0))), BLOCKED);
    gate.send(&v4().packet(GRE, b"")).unwrap();
    gate.receive(&v6().ping(1)).unwrap();

    let (asked, answered) = (question.len() as u64, answer.len() as u64);
    let ping = v6().ping(1).len() as u64;
    let [keep, tcp, gre] = [0, 1, 2].map(|nr| gate.rule(nr));
    // Each packet without a state is compared with each rule.
    assert_eq!([keep.evaluations, tcp.evaluations, gre.evaluations], [4; 3]);
    assert_eq!((keep.packets, keep.bytes), ([3, 1], [2 * asked + ping, answered]));
    assert_eq!((tcp.packets, tcp.bytes), ([1, 0], [40, 0]));
    assert_eq!((gre.packets, gre.bytes), ([0, 1], [0, 20]));
    assert_eq!(keep.states, 2);

    let states = gate.machine().dump();
    let state = states.iter().find(|state| state.proto == UDP).unwrap();
    assert_eq!(state.packets.map(join_counter), [2, 1]);
    assert_eq!(state.bytes.map(join_counter), [2 * asked, answered]);

    let status = gate.machine().status();
    assert_eq!(status.counters[Reason::Match as usize], 4);
    assert_eq!(status.fcounters[FCNT_STATE_SEARCH], 6);
    assert_eq!(status.fcounters[FCNT_STATE_INSERT], 2);
    assert_eq!(status.states, 2);
    // By family, direction, and fate.
    assert_eq!(status.pcounters[0].map(|it| [it[0], it[1]]), [[2, 1], [2, 0]]);
    assert_eq!(status.pcounters[1].map(|it| [it[0], it[1]]), [[1, 0], [0, 0]]);
    assert_eq!(status.bcounters, [[2 * asked + 40, answered + 20], [ping, 0]]);
}

/// The one packet that a sender hears when its own is blocked.
#[track_caller]
fn answer(rule: Rule, packet: &[u8]) -> Option<Vec<u8>> {
    let gate = Gate::new(&[rule]);
    let fate: Fate = gate.receive(packet);
    assert_eq!(fate, BLOCKED);
    let mut answers = gate.answers();
    assert!(answers.len() <= 1);
    let answer = answers.pop();
    if let Some(answer) = &answer {
        sound(answer);
    }
    answer
}

/// A packet without what is drawn by lot: IPv4's identification, and the checksum over it.
fn without_id(mut packet: Vec<u8>) -> Vec<u8> {
    if packet[0] >> 4 == 4 {
        packet[4..6].fill(0);
        packet[10..12].fill(0);
    }
    packet
}

#[test]
fn a_reset_answers_as_a_host_would() {
    for ip in [v4(), v6()] {
        for (flags, len, expected) in [
            // What acknowledges is reset where it thinks that we are; the rest is acknowledged, SYN, FIN and all.
            (SYN, 0, (RST | ACK, 0, 1001)),
            (SYN, 10, (RST | ACK, 0, 1011)),
            (FIN, 10, (RST | ACK, 0, 1011)),
            (SYN | FIN, 0, (RST | ACK, 0, 1002)),
            (0, 7, (RST | ACK, 0, 1007)),
            (ACK, 0, (RST, 5000, 0)),
            (SYN | ACK, 0, (RST, 5000, 0)),
            (FIN | ACK, 3, (RST, 5000, 0)),
        ] {
            let packet = ip.tcp(&segment(1025, 80, flags, 1000, 5000).with_data(len));
            for (rule, ttl) in [
                (block().return_rst(0), 64),
                (block().return_rst(13), 13),
                (block().return_any(), 64),
            ] {
                let (flags, seq, ack) = expected;
                let mut back = ip.back();
                back.ttl = ttl;
                let expected = back.tcp(&segment(80, 1025, flags, seq, ack).with_window(0));
                let answer = answer(rule, &packet).map(without_id);
                assert_eq!(answer, Some(without_id(expected)), "{}", ends(&packet));
            }
        }
    }
}

#[test]
fn an_error_answers_with_as_much_as_it_may() {
    let rule = || block().return_icmp((3, 13), (1, 1));
    for len in [0, 1, 100, 519, 520, 521, 1400] {
        let packet = v4().udp(1025, 53, &vec![7; len]);
        let quoted = packet.len().min(576 - 28);
        let expected = v4().back().icmp(3, 13, 0, &packet[..quoted]);
        assert_eq!(answer(rule(), &packet).map(without_id), Some(without_id(expected)));
    }
    for len in [0, 1, 100, 1183, 1184, 1185, 1400] {
        let packet = v6().udp(1025, 53, &vec![7; len]);
        let quoted = packet.len().min(1280 - 48);
        let expected = v6().back().icmp(1, 1, 0, &packet[..quoted]);
        assert_eq!(answer(rule(), &packet), Some(expected));
    }
    // `return` answers with what does not listen; TCP by return-icmp, too.
    let packet = udp(53);
    let expected = v4().back().icmp(3, 3, 0, &packet);
    assert_eq!(
        answer(block().return_any(), &packet).map(without_id),
        Some(without_id(expected))
    );
    let packet = v6().packet(GRE, b"anything");
    assert_eq!(
        answer(block().return_any(), &packet),
        Some(v6().back().icmp(1, 4, 0, &packet))
    );
    let packet = v4().tcp(&segment(1025, 80, SYN, 1, 0));
    assert_eq!(
        ends(&answer(rule(), &packet).unwrap()),
        "192.0.2.1 > 198.51.100.7 (198.51.100.7:1025 > 192.0.2.1:80)"
    );
    // With padding behind it, which is not quoted.
    let padded = [packet.clone(), vec![0; 6]].concat();
    assert_eq!(
        answer(rule(), &padded).map(without_id),
        answer(rule(), &packet).map(without_id)
    );
}

#[test]
fn who_blocks_without_a_word_is_silent() {
    for packet in [udp(53), v4().tcp(&segment(1, 2, SYN, 0, 0)), v6().ping(1)] {
        assert_eq!(answer(block(), &packet), None);
    }
    // return-rst is for TCP alone; a type that was not given is none.
    assert_eq!(answer(block().return_rst(0), &udp(53)), None);
    assert_eq!(answer(block().return_icmp((0, 0), (0, 0)), &udp(53)), None);
    assert_eq!(answer(block().return_icmp((3, 3), (0, 0)), &v6().ping(1)), None);
}

#[test]
fn some_are_never_answered() {
    let about = v4().back().udp(53, 1025, b"answer");
    let reset = segment(1025, 80, RST, 1, 0);
    let damaged = |mut packet: Vec<u8>| {
        let last = packet.len() - 1;
        packet[last] ^= 1;
        packet
    };
    let syn = segment(1025, 80, SYN, 1, 0);
    let packets = [
        v4().tcp(&reset),
        v6().tcp(&reset),
        v4().error(&about),
        v6().error(&v6().back().udp(53, 1025, b"answer")),
        v4().icmp(5, 0, 0, &about),
        v6().icmp(137, 0, 0, &[7; 32]),
        v4().with_fragment(0, true).packet(UDP, &[7; 64]),
        v4().with_fragment(64, false).packet(TCP, &[7; 64]),
        damaged(v4().tcp(&syn.clone().with_data(9))),
        damaged(v6().tcp(&syn.clone().with_data(9))),
        damaged(udp(53)),
        damaged(v4().ping(1)),
        damaged(v6().ping(1)),
        v6().udp_unchecked(1025, 53, b"question"),
    ];
    let of = |src: &str, dst: &str| [ip(src, dst).tcp(&syn), ip(src, dst).udp(1025, 53, b"question")];
    let crowds = [
        of("198.51.100.7", "224.0.0.1"),
        of("198.51.100.7", "255.255.255.255"),
        of("198.51.100.7", "0.0.0.0"),
        of("0.0.0.0", "192.0.2.1"),
        of("224.0.0.1", "192.0.2.1"),
        of("255.255.255.255", "192.0.2.1"),
        of("240.0.0.1", "192.0.2.1"),
        of("2001:db8:7::7", "ff02::1"),
        of("::", "2001:db8::1"),
        of("ff02::1", "2001:db8::1"),
    ];
    for packet in packets.iter().chain(crowds.iter().flatten()) {
        for rule in [
            block().return_any(),
            block().return_rst(0),
            block().return_icmp((3, 3), (1, 4)),
        ] {
            assert_eq!(answer(rule, packet), None, "{}", ends(packet));
        }
    }
    // Without a checksum is not with a wrong one.
    assert!(answer(block().return_any(), &v4().udp_unchecked(1025, 53, b"question")).is_some());
}

#[test]
fn what_goes_out_may_have_its_checksum_yet_to_come() {
    let gate = Gate::new(&[block().return_any()]);
    let mut packet = v4().back().tcp(&segment(1025, 80, SYN, 1, 0));
    packet[36..38].fill(0);
    assert_eq!(gate.send(&packet), BLOCKED);
    assert_eq!(gate.answers().len(), 1);
}

#[test]
fn what_pf_sends_itself_passes() {
    let gate = Gate::new(&[block().return_any()]);
    gate.receive(&udp(53)).unwrap_err();
    let answer = gate.answers().remove(0);
    assert_eq!(
        gate.send(&answer),
        BLOCKED,
        "its bytes alone are not what it is known by"
    );
    // The mark is.
    let mut mbuf = pf::kpi::Mbuf::from_bytes(answer.clone());
    mbuf.mark_from_pf().unwrap();
    let fate = crate::gate::judge(gate.machine(), 1, pf::kpi::Direction::Out, mbuf);
    assert_eq!(fate, Ok(answer));
}
