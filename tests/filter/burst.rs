//! Packets that come together fare as packets that come one by one.

use pf::kpi::{Direction, Mbuf, SoftNet};
use pf_abi::*;

use crate::common::Machine;
use crate::common::packets::*;
use crate::common::rules::*;
use crate::gate::check_table;

/// More states than it takes until packets are fetched for.
const STATES: u16 = 6000;

fn machine() -> Machine {
    let machine = Machine::new();
    machine.command(DIOCSTART).unwrap();
    let blocked = block().proto(TCP).port(81);
    machine
        .load(RulesetKind::Filter, &[(pass().keep_state(), vec![]), (blocked, vec![])])
        .unwrap();
    machine.load(RulesetKind::Nat, &[nat("203.0.113.1").on("em0")]).unwrap();
    for port in 0..STATES {
        let packet = ip("10.0.0.1", "198.51.100.7").udp(1024 + port, 53, b"question");
        machine.send(1, Direction::Out, &packet).unwrap();
    }
    machine
}

/// Of all sorts: of a state and of none, blocked, broken, a fragment, and one that makes what the next one needs.
fn packets(round: u16) -> Vec<Vec<u8>> {
    let there = || ip("10.0.0.1", "198.51.100.7");
    let mut packets = vec![
        there().udp(1024 + round, 53, b"again"),
        there().udp(60_000 + round, 80, b"new"),
        there().udp(60_000 + round, 80, b"known by now"),
        there().tcp(&segment(1024 + round, 81, SYN, 1, 0)),
        b"no packet".to_vec(),
        vec![],
        there().with_fragment(1480, false).packet(UDP, b"the end"),
        ip("fd00::1", "2001:db8::7").udp(1024 + round, 53, b"question"),
        there().error(&there().back().udp(53, 1024 + round, b"answer")),
    ];
    for port in 0..20 {
        packets.push(there().udp(1024 + 37 * round + port, 53, b"again"));
    }
    packets
}

#[test]
fn together_or_alone_makes_no_difference() {
    let (alone, together) = (machine(), machine());
    for round in 0..50 {
        let packets = packets(round);
        let expected: Vec<_> = packets
            .iter()
            .map(|packet| alone.send(1, Direction::Out, packet))
            .collect();
        assert!(expected.iter().any(Option::is_none) && expected.iter().any(Option::is_some));
        let mut burst: Vec<_> = packets
            .iter()
            .map(|packet| Some(Mbuf::split(packet, usize::from(round))))
            .collect();
        together.pf.hook_burst(&SoftNet::raise(), Direction::Out, 1, &mut burst);
        let fates: Vec<_> = burst.into_iter().map(|packet| packet.map(Mbuf::to_bytes)).collect();
        assert_eq!(fates, expected);
    }
    let counters = |machine: &Machine| {
        let status = machine.status();
        (
            status.counters,
            status.fcounters,
            status.states,
            machine.interfaces("em0"),
        )
    };
    assert_eq!(counters(&together), counters(&alone));
    check_table(&together);
}

#[test]
fn a_place_that_holds_nothing_is_passed_over() {
    let machine = machine();
    let mut burst = [
        None,
        Some(Mbuf::from_bytes(ip("10.0.0.1", "198.51.100.7").udp(1024, 53, b"again"))),
        None,
    ];
    machine.pf.hook_burst(&SoftNet::raise(), Direction::Out, 1, &mut burst);
    assert!(burst[0].is_none() && burst[1].is_some() && burst[2].is_none());
}
