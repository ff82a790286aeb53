//! Ioctls over interfaces, and numbers for the names that rules and states speak of.
//!
//! # Locking
//! A name gets its number, and loses it, under the control mutex; who finds one without the mutex holds on to it, see [`Found`]. Flags
//! and counters are atomic.

use core::sync::atomic::Ordering;

use pf_abi::{AddrWrap, IfName, IocIface, Kif, PF_ADDR_DYNIFTL, PFI_IFLAG_SKIP, PoolAddr, UserPtr};
use zerocopy::IntoBytes;

use super::uses::Uses;
use super::{Control, element, name};
use crate::Pf;
use crate::iface::{self, Interface, Interfaces};
use crate::kpi::{Caller, Direction, Errno, SoftNet};
use crate::mem::{KArc, KBox, KVec};
use crate::wire::Af;

/// Names that there may be when a rule or a state brings up another, unless [`Pf::limit_names`] says otherwise. There must be an end to them,
/// as each takes memory and time.
pub(super) const MOST_NAMES: usize = 4096;

/// An interface that was found by its name. Nobody else gets its number while this is there.
pub(super) struct Found {
    /// Its number.
    pub(super) number: u16,
    _interface: KArc<Interface>,
}

fn look_up(pf: &Pf, name: &IfName) -> Option<Found> {
    let level = SoftNet::raise();
    let section = pf.read(&level);
    let interfaces = pf.interfaces.read(&section);
    let number = interfaces.find(name)?;
    Some(Found {
        number,
        _interface: interfaces.get(number)?.clone(),
    })
}

/// The interface of this name, if it has a number.
pub(super) fn find(pf: &Pf, name: &IfName) -> Option<Found> {
    look_up(pf, name).or_else(|| {
        // It may be hidden by who holds the mutex.
        let _control = pf.control.lock();
        look_up(pf, name)
    })
}

/// The same, which gets a number if it has none. Errors as [`numbers`].
pub(super) fn find_or_name(pf: &Pf, name: &IfName) -> Result<Found, Errno> {
    if let Some(found) = look_up(pf, name) {
        return Ok(found);
    }
    let mut control = pf.control.lock();
    numbers(pf, &mut control, [*name], &[])?;
    look_up(pf, name).ok_or(Errno::Enospc)
}

/// The numbers of interfaces, which get one if they have none; `ALL` for an empty name. All that a rule or an address speaks of are asked for
/// at once, as a number that nobody has used yet may be given to somebody else the next time. `pool` are addresses that the caller has
/// taken out of the staged pool.
///
/// # Errors
/// ENOSPC where there are too many names already, ENOMEM.
pub(super) fn numbers<const N: usize>(
    pf: &Pf,
    control: &mut Control,
    names: [IfName; N],
    pool: &[PoolAddr],
) -> Result<[u16; N], Errno> {
    let mut numbers = [iface::ALL; N];
    for (name, to) in names.iter().zip(&mut numbers) {
        if !name.is_empty() {
            *to = number(pf, control, *name, &names, pool)?;
        }
    }
    Ok(numbers)
}

fn number(pf: &Pf, control: &mut Control, name: IfName, names: &[IfName], pool: &[PoolAddr]) -> Result<u16, Errno> {
    if let Some(found) = look_up(pf, &name) {
        return Ok(found.number);
    }
    if !has_room(pf, control) {
        give_back(pf, control, names, pool)?;
        if !has_room(pf, control) {
            return Err(Errno::Enospc);
        }
    }
    let mut number = 0;
    pf.change_interfaces(|interfaces| {
        let (new, of_name) = interfaces.with_name(name)?;
        number = of_name;
        Ok(new)
    })?;
    Ok(number)
}

/// Whether a rule or a state may bring up another name.
fn has_room(pf: &Pf, control: &Control) -> bool {
    let level = SoftNet::raise();
    pf.interfaces.read(&pf.read(&level)).iter().count() < control.most_names
}

/// Takes back the numbers of names that nobody uses, `names` not among them.
///
/// First the names that may go are hidden. When readers have gone, whoever has found one of them before either still holds on to what was
/// found, or has used it: then it is in a state that a walk from here on sees, as it sees those of packets. So what nobody holds and
/// no walk sees has no user, and gets none.
fn give_back(pf: &Pf, control: &Control, names: &[IfName], pool: &[PoolAddr]) -> Result<(), Errno> {
    let mut spare = {
        let level = SoftNet::raise();
        KVec::filled(false, pf.interfaces.read(&pf.read(&level)).len())?
    };
    with_interfaces(pf, |interfaces| {
        for (number, interface) in interfaces.iter().filter(|(number, _)| *number != iface::ALL) {
            let name = &interface.name;
            let stays = interface.skips() || names.contains(name) || control.status_interface == *name;
            set(&mut spare, number, !stays);
        }
        for number in interfaces.attached() {
            set(&mut spare, number, false);
        }
        for (number, interface) in interfaces.iter() {
            interface.hide(is_set(&spare, number));
        }
    });
    pf.passive.wait();
    let done = give_back_hidden(pf, control, pool, &mut spare);
    with_interfaces(pf, |interfaces| {
        interfaces.iter().for_each(|(_, interface)| interface.hide(false))
    });
    done
}

fn give_back_hidden(pf: &Pf, control: &Control, pool: &[PoolAddr], spare: &mut KVec<bool>) -> Result<(), Errno> {
    // This comes before the walks: who lets go later has used it before they began, or they see it.
    with_interfaces(pf, |interfaces| {
        for (number, _) in interfaces.iter().filter(|(_, interface)| interface.is_shared()) {
            set(spare, number, false);
        }
    });
    let mut uses = Uses::count(pf)?;
    uses.add_staged(pf, &control.staging, pool);
    uses.add_nodes(pf);
    for number in (0..=u16::MAX).take(spare.len()) {
        if uses.of(number).is_any() {
            set(spare, number, false);
        }
    }
    if spare.contains(&true) {
        pf.change_interfaces(|interfaces| interfaces.without(|number| is_set(spare, number)))?;
    }
    Ok(())
}

fn with_interfaces(pf: &Pf, act: impl FnOnce(&Interfaces)) {
    let level = SoftNet::raise();
    act(pf.interfaces.read(&pf.read(&level)));
}

fn set(of: &mut [bool], number: u16, to: bool) {
    if let Some(slot) = of.get_mut(usize::from(number)) {
        *slot = to;
    }
}

fn is_set(of: &[bool], number: u16) -> bool {
    of.get(usize::from(number)).is_some_and(|slot| *slot)
}

/// The name of the interface whose addresses an address stands for; empty for `self`, and for what is no interface.
///
/// # Errors
/// EINVAL for a name without an end or without anything before it.
pub(super) fn dynamic(addr: &AddrWrap) -> Result<IfName, Errno> {
    if addr.kind != PF_ADDR_DYNIFTL {
        return Ok(IfName::EMPTY);
    }
    let ifname = name(&addr.ifname())?;
    match ifname.to_bytes() {
        Some([]) | None => Err(Errno::Einval),
        Some(b"self") => Ok(IfName::EMPTY),
        Some(_) => Ok(ifname),
    }
}

/// Whether `filter` names the interface: by its whole name, by the name of its driver, or, empty, as all others.
fn is_named(interface: &Interface, filter: &[u8]) -> bool {
    let name = interface.name.to_bytes().unwrap_or_default();
    match name.strip_prefix(filter) {
        Some([]) => true,
        Some([next, ..]) => match filter.last() {
            None => true,
            Some(last) => !last.is_ascii_digit() && next.is_ascii_digit(),
        },
        None => false,
    }
}

/// DIOCIGETIFACES: fills in as many as there is room for, and tells how many there are. Who speaks of them is counted once for all.
pub(super) fn dump(pf: &Pf, caller: &Caller<'_>, arg: &mut IocIface) -> Result<(), Errno> {
    if usize::try_from(arg.esize) != Ok(size_of::<Kif>()) {
        return Err(Errno::Enodev);
    }
    let filter = name(&arg.name)?;
    let filter = filter.to_bytes().unwrap_or_default();
    let room = usize::try_from(arg.size).map_err(|_| Errno::Einval)?;
    // Without room there is nobody to tell.
    let uses = match room {
        0 => Uses::default(),
        _ => Uses::count(pf)?,
    };
    let mut kif: KBox<Kif> = KBox::zeroed()?;
    let mut found = 0;
    for number in 0..=u16::MAX {
        match export(pf, number, filter, &mut kif) {
            Export::End => break,
            Export::Other => continue,
            Export::Done => (),
        }
        if found < room {
            let of = uses.of(number);
            kif.states = i32::try_from(of.states).unwrap_or(i32::MAX);
            kif.rules = i32::try_from(of.rules).unwrap_or(i32::MAX);
            caller
                .memory
                .copyout(kif.as_bytes(), element::<Kif>(arg.buffer, found)?)?;
        }
        found += 1;
    }
    arg.size = i32::try_from(found).unwrap_or(i32::MAX);
    Ok(())
}

enum Export {
    Done,
    /// Not one of those that are asked for.
    Other,
    /// There is no interface of this number, nor of any higher one.
    End,
}

fn export(pf: &Pf, number: u16, filter: &[u8], to: &mut Kif) -> Export {
    let level = SoftNet::raise();
    let section = pf.read(&level);
    let interfaces: &Interfaces = pf.interfaces.read(&section);
    let Some(interface) = interfaces.get(number) else {
        return Export::End;
    };
    if interface.name.is_empty() || !is_named(interface, filter) {
        return Export::Other;
    }
    to.name = interface.name;
    for (af, (packets, bytes)) in [Af::Inet, Af::Inet6]
        .into_iter()
        .zip(to.packets.iter_mut().zip(&mut to.bytes))
    {
        for (direction, ([pass, block], bytes)) in [Direction::In, Direction::Out]
            .into_iter()
            .zip(packets.iter_mut().zip(bytes))
        {
            let [pass_bytes, block_bytes] = bytes;
            (*pass, *pass_bytes) = interface.counted(af, direction, true);
            (*block, *block_bytes) = interface.counted(af, direction, false);
        }
    }
    // They have been counting since the system came up, or since somebody cleared them.
    let boot = pf.kernel.wall_clock().wrapping_sub(pf.kernel.uptime());
    to.tzero = match interface.cleared.load(Ordering::Relaxed) {
        0 => boot,
        cleared => cleared,
    };
    to.flags = if interface.skip.load(Ordering::Relaxed) {
        PFI_IFLAG_SKIP
    } else {
        0
    };
    // No pointers, but not 0 either: the interface exists, the group has members.
    to.ifp = UserPtr(interfaces.is_attached(number).into());
    to.group = UserPtr(interfaces.is_group(number).into());
    Export::Done
}

/// DIOCSETIFFLAG.
pub(super) fn set_flags(pf: &Pf, arg: &mut IocIface) -> Result<(), Errno> {
    change_flags(pf, arg, true)
}

/// DIOCCLRIFFLAG.
pub(super) fn clear_flags(pf: &Pf, arg: &mut IocIface) -> Result<(), Errno> {
    change_flags(pf, arg, false)
}

/// Changes the flags of the interfaces that are there, and of one that is named in full before it is.
///
/// # Errors
/// EINVAL for a flag that is not for others to change, ENOSPC for too many names, ENOMEM.
fn change_flags(pf: &Pf, arg: &IocIface, set: bool) -> Result<(), Errno> {
    let name = name(&arg.name)?;
    let filter = name.to_bytes().unwrap_or_default();
    if arg.flags & !PFI_IFLAG_SKIP != 0 {
        return Err(Errno::Einval);
    }
    if arg.flags & PFI_IFLAG_SKIP == 0 {
        return Ok(());
    }
    let mut control = pf.control.lock();
    if set && filter.last().is_some_and(u8::is_ascii_digit) {
        numbers(pf, &mut control, [name], &[])?;
    }
    let level = SoftNet::raise();
    let section = pf.read(&level);
    let interfaces = pf.interfaces.read(&section);
    for (_, interface) in interfaces.iter().filter(|(_, interface)| is_named(interface, filter)) {
        interface.skip.store(set, Ordering::Relaxed);
    }
    Ok(())
}
