//! One value, owned, in kernel memory.

use core::alloc::Layout;
use core::fmt;
use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

use zerocopy::FromZeros;

use crate::kpi::{NoMemory, alloc, free};

/// An owned value on the heap.
///
/// # Invariants
/// The pointer comes from `kpi::alloc` with the layout of `T` (or dangles where `T` has no size), points to a valid
/// `T`, and nobody else has it.
pub struct KBox<T>(NonNull<T>);

impl<T> KBox<T> {
    /// Moves `value` to the heap.
    pub fn new(value: T) -> Result<Self, NoMemory> {
        let raw = Self::alloc()?;
        // SAFETY: `raw` is fresh memory of the layout of `T`.
        unsafe { raw.write(value) };
        Ok(KBox(raw))
    }

    /// A value of zero bytes, made in place: for a large `T` that must not pass over the stack.
    pub fn zeroed() -> Result<Self, NoMemory>
    where
        T: FromZeros,
    {
        let raw = Self::alloc()?;
        // SAFETY: `raw` is fresh memory of the layout of `T`, and zero bytes are a valid `T`.
        unsafe { raw.write_bytes(0, 1) };
        Ok(KBox(raw))
    }

    fn alloc() -> Result<NonNull<T>, NoMemory> {
        if size_of::<T>() == 0 {
            return Ok(NonNull::dangling());
        }
        alloc(Layout::new::<T>()).map(NonNull::cast).ok_or(NoMemory)
    }

    /// Gives up the value's memory without dropping the value.
    pub fn into_inner(this: Self) -> T {
        let raw = Self::into_raw(this);
        // SAFETY: `raw` was ours and valid; the value is read out once, and then only the memory is freed.
        unsafe {
            let value = raw.read();
            release(raw);
            value
        }
    }

    /// Hands the value over as a pointer. It is freed by [`KBox::from_raw`].
    pub fn into_raw(this: Self) -> NonNull<T> {
        ManuallyDrop::new(this).0
    }

    /// Takes back what [`KBox::into_raw`] gave.
    ///
    /// # Safety
    /// `raw` comes from `into_raw`, and is taken back once, with no reference left to the value.
    pub unsafe fn from_raw(raw: NonNull<T>) -> Self {
        KBox(raw)
    }
}

/// Frees the memory of a `T` whose value is gone.
///
/// # Safety
/// `raw` comes from `KBox::alloc`.
unsafe fn release<T>(raw: NonNull<T>) {
    if size_of::<T>() != 0 {
        // SAFETY: the caller's word; the layout is the one that `KBox::alloc` used.
        unsafe { free(raw.cast(), Layout::new::<T>()) };
    }
}

impl<T> Drop for KBox<T> {
    fn drop(&mut self) {
        // SAFETY: by the invariant the value is valid and ours alone, and its memory came from `KBox::alloc`.
        unsafe {
            self.0.drop_in_place();
            release(self.0);
        }
    }
}

impl<T> Deref for KBox<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: by the invariant the value is valid.
        unsafe { self.0.as_ref() }
    }
}

impl<T> DerefMut for KBox<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: by the invariant the value is valid and ours alone.
        unsafe { self.0.as_mut() }
    }
}

impl<T: fmt::Debug> fmt::Debug for KBox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

// SAFETY: a box owns its value as the value itself would be owned.
unsafe impl<T: Send> Send for KBox<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for KBox<T> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kpi::host::fail_allocations;

    #[test]
    fn a_box_holds_its_value_and_gives_it_back() {
        let mut boxed = KBox::new([7u64; 32]).unwrap();
        boxed[3] = 9;
        assert_eq!(boxed[3], 9);
        assert_eq!(KBox::into_inner(boxed)[2], 7);
        assert_eq!(*KBox::<[u8; 4096]>::zeroed().unwrap(), [0; 4096]);
    }

    #[test]
    fn out_of_memory_is_an_error() {
        let failing = fail_allocations(0);
        assert_eq!(KBox::new(1u32).unwrap_err(), NoMemory);
        drop(failing);
        assert_eq!(*KBox::new(1u32).unwrap(), 1);
    }

    #[test]
    fn the_value_is_dropped_once() {
        let counted = std::rc::Rc::new(());
        let boxed = KBox::new(counted.clone()).unwrap();
        // SAFETY: taken back once, straight away.
        let again = unsafe { KBox::from_raw(KBox::into_raw(boxed)) };
        assert_eq!(std::rc::Rc::strong_count(&counted), 2);
        drop(again);
        assert_eq!(std::rc::Rc::strong_count(&counted), 1);
    }
}
