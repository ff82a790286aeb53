//! Address tables.

use crate::{Addr, AnchorPath, TableName};

/// `PFR_TFLAG_PERSIST`: stays though no rule names it.
pub const PFR_TFLAG_PERSIST: u32 = 0x01;
/// `PFR_TFLAG_CONST`: cannot change.
pub const PFR_TFLAG_CONST: u32 = 0x02;
/// `PFR_TFLAG_ACTIVE`: is there for all to see.
pub const PFR_TFLAG_ACTIVE: u32 = 0x04;
/// `PFR_TFLAG_INACTIVE`: waits for a commit.
pub const PFR_TFLAG_INACTIVE: u32 = 0x08;
/// `PFR_TFLAG_REFERENCED`: a rule names it.
pub const PFR_TFLAG_REFERENCED: u32 = 0x10;
/// `PFR_TFLAG_REFDANCHOR`: a rule in an anchor names it.
pub const PFR_TFLAG_REFDANCHOR: u32 = 0x20;
/// `PFR_TFLAG_USRMASK`: the flags that userland may set.
pub const PFR_TFLAG_USRMASK: u32 = 0x03;
/// `PFR_TFLAG_SETMASK`: the flags that the kernel sets.
pub const PFR_TFLAG_SETMASK: u32 = 0x3c;
/// `PFR_TFLAG_ALLMASK`: all flags.
pub const PFR_TFLAG_ALLMASK: u32 = 0x3f;

c_enum! {
    /// What became of one table or address.
    pub enum Feedback: u8 {
        /// Nothing.
        None = PFR_FB_NONE = 0,
        /// It matches.
        Match = PFR_FB_MATCH = 1,
        /// It was added.
        Added = PFR_FB_ADDED = 2,
        /// It was deleted.
        Deleted = PFR_FB_DELETED = 3,
        /// Its negation was changed.
        Changed = PFR_FB_CHANGED = 4,
        /// Its counters were cleared.
        Cleared = PFR_FB_CLEARED = 5,
        /// It was named twice.
        Duplicate = PFR_FB_DUPLICATE = 6,
        /// It does not match.
        NotMatch = PFR_FB_NOTMATCH = 7,
        /// It is there with the other negation.
        Conflict = PFR_FB_CONFLICT = 8,
    }
}

/// `PFR_FB_MAX`
pub const PFR_FB_MAX: u8 = 9;

/// `PFR_FLAG_ATOMIC`
pub const PFR_FLAG_ATOMIC: i32 = 0x01;
/// `PFR_FLAG_DUMMY`: only try.
pub const PFR_FLAG_DUMMY: i32 = 0x02;
/// `PFR_FLAG_FEEDBACK`: say what became of each.
pub const PFR_FLAG_FEEDBACK: i32 = 0x04;
/// `PFR_FLAG_CLSTATS`: clear the counters too.
pub const PFR_FLAG_CLSTATS: i32 = 0x08;
/// `PFR_FLAG_ADDRSTOO`: of the addresses too.
pub const PFR_FLAG_ADDRSTOO: i32 = 0x10;
/// `PFR_FLAG_REPLACE`
pub const PFR_FLAG_REPLACE: i32 = 0x20;
/// `PFR_FLAG_ALLRSETS`: in all anchors.
pub const PFR_FLAG_ALLRSETS: i32 = 0x40;
/// `PFR_FLAG_ALLMASK`
pub const PFR_FLAG_ALLMASK: i32 = 0x7f;

/// `PFR_DIR_IN`: first index of the counters below.
pub const PFR_DIR_IN: usize = 0;
/// `PFR_DIR_OUT`
pub const PFR_DIR_OUT: usize = 1;
/// `PFR_DIR_MAX`
pub const PFR_DIR_MAX: usize = 2;
/// `PFR_OP_BLOCK`: second index of the counters below.
pub const PFR_OP_BLOCK: usize = 0;
/// `PFR_OP_PASS`
pub const PFR_OP_PASS: usize = 1;
/// `PFR_OP_ADDR_MAX`
pub const PFR_OP_ADDR_MAX: usize = 2;
/// `PFR_OP_XPASS`: passed, but no address of the table matched.
pub const PFR_OP_XPASS: usize = 2;
/// `PFR_OP_TABLE_MAX`
pub const PFR_OP_TABLE_MAX: usize = 3;
/// `PFR_REFCNT_RULE`: index of [`TableStats::refcnt`].
pub const PFR_REFCNT_RULE: usize = 0;
/// `PFR_REFCNT_ANCHOR`
pub const PFR_REFCNT_ANCHOR: usize = 1;
/// `PFR_REFCNT_MAX`
pub const PFR_REFCNT_MAX: usize = 2;

c_struct! {
    /// `struct pfr_table`: the name of a table.
    pub struct Table {
        /// The anchor it stands in.
        pub anchor: AnchorPath,
        /// Its name there.
        pub name: TableName,
        /// `PFR_TFLAG_*`
        pub flags: u32,
        /// [`Feedback`]
        pub fback: u8,
        #[doc(hidden)]
        pub _pad0: [u8; 3],
    }

    /// `struct pfr_addr`: an address of a table.
    #[derive(Copy, Hash)]
    pub struct TableAddr {
        /// The address, by `af`.
        pub addr: Addr,
        /// `AF_*`
        pub af: u8,
        /// Bits of the network.
        pub net: u8,
        /// Not 0 for `!`.
        pub not: u8,
        /// [`Feedback`]
        pub fback: u8,
    }

    /// `struct pfr_astats`: an address and its counters.
    pub struct TableAddrStats {
        /// The address.
        pub a: TableAddr,
        #[doc(hidden)]
        pub _pad0: [u8; 4],
        /// Packets by direction and `PFR_OP_*`.
        pub packets: [[u64; PFR_OP_ADDR_MAX]; PFR_DIR_MAX],
        /// Bytes by direction and `PFR_OP_*`.
        pub bytes: [[u64; PFR_OP_ADDR_MAX]; PFR_DIR_MAX],
        /// Seconds since the epoch when the counters were cleared.
        pub tzero: i64,
    }

    /// `struct pfr_tstats`: a table and its counters.
    pub struct TableStats {
        /// The table.
        pub t: Table,
        /// Packets by direction and `PFR_OP_*`.
        pub packets: [[u64; PFR_OP_TABLE_MAX]; PFR_DIR_MAX],
        /// Bytes by direction and `PFR_OP_*`.
        pub bytes: [[u64; PFR_OP_TABLE_MAX]; PFR_DIR_MAX],
        /// Lookups that found something.
        pub matched: u64,
        /// Lookups that found nothing.
        pub nomatch: u64,
        /// Seconds since the epoch when the counters were cleared.
        pub tzero: i64,
        /// Addresses.
        pub cnt: i32,
        /// References from rules and from anchors.
        pub refcnt: [i32; PFR_REFCNT_MAX],
        #[doc(hidden)]
        pub _pad0: [u8; 4],
    }
}
