//! The lock of the state table: taken for good by DIOCSETLCK, or held by somebody until a deadline by DIOCBLOCK.
//!
//! # Life cycle
//! A lock that is held goes when its owner says so, when its deadline has passed (the purge looks, once a second), or when its owner,
//! an open file of the device, is closed ([`Pf::close`](crate::Pf::close)). DIOCSETLCK stands above all that: it takes the lock for good from
//! whoever holds it, or releases it.
//!
//! # Locking
//! A spin lock covers who holds it; whether the table is locked changes only under that. Taking it waits for packets and the purge, under
//! the control mutex.

use core::sync::atomic::Ordering;

use pf_abi::{BULK_LOCK_GET, BULK_LOCK_MOST, BULK_LOCK_RELEASE, BULK_LOCK_TAKE, BulkLock};

use super::bulk::check;
use crate::Pf;
use crate::kpi::{Caller, Errno, LogLevel, SoftNet};

/// Who holds the lock, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hold {
    owner: u64,
    /// Who took it, or moved its deadline last: for a person to read.
    pid: i32,
    /// Seconds of uptime.
    until: u32,
}

impl Hold {
    /// Seconds left; nothing where its time is over.
    fn left(&self, now: u32) -> Option<u32> {
        u32::try_from(self.until.wrapping_sub(now) as i32)
            .ok()
            .filter(|left| *left > 0)
    }
}

/// DIOCSETLCK: 1 locks, 0 unlocks, whatever it was before. When a call that locks has returned, no packet and no purge that came
/// before it is still at work on a state.
pub(super) fn set(pf: &Pf, arg: &mut u32) -> Result<(), Errno> {
    let lock = match arg {
        0 => false,
        1 => true,
        _ => return Err(Errno::Einval),
    };
    let _control = pf.control.lock();
    {
        let level = SoftNet::raise();
        let mut hold = pf.hold.lock(&level);
        *hold = None;
        pf.locked.store(lock, Ordering::Release);
    }
    if lock {
        settle(pf);
    }
    Ok(())
}

/// Waits until nobody is at work on a state who came before the lock. The caller holds the control mutex.
fn settle(pf: &Pf) {
    drop(pf.sweep.lock());
    pf.passive.wait();
}

/// DIOCGETLCK.
pub(super) fn get(pf: &Pf, arg: &mut u32) -> Result<(), Errno> {
    *arg = pf.is_locked().into();
    Ok(())
}

/// DIOCBLOCK.
///
/// # Errors
/// EBUSY where somebody else has locked the table, ESRCH where the caller releases what it does not hold, EINVAL for a deadline that
/// is none. EACCES and EPERM where a reader does more than ask.
pub(super) fn serve(pf: &Pf, caller: &Caller<'_>, arg: &mut BulkLock) -> Result<(), Errno> {
    check::<BulkLock>(&arg.head)?;
    if arg.action != BULK_LOCK_GET {
        caller.may_write()?;
    }
    match arg.action {
        BULK_LOCK_GET => (),
        BULK_LOCK_TAKE => take(pf, caller, arg.seconds)?,
        BULK_LOCK_RELEASE => {
            if !release(pf, |hold| hold.owner == caller.owner) {
                return Err(Errno::Esrch);
            }
        }
        _ => return Err(Errno::Einval),
    }
    let level = SoftNet::raise();
    let hold = pf.hold.lock(&level);
    let now = pf.kernel.uptime();
    arg.locked = pf.is_locked().into();
    arg.pid = hold.map_or(0, |hold| hold.pid);
    arg.seconds = hold.map_or(0, |hold| hold.left(now).unwrap_or(1));
    Ok(())
}

fn take(pf: &Pf, caller: &Caller<'_>, seconds: u32) -> Result<(), Errno> {
    if !(1..=BULK_LOCK_MOST).contains(&seconds) {
        return Err(Errno::Einval);
    }
    let _control = pf.control.lock();
    let was_locked = {
        let level = SoftNet::raise();
        let mut hold = pf.hold.lock(&level);
        let was_locked = pf.is_locked();
        if was_locked && hold.is_none_or(|hold| hold.owner != caller.owner) {
            return Err(Errno::Ebusy);
        }
        *hold = Some(Hold {
            owner: caller.owner,
            pid: caller.pid,
            until: pf.kernel.uptime().wrapping_add(seconds),
        });
        pf.locked.store(true, Ordering::Release);
        was_locked
    };
    if !was_locked {
        settle(pf);
    }
    Ok(())
}

/// Unlocks the table where somebody holds it of whom `is_over` is true. Whether it did.
fn release(pf: &Pf, is_over: impl FnOnce(&Hold) -> bool) -> bool {
    let level = SoftNet::raise();
    let mut hold = pf.hold.lock(&level);
    let over = hold.as_ref().is_some_and(is_over);
    if over {
        *hold = None;
        pf.locked.store(false, Ordering::Release);
    }
    over
}

/// The file of this owner is closed.
pub(super) fn close(pf: &Pf, owner: u64) {
    // Many close the device, and few have locked the table.
    if pf.is_locked() && release(pf, |hold| hold.owner == owner) {
        let text = format_args!("the state table is unlocked: who had locked it is gone");
        pf.kernel.log(LogLevel::Notice, text);
    }
}

/// Once a second: a deadline may have passed.
pub(crate) fn tick(pf: &Pf) {
    // Nothing to do for a table that is not locked, as most are.
    if pf.is_locked() && release(pf, |hold| hold.left(pf.kernel.uptime()).is_none()) {
        let text = format_args!("the state table is unlocked: nobody has renewed its lock in time");
        pf.kernel.log(LogLevel::Error, text);
    }
}
