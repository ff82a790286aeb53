//! Packets on several CPUs at once, while the purge runs, rules are loaded, states are dumped and removed, and the table is locked.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use pf::kpi::{Direction, Kernel, Mbuf, SoftNet};
use pf::{Pf, Verdict};
use pf_abi::*;

use crate::common::Machine;
use crate::common::packets::*;
use crate::common::rules::*;
use crate::gate::check_table;

const THREADS: u32 = 4;
const PACKETS: u32 = 8000;

/// A packet passes a hook; its checksums are right if it comes out.
fn cross(pf: &Pf, direction: Direction, packet: &[u8], cut: usize) -> Option<Vec<u8>> {
    let level = SoftNet::raise();
    match pf.hook(&level, direction, 1, Mbuf::split(packet, cut)) {
        Verdict::Pass(packet) => {
            let packet = packet.to_bytes();
            sound(&packet);
            Some(packet)
        }
        Verdict::Drop | Verdict::Kept | Verdict::Routed => None,
    }
}

/// Packets of a few hosts, so that threads meet at the same states, and the answers to those that got through.
fn traffic(pf: &Pf, thread: u32) {
    let mut n = thread;
    for round in 0..PACKETS {
        n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (host, port) = (n >> 24 & 7, 1025 + (n >> 16 & 15) as u16);
        let there = ip(&format!("10.0.0.{host}"), "198.51.100.7");
        let packet = match n >> 28 & 3 {
            0 => there.tcp(&segment(port, 80, SYN, n, 0)),
            1 => there.udp(port, 53, b"question"),
            2 => there.ping(port),
            _ => ip(&format!("fd00::{host}"), "2001:db8::7").udp(port, 53, b"question"),
        };
        let Some(out) = cross(pf, Direction::Out, &packet, (n & 63) as usize) else {
            continue;
        };
        let (src, dst) = addresses(&out);
        let back = Ip {
            src: dst,
            dst: src,
            ..there
        };
        let (proto, at) = transport(&out).unwrap();
        let port = |at: usize| u16::from_be_bytes([out[at], out[at + 1]]);
        let answer = match (proto, round % 5) {
            (_, 0) => back.error(&out),
            (TCP, 1) => back.tcp(&segment(80, port(at), RST | ACK, 0, n.wrapping_add(1))),
            (TCP, _) => back.tcp(&segment(80, port(at), SYN | ACK, 5, n.wrapping_add(1))),
            (UDP, _) => back.udp(53, port(at), b"answer"),
            _ => back.pong(port(at + 4)),
        };
        cross(pf, Direction::In, &answer, (n & 31) as usize);
    }
}

fn load(machine: &Machine, rules: &[Rule]) {
    let rules: Vec<Loaded> = rules.iter().map(|rule| (rule.clone(), vec![])).collect();
    machine.load(RulesetKind::Filter, &rules).unwrap();
}

#[test]
fn many_at_once() {
    let machine = Machine::of(Kernel::seeded(1));
    let rules = [pass().keep_state(), block().inward().return_any()];
    load(&machine, &rules);
    machine
        .load(
            RulesetKind::Nat,
            &[nat("192.0.2.1").from("10.0.0.0/8").ports(2000, 2020)],
        )
        .unwrap();
    machine.set_timeout(Timeout::Interval, 1);
    machine.command(DIOCSTART).unwrap();
    let busy = AtomicUsize::new(THREADS as usize);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (pf, busy) = (&*machine.pf, &busy);
            scope.spawn(move || {
                traffic(pf, thread);
                busy.fetch_sub(1, Ordering::Release);
            });
        }
        let mut turn = 0;
        while busy.load(Ordering::Acquire) > 0 {
            turn += 1;
            match turn % 7 {
                0 => load(&machine, &rules[..1 + turn / 7 % 2]),
                1 => machine.advance(20),
                2 | 4 => machine.pf.purge(),
                3 => {
                    machine.set_lock(true);
                    // Nothing comes or goes while it is locked.
                    let states = machine.dump().len();
                    assert_eq!(machine.pf.states().len(), states);
                    machine.set_lock(false);
                }
                5 => {
                    machine.ioctl(DIOCCLRSTATES, &mut IocStateKill::default()).unwrap();
                }
                _ => thread::yield_now(),
            }
        }
    });
    check_table(&machine);
    let states = machine.pf.states().len();
    let status = machine.status();
    let [_, inserted, removed] = status.fcounters;
    assert_eq!(inserted - removed, states as u64);
    machine.advance(100_000);
    machine.purge();
    assert_eq!(machine.pf.states().len(), 0);
    assert!(machine.rules(Action::Pass).iter().all(|rule| rule.states == 0));
    assert_eq!(machine.rules(Action::Nat)[0].states, 0);
}
