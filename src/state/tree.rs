//! One of the two state trees: an ordered set of states by key, cut into many small partitions.
//!
//! # Overview
//! A key's place is its keyed hash with the bits in reverse, and the tree is ordered by place. No two states of a tree have the same place: a
//! second one is refused as if its key were there already, which one insertion in 2^42 meets at four million states, so
//! that a place alone says where a walk is to go on. The bits of the place, read from the top, lead to a
//! [`partition`](super::partition): a lookup touches one cache line there and the state, and is O(log n) even if all states fell into one
//! partition. Partitions are added one at a time, each by splitting one other in two (linear hashing), so nothing ever stalls
//! while the table grows; since a split cuts a range of places in half, a walk in the order of places sees every state
//! exactly once however often partitions split meanwhile. The purge and dumps walk like that, so there is no list of all
//! states, no lock around one, and no memory in each state for one.
//!
//! # Life cycle
//! Partitions live in chunks that are allocated as the table grows and freed with the tree. The tree links states and
//! does not own them: an unlinked state has to stay as it is until every reader that could still look at it has left
//! its read section.
//!
//! # Locking
//! Each partition has a spin lock for those who change it; lookups take none. Lock order: a partition of the first tree, one of
//! the second, a state. A split holds two partitions of one tree and takes nothing else.

use core::alloc::Layout;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use super::partition::{DEPTH, Locked, Partition, Search};
use super::{State, Tree};
use crate::kpi::{NoMemory, Pool, ReadSection, SoftNet, SpinLock, fetch};
use crate::mem::KVec;

/// Partitions in a chunk, and the fewest that a tree has: 64 KiB.
pub(super) const CHUNK: usize = 1024;
/// Chunks that a tree may have: 8 million partitions.
const CHUNKS: usize = 8192;
/// States to a partition, on the average, before another is added.
pub(super) const STATES: usize = 3;
/// Lookups without a lock before one with it.
const ATTEMPTS: usize = 4;

/// How often all partitions have been doubled, to make `count` of them, which is never 0.
#[inline]
fn doublings(count: usize) -> u32 {
    (count | 1).ilog2()
}

/// Where a hash stands in the order of a tree, and the hash that stands there.
#[inline]
pub(super) fn place(hash: u64) -> u64 {
    hash.reverse_bits()
}

/// Which of `count` partitions holds what has this hash: as many bits from the top of the place, read backwards, as the count has,
/// and one fewer where that partition has not been split off yet.
#[inline]
fn index(hash: u64, count: usize) -> usize {
    let above = 2 << doublings(count);
    let split = hash as usize & (above - 1);
    if split < count { split } else { split & (above / 2 - 1) }
}

/// The first place behind those of the partition that holds `place`, among `count` of them.
fn end_of_range(place: u64, count: usize) -> Option<u64> {
    let level = doublings(count);
    let half = self::place(place) as usize & ((1 << level) - 1);
    let bits = if half + (1 << level) < count { level + 1 } else { level };
    (place >> (64 - bits))
        .checked_add(1)
        .filter(|next| *next < 1 << bits)
        .map(|next| next << (64 - bits))
}

/// A set of states, by one of their keys.
///
/// # Invariants
/// The first `count` partitions exist: chunk `i / CHUNK` of the directory holds partition `i`. A state is linked in the
/// partition that its place and the count tell, once. The count and the chunks only grow, and only with `growing` held.
pub(super) struct PartitionedTree {
    tree: Tree,
    count: AtomicUsize,
    directory: KVec<AtomicPtr<[Partition; CHUNK]>>,
    chunks: Pool,
    growing: SpinLock<()>,
}

impl PartitionedTree {
    pub(super) fn new(tree: Tree) -> Result<Self, NoMemory> {
        let mut directory = KVec::with_capacity(CHUNKS)?;
        for _ in 0..CHUNKS {
            directory.push(AtomicPtr::new(ptr::null_mut()))?;
        }
        let name = match tree {
            Tree::LanExt => c"pflanext",
            Tree::ExtGwy => c"pfextgwy",
        };
        let chunks = Pool::new(name, Layout::new::<[Partition; CHUNK]>())?;
        let new = PartitionedTree {
            tree,
            count: AtomicUsize::new(CHUNK),
            directory,
            chunks,
            growing: SpinLock::new(()),
        };
        if new.add_chunk(0) { Ok(new) } else { Err(NoMemory) }
    }

    /// Makes chunk `number`, if it is not there. False where there is no memory, or no such chunk.
    fn add_chunk(&self, number: usize) -> bool {
        let Some(slot) = self.directory.get(number) else {
            return false;
        };
        if !slot.load(Ordering::Relaxed).is_null() {
            return true;
        }
        let Some(chunk) = self.chunks.get() else {
            return false;
        };
        let chunk: NonNull<Partition> = chunk.cast();
        for i in 0..CHUNK {
            // SAFETY: the pool gave memory for CHUNK partitions, and nobody else sees it yet.
            unsafe { chunk.add(i).write(Partition::new()) };
        }
        slot.store(chunk.as_ptr().cast(), Ordering::Release);
        true
    }

    #[inline]
    fn partition(&self, index: usize) -> &Partition {
        // SAFETY: `index` is below the count, so by the invariant its chunk exists (and with it its slot), and chunks stay
        // as long as the tree.
        unsafe {
            let chunk = self.directory.get_unchecked(index / CHUNK).load(Ordering::Acquire);
            &*chunk.cast::<Partition>().add(index % CHUNK)
        }
    }

    /// Locks the partition of this hash.
    fn lock<'a>(&'a self, hash: u64, level: &'a SoftNet) -> Locked<'a> {
        loop {
            let at = index(hash, self.count.load(Ordering::Acquire));
            let locked = self.partition(at).lock(level);
            // Each time that this goes round, the table has grown.
            if index(hash, self.count.load(Ordering::Acquire)) == at {
                return locked;
            }
        }
    }

    /// Begins to fetch what a lookup of `hash` reads first.
    #[inline]
    pub(super) fn fetch_partition(&self, hash: u64) {
        fetch(self.partition(index(hash, self.count.load(Ordering::Acquire))));
    }

    /// Begins to fetch the first `T` bytes of the state there. Reads what [`fetch_partition`](Self::fetch_partition) has fetched.
    #[inline]
    pub(super) fn fetch_state<T>(&self, hash: u64) {
        self.partition(index(hash, self.count.load(Ordering::Acquire)))
            .fetch::<T>(hash);
    }

    /// The state of this hash, linked or only just unlinked.
    #[inline(always)]
    pub(super) fn find<'a>(&self, hash: u64, level: &SoftNet, section: &'a ReadSection<'_>) -> Option<&'a State> {
        let count = self.count.load(Ordering::Acquire);
        let found = self.partition(index(hash, count)).glance(self.tree, hash);
        found.or_else(|| self.find_further(hash, level, section))
    }

    /// The same where a glance does not tell.
    #[inline(never)]
    fn find_further<'a>(&self, hash: u64, level: &SoftNet, _section: &'a ReadSection<'_>) -> Option<&'a State> {
        for _ in 0..ATTEMPTS {
            let count = self.count.load(Ordering::Acquire);
            let partition = self.partition(index(hash, count));
            let version = partition.version();
            match partition.search(self.tree, hash, DEPTH) {
                Search::Found(state) => return Some(state),
                Search::Missing => {
                    if partition.is_still(version) && self.count.load(Ordering::Relaxed) == count {
                        return None;
                    }
                }
                Search::Lost => (),
            }
        }
        self.lock(hash, level).find(self.tree, hash)
    }

    /// Takes `state` out.
    pub(super) fn remove(&self, state: &State, level: &SoftNet) {
        let locked = self.lock(state.hash(self.tree), level);
        locked.remove(self.tree, state);
    }

    /// Visits states in the order of their places, from `from` on, until `visit` says false. The answer is where to go
    /// on, or nothing if that was all. A partition's lock is held around each visit, and let go between partitions.
    pub(super) fn walk(&self, from: u64, level: &SoftNet, mut visit: impl FnMut(&State) -> bool) -> Option<u64> {
        let mut from = from;
        loop {
            let (next, enough) = self.walk_partition(from, level, &mut visit);
            from = next?;
            if enough {
                return Some(from);
            }
        }
    }

    /// The same for at most one partition: where to go on, and whether `visit` has had enough.
    pub(super) fn walk_partition(
        &self,
        from: u64,
        level: &SoftNet,
        visit: &mut impl FnMut(&State) -> bool,
    ) -> (Option<u64>, bool) {
        let locked = self.lock(place(from), level);
        let end = end_of_range(from, self.count.load(Ordering::Acquire));
        let mut next = from;
        while let Some(state) = locked.first_from(self.tree, next) {
            let place = state.place(self.tree);
            if !visit(state) {
                return (Some(place), true);
            }
            match place.checked_add(1) {
                Some(behind) => next = behind,
                None => return (None, false),
            }
        }
        (end, false)
    }

    /// Adds partitions until there are enough for so many states, at most a few at a call, and none where there is no memory.
    pub(super) fn grow(&self, states: usize, level: &SoftNet) {
        let target = states / STATES;
        if self.count.load(Ordering::Relaxed) >= target {
            return;
        }
        let Some(_growing) = self.growing.try_lock(level) else {
            return;
        };
        for _ in 0..2 {
            let count = self.count.load(Ordering::Relaxed);
            if count >= target || !self.add_chunk(count / CHUNK) {
                return;
            }
            self.split(count, level);
        }
    }

    /// Makes partition `count` out of half of another one. Its chunk exists.
    fn split(&self, count: usize, level: &SoftNet) {
        let old = self.partition(count - (1 << doublings(count))).lock(level);
        let new = self.partition(count).lock(level);
        let goes = |hash| index(hash, count + 1) == count;
        old.split(self.tree, &new, goes, || self.count.store(count + 1, Ordering::Release));
    }

    /// Bytes that partitions take.
    pub(super) fn memory(&self) -> usize {
        let chunks = self.count.load(Ordering::Relaxed).div_ceil(CHUNK);
        chunks * size_of::<[Partition; CHUNK]>() + CHUNKS * size_of::<AtomicPtr<[Partition; CHUNK]>>()
    }

    /// How many partitions there are.
    pub(super) fn partitions(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

/// Links `state` into both trees, unless one of its places is taken. What is already there may be one that is being
/// removed.
pub(super) fn insert(trees: &[PartitionedTree; 2], state: &State, level: &SoftNet) -> bool {
    let [first, second] = trees;
    let hash = |tree: &PartitionedTree| state.hash(tree.tree);
    let one = first.lock(hash(first), level);
    let two = second.lock(hash(second), level);
    let taken = |locked: &Locked<'_>, tree: &PartitionedTree| locked.find(tree.tree, hash(tree)).is_some();
    if taken(&one, first) || taken(&two, second) {
        return false;
    }
    one.insert(first.tree, state);
    two.insert(second.tree, state);
    true
}

impl Drop for PartitionedTree {
    fn drop(&mut self) {
        for chunk in self.directory.iter() {
            if let Some(chunk) = NonNull::new(chunk.load(Ordering::Relaxed)) {
                // SAFETY: the chunk comes from this pool, and partitions have nothing to drop.
                unsafe { self.chunks.put(chunk.cast()) };
            }
        }
    }
}

// SAFETY: the pointers in the directory lead to partitions, which are shared by design.
unsafe impl Send for PartitionedTree {}
// SAFETY: as above.
unsafe impl Sync for PartitionedTree {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kpi::{Direction, Passive};
    use crate::state::partition::Children;
    use crate::state::tests::{self, random};
    use proptest::prelude::*;
    use std::boxed::Box;
    use std::collections::{BTreeMap, BTreeSet};
    use std::thread;
    use std::vec::Vec;

    impl PartitionedTree {
        /// Asserts what holds of every partition while nobody changes it. The answer is how many states there are, and
        /// how many nodes lie on the longest way down a treap.
        pub(in crate::state) fn check(&self) -> (usize, usize) {
            let count = self.partitions();
            let mut total = 0;
            let mut deepest = 0;
            for at in 0..count {
                let (states, depth) = self.partition(at).check(self.tree, |hash| index(hash, count) == at);
                total += states;
                deepest = deepest.max(depth);
            }
            (total, deepest)
        }
    }

    /// A state that stands where the test wants it in either tree, whatever its key.
    fn state_at(places: [u64; 2]) -> Box<State> {
        Box::new(State {
            hashes: places.map(place),
            key: tests::key(0),
            body: SpinLock::new(tests::body()),
            direction: Direction::In,
            interface: 0,
            creator: 0,
            creation: 0,
            id: 0,
            rule: None,
            nat_rule: None,
            extra: None,
            children: [const { Children::none() }; 2],
            limbo: AtomicPtr::new(ptr::null_mut()),
        })
    }

    fn trees() -> [PartitionedTree; 2] {
        [Tree::LanExt, Tree::ExtGwy].map(|tree| PartitionedTree::new(tree).unwrap())
    }

    #[test]
    fn the_ranges_of_partitions_follow_each_other_and_leave_nothing_out() {
        for count in [4096, 4097, 5000, 8191, 8192, 8193, 12_345, 16_384] {
            let mut seen = BTreeSet::new();
            let mut from = Some(0);
            while let Some(place) = from {
                let at = index(super::place(place), count);
                assert!(at < count);
                assert!(seen.insert(at), "one range for each partition");
                let end = end_of_range(place, count);
                let last = end.map_or(u64::MAX, |end| end - 1);
                for other in [place, last, place + (last - place) / 2, place + (last - place) / 3] {
                    assert_eq!(index(super::place(other), count), at);
                    assert_eq!(end_of_range(other, count), end);
                }
                from = end;
            }
            assert_eq!(seen.len(), count);
        }
    }

    #[test]
    fn a_split_parts_one_partition_and_no_other() {
        for count in [4096usize, 4097, 6000, 8191, 8192] {
            let parent = count - (1 << count.ilog2());
            for seed in 0..50_000 {
                let hash = random(seed);
                let (before, after) = (index(hash, count), index(hash, count + 1));
                assert!(before == after || (before == parent && after == count));
            }
        }
    }

    /// The places of whoever broke the secret: all in one partition, however far the table grows.
    fn crowded(n: u64) -> impl Iterator<Item = u64> {
        (0..n).map(|n| 0xdead_beef << 32 | random(n) >> 32)
    }

    #[test]
    fn one_partition_alone_is_still_logarithmic() {
        let level = SoftNet::raise();
        let trees = trees();
        let places: BTreeSet<u64> = crowded(50_000).collect();
        let states: Vec<_> = places.iter().map(|&place| state_at([place, random(place)])).collect();
        for state in &states {
            assert!(insert(&trees, state, &level));
            trees[0].grow(states.len(), &level);
        }
        assert_eq!(trees[0].partitions(), states.len() / STATES);
        let (total, depth) = trees[0].check();
        assert_eq!(total, states.len());
        // A random tree of n nodes is 4.3 ln n high, and 50,000 nodes need 16.
        assert!((16..=47).contains(&depth), "{depth} nodes deep");
        assert!(depth < DEPTH, "lookups need no lock");

        // What is left when most have gone is as a tree would be that had never had more.
        let kept = states.iter().step_by(50).count();
        for (n, state) in states.iter().enumerate() {
            if n % 50 != 0 {
                trees[0].remove(state, &level);
                trees[1].remove(state, &level);
            }
        }
        let (total, depth) = trees[0].check();
        assert_eq!(total, kept);
        assert!(depth <= 30, "{depth} nodes deep");
        assert_eq!(trees[1].check().0, kept);
    }

    #[test]
    fn places_in_a_row_are_logarithmic_too() {
        let level = SoftNet::raise();
        let trees = trees();
        let states: Vec<_> = (0..20_000).map(|n| state_at([n, u64::MAX - n])).collect();
        for state in &states {
            assert!(insert(&trees, state, &level));
        }
        for tree in &trees {
            let (total, depth) = tree.check();
            assert_eq!(total, states.len());
            assert!(depth <= 47, "{depth} nodes deep");
        }
    }

    #[test]
    fn a_place_is_taken_once() {
        let level = SoftNet::raise();
        let trees = trees();
        let first = state_at([7, 8]);
        assert!(insert(&trees, &first, &level));
        assert!(!insert(&trees, &state_at([7, 9]), &level));
        assert!(!insert(&trees, &state_at([6, 8]), &level));
        assert_eq!([trees[0].check().0, trees[1].check().0], [1, 1]);
    }

    /// Two threads keep turning one partition over, in which others look for what stays.
    #[test]
    fn a_lookup_without_a_lock_misses_nothing() {
        let passive = Passive::new().unwrap();
        let trees = trees();
        let places: Vec<u64> = crowded(3000).collect::<BTreeSet<_>>().into_iter().collect();
        let states: Vec<_> = places.iter().map(|&place| state_at([place, place])).collect();
        let (staying, passing): (Vec<_>, Vec<_>) = states.iter().partition(|state| state.place(Tree::LanExt) % 10 == 0);
        assert!(staying.len() > 200);
        let level = SoftNet::raise();
        staying.iter().for_each(|state| assert!(insert(&trees, state, &level)));
        let working = AtomicUsize::new(2);
        thread::scope(|scope| {
            let (trees, working, passive, staying) = (&trees, &working, &passive, &staying);
            for half in passing.chunks(passing.len().div_ceil(2)) {
                scope.spawn(move || {
                    let level = SoftNet::raise();
                    for _ in 0..20 {
                        for state in half {
                            assert!(insert(trees, state, &level));
                        }
                        for state in half {
                            trees.iter().for_each(|tree| tree.remove(state, &level));
                        }
                        // Nobody stands on a state when it comes again.
                        passive.wait();
                    }
                    working.fetch_sub(1, Ordering::Release);
                });
            }
            for tree in trees {
                scope.spawn(move || {
                    let level = SoftNet::raise();
                    while working.load(Ordering::Acquire) > 0 {
                        for state in staying {
                            let section = passive.read(&level);
                            let found = tree.find(state.hash(tree.tree), &level, &section);
                            assert!(found.is_some_and(|found| ptr::eq(found, &***state)));
                        }
                    }
                });
            }
        });
        for tree in &trees {
            assert_eq!(tree.check().0, staying.len());
        }
    }

    #[test]
    fn without_memory_partitions_stay_as_many_as_they_are() {
        let level = SoftNet::raise();
        let tree = PartitionedTree::new(Tree::LanExt).unwrap();
        let failing = crate::kpi::host::fail_allocations(0);
        tree.grow((CHUNK + 1) * STATES, &level);
        assert_eq!(tree.partitions(), CHUNK);
        drop(failing);
        tree.grow((CHUNK + 1) * STATES, &level);
        assert_eq!(tree.partitions(), CHUNK + 1);
    }

    proptest! {
        /// Places of few high bits, so that they crowd a few partitions, and of all kinds.
        #[test]
        fn a_tree_holds_what_a_map_holds(
            steps in prop::collection::vec((0u8..8, prop_oneof![0u64..64, (0u64..64).prop_map(|n| n << 58), any::<u64>()]), 1..400)
        ) {
            let level = SoftNet::raise();
            let passive = Passive::new().unwrap();
            let trees = trees();
            let mut model = BTreeMap::new();
            let mut gone = Vec::new();
            for (step, place) in steps {
                let section = passive.read(&level);
                match step {
                    0..4 => {
                        let state = state_at([place, place]);
                        let inserted = insert(&trees, &state, &level);
                        prop_assert_eq!(inserted, !model.contains_key(&place));
                        model.entry(place).or_insert(state);
                        trees[1].grow((CHUNK + model.len()) * STATES, &level);
                    }
                    4 => {
                        if let Some((_, state)) = model.range(place..).next() {
                            let place = state.place(Tree::LanExt);
                            trees.iter().for_each(|tree| tree.remove(state, &level));
                            gone.extend(model.remove(&place));
                        }
                    }
                    5 => {
                        for tree in &trees {
                            let found = tree.find(super::place(place), &level, &section).map(ptr::from_ref);
                            prop_assert_eq!(found, model.get(&place).map(|state| ptr::from_ref(&**state)));
                        }
                    }
                    _ => {
                        for tree in &trees {
                            let mut seen = Vec::new();
                            let next = tree.walk(place, &level, |state| {
                                seen.push(state.place(tree.tree));
                                seen.len() < 10
                            });
                            // The tenth is not done with, and comes again.
                            let expected: Vec<_> = model.range(place..).map(|(place, _)| *place).take(10).collect();
                            prop_assert_eq!(next, expected.get(9).copied());
                            prop_assert_eq!(seen, expected);
                        }
                    }
                }
            }
            for tree in &trees {
                prop_assert_eq!(tree.check().0, model.len());
            }
        }
    }
}
