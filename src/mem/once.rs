//! A value that is there from when it is first needed.
//!
//! # Locking
//! None: of two who bring it at the same time one is late, and takes the other's.

use core::fmt;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, Ordering};

use super::KBox;
use crate::kpi::NoMemory;

/// Nothing, or a value that stays as long as this does.
///
/// # Invariants
/// The pointer is null, or from `KBox::into_raw`; once it is not null it does not change.
pub struct Once<T>(AtomicPtr<T>);

impl<T> Once<T> {
    /// Nothing yet.
    pub const fn new() -> Self {
        Once(AtomicPtr::new(ptr::null_mut()))
    }

    /// The value, if it is there.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        // SAFETY: by the invariant it is valid and stays, if it is there.
        unsafe { self.0.load(Ordering::Acquire).as_ref() }
    }

    /// The value, made now if nobody has.
    #[inline]
    pub fn get_or_make(&self, make: impl FnOnce() -> Result<T, NoMemory>) -> Result<&T, NoMemory> {
        match self.get() {
            Some(value) => Ok(value),
            None => self.make(make),
        }
    }

    #[cold]
    fn make(&self, make: impl FnOnce() -> Result<T, NoMemory>) -> Result<&T, NoMemory> {
        let new = KBox::into_raw(KBox::new(make()?)?);
        let won = self
            .0
            .compare_exchange(ptr::null_mut(), new.as_ptr(), Ordering::AcqRel, Ordering::Acquire);
        if won.is_err() {
            // SAFETY: it did not go in, so it is still ours.
            drop(unsafe { KBox::from_raw(new) });
        }
        self.get().ok_or(NoMemory)
    }
}

impl<T> Default for Once<T> {
    fn default() -> Self {
        Once::new()
    }
}

impl<T> Drop for Once<T> {
    fn drop(&mut self) {
        if let Some(value) = NonNull::new(*self.0.get_mut()) {
            // SAFETY: by the invariant it came from `KBox::into_raw`; `&mut self` says that nobody looks.
            drop(unsafe { KBox::from_raw(value) });
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Once<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

// SAFETY: it hands out `&T` to any thread, and drops it in one.
unsafe impl<T: Send + Sync> Send for Once<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Once<T> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kpi::host::fail_allocations;
    use std::sync::atomic::AtomicUsize;
    use std::thread;

    #[test]
    fn all_get_the_same() {
        let once = Once::new();
        assert!(once.get().is_none());
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let value: &AtomicUsize = once.get_or_make(|| Ok(AtomicUsize::new(0))).unwrap();
                    value.fetch_add(1, Ordering::Relaxed);
                });
            }
        });
        assert_eq!(once.get().unwrap().load(Ordering::Relaxed), 8);
    }

    #[test]
    fn out_of_memory_leaves_nothing_and_can_be_tried_again() {
        let once = Once::new();
        let failing = fail_allocations(0);
        assert!(once.get_or_make(|| Ok(1)).is_err());
        drop(failing);
        assert_eq!(once.get_or_make(|| Ok(2)), Ok(&2));
    }
}
