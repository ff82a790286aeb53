//! Asking for memory before it is needed.

/// The bytes that a processor fetches at once.
const CACHE_LINE: usize = 64;

/// Begins to fetch all of `what` into the cache, and does not wait for it. It means nothing but time: where the processor has no
/// such instruction, or has too much to fetch already, nothing happens.
#[inline(always)]
pub fn fetch<T>(what: *const T) {
    for offset in (0..size_of::<T>()).step_by(CACHE_LINE) {
        fetch_line(what.cast::<u8>().wrapping_add(offset));
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn fetch_line(at: *const u8) {
    // SAFETY: a prefetch reads nothing that a program sees, changes nothing but the cache, and faults at no address.
    unsafe {
        core::arch::asm!("prefetcht0 [{at}]", at = in(reg) at, options(readonly, nostack, preserves_flags));
    }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn fetch_line(_at: *const u8) {}
