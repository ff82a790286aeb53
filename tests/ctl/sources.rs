//! Source nodes by their ioctls.

use std::net::IpAddr;

use pf::kpi::{Direction, Errno, Mbuf, SoftNet};
use pf_abi::*;

use crate::common::{Machine, addr, packet, pass};

/// A machine with a state from each of so many sources, 10.0.0.1 and on.
fn machine(sources: u32) -> Machine {
    let machine = Machine::new();
    machine.command(DIOCSTART).unwrap();
    let rule = Rule {
        rule_flag: PFRULE_SRCTRACK | PFRULE_RULESRCTRACK,
        ..pass("tracked")
    };
    machine.load(RulesetKind::Filter, &[(rule, vec![])]).unwrap();
    for n in 1..=sources {
        let [_, a, b, c] = n.to_be_bytes();
        let bytes = packet(47, [10, a, b, c], [198, 51, 100, 7], &[]);
        let verdict = machine
            .pf
            .hook(&SoftNet::raise(), Direction::In, 1, Mbuf::from_bytes(bytes));
        assert!(matches!(verdict, pf::Verdict::Pass(_)));
    }
    machine
}

#[test]
fn all_nodes_come_out_once() {
    let machine = machine(1000);
    let nodes = machine.sources();
    let addrs: Vec<_> = nodes.iter().map(|node| u32::from(node.addr.v4())).collect();
    assert_eq!(addrs, (0x0a00_0001..=0x0a00_03e8).collect::<Vec<_>>());
    assert!(nodes.iter().all(|node| node.states == 1 && node.rule == 0));
    // As many as there is room for.
    let size = size_of::<SrcNode>();
    assert_eq!(machine.sources_into(10 * size + size - 1).len(), 10);
    assert_eq!(machine.sources_into(1).len(), 0);
    let mut arg = IocSrcNodes {
        len: -1,
        ..IocSrcNodes::default()
    };
    assert_eq!(machine.read_ioctl(DIOCGETSRCNODES, &mut arg), Err(Errno::Einval));
    arg.len = 100 * size as i32;
    arg.buf = UserPtr(1);
    assert_eq!(machine.read_ioctl(DIOCGETSRCNODES, &mut arg), Err(Errno::Efault));
}

#[test]
fn nodes_are_cleared_and_their_states_stay() {
    let machine = machine(100);
    machine.command(DIOCCLRSRCNODES).unwrap();
    assert_eq!((machine.sources().len(), machine.status().src_nodes), (0, 0));
    assert_eq!(machine.rules(Action::Pass)[0].src_nodes, 0);
    assert_eq!(machine.pf.states().len(), 100);
    assert_eq!(machine.status().scounters[SCNT_SRC_NODE_REMOVALS], 100);
    // They expire without a node to leave.
    machine.advance(1000);
    machine.purge();
    assert_eq!(machine.pf.states().len(), 0);
}

#[test]
fn nodes_are_killed_by_their_addresses() {
    let machine = machine(10);
    let net = |ip: [u8; 4], mask: [u8; 4]| RuleAddr {
        addr: AddrWrap::masked(addr(IpAddr::from(ip)), addr(IpAddr::from(mask))),
        ..RuleAddr::default()
    };
    let kill = |af, src: RuleAddr, dst: RuleAddr| {
        let mut arg = IocSrcNodeKill {
            af,
            src,
            dst,
            ..IocSrcNodeKill::default()
        };
        machine.ioctl(DIOCKILLSRCNODES, &mut arg).map(|()| arg.af)
    };
    let any = RuleAddr::default;
    assert_eq!(kill(AF_INET6, any(), any()), Ok(0));
    assert_eq!(kill(AF_INET, net([10, 0, 0, 8], [255, 255, 255, 252]), any()), Ok(3));
    assert_eq!(
        kill(AF_INET, any(), net([192, 0, 2, 1], [255; 4])),
        Ok(0),
        "none has such an address"
    );
    assert_eq!(kill(77, any(), any()), Err(Errno::Einval));
    assert_eq!(kill(0, net([10, 0, 0, 1], [255; 4]), any()), Err(Errno::Einval));
    assert_eq!(kill(0, any(), any()), Ok(7));
    assert!(machine.sources().is_empty());
}

#[test]
fn a_reader_may_only_look() {
    let machine = machine(1);
    let mut arg = IocSrcNodeKill::default();
    assert_eq!(machine.read_ioctl(DIOCKILLSRCNODES, &mut arg), Err(Errno::Eacces));
    assert_eq!(machine.call_bytes(false, DIOCCLRSRCNODES, &mut []), Err(Errno::Eacces));
    assert_eq!(machine.sources().len(), 1);
}
