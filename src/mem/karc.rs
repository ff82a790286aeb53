//! One value with several owners, in kernel memory: a rule that its ruleset and its states hold.

use core::fmt;
use core::ops::Deref;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering, fence};

use super::KBox;
use crate::kpi::NoMemory;

struct Counted<T> {
    owners: AtomicUsize,
    value: T,
}

/// A counted reference.
///
/// # Invariants
/// The pointer comes from `KBox::into_raw` and is valid as long as `owners` is not 0; this reference is counted in it.
pub struct KArc<T>(NonNull<Counted<T>>);

impl<T> KArc<T> {
    /// Moves `value` to the heap, with one owner.
    pub fn new(value: T) -> Result<Self, NoMemory> {
        let counted = KBox::new(Counted {
            owners: AtomicUsize::new(1),
            value,
        })?;
        Ok(KArc(KBox::into_raw(counted)))
    }

    /// Whether both are the same value, not merely equal.
    pub fn ptr_eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    /// Whether there are other owners. Who has the only one can be sure that there are none.
    pub fn is_shared(&self) -> bool {
        self.counted().owners.load(Ordering::Acquire) > 1
    }

    fn counted(&self) -> &Counted<T> {
        // SAFETY: by the invariant the value lives as long as we are counted.
        unsafe { self.0.as_ref() }
    }
}

impl<T> Clone for KArc<T> {
    fn clone(&self) -> Self {
        // A count of references that each take memory cannot reach the end of a usize.
        self.counted().owners.fetch_add(1, Ordering::Relaxed);
        KArc(self.0)
    }
}

impl<T> Drop for KArc<T> {
    fn drop(&mut self) {
        if self.counted().owners.fetch_sub(1, Ordering::Release) == 1 {
            fence(Ordering::Acquire);
            // SAFETY: we were the last owner, and the fence makes the others' uses happen before.
            drop(unsafe { KBox::from_raw(self.0) });
        }
    }
}

impl<T> Deref for KArc<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.counted().value
    }
}

impl<T: fmt::Debug> fmt::Debug for KArc<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

// SAFETY: owners in several threads share `&T`, and the last of them drops it.
unsafe impl<T: Send + Sync> Send for KArc<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for KArc<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_owner_frees() {
        let counted = std::rc::Rc::new(());
        let one = KArc::new(counted.clone()).unwrap();
        let two = one.clone();
        assert!(one.ptr_eq(&two));
        drop(one);
        assert_eq!(std::rc::Rc::strong_count(&counted), 2);
        drop(two);
        assert_eq!(std::rc::Rc::strong_count(&counted), 1);
    }
}
