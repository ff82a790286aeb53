//! The engine's time, and its purge thread.
//!
//! # Life cycle
//! The clock is set before the engine is made, and moved by [`run`] until the router stops.
//!
//! # Synchronisation
//! The engine's clock is atomic. It counts from the machine's boot, as NetBSD's does, with the time asleep counted in.

use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::PollTimeout;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::time::ClockId;
use pf::kpi::Kernel;

use crate::router::Router;
use crate::stop::Stop;

/// How often the clock is moved, in milliseconds.
const STEP: u8 = 250;
/// How long from one purge to the next.
const PURGE: Duration = Duration::from_secs(1);

/// The time since boot.
fn uptime() -> nix::Result<Duration> {
    ClockId::CLOCK_BOOTTIME.now().map(Duration::from)
}

/// Sets the kernel's clock by the machine's.
///
/// # Errors
/// Those of clock_gettime(2).
pub fn set(kernel: &Kernel) -> nix::Result<()> {
    let wall = ClockId::CLOCK_REALTIME.now()?;
    kernel.set_time(uptime()?, wall.into());
    Ok(())
}

/// What packets wake the purge thread with.
#[derive(Debug)]
pub struct Bell(EventFd);

impl Bell {
    /// Silent.
    ///
    /// # Errors
    /// Those of eventfd(2).
    pub fn new() -> nix::Result<Self> {
        EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).map(Bell)
    }

    /// Wakes the purge thread.
    pub fn ring(&self) {
        // The only failure is a counter that is full, and so readable already.
        let _ = self.0.write(1);
    }
}

/// Moves the clock four times a second and purges once, until it is time to stop. Whenever the bell rings, it does what packets have
/// left to it.
///
/// # Errors
/// Those of clock_gettime(2) and poll(2).
pub fn run(router: &Router, stop: &Stop) -> nix::Result<()> {
    let (pf, bell) = (router.pf(), router.bell());
    let mut due = uptime()? + PURGE;
    while stop.wait_until(bell.0.as_fd(), PollTimeout::from(STEP))? {
        set(pf.kernel())?;
        // Silent again, before what it rang for is looked at.
        if bell.0.read().is_ok() {
            pf.catch_up();
        }
        let now = uptime()?;
        if now >= due {
            pf.purge();
            router.send_unjudged();
            // What was missed while the machine slept is not made up for.
            due = (due + PURGE).max(now);
        }
    }
    Ok(())
}
