//! Source tracking: the limits of a source's states and connections, the addresses that stay with a source, and how nodes go.

use std::collections::HashSet;

use pf_abi::*;

use crate::common::packets::*;
use crate::common::rules::*;
use crate::gate::{Gate, check_table, dropped};

fn from(host: u8) -> Ip {
    ip(&format!("198.51.100.{host}"), "192.0.2.1")
}

fn gate(rule: Rule) -> Gate {
    Gate::new(&[rule])
}

fn tracking() -> Rule {
    pass().inward().keep_state().tracking(true)
}

/// A whole handshake with the server inside: what became of its last packet.
fn connect(gate: &Gate, ip: &Ip, port: u16) -> Result<(), Option<Reason>> {
    gate.receive(&ip.tcp(&segment(port, 80, SYN, 1000, 0)))?;
    gate.send(&ip.back().tcp(&segment(80, port, SYN | ACK, 9000, 1001)))?;
    gate.receive(&ip.tcp(&segment(port, 80, ACK, 1001, 9001))).map(drop)
}

fn counted(gate: &Gate, limit: usize) -> u64 {
    gate.machine().status().lcounters[limit]
}

#[test]
fn a_source_may_have_so_many_states() {
    for by_rule in [true, false] {
        let gate = gate(tracking().tracking(by_rule).change(|rule| rule.max_src_states = 2));
        let open = |host: u8, port: u16| gate.receive(&from(host).udp(port, 53, b"?")).map(drop);
        assert_eq!([open(1, 1025), open(1, 1026)], [Ok(()), Ok(())]);
        assert_eq!(open(1, 1027), Err(Some(Reason::SrcLimit)));
        assert_eq!(open(2, 1027), Ok(()), "somebody else");
        assert_eq!(open(1, 1026), Ok(()), "what there is goes on");
        assert_eq!(counted(&gate, LCNT_SRCSTATES), 1);
        assert_eq!(gate.states(), 3);
        // Its states expire, and it may have others.
        gate.tick(80);
        assert_eq!(open(1, 1027), Ok(()));
    }
}

#[test]
fn a_rule_may_have_so_many_sources() {
    let gate = gate(tracking().change(|rule| rule.max_src_nodes = 2));
    let open = |host: u8, port: u16| gate.receive(&from(host).udp(port, 53, b"?")).map(drop);
    assert_eq!([open(1, 1025), open(2, 1025), open(1, 1026)], [Ok(()); 3]);
    assert_eq!(open(3, 1025), Err(Some(Reason::SrcLimit)));
    assert_eq!(counted(&gate, LCNT_SRCNODES), 1);
    assert_eq!(gate.rule(0).src_nodes, 2);
    gate.tick(80);
    assert_eq!((gate.rule(0).src_nodes, gate.machine().status().src_nodes), (0, 0));
    assert_eq!(open(3, 1025), Ok(()));
}

#[test]
fn there_are_so_many_nodes_at_most() {
    let gate = gate(tracking());
    gate.each(|machine| machine.set_limit(Limit::SrcNodes, 2));
    let open = |host: u8| gate.receive(&from(host).udp(1025, 53, b"?")).map(drop);
    assert_eq!([open(1), open(2)], [Ok(()); 2]);
    assert_eq!(open(3), Err(Some(Reason::SrcLimit)));
    assert_eq!(gate.rule(0).src_nodes, 2);
    assert_eq!(counted(&gate, LCNT_SRCNODES), 0, "that is not the rule's doing");
}

#[test]
fn a_source_may_have_so_many_connections() {
    let gate = gate(tracking().change(|rule| rule.max_src_conn = 2));
    // A handshake that is not over does not count.
    for port in 1..100 {
        gate.receive(&from(1).tcp(&segment(port, 80, SYN, 1000, 0))).unwrap();
    }
    assert_eq!(
        [connect(&gate, &from(1), 1025), connect(&gate, &from(1), 1026)],
        [Ok(()); 2]
    );
    let states = gate.states();
    assert_eq!(connect(&gate, &from(1), 1027), Err(Some(Reason::SrcLimit)));
    assert_eq!(gate.states(), states, "it is gone");
    assert_eq!(counted(&gate, LCNT_SRCCONN), 1);
    assert_eq!(connect(&gate, &from(2), 1027), Ok(()));
    let node = &gate.machine().sources()[0];
    assert_eq!((node.conn, node.states), (2, 101));
    check_table(gate.machine());
}

#[test]
fn a_source_may_connect_so_fast() {
    let gate = gate(tracking().change(|rule| rule.max_src_conn_rate = ConnRate { limit: 3, seconds: 10 }));
    for port in 1025..1028 {
        assert_eq!(connect(&gate, &from(1), port), Ok(()));
    }
    assert_eq!(connect(&gate, &from(1), 1028), Err(Some(Reason::SrcLimit)));
    assert_eq!(counted(&gate, LCNT_SRCCONNRATE), 1);
    gate.advance(10);
    assert_eq!(connect(&gate, &from(1), 1029), Ok(()));
}

#[test]
fn connections_that_end_count_no_more() {
    let gate = gate(tracking().change(|rule| rule.max_src_conn = 1));
    assert_eq!(connect(&gate, &from(1), 1025), Ok(()));
    gate.receive(&from(1).tcp(&segment(1025, 80, RST | ACK, 1001, 9001)))
        .unwrap();
    gate.tick(110);
    assert_eq!(gate.states(), 0);
    assert_eq!(connect(&gate, &from(1), 1026), Ok(()));
}

#[test]
fn rules_track_together_or_each_for_itself() {
    for (by_rule, expected) in [(true, 2), (false, 1)] {
        let rule = |port| tracking().tracking(by_rule).proto(UDP).port(port);
        let rules = [rule(53), rule(54)].map(|rule| match by_rule {
            true => rule,
            false => rule.change(|rule| rule.rule_flag &= !PFRULE_RULESRCTRACK),
        });
        let gate = Gate::new(&rules);
        for port in [53, 54] {
            gate.receive(&from(1).udp(1025, port, b"?")).unwrap();
        }
        let nodes = gate.machine().sources();
        assert_eq!(nodes.len(), expected, "by rule: {by_rule}");
        assert_eq!(nodes.iter().map(|node| node.states).sum::<u32>(), 2);
    }
}

#[test]
fn a_node_counts_and_is_kept_for_a_while() {
    let gate = gate(tracking().timeout(Timeout::SrcTrack, 100));
    gate.receive(&from(1).udp(1025, 53, b"question")).unwrap();
    gate.send(&from(1).back().udp(53, 1025, b"answer")).unwrap();
    gate.advance(5);
    let node = &gate.machine().sources()[0];
    assert_eq!(node.addr.v4().octets(), [198, 51, 100, 1]);
    assert_eq!((node.packets, node.bytes), ([1, 1], [36, 34]));
    assert_eq!(
        (node.creation, node.states, node.af, node.ruletype),
        (5, 1, AF_INET, PF_PASS)
    );
    let status = gate.machine().status();
    assert_eq!((status.src_nodes, status.scounters[SCNT_SRC_NODE_INSERT]), (1, 1));
    gate.tick(80);
    assert_eq!((gate.states(), gate.machine().sources()[0].states), (0, 0));
    gate.tick(40);
    assert_eq!(gate.machine().sources().len(), 1, "its time is not over");
    gate.tick(80);
    assert_eq!(gate.machine().sources().len(), 0);
    assert_eq!(gate.machine().status().scounters[SCNT_SRC_NODE_REMOVALS], 1);
}

#[test]
fn the_source_is_the_host_behind_the_translation() {
    let gate = Gate::new(&[pass().outward().keep_state().tracking(true)]).nat(&[nat("192.0.2.1").on("em0")]);
    gate.send(&ip("10.0.0.1", "198.51.100.7").udp(1025, 53, b"?")).unwrap();
    assert_eq!(gate.machine().sources()[0].addr.v4().octets(), [10, 0, 0, 1]);
}

#[test]
fn an_address_of_nat_sticks_to_its_source() {
    for kind in [PoolKind::RoundRobin, PoolKind::Random] {
        let gate = Gate::new(&[]).nat(&[nat("192.0.2.0/28").choosing(kind).sticky().on("em0")]);
        let out = |host: u8, port: u16| {
            let packet = ip(&format!("10.0.0.{host}"), "198.51.100.7").udp(port, 53, b"?");
            let ends = sound(&gate.forward(&packet).unwrap());
            ends.split_once(':').unwrap().0.to_owned()
        };
        let first: Vec<String> = (1..=12).map(|host| out(host, 1025)).collect();
        assert!(first.iter().collect::<HashSet<_>>().len() > 1);
        assert_eq!(first, (1..=12).map(|host| out(host, 1026)).collect::<Vec<_>>());
        let nodes = gate.machine().sources();
        assert_eq!(nodes.len(), 12);
        assert!(nodes.iter().all(|node| node.states == 2 && node.ruletype == PF_NAT));
        assert_eq!(nodes[0].raddr.v4().to_string(), first[0]);
    }
}

#[test]
fn a_server_of_rdr_sticks_to_its_client() {
    let gate = Gate::new(&[]).rdr(&[rdr("10.0.0.80")
        .and(&["10.0.0.81", "10.0.0.82"])
        .choosing(PoolKind::RoundRobin)
        .sticky()
        .on("em0")
        .proto(TCP)
        .port(80)]);
    let server = |host: u8, port: u16| {
        let out = gate.receive(&from(host).tcp(&segment(port, 80, SYN, 1, 0))).unwrap();
        sound(&out).split_once("> ").unwrap().1.to_owned()
    };
    let first: Vec<String> = (1..=6).map(|host| server(host, 1025)).collect();
    assert_eq!(first[..3], ["10.0.0.80:80", "10.0.0.81:80", "10.0.0.82:80"]);
    for port in 1026..1030 {
        assert_eq!(first, (1..=6).map(|host| server(host, port)).collect::<Vec<_>>());
    }
    // When none of its connections is left, a client is a stranger.
    gate.tick(150);
    assert_eq!((gate.states(), gate.machine().sources().len()), (0, 0));
    assert_eq!(server(9, 1025), "10.0.0.80:80");
    assert_eq!(server(1, 1025), "10.0.0.81:80");
}

#[test]
fn limits_that_mean_nothing_are_refused() {
    let gate = Gate::new(&[]);
    for rule in [
        pass().keep_state().change(|rule| rule.max_src_states = 1),
        pass().tracking(true),
        block().tracking(true),
        tracking().change(|rule| rule.max_src_conn_rate.limit = 1),
    ] {
        let loaded = gate.machine().load(RulesetKind::Filter, &[(rule, vec![])]);
        assert_eq!(loaded, Err(pf::kpi::Errno::Einval));
    }
}

#[test]
fn a_node_without_memory_is_a_dropped_packet() {
    let gate = gate(tracking());
    let packet = from(1).udp(1025, 53, b"?");
    let failing = pf::kpi::host::fail_allocations(0);
    let fate = gate.receive(&packet);
    drop(failing);
    assert_eq!(fate, dropped(Reason::Memory));
    assert_eq!((gate.states(), gate.machine().status().src_nodes), (0, 0));
    assert_eq!(gate.rule(0).src_nodes, 0);
    assert!(gate.receive(&packet).is_ok());
}

#[test]
fn a_source_that_connects_too_often_may_lose_what_it_has() {
    for (flush, left) in [(PF_FLUSH, 2), (PF_FLUSH | PF_FLUSH_GLOBAL, 1)] {
        let limited = tracking().proto(TCP).change(|rule| {
            rule.max_src_conn = 2;
            rule.flush = flush;
        });
        let gate = Gate::new(&[pass().keep_state(), limited]);
        // Of another rule, and of somebody else.
        gate.receive(&from(1).udp(1025, 53, b"?")).unwrap();
        assert_eq!(connect(&gate, &from(2), 1025), Ok(()));
        assert_eq!(
            [connect(&gate, &from(1), 1025), connect(&gate, &from(1), 1026)],
            [Ok(()); 2]
        );
        assert_eq!(connect(&gate, &from(1), 1027), Err(Some(Reason::SrcLimit)));
        assert_eq!(counted(&gate, LCNT_OVERLOAD_FLUSH), 1);
        gate.tick(1);
        assert_eq!(gate.states(), left, "{flush}");
        check_table(gate.machine());
    }
}

#[test]
fn a_restored_state_counts_where_it_did() {
    let gate = Gate::new(&[tracking().change(|rule| rule.max_src_conn = 1)]).rdr(&[rdr("10.0.0.80")
        .and(&["10.0.0.81"])
        .choosing(PoolKind::RoundRobin)
        .sticky()
        .proto(UDP)]);
    assert_eq!(connect(&gate, &from(1), 1025), Ok(()));
    let server = |port: u16| sound(&gate.receive(&from(2).udp(port, 53, b"?")).unwrap());
    gate.receive(&from(3).udp(1025, 53, b"?")).unwrap();
    let first = server(1025);
    gate.each(|machine| {
        let states = machine.dump();
        machine.ioctl(DIOCCLRSTATES, &mut IocStateKill::default()).unwrap();
        machine.command(DIOCCLRSRCNODES).unwrap();
        assert_eq!(machine.add_states(&states), Ok(3));
    });
    let nodes = gate.machine().sources();
    assert_eq!((nodes[0].states, nodes[0].conn), (1, 1));
    assert_eq!(connect(&gate, &from(1), 1026), Err(Some(Reason::SrcLimit)));
    let other = server(1026);
    assert_eq!(first.split_once("> ").unwrap().1, other.split_once("> ").unwrap().1);
}

#[test]
fn threads_share_a_source_and_its_limit() {
    use pf::kpi::{Direction, Mbuf, SoftNet};
    let gate = gate(tracking().change(|rule| rule.max_src_states = 100));
    let machine = gate.machine();
    std::thread::scope(|scope| {
        for thread in 0..4u16 {
            scope.spawn(move || {
                for n in 0..100 {
                    let packet = from(1).udp(1025 + thread * 100 + n, 53, b"?");
                    let level = SoftNet::raise();
                    machine.pf.hook(&level, Direction::In, 1, Mbuf::from_bytes(packet));
                }
            });
        }
    });
    // A state that has to wait for another to be refused may be refused, too; never are there more.
    let node = &machine.sources()[0];
    assert_eq!(node.states as usize, machine.pf.states().len());
    assert!((97..=100).contains(&node.states), "{}", node.states);
    machine.advance(1000);
    machine.purge();
    assert_eq!((machine.pf.states().len(), machine.sources().len()), (0, 0));
}
