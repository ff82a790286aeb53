//! Any bytes as packets, at both hooks, with a ruleset that has a little of everything, and with one that has all the rest.

use std::mem::take;
use std::time::Duration;

use pf::Verdict;
use pf::kpi::{Direction, Mbuf, SoftNet};
use pf_abi::*;

use crate::common::Machine;
use crate::common::packets::{TCP, UDP};
use crate::input::Input;
use crate::rulesets::{Aside, plain, rich};
use crate::{invariants, made};

/// The ends swapped, as an answer has them, where the bytes have room for that.
fn answered(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    let (addresses, transport, proto) = match packet.first().map(|first| first >> 4) {
        Some(4) if packet.len() >= 20 => (12..20, usize::from(packet[0] & 15) * 4, packet[9]),
        Some(6) if packet.len() >= 40 => (8..40, 40, packet[6]),
        _ => return packet,
    };
    let half = addresses.len() / 2;
    packet[addresses].rotate_left(half);
    if matches!(proto, TCP | UDP)
        && let Some(ports) = packet.get_mut(transport..transport + 4)
    {
        ports.rotate_left(2);
    }
    if proto == TCP
        && let Some(numbers) = packet.get_mut(transport + 4..transport + 14)
    {
        // An answer to a SYN: what is acknowledged is one more.
        let seq = u32::from_be_bytes([numbers[0], numbers[1], numbers[2], numbers[3]]);
        numbers.copy_within(4..8, 0);
        numbers[4..8].copy_from_slice(&seq.wrapping_add(1).to_be_bytes());
        numbers[9] |= 0x10;
    }
    packet
}

fn cross(machine: &Machine, index: u16, direction: Direction, packet: Mbuf) -> Option<Mbuf> {
    match machine.pf.hook(&SoftNet::raise(), direction, index, packet) {
        Verdict::Pass(packet) => Some(packet),
        Verdict::Drop | Verdict::Kept | Verdict::Routed => None,
    }
}

fn check(machine: &Machine) {
    invariants::check(machine);
    invariants::check_counters(machine);
    invariants::check_identities(machine);
    invariants::check_sources(machine);
}

/// A packet that has crossed an interface.
type Crossed = (u16, Direction, Mbuf);

/// Does what the bytes say under each ruleset, and checks after every so many steps that all is in order: it costs more than the step.
pub(crate) fn run(bytes: &[u8], every: usize) {
    run_plain(bytes, every);
    run_rich(bytes, every, |_| ());
}

fn run_plain(bytes: &[u8], every: usize) {
    let aside = Aside::default();
    let machine = plain(&aside);
    Scene::new(machine, aside, false).run(bytes, every, |_| ());
}

/// With the second ruleset alone; `look` is called when the bytes are at their end.
pub(crate) fn run_rich(bytes: &[u8], every: usize, look: impl FnOnce(&Machine)) {
    let aside = Aside::default();
    let machine = rich(&aside);
    Scene::new(machine, aside, true).run(bytes, every, look);
}

struct Scene {
    machine: Machine,
    aside: Aside,
    /// What others may follow.
    last: Crossed,
    is_rich: bool,
}

impl Scene {
    fn new(machine: Machine, aside: Aside, is_rich: bool) -> Self {
        Scene {
            machine,
            aside,
            last: (1, Direction::Out, Mbuf::from_bytes([])),
            is_rich,
        }
    }

    /// Lets a packet cross an interface, and what pf says about it find its way.
    fn cross(&mut self, on: u16, direction: Direction, packet: Mbuf) {
        if let Some(passed) = cross(&self.machine, on, direction, packet) {
            self.last = (on, direction, passed);
        }
        for packet in take(&mut *self.aside.said.lock().unwrap()) {
            if packet.is_from_pf() {
                // It may be answered.
                self.last = (on, direction.reverse(), packet);
            } else if let Some(passed) = cross(&self.machine, 2, Direction::Out, packet) {
                assert!(self.is_rich, "nobody is to be called");
                self.last = (2, Direction::Out, passed);
            }
        }
        for (on, packet) in take(&mut *self.aside.returned.lock().unwrap()) {
            let packet = cross(&self.machine, on, Direction::In, packet).expect("it has been judged");
            self.last = (on, Direction::In, packet);
        }
        self.aside.said.lock().unwrap().clear();
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.u8() {
            0..=7 => self.machine.pf.purge(),
            8..=15 => {
                self.machine
                    .pf
                    .kernel()
                    .advance(Duration::from_secs(input.u16().into()));
                self.machine.pf.purge();
            }
            16..=19 => self.machine.set_lock(input.u8() & 1 != 0),
            20..=89 => {
                let (on, direction, packet) = &self.last;
                let bytes = packet.duplicate().unwrap().to_bytes();
                let (on, direction, packet) = (*on, direction.reverse(), answered(&bytes));
                self.cross(on, direction, Mbuf::from_bytes(packet));
            }
            90..=109 => {
                // It is handed on to the other side, with its marks.
                let (on, direction) = (3 - self.last.0.min(2), self.last.1.reverse());
                let packet = self.last.2.duplicate().unwrap();
                self.cross(on, direction, packet);
            }
            choice => {
                let on = 1 + input.u16() % if self.is_rich { 4 } else { 3 };
                let direction = if choice & 1 == 0 { Direction::In } else { Direction::Out };
                if self.is_rich && choice >= 150 {
                    let packet = made::packet(input);
                    return self.cross(on, direction, Mbuf::from_bytes(packet));
                }
                let len = usize::from(input.u8());
                let cut = usize::from(input.u8());
                let packet = input.bytes(len).to_vec();
                self.cross(on, direction, Mbuf::split(&packet, cut));
            }
        }
    }

    fn run(mut self, bytes: &[u8], every: usize, look: impl FnOnce(&Machine)) {
        let mut input = Input::new(bytes);
        // As many steps as a minute's fuzzing can do many times over.
        for step in 1..=256 {
            if input.is_empty() {
                break;
            }
            self.step(&mut input);
            if step % every == 0 {
                check(&self.machine);
            }
        }
        check(&self.machine);
        look(&self.machine);
        self.end();
    }

    /// All of it goes in the end.
    fn end(self) {
        let machine = &self.machine;
        machine.set_lock(false);
        // First the states, and when they have gone, the nodes of their sources.
        for _ in 0..2 {
            machine.advance(100_000);
            for _ in 0..11 {
                machine.advance(1);
                machine.pf.purge();
            }
        }
        assert_eq!(machine.pf.states().len(), 0);
        assert_eq!(machine.pf.norm().held(), 0);
        assert_eq!(machine.sources(), []);
        for rule in [Action::Pass, Action::Nat, Action::Rdr]
            .into_iter()
            .flat_map(|action| machine.rules(action))
        {
            assert_eq!((rule.states, rule.src_nodes), (0, 0));
        }
    }
}
