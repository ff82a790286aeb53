//! Ioctls over states: dump, restore, remove, look up.
//!
//! # Overview
//! Each goes through the table a few states at a time, in the table's own order, and lets packets come between. So a dump of a
//! table that is not locked has every state that was there all the while once; of those that came or went meanwhile it may have
//! some.
//!
//! # Locking
//! None but the table's own, under which records are made. The caller's memory is touched with none held. A name of an
//! interface that is new gets its number under the control mutex. A state that brings its identity comes in under the mutex of
//! [`Identities`](crate::state::Identities), which is taken with no other held.

use core::sync::atomic::Ordering;

use pf_abi::{AF_UNSPEC, Be16, IfName, IocNatlook, IocState, IocStateKill, IocStates, RuleAddr, SyncState, UserPtr};
use zerocopy::{IntoBytes, transmute};

use super::record::{Candidate, Scene};
use super::{element, interfaces, name, recall};
use crate::Pf;
use crate::kpi::{Caller, Direction, Errno, ReadSection, SoftNet, SpinLock};
use crate::mem::KVec;
use crate::nat::Current;
use crate::rule::{Net, PortMatch};
use crate::state::{Extra, Host, InsertError, State, Tree, TreeKey};
use crate::wire::{Addr, Af, Proto};

/// Bytes of a record.
const RECORD: usize = size_of::<SyncState>();
/// Records that are made, and partitions that are looked into, before a packet may come between.
const BATCH: usize = 64;

/// Bytes of so many records, as far as an `int` can say.
fn bytes(records: usize) -> i32 {
    const MOST: i32 = i32::MAX - i32::MAX % RECORD as i32;
    records
        .checked_mul(RECORD)
        .and_then(|bytes| i32::try_from(bytes).ok())
        .unwrap_or(MOST)
}

fn scene<'a>(pf: &'a Pf, section: &'a ReadSection<'_>) -> Scene<'a> {
    Scene {
        config: pf.config.read(section),
        interfaces: pf.interfaces.read(section),
        timeouts: &pf.timeouts,
        now: pf.kernel.uptime(),
    }
}

/// DIOCGETSTATES.
pub(super) fn dump(pf: &Pf, caller: &Caller<'_>, arg: &mut IocStates) -> Result<(), Errno> {
    let len = usize::try_from(arg.len).map_err(|_| Errno::Einval)?;
    if len == 0 {
        arg.len = bytes(pf.states.len());
        return Ok(());
    }
    let (done, _) = dump_from(pf, caller, 0, arg.buf, len / RECORD)?;
    arg.len = bytes(done);
    Ok(())
}

/// Hands out at most `room` records of states, from a place on: how many, and where to go on if that was not all.
pub(super) fn dump_from(
    pf: &Pf,
    caller: &Caller<'_>,
    from: u64,
    to: UserPtr,
    room: usize,
) -> Result<(usize, Option<u64>), Errno> {
    let mut records = KVec::filled(SyncState::default(), room.min(BATCH))?;
    let mut done = 0;
    let mut from = Some(from);
    while let Some(start) = from
        && done < room
    {
        let wanted = records.len().min(room - done);
        let batch = records.get_mut(..wanted).unwrap_or_default();
        let (made, next) = export(pf, start, batch);
        let made = batch.get(..made).unwrap_or_default();
        if !made.is_empty() {
            caller
                .memory
                .copyout(made.as_bytes(), element::<SyncState>(to, done)?)?;
        }
        done += made.len();
        from = next;
    }
    Ok((done, from))
}

/// Fills in records of states from `from` on. The answer is how many, and where to go on; nothing if that was all.
fn export(pf: &Pf, from: u64, records: &mut [SyncState]) -> (usize, Option<u64>) {
    let level = SoftNet::raise();
    let section = pf.read(&level);
    let scene = scene(pf, &section);
    let mut made = 0;
    let mut from = from;
    for _ in 0..BATCH {
        let mut full = false;
        let next = pf.states.walk_partition(from, &level, |state| {
            let Some(record) = records.get_mut(made) else {
                full = true;
                return false;
            };
            made += usize::from(scene.export(state, &level, record));
            true
        });
        match next {
            None => return (made, None),
            Some(next) => from = next,
        }
        if full {
            break;
        }
    }
    (made, Some(from))
}

/// DIOCGETSTATE: the state of the identity that the record has, or by its number in a dump, where the record has none.
///
/// # Errors
/// ENOENT for an identity that no state has, EBUSY for a number, EFAULT.
pub(super) fn get(pf: &Pf, caller: &Caller<'_>, arg: &mut IocState) -> Result<(), Errno> {
    let mut record = SyncState::default();
    caller.memory.copyin(arg.state.0, record.as_mut_bytes())?;
    let id: u64 = transmute!(record.id);
    let id = (u64::from_be(id), record.creatorid);
    let is_numbered = id == (0, 0);
    let mut before = arg.nr;
    let mut is_wanted = |state: &State| {
        if !is_numbered {
            return state.id() == id;
        }
        let is_it = before == 0;
        before = before.saturating_sub(1);
        is_it
    };
    let mut from = Some(0);
    let mut found = false;
    while let Some(start) = from
        && !found
    {
        let level = SoftNet::raise();
        let section = pf.read(&level);
        let scene = scene(pf, &section);
        from = (0..BATCH).try_fold(start, |from, _| {
            if found {
                return Some(from);
            }
            pf.states.walk_partition(from, &level, |state| {
                found = is_wanted(state) && scene.export(state, &level, &mut record);
                !found
            })
        });
    }
    if !found {
        return Err(if is_numbered { Errno::Ebusy } else { Errno::Enoent });
    }
    caller.memory.copyout(record.as_bytes(), arg.state.0)
}

/// DIOCADDSTATE. See [`Candidate::new`] for what is EINVAL and EOPNOTSUPP.
pub(super) fn add(pf: &Pf, caller: &Caller<'_>, arg: &mut IocState) -> Result<(), Errno> {
    let mut record = SyncState::default();
    caller.memory.copyin(arg.state.0, record.as_mut_bytes())?;
    insert(pf, &record)
}

/// DIOCADDSTATES: adds all, or up to the first that must be refused or cannot be read. DIOCBADDSTATES says how many those were.
///
/// # Errors
/// EINVAL for a length that is not one of whole records, and nothing is added; else those of [`add`] for the one that was refused,
/// EFAULT for one that cannot be read.
pub(super) fn add_all(pf: &Pf, caller: &Caller<'_>, arg: &mut IocStates) -> Result<(), Errno> {
    let len = usize::try_from(arg.len).map_err(|_| Errno::Einval)?;
    if len % RECORD != 0 {
        return Err(Errno::Einval);
    }
    match add_some(pf, caller, arg.buf, len / RECORD)? {
        (_, None) => Ok(()),
        (_, Some(refusal)) => Err(refusal),
    }
}

/// Adds `count` states up to the first that must be refused: how many, and why not the next. What cannot be read is refused with EFAULT,
/// unless it is the first.
pub(super) fn add_some(
    pf: &Pf,
    caller: &Caller<'_>,
    from: UserPtr,
    count: usize,
) -> Result<(usize, Option<Errno>), Errno> {
    let mut records = KVec::filled(SyncState::default(), count.min(BATCH))?;
    let mut done = 0;
    while done < count {
        let wanted = records.len().min(count - done);
        let batch = records.get_mut(..wanted).unwrap_or_default();
        let read = element::<SyncState>(from, done).and_then(|from| caller.memory.copyin(from, batch.as_mut_bytes()));
        match read {
            Err(errno) if done == 0 => return Err(errno),
            Err(errno) => return Ok((done, Some(errno))),
            Ok(()) => (),
        }
        for record in batch.iter() {
            if let Err(errno) = insert(pf, record) {
                return Ok((done, Some(errno)));
            }
            done += 1;
        }
    }
    Ok((done, None))
}

/// Puts a state into the table.
fn insert(pf: &Pf, record: &SyncState) -> Result<(), Errno> {
    let candidate = Candidate::new(record)?;
    let interface = interfaces::find_or_name(pf, &candidate.interface)?;
    let mut identity = match candidate.id() {
        Some(id) => {
            let mut identities = pf.identities.lock();
            identities.prepare(&pf.states, id.0, pf.kernel.uptime())?;
            Some((id, identities))
        }
        None => None,
    };
    let level = SoftNet::raise();
    let section = pf.read(&level);
    if let Some((id, identities)) = &identity
        && identities.is_taken(&pf.states, *id, &level, &section)
    {
        return Err(Errno::Eexist);
    }
    let host_id = pf.host_id.load(Ordering::Relaxed);
    let scene = scene(pf, &section);
    let (mut origin, body) = candidate.state(&scene, interface.number, host_id)?;
    let current = Current {
        interfaces: scene.interfaces,
        section: &section,
    };
    recall::recall(pf, &mut origin, &body, record.rt_addr.into(), &current, &level)?;
    if let Some(ends) = candidate.scrub() {
        Extra::entry(&mut origin.extra)?.scrub = Some(SpinLock::new(ends));
    }
    let state = pf
        .states
        .insert(origin, body, &level, &section)
        .map_err(|refusal| match refusal {
            InsertError::Exists => Errno::Eexist,
            InsertError::Limit => Errno::Enospc,
            InsertError::NoMemory => Errno::Enomem,
        })?;
    pf.stats.count_insert();
    if let Some((_, identities)) = &mut identity {
        identities.add(state);
    }
    Ok(())
}

/// Which interfaces' states a call is about.
enum Binding {
    Any,
    To(interfaces::Found),
}

impl Binding {
    /// By the name that a caller gives, empty for all. Nothing where no state can be on that interface.
    fn new(pf: &Pf, ifname: &IfName) -> Result<Option<Self>, Errno> {
        let ifname = name(ifname)?;
        if ifname.is_empty() {
            return Ok(Some(Binding::Any));
        }
        Ok(interfaces::find(pf, &ifname).map(Binding::To))
    }

    fn matches(&self, state: &State) -> bool {
        match self {
            Binding::Any => true,
            Binding::To(interface) => state.interface() == interface.number,
        }
    }
}

/// DIOCCLRSTATES.
pub(super) fn clear(pf: &Pf, arg: &mut IocStateKill) -> Result<(), Errno> {
    let killed = match Binding::new(pf, &arg.ifname)? {
        Some(binding) => remove(pf, |state| binding.matches(state)),
        None => 0,
    };
    arg.af = as_byte(killed);
    Ok(())
}

/// How many, where a byte has to say it. (NetBSD's own pf says how many modulo 256.)
pub(super) fn as_byte(count: u64) -> u8 {
    u8::try_from(count).unwrap_or(u8::MAX)
}

/// One end of what is to be removed.
pub(super) struct End {
    net: Net,
    negated: bool,
    port: PortMatch,
}

impl End {
    pub(super) fn new(from: &RuleAddr, af: Option<Af>) -> Result<Self, Errno> {
        Ok(End {
            net: Net::new(&from.addr, af)?,
            negated: from.neg != 0,
            port: PortMatch::new(from.port_op, from.port)?,
        })
    }

    pub(super) fn matches(&self, host: Host) -> bool {
        self.net.contains(&host.addr) != self.negated && self.port.matches(host.port)
    }
}

/// DIOCKILLSTATES: removes states by their first packet's source and destination, before translation on the inside and after it on
/// the outside.
///
/// # Errors
/// EINVAL for a family, a protocol or a port's operator that there is not, and for an address without a family; EOPNOTSUPP for
/// what is not an address and a mask.
pub(super) fn kill(pf: &Pf, arg: &mut IocStateKill) -> Result<(), Errno> {
    let af = match arg.af {
        AF_UNSPEC => None,
        af => Some(Af::try_from(af).map_err(|_| Errno::Einval)?),
    };
    let proto = match u8::try_from(arg.proto).map_err(|_| Errno::Einval)? {
        0 => None,
        proto => Some(Proto(proto)),
    };
    let (src, dst) = (End::new(&arg.src, af)?, End::new(&arg.dst, af)?);
    let killed = match Binding::new(pf, &arg.ifname)? {
        None => 0,
        Some(binding) => remove(pf, |state| {
            let key = state.key();
            let (from, to) = match state.direction() {
                Direction::Out => (key.lan, key.ext),
                Direction::In => (key.ext, key.lan),
            };
            binding.matches(state)
                && af.is_none_or(|af| af == key.af)
                && proto.is_none_or(|proto| proto == key.proto)
                && src.matches(from)
                && dst.matches(to)
        }),
    };
    arg.af = as_byte(killed);
    Ok(())
}

/// Removes the states that match, and frees them. The answer is how many.
fn remove(pf: &Pf, matches: impl Fn(&State) -> bool) -> u64 {
    let removed = pf.states.remove_where(&pf.passive, matches);
    pf.stats.count_removals(removed);
    pf.states.reap(&pf.passive);
    removed
}

/// DIOCNATLOOK: what became of a connection's addresses. The connection is the one that an answer to the packet that is
/// described would belong to.
///
/// # Errors
/// EINVAL where the family, the direction or the protocol is missing, or an address or a port; ENOENT.
pub(super) fn look_up(pf: &Pf, arg: &mut IocNatlook) -> Result<(), Errno> {
    let af = Af::try_from(arg.af).map_err(|_| Errno::Einval)?;
    let proto = Proto(arg.proto);
    let host = |addr: pf_abi::Addr, port: Be16| Host {
        addr: Addr::from(addr).of_family(af),
        port: port.get(),
    };
    let (src, dst) = (host(arg.saddr, arg.sport), host(arg.daddr, arg.dport));
    let has_ports = matches!(proto, Proto::TCP | Proto::UDP);
    let is_whole = |host: &Host| !host.addr.is_zero() && (!has_ports || host.port != 0);
    if proto == Proto(0) || ![src, dst].iter().all(is_whole) {
        return Err(Errno::Einval);
    }
    let (tree, near, far) = match pf_abi::Direction::try_from(arg.direction) {
        Ok(pf_abi::Direction::In) => (Tree::ExtGwy, src, dst),
        Ok(pf_abi::Direction::Out) => (Tree::LanExt, dst, src),
        Ok(pf_abi::Direction::InOut) | Err(_) => return Err(Errno::Einval),
    };
    let level = SoftNet::raise();
    let section = pf.read(&level);
    let key = TreeKey { near, far, af, proto };
    let state = pf.states.find(tree, &key, &level, &section).ok_or(Errno::Enoent)?;
    if state.lock(&level).unlinked {
        return Err(Errno::Enoent);
    }
    let (src, dst) = match tree {
        Tree::ExtGwy => (state.key().lan, dst),
        Tree::LanExt => (src, state.key().gwy),
    };
    (arg.rsaddr, arg.rsport) = (src.addr.into(), Be16::new(src.port));
    (arg.rdaddr, arg.rdport) = (dst.addr.into(), Be16::new(dst.port));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_records_are_an_int() {
        assert_eq!([0, 1, 1000].map(bytes), [0, 240, 240_000]);
        let most = i32::MAX as usize / 240;
        assert_eq!(bytes(most), (most * 240) as i32);
        for beyond in [most + 1, u32::MAX as usize, usize::MAX] {
            assert_eq!(bytes(beyond), bytes(most), "as many as an int can say");
        }
    }
}
