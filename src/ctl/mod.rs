//! The ioctls of /dev/pf.
//!
//! # Overview
//! [`IOCTLS`] is the one table of all of them: what each needs, and who serves it. [`rules`] are the transactions over lists of
//! rules, [`pool`] are their pools, [`states`] dumps, restores and removes states, [`sources`] source nodes, [`record`] is one
//! state outside the kernel, [`tables`] are the tables and [`addresses`] what is in them, [`bulk`] is what NetBSD's own pf does not
//! have, [`hold`] the lock of the state table, [`anchors`], [`fingerprints`], [`options`] and [`interfaces`] are the rest; [`uses`]
//! counts who speaks of an interface.
//!
//! Nothing that comes in is trusted: an argument of the wrong size, a number out of range, a name without its NUL, a pointer that
//! leads nowhere each end in an error, before anything is changed.
//!
//! # Life cycle
//! [`Control`] lives as long as its [`Pf`]. What a transaction has gathered is in it until somebody commits it, rolls it back, or
//! begins another.
//!
//! # Locking
//! Calls that change rules, options or interfaces hold the control mutex, which may sleep, so such a call may be held up by its
//! own caller's memory, and with it whoever waits for the mutex. Calls of readers hold nothing while they touch the caller's memory: who
//! may only read cannot hold up who may write. No spin lock and no read section is ever held while memory of the caller is touched.
//!
//! The purge thread does not wait for the mutex, nor does an interface that comes or gets an address: what they cannot do now is
//! done with the next tick. So no memory of a caller's holds up expiry, the lock's deadline, or who has the system's list of interfaces.

#![forbid(unsafe_code)]

mod addresses;
mod anchors;
mod bulk;
mod fingerprints;
pub(crate) mod hold;
mod interfaces;
mod options;
mod pool;
mod recall;
mod record;
mod reference;
pub(crate) mod rules;
mod sources;
mod states;
mod tables;
mod uses;

use pf_abi::{CName, IfName, Limit, *};
use zerocopy::{FromBytes, IntoBytes, KnownLayout};

use crate::Pf;
use crate::kpi::{Caller, Errno, NoMemory};
use crate::mem::KArc;
use crate::osfp::Fingerprints;
use crate::rule::Config;
use crate::table::Tables;

/// What the ioctl path keeps between calls.
pub(crate) struct Control {
    /// Lists of rules that are being loaded.
    staging: rules::Staging,
    /// What packets are judged by: the same as they see, for whoever holds the mutex, as nobody else replaces it.
    config: KArc<Config>,
    /// All tables.
    pub(crate) tables: Tables,
    /// The limits, by [`Limit`]. That of states is the state table's.
    limits: [u32; Limit::COUNT],
    /// The interface that DIOCGETSTATUS tells about, or nothing.
    status_interface: IfName,
    /// Names of interfaces that there may be when another is brought up.
    pub(crate) most_names: usize,
    /// When pf was enabled or disabled, or its counters cleared, in seconds since 1970.
    since: u32,
    /// Fingerprints of operating systems.
    fingerprints: Fingerprints,
    /// Since when, in seconds of uptime, they are others than packets see.
    fingerprints_changed: Option<u32>,
}

impl Control {
    pub(crate) fn new(config: KArc<Config>) -> Result<Self, NoMemory> {
        Ok(Control {
            staging: rules::Staging::new()?,
            config,
            tables: Tables::new()?,
            limits: core::array::from_fn(|at| Limit::ALL.get(at).map_or(0, |limit| limit.default_value())),
            status_interface: IfName::EMPTY,
            most_names: interfaces::MOST_NAMES,
            since: 0,
            fingerprints: Fingerprints::new(),
            fingerprints_changed: None,
        })
    }

    /// A limit.
    pub(crate) fn limit(&self, limit: Limit) -> usize {
        self.limits.get(limit as usize).map_or(0, |limit| *limit as usize)
    }
}

/// The file of this owner is closed: what it held, and what was being loaded through it, is released.
pub(crate) fn close(pf: &Pf, owner: u64) {
    hold::close(pf, owner);
    rules::close(pf, owner);
}

/// Lets tables go that nobody needs, and the anchors that they stood in; some other time if somebody is at work on them.
pub(crate) fn sweep_tables(pf: &Pf) {
    if let Some(mut control) = pf.control.try_lock() {
        tables::sweep(pf, &mut control);
        fingerprints::settle(pf, &mut control);
    }
}

/// What an ioctl needs its caller to be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// To have opened the device.
    Read,
    /// The same; but part of it changes something, and asks for as much as [`Write`](Access::Write) does. That is up to who serves it.
    ReadOrChange,
    /// To have opened it for writing, and to pass kauth(9).
    Write,
    /// The same, but to have opened it is enough for a try that changes nothing: PFR_FLAG_DUMMY. That is up to who serves it.
    WriteOrTry,
}

/// Where kauth(9) has a say in what an ioctl changes: KAUTH_REQ_NETWORK_FIREWALL_FW, which secmodel_securelevel(9) denies from level 2 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// It has: rules and the filter stay as they are from level 2 on.
    BelowTwo,
    /// It has not: a descriptor that is open for writing is enough, for counters, the contents of tables, the lock, and the states that a
    /// dump puts back.
    Any,
}

/// One ioctl.
struct Ioctl {
    cmd: u64,
    access: Access,
    level: Level,
    serve: Serve,
}

type Serve = fn(&Pf, &Caller<'_>, &mut [u8]) -> Result<(), Errno>;

impl Ioctl {
    const fn new(cmd: u64, access: Access, serve: Serve) -> Self {
        let level = Level::BelowTwo;
        Ioctl {
            cmd,
            access,
            level,
            serve,
        }
    }

    /// What it changes may change at any securelevel.
    const fn at_any_level(self) -> Self {
        let level = Level::Any;
        Ioctl { level, ..self }
    }
}

const fn read(cmd: u64, serve: Serve) -> Ioctl {
    Ioctl::new(cmd, Access::Read, serve)
}

const fn read_or_change(cmd: u64, serve: Serve) -> Ioctl {
    Ioctl::new(cmd, Access::ReadOrChange, serve)
}

const fn write(cmd: u64, serve: Serve) -> Ioctl {
    Ioctl::new(cmd, Access::Write, serve)
}

const fn write_or_try(cmd: u64, serve: Serve) -> Ioctl {
    Ioctl::new(cmd, Access::WriteOrTry, serve)
}

/// What a kernel without ALTQ answers: pfctl(8) asks DIOCGETALTQS, hears this, and leaves queues alone.
const WITHOUT_ALTQ: Serve = |_, _, _| Err(Errno::Enodev);

/// Every ioctl.
static IOCTLS: &[Ioctl] = &[
    write(DIOCSTART, |pf, _, _| options::start(pf)),
    write(DIOCSTOP, |pf, _, _| options::stop(pf)),
    read(DIOCGETSTATUS, |pf, _, arg| options::status(pf, view(arg)?)),
    write(DIOCCLRSTATUS, |pf, _, _| options::clear_status(pf)).at_any_level(),
    write(DIOCSETSTATUSIF, |pf, _, arg| {
        options::set_status_interface(pf, view(arg)?)
    })
    .at_any_level(),
    write(DIOCSETDEBUG, |pf, _, arg| options::set_debug(pf, view(arg)?)).at_any_level(),
    write(DIOCSETHOSTID, |pf, _, arg| options::set_host_id(pf, view(arg)?)),
    write(DIOCSETTIMEOUT, |pf, _, arg| options::set_timeout(pf, view(arg)?)),
    read(DIOCGETTIMEOUT, |pf, _, arg| options::timeout(pf, view(arg)?)),
    write(DIOCSETLIMIT, |pf, _, arg| options::set_limit(pf, view(arg)?)),
    read(DIOCGETLIMIT, |pf, _, arg| options::limit(pf, view(arg)?)),
    write(DIOCSETLCK, |pf, _, arg| hold::set(pf, view(arg)?)).at_any_level(),
    read(DIOCGETLCK, |pf, _, arg| hold::get(pf, view(arg)?)),
    read_or_change(DIOCBLOCK, |pf, caller, arg| hold::serve(pf, caller, view(arg)?)).at_any_level(),
    // Interfaces.
    read(DIOCIGETIFACES, |pf, caller, arg| {
        interfaces::dump(pf, caller, view(arg)?)
    }),
    write(DIOCSETIFFLAG, |pf, _, arg| interfaces::set_flags(pf, view(arg)?)).at_any_level(),
    write(DIOCCLRIFFLAG, |pf, _, arg| interfaces::clear_flags(pf, view(arg)?)).at_any_level(),
    // Rules.
    write(DIOCXBEGIN, |pf, caller, arg| rules::begin(pf, caller, view(arg)?)),
    write(DIOCXCOMMIT, |pf, caller, arg| rules::commit(pf, caller, view(arg)?)),
    write(DIOCXROLLBACK, |pf, caller, arg| {
        rules::roll_back(pf, caller, view(arg)?)
    }),
    write(DIOCBEGINADDRS, |pf, caller, arg| pool::begin(pf, caller, view(arg)?)),
    write(DIOCADDADDR, |pf, _, arg| pool::add(pf, view(arg)?)),
    write(DIOCADDRULE, |pf, caller, arg| rules::add(pf, caller, view(arg)?)),
    write(DIOCCHANGERULE, |pf, caller, arg| rules::change(pf, caller, view(arg)?)),
    write(DIOCCHANGEADDR, |pf, _, arg| pool::change(pf, view(arg)?)),
    write(DIOCCLRRULECTRS, |pf, _, _| rules::clear_counters(pf)).at_any_level(),
    read(DIOCGETRULES, |pf, _, arg| rules::count(pf, view(arg)?)),
    read_or_change(DIOCGETRULE, |pf, caller, arg| rules::get(pf, caller, view(arg)?)).at_any_level(),
    read(DIOCGETADDRS, |pf, _, arg| pool::count(pf, view(arg)?)),
    read(DIOCGETADDR, |pf, _, arg| pool::get(pf, view(arg)?)),
    read(DIOCGETRULESETS, |pf, _, arg| anchors::count(pf, view(arg)?)),
    read(DIOCGETRULESET, |pf, _, arg| anchors::get(pf, view(arg)?)),
    // States.
    read(DIOCGETSTATES, |pf, caller, arg| states::dump(pf, caller, view(arg)?)),
    read(DIOCGETSTATE, |pf, caller, arg| states::get(pf, caller, view(arg)?)),
    write(DIOCADDSTATES, |pf, caller, arg| states::add_all(pf, caller, view(arg)?)).at_any_level(),
    write(DIOCADDSTATE, |pf, caller, arg| states::add(pf, caller, view(arg)?)),
    write(DIOCCLRSTATES, |pf, _, arg| states::clear(pf, view(arg)?)),
    write(DIOCKILLSTATES, |pf, _, arg| states::kill(pf, view(arg)?)),
    read(DIOCNATLOOK, |pf, _, arg| states::look_up(pf, view(arg)?)),
    // In bulk.
    read(DIOCBGETSTATES, |pf, caller, arg| {
        bulk::get_states(pf, caller, view(arg)?)
    }),
    write(DIOCBADDSTATES, |pf, caller, arg| {
        bulk::add_states(pf, caller, view(arg)?)
    })
    .at_any_level(),
    read(DIOCBGETRULES, |pf, caller, arg| bulk::get_rules(pf, caller, view(arg)?)),
    // Source nodes.
    read(DIOCGETSRCNODES, |pf, caller, arg| sources::dump(pf, caller, view(arg)?)),
    write(DIOCCLRSRCNODES, |pf, _, _| sources::clear(pf)).at_any_level(),
    write(DIOCKILLSRCNODES, |pf, _, arg| sources::kill(pf, view(arg)?)),
    // Fingerprints: pfctl(8) hands over all it knows with each ruleset.
    write(DIOCOSFPFLUSH, |pf, _, _| fingerprints::flush(pf)),
    write(DIOCOSFPADD, |pf, _, arg| fingerprints::add(pf, view(arg)?)),
    read(DIOCOSFPGET, |pf, _, arg| fingerprints::get(pf, view(arg)?)),
    // Tables.
    write_or_try(DIOCRCLRTABLES, |pf, caller, arg| tables::clear(pf, caller, view(arg)?)),
    write_or_try(DIOCRADDTABLES, |pf, caller, arg| tables::add(pf, caller, view(arg)?)),
    write_or_try(DIOCRDELTABLES, |pf, caller, arg| tables::delete(pf, caller, view(arg)?)),
    read(DIOCRGETTABLES, |pf, caller, arg| tables::get(pf, caller, view(arg)?)),
    read_or_change(DIOCRGETTSTATS, |pf, caller, arg| {
        tables::get_stats(pf, caller, view(arg)?)
    })
    .at_any_level(),
    write_or_try(DIOCRCLRTSTATS, |pf, caller, arg| {
        tables::clear_stats(pf, caller, view(arg)?)
    })
    .at_any_level(),
    write_or_try(DIOCRSETTFLAGS, |pf, caller, arg| {
        tables::set_flags(pf, caller, view(arg)?)
    }),
    write_or_try(DIOCRINADEFINE, |pf, caller, arg| tables::define(pf, caller, view(arg)?)),
    // Their addresses.
    write_or_try(DIOCRCLRADDRS, |pf, caller, arg| {
        addresses::clear(pf, caller, view(arg)?)
    })
    .at_any_level(),
    write_or_try(DIOCRADDADDRS, |pf, caller, arg| addresses::add(pf, caller, view(arg)?)).at_any_level(),
    write_or_try(DIOCRDELADDRS, |pf, caller, arg| {
        addresses::delete(pf, caller, view(arg)?)
    })
    .at_any_level(),
    write_or_try(DIOCRSETADDRS, |pf, caller, arg| addresses::set(pf, caller, view(arg)?)).at_any_level(),
    read(DIOCRGETADDRS, |pf, caller, arg| addresses::get(pf, caller, view(arg)?)),
    read_or_change(DIOCRGETASTATS, |pf, caller, arg| {
        addresses::get_stats(pf, caller, view(arg)?)
    })
    .at_any_level(),
    write_or_try(DIOCRCLRASTATS, |pf, caller, arg| {
        addresses::clear_stats(pf, caller, view(arg)?)
    })
    .at_any_level(),
    read(DIOCRTSTADDRS, |pf, caller, arg| addresses::test(pf, caller, view(arg)?)),
    // Queues.
    write(DIOCSTARTALTQ, WITHOUT_ALTQ),
    write(DIOCSTOPALTQ, WITHOUT_ALTQ),
    write(DIOCADDALTQ, WITHOUT_ALTQ),
    read(DIOCGETALTQS, WITHOUT_ALTQ),
    read(DIOCGETALTQ, WITHOUT_ALTQ),
    write(DIOCCHANGEALTQ, WITHOUT_ALTQ),
    read(DIOCGETQSTATS, WITHOUT_ALTQ),
];

/// Every ioctl, and what it needs of its caller.
pub fn ioctls() -> impl Iterator<Item = (u64, Access, Level)> {
    IOCTLS.iter().map(|ioctl| (ioctl.cmd, ioctl.access, ioctl.level))
}

/// Serves one ioctl.
///
/// # Errors
/// ENODEV for one that pf does not have, EACCES or EPERM for one that changes something where the caller may not, EINVAL where the argument
/// is not as long as it says; else what the ioctl itself answers.
pub(crate) fn serve(pf: &Pf, caller: &Caller<'_>, cmd: u64, arg: &mut [u8]) -> Result<(), Errno> {
    let ioctl = IOCTLS.iter().find(|ioctl| ioctl.cmd == cmd).ok_or(Errno::Enodev)?;
    let caller = &Caller {
        allowed: caller.allowed || ioctl.level == Level::Any,
        ..*caller
    };
    if ioctl.access == Access::Write {
        caller.may_write()?;
    }
    if arg.len() != ioctl::size(cmd) {
        return Err(Errno::Einval);
    }
    (ioctl.serve)(pf, caller, arg)
}

/// The argument as the struct that it is.
fn view<T: FromBytes + IntoBytes + KnownLayout>(arg: &mut [u8]) -> Result<&mut T, Errno> {
    T::mut_from_bytes(arg).map_err(|_| Errno::Einval)
}

/// A name from outside: one that ends in a NUL and is text. Behind the NUL it is all zeros then, so that it equals others of the
/// same text.
fn name<const N: usize>(from: &CName<N>) -> Result<CName<N>, Errno> {
    from.as_str().and_then(CName::new).ok_or(Errno::Einval)
}

/// The address of element `at` of an array of `T` in the caller's memory.
fn element<T>(array: UserPtr, at: usize) -> Result<u64, Errno> {
    let offset = at.checked_mul(size_of::<T>()).ok_or(Errno::Efault)?;
    array.0.checked_add(offset as u64).ok_or(Errno::Efault)
}
