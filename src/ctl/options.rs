//! Ioctls over pf as a whole: on and off, the lock, the status, timeouts and limits.
//!
//! # Locking
//! Whatever has more than one part to it happens under the control mutex.

use core::sync::atomic::Ordering;

use pf_abi::{Debug, IfName, IocIf, IocLimit, IocTm, Limit, Status, Timeout};

use super::name;
use crate::Pf;
use crate::iface::Interface;
use crate::kpi::{Direction, Errno, SoftNet};
use crate::wire::Af;

/// DIOCSTART. EEXIST where pf is enabled.
pub(super) fn start(pf: &Pf) -> Result<(), Errno> {
    switch(pf, true, Errno::Eexist)
}

/// DIOCSTOP. ENOENT where pf is disabled.
pub(super) fn stop(pf: &Pf) -> Result<(), Errno> {
    switch(pf, false, Errno::Enoent)
}

fn switch(pf: &Pf, on: bool, already: Errno) -> Result<(), Errno> {
    let mut control = pf.control.lock();
    if pf.running.swap(on, Ordering::Relaxed) == on {
        return Err(already);
    }
    control.since = pf.kernel.wall_clock();
    if on {
        super::fingerprints::publish(pf, &mut control);
    }
    Ok(())
}

/// DIOCGETSTATUS. The checksum is 0.
pub(super) fn status(pf: &Pf, arg: &mut Status) -> Result<(), Errno> {
    let control = pf.control.lock();
    zerocopy::FromZeros::zero(arg);
    pf.stats.export(arg);
    arg.stateid = pf.states.next_id();
    arg.running = pf.is_running().into();
    arg.states = u32::try_from(pf.states.len()).unwrap_or(u32::MAX);
    arg.src_nodes = u32::try_from(pf.sources.len()).unwrap_or(u32::MAX);
    arg.since = control.since;
    arg.debug = pf.debug.load(Ordering::Relaxed);
    arg.hostid = pf.host_id.load(Ordering::Relaxed);
    arg.ifname = control.status_interface;
    with_interface(pf, &control.status_interface, |interface| tally(interface, arg));
    Ok(())
}

/// The counters of an interface.
fn tally(interface: &Interface, status: &mut Status) {
    let families = [Af::Inet, Af::Inet6]
        .into_iter()
        .zip(status.pcounters.iter_mut().zip(&mut status.bcounters));
    for (af, (packets, bytes)) in families {
        let directions = [Direction::In, Direction::Out]
            .into_iter()
            .zip(packets.iter_mut().zip(bytes));
        for (direction, ([passed, blocked, _], bytes)) in directions {
            let (pass, drop) = (
                interface.counted(af, direction, true),
                interface.counted(af, direction, false),
            );
            (*passed, *blocked, *bytes) = (pass.0, drop.0, pass.1.wrapping_add(drop.1));
        }
    }
}

/// Does something with an interface, if there is one of this name.
fn with_interface<R>(pf: &Pf, name: &IfName, act: impl FnOnce(&Interface) -> R) -> Option<R> {
    let level = SoftNet::raise();
    let section = pf.read(&level);
    let interfaces = pf.interfaces.read(&section);
    Some(act(interfaces.get(interfaces.find(name)?)?))
}

/// DIOCCLRSTATUS.
pub(super) fn clear_status(pf: &Pf) -> Result<(), Errno> {
    let mut control = pf.control.lock();
    pf.stats.clear();
    let now = pf.kernel.wall_clock();
    control.since = now;
    with_interface(pf, &control.status_interface, |interface| interface.clear_counters(now));
    Ok(())
}

/// DIOCSETSTATUSIF. EINVAL for an interface that does not exist.
pub(super) fn set_status_interface(pf: &Pf, arg: &mut IocIf) -> Result<(), Errno> {
    let name = name(&arg.ifname)?;
    let mut control = pf.control.lock();
    if !name.is_empty() {
        let level = SoftNet::raise();
        let section = pf.read(&level);
        let interfaces = pf.interfaces.read(&section);
        interfaces
            .find(&name)
            .filter(|number| interfaces.is_attached(*number))
            .ok_or(Errno::Einval)?;
    }
    control.status_interface = name;
    Ok(())
}

/// DIOCSETDEBUG.
pub(super) fn set_debug(pf: &Pf, arg: &mut u32) -> Result<(), Errno> {
    let level = Debug::try_from(*arg).map_err(|_| Errno::Einval)?;
    pf.debug.store(level.into(), Ordering::Relaxed);
    Ok(())
}

/// DIOCSETHOSTID. 0 draws one.
pub(super) fn set_host_id(pf: &Pf, arg: &mut u32) -> Result<(), Errno> {
    let id = match *arg {
        0 => pf.kernel.random_u32(),
        id => id,
    };
    pf.host_id.store(id, Ordering::Relaxed);
    Ok(())
}

fn timeout_of(arg: &IocTm) -> Result<Timeout, Errno> {
    let index = u8::try_from(arg.timeout).map_err(|_| Errno::Einval)?;
    Timeout::try_from(index).map_err(|_| Errno::Einval)
}

/// DIOCSETTIMEOUT. The old value comes back. The purge looks at its interval every second, so a shorter one holds at once.
pub(super) fn set_timeout(pf: &Pf, arg: &mut IocTm) -> Result<(), Errno> {
    let timeout = timeout_of(arg)?;
    let seconds = match (timeout, u32::try_from(arg.seconds).map_err(|_| Errno::Einval)?) {
        (Timeout::Interval, 0) => 1,
        (_, seconds) => seconds,
    };
    arg.seconds = i32::try_from(pf.timeouts.set(timeout, seconds)).unwrap_or(i32::MAX);
    Ok(())
}

/// DIOCGETTIMEOUT.
pub(super) fn timeout(pf: &Pf, arg: &mut IocTm) -> Result<(), Errno> {
    arg.seconds = i32::try_from(pf.timeouts.get(timeout_of(arg)?)).unwrap_or(i32::MAX);
    Ok(())
}

/// DIOCSETLIMIT. The old value comes back. States beyond a lower limit stay, and no new one comes in before they are fewer, as with
/// NetBSD's own pf. The same goes for source nodes. What there is nothing of yet (fragments, tables) is within any limit.
pub(super) fn set_limit(pf: &Pf, arg: &mut IocLimit) -> Result<(), Errno> {
    let limit = Limit::try_from(arg.index).map_err(|_| Errno::Einval)?;
    let mut control = pf.control.lock();
    let slot = control.limits.get_mut(limit as usize).ok_or(Errno::Einval)?;
    match limit {
        Limit::States => pf.states.set_limit(arg.limit as usize),
        Limit::SrcNodes => pf.sources.set_limit(arg.limit as usize),
        Limit::Frags => pf.norm.set_limit(arg.limit as usize)?,
        _ => (),
    }
    let old = core::mem::replace(slot, arg.limit);
    arg.limit = old;
    Ok(())
}

/// DIOCGETLIMIT.
pub(super) fn limit(pf: &Pf, arg: &mut IocLimit) -> Result<(), Errno> {
    let limit = Limit::try_from(arg.index).map_err(|_| Errno::Einval)?;
    let control = pf.control.lock();
    arg.limit = *control.limits.get(limit as usize).ok_or(Errno::Einval)?;
    Ok(())
}
