//! Ioctls over interfaces, and numbers for the names that rules and states speak of.
//!
//! # Locking
//! A name gets its number under the control mutex. Flags and counters are atomic.

use core::sync::atomic::Ordering;

use pf_abi::{AddrWrap, IfName, IocIface, Kif, PF_ADDR_DYNIFTL, PFI_IFLAG_SKIP, UserPtr};
use zerocopy::IntoBytes;

use super::uses::Uses;
use super::{Control, element, name};
use crate::Pf;
use crate::iface::{self, Interface, Interfaces};
use crate::kpi::{Caller, Direction, Errno, SoftNet};
use crate::mem::KBox;
use crate::wire::Af;

/// Names that rules and states may bring up. Names are kept, so there must be an end to them.
const MAX_NAMES: usize = 4096;

/// The number of an interface, which gets one if it has none.
///
/// # Errors
/// ENOSPC where there are too many names already, ENOMEM.
pub(super) fn number(pf: &Pf, _control: &mut Control, name: IfName) -> Result<u16, Errno> {
    let (known, names) = {
        let level = SoftNet::raise();
        let section = pf.read(&level);
        let interfaces = pf.interfaces.read(&section);
        (interfaces.find(&name), interfaces.iter().count())
    };
    if let Some(number) = known {
        return Ok(number);
    }
    if names >= MAX_NAMES {
        return Err(Errno::Enospc);
    }
    let mut number = 0;
    pf.change_interfaces(|interfaces| {
        let (new, of_name) = interfaces.with_name(name)?;
        number = of_name;
        Ok(new)
    })?;
    Ok(number)
}

/// The number of the interface whose addresses an address stands for; `ALL` for `self`, and for what is no interface.
///
/// # Errors
/// EINVAL for a name without an end or without anything before it, and as [`number`].
pub(super) fn dynamic(pf: &Pf, control: &mut Control, addr: &AddrWrap) -> Result<u16, Errno> {
    if addr.kind != PF_ADDR_DYNIFTL {
        return Ok(iface::ALL);
    }
    let ifname = name(&addr.ifname())?;
    match ifname.to_bytes() {
        Some([]) | None => Err(Errno::Einval),
        Some(b"self") => Ok(iface::ALL),
        Some(_) => number(pf, control, ifname),
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
    if !is_named(interface, filter) {
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
        number(pf, &mut control, name)?;
    }
    let level = SoftNet::raise();
    let section = pf.read(&level);
    let interfaces = pf.interfaces.read(&section);
    for (_, interface) in interfaces.iter().filter(|(_, interface)| is_named(interface, filter)) {
        interface.skip.store(set, Ordering::Relaxed);
    }
    Ok(())
}
