//! What brought NetBSD's own pf down, or got past it, one by one; and callers that go away in the middle.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use pf::kpi::host::AddressSpace;
use pf::kpi::{Caller, Errno, UserMemory};
use pf_abi::*;
use zerocopy::{FromBytes, IntoBytes};

use crate::common::*;

use RulesetKind::{Filter, Nat, Table as TableKind};

/// Where no memory of the caller's is: nothing, the kernel's, and the end of all.
const NOWHERE: [u64; 6] = [0, 1, 8, 0xffff_8000_0000_0000, 0xffff_ffff_8000_0000, u64::MAX - 7];

fn head<T>() -> BulkHead {
    BulkHead::of::<T>()
}

#[test]
fn a_reader_cannot_lock() {
    let machine = Machine::new();
    let locked = || {
        let mut locked = 7;
        machine.read_ioctl(DIOCGETLCK, &mut locked).unwrap();
        locked
    };
    for before in [0, 1] {
        machine.set_lock(before == 1);
        for lock in [0, 1, 2, u32::MAX] {
            let mut arg = lock;
            assert_eq!(machine.read_ioctl(DIOCSETLCK, &mut arg), Err(Errno::Eacces));
            assert_eq!(locked(), before);
        }
        for action in [BULK_LOCK_TAKE, BULK_LOCK_RELEASE] {
            let mut arg = BulkLock {
                head: head::<BulkLock>(),
                action,
                seconds: 60,
                ..BulkLock::default()
            };
            assert_eq!(machine.read_ioctl(DIOCBLOCK, &mut arg), Err(Errno::Eacces));
            assert_eq!(locked(), before);
        }
    }
}

#[test]
fn a_reader_cannot_add_states() {
    let machine = Machine::new();
    let states: Vec<_> = (0..3).map(connection).collect();
    let buf = machine.memory.put(states.as_bytes());
    // Whatever stands in the rest of the argument.
    for rest in [0u32, 1, u32::MAX] {
        let mut one = IocState {
            nr: rest,
            state: buf,
            ..IocState::default()
        };
        assert_eq!(machine.read_ioctl(DIOCADDSTATE, &mut one), Err(Errno::Eacces));
        let mut many = IocStates {
            len: 3 * size_of::<SyncState>() as i32,
            _pad0: rest.to_ne_bytes(),
            buf,
        };
        assert_eq!(machine.read_ioctl(DIOCADDSTATES, &mut many), Err(Errno::Eacces));
        let mut bulk = BulkStates {
            head: head::<BulkStates>(),
            cursor: rest.into(),
            count: 3,
            buf,
            ..BulkStates::default()
        };
        assert_eq!(machine.read_ioctl(DIOCBADDSTATES, &mut bulk), Err(Errno::Eacces));
        assert_eq!(machine.dump(), vec![]);
    }
}

#[test]
fn a_state_goes_to_the_callers_memory_and_nowhere_else() {
    let machine = Machine::new();
    machine.add_states(&[connection(1), connection(2)]).unwrap();
    let state = machine.dump()[0];
    let asked = SyncState {
        id: state.id,
        creatorid: state.creatorid,
        ..SyncState::default()
    };
    // The argument, and a guard behind it on either side.
    let mut words = [0x5a5a_5a5a_5a5a_5a5au64; 64];
    let at = machine.memory.put(&[asked.as_bytes(), &[0xa5; 300]].concat());
    let arg = &mut words[16..18];
    arg[1] = at.0;
    machine.call_bytes(false, DIOCGETSTATE, arg.as_mut_bytes()).unwrap();
    let guard = words[..16].iter().chain(&words[18..]);
    assert!(guard.copied().all(|word| word == 0x5a5a_5a5a_5a5a_5a5a));
    let bytes = machine.memory.take(at);
    assert_eq!(SyncState::read_from_bytes(&bytes[..240]).unwrap(), state);
    assert!(
        bytes[240..].iter().all(|byte| *byte == 0xa5),
        "nothing behind the record"
    );
    // A record that ends too soon, and none at all.
    let short = machine.memory.put(&asked.as_bytes()[..239]);
    for nowhere in NOWHERE.into_iter().chain([short.0]) {
        let mut arg = IocState {
            state: UserPtr(nowhere),
            ..IocState::default()
        };
        assert_eq!(
            machine.read_ioctl(DIOCGETSTATE, &mut arg),
            Err(Errno::Efault),
            "{nowhere:#x}"
        );
        assert_eq!(arg.state, UserPtr(nowhere));
    }
}

#[test]
fn pointers_of_states_are_not_followed() {
    let machine = Machine::new();
    let short = machine.memory.put(&connection(1).as_bytes()[1..]);
    for nowhere in NOWHERE.into_iter().chain([short.0]) {
        let mut arg = IocState {
            state: UserPtr(nowhere),
            ..IocState::default()
        };
        assert_eq!(
            machine.ioctl(DIOCADDSTATE, &mut arg),
            Err(Errno::Efault),
            "{nowhere:#x}"
        );
    }
    assert_eq!(machine.dump(), vec![]);
}

#[test]
fn states_from_nowhere_leave_the_table_sound() {
    let machine = Machine::new();
    machine.add_state(&connection(1)).unwrap();
    // Again and again: what was freed twice would be handed out twice.
    for nowhere in NOWHERE.into_iter().cycle().take(60) {
        let mut arg = IocStates {
            len: 4 * size_of::<SyncState>() as i32,
            buf: UserPtr(nowhere),
            ..IocStates::default()
        };
        assert_eq!(
            machine.ioctl(DIOCADDSTATES, &mut arg),
            Err(Errno::Efault),
            "{nowhere:#x}"
        );
        let mut bulk = BulkStates {
            head: head::<BulkStates>(),
            count: 4,
            buf: UserPtr(nowhere),
            ..BulkStates::default()
        };
        assert_eq!(
            machine.ioctl(DIOCBADDSTATES, &mut bulk),
            Err(Errno::Efault),
            "{nowhere:#x}"
        );
    }
    let states: Vec<_> = (10..200).map(connection).collect();
    assert_eq!(machine.add_states(&states), Ok(190));
    assert_eq!(machine.dump().len(), 191);
}

#[test]
fn records_that_cannot_be_are_einval() {
    type Change = fn(&mut SyncState);
    let bad: [(&str, Change); 6] = [
        ("a family of 77", |state| state.af = 77),
        ("no family", |state| state.af = 0),
        ("a direction of 9", |state| state.direction = 9),
        ("both directions", |state| state.direction = PF_INOUT),
        ("a name without an end", |state| state.ifname.as_mut_bytes().fill(b'x')),
        ("no name", |state| state.ifname = IfName::EMPTY),
    ];
    let machine = Machine::new();
    for (what, change) in bad {
        let mut state = connection(1);
        change(&mut state);
        assert_eq!(machine.add_state(&state), Err(Errno::Einval), "{what}");
        assert_eq!(
            machine.add_states(&[state, connection(2)]),
            Err(Errno::Einval),
            "{what}"
        );
        let buf = machine.memory.put(state.as_bytes());
        let mut bulk = BulkStates {
            head: head::<BulkStates>(),
            count: 1,
            buf,
            ..BulkStates::default()
        };
        machine.ioctl(DIOCBADDSTATES, &mut bulk).unwrap();
        assert_eq!((bulk.count, bulk.error), (0, Errno::Einval as i32), "{what}");
        assert_eq!(machine.dump(), vec![], "{what}");
    }
}

#[test]
fn each_refusal_has_a_reason_of_its_own() {
    let bad = SyncState {
        af: 77,
        ..connection(3)
    };
    for (third, limit, reason) in [
        (connection(1), 100, Errno::Eexist),
        (bad, 100, Errno::Einval),
        (connection(3), 2, Errno::Enospc),
    ] {
        let machine = Machine::new();
        machine.set_limit(Limit::States, limit);
        let states = [connection(1), connection(2), third, connection(4)];
        assert_eq!(machine.add_states(&states), Err(reason));
        assert_eq!(machine.dump().len(), 2, "what came before stays");
        assert_eq!(machine.add_state(&third), Err(reason));
        let mut locked = 7;
        machine.read_ioctl(DIOCGETLCK, &mut locked).unwrap();
        assert_eq!(locked, 0, "and nothing is locked");
    }
}

#[test]
fn who_dies_in_a_transaction_leaves_nothing() {
    let machine = Machine::new();
    machine.load(Filter, &passes(&["old"])).unwrap();
    let mut open = Transaction::new(&[Filter, Nat, TableKind, Filter]);
    open.elements()[3].anchor = AnchorPath::new("a").unwrap();
    open.call(&machine, DIOCXBEGIN).unwrap();
    let ticket = open.ticket(Filter);
    machine.add_rule(ticket, &pass("new"), &[]).unwrap();
    assert_eq!(machine.anchors("").unwrap(), ["a"]);
    // Somebody else ends: nothing happens.
    machine.pf.close(2);
    machine.add_rule(ticket, &pass("newer"), &[]).unwrap();
    machine.pf.close(1);
    assert_eq!(machine.add_rule(ticket, &pass("newest"), &[]), Err(Errno::Ebusy));
    assert_eq!(open.call(&machine, DIOCXCOMMIT), Err(Errno::Ebusy));
    assert_eq!(machine.labels(Action::Pass), ["old"]);
    assert_eq!(machine.anchors("").unwrap(), Vec::<String>::new(), "nor the anchor");
    // Nor what it had gathered for a pool: whoever goes on with it is refused, and the memory is free.
    let mut address = IocPoolAddr::default();
    machine.ioctl(DIOCBEGINADDRS, &mut address).unwrap();
    let ticket = address.ticket;
    let add = || {
        let mut address = IocPoolAddr {
            ticket,
            addr: translate(Action::Nat, "", [192, 0, 2, 1]).1[0],
            ..IocPoolAddr::default()
        };
        machine.ioctl(DIOCADDADDR, &mut address)
    };
    add().unwrap();
    machine.pf.close(2);
    add().unwrap();
    machine.pf.close(1);
    assert_eq!(add(), Err(Errno::Ebusy));
    // What another is loading is not touched.
    let begin_as = |owner| {
        let mut element = IocTransE {
            rs_num: if owner == 1 { Filter } else { Nat } as i32,
            ..IocTransE::default()
        };
        let array = machine.memory.put(element.as_bytes());
        let mut arg = IocTrans {
            size: 1,
            esize: size_of::<IocTransE>() as i32,
            array,
        };
        machine.call_as(owner, true, DIOCXBEGIN, arg.as_mut_bytes()).unwrap();
        element = IocTransE::read_from_bytes(&machine.memory.take(array)).unwrap();
        element.ticket
    };
    let (mine, others) = (begin_as(1), begin_as(2));
    machine.pf.close(2);
    machine.add_rule(mine, &pass("mine"), &[]).unwrap();
    let (nat, pool) = translate(Action::Nat, "others", [192, 0, 2, 1]);
    assert_eq!(machine.add_rule(others, &nat, &pool), Err(Errno::Ebusy));
    machine.pf.close(1);
    assert_eq!(machine.add_rule(mine, &pass("mine"), &[]), Err(Errno::Ebusy));
    machine.load(Filter, &passes(&["next"])).unwrap();
    assert_eq!(machine.labels(Action::Pass), ["next"]);
}

/// Memory that is there a few times more.
struct Failing(Memory, AtomicU64);

impl Failing {
    fn is_over(&self) -> bool {
        self.1
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            .is_err()
    }
}

impl AddressSpace for Failing {
    fn copyin(&self, from: u64, to: &mut [u8]) -> Result<(), Errno> {
        if self.is_over() {
            Err(Errno::Efault)
        } else {
            self.0.copyin(from, to)
        }
    }

    fn copyout(&self, from: &[u8], to: u64) -> Result<(), Errno> {
        if self.is_over() {
            Err(Errno::Efault)
        } else {
            self.0.copyout(from, to)
        }
    }
}

/// Begin, a table, a rule, commit: the caller's memory may fail anywhere.
fn load_with(machine: &Machine, memory: &UserMemory) -> Result<(), Errno> {
    let call = |cmd, arg: &mut [u8]| {
        let caller = Caller {
            owner: 1,
            writable: true,
            allowed: true,
            uid: 0,
            pid: 1,
            memory,
        };
        let mut words = vec![0u64; arg.len().div_ceil(8)];
        let bytes = &mut words.as_mut_bytes()[..arg.len()];
        bytes.copy_from_slice(arg);
        machine.pf.ioctl(&caller, cmd, bytes)?;
        arg.copy_from_slice(bytes);
        Ok(())
    };
    let element = |kind: RulesetKind| IocTransE {
        rs_num: kind as i32,
        ..IocTransE::default()
    };
    let array = machine.memory.put([element(Filter), element(TableKind)].as_bytes());
    let mut transaction = IocTrans {
        size: 2,
        esize: size_of::<IocTransE>() as i32,
        array,
    };
    call(DIOCXBEGIN, transaction.as_mut_bytes())?;
    let bytes = machine.memory.get(array);
    let ticket = |at: usize| {
        let size = size_of::<IocTransE>();
        IocTransE::read_from_bytes(&bytes[at * size..(at + 1) * size])
            .unwrap()
            .ticket
    };
    let addresses = tables::addrs(&["10.0.0.0/8", "192.0.2.1"]);
    let mut define = IocTable {
        table: Table {
            flags: PFR_TFLAG_PERSIST,
            ..tables::table("new")
        },
        buffer: machine.memory.put(addresses.as_bytes()),
        esize: size_of::<TableAddr>() as i32,
        size: 2,
        flags: PFR_FLAG_ADDRSTOO,
        ticket: ticket(1),
        ..IocTable::default()
    };
    call(DIOCRINADEFINE, define.as_mut_bytes())?;
    let mut pool = IocPoolAddr::default();
    call(DIOCBEGINADDRS, pool.as_mut_bytes())?;
    let mut rule = IocRule {
        ticket: ticket(0),
        pool_ticket: pool.ticket,
        rule: pass("new"),
        ..IocRule::default()
    };
    call(DIOCADDRULE, rule.as_mut_bytes())?;
    call(DIOCXCOMMIT, transaction.as_mut_bytes())
}

#[test]
fn a_call_that_is_cut_off_anywhere_leaves_what_was_loaded() {
    let machine = Machine::new();
    machine.load(Filter, &passes(&["old"])).unwrap();
    let mut cuts = 0;
    for times in 0.. {
        let memory = UserMemory::new(Failing(machine.memory.clone(), AtomicU64::new(times)));
        match load_with(&machine, &memory) {
            Ok(()) => break,
            Err(errno) => assert_eq!(errno, Errno::Efault, "after {times}"),
        }
        cuts += 1;
        assert_eq!(machine.labels(Action::Pass), ["old"], "after {times}");
        let is_active = |(_, flags): &(String, u32)| flags & PFR_TFLAG_ACTIVE != 0;
        assert!(!machine.tables().iter().any(is_active), "after {times}");
        machine.pf.close(1);
        assert_eq!(machine.tables(), [], "after {times}");
    }
    assert!(cuts >= 7, "{cuts}");
    assert_eq!(machine.labels(Action::Pass), ["new"]);
    assert_eq!(machine.table_addresses("new").unwrap().len(), 2);
}

#[test]
fn of_two_that_load_at_once_each_commit_is_whole() {
    let machine = Machine::new();
    machine.load(Filter, &passes(&["a", "a", "a"])).unwrap();
    let committed = Mutex::new(0);
    let load = |label: &str| -> Result<(), Errno> {
        let mut transaction = Transaction::new(&[Filter]);
        transaction.call(&machine, DIOCXBEGIN)?;
        for _ in 0..3 {
            machine.add_rule(transaction.ticket(Filter), &pass(label), &[])?;
        }
        transaction.call(&machine, DIOCXCOMMIT)
    };
    thread::scope(|scope| {
        for label in ["a", "b"] {
            let (load, committed) = (&load, &committed);
            scope.spawn(move || {
                for _ in 0..100 {
                    match load(label) {
                        Ok(()) => *committed.lock().unwrap() += 1,
                        Err(errno) => assert_eq!(errno, Errno::Ebusy),
                    }
                }
            });
        }
        for _ in 0..100 {
            let mut arg = IocRule::default();
            machine.read_ioctl(DIOCGETRULES, &mut arg).unwrap();
            let label = |nr| {
                let mut arg = IocRule { nr, ..arg.clone() };
                machine
                    .read_ioctl(DIOCGETRULE, &mut arg)
                    .map(|()| arg.rule.label.as_str().unwrap().to_owned())
            };
            // Either the ticket is stale by now, or all are of one load.
            let labels: Result<Vec<_>, _> = (0..arg.nr).map(label).collect();
            match labels {
                Ok(labels) => assert!(labels == ["a"; 3] || labels == ["b"; 3], "{labels:?}"),
                Err(errno) => assert_eq!(errno, Errno::Ebusy),
            }
        }
    });
    let labels = machine.labels(Action::Pass);
    assert!(labels == ["a"; 3] || labels == ["b"; 3], "{labels:?}");
    load("b").unwrap();
    assert_eq!(machine.labels(Action::Pass), ["b"; 3]);
}
