//! A value and a short array in one piece of kernel memory, with several owners: a node of a tree whose versions share their parts.
//!
//! # Life cycle
//! Who is the only owner changes a row in place. Who is not gets a copy, whose items are shared with the old one. So a tree of rows
//! is changed along one path, and whoever reads the version before still has all of it.

use core::alloc::Layout;
use core::fmt;
use core::mem::offset_of;
use core::ptr::{self, NonNull};
use core::slice;
use core::sync::atomic::{AtomicU32, Ordering, fence};

use crate::kpi::{NoMemory, alloc, free};

/// Owners from which on nobody counts any more: such a row is never freed.
const STUCK: u32 = 1 << 31;

#[repr(C)]
struct Counted<H, T> {
    owners: AtomicU32,
    len: u16,
    capacity: u16,
    head: H,
    items: [T; 0],
}

/// A counted reference to a head and its items.
///
/// # Invariants
/// The pointer comes from `kpi::alloc` with the layout of `capacity` items, of which the first `len` are valid, as the head is; it is
/// valid as long as `owners` is not 0, in which this reference is counted. With one owner nobody else reads or writes it.
pub struct Row<H, T>(NonNull<Counted<H, T>>);

impl<H, T> Row<H, T> {
    /// A row of one owner.
    pub fn new<const N: usize>(head: H, items: [T; N]) -> Result<Self, NoMemory> {
        let raw = Self::alloc(N)?;
        // SAFETY: fresh memory for N items; the array is moved into it.
        unsafe {
            (&raw mut (*raw.as_ptr()).head).write(head);
            Self::data(raw).cast::<[T; N]>().write(items);
            // `alloc` has seen that it fits.
            (*raw.as_ptr()).len = N as u16;
        }
        Ok(Row(raw))
    }

    fn layout(capacity: usize) -> Result<Layout, NoMemory> {
        let items = Layout::array::<T>(capacity).map_err(|_| NoMemory)?;
        let (layout, at) = Layout::new::<Counted<H, T>>().extend(items).map_err(|_| NoMemory)?;
        debug_assert!(at >= offset_of!(Counted<H, T>, items));
        Ok(layout)
    }

    /// Memory for a row, with no items in it and an owner; the head is not there yet.
    fn alloc(capacity: usize) -> Result<NonNull<Counted<H, T>>, NoMemory> {
        let of = u16::try_from(capacity).map_err(|_| NoMemory)?;
        let raw: NonNull<Counted<H, T>> = alloc(Self::layout(capacity)?).ok_or(NoMemory)?.cast();
        // SAFETY: fresh memory of a layout that begins with these fields.
        unsafe {
            (&raw mut (*raw.as_ptr()).owners).write(AtomicU32::new(1));
            (&raw mut (*raw.as_ptr()).len).write(0);
            (&raw mut (*raw.as_ptr()).capacity).write(of);
        }
        Ok(raw)
    }

    /// Where the items are.
    ///
    /// # Safety
    /// `raw` comes from `alloc`, and is not freed.
    unsafe fn data(raw: NonNull<Counted<H, T>>) -> NonNull<T> {
        // SAFETY: the items lie within the allocation, behind the head.
        unsafe { raw.cast::<u8>().add(offset_of!(Counted<H, T>, items)).cast() }
    }

    /// Frees the memory and drops nothing.
    ///
    /// # Safety
    /// `raw` comes from `alloc`, and is not used again.
    unsafe fn release(raw: NonNull<Counted<H, T>>) {
        // SAFETY: the caller's word; the layout was made once, so it can be made again.
        unsafe {
            let capacity = usize::from((*raw.as_ptr()).capacity);
            if let Ok(layout) = Self::layout(capacity) {
                free(raw.cast(), layout);
            }
        }
    }

    fn counted(&self) -> &Counted<H, T> {
        // SAFETY: by the invariant it lives as long as we are counted.
        unsafe { self.0.as_ref() }
    }

    /// What stands before the items.
    #[inline]
    pub fn head(&self) -> &H {
        &self.counted().head
    }

    /// The items.
    #[inline]
    pub fn items(&self) -> &[T] {
        // SAFETY: by the invariant the first `len` are valid.
        unsafe { slice::from_raw_parts(Self::data(self.0).as_ptr(), usize::from(self.counted().len)) }
    }

    /// Whether both are the same row, not merely equal.
    pub fn ptr_eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    /// Whether there is no other owner; nobody can become one meanwhile.
    fn is_alone(&mut self) -> bool {
        self.counted().owners.load(Ordering::Acquire) == 1
    }
}

impl<H, T: Clone> Row<H, T> {
    /// The row, to be changed: a copy of it where it has other owners. `copy` copies the head.
    pub fn make_mut(&mut self, copy: impl FnOnce(&H) -> H) -> Result<(&mut H, &mut [T]), NoMemory> {
        if !self.is_alone() {
            let new = Self::with_room(copy(self.head()), self.items().len())?;
            // SAFETY: there is room for as many.
            unsafe { new.append(self.items()) };
            *self = new;
        }
        // SAFETY: by the invariant it is ours alone, and the first `len` items are valid.
        unsafe {
            let counted = self.0.as_mut();
            let len = usize::from(counted.len);
            let items = slice::from_raw_parts_mut(Self::data(self.0).as_ptr(), len);
            Ok((&mut (*self.0.as_ptr()).head, items))
        }
    }

    fn with_room(head: H, capacity: usize) -> Result<Self, NoMemory> {
        let raw = Self::alloc(capacity)?;
        // SAFETY: fresh memory.
        unsafe { (&raw mut (*raw.as_ptr()).head).write(head) };
        Ok(Row(raw))
    }

    /// Appends copies of `items`.
    ///
    /// # Safety
    /// The row is the caller's alone, and has room for them.
    unsafe fn append(&self, items: &[T]) {
        for item in items {
            // SAFETY: the caller's word.
            unsafe { self.push(item.clone()) };
        }
    }

    /// Appends an item.
    ///
    /// # Safety
    /// The row is the caller's alone, and has room for it.
    unsafe fn push(&self, item: T) {
        // SAFETY: the caller's word.
        unsafe {
            let len = (*self.0.as_ptr()).len;
            Self::data(self.0).add(usize::from(len)).write(item);
            (*self.0.as_ptr()).len = len + 1;
        }
    }

    /// Puts `item` before the one at `at`, or last, and a new head in front. Where there is no memory, the row is as before and
    /// `item` is dropped.
    pub fn insert(&mut self, head: H, at: usize, item: T) -> Result<(), NoMemory> {
        let len = self.items().len();
        let at = at.min(len);
        let is_alone = self.is_alone();
        let new = Self::with_room(head, len + 1)?;
        if is_alone {
            // SAFETY: the old row is ours alone: its items are moved, its head is dropped, and then only its memory is freed. The
            // new one is ours, too, and has room for one more.
            unsafe {
                let (from, to) = (Self::data(self.0), Self::data(new.0));
                ptr::copy_nonoverlapping(from.as_ptr(), to.as_ptr(), at);
                to.add(at).write(item);
                ptr::copy_nonoverlapping(from.add(at).as_ptr(), to.add(at + 1).as_ptr(), len - at);
                (*new.0.as_ptr()).len = (len + 1) as u16;
                let old = core::mem::replace(&mut self.0, new.0);
                core::mem::forget(new);
                ptr::drop_in_place(&raw mut (*old.as_ptr()).head);
                Self::release(old);
            }
        } else {
            let (before, behind) = self.items().split_at(at);
            // SAFETY: the new row is ours, with room for all of them.
            unsafe {
                new.append(before);
                new.push(item);
                new.append(behind);
            }
            *self = new;
        }
        Ok(())
    }

    /// Takes out the item at `at`, if there is one, and puts a new head in front. A row of one owner needs no memory for that.
    pub fn remove(&mut self, head: H, at: usize) -> Result<(), NoMemory> {
        let len = self.items().len();
        if at >= len {
            return Ok(());
        }
        if self.is_alone() {
            // SAFETY: the row is ours alone, and `at` is one of its valid items, which is read out once; those behind it move up.
            unsafe {
                let counted = self.0.as_mut();
                counted.head = head;
                counted.len -= 1;
                let place = Self::data(self.0).add(at);
                let item = place.read();
                ptr::copy(place.add(1).as_ptr(), place.as_ptr(), len - at - 1);
                drop(item);
            }
        } else {
            let new = Self::with_room(head, len - 1)?;
            let (before, behind) = self.items().split_at(at);
            // SAFETY: the new row is ours, with room for all but one.
            unsafe {
                new.append(before);
                new.append(behind.get(1..).unwrap_or_default());
            }
            *self = new;
        }
        Ok(())
    }
}

impl<H, T> Clone for Row<H, T> {
    fn clone(&self) -> Self {
        let owners = &self.counted().owners;
        if owners.fetch_add(1, Ordering::Relaxed) >= STUCK {
            // Far from the end of the number, where a few more or less do not matter.
            owners.store(STUCK + STUCK / 2, Ordering::Relaxed);
        }
        Row(self.0)
    }
}

impl<H, T> Drop for Row<H, T> {
    fn drop(&mut self) {
        let owners = &self.counted().owners;
        if owners.load(Ordering::Relaxed) >= STUCK || owners.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        fence(Ordering::Acquire);
        // SAFETY: we were the last owner, and the fence makes the others' uses happen before.
        unsafe {
            let items = ptr::slice_from_raw_parts_mut(Self::data(self.0).as_ptr(), usize::from(self.0.as_ref().len));
            ptr::drop_in_place(items);
            ptr::drop_in_place(&raw mut (*self.0.as_ptr()).head);
            Self::release(self.0);
        }
    }
}

impl<H: fmt::Debug, T: fmt::Debug> fmt::Debug for Row<H, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.head(), self.items())
    }
}

// SAFETY: owners in several threads share `&H` and `&T`, and the last of them drops both.
unsafe impl<H: Send + Sync, T: Send + Sync> Send for Row<H, T> {}
// SAFETY: as above.
unsafe impl<H: Send + Sync, T: Send + Sync> Sync for Row<H, T> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kpi::host::fail_allocations;
    use std::rc::Rc;
    use std::vec;
    use std::vec::Vec;

    type Counting = Row<u8, Rc<u32>>;

    fn values(row: &Counting) -> Vec<u32> {
        row.items().iter().map(|item| **item).collect()
    }

    #[test]
    fn a_row_of_one_owner_is_changed_in_place() {
        let mut row: Counting = Row::new(0, []).unwrap();
        for n in 0..100 {
            row.insert(n as u8, n, Rc::new(n as u32)).unwrap();
        }
        row.insert(1, 0, Rc::new(500)).unwrap();
        assert_eq!(values(&row), [500].into_iter().chain(0..100).collect::<Vec<_>>());
        assert_eq!(*row.head(), 1);
        let before = row.0;
        row.remove(2, 0).unwrap();
        row.remove(2, 1000).unwrap();
        row.remove(2, 99).unwrap();
        assert_eq!(values(&row), (0..99).collect::<Vec<_>>());
        assert!(row.items().iter().all(|item| Rc::strong_count(item) == 1));
        assert_eq!(before, row.0);
    }

    #[test]
    fn other_owners_see_no_change() {
        let mut row: Counting = Row::new(7, [1, 2, 3].map(Rc::new)).unwrap();
        let old = row.clone();
        row.insert(8, 1, Rc::new(9)).unwrap();
        assert_eq!((values(&row), *row.head()), (vec![1, 9, 2, 3], 8));
        let mut shorter = old.clone();
        shorter.remove(6, 0).unwrap();
        assert_eq!(values(&shorter), [2, 3]);
        let mut changed = old.clone();
        *changed.make_mut(|head| head + 1).unwrap().1.first_mut().unwrap() = Rc::new(5);
        assert_eq!((values(&changed), *changed.head()), (vec![5, 2, 3], 8));
        assert_eq!((values(&old), *old.head()), (vec![1, 2, 3], 7));
        assert!(!old.ptr_eq(&changed) && old.ptr_eq(&old.clone()));
        let last = old.items()[2].clone();
        drop((row, shorter, changed, old));
        assert_eq!(Rc::strong_count(&last), 1, "the last owner drops all of it");
    }

    #[test]
    fn out_of_memory_leaves_what_was_there() {
        let item = Rc::new(1);
        let mut row: Counting = Row::new(7, [item.clone()]).unwrap();
        let other = row.clone();
        let failing = fail_allocations(0);
        assert_eq!(row.insert(8, 0, Rc::new(0)), Err(NoMemory));
        assert_eq!(row.remove(8, 0), Err(NoMemory));
        assert!(row.make_mut(|head| *head).is_err());
        drop(failing);
        assert_eq!((values(&row), *row.head()), (vec![1], 7));
        drop((row, other));
        assert_eq!(Rc::strong_count(&item), 1);
    }

    #[test]
    fn a_row_of_too_many_owners_stays() {
        let row: Counting = Row::new(0, []).unwrap();
        row.counted().owners.store(STUCK, Ordering::Relaxed);
        let other = row.clone();
        drop(row);
        drop(other.clone());
        assert!(other.counted().owners.load(Ordering::Relaxed) > STUCK);
        // Not to leave anything behind.
        other.counted().owners.store(1, Ordering::Relaxed);
    }
}
