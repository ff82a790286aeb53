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
