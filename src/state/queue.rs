//! States that are to be looked at again, in their order: a ring of a fixed size.
//!
//! A state is told by its key and its identity, as it may be gone when its turn comes.
//!
//! # Life cycle
//! A queue has no memory before somebody needs it, and takes nothing in until then.
//!
//! # Locking
//! A spin lock of its own, under which nothing else is taken.

use super::{State, Tree, TreeKey};
use crate::kpi::{NoMemory, SoftNet, SpinLock};
use crate::mem::KVec;

/// A state in a queue.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Its key in the tree [`Entry::TREE`].
    pub key: TreeKey,
    /// Its identity.
    pub id: (u64, u32),
    /// When it is due, in seconds of uptime.
    pub due: u32,
    /// How often it has been.
    pub tries: u8,
}

impl Entry {
    /// The tree in which the state is looked up.
    pub const TREE: Tree = Tree::ExtGwy;

    /// A state that is due at some time.
    pub fn new(state: &State, due: u32) -> Self {
        Entry {
            key: state.key().of_tree(Self::TREE),
            id: state.id(),
            due,
            tries: 0,
        }
    }
}

/// # Invariants
/// `begin` is less than the length of `slots`, or both are 0; `len` is not more than it; the `len` slots from `begin` on, around the
/// end, hold entries.
struct Ring {
    slots: KVec<Option<Entry>>,
    begin: usize,
    len: usize,
}

/// A queue of states.
pub struct Queue(SpinLock<Ring>);

impl Default for Queue {
    fn default() -> Self {
        Self::new()
    }
}

impl Queue {
    /// A queue without memory.
    pub const fn new() -> Self {
        Queue(SpinLock::new(Ring {
            slots: KVec::new(),
            begin: 0,
            len: 0,
        }))
    }

    /// Sees that there is room for `capacity` entries, or for as many as there was room for before.
    pub fn prepare(&self, capacity: usize) -> Result<(), NoMemory> {
        let mut slots = KVec::filled(None, capacity)?;
        let level = SoftNet::raise();
        let mut ring = self.0.lock(&level);
        if ring.slots.is_empty() {
            core::mem::swap(&mut ring.slots, &mut slots);
        }
        // What is not needed is freed without the lock.
        drop(ring);
        Ok(())
    }

    /// Puts an entry at the end. Where there is no room, the answer is false.
    pub fn push(&self, entry: Entry, level: &SoftNet) -> bool {
        let mut ring = self.0.lock(level);
        let capacity = ring.slots.len();
        if ring.len >= capacity {
            return false;
        }
        let at = (ring.begin + ring.len) % capacity;
        if let Some(slot) = ring.slots.get_mut(at) {
            *slot = Some(entry);
            ring.len += 1;
        }
        true
    }

    /// Takes the first entry.
    pub fn pop(&self, level: &SoftNet) -> Option<Entry> {
        let mut ring = self.0.lock(level);
        if ring.len == 0 {
            return None;
        }
        let (begin, capacity) = (ring.begin, ring.slots.len());
        let entry = ring.slots.get_mut(begin).and_then(Option::take);
        ring.begin = (begin + 1) % capacity.max(1);
        ring.len -= 1;
        entry
    }

    /// How many entries there are.
    pub fn len(&self, level: &SoftNet) -> usize {
        self.0.lock(level).len
    }

    /// Whether there is no room for another.
    pub fn is_full(&self, level: &SoftNet) -> bool {
        let ring = self.0.lock(level);
        ring.len >= ring.slots.len()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::collections::VecDeque;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::super::Host;
    use super::*;
    use crate::wire::{Af, Proto};

    fn entry(n: u64) -> Entry {
        let key = TreeKey {
            near: Host::default(),
            far: Host::default(),
            af: Af::Inet,
            proto: Proto::TCP,
        };
        Entry {
            key,
            id: (n, 0),
            due: 0,
            tries: 0,
        }
    }

    proptest! {
        #[test]
        fn it_is_a_queue(capacity in 0usize..9, steps: Vec<Option<u64>>) {
            let queue = Queue::new();
            let level = SoftNet::raise();
            prop_assert!(!queue.push(entry(1), &level));
            queue.prepare(capacity).unwrap();
            let mut model = VecDeque::new();
            for step in steps {
                match step {
                    Some(n) => {
                        let has_room = model.len() < capacity;
                        prop_assert_eq!(queue.push(entry(n), &level), has_room);
                        if has_room {
                            model.push_back(n);
                        }
                    }
                    None => prop_assert_eq!(queue.pop(&level).map(|entry| entry.id.0), model.pop_front()),
                }
                prop_assert_eq!(queue.len(&level), model.len());
                prop_assert_eq!(queue.is_full(&level), model.len() == capacity);
            }
            queue.prepare(capacity + 5).unwrap();
            let rest: Vec<u64> = std::iter::from_fn(|| queue.pop(&level)).map(|entry| entry.id.0).collect();
            prop_assert_eq!(rest, Vec::from(model));
        }
    }
}
