//! pool_cache(9) on a host: objects of one size, carved from slabs that lie on huge pages.
//!
//! A state table of a million entries is larger than the TLB reaches with pages of 4 KiB. NetBSD maps its pools with
//! large pages on amd64; here a slab of 2 MiB asks for the same. Slabs are returned when the pool is dropped.

use std::alloc::Layout;
use std::ptr::NonNull;
use std::vec::Vec;

use super::{NoMemory, memory};
use crate::kpi::{SoftNet, SpinLock};

const SLAB: usize = 2 << 20;

/// A pool of objects of one size.
///
/// # Invariants
/// A free object's first word is the next free one. Objects between `fresh` and `fresh_end` were never handed out.
pub struct Pool {
    size: usize,
    inner: SpinLock<Inner>,
}

struct Inner {
    free: Option<NonNull<u8>>,
    fresh: *mut u8,
    fresh_end: *mut u8,
    slabs: Vec<NonNull<u8>>,
}

// SAFETY: the pointers lead to memory that the pool owns, and the lock is around each use.
unsafe impl Send for Inner {}

impl Pool {
    /// Objects of `layout`, under `name` in vmstat(1).
    pub fn new(_name: &'static core::ffi::CStr, layout: Layout) -> Result<Self, NoMemory> {
        let size = layout.pad_to_align().size().max(size_of::<*mut u8>());
        assert!(size <= SLAB && layout.align() <= 4096);
        let inner = Inner {
            free: None,
            fresh: std::ptr::null_mut(),
            fresh_end: std::ptr::null_mut(),
            slabs: Vec::new(),
        };
        Ok(Pool {
            size,
            inner: SpinLock::new(inner),
        })
    }

    /// An object, its bytes undefined; nothing where there is no memory.
    pub fn get(&self) -> Option<NonNull<u8>> {
        if !memory::may_allocate() {
            return None;
        }
        let level = SoftNet::raise();
        let mut inner = self.inner.lock(&level);
        if let Some(object) = inner.free {
            // SAFETY: by the invariant a free object's first word is the next one.
            inner.free = unsafe { object.cast::<Option<NonNull<u8>>>().read() };
            return Some(object);
        }
        if (inner.fresh_end as usize) - (inner.fresh as usize) < self.size {
            let slab = map_slab()?;
            inner.slabs.push(slab);
            inner.fresh = slab.as_ptr();
            // SAFETY: a slab is SLAB bytes long.
            inner.fresh_end = unsafe { slab.as_ptr().add(SLAB) };
        }
        let object = NonNull::new(inner.fresh)?;
        // SAFETY: there is room for one more object, seen above.
        inner.fresh = unsafe { inner.fresh.add(self.size) };
        Some(object)
    }

    /// Puts an object back.
    ///
    /// # Safety
    /// `object` comes from [`get`](Pool::get) of this pool, and is not used again.
    pub unsafe fn put(&self, object: NonNull<u8>) {
        let level = SoftNet::raise();
        let mut inner = self.inner.lock(&level);
        // SAFETY: the object is ours now, and at least one word long.
        unsafe { object.cast::<Option<NonNull<u8>>>().write(inner.free) };
        inner.free = Some(object);
    }
}

/// A slab, aligned to its own size, on huge pages where the host has them.
fn map_slab() -> Option<NonNull<u8>> {
    // SAFETY: the layout has a size.
    let slab = NonNull::new(unsafe { std::alloc::alloc(slab_layout()) })?;
    // SAFETY: the range is ours; the advice changes how it is backed, not what it holds.
    #[cfg(target_os = "linux")]
    unsafe {
        libc::madvise(slab.as_ptr().cast(), SLAB, libc::MADV_HUGEPAGE);
    }
    Some(slab)
}

fn slab_layout() -> Layout {
    Layout::from_size_align(SLAB, SLAB).expect("a power of two")
}

impl Drop for Pool {
    fn drop(&mut self) {
        for slab in self.inner.get_mut().slabs.drain(..) {
            // SAFETY: every slab comes from `map_slab`, and its objects end with the pool.
            unsafe { std::alloc::dealloc(slab.as_ptr(), slab_layout()) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn objects_are_apart_aligned_and_come_again() {
        let layout = Layout::from_size_align(192, 64).unwrap();
        let pool = Pool::new(c"test", layout).unwrap();
        let objects: HashSet<usize> = (0..30_000).map(|_| pool.get().unwrap().as_ptr() as usize).collect();
        assert_eq!(objects.len(), 30_000);
        assert!(objects.iter().all(|object| object % 64 == 0));
        let mut sorted: Vec<_> = objects.iter().copied().collect();
        sorted.sort_unstable();
        assert!(sorted.windows(2).all(|pair| pair[1] - pair[0] >= 192));
        for &object in &sorted {
            // SAFETY: each comes from `get`, once.
            unsafe { pool.put(NonNull::new(object as *mut u8).unwrap()) };
        }
        assert!(objects.contains(&(pool.get().unwrap().as_ptr() as usize)));
    }
}
