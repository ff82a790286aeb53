//! The module's Rust half: what the C of `kmod/` calls, and the one `Pf` of the kernel.
//!
//! # Life cycle
//! [`pfr_load`] makes the `Pf`, [`pfr_unload`] takes it apart. Between them C calls the rest: hooks, ioctls, the
//! purge thread, interfaces. C has ended all of that before it calls `pfr_unload`.
//!
//! # Locking
//! `hooks` is an adaptive lock of its own, taken before anything in `Pf`: it keeps DIOCSTART and DIOCSTOP apart, so
//! that the pfil(9) hooks are there exactly while pf is enabled.

use core::ffi::{CStr, c_char, c_int, c_ulong, c_void};
use core::ptr::{self, NonNull};
use core::slice;
use core::sync::atomic::{AtomicPtr, Ordering};

use pf_abi::ioctl::{DIOCSTART, DIOCSTOP};

use crate::iface::InterfaceAddress;
use crate::kpi::netbsd::exports;
use crate::kpi::{Caller, Direction, Errno, Kernel, LogLevel, Mbuf, Mutex, NoMemory, SoftNet, UserMemory};
use crate::mem::{KBox, KVec};
use crate::wire::{Addr, Af};
use crate::{Pf, Verdict};

struct Module {
    pf: KBox<Pf>,
    /// Whether the packet hooks are attached.
    hooks: Mutex<bool>,
}

/// # Invariants
/// Null, or from `KBox::into_raw` and valid until `pfr_unload`.
static MODULE: AtomicPtr<Module> = AtomicPtr::new(ptr::null_mut());

/// The module, for as long as C has business with it.
fn module() -> &'static Module {
    let module = MODULE.load(Ordering::Acquire);
    debug_assert!(!module.is_null());
    // SAFETY: by the invariant it is valid from `pfr_load` to `pfr_unload`, and C calls nothing outside of that.
    unsafe { &*module }
}

/// What C makes of a result.
fn errno(result: Result<(), Errno>) -> c_int {
    match result {
        Ok(()) => 0,
        Err(errno) => errno as c_int,
    }
}

/// Makes pf: 0 or an error number.
#[unsafe(no_mangle)]
extern "C" fn pfr_load() -> c_int {
    errno(load().map_err(Errno::from))
}

fn load() -> Result<(), NoMemory> {
    let pf = Pf::new(Kernel::new())?;
    let hooks = Mutex::new(false)?;
    let module = KBox::new(Module { pf, hooks })?;
    MODULE.store(KBox::into_raw(module).as_ptr(), Ordering::Release);
    Ok(())
}

/// Takes pf apart. The caller has ended everything that could call in.
#[unsafe(no_mangle)]
extern "C" fn pfr_unload() {
    if let Some(module) = NonNull::new(MODULE.swap(ptr::null_mut(), Ordering::AcqRel)) {
        // SAFETY: by the invariant it comes from `KBox::into_raw`, and the swap has taken it out for good.
        drop(unsafe { KBox::from_raw(module) });
    }
}

/// Whether pf is enabled.
#[unsafe(no_mangle)]
extern "C" fn pfr_is_running() -> bool {
    module().pf.is_running()
}

/// Judges a packet: 0 where it goes on, as `*packet`, or is null as pf has it; otherwise it is freed, `*packet` is null, and the
/// answer is what ip_output(9) reports.
///
/// # Safety
/// `*packet` is a packet as pfil(9) gives it to its hooks, `direction` is PFIL_IN or PFIL_OUT.
#[unsafe(no_mangle)]
unsafe extern "C" fn pfr_hook(
    packet: *mut *mut exports::mbuf,
    ifindex: u16,
    direction: c_int,
    is_loopback: bool,
) -> c_int {
    // SAFETY: the caller's word.
    let Some(raw) = NonNull::new(unsafe { *packet }) else {
        return 0;
    };
    // SAFETY: the caller's word: a chain with a packet header, which is ours while the hook runs.
    let mut mbuf = unsafe { Mbuf::from_raw(raw) };
    let direction = match direction {
        exports::PFIL_IN => Direction::In,
        _ => Direction::Out,
    };
    // What comes in from there would have no checksum otherwise, and could not be sent on or answered.
    if is_loopback && direction == Direction::Out && mbuf.settle_checksums(direction).is_err() {
        // SAFETY: the caller's word; dropping `mbuf` frees the packet.
        unsafe { *packet = ptr::null_mut() };
        return Errno::Enomem as c_int;
    }
    let level = SoftNet::raise();
    let (raw, error) = match module().pf.hook(&level, direction, ifindex, mbuf) {
        Verdict::Pass(mut mbuf) => {
            if direction == Direction::In {
                // The shortcut for forwarded packets would pass by the hooks.
                mbuf.forbid_fast_forward();
            }
            (mbuf.into_raw().as_ptr(), 0)
        }
        Verdict::Kept => (ptr::null_mut(), 0),
        Verdict::Drop => (ptr::null_mut(), exports::EHOSTUNREACH),
        Verdict::Routed => (ptr::null_mut(), 0),
    };
    // SAFETY: the caller's word.
    unsafe { *packet = raw };
    error
}

/// Serves an ioctl: 0 or an error number.
///
/// # Safety
/// `data` are `len` bytes for this call alone; the caller is a thread of the process that makes the call.
#[unsafe(no_mangle)]
unsafe extern "C" fn pfr_ioctl(
    cmd: c_ulong,
    data: *mut c_void,
    len: usize,
    writable: bool,
    allowed: bool,
    uid: u32,
    pid: i32,
    owner: u64,
) -> c_int {
    let arg: &mut [u8] = match len {
        0 => &mut [],
        // SAFETY: the caller's word.
        _ => unsafe { slice::from_raw_parts_mut(data.cast(), len) },
    };
    let memory = UserMemory::of_current();
    let caller = Caller {
        writable,
        allowed,
        uid,
        pid,
        owner,
        memory: &memory,
    };
    errno(match cmd {
        DIOCSTART | DIOCSTOP if caller.may_write().is_ok() => start_or_stop(&caller, cmd, arg),
        _ => module().pf.ioctl(&caller, cmd, arg),
    })
}

/// A file of the device is closed: what it held as `owner` is released.
#[unsafe(no_mangle)]
extern "C" fn pfr_close(owner: u64) {
    module().pf.close(owner);
}

/// DIOCSTART and DIOCSTOP: the packet hooks are there before pf is enabled, and go when it is not.
fn start_or_stop(caller: &Caller<'_>, cmd: u64, arg: &mut [u8]) -> Result<(), Errno> {
    let Module { pf, hooks } = module();
    let mut attached = hooks.lock();
    if cmd == DIOCSTART && !*attached {
        // SAFETY: a thread may sleep here, and with the lock held nobody else changes the hooks.
        if unsafe { exports::pfk_hooks_attach() } != 0 {
            return Err(Errno::Enomem);
        }
        *attached = true;
    }
    let result = pf.ioctl(caller, cmd, arg);
    if *attached && !pf.is_running() {
        // SAFETY: as above.
        unsafe { exports::pfk_hooks_detach() };
        *attached = false;
    }
    result
}

/// One tick of the purge thread.
#[unsafe(no_mangle)]
extern "C" fn pfr_purge() {
    module().pf.purge();
}

/// What packets have left to the purge thread, when it is woken.
#[unsafe(no_mangle)]
extern "C" fn pfr_catch_up() {
    module().pf.catch_up();
}

/// Makes an interface known, and its addresses: 0 or an error number.
///
/// # Safety
/// `interface` is an interface that stays while this runs; `name` is a string.
#[unsafe(no_mangle)]
unsafe extern "C" fn pfr_attach_interface(interface: *mut exports::ifnet, ifindex: u16, name: *const c_char) -> c_int {
    // SAFETY: the caller's word.
    let name = unsafe { CStr::from_ptr(name) };
    let pf = &module().pf;
    let attached = pf.attach_interface(ifindex, name.to_bytes()).and_then(|()| {
        // SAFETY: the caller's word.
        let addresses = unsafe { addresses(interface)? };
        pf.set_interface_addresses(ifindex, &addresses)
    });
    errno(attached.map_err(Errno::from))
}

/// The addresses of an interface.
///
/// # Safety
/// It is an interface, and stays while this runs.
unsafe fn addresses(interface: *mut exports::ifnet) -> Result<KVec<InterfaceAddress>, NoMemory> {
    const ZERO: exports::pf_address = exports::pf_address {
        is_ipv6: false,
        has_broadcast: false,
        has_peer: false,
        address: [0; 16],
        mask: [0; 16],
        other: [0; 16],
    };
    let mut room = 8;
    loop {
        let mut raw = KVec::filled(ZERO, room)?;
        // SAFETY: the caller's word; there is room for so many.
        let found = unsafe { exports::pfk_interface_addresses(interface, raw.as_mut_ptr(), raw.len()) };
        if found > room {
            room = found;
            continue;
        }
        let mut addresses = KVec::with_capacity(found)?;
        for each in raw.iter().take(found) {
            addresses.push(address(each))?;
        }
        return Ok(addresses);
    }
}

/// An address as the engine has it.
fn address(from: &exports::pf_address) -> InterfaceAddress {
    let af = if from.is_ipv6 { Af::Inet6 } else { Af::Inet };
    // The kernel keeps the number of the interface inside a link-local address.
    let plain = |mut octets: [u8; 16]| {
        if af == Af::Inet6 && octets[0] == 0xfe && octets[1] & 0xc0 == 0x80 {
            (octets[2], octets[3]) = (0, 0);
        }
        Addr::from_octets(octets).of_family(af)
    };
    let prefix = Addr::from_octets(from.mask)
        .to_bits()
        .leading_ones()
        .min(af.bits().into());
    let mut to = InterfaceAddress::new(af, plain(from.address), prefix as u8);
    to.broadcast = from.has_broadcast.then(|| plain(from.other));
    to.peer = from.has_peer.then(|| plain(from.other));
    to
}

/// An interface has gone.
#[unsafe(no_mangle)]
extern "C" fn pfr_detach_interface(ifindex: u16) {
    let pf = &module().pf;
    if pf.detach_interface(ifindex).is_err() {
        // Its name stays until another interface gets the index.
        pf.kernel().log(
            LogLevel::Error,
            format_args!("interface {ifindex} has gone, and there is no memory to forget it"),
        );
    }
}

/// Has allocations fail: for tests, in a module that is built for them.
#[cfg(feature = "fault-injection")]
#[unsafe(no_mangle)]
extern "C" fn pfr_fail_allocations(skip: u32, count: u32) {
    crate::kpi::netbsd::fail_allocations(skip, count);
}

/// C and Rust mean the same functions: each pair has one type.
const _: () = {
    let _: [unsafe extern "C" fn() -> c_int; 2] = [pfr_load, exports::pfr_load];
    let _: [unsafe extern "C" fn(); 2] = [pfr_unload, exports::pfr_unload];
    let _: [unsafe extern "C" fn() -> bool; 2] = [pfr_is_running, exports::pfr_is_running];
    let _: [unsafe extern "C" fn(*mut *mut exports::mbuf, u16, c_int, bool) -> c_int; 2] =
        [pfr_hook, exports::pfr_hook];
    let _: [unsafe extern "C" fn(c_ulong, *mut c_void, usize, bool, bool, u32, i32, u64) -> c_int; 2] =
        [pfr_ioctl, exports::pfr_ioctl];
    let _: [unsafe extern "C" fn(u64); 2] = [pfr_close, exports::pfr_close];
    let _: [unsafe extern "C" fn(); 2] = [pfr_purge, exports::pfr_purge];
    let _: [unsafe extern "C" fn(); 2] = [pfr_catch_up, exports::pfr_catch_up];
    let _: [unsafe extern "C" fn(*mut exports::ifnet, u16, *const c_char) -> c_int; 2] =
        [pfr_attach_interface, exports::pfr_attach_interface];
    let _: [unsafe extern "C" fn(u16); 2] = [pfr_detach_interface, exports::pfr_detach_interface];
};
