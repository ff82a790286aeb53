//! The host back end: the kernel programming interface on `std`, for tests, benchmarks and pf-router.
//!
//! Nothing happens by itself here: the clock stands until somebody moves it, random numbers come from a seed unless a
//! better source is given, and packets that pf sends go to whoever made the [`Kernel`]. So a test controls all of it.

mod barrier;
mod mbuf;
mod memory;
mod passive;
mod pool;
mod slot;

use std::boxed::Box;
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{self, PoisonError, TryLockError};
use std::vec::Vec;

pub use mbuf::Mbuf;
pub use memory::{FailingAllocations, alloc, fail_allocations, free};
pub use passive::{Passive, ReadSection};
pub use pool::Pool;

use pf_abi::{CName, LogHeader, PF_QNAME_SIZE};

use super::{Errno, LogLevel, NoMemory, Problem, Route, SocketEnds, SocketOwner, Stripe};

/// How a spin lock waits: on a host the holder may be off its CPU, and wants one.
pub(super) struct Relax;

impl spin::RelaxStrategy for Relax {
    fn relax() {
        std::thread::yield_now();
    }
}

/// Stripes of what is counted for every packet.
pub const STRIPES: usize = 16;
/// Whether a stripe may be somebody's own.
pub(super) const HAS_OWN_STRIPES: bool = true;

/// The stripe that this thread counts in.
#[inline]
pub fn stripe() -> Stripe {
    match slot::current() {
        slot @ 1..STRIPES => Stripe {
            index: slot,
            is_own: true,
        },
        _ => Stripe {
            index: slot::SHARED,
            is_own: false,
        },
    }
}

/// The proof of IPL_SOFTNET. On a host no interrupt can come between, and there is nothing to raise.
pub struct SoftNet(());

impl SoftNet {
    /// splsoftnet(9), until the token is dropped.
    #[inline]
    pub fn raise() -> Self {
        SoftNet(())
    }
}

impl Drop for SoftNet {
    /// splx(9).
    #[inline]
    fn drop(&mut self) {}
}

/// Where packets go that pf sends itself: resets, ICMP errors.
pub type Output = Box<dyn Fn(Mbuf) + Send + Sync>;
/// Where packets go that come in again, by the interface's index.
pub type Input = Box<dyn Fn(u16, Mbuf) + Send + Sync>;
/// Where lines of log go.
pub type Log = Box<dyn Fn(LogLevel, fmt::Arguments<'_>) + Send + Sync>;
/// Who is told that [`Pf::catch_up`](crate::Pf::catch_up) is due.
pub type Wake = Box<dyn Fn() + Send + Sync>;
/// Where logged packets go: the number of the pflog interface, the header, the packet.
pub type PacketLog = Box<dyn Fn(u8, &LogHeader, &Mbuf) + Send + Sync>;
/// The name of a queue.
pub type QueueName = CName<PF_QNAME_SIZE>;
/// Where random bytes come from.
pub type Random = Box<dyn Fn(&mut [u8]) + Send + Sync>;

/// Who has a socket with these ends, connected or else listening.
pub type Sockets = Box<dyn Fn(&SocketEnds) -> Option<SocketOwner> + Send + Sync>;
/// The interface, by its index, on which packets to an address leave: IPv6 or not, and the address.
pub type Routes = Box<dyn Fn(bool, &[u8; 16]) -> Option<u16> + Send + Sync>;

/// The interfaces of a host, for packets that pf sends another way than the routing table: `route-to` and its like.
pub trait Diversions: Send + Sync {
    /// The MTU of an interface; nothing where there is no such interface.
    fn mtu(&self, ifindex: u16) -> Option<u16>;

    /// Sends a packet out of an interface, to the host `next` there, in fragments where it is too long. Pf has judged it.
    fn divert(&self, packet: Mbuf, ifindex: u16, next: IpAddr);

    /// Tells the sender of a packet, which crossed the interface `ifindex`, what is wrong with it.
    fn report(&self, packet: Mbuf, ifindex: u16, problem: Problem);
}

/// A host without interfaces.
struct Nowhere;

impl Diversions for Nowhere {
    fn mtu(&self, _: u16) -> Option<u16> {
        None
    }

    fn divert(&self, _: Mbuf, _: u16, _: IpAddr) {}

    fn report(&self, _: Mbuf, _: u16, _: Problem) {}
}

/// The system around one `Pf`.
pub struct Kernel {
    /// Milliseconds since boot.
    uptime: AtomicU64,
    /// Milliseconds between the epoch and boot.
    boot: AtomicU64,
    random: Random,
    output: Output,
    input: Input,
    diversions: Box<dyn Diversions>,
    log: Log,
    packet_log: Option<PacketLog>,
    queues: Vec<QueueName>,
    sockets: Sockets,
    routes: Routes,
    wake: Wake,
}

impl Kernel {
    /// A system at second 1000 of its uptime, that draws its random numbers from `seed`, drops what pf sends, and is silent.
    pub fn seeded(seed: u64) -> Self {
        let state = AtomicU64::new(seed);
        Kernel {
            uptime: AtomicU64::new(1_000_000),
            boot: AtomicU64::new(1_700_000_000_000),
            random: Box::new(move |bytes| {
                for chunk in bytes.chunks_mut(8) {
                    // SplitMix64.
                    let mut z = state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
                    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                    chunk.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes()[..chunk.len()]);
                }
            }),
            output: Box::new(|_| ()),
            input: Box::new(|_, _| ()),
            diversions: Box::new(Nowhere),
            log: Box::new(|_, _| ()),
            packet_log: None,
            queues: Vec::new(),
            sockets: Box::new(|_| None),
            routes: Box::new(|_, _| None),
            wake: Box::new(|| ()),
        }
    }

    /// The same, with random bytes from `random`.
    pub fn with_random(mut self, random: Random) -> Self {
        self.random = random;
        self
    }

    /// The same, with packets that pf sends going to `output`.
    pub fn with_output(mut self, output: Output) -> Self {
        self.output = output;
        self
    }

    /// The same, with packets that come in again going to `input`.
    pub fn with_input(mut self, input: Input) -> Self {
        self.input = input;
        self
    }

    /// The same, with packets that pf sends another way going by `diversions`.
    pub fn with_diversions(mut self, diversions: impl Diversions + 'static) -> Self {
        self.diversions = Box::new(diversions);
        self
    }

    /// The same, with lines of log going to `log`.
    pub fn with_log(mut self, log: Log) -> Self {
        self.log = log;
        self
    }

    /// The same, with logged packets going to `log`, whatever their pflog interface.
    pub fn with_packet_log(mut self, log: PacketLog) -> Self {
        self.packet_log = Some(log);
        self
    }

    /// The same, with queues of these names, as a kernel with ALTQ has them.
    pub fn with_queues(mut self, names: &[&str]) -> Self {
        self.queues = names.iter().filter_map(|name| QueueName::new(name)).collect();
        self
    }

    /// The same, with sockets that `sockets` knows; without it there are none.
    pub fn with_sockets(mut self, sockets: Sockets) -> Self {
        self.sockets = sockets;
        self
    }

    /// The same, with routes that `routes` knows; without it there are none.
    pub fn with_routes(mut self, routes: Routes) -> Self {
        self.routes = routes;
        self
    }

    /// Who has the socket with these ends: one that is connected, or else one that listens.
    pub fn socket_owner(&self, ends: &SocketEnds) -> Option<SocketOwner> {
        (self.sockets)(ends)
    }

    /// Where packets to an address leave.
    pub fn route(&self, is_ipv6: bool, to: &[u8; 16]) -> Route {
        (self.routes)(is_ipv6, to).map_or(Route::None, Route::By)
    }

    /// The same, with `wake` called where the purge thread is to be woken.
    pub fn with_wake(mut self, wake: Wake) -> Self {
        self.wake = wake;
        self
    }

    /// Sets the clock: time since boot, and the wall clock as time since 1970.
    pub fn set_time(&self, uptime: std::time::Duration, wall: std::time::Duration) {
        self.uptime.store(uptime.as_millis() as u64, Ordering::Relaxed);
        self.boot.store(
            (wall.as_millis() as u64).saturating_sub(uptime.as_millis() as u64),
            Ordering::Relaxed,
        );
    }

    /// Moves the clock on.
    pub fn advance(&self, by: std::time::Duration) {
        self.uptime.fetch_add(by.as_millis() as u64, Ordering::Relaxed);
    }

    /// time_uptime(9): seconds since boot.
    #[inline]
    pub fn uptime(&self) -> u32 {
        (self.uptime.load(Ordering::Relaxed) / 1000) as u32
    }

    /// time_second(9): seconds since 1970.
    pub fn wall_clock(&self) -> u32 {
        ((self.boot.load(Ordering::Relaxed) + self.uptime.load(Ordering::Relaxed)) / 1000) as u32
    }

    /// Fills `bytes` with random numbers that nobody can guess, as cprng_fast(9) does.
    pub fn fill_random(&self, bytes: &mut [u8]) {
        (self.random)(bytes);
    }

    /// A random number.
    pub fn random_u32(&self) -> u32 {
        let mut bytes = [0; 4];
        self.fill_random(&mut bytes);
        u32::from_ne_bytes(bytes)
    }

    /// Sends a whole IP packet on its way, past pf's own hooks.
    pub fn output(&self, packet: Mbuf) {
        (self.output)(packet);
    }

    /// Whether somebody reads pflog interface `number`.
    #[inline]
    pub fn has_log_reader(&self, _number: u8) -> bool {
        self.packet_log.is_some()
    }

    /// Hands a packet to whoever reads pflog interface `number`, behind its header. It is left as it was.
    pub fn log_packet(&self, number: u8, header: &LogHeader, packet: &Mbuf) {
        if let Some(log) = &self.packet_log {
            log(number, header, packet);
        }
    }

    /// Whether packets can be queued by name: ALTQ.
    pub fn has_queues(&self) -> bool {
        !self.queues.is_empty()
    }

    /// The number of a queue, not 0.
    pub fn queue(&self, name: &QueueName) -> Option<u32> {
        (1..)
            .zip(&self.queues)
            .find(|(_, of)| *of == name)
            .map(|(number, _)| number)
    }

    /// Lets a whole IPv6 packet, marked as [refragmented](Mbuf::mark_refragmented), come in at the interface of this index.
    pub fn input(&self, ifindex: u16, packet: Mbuf) {
        (self.input)(ifindex, packet);
    }

    /// Asks for [`Pf::catch_up`](crate::Pf::catch_up) to be called soon, by a thread that may wait.
    pub fn wake(&self) {
        (self.wake)();
    }

    /// Asks for interfaces that pf has not been told of. Here whoever makes packets cross an interface has told of it before.
    pub fn want_interfaces(&self) {}

    /// The MTU of an interface; nothing where there is no such interface.
    pub fn mtu(&self, ifindex: u16) -> Option<u16> {
        self.diversions.mtu(ifindex)
    }

    /// Sends a packet that pf has judged out of an interface, to the host `next` there, in fragments where it is too long.
    pub fn divert(&self, packet: Mbuf, ifindex: u16, next: IpAddr) {
        self.diversions.divert(packet, ifindex, next);
    }

    /// Tells the sender of a packet, which crossed the interface `ifindex`, what is wrong with it.
    pub fn report(&self, packet: Mbuf, ifindex: u16, problem: Problem) {
        self.diversions.report(packet, ifindex, problem);
    }

    /// Writes a line of log.
    pub fn log(&self, level: LogLevel, line: fmt::Arguments<'_>) {
        (self.log)(level, line);
    }
}

/// A lock that may sleep.
pub struct Mutex<T>(sync::Mutex<T>);

/// The lock, held.
pub type MutexGuard<'a, T> = sync::MutexGuard<'a, T>;

impl<T> Mutex<T> {
    /// Puts `value` behind a lock that nobody holds.
    pub fn new(value: T) -> Result<Self, NoMemory> {
        Ok(Mutex(sync::Mutex::new(value)))
    }

    /// Waits for the lock and takes it.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        // Who panicked with the lock held was a test; the value is judged by its assertions.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the lock if nobody holds it.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// A caller's address space, behind the pointers in an ioctl's argument.
pub trait AddressSpace: Send + Sync {
    /// copyin(9): fills `to` from the caller's address `from`.
    fn copyin(&self, from: u64, to: &mut [u8]) -> Result<(), Errno>;
    /// copyout(9): writes `from` to the caller's address `to`.
    fn copyout(&self, from: &[u8], to: u64) -> Result<(), Errno>;
}

/// The memory of whoever makes an ioctl.
pub struct UserMemory(Box<dyn AddressSpace>);

impl UserMemory {
    /// The memory that `space` reaches.
    pub fn new(space: impl AddressSpace + 'static) -> Self {
        UserMemory(Box::new(space))
    }

    /// copyin(9): fills `to` from the caller's address `from`, or EFAULT.
    pub fn copyin(&self, from: u64, to: &mut [u8]) -> Result<(), Errno> {
        self.0.copyin(from, to)
    }

    /// copyout(9): writes `from` to the caller's address `to`, or EFAULT.
    pub fn copyout(&self, from: &[u8], to: u64) -> Result<(), Errno> {
        self.0.copyout(from, to)
    }
}
