//! The state table beside red-black trees: lookups, insertions, removals, memory.
//!
//! # Overview
//! Both tables have the same states. A pass times one, then the other (every second pass the other way round), over the same
//! operations. It is timed in short spans, and what is reported is the median of the spans of all passes, so that what else
//! the machine does meanwhile is left out where it can be. Lookups of random states in random directions come from an
//! array that is read from its beginning to its end, at least as long as the table, so that no pass finds in a cache what the
//! one before left there. As packets do, each operation opens a read section of its own.
//!
//! # Life cycle, locking
//! One thread. The tables end with the measurement.

use std::array;
use std::hint::black_box;
use std::time::Instant;

use pf::kpi::{Direction, Kernel, Passive, SoftNet};
use pf::state::{Body, Course, Origin, Peer, Place, StateKey, StateTable, Tree, TreeKey};
use pf_abi::Timeout;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::{SliceRandom, index};

use crate::memory;
use crate::population::Population;
use crate::rbtree::{Pools, RbTable};
use crate::report::{Record, tenths};

/// Lookups that are timed at once: a fraction of a millisecond.
pub(crate) const SPAN: usize = 4096;
/// Lookups in a pass, unless the table has more states.
const LOOKUPS: usize = 1 << 20;
/// States that are removed and replaced in a pass.
const CHANGES: usize = 1 << 17;
/// The most of them that are timed at once.
const ROUND: usize = 1 << 13;

/// Lookups that are begun together where they come in bursts, as packets do in pf-router.
const BURST: usize = 32;

/// What is compared.
trait Table {
    fn find(&self, tree: Tree, key: &TreeKey) -> bool;
    fn insert(&self, key: &StateKey) -> bool;
    fn remove(&self, key: &StateKey) -> bool;
    /// Gives memory back that removals left for later.
    fn settle(&self);
}

/// The engine's table.
struct Ours {
    table: StateTable,
    passive: Passive,
}

impl Table for Ours {
    #[inline]
    fn find(&self, tree: Tree, key: &TreeKey) -> bool {
        let level = SoftNet::raise();
        let section = self.passive.read(&level);
        black_box(self.table.find(tree, key, &level, &section)).is_some()
    }

    #[inline]
    fn insert(&self, key: &StateKey) -> bool {
        let level = SoftNet::raise();
        let section = self.passive.read(&level);
        let origin = Origin {
            key: *key,
            direction: Direction::In,
            interface: 0,
            rule: None,
            nat_rule: None,
            extra: None,
            id: 0,
            creator: 0,
            creation: 0,
        };
        let body = Body {
            unlinked: false,
            timeout: Timeout::TcpEstablished,
            course: Course::Direct,
            expire: 0,
            src: Peer::default(),
            dst: Peer::default(),
            packets: [0; 2],
            bytes: [0; 2],
        };
        black_box(self.table.insert(origin, body, &level, &section)).is_ok()
    }

    #[inline]
    fn remove(&self, key: &StateKey) -> bool {
        let level = SoftNet::raise();
        let section = self.passive.read(&level);
        let key = key.of_tree(Tree::LanExt);
        let found = self.table.find(Tree::LanExt, &key, &level, &section);
        found.is_some_and(|state| self.table.kill(state, &level))
    }

    fn settle(&self) {
        self.table.reap(&self.passive);
    }
}

impl Ours {
    /// How many of these keys are there, looked up in bursts.
    fn find_all(&self, probes: &[Probe]) -> usize {
        let level = SoftNet::raise();
        let mut found = 0;
        for probes in probes.chunks_exact(BURST) {
            let section = self.passive.read(&level);
            let places: [Place; BURST] = array::from_fn(|i| {
                let (tree, key) = &probes[i];
                let place = self.table.place(*tree, key);
                self.table.fetch_partition(place);
                place
            });
            for place in places {
                self.table.fetch_keys(place);
            }
            for (place, (_, key)) in places.into_iter().zip(probes) {
                let state = black_box(self.table.find_at(place, key, &level, &section));
                found += usize::from(state.is_some());
            }
        }
        found
    }
}

impl Table for RbTable<'_> {
    #[inline]
    fn find(&self, tree: Tree, key: &TreeKey) -> bool {
        black_box(self.find(tree, key)).is_some()
    }

    #[inline]
    fn insert(&self, key: &StateKey) -> bool {
        black_box(self.insert(key))
    }

    #[inline]
    fn remove(&self, key: &StateKey) -> bool {
        self.remove(key)
    }

    fn settle(&self) {}
}

/// A key, and the tree that it is looked up in.
type Probe = (Tree, TreeKey);

/// How many of these keys are there, looked up one after the other.
#[inline]
fn find_each(table: &impl Table, probes: &[Probe]) -> usize {
    probes.iter().filter(|(tree, key)| table.find(*tree, key)).count()
}

/// Nanoseconds of one lookup, by spans. `find` says how many of some keys it finds.
fn time_lookups(probes: &[Probe], find: impl Fn(&[Probe]) -> usize) -> Vec<f64> {
    let spans = probes.chunks_exact(SPAN);
    spans
        .map(|probes| {
            let start = Instant::now();
            let found = find(probes);
            let elapsed = start.elapsed();
            assert_eq!(found, SPAN, "each of them is there");
            elapsed.as_nanos() as f64 / SPAN as f64
        })
        .collect()
}

/// Lookups in bursts and one after the other in our table, and one after the other in theirs: the median of each.
fn compare_lookups(ours: &Ours, theirs: &RbTable<'_>, probes: &[Probe], passes: usize) -> [f64; 3] {
    let mut spans = [const { vec![] }; 3];
    for pass in 0..passes {
        for way in 0..3 {
            let way = (pass + way) % 3;
            spans[way].extend(time_lookups(probes, |probes| match way {
                0 => ours.find_all(probes),
                1 => find_each(ours, probes),
                _ => find_each(theirs, probes),
            }));
        }
    }
    spans.map(median)
}

/// Connections of which a part is in the tables.
struct Turnover {
    keys: Vec<StateKey>,
    random: SmallRng,
}

impl Turnover {
    /// Picks `count` of the first `states` keys, and changes places between them and those behind. They are the last `count`
    /// then, in an order without meaning.
    fn replace(&mut self, states: usize, count: usize) -> (Vec<StateKey>, Vec<StateKey>) {
        let picked = index::sample(&mut self.random, states, count);
        let mut gone = Vec::with_capacity(count);
        let mut new = Vec::with_capacity(count);
        for (at, spare) in picked.into_iter().zip(states..) {
            gone.push(self.keys[at]);
            new.push(self.keys[spare]);
            self.keys.swap(at, spare);
        }
        new.shuffle(&mut self.random);
        (gone, new)
    }
}

/// Nanoseconds of one removal, and of one insertion.
fn time_changes(table: &impl Table, gone: &[StateKey], new: &[StateKey]) -> [f64; 2] {
    let start = Instant::now();
    let removed = gone.iter().filter(|key| table.remove(key)).count();
    table.settle();
    let removal = start.elapsed();
    let start = Instant::now();
    let inserted = new.iter().filter(|key| table.insert(key)).count();
    let insertion = start.elapsed();
    assert_eq!((removed, inserted), (gone.len(), new.len()));
    [
        removal.as_nanos() as f64 / gone.len() as f64,
        insertion.as_nanos() as f64 / new.len() as f64,
    ]
}

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Both tables with the first `states` of the keys in them, and what they cost.
fn fill<'a>(keys: &[StateKey], pools: &'a Pools) -> (Ours, RbTable<'a>, [f64; 2]) {
    let before = memory::allocated();
    let ours = Ours {
        table: StateTable::new(&Kernel::seeded(1), usize::MAX).expect("memory"),
        passive: Passive::new().expect("memory"),
    };
    assert!(keys.iter().all(|key| ours.insert(key)));
    let between = memory::allocated();
    let theirs = RbTable::new(pools);
    assert!(keys.iter().all(|key| theirs.insert(key)));
    let after = memory::allocated();
    let each = |bytes: usize| bytes as f64 / keys.len() as f64;
    (ours, theirs, [each(between - before), each(after - between)])
}

/// All figures of tables with `states` random states.
pub(crate) fn measure(states: usize, passes: usize) -> Vec<Record> {
    let changes = (states / 10).min(ROUND);
    let population = Population::random(states + changes);
    let pools = Pools::new().expect("memory");
    let (ours, theirs, allocated) = fill(&population.keys[..states], &pools);
    let addresses = population.addresses;

    let counted = ours.table.memory() as f64 / states as f64;
    let memory = Record {
        name: "state-memory",
        states,
        addresses,
        bytes: Some(tenths(counted)),
        allocated_bytes: Some(tenths(allocated[0])),
        baseline: Some("rbtree"),
        baseline_bytes: Some(RbTable::BYTES as f64),
        ratio: Some(tenths(RbTable::BYTES as f64 / counted)),
        ..Record::default()
    };

    let probes = population.probes(states, LOOKUPS.max(states));
    let [bursts, single, their_lookup] = compare_lookups(&ours, &theirs, &probes, passes);
    drop(probes);

    // Few changes at a time, so that the tables stay about as large as they are; many in all.
    let mut turnover = Turnover {
        keys: population.keys,
        random: SmallRng::seed_from_u64(3),
    };
    let mut times = [(); 2].map(|()| (vec![], vec![]));
    for round in 0..passes * CHANGES / changes {
        let (gone, new) = turnover.replace(states, changes);
        for is_ours in [round.is_multiple_of(2), !round.is_multiple_of(2)] {
            let (removals, insertions) = &mut times[usize::from(!is_ours)];
            let [removal, insertion] = match is_ours {
                true => time_changes(&ours, &gone, &new),
                false => time_changes(&theirs, &gone, &new),
            };
            removals.push(removal);
            insertions.push(insertion);
        }
    }
    let [(remove, insert), (their_remove, their_insert)] =
        times.map(|(remove, insert)| (median(remove), median(insert)));
    vec![
        Record::compared("state-lookup", states, addresses, [bursts, their_lookup]),
        Record::compared("state-lookup-single", states, addresses, [single, their_lookup]),
        Record::compared("state-insert", states, addresses, [insert, their_insert]),
        Record::compared("state-remove", states, addresses, [remove, their_remove]),
        memory,
    ]
}

/// Lookups among states whose keys differ as little as keys can.
pub(crate) fn measure_crafted(states: usize, passes: usize) -> Record {
    let population = Population::crafted(states);
    let pools = Pools::new().expect("memory");
    let (ours, theirs, _) = fill(&population.keys, &pools);
    let probes = population.probes(states, LOOKUPS.max(states));
    let [bursts, _, theirs] = compare_lookups(&ours, &theirs, &probes, passes);
    Record::compared("state-lookup-crafted", states, population.addresses, [bursts, theirs])
}
