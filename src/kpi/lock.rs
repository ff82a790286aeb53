//! The spin lock that can only be taken at IPL_SOFTNET.
//!
//! # Locking
//! The guard borrows the [`SoftNet`] token, so the level cannot drop while the lock is held. An LWP at IPL_SOFTNET is
//! not preempted, and the packet path runs at no higher level: nobody waits for a lock that is held on its own CPU.

use core::fmt;
use core::ops::{Deref, DerefMut};

use spin::mutex::{SpinMutex, SpinMutexGuard};

use super::SoftNet;
use super::backend::Relax;

/// A value behind a spin lock.
pub struct SpinLock<T>(SpinMutex<T, Relax>);

impl<T> SpinLock<T> {
    /// Puts `value` behind a lock that nobody holds.
    pub const fn new(value: T) -> Self {
        SpinLock(SpinMutex::new(value))
    }

    /// Waits for the lock and takes it.
    #[inline]
    pub fn lock<'a>(&'a self, _level: &'a SoftNet) -> SpinGuard<'a, T> {
        SpinGuard(self.0.lock())
    }

    /// Takes the lock if it is free.
    #[inline]
    pub fn try_lock<'a>(&'a self, _level: &'a SoftNet) -> Option<SpinGuard<'a, T>> {
        self.0.try_lock().map(SpinGuard)
    }

    /// The value, when there can be nobody else.
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut()
    }
}

/// The value may be somebody else's at the moment: nothing is said of it.
impl<T> fmt::Debug for SpinLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpinLock").finish_non_exhaustive()
    }
}

/// The lock, held.
pub struct SpinGuard<'a, T>(SpinMutexGuard<'a, T, Relax>);

impl<T> Deref for SpinGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for SpinGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}
