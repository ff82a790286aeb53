//! Any bytes as packets, at both hooks, with a ruleset that has a little of everything.

use std::time::Duration;

use pf::Verdict;
use pf::kpi::{Direction, Kernel, Mbuf, SoftNet};
use pf_abi::*;

use crate::common::Machine;
use crate::common::packets::{ICMP, ICMP6, TCP, UDP};
use crate::common::rules::*;
use crate::input::Input;
use crate::invariants;

fn filter() -> Vec<Rule> {
    let log = |rule: Rule, log, to| rule.change(|rule| (rule.log, rule.logif) = (log, to));
    let queue = |rule: Rule| rule.change(|rule| rule.qname = CName::new("std").unwrap());
    vec![
        log(pass().keep_state(), PF_LOG | PF_LOG_ALL, 3),
        block().proto(UDP).dst_port(PortOp::Range, [60, 70]).return_any(),
        block().proto(TCP).port(81).return_rst(9),
        log(block().fragment().inward(), PF_LOG, 0),
        queue(pass().inward().on("em0").keep_state().allow_opts()),
        pass().proto(ICMP).icmp(8, None),
        pass().af(AF_INET6).proto(ICMP6).keep_state().max(3),
        block().from("10.0.0.4").quick(),
        block().on("em1").return_icmp((3, 13), (1, 1)).proto(47),
        log(pass().proto(TCP).keep_state().timeout(Timeout::TcpFirst, 2), PF_LOG, 1),
    ]
}

fn machine() -> Machine {
    let kernel = Kernel::seeded(1)
        .with_packet_log(Box::new(|_, header, packet| {
            assert_eq!(header.length, PFLOG_REAL_HDRLEN);
            assert!(packet.len() <= 1 << 16);
        }))
        .with_output(Box::new(|packet| assert!(packet.is_from_pf())))
        .with_queues(&["std"]);
    let machine = Machine::of(kernel);
    machine.set_limit(Limit::States, 64);
    let filter: Vec<Loaded> = filter().into_iter().map(|rule| (rule, vec![])).collect();
    machine.load(RulesetKind::Filter, &filter).unwrap();
    let nat = [
        no_nat().proto(47),
        nat("192.0.2.1").on("em0").from("10.0.0.0/8").ports(1024, 1027),
        nat("2001:db8::1").on("em0").from("fd00::/8"),
    ];
    machine.load(RulesetKind::Nat, &nat).unwrap();
    let rdr = [
        rdr("10.0.0.3")
            .on("em0")
            .to("192.0.2.1")
            .proto(TCP)
            .dst_port(PortOp::Range, [80, 82])
            .ports(80, 81),
        rdr("fd00::3").on("em0").to("2001:db8::1").pass_on(),
    ];
    machine.load(RulesetKind::Rdr, &rdr).unwrap();
    machine.command(DIOCSTART).unwrap();
    machine
}

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

fn cross(machine: &Machine, index: u16, direction: Direction, packet: Mbuf) -> Option<Vec<u8>> {
    match machine.pf.hook(&SoftNet::raise(), direction, index, packet) {
        Verdict::Pass(packet) => Some(packet.to_bytes()),
        Verdict::Drop | Verdict::Kept | Verdict::Routed => None,
    }
}

fn check(machine: &Machine) {
    invariants::check(machine);
    invariants::check_counters(machine);
    invariants::check_identities(machine);
}

/// Does what the bytes say, and checks after every so many steps that all is in order: it costs more than the step.
pub(crate) fn run(bytes: &[u8], every: usize) {
    let mut input = Input::new(bytes);
    let machine = machine();
    let mut last: (u16, Direction, Vec<u8>) = (1, Direction::Out, vec![]);
    // As many steps as a minute's fuzzing can do many times over.
    for step in 1..=256 {
        if input.is_empty() {
            break;
        }
        match input.u8() {
            0..=7 => machine.pf.purge(),
            8..=15 => {
                machine.pf.kernel().advance(Duration::from_secs(input.u16().into()));
                machine.pf.purge();
            }
            16..=19 => machine.set_lock(input.u8() & 1 != 0),
            20..=89 => {
                let (on, direction, packet) = &last;
                let (on, direction, packet) = (*on, direction.reverse(), answered(packet));
                if let Some(passed) = cross(&machine, on, direction, Mbuf::from_bytes(packet)) {
                    last = (on, direction, passed);
                }
            }
            90..=109 => {
                // The next router hands it on.
                let (on, direction) = (3 - last.0.min(2), last.1.reverse());
                if let Some(passed) = cross(&machine, on, direction, Mbuf::from_bytes(last.2.clone())) {
                    last = (on, direction, passed);
                }
            }
            choice => {
                let on = input.u16() % 4;
                let direction = if choice & 1 == 0 { Direction::In } else { Direction::Out };
                let len = usize::from(input.u8());
                let cut = usize::from(input.u8());
                let packet = input.bytes(len).to_vec();
                if let Some(passed) = cross(&machine, on, direction, Mbuf::split(&packet, cut)) {
                    last = (on, direction, passed);
                }
            }
        }
        if step % every == 0 {
            check(&machine);
        }
    }
    check(&machine);
    machine.set_lock(false);
    machine.advance(100_000);
    for _ in 0..11 {
        machine.advance(1);
        machine.pf.purge();
    }
    assert_eq!(machine.pf.states().len(), 0, "all of it goes in the end");
    for rule in [Action::Pass, Action::Nat, Action::Rdr]
        .into_iter()
        .flat_map(|action| machine.rules(action))
    {
        assert_eq!(rule.states, 0);
    }
}
