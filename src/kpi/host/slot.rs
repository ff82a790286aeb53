//! A number that a thread has to itself while it lives, so that what it writes often lies apart from what others do.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread_local;
use std::vec::Vec;

/// How many numbers there are; more threads than that share [`SHARED`].
pub(super) const SLOTS: usize = 64;
/// Nobody's own.
pub(super) const SHARED: usize = 0;

/// Numbers that no thread has.
static FREE: Mutex<Vec<usize>> = Mutex::new(Vec::new());

struct OwnSlot(usize);

impl OwnSlot {
    fn take() -> Self {
        static FILLED: OnceLock<()> = OnceLock::new();
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        FILLED.get_or_init(|| free.extend((SHARED + 1..SLOTS).rev()));
        OwnSlot(free.pop().unwrap_or(SHARED))
    }
}

impl Drop for OwnSlot {
    fn drop(&mut self) {
        if self.0 != SHARED {
            FREE.lock().unwrap_or_else(PoisonError::into_inner).push(self.0);
        }
    }
}

thread_local! {
    static SLOT: OwnSlot = OwnSlot::take();
}

/// This thread's number, or [`SHARED`].
#[inline]
pub(super) fn current() -> usize {
    // A thread that is about to end has given its number back.
    SLOT.try_with(|slot| slot.0).unwrap_or(SHARED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn threads_give_their_numbers_back() {
        for _ in 0..2 * SLOTS {
            thread::spawn(|| assert_ne!(current(), SHARED)).join().unwrap();
        }
    }
}
