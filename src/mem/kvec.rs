//! A vector in kernel memory.

use core::alloc::Layout;
use core::fmt;
use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};
use core::ptr::{self, NonNull};
use core::slice;

use crate::kpi::{NoMemory, alloc, free};

/// A growable array.
///
/// # Invariants
/// `data` comes from `kpi::alloc` with the layout of `capacity` elements, or dangles where that has no size; the first
/// `len` of them are valid.
pub struct KVec<T> {
    data: NonNull<T>,
    len: usize,
    capacity: usize,
}

impl<T> KVec<T> {
    /// Empty, without memory.
    pub const fn new() -> Self {
        assert!(size_of::<T>() != 0, "a KVec of nothings");
        KVec {
            data: NonNull::dangling(),
            len: 0,
            capacity: 0,
        }
    }

    /// Empty, with room for `capacity` elements.
    pub fn with_capacity(capacity: usize) -> Result<Self, NoMemory> {
        let mut vec = KVec::new();
        vec.reserve_exact(capacity)?;
        Ok(vec)
    }

    /// `len` copies of `value`.
    pub fn filled(value: T, len: usize) -> Result<Self, NoMemory>
    where
        T: Copy,
    {
        let mut vec = Self::with_capacity(len)?;
        for _ in 0..len {
            vec.push(value)?;
        }
        Ok(vec)
    }

    /// Appends `value`. Where there is no memory, `value` is dropped and the vector is as before.
    pub fn push(&mut self, value: T) -> Result<(), NoMemory> {
        if self.len == self.capacity {
            self.reserve_exact((self.capacity * 2).max(4))?;
        }
        // SAFETY: there is room for one more behind the valid ones.
        unsafe { self.data.add(self.len).write(value) };
        self.len += 1;
        Ok(())
    }

    /// Takes the last element.
    pub fn pop(&mut self) -> Option<T> {
        self.len = self.len.checked_sub(1)?;
        // SAFETY: it was valid, and is no longer counted.
        Some(unsafe { self.data.add(self.len).read() })
    }

    /// Drops the elements of which `keep` is false; the others close up, in their order. Each is looked at once.
    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        let mut kept = 0;
        for at in 0..self.len {
            if self.get(at).is_some_and(&mut keep) {
                // What lies between has been looked at, and goes.
                self.swap(at, kept);
                kept += 1;
            }
        }
        while self.len > kept {
            self.pop();
        }
    }

    /// Drops every element and keeps the memory.
    pub fn clear(&mut self) {
        let valid: *mut [T] = &mut **self;
        self.len = 0;
        // SAFETY: these were the valid elements, and none is counted any more.
        unsafe { ptr::drop_in_place(valid) };
    }

    /// Makes the capacity at least `capacity`.
    pub fn reserve_exact(&mut self, capacity: usize) -> Result<(), NoMemory> {
        if capacity <= self.capacity {
            return Ok(());
        }
        let layout = Layout::array::<T>(capacity).map_err(|_| NoMemory)?;
        let data: NonNull<T> = alloc(layout).ok_or(NoMemory)?.cast();
        // SAFETY: both hold at least `len` elements and do not overlap; the old ones are moved, not dropped.
        unsafe {
            ptr::copy_nonoverlapping(self.data.as_ptr(), data.as_ptr(), self.len);
            self.release();
        }
        self.data = data;
        self.capacity = capacity;
        Ok(())
    }

    /// Frees the memory, and forgets it.
    ///
    /// # Safety
    /// The elements have been moved or dropped, and `data` is replaced or never used again.
    unsafe fn release(&mut self) {
        if self.capacity != 0 {
            // SAFETY: by the invariant, this is the layout that `data` was allocated with.
            unsafe {
                let layout = Layout::from_size_align_unchecked(self.capacity * size_of::<T>(), align_of::<T>());
                free(self.data.cast(), layout);
            }
        }
    }
}

impl<T> Default for KVec<T> {
    fn default() -> Self {
        KVec::new()
    }
}

impl<T> Drop for KVec<T> {
    fn drop(&mut self) {
        self.clear();
        // SAFETY: the elements are dropped, and nobody uses `data` after this.
        unsafe { self.release() };
    }
}

impl<T> Deref for KVec<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: by the invariant the first `len` are valid.
        unsafe { slice::from_raw_parts(self.data.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for KVec<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: by the invariant the first `len` are valid, and `&mut self` makes them ours.
        unsafe { slice::from_raw_parts_mut(self.data.as_ptr(), self.len) }
    }
}

impl<T> IntoIterator for KVec<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        IntoIter {
            vec: ManuallyDrop::new(self),
            next: 0,
        }
    }
}

/// The elements of a [`KVec`], by value, first to last.
pub struct IntoIter<T> {
    /// Its first `next` elements are gone; the drop below does for the rest.
    vec: ManuallyDrop<KVec<T>>,
    next: usize,
}

impl<T> Iterator for IntoIter<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        if self.next == self.vec.len {
            return None;
        }
        self.next += 1;
        // SAFETY: the element is valid and is read out once, as `next` has moved past it.
        Some(unsafe { self.vec.data.add(self.next - 1).read() })
    }
}

impl<T> Drop for IntoIter<T> {
    fn drop(&mut self) {
        for rest in self.by_ref() {
            drop(rest);
        }
        // SAFETY: every element has been read out, and the vector is not dropped again.
        unsafe { self.vec.release() };
    }
}

impl<T: fmt::Debug> fmt::Debug for KVec<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

// SAFETY: a vector owns its elements as they would be owned one by one.
unsafe impl<T: Send> Send for KVec<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for KVec<T> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kpi::host::fail_allocations;

    #[test]
    fn it_grows_shrinks_and_iterates() {
        let mut vec = KVec::new();
        for n in 0..1000u32 {
            vec.push(n).unwrap();
        }
        assert_eq!(vec.len(), 1000);
        assert_eq!(vec.pop(), Some(999));
        assert!(vec.into_iter().eq(0..999));
    }

    #[test]
    fn what_is_retained_stays_in_order() {
        let mut vec = KVec::new();
        for n in 0..10u32 {
            vec.push(n).unwrap();
        }
        vec.retain(|n| n % 3 != 1);
        assert_eq!(*vec, [0, 2, 3, 5, 6, 8, 9]);
        vec.retain(|_| true);
        assert_eq!(vec.len(), 7);
        vec.retain(|_| false);
        assert!(vec.is_empty());
    }

    #[test]
    fn every_element_is_dropped_once() {
        let counted = std::rc::Rc::new(());
        let mut vec = KVec::new();
        for _ in 0..5 {
            vec.push(counted.clone()).unwrap();
        }
        let mut iter = vec.into_iter();
        drop(iter.next());
        assert_eq!(std::rc::Rc::strong_count(&counted), 5);
        drop(iter);
        assert_eq!(std::rc::Rc::strong_count(&counted), 1);
    }

    #[test]
    fn out_of_memory_leaves_what_was_there() {
        let mut vec = KVec::filled(1u8, 4).unwrap();
        let failing = fail_allocations(0);
        assert_eq!(vec.push(2), Err(NoMemory));
        drop(failing);
        assert_eq!(*vec, [1, 1, 1, 1]);
    }
}
