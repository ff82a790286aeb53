//! Operating system fingerprints.

use crate::{CName, UserPtr};

/// `PF_OSFP_LEN`: bytes in each name, the NUL included.
pub const PF_OSFP_LEN: usize = 32;
/// `PF_OSFP_EXPANDED`
pub const PF_OSFP_EXPANDED: i32 = 0x001;
/// `PF_OSFP_GENERIC`
pub const PF_OSFP_GENERIC: i32 = 0x002;
/// `PF_OSFP_NODETAIL`
pub const PF_OSFP_NODETAIL: i32 = 0x004;

c_struct! {
    /// `struct pf_osfp_entry`: the name of an operating system.
    pub struct OsfpEntry {
        /// `fp_entry`: a kernel pointer.
        pub entry: UserPtr,
        /// Class, version and subtype as numbers.
        pub os: u32,
        /// `PF_OSFP_EXPANDED` and its like.
        pub enflags: i32,
        /// Class.
        pub class_nm: CName<PF_OSFP_LEN>,
        /// Version.
        pub version_nm: CName<PF_OSFP_LEN>,
        /// Subtype.
        pub subtype_nm: CName<PF_OSFP_LEN>,
    }

    /// `struct pf_osfp_ioctl`: a fingerprint of a SYN.
    pub struct OsfpIoctl {
        /// Whose it is.
        pub os: OsfpEntry,
        /// The TCP options, three bits each.
        pub tcpopts: u64,
        /// Window.
        pub wsize: u16,
        /// Packet size.
        pub psize: u16,
        /// Maximum segment size.
        pub mss: u16,
        /// `PF_OSFP_WSIZE_MOD` and its like.
        pub flags: u16,
        /// TCP options in `tcpopts`.
        pub optcnt: u8,
        /// Window scale.
        pub wscale: u8,
        /// TTL.
        pub ttl: u8,
        #[doc(hidden)]
        pub _pad0: u8,
        /// The number asked for by `DIOCOSFPGET`.
        pub getnum: i32,
    }
}

/// `PF_OSFP_WSIZE_MOD`: the window is a multiple.
pub const PF_OSFP_WSIZE_MOD: u16 = 0x0001;
/// `PF_OSFP_WSIZE_DC`: any window.
pub const PF_OSFP_WSIZE_DC: u16 = 0x0002;
/// `PF_OSFP_WSIZE_MSS`: the window is so many segments.
pub const PF_OSFP_WSIZE_MSS: u16 = 0x0004;
/// `PF_OSFP_WSIZE_MTU`: the window is so many packets.
pub const PF_OSFP_WSIZE_MTU: u16 = 0x0008;
/// `PF_OSFP_PSIZE_MOD`: the packet's size is a multiple.
pub const PF_OSFP_PSIZE_MOD: u16 = 0x0010;
/// `PF_OSFP_PSIZE_DC`: any size.
pub const PF_OSFP_PSIZE_DC: u16 = 0x0020;
/// `PF_OSFP_WSCALE`: there is a window scale.
pub const PF_OSFP_WSCALE: u16 = 0x0040;
/// `PF_OSFP_WSCALE_MOD`: the window scale is a multiple.
pub const PF_OSFP_WSCALE_MOD: u16 = 0x0080;
/// `PF_OSFP_WSCALE_DC`: any window scale.
pub const PF_OSFP_WSCALE_DC: u16 = 0x0100;
/// `PF_OSFP_MSS`: there is a maximum segment size.
pub const PF_OSFP_MSS: u16 = 0x0200;
/// `PF_OSFP_MSS_MOD`: the maximum segment size is a multiple.
pub const PF_OSFP_MSS_MOD: u16 = 0x0400;
/// `PF_OSFP_MSS_DC`: any maximum segment size.
pub const PF_OSFP_MSS_DC: u16 = 0x0800;
/// `PF_OSFP_DF`: the don't-fragment bit is set.
pub const PF_OSFP_DF: u16 = 0x1000;
/// `PF_OSFP_TS0`: the timestamp is 0.
pub const PF_OSFP_TS0: u16 = 0x2000;
/// `PF_OSFP_INET6`: over IPv6.
pub const PF_OSFP_INET6: u16 = 0x4000;

/// `PF_OSFP_TCPOPT_NOP`
pub const PF_OSFP_TCPOPT_NOP: u64 = 0;
/// `PF_OSFP_TCPOPT_WSCALE`
pub const PF_OSFP_TCPOPT_WSCALE: u64 = 1;
/// `PF_OSFP_TCPOPT_MSS`
pub const PF_OSFP_TCPOPT_MSS: u64 = 2;
/// `PF_OSFP_TCPOPT_SACK`
pub const PF_OSFP_TCPOPT_SACK: u64 = 3;
/// `PF_OSFP_TCPOPT_TS`
pub const PF_OSFP_TCPOPT_TS: u64 = 4;
/// `PF_OSFP_TCPOPT_BITS`: bits of each option in [`OsfpIoctl::tcpopts`].
pub const PF_OSFP_TCPOPT_BITS: u32 = 3;

/// Bits of each part of a system's number.
const PART_BITS: u32 = 10;

/// `PF_OSFP_PACK`: the number of a system by class, version and subtype, each below 1024, 0 for any.
pub const fn osfp_number(class: u32, version: u32, subtype: u32) -> u32 {
    class << (2 * PART_BITS) | version << PART_BITS | subtype
}

/// `PF_OSFP_UNPACK`: class, version and subtype of a system's number.
pub const fn osfp_parts(number: u32) -> [u32; 3] {
    let mask = (1 << PART_BITS) - 1;
    [
        number >> (2 * PART_BITS) & mask,
        number >> PART_BITS & mask,
        number & mask,
    ]
}
