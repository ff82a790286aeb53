//! Ioctls over the addresses of a table.
//!
//! # Overview
//! A call takes the addresses as they are, makes of them what they are to be, a few of the caller's at a time, and puts that in place
//! at its end. What it tells the caller of each (PFR_FLAG_FEEDBACK) is written as it goes. So a call that fails has changed
//! nothing, and one that only tries (PFR_FLAG_DUMMY) leaves out the end.
//!
//! # Locking
//! Who changes addresses holds the control mutex meanwhile, the caller's memory included, as the next one has to begin with what
//! this one leaves. Who reads, or only tries, has a version of its own and holds nothing.

use pf_abi::{
    Feedback, IocTable, Limit, PFR_FLAG_ATOMIC, PFR_FLAG_CLSTATS, PFR_FLAG_DUMMY, PFR_FLAG_FEEDBACK, PFR_FLAG_REPLACE,
    PFR_OP_ADDR_MAX, TableAddr, TableAddrStats, UserPtr,
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::tables::{apply, check_flags, count_of, each_counter, find, int, is_dummy, lock, place};
use super::{Control, element};
use crate::Pf;
use crate::kpi::{Caller, Errno, MutexGuard};
use crate::mem::{KArc, KBox, KVec};
use crate::table::{Addresses, Change, Contents, Entry, Fate, Prefix, Table};
use crate::wire::{Addr, Af};

/// Addresses that a call may give.
pub(super) const MAX: usize = 1 << 24;
/// Addresses that are fetched or handed out at once.
const BATCH: usize = 64;
/// What a call that changes addresses may ask for.
const FLAGS: i32 = PFR_FLAG_ATOMIC | PFR_FLAG_DUMMY | PFR_FLAG_FEEDBACK;

/// What an address from outside stands for.
///
/// # Errors
/// EINVAL for a family, a number of bits or a negation that there is not; for bits that are set behind the network's; and where
/// feedback stands that is not the caller's to give.
fn check(address: &TableAddr) -> Result<(Af, Prefix), Errno> {
    let af = Af::try_from(address.af).map_err(|_| Errno::Einval)?;
    let addr = Addr::from(address.addr);
    let prefix = Prefix::new(&addr, af, address.net);
    if address.net > af.bits() || prefix.addr() != addr || address.not > 1 || address.fback != u8::from(Feedback::None)
    {
        return Err(Errno::Einval);
    }
    Ok((af, prefix))
}

/// Goes through the addresses that a call gives. With `answer`, what `act` makes of each goes back to the caller.
pub(super) fn each(
    caller: &Caller<'_>,
    arg: &IocTable,
    count: usize,
    answer: bool,
    mut act: impl FnMut(&mut TableAddr, Af, Prefix) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let mut room = KVec::filled(TableAddr::default(), count.min(BATCH))?;
    let mut done = 0;
    while done < count {
        let wanted = room.len().min(count - done);
        let batch = room.get_mut(..wanted).unwrap_or_default();
        let at = element::<TableAddr>(arg.buffer, done)?;
        caller.memory.copyin(at, batch.as_mut_bytes())?;
        for address in batch.iter_mut() {
            let (af, prefix) = check(address)?;
            act(address, af, prefix)?;
        }
        if answer {
            caller.memory.copyout(batch.as_bytes(), at)?;
        }
        done += wanted;
    }
    Ok(())
}

/// Puts an address in, if there are to be no more than `limit`.
pub(super) fn insert(
    to: &mut Addresses,
    address: &TableAddr,
    af: Af,
    prefix: Prefix,
    limit: usize,
    now: u32,
) -> Result<(), Errno> {
    to.insert(af, Entry::new(prefix, address.not != 0, now))?;
    if to.len() > limit { Err(Errno::Enomem) } else { Ok(()) }
}

/// A table whose addresses a call is about.
struct Open<'a> {
    /// Held by who changes them.
    control: Option<MutexGuard<'a, Control>>,
    table: KArc<Table>,
    /// Its addresses when the call began.
    before: Addresses,
    /// How many it may have.
    limit: usize,
    /// Seconds since 1970.
    now: u32,
}

impl<'a> Open<'a> {
    /// ESRCH where there is no such table, EINVAL where its name or its flags make no sense.
    fn read(pf: &'a Pf, arg: &IocTable) -> Result<Self, Errno> {
        Ok(Open {
            control: None,
            ..Self::new(pf, arg)?
        })
    }

    /// The same; and EPERM for a table that is constant. `dummy` changes nothing.
    fn write(pf: &'a Pf, arg: &IocTable, dummy: bool) -> Result<Self, Errno> {
        let mut open = Self::new(pf, arg)?;
        if open.table.is_const() {
            return Err(Errno::Eperm);
        }
        if dummy {
            open.control = None;
        }
        Ok(open)
    }

    fn new(pf: &'a Pf, arg: &IocTable) -> Result<Self, Errno> {
        let (anchor, name) = place(&arg.table, 0)?;
        let control = lock(pf);
        let table = find(&control, anchor, &name).ok_or(Errno::Esrch)?;
        let before = table.addresses(&pf.passive).ok_or(Errno::Esrch)?;
        let others = control.tables.entries().saturating_sub(before.len());
        // A limit that was lowered does not stand in the way of what makes it no worse.
        let limit = control.limit(Limit::TableEntries).saturating_sub(others);
        Ok(Open {
            limit: limit.max(before.len()),
            control: Some(control),
            table,
            before,
            now: pf.kernel.wall_clock(),
        })
    }

    /// Puts other addresses in place, unless the call only tries.
    fn close(self, pf: &Pf, addresses: Addresses) -> Result<(), Errno> {
        let Some(mut control) = self.control else {
            return Ok(());
        };
        let mut changes = KVec::with_capacity(1)?;
        changes.push(Change {
            table: self.table,
            new: KBox::new(Contents {
                active: true,
                addresses,
            })?,
            flags: None,
            clear: false,
        })?;
        apply(pf, &mut control, changes)
    }
}

/// DIOCRCLRADDRS.
pub(super) fn clear(pf: &Pf, caller: &Caller<'_>, arg: &mut IocTable) -> Result<(), Errno> {
    let dummy = is_dummy(caller, arg, PFR_FLAG_ATOMIC | PFR_FLAG_DUMMY)?;
    if arg.esize != 0 {
        return Err(Errno::Enodev);
    }
    let open = Open::write(pf, arg, dummy)?;
    arg.ndel = int(open.before.len());
    open.close(pf, Addresses::default())
}

/// DIOCRADDADDRS: adds addresses that are not there. One that is stays as it is, negated or not.
///
/// # Errors
/// ESRCH, EINVAL, EPERM for a constant table, EFAULT; ENOMEM, also where the limit would be passed.
pub(super) fn add(pf: &Pf, caller: &Caller<'_>, arg: &mut IocTable) -> Result<(), Errno> {
    let dummy = is_dummy(caller, arg, FLAGS)?;
    let count = count_of::<TableAddr>(arg, MAX)?;
    let open = Open::write(pf, arg, dummy)?;
    let mut new = open.before.clone();
    let answer = arg.flags & PFR_FLAG_FEEDBACK != 0;
    each(caller, arg, count, answer, |address, af, prefix| {
        address.fback = match (open.before.get(af, &prefix), new.get(af, &prefix)) {
            (None, Some(_)) => Feedback::Duplicate,
            (Some(entry), _) if entry.is_negated() != (address.not != 0) => Feedback::Conflict,
            (Some(_), _) => Feedback::None,
            (None, None) => {
                insert(&mut new, address, af, prefix, open.limit, open.now)?;
                Feedback::Added
            }
        }
        .into();
        Ok(())
    })?;
    let added = new.len() - open.before.len();
    if added != 0 {
        open.close(pf, new)?;
    }
    arg.nadd = int(added);
    Ok(())
}

/// DIOCRDELADDRS: takes out addresses that are there with the same negation.
///
/// # Errors
/// ESRCH, EINVAL, EPERM for a constant table, EFAULT, ENOMEM.
pub(super) fn delete(pf: &Pf, caller: &Caller<'_>, arg: &mut IocTable) -> Result<(), Errno> {
    let dummy = is_dummy(caller, arg, FLAGS)?;
    let count = count_of::<TableAddr>(arg, MAX)?;
    let open = Open::write(pf, arg, dummy)?;
    let mut new = open.before.clone();
    let answer = arg.flags & PFR_FLAG_FEEDBACK != 0;
    each(caller, arg, count, answer, |address, af, prefix| {
        address.fback = match (open.before.get(af, &prefix), new.get(af, &prefix)) {
            (None, _) => Feedback::None,
            (Some(entry), _) if entry.is_negated() != (address.not != 0) => Feedback::Conflict,
            (Some(_), None) => Feedback::Duplicate,
            (Some(_), Some(_)) => {
                new.remove(af, &prefix)?;
                Feedback::Deleted
            }
        }
        .into();
        Ok(())
    })?;
    let deleted = open.before.len() - new.len();
    if deleted != 0 {
        open.close(pf, new)?;
    }
    arg.ndel = int(deleted);
    Ok(())
}

/// DIOCRSETADDRS: a table has these addresses and no others. One that stays as it was keeps its counters.
///
/// With PFR_FLAG_FEEDBACK and a `size2` that is not 0, the addresses that are deleted are written behind those that were given; if
/// `size2` is too small for both, nothing is done, and it becomes what is needed.
///
/// # Errors
/// ESRCH, EINVAL, EPERM for a constant table, EFAULT; ENOMEM, also where the limit would be passed.
pub(super) fn set(pf: &Pf, caller: &Caller<'_>, arg: &mut IocTable) -> Result<(), Errno> {
    let dummy = is_dummy(caller, arg, FLAGS)?;
    let count = count_of::<TableAddr>(arg, MAX)?;
    let room = usize::try_from(arg.size2).map_err(|_| Errno::Einval)?;
    let open = Open::write(pf, arg, dummy)?;
    let mut new = Addresses::default();
    let answer = arg.flags & PFR_FLAG_FEEDBACK != 0;
    let (mut added, mut changed, mut kept) = (0, 0, 0);
    each(caller, arg, count, answer, |address, af, prefix| {
        address.fback = match (open.before.get(af, &prefix), new.get(af, &prefix)) {
            (_, Some(_)) => Feedback::Duplicate,
            (Some(entry), None) if entry.is_negated() == (address.not != 0) => {
                new.share(&open.before, af, &prefix)?;
                kept += 1;
                Feedback::None
            }
            (old, None) => {
                insert(&mut new, address, af, prefix, open.limit, open.now)?;
                *(if old.is_some() { &mut changed } else { &mut added }) += 1;
                if old.is_some() {
                    Feedback::Changed
                } else {
                    Feedback::Added
                }
            }
        }
        .into();
        Ok(())
    })?;
    let deleted = open.before.len() - kept - changed;
    let needed = count + deleted;
    if answer && room != 0 {
        if room < needed {
            arg.size2 = int(needed);
            return Ok(());
        }
        let gone = open
            .before
            .iter()
            .filter(|(af, entry)| new.get(*af, &entry.prefix()).is_none());
        let gone = gone.map(|(af, entry)| TableAddr {
            fback: Feedback::Deleted.into(),
            ..exported(af, entry)
        });
        hand_out(caller, arg.buffer, count, gone)?;
    }
    if added + changed + deleted != 0 {
        open.close(pf, new)?;
    }
    (arg.nadd, arg.nchange, arg.ndel) = (int(added), int(changed), int(deleted));
    if answer {
        arg.size2 = int(needed);
    }
    Ok(())
}

fn exported(af: Af, entry: &Entry) -> TableAddr {
    let prefix = entry.prefix();
    TableAddr {
        addr: prefix.addr().into(),
        af: af.into(),
        net: prefix.len(),
        not: entry.is_negated().into(),
        fback: Feedback::None.into(),
    }
}

/// The fates that an entry tells apart, in the order of its record.
const FATES: [Fate; PFR_OP_ADDR_MAX] = [Fate::Blocked, Fate::Passed];

/// What an entry has counted. With `take` it is the record's from now on.
fn exported_stats(af: Af, entry: &Entry, take: bool) -> TableAddrStats {
    let mut to = TableAddrStats {
        a: exported(af, entry),
        tzero: entry.since().into(),
        ..TableAddrStats::default()
    };
    for (direction, fate, (packets, bytes)) in each_counter(FATES, &mut to.packets, &mut to.bytes) {
        (*packets, *bytes) = match take {
            true => entry.take(direction, fate),
            false => entry.counted(direction, fate),
        };
    }
    to
}

/// Hands out what entries have counted, which begin anew with what the caller has been told.
fn take_stats(caller: &Caller<'_>, array: UserPtr, addresses: &Addresses, now: u32) -> Result<(), Errno> {
    let mut entries = KVec::with_capacity(BATCH)?;
    let mut records = KVec::with_capacity(BATCH)?;
    let mut all = addresses.iter();
    let mut done = 0;
    loop {
        let at = element::<TableAddrStats>(array, done)?;
        for (af, entry) in all.by_ref().take(BATCH) {
            entries.push(entry)?;
            records.push(exported_stats(af, entry, true))?;
        }
        if records.is_empty() {
            return Ok(());
        }
        let told = caller.memory.copyout(records.as_bytes(), at);
        for (entry, record) in entries.iter().zip(records.iter_mut()) {
            if told.is_ok() {
                entry.set_since(now);
                continue;
            }
            for (direction, fate, (packets, bytes)) in each_counter(FATES, &mut record.packets, &mut record.bytes) {
                entry.put_back(direction, fate, (*packets, *bytes));
            }
        }
        told?;
        done += records.len();
        entries.clear();
        records.clear();
    }
}

/// Writes elements into the caller's array from number `at` on.
fn hand_out<T: FromBytes + IntoBytes + Immutable>(
    caller: &Caller<'_>,
    array: UserPtr,
    at: usize,
    elements: impl Iterator<Item = T>,
) -> Result<(), Errno> {
    let mut batch = KVec::with_capacity(BATCH)?;
    let mut done = at;
    let mut write = |batch: &mut KVec<T>| {
        if !batch.is_empty() {
            caller.memory.copyout(batch.as_bytes(), element::<T>(array, done)?)?;
            done += batch.len();
            batch.clear();
        }
        Ok::<_, Errno>(())
    };
    for each in elements {
        batch.push(each)?;
        if batch.len() == BATCH {
            write(&mut batch)?;
        }
    }
    write(&mut batch)
}

/// DIOCRGETADDRS: fills in all of them if there is room, and tells how many there are. ESRCH where there is no such table.
pub(super) fn get(pf: &Pf, caller: &Caller<'_>, arg: &mut IocTable) -> Result<(), Errno> {
    check_flags(arg, 0)?;
    let room = count_of::<TableAddr>(arg, usize::MAX)?;
    let addresses = Open::read(pf, arg)?.before;
    if addresses.len() <= room {
        let all = addresses.iter().map(|(af, entry)| exported(af, entry));
        hand_out(caller, arg.buffer, 0, all)?;
    }
    arg.size = int(addresses.len());
    Ok(())
}

/// DIOCRGETASTATS: the same with counters; with PFR_FLAG_CLSTATS they begin anew, each with what the caller has been told.
pub(super) fn get_stats(pf: &Pf, caller: &Caller<'_>, arg: &mut IocTable) -> Result<(), Errno> {
    check_flags(arg, PFR_FLAG_ATOMIC | PFR_FLAG_CLSTATS)?;
    let clear = arg.flags & PFR_FLAG_CLSTATS != 0;
    if clear {
        caller.may_write()?;
    }
    let room = count_of::<TableAddrStats>(arg, usize::MAX)?;
    let open = Open::read(pf, arg)?;
    let addresses = open.before;
    if addresses.len() <= room && clear {
        take_stats(caller, arg.buffer, &addresses, open.now)?;
    } else if addresses.len() <= room {
        let all = addresses.iter().map(|(af, entry)| exported_stats(af, entry, false));
        hand_out(caller, arg.buffer, 0, all)?;
    }
    arg.size = int(addresses.len());
    Ok(())
}

/// DIOCRCLRASTATS: the counters of some addresses begin anew.
pub(super) fn clear_stats(pf: &Pf, caller: &Caller<'_>, arg: &mut IocTable) -> Result<(), Errno> {
    let dummy = is_dummy(caller, arg, FLAGS)?;
    let count = count_of::<TableAddr>(arg, MAX)?;
    let open = Open::read(pf, arg)?;
    let answer = arg.flags & PFR_FLAG_FEEDBACK != 0;
    // Looked at twice, so that a call that fails has cleared nothing.
    let mut cleared = 0;
    each(caller, arg, count, false, |_, af, prefix| {
        cleared += usize::from(open.before.get(af, &prefix).is_some());
        Ok(())
    })?;
    each(caller, arg, count, answer, |address, af, prefix| {
        let entry = open.before.get(af, &prefix);
        address.fback = match entry {
            Some(_) => Feedback::Cleared,
            None => Feedback::None,
        }
        .into();
        if let Some(entry) = entry.filter(|_| !dummy) {
            entry.clear(open.now);
        }
        Ok(())
    })?;
    arg.nadd = int(cleared);
    Ok(())
}

/// DIOCRTSTADDRS: whether hosts are of a table. With PFR_FLAG_REPLACE each becomes the entry that says so.
///
/// # Errors
/// ESRCH, EFAULT; EINVAL also for a network.
pub(super) fn test(pf: &Pf, caller: &Caller<'_>, arg: &mut IocTable) -> Result<(), Errno> {
    check_flags(arg, PFR_FLAG_REPLACE)?;
    let count = count_of::<TableAddr>(arg, MAX)?;
    let addresses = Open::read(pf, arg)?.before;
    let replace = arg.flags & PFR_FLAG_REPLACE != 0;
    let mut matched = 0;
    each(caller, arg, count, true, |address, af, prefix| {
        if prefix.len() != af.bits() {
            return Err(Errno::Einval);
        }
        let found = addresses.find(af, &prefix.addr());
        if replace {
            *address = found.map_or_else(TableAddr::default, |entry| exported(af, entry));
        }
        address.fback = match found {
            None => Feedback::None,
            Some(entry) if entry.is_negated() => Feedback::NotMatch,
            Some(_) => {
                matched += 1;
                Feedback::Match
            }
        }
        .into();
        Ok(())
    })?;
    arg.nadd = int(matched);
    Ok(())
}
