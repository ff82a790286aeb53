//! Which CPU this is, as far as counters have to tell one from another.
//!
//! A CPU is known by the address of its `struct cpu_info`. A multiplier that is found when the module is loaded sends these
//! addresses to different stripes, so that telling them apart takes a multiplication and no memory.
//!
//! # Locking
//! None. A stripe is not a CPU's own: who counts below IPL_SOFTNET may be preempted in the middle, so counters are added to with an
//! instruction that cannot be split. On a cache line that no other CPU writes to, that costs little.

use core::ffi::c_void;
use core::sync::atomic::{AtomicU64, Ordering};

use super::super::Stripe;
use super::ffi;

/// Stripes of what is counted for every packet.
pub const STRIPES: usize = 1 << BITS;
/// Whether a stripe may be somebody's own.
pub(in super::super) const HAS_OWN_STRIPES: bool = false;

const BITS: u32 = 4;
/// Multipliers that are tried before two CPUs have to share a stripe.
const ATTEMPTS: u64 = 4096;
/// The first one: the golden ratio's digits, which spread well. Any would do.
const FIRST: u64 = 0x9e37_79b9_7f4a_7c15;

static MULTIPLIER: AtomicU64 = AtomicU64::new(FIRST);

unsafe extern "C" {
    /// curcpu(9), as a module has it: sys-headers/agree.c holds it against the kernel's.
    fn x86_curcpu() -> *const c_void;
}

#[inline]
fn place(cpu: usize, multiplier: u64) -> usize {
    ((cpu as u64).wrapping_mul(multiplier) >> (u64::BITS - BITS)) as usize
}

/// Looks for a multiplier that gives each CPU a stripe of its own, or else as many of them as it can.
pub(super) fn learn() {
    let (mut best, mut most) = (FIRST, 0);
    let mut multiplier = FIRST;
    for _ in 0..ATTEMPTS {
        let (stripes, cpus) = spread(multiplier);
        if stripes > most {
            (best, most) = (multiplier, stripes);
        }
        if stripes == cpus.min(STRIPES as u32) {
            break;
        }
        // Knuth's linear congruence; kept odd, so that it can be undone.
        multiplier = multiplier.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(2) | 1;
    }
    MULTIPLIER.store(best, Ordering::Relaxed);
}

/// How many stripes are used, and how many CPUs there are.
fn spread(multiplier: u64) -> (u32, u32) {
    let (mut used, mut cpus, mut cpu) = (0_u32, 0, 0);
    // SAFETY: it writes one word; CPUs are numbered from 0, and stay.
    while unsafe { ffi::pfk_cpu(cpus, &mut cpu) } {
        used |= 1 << place(cpu, multiplier);
        cpus += 1;
    }
    (used.count_ones(), cpus)
}

/// The stripe of the CPU that this runs on, or ran on a moment ago.
#[inline]
pub fn stripe() -> Stripe {
    // SAFETY: it reads a pointer, anywhere.
    let cpu = unsafe { x86_curcpu() };
    Stripe {
        index: place(cpu as usize, MULTIPLIER.load(Ordering::Relaxed)),
        is_own: false,
    }
}
