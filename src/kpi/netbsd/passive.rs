//! pserialize(9).

use core::marker::PhantomData;
use core::ptr::NonNull;

use super::{NoMemory, SoftNet, ffi};

/// What readers and writers of passively protected data meet at.
///
/// # Invariants
/// The pointer comes from pserialize_create(9), and is destroyed once, by the drop.
pub struct Passive(NonNull<ffi::pserialize>);

impl Passive {
    /// pserialize_create(9).
    pub fn new() -> Result<Self, NoMemory> {
        // SAFETY: called in a thread; it sleeps until there is memory.
        NonNull::new(unsafe { ffi::pserialize_create() })
            .map(Passive)
            .ok_or(NoMemory)
    }

    /// A read section, until it is dropped: the level is one already.
    #[inline]
    pub fn read<'a>(&'a self, _level: &'a SoftNet) -> ReadSection<'a> {
        ReadSection {
            of_this_level: PhantomData,
        }
    }

    /// pserialize_perform(9): returns when every read section that was open at the call has ended. It sleeps.
    pub fn wait(&self) {
        // SAFETY: by the invariant the object is there; the caller is a thread in no read section, with no spin lock.
        unsafe { ffi::pserialize_perform(self.0.as_ptr()) };
    }
}

impl Drop for Passive {
    fn drop(&mut self) {
        // SAFETY: by the invariant the object is there; `&mut self` says that nobody uses it.
        unsafe { ffi::pserialize_destroy(self.0.as_ptr()) };
    }
}

// SAFETY: pserialize(9) is there to be shared between CPUs.
unsafe impl Sync for Passive {}
// SAFETY: as above.
unsafe impl Send for Passive {}

/// An open read section.
///
/// # Invariants
/// The level at which pserialize(9) reads is held as long as it lives, by the [`SoftNet`] that it borrows, so it does not leave its
/// LWP and its CPU, and nobody sleeps in it.
pub struct ReadSection<'a> {
    of_this_level: PhantomData<(*mut (), &'a Passive, &'a SoftNet)>,
}
