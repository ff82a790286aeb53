//! Ioctls over anchors: which there are.
//!
//! # Locking
//! The control mutex.

use pf_abi::{CName, IocRuleset};
use zerocopy::{FromZeros, IntoBytes};

use crate::Pf;
use crate::kpi::Errno;

/// DIOCGETRULESETS: how many rulesets stand right within one. EINVAL where there is no such anchor.
pub(super) fn count(pf: &Pf, arg: &mut IocRuleset) -> Result<(), Errno> {
    let control = pf.control.lock();
    let ruleset = control.staging.find(&arg.path, Errno::Einval)?;
    arg.nr = u32::try_from(control.staging.anchors.children(ruleset).len()).unwrap_or(u32::MAX);
    arg.name = CName::EMPTY;
    Ok(())
}

/// DIOCGETRULESET: the name of one of them, by its number in the order of names. EINVAL where there is no such anchor, EBUSY for a
/// number that none has.
pub(super) fn get(pf: &Pf, arg: &mut IocRuleset) -> Result<(), Errno> {
    let control = pf.control.lock();
    let anchors = &control.staging.anchors;
    let ruleset = control.staging.find(&arg.path, Errno::Einval)?;
    let child = anchors.children(ruleset).get(arg.nr as usize).ok_or(Errno::Ebusy)?;
    let name = anchors.name(*child).ok_or(Errno::Ebusy)?.name();
    arg.name.zero();
    if let Some(to) = arg.name.as_mut_bytes().get_mut(..name.len()) {
        to.copy_from_slice(name);
    }
    Ok(())
}
