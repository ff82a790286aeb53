//! The engine's time, and its purge thread.
//!
//! # Life cycle
//! The clock is set before the engine is made, and moved by [`run`] until the router stops.
//!
//! # Synchronisation
//! The engine's clock is atomic. It counts from the machine's boot, as NetBSD's does, with the time asleep counted in.

use std::time::Duration;

use nix::poll::PollTimeout;
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

/// Moves the clock four times a second and purges once, until it is time to stop.
///
/// # Errors
/// Those of clock_gettime(2) and poll(2).
pub fn run(router: &Router, stop: &Stop) -> nix::Result<()> {
    let pf = router.pf();
    let mut due = uptime()? + PURGE;
    while stop.sleep(PollTimeout::from(STEP))? {
        set(pf.kernel())?;
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
