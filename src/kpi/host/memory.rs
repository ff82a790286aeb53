//! kmem(9) on the global allocator, and running out of it on demand.

use std::alloc::{self as global, Layout};
use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::thread_local;

thread_local! {
    /// How many allocations this thread may still make; none where there is no end.
    static REMAINING: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Memory of `layout`, whose size is not 0, or nothing.
pub fn alloc(layout: Layout) -> Option<NonNull<u8>> {
    debug_assert_ne!(layout.size(), 0);
    if !may_allocate() {
        return None;
    }
    // SAFETY: the layout has a size.
    NonNull::new(unsafe { global::alloc(layout) })
}

/// Gives memory back.
///
/// # Safety
/// `memory` comes from [`alloc`] with the same `layout`, and is not used again.
pub unsafe fn free(memory: NonNull<u8>, layout: Layout) {
    // SAFETY: the caller's word.
    unsafe { global::dealloc(memory.as_ptr(), layout) }
}

/// Counts one allocation against what [`fail_allocations`] left.
pub(super) fn may_allocate() -> bool {
    REMAINING.with(|remaining| match remaining.get() {
        None => true,
        Some(0) => false,
        Some(n) => {
            remaining.set(Some(n - 1));
            true
        }
    })
}

/// Lets this thread make `after` more allocations, and fails each one behind them until the returned value is dropped.
pub fn fail_allocations(after: usize) -> FailingAllocations {
    REMAINING.with(|remaining| remaining.set(Some(after)));
    FailingAllocations(PhantomData)
}

/// This thread is out of memory as long as this lives.
#[must_use]
pub struct FailingAllocations(PhantomData<*mut ()>);

impl Drop for FailingAllocations {
    fn drop(&mut self) {
        REMAINING.with(|remaining| remaining.set(None));
    }
}
