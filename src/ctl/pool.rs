//! Ioctls over the pools of rules: what a translation gives out, and where `route-to` and its like lead.
//!
//! # Life cycle
//! DIOCBEGINADDRS and DIOCADDADDR gather the addresses of the rule that comes next, which takes them along; they go with whoever
//! began. DIOCCHANGEADDR changes the pool of a rule that is loaded: another pool is put in its place, so that a packet sees it as
//! it was or as it is.
//!
//! # Locking
//! All under the control mutex; the pools that packets see are read in passive sections.

use pf_abi::{
    AF_INET, AF_INET6, AF_UNSPEC, AddrKind, AddrWrap, Change, IfName, IocPoolAddr, PF_ADDR_TABLE, PoolAddr, UserPtr,
};

use super::rules::{self, List, kind_of};
use super::{Control, interfaces, name, tables};
use crate::Pf;
use crate::kpi::{Caller, Errno, SoftNet};
use crate::mem::{KArc, KVec};
use crate::rule::Rule;

/// Addresses that a rule's pool may have.
const MAX_ADDRESSES: usize = 1 << 16;

/// DIOCBEGINADDRS.
pub(super) fn begin(pf: &Pf, caller: &Caller<'_>, arg: &mut IocPoolAddr) -> Result<(), Errno> {
    let mut control = pf.control.lock();
    arg.ticket = control.staging.begin_pool(caller.owner);
    rules::join_loaders(pf, caller.owner);
    Ok(())
}

/// Judges an address on its own; the answer is the name of its interface. EINVAL for what is no address of a pool.
fn check(arg: &IocPoolAddr) -> Result<IfName, Errno> {
    let kind = AddrKind::try_from(arg.addr.addr.kind).map_err(|_| Errno::Einval)?;
    if !matches!(kind, AddrKind::AddrMask | AddrKind::DynIfTl | AddrKind::Table)
        || !matches!(arg.af, AF_UNSPEC | AF_INET | AF_INET6)
    {
        return Err(Errno::Einval);
    }
    name(&arg.addr.ifname)
}

/// The address as a rule has it. Taken over field by field: no kernel pointer that it might claim, nothing in its padding.
fn address(pf: &Pf, control: &mut Control, from: &PoolAddr, ifname: IfName) -> Result<PoolAddr, Errno> {
    let dynamic = interfaces::dynamic(&from.addr)?;
    let [interface, dynamic] = interfaces::numbers(pf, control, [ifname, dynamic], &[])?;
    Ok(PoolAddr {
        addr: AddrWrap {
            // Here, it is the number of the interface whose addresses they are; and so below, of the one that a route leads to.
            p: dynamic.into(),
            a: from.addr.a,
            kind: from.addr.kind,
            iflags: from.addr.iflags,
            ..AddrWrap::default()
        },
        ifname,
        kif: UserPtr(interface.into()),
        ..PoolAddr::default()
    })
}

/// DIOCADDADDR. EBUSY for a stale ticket, EINVAL for what is no address of a pool, ENOSPC for too many.
pub(super) fn add(pf: &Pf, arg: &mut IocPoolAddr) -> Result<(), Errno> {
    let ifname = check(arg)?;
    let mut control = pf.control.lock();
    if arg.ticket != control.staging.pool_ticket {
        return Err(Errno::Ebusy);
    }
    if control.staging.pool.len() >= MAX_ADDRESSES {
        return Err(Errno::Enospc);
    }
    let address = address(pf, &mut control, &arg.addr, ifname)?;
    Ok(control.staging.pool.push(address)?)
}

/// The rule that a call is about, by its number. EBUSY where there is none.
fn rule<'a>(rules: &'a [KArc<Rule>], arg: &IocPoolAddr) -> Result<&'a KArc<Rule>, Errno> {
    rules.get(arg.r_num as usize).ok_or(Errno::Ebusy)
}

/// Does something with the pool of a loaded rule.
fn with_pool<R>(pf: &Pf, rule: &Rule, act: impl FnOnce(&[PoolAddr]) -> R) -> R {
    let level = SoftNet::raise();
    let section = pf.read(&level);
    act(rule.addresses(&section))
}

/// The list that a pool's rule stands in.
fn list_of(control: &Control, arg: &IocPoolAddr) -> Result<List, Errno> {
    let kind = kind_of(arg.r_action)?;
    let ruleset = control.staging.find(&arg.anchor, Errno::Ebusy)?;
    Ok(List { ruleset, kind })
}

/// The same where the ticket is that of what is loaded; else EBUSY.
fn list_with_ticket(control: &Control, arg: &IocPoolAddr) -> Result<List, Errno> {
    let list = list_of(control, arg)?;
    if arg.ticket != control.staging.active(list) {
        return Err(Errno::Ebusy);
    }
    Ok(list)
}

/// DIOCGETADDRS.
pub(super) fn count(pf: &Pf, arg: &mut IocPoolAddr) -> Result<(), Errno> {
    let control = pf.control.lock();
    let rule = rule(control.rules(list_of(&control, arg)?), arg)?;
    arg.nr = with_pool(pf, rule, |pool| u32::try_from(pool.len()).unwrap_or(u32::MAX));
    Ok(())
}

/// DIOCGETADDR. EBUSY where the ticket is not that of what is loaded, and for a number that no address has.
pub(super) fn get(pf: &Pf, arg: &mut IocPoolAddr) -> Result<(), Errno> {
    let control = pf.control.lock();
    let list = list_with_ticket(&control, arg)?;
    let rule = rule(control.rules(list), arg)?;
    let address = with_pool(pf, rule, |pool| pool.get(arg.nr as usize).copied());
    arg.addr = PoolAddr {
        kif: UserPtr::default(),
        ..address.ok_or(Errno::Ebusy)?
    };
    // Where a kernel has a pointer, a count comes out: an `int`, -1 for a table that is not active.
    arg.addr.addr.p = match arg.addr.addr.kind {
        PF_ADDR_TABLE => {
            let home = control.staging.anchors.name(list.ruleset).ok_or(Errno::Ebusy)?;
            let len = tables::len(pf, &control, home.path(), &arg.addr.addr.tblname());
            len.map_or(u32::MAX, |len| len as u32).into()
        }
        _ => 0,
    };
    Ok(())
}

/// DIOCCHANGEADDR: puts an address into the pool of a loaded rule, or takes one out, by the ticket of what is loaded, which stays good.
///
/// # Errors
/// EBUSY for a stale ticket, and where there is no such anchor or rule; EINVAL for an address that is not there, and for what makes
/// no sense: a rule without a pool, a pool that is left with none, a second address where only one can be, one of another family;
/// ENOSPC for too many, ENOMEM. The pool is as it was then.
pub(super) fn change(pf: &Pf, arg: &mut IocPoolAddr) -> Result<(), Errno> {
    let change = Change::try_from(arg.action).map_err(|_| Errno::Einval)?;
    let ifname = match change {
        Change::None | Change::GetTicket => return Err(Errno::Einval),
        Change::Remove => None,
        _ => Some(check(arg)?),
    };
    let mut control = pf.control.lock();
    let list = list_with_ticket(&control, arg)?;
    let rules = control.rules(list);
    let rule = match arg.r_last {
        0 => rule(rules, arg)?.clone(),
        _ => rules.last().ok_or(Errno::Ebusy)?.clone(),
    };
    let changed = (|| {
        let new = match ifname {
            Some(ifname) => Some(address(pf, &mut control, &arg.addr, ifname)?),
            None => None,
        };
        let addresses = changed(with_pool(pf, &rule, copy)?, new, change, arg.nr)?;
        let home = control.staging.anchors.name(list.ruleset).cloned();
        let home = home.ok_or(Errno::Ebusy)?;
        let mut tables = KVec::with_capacity(addresses.len())?;
        for address in addresses.iter() {
            tables.push(tables::refer(pf, &mut control, home.path(), &address.addr)?)?;
        }
        rule.change_pool(addresses, &tables, &pf.passive)
    })();
    // A table may have come up for nothing, or be nobody's any more.
    rules::sweep(pf, &mut control);
    changed
}

/// The same addresses, with room for another.
fn copy(pool: &[PoolAddr]) -> Result<KVec<PoolAddr>, Errno> {
    let mut copy = KVec::with_capacity(pool.len() + 1)?;
    for address in pool {
        copy.push(*address)?;
    }
    Ok(copy)
}

/// The addresses with `new` at the place that the change says, or without the one that it names.
fn changed(
    mut addresses: KVec<PoolAddr>,
    new: Option<PoolAddr>,
    change: Change,
    nr: u32,
) -> Result<KVec<PoolAddr>, Errno> {
    let len = addresses.len();
    let named = || usize::try_from(nr).ok().filter(|at| *at < len).ok_or(Errno::Einval);
    let place = match change {
        Change::AddHead => 0,
        Change::AddTail => len,
        Change::AddBefore | Change::Remove => named()?,
        _ => named()? + 1,
    };
    match new {
        Some(_) if len >= MAX_ADDRESSES => return Err(Errno::Enospc),
        Some(new) => {
            addresses.push(new)?;
            addresses.get_mut(place..).unwrap_or_default().rotate_right(1);
        }
        None => {
            addresses.get_mut(place..).unwrap_or_default().rotate_left(1);
            addresses.pop();
        }
    }
    Ok(addresses)
}
