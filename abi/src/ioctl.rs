//! The numbers of the ioctls, as NetBSD's `sys/ioccom.h` makes them.
//!
//! Each is `_IO` or `_IOWR`: the kernel copies [`size`] bytes in before the call and, if it succeeds, out after it.
//! Where pf here promises more than NetBSD's own, the constant says so.

use crate::*;

const IOC_VOID: u64 = 0x2000_0000;
const IOC_OUT: u64 = 0x4000_0000;
const IOC_IN: u64 = 0x8000_0000;
const IOC_INOUT: u64 = IOC_IN | IOC_OUT;
const IOCPARM_MASK: u64 = 0x1fff;
const GROUP: u8 = b'D';

/// An ioctl's number from its direction (`IOC_*`), group, number in the group, and bytes of its argument (at most 8191).
pub const fn ioc(direction: u64, group: u8, number: u8, size: usize) -> u64 {
    assert!(
        size as u64 <= IOCPARM_MASK,
        "an ioctl's argument has at most 8191 bytes"
    );
    direction | (size as u64) << 16 | (group as u64) << 8 | number as u64
}

/// The bytes of an ioctl's argument: `IOCPARM_LEN`.
pub const fn size(cmd: u64) -> usize {
    (cmd >> 16 & IOCPARM_MASK) as usize
}

/// Whether the argument is copied in before the call.
pub const fn copies_in(cmd: u64) -> bool {
    cmd & IOC_IN != 0
}

/// Whether the argument is copied out after the call.
pub const fn copies_out(cmd: u64) -> bool {
    cmd & IOC_OUT != 0
}

const fn io(number: u8) -> u64 {
    ioc(IOC_VOID, GROUP, number, 0)
}

const fn iowr<T>(number: u8) -> u64 {
    ioc(IOC_INOUT, GROUP, number, size_of::<T>())
}

macro_rules! ioctls {
    ($($(#[$meta:meta])* $name:ident = $value:expr;)*) => {
        $($(#[$meta])* pub const $name: u64 = $value;)*

        /// The C name of an ioctl of pf, for messages.
        pub const fn name(cmd: u64) -> Option<&'static str> {
            match cmd {
                $($name => Some(stringify!($name)),)*
                _ => None,
            }
        }
    };
}

ioctls! {
    /// Enables pf. EEXIST where it is enabled.
    DIOCSTART = io(1);
    /// Disables pf. ENOENT where it is disabled.
    DIOCSTOP = io(2);
    /// Adds a rule to the list of a transaction, with the pool of `pool_ticket`.
    DIOCADDRULE = iowr::<IocRule>(4);
    /// How many rules the list of `rule.action` has, and their ticket.
    DIOCGETRULES = iowr::<IocRule>(6);
    /// The rule of a number.
    DIOCGETRULE = iowr::<IocRule>(7);
    /// Locks (1) or unlocks (0) the state table.
    DIOCSETLCK = iowr::<u32>(8);
    /// Removes all states, or those of an interface. The count comes back in `af`.
    DIOCCLRSTATES = iowr::<IocStateKill>(18);
    /// Fetches a state: `state` points to a [`SyncState`] of which `id` and `creatorid` are given, or neither, and then it is the one
    /// with number `nr`; the rest is filled in. ENOENT, or EBUSY for a number behind the last.
    DIOCGETSTATE = iowr::<IocState>(19);
    /// Sets the log interface; empty for none.
    DIOCSETSTATUSIF = iowr::<IocIf>(20);
    /// The status.
    DIOCGETSTATUS = iowr::<Status>(21);
    /// Clears the counters.
    DIOCCLRSTATUS = io(22);
    /// Looks a translation up.
    DIOCNATLOOK = iowr::<IocNatlook>(23);
    /// Sets the [`enum@Debug`] level.
    DIOCSETDEBUG = iowr::<u32>(24);
    /// Fetches states: as many whole ones as `len` bytes hold, and `len` becomes the bytes filled. `len` 0 only asks: it becomes
    /// the bytes that all states need.
    DIOCGETSTATES = iowr::<IocStates>(25);
    /// Changes a single rule.
    DIOCCHANGERULE = iowr::<IocRule>(26);
    /// Sets a timeout.
    DIOCSETTIMEOUT = iowr::<IocTm>(29);
    /// A timeout.
    DIOCGETTIMEOUT = iowr::<IocTm>(30);
    /// Adds a state. EEXIST: one of its keys is there; EINVAL: it makes no sense; EOPNOTSUPP: it needs what pf does not do; ENOMEM:
    /// no memory; ENOSPC: the limit of states is reached (of these NetBSD's own knows EINVAL and ENOMEM alone). The identifier is
    /// taken as it is, 0 for a new one; EEXIST: another state has it.
    DIOCADDSTATE = iowr::<IocState>(37);
    /// Clears the counters of rules.
    DIOCCLRRULECTRS = io(38);
    /// A limit.
    DIOCGETLIMIT = iowr::<IocLimit>(39);
    /// Sets a limit.
    DIOCSETLIMIT = iowr::<IocLimit>(40);
    /// Removes the states of a source, a destination, an interface. The count comes back in `af`.
    DIOCKILLSTATES = iowr::<IocStateKill>(41);
    /// Enables queueing.
    DIOCSTARTALTQ = io(42);
    /// Disables queueing.
    DIOCSTOPALTQ = io(43);
    /// Adds a queue.
    DIOCADDALTQ = iowr::<IocAltq>(45);
    /// How many queues there are.
    DIOCGETALTQS = iowr::<IocAltq>(47);
    /// A queue.
    DIOCGETALTQ = iowr::<IocAltq>(48);
    /// Changes a queue.
    DIOCCHANGEALTQ = iowr::<IocAltq>(49);
    /// The counters of a queue.
    DIOCGETQSTATS = iowr::<IocQstats>(50);
    /// Empties the buffer of pool addresses and hands out its ticket.
    DIOCBEGINADDRS = iowr::<IocPoolAddr>(51);
    /// Adds an address to the buffer.
    DIOCADDADDR = iowr::<IocPoolAddr>(52);
    /// How many addresses a rule's pool has.
    DIOCGETADDRS = iowr::<IocPoolAddr>(53);
    /// An address of a rule's pool.
    DIOCGETADDR = iowr::<IocPoolAddr>(54);
    /// Changes a rule's pool.
    DIOCCHANGEADDR = iowr::<IocPoolAddr>(55);
    /// Adds states in their order. At the first that must be refused this ends, with the error that [`DIOCADDSTATE`] has for it, or
    /// EFAULT where it cannot be read; those before it stay. EINVAL, and none is added, for a length that is not one of whole
    /// records. [`DIOCBADDSTATES`] says how many were added.
    DIOCADDSTATES = iowr::<IocStates>(56);
    /// How many anchors an anchor has.
    DIOCGETRULESETS = iowr::<IocRuleset>(58);
    /// An anchor of an anchor.
    DIOCGETRULESET = iowr::<IocRuleset>(59);
    /// Removes all tables.
    DIOCRCLRTABLES = iowr::<IocTable>(60);
    /// Adds tables.
    DIOCRADDTABLES = iowr::<IocTable>(61);
    /// Removes tables.
    DIOCRDELTABLES = iowr::<IocTable>(62);
    /// The tables.
    DIOCRGETTABLES = iowr::<IocTable>(63);
    /// The counters of tables.
    DIOCRGETTSTATS = iowr::<IocTable>(64);
    /// Clears the counters of tables.
    DIOCRCLRTSTATS = iowr::<IocTable>(65);
    /// Removes all addresses of a table.
    DIOCRCLRADDRS = iowr::<IocTable>(66);
    /// Adds addresses.
    DIOCRADDADDRS = iowr::<IocTable>(67);
    /// Removes addresses.
    DIOCRDELADDRS = iowr::<IocTable>(68);
    /// Replaces all addresses.
    DIOCRSETADDRS = iowr::<IocTable>(69);
    /// The addresses.
    DIOCRGETADDRS = iowr::<IocTable>(70);
    /// The addresses and their counters.
    DIOCRGETASTATS = iowr::<IocTable>(71);
    /// Clears the counters of addresses.
    DIOCRCLRASTATS = iowr::<IocTable>(72);
    /// Whether addresses match.
    DIOCRTSTADDRS = iowr::<IocTable>(73);
    /// Changes the flags of tables.
    DIOCRSETTFLAGS = iowr::<IocTable>(74);
    /// Defines a table in a transaction.
    DIOCRINADEFINE = iowr::<IocTable>(77);
    /// Forgets all fingerprints.
    DIOCOSFPFLUSH = io(78);
    /// Adds a fingerprint.
    DIOCOSFPADD = iowr::<OsfpIoctl>(79);
    /// A fingerprint.
    DIOCOSFPGET = iowr::<OsfpIoctl>(80);
    /// Begins a transaction over some lists: empties the inactive ones and hands out their tickets.
    DIOCXBEGIN = iowr::<IocTrans>(81);
    /// Makes the inactive lists of a transaction the active ones, all at once.
    DIOCXCOMMIT = iowr::<IocTrans>(82);
    /// Forgets the inactive lists of a transaction.
    DIOCXROLLBACK = iowr::<IocTrans>(83);
    /// The source nodes.
    DIOCGETSRCNODES = iowr::<IocSrcNodes>(84);
    /// Removes all source nodes.
    DIOCCLRSRCNODES = io(85);
    /// Sets the host's identity.
    DIOCSETHOSTID = iowr::<u32>(86);
    /// The interfaces.
    DIOCIGETIFACES = iowr::<IocIface>(87);
    /// Sets flags of interfaces.
    DIOCSETIFFLAG = iowr::<IocIface>(89);
    /// Clears flags of interfaces.
    DIOCCLRIFFLAG = iowr::<IocIface>(90);
    /// Removes source nodes.
    DIOCKILLSRCNODES = iowr::<IocSrcNodeKill>(91);

    /// Whether the state table is locked (1) or not (0). Not in NetBSD's own pf, which answers ENODEV. Open to readers.
    DIOCGETLCK = ioc(IOC_OUT, GROUP, 200, size_of::<u32>());
    /// Fetches states from `cursor` on, at most [`BULK_MOST`] a call, without holding anything up: each that is there all the
    /// while comes once. Not in NetBSD's own pf, as those that follow. Open to readers.
    DIOCBGETSTATES = iowr::<BulkStates>(201);
    /// Adds states in their order up to the first that must be refused, at most [`BULK_MOST`] a call, and says why in `error`, as
    /// [`DIOCADDSTATE`] does.
    DIOCBADDSTATES = iowr::<BulkStates>(202);
    /// Locks the state table until a deadline or until its owner is gone, or releases it, or tells about it. EBUSY where
    /// somebody else has locked it, ESRCH to release what the caller does not hold. Readers may ask.
    DIOCBLOCK = iowr::<BulkLock>(203);
    /// The rules of a list, or their counters, from a number on, at most [`BULK_MOST`] a call. EBUSY where the ticket is not that of
    /// what is loaded. Open to readers.
    DIOCBGETRULES = iowr::<BulkRules>(204);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_says_what_it_carries() {
        assert_eq!(DIOCSTART, 0x2000_4401);
        assert_eq!(DIOCGETSTATES, 0xc010_4419);
        assert_eq!(size(DIOCADDRULE), 2976);
        assert!(copies_in(DIOCADDRULE) && copies_out(DIOCADDRULE));
        assert!(!copies_in(DIOCSTART) && !copies_out(DIOCSTART));
        assert!(!copies_in(DIOCGETLCK) && copies_out(DIOCGETLCK));
        assert_eq!(name(DIOCADDSTATES), Some("DIOCADDSTATES"));
        assert_eq!(name(DIOCADDSTATES + 1), None);
    }
}
