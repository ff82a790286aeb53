//! pool_cache(9): objects of one size, from wherever pf runs.
//!
//! The pool is one for IPL_VM, although pf runs no higher than IPL_SOFTNET: below IPL_VM its own lock would be an
//! adaptive mutex, which may sleep, and a packet takes objects in a read section and with spin locks held.
//!
//! pool_cache_destroy(9) panics where an object is still out: whoever drops a pool has put all of its objects back.

use core::alloc::Layout;
use core::ffi::{CStr, c_int};
use core::ptr::{self, NonNull};

use super::{NoMemory, ffi, memory};

/// POOL_PADDR_INVALID: the physical address is not known.
const NO_PADDR: ffi::paddr_t = ffi::paddr_t::MAX;

/// A pool of objects of one size.
///
/// # Invariants
/// The pointer comes from pool_cache_init(9), and is destroyed once, by the drop.
pub struct Pool(NonNull<ffi::pool_cache>);

impl Pool {
    /// Objects of `layout`, under `name` in vmstat(1).
    pub fn new(name: &'static CStr, layout: Layout) -> Result<Self, NoMemory> {
        let size = u32::try_from(layout.pad_to_align().size()).map_err(|_| NoMemory)?;
        let align = u32::try_from(layout.align()).map_err(|_| NoMemory)?;
        // SAFETY: the name stays as long as the module, and a pool does not stay longer; there is no constructor.
        let pool = unsafe {
            ffi::pool_cache_init(
                size as usize,
                align,
                0,
                0,
                name.as_ptr(),
                ptr::null_mut(),
                ffi::IPL_VM as c_int,
                None,
                None,
                ptr::null_mut(),
            )
        };
        NonNull::new(pool).map(Pool).ok_or(NoMemory)
    }

    /// An object, its bytes undefined; nothing where there is no memory.
    #[inline]
    pub fn get(&self) -> Option<NonNull<u8>> {
        if memory::is_refused() {
            return None;
        }
        // SAFETY: by the invariant the pool is there; the call does not sleep.
        NonNull::new(unsafe { ffi::pool_cache_get_paddr(self.0.as_ptr(), ffi::PR_NOWAIT, ptr::null_mut()) })
            .map(NonNull::cast)
    }

    /// Puts an object back.
    ///
    /// # Safety
    /// `object` comes from [`get`](Pool::get) of this pool, and is not used again.
    #[inline]
    pub unsafe fn put(&self, object: NonNull<u8>) {
        // SAFETY: by the invariant the pool is there; the rest is the caller's word.
        unsafe { ffi::pool_cache_put_paddr(self.0.as_ptr(), object.as_ptr().cast(), NO_PADDR) };
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: by the invariant the pool is there, and `&mut self` says that nobody uses it.
        unsafe { ffi::pool_cache_destroy(self.0.as_ptr()) };
    }
}

// SAFETY: a pool cache is shared between CPUs, and keeps its own locks.
unsafe impl Sync for Pool {}
// SAFETY: as above.
unsafe impl Send for Pool {}
