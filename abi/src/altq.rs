//! Queues. pf itself does not queue; the structs are here for the callers of the old ioctls.

use crate::{CName, IfName, PF_QNAME_SIZE, UserPtr};

c_struct! {
    /// `struct pf_altq`: a queue or the scheduler of an interface.
    pub struct Altq {
        /// The interface.
        pub ifname: IfName,
        /// `altq_disc`: a kernel pointer.
        pub disc: UserPtr,
        /// `entries`: kernel pointers.
        pub entries: [UserPtr; 2],
        /// The scheduler.
        pub scheduler: u8,
        #[doc(hidden)]
        pub _pad0: u8,
        /// The size of the token bucket.
        pub tbrsize: u16,
        /// The bandwidth of the interface, in bits a second.
        pub ifbandwidth: u32,
        /// The queue's name.
        pub qname: CName<PF_QNAME_SIZE>,
        /// The parent's name.
        pub parent: CName<PF_QNAME_SIZE>,
        /// The parent's number.
        pub parent_qid: u32,
        /// The bandwidth of the queue, in bits a second.
        pub bandwidth: u32,
        /// Priority.
        pub priority: u8,
        #[doc(hidden)]
        pub _pad1: u8,
        /// Packets that the queue holds at most.
        pub qlimit: u16,
        /// Flags.
        pub flags: u16,
        #[doc(hidden)]
        pub _pad2: [u8; 2],
        /// `pq_u`: the scheduler's options, a union of which `struct hfsc_opts` is the largest.
        pub pq_u: [u32; 10],
        /// The queue's number.
        pub qid: u32,
        #[doc(hidden)]
        pub _pad3: [u8; 4],
    }
}
