//! Out of memory, at each place where some is taken: the packet is dropped and counted, and nothing is left behind.

use pf::kpi::host::fail_allocations;
use pf::kpi::{Direction, Kernel, Mbuf};
use pf_abi::*;

use crate::common::Machine;
use crate::common::packets::*;
use crate::common::rules::*;
use crate::gate::{BLOCKED, Fate, KEPT, check_table, dropped, judge};

fn there() -> Ip {
    ip("10.0.0.1", "198.51.100.7")
}

fn machine(rules: &[Rule], translations: &[Loaded]) -> Machine {
    let machine = Machine::of(Kernel::seeded(1));
    machine.command(DIOCSTART).unwrap();
    let rules: Vec<Loaded> = rules.iter().map(|rule| (rule.clone(), vec![])).collect();
    machine.load(RulesetKind::Filter, &rules).unwrap();
    machine.load(RulesetKind::Nat, translations).unwrap();
    machine
}

/// Judges a packet, every byte of which is a segment's own border away, with memory for so many allocations. What it needs is
/// found by trying: the answers are the fates before it had enough.
fn starved(machine: &Machine, direction: Direction, packet: &[u8]) -> (Vec<Fate>, Fate) {
    let mut fates = vec![];
    for enough in 0..100 {
        let failing = fail_allocations(enough);
        let fate = judge(machine, 1, direction, Mbuf::split(packet, 1));
        drop(failing);
        check_table(machine);
        match fate {
            Err(Some(Reason::Memory)) => fates.push(fate),
            _ => return (fates, fate),
        }
    }
    unreachable!("no packet takes so much");
}

#[test]
fn a_new_state_needs_memory() {
    for packet in [
        there().udp(1025, 53, b"question"),
        there().tcp(&segment(1025, 80, SYN, 1, 0)),
    ] {
        let machine = machine(&[pass().keep_state()], &[]);
        let failing = fail_allocations(0);
        let fate = judge(&machine, 1, Direction::Out, Mbuf::from_bytes(packet.clone()));
        drop(failing);
        assert_eq!(fate, dropped(Reason::Memory));
        assert_eq!(
            (machine.pf.states().len(), machine.rules(Action::Pass)[0].states),
            (0, 0)
        );
        let (failed, fate) = starved(&machine, Direction::Out, &packet);
        assert_eq!((failed.len(), fate), (1, Ok(packet)));
        assert_eq!(
            (machine.pf.states().len(), machine.rules(Action::Pass)[0].states),
            (1, 1)
        );
    }
}

#[test]
fn a_translation_needs_memory_before_it_begins() {
    let machine = machine(&[pass().keep_state()], &[nat("192.0.2.1").ports(0, 0)]);
    let packet = there().udp(1025, 53, b"question");
    for allocations in 0..2 {
        let failing = fail_allocations(allocations);
        let fate = judge(&machine, 1, Direction::Out, Mbuf::split(&packet, 1));
        drop(failing);
        assert_eq!(fate, dropped(Reason::Memory));
        // Neither the packet's memory without the state's, nor the other way round.
        assert_eq!(machine.pf.states().len(), 0);
        assert_eq!(machine.rules(Action::Nat)[0].states, 0);
    }
    let expected = ip("192.0.2.1", "198.51.100.7").udp(1025, 53, b"question");
    let (failed, fate) = starved(&machine, Direction::Out, &packet);
    assert_eq!((failed.len(), fate), (2, Ok(expected.clone())));

    // Now that there is a state, only the packet needs some; and so for the answers.
    let (failed, fate) = starved(&machine, Direction::Out, &packet);
    assert_eq!((failed.len(), fate), (1, Ok(expected.clone())));
    let answer = ip("198.51.100.7", "192.0.2.1").udp(53, 1025, b"answer");
    let (failed, fate) = starved(&machine, Direction::In, &answer);
    assert_eq!((failed.len(), fate), (1, Ok(there().back().udp(53, 1025, b"answer"))));
    let error = ip("203.0.113.9", "192.0.2.1").error(&expected);
    let (failed, fate) = starved(&machine, Direction::In, &error);
    assert_eq!(
        (failed.len(), fate),
        (1, Ok(ip("203.0.113.9", "10.0.0.1").error(&packet)))
    );
    assert_eq!(machine.pf.states().len(), 1);
}

#[test]
fn what_passes_as_it_is_needs_none() {
    let machine = machine(&[pass()], &[]);
    let _failing = fail_allocations(0);
    for packet in [
        there().udp(1025, 53, b"question"),
        there().tcp(&segment(1025, 80, SYN, 1, 0)),
        ip("fd00::1", "2001:db8:7::7").ping(7),
    ] {
        let fate = judge(&machine, 1, Direction::Out, Mbuf::split(&packet, 1));
        assert_eq!(fate, Ok(packet));
    }
}

#[test]
fn without_memory_there_is_no_answer() {
    let sent = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = sent.clone();
    let output = move |_: Mbuf| {
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    };
    let machine = Machine::of(Kernel::seeded(1).with_output(Box::new(output)));
    machine.command(DIOCSTART).unwrap();
    machine
        .load(RulesetKind::Filter, &[(block().return_any(), vec![])])
        .unwrap();
    let packets = [
        there().udp(1025, 53, b"question"),
        there().tcp(&segment(1025, 80, SYN, 1, 0)),
    ];
    for packet in &packets {
        let failing = fail_allocations(0);
        let fate = judge(&machine, 1, Direction::In, Mbuf::from_bytes(packet.clone()));
        drop(failing);
        assert_eq!(fate, BLOCKED);
    }
    assert_eq!(sent.load(std::sync::atomic::Ordering::Relaxed), 0);
    for packet in &packets {
        assert_eq!(
            judge(&machine, 1, Direction::In, Mbuf::from_bytes(packet.clone())),
            BLOCKED
        );
    }
    assert_eq!(sent.load(std::sync::atomic::Ordering::Relaxed), 2);
}

#[test]
fn fragments_need_memory_to_wait() {
    for ip in [there(), ip("fd00::1", "2001:db8:7::7")] {
        let whole = ip.udp(1025, 53, &[7; 300]);
        let machine = machine(&[pass()], &[]);
        machine.load(RulesetKind::Scrub, &[(scrub(), vec![])]).unwrap();
        let mut parts = crate::fragments::parts(&whole, 64);
        parts.reverse();
        let mut failures = 0;
        for part in &parts[..parts.len() - 1] {
            let (fates, fate) = starved(&machine, Direction::Out, part);
            failures += fates.len();
            assert_eq!(fate, KEPT);
        }
        assert!(failures > 2);
        // The last one: nothing is held any more where it fails, and nothing of it stays.
        let (fates, fate) = starved(&machine, Direction::Out, &parts[parts.len() - 1]);
        assert!(!fates.is_empty());
        assert!(fate == KEPT || fate == Ok(whole), "{fate:?}");
        machine.advance(30);
        machine.pf.purge();
        assert_eq!(machine.pf.norm().held(), 0);
    }
}

#[test]
fn a_packet_is_scrubbed_or_dropped() {
    let syn = there().tcp(&Segment {
        options: vec![2, 4, 5, 0xb4],
        ..segment(1025, 80, SYN, 1, 0).with_stamps(7, 0)
    });
    let machine = machine(&[pass().keep_state()], &[]);
    let rule = scrub()
        .with(PFRULE_NODF | PFRULE_RANDOMID | PFRULE_REASSEMBLE_TCP)
        .min_ttl(100)
        .max_mss(1000);
    machine.load(RulesetKind::Scrub, &[(rule, vec![])]).unwrap();
    let (fates, fate) = starved(&machine, Direction::Out, &syn);
    assert!(fates.len() > 1);
    sound(&fate.unwrap());
    assert_eq!(machine.pf.states().len(), 1);
}
