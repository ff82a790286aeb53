//! The kernel programming interface: all that pf takes from the system around it.
//!
//! One API, two back ends. In the module, `netbsd` calls the C shims of `kmod/`; everywhere else, `host` does the same
//! on `std`, for tests, benchmarks and pf-router. The engine sees only the names that are exported here, and no `cfg`
//! stands outside this folder and the crate's root.
//!
//! What each back end provides, with the same signatures:
//!
//! | item | NetBSD | host |
//! |---|---|---|
//! | [`Kernel`] | time_uptime(9), cprng(9), log(9), ip_output, if_output, pflog(4) | a clock moved by hand or by the router, a seeded generator, sinks |
//! | [`Mbuf`] | mbuf(9) | two byte vectors, so that a header can straddle segments |
//! | [`alloc`], [`free`] | kmem(9), never sleeping | the global allocator, with failures on demand |
//! | [`Pool`] | pool_cache(9) | slabs on huge pages |
//! | [`Mutex`] | mutex(9), adaptive | `std::sync::Mutex` |
//! | [`Passive`], [`ReadSection`] | pserialize(9) | two counters a stripe |
//! | [`SoftNet`] | splsoftnet(9) | nothing: threads are not interrupted |
//! | [`UserMemory`] | copyin(9), copyout(9) | the peer's memory, or a test's |
//!
//! # Locking
//! [`SoftNet`] is the proof that the caller runs at IPL_SOFTNET, where it is not preempted. A [`SpinLock`] can only be
//! taken with that proof in hand, so a spin lock held at a lower level, which an interrupt on the same CPU could wait
//! for without end, does not compile. A [`Mutex`] may sleep and is for the ioctl path and the purge thread alone; it
//! is taken before any spin lock and never inside a [`ReadSection`].

mod errno;
mod fetch;
mod lock;

#[cfg(not(target_os = "none"))]
pub mod host;
#[cfg(not(target_os = "none"))]
use host as backend;

#[cfg(target_os = "none")]
pub mod netbsd;
#[cfg(target_os = "none")]
use netbsd as backend;

pub use backend::{
    Kernel, Mbuf, Mutex, MutexGuard, Passive, Pool, ReadSection, STRIPES, SoftNet, UserMemory, alloc, free, stripe,
};
pub use errno::{Errno, NoMemory};
pub use fetch::fetch;
pub use lock::{SpinGuard, SpinLock};

/// Which way a packet crosses an interface, as pfil(9) tells its hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Direction {
    /// Received: PFIL_IN, PF_IN.
    In = 1,
    /// About to be sent: PFIL_OUT, PF_OUT.
    Out = 2,
}

impl Direction {
    /// The other one.
    #[inline]
    pub fn reverse(self) -> Self {
        match self {
            Direction::In => Direction::Out,
            Direction::Out => Direction::In,
        }
    }
}

/// Why a packet that pf sends another way cannot go it, and what its sender hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// Its TTL is used up: ICMP time exceeded.
    Expired,
    /// It is longer than this many bytes, the MTU of the interface, and may not be fragmented: ICMP fragmentation needed, packet too
    /// big.
    TooBig(u16),
}

/// Where the CPU that asks counts packets.
#[derive(Debug, Clone, Copy)]
pub struct Stripe {
    /// Its number, less than [`STRIPES`].
    pub index: usize,
    /// See [`is_own`](Self::is_own).
    is_own: bool,
}

impl Stripe {
    /// Nobody else writes there.
    #[inline(always)]
    pub fn is_own(self) -> bool {
        backend::HAS_OWN_STRIPES && self.is_own
    }
}

/// How much a line of log matters, as syslog(3) grades it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum LogLevel {
    /// LOG_ERR: something did not work, and somebody should look.
    Error = 3,
    /// LOG_NOTICE: normal, and worth a line.
    Notice = 5,
    /// LOG_DEBUG: for whoever reads along, when `set debug` asks for it.
    Debug = 7,
}

/// Who makes an ioctl, and how its memory is reached.
#[derive(Clone, Copy)]
pub struct Caller<'a> {
    /// The device is open for writing (FWRITE).
    pub writable: bool,
    /// kauth(9) lets the caller change the packet filter (KAUTH_REQ_NETWORK_FIREWALL_FW), which secmodel_securelevel(9) denies to all
    /// from level 2 on.
    pub allowed: bool,
    /// The caller's user id.
    pub uid: u32,
    /// The caller's process id.
    pub pid: i32,
    /// Who holds what an ioctl takes until it is released: the open file of the device that the call comes through. Not 0, the same
    /// for each descriptor of the file whichever process has it, and never used again after [`Pf::close`](crate::Pf::close).
    pub owner: u64,
    /// The caller's memory, behind the pointers in the arguments.
    pub memory: &'a UserMemory,
}

impl Caller<'_> {
    /// What stands in the way of a change by this caller.
    ///
    /// # Errors
    /// EACCES where the device is not open for writing, EPERM where kauth(9) says no.
    pub fn may_write(&self) -> Result<(), Errno> {
        match (self.writable, self.allowed) {
            (true, true) => Ok(()),
            (true, false) => Err(Errno::Eperm),
            (false, _) => Err(Errno::Eacces),
        }
    }
}

/// The two ends of a connection whose socket is looked for. Addresses are in network order, an IPv4 one in the first four bytes;
/// ports in host order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketEnds {
    /// IPv6, or else IPv4.
    pub is_ipv6: bool,
    /// TCP, or else UDP.
    pub is_tcp: bool,
    /// This machine's end.
    pub local: ([u8; 16], u16),
    /// The other end.
    pub remote: ([u8; 16], u16),
}

/// Where packets to an address leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// By the interface with this index.
    By(u16),
    /// Nowhere.
    None,
    /// It cannot be told at the moment.
    Unknown,
}

/// Who has a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketOwner {
    /// The effective user.
    pub uid: u32,
    /// The effective group.
    pub gid: u32,
}
