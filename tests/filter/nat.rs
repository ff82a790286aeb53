//! Translation of whole connections: the ports that are given out, the answers that find their way back, and every checksum.

use std::collections::HashSet;

use pf::kpi::Errno;
use pf_abi::*;

use crate::common::packets::*;
use crate::common::rules::*;
use crate::gate::{BLOCKED, Gate, check_table, dropped};

const GATEWAY: &str = "192.0.2.1";
const GATEWAY6: &str = "2001:db8::1";

/// From the inside to the outside.
fn v4() -> Ip {
    ip("10.0.0.1", "198.51.100.7")
}

fn v6() -> Ip {
    ip("fd00::1", "2001:db8:7::7")
}

/// Both families behind the gateway's addresses.
fn gate() -> Gate {
    Gate::new(&[]).nat(&[
        nat(GATEWAY).on("em0").outward().from("10.0.0.0/8"),
        nat(GATEWAY6).on("em0").outward().from("fd00::/8"),
    ])
}

/// The source port, or an echo's identifier, that a packet went out with.
fn port(packet: &[u8]) -> u16 {
    let (proto, at) = transport(packet).unwrap();
    let at = if matches!(proto, ICMP | ICMP6) { at + 4 } else { at };
    u16::from_be_bytes([packet[at], packet[at + 1]])
}

#[test]
fn a_connection_goes_out_and_its_answers_come_back() {
    for (ip, gateway) in [(v4(), GATEWAY), (v6(), GATEWAY6)] {
        let gate = gate();
        let (inside, outside) = (ip.src, ip.dst);
        let at_gateway = Ip {
            src: gateway.parse().unwrap(),
            ..ip.clone()
        };

        let out = gate
            .forward(&ip.tcp(&segment(1025, 80, SYN, 1000, 0).with_scale(7)))
            .unwrap();
        let given = port(&out);
        assert_eq!(sound(&out), format!("{gateway}:{given} > {outside}:80"));
        assert!(given >= 50_001);
        // All but what was translated is as it was.
        let expected = at_gateway.tcp(&segment(given, 80, SYN, 1000, 0).with_scale(7));
        assert_eq!(out, expected);

        let answer = segment(80, given, SYN | ACK, 9000, 1001).with_scale(7);
        let back = gate.forward_back(&at_gateway.back().tcp(&answer)).unwrap();
        let expected = segment(80, 1025, SYN | ACK, 9000, 1001).with_scale(7);
        assert_eq!(back, ip.back().tcp(&expected));
        assert_eq!(sound(&back), format!("{outside}:80 > {inside}:1025"));
        for len in [0, 1, 999] {
            let data = segment(1025, 80, ACK, 1001, 9001).with_data(len);
            let out = gate.forward(&ip.tcp(&data)).unwrap();
            assert_eq!(out, at_gateway.tcp(&segment(given, 80, ACK, 1001, 9001).with_data(len)));
        }
        let state = gate.state();
        let host = |host: &SyncHost| (host.addr.to_ip(state.af).unwrap().to_string(), host.port.get());
        assert_eq!(host(&state.lan), (inside.to_string(), 1025));
        assert_eq!(host(&state.gwy), (gateway.to_string(), given));
        assert_eq!(host(&state.ext), (outside.to_string(), 80));
        let nat = &gate.machine().rules(Action::Nat)[usize::from(ip.src.is_ipv6())];
        assert_eq!((nat.states, nat.packets), (1, [1, 4]));
        check_table(gate.machine());
    }
}

#[test]
fn udp_goes_out_and_comes_back() {
    for (ip, gateway) in [(v4(), GATEWAY), (v6(), GATEWAY6)] {
        let gate = gate();
        for len in [0, 1, 2, 333] {
            let data = vec![len as u8; len];
            let out = gate.forward(&ip.udp(1025, 53, &data)).unwrap();
            let given = port(&out);
            let at_gateway = Ip {
                src: gateway.parse().unwrap(),
                ..ip.clone()
            };
            assert_eq!(out, at_gateway.udp(given, 53, &data));
            let back = gate.forward_back(&at_gateway.back().udp(53, given, &data)).unwrap();
            assert_eq!(back, ip.back().udp(53, 1025, &data));
        }
        assert_eq!(gate.states(), 1);
    }
}

#[test]
fn udp_without_a_checksum_stays_without() {
    let gate = gate();
    let out = gate.forward(&v4().udp_unchecked(1025, 53, b"question")).unwrap();
    let given = port(&out);
    assert_eq!(out, ip(GATEWAY, "198.51.100.7").udp_unchecked(given, 53, b"question"));
    let back = gate
        .forward_back(&ip("198.51.100.7", GATEWAY).udp_unchecked(53, given, b"answer"))
        .unwrap();
    assert_eq!(back, v4().back().udp_unchecked(53, 1025, b"answer"));
}

#[test]
fn no_checksum_of_udp_becomes_zero() {
    // Among so many payloads there is one whose checksum would.
    let gate = gate();
    let given = port(&gate.forward(&v4().udp(1025, 53, &[0, 0])).unwrap());
    let to = ip(GATEWAY, "198.51.100.7");
    let expected = |word: u16| to.udp(given, 53, &word.to_be_bytes());
    let word = (0..=u16::MAX)
        .find(|word| expected(*word)[26..28] == [0xff; 2])
        .unwrap();
    let out = gate.forward(&v4().udp(1025, 53, &word.to_be_bytes()));
    assert_eq!(out, Ok(expected(word)));
}

#[test]
fn echoes_are_told_apart_by_their_identifier() {
    for (ip, gateway) in [(v4(), GATEWAY), (v6(), GATEWAY6)] {
        let gate = gate();
        let at_gateway = Ip {
            src: gateway.parse().unwrap(),
            ..ip.clone()
        };
        let other = Ip {
            src: if ip.src.is_ipv6() { "fd00::2" } else { "10.0.0.2" }.parse().unwrap(),
            ..ip.clone()
        };
        let outs = [&ip, &other].map(|from| gate.forward(&from.ping(77)).unwrap());
        let [one, two] = [port(&outs[0]), port(&outs[1])];
        assert_ne!(one, two);
        assert_eq!(outs, [at_gateway.ping(one), at_gateway.ping(two)]);
        assert_eq!(gate.forward_back(&at_gateway.back().pong(one)), Ok(ip.back().pong(77)));
        assert_eq!(
            gate.forward_back(&at_gateway.back().pong(two)),
            Ok(other.back().pong(77))
        );
        check_table(gate.machine());
    }
}

#[test]
fn what_has_no_ports_has_its_address_translated() {
    for (ip, gateway) in [(v4(), GATEWAY), (v6(), GATEWAY6)] {
        let gate = gate();
        let at_gateway = Ip {
            src: gateway.parse().unwrap(),
            ..ip.clone()
        };
        assert_eq!(
            gate.forward(&ip.packet(GRE, b"tunnel")),
            Ok(at_gateway.packet(GRE, b"tunnel"))
        );
        let back = gate.forward_back(&at_gateway.back().packet(GRE, b"back"));
        assert_eq!(back, Ok(ip.back().packet(GRE, b"back")));
        // One at a time: there would be no telling whose answer it is.
        let other = Ip {
            src: if ip.src.is_ipv6() { "fd00::2" } else { "10.0.0.2" }.parse().unwrap(),
            ..ip.clone()
        };
        assert_eq!(
            gate.forward(&other.packet(GRE, b"tunnel")),
            dropped(Reason::StateInsert)
        );
    }
}

#[test]
fn a_rule_with_ports_and_no_protocol_takes_what_has_none_for_port_0() {
    let translated = |rules: &[Loaded], packet: &[u8]| {
        let gate = Gate::new(&[]).nat(rules);
        let out = gate.forward(packet).unwrap();
        out[12..16] == [192, 0, 2, 1]
    };
    let rule = || nat(GATEWAY).on("em0").from("10.0.0.0/8");
    let (tcp, udp) = (v4().tcp(&segment(1025, 25, SYN, 1, 0)), v4().udp(1025, 25, b"data"));
    let (ping, gre) = (v4().ping(25), v4().packet(GRE, b"tunnel"));
    // In a list that is walked, and in one with an index.
    for others in [0, 40] {
        let list =
            |rule: Loaded| -> Vec<Loaded> { (0..others).map(|at| no_nat().port(2000 + at)).chain([rule]).collect() };
        for (packet, at_25, elsewhere, at_0) in [
            (&tcp, true, false, false),
            (&udp, true, false, false),
            (&ping, false, true, true),
            (&gre, false, true, true),
        ] {
            assert_eq!(translated(&list(rule().port(25)), packet), at_25);
            let not_25 = rule().dst_port(PortOp::NotEqual, [25, 0]);
            assert_eq!(translated(&list(not_25), packet), elsewhere);
            assert_eq!(translated(&list(rule().port(0)), packet), at_0);
        }
    }
    // Any other rule has to say of which protocol its ports are.
    let gate = Gate::new(&[]);
    for (kind, rule) in [
        (RulesetKind::Filter, (pass().port(25), vec![])),
        (RulesetKind::Rdr, rdr("10.0.0.3").port(25)),
    ] {
        assert_eq!(gate.machine().load(kind, &[rule]), Err(Errno::Einval));
    }
}

#[test]
fn headers_with_options_are_translated_too() {
    let rules = [pass().keep_state().allow_opts()];
    let gate = Gate::new(&rules).nat(&[
        nat(GATEWAY).on("em0").from("10.0.0.0/8"),
        nat(GATEWAY6).on("em0").from("fd00::/8"),
    ]);
    let options = [148, 4, 0, 0];
    let out = gate
        .forward(&v4().with_options(&options).udp(1025, 53, b"question"))
        .unwrap();
    assert_eq!(
        out,
        ip(GATEWAY, "198.51.100.7")
            .with_options(&options)
            .udp(port(&out), 53, b"question")
    );
    let padding = [0, 0, 1, 4, 0, 0, 0, 0];
    for ip in [v6().with_extension(60, &padding), v6().with_fragment(0, false)] {
        let out = gate.forward(&ip.udp(1025, 53, b"question")).unwrap();
        let at_gateway = Ip {
            src: GATEWAY6.parse().unwrap(),
            ..ip
        };
        assert_eq!(out, at_gateway.udp(port(&out), 53, b"question"));
    }
}

#[test]
fn a_damaged_packet_stays_damaged() {
    let gate = gate();
    gate.forward(&v4().tcp(&segment(1025, 80, SYN, 1000, 0))).unwrap();
    gate.forward(&v4().udp(1025, 53, b"question")).unwrap();
    gate.forward(&v4().ping(7)).unwrap();
    for mut packet in [
        v4().tcp(&segment(1025, 80, SYN, 1000, 0)),
        v4().udp(1025, 53, b"question"),
        v4().ping(7),
    ] {
        let (_, at) = transport(&packet).unwrap();
        let damaged = if packet[9] == TCP { at + 15 } else { packet.len() - 1 };
        packet[damaged] ^= 1;
        let before = wrong_checksums(&packet);
        assert_eq!(before.len(), 1);
        assert_eq!(wrong_checksums(&gate.forward(&packet).unwrap()), before);
        // Of the IP header, too.
        let mut packet = v4().udp(1025, 53, b"question");
        packet[10] ^= 1;
        assert_eq!(wrong_checksums(&gate.forward(&packet).unwrap()), ["IP"]);
    }
}

#[test]
fn ports_are_given_out_until_there_are_none() {
    let gate = Gate::new(&[]).nat(&[nat(GATEWAY).on("em0").ports(6000, 6099)]);
    let mut given = HashSet::new();
    for host in 1..=100 {
        let from = ip(&format!("10.0.0.{host}"), "198.51.100.7");
        given.insert(port(&gate.forward(&from.udp(1025, 53, b"question")).unwrap()));
    }
    assert_eq!(given, (6000..=6099).collect());
    let late = |dst: &str, port: u16| gate.forward(&ip("10.0.0.101", dst).udp(1025, port, b"question"));
    assert_eq!(late("198.51.100.7", 53), dropped(Reason::StateInsert));
    // To somebody else there are as many again, and so over TCP.
    assert!(late("198.51.100.7", 54).is_ok());
    assert!(late("198.51.100.8", 53).is_ok());
    let syn = segment(1025, 53, SYN, 1, 0);
    assert!(gate.forward(&ip("10.0.0.101", "198.51.100.7").tcp(&syn)).is_ok());
    check_table(gate.machine());
    // Once they have expired they are there again.
    gate.tick(140);
    assert_eq!(gate.states(), 0);
    assert!(late("198.51.100.7", 53).is_ok());
}

#[test]
fn ports_are_drawn_by_lot() {
    let gate = gate();
    let mut given = vec![];
    for src in 1025..1125 {
        given.push(port(&gate.forward(&v4().udp(src, 53, b"question")).unwrap()));
    }
    let apart: HashSet<u16> = given.iter().copied().collect();
    assert_eq!(apart.len(), 100);
    let steps = given.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) < 10).count();
    assert!(steps < 10, "{given:?}");
}

#[test]
fn a_port_may_be_kept() {
    let gate = Gate::new(&[]).nat(&[nat(GATEWAY).on("em0").ports(0, 0)]);
    let out = gate.forward(&v4().udp(1025, 53, b"question")).unwrap();
    assert_eq!(sound(&out), "192.0.2.1:1025 > 198.51.100.7:53");
    let other = ip("10.0.0.2", "198.51.100.7").udp(1025, 53, b"question");
    assert_eq!(gate.forward(&other), dropped(Reason::StateInsert));
    let gate = Gate::new(&[]).nat(&[nat(GATEWAY).on("em0").ports(7000, 7000)]);
    let out = gate.forward(&v4().udp(1025, 53, b"question")).unwrap();
    assert_eq!(sound(&out), "192.0.2.1:7000 > 198.51.100.7:53");
}

#[test]
fn the_first_translation_that_matches_decides() {
    let gate = Gate::new(&[]).nat(&[
        no_nat().on("em0").to("198.51.100.0/24").proto(UDP).port(53),
        nat("192.0.2.1").on("em0").from("10.0.0.0/8").ports(0, 0),
        nat("192.0.2.2").on("em0").ports(0, 0),
    ]);
    let out = |ip: Ip, port: u16| sound(&gate.forward(&ip.udp(1025, port, b"question")).unwrap());
    assert_eq!(out(v4(), 53), "10.0.0.1:1025 > 198.51.100.7:53");
    assert_eq!(out(v4(), 54), "192.0.2.1:1025 > 198.51.100.7:54");
    assert_eq!(
        out(ip("10.0.0.1", "203.0.113.9"), 53),
        "192.0.2.1:1025 > 203.0.113.9:53"
    );
    assert_eq!(
        out(ip("172.16.0.1", "203.0.113.9"), 53),
        "192.0.2.2:1025 > 203.0.113.9:53"
    );
    assert_eq!(gate.states(), 3, "what is not translated needs no state");
}

#[test]
fn filter_rules_see_the_translated_packet() {
    // Going out, the source is the gateway's; coming in, the destination is the server's.
    let gate = Gate::new(&[block(), pass().outward().from(GATEWAY), pass().inward().to("10.0.0.80")])
        .nat(&[nat(GATEWAY).on("em0").outward().from("10.0.0.0/8")])
        .rdr(&[rdr("10.0.0.80").on("em0").to(GATEWAY).proto(TCP).port(80)]);
    assert!(gate.send(&v4().udp(1025, 53, b"question")).is_ok());
    assert_eq!(
        gate.send(&ip("172.16.0.1", "198.51.100.7").udp(1025, 53, b"question")),
        BLOCKED
    );
    let from_outside = ip("198.51.100.7", GATEWAY);
    assert!(gate.receive(&from_outside.tcp(&segment(1025, 80, SYN, 1, 0))).is_ok());
    assert_eq!(gate.receive(&from_outside.tcp(&segment(1025, 81, SYN, 1, 0))), BLOCKED);
    // What is blocked leaves nothing behind, and its sender hears of the packet that it sent.
    let gate = Gate::new(&[block().return_any()]).nat(&[nat(GATEWAY)]);
    let packet = v4().udp(1025, 53, b"question");
    assert_eq!(gate.send(&packet), BLOCKED);
    assert_eq!(gate.states(), 0);
    assert_eq!(
        sound(&gate.answers()[0]),
        "198.51.100.7 > 10.0.0.1 (10.0.0.1:1025 > 198.51.100.7:53)"
    );
    assert_eq!(gate.machine().rules(Action::Nat)[0].packets, [0, 0]);
}

#[test]
fn a_translation_may_let_pass_by_itself() {
    let gate = Gate::new(&[block()])
        .nat(&[nat(GATEWAY).from("10.0.0.0/8").pass_on()])
        .rdr(&[rdr("10.0.0.80").proto(TCP).port(80).pass_on()]);
    let out = gate.send(&v4().udp(1025, 53, b"question")).unwrap();
    let back = gate
        .receive(&ip("198.51.100.7", GATEWAY).udp(53, port(&out), b"answer"))
        .unwrap();
    assert_eq!(sound(&back), "198.51.100.7:53 > 10.0.0.1:1025");
    let stranger = ip("198.51.100.7", GATEWAY);
    let server = gate.receive(&stranger.tcp(&segment(1025, 80, SYN, 1, 0))).unwrap();
    assert_eq!(sound(&server), "198.51.100.7:1025 > 10.0.0.80:80");
    assert_eq!(gate.receive(&stranger.tcp(&segment(1025, 81, SYN, 1, 0))), BLOCKED);
}

#[test]
fn a_server_inside_is_reached_from_outside() {
    for (gateway, server, client) in [
        (GATEWAY, "10.0.0.80", "198.51.100.7"),
        (GATEWAY6, "fd00::80", "2001:db8:7::7"),
    ] {
        let gate = Gate::new(&[]).rdr(&[rdr(server).on("em0").to(gateway).proto(TCP).port(80).ports(8080, 0)]);
        let (outside, inside) = (ip(client, gateway), ip(client, server));
        let syn = segment(1025, 80, SYN, 1000, 0).with_scale(7);
        let expected = segment(1025, 8080, SYN, 1000, 0).with_scale(7);
        assert_eq!(gate.forward_back(&outside.tcp(&syn)), Ok(inside.tcp(&expected)));
        let answer = segment(8080, 1025, SYN | ACK, 9000, 1001).with_scale(7);
        let expected = segment(80, 1025, SYN | ACK, 9000, 1001).with_scale(7);
        assert_eq!(
            gate.forward(&inside.back().tcp(&answer)),
            Ok(outside.back().tcp(&expected))
        );
        let data = segment(1025, 80, ACK, 1001, 9001).with_data(77);
        let expected = segment(1025, 8080, ACK, 1001, 9001).with_data(77);
        assert_eq!(gate.forward_back(&outside.tcp(&data)), Ok(inside.tcp(&expected)));
        assert_eq!(gate.state().timeout, PFTM_TCP_ESTABLISHED);
        check_table(gate.machine());
    }
}

#[test]
fn a_range_of_ports_is_mapped_onto_another() {
    let range = |low, high| {
        let rule = rdr("10.0.0.80").proto(UDP).dst_port(PortOp::Range, [3000, 3009]);
        Gate::new(&[]).rdr(&[rule.ports(low, high)])
    };
    let to = |gate: &Gate, port: u16| {
        // From a port for each, since only one of them can have the same ends inside.
        let fate = gate.receive(&ip("198.51.100.7", GATEWAY).udp(port + 10_000, port, b"question"));
        sound(&fate.unwrap()).split(" > 10.0.0.80:").nth(1).map(str::to_owned)
    };
    let of = |ports: [u16; 4]| ports.map(|port| Some(port.to_string()));
    // One by one, all onto the same, unchanged, and over a narrower one again and again.
    for (low, high, expected) in [
        (4000, 4009, [4000, 4001, 4008, 4009]),
        (4000, 0, [4000; 4]),
        (0, 0, [3000, 3001, 3008, 3009]),
        (4000, 4003, [4000, 4001, 4000, 4001]),
        (65_526, 65_535, [65_526, 65_527, 65_534, 65_535]),
    ] {
        let gate = range(low, high);
        assert_eq!(
            [3000, 3001, 3008, 3009].map(|port| to(&gate, port)),
            of(expected),
            "{low}:{high}"
        );
        // The answer comes from where the question went.
        let answer = ip("10.0.0.80", "198.51.100.7").udp(expected[3], 13_009, b"answer");
        assert_eq!(
            sound(&gate.send(&answer).unwrap()),
            "192.0.2.1:3009 > 198.51.100.7:13009"
        );
    }
    let gate = range(4000, 4009);
    let beyond = ip("198.51.100.7", GATEWAY).udp(1025, 3010, b"question");
    assert_eq!(gate.receive(&beyond), Ok(beyond));
}

#[test]
fn who_is_not_to_be_redirected_is_not() {
    let gate = Gate::new(&[]).rdr(&[no_rdr().from("198.51.100.0/24"), rdr("10.0.0.80").proto(TCP).port(80)]);
    let syn = segment(1025, 80, SYN, 1, 0);
    let packet = ip("198.51.100.7", GATEWAY).tcp(&syn);
    assert_eq!(gate.receive(&packet), Ok(packet));
    let other = gate.receive(&ip("203.0.113.9", GATEWAY).tcp(&syn)).unwrap();
    assert_eq!(sound(&other), "203.0.113.9:1025 > 10.0.0.80:80");
}

#[test]
fn pings_may_be_redirected() {
    let gate = Gate::new(&[]).rdr(&[rdr("10.0.0.80").on("em0").to(GATEWAY).proto(ICMP)]);
    let out = gate.forward_back(&ip("198.51.100.7", GATEWAY).ping(77));
    assert_eq!(out, Ok(ip("198.51.100.7", "10.0.0.80").ping(77)));
    let back = gate.forward(&ip("10.0.0.80", "198.51.100.7").pong(77));
    assert_eq!(back, Ok(ip(GATEWAY, "198.51.100.7").pong(77)));
}

#[test]
fn an_inside_client_reaches_an_inside_server_by_its_outside_address() {
    // Redirected as it comes in, and translated as it goes out on the same side, so that the answer comes back here.
    let gate = Gate::new(&[])
        .rdr(&[rdr("10.0.0.80").to(GATEWAY).proto(TCP).port(80)])
        .nat(&[nat("10.0.0.254")
            .on("em1")
            .outward()
            .from("10.0.0.0/24")
            .to("10.0.0.80")]);
    let there = |segment: &Segment| {
        let packet = ip("10.0.0.1", GATEWAY).tcp(segment);
        let out = gate.send_inside(&gate.receive_inside(&packet)?)?;
        sound(&out);
        Ok::<_, Option<Reason>>(out)
    };
    let syn = there(&segment(1025, 80, SYN, 1000, 0)).unwrap();
    let given = port(&syn);
    assert_eq!(ends(&syn), format!("10.0.0.254:{given} > 10.0.0.80:80"));
    let back = |segment: &Segment| {
        let packet = ip("10.0.0.80", "10.0.0.254").tcp(segment);
        let out = gate.send_inside(&gate.receive_inside(&packet)?)?;
        Ok::<_, Option<Reason>>(sound(&out))
    };
    let answer = back(&segment(80, given, SYN | ACK, 9000, 1001)).unwrap();
    assert_eq!(answer, "192.0.2.1:80 > 10.0.0.1:1025");
    there(&segment(1025, 80, ACK, 1001, 9001).with_data(10)).unwrap();
    back(&segment(80, given, ACK, 9001, 1011).with_data(10)).unwrap();
    assert_eq!(gate.states(), 2);
    check_table(gate.machine());
}

#[test]
fn two_keys_are_never_one() {
    // A client asks the server under both of its addresses, from the same port: the answers would look alike.
    let gate = Gate::new(&[pass().keep_state()]).rdr(&[rdr("10.0.0.80").to(GATEWAY).proto(UDP)]);
    let by_name = ip("198.51.100.7", GATEWAY).udp(1025, 53, b"question");
    let directly = ip("198.51.100.7", "10.0.0.80").udp(1025, 53, b"question");
    assert!(gate.receive(&by_name).is_ok());
    assert_eq!(gate.receive(&directly), dropped(Reason::StateInsert));
    assert_eq!(gate.states(), 1);
    check_table(gate.machine());
}

#[test]
fn a_port_that_comes_again_finds_a_new_one() {
    let gate = gate();
    let out = gate.forward(&v4().tcp(&segment(1025, 80, SYN, 1000, 0))).unwrap();
    let first = port(&out);
    let outside = ip("198.51.100.7", GATEWAY);
    assert!(
        gate.forward_back(&outside.tcp(&segment(80, first, RST | ACK, 0, 1001)))
            .is_ok()
    );
    // The connection was refused; the next attempt from the same port is another connection.
    let out = gate.forward(&v4().tcp(&segment(1025, 80, SYN, 500_000, 0))).unwrap();
    let second = port(&out);
    assert_ne!(first, second);
    assert_eq!(gate.states(), 1);
    assert_eq!(gate.machine().status().fcounters[FCNT_STATE_REMOVALS], 1);
    let answer = outside.tcp(&segment(80, second, SYN | ACK, 9000, 500_001));
    assert_eq!(
        sound(&gate.forward_back(&answer).unwrap()),
        "198.51.100.7:80 > 10.0.0.1:1025"
    );
    check_table(gate.machine());
}
