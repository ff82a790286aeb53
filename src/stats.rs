//! What is counted over the whole of pf: `struct pf_status`.
//!
//! # Locking
//! None: each counter is atomic, and they are read one by one.

use core::sync::atomic::{AtomicU64, Ordering};

use pf_abi::{FCNT_MAX, FCNT_STATE_INSERT, FCNT_STATE_REMOVALS, FCNT_STATE_SEARCH, LCNT_MAX, PFRES_MAX, Reason};

/// The counters of pfctl(8)'s `-s info`.
#[derive(Debug, Default)]
pub struct Stats {
    reasons: [AtomicU64; PFRES_MAX],
    limits: [AtomicU64; LCNT_MAX],
    table: [AtomicU64; FCNT_MAX],
}

impl Stats {
    /// Counts why a packet was dropped, or that a rule matched.
    #[inline]
    pub fn count(&self, reason: Reason) {
        self.reasons[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts that a limit was reached: `LCNT_*`.
    pub fn count_limit(&self, limit: usize) {
        if let Some(counter) = self.limits.get(limit) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a lookup of a state.
    #[inline]
    pub fn count_search(&self) {
        self.table[FCNT_STATE_SEARCH].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a new state.
    pub fn count_insert(&self) {
        self.table[FCNT_STATE_INSERT].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts states that were removed.
    pub fn count_removals(&self, states: u64) {
        self.table[FCNT_STATE_REMOVALS].fetch_add(states, Ordering::Relaxed);
    }

    /// How many packets were dropped for `reason`.
    pub fn reason(&self, reason: Reason) -> u64 {
        self.reasons[reason as usize].load(Ordering::Relaxed)
    }

    /// Fills in the counters.
    pub fn export(&self, status: &mut pf_abi::Status) {
        let copy = |to: &mut [u64], from: &[AtomicU64]| {
            to.iter_mut()
                .zip(from)
                .for_each(|(to, from)| *to = from.load(Ordering::Relaxed));
        };
        copy(&mut status.counters, &self.reasons);
        copy(&mut status.lcounters, &self.limits);
        copy(&mut status.fcounters, &self.table);
    }

    /// Sets all to zero: DIOCCLRSTATUS.
    pub fn clear(&self) {
        for counter in self.reasons.iter().chain(&self.limits).chain(&self.table) {
            counter.store(0, Ordering::Relaxed);
        }
    }
}
