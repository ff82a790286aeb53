//! The pools of rules that are loaded, changed by DIOCCHANGEADDR.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use pf::Verdict;
use pf::kpi::{Direction, Errno, Mbuf, SoftNet};
use pf_abi::*;
use zerocopy::IntoBytes;

use crate::common::rules::{Loaded, Pooled, Words, binat, dynamic_addr, nat, rdr, routed};
use crate::common::{Machine, addr, packet, pass, passes};

use RulesetKind::{Binat, Filter, Nat, Rdr};

/// The ticket of what is loaded.
fn ticket(machine: &Machine, action: Action, anchor: &str) -> u32 {
    let mut arg = IocRule {
        anchor: AnchorPath::new(anchor).unwrap(),
        ..IocRule::default()
    };
    arg.rule.action = action.into();
    machine.read_ioctl(DIOCGETRULES, &mut arg).unwrap();
    arg.ticket
}

/// One address, or a network as `a.b.c.d/len`.
fn one(text: &str) -> PoolAddr {
    nat(text).1[0]
}

/// DIOCCHANGEADDR of the first NAT rule, as it is to be.
fn to_change(machine: &Machine, change: Change, nr: u32, address: &str) -> IocPoolAddr {
    IocPoolAddr {
        action: change.into(),
        ticket: ticket(machine, Action::Nat, ""),
        nr,
        r_action: Action::Nat.into(),
        af: AF_INET,
        addr: if address.is_empty() {
            PoolAddr::default()
        } else {
            one(address)
        },
        ..IocPoolAddr::default()
    }
}

fn change(machine: &Machine, change: Change, nr: u32, address: &str) -> Result<(), Errno> {
    let mut arg = to_change(machine, change, nr, address);
    machine.ioctl(DIOCCHANGEADDR, &mut arg)
}

/// The pool of a rule: the last byte of each address.
fn pool(machine: &Machine, action: Action, nr: u32) -> Vec<u8> {
    let addresses = machine.addresses(action, nr);
    addresses.iter().map(|it| it.addr.a.addr.v4().octets()[3]).collect()
}

/// The address that a packet of a new connection from port `port` gets.
fn given(machine: &Machine, port: u16) -> [u8; 4] {
    let bytes = packet(17, [10, 0, 0, 1], [198, 51, 100, 7], &datagram(port));
    let out = machine.send(1, Direction::Out, &bytes).unwrap();
    out[12..16].try_into().unwrap()
}

fn datagram(port: u16) -> Vec<u8> {
    [&port.to_be_bytes()[..], &[0, 53, 0, 8, 0, 0]].concat()
}

fn with(nat_rules: &[Loaded]) -> Machine {
    let machine = Machine::new();
    machine.load(Filter, &passes(&["pass"])).unwrap();
    machine.load(Nat, nat_rules).unwrap();
    machine.command(DIOCSTART).unwrap();
    machine
}

#[test]
fn an_address_is_put_at_every_place_and_taken_out() {
    let machine = with(&[nat("192.0.2.10").and(&["192.0.2.20"])]);
    let now = |how, nr, address: &str| {
        change(&machine, how, nr, address).unwrap();
        pool(&machine, Action::Nat, 0)
    };
    assert_eq!(now(Change::AddHead, 9, "192.0.2.1"), [1, 10, 20]);
    assert_eq!(now(Change::AddTail, 9, "192.0.2.30"), [1, 10, 20, 30]);
    assert_eq!(now(Change::AddBefore, 1, "192.0.2.5"), [1, 5, 10, 20, 30]);
    assert_eq!(now(Change::AddAfter, 1, "192.0.2.6"), [1, 5, 6, 10, 20, 30]);
    assert_eq!(now(Change::AddAfter, 5, "192.0.2.40"), [1, 5, 6, 10, 20, 30, 40]);
    assert_eq!(now(Change::AddBefore, 0, "192.0.2.0"), [0, 1, 5, 6, 10, 20, 30, 40]);
    assert_eq!(now(Change::Remove, 0, ""), [1, 5, 6, 10, 20, 30, 40]);
    assert_eq!(now(Change::Remove, 6, ""), [1, 5, 6, 10, 20, 30]);
    assert_eq!(now(Change::Remove, 2, ""), [1, 5, 10, 20, 30]);
}

#[test]
fn packets_get_what_is_in_the_pool_now() {
    let machine = with(&[nat("192.0.2.1").ports(0, 0)]);
    assert_eq!(given(&machine, 1025), [192, 0, 2, 1]);
    change(&machine, Change::AddTail, 0, "192.0.2.2").unwrap();
    change(&machine, Change::Remove, 0, "").unwrap();
    assert_eq!(given(&machine, 1026), [192, 0, 2, 2]);
    // A connection keeps what it was given, and the rule what it has counted.
    assert_eq!(given(&machine, 1025), [192, 0, 2, 1]);
    let rule = &machine.rules(Action::Nat)[0];
    assert_eq!((rule.states, rule.packets[1]), (2, 3));
    assert!(machine.dump().iter().all(|state| state.nat_rule == 0));
}

#[test]
fn a_change_that_makes_no_sense_changes_nothing() {
    let machine = with(&[nat("192.0.2.1").and(&["192.0.2.2"])]);
    let try_it = |change: &dyn Fn(&mut IocPoolAddr)| {
        let mut arg = to_change(&machine, Change::AddTail, 0, "192.0.2.9");
        change(&mut arg);
        machine.ioctl(DIOCCHANGEADDR, &mut arg)
    };
    // No change, or none that is of addresses.
    for action in [Change::None.into(), Change::GetTicket.into(), 99, u32::MAX] {
        assert_eq!(try_it(&|arg| arg.action = action), Err(Errno::Einval), "{action}");
    }
    // A rule or an address that is not there.
    assert_eq!(try_it(&|arg| arg.ticket ^= 1), Err(Errno::Ebusy));
    assert_eq!(try_it(&|arg| arg.r_num = 1), Err(Errno::Ebusy));
    assert_eq!(
        try_it(&|arg| arg.anchor = AnchorPath::new("nobody").unwrap()),
        Err(Errno::Ebusy)
    );
    assert_eq!(try_it(&|arg| arg.anchor.as_mut_bytes().fill(b'a')), Err(Errno::Einval));
    assert_eq!(try_it(&|arg| arg.r_action = 77), Err(Errno::Einval));
    for change in [Change::AddBefore, Change::AddAfter, Change::Remove] {
        for nr in [2, u32::MAX] {
            let result = try_it(&|arg| (arg.action, arg.nr) = (change.into(), nr));
            assert_eq!(result, Err(Errno::Einval), "{change:?} {nr}");
        }
    }
    // No address of a pool, or none of this one.
    assert_eq!(try_it(&|arg| arg.af = 77), Err(Errno::Einval));
    assert_eq!(try_it(&|arg| arg.addr.addr.kind = PF_ADDR_NOROUTE), Err(Errno::Einval));
    assert_eq!(
        try_it(&|arg| arg.addr.ifname.as_mut_bytes().fill(b'x')),
        Err(Errno::Einval)
    );
    assert_eq!(
        try_it(&|arg| arg.addr.ifname = IfName::new("em0").unwrap()),
        Err(Errno::Einval),
        "a translation leads nowhere"
    );
    assert_eq!(
        try_it(&|arg| arg.addr.addr.a.mask = addr(IpAddr::from([255, 0, 255, 0]))),
        Err(Errno::Einval)
    );
    assert_eq!(pool(&machine, Action::Nat, 0), [1, 2]);
    let mut arg = to_change(&machine, Change::Remove, 0, "");
    assert_eq!(machine.read_ioctl(DIOCCHANGEADDR, &mut arg), Err(Errno::Eacces));
    assert_eq!(pool(&machine, Action::Nat, 0), [1, 2]);
}

#[test]
fn a_pool_is_never_empty_and_one_stays_one() {
    let machine = with(&[nat("192.0.2.0/24").choosing(PoolKind::Bitmask)]);
    machine.load(Binat, &[binat("10.0.0.1", "192.0.2.1")]).unwrap();
    assert_eq!(change(&machine, Change::Remove, 0, ""), Err(Errno::Einval));
    assert_eq!(change(&machine, Change::AddTail, 0, "192.0.3.0/24"), Err(Errno::Einval));
    for (how, address) in [(Change::Remove, ""), (Change::AddHead, "192.0.2.2")] {
        let mut arg = IocPoolAddr {
            r_action: Action::Binat.into(),
            ticket: ticket(&machine, Action::Binat, ""),
            ..to_change(&machine, how, 0, address)
        };
        assert_eq!(machine.ioctl(DIOCCHANGEADDR, &mut arg), Err(Errno::Einval));
    }
    // A rule that gives nothing out has no pool to change.
    let mut arg = IocPoolAddr {
        r_action: Action::Pass.into(),
        ticket: ticket(&machine, Action::Pass, ""),
        ..to_change(&machine, Change::AddTail, 0, "192.0.2.2")
    };
    assert_eq!(machine.ioctl(DIOCCHANGEADDR, &mut arg), Err(Errno::Einval));
    assert_eq!(pool(&machine, Action::Nat, 0), [0]);
    assert_eq!(pool(&machine, Action::Binat, 0), [1]);
}

#[test]
fn the_ticket_stays_good_and_the_buffer_is_left_alone() {
    let machine = with(&[nat("192.0.2.1")]);
    let loading = machine.begin(&[Nat]);
    let buffer = machine.pool(&nat("192.0.2.77").1).unwrap();
    let mut arg = to_change(&machine, Change::AddTail, 0, "192.0.2.2");
    for _ in 0..3 {
        machine.ioctl(DIOCCHANGEADDR, &mut arg).unwrap();
    }
    assert_eq!(pool(&machine, Action::Nat, 0), [1, 2, 2, 2]);
    // Whoever is loading rules is not disturbed.
    let mut rule = IocRule {
        ticket: loading.ticket(Nat),
        pool_ticket: buffer,
        rule: nat("192.0.2.77").0,
        ..IocRule::default()
    };
    machine.ioctl(DIOCADDRULE, &mut rule).unwrap();
    let mut loading = loading;
    loading.call(&machine, DIOCXCOMMIT).unwrap();
    assert_eq!(pool(&machine, Action::Nat, 0), [77]);
    assert_eq!(
        machine.ioctl(DIOCCHANGEADDR, &mut arg),
        Err(Errno::Ebusy),
        "other rules"
    );
}

#[test]
fn the_last_rule_and_one_in_an_anchor_are_changed() {
    let machine = with(&[nat("192.0.2.1"), nat("192.0.2.2")]);
    let mut arg = IocPoolAddr {
        r_last: 1,
        r_num: 99,
        ..to_change(&machine, Change::AddHead, 0, "192.0.2.9")
    };
    machine.ioctl(DIOCCHANGEADDR, &mut arg).unwrap();
    assert_eq!(pool(&machine, Action::Nat, 0), [1]);
    assert_eq!(pool(&machine, Action::Nat, 1), [9, 2]);

    let anchor = AnchorPath::new("ftp").unwrap();
    let mut transaction = crate::common::Transaction::new(&[Rdr]);
    transaction.elements()[0].anchor = anchor;
    transaction.call(&machine, DIOCXBEGIN).unwrap();
    let (rule, addresses) = rdr("10.0.0.80");
    let mut rule = IocRule {
        ticket: transaction.ticket(Rdr),
        pool_ticket: machine.pool(&addresses).unwrap(),
        rule,
        anchor,
        ..IocRule::default()
    };
    machine.ioctl(DIOCADDRULE, &mut rule).unwrap();
    transaction.call(&machine, DIOCXCOMMIT).unwrap();
    let mut arg = IocPoolAddr {
        anchor,
        r_action: Action::Rdr.into(),
        ticket: ticket(&machine, Action::Rdr, "ftp"),
        ..to_change(&machine, Change::AddTail, 0, "10.0.0.81")
    };
    machine.ioctl(DIOCCHANGEADDR, &mut arg).unwrap();
    machine.read_ioctl(DIOCGETADDRS, &mut arg).unwrap();
    assert_eq!(arg.nr, 2);
    arg.nr = 1;
    machine.read_ioctl(DIOCGETADDR, &mut arg).unwrap();
    assert_eq!(arg.addr.addr.a.addr.v4().octets(), [10, 0, 0, 81]);
    assert_eq!(
        (arg.addr.kif, arg.addr.addr.p),
        (UserPtr(0), 0),
        "no number of the engine's"
    );
}

#[test]
fn tables_and_interfaces_come_into_a_pool_and_go() {
    let machine = with(&[nat("192.0.2.1").choosing(PoolKind::RoundRobin).ports(0, 0)]);
    machine.set_addresses(2, &["192.0.2.50/24"]);
    let mut arg = to_change(&machine, Change::AddTail, 0, "192.0.2.1");
    arg.addr.addr.kind = PF_ADDR_TABLE;
    arg.addr.addr.set_tblname(TableName::new("pool").unwrap());
    machine.ioctl(DIOCCHANGEADDR, &mut arg).unwrap();
    assert_eq!(machine.tables(), [("pool".to_owned(), PFR_TFLAG_REFERENCED)]);
    machine.add_tables(&["pool"], PFR_TFLAG_PERSIST).unwrap();
    machine.add_addresses("pool", &["192.0.2.60"]).unwrap();
    arg.addr.addr = dynamic_addr("em1");
    machine.ioctl(DIOCCHANGEADDR, &mut arg).unwrap();
    change(&machine, Change::Remove, 0, "").unwrap();
    let mut seen: Vec<u8> = (1025..1029).map(|port| given(&machine, port)[3]).collect();
    seen.sort();
    assert_eq!(seen, [50, 50, 60, 60]);
    // A table is nobody's again.
    change(&machine, Change::Remove, 0, "").unwrap();
    assert_eq!(
        machine.tables(),
        [("pool".to_owned(), PFR_TFLAG_PERSIST | PFR_TFLAG_ACTIVE)]
    );
    assert_eq!(given(&machine, 1030), [192, 0, 2, 50]);
    // One that comes up for a change that fails does not stay.
    arg.addr.addr = AddrWrap::default();
    arg.addr.addr.kind = PF_ADDR_TABLE;
    arg.addr.addr.set_tblname(TableName::new("late").unwrap());
    arg.addr.ifname = IfName::new("em0").unwrap();
    assert_eq!(machine.ioctl(DIOCCHANGEADDR, &mut arg), Err(Errno::Einval));
    assert_eq!(machine.tables().len(), 1);
}

#[test]
fn a_route_gets_another_next_stop() {
    let machine = Machine::new();
    let rule = routed(pass("routed"), Route::To, &["em0 192.0.2.1"]);
    machine.load(Filter, &[rule]).unwrap();
    machine.command(DIOCSTART).unwrap();
    let mut arg = IocPoolAddr {
        r_action: Action::Pass.into(),
        ticket: ticket(&machine, Action::Pass, ""),
        ..to_change(&machine, Change::AddHead, 0, "192.0.2.254")
    };
    assert_eq!(
        machine.ioctl(DIOCCHANGEADDR, &mut arg),
        Err(Errno::Einval),
        "on which interface?"
    );
    arg.addr.ifname = IfName::new("em1").unwrap();
    machine.ioctl(DIOCCHANGEADDR, &mut arg).unwrap();
    (arg.action, arg.nr) = (Change::Remove.into(), 1);
    machine.ioctl(DIOCCHANGEADDR, &mut arg).unwrap();
    machine.send(
        3,
        Direction::In,
        &packet(17, [10, 0, 0, 1], [198, 51, 100, 7], &datagram(1025)),
    );
    assert_eq!(machine.dump()[0].rt_addr.v4().octets(), [192, 0, 2, 254]);
    let told = &machine.addresses(Action::Pass, 0)[0];
    assert_eq!(told.ifname, IfName::new("em1").unwrap());
}

/// Packets on another CPU see the one pool or the other.
#[test]
fn no_packet_is_translated_by_half_a_change() {
    let machine = with(&[nat("192.0.2.1").and(&["192.0.2.2"])]);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let (pf, over) = (&*machine.pf, &over);
        let packets = scope.spawn(move || {
            let mut seen = [0u32; 2];
            for n in 1..50_000u32 {
                if over.load(Ordering::Acquire) && !seen.contains(&0) {
                    break;
                }
                let [_, a, b, c] = n.to_be_bytes();
                let bytes = packet(17, [10, a, b, c], [198, 51, 100, 7], &datagram(1025));
                let level = SoftNet::raise();
                let Verdict::Pass(out) = pf.hook(&level, Direction::Out, 1, Mbuf::from_bytes(bytes)) else {
                    panic!("packet {n} did not pass")
                };
                match out.to_bytes()[12..16] {
                    [192, 0, 2, last @ 1..=2] => seen[usize::from(last) - 1] += 1,
                    ref other => panic!("packet {n} is from {other:?}"),
                }
            }
            seen
        });
        let changed = (0..200).try_for_each(|turn| {
            let last = 2 - turn % 2;
            change(&machine, Change::AddHead, 0, &format!("192.0.2.{last}"))?;
            change(&machine, Change::Remove, 2, "")
        });
        over.store(true, Ordering::Release);
        assert_eq!(changed, Ok(()));
        let seen = packets.join().unwrap();
        assert_eq!(machine.rules(Action::Nat)[0].states, seen[0] + seen[1]);
    });
}
