//! A part of a state tree: one cache line that leads to a few states, and a treap of those that it has no room for.
//!
//! # Overview
//! The cache line has slots, each with the address of a state and sixteen bits of its hash. So a lookup that finds its state
//! in a slot, as nearly all do, reads this line and that state and nothing else; and it does not branch on the way from one to
//! the other, so that a CPU which sees the next packet coming fetches for both at once.
//!
//! The treap is what keeps a lookup logarithmic if too many places fall together: an ordered binary tree, kept balanced by
//! priorities that come from the place as well.
//!
//! # Locking
//! Those who change a partition hold its lock, and make its version odd meanwhile. Lookups take no lock: they read with acquiring
//! loads, and believe "not there" only if the version did not move. What they find is theirs for their read section.

use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering, fence};

use super::{State, Tree};
use crate::kpi::{SoftNet, SpinGuard, SpinLock, fetch};

/// States that a partition leads to without a treap.
const SLOTS: usize = 6;
/// Nodes of a treap that a lookup without a lock visits before it takes the treap to be changing under it.
pub(super) const DEPTH: usize = 128;

/// What a state leads to in the treap of one tree.
pub(super) struct Children {
    left: Child,
    right: Child,
}

impl Children {
    /// Not linked yet.
    pub(super) const fn none() -> Self {
        Children {
            left: Child::none(),
            right: Child::none(),
        }
    }
}

/// A state as one tree sees it.
struct Node<'a> {
    place: u64,
    left: &'a Child,
    right: &'a Child,
}

impl<'a> Node<'a> {
    #[inline]
    fn of(state: &'a State, tree: Tree) -> Self {
        let Children { left, right } = state.children(tree);
        Node {
            place: state.place(tree),
            left,
            right,
        }
    }

    /// The treap's heap order. All places in a partition begin alike, so the rest is mixed.
    #[inline]
    fn priority(&self) -> u64 {
        self.place.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// A reference to a subtree.
///
/// # Invariants
/// Null, or a state that is valid at least until the read sections end that were open when it was unlinked.
struct Child(AtomicPtr<State>);

impl Child {
    const fn none() -> Self {
        Child(AtomicPtr::new(ptr::null_mut()))
    }

    #[inline]
    fn get<'a>(&self) -> Option<&'a State> {
        // SAFETY: by the invariant. Callers hold the partition's lock or a read section, and bind 'a to it.
        unsafe { self.0.load(Ordering::Acquire).as_ref() }
    }

    #[inline]
    fn set(&self, node: Option<&State>) {
        let node = node.map_or(ptr::null_mut(), |node| ptr::from_ref(node).cast_mut());
        self.0.store(node, Ordering::Release);
    }
}

/// A reference to a state, with the upper bits of its hash.
///
/// # Invariants
/// The lower 48 bits are all zero, or those of the address of a state that is valid as long as one in a [`Child`]. The upper 16
/// bits are those of its hash. An address on amd64 repeats its bit 47 up to the top, so nothing is lost.
struct Slot(AtomicPtr<State>);

/// Bits of an address that say something.
const ADDRESS: u32 = 48;

/// The bits of a slot that come from the hash.
#[inline]
fn tag(hash: u64) -> usize {
    hash as usize >> ADDRESS << ADDRESS
}

impl Slot {
    const fn none() -> Self {
        Slot(AtomicPtr::new(ptr::null_mut()))
    }

    /// The address in what was read from a slot.
    #[inline]
    fn address(entry: *mut State) -> *mut State {
        entry.map_addr(|bits| ((bits << (usize::BITS - ADDRESS)) as isize >> (usize::BITS - ADDRESS)) as usize)
    }

    /// The state, if what was read from a slot has one.
    #[inline]
    fn decode<'a>(entry: *mut State) -> Option<&'a State> {
        // SAFETY: by the invariant. Callers hold the partition's lock or a read section, and bind 'a to it.
        unsafe { Self::address(entry).as_ref() }
    }

    #[inline]
    fn get<'a>(&self) -> Option<&'a State> {
        Self::decode(self.0.load(Ordering::Acquire))
    }

    fn set(&self, tree: Tree, state: Option<&State>) {
        let entry = state.map_or(ptr::null_mut(), |state| {
            let tag = tag(state.hash(tree));
            ptr::from_ref(state)
                .cast_mut()
                .map_addr(|bits| bits & ((1 << ADDRESS) - 1) | tag)
        });
        self.0.store(entry, Ordering::Release);
    }
}

/// A part of a state tree: the states whose places lie in a range.
#[repr(C, align(64))]
pub(super) struct Partition {
    /// Odd while the partition changes.
    version: AtomicU32,
    lock: SpinLock<()>,
    /// In no order.
    slots: [Slot; SLOTS],
    /// The treap of those that found no slot. There is none while a slot is free.
    root: Child,
}

const _: () = assert!(size_of::<Partition>() == 64, "one cache line");

/// What a lookup found.
pub(super) enum Search<'a> {
    /// The state at the place.
    Found(&'a State),
    /// There is none.
    Missing,
    /// It went on for longer than a treap is high.
    Lost,
}

impl Partition {
    /// Without states.
    pub(super) const fn new() -> Self {
        Partition {
            version: AtomicU32::new(0),
            lock: SpinLock::new(()),
            slots: [const { Slot::none() }; SLOTS],
            root: Child::none(),
        }
    }

    /// Takes the lock.
    pub(super) fn lock<'a>(&'a self, level: &'a SoftNet) -> Locked<'a> {
        Locked {
            partition: self,
            _guard: self.lock.lock(level),
        }
    }

    /// The version, to be compared by [`Partition::is_still`].
    #[inline]
    pub(super) fn version(&self) -> u32 {
        self.version.load(Ordering::Acquire)
    }

    /// Whether nothing has changed since the version was read, nor was changing then.
    #[inline]
    pub(super) fn is_still(&self, version: u32) -> bool {
        fence(Ordering::Acquire);
        version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version
    }

    /// Begins to fetch the first `T` bytes of the state that a lookup of `hash` would look at first, if there is one.
    #[inline]
    pub(super) fn fetch<T>(&self, hash: u64) {
        fetch(Slot::address(self.pick(hash)).cast::<T>());
    }

    /// What the slot says that has the tag of this hash, or the last of several; null if there is none.
    #[inline]
    fn pick(&self, hash: u64) -> *mut State {
        let mut entry = ptr::null_mut();
        for slot in &self.slots {
            let other = slot.0.load(Ordering::Acquire);
            entry = if (other.addr() ^ hash as usize) >> ADDRESS == 0 {
                other
            } else {
                entry
            };
        }
        entry
    }

    /// The state of this hash, if it is in the slot where a lookup looks first, as it nearly always is.
    #[inline(always)]
    pub(super) fn glance<'a>(&self, tree: Tree, hash: u64) -> Option<&'a State> {
        Slot::decode(self.pick(hash)).filter(|state| state.hash(tree) == hash)
    }

    /// Looks for the state of this hash: several may have its upper bits, or it is in the treap, or nowhere.
    pub(super) fn search<'a>(&self, tree: Tree, hash: u64, depth: usize) -> Search<'a> {
        for slot in &self.slots {
            let entry = slot.0.load(Ordering::Acquire);
            if (entry.addr() ^ hash as usize) >> ADDRESS == 0
                && let Some(state) = Slot::decode(entry)
                && state.hash(tree) == hash
            {
                return Search::Found(state);
            }
        }
        let place = super::tree::place(hash);
        let mut child = &self.root;
        for _ in 0..depth {
            let Some(node) = child.get() else {
                return Search::Missing;
            };
            let link = Node::of(node, tree);
            if link.place == place {
                return Search::Found(node);
            }
            child = if link.place < place { link.right } else { link.left };
        }
        Search::Lost
    }

    /// Puts states from the treap into slots that are free.
    fn settle(&self, tree: Tree) {
        for slot in self.slots.iter().filter(|slot| slot.get().is_none()) {
            let Some(state) = self.root.get() else {
                return;
            };
            unlink(&self.root, tree, state);
            slot.set(tree, Some(state));
        }
    }
}

/// A partition whose lock is held.
pub(super) struct Locked<'a> {
    partition: &'a Partition,
    _guard: SpinGuard<'a, ()>,
}

impl Locked<'_> {
    /// Runs `change` while lookups know that they must not believe what they do not find.
    fn change<R>(&self, change: impl FnOnce(&Partition) -> R) -> R {
        let version = &self.partition.version;
        let before = version.load(Ordering::Relaxed);
        version.store(before.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        let result = change(self.partition);
        version.store(before.wrapping_add(2), Ordering::Release);
        result
    }

    /// The state of this hash. The caller binds 's to what keeps the state: this lock, or a read section.
    pub(super) fn find<'s>(&self, tree: Tree, hash: u64) -> Option<&'s State> {
        match self.partition.search(tree, hash, usize::MAX) {
            Search::Found(state) => Some(state),
            Search::Missing | Search::Lost => None,
        }
    }

    /// The first state at `from` or behind it. 's as above.
    pub(super) fn first_from<'s>(&self, tree: Tree, from: u64) -> Option<&'s State> {
        let mut first = None;
        let mut child = &self.partition.root;
        while let Some(node) = child.get() {
            let link = Node::of(node, tree);
            if link.place >= from {
                first = Some(node);
                child = link.left;
            } else {
                child = link.right;
            }
        }
        let in_slots = self.partition.slots.iter().filter_map(Slot::get);
        in_slots
            .filter(|state| state.place(tree) >= from)
            .chain(first)
            .min_by_key(|state| state.place(tree))
    }

    /// Puts `state` in. Its place is not taken.
    pub(super) fn insert(&self, tree: Tree, state: &State) {
        self.change(
            |partition| match partition.slots.iter().find(|slot| slot.get().is_none()) {
                Some(slot) => slot.set(tree, Some(state)),
                None => link(&partition.root, tree, state),
            },
        );
    }

    /// Takes `state` out, if it is there.
    pub(super) fn remove(&self, tree: Tree, state: &State) {
        let is_it = |slot: &&Slot| slot.get().is_some_and(|other| ptr::eq(other, state));
        self.change(|partition| match partition.slots.iter().find(is_it) {
            Some(slot) => {
                slot.set(tree, None);
                partition.settle(tree);
            }
            None => unlink(&partition.root, tree, state),
        });
    }

    /// Moves the states whose hashes `goes` holds for, the upper part of the range, to `new`, which is empty; then runs
    /// `publish`, before any lookup believes again what it does not find.
    pub(super) fn split(&self, tree: Tree, new: &Locked<'_>, goes: impl Fn(u64) -> bool, publish: impl FnOnce()) {
        self.change(|old| {
            new.change(|new| {
                for (from, to) in old.slots.iter().zip(&new.slots) {
                    let state = from.get().filter(|state| goes(state.hash(tree)));
                    if state.is_some() {
                        to.set(tree, state);
                        from.set(tree, None);
                    }
                }
                // The treap is cut along one path.
                let mut rest = old.root.get();
                let (mut smaller, mut larger) = (&old.root, &new.root);
                while let Some(node) = rest {
                    let link = Node::of(node, tree);
                    if goes(node.hash(tree)) {
                        larger.set(rest);
                        larger = link.left;
                        rest = link.left.get();
                    } else {
                        smaller.set(rest);
                        smaller = link.right;
                        rest = link.right.get();
                    }
                }
                smaller.set(None);
                larger.set(None);
                old.settle(tree);
                new.settle(tree);
                publish();
            });
        });
    }
}

/// Puts `node` into the treap under `slot`. Its place is not taken.
fn link(mut slot: &Child, tree: Tree, node: &State) {
    let new = Node::of(node, tree);
    while let Some(current) = slot.get() {
        let link = Node::of(current, tree);
        if new.priority() > link.priority() {
            break;
        }
        slot = if link.place < new.place { link.right } else { link.left };
    }
    // What was here is cut in two at the new place, and becomes what is below the new node.
    let mut rest = slot.get();
    let (mut smaller, mut larger) = (new.left, new.right);
    while let Some(current) = rest {
        let link = Node::of(current, tree);
        if link.place < new.place {
            smaller.set(rest);
            smaller = link.right;
            rest = link.right.get();
        } else {
            larger.set(rest);
            larger = link.left;
            rest = link.left.get();
        }
    }
    smaller.set(None);
    larger.set(None);
    slot.set(Some(node));
}

/// Takes `node` out of the treap under `slot`, if it is there. Its own links stay, for readers that stand on it.
fn unlink(mut slot: &Child, tree: Tree, node: &State) {
    let gone = Node::of(node, tree);
    loop {
        match slot.get() {
            None => return,
            Some(current) if ptr::eq(current, node) => break,
            Some(current) => {
                let link = Node::of(current, tree);
                slot = if link.place < gone.place { link.right } else { link.left };
            }
        }
    }
    let (mut smaller, mut larger) = (gone.left.get(), gone.right.get());
    loop {
        match (smaller, larger) {
            (Some(small), Some(large)) => {
                let (low, high) = (Node::of(small, tree), Node::of(large, tree));
                if low.priority() > high.priority() {
                    slot.set(smaller);
                    slot = low.right;
                    smaller = low.right.get();
                } else {
                    slot.set(larger);
                    slot = high.left;
                    larger = high.left.get();
                }
            }
            (last, None) | (None, last) => {
                slot.set(last);
                return;
            }
        }
    }
}

#[cfg(test)]
impl Partition {
    /// Asserts what holds of a partition while nobody changes it, for the hashes that `holds` says are its own. The answer is how
    /// many states there are, and how many nodes lie on the longest way down the treap.
    pub(super) fn check(&self, tree: Tree, holds: impl Fn(u64) -> bool) -> (usize, usize) {
        assert!(self.version().is_multiple_of(2));
        let mut total = 0;
        for state in self.slots.iter().filter_map(Slot::get) {
            assert!(holds(state.hash(tree)), "it lies in its partition");
            total += 1;
        }
        assert!(
            total == SLOTS || self.root.get().is_none(),
            "no treap while a slot is free"
        );
        let mut deepest = 0;
        let mut below: std::vec::Vec<(&Child, u64, u64, u64, usize)> = std::vec::Vec::new();
        below.push((&self.root, 0, u64::MAX, u64::MAX, 1));
        while let Some((child, lowest, highest, priority, depth)) = below.pop() {
            let Some(node) = child.get() else {
                continue;
            };
            let link = Node::of(node, tree);
            assert!(holds(node.hash(tree)), "it lies in its partition");
            assert!((lowest..=highest).contains(&link.place), "it is in order");
            assert!(link.priority() <= priority, "no child comes before its parent");
            total += 1;
            deepest = deepest.max(depth);
            match link.place.checked_sub(1) {
                Some(last) => below.push((link.left, lowest, last, link.priority(), depth + 1)),
                None => assert!(link.left.get().is_none()),
            }
            match link.place.checked_add(1) {
                Some(next) => below.push((link.right, next, highest, link.priority(), depth + 1)),
                None => assert!(link.right.get().is_none()),
            }
        }
        (total, deepest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_found_is_not_believed_while_a_partition_changes() {
        let level = SoftNet::raise();
        let partition = Partition::new();
        let before = partition.version();
        assert!(partition.is_still(before));
        partition.lock(&level).change(|partition| {
            assert!(!partition.is_still(before), "it has begun to change");
            assert!(!partition.is_still(partition.version()), "it is changing");
        });
        assert!(!partition.is_still(before), "it has changed");
        assert!(partition.is_still(partition.version()));
    }
}
