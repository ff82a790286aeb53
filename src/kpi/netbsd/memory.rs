//! kmem(9), from wherever pf runs: it never sleeps.

use core::alloc::Layout;
use core::ffi::c_void;
use core::ptr::NonNull;

use super::ffi;

/// What kmem(9) aligns every allocation to.
const KMEM_ALIGN: usize = 8;

/// Allocations that fail because a test says so (scripts/build-kmod --fault-injection).
#[cfg(feature = "fault-injection")]
mod fault {
    use core::sync::atomic::{AtomicU64, Ordering};

    /// In the upper half, how many allocations succeed before; in the lower half, how many fail then.
    static PLAN: AtomicU64 = AtomicU64::new(0);

    pub(crate) fn set(skip: u32, count: u32) {
        PLAN.store(u64::from(skip) << 32 | u64::from(count), Ordering::Relaxed);
    }

    /// Whether this allocation is one that fails. Never inlined, so that stack frames are those of a module for use.
    #[inline(never)]
    pub(crate) fn strikes() -> bool {
        let step = |plan: u64| match (plan >> 32, plan as u32) {
            (_, 0) => None,
            (0, _) => Some(plan - 1),
            _ => Some(plan - (1 << 32)),
        };
        PLAN.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step)
            .is_ok_and(|plan| plan >> 32 == 0)
    }
}

#[cfg(feature = "fault-injection")]
pub(crate) use fault::set as fail_allocations;

/// Whether a test has this allocation fail: in a module for use, never.
#[inline]
pub(super) fn is_refused() -> bool {
    #[cfg(feature = "fault-injection")]
    return fault::strikes();
    #[cfg(not(feature = "fault-injection"))]
    false
}

/// Memory of `layout`, whose size is not 0, or nothing.
pub fn alloc(layout: Layout) -> Option<NonNull<u8>> {
    if is_refused() {
        return None;
    }
    if layout.align() > KMEM_ALIGN {
        return alloc_aligned(layout);
    }
    // SAFETY: the size is not 0, and an allocation that may not sleep can be made at any level up to IPL_VM.
    NonNull::new(unsafe { ffi::kmem_intr_alloc(layout.size(), ffi::KM_NOSLEEP as u32) }).map(NonNull::cast)
}

/// Gives memory back.
///
/// # Safety
/// `memory` comes from [`alloc`] with the same `layout`, and is not used again.
pub unsafe fn free(memory: NonNull<u8>, layout: Layout) {
    if layout.align() > KMEM_ALIGN {
        // SAFETY: the caller's word.
        return unsafe { free_aligned(memory, layout) };
    }
    // SAFETY: the caller's word; kmem(9) wants the size that was asked for.
    unsafe { ffi::kmem_intr_free(memory.as_ptr().cast(), layout.size()) };
}

/// Memory with room for a stricter alignment. Where it begins stands in the word before it.
fn alloc_aligned(layout: Layout) -> Option<NonNull<u8>> {
    let size = layout.size().checked_add(layout.align())?;
    // SAFETY: as in `alloc`.
    let start = NonNull::new(unsafe { ffi::kmem_intr_alloc(size, ffi::KM_NOSLEEP as u32) })?.cast::<u8>();
    let skip = layout.align() - (start.as_ptr() as usize & (layout.align() - 1));
    // SAFETY: `skip` is at least KMEM_ALIGN, as both the start and the alignment are multiples of it, and at most the
    // alignment: there is a word before `memory`, and the layout's size behind it.
    unsafe {
        let memory = start.add(skip);
        memory.cast::<*mut c_void>().sub(1).write(start.as_ptr().cast());
        Some(memory)
    }
}

/// # Safety
/// As for [`free`]; the layout is one that `alloc` has `alloc_aligned` do.
unsafe fn free_aligned(memory: NonNull<u8>, layout: Layout) {
    // SAFETY: `alloc_aligned` wrote the start there, and allocated this size.
    unsafe {
        let start = memory.cast::<*mut c_void>().sub(1).read();
        ffi::kmem_intr_free(start, layout.size() + layout.align());
    }
}
