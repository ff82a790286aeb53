//! States through ioctls: dump, look up, remove; and the lock.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use pf::kpi::host::fail_allocations;
use pf::kpi::{Errno, SoftNet};
use pf_abi::*;
use zerocopy::{FromBytes, IntoBytes};

use crate::common::*;

const RECORD: usize = size_of::<SyncState>();

fn with_states(range: std::ops::Range<u32>) -> Machine {
    let machine = Machine::new();
    let states: Vec<_> = range.map(connection).collect();
    assert_eq!(machine.add_states(&states), Ok(states.len()));
    machine
}

#[test]
fn a_dump_fits_the_room_there_is() {
    let machine = with_states(0..300);
    let mut probe = IocStates::default();
    machine.read_ioctl(DIOCGETSTATES, &mut probe).unwrap();
    assert_eq!(probe.len as usize, 300 * RECORD);
    for (room, records) in [
        (1, 0),
        (RECORD - 1, 0),
        (RECORD, 1),
        (2 * RECORD + 100, 2),
        (64 * RECORD, 64),
        (65 * RECORD, 65),
        (300 * RECORD - 1, 299),
        (300 * RECORD, 300),
        (1000 * RECORD, 300),
    ] {
        let (dump, len) = machine.dump_into(room).unwrap();
        assert_eq!(
            (dump.len(), len as usize),
            (records, records * RECORD),
            "room for {room}"
        );
        let mut ids: Vec<_> = dump.iter().map(|state| state.id).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), records, "each once");
    }
    assert_eq!(Machine::new().dump_into(1000).unwrap(), (vec![], 0));
}

#[test]
fn a_dump_to_nowhere_is_efault() {
    let machine = with_states(0..300);
    let short = machine.memory.put(&[0; 150 * RECORD]);
    let dump = |buf, len| {
        let mut arg = IocStates {
            len,
            buf: UserPtr(buf),
            ..IocStates::default()
        };
        machine.read_ioctl(DIOCGETSTATES, &mut arg)
    };
    for nowhere in [0, 0xffff_ffff_8000_0000, u64::MAX, u64::MAX - 200 * RECORD as u64] {
        assert_eq!(dump(nowhere, (300 * RECORD) as i32), Err(Errno::Efault), "{nowhere:#x}");
    }
    assert_eq!(dump(short.0, (300 * RECORD) as i32), Err(Errno::Efault));
    assert_eq!(dump(short.0, -1), Err(Errno::Einval));
    assert_eq!(dump(short.0, i32::MIN), Err(Errno::Einval));
    let failing = fail_allocations(0);
    assert_eq!(dump(short.0, (150 * RECORD) as i32), Err(Errno::Enomem));
    drop(failing);
    assert_eq!(dump(short.0, (150 * RECORD) as i32), Ok(()));
}

#[test]
fn nothing_of_the_kernel_is_in_a_dump() {
    let machine = with_states(0..100);
    for state in machine.dump() {
        for host in [state.lan, state.gwy, state.ext] {
            assert_eq!(host, SyncHost::new(host.addr, host.port.get()));
        }
        for peer in [state.src, state.dst] {
            assert_eq!(peer.scrub, SyncScrub::default());
            assert_eq!(peer.as_bytes()[26..], [0; 6]);
        }
        assert_eq!((state.rt_addr, state.sync_flags, state.updates), (Addr::ZERO, 0, 0));
    }
}

/// Ends the workers when it goes, in the end or when an assertion fails.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn what_is_there_all_the_while_is_dumped_once() {
    // States that stay, among states that come and go, while the partitions split.
    let machine = Machine::new();
    let stable: Vec<_> = (0..2000)
        .map(|n| SyncState {
            id: [9, n],
            creatorid: 1,
            ..connection(n)
        })
        .collect();
    machine.add_states(&stable).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let ending = Ending(&done);
        for worker in 0..2u32 {
            let (machine, done) = (&machine, &done);
            scope.spawn(move || {
                let from = 10_000 + worker * 10_000;
                let gone = addr(IpAddr::from([198, 51, 100, 8 + worker as u8]));
                let passing: Vec<_> = (from..from + 5000)
                    .map(|n| SyncState {
                        ext: SyncHost::new(gone, 80),
                        ..connection(n)
                    })
                    .collect();
                let mut kill = IocStateKill {
                    af: AF_INET,
                    dst: RuleAddr {
                        addr: AddrWrap::masked(gone, addr(IpAddr::from([255; 4]))),
                        ..RuleAddr::default()
                    },
                    ..IocStateKill::default()
                };
                while !done.load(Ordering::Relaxed) {
                    for batch in passing.chunks(100) {
                        machine.add_states(batch).unwrap();
                    }
                    machine.ioctl(DIOCKILLSTATES, &mut kill).unwrap();
                    kill.af = AF_INET;
                }
            });
        }
        for _ in 0..30 {
            let mut seen = HashMap::new();
            let (dump, _) = machine.dump_into(20_000 * RECORD).unwrap();
            for state in dump {
                *seen.entry((state.id, state.creatorid)).or_insert(0) += 1;
            }
            for state in &stable {
                assert_eq!(seen.get(&(state.id, state.creatorid)), Some(&1));
            }
        }
        drop(ending);
    });
    assert_eq!(machine.dump().len(), 2000);
    assert_eq!(machine.status().states, 2000);
}

/// DIOCGETSTATE: the record, and what stands behind it in memory.
fn get(machine: &Machine, id: [u32; 2], creatorid: u32) -> Result<SyncState, Errno> {
    let asked = SyncState {
        id,
        creatorid,
        ..SyncState::default()
    };
    let mut bytes = asked.as_bytes().to_vec();
    bytes.resize(RECORD + 100, 0xa5);
    let at = machine.memory.put(&bytes);
    let mut arg = IocState {
        state: at,
        ..IocState::default()
    };
    let result = machine.read_ioctl(DIOCGETSTATE, &mut arg);
    assert_eq!(arg.state, at, "the argument itself stays as it was");
    let bytes = machine.memory.take(at);
    assert_eq!(bytes[RECORD..], [0xa5; 100], "one record and not a byte more");
    let record = SyncState::read_from_bytes(&bytes[..RECORD]).unwrap();
    if result.is_err() {
        assert_eq!(record, asked);
    }
    result.map(|()| record)
}

#[test]
fn one_state_is_found_by_its_identity() {
    let machine = with_states(0..500);
    let dump = machine.dump();
    for state in dump.iter().step_by(50) {
        assert_eq!(get(&machine, state.id, state.creatorid), Ok(*state));
        assert_eq!(get(&machine, state.id, state.creatorid ^ 1), Err(Errno::Enoent));
    }
    assert_eq!(get(&Machine::new(), dump[0].id, dump[0].creatorid), Err(Errno::Enoent));
}

#[test]
fn states_are_told_by_number() {
    let machine = with_states(0..300);
    let told = |nr| {
        let at = machine.memory.put(SyncState::default().as_bytes());
        let mut arg = IocState {
            nr,
            state: at,
            ..IocState::default()
        };
        let result = machine.read_ioctl(DIOCGETSTATE, &mut arg);
        let record = machine.memory.take(at);
        result.map(|()| SyncState::read_from_bytes(&record).unwrap())
    };
    let all: Vec<_> = (0..300).map(|nr| told(nr).unwrap()).collect();
    assert_eq!(all, machine.dump());
    for behind in [300, 301, u32::MAX] {
        assert_eq!(told(behind), Err(Errno::Ebusy));
    }
}

#[test]
fn all_states_or_those_of_an_interface_are_cleared() {
    let machine = Machine::new();
    let states: Vec<_> = (0..1000)
        .map(|n| SyncState {
            ifname: IfName::new(["em0", "em1", "all", "tun0"][n as usize % 4]).unwrap(),
            ..connection(n)
        })
        .collect();
    machine.add_states(&states).unwrap();
    let clear = |name: &str| {
        let mut arg = IocStateKill {
            ifname: IfName::new(name).unwrap(),
            ..IocStateKill::default()
        };
        machine.ioctl(DIOCCLRSTATES, &mut arg).unwrap();
        arg.af
    };
    assert_eq!(clear("nothing0"), 0);
    assert_eq!(machine.dump().len(), 1000);
    assert_eq!(clear("em1"), 250);
    assert_eq!(clear("em1"), 0);
    let left = machine.dump();
    assert_eq!(left.len(), 750);
    assert!(left.iter().all(|state| state.ifname.as_str() != Some("em1")));
    assert_eq!(clear(""), 255, "750, as far as a byte can say");
    assert_eq!(machine.dump(), vec![]);
    let status = machine.status();
    assert_eq!((status.states, status.fcounters), (0, [0, 1000, 1000]));
    // The keys are free again.
    assert_eq!(machine.add_states(&states), Ok(1000));
    let mut endless = IocStateKill::default();
    endless.ifname.as_mut_bytes().fill(b'e');
    assert_eq!(machine.ioctl(DIOCCLRSTATES, &mut endless), Err(Errno::Einval));
    assert_eq!(machine.dump().len(), 1000);
}

#[test]
fn states_are_killed_by_their_ends() {
    let host = |ip: [u8; 4], bits: u32| RuleAddr {
        addr: AddrWrap::masked(
            addr(IpAddr::from(ip)),
            addr(IpAddr::from((!0u32).checked_shl(32 - bits).unwrap_or(0).to_be_bytes())),
        ),
        ..RuleAddr::default()
    };
    let port = |op: u8, low: u16, high: u16| RuleAddr {
        port_op: op,
        port: [Be16::new(low), Be16::new(high)],
        ..RuleAddr::default()
    };
    let not = |addr: RuleAddr| RuleAddr { neg: 1, ..addr };
    let any = RuleAddr::default();
    let kill = |src: RuleAddr, dst: RuleAddr| IocStateKill {
        af: AF_INET,
        src,
        dst,
        ..IocStateKill::default()
    };
    // Two connections from inside through NAT, one from outside through rdr, one over UDP, one over IPv6.
    let udp = SyncState {
        proto: 17,
        timeout: PFTM_UDP_MULTIPLE,
        src: SyncPeer::default(),
        dst: SyncPeer::default(),
        ..connection(4)
    };
    let six = |last: u16| addr(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]));
    let states = [
        connection(1),
        connection(2),
        SyncState {
            direction: PF_IN,
            ..connection(3)
        },
        udp,
        SyncState {
            af: AF_INET6,
            lan: SyncHost::new(six(1), 1000),
            gwy: SyncHost::new(six(1), 1000),
            ext: SyncHost::new(six(2), 443),
            ..connection(5)
        },
    ];
    let (tcp1, tcp2, inward, over_udp, over_v6) = (0, 1, 2, 3, 4);
    let proto = |proto, kill| IocStateKill { proto, ..kill };
    let on = |ifname, kill| IocStateKill {
        ifname: IfName::new(ifname).unwrap(),
        ..kill
    };
    let both = |kill| IocStateKill { af: AF_UNSPEC, ..kill };
    let cases: Vec<(&str, IocStateKill, Vec<usize>)> = vec![
        ("all of a family", kill(any, any), vec![tcp1, tcp2, inward, over_udp]),
        (
            "all of both",
            both(kill(any, any)),
            vec![tcp1, tcp2, inward, over_udp, over_v6],
        ),
        (
            "the other family",
            IocStateKill {
                af: AF_INET6,
                ..kill(any, any)
            },
            vec![over_v6],
        ),
        ("a source inside", kill(host([10, 0, 0, 1], 32), any), vec![tcp1]),
        (
            "a network inside",
            kill(host([10, 0, 0, 0], 8), any),
            vec![tcp1, tcp2, over_udp],
        ),
        ("a source outside", kill(host([198, 51, 100, 7], 32), any), vec![inward]),
        (
            "a destination outside",
            kill(any, host([198, 51, 100, 7], 32)),
            vec![tcp1, tcp2, over_udp],
        ),
        ("a destination inside", kill(any, host([10, 0, 0, 3], 32)), vec![inward]),
        ("not the gateway's address", kill(host([192, 0, 0, 1], 32), any), vec![]),
        (
            "all but a source",
            kill(not(host([10, 0, 0, 1], 32)), any),
            vec![tcp2, inward, over_udp],
        ),
        ("all but any", kill(not(host([0, 0, 0, 0], 0)), any), vec![]),
        (
            "a port outside",
            kill(any, port(PF_OP_EQ, 443, 0)),
            vec![tcp1, tcp2, over_udp],
        ),
        (
            "a range of ports inside",
            kill(port(PF_OP_RRG, 1025, 1026), any),
            vec![tcp1, tcp2],
        ),
        (
            "another port",
            kill(port(PF_OP_NE, 1025, 0), any),
            vec![tcp2, inward, over_udp],
        ),
        ("a protocol", proto(17, kill(any, any)), vec![over_udp]),
        ("a protocol that none has", proto(47, kill(any, any)), vec![]),
        (
            "an interface",
            on("em0", kill(any, any)),
            vec![tcp1, tcp2, inward, over_udp],
        ),
        ("another interface", on("em1", kill(any, any)), vec![]),
        ("an interface that nobody knows", on("wm7", kill(any, any)), vec![]),
        // As authpf(8) asks: with a mask of sixteen bytes.
        (
            "a mask of any family",
            kill(
                RuleAddr {
                    addr: AddrWrap::masked(addr(IpAddr::from([10, 0, 0, 1])), addr(IpAddr::from([0xffff; 8]))),
                    ..any
                },
                any,
            ),
            vec![tcp1],
        ),
        (
            "all at once",
            on("em0", proto(6, kill(host([10, 0, 0, 2], 32), port(PF_OP_GE, 443, 0)))),
            vec![tcp2],
        ),
    ];
    for (what, mut arg, doomed) in cases {
        let machine = Machine::new();
        assert_eq!(machine.add_states(&states), Ok(5));
        machine.ioctl(DIOCKILLSTATES, &mut arg).unwrap();
        assert_eq!(usize::from(arg.af), doomed.len(), "{what}");
        let left: Vec<_> = machine.dump().iter().map(|state| (state.proto, state.lan)).collect();
        for (at, state) in states.iter().enumerate() {
            assert_ne!(
                left.contains(&(state.proto, state.lan)),
                doomed.contains(&at),
                "{what}: state {at}"
            );
        }
        assert_eq!(machine.status().fcounters[FCNT_STATE_REMOVALS], doomed.len() as u64);
    }
    let machine = Machine::new();
    machine.add_states(&states).unwrap();
    let mut endless = kill(any, any);
    endless.ifname.as_mut_bytes().fill(b'e');
    let table = RuleAddr {
        addr: AddrWrap {
            kind: PF_ADDR_TABLE,
            ..AddrWrap::default()
        },
        ..RuleAddr::default()
    };
    for (what, mut arg, errno) in [
        (
            "a family that there is not",
            IocStateKill {
                af: 77,
                ..kill(any, any)
            },
            Errno::Einval,
        ),
        ("a protocol that cannot be", proto(256, kill(any, any)), Errno::Einval),
        ("a protocol below 0", proto(-1, kill(any, any)), Errno::Einval),
        (
            "an operator that there is not",
            kill(port(10, 1, 2), any),
            Errno::Einval,
        ),
        (
            "an address without a family",
            both(kill(host([10, 0, 0, 1], 32), any)),
            Errno::Einval,
        ),
        ("a table", kill(any, table), Errno::Eopnotsupp),
        ("an interface without an end", endless, Errno::Einval),
    ] {
        assert_eq!(machine.ioctl(DIOCKILLSTATES, &mut arg), Err(errno), "{what}");
    }
    assert_eq!(machine.dump().len(), 5);
}

#[test]
fn a_translation_is_looked_up_from_either_side() {
    let machine = with_states(0..100);
    let state = connection(7);
    let ask = |direction, src: SyncHost, dst: SyncHost| IocNatlook {
        saddr: src.addr,
        sport: src.port,
        daddr: dst.addr,
        dport: dst.port,
        af: AF_INET,
        proto: 6,
        direction,
        ..IocNatlook::default()
    };
    let look = |mut arg: IocNatlook| {
        machine.read_ioctl(DIOCNATLOOK, &mut arg).map(|()| {
            let host = |addr, port: Be16| SyncHost::new(addr, port.get());
            (host(arg.rsaddr, arg.rsport), host(arg.rdaddr, arg.rdport))
        })
    };
    // Who answers on the gateway's address: the host inside.
    assert_eq!(look(ask(PF_IN, state.gwy, state.ext)), Ok((state.lan, state.ext)));
    // What the host inside looks like from outside: the gateway.
    assert_eq!(look(ask(PF_OUT, state.ext, state.lan)), Ok((state.ext, state.gwy)));
    assert_eq!(look(ask(PF_IN, state.lan, state.ext)), Err(Errno::Enoent));
    assert_eq!(look(ask(PF_OUT, state.ext, state.gwy)), Err(Errno::Enoent));
    let good = ask(PF_IN, state.gwy, state.ext);
    let nobody = SyncHost::default();
    for (what, bad) in [
        ("no source", ask(PF_IN, nobody, state.ext)),
        ("no destination", ask(PF_IN, state.gwy, nobody)),
        ("no port", ask(PF_IN, SyncHost::new(state.gwy.addr, 0), state.ext)),
        (
            "no protocol",
            IocNatlook {
                proto: 0,
                ..good.clone()
            },
        ),
        ("no family", IocNatlook { af: 0, ..good.clone() }),
        (
            "no direction",
            IocNatlook {
                direction: 0,
                ..good.clone()
            },
        ),
        (
            "a direction that there is not",
            IocNatlook {
                direction: 9,
                ..good.clone()
            },
        ),
    ] {
        assert_eq!(look(bad), Err(Errno::Einval), "{what}");
    }
    machine.ioctl(DIOCCLRSTATES, &mut IocStateKill::default()).unwrap();
    assert_eq!(look(good), Err(Errno::Enoent));
}

#[test]
fn a_locked_table_is_left_alone_but_by_ioctls() {
    let machine = with_states(0..100);
    machine.set_lock(true);
    machine.advance(1_000_000);
    machine.purge();
    assert_eq!(machine.dump().len(), 100, "the purge leaves a locked table alone");
    machine.add_state(&connection(200)).unwrap();
    let state = connection(5);
    let mut kill = IocStateKill {
        af: AF_INET,
        src: RuleAddr {
            addr: AddrWrap::masked(state.lan.addr, addr(IpAddr::from([255; 4]))),
            ..RuleAddr::default()
        },
        ..IocStateKill::default()
    };
    machine.ioctl(DIOCKILLSTATES, &mut kill).unwrap();
    assert_eq!(kill.af, 1);
    assert_eq!(machine.dump().len(), 100);
    machine.set_lock(false);
    machine.purge();
    assert_eq!(machine.dump().len(), 1, "all but the one that is new");
}

#[test]
fn the_lock_is_on_or_off() {
    let machine = Machine::new();
    let locked = || {
        let mut lock = 7;
        machine.read_ioctl(DIOCGETLCK, &mut lock).unwrap();
        lock
    };
    assert_eq!(locked(), 0);
    for lock in [1, 1, 0, 0, 1] {
        let mut arg = lock;
        machine.ioctl(DIOCSETLCK, &mut arg).unwrap();
        assert_eq!((arg, locked()), (lock, lock));
    }
    for nonsense in [2, 0x100, u32::MAX] {
        assert_eq!(machine.ioctl(DIOCSETLCK, &mut nonsense.clone()), Err(Errno::Einval));
        assert_eq!(locked(), 1);
    }
    assert_eq!(machine.read_ioctl(DIOCSETLCK, &mut 0), Err(Errno::Eacces));
    assert_eq!(locked(), 1);
}

#[test]
fn who_locks_waits_for_packets_on_their_way() {
    let machine = Machine::new();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let level = SoftNet::raise();
        let section = machine.pf.read(&level);
        let locking = scope.spawn(|| {
            machine.set_lock(true);
            done.load(Ordering::SeqCst)
        });
        while !machine.pf.is_locked() {
            thread::yield_now();
        }
        // Time enough for a lock that does not wait to be found out.
        for _ in 0..1000 {
            thread::yield_now();
        }
        done.store(true, Ordering::SeqCst);
        drop(section);
        assert!(locking.join().unwrap(), "the lock was taken while a packet was at work");
    });
}

#[test]
fn what_is_cleared_gives_its_memory_back() {
    let machine = Machine::new();
    machine.load(RulesetKind::Filter, &passes(&["rule"])).unwrap();
    let states: Vec<_> = (0..1000)
        .map(|n| SyncState {
            rule: 0,
            ..connection(n)
        })
        .collect();
    for _ in 0..5 {
        machine.add_states(&states).unwrap();
        assert_eq!(machine.rules(Action::Pass)[0].states, 1000);
        machine.ioctl(DIOCCLRSTATES, &mut IocStateKill::default()).unwrap();
        assert_eq!(machine.rules(Action::Pass)[0].states, 0);
    }
}
