//! A value that is read by everybody and replaced whole.
//!
//! # Life cycle
//! Writers build a new value, [`replace`](Snapshot::replace) the old one, and get it back when no reader can see it
//! any more. Readers take no lock and write nothing that another CPU reads.
//!
//! # Locking
//! Readers hold a [`ReadSection`]. Writers are serialised by their caller, and wait in `replace`: they hold no spin
//! lock and are in no read section.

use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, Ordering};

use super::{KBox, KVec};
use crate::kpi::{NoMemory, Passive, ReadSection};

/// An immutable value that can be swapped under its readers.
///
/// # Invariants
/// The pointer comes from `KBox::into_raw`, is never null, and what it points to is not written while it is here.
pub struct Snapshot<T>(AtomicPtr<T>);

impl<T> Snapshot<T> {
    /// The first value.
    pub fn new(value: KBox<T>) -> Self {
        Snapshot(AtomicPtr::new(KBox::into_raw(value).as_ptr()))
    }

    /// What is there now. It stays until the read section ends.
    #[inline]
    pub fn read<'a>(&'a self, _section: &'a ReadSection<'_>) -> &'a T {
        // SAFETY: by the invariant the pointer is valid; `replace` frees what it took out only after every read section
        // that could have seen it has ended, and this one is still open for 'a.
        unsafe { &*self.0.load(Ordering::Acquire) }
    }

    /// Puts `new` in place, waits until nobody can see the old value any more, and returns it.
    pub fn replace(&self, new: KBox<T>, passive: &Passive) -> KBox<T> {
        let old = self.0.swap(KBox::into_raw(new).as_ptr(), Ordering::AcqRel);
        passive.wait();
        // SAFETY: by the invariant `old` came from `KBox::into_raw`; it is no longer here, and `wait` has seen the last
        // reader of it leave.
        unsafe { KBox::from_raw(NonNull::new_unchecked(old)) }
    }
}

/// Values that were replaced and may still be seen: one wait for all of them. Dropped as [`Snapshot::replace`] is called: with no spin
/// lock held, in no read section.
///
/// # Invariants
/// Each pointer comes from `KBox::into_raw`, and from a snapshot in which it is no longer.
pub struct Retired<'a, T> {
    passive: &'a Passive,
    old: KVec<NonNull<T>>,
}

impl<'a, T> Retired<'a, T> {
    /// Room for `count` values whose readers are in sections of `passive`.
    pub fn with_room(count: usize, passive: &'a Passive) -> Result<Self, NoMemory> {
        let old = KVec::with_capacity(count)?;
        Ok(Retired { passive, old })
    }

    /// Puts `new` in place of what is in `snapshot`. Where there is neither room nor memory for more, nothing is changed, and
    /// `new` is dropped.
    pub fn replace(&mut self, snapshot: &Snapshot<T>, new: KBox<T>) -> Result<(), NoMemory> {
        let new = KBox::into_raw(new);
        // The place is taken before the value is out: `new` stands in it until then.
        if self.old.push(new).is_err() {
            // SAFETY: it went nowhere.
            drop(unsafe { KBox::from_raw(new) });
            return Err(NoMemory);
        }
        let old = snapshot.0.swap(new.as_ptr(), Ordering::AcqRel);
        if let (Some(slot), Some(old)) = (self.old.last_mut(), NonNull::new(old)) {
            *slot = old;
        }
        Ok(())
    }
}

impl<T> Drop for Retired<'_, T> {
    fn drop(&mut self) {
        if self.old.is_empty() {
            return;
        }
        self.passive.wait();
        while let Some(old) = self.old.pop() {
            // SAFETY: by the invariant; the wait has seen the last reader of it leave.
            drop(unsafe { KBox::from_raw(old) });
        }
    }
}

impl<T> fmt::Debug for Snapshot<T> {
    /// Without what is in it: there is no section to read that in.
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("Snapshot")
    }
}

impl<T> Drop for Snapshot<T> {
    fn drop(&mut self) {
        // SAFETY: by the invariant the pointer came from `KBox::into_raw`; `&mut self` says that there is no reader.
        unsafe { drop(KBox::from_raw(NonNull::new_unchecked(*self.0.get_mut()))) }
    }
}

// SAFETY: a snapshot hands out `&T` to any thread, and `T` itself to whoever replaces it.
unsafe impl<T: Send + Sync> Sync for Snapshot<T> {}
// SAFETY: it owns its value as a box does.
unsafe impl<T: Send + Sync> Send for Snapshot<T> {}
