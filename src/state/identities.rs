//! Which identities are taken: an index of states by identity, for as long as somebody restores states.
//!
//! # Overview
//! A state that a packet makes gets a number that no other has, so nobody has to look. One that is restored brings its own, and for that
//! alone there is this index. Packets and the purge know nothing of it: it has the hashes of states' keys in the first tree, and one whose
//! state has gone, or is another by now, is as good as empty. The states that packets make are not in it, but their numbers are from
//! `watermark` on: only where a caller brings such a number, all states are gone through once.
//!
//! It takes 11 to 21 bytes a state, and is given back when nobody has restored anything for a minute.
//!
//! # Locking
//! Under a mutex of its owner's. A restored state comes in with the mutex held, so that of two with the same identity one is refused.

use super::{State, StateTable, Tree};
use crate::hash::HashKey;
use crate::kpi::{Kernel, NoMemory, ReadSection, SoftNet};
use crate::mem::KVec;

/// The fewest slots.
const FEWEST: usize = 64;
/// Partitions that are gone through before a packet may come between.
const BATCH: usize = 64;
/// Seconds without a restore after which nothing is remembered.
const IDLE: u32 = 60;

/// The index.
///
/// # Invariants
/// The number of slots is a power of two, or 0; at most three quarters of them are not 0. Each state with a number below `watermark` is in
/// it, found by its identity's hash and the slots that follow.
pub struct Identities {
    /// Hashes of states' keys in the first tree; 0 is none.
    slots: KVec<u64>,
    used: usize,
    /// The numbers that packets' states have got since all states were gone through last begin here.
    watermark: u64,
    /// When it was used last, in seconds of uptime.
    last: u32,
    key: HashKey,
}

impl Identities {
    /// Nothing is restored in this table yet.
    pub fn new(kernel: &Kernel, states: &StateTable) -> Self {
        let mut key = [0; 16];
        kernel.fill_random(&mut key);
        Identities {
            slots: KVec::new(),
            used: 0,
            watermark: states.next_id(),
            last: 0,
            key: HashKey::new(key),
        }
    }

    /// Makes ready for a state with this number to come in, and has packets' states get other numbers. Goes through all states where that
    /// has to be: called with no lock held but the mutex.
    pub fn prepare(&mut self, states: &StateTable, number: u64, now: u32) -> Result<(), NoMemory> {
        self.last = now;
        let before = states.reserve(number);
        let is_full = (self.used + 1) * 4 > self.slots.len() * 3;
        if is_full || (self.watermark..before).contains(&number) {
            self.rebuild(states)?;
        } else if before == self.watermark {
            // No number has been given out since.
            self.watermark = before.max(number.saturating_add(1));
        }
        Ok(())
    }

    /// Goes through all states.
    #[inline(never)]
    fn rebuild(&mut self, states: &StateTable) -> Result<(), NoMemory> {
        let watermark = states.next_id();
        let count = (states.len() + 1).saturating_mul(2).max(FEWEST);
        let mut slots = KVec::filled(0, count.checked_next_power_of_two().ok_or(NoMemory)?)?;
        let most = slots.len() / 4 * 3;
        let mut used = 0;
        let mut from = Some(0);
        while let Some(start) = from {
            let level = SoftNet::raise();
            from = (0..BATCH).try_fold(start, |from, _| {
                states.walk_partition(from, &level, |state| {
                    if state.id < watermark && used < most {
                        put(&mut slots, self.hash(state.id()), state);
                        used += 1;
                    }
                    true
                })
            });
        }
        if used == most {
            return Err(NoMemory);
        }
        (self.slots, self.used, self.watermark) = (slots, used, watermark);
        Ok(())
    }

    fn hash(&self, (number, creator): (u64, u32)) -> u64 {
        self.key.hash([number, creator.into(), 0, 0], 0)
    }

    /// Whether a state has this identity that has been [prepared](Self::prepare) for.
    pub fn is_taken(&self, states: &StateTable, id: (u64, u32), level: &SoftNet, section: &ReadSection<'_>) -> bool {
        let taken = |hash: u64| {
            let state = states.find_hash(hash, level, section);
            state.is_some_and(|state| state.id() == id && !state.lock(level).unlinked)
        };
        probe(self.slots.len(), self.hash(id))
            .map_while(|at| self.slots.get(at).copied().filter(|hash| *hash != 0))
            .any(taken)
    }

    /// Remembers a state that has come in.
    pub fn add(&mut self, state: &State) {
        let hash = self.hash(state.id());
        put(&mut self.slots, hash, state);
        self.used += 1;
    }

    /// Gives its memory back where nobody has restored anything for a while.
    pub fn forget(&mut self, now: u32) {
        if !self.slots.is_empty() && now.wrapping_sub(self.last) >= IDLE {
            (self.slots, self.used, self.watermark) = (KVec::new(), 0, 0);
        }
    }
}

/// The slots in which an identity of this hash may be, in their order.
fn probe(len: usize, hash: u64) -> impl Iterator<Item = usize> {
    (0..len).map(move |step| (hash as usize).wrapping_add(step) & (len - 1))
}

/// Puts a state into the first slot that is free.
fn put(slots: &mut KVec<u64>, hash: u64, state: &State) {
    let free = probe(slots.len(), hash).find(|at| slots.get(*at) == Some(&0));
    if let Some(slot) = free.and_then(|at| slots.get_mut(at)) {
        *slot = state.hash(Tree::LanExt);
    }
}
