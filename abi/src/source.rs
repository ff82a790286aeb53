//! Source tracking.

use crate::{Addr, UserPtr};

c_struct! {
    /// `struct pf_threshold`: a rate.
    #[derive(Copy, Hash)]
    pub struct Threshold {
        /// The most connections, times [`PF_THRESHOLD_MULT`].
        pub limit: u32,
        /// Seconds they are counted over.
        pub seconds: u32,
        /// The count now, times [`PF_THRESHOLD_MULT`].
        pub count: u32,
        /// When it was counted last.
        pub last: u32,
    }

    /// `struct pf_src_node`: what is known of a source address.
    pub struct SrcNode {
        /// `entry`: kernel pointers.
        pub entry: [UserPtr; 4],
        /// The source.
        pub addr: Addr,
        /// The address that a pool gave it.
        pub raddr: Addr,
        /// In the low four bytes the rule's number.
        pub rule: u64,
        /// `kif`: a kernel pointer.
        pub kif: UserPtr,
        /// Bytes in and out.
        pub bytes: [u64; 2],
        /// Packets in and out.
        pub packets: [u64; 2],
        /// States now.
        pub states: u32,
        /// Connections now.
        pub conn: u32,
        /// The rate of connections.
        pub conn_rate: Threshold,
        /// Age in seconds.
        pub creation: u32,
        /// Seconds until it expires.
        pub expire: u32,
        /// `AF_*`
        pub af: u8,
        /// The action of the rule.
        pub ruletype: u8,
        #[doc(hidden)]
        pub _pad0: [u8; 6],
    }
}

/// `PF_THRESHOLD_MULT`
pub const PF_THRESHOLD_MULT: u32 = 1000;
