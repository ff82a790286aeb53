//! The header in front of each packet on a pflog(4) interface.

use crate::{CName, IfName};

/// `PFLOG_RULESET_NAME_SIZE`: bytes in the name of a ruleset, the NUL included.
pub const PFLOG_RULESET_NAME_SIZE: usize = 16;

/// `PFLOGIFS_MAX`: pflog interfaces that there can be, pflog0 being the first.
pub const PFLOGIFS_MAX: u8 = 16;
/// `UID_MAX`: [`LogHeader::uid`] where no user is known.
pub const UID_MAX: u32 = 2_147_483_647;
/// `NO_PID`: [`LogHeader::pid`] where no process is known.
pub const NO_PID: i32 = 30_001;

c_struct! {
    /// `struct pfloghdr`
    #[derive(Copy, Hash)]
    pub struct LogHeader {
        /// Bytes of this header, without the padding at its end: [`PFLOG_REAL_HDRLEN`].
        pub length: u8,
        /// `AF_*`
        pub af: u8,
        /// [`crate::Action`]
        pub action: u8,
        /// [`crate::Reason`]
        pub reason: u8,
        /// The interface.
        pub ifname: IfName,
        /// The anchor of the rule.
        pub ruleset: CName<PFLOG_RULESET_NAME_SIZE>,
        /// The rule's number, in network byte order.
        pub rulenr: u32,
        /// The number of the rule in the anchor, in network byte order; -1 for none.
        pub subrulenr: u32,
        /// The user of the socket.
        pub uid: u32,
        /// The process of the socket.
        pub pid: i32,
        /// The user who loaded the rule.
        pub rule_uid: u32,
        /// The process that loaded the rule.
        pub rule_pid: i32,
        /// [`crate::Direction`]
        pub dir: u8,
        #[doc(hidden)]
        pub _pad0: [u8; 3],
    }
}

/// `PFLOG_HDRLEN`: bytes in front of the packet.
pub const PFLOG_HDRLEN: usize = size_of::<LogHeader>();
/// `PFLOG_REAL_HDRLEN`: [`LogHeader::length`].
pub const PFLOG_REAL_HDRLEN: u8 = 61;
