//! Counters and the status of the whole.

use crate::IfName;

c_enum! {
    /// Why a packet was passed or dropped.
    pub enum Reason: u8 {
        /// A rule said so.
        Match = PFRES_MATCH = 0,
        /// An offset points outside the packet.
        BadOffset = PFRES_BADOFF = 1,
        /// A fragment that cannot be judged.
        Fragment = PFRES_FRAG = 2,
        /// Too short for its headers.
        Short = PFRES_SHORT = 3,
        /// Normalisation refused it.
        Normalize = PFRES_NORM = 4,
        /// No memory.
        Memory = PFRES_MEMORY = 5,
        /// A TCP timestamp that cannot be.
        BadTimestamp = PFRES_TS = 6,
        /// The input queue is congested.
        Congestion = PFRES_CONGEST = 7,
        /// IP options or routing headers that no rule allows.
        IpOption = PFRES_IPOPTIONS = 8,
        /// A wrong checksum.
        ProtoCksum = PFRES_PROTCKSUM = 9,
        /// Outside the window of its state.
        StateMismatch = PFRES_BADSTATE = 10,
        /// A state could not be inserted.
        StateInsert = PFRES_STATEINS = 11,
        /// Too many states.
        StateLimit = PFRES_MAXSTATES = 12,
        /// Too many source nodes or connections of a source.
        SrcLimit = PFRES_SRCLIMIT = 13,
        /// Answered by the SYN proxy.
        Synproxy = PFRES_SYNPROXY = 14,
        /// The state table is locked.
        StateLocked = PFRES_STATELOCKED = 15,
    }
}

/// `PFRES_MAX`
pub const PFRES_MAX: usize = 16;

impl Reason {
    /// `PFRES_NAMES`: the name in pfctl(8) and in the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Match => "match",
            Self::BadOffset => "bad-offset",
            Self::Fragment => "fragment",
            Self::Short => "short",
            Self::Normalize => "normalize",
            Self::Memory => "memory",
            Self::BadTimestamp => "bad-timestamp",
            Self::Congestion => "congestion",
            Self::IpOption => "ip-option",
            Self::ProtoCksum => "proto-cksum",
            Self::StateMismatch => "state-mismatch",
            Self::StateInsert => "state-insert",
            Self::StateLimit => "state-limit",
            Self::SrcLimit => "src-limit",
            Self::Synproxy => "synproxy",
            Self::StateLocked => "state-locked",
        }
    }
}

/// `LCNT_STATES`: index of [`Status::lcounters`], as all of these are.
pub const LCNT_STATES: usize = 0;
/// `LCNT_SRCSTATES`
pub const LCNT_SRCSTATES: usize = 1;
/// `LCNT_SRCNODES`
pub const LCNT_SRCNODES: usize = 2;
/// `LCNT_SRCCONN`
pub const LCNT_SRCCONN: usize = 3;
/// `LCNT_SRCCONNRATE`
pub const LCNT_SRCCONNRATE: usize = 4;
/// `LCNT_OVERLOAD_TABLE`
pub const LCNT_OVERLOAD_TABLE: usize = 5;
/// `LCNT_OVERLOAD_FLUSH`
pub const LCNT_OVERLOAD_FLUSH: usize = 6;
/// `LCNT_MAX`
pub const LCNT_MAX: usize = 7;
/// `LCNT_NAMES`, by index.
pub const LCNT_NAMES: [&str; LCNT_MAX] = [
    "max states per rule",
    "max-src-states",
    "max-src-nodes",
    "max-src-conn",
    "max-src-conn-rate",
    "overload table insertion",
    "overload flush states",
];

/// `FCNT_STATE_SEARCH`: index of [`Status::fcounters`], as all of these are.
pub const FCNT_STATE_SEARCH: usize = 0;
/// `FCNT_STATE_INSERT`
pub const FCNT_STATE_INSERT: usize = 1;
/// `FCNT_STATE_REMOVALS`
pub const FCNT_STATE_REMOVALS: usize = 2;
/// `FCNT_MAX`
pub const FCNT_MAX: usize = 3;

/// `SCNT_SRC_NODE_SEARCH`: index of [`Status::scounters`], as all of these are.
pub const SCNT_SRC_NODE_SEARCH: usize = 0;
/// `SCNT_SRC_NODE_INSERT`
pub const SCNT_SRC_NODE_INSERT: usize = 1;
/// `SCNT_SRC_NODE_REMOVALS`
pub const SCNT_SRC_NODE_REMOVALS: usize = 2;
/// `SCNT_MAX`
pub const SCNT_MAX: usize = 3;

c_enum! {
    /// How much is written to the system's log.
    pub enum Debug: u32 {
        /// Nothing.
        None = PF_DEBUG_NONE = 0,
        /// Serious errors.
        Urgent = PF_DEBUG_URGENT = 1,
        /// Various errors.
        Misc = PF_DEBUG_MISC = 2,
        /// Common conditions too.
        Noisy = PF_DEBUG_NOISY = 3,
    }
}

impl Debug {
    /// The name in pf.conf(5).
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Urgent => "urgent",
            Self::Misc => "misc",
            Self::Noisy => "loud",
        }
    }
}

/// `PF_MD5_DIGEST_LENGTH`: bytes in the checksum of the ruleset.
pub const PF_MD5_DIGEST_LENGTH: usize = 16;

c_struct! {
    /// `struct pf_status`: what `DIOCGETSTATUS` tells.
    pub struct Status {
        /// Packets by [`Reason`].
        pub counters: [u64; PFRES_MAX],
        /// Limits reached, by `LCNT_*`.
        pub lcounters: [u64; LCNT_MAX],
        /// The state table, by `FCNT_*`.
        pub fcounters: [u64; FCNT_MAX],
        /// Source tracking, by `SCNT_*`.
        pub scounters: [u64; SCNT_MAX],
        /// Packets at the log interface: by family (IPv4, IPv6), direction (in, out), and action (pass, drop, scrub).
        pub pcounters: [[[u64; 3]; 2]; 2],
        /// Bytes at the log interface: by family and direction.
        pub bcounters: [[u64; 2]; 2],
        /// The identifier that the next state gets.
        pub stateid: u64,
        /// Not 0 while pf is enabled.
        pub running: u32,
        /// States now.
        pub states: u32,
        /// Source nodes now.
        pub src_nodes: u32,
        /// Seconds since the epoch when pf was enabled or disabled.
        pub since: u32,
        /// [`enum@Debug`]
        pub debug: u32,
        /// The identity of this host in pfsync(4), in network byte order.
        pub hostid: u32,
        /// The log interface.
        pub ifname: IfName,
        /// The checksum of the ruleset.
        pub pf_chksum: [u8; PF_MD5_DIGEST_LENGTH],
    }
}
