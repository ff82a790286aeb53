//! The ioctls that NetBSD's own pf does not have: states in chunks, a lock with an owner and a deadline, rules and counters in bulk.
//!
//! Each argument begins with a [`BulkHead`], which says of which version it is and how long: what a later version can say gets a
//! number of its own, and nothing old changes. Where pf does not know an ioctl it answers ENODEV (a descriptor of another kind, ENOTTY).

use crate::{AnchorPath, Rule, UserPtr};

/// The version of all arguments here.
pub const BULK_VERSION: u32 = 1;
/// The most records that one call hands out or takes, whatever there is room for.
pub const BULK_MOST: u32 = 4096;
/// The longest that a lock can be held without a word from its owner, in seconds.
pub const BULK_LOCK_MOST: u32 = 3600;

/// [`BulkLock::action`]: only tells.
pub const BULK_LOCK_GET: u32 = 0;
/// [`BulkLock::action`]: locks, or, by the lock's owner, moves the deadline.
pub const BULK_LOCK_TAKE: u32 = 1;
/// [`BulkLock::action`]: unlocks, by the lock's owner.
pub const BULK_LOCK_RELEASE: u32 = 2;

/// [`BulkRules::what`]: whole rules, [`BulkRule`].
pub const BULK_RULES: u32 = 0;
/// [`BulkRules::what`]: their counters alone, [`RuleCounters`].
pub const BULK_COUNTERS: u32 = 1;

c_struct! {
    /// What each argument begins with.
    #[derive(Copy)]
    pub struct BulkHead {
        /// [`BULK_VERSION`]
        pub version: u32,
        /// Bytes of the whole argument.
        pub size: u32,
    }

    /// States in chunks.
    #[derive(Copy)]
    pub struct BulkStates {
        /// Version and size.
        pub head: BulkHead,
        /// Fetching: where to go on, 0 for the beginning; comes back for the next call.
        pub cursor: u64,
        /// In: records at `buf`. Out: how many were filled in or added.
        pub count: u32,
        /// Fetching, out: 1 while there is more, 0 when that was all.
        pub more: u32,
        /// Adding, out: why the record behind those added was refused, an error number; 0 where all were added.
        pub error: i32,
        #[doc(hidden)]
        pub _pad0: [u8; 4],
        /// [`crate::SyncState`]s in the caller's memory.
        pub buf: UserPtr,
    }

    /// The lock of the state table, with an owner and a deadline.
    #[derive(Copy)]
    pub struct BulkLock {
        /// Version and size.
        pub head: BulkHead,
        /// `BULK_LOCK_*`
        pub action: u32,
        /// In: seconds until the lock goes by itself, 1 to [`BULK_LOCK_MOST`]. Out: seconds left, 0 for a lock without a deadline.
        pub seconds: u32,
        /// Out: whether the table is locked.
        pub locked: u32,
        /// Out: the process that holds it; 0 for a lock without an owner.
        pub pid: i32,
    }

    /// Rules, or their counters, of one list.
    pub struct BulkRules {
        /// Version and size.
        pub head: BulkHead,
        /// [`crate::RulesetKind`]
        pub kind: i32,
        /// `BULK_RULES` or `BULK_COUNTERS`
        pub what: u32,
        /// In: the ticket of an earlier call, or 0. Out: the ticket of what is loaded.
        pub ticket: u32,
        /// The number of the first rule.
        pub nr: u32,
        /// In: records at `buf`. Out: how many were filled in.
        pub count: u32,
        /// Out: rules in the list.
        pub total: u32,
        /// Records in the caller's memory.
        pub buf: UserPtr,
        /// The anchor.
        pub anchor: AnchorPath,
    }

    /// A rule.
    pub struct BulkRule {
        /// As DIOCGETRULE tells it.
        pub rule: Rule,
        /// The anchor that it calls, as the rule was written; empty where it calls none.
        pub anchor_call: AnchorPath,
    }

    /// What a rule has counted.
    #[derive(Copy)]
    pub struct RuleCounters {
        /// How often it was compared with a packet.
        pub evaluations: u64,
        /// Packets in and out.
        pub packets: [u64; 2],
        /// Bytes in and out.
        pub bytes: [u64; 2],
        /// The rule's number.
        pub nr: u32,
        /// States that it has.
        pub states: u32,
        /// Source nodes that it has.
        pub src_nodes: u32,
        #[doc(hidden)]
        pub _pad0: [u8; 4],
    }
}

impl BulkHead {
    /// That of an argument of type `T`.
    pub const fn of<T>() -> Self {
        BulkHead {
            version: BULK_VERSION,
            size: size_of::<T>() as u32,
        }
    }

    /// Whether it is that of an argument of type `T`.
    pub fn is_of<T>(&self) -> bool {
        *self == Self::of::<T>()
    }
}
