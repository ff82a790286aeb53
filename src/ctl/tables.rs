//! Ioctls over tables: which there are, their flags and counters, and what a transaction has for them.
//!
//! # Overview
//! The names that a call gives are fetched first, then looked up and checked, and only when nothing can fail any more is anything
//! changed. What is changed is put in place at once. A call with PFR_FLAG_DUMMY goes the same way up to there.
//!
//! # Locking
//! Tables come, go and change under the control mutex. The caller's memory is touched without it, but for what is written
//! into a transaction.

use pf_abi::{
    AddrWrap, IocTable, Limit, PF_ADDR_TABLE, PFR_FLAG_ADDRSTOO, PFR_FLAG_ALLMASK, PFR_FLAG_ALLRSETS, PFR_FLAG_ATOMIC,
    PFR_FLAG_CLSTATS, PFR_FLAG_DUMMY, PFR_OP_TABLE_MAX, PFR_TFLAG_ACTIVE, PFR_TFLAG_PERSIST, PFR_TFLAG_REFERENCED,
    PFR_TFLAG_USRMASK, TableName, TableStats,
};
use zerocopy::{FromZeros, IntoBytes};

use super::{Control, addresses, element, name, rules};
use crate::Pf;
use crate::kpi::{Caller, Direction, Errno, MutexGuard, NoMemory, SoftNet};
use crate::mem::{KArc, KBox, KVec, Retired};
use crate::rule::RulesetName;
use crate::table::{Change, Contents, Fate, Prefix, Table, TableRef};

/// Tables that a call may name.
const MAX_NAMES: usize = 1 << 15;
/// The anchor that nobody may use from outside.
const RESERVED: &[u8] = b"_pf";

/// Whether a call only tries.
///
/// # Errors
/// EACCES or EPERM where it does not, and the caller may not write; EINVAL for flags that mean nothing to the call.
pub(super) fn is_dummy(caller: &Caller<'_>, arg: &IocTable, known: i32) -> Result<bool, Errno> {
    let is_dummy = arg.flags & known & PFR_FLAG_DUMMY != 0;
    if !is_dummy {
        caller.may_write()?;
    }
    check_flags(arg, known)?;
    Ok(is_dummy)
}

/// EINVAL for flags that mean nothing to the call.
pub(super) fn check_flags(arg: &IocTable, known: i32) -> Result<(), Errno> {
    if arg.flags & PFR_FLAG_ALLMASK & !known != 0 {
        return Err(Errno::Einval);
    }
    Ok(())
}

/// ENODEV for elements of another size, as NetBSD's pf answers; EINVAL for a negative number of them, or more than `most`.
pub(super) fn count_of<T>(arg: &IocTable, most: usize) -> Result<usize, Errno> {
    if usize::try_from(arg.esize) != Ok(size_of::<T>()) {
        return Err(Errno::Enodev);
    }
    usize::try_from(arg.size)
        .ok()
        .filter(|size| *size <= most)
        .ok_or(Errno::Einval)
}

/// A number for the caller, as far as an `int` can say.
pub(super) fn int(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// The path of an anchor, without slashes before it.
fn anchor_of(table: &pf_abi::Table) -> Result<&[u8], Errno> {
    let path = table.anchor.as_str().ok_or(Errno::Einval)?;
    Ok(path.trim_start_matches('/').as_bytes())
}

/// The tables and all else, without what nobody needs any more.
pub(super) fn lock(pf: &Pf) -> MutexGuard<'_, Control> {
    let mut control = pf.control.lock();
    sweep(pf, &mut control);
    control
}

/// Lets tables go that nobody needs any more, and the anchors that they stood in.
pub(super) fn sweep(pf: &Pf, control: &mut Control) {
    if control.tables.sweep(&pf.passive) {
        rules::sweep(pf, control);
    }
}

/// The table of a name in the ruleset with a path, whether or not it is active.
pub(super) fn find(control: &Control, path: &[u8], name: &TableName) -> Option<KArc<Table>> {
    let ruleset = control.ruleset(path)?;
    control.tables.find(ruleset.path(), name).cloned()
}

/// Which table is meant: the path of its anchor, and its name.
///
/// # Errors
/// EINVAL for a name that is none, for the anchor that is pf's own, and for flags other than those `allowed`.
pub(super) fn place(table: &pf_abi::Table, allowed: u32) -> Result<(&[u8], TableName), Errno> {
    let (anchor, name) = (anchor_of(table)?, name(&table.name)?);
    if name.is_empty() || anchor == RESERVED || table.flags & !allowed != 0 {
        return Err(Errno::Einval);
    }
    Ok((anchor, name))
}

/// The table that an address of a rule in the ruleset `anchor` speaks of, if it does. It comes up if there is none.
///
/// # Errors
/// EINVAL for a name that is none; ENOMEM, also where there are as many tables as there may be.
pub(super) fn refer(pf: &Pf, control: &mut Control, anchor: &[u8], addr: &AddrWrap) -> Result<Option<TableRef>, Errno> {
    if addr.kind != PF_ADDR_TABLE {
        return Ok(None);
    }
    let name = name(&addr.tblname())?;
    if name.is_empty() {
        return Err(Errno::Einval);
    }
    let limit = control.limit(Limit::Tables);
    let table = control.tables.refer(anchor, &name, limit, pf.kernel.wall_clock())?;
    Ok(Some(table))
}

/// How many addresses a table has that a rule in the ruleset `anchor` speaks of; nothing where it is not active.
pub(super) fn len(pf: &Pf, control: &Control, anchor: &[u8], name: &TableName) -> Option<usize> {
    let visible = |anchor| control.tables.find(anchor, name)?.addresses(&pf.passive);
    visible(anchor)
        .or_else(|| visible(b""))
        .map(|addresses| addresses.len())
}

/// The table into which a rule in the ruleset `anchor` puts sources, if it has one. It is defined from now on, if it was not.
///
/// # Errors
/// ENOMEM, also where there are as many tables as there may be.
pub(super) fn refer_to_overload(
    pf: &Pf,
    control: &mut Control,
    anchor: &[u8],
    name: &TableName,
) -> Result<Option<TableRef>, Errno> {
    if name.is_empty() {
        return Ok(None);
    }
    let limit = control.limit(Limit::Tables);
    let table = control.tables.refer(anchor, name, limit, pf.kernel.wall_clock())?;
    if !is_active(pf, table.table()) {
        let mut changes = KVec::with_capacity(1)?;
        changes.push(Change {
            flags: Some(0),
            ..emptied(table.table(), true)?
        })?;
        apply(pf, control, changes)?;
    }
    Ok(Some(table))
}

/// A table that a call names.
struct Named {
    anchor: KVec<u8>,
    name: TableName,
    flags: u32,
}

/// Fetches the tables that a call names.
fn names(caller: &Caller<'_>, arg: &IocTable, allowed: u32) -> Result<KVec<Named>, Errno> {
    let count = count_of::<pf_abi::Table>(arg, MAX_NAMES)?;
    let mut names = KVec::new();
    let mut each: KBox<pf_abi::Table> = KBox::zeroed()?;
    for at in 0..count {
        let from = element::<pf_abi::Table>(arg.buffer, at)?;
        caller.memory.copyin(from, each.as_mut_bytes())?;
        let (path, name) = place(&each, allowed)?;
        let mut anchor = KVec::with_capacity(path.len())?;
        for byte in path {
            anchor.push(*byte)?;
        }
        let flags = each.flags;
        names.push(Named { anchor, name, flags })?;
    }
    Ok(names)
}

/// Whether somebody has defined a table.
fn is_active(pf: &Pf, table: &Table) -> bool {
    flags(pf, table) & PFR_TFLAG_ACTIVE != 0
}

fn flags(pf: &Pf, table: &Table) -> u32 {
    let level = SoftNet::raise();
    table.flags(&pf.read(&level))
}

/// A table that is no longer, or not yet with any address, what it was.
fn emptied(table: &KArc<Table>, active: bool) -> Result<Change, NoMemory> {
    Ok(Change {
        table: table.clone(),
        new: KBox::new(Contents {
            active,
            ..Contents::default()
        })?,
        flags: None,
        clear: false,
    })
}

/// Makes changes, and lets go what nothing holds after them.
pub(super) fn apply(pf: &Pf, control: &mut Control, changes: KVec<Change>) -> Result<(), Errno> {
    let mut retired = Retired::with_room(changes.len(), &pf.passive)?;
    let now = pf.kernel.wall_clock();
    control.tables.apply(changes, now, &pf.passive, &mut retired)?;
    drop(retired);
    rules::sweep(pf, control);
    Ok(())
}

/// DIOCRCLRTABLES: the tables of an anchor, or of all, are no longer defined. Those that rules speak of stay, empty.
pub(super) fn clear(pf: &Pf, caller: &Caller<'_>, arg: &mut IocTable) -> Result<(), Errno> {
    let dummy = is_dummy(caller, arg, PFR_FLAG_ATOMIC | PFR_FLAG_DUMMY | PFR_FLAG_ALLRSETS)?;
    if arg.esize != 0 {
        return Err(Errno::Enodev);
    }
    let mut control = lock(pf);
    let about = about(&control, arg)?;
    let mut changes = KVec::new();
    for table in control.tables.iter() {
        if is_of(table, &about) && is_active(pf, table) {
            changes.push(emptied(table, false)?)?;
        }
    }
    let count = changes.len();
    if !dummy {
        apply(pf, &mut control, changes)?;
    }
    arg.ndel = int(count);
    Ok(())
}

/// The anchor that a call is about; nothing for all of them. ENOENT where there is no such anchor.
fn about(control: &Control, arg: &IocTable) -> Result<Option<KArc<RulesetName>>, Errno> {
    let path = anchor_of(&arg.table)?;
    match arg.flags & PFR_FLAG_ALLRSETS {
        0 => control.ruleset(path).map(Some).ok_or(Errno::Enoent),
        _ => Ok(None),
    }
}

/// Whether a table is one of those that a call is about.
fn is_of(table: &Table, about: &Option<KArc<RulesetName>>) -> bool {
    about.as_ref().is_none_or(|ruleset| ruleset.path() == table.anchor())
}

/// DIOCRADDTABLES: tables are defined, without an address. Those that are defined already stay as they are.
///
/// # Errors
/// EINVAL for a name or a flag that makes no sense; ENOMEM, also where there would be more tables than the limit.
pub(super) fn add(pf: &Pf, caller: &Caller<'_>, arg: &mut IocTable) -> Result<(), Errno> {
    let dummy = is_dummy(caller, arg, PFR_FLAG_ATOMIC | PFR_FLAG_DUMMY)?;
    let names = names(caller, arg, PFR_TFLAG_USRMASK)?;
    let mut control = lock(pf);
    let added = bring_all(pf, &mut control, &names);
    let made = added.and_then(|changes| {
        arg.nadd = int(changes.len());
        if dummy {
            return Ok(());
        }
        let mut fleeting = KVec::with_capacity(changes.len())?;
        for change in changes.iter() {
            if change.flags.is_some_and(|flags| flags & PFR_TFLAG_PERSIST == 0) {
                fleeting.push(change.table.clone())?;
            }
        }
        let mut retired = Retired::with_room(changes.len(), &pf.passive)?;
        let now = pf.kernel.wall_clock();
        control.tables.apply(changes, now, &pf.passive, &mut retired)?;
        fleeting.iter().for_each(|table| table.keep());
        Ok(())
    });
    // Tables that were brought up and not defined go again.
    rules::sweep(pf, &mut control);
    made
}

/// Brings tables up that are not there: what defines those that are not active.
fn bring_all(pf: &Pf, control: &mut Control, names: &[Named]) -> Result<KVec<Change>, Errno> {
    let (limit, now) = (control.limit(Limit::Tables), pf.kernel.wall_clock());
    let call = control.tables.next_call();
    let mut changes = KVec::new();
    for named in names {
        let ruleset = control.ruleset_or_new(&named.anchor)?;
        let table = control.tables.bring(ruleset.path(), &named.name, limit, now)?;
        if !is_active(pf, &table) && !table.is_seen(call) {
            changes.push(Change {
                flags: Some(named.flags),
                ..emptied(&table, true)?
            })?;
        }
    }
    Ok(changes)
}

/// DIOCRDELTABLES: tables are no longer defined. Those that rules speak of stay, empty; those that are not there are no mistake.
pub(super) fn delete(pf: &Pf, caller: &Caller<'_>, arg: &mut IocTable) -> Result<(), Errno> {
    let dummy = is_dummy(caller, arg, PFR_FLAG_ATOMIC | PFR_FLAG_DUMMY)?;
    let names = names(caller, arg, 0)?;
    let mut control = lock(pf);
    let call = control.tables.next_call();
    let mut changes = KVec::new();
    for named in names.iter() {
        if let Some(table) = find(&control, &named.anchor, &named.name)
            && is_active(pf, &table)
            && !table.is_seen(call)
        {
            changes.push(emptied(&table, false)?)?;
        }
    }
    let count = changes.len();
    if !dummy {
        apply(pf, &mut control, changes)?;
    }
    arg.ndel = int(count);
    Ok(())
}

/// The tables that a call is about, to be looked at without the mutex.
fn list(pf: &Pf, arg: &IocTable) -> Result<KVec<KArc<Table>>, Errno> {
    let control = lock(pf);
    let about = about(&control, arg)?;
    let mut list = KVec::new();
    for table in control.tables.iter() {
        if is_of(table, &about) {
            list.push(table.clone())?;
        }
    }
    Ok(list)
}

fn export(pf: &Pf, table: &Table, to: &mut pf_abi::Table) {
    to.zero();
    if let Some(path) = to.anchor.as_mut_bytes().get_mut(..table.anchor().len()) {
        path.copy_from_slice(table.anchor());
    }
    to.name = *table.name();
    to.flags = flags(pf, table);
}

/// DIOCRGETTABLES: fills in all of them if there is room, and tells how many there are.
pub(super) fn get(pf: &Pf, caller: &Caller<'_>, arg: &mut IocTable) -> Result<(), Errno> {
    check_flags(arg, PFR_FLAG_ALLRSETS)?;
    let room = count_of::<pf_abi::Table>(arg, usize::MAX)?;
    let list = list(pf, arg)?;
    if list.len() <= room {
        let mut each: KBox<pf_abi::Table> = KBox::zeroed()?;
        for (at, table) in list.iter().enumerate() {
            export(pf, table, &mut each);
            let to = element::<pf_abi::Table>(arg.buffer, at)?;
            caller.memory.copyout(each.as_bytes(), to)?;
        }
    }
    arg.size = int(list.len());
    Ok(())
}

/// DIOCRGETTSTATS: the same with counters; with PFR_FLAG_CLSTATS they begin anew, each table's with what the caller has been told.
pub(super) fn get_stats(pf: &Pf, caller: &Caller<'_>, arg: &mut IocTable) -> Result<(), Errno> {
    check_flags(arg, PFR_FLAG_ATOMIC | PFR_FLAG_ALLRSETS | PFR_FLAG_CLSTATS)?;
    let clear = arg.flags & PFR_FLAG_CLSTATS != 0;
    if clear {
        caller.may_write()?;
    }
    let room = count_of::<TableStats>(arg, usize::MAX)?;
    let list = list(pf, arg)?;
    if list.len() <= room {
        let mut each: KBox<TableStats> = KBox::zeroed()?;
        for (at, table) in list.iter().enumerate() {
            let to = element::<TableStats>(arg.buffer, at)?;
            export_stats(pf, table, &mut each, clear);
            let told = caller.memory.copyout(each.as_bytes(), to);
            if clear {
                match told {
                    Ok(()) => table.set_since(pf.kernel.wall_clock()),
                    Err(_) => put_back(table, &mut each),
                }
            }
            told?;
        }
    }
    arg.size = int(list.len());
    Ok(())
}

/// Goes through the packets and the bytes of a record, by direction and fate.
pub(super) fn each_counter<'a, const N: usize>(
    fates: [Fate; N],
    packets: &'a mut [[u64; N]; 2],
    bytes: &'a mut [[u64; N]; 2],
) -> impl Iterator<Item = (Direction, Fate, (&'a mut u64, &'a mut u64))> {
    let directions = [Direction::In, Direction::Out].into_iter();
    directions
        .zip(packets.iter_mut().zip(bytes))
        .flat_map(move |(direction, (packets, bytes))| {
            let counters = packets.iter_mut().zip(bytes);
            fates
                .into_iter()
                .zip(counters)
                .map(move |(fate, both)| (direction, fate, both))
        })
}

/// The fates that a table tells apart, in the order of its record.
const FATES: [Fate; PFR_OP_TABLE_MAX] = [Fate::Blocked, Fate::Passed, Fate::PassedAnyway];

/// Tells what a table has counted. With `take` it is the record's from now on.
fn export_stats(pf: &Pf, table: &Table, to: &mut TableStats, take: bool) {
    to.zero();
    export(pf, table, &mut to.t);
    for (direction, fate, (packets, bytes)) in each_counter(FATES, &mut to.packets, &mut to.bytes) {
        (*packets, *bytes) = match take {
            true => table.take(direction, fate),
            false => table.counted(direction, fate),
        };
    }
    (to.matched, to.nomatch) = match take {
        true => table.take_lookups(),
        false => table.lookups(),
    };
    to.tzero = table.since().into();
    to.cnt = {
        let level = SoftNet::raise();
        int(table.contents(&pf.read(&level)).addresses.len())
    };
    to.refcnt = [table.rule_count(), table.anchor_count()].map(|count| int(count as usize));
}

/// A record that was taken has not reached the caller: the table goes on with it.
fn put_back(table: &Table, from: &mut TableStats) {
    for (direction, fate, (packets, bytes)) in each_counter(FATES, &mut from.packets, &mut from.bytes) {
        table.put_back(direction, fate, (*packets, *bytes));
    }
    table.put_back_lookups((from.matched, from.nomatch));
}

/// DIOCRCLRTSTATS: counters of tables begin anew, and with PFR_FLAG_ADDRSTOO those of their addresses.
pub(super) fn clear_stats(pf: &Pf, caller: &Caller<'_>, arg: &mut IocTable) -> Result<(), Errno> {
    let dummy = is_dummy(caller, arg, PFR_FLAG_ATOMIC | PFR_FLAG_DUMMY | PFR_FLAG_ADDRSTOO)?;
    let names = names(caller, arg, 0)?;
    let control = lock(pf);
    let now = pf.kernel.wall_clock();
    let mut count = 0;
    for named in names.iter() {
        let Some(table) = find(&control, &named.anchor, &named.name) else {
            continue;
        };
        count += 1;
        if dummy {
            continue;
        }
        table.clear_counters(now);
        if arg.flags & PFR_FLAG_ADDRSTOO != 0
            && let Some(addresses) = table.addresses(&pf.passive)
        {
            addresses.iter().for_each(|(_, entry)| entry.clear(now));
        }
    }
    arg.nadd = count;
    Ok(())
}

/// DIOCRSETTFLAGS: sets and clears flags of tables that are defined.
///
/// # Errors
/// EINVAL for a flag that is not for others to change, or that is to be set and cleared.
pub(super) fn set_flags(pf: &Pf, caller: &Caller<'_>, arg: &mut IocTable) -> Result<(), Errno> {
    let dummy = is_dummy(caller, arg, PFR_FLAG_ATOMIC | PFR_FLAG_DUMMY)?;
    let (set, clear) = (arg.size2 as u32, arg.nadd as u32);
    if (set | clear) & !PFR_TFLAG_USRMASK != 0 || set & clear != 0 {
        return Err(Errno::Einval);
    }
    let names = names(caller, arg, 0)?;
    let mut control = lock(pf);
    let call = control.tables.next_call();
    let (mut changed, mut deleted) = (0, 0);
    for named in names.iter() {
        let Some(table) = find(&control, &named.anchor, &named.name) else {
            continue;
        };
        let before = flags(pf, &table);
        if before & PFR_TFLAG_ACTIVE == 0 || (before | set) & !clear == before || table.is_seen(call) {
            continue;
        }
        if before & clear & PFR_TFLAG_PERSIST != 0 && before & PFR_TFLAG_REFERENCED == 0 {
            deleted += 1;
        } else {
            changed += 1;
        }
        if !dummy {
            table.set_flags(set, clear);
        }
    }
    rules::sweep(pf, &mut control);
    (arg.nchange, arg.ndel) = (changed, deleted);
    Ok(())
}

/// DIOCRINADEFINE: what a table is to be when the transaction is committed. Without PFR_FLAG_ADDRSTOO it keeps the addresses that
/// it has.
///
/// # Errors
/// EBUSY for a ticket that is not that of the transaction, EINVAL for a name, a flag or an address that makes no sense; EFAULT;
/// ENOMEM, also where a limit would be passed. What was defined before stays then.
pub(super) fn define(pf: &Pf, caller: &Caller<'_>, arg: &mut IocTable) -> Result<(), Errno> {
    let dummy = is_dummy(caller, arg, PFR_FLAG_DUMMY | PFR_FLAG_ADDRSTOO)?;
    let (path, name) = place(&arg.table, PFR_TFLAG_USRMASK)?;
    let count = count_of::<pf_abi::TableAddr>(arg, addresses::MAX)?;
    let (limit, now) = {
        let control = lock(pf);
        loading(&control, path, arg.ticket)?;
        (control.limit(Limit::TableEntries), pf.kernel.wall_clock())
    };
    // Of addresses that are named twice the first one counts.
    let mut new = crate::table::Addresses::default();
    addresses::each(caller, arg, count, false, |address, af, prefix: Prefix| {
        if new.get(af, &prefix).is_none() {
            addresses::insert(&mut new, address, af, prefix, limit, now)?;
        }
        Ok(())
    })?;
    let mut control = lock(pf);
    // Somebody else may have begun meanwhile.
    let ruleset = loading(&control, path, arg.ticket)?;
    let addresses = new.len();
    let tables = control.limit(Limit::Tables);
    let defined = control
        .tables
        .bring(ruleset.path(), &name, tables, now)
        .and_then(|table| {
            let is_new = flags(pf, &table) & pf_abi::PFR_TFLAG_INACTIVE == 0;
            if dummy {
                return Ok(is_new);
            }
            let new = (arg.flags & PFR_FLAG_ADDRSTOO != 0).then_some(new);
            let others = control.tables.staged_entries(&table);
            if new.as_ref().is_some_and(|new| others.saturating_add(new.len()) > limit) {
                return Err(Errno::Enomem);
            }
            control.tables.stage(table, arg.table.flags, new)?;
            Ok(is_new)
        });
    rules::sweep(pf, &mut control);
    (arg.nadd, arg.size2) = (defined?.into(), int(addresses));
    Ok(())
}

/// The ruleset whose tables are being loaded by who has the ticket. EBUSY where they are not.
fn loading(control: &Control, path: &[u8], ticket: u32) -> Result<KArc<RulesetName>, Errno> {
    let ruleset = control.ruleset(path);
    let ruleset = ruleset.filter(|ruleset| control.is_loading_tables(ruleset, ticket));
    ruleset.ok_or(Errno::Ebusy)
}
