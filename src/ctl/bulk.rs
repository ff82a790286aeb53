//! States, rules and counters in bulk: ioctls that NetBSD's own pf does not have.
//!
//! # Overview
//! A dump of states goes by a cursor, which is a place in the table: it outlives whatever happens to the table, and any number is one.
//! So a dump of millions needs no huge buffer, and holds up nobody.
//!
//! # Locking
//! As in [`states`](super::states) and [`rules`](super::rules): the caller's memory is touched with nothing held, or, by who may write, with
//! no more than the old ioctls do.

use pf_abi::{
    BULK_COUNTERS, BULK_MOST, BULK_RULES, BulkHead, BulkRule, BulkRules, BulkStates, RuleCounters, RulesetKind,
};
use zerocopy::{FromZeros, Immutable, IntoBytes};

use super::{element, rules, states};
use crate::Pf;
use crate::kpi::{Caller, Errno, ReadSection, SoftNet};
use crate::mem::KBox;
use crate::rule::{Rule, RulesetName};

/// Whether an argument is of the one version there is.
pub(super) fn check<T>(head: &BulkHead) -> Result<(), Errno> {
    if head.is_of::<T>() { Ok(()) } else { Err(Errno::Einval) }
}

/// DIOCBGETSTATES.
///
/// # Errors
/// EINVAL for another version or no room, EFAULT, ENOMEM.
pub(super) fn get_states(pf: &Pf, caller: &Caller<'_>, arg: &mut BulkStates) -> Result<(), Errno> {
    check::<BulkStates>(&arg.head)?;
    let room = arg.count.min(BULK_MOST) as usize;
    if room == 0 {
        return Err(Errno::Einval);
    }
    let (done, next) = states::dump_from(pf, caller, arg.cursor, arg.buf, room)?;
    arg.count = u32::try_from(done).unwrap_or(u32::MAX);
    arg.cursor = next.unwrap_or(0);
    arg.more = next.is_some().into();
    arg.error = 0;
    Ok(())
}

/// DIOCBADDSTATES: adds up to the first that must be refused, and says why.
///
/// # Errors
/// EINVAL for another version or too many records, EFAULT where not even the first can be read, ENOMEM.
pub(super) fn add_states(pf: &Pf, caller: &Caller<'_>, arg: &mut BulkStates) -> Result<(), Errno> {
    check::<BulkStates>(&arg.head)?;
    if arg.count > BULK_MOST {
        return Err(Errno::Einval);
    }
    let (done, refused) = states::add_some(pf, caller, arg.buf, arg.count as usize)?;
    arg.count = u32::try_from(done).unwrap_or(u32::MAX);
    arg.error = refused.map_or(0, |errno| errno as i32);
    arg.more = 0;
    Ok(())
}

/// DIOCBGETRULES.
///
/// # Errors
/// EINVAL for another version, a kind of list or of record that there is not, or an anchor that there is not; EBUSY where the ticket is
/// not that of what is loaded (any more); EFAULT, ENOMEM.
pub(super) fn get_rules(pf: &Pf, caller: &Caller<'_>, arg: &mut BulkRules) -> Result<(), Errno> {
    check::<BulkRules>(&arg.head)?;
    let kind = RulesetKind::try_from(arg.kind).map_err(|_| Errno::Einval)?;
    match arg.what {
        BULK_RULES => copy::<BulkRule>(pf, caller, arg, kind, |rule, home, section, to| {
            rules::export(pf, section, home, rule, &mut to.rule, &mut to.anchor_call)
        }),
        BULK_COUNTERS => copy::<RuleCounters>(pf, caller, arg, kind, |rule, _, _, to| rule.export_counters(to)),
        _ => Err(Errno::Einval),
    }
}

/// Fills in records of rules, one at a time, so that nobody waits for this caller's memory.
fn copy<T: Immutable + IntoBytes + FromZeros>(
    pf: &Pf,
    caller: &Caller<'_>,
    arg: &mut BulkRules,
    kind: RulesetKind,
    export: impl Fn(&Rule, &RulesetName, &ReadSection<'_>, &mut T),
) -> Result<(), Errno> {
    let room = arg.count.min(BULK_MOST) as usize;
    let first = arg.nr as usize;
    let mut record: KBox<T> = KBox::zeroed()?;
    let mut done = 0;
    loop {
        let made = {
            let control = pf.control.lock();
            let list = rules::List {
                ruleset: control.staging.find(&arg.anchor, Errno::Einval)?,
                kind,
            };
            let ticket = rules::active_ticket(&control, list);
            if arg.ticket != 0 && arg.ticket != ticket {
                return Err(Errno::Ebusy);
            }
            arg.ticket = ticket;
            let home = control.staging.anchors.name(list.ruleset).ok_or(Errno::Einval)?;
            let rules = control.rules(list);
            arg.total = u32::try_from(rules.len()).unwrap_or(u32::MAX);
            let rule = rules.get(first.saturating_add(done)).filter(|_| done < room);
            let level = SoftNet::raise();
            let section = pf.read(&level);
            rule.map(|rule| export(rule, home, &section, &mut record)).is_some()
        };
        if !made {
            break;
        }
        caller.memory.copyout(record.as_bytes(), element::<T>(arg.buf, done)?)?;
        done += 1;
    }
    arg.count = u32::try_from(done).unwrap_or(u32::MAX);
    Ok(())
}
