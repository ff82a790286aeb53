//! The NetBSD back end: the kernel programming interface as NetBSD has it.
//!
//! Functions of the kernel are called directly, with the prototypes and structs that bindgen takes from its
//! headers; what is a macro there is a function of `kmod/` (`pfk_...`). Every call into the kernel from Rust is in
//! this folder.

mod cpu;
mod ffi;
mod mbuf;
mod memory;
mod passive;
mod pool;

use core::alloc::Layout;
use core::cell::UnsafeCell;
use core::ffi::{c_int, c_void};
use core::fmt::{self, Write};
use core::marker::PhantomData;
use core::net::IpAddr;
use core::ops::{Deref, DerefMut};
use core::panic::PanicInfo;
use core::ptr::NonNull;

pub(super) use cpu::HAS_OWN_STRIPES;
pub use cpu::{STRIPES, stripe};
pub(crate) use ffi::exports;
pub use mbuf::Mbuf;
#[cfg(feature = "fault-injection")]
pub(crate) use memory::fail_allocations;
pub use memory::{alloc, free};
pub use passive::{Passive, ReadSection};
pub use pool::Pool;

use pf_abi::{CName, LogHeader, PF_QNAME_SIZE};

use super::{Direction, Errno, LogLevel, NoMemory, Problem, Route, SocketEnds, SocketOwner};

/// How a spin lock waits: the holder runs at IPL_SOFTNET on another CPU, and is not preempted.
pub(super) struct Relax;

impl spin::RelaxStrategy for Relax {
    #[inline]
    fn relax() {
        core::hint::spin_loop();
    }
}

/// The proof of IPL_SOFTNET on this CPU, or of a higher level: it is IPL_SOFTSERIAL, at which pserialize(9) reads, so that to enter a
/// read section as well costs a packet nothing.
///
/// # Invariants
/// The level was raised by this LWP, which is the one that lowers it: the token does not leave it.
pub struct SoftNet {
    before: c_int,
    of_this_lwp: PhantomData<*mut ()>,
}

impl SoftNet {
    /// splsoftserial(9), until the token is dropped. It is all that pserialize_read_enter(9) does, but for the count that a kernel with
    /// DEBUG keeps, which [`Kernel::output`] could not undo.
    #[inline]
    pub fn raise() -> Self {
        SoftNet {
            // SAFETY: spl(9) can be raised anywhere.
            before: unsafe { ffi::splraise(ffi::IPL_SOFTSERIAL) },
            of_this_lwp: PhantomData,
        }
    }
}

impl Drop for SoftNet {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: this is the level that `raise` found.
        unsafe { ffi::spllower(self.before) };
    }
}

/// The kernel around the module: there is one, and it has no state here.
pub struct Kernel(());

impl Kernel {
    /// The kernel that this module is loaded into.
    pub(crate) fn new() -> Self {
        cpu::learn();
        Kernel(())
    }

    /// time_uptime(9): seconds since boot.
    #[inline]
    pub fn uptime(&self) -> u32 {
        seconds(ffi::getbinuptime)
    }

    /// time_second(9): seconds since 1970.
    pub fn wall_clock(&self) -> u32 {
        seconds(ffi::getbintime)
    }

    /// Fills `bytes` with random numbers that nobody can guess, as cprng_fast(9) does.
    pub fn fill_random(&self, bytes: &mut [u8]) {
        // SAFETY: the slice is ours to write.
        unsafe { ffi::cprng_fast(bytes.as_mut_ptr().cast(), bytes.len()) };
    }

    /// A random number.
    pub fn random_u32(&self) -> u32 {
        let mut bytes = [0; 4];
        self.fill_random(&mut bytes);
        u32::from_ne_bytes(bytes)
    }

    /// Sends a whole IP packet on its way, past pf's own hooks. It is lost without a word where it has no route, or
    /// is none.
    ///
    /// The caller holds no lock and is in no read section: the hooks are run for it again, and know it by its mark.
    pub fn output(&self, packet: Mbuf) {
        let is_ipv6 = match (packet.head(), packet.head().first().map(|first| first >> 4)) {
            (head, Some(4)) if head.len() >= 20 => false,
            (head, Some(6)) if head.len() >= 40 => true,
            _ => return,
        };
        // SAFETY: a chain with a packet header, and its IP header in the first segment; the stack consumes it.
        at_softnet(|| unsafe { ffi::pfk_output(packet.into_raw().as_ptr(), is_ipv6) });
    }

    /// Whether somebody reads pflog interface `number`.
    pub fn has_log_reader(&self, number: u8) -> bool {
        // SAFETY: the call only looks, and a number that there is no interface for has no reader.
        unsafe { ffi::pfk_log_has_reader(number) }
    }

    /// Hands a packet to whoever reads pflog interface `number`, behind its header. It is left as it was.
    pub fn log_packet(&self, number: u8, header: &LogHeader, packet: &Mbuf) {
        // SAFETY: bpf(4) copies what it is shown of both, and changes neither; the packet is a chain that is ours.
        unsafe { ffi::pfk_log_packet(number, (&raw const *header).cast(), packet.as_raw().as_ptr()) };
    }

    /// Whether packets can be queued by name: not here. One module is for every kernel of its version, and GENERIC has no ALTQ: a module
    /// that named what is only there with `options ALTQ` could not be loaded into it.
    pub fn has_queues(&self) -> bool {
        false
    }

    /// The number of a queue.
    pub fn queue(&self, _name: &CName<PF_QNAME_SIZE>) -> Option<u32> {
        None
    }

    /// Lets a whole IPv6 packet, marked as [refragmented](Mbuf::mark_refragmented), come in again at the interface that it came by,
    /// which it remembers. The hooks are run for it again, later.
    pub fn input(&self, _ifindex: u16, packet: Mbuf) {
        // SAFETY: the packet is a chain with a packet header, and the queue consumes it. It takes packets at IPL_SOFTNET.
        unsafe { ffi::pfk_input(packet.into_raw().as_ptr()) };
    }

    /// Who has the socket with these ends: one that is connected, or else one that listens. The caller is in a hook.
    pub fn socket_owner(&self, ends: &SocketEnds) -> Option<SocketOwner> {
        let raw = ffi::pf_socket_ends {
            is_ipv6: ends.is_ipv6,
            is_tcp: ends.is_tcp,
            local_port: ends.local.1,
            remote_port: ends.remote.1,
            local: ends.local.0,
            remote: ends.remote.0,
        };
        let (mut uid, mut gid) = (0, 0);
        // SAFETY: it reads the ends and writes two numbers, all of them ours, and does not sleep.
        let found = unsafe { ffi::pfk_socket_owner(&raw, &mut uid, &mut gid) };
        found.then_some(SocketOwner { uid, gid })
    }

    /// Where packets to an address leave. The caller is in a hook.
    pub fn route(&self, is_ipv6: bool, to: &[u8; 16]) -> Route {
        // SAFETY: it reads sixteen bytes, and does not sleep.
        match unsafe { ffi::pfk_route(is_ipv6, to.as_ptr()) } {
            0 => Route::None,
            ifindex => u16::try_from(ifindex).map_or(Route::Unknown, Route::By),
        }
    }

    /// Wakes the purge thread, which calls [`Pf::catch_up`](crate::Pf::catch_up). Does not sleep.
    pub fn wake(&self) {
        // SAFETY: it can be called at any level up to IPL_VM, while the purge thread is there: as long as hooks are.
        unsafe { ffi::pfk_thread_wake() };
    }

    /// Has the purge thread look for interfaces that pf has not been told of, soon. Does not sleep.
    pub fn want_interfaces(&self) {
        // SAFETY: as for `wake`.
        unsafe { ffi::pfk_thread_scan() };
    }

    /// The MTU of an interface; nothing where there is no such interface.
    pub fn mtu(&self, ifindex: u16) -> Option<u16> {
        // SAFETY: it can be called from anywhere that is no interrupt of the hardware.
        Some(unsafe { ffi::pfk_mtu(ifindex) }).filter(|mtu| *mtu != 0)
    }

    /// Sends a packet that pf has judged out of an interface, to the host `next` there, in fragments where it is too long.
    ///
    /// The caller holds no lock and is in no read section.
    pub fn divert(&self, packet: Mbuf, ifindex: u16, next: IpAddr) {
        let mut packet = packet;
        let (v4, v6);
        let (header, next, is_ipv6): (usize, &[u8], bool) = match next {
            IpAddr::V4(next) => {
                v4 = next.octets();
                (60, &v4, false)
            }
            IpAddr::V6(next) => {
                v6 = next.octets();
                (40, &v6, true)
            }
        };
        let header = header.min(packet.len());
        if packet.head_mut(header).is_err() || header < 20 {
            return;
        }
        // SAFETY: the packet is a chain with a packet header, its IP header is in the first segment and ours to write, the
        // address is as long as its family's are, and the stack consumes the packet.
        at_softnet(|| unsafe { ffi::pfk_divert(packet.into_raw().as_ptr(), ifindex, next.as_ptr().cast(), is_ipv6) });
    }

    /// Tells the sender of a packet, which crossed the interface `ifindex`, what is wrong with it.
    ///
    /// The caller holds no lock and is in no read section.
    pub fn report(&self, packet: Mbuf, _ifindex: u16, problem: Problem) {
        let is_ipv6 = match (packet.head(), packet.head().first().map(|first| first >> 4)) {
            (head, Some(4)) if head.len() >= 20 => false,
            (head, Some(6)) if head.len() >= 40 => true,
            _ => return,
        };
        let mtu = match problem {
            Problem::Expired => 0,
            Problem::TooBig(mtu) => mtu,
        };
        // SAFETY: a chain with a packet header, and its IP header in the first segment; the stack consumes it.
        at_softnet(|| unsafe { ffi::pfk_report(packet.into_raw().as_ptr(), mtu, is_ipv6) });
    }

    /// log(9): writes a line of log, cut off after [`Line::LEN`] bytes.
    pub fn log(&self, level: LogLevel, line: fmt::Arguments<'_>) {
        let line = Line::format(line);
        // SAFETY: the format takes one string, and `Line` is one.
        unsafe { ffi::log(c_int::from(level as u8), c"pf: %s\n".as_ptr(), line.as_ptr()) };
    }
}

/// Calls the network stack. It may wait for a lock, at IPL_SOFTNET as it is used to, but not at IPL_SOFTSERIAL, where whoever has
/// the lock and is in pserialize_perform(9) would wait for this CPU. The level is what it was in the end.
fn at_softnet(call: impl FnOnce()) {
    // SAFETY: spl(9) can be raised anywhere, and is lowered to what the caller's own callers are used to at the least.
    let before = unsafe {
        let before = ffi::splraise(ffi::IPL_SOFTNET);
        ffi::spllower(ffi::IPL_SOFTNET.min(before));
        before
    };
    call();
    // SAFETY: as above.
    unsafe { ffi::splraise(before) };
}

/// Reads one of bintime(9)'s clocks, in whole seconds.
#[inline]
fn seconds(clock: unsafe extern "C" fn(*mut ffi::bintime)) -> u32 {
    let mut now = ffi::bintime { sec: 0, frac: 0 };
    // SAFETY: both clocks write one bintime and can be read anywhere.
    unsafe { clock(&mut now) };
    now.sec as u32
}

/// A line of text in a fixed buffer, for the kernel's printf: kernel stacks are small, and nothing may be allocated
/// here.
///
/// # Invariants
/// `len` is less than the buffer's length, and every byte from it on is 0.
struct Line {
    bytes: [u8; Self::LEN + 1],
    len: usize,
}

impl Line {
    /// The longest line, in bytes.
    const LEN: usize = 255;

    fn format(arguments: fmt::Arguments<'_>) -> Self {
        let mut line = Line {
            bytes: [0; Self::LEN + 1],
            len: 0,
        };
        // The error says that the rest was cut off.
        let _ = line.write_fmt(arguments);
        line
    }

    /// The text as C wants it, up to a NUL.
    fn as_ptr(&self) -> *const core::ffi::c_char {
        self.bytes.as_ptr().cast()
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if self.len == Self::LEN {
                return Err(fmt::Error);
            }
            self.bytes[self.len] = byte;
            self.len += 1;
        }
        Ok(())
    }
}

/// mutex(9), adaptive: a lock that may sleep, around a value. Both lie in kernel memory, where the kernel's waiters
/// find the lock at the same address for its whole life.
///
/// # Invariants
/// The pointer comes from `alloc` and is freed once, by the drop; the lock there was made by mutex_init(9). The
/// value is only touched with the lock held, or through `&mut self`.
pub struct Mutex<T>(NonNull<Locked<T>>);

struct Locked<T> {
    lock: ffi::kmutex_t,
    value: UnsafeCell<T>,
}

impl<T> Mutex<T> {
    const LAYOUT: Layout = Layout::new::<Locked<T>>();

    /// Puts `value` behind a lock that nobody holds.
    pub fn new(value: T) -> Result<Self, NoMemory> {
        let this: NonNull<Locked<T>> = alloc(Self::LAYOUT).ok_or(NoMemory)?.cast();
        // SAFETY: the memory is fresh, and of this layout. The lock is adaptive, for nobody at a raised level.
        unsafe {
            (&raw mut (*this.as_ptr()).value).write(UnsafeCell::new(value));
            ffi::mutex_init(&raw mut (*this.as_ptr()).lock, ffi::MUTEX_DEFAULT, ffi::IPL_NONE);
        }
        Ok(Mutex(this))
    }

    /// Waits for the lock and takes it.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        // SAFETY: by the invariant this is a mutex.
        unsafe { ffi::mutex_enter(&raw mut (*self.0.as_ptr()).lock) };
        MutexGuard {
            mutex: self,
            of_this_lwp: PhantomData,
        }
    }

    /// Takes the lock if nobody holds it.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        // SAFETY: by the invariant this is a mutex.
        let taken = unsafe { ffi::mutex_tryenter(&raw mut (*self.0.as_ptr()).lock) };
        (taken != 0).then_some(MutexGuard {
            mutex: self,
            of_this_lwp: PhantomData,
        })
    }
}

impl<T> Drop for Mutex<T> {
    fn drop(&mut self) {
        // SAFETY: by the invariant this is a mutex and a value; `&mut self` says that nobody holds it or waits for
        // it, and this is the one drop.
        unsafe {
            ffi::mutex_destroy(&raw mut (*self.0.as_ptr()).lock);
            self.0.drop_in_place();
            free(self.0.cast(), Self::LAYOUT);
        }
    }
}

// SAFETY: the lock gives the value to one LWP at a time.
unsafe impl<T: Send> Sync for Mutex<T> {}
// SAFETY: a mutex owns its value as the value would be owned; a kernel lock has no home.
unsafe impl<T: Send> Send for Mutex<T> {}

/// The lock, held.
///
/// # Invariants
/// The LWP that took the lock is the one that gives it back: the guard does not leave it.
pub struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    of_this_lwp: PhantomData<*mut ()>,
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the lock is held as long as the guard lives.
        unsafe { &*self.mutex.0.as_ref().value.get() }
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the lock is held as long as the guard lives, and `&mut self` says that there is no other reference.
        unsafe { &mut *self.mutex.0.as_ref().value.get() }
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: by the invariant we hold it.
        unsafe { ffi::mutex_exit(&raw mut (*self.mutex.0.as_ptr()).lock) };
    }
}

/// The memory of the process that makes an ioctl.
pub struct UserMemory {
    of_this_lwp: PhantomData<*mut ()>,
}

impl UserMemory {
    /// The address space that this LWP is in.
    pub(crate) const fn of_current() -> Self {
        UserMemory {
            of_this_lwp: PhantomData,
        }
    }

    /// copyin(9): fills `to` from the caller's address `from`, or EFAULT.
    pub fn copyin(&self, from: u64, to: &mut [u8]) -> Result<(), Errno> {
        // SAFETY: copyin(9) judges the caller's address itself, and `to` is ours to write.
        match unsafe { ffi::copyin(from as *const c_void, to.as_mut_ptr().cast(), to.len()) } {
            0 => Ok(()),
            _ => Err(Errno::Efault),
        }
    }

    /// copyout(9): writes `from` to the caller's address `to`, or EFAULT.
    pub fn copyout(&self, from: &[u8], to: u64) -> Result<(), Errno> {
        // SAFETY: copyout(9) judges the caller's address itself.
        match unsafe { ffi::copyout(from.as_ptr().cast(), to as *mut c_void, from.len()) } {
            0 => Ok(()),
            _ => Err(Errno::Efault),
        }
    }
}

/// A bug that Rust found: panic(9), with its message. There is no way to go on.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let line = Line::format(format_args!("{info}"));
    // SAFETY: the format takes one string, and `Line` is one.
    unsafe { ffi::panic(c"pf: %s".as_ptr(), line.as_ptr()) }
}
