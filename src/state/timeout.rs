//! How long a silent state is kept: pf's timeouts, by protocol and phase, and how they shrink as the table fills.
//!
//! # Locking
//! None: the values are atomic, and each is read once a decision.

use core::sync::atomic::{AtomicU32, Ordering};

use pf_abi::Timeout;

use crate::rule::Rule;

/// The global timeouts, in seconds; the two adaptive ones are numbers of states.
#[derive(Debug)]
pub struct Timeouts([AtomicU32; Timeout::COUNT]);

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts(core::array::from_fn(|at| {
            AtomicU32::new(Timeout::ALL[at].default_value())
        }))
    }
}

impl Timeouts {
    /// The global value.
    #[inline]
    pub fn get(&self, timeout: Timeout) -> u32 {
        self.0[timeout as usize].load(Ordering::Relaxed)
    }

    /// Sets the global value, and returns the one before.
    pub fn set(&self, timeout: Timeout, value: u32) -> u32 {
        self.0[timeout as usize].swap(value, Ordering::Relaxed)
    }

    /// How many seconds of silence a state of `rule` in the phase `timeout` survives as long as the table is not full: the rule's own
    /// timeout or the global one.
    pub fn unscaled(&self, timeout: Timeout, rule: Option<&Rule>) -> u32 {
        own(rule, timeout).unwrap_or_else(|| self.get(timeout))
    }

    /// How many seconds of silence a state of `rule` in the phase `timeout` survives, with `states` in the table: the
    /// rule's own timeout or the global one, scaled down linearly from `adaptive.start` states on, to nothing at
    /// `adaptive.end`. A rule with an adaptive start of its own counts its own states.
    pub fn lifetime(&self, timeout: Timeout, rule: Option<&Rule>, states: usize) -> u32 {
        let full = self.unscaled(timeout, rule);
        let (start, end, states) = match (own(rule, Timeout::AdaptiveStart), rule) {
            (Some(start), Some(rule)) => {
                let end = own(Some(rule), Timeout::AdaptiveEnd).unwrap_or(0);
                (start, end, u64::from(rule.states.load(Ordering::Relaxed)))
            }
            _ => (
                self.get(Timeout::AdaptiveStart),
                self.get(Timeout::AdaptiveEnd),
                states as u64,
            ),
        };
        let (start, end) = (u64::from(start), u64::from(end));
        if start == 0 || end <= start || states <= start {
            full
        } else if states >= end {
            0
        } else {
            (u64::from(full) * (end - states) / (end - start)) as u32
        }
    }
}

/// The value that a rule sets itself.
fn own(rule: Option<&Rule>, timeout: Timeout) -> Option<u32> {
    rule.map(|rule| rule.timeouts[timeout as usize])
        .filter(|value| *value != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_shrink_as_the_table_fills() {
        let timeouts = Timeouts::default();
        timeouts.set(Timeout::AdaptiveStart, 100);
        timeouts.set(Timeout::AdaptiveEnd, 200);
        let lifetime = |states| timeouts.lifetime(Timeout::UdpFirst, None, states);
        assert_eq!(
            (lifetime(0), lifetime(100), lifetime(150), lifetime(200)),
            (60, 60, 30, 0)
        );
        timeouts.set(Timeout::AdaptiveStart, 0);
        assert_eq!(lifetime(1_000_000), 60);
    }
}
