//! Error numbers, as NetBSD's errno(2) counts them. The host back end uses the same, so that pfctl hears the same
//! answer from /dev/pf and from pf-router.

/// Why a call failed: a NetBSD error number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Errno {
    /// Not permitted.
    Eperm = 1,
    /// No such entry: a rule, an interface, a state.
    Enoent = 2,
    /// No such process; in pf, no such table or anchor.
    Esrch = 3,
    /// The argument is too long.
    E2big = 7,
    /// The device is not open for what was asked.
    Ebadf = 9,
    /// Out of memory.
    Enomem = 12,
    /// Access denied: the device is open for reading, and the call changes something.
    Eacces = 13,
    /// A pointer leads nowhere.
    Efault = 14,
    /// Busy: a ticket went stale, or somebody else's transaction is open.
    Ebusy = 16,
    /// It exists already.
    Eexist = 17,
    /// No such device, or an ioctl that this driver does not have.
    Enodev = 19,
    /// An argument makes no sense.
    Einval = 22,
    /// Not an ioctl of this device.
    Enotty = 25,
    /// A limit is reached.
    Enospc = 28,
    /// Known, and not supported.
    Eopnotsupp = 45,
    /// A packet may not pass (EHOSTUNREACH is what ip_output(9) reports for it).
    Ehostunreach = 65,
}

/// There is no memory for it. In the packet path: a dropped packet and a counter; in an ioctl: ENOMEM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoMemory;

impl From<NoMemory> for Errno {
    fn from(NoMemory: NoMemory) -> Self {
        Errno::Enomem
    }
}
