//! The state table: both trees over the same states, and who owns them.
//!
//! # Overview
//! States live in a pool. The table counts them against a limit, finds them, and frees those that were removed when no
//! lookup can hold them any more.
//!
//! # Locking
//! See [`tree`](super::tree) for lookups, insertion and growth. The limbo has a spin lock of its own, under which nothing
//! else is taken.

use core::alloc::Layout;
use core::mem::replace;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use super::partition::Children;
use super::tree::{self, PartitionedTree};
use super::{Body, EXT_GWY_LEN, LAN_EXT_LEN, Origin, State, Tree, TreeKey};
use crate::hash::SpreadKey;
use crate::kpi::{Kernel, NoMemory, Passive, Pool, ReadSection, SoftNet, SpinLock};

/// Why a state did not come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InsertError {
    /// One of its keys is there already (PFRES_STATEINS, EEXIST).
    Exists,
    /// The table is full (PFRES_MAXSTATES, ENOSPC).
    Limit,
    /// There is no memory (PFRES_MEMORY, ENOMEM).
    NoMemory,
}

/// All states.
///
/// # Invariants
/// A state in the trees or in limbo comes from `pool` and is in one of the two, and valid.
pub struct StateTable {
    trees: [PartitionedTree; 2],
    pool: Pool,
    len: AtomicUsize,
    limit: AtomicUsize,
    next_id: AtomicU64,
    limbo: SpinLock<Limbo>,
    secret: SpreadKey,
}

/// Where a key stands in a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    tree: Tree,
    hash: u64,
}

/// States that are out of the trees and wait for the last lookup to let go of them.
struct Limbo(Option<NonNull<State>>);

// SAFETY: the states in limbo belong to the table, which may be anywhere.
unsafe impl Send for Limbo {}

impl StateTable {
    /// An empty table for at most `limit` states.
    ///
    /// Not inlined, so that its parts do not lie on a kernel's stack beside those of its owner.
    #[inline(never)]
    pub fn new(kernel: &Kernel, limit: usize) -> Result<Self, NoMemory> {
        let mut secret = [0; SpreadKey::BYTES];
        kernel.fill_random(&mut secret);
        Ok(StateTable {
            trees: [PartitionedTree::new(Tree::LanExt)?, PartitionedTree::new(Tree::ExtGwy)?],
            pool: Pool::new(c"pfstate", Layout::new::<State>())?,
            len: AtomicUsize::new(0),
            limit: AtomicUsize::new(limit),
            next_id: AtomicU64::new(u64::from(kernel.wall_clock()) << 32),
            limbo: SpinLock::new(Limbo(None)),
            secret: SpreadKey::new(secret),
        })
    }

    /// How many states there are.
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many there may be.
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Sets how many there may be; what is above stays until it expires.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// The identity that the next state gets.
    pub fn next_id(&self) -> u64 {
        self.next_id.load(Ordering::Relaxed)
    }

    /// Has the states that come get higher numbers than this one; what the next would have got before.
    pub(super) fn reserve(&self, number: u64) -> u64 {
        self.next_id.fetch_max(number.saturating_add(1), Ordering::Relaxed)
    }

    /// The state whose key has this hash in the first tree.
    pub(super) fn find_hash<'a>(
        &'a self,
        hash: u64,
        level: &SoftNet,
        section: &'a ReadSection<'_>,
    ) -> Option<&'a State> {
        self.trees[0].find(hash, level, section)
    }

    /// Where this key stands in `tree`, whether there is a state or not.
    #[inline(always)]
    pub fn place(&self, tree: Tree, key: &TreeKey) -> Place {
        Place {
            tree,
            hash: key.spread(&self.secret, tree),
        }
    }

    /// Begins to fetch from memory what a lookup at this place reads first. With [`fetch_state`](Self::fetch_state) some time
    /// later and the lookup later still, the memory's answers to several lookups come at once instead of one after the other.
    #[inline]
    pub fn fetch_partition(&self, at: Place) {
        self.trees[at.tree as usize].fetch_partition(at.hash);
    }

    /// Begins to fetch what it reads then: the state's keys of this tree, if there is a state.
    #[inline]
    pub fn fetch_keys(&self, at: Place) {
        let tree = &self.trees[at.tree as usize];
        match at.tree {
            Tree::LanExt => tree.fetch_state::<[u8; LAN_EXT_LEN]>(at.hash),
            Tree::ExtGwy => tree.fetch_state::<[u8; EXT_GWY_LEN]>(at.hash),
        }
    }

    /// The same for the whole state.
    #[inline]
    pub fn fetch_state(&self, at: Place) {
        self.trees[at.tree as usize].fetch_state::<State>(at.hash);
    }

    /// The state with this key in `tree`. It may be unlinked meanwhile: its lock tells.
    #[inline]
    pub fn find<'a>(
        &'a self,
        tree: Tree,
        key: &TreeKey,
        level: &SoftNet,
        section: &'a ReadSection<'_>,
    ) -> Option<&'a State> {
        self.find_at(self.place(tree, key), key, level, section)
    }

    /// The same for a key whose place is known.
    #[inline(always)]
    pub fn find_at<'a>(
        &'a self,
        at: Place,
        key: &TreeKey,
        level: &SoftNet,
        section: &'a ReadSection<'_>,
    ) -> Option<&'a State> {
        self.trees[at.tree as usize]
            .find(at.hash, level, section)
            .filter(|state| state.key().is_at(at.tree, key))
    }

    /// Makes a state and puts it into both trees, or into neither.
    pub fn insert<'a>(
        &'a self,
        origin: Origin,
        body: Body,
        level: &SoftNet,
        _section: &'a ReadSection<'_>,
    ) -> Result<&'a State, InsertError> {
        if self.len.fetch_add(1, Ordering::Relaxed) >= self.limit() {
            self.len.fetch_sub(1, Ordering::Relaxed);
            return Err(InsertError::Limit);
        }
        let Some(memory) = self.pool.get() else {
            self.len.fetch_sub(1, Ordering::Relaxed);
            return Err(InsertError::NoMemory);
        };
        let hash = |tree| origin.key.of_tree(tree).spread(&self.secret, tree);
        let memory: NonNull<State> = memory.cast();
        let state = State {
            hashes: [Tree::LanExt, Tree::ExtGwy].map(hash),
            key: origin.key,
            body: SpinLock::new(body),
            direction: origin.direction,
            interface: origin.interface,
            creator: origin.creator,
            creation: origin.creation,
            id: if origin.id == 0 {
                self.next_id.fetch_add(1, Ordering::Relaxed)
            } else {
                origin.id
            },
            rule: origin.rule,
            nat_rule: origin.nat_rule,
            extra: origin.extra,
            children: [const { Children::none() }; 2],
            limbo: AtomicPtr::new(ptr::null_mut()),
        };
        // SAFETY: the pool gave memory for a state, and nobody else sees it yet. It stays valid for 'a: if it is removed, it
        // is freed only after the read section.
        let state = unsafe {
            memory.write(state);
            memory.as_ref()
        };
        // Counted first: as soon as it is linked, somebody else can remove it.
        for rule in state.rules() {
            rule.states.fetch_add(1, Ordering::Relaxed);
        }
        if !tree::insert(&self.trees, state, level) {
            for rule in state.rules() {
                rule.states.fetch_sub(1, Ordering::Relaxed);
            }
            // SAFETY: no tree has seen it.
            unsafe { self.free(memory) };
            self.len.fetch_sub(1, Ordering::Relaxed);
            return Err(InsertError::Exists);
        }
        for tree in &self.trees {
            tree.grow(self.len(), level);
        }
        Ok(state)
    }

    /// Takes a state out of both trees. The caller has set [`Body::unlinked`], which was not set.
    pub fn remove(&self, state: &State, level: &SoftNet) {
        for tree in &self.trees {
            tree.remove(state, level);
        }
        for rule in state.rules() {
            rule.states.fetch_sub(1, Ordering::Relaxed);
        }
        if let Some(extra) = state.extra() {
            extra.release();
        }
        self.len.fetch_sub(1, Ordering::Relaxed);
        let mut limbo = self.limbo.lock(level);
        let next = limbo.0.map_or(ptr::null_mut(), NonNull::as_ptr);
        state.limbo.store(next, Ordering::Relaxed);
        limbo.0 = Some(NonNull::from(state));
    }

    /// Marks a state as unlinked and removes it, unless somebody else does.
    pub fn kill(&self, state: &State, level: &SoftNet) -> bool {
        {
            let mut body = state.lock(level);
            if body.unlinked {
                return false;
            }
            body.unlinked = true;
        }
        self.remove(state, level);
        true
    }

    /// Frees what was removed, when nobody can hold it any more. Waits for readers: called with no lock held.
    pub fn reap(&self, passive: &Passive) {
        let level = SoftNet::raise();
        let mut next = self.limbo.lock(&level).0.take();
        drop(level);
        if next.is_none() {
            return;
        }
        passive.wait();
        while let Some(state) = next {
            // SAFETY: it is in limbo, so valid and in no tree; every lookup that could have found it has ended.
            unsafe {
                next = NonNull::new(state.as_ref().limbo.load(Ordering::Relaxed));
                self.free(state);
            }
        }
    }

    /// Drops a state and gives its memory back.
    ///
    /// # Safety
    /// The state is valid, from our pool, and nobody has a reference to it.
    unsafe fn free(&self, state: NonNull<State>) {
        // SAFETY: the caller's word.
        unsafe {
            state.drop_in_place();
            self.pool.put(state.cast());
        }
    }

    /// Visits states in an order of the table's own, from `from` on (0 is the beginning), until `visit` says false. The
    /// answer is where to go on, nothing if that was all. Every state that is there all the while is visited once. `visit`
    /// runs with a spin lock held, and removes nothing.
    pub fn walk(&self, from: u64, level: &SoftNet, visit: impl FnMut(&State) -> bool) -> Option<u64> {
        self.trees[0].walk(from, level, visit)
    }

    /// The same for at most one partition: an answer comes after a bounded time, though there be few states among many
    /// partitions.
    pub fn walk_partition(&self, from: u64, level: &SoftNet, mut visit: impl FnMut(&State) -> bool) -> Option<u64> {
        self.trees[0].walk_partition(from, level, &mut visit).0
    }

    /// The same for the next few states only, where `visit` decides which of them are to be removed, having set
    /// [`Body::unlinked`]. The answer is how many it saw, and where to go on.
    pub fn sweep(
        &self,
        from: u64,
        level: &SoftNet,
        section: &ReadSection<'_>,
        mut visit: impl FnMut(&State) -> bool,
    ) -> (usize, Option<u64>) {
        const BATCH: usize = 16;
        let mut doomed: [Option<&State>; BATCH] = [None; BATCH];
        let mut count = 0;
        let mut seen = 0;
        let (next, _) = self.trees[0].walk_partition(from, level, &mut |state| {
            let Some(slot) = doomed.get_mut(count) else {
                return false;
            };
            seen += 1;
            if visit(state) {
                *slot = Some(self.keep(state, section));
                count += 1;
            }
            true
        });
        for state in doomed.into_iter().flatten() {
            self.remove(state, level);
        }
        (seen, next)
    }

    /// Removes the states that match, and says how many. Packets come between a few partitions and the next, and nothing is freed before
    /// the next [`reap`](Self::reap).
    pub fn remove_where(&self, passive: &Passive, matches: impl Fn(&State) -> bool) -> u64 {
        const PARTITIONS: usize = 64;
        let mut removed = 0;
        let mut from = Some(0);
        while let Some(start) = from {
            let level = SoftNet::raise();
            let section = passive.read(&level);
            from = (0..PARTITIONS).try_fold(start, |from, _| {
                let (_, next) = self.sweep(from, &level, &section, |state| {
                    let ours = matches(state) && !replace(&mut state.lock(&level).unlinked, true);
                    removed += u64::from(ours);
                    ours
                });
                next
            });
        }
        removed
    }

    /// A reference that outlives the partition's lock: the read section keeps the state's memory.
    fn keep<'a>(&self, state: &State, _section: &'a ReadSection<'_>) -> &'a State {
        // SAFETY: a state that was linked inside a read section is not freed before the section ends.
        unsafe { &*ptr::from_ref(state) }
    }

    /// Bytes that the table takes, everything counted: the states' pool objects and the partitions of both trees.
    pub fn memory(&self) -> usize {
        self.len() * size_of::<State>() + self.trees.iter().map(PartitionedTree::memory).sum::<usize>()
    }

    /// How many partitions each of the two trees has.
    pub fn partitions(&self) -> [usize; 2] {
        [self.trees[0].partitions(), self.trees[1].partitions()]
    }
}

#[cfg(test)]
impl StateTable {
    /// Asserts that either tree is in order, and says how many states each holds.
    pub(super) fn check_trees(&self) -> [usize; 2] {
        [self.trees[0].check().0, self.trees[1].check().0]
    }

    /// Whether no removed state waits for its readers, other than those that a [`reap`](Self::reap) is waiting with.
    pub(super) fn has_empty_limbo(&self) -> bool {
        self.limbo.lock(&SoftNet::raise()).0.is_none()
    }
}

impl Drop for StateTable {
    fn drop(&mut self) {
        let level = SoftNet::raise();
        let limbo = self.limbo.get_mut().0.take();
        let mut next = limbo;
        while let Some(state) = next {
            // SAFETY: nobody uses the table any more, and what is in limbo is valid and in no tree.
            unsafe {
                next = NonNull::new(state.as_ref().limbo.load(Ordering::Relaxed));
                self.free(state);
            }
        }
        let mut from = Some(0);
        while let Some(place) = from {
            let mut last = None;
            from = self.trees[0].walk(place, &level, |state| {
                last = Some(NonNull::from(state));
                false
            });
            if let Some(state) = last {
                // SAFETY: linked, so valid; taken out of the tree that is walked, and the other one is not looked at again.
                unsafe {
                    self.trees[0].remove(state.as_ref(), &level);
                    self.free(state);
                }
            }
        }
    }
}
