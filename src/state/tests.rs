//! Tests of the state table as a whole: against a model, while it grows, from several threads, and out of memory.
//!
//! What holds inside one tree is tested beside [`tree`](super::tree); its `check` is used here after each test.

use std::collections::{BTreeMap, BTreeSet};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::vec::Vec;

use proptest::prelude::*;

use super::tree::{CHUNK, STATES};
use super::*;
use crate::kpi::host::fail_allocations;
use crate::kpi::{Kernel, Passive};
use crate::mem::KVec;
use crate::rule::{self, Numbers};
use crate::wire::{Addr, Af, Proto};

/// Numbers that repeat from run to run (SplitMix64).
pub(super) fn random(seed: u64) -> u64 {
    let z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The key of connection `n`: each n has another in either tree. Every third is translated, every fifth is IPv6.
pub(super) fn key(n: u32) -> StateKey {
    let [a, b, c, d] = n.to_be_bytes();
    let (af, lan, gwy, ext) = if n.is_multiple_of(5) {
        let addr = |net: u8| Addr::from_octets([0x20, 1, 0xd, 0xb8, net, 0, 0, 0, 0, 0, 0, 0, a, b, c, d]);
        (Af::Inet6, addr(1), addr(2), addr(3))
    } else {
        (
            Af::Inet,
            Addr::from_v4([10, b, c, d]),
            Addr::from_v4([192, 0, 2, a]),
            Addr::from_v4([198, b, c, d]),
        )
    };
    let lan = Host {
        addr: lan,
        port: 1024 + (n % 60_000) as u16,
    };
    StateKey {
        ext: Host { addr: ext, port: 443 },
        lan,
        gwy: if n.is_multiple_of(3) {
            Host {
                addr: gwy,
                port: lan.port ^ 1,
            }
        } else {
            lan
        },
        af,
        proto: if n.is_multiple_of(2) { Proto::TCP } else { Proto::UDP },
    }
}

/// What a new state has.
pub(super) fn body() -> Body {
    Body {
        unlinked: false,
        timeout: Timeout::TcpFirst,
        course: Course::Direct,
        expire: 0,
        src: Peer::default(),
        dst: Peer::default(),
        packets: [0; 2],
        bytes: [0; 2],
    }
}

fn origin(key: StateKey) -> Origin {
    Origin {
        key,
        direction: Direction::Out,
        interface: 1,
        rule: None,
        nat_rule: None,
        extra: None,
        id: 0,
        creator: 1,
        creation: 1000,
    }
}

fn table(limit: usize) -> StateTable {
    StateTable::new(&Kernel::seeded(1), limit).unwrap()
}

const TREES: [Tree; 2] = [Tree::LanExt, Tree::ExtGwy];

impl StateTable {
    /// Asserts that both trees are in order and hold the same states, as many as are counted.
    fn check(&self) {
        let level = SoftNet::raise();
        let passive = Passive::new().unwrap();
        let section = passive.read(&level);
        assert_eq!(self.check_trees(), [self.len(); 2]);
        let mut seen = 0;
        let end = self.walk(0, &level, |state| {
            seen += 1;
            for tree in TREES {
                let found = self.find(tree, &state.key().of_tree(tree), &level, &section);
                assert!(found.is_some_and(|found| ptr::eq(found, state)));
            }
            true
        });
        assert_eq!(end, None);
        assert_eq!(seen, self.len());
    }
}

/// A key of a model of one tree, which is ordered.
type Flat = (Host, Host, Af, Proto);

fn flat(key: &TreeKey) -> Flat {
    (key.near, key.far, key.af, key.proto)
}

/// One of few keys, so that they meet: three near ends before and after translation, two far ones, either family.
fn any_key() -> impl Strategy<Value = StateKey> {
    let host = |net: u8, six: bool, n: u8| Host {
        addr: if six {
            Addr::from_octets([0xfd, net, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, n])
        } else {
            Addr::from_v4([10, net, 0, n])
        },
        port: 1000 + u16::from(n / 2),
    };
    (any::<bool>(), 0u8..3, 0u8..3, 0u8..2, any::<bool>()).prop_map(move |(six, lan, gwy, ext, tcp)| StateKey {
        ext: host(2, six, ext),
        lan: host(1, six, lan),
        gwy: host(1, six, gwy),
        af: if six { Af::Inet6 } else { Af::Inet },
        proto: if tcp { Proto::TCP } else { Proto::UDP },
    })
}

#[derive(Debug, Clone)]
enum Step {
    Insert(StateKey),
    Find(StateKey),
    Kill(StateKey),
    Sweep(u64),
    Walk(usize),
    Reap,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => any_key().prop_map(Step::Insert),
        3 => any_key().prop_map(Step::Find),
        3 => any_key().prop_map(Step::Kill),
        1 => (2u64..6).prop_map(Step::Sweep),
        1 => (1usize..20).prop_map(Step::Walk),
        1 => Just(Step::Reap),
    ]
}

proptest! {
    #[test]
    fn the_table_holds_what_two_maps_hold(steps in prop::collection::vec(any_step(), 1..200)) {
        let table = table(30);
        let passive = Passive::new().unwrap();
        let mut models: [BTreeMap<Flat, (u64, StateKey)>; 2] = Default::default();
        let forget = |models: &mut [BTreeMap<Flat, (u64, StateKey)>; 2], key: &StateKey| {
            for tree in TREES {
                models[tree as usize].remove(&flat(&key.of_tree(tree)));
            }
        };
        for step in steps {
            let level = SoftNet::raise();
            let section = passive.read(&level);
            match step {
                Step::Insert(key) => {
                    let full = models[0].len() == 30;
                    let exists = TREES.iter().any(|&tree| models[tree as usize].contains_key(&flat(&key.of_tree(tree))));
                    match table.insert(origin(key), body(), &level, &section) {
                        Ok(state) => {
                            prop_assert!(!full && !exists);
                            prop_assert_eq!(*state.key(), key);
                            for tree in TREES {
                                models[tree as usize].insert(flat(&key.of_tree(tree)), (state.id().0, key));
                            }
                        }
                        Err(InsertError::Limit) => prop_assert!(full),
                        Err(InsertError::Exists) => prop_assert!(exists),
                        Err(InsertError::NoMemory) => prop_assert!(false),
                    }
                }
                Step::Find(key) => {
                    for tree in TREES {
                        let key = key.of_tree(tree);
                        let found = table.find(tree, &key, &level, &section);
                        let expected = models[tree as usize].get(&flat(&key));
                        prop_assert_eq!(found.map(|state| (state.id().0, *state.key())), expected.copied());
                    }
                }
                Step::Kill(key) => {
                    if let Some(state) = table.find(Tree::ExtGwy, &key.of_tree(Tree::ExtGwy), &level, &section) {
                        let key = *state.key();
                        prop_assert!(table.kill(state, &level));
                        prop_assert!(!table.kill(state, &level), "it is dead already");
                        forget(&mut models, &key);
                    }
                }
                Step::Sweep(divisor) => {
                    let mut from = Some(0);
                    let mut seen = 0;
                    let all = table.len();
                    while let Some(place) = from {
                        let (visited, next) = table.sweep(place, &level, &section, |state| {
                            let dies = state.id().0.is_multiple_of(divisor);
                            state.lock(&level).unlinked = dies;
                            dies
                        });
                        seen += visited;
                        from = next;
                    }
                    prop_assert_eq!(seen, all);
                    for model in &mut models {
                        model.retain(|_, (id, _)| !id.is_multiple_of(divisor));
                    }
                }
                Step::Walk(stride) => {
                    let mut ids = BTreeSet::new();
                    let mut from = Some(0);
                    while let Some(place) = from {
                        let mut left = stride;
                        from = table.walk(place, &level, |state| {
                            let wanted = left > 0;
                            left = left.saturating_sub(1);
                            assert!(!wanted || ids.insert(state.id().0), "seen twice");
                            wanted
                        });
                    }
                    prop_assert!(ids.iter().eq(models[0].values().map(|(id, _)| id).collect::<BTreeSet<_>>()));
                }
                Step::Reap => {
                    drop(section);
                    table.reap(&passive);
                }
            }
            prop_assert_eq!(table.len(), models[0].len());
            prop_assert_eq!(models[0].len(), models[1].len());
        }
        table.check();
    }
}

#[test]
fn a_key_occurs_once_in_each_tree() {
    let table = table(100);
    let passive = Passive::new().unwrap();
    let level = SoftNet::raise();
    let section = passive.read(&level);
    let host = |last: u8, port| Host {
        addr: Addr::from_v4([10, 0, 0, last]),
        port,
    };
    let key = |lan, gwy| StateKey {
        ext: host(9, 80),
        lan,
        gwy,
        af: Af::Inet,
        proto: Proto::TCP,
    };
    let insert = |key| table.insert(origin(key), body(), &level, &section).map(|_| ());
    assert_eq!(insert(key(host(1, 1), host(2, 1))), Ok(()));
    // The same inside, another outside; and the other way round.
    assert_eq!(insert(key(host(1, 1), host(2, 2))), Err(InsertError::Exists));
    assert_eq!(insert(key(host(1, 2), host(2, 1))), Err(InsertError::Exists));
    // Crosswise they are different keys in different trees.
    assert_eq!(insert(key(host(2, 1), host(1, 1))), Ok(()));
    // Nothing stays behind of what was refused.
    let found = |tree, near| {
        let key = TreeKey {
            near,
            far: host(9, 80),
            af: Af::Inet,
            proto: Proto::TCP,
        };
        table.find(tree, &key, &level, &section).is_some()
    };
    assert!(!found(Tree::ExtGwy, host(2, 2)) && !found(Tree::LanExt, host(1, 2)));
    assert!(found(Tree::LanExt, host(1, 1)) && found(Tree::ExtGwy, host(2, 1)));
    // Each part of a key counts.
    let whole = TreeKey {
        near: host(1, 1),
        far: host(9, 80),
        af: Af::Inet,
        proto: Proto::TCP,
    };
    for other in [
        TreeKey {
            near: host(1, 3),
            ..whole
        },
        TreeKey {
            near: host(3, 1),
            ..whole
        },
        TreeKey {
            far: host(9, 81),
            ..whole
        },
        TreeKey {
            far: host(8, 80),
            ..whole
        },
        TreeKey { af: Af::Inet6, ..whole },
        TreeKey {
            proto: Proto::UDP,
            ..whole
        },
    ] {
        assert!(
            table.find(Tree::LanExt, &other, &level, &section).is_none(),
            "{other:?}"
        );
    }
    table.check();
}

#[test]
fn the_limit_holds() {
    let table = table(3);
    let passive = Passive::new().unwrap();
    let level = SoftNet::raise();
    let section = passive.read(&level);
    let insert = |n| table.insert(origin(key(n)), body(), &level, &section);
    for n in 0..3 {
        assert!(insert(n).is_ok());
    }
    assert_eq!(insert(3).err(), Some(InsertError::Limit));
    assert_eq!(table.len(), 3);
    // Lowered below what is there: that stays, and nothing comes in until it is fewer.
    table.set_limit(2);
    assert_eq!(insert(3).err(), Some(InsertError::Limit));
    let kill = |n| {
        let key = key(n).of_tree(Tree::LanExt);
        assert!(table.kill(table.find(Tree::LanExt, &key, &level, &section).unwrap(), &level));
    };
    kill(0);
    assert_eq!(insert(3).err(), Some(InsertError::Limit));
    kill(1);
    assert!(insert(3).is_ok());
    // What exists does not use up what is left.
    table.set_limit(3);
    assert_eq!(insert(3).err(), Some(InsertError::Exists));
    assert!(insert(4).is_ok());
    table.check();
}

#[test]
fn out_of_memory_at_any_point_leaves_the_table_whole() {
    let passive = Passive::new().unwrap();
    for after in 0.. {
        let failing = fail_allocations(after);
        let made = StateTable::new(&Kernel::seeded(1), 10_000);
        drop(failing);
        if made.is_ok() {
            assert!(after > 2, "a table takes memory");
            break;
        }
    }
    let table = table(usize::MAX);
    let level = SoftNet::raise();
    let section = passive.read(&level);
    let mut n = 0;
    let (mut refused, mut did_not_grow) = (0, 0);
    // A state takes one allocation, and a chunk of partitions one more for each tree: 0, 1 and 2 fail at each of them.
    while n < 20_000 {
        for after in 0..6 {
            let before = (table.len(), table.partitions());
            let failing = fail_allocations(after);
            let inserted = table.insert(origin(key(n)), body(), &level, &section).map(|_| ());
            drop(failing);
            assert_eq!(inserted, if after == 0 { Err(InsertError::NoMemory) } else { Ok(()) });
            assert_eq!(table.len(), before.0 + usize::from(after > 0));
            refused += usize::from(after == 0);
            did_not_grow += usize::from(before.1[0] >= CHUNK && table.partitions()[0] < table.len() / STATES);
            n += u32::from(after > 0);
        }
    }
    assert!(refused > 0 && did_not_grow > 0);
    table.check();
    // It catches up when there is memory again.
    while table
        .partitions()
        .into_iter()
        .any(|partitions| partitions < table.len() / STATES)
    {
        table.insert(origin(key(n)), body(), &level, &section).unwrap();
        n += 1;
        assert!(n < 50_000);
    }
    table.check();
}

#[test]
fn a_rule_counts_its_states() {
    let rule = KArc::new(Rule::new(rule::blank().unwrap(), KVec::new(), &Numbers::default(), 0).unwrap()).unwrap();
    let nat_rule = KArc::new(Rule::new(rule::blank().unwrap(), KVec::new(), &Numbers::default(), 1).unwrap()).unwrap();
    let count = || {
        (
            rule.states.load(Ordering::Relaxed),
            nat_rule.states.load(Ordering::Relaxed),
        )
    };
    let table = table(10);
    let passive = Passive::new().unwrap();
    let level = SoftNet::raise();
    let section = passive.read(&level);
    let insert = |n, nat: bool| {
        let origin = Origin {
            rule: Some(rule.clone()),
            nat_rule: nat.then(|| nat_rule.clone()),
            extra: None,
            ..origin(key(n))
        };
        table.insert(origin, body(), &level, &section)
    };
    let state = insert(1, true).unwrap();
    assert_eq!(count(), (1, 1));
    insert(2, false).unwrap();
    assert_eq!(count(), (2, 1));
    assert_eq!(insert(2, true).err(), Some(InsertError::Exists));
    assert_eq!(count(), (2, 1));
    table.kill(state, &level);
    assert_eq!(count(), (1, 0));
}

#[test]
fn states_that_the_caller_numbers_keep_their_number() {
    let table = table(10);
    let passive = Passive::new().unwrap();
    let level = SoftNet::raise();
    let section = passive.read(&level);
    let numbered = Origin {
        id: 77,
        creator: 5,
        ..origin(key(1))
    };
    assert_eq!(table.insert(numbered, body(), &level, &section).unwrap().id(), (77, 5));
    let ids: BTreeSet<u64> = (2..10)
        .map(|n| table.insert(origin(key(n)), body(), &level, &section).unwrap().id().0)
        .collect();
    assert_eq!(ids.len(), 8);
    assert!(!ids.contains(&0));
}

#[test]
fn a_removed_state_stays_for_those_who_found_it() {
    let table = table(usize::MAX);
    let passive = Passive::new().unwrap();
    let (done, reaped) = mpsc::channel();
    thread::scope(|scope| {
        let level = SoftNet::raise();
        let section = passive.read(&level);
        let state = table.insert(origin(key(0)), body(), &level, &section).unwrap();
        assert!(table.kill(state, &level));
        let (table, passive) = (&table, &passive);
        scope.spawn(move || {
            table.reap(passive);
            done.send(()).unwrap();
        });
        while !table.has_empty_limbo() {
            thread::yield_now();
        }
        // Its memory is not given to another one, and its key can still be read.
        for n in 1..10_000 {
            let other = table.insert(origin(key(n)), body(), &level, &section).unwrap();
            assert!(!ptr::eq(other, state));
        }
        assert_eq!(*state.key(), key(0));
        assert!(state.lock(&level).unlinked);
        assert!(reaped.try_recv().is_err());
        drop(section);
        reaped.recv().unwrap();
    });
    table.check();
}

/// Residents stay, others come and go between any two steps of the walk, and the partitions under it are split five times
/// over.
#[test]
fn a_walk_sees_every_state_that_stays_once_while_the_table_grows() {
    const RESIDENTS: u32 = 2000;
    let table = table(usize::MAX);
    let passive = Passive::new().unwrap();
    let mut newcomers = RESIDENTS..;
    let insert = |n| {
        let level = SoftNet::raise();
        let section = passive.read(&level);
        table.insert(origin(key(n)), body(), &level, &section).unwrap().id().0
    };
    let residents: Vec<u64> = (0..RESIDENTS).map(insert).collect();
    let start = table.partitions()[0];
    let mut seen: BTreeMap<u64, usize> = BTreeMap::new();
    let mut from = Some(0);
    let mut steps = 0;
    while let Some(place) = from {
        let level = SoftNet::raise();
        // One state a step, so that the cursor stands everywhere; the second ends the step and is not visited.
        let mut visited = None;
        from = table.walk(place, &level, |state| {
            let first = visited.is_none();
            visited = visited.or(Some(state.id().0));
            first
        });
        steps += 1;
        if let Some(id) = visited {
            *seen.entry(id).or_default() += 1;
        }
        if table.len() < 40_000 {
            for n in newcomers.by_ref().take(20) {
                insert(n);
            }
            let level = SoftNet::raise();
            let section = passive.read(&level);
            let victim = RESIDENTS + (random(steps) % u64::from(newcomers.start - RESIDENTS)) as u32;
            if let Some(state) = table.find(Tree::LanExt, &key(victim).of_tree(Tree::LanExt), &level, &section) {
                table.kill(state, &level);
            }
        }
        table.reap(&passive);
    }
    assert!(table.partitions()[0] > 5 * start);
    assert!(residents.iter().all(|id| seen.get(id) == Some(&1)));
    assert!(seen.values().all(|&times| times == 1));
    table.check();
}

#[test]
fn a_sweep_takes_all_that_are_doomed_while_the_table_grows() {
    let table = table(usize::MAX);
    let passive = Passive::new().unwrap();
    let insert = |n| {
        let level = SoftNet::raise();
        let section = passive.read(&level);
        table.insert(origin(key(n)), body(), &level, &section).unwrap().id().0
    };
    let doomed: BTreeSet<u64> = (0..6000).map(insert).collect();
    let mut newcomers = 6000..30_000;
    let mut from = Some(0);
    while let Some(place) = from {
        for n in newcomers.by_ref().take(10) {
            insert(n);
        }
        let level = SoftNet::raise();
        let section = passive.read(&level);
        (_, from) = table.sweep(place, &level, &section, |state| {
            let dies = doomed.contains(&state.id().0);
            state.lock(&level).unlinked = dies;
            dies
        });
    }
    assert_eq!(newcomers.len(), 0);
    assert_eq!(table.len(), 24_000);
    table.reap(&passive);
    table.check();
}

/// Several threads insert states of their own and look for them, fight over a few shared keys, and sweep, while one
/// reaps.
#[test]
fn threads_lose_nothing_and_see_nothing_wrong() {
    const THREADS: u32 = 3;
    const OWN: u32 = 8000;
    const SHARED: u32 = 16;
    let rule = KArc::new(Rule::new(rule::blank().unwrap(), KVec::new(), &Numbers::default(), 0).unwrap()).unwrap();
    let table = table(usize::MAX);
    let passive = Passive::new().unwrap();
    let (inserted, killed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let working = AtomicUsize::new(THREADS as usize);

    let own = |thread: u32, n: u32| key(SHARED + thread * OWN + n);
    let work = |thread: u32| {
        for n in 0..OWN {
            let seed = u64::from(thread * OWN + n);
            let level = SoftNet::raise();
            let section = passive.read(&level);
            let insert = |key| {
                let origin = Origin {
                    rule: Some(rule.clone()),
                    ..origin(key)
                };
                let state = table.insert(origin, body(), &level, &section).ok()?;
                inserted.fetch_add(1, Ordering::Relaxed);
                Some(state)
            };
            let tree = TREES[n as usize % 2];
            let find = |key: StateKey| {
                let key = key.of_tree(tree);
                let found = table.find(tree, &key, &level, &section);
                assert!(
                    found.is_none_or(|state| state.key().of_tree(tree) == key),
                    "another's state"
                );
                found
            };
            let kill = |state: &State| {
                if table.kill(state, &level) {
                    killed.fetch_add(1, Ordering::Relaxed);
                }
            };
            // One's own: it is there from its insertion on, however the partitions split around it. Every fourth goes
            // again.
            let state = insert(own(thread, n)).expect("nobody else has the key");
            assert!(find(own(thread, n)).is_some_and(|found| ptr::eq(found, state)));
            let before = (random(seed) % u64::from(n + 1)) as u32;
            assert_eq!(
                find(own(thread, before)).is_some(),
                before % 4 != 3 || before == n,
                "{before} of {n}"
            );
            if n % 4 == 3 {
                kill(state);
                assert!(find(own(thread, n)).is_none());
            }
            // The shared ones: whoever comes first.
            let contended = key((random(!seed) % u64::from(SHARED)) as u32);
            match find(contended) {
                Some(state) if seed % 3 != 0 => kill(state),
                Some(state) => state.lock(&level).packets[0] += 1,
                None => drop(insert(contended)),
            }
            if n.is_multiple_of(64) {
                let (_, _) = table.sweep(random(seed ^ 5), &level, &section, |state| {
                    let mut body = state.lock(&level);
                    let dies = !body.unlinked && (0..SHARED).any(|n| *state.key() == key(n));
                    body.unlinked |= dies;
                    killed.fetch_add(usize::from(dies), Ordering::Relaxed);
                    dies
                });
            }
        }
        working.fetch_sub(1, Ordering::Release);
    };
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let work = &work;
            scope.spawn(move || work(thread));
        }
        scope.spawn(|| {
            while working.load(Ordering::Acquire) > 0 {
                table.reap(&passive);
                thread::yield_now();
            }
        });
    });

    assert!(table.partitions()[0] > 2 * CHUNK, "partitions were split meanwhile");
    let (inserted, killed) = (inserted.into_inner(), killed.into_inner());
    assert!(killed > (THREADS * OWN / 4) as usize);
    assert_eq!(table.len(), inserted - killed);
    assert_eq!(rule.states.load(Ordering::Relaxed) as usize, table.len());
    let level = SoftNet::raise();
    let section = passive.read(&level);
    for thread in 0..THREADS {
        for n in 0..OWN {
            let key = own(thread, n).of_tree(Tree::LanExt);
            assert_eq!(table.find(Tree::LanExt, &key, &level, &section).is_some(), n % 4 != 3);
        }
    }
    drop(section);
    table.reap(&passive);
    table.check();
}
