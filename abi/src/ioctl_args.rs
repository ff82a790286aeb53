//! The arguments of the ioctls: `struct pfioc_*`.

use crate::{
    Addr, Altq, AnchorPath, Be16, CName, IfName, PF_ANCHOR_NAME_SIZE, PoolAddr, Rule, RuleAddr, Table, UserPtr,
};

c_struct! {
    /// `struct pfioc_pooladdr`
    pub struct IocPoolAddr {
        /// [`crate::Change`]
        pub action: u32,
        /// The ticket of the pool (`DIOCBEGINADDRS`) or of the rules.
        pub ticket: u32,
        /// The address's number, or their count.
        pub nr: u32,
        /// The rule's number.
        pub r_num: u32,
        /// The rule's [`crate::Action`].
        pub r_action: u8,
        /// Not 0 for the last rule of the list.
        pub r_last: u8,
        /// `AF_*`
        pub af: u8,
        /// The anchor.
        pub anchor: AnchorPath,
        #[doc(hidden)]
        pub _pad0: [u8; 5],
        /// The address.
        pub addr: PoolAddr,
    }

    /// `struct pfioc_rule`
    pub struct IocRule {
        /// [`crate::Change`] or `PF_GET_*`.
        pub action: u32,
        /// The ticket of the rules.
        pub ticket: u32,
        /// The ticket of the pool.
        pub pool_ticket: u32,
        /// The rule's number, or their count.
        pub nr: u32,
        /// The anchor that the rule stands in.
        pub anchor: AnchorPath,
        /// The anchor that the rule calls.
        pub anchor_call: AnchorPath,
        /// The rule.
        pub rule: Rule,
    }

    /// `struct pfioc_natlook`
    pub struct IocNatlook {
        /// Source.
        pub saddr: Addr,
        /// Destination.
        pub daddr: Addr,
        /// Source before or after translation.
        pub rsaddr: Addr,
        /// Destination before or after translation.
        pub rdaddr: Addr,
        /// Source port.
        pub sport: Be16,
        /// Destination port.
        pub dport: Be16,
        /// Source port before or after translation.
        pub rsport: Be16,
        /// Destination port before or after translation.
        pub rdport: Be16,
        /// `AF_*`
        pub af: u8,
        /// The protocol.
        pub proto: u8,
        /// [`crate::Direction`]
        pub direction: u8,
        #[doc(hidden)]
        pub _pad0: u8,
    }

    /// `struct pfioc_state`
    #[derive(Copy)]
    pub struct IocState {
        /// Which state, by number, where the record has no identity.
        pub nr: u32,
        #[doc(hidden)]
        pub _pad0: [u8; 4],
        /// One [`crate::SyncState`] in the caller's memory.
        pub state: UserPtr,
    }

    /// `struct pfioc_src_node_kill`
    pub struct IocSrcNodeKill {
        /// In: `AF_*`, 0 for both. Out: how many were killed, as far as the byte can say.
        pub af: u8,
        #[doc(hidden)]
        pub _pad0: [u8; 7],
        /// The source.
        pub src: RuleAddr,
        /// The address given by a pool.
        pub dst: RuleAddr,
    }

    /// `struct pfioc_state_kill`
    pub struct IocStateKill {
        /// In: `AF_*`, 0 for both. Out: how many were killed, as far as the byte can say.
        pub af: u8,
        #[doc(hidden)]
        pub _pad0: [u8; 3],
        /// The protocol; 0 for all.
        pub proto: i32,
        /// The source.
        pub src: RuleAddr,
        /// The destination.
        pub dst: RuleAddr,
        /// The interface; empty for all.
        pub ifname: IfName,
    }

    /// `struct pfioc_states`
    #[derive(Copy)]
    pub struct IocStates {
        /// Bytes at `buf`. [`crate::DIOCGETSTATES`] says what comes back.
        pub len: i32,
        #[doc(hidden)]
        pub _pad0: [u8; 4],
        /// [`crate::SyncState`]s in the caller's memory.
        pub buf: UserPtr,
    }

    /// `struct pfioc_src_nodes`
    #[derive(Copy)]
    pub struct IocSrcNodes {
        /// Bytes at `buf`.
        pub len: i32,
        #[doc(hidden)]
        pub _pad0: [u8; 4],
        /// [`crate::SrcNode`]s in the caller's memory.
        pub buf: UserPtr,
    }

    /// `struct pfioc_if`
    #[derive(Copy)]
    pub struct IocIf {
        /// The interface.
        pub ifname: IfName,
    }

    /// `struct pfioc_tm`
    #[derive(Copy)]
    pub struct IocTm {
        /// [`crate::Timeout`]
        pub timeout: i32,
        /// Seconds. `DIOCSETTIMEOUT` hands back the old value.
        pub seconds: i32,
    }

    /// `struct pfioc_limit`
    #[derive(Copy)]
    pub struct IocLimit {
        /// [`crate::Limit`]
        pub index: i32,
        /// The limit. `DIOCSETLIMIT` hands back the old value.
        pub limit: u32,
    }

    /// `struct pfioc_altq`
    pub struct IocAltq {
        /// Not used.
        pub action: u32,
        /// The ticket.
        pub ticket: u32,
        /// The queue's number, or their count.
        pub nr: u32,
        #[doc(hidden)]
        pub _pad0: [u8; 4],
        /// The queue.
        pub altq: Altq,
    }

    /// `struct pfioc_qstats`
    #[derive(Copy)]
    pub struct IocQstats {
        /// The ticket.
        pub ticket: u32,
        /// The queue's number.
        pub nr: u32,
        /// The caller's memory for the scheduler's own struct.
        pub buf: UserPtr,
        /// Its bytes.
        pub nbytes: i32,
        /// The scheduler.
        pub scheduler: u8,
        #[doc(hidden)]
        pub _pad0: [u8; 3],
    }

    /// `struct pfioc_ruleset`
    pub struct IocRuleset {
        /// The anchor's number, or their count.
        pub nr: u32,
        /// The anchor that is asked about.
        pub path: AnchorPath,
        /// The name of the anchor in it.
        pub name: CName<PF_ANCHOR_NAME_SIZE>,
    }

    /// `struct pfioc_trans`
    #[derive(Copy)]
    pub struct IocTrans {
        /// Elements at `array`.
        pub size: i32,
        /// Bytes in each.
        pub esize: i32,
        /// [`IocTransE`]s in the caller's memory.
        pub array: UserPtr,
    }

    /// `struct pfioc_trans_e`: one list of a transaction.
    pub struct IocTransE {
        /// [`crate::RulesetKind`]
        pub rs_num: i32,
        /// The anchor.
        pub anchor: AnchorPath,
        /// The ticket that `DIOCXBEGIN` gave.
        pub ticket: u32,
    }

    /// `struct pfioc_table`
    pub struct IocTable {
        /// The table.
        pub table: Table,
        /// Elements in the caller's memory.
        pub buffer: UserPtr,
        /// Bytes in each.
        pub esize: i32,
        /// Elements at `buffer`.
        pub size: i32,
        /// `pfrio_naddr`, `pfrio_setflag`
        pub size2: i32,
        /// `pfrio_exists`, `pfrio_nzero`, `pfrio_nmatch`, `pfrio_clrflag`
        pub nadd: i32,
        /// Deleted.
        pub ndel: i32,
        /// Changed.
        pub nchange: i32,
        /// `PFR_FLAG_*`
        pub flags: i32,
        /// The ticket.
        pub ticket: u32,
    }

    /// `struct pfioc_iface`
    #[derive(Copy)]
    pub struct IocIface {
        /// The interface, the group, or empty for all.
        pub name: IfName,
        /// [`crate::Kif`]s in the caller's memory.
        pub buffer: UserPtr,
        /// Bytes in each.
        pub esize: i32,
        /// Elements at `buffer`.
        pub size: i32,
        /// Cleared.
        pub nzero: i32,
        /// `PFI_IFLAG_*`
        pub flags: i32,
    }
}
