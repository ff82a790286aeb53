//! Ioctls over fingerprints of operating systems.
//!
//! # Life cycle
//! pfctl(8) flushes them and adds all it knows before it loads rules. Packets go by what there was until the rules are committed, or
//! until nobody has changed them, and nobody loads anything, for a while.
//!
//! # Locking
//! The control mutex.

use pf_abi::OsfpIoctl;

use super::{Control, rules};
use crate::Pf;
use crate::kpi::{Errno, LogLevel};
use crate::mem::KBox;

/// Seconds in which nothing changes before packets see it without a commit.
const QUIET: u32 = 2;

/// DIOCOSFPFLUSH. Packets go on with what there was, as do those of DIOCOSFPADD: pfctl(8) loads others right after.
pub(super) fn flush(pf: &Pf) -> Result<(), Errno> {
    let mut control = pf.control.lock();
    control.fingerprints.clear();
    control.fingerprints_changed = Some(pf.kernel.uptime());
    Ok(())
}

/// DIOCOSFPADD. See [`Fingerprints::add`](crate::osfp::Fingerprints::add) for its errors.
pub(super) fn add(pf: &Pf, arg: &OsfpIoctl) -> Result<(), Errno> {
    let mut control = pf.control.lock();
    control.fingerprints.add(arg)?;
    control.fingerprints_changed = Some(pf.kernel.uptime());
    Ok(())
}

/// DIOCOSFPGET. EBUSY for a number that none has.
pub(super) fn get(pf: &Pf, arg: &mut OsfpIoctl) -> Result<(), Errno> {
    let control = pf.control.lock();
    let number = usize::try_from(arg.getnum).map_err(|_| Errno::Ebusy)?;
    match control.fingerprints.export(number, arg) {
        true => Ok(()),
        false => Err(Errno::Ebusy),
    }
}

/// Makes what has been left alone for a while what packets see. Once a second.
pub(super) fn settle(pf: &Pf, control: &mut Control) {
    let is_over = |at| pf.kernel.uptime().saturating_sub(at) >= QUIET;
    if control.fingerprints_changed.is_some_and(is_over) && !rules::anybody_loads(pf) {
        publish(pf, control);
    }
}

/// Makes what was added what packets see. Without memory they go on with what there was.
pub(super) fn publish(pf: &Pf, control: &mut Control) {
    if control.fingerprints_changed.is_none() {
        return;
    }
    match control.fingerprints.copy().and_then(KBox::new) {
        Ok(new) => {
            drop(pf.fingerprints.replace(new, &pf.passive));
            control.fingerprints_changed = None;
        }
        Err(_) => pf.kernel.log(
            LogLevel::Error,
            format_args!("there is no memory for the fingerprints of operating systems"),
        ),
    }
}
