//! What comes back from a dump, and what is refused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pf::kpi::host::fail_allocations;
use pf::kpi::{Direction, Errno};
use pf_abi::*;
use proptest::prelude::*;
use zerocopy::IntoBytes;

use crate::common::*;

fn v6(last: u16) -> Addr {
    addr(IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last)))
}

/// Peers that a protocol can have.
fn peer(proto: u8) -> BoxedStrategy<SyncPeer> {
    if proto != 6 {
        return (0..PFOTHERS_NSTATES)
            .prop_map(|state| SyncPeer {
                state,
                ..SyncPeer::default()
            })
            .boxed();
    }
    let scale = prop_oneof![Just(0), (0..=14u8).prop_map(|shift| shift | PF_WSCALE_FLAG)];
    let window = 65_535i32 << 14;
    (
        any::<u32>(),
        -window..=window,
        any::<(u32, u16, u16)>(),
        0..TCP_NSTATES,
        scale,
    )
        .prop_map(|(seqlo, room, (seqdiff, max_win, mss), state, wscale)| SyncPeer {
            seqlo,
            seqhi: seqlo.wrapping_add_signed(room),
            seqdiff,
            max_win,
            mss,
            state,
            wscale,
            ..SyncPeer::default()
        })
        .boxed()
}

/// States that can be, number `n` of many: the number makes the key.
fn state(n: u32) -> impl Strategy<Value = SyncState> {
    let protos = prop::sample::select(vec![(6, 0..=5), (17, 6..=8), (1, 9..=10), (58, 9..=10), (47, 11..=13)]);
    protos.prop_flat_map(move |(proto, timeouts): (u8, std::ops::RangeInclusive<u8>)| {
        let times = (timeouts, any::<u32>(), any::<prop::sample::Index>());
        let ends = (peer(proto), peer(proto));
        let counters = any::<[[u32; 2]; 4]>();
        let rest = (any::<[bool; 3]>(), any::<[u16; 3]>(), 1..u64::MAX, any::<u32>());
        let interface = prop::sample::select(vec!["all", "em0", "em1", "tun17"]);
        (times, ends, counters, rest, interface).prop_map(move |(times, (src, dst), counters, rest, ifname)| {
            let ((timeout, age, left), ([is_v6, out, translated], ports, id, creatorid)) = (times, rest);
            let is_v6 = (is_v6 && proto != 1) || proto == 58;
            let address = |net: u8| match is_v6 {
                true => v6(u16::from(net) << 8 | n as u16),
                false => addr(IpAddr::from([10, net, (n >> 8) as u8, n as u8])),
            };
            let port = |at: usize| match proto {
                6 => ports[at].max(1),
                17 => ports[at],
                1 | 58 if at != 2 => ports[at],
                _ => 0,
            };
            let lan = SyncHost::new(address(1), port(0));
            let lifetime = Timeout::try_from(timeout).unwrap().default_value() as usize;
            SyncState {
                id: zerocopy::transmute!(id),
                ifname: IfName::new(ifname).unwrap(),
                lan,
                gwy: if translated {
                    SyncHost::new(address(2), port(1))
                } else {
                    lan
                },
                ext: SyncHost::new(address(3), port(2)),
                src,
                dst,
                rule: NO_RULE,
                anchor: NO_RULE,
                nat_rule: NO_RULE,
                creation: age,
                expire: left.index(lifetime + 1) as u32,
                packets: [counters[0], counters[1]],
                bytes: [counters[2], counters[3]],
                creatorid,
                af: if is_v6 { AF_INET6 } else { AF_INET },
                proto,
                direction: if out { PF_OUT } else { PF_IN },
                timeout,
                ..SyncState::default()
            }
        })
    })
}

fn states() -> impl Strategy<Value = Vec<SyncState>> {
    (1..200usize).prop_flat_map(|count| (0..count as u32).map(|n| state(n).boxed()).collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_restored_is_what_was_dumped(states in states()) {
        let machine = Machine::new();
        prop_assert_eq!(machine.add_states(&states), Ok(states.len()));
        let dump = machine.dump();
        prop_assert_eq!(sorted(dump.clone()), sorted(states));
        // Elsewhere, where the clock shows something else, while the table is locked.
        let other = Machine::of(pf::kpi::Kernel::seeded(2));
        other.advance(12_345);
        other.set_lock(true);
        prop_assert_eq!(other.add_states(&dump), Ok(dump.len()));
        prop_assert_eq!(sorted(other.dump()), sorted(dump));
        prop_assert_eq!(other.status().states as usize, other.dump().len());
    }
}

/// A state of each protocol, all as they should be.
fn models() -> Vec<SyncState> {
    let tcp = connection(1);
    let with = |n, proto, timeout, port| SyncState {
        proto,
        timeout,
        lan: SyncHost::new(connection(n).lan.addr, port),
        gwy: SyncHost::new(connection(n).gwy.addr, port),
        ext: SyncHost::new(connection(n).ext.addr, 0),
        src: SyncPeer {
            state: PFOTHERS_SINGLE,
            ..SyncPeer::default()
        },
        dst: SyncPeer::default(),
        expire: 10,
        ..connection(n)
    };
    let six = SyncState {
        af: AF_INET6,
        lan: SyncHost::new(v6(1), 1),
        gwy: SyncHost::new(v6(1), 1),
        ext: SyncHost::new(v6(2), 2),
        ..tcp
    };
    vec![
        tcp,
        with(2, 17, PFTM_UDP_SINGLE, 53),
        with(3, 1, PFTM_ICMP_FIRST_PACKET, 77),
        with(4, 47, PFTM_OTHER_SINGLE, 0),
        six,
    ]
}

/// Ways in which each of the models can make no sense.
fn refused() -> Vec<(&'static str, SyncState, Errno)> {
    type Change = fn(&mut SyncState);
    let all: &[(&str, Errno, Change)] = &[
        ("a family that there is not", Errno::Einval, |s| s.af = 77),
        ("no family", Errno::Einval, |s| s.af = 0),
        ("no direction", Errno::Einval, |s| s.direction = 0),
        ("a direction that there is not", Errno::Einval, |s| s.direction = 9),
        ("no protocol", Errno::Einval, |s| s.proto = 0),
        ("no interface", Errno::Einval, |s| s.ifname = IfName::EMPTY),
        ("an interface without an end", Errno::Einval, |s| {
            s.ifname.as_mut_bytes().fill(b'a');
        }),
        ("an interface that is no text", Errno::Einval, |s| {
            s.ifname.as_mut_bytes()[0] = 0xff;
        }),
        ("a timeout beyond the last", Errno::Einval, |s| s.timeout = PFTM_MAX),
        ("a timeout that is none", Errno::Einval, |s| s.timeout = PFTM_INTERVAL),
        ("removed at once", Errno::Einval, |s| s.timeout = PFTM_PURGE),
        ("removed already", Errno::Einval, |s| s.timeout = PFTM_UNLINKED),
        ("until the next packet", Errno::Einval, |s| {
            s.timeout = PFTM_UNTIL_PACKET
        }),
        ("another protocol's timeout", Errno::Einval, |s| {
            s.timeout = if s.proto == 6 {
                PFTM_UDP_FIRST_PACKET
            } else {
                PFTM_TCP_CLOSED
            };
        }),
        ("a beginner in a state that there is not", Errno::Einval, |s| {
            s.src.state = 13
        }),
        ("an answerer in a state that there is not", Errno::Einval, |s| {
            s.dst.state = 200
        }),
        ("nobody to nobody", Errno::Einval, |s| {
            (s.lan.addr, s.ext.addr) = (Addr::ZERO, Addr::ZERO);
        }),
    ];
    let tcp: &[(&str, Errno, Change)] = &[
        ("a server that answered the SYN proxy", Errno::Einval, |s| {
            s.src.state = PF_TCPS_PROXY_SRC
        }),
        ("numbers that the SYN proxy shifts", Errno::Einval, |s| {
            (s.src.state, s.dst.state, s.src.seqdiff) = (PF_TCPS_PROXY_DST, TCPS_CLOSED, 1)
        }),
        ("an answerer at the SYN proxy", Errno::Einval, |s| {
            s.dst.state = PF_TCPS_PROXY_DST
        }),
        ("a port of 0 inside", Errno::Einval, |s| s.lan.port = Be16::new(0)),
        ("a port of 0 at the gateway", Errno::Einval, |s| {
            s.gwy.port = Be16::new(0)
        }),
        ("a port of 0 outside", Errno::Einval, |s| s.ext.port = Be16::new(0)),
        ("no address inside", Errno::Einval, |s| s.lan.addr = Addr::ZERO),
        ("no address at the gateway", Errno::Einval, |s| s.gwy.addr = Addr::ZERO),
        ("no address outside", Errno::Einval, |s| s.ext.addr = Addr::ZERO),
        ("a window scale of 15", Errno::Einval, |s| {
            s.src.wscale = PF_WSCALE_FLAG | 15
        }),
        ("a window scale that was not offered", Errno::Einval, |s| {
            s.dst.wscale = 7
        }),
        ("a window scale with more in it", Errno::Einval, |s| {
            s.dst.wscale = 0x47 | PF_WSCALE_FLAG
        }),
        ("more room than any window has", Errno::Einval, |s| {
            s.src.seqhi = s.src.seqlo.wrapping_add((65_535 << 14) + 1);
        }),
        ("sent further beyond the room than any window is", Errno::Einval, |s| {
            s.dst.seqhi = s.dst.seqlo.wrapping_sub((65_535 << 14) + 1);
        }),
    ];
    let icmp: &[(&str, Errno, Change)] = &[
        ("an identifier outside", Errno::Einval, |s| s.ext.port = Be16::new(1)),
        ("IPv6 with IPv4's ICMP", Errno::Einval, |s| s.af = AF_INET6),
        ("IPv4 with IPv6's ICMP", Errno::Einval, |s| s.proto = 58),
    ];
    let other: &[(&str, Errno, Change)] = &[("ports where there are none", Errno::Einval, |s| {
        s.gwy.port = Be16::new(1);
    })];
    let v4: &[(&str, Errno, Change)] = &[("an IPv4 address of sixteen bytes", Errno::Einval, |s| {
        s.gwy.addr = v6(1);
    })];
    let mut refused = vec![];
    for model in models() {
        let by_proto = match model.proto {
            6 => tcp,
            1 => icmp,
            47 => other,
            _ => &[],
        };
        let by_family = if model.af == AF_INET { v4 } else { &[] };
        for (what, errno, change) in all.iter().chain(by_proto).chain(by_family) {
            let mut state = model;
            change(&mut state);
            refused.push((*what, state, *errno));
        }
    }
    refused
}

#[test]
fn what_makes_no_sense_is_refused() {
    let machine = Machine::new();
    for (what, state, errno) in refused() {
        assert_eq!(machine.add_state(&state), Err(errno), "{what}: {state:?}");
        // Many at once: up to the one, and the call fails as that one does.
        let mut many: Vec<_> = (100..110).map(connection).collect();
        many[7] = state;
        let fresh = Machine::new();
        assert_eq!(fresh.add_states(&many), Err(errno), "{what}");
        assert_eq!(sorted(without_id(fresh.dump())), sorted(many[..7].to_vec()), "{what}");
        many[0] = state;
        assert_eq!(Machine::new().add_states(&many), Err(errno), "{what}");
    }
    assert_eq!(machine.dump(), vec![]);
    assert_eq!(machine.status().states, 0);
    assert_eq!(machine.status().fcounters, [0, 0, 0]);
    for model in models() {
        assert_eq!(machine.add_state(&model), Ok(()));
    }
    assert_eq!(machine.dump().len(), 5);
}

/// What the table gave a state that had no identity is not compared.
fn without_id(states: Vec<SyncState>) -> Vec<SyncState> {
    let strip = |state| SyncState {
        id: [0; 2],
        creatorid: 0,
        ..state
    };
    states.into_iter().map(strip).collect()
}

#[test]
fn peers_that_have_said_nothing_may_have_any_numbers() {
    let machine = Machine::new();
    let mut state = connection(1);
    state.src.state = TCPS_SYN_SENT;
    (state.dst.seqlo, state.dst.seqhi, state.dst.state) = (0, 0x8000_0000, TCPS_CLOSED);
    state.timeout = PFTM_TCP_OPENING;
    assert_eq!(machine.add_state(&state), Ok(()));
}

#[test]
fn who_asks_for_an_address_has_none() {
    // DHCP: 0.0.0.0 port 68 to 255.255.255.255 port 67.
    let mut state = models()[1];
    state.lan = SyncHost::new(Addr::ZERO, 68);
    state.gwy = state.lan;
    state.ext = SyncHost::new(addr(IpAddr::from(Ipv4Addr::BROADCAST)), 67);
    assert_eq!(Machine::new().add_state(&state), Ok(()));
}

#[test]
fn a_key_that_exists_is_refused_in_either_tree() {
    let machine = Machine::new();
    machine.add_state(&connection(1)).unwrap();
    assert_eq!(machine.add_state(&connection(1)), Err(Errno::Eexist));
    let same_inside = SyncState {
        gwy: connection(2).gwy,
        ..connection(1)
    };
    let same_outside = SyncState {
        lan: connection(2).lan,
        ..connection(1)
    };
    assert_eq!(machine.add_state(&same_inside), Err(Errno::Eexist));
    assert_eq!(machine.add_state(&same_outside), Err(Errno::Eexist));
    assert_eq!(
        machine.add_states(&[connection(2), connection(1), connection(3)]),
        Err(Errno::Eexist)
    );
    assert_eq!(machine.dump().len(), 2);
}

#[test]
fn a_full_table_takes_no_more() {
    let machine = Machine::new();
    machine.set_limit(Limit::States, 3);
    let states: Vec<_> = (0..5).map(connection).collect();
    assert_eq!(machine.add_states(&states), Err(Errno::Enospc));
    assert_eq!(machine.dump().len(), 3);
    assert_eq!(machine.add_state(&states[3]), Err(Errno::Enospc));
    machine.set_limit(Limit::States, 4);
    assert_eq!(machine.add_state(&states[3]), Ok(()));
    // A lower limit lets those be that are there.
    machine.set_limit(Limit::States, 1);
    assert_eq!(machine.dump().len(), 4);
    assert_eq!(machine.add_state(&states[4]), Err(Errno::Enospc));
}

#[test]
fn without_memory_nothing_is_half_added() {
    let states: Vec<_> = (0..300)
        .map(|n| SyncState {
            ifname: IfName::new(["em0", "tun0", "tun1"][n as usize % 3]).unwrap(),
            rule: 0,
            ..connection(n)
        })
        .collect();
    let mut failures = 0;
    for after in 0.. {
        let machine = Machine::new();
        machine.load(RulesetKind::Filter, &passes(&["rule"])).unwrap();
        let failing = fail_allocations(after);
        let added = machine.add_states(&states);
        drop(failing);
        let dump = machine.dump();
        assert!(added == Ok(dump.len()) || added == Err(Errno::Enomem), "{added:?}");
        assert_eq!(machine.rules(Action::Pass)[0].states as usize, dump.len());
        assert_eq!(machine.status().states as usize, dump.len());
        if added == Ok(300) {
            break;
        }
        failures += 1;
        // The rest comes in once there is memory.
        let rest = &states[dump.len()..];
        assert_eq!(machine.add_states(rest), Ok(rest.len()));
    }
    assert!(failures > 3, "memory ran out in several places: {failures}");
}

#[test]
fn one_state_without_memory_is_enomem() {
    let machine = Machine::new();
    let failing = fail_allocations(0);
    let new_name = SyncState {
        ifname: IfName::new("tun0").unwrap(),
        ..connection(1)
    };
    assert_eq!(machine.add_state(&new_name), Err(Errno::Enomem));
    drop(failing);
    assert_eq!(machine.add_state(&new_name), Ok(()));
}

#[test]
fn lengths_that_are_not_of_whole_records_are_refused() {
    let machine = Machine::new();
    let states: Vec<_> = (0..3).map(connection).collect();
    let buf = machine.memory.put(states.as_bytes());
    let add = |len| {
        let mut arg = IocStates {
            len,
            buf,
            ..IocStates::default()
        };
        machine.ioctl(DIOCADDSTATES, &mut arg).map(|()| arg.len)
    };
    for len in [-1, -240, i32::MIN, 1, 239, 241, 3 * 240 - 1] {
        assert_eq!(add(len), Err(Errno::Einval), "{len}");
        assert_eq!(machine.dump(), vec![]);
    }
    assert_eq!(add(0), Ok(0));
    assert_eq!(add(240), Ok(240));
    assert_eq!(machine.dump().len(), 1);
}

#[test]
fn pointers_that_lead_nowhere_are_efault() {
    let machine = Machine::new();
    let states: Vec<_> = (0..200).map(connection).collect();
    let there = machine.memory.put(states.as_bytes());
    let add = |buf, len: usize| {
        let mut arg = IocStates {
            len: len as i32,
            buf: UserPtr(buf),
            ..IocStates::default()
        };
        machine.ioctl(DIOCADDSTATES, &mut arg).map(|()| arg.len as usize)
    };
    for nowhere in [0, 1, 0xffff_ffff_8000_0000, u64::MAX, u64::MAX - 100] {
        assert_eq!(add(nowhere, 240), Err(Errno::Efault), "{nowhere:#x}");
        let mut arg = IocState {
            state: UserPtr(nowhere),
            ..IocState::default()
        };
        assert_eq!(
            machine.ioctl(DIOCADDSTATE, &mut arg),
            Err(Errno::Efault),
            "{nowhere:#x}"
        );
        assert_eq!(
            machine.read_ioctl(DIOCGETSTATE, &mut arg),
            Err(Errno::Efault),
            "{nowhere:#x}"
        );
    }
    assert_eq!(machine.dump(), vec![]);
    // Memory that ends: what came before is in.
    assert_eq!(add(there.0, 300 * 240), Err(Errno::Efault));
    let added = machine.dump().len();
    assert!((100..=200).contains(&added), "{added}");
    assert_eq!(
        add(there.0 + 240 * added as u64, 240 * (200 - added)),
        Ok(240 * (200 - added))
    );
    assert_eq!(machine.dump().len(), 200);
}

#[test]
fn the_time_that_was_left_is_left() {
    let before = Machine::new();
    let state = SyncState {
        expire: 3600,
        ..connection(1)
    };
    before.add_state(&state).unwrap();
    before.advance(600);
    let dump = before.dump();
    assert_eq!(dump[0].expire, 3000);
    assert_eq!(dump[0].creation, 700);
    let after = Machine::of(pf::kpi::Kernel::seeded(3));
    after.add_states(&dump).unwrap();
    after.advance(2999);
    after.purge();
    assert_eq!(after.dump()[0].expire, 1);
    after.advance(1);
    assert_eq!(after.dump()[0].expire, 0, "due, and not purged yet");
    after.purge();
    assert_eq!(after.dump(), vec![]);
}

#[test]
fn a_state_does_not_outlive_the_timeout_that_it_has_here() {
    let machine = Machine::new();
    machine.set_timeout(Timeout::TcpEstablished, 50);
    machine
        .add_state(&SyncState {
            expire: u32::MAX,
            creation: u32::MAX,
            ..connection(1)
        })
        .unwrap();
    let state = machine.dump()[0];
    assert_eq!((state.expire, state.creation), (50, u32::MAX));
    machine.advance(50);
    machine.purge();
    assert_eq!(machine.dump(), vec![]);
}

#[test]
fn a_full_table_is_restored_to_a_full_table() {
    // With adaptive timeouts in force, a record still says what is left without them: it must not shrink twice.
    let before = Machine::new();
    before.set_timeout(Timeout::AdaptiveStart, 100);
    before.set_timeout(Timeout::AdaptiveEnd, 300);
    let fresh = |n| SyncState {
        expire: Timeout::TcpEstablished.default_value(),
        ..connection(n)
    };
    let states: Vec<_> = (0..200).map(fresh).collect();
    before.add_states(&states).unwrap();
    let dump = before.dump();
    let after = Machine::new();
    after.set_timeout(Timeout::AdaptiveStart, 100);
    after.set_timeout(Timeout::AdaptiveEnd, 300);
    assert_eq!(after.add_states(&dump), Ok(200));
    after.purge();
    assert_eq!(sorted(after.dump()), sorted(dump));
}

#[test]
fn states_know_their_rules_again() {
    let machine = Machine::new();
    let filter = || machine.load(RulesetKind::Filter, &passes(&["a", "b", "c"]));
    filter().unwrap();
    machine
        .load(RulesetKind::Nat, &[translate(Action::Nat, "n", [192, 0, 2, 1])])
        .unwrap();
    machine
        .load(RulesetKind::Rdr, &[translate(Action::Rdr, "r", [10, 0, 0, 1])])
        .unwrap();
    let out = SyncState {
        rule: 2,
        nat_rule: 0,
        id: [1, 1],
        ..connection(1)
    };
    let back = SyncState {
        rule: 0,
        nat_rule: 0,
        direction: PF_IN,
        id: [2, 2],
        ..connection(2)
    };
    assert_eq!(machine.add_states(&[out, back]), Ok(2));
    assert_eq!(sorted(machine.dump()), sorted(vec![out, back]));
    let held = |action: Action| -> Vec<u32> { machine.rules(action).iter().map(|rule| rule.states).collect() };
    assert_eq!(
        (held(Action::Pass), held(Action::Nat), held(Action::Rdr)),
        (vec![1, 0, 1], vec![1], vec![1])
    );
    // The same rules loaded anew are other rules: a state says nothing of a rule that is not loaded.
    filter().unwrap();
    let rules: Vec<_> = machine
        .dump()
        .iter()
        .map(|state| (state.rule, state.nat_rule))
        .collect();
    assert_eq!(rules, [(NO_RULE, 0); 2]);
    assert_eq!(held(Action::Pass), [0, 0, 0]);
    // When the states go, so does what they held of rules that are loaded.
    machine.ioctl(DIOCCLRSTATES, &mut IocStateKill::default()).unwrap();
    assert_eq!((held(Action::Nat), held(Action::Rdr)), (vec![0], vec![0]));
}

#[test]
fn a_rule_that_is_not_loaded_is_none() {
    let machine = Machine::new();
    let mut block = pass("block");
    (block.action, block.keep_state) = (Action::Drop.into(), 0);
    machine.load(RulesetKind::Filter, &[(block, vec![])]).unwrap();
    let mut no_nat = pass("no nat");
    (no_nat.action, no_nat.keep_state) = (Action::NoNat.into(), 0);
    machine.load(RulesetKind::Nat, &[(no_nat, vec![])]).unwrap();
    for (n, rule) in [0, 1, 7, i32::MAX as u32, NO_RULE - 1, NO_RULE].into_iter().enumerate() {
        let state = SyncState {
            rule,
            nat_rule: rule,
            anchor: rule,
            ..connection(n as u32)
        };
        assert_eq!(machine.add_state(&state), Ok(()), "{rule}");
    }
    for state in machine.dump() {
        assert_eq!((state.rule, state.nat_rule, state.anchor), (NO_RULE, NO_RULE, NO_RULE));
    }
    assert_eq!(
        machine.rules(Action::Pass)[0].states,
        0,
        "no state is at a rule that blocks"
    );
}

#[test]
fn a_rule_of_its_own_has_timeouts_of_its_own() {
    let machine = Machine::new();
    let mut rule = pass("short");
    rule.timeout[Timeout::TcpEstablished as usize] = 100;
    machine.load(RulesetKind::Filter, &[(rule, vec![])]).unwrap();
    let states = [0, NO_RULE].map(|rule| SyncState {
        rule,
        expire: 3600,
        id: [5, rule],
        ..connection(rule & 1)
    });
    machine.add_states(&states).unwrap();
    let mut left: Vec<_> = machine.dump().iter().map(|state| (state.rule, state.expire)).collect();
    left.sort();
    assert_eq!(left, [(0, 100), (NO_RULE, 3600)]);
    // A limit on the states of a rule is for new connections, not for those that come back.
    let mut rule = pass("few");
    rule.max_states = 1;
    machine.load(RulesetKind::Filter, &[(rule, vec![])]).unwrap();
    let states: Vec<_> = (10..15)
        .map(|n| SyncState {
            rule: 0,
            ..connection(n)
        })
        .collect();
    assert_eq!(machine.add_states(&states), Ok(5));
    assert_eq!(machine.rules(Action::Pass)[0].states, 5);
}

#[test]
fn a_state_without_an_identity_gets_one() {
    let machine = Machine::new();
    machine.ioctl(DIOCSETHOSTID, &mut 0x1234_5678).unwrap();
    machine.add_states(&[connection(1), connection(2)]).unwrap();
    let dump = machine.dump();
    assert!(
        dump.iter()
            .all(|state| state.creatorid == 0x1234_5678 && state.id != [0, 0])
    );
    assert_ne!(dump[0].id, dump[1].id);
}

#[test]
fn an_interface_that_is_not_there_yet_keeps_its_name() {
    let machine = Machine::new();
    let state = SyncState {
        ifname: IfName::new("ppp0").unwrap(),
        ..connection(1)
    };
    machine.add_state(&state).unwrap();
    assert_eq!(machine.dump()[0].ifname.as_str(), Some("ppp0"));
    // What stands behind the NUL is nobody's name.
    let mut state = connection(2);
    state.ifname.as_mut_bytes()[4..].fill(b'x');
    machine.add_state(&state).unwrap();
    assert_eq!(
        machine
            .dump()
            .iter()
            .filter(|state| state.ifname == IfName::new("em0").unwrap())
            .count(),
        1
    );
}

#[test]
fn windows_are_wide_until_both_ends_have_been_seen() {
    let machine = Machine::new();
    machine.command(DIOCSTART).unwrap();
    let block = Rule {
        action: Action::Drop.into(),
        keep_state: 0,
        ..pass("block")
    };
    machine.load(RulesetKind::Filter, &[(block, vec![])]).unwrap();
    let state = connection(1);
    machine.add_state(&state).unwrap();
    let (src, dst) = (state.src.seqlo, state.dst.seqlo);
    let out = |seq: u32, ack: u32| {
        let packet = tcp_packet(&state.lan, &state.ext, seq, ack);
        machine.send(1, Direction::Out, &packet)
    };
    let back = |seq: u32, ack: u32| {
        let packet = tcp_packet(&state.ext, &state.gwy, seq, ack);
        machine.send(1, Direction::In, &packet)
    };
    // The transfer went on for 200 MB after the dump was made.
    let moved = 200 << 20;
    let sent = out(src.wrapping_add(moved), dst.wrapping_add(100)).unwrap();
    assert_eq!(sent[12..16], state.gwy.addr.octets()[..4], "translated as it was");
    let answered = back(dst.wrapping_add(100), src.wrapping_add(moved + 10)).unwrap();
    assert_eq!(answered[16..20], state.lan.addr.octets()[..4]);
    // From here on it is as strict as ever.
    assert_eq!(out(src.wrapping_add(2 * moved), dst.wrapping_add(100)), None);
    assert_eq!(back(dst.wrapping_add(moved), src.wrapping_add(moved)), None);
    assert!(out(src.wrapping_add(moved + 10), dst.wrapping_add(110)).is_some());
    assert_eq!(machine.status().counters[PFRES_BADSTATE as usize], 2);
}

#[test]
fn a_handshake_may_be_long_over() {
    let machine = Machine::new();
    machine.command(DIOCSTART).unwrap();
    let mut state = SyncState {
        timeout: PFTM_TCP_OPENING,
        ..connection(1)
    };
    state.gwy = state.lan;
    (state.src.state, state.dst.state) = (TCPS_SYN_SENT, TCPS_SYN_SENT);
    machine.add_state(&state).unwrap();
    let far = tcp_packet(
        &state.lan,
        &state.ext,
        state.src.seqlo.wrapping_add(200 << 20),
        state.dst.seqlo,
    );
    // It was under way when the record was made.
    assert_eq!(machine.send(1, Direction::Out, &far), Some(far));
}

/// A state of an identity of its own.
fn with_id(n: u32, id: u64, creator: u32) -> SyncState {
    let [high, low] = [(id >> 32) as u32, id as u32].map(u32::to_be);
    SyncState {
        id: [high, low],
        creatorid: creator,
        ..connection(n)
    }
}

#[test]
fn no_two_states_have_the_same_identity() {
    let machine = Machine::new();
    machine.add_state(&with_id(1, 77, 5)).unwrap();
    assert_eq!(machine.add_state(&with_id(2, 77, 5)), Err(Errno::Eexist));
    // The number of another host is another identity.
    machine.add_state(&with_id(2, 77, 6)).unwrap();
    machine.add_state(&with_id(3, 78, 5)).unwrap();
    let states: Vec<_> = [(4, 79), (5, 78), (6, 80)].map(|(n, id)| with_id(n, id, 5)).into();
    assert_eq!(
        machine.add_states(&states),
        Err(Errno::Eexist),
        "up to the one that is there"
    );
    assert_eq!(machine.dump().len(), 4);
    // What has gone leaves its identity, and what comes under the same key has another.
    machine.ioctl(DIOCCLRSTATES, &mut IocStateKill::default()).unwrap();
    machine.add_state(&with_id(1, 80, 5)).unwrap();
    machine.add_state(&with_id(2, 77, 5)).unwrap();
    assert_eq!(machine.add_state(&with_id(7, 80, 5)), Err(Errno::Eexist));
    // An end to what may be asked for.
    assert_eq!(machine.add_state(&with_id(8, u64::MAX, 5)), Err(Errno::Einval));
}

#[test]
fn the_identities_of_states_that_packets_made_are_taken() {
    let machine = Machine::new();
    machine.load(RulesetKind::Filter, &[(pass("all"), vec![])]).unwrap();
    machine.command(DIOCSTART).unwrap();
    let made = |n: u8| {
        let payload = [&u16::from(n).to_be_bytes()[..], &[0, 53, 0, 8, 0, 0]].concat();
        machine.send(
            1,
            Direction::Out,
            &packet(17, [10, 0, 0, n], [198, 51, 100, 7], &payload),
        );
        let dump = machine.dump();
        let state = dump
            .iter()
            .find(|it| it.lan.addr.v4().octets() == [10, 0, 0, n])
            .unwrap();
        (
            u64::from(state.id[0].to_be()) << 32 | u64::from(state.id[1].to_be()),
            state.creatorid,
        )
    };
    let (first, creator) = made(1);
    assert_eq!(machine.add_state(&with_id(300, first, creator)), Err(Errno::Eexist));
    machine.add_state(&with_id(301, first, creator ^ 1)).unwrap();
    let (second, _) = made(2);
    assert_eq!(machine.add_state(&with_id(302, second, creator)), Err(Errno::Eexist));
    // A number that is yet to come is not given to another.
    machine.add_state(&with_id(303, second + 1, creator)).unwrap();
    assert_eq!(made(3).0, second + 2);
    machine.add_state(&with_id(304, second + 100, creator)).unwrap();
    machine.add_state(&with_id(305, second + 50, creator)).unwrap();
    assert_eq!(
        machine.add_state(&with_id(306, second + 50, creator)),
        Err(Errno::Eexist)
    );
    assert_eq!(made(4).0, second + 101);
    // What is known of them is given back after a while, and found again.
    machine.set_timeout(Timeout::Interval, 1);
    machine.advance(61);
    machine.pf.purge();
    for (n, id) in [(307, second + 50), (308, second + 101), (309, second + 100)] {
        let there = machine.dump().iter().any(|it| it.id == with_id(n, id, 0).id);
        let expected = if there { Err(Errno::Eexist) } else { Ok(()) };
        assert_eq!(machine.add_state(&with_id(n, id, creator)), expected, "{n}");
    }
    assert!(machine.dump().len() >= 3);
}

#[test]
fn many_identities_are_kept_apart() {
    let machine = Machine::new();
    let states: Vec<_> = (0..3000).map(|n| with_id(n, u64::from(n % 2000) + 1, 9)).collect();
    assert_eq!(machine.add_states(&states), Err(Errno::Eexist));
    assert_eq!(machine.dump().len(), 2000, "through all growth");
    for (n, state) in states.iter().enumerate().skip(2000) {
        assert_eq!(machine.add_state(state), Err(Errno::Eexist), "{n}");
    }
    // A dump comes back into the table that it was made of.
    let dump = machine.dump();
    machine.ioctl(DIOCCLRSTATES, &mut IocStateKill::default()).unwrap();
    assert_eq!(machine.add_states(&dump), Ok(2000));
    assert_eq!(machine.add_state(&with_id(5000, 2000, 9)), Err(Errno::Eexist));
}
