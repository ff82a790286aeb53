//! What NetBSD's own pf does not have: states in chunks, a lock with an owner and a deadline, rules in bulk.

use std::collections::HashSet;

use pf::kpi::{Direction, Errno};
use pf_abi::*;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::common::rules::{Words, dynamic_addr};
use crate::common::*;

impl Machine {
    /// An ioctl by one of several openers of the device.
    fn call_of<T: FromBytes + IntoBytes + Immutable>(
        &self,
        owner: u64,
        may_write: bool,
        cmd: u64,
        arg: &mut T,
    ) -> Result<(), Errno> {
        let mut words = vec![0u64; size_of::<T>().div_ceil(8)];
        let bytes = &mut words.as_mut_bytes()[..size_of::<T>()];
        bytes.copy_from_slice(arg.as_bytes());
        self.call_as(owner, may_write, cmd, bytes)?;
        *arg = T::read_from_bytes(bytes).unwrap();
        Ok(())
    }

    /// One chunk, into room for `count`.
    fn chunk(&self, cursor: u64, count: u32) -> Result<(BulkStates, Vec<SyncState>), Errno> {
        let room = count.min(BULK_MOST) as usize;
        let buf = self.memory.put(&vec![0xa5; room * size_of::<SyncState>()]);
        let mut arg = BulkStates {
            head: BulkHead::of::<BulkStates>(),
            cursor,
            count,
            buf,
            ..BulkStates::default()
        };
        let result = self.read_ioctl(DIOCBGETSTATES, &mut arg);
        let bytes = self.memory.take(buf);
        result?;
        let (filled, rest) = bytes.split_at(arg.count as usize * size_of::<SyncState>());
        assert!(rest.iter().all(|byte| *byte == 0xa5), "nothing behind the last record");
        let records = filled.chunks(size_of::<SyncState>());
        Ok((arg, records.map(|it| SyncState::read_from_bytes(it).unwrap()).collect()))
    }

    /// Adds states: how many, and the error of the next.
    fn add_chunk(&self, states: &[SyncState]) -> Result<(u32, i32), Errno> {
        let buf = self.memory.put(states.as_bytes());
        let mut arg = BulkStates {
            head: BulkHead::of::<BulkStates>(),
            count: states.len() as u32,
            buf,
            ..BulkStates::default()
        };
        let result = self.ioctl(DIOCBADDSTATES, &mut arg);
        self.memory.take(buf);
        result.map(|()| (arg.count, arg.error))
    }

    fn lock_as(&self, owner: u64, action: u32, seconds: u32) -> Result<BulkLock, Errno> {
        let mut arg = lock(action, seconds);
        self.call_of(owner, true, DIOCBLOCK, &mut arg)?;
        Ok(arg)
    }

    /// Whole rules, and the anchors that they call.
    fn whole_rules(&self, arg: &mut BulkRules) -> Result<Vec<(Rule, String)>, Errno> {
        let bytes = self.bulk_rules(arg, size_of::<BulkRule>())?;
        let records = bytes.chunks(size_of::<BulkRule>());
        let rule = |it| BulkRule::read_from_bytes(it).unwrap();
        let rule = |it| (rule(it).rule, rule(it).anchor_call.as_str().unwrap().to_owned());
        Ok(records.map(rule).collect())
    }

    fn bulk_rules(&self, arg: &mut BulkRules, record: usize) -> Result<Vec<u8>, Errno> {
        arg.buf = self.memory.put(&vec![0xa5; arg.count as usize * record]);
        let result = self.read_ioctl(DIOCBGETRULES, arg);
        let mut bytes = self.memory.take(arg.buf);
        result?;
        let rest = bytes.split_off(arg.count as usize * record);
        assert!(rest.iter().all(|byte| *byte == 0xa5), "nothing behind the last record");
        Ok(bytes)
    }
}

fn lock(action: u32, seconds: u32) -> BulkLock {
    BulkLock {
        head: BulkHead::of::<BulkLock>(),
        action,
        seconds,
        ..BulkLock::default()
    }
}

fn with_states(count: u32) -> Machine {
    let machine = Machine::new();
    let states: Vec<_> = (0..count).map(connection).collect();
    assert_eq!(machine.add_states(&states), Ok(count as usize));
    machine
}

#[test]
fn chunks_have_each_state_once() {
    let machine = with_states(1000);
    for room in [1, 7, 64, 999, 1000, u32::MAX] {
        let (mut cursor, mut all) = (0, vec![]);
        loop {
            let (arg, states) = machine.chunk(cursor, room).unwrap();
            all.extend(states);
            if arg.more == 0 {
                break;
            }
            assert!(arg.cursor > cursor, "it moves on");
            cursor = arg.cursor;
        }
        assert_eq!(sorted(all), sorted(machine.dump()), "room for {room}");
    }
}

#[test]
fn an_empty_table_has_one_empty_chunk() {
    let (arg, states) = Machine::new().chunk(0, 10).unwrap();
    assert_eq!((arg.count, arg.more, states.len()), (0, 0, 0));
}

#[test]
fn states_that_come_and_go_between_chunks_do_not_disturb_the_others() {
    let machine = with_states(500);
    let stay: HashSet<_> = machine.dump().iter().map(|state| state.id).collect();
    let (mut cursor, mut seen) = (0, vec![]);
    for round in 0.. {
        let (arg, states) = machine.chunk(cursor, 20).unwrap();
        seen.extend(states.iter().map(|state| state.id));
        if arg.more == 0 {
            break;
        }
        cursor = arg.cursor;
        // The table grows to many times its size meanwhile.
        if round < 10 {
            let more: Vec<_> = (0..200).map(|n| connection(1000 + round * 200 + n)).collect();
            machine.add_states(&more).unwrap();
        }
    }
    assert_eq!(seen.iter().collect::<HashSet<_>>().len(), seen.len(), "none twice");
    assert!(stay.iter().all(|id| seen.contains(id)));
}

#[test]
fn any_number_is_a_cursor() {
    let machine = with_states(100);
    for cursor in [1, 1 << 63, u64::MAX - 1, u64::MAX] {
        let (arg, states) = machine.chunk(cursor, BULK_MOST).unwrap();
        assert!(states.len() <= 100);
        assert_eq!(arg.more, 0);
    }
}

#[test]
fn a_chunk_is_added_up_to_the_first_that_is_refused() {
    let machine = Machine::new();
    let mut states: Vec<_> = (0..100).map(connection).collect();
    assert_eq!(machine.add_chunk(&states[..50]), Ok((50, 0)));
    states[70].af = 77;
    assert_eq!(machine.add_chunk(&states[50..]), Ok((20, Errno::Einval as i32)));
    assert_eq!(machine.add_chunk(&states[60..]), Ok((0, Errno::Eexist as i32)));
    assert_eq!(machine.add_chunk(&[]), Ok((0, 0)));
    assert_eq!(machine.dump().len(), 70);
    machine.set_limit(Limit::States, 72);
    assert_eq!(machine.add_chunk(&states[71..]), Ok((2, Errno::Enospc as i32)));
}

#[test]
fn another_version_is_refused() {
    let machine = with_states(1);
    let other = |size| {
        [
            BulkHead { version: 2, size },
            BulkHead {
                version: 1,
                size: size - 1,
            },
            BulkHead::default(),
        ]
    };
    for head in other(size_of::<BulkStates>() as u32) {
        let mut arg = BulkStates {
            head,
            count: 1,
            ..BulkStates::default()
        };
        assert_eq!(machine.ioctl(DIOCBGETSTATES, &mut arg), Err(Errno::Einval));
        assert_eq!(machine.ioctl(DIOCBADDSTATES, &mut arg), Err(Errno::Einval));
    }
    for head in other(size_of::<BulkLock>() as u32) {
        let mut arg = BulkLock {
            head,
            ..lock(BULK_LOCK_TAKE, 1)
        };
        assert_eq!(machine.ioctl(DIOCBLOCK, &mut arg), Err(Errno::Einval));
    }
    for head in other(size_of::<BulkRules>() as u32) {
        let mut arg = BulkRules {
            head,
            kind: RulesetKind::Filter.into(),
            ..BulkRules::default()
        };
        assert_eq!(machine.ioctl(DIOCBGETRULES, &mut arg), Err(Errno::Einval));
    }
}

#[test]
fn pointers_and_counts_are_not_trusted() {
    let machine = with_states(300);
    assert_eq!(machine.chunk(0, 0).unwrap_err(), Errno::Einval);
    for buf in [0, 0xdead, u64::MAX - 8] {
        let mut arg = BulkStates {
            head: BulkHead::of::<BulkStates>(),
            count: 300,
            buf: UserPtr(buf),
            ..BulkStates::default()
        };
        assert_eq!(machine.ioctl(DIOCBGETSTATES, &mut arg), Err(Errno::Efault));
        assert_eq!(machine.ioctl(DIOCBADDSTATES, &mut arg), Err(Errno::Efault));
        arg.count = BULK_MOST + 1;
        assert_eq!(machine.ioctl(DIOCBADDSTATES, &mut arg), Err(Errno::Einval));
    }
    // Room for fewer than it says: what was there is filled in.
    let buf = machine.memory.put(&[0; 100 * size_of::<SyncState>()]);
    let mut arg = BulkStates {
        head: BulkHead::of::<BulkStates>(),
        count: 300,
        buf,
        ..BulkStates::default()
    };
    assert_eq!(machine.ioctl(DIOCBGETSTATES, &mut arg), Err(Errno::Efault));
    // Records that can be read in part.
    let mut arg = BulkStates { count: 200, ..arg };
    let states: Vec<_> = (1000..1100).map(connection).collect();
    let buf = machine.memory.put(states.as_bytes());
    arg.buf = buf;
    machine.ioctl(DIOCBADDSTATES, &mut arg).unwrap();
    assert_eq!((arg.count, arg.error), (64, Errno::Efault as i32));
}

#[test]
fn a_lock_belongs_to_who_took_it() {
    let machine = Machine::new();
    let taken = machine.lock_as(1, BULK_LOCK_TAKE, 60).unwrap();
    assert_eq!((taken.locked, taken.pid, taken.seconds), (1, 4711, 60));
    assert!(machine.pf.is_locked());
    assert_eq!(machine.lock_as(2, BULK_LOCK_TAKE, 60).unwrap_err(), Errno::Ebusy);
    assert_eq!(machine.lock_as(2, BULK_LOCK_RELEASE, 0).unwrap_err(), Errno::Esrch);
    assert!(machine.pf.is_locked());
    // Its own deadline it may move.
    machine.advance(50);
    assert_eq!(machine.lock_as(1, BULK_LOCK_GET, 0).unwrap().seconds, 10);
    assert_eq!(machine.lock_as(1, BULK_LOCK_TAKE, 30).unwrap().seconds, 30);
    assert_eq!(machine.lock_as(1, BULK_LOCK_RELEASE, 0).unwrap().locked, 0);
    assert!(!machine.pf.is_locked());
    assert_eq!(machine.lock_as(1, BULK_LOCK_RELEASE, 0).unwrap_err(), Errno::Esrch);
}

#[test]
fn a_lock_goes_with_its_owner() {
    let machine = Machine::new();
    machine.lock_as(1, BULK_LOCK_TAKE, 60).unwrap();
    machine.pf.close(2);
    assert!(machine.pf.is_locked(), "somebody else has gone");
    machine.pf.close(1);
    assert!(!machine.pf.is_locked());
}

#[test]
fn a_lock_goes_with_its_deadline() {
    let machine = Machine::new();
    machine.lock_as(1, BULK_LOCK_TAKE, 10).unwrap();
    machine.advance(9);
    machine.pf.purge();
    assert!(machine.pf.is_locked());
    machine.advance(1);
    machine.pf.purge();
    assert!(!machine.pf.is_locked());
    assert_eq!(machine.lock_as(1, BULK_LOCK_RELEASE, 0).unwrap_err(), Errno::Esrch);
    for seconds in [0, BULK_LOCK_MOST + 1, u32::MAX] {
        assert_eq!(machine.lock_as(1, BULK_LOCK_TAKE, seconds).unwrap_err(), Errno::Einval);
    }
}

#[test]
fn a_lock_for_good_stands_above_one_that_is_held() {
    let machine = Machine::new();
    machine.set_lock(true);
    assert_eq!(machine.lock_as(1, BULK_LOCK_TAKE, 60).unwrap_err(), Errno::Ebusy);
    let told = machine.lock_as(1, BULK_LOCK_GET, 0).unwrap();
    assert_eq!((told.locked, told.pid, told.seconds), (1, 0, 0));
    machine.pf.close(1);
    machine.advance(10_000);
    machine.pf.purge();
    assert!(machine.pf.is_locked(), "as it was before there were owners");
    machine.set_lock(false);
    // Who locks for good takes it over.
    machine.lock_as(1, BULK_LOCK_TAKE, 60).unwrap();
    machine.set_lock(true);
    machine.pf.close(1);
    assert!(machine.pf.is_locked());
    assert_eq!(machine.lock_as(1, BULK_LOCK_RELEASE, 0).unwrap_err(), Errno::Esrch);
    machine.set_lock(false);
    assert!(!machine.pf.is_locked());
}

#[test]
fn a_reader_may_ask_about_the_lock_and_no_more() {
    let machine = Machine::new();
    for action in [BULK_LOCK_TAKE, BULK_LOCK_RELEASE] {
        let answer = machine.call_of(1, false, DIOCBLOCK, &mut lock(action, 60));
        assert_eq!(answer, Err(Errno::Eacces));
    }
    machine
        .call_of(1, false, DIOCBLOCK, &mut lock(BULK_LOCK_GET, 0))
        .unwrap();
    assert_eq!(machine.call_of(1, true, DIOCBLOCK, &mut lock(3, 1)), Err(Errno::Einval));
}

fn rules(what: u32, nr: u32, count: u32) -> BulkRules {
    BulkRules {
        head: BulkHead::of::<BulkRules>(),
        kind: RulesetKind::Filter.into(),
        what,
        nr,
        count,
        ..BulkRules::default()
    }
}

#[test]
fn rules_come_in_bulk_as_they_come_one_by_one() {
    let machine = Machine::new();
    machine.load(RulesetKind::Filter, &passes(&["a", "b", "c"])).unwrap();
    machine.command(DIOCSTART).unwrap();
    machine.send(1, Direction::Out, &udp_packet()).unwrap();
    let mut arg = rules(BULK_RULES, 1, 10);
    let got = machine.whole_rules(&mut arg).unwrap();
    assert_eq!((arg.count, arg.total), (2, 3));
    assert_eq!(got, machine.rules_of("", Action::Pass).unwrap()[1..]);
}

#[test]
fn rules_in_bulk_tell_their_anchors_tables_and_interfaces() {
    let machine = Machine::new();
    machine.make_table("bad", &["10.0.0.1", "10.0.0.2"]);
    machine.set_addresses(1, &["192.0.2.1/24"]);
    let mut ends = pass("ends");
    ends.src.addr.kind = PF_ADDR_TABLE;
    ends.src.addr.set_tblname(TableName::new("bad").unwrap());
    ends.dst.addr = dynamic_addr("em0");
    let of_anchor = [(pass("long"), "../spam/inner/*"), (ends, ""), (pass("call"), "/b")];
    machine.load_into("a", RulesetKind::Filter, &of_anchor).unwrap();
    let mut arg = BulkRules {
        anchor: AnchorPath::new("a").unwrap(),
        ..rules(BULK_RULES, 0, 10)
    };
    let got = machine.whole_rules(&mut arg).unwrap();
    let calls: Vec<_> = got.iter().map(|(_, call)| call.as_str()).collect();
    assert_eq!(calls, ["../spam/inner/*", "", "/b"]);
    assert_eq!((got[1].0.src.addr.p, got[1].0.dst.addr.p), (2, 1), "addresses of each");
    assert_eq!(got, machine.rules_of("a", Action::Pass).unwrap());
}

#[test]
fn counters_come_in_bulk() {
    let machine = Machine::new();
    machine.load(RulesetKind::Filter, &passes(&["a", "b"])).unwrap();
    machine.command(DIOCSTART).unwrap();
    machine.send(1, Direction::Out, &udp_packet()).unwrap();
    let mut arg = rules(BULK_COUNTERS, 0, 2);
    let bytes = machine.bulk_rules(&mut arg, size_of::<RuleCounters>()).unwrap();
    let counters = bytes
        .chunks(size_of::<RuleCounters>())
        .map(|it| RuleCounters::read_from_bytes(it).unwrap());
    let counters: Vec<_> = counters.collect();
    assert_eq!(
        counters[0],
        RuleCounters {
            evaluations: 1,
            ..RuleCounters::default()
        }
    );
    assert_eq!(
        counters[1],
        RuleCounters {
            evaluations: 1,
            packets: [0, 1],
            bytes: [0, 32],
            nr: 1,
            states: 1,
            ..RuleCounters::default()
        }
    );
    // Beyond the end there is nothing, and it says how many there are.
    for nr in [2, u32::MAX] {
        let mut arg = rules(BULK_COUNTERS, nr, 2);
        assert_eq!(machine.bulk_rules(&mut arg, size_of::<RuleCounters>()), Ok(vec![]));
        assert_eq!((arg.count, arg.total), (0, 2));
    }
}

#[test]
fn counters_in_bulk_tell_source_nodes() {
    let machine = Machine::new();
    let rule = pass("tracked").tracking(true);
    machine.load(RulesetKind::Filter, &[(rule, vec![])]).unwrap();
    machine.command(DIOCSTART).unwrap();
    machine.send(1, Direction::Out, &udp_packet()).unwrap();
    let mut arg = rules(BULK_COUNTERS, 0, 1);
    let bytes = machine.bulk_rules(&mut arg, size_of::<RuleCounters>()).unwrap();
    let counters = RuleCounters::read_from_bytes(&bytes).unwrap();
    assert_eq!((counters.states, counters.src_nodes), (1, 1));
    assert_eq!(machine.rules(Action::Pass)[0].src_nodes, 1);
}

#[test]
fn a_ticket_of_other_rules_is_stale() {
    let machine = Machine::new();
    machine.load(RulesetKind::Filter, &passes(&["a"])).unwrap();
    let mut arg = rules(BULK_COUNTERS, 0, 1);
    machine.bulk_rules(&mut arg, size_of::<RuleCounters>()).unwrap();
    machine.bulk_rules(&mut arg, size_of::<RuleCounters>()).unwrap();
    machine.load(RulesetKind::Filter, &passes(&["b"])).unwrap();
    arg.count = 1;
    assert_eq!(
        machine.bulk_rules(&mut arg, size_of::<RuleCounters>()),
        Err(Errno::Ebusy)
    );
    let nonsense = [
        BulkRules {
            kind: 77,
            ..rules(BULK_RULES, 0, 0)
        },
        rules(9, 0, 0),
        BulkRules {
            anchor: AnchorPath::new("nowhere").unwrap(),
            ..rules(BULK_RULES, 0, 0)
        },
    ];
    for mut arg in nonsense {
        assert_eq!(machine.ioctl(DIOCBGETRULES, &mut arg), Err(Errno::Einval));
    }
    let mut arg = rules(BULK_RULES, 0, 1);
    assert_eq!(machine.ioctl(DIOCBGETRULES, &mut arg), Err(Errno::Efault));
}
