//! Counters that every CPU adds to for every packet.
//!
//! One counter for all of them would be a cache line that CPUs take from each other. So each CPU has a stripe of its own, where the
//! kernel programming interface knows one CPU from another, and whoever reads adds the stripes up.
//!
//! # Locking
//! None. A stripe that is a CPU's own is written without an instruction that orders; the shared one is written with.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use super::KVec;
use crate::kpi::{NoMemory, STRIPES, Stripe, stripe};

/// `N` counters.
pub struct Tally<const N: usize> {
    stripes: KVec<Lane<N>>,
    /// What they were when they were last cleared: only their owners write to stripes.
    base: [AtomicU64; N],
}

/// The counters of one stripe.
struct Lane<const N: usize> {
    counters: [AtomicU64; N],
    /// Keeps the next stripe off this one's cache lines.
    _apart: [u64; 8],
}

impl<const N: usize> Tally<N> {
    /// All zero.
    pub fn new() -> Result<Self, NoMemory> {
        let mut stripes = KVec::with_capacity(STRIPES)?;
        for _ in 0..STRIPES {
            stripes.push(Lane {
                counters: [const { AtomicU64::new(0) }; N],
                _apart: [0; 8],
            })?;
        }
        Ok(Tally {
            stripes,
            base: [const { AtomicU64::new(0) }; N],
        })
    }

    /// Adds `n` to counter `at`, which is less than `N`.
    #[inline]
    pub fn add(&self, at: usize, n: u64) {
        self.add_in(stripe(), [(at, n)]);
    }

    /// Adds to several counters, in the stripe of the CPU that this runs on: who counts often for a packet asks for it once.
    #[inline(always)]
    pub fn add_in<const K: usize>(&self, stripe: Stripe, amounts: [(usize, u64); K]) {
        let Some(lane) = self.stripes.get(stripe.index) else {
            debug_assert!(false);
            return;
        };
        for (at, n) in amounts {
            debug_assert!(at < N);
            let Some(counter) = lane.counters.get(at) else {
                return;
            };
            if stripe.is_own() {
                counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
            } else {
                counter.fetch_add(n, Ordering::Relaxed);
            }
        }
    }

    fn total(&self, at: usize) -> u64 {
        let counters = self.stripes.iter().filter_map(|stripe| stripe.counters.get(at));
        counters.fold(0, |sum: u64, counter| sum.wrapping_add(counter.load(Ordering::Relaxed)))
    }

    /// What has been added to counter `at` since it was cleared.
    pub fn get(&self, at: usize) -> u64 {
        // The base before the stripes: they have what it was made of.
        let base = self.base.get(at).map_or(0, |base| base.load(Ordering::Acquire));
        self.total(at).wrapping_sub(base)
    }

    /// What has been added to counter `at` since it was cleared, which is cleared, and no more than that: what is added meanwhile is
    /// in the next reading, whoever's that is.
    pub fn take(&self, at: usize) -> u64 {
        let Some(base) = self.base.get(at) else {
            return 0;
        };
        let total = self.total(at);
        // Somebody else may have taken more meanwhile.
        total.saturating_sub(base.fetch_max(total, Ordering::AcqRel))
    }

    /// Undoes a [`take`](Self::take) that gave `n`.
    pub fn put_back(&self, at: usize, n: u64) {
        if let Some(base) = self.base.get(at) {
            base.fetch_sub(n, Ordering::AcqRel);
        }
    }

    /// Sets all counters to zero.
    pub fn clear(&self) {
        for at in 0..N {
            self.take(at);
        }
    }
}

impl<const N: usize> fmt::Debug for Tally<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries((0..N).map(|at| self.get(at))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn nothing_that_is_added_by_several_threads_is_lost() {
        let tally = Tally::<3>::new().unwrap();
        tally.add(1, 5);
        tally.clear();
        thread::scope(|scope| {
            for _ in 0..2 * STRIPES {
                scope.spawn(|| (0..1000).for_each(|n| tally.add(n % 2, 2)));
            }
        });
        let each = 2 * STRIPES as u64 * 1000;
        assert_eq!([0, 1, 2].map(|at| tally.get(at)), [each, each, 0]);
        tally.clear();
        assert_eq!([0, 1, 2].map(|at| tally.get(at)), [0; 3]);
    }

    #[test]
    fn what_several_take_while_it_counts_is_all_that_was_added() {
        const EACH: u64 = 20_000;
        let tally = Tally::<2>::new().unwrap();
        let (taken, adding) = (AtomicU64::new(0), AtomicU64::new(2));
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    (0..EACH).for_each(|_| tally.add_in(stripe(), [(0, 1), (1, 3)]));
                    adding.fetch_sub(1, Ordering::Release);
                });
                scope.spawn(|| {
                    while adding.load(Ordering::Acquire) != 0 {
                        let both = [tally.take(0), tally.take(1)];
                        if both[0].is_multiple_of(2) {
                            taken.fetch_add(both[0] + both[1], Ordering::Relaxed);
                        } else {
                            tally.put_back(0, both[0]);
                            tally.put_back(1, both[1]);
                        }
                    }
                });
            }
        });
        let rest = tally.take(0) + tally.take(1);
        assert_eq!(taken.into_inner() + rest, 2 * EACH * 4);
        assert_eq!([tally.get(0), tally.get(1)], [0; 2]);
    }
}
