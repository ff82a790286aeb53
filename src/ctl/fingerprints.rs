//! Ioctls over fingerprints of operating systems.
//!
//! # Locking
//! The control mutex.

use pf_abi::OsfpIoctl;

use super::Control;
use crate::Pf;
use crate::kpi::{Errno, LogLevel};
use crate::mem::KBox;

/// DIOCOSFPFLUSH.
pub(super) fn flush(pf: &Pf) -> Result<(), Errno> {
    let mut control = pf.control.lock();
    control.fingerprints.clear();
    control.has_new_fingerprints = true;
    // While pfctl(8) loads others right after, packets are better off with the old ones: see `publish`.
    Ok(())
}

/// DIOCOSFPADD. See [`Fingerprints::add`](crate::osfp::Fingerprints::add) for its errors.
pub(super) fn add(pf: &Pf, arg: &OsfpIoctl) -> Result<(), Errno> {
    let mut control = pf.control.lock();
    control.fingerprints.add(arg)?;
    control.has_new_fingerprints = true;
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

/// Makes what was added what packets see. Without memory they go on with what there was.
pub(super) fn publish(pf: &Pf, control: &mut Control) {
    if !control.has_new_fingerprints {
        return;
    }
    match control.fingerprints.copy().and_then(KBox::new) {
        Ok(new) => {
            drop(pf.fingerprints.replace(new, &pf.passive));
            control.has_new_fingerprints = false;
        }
        Err(_) => pf.kernel.log(
            LogLevel::Error,
            format_args!("there is no memory for the fingerprints of operating systems"),
        ),
    }
}
