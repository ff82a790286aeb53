//! Interfaces as pf knows them.

use crate::{IfName, UserPtr};

/// `PFI_IFLAG_SKIP`: packets on this interface are not looked at.
pub const PFI_IFLAG_SKIP: i32 = 0x0100;

c_struct! {
    /// `struct pfi_kif`: an interface and its counters, as `DIOCIGETIFACES` hands them out.
    pub struct Kif {
        /// The interface's or the group's name.
        pub name: IfName,
        /// `pfik_tree`: kernel pointers.
        pub tree: [UserPtr; 4],
        /// Packets: by family (IPv4, IPv6), direction (in, out), and action (pass, drop).
        pub packets: [[[u64; 2]; 2]; 2],
        /// Bytes: as `packets`.
        pub bytes: [[[u64; 2]; 2]; 2],
        /// Seconds since the epoch when the counters were cleared.
        pub tzero: u32,
        /// `PFI_IFLAG_*`
        pub flags: i32,
        /// `pfik_ah_cookie`: a kernel pointer.
        pub ah_cookie: UserPtr,
        /// `pfik_ifp`: a kernel pointer; not 0 where the interface exists.
        pub ifp: UserPtr,
        /// `pfik_group`: a kernel pointer; not 0 for a group.
        pub group: UserPtr,
        /// States that refer to it.
        pub states: i32,
        /// Rules that refer to it.
        pub rules: i32,
        /// `pfik_dynaddrs`: kernel pointers.
        pub dynaddrs: [UserPtr; 2],
    }
}
