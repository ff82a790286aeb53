//! membarrier(2): one thread has all others of its process order their memory accesses, so that they need not do it themselves.

use std::sync::OnceLock;
use std::sync::atomic::{Ordering, fence};

/// Whether the host can do that.
pub(super) fn is_available() -> bool {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    *REGISTERED.get_or_init(|| call(Command::Register))
}

/// What every other thread of this process has done before the call is seen by this one, and what this one has done is seen by
/// them from now on.
pub(super) fn order_all() {
    fence(Ordering::SeqCst);
    if is_available() {
        let done = call(Command::Order);
        assert!(done, "a process that is registered cannot be refused");
    }
}

/// The numbers are Linux's.
#[derive(Clone, Copy)]
enum Command {
    /// MEMBARRIER_CMD_PRIVATE_EXPEDITED
    Order = 1 << 3,
    /// MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED
    Register = 1 << 4,
}

#[cfg(target_os = "linux")]
fn call(command: Command) -> bool {
    // SAFETY: the call takes two numbers, and touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_membarrier, command as libc::c_int, 0) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn call(_command: Command) -> bool {
    false
}
