//! Who may do what, and what comes of arguments that mean harm.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use pf::kpi::Errno;
use pf_abi::*;
use proptest::prelude::*;
use zerocopy::IntoBytes;

use crate::common::*;

/// What pf(4) lets a descriptor do that is not open for writing.
const OPEN_TO_READERS: &[u64] = &[
    DIOCGETRULES,
    DIOCGETRULE,
    DIOCGETADDRS,
    DIOCGETADDR,
    DIOCGETSTATE,
    DIOCGETSTATUS,
    DIOCGETSTATES,
    DIOCGETTIMEOUT,
    DIOCGETLIMIT,
    DIOCGETALTQS,
    DIOCGETALTQ,
    DIOCGETQSTATS,
    DIOCGETRULESETS,
    DIOCGETRULESET,
    DIOCNATLOOK,
    DIOCRGETTABLES,
    DIOCRGETTSTATS,
    DIOCRGETADDRS,
    DIOCRGETASTATS,
    DIOCRTSTADDRS,
    DIOCOSFPGET,
    DIOCGETSRCNODES,
    DIOCIGETIFACES,
    DIOCGETLCK,
    DIOCBGETSTATES,
    DIOCBLOCK,
    DIOCBGETRULES,
];

/// What a caller with a descriptor that is open for writing may change at a raised securelevel: as NetBSD's pf has it, and what is new of
/// that kind. A part of the last four is for readers.
const OPEN_AT_ALL_LEVELS: &[u64] = &[
    DIOCSETSTATUSIF,
    DIOCCLRSTATUS,
    DIOCSETDEBUG,
    DIOCCLRRULECTRS,
    DIOCRCLRTSTATS,
    DIOCRCLRADDRS,
    DIOCRADDADDRS,
    DIOCRDELADDRS,
    DIOCRSETADDRS,
    DIOCRCLRASTATS,
    DIOCCLRSRCNODES,
    DIOCSETIFFLAG,
    DIOCCLRIFFLAG,
    DIOCSETLCK,
    DIOCADDSTATES,
    DIOCBADDSTATES,
    DIOCGETRULE,
    DIOCRGETTSTATS,
    DIOCRGETASTATS,
    DIOCBLOCK,
];

/// Every ioctl that has a name.
static ALL: LazyLock<Vec<u64>> = LazyLock::new(|| {
    let (void, out, inout) = (0x2000_0000, 0x4000_0000, 0xc000_0000);
    let of_number = |number| {
        let sizes = (0..=8191).flat_map(move |size| [out, inout].map(|way| ioctl::ioc(way, b'D', number, size)));
        sizes.chain([ioctl::ioc(void, b'D', number, 0)])
    };
    let numbers = (0..=255).flat_map(of_number);
    numbers.filter(|cmd| ioctl::name(*cmd).is_some()).collect()
});

/// All that can be asked of a packet filter.
#[derive(Debug, PartialEq)]
struct Snapshot {
    states: Vec<SyncState>,
    rules: Vec<Rule>,
    nat: Vec<Rule>,
    status: Status,
    locked: u32,
    timeouts: Vec<i32>,
    limits: Vec<u32>,
    interfaces: Vec<Kif>,
    tables: Vec<(String, u32)>,
    addresses: Vec<TableAddrStats>,
}

fn snapshot(machine: &Machine) -> Snapshot {
    let timeout = |index| {
        let mut arg = IocTm {
            timeout: index,
            seconds: 0,
        };
        machine.read_ioctl(DIOCGETTIMEOUT, &mut arg).unwrap();
        arg.seconds
    };
    let limit = |index| {
        let mut arg = IocLimit { index, limit: 0 };
        machine.read_ioctl(DIOCGETLIMIT, &mut arg).unwrap();
        arg.limit
    };
    let mut locked = 7;
    machine.read_ioctl(DIOCGETLCK, &mut locked).unwrap();
    Snapshot {
        states: sorted(machine.dump()),
        rules: machine.rules(Action::Pass),
        nat: machine.rules(Action::Nat),
        status: machine.status(),
        locked,
        timeouts: (0..PFTM_MAX.into()).map(timeout).collect(),
        limits: (0..PF_LIMIT_MAX).map(limit).collect(),
        interfaces: machine.interfaces(""),
        tables: machine.tables(),
        addresses: machine.address_stats("table"),
    }
}

/// A machine with something of everything.
fn furnished() -> Machine {
    let machine = Machine::new();
    machine.load(RulesetKind::Filter, &passes(&["one", "two"])).unwrap();
    machine
        .load(RulesetKind::Nat, &[translate(Action::Nat, "nat", [192, 0, 2, 1])])
        .unwrap();
    let states: Vec<_> = (0..200)
        .map(|n| SyncState {
            rule: 1,
            nat_rule: 0,
            ..connection(n)
        })
        .collect();
    assert_eq!(machine.add_states(&states), Ok(200));
    machine.make_table("table", &["10.0.0.0/8", "! 10.1.0.0/16", "2001:db8::1"]);
    machine
}

#[test]
fn every_ioctl_asks_who_is_there() {
    assert_eq!(ALL.len(), 71);
    let machine = furnished();
    let before = snapshot(&machine);
    // An argument that would do what it says for whoever may: 1 is a lock, a level, a ticket; the pointers lead somewhere.
    let piece = machine.memory.put(connection(777).as_bytes());
    let mut answers = BTreeMap::new();
    for cmd in ALL.iter().copied() {
        let mut arg = vec![0u64; ioctl::size(cmd).div_ceil(8)];
        for (at, word) in arg.iter_mut().enumerate() {
            *word = if at == 0 { 240 } else { piece.0 };
        }
        let arg = &mut arg.as_mut_bytes()[..ioctl::size(cmd)];
        if cmd == DIOCSETLCK {
            arg.copy_from_slice(&1u32.to_ne_bytes());
        }
        answers.insert(cmd, machine.call_bytes(false, cmd, arg));
    }
    for (cmd, answer) in answers {
        let name = ioctl::name(cmd).unwrap();
        if OPEN_TO_READERS.contains(&cmd) {
            assert_ne!(answer, Err(Errno::Eacces), "{name}");
        } else {
            assert_eq!(answer, Err(Errno::Eacces), "{name}");
        }
    }
    assert_eq!(snapshot(&machine), before, "a reader has changed nothing");
}

#[test]
fn a_raised_securelevel_leaves_what_pf_4_says() {
    for cmd in ALL.iter().copied() {
        let machine = furnished();
        let before = snapshot(&machine);
        let mut arg = vec![0u64; ioctl::size(cmd).div_ceil(8)];
        let mut call = |rights| machine.call_with(1, rights, cmd, &mut arg.as_mut_bytes()[..ioctl::size(cmd)]);
        let (writer, reader) = (call([true, false]), call([false, false]));
        let name = ioctl::name(cmd).unwrap();
        let is_open = OPEN_AT_ALL_LEVELS.contains(&cmd) || OPEN_TO_READERS.contains(&cmd);
        assert_eq!(writer == Err(Errno::Eperm), !is_open, "{name}: {writer:?}");
        assert_ne!(writer, Err(Errno::Eacces), "{name}");
        assert_ne!(reader, Err(Errno::Eperm), "{name}");
        if !OPEN_AT_ALL_LEVELS.contains(&cmd) {
            assert_eq!(snapshot(&machine), before, "{name} has changed something");
        }
    }
}

/// What part of an ioctl changes asks as one does that changes something with all it has.
#[test]
fn what_readers_may_ask_and_not_change() {
    let machine = furnished();
    machine.command(DIOCSTART).unwrap();
    machine.send(1, pf::kpi::Direction::In, &udp_packet()).unwrap();
    let evaluations = || machine.rules(Action::Pass)[0].evaluations;
    let clear = |rights: [bool; 2]| {
        let mut arg = IocRule {
            action: PF_GET_CLR_CNTR,
            ..IocRule::default()
        };
        machine.read_ioctl(DIOCGETRULES, &mut arg).unwrap();
        arg.nr = 0;
        machine.call_with(1, rights, DIOCGETRULE, arg.as_mut_bytes())
    };
    let evaluated = evaluations();
    assert_ne!(evaluated, 0);
    assert_eq!(clear([false, true]), Err(Errno::Eacces));
    assert_eq!(evaluations(), evaluated);
    assert_eq!(clear([true, false]), Ok(()), "counters are cleared at any level");
    assert_eq!(evaluations(), 0);

    let lock = |rights: [bool; 2]| {
        let mut arg = BulkLock {
            head: BulkHead {
                version: BULK_VERSION,
                size: size_of::<BulkLock>() as u32,
            },
            action: BULK_LOCK_TAKE,
            seconds: 60,
            ..BulkLock::default()
        };
        machine.call_with(1, rights, DIOCBLOCK, arg.as_mut_bytes())
    };
    assert_eq!(lock([false, true]), Err(Errno::Eacces));
    assert_eq!(lock([true, false]), Ok(()));

    for cmd in [DIOCRGETTSTATS, DIOCRGETASTATS] {
        let clear = |rights: [bool; 2]| {
            let mut arg = IocTable {
                flags: PFR_FLAG_CLSTATS,
                esize: match cmd {
                    DIOCRGETTSTATS => size_of::<TableStats>() as i32,
                    _ => size_of::<TableAddrStats>() as i32,
                },
                ..IocTable::default()
            };
            if cmd == DIOCRGETASTATS {
                arg.table.name = TableName::new("table").unwrap();
            }
            machine.call_with(1, rights, cmd, arg.as_mut_bytes())
        };
        assert_eq!(clear([false, true]), Err(Errno::Eacces));
        assert_eq!(clear([true, false]), Ok(()));
    }
}

#[test]
fn what_pf_does_not_have_is_enodev() {
    let machine = Machine::new();
    // An unknown number; a known number that carries something else; the same in another group.
    for cmd in [
        0,
        0x2000_44ff,
        DIOCGETSTATES ^ (8 << 16),
        DIOCSTART ^ (1 << 8),
        u64::MAX,
    ] {
        for may_write in [false, true] {
            let mut arg = vec![0u64; 1024];
            assert_eq!(
                machine.call_bytes(may_write, cmd, arg.as_mut_bytes()),
                Err(Errno::Enodev),
                "{cmd:#x}"
            );
        }
    }
}

#[test]
fn queues_are_enodev() {
    let machine = Machine::new();
    // As a kernel without ALTQ says it; pfctl(8) asks the first, and leaves queues alone.
    for cmd in [
        DIOCGETALTQS,
        DIOCGETALTQ,
        DIOCADDALTQ,
        DIOCSTARTALTQ,
        DIOCSTOPALTQ,
        DIOCCHANGEALTQ,
        DIOCGETQSTATS,
    ] {
        let mut arg = vec![0u64; ioctl::size(cmd).div_ceil(8)];
        let answer = machine.call_bytes(true, cmd, &mut arg.as_mut_bytes()[..ioctl::size(cmd)]);
        assert_eq!(answer, Err(Errno::Enodev), "{:?}", ioctl::name(cmd));
    }
}

#[test]
fn an_argument_is_as_long_as_it_says() {
    let machine = Machine::new();
    for cmd in ALL.iter().copied() {
        let size = ioctl::size(cmd);
        for wrong in [size + 8, size.saturating_sub(8), size / 2, 0] {
            if wrong != size {
                let mut arg = vec![0u64; wrong.div_ceil(8)];
                let answer = machine.call_bytes(true, cmd, &mut arg.as_mut_bytes()[..wrong]);
                assert_eq!(answer, Err(Errno::Einval), "{:?} with {wrong} bytes", ioctl::name(cmd));
            }
        }
    }
}

#[test]
fn there_are_no_source_nodes() {
    let machine = Machine::new();
    let mut nodes = IocSrcNodes {
        len: 1 << 20,
        ..IocSrcNodes::default()
    };
    machine.read_ioctl(DIOCGETSRCNODES, &mut nodes).unwrap();
    assert_eq!(nodes.len, 0);
    machine.command(DIOCCLRSRCNODES).unwrap();
    let mut kill = IocSrcNodeKill {
        af: AF_INET,
        ..IocSrcNodeKill::default()
    };
    machine.ioctl(DIOCKILLSRCNODES, &mut kill).unwrap();
    assert_eq!(kill.af, 0);
}

/// Words as they stand in hostile arguments: small numbers, borders of integers, pointers that lead somewhere or nowhere.
fn word(somewhere: UserPtr) -> impl Strategy<Value = u64> {
    let somewhere = somewhere.0;
    prop_oneof![
        4 => 0..32u64,
        2 => (0..32u64, 0..32u64).prop_map(|(low, high)| high << 32 | low),
        1 => prop::sample::select(vec![
            u64::MAX,
            u64::MAX - 7,
            1 << 63,
            u64::from(u32::MAX),
            i32::MAX as u64,
            (i32::MAX as u64) + 1,
            i64::MAX as u64,
            0x1000,
        ]),
        2 => (0..0x2000u64).prop_map(move |offset| somewhere + offset),
        1 => any::<u64>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Whatever an argument says, the call comes back; nothing but the caller's own memory is touched, and the packet filter works
    /// on. (That nothing panics or overflows is what a debug build checks by itself.)
    #[test]
    fn no_argument_does_harm(
        calls in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>(), prop::collection::vec(word(UserPtr(0x1_1000)), 48)), 1..8),
    ) {
        let machine = furnished();
        let piece = machine.memory.put(&[0; 0x4000]);
        prop_assert_eq!(piece, UserPtr(0x1_1000), "where the words point");
        for (which, may_write, words) in calls {
            let cmd = *which.get(&ALL);
            let mut arg = vec![0u64; ioctl::size(cmd).div_ceil(8)];
            for (to, from) in arg.iter_mut().zip(words.iter().cycle()) {
                *to = *from;
            }
            let before = (!may_write).then(|| snapshot(&machine));
            let _ = machine.call_bytes(may_write, cmd, &mut arg.as_mut_bytes()[..ioctl::size(cmd)]);
            if let Some(before) = before {
                prop_assert_eq!(snapshot(&machine), before, "a reader has changed something");
            }
        }
        machine.set_limit(Limit::States, 1_000_000);
        let mut transaction = machine.begin(&[RulesetKind::Filter]);
        transaction.call(&machine, DIOCXCOMMIT).unwrap();
        prop_assert_eq!(machine.labels(Action::Pass), Vec::<String>::new());
        machine.add_state(&connection(5_000)).unwrap();
        machine.ioctl(DIOCCLRSTATES, &mut IocStateKill::default()).unwrap();
        prop_assert_eq!(machine.dump(), vec![]);
    }
}
