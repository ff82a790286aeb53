//! How fast connections come: a count that fades over the seconds that a rule says.
//!
//! # Locking
//! None: the count and its time are one atomic number.

use core::sync::atomic::{AtomicU64, Ordering};

use pf_abi::{ConnRate, PF_THRESHOLD_MULT, Threshold};

/// A rate, and what it is held against.
#[derive(Debug)]
pub(super) struct Rate {
    limit: u32,
    seconds: u32,
    /// Connections, times [`PF_THRESHOLD_MULT`], in the upper half; the second they were counted in, in the lower.
    count: AtomicU64,
}

impl Rate {
    pub(super) fn new(of: ConnRate) -> Self {
        Rate {
            limit: of.limit.saturating_mul(PF_THRESHOLD_MULT),
            seconds: of.seconds,
            count: AtomicU64::new(0),
        }
    }

    /// What is left of the count.
    fn faded(&self, word: u64, now: u32) -> u32 {
        let (count, last) = ((word >> 32) as u32, word as u32);
        let passed = now.wrapping_sub(last);
        if passed >= self.seconds {
            0
        } else {
            count - (u64::from(count) * u64::from(passed) / u64::from(self.seconds)) as u32
        }
    }

    /// Counts a connection.
    pub(super) fn add(&self, now: u32) {
        let more = |word| {
            let count = self.faded(word, now).saturating_add(PF_THRESHOLD_MULT);
            Some(u64::from(count) << 32 | u64::from(now))
        };
        // It cannot fail.
        let _ = self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    /// Whether there are more than are allowed.
    pub(super) fn is_exceeded(&self, now: u32) -> bool {
        self.limit != 0 && self.faded(self.count.load(Ordering::Relaxed), now) > self.limit
    }

    /// As the ABI has it.
    pub(super) fn export(&self, now: u32) -> Threshold {
        let word = self.count.load(Ordering::Relaxed);
        Threshold {
            limit: self.limit,
            seconds: self.seconds,
            count: self.faded(word, now),
            last: word as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_fade() {
        let rate = Rate::new(ConnRate { limit: 3, seconds: 10 });
        (0..3).for_each(|_| rate.add(100));
        assert!(!rate.is_exceeded(100));
        rate.add(100);
        assert!(rate.is_exceeded(100));
        assert!(rate.is_exceeded(102), "3.2 are left of four");
        assert!(!rate.is_exceeded(103), "2.8 are left of four");
        assert_eq!(rate.export(105).count, 2000);
        assert_eq!(rate.export(110).count, 0);
    }

    #[test]
    fn without_a_limit_none_is_exceeded() {
        let rate = Rate::new(ConnRate::default());
        (0..100).for_each(|_| rate.add(7));
        assert!(!rate.is_exceeded(7));
    }
}
