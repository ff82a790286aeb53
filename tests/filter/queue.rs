//! Queues: rules name them, and the kernel may or may not have them.

use pf::Verdict;
use pf::kpi::{Direction, Errno, Kernel, Mbuf, SoftNet};
use pf_abi::*;

use crate::common::Machine;
use crate::common::packets::*;
use crate::common::rules::*;

fn queued(queue: &str, urgent: &str) -> Loaded {
    let rule = pass().keep_state().change(|rule| {
        rule.qname = CName::new(queue).unwrap();
        rule.pqname = CName::new(urgent).unwrap();
    });
    (rule, vec![])
}

fn machine(queues: &[&str], rule: Loaded) -> Machine {
    let machine = Machine::of(Kernel::seeded(1).with_queues(queues));
    machine.command(DIOCSTART).unwrap();
    machine.load(RulesetKind::Filter, &[rule]).unwrap();
    machine
}

/// The queue that a packet is in when it leaves.
fn queue_of(machine: &Machine, direction: Direction, packet: &[u8]) -> u32 {
    match machine
        .pf
        .hook(&SoftNet::raise(), direction, 1, Mbuf::from_bytes(packet))
    {
        Verdict::Pass(packet) => packet.queue(),
        other => panic!("{other:?}"),
    }
}

fn client() -> Ip {
    ip("10.0.0.1", "198.51.100.7")
}

#[test]
fn a_kernel_without_queues_takes_the_rule_and_queues_nothing() {
    let machine = machine(&[], queued("std", "ack"));
    assert_eq!(machine.rules(Action::Pass)[0].qname.as_str(), Some("std"));
    assert_eq!(queue_of(&machine, Direction::Out, &client().udp(1, 2, b"data")), 0);
}

#[test]
fn a_queue_that_the_kernel_does_not_have_is_refused() {
    let machine = machine(&["std"], queued("std", ""));
    for rule in [queued("other", ""), queued("std", "other")] {
        assert_eq!(machine.load(RulesetKind::Filter, &[rule]), Err(Errno::Ebusy));
    }
}

#[test]
fn the_first_packet_and_all_after_it_are_queued_by_the_rule() {
    let machine = machine(&["std", "bulk"], queued("bulk", ""));
    assert_eq!(queue_of(&machine, Direction::Out, &client().udp(5, 53, b"ask")), 2);
    assert_eq!(
        queue_of(&machine, Direction::In, &client().back().udp(53, 5, b"answer")),
        2
    );
    // A restored state knows its queue again.
    let states = machine.dump();
    machine.ioctl(DIOCCLRSTATES, &mut IocStateKill::default()).unwrap();
    assert_eq!(machine.add_states(&states), Ok(1));
    assert_eq!(
        queue_of(&machine, Direction::In, &client().back().udp(53, 5, b"answer")),
        2
    );
}

#[test]
fn acknowledgements_without_data_and_low_delay_take_the_second_queue() {
    let machine = machine(&["std", "ack"], queued("std", "ack"));
    let out = |packet: &[u8]| queue_of(&machine, Direction::Out, packet);
    assert_eq!(out(&client().tcp(&segment(5, 80, SYN, 1, 0))), 1, "no acknowledgement");
    let back = client().back().tcp(&segment(80, 5, SYN | ACK, 7, 2));
    assert_eq!(queue_of(&machine, Direction::In, &back), 2);
    assert_eq!(out(&client().tcp(&segment(5, 80, ACK, 2, 8))), 2);
    assert_eq!(out(&client().tcp(&segment(5, 80, ACK, 2, 8).with_data(1))), 1);
    let mut packet = client().udp(5, 53, b"data");
    assert_eq!(out(&packet), 1);
    packet[1] = 0x10;
    assert_eq!(out(&packet), 2);
    // Over IPv6, only acknowledgements.
    let v6 = ip("fd00::1", "2001:db8::7");
    assert_eq!(out(&v6.tcp(&segment(6, 80, SYN | ACK, 1, 0))), 2);
}
