//! `synproxy state`: pf speaks to the client, then to the server, then they speak to each other.

use pf_abi::*;

use crate::common::packets::*;
use crate::common::rules::*;
use crate::gate::{BLOCKED, Gate, dropped};

const PROXIED: Reason = Reason::Synproxy;

/// A segment that pf has sent, read.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    ends: String,
    flags: u8,
    seq: u32,
    ack: u32,
    window: u16,
    mss: Option<u16>,
    /// It passes the hooks of pf.
    marked: bool,
}

fn read((packet, marked): &(Vec<u8>, bool)) -> Said {
    let (_, at) = transport(packet).unwrap();
    let word = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    let number = |at: usize| u32::from(word(at)) << 16 | u32::from(word(at + 2));
    let has_mss = packet.len() == at + 24;
    if has_mss {
        assert_eq!(word(at + 20), 0x0204);
    } else {
        assert_eq!(packet.len(), at + 20, "no data and no other option");
    }
    Said {
        ends: sound(packet),
        flags: packet[at + 13],
        seq: number(at + 4),
        ack: number(at + 8),
        window: word(at + 14),
        mss: has_mss.then(|| word(at + 22)),
        marked: *marked,
    }
}

/// Where a client and a server are, and how the filter is crossed between them.
struct Scene {
    gate: Gate,
    /// From the client to the server, as the client sees it.
    there: Ip,
    /// The same as the server sees it.
    beyond: Ip,
    /// The client is inside.
    outward: bool,
}

const CLIENT: u32 = 0xffff_ff00;
const SERVER: u32 = 5000;

impl Scene {
    fn new(gate: Gate, there: Ip, outward: bool) -> Self {
        let beyond = there.clone();
        Scene {
            gate,
            there,
            beyond,
            outward,
        }
    }

    /// A client outside, a server inside.
    fn plain() -> Self {
        Scene::new(proxying(), ip("198.51.100.7", "10.0.0.1"), false)
    }

    fn client(&self, segment: &Segment) -> crate::gate::Fate {
        self.gate.cross(1, self.outward, &self.there.tcp(segment))
    }

    fn server(&self, segment: &Segment) -> crate::gate::Fate {
        self.gate.cross(1, !self.outward, &self.beyond.back().tcp(segment))
    }

    /// What pf has said since.
    fn said(&self) -> Vec<Said> {
        self.gate.sent().iter().map(read).collect()
    }

    fn only(&self) -> Said {
        let [said] = &self.said()[..] else { panic!("one") };
        said.clone()
    }

    fn syn(&self) -> Segment {
        Segment {
            options: vec![2, 4, 5, 0xa0, 4, 2, 1, 1, 1, 3, 3, 7],
            ..segment(1025, 80, SYN, CLIENT, 0).with_window(1000)
        }
    }

    /// The client's SYN and pf's answer: its number there.
    fn greet(&self) -> u32 {
        assert_eq!(self.client(&self.syn()), dropped(PROXIED));
        let said = self.only();
        assert_eq!(said.ends, sound(&self.there.back().tcp(&segment(80, 1025, 0, 0, 0))));
        assert_eq!(
            (said.flags, said.ack, said.window),
            (SYN | ACK, CLIENT.wrapping_add(1), 0)
        );
        assert_eq!((said.mss, said.marked), (Some(1440), true));
        said.seq
    }

    /// The client's acknowledgment and pf's question to the server: its number there.
    fn call(&self, greeting: u32) -> u32 {
        let ack = segment(1025, 80, ACK, CLIENT.wrapping_add(1), greeting.wrapping_add(1));
        assert_eq!(self.client(&ack.with_window(2000)), dropped(PROXIED));
        let said = self.only();
        assert_eq!(said.ends, sound(&self.beyond.tcp(&segment(1025, 80, 0, 0, 0))));
        assert_eq!(
            (said.flags, said.ack, said.window, said.mss),
            (SYN, 0, 2000, Some(1440))
        );
        assert_eq!(said.marked, self.outward);
        said.seq
    }

    /// The server's answer, with which both go on.
    fn join(&self, greeting: u32, call: u32) {
        let answer = segment(80, 1025, SYN | ACK, SERVER, call.wrapping_add(1)).with_window(3000);
        assert_eq!(self.server(&answer), dropped(PROXIED));
        let [to_server, to_client] = &self.said()[..] else {
            panic!("two")
        };
        assert_eq!(to_server.ends, sound(&self.beyond.tcp(&segment(1025, 80, 0, 0, 0))));
        assert_eq!((to_server.seq, to_server.ack), (call.wrapping_add(1), SERVER + 1));
        assert_eq!(
            (to_server.flags, to_server.window, to_server.marked),
            (ACK, 2000, self.outward)
        );
        assert_eq!(
            to_client.ends,
            sound(&self.there.back().tcp(&segment(80, 1025, 0, 0, 0)))
        );
        assert_eq!(
            (to_client.seq, to_client.ack),
            (greeting.wrapping_add(1), CLIENT.wrapping_add(1))
        );
        assert_eq!((to_client.flags, to_client.window, to_client.marked), (ACK, 3000, true));
    }

    /// Both talk, each with its own numbers and those that it has seen.
    fn talk(&self, greeting: u32, call: u32) {
        let (mut client, mut server) = (1, 1);
        for n in 1..5 {
            let len = n * 100;
            let own = segment(
                1025,
                80,
                ACK,
                CLIENT.wrapping_add(client),
                greeting.wrapping_add(server),
            );
            let seen = segment(1025, 80, ACK, call.wrapping_add(client), SERVER + server);
            let expected = self.beyond.tcp(&seen.with_data(len as usize));
            assert_eq!(self.client(&own.with_data(len as usize)), Ok(expected));
            client += len;
            let own = segment(80, 1025, ACK, SERVER + server, call.wrapping_add(client));
            let seen = segment(
                80,
                1025,
                ACK,
                greeting.wrapping_add(server),
                CLIENT.wrapping_add(client),
            );
            let expected = self.there.back().tcp(&seen.with_data(500));
            assert_eq!(self.server(&own.with_data(500)), Ok(expected));
            server += 500;
        }
        assert_eq!(self.gate.state().timeout, PFTM_TCP_ESTABLISHED);
        assert_eq!(self.gate.sent().len(), 0);
    }

    fn establish(&self) -> (u32, u32) {
        let greeting = self.greet();
        let call = self.call(greeting);
        self.join(greeting, call);
        (greeting, call)
    }
}

/// What pfctl(8) makes of `pass synproxy state`.
fn proxying() -> Gate {
    Gate::new(&[block(), pass().flags(SYN, SYN | ACK).synproxy_state()])
}

fn scenes() -> Vec<Scene> {
    let mut scenes = vec![];
    for (inside, outside) in [("10.0.0.1", "198.51.100.7"), ("fd00::1", "2001:db8:7::7")] {
        scenes.push(Scene::new(proxying(), ip(inside, outside), true));
        scenes.push(Scene::new(proxying(), ip(outside, inside), false));
    }
    let gate = proxying().nat(&[nat("192.0.2.1").on("em0").ports(1025, 1025)]);
    scenes.push(Scene {
        beyond: ip("192.0.2.1", "198.51.100.7"),
        ..Scene::new(gate, ip("10.0.0.1", "198.51.100.7"), true)
    });
    let gate = proxying().rdr(&[rdr("10.0.0.1").on("em0")]);
    scenes.push(Scene {
        beyond: ip("198.51.100.7", "10.0.0.1"),
        ..Scene::new(gate, ip("198.51.100.7", "192.0.2.1"), false)
    });
    scenes
}

#[test]
fn both_handshakes_and_then_the_data_in_every_scene() {
    for scene in scenes() {
        let greeting = scene.greet();
        assert_eq!(scene.gate.state().src.state, PF_TCPS_PROXY_SRC);
        let call = scene.call(greeting);
        assert_eq!(scene.gate.state().src.state, PF_TCPS_PROXY_DST);
        scene.join(greeting, call);
        scene.talk(greeting, call);
        let rule = scene.gate.rule(1);
        assert_eq!(
            (rule.states, rule.packets),
            (1, if scene.outward { [5, 6] } else { [6, 5] })
        );
    }
}

#[test]
fn what_is_lost_is_said_again() {
    for scene in scenes() {
        let greeting = scene.greet();
        // The answer to the client.
        assert_eq!(scene.client(&scene.syn()), dropped(PROXIED));
        assert_eq!(scene.only().seq, greeting);
        let call = scene.call(greeting);
        // The question to the server: the client wonders, at the edge of its window, with a byte beyond, or with more.
        for (off, len) in [(0, 0), (1, 0), (1, 1), (1, 1000)] {
            let probe = segment(1025, 80, ACK, CLIENT.wrapping_add(off), greeting.wrapping_add(1));
            assert_eq!(scene.client(&probe.with_data(len).with_window(2000)), dropped(PROXIED));
            let [to_server, to_client] = &scene.said()[..] else {
                panic!("two")
            };
            assert_eq!((to_server.seq, to_server.flags, to_server.window), (call, SYN, 2000));
            assert_eq!(
                (to_client.seq, to_client.ack),
                (greeting.wrapping_add(1), CLIENT.wrapping_add(1))
            );
            assert_eq!((to_client.flags, to_client.window), (ACK, 0));
        }
        // A SYN that was late.
        assert_eq!(scene.client(&scene.syn()), dropped(PROXIED));
        assert_eq!(scene.gate.sent().len(), 0);
        // What pf has told both in the end: the server says it again, and the client answers.
        scene.join(greeting, call);
        let answer = segment(80, 1025, SYN | ACK, SERVER, call.wrapping_add(1)).with_window(3000);
        let seen = segment(80, 1025, SYN | ACK, greeting, CLIENT.wrapping_add(1)).with_window(3000);
        assert_eq!(scene.server(&answer), Ok(scene.there.back().tcp(&seen)));
        let probe = segment(1025, 80, ACK, CLIENT, greeting.wrapping_add(1));
        let seen = segment(1025, 80, ACK, call, SERVER + 1);
        assert_eq!(scene.client(&probe), Ok(scene.beyond.tcp(&seen)));
        scene.talk(greeting, call);
    }
}

#[test]
fn a_server_that_is_silent_is_asked_again_and_then_given_up() {
    for scene in scenes() {
        let greeting = scene.greet();
        let call = scene.call(greeting);
        let mut asked = vec![];
        for second in 1..=40 {
            scene.gate.tick(1);
            for said in scene.said() {
                if said.flags == SYN {
                    assert_eq!((said.seq, said.mss, said.marked), (call, Some(1440), scene.outward));
                } else {
                    assert_eq!((said.flags, said.seq), (RST | ACK, greeting.wrapping_add(1)));
                    assert_eq!((said.ack, said.marked), (CLIENT.wrapping_add(1), true));
                }
                asked.push((second, said.flags));
            }
        }
        assert_eq!(asked, [(1, SYN), (3, SYN), (7, SYN), (15, SYN), (31, RST | ACK)]);
        assert_eq!((scene.gate.states(), scene.gate.rule(1).states), (0, 0));
    }
}

#[test]
fn a_server_that_answers_is_asked_no_more() {
    let scene = Scene::plain();
    scene.establish();
    scene.gate.tick(40);
    assert_eq!((scene.gate.sent().len(), scene.gate.states()), (0, 1));
}

#[test]
fn a_server_that_refuses_is_believed_if_it_means_the_question() {
    for scene in scenes() {
        let greeting = scene.greet();
        // Before it was asked it has nothing to say.
        assert_eq!(
            scene.server(&segment(80, 1025, RST | ACK, 0, 1)),
            dropped(Reason::StateMismatch)
        );
        let call = scene.call(greeting);
        for stranger in [
            segment(80, 1025, RST | ACK, 0, call),
            segment(80, 1025, RST, call.wrapping_add(1), 0),
            segment(80, 1025, ACK, SERVER, call.wrapping_add(1)),
            segment(80, 1025, SYN, SERVER, 0),
        ] {
            assert_eq!(scene.server(&stranger), dropped(Reason::StateMismatch));
        }
        assert_eq!(scene.gate.sent().len(), 0);
        assert_eq!(
            scene.server(&segment(80, 1025, RST | ACK, 0, call.wrapping_add(1))),
            dropped(PROXIED)
        );
        let said = scene.only();
        assert_eq!(
            (said.flags, said.seq, said.ack),
            (RST | ACK, greeting.wrapping_add(1), CLIENT.wrapping_add(1))
        );
        assert_eq!((said.marked, scene.gate.states()), (true, 0));
    }
}

#[test]
fn an_old_connection_at_the_server_is_reset() {
    for scene in scenes() {
        let greeting = scene.greet();
        let call = scene.call(greeting);
        for flags in [ACK, SYN | ACK] {
            assert_eq!(scene.server(&segment(80, 1025, flags, 77, 4242)), dropped(PROXIED));
            let said = scene.only();
            assert_eq!((said.flags, said.seq, said.marked), (RST, 4242, true));
        }
        scene.join(greeting, call);
        scene.talk(greeting, call);
    }
}

#[test]
fn a_client_that_goes_is_forgotten() {
    for scene in scenes() {
        let greeting = scene.greet();
        for off in [2, 1000, 1 << 31] {
            let blind = segment(1025, 80, RST, CLIENT.wrapping_add(off), 0);
            assert_eq!(scene.client(&blind), dropped(Reason::StateMismatch));
        }
        // As one whose address was forged does, when it hears the answer.
        let reset = segment(1025, 80, RST, CLIENT.wrapping_add(1), 0);
        assert_eq!(scene.client(&reset), dropped(PROXIED));
        assert_eq!((scene.gate.sent().len(), scene.gate.states()), (0, 0));
        let greeting = {
            assert!(greeting != 0);
            scene.greet()
        };
        let call = scene.call(greeting);
        assert_eq!(scene.client(&reset), dropped(PROXIED));
        let said = scene.only();
        assert_eq!((said.flags, said.seq), (RST, call.wrapping_add(1)));
        assert_eq!((said.marked, scene.gate.states()), (scene.outward, 0));
    }
}

#[test]
fn who_guesses_gets_nowhere() {
    let scene = Scene::plain();
    let greeting = scene.greet();
    for guess in [
        segment(1025, 80, ACK, CLIENT.wrapping_add(1), greeting),
        segment(1025, 80, ACK, CLIENT.wrapping_add(1), greeting.wrapping_add(2)),
        segment(1025, 80, ACK, CLIENT.wrapping_add(2), greeting.wrapping_add(1)),
        segment(1025, 80, ACK, CLIENT.wrapping_sub(1), greeting.wrapping_add(1)),
        segment(1025, 80, SYN | ACK, CLIENT, greeting.wrapping_add(1)),
        segment(1025, 80, FIN, CLIENT.wrapping_add(1), greeting.wrapping_add(1)),
    ] {
        assert_eq!(scene.client(&guess), dropped(Reason::StateMismatch), "{guess:?}");
    }
    assert_eq!(scene.gate.sent().len(), 0);
    // A client that begins anew hears of the old beginning, and can reset it.
    let other = segment(1025, 80, SYN, 77, 0);
    assert_eq!(scene.client(&other), dropped(PROXIED));
    assert_eq!((scene.only().seq, scene.gate.state().src.seqlo), (greeting, CLIENT));
}

#[test]
fn damaged_segments_and_those_of_nobody_are_not_answered() {
    let scene = Scene::plain();
    let mut damaged = scene.there.tcp(&scene.syn());
    damaged[30] ^= 1;
    assert_eq!(scene.gate.receive(&damaged), dropped(Reason::ProtoCksum));
    let group = ip("224.0.0.1", "10.0.0.1").tcp(&scene.syn());
    assert_eq!(scene.gate.receive(&group), dropped(PROXIED));
    assert_eq!((scene.gate.sent().len(), scene.gate.states()), (0, 0));
}

#[test]
fn segments_have_the_size_that_the_client_takes_as_far_as_it_passes() {
    for (there, cases) in [
        (
            ip("198.51.100.7", "10.0.0.1"),
            [(None, 536), (Some(100), 100), (Some(1460), 1460), (Some(9000), 1460)],
        ),
        (
            ip("2001:db8::7", "fd00::1"),
            [(None, 1220), (Some(1), 64), (Some(1440), 1440), (Some(65_535), 1440)],
        ),
    ] {
        for (offered, expected) in cases {
            let scene = Scene::new(proxying(), there.clone(), false);
            let options = offered.map_or(vec![], |mss: u16| [[2, 4], mss.to_be_bytes()].concat());
            let syn = Segment {
                options,
                ..segment(1025, 80, SYN, CLIENT, 0)
            };
            scene.client(&syn).unwrap_err();
            let greeting = scene.only();
            assert_eq!(greeting.mss, Some(expected));
            scene
                .client(&segment(
                    1025,
                    80,
                    ACK,
                    CLIENT.wrapping_add(1),
                    greeting.seq.wrapping_add(1),
                ))
                .unwrap_err();
            assert_eq!(scene.only().mss, Some(expected));
        }
    }
}

#[test]
fn a_flood_takes_bounded_memory_and_lets_clients_in() {
    const MOST: usize = 4096;
    let gate = proxying();
    let flood = |n: u32, gate: &Gate| {
        let [a, b, c, _] = (n << 8).to_be_bytes();
        let syn = ip(&format!("20.{a}.{b}.{c}"), "10.0.0.1").tcp(&segment(1025, 80, SYN, n, 0));
        gate.receive(&syn)
    };
    for n in 0..MOST as u32 + 100 {
        assert_eq!(flood(n, &gate), dropped(PROXIED));
        assert!(gate.states() <= MOST);
    }
    assert_eq!((gate.states(), gate.sent().len()), (MOST, MOST + 100));
    // A client among them, while others knock.
    let scene = Scene::new(gate, ip("198.51.100.7", "10.0.0.1"), false);
    let greeting = scene.greet();
    for n in 0..MOST as u32 - 1 {
        assert_eq!(flood(0x10000 + n, &scene.gate), dropped(PROXIED));
    }
    scene.gate.sent();
    let call = scene.call(greeting);
    scene.join(greeting, call);
    // Whoever was heard of stays.
    for n in 0..2 * MOST as u32 {
        assert_eq!(flood(0x20000 + n, &scene.gate), dropped(PROXIED));
    }
    scene.gate.sent();
    let data = segment(1025, 80, ACK, CLIENT.wrapping_add(1), greeting.wrapping_add(1)).with_data(7);
    scene.client(&data).unwrap();
    assert_eq!(scene.gate.states(), MOST + 1);
}

#[test]
fn limits_hold_and_the_oldest_makes_room() {
    let rule = || pass().flags(SYN, SYN | ACK).synproxy_state();
    for gate in [Gate::new(&[block(), rule().max(3)]), {
        let gate = Gate::new(&[block(), rule()]);
        gate.each(|machine| machine.set_limit(Limit::States, 3));
        gate
    }] {
        let scene = Scene::new(gate, ip("198.51.100.7", "10.0.0.1"), false);
        let (greeting, call) = scene.establish();
        let syn = |port: u16| scene.there.tcp(&segment(port, 80, SYN, 1, 0));
        for port in 2000..2010 {
            assert_eq!(scene.gate.receive(&syn(port)), dropped(PROXIED));
            assert!(scene.gate.states() <= 3);
        }
        // The youngest are there, and the connection.
        let ports: Vec<u16> = scene
            .gate
            .machine()
            .dump()
            .iter()
            .map(|state| state.ext.port.get())
            .collect();
        assert!([1025, 2008, 2009].iter().all(|port| ports.contains(port)), "{ports:?}");
        scene.gate.sent();
        let data = segment(1025, 80, ACK, CLIENT.wrapping_add(1), greeting.wrapping_add(1)).with_data(7);
        assert!(scene.client(&data).is_ok() && call != 0);
    }
}

#[test]
fn the_limit_of_one_rule_costs_no_client_of_another() {
    let rule = |port| pass().proto(TCP).port(port).flags(SYN, SYN | ACK).synproxy_state();
    let gate = Gate::new(&[block(), rule(80).max(1), rule(25)]);
    let there = ip("198.51.100.7", "10.0.0.1");
    let syn = |from, port| there.tcp(&segment(from, port, SYN, 1, 0));
    assert_eq!(gate.receive(&syn(2000, 25)), dropped(PROXIED));
    gate.sent();
    // The one that there may be is in the middle of a connection, so it does not make room.
    let scene = Scene::new(gate, there.clone(), false);
    scene.establish();
    for from in 3000..3200 {
        assert_eq!(scene.gate.receive(&syn(from, 80)), dropped(Reason::StateLimit));
    }
    let ports = |scene: &Scene| {
        let dump = scene.gate.machine().dump();
        let mut ports: Vec<u16> = dump.iter().map(|state| state.ext.port.get()).collect();
        ports.sort();
        ports
    };
    assert_eq!(ports(&scene), [1025, 2000]);
    // A client of its own that was only greeted does, though others were greeted before.
    let scene = {
        let gate = Gate::new(&[block(), rule(80).max(1), rule(25)]);
        Scene::new(gate, there.clone(), false)
    };
    for (from, port) in [(2000, 25), (2001, 25), (3000, 80), (3001, 80), (3002, 80)] {
        assert_eq!(scene.gate.receive(&syn(from, port)), dropped(PROXIED));
    }
    assert_eq!(ports(&scene), [2000, 2001, 3002]);
}

#[test]
fn a_handshake_outlives_dump_and_restore_at_each_stage() {
    for made in scenes() {
        let restored = |from: &Gate, gate: &Gate| {
            let records = from.machine().dump();
            gate.each(|machine| {
                assert_eq!(machine.add_states(&records), Ok(1));
            });
            let loaded = gate.machine().dump();
            assert_eq!([loaded[0].src, loaded[0].dst], [records[0].src, records[0].dst]);
        };
        let next = |from: &Scene| {
            let scene = Scene {
                gate: proxying(),
                there: from.there.clone(),
                beyond: from.beyond.clone(),
                outward: from.outward,
            };
            restored(&from.gate, &scene.gate);
            scene
        };
        let greeting = made.greet();
        let greeted = next(&made);
        let call = greeted.call(greeting);
        let called = next(&greeted);
        called.join(greeting, call);
        let joined = next(&called);
        joined.talk(greeting, call);
    }
}

#[test]
fn while_the_table_is_locked_nobody_is_greeted() {
    let scene = Scene::plain();
    scene.gate.set_lock(true);
    assert_eq!(scene.client(&scene.syn()), dropped(Reason::StateLocked));
    scene.gate.set_lock(false);
    let greeting = scene.greet();
    scene.gate.set_lock(true);
    let ack = segment(1025, 80, ACK, CLIENT.wrapping_add(1), greeting.wrapping_add(1));
    assert_eq!(scene.client(&ack), BLOCKED, "no rule passes the middle of a connection");
    scene.gate.set_lock(false);
    let call = scene.call(greeting);
    scene.gate.set_lock(true);
    scene.gate.tick(5);
    assert_eq!(scene.gate.sent().len(), 0, "nobody is asked again");
    scene.gate.set_lock(false);
    scene.join(greeting, call);
    scene.talk(greeting, call);
}

#[test]
fn what_is_no_beginning_is_not_proxied() {
    let gate = Gate::new(&[pass().synproxy_state()]);
    let there = ip("198.51.100.7", "10.0.0.1");
    for packet in [
        there.tcp(&segment(1025, 80, ACK, 5000, 9000).with_data(100)),
        there.tcp(&segment(1026, 80, SYN | ACK, 5000, 9000)),
        there.udp(1025, 53, b"query"),
        there.ping(7),
    ] {
        assert_eq!(gate.receive(&packet), Ok(packet));
    }
    assert_eq!((gate.states(), gate.sent().len()), (4, 0));
}

#[test]
fn errors_about_the_question_are_not_passed_on() {
    for scene in scenes() {
        let greeting = scene.greet();
        scene.call(greeting);
        let question = scene.beyond.tcp(&segment(1025, 80, SYN, 0, 0));
        let error = scene.beyond.back().error(&question);
        assert_eq!(scene.gate.cross(1, !scene.outward, &error), dropped(PROXIED));
    }
}

/// A server on the firewall itself: what goes there crosses lo0, out and in.
#[test]
fn a_server_here_is_reached_over_the_loopback_interface() {
    let scene = Scene::plain();
    let loops = |packet: &[u8]| {
        let out = scene.gate.cross(3, true, packet)?;
        scene.gate.cross(3, false, &out)
    };
    scene
        .gate
        .load_filter(&[pass().on("lo0").change(|rule| rule.keep_state = 0), {
            pass().on("em0").flags(SYN, SYN | ACK).synproxy_state()
        }]);
    let greeting = scene.greet();
    let ack = segment(1025, 80, ACK, CLIENT.wrapping_add(1), greeting.wrapping_add(1));
    scene.client(&ack).unwrap_err();
    let question = scene.gate.sent().remove(0).0;
    assert_eq!(loops(&question), Ok(question.clone()));
    let call = read(&(question, false)).seq;
    let answer = segment(80, 1025, SYN | ACK, SERVER, call.wrapping_add(1));
    assert_eq!(scene.server(&answer), dropped(PROXIED));
    let confirmation = scene.gate.sent().remove(0).0;
    assert_eq!(loops(&confirmation), Ok(confirmation.clone()));
    scene.talk(greeting, call);
}

/// A gate with a third interface, em2, and what the proxy says there, past the routing table.
fn with_em2(rules: &[Loaded]) -> Gate {
    let gate = Gate::new(&[]);
    gate.each(|machine| {
        machine.pf.attach_interface(4, b"em2").unwrap();
        machine.load(RulesetKind::Filter, rules).unwrap();
    });
    gate
}

fn routed_to(gate: &Gate, gateway: &str) -> Said {
    let [(4, to, packet)] = &gate.routed()[..] else {
        panic!("one, by em2")
    };
    assert_eq!(to, gateway);
    read(&(packet.clone(), false))
}

#[test]
fn the_client_hears_by_the_way_of_replies() {
    let rule = pass().proto(TCP).inward().on("em2").synproxy_state();
    let gate = with_em2(&[
        (pass().keep_state(), vec![]),
        routed(rule, Route::ReplyTo, &["em2 192.0.2.254"]),
    ]);
    let there = ip("198.51.100.7", "10.0.0.1");
    let from_client = |segment: &Segment| gate.cross(4, false, &there.tcp(segment));
    assert_eq!(from_client(&segment(1025, 80, SYN, CLIENT, 0)), dropped(PROXIED));
    let greeting = routed_to(&gate, "192.0.2.254");
    assert_eq!((greeting.flags, greeting.ack), (SYN | ACK, CLIENT.wrapping_add(1)));
    assert_eq!(gate.sent(), []);
    let ack = segment(1025, 80, ACK, CLIENT.wrapping_add(1), greeting.seq.wrapping_add(1)).with_window(2000);
    assert_eq!(from_client(&ack), dropped(PROXIED));
    // To the server it goes as the routing table has it.
    let [call] = &gate.sent()[..] else { panic!() };
    assert_eq!((read(call).flags, read(call).marked), (SYN, false));
    assert_eq!(gate.routed(), []);
    let answer = segment(80, 1025, SYN | ACK, SERVER, read(call).seq.wrapping_add(1)).with_window(3000);
    assert_eq!(gate.send(&there.back().tcp(&answer)), dropped(PROXIED));
    let [confirm] = &gate.sent()[..] else { panic!() };
    assert_eq!((read(confirm).flags, read(confirm).marked), (ACK, false));
    let release = routed_to(&gate, "192.0.2.254");
    assert_eq!((release.flags, release.window), (ACK, 3000));
}

#[test]
fn the_server_is_asked_by_the_way_of_requests() {
    let rule = pass().proto(TCP).inward().on("em1").synproxy_state();
    let gate = with_em2(&[
        (pass().keep_state(), vec![]),
        routed(rule, Route::To, &["em2 192.0.2.254"]),
    ]);
    let there = ip("10.0.0.1", "198.51.100.7");
    let from_client = |segment: &Segment| gate.receive_inside(&there.tcp(segment));
    assert_eq!(from_client(&segment(1025, 80, SYN, CLIENT, 0)), dropped(PROXIED));
    let [greeting] = &gate.sent()[..] else { panic!() };
    assert_eq!(gate.routed(), []);
    let greeting = read(greeting);
    let ack = segment(1025, 80, ACK, CLIENT.wrapping_add(1), greeting.seq.wrapping_add(1)).with_window(2000);
    assert_eq!(from_client(&ack), dropped(PROXIED));
    let call = routed_to(&gate, "192.0.2.254");
    assert_eq!(call.flags, SYN);
    assert_eq!(gate.states(), 2, "the rules of em2 have let it pass");
    // Once more, when there is no answer.
    gate.tick(2);
    assert_eq!(routed_to(&gate, "192.0.2.254"), call);
    assert_eq!(gate.sent(), []);
    let answer = segment(80, 1025, SYN | ACK, SERVER, call.seq.wrapping_add(1)).with_window(3000);
    let answer = there.back().tcp(&answer);
    assert_eq!(gate.cross(4, false, &answer), Ok(answer.clone()));
    assert_eq!(gate.send_inside(&answer), dropped(PROXIED));
    assert_eq!(routed_to(&gate, "192.0.2.254").flags, ACK);
    let [release] = &gate.sent()[..] else { panic!() };
    assert_eq!((read(release).flags, read(release).window), (ACK, 3000));
    // Nothing passes where em2 lets nothing out.
    let blocked = with_em2(&[
        (pass().keep_state(), vec![]),
        routed(
            pass().proto(TCP).inward().on("em1").synproxy_state(),
            Route::To,
            &["em2 192.0.2.254"],
        ),
        (block().outward().on("em2"), vec![]),
    ]);
    assert_eq!(
        blocked.receive_inside(&there.tcp(&segment(1025, 80, SYN, CLIENT, 0))),
        dropped(PROXIED)
    );
    let [greeting] = &blocked.sent()[..] else { panic!() };
    let ack = segment(
        1025,
        80,
        ACK,
        CLIENT.wrapping_add(1),
        read(greeting).seq.wrapping_add(1),
    );
    assert_eq!(blocked.receive_inside(&there.tcp(&ack)), dropped(PROXIED));
    assert_eq!((blocked.routed(), blocked.sent()), (vec![], vec![]));
}

#[test]
fn a_source_may_have_so_many_connections_through_the_proxy() {
    let limited = pass()
        .flags(SYN, SYN | ACK)
        .synproxy_state()
        .tracking(true)
        .change(|rule| {
            rule.max_src_conn = 1;
            rule.overload_tblname = TableName::new("bad").unwrap();
            rule.flush = PF_FLUSH;
        });
    for there in [ip("198.51.100.7", "10.0.0.1"), ip("2001:db8:7::7", "fd00::1")] {
        let gate = Gate::new(&[block(), limited.clone()]);
        let knock = |port: u16| {
            let client = |flags, seq, ack| gate.receive(&there.tcp(&segment(port, 80, flags, seq, ack)));
            assert_eq!(client(SYN, CLIENT, 0), dropped(PROXIED));
            let [greeting] = &gate.sent()[..] else { panic!() };
            let greeting = read(greeting).seq;
            let fate = client(ACK, CLIENT.wrapping_add(1), greeting.wrapping_add(1));
            (fate, gate.sent().iter().map(read).collect::<Vec<_>>())
        };
        // A handshake that is not over is no connection: however many there are.
        for port in 2000..2005 {
            let syn = there.tcp(&segment(port, 80, SYN, CLIENT, 0));
            assert_eq!(gate.receive(&syn), dropped(PROXIED));
        }
        assert_eq!((gate.sent().len(), gate.machine().sources()[0].conn), (5, 0));
        let (fate, said) = knock(1025);
        assert_eq!(fate, dropped(PROXIED));
        assert_eq!(said[0].flags, SYN, "the server is asked");
        // The next one is over the limit as soon as its handshake is over: the server never hears of it.
        let (fate, said) = knock(1026);
        assert_eq!(fate, dropped(Reason::SrcLimit));
        let [refusal] = &said[..] else { panic!("{said:?}") };
        assert_eq!((refusal.flags & RST, refusal.marked), (RST, true));
        assert_eq!(refusal.ends, sound(&there.back().tcp(&segment(80, 1026, 0, 0, 0))));
        assert_eq!(gate.machine().status().lcounters[LCNT_SRCCONN], 1);
        gate.tick(1);
        assert_eq!(gate.machine().table_addresses("bad").unwrap(), [there.src.to_string()]);
        assert_eq!(gate.states(), 0, "flushed, with what it had");
        // Who repeats himself when his connection is counted is counted once.
        let gate = Gate::new(&[block(), limited.clone()]);
        let syn = there.tcp(&segment(1025, 80, SYN, CLIENT, 0));
        assert_eq!(gate.receive(&syn), dropped(PROXIED));
        let [greeting] = &gate.sent()[..] else { panic!() };
        let ack = segment(
            1025,
            80,
            ACK,
            CLIENT.wrapping_add(1),
            read(greeting).seq.wrapping_add(1),
        );
        for _ in 0..3 {
            assert_eq!(gate.receive(&there.tcp(&ack)), dropped(PROXIED));
        }
        assert_eq!(gate.machine().sources()[0].conn, 1);
    }
}
