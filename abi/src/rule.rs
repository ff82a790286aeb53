//! Rules, their flags, and the rulesets they stand in.

use crate::{CName, IfName, Pool, RuleAddr, TableName, Timeout, UserPtr};

c_enum! {
    /// Which packets a rule looks at.
    pub enum Direction: u8 {
        /// Both.
        InOut = PF_INOUT = 0,
        /// Packets that come in at the interface.
        In = PF_IN = 1,
        /// Packets that go out at it.
        Out = PF_OUT = 2,
    }
}

c_enum! {
    /// What a rule does.
    pub enum Action: u8 {
        /// `pass`
        Pass = PF_PASS = 0,
        /// `block`
        Drop = PF_DROP = 1,
        /// `scrub`
        Scrub = PF_SCRUB = 2,
        /// `no scrub`
        NoScrub = PF_NOSCRUB = 3,
        /// `nat`
        Nat = PF_NAT = 4,
        /// `no nat`
        NoNat = PF_NONAT = 5,
        /// `binat`
        Binat = PF_BINAT = 6,
        /// `no binat`
        NoBinat = PF_NOBINAT = 7,
        /// `rdr`
        Rdr = PF_RDR = 8,
        /// `no rdr`
        NoRdr = PF_NORDR = 9,
        /// Of a packet, never of a rule: swallowed by the SYN proxy.
        SynproxyDrop = PF_SYNPROXY_DROP = 10,
    }
}

c_enum! {
    /// The lists of rules in a ruleset, `rs_num` in a transaction.
    pub enum RulesetKind: i32 {
        /// `scrub` and `no scrub`
        Scrub = PF_RULESET_SCRUB = 0,
        /// `pass` and `block`
        Filter = PF_RULESET_FILTER = 1,
        /// `nat` and `no nat`
        Nat = PF_RULESET_NAT = 2,
        /// `binat` and `no binat`
        Binat = PF_RULESET_BINAT = 3,
        /// `rdr` and `no rdr`
        Rdr = PF_RULESET_RDR = 4,
        /// The queues: not a list of rules, but part of a transaction.
        Altq = PF_RULESET_ALTQ = 5,
        /// The tables: not a list of rules, but part of a transaction.
        Table = PF_RULESET_TABLE = 6,
    }
}

/// `PF_RULESET_MAX`: the lists that hold rules.
pub const PF_RULESET_MAX: i32 = 5;

impl Action {
    /// The list that a rule with this action stands in; `None` for what is no rule's action.
    pub fn ruleset(self) -> Option<RulesetKind> {
        Some(match self {
            Self::Pass | Self::Drop => RulesetKind::Filter,
            Self::Scrub | Self::NoScrub => RulesetKind::Scrub,
            Self::Nat | Self::NoNat => RulesetKind::Nat,
            Self::Binat | Self::NoBinat => RulesetKind::Binat,
            Self::Rdr | Self::NoRdr => RulesetKind::Rdr,
            Self::SynproxyDrop => return None,
        })
    }
}

c_enum! {
    /// `action` of `DIOCCHANGERULE` and `DIOCCHANGEADDR`.
    pub enum Change: u32 {
        /// Nothing.
        None = PF_CHANGE_NONE = 0,
        /// Put in front of all.
        AddHead = PF_CHANGE_ADD_HEAD = 1,
        /// Put behind all.
        AddTail = PF_CHANGE_ADD_TAIL = 2,
        /// Put in front of number `nr`.
        AddBefore = PF_CHANGE_ADD_BEFORE = 3,
        /// Put behind number `nr`.
        AddAfter = PF_CHANGE_ADD_AFTER = 4,
        /// Remove number `nr`.
        Remove = PF_CHANGE_REMOVE = 5,
        /// Only hand out a ticket.
        GetTicket = PF_CHANGE_GET_TICKET = 6,
    }
}

/// `PF_GET_NONE`: `action` of `DIOCGETRULE` that only reads.
pub const PF_GET_NONE: u32 = 0;
/// `PF_GET_CLR_CNTR`: `action` of `DIOCGETRULE` that also clears the rule's counters.
pub const PF_GET_CLR_CNTR: u32 = 1;

c_enum! {
    /// Where a rule sends its packets, [`Rule::rt`].
    pub enum Route: u8 {
        /// Where the routing table says.
        None = PF_NOPFROUTE = 0,
        /// `fastroute`
        Fast = PF_FASTROUTE = 1,
        /// `route-to`
        To = PF_ROUTETO = 2,
        /// `dup-to`
        DupTo = PF_DUPTO = 3,
        /// `reply-to`
        ReplyTo = PF_REPLYTO = 4,
    }
}

/// `PF_LOG`: log the packet that makes the state.
pub const PF_LOG: u8 = 0x01;
/// `PF_LOG_ALL`: log every packet of the state.
pub const PF_LOG_ALL: u8 = 0x02;
/// `PF_LOG_SOCKET_LOOKUP`: log the user of the socket.
pub const PF_LOG_SOCKET_LOOKUP: u8 = 0x04;

/// `PF_STATE_NORMAL`: `keep state`. 0 in [`Rule::keep_state`] is `no state`.
pub const PF_STATE_NORMAL: u8 = 1;
/// `PF_STATE_MODULATE`: `modulate state`.
pub const PF_STATE_MODULATE: u8 = 2;
/// `PF_STATE_SYNPROXY`: `synproxy state`.
pub const PF_STATE_SYNPROXY: u8 = 3;

/// `PFRULE_DROP`: block without an answer.
pub const PFRULE_DROP: u32 = 0x0000;
/// `PFRULE_RETURNRST`: answer TCP with a RST.
pub const PFRULE_RETURNRST: u32 = 0x0001;
/// `PFRULE_FRAGMENT`: match fragments only.
pub const PFRULE_FRAGMENT: u32 = 0x0002;
/// `PFRULE_RETURNICMP`: answer with an ICMP error.
pub const PFRULE_RETURNICMP: u32 = 0x0004;
/// `PFRULE_RETURN`: answer TCP with a RST and all else with an ICMP error.
pub const PFRULE_RETURN: u32 = 0x0008;
/// `PFRULE_NOSYNC`: states are not announced by pfsync(4).
pub const PFRULE_NOSYNC: u32 = 0x0010;
/// `PFRULE_SRCTRACK`: source addresses are tracked.
pub const PFRULE_SRCTRACK: u32 = 0x0020;
/// `PFRULE_RULESRCTRACK`: source addresses are tracked by rule.
pub const PFRULE_RULESRCTRACK: u32 = 0x0040;
/// `PFRULE_NODF`: scrub clears the don't-fragment bit.
pub const PFRULE_NODF: u32 = 0x0100;
/// `PFRULE_FRAGCROP`: scrub crops fragments without buffering.
pub const PFRULE_FRAGCROP: u32 = 0x0200;
/// `PFRULE_FRAGDROP`: scrub drops overlapping fragments.
pub const PFRULE_FRAGDROP: u32 = 0x0400;
/// `PFRULE_RANDOMID`: scrub randomises the IP identification.
pub const PFRULE_RANDOMID: u32 = 0x0800;
/// `PFRULE_REASSEMBLE_TCP`: scrub normalises TCP statefully.
pub const PFRULE_REASSEMBLE_TCP: u32 = 0x1000;
/// `PFRULE_IFBOUND`: states are bound to the interface they were made on.
pub const PFRULE_IFBOUND: u32 = 0x0001_0000;

/// `PF_FLUSH`: on overload, kill the states of this rule's source.
pub const PF_FLUSH: u8 = 0x01;
/// `PF_FLUSH_GLOBAL`: on overload, kill all of the source's states.
pub const PF_FLUSH_GLOBAL: u8 = 0x02;

/// `PF_SKIP_COUNT`: the fields by which a run of rules can be skipped.
pub const PF_SKIP_COUNT: usize = 8;
/// `PF_RULE_LABEL_SIZE`: bytes in a label, the NUL included.
pub const PF_RULE_LABEL_SIZE: usize = 64;
/// `PF_QNAME_SIZE`: bytes in a queue's name, the NUL included.
pub const PF_QNAME_SIZE: usize = 64;
/// `PF_TAG_NAME_SIZE`: bytes in a tag, the NUL included.
pub const PF_TAG_NAME_SIZE: usize = 64;
/// `PF_ANCHOR_NAME_SIZE`: bytes in an anchor's name, the NUL included.
pub const PF_ANCHOR_NAME_SIZE: usize = 64;
/// `PF_RESERVED_ANCHOR`: the anchor that nobody may name.
pub const PF_RESERVED_ANCHOR: &str = "_pf";
/// The number that stands for "no rule" in a state ([`crate::SyncState::rule`] and its like): -1.
pub const NO_RULE: u32 = u32::MAX;
/// In [`crate::SyncState::nat_rule`]: the number is one of the list of `binat`, less this bit. Not in NetBSD's `net/pfvar.h`, whose pf
/// does not tell the list.
pub const BINAT_RULE: u32 = 1 << 19;
/// The bits of a rule's number in a state above its number in its list: in which anchor that list is, or 0. Not in NetBSD's
/// `net/pfvar.h`.
pub const ANCHORED_RULE: u32 = 0xfff0_0000;

/// `PF_OSFP_ANY`: any operating system.
pub const PF_OSFP_ANY: u32 = 0;
/// `PF_OSFP_UNKNOWN`: an operating system without a fingerprint.
pub const PF_OSFP_UNKNOWN: u32 = u32::MAX;
/// `PF_OSFP_NOMATCH`: a name without a fingerprint.
pub const PF_OSFP_NOMATCH: u32 = u32::MAX - 1;

c_struct! {
    /// `struct pf_rule_uid` and `struct pf_rule_gid`: a user or a group, or a range of them.
    #[derive(Copy, Hash)]
    pub struct RuleId {
        /// The two numbers.
        pub id: [u32; 2],
        /// `PF_OP_*`.
        pub op: u8,
        #[doc(hidden)]
        pub _pad0: [u8; 3],
    }

    /// The `max_src_conn_rate` of `struct pf_rule`.
    #[derive(Copy, Hash)]
    pub struct ConnRate {
        /// Connections.
        pub limit: u32,
        /// Seconds.
        pub seconds: u32,
    }

    /// `struct pf_rule`: a rule of any ruleset.
    pub struct Rule {
        /// The source.
        pub src: RuleAddr,
        /// The destination.
        pub dst: RuleAddr,
        /// `skip`: kernel pointers, or in the low four bytes rule numbers.
        pub skip: [u64; PF_SKIP_COUNT],
        /// `label`
        pub label: CName<PF_RULE_LABEL_SIZE>,
        /// The interface or group; empty for any.
        pub ifname: IfName,
        /// The queue.
        pub qname: CName<PF_QNAME_SIZE>,
        /// The queue for packets that are in a hurry.
        pub pqname: CName<PF_QNAME_SIZE>,
        /// `tag`
        pub tagname: CName<PF_TAG_NAME_SIZE>,
        /// `tagged`
        pub match_tagname: CName<PF_TAG_NAME_SIZE>,
        /// The table that takes the addresses of those who connect too much.
        pub overload_tblname: TableName,
        /// `entries`: kernel pointers.
        pub entries: [UserPtr; 2],
        /// The pool of a translation or of `route-to`. Its addresses travel apart, by `DIOCADDADDR`.
        pub rpool: Pool,
        /// How often the rule was looked at.
        pub evaluations: u64,
        /// Packets in and out.
        pub packets: [u64; 2],
        /// Bytes in and out.
        pub bytes: [u64; 2],
        /// `kif`: a kernel pointer.
        pub kif: UserPtr,
        /// `anchor`: a kernel pointer.
        pub anchor: UserPtr,
        /// `overload_tbl`: a kernel pointer.
        pub overload_tbl: UserPtr,
        /// `PF_OSFP_*`, or the number of an operating system.
        pub os_fingerprint: u32,
        /// The routing table.
        pub rtableid: i32,
        /// Timeouts in seconds by `PFTM_*`; 0 for what the rule leaves to the defaults.
        pub timeout: [u32; Timeout::COUNT],
        /// States that the rule has now.
        pub states: u32,
        /// `max`: the most states it may have; 0 for no limit.
        pub max_states: u32,
        /// Source nodes that the rule has now.
        pub src_nodes: u32,
        /// `max-src-nodes`
        pub max_src_nodes: u32,
        /// `max-src-states`
        pub max_src_states: u32,
        /// `max-src-conn`
        pub max_src_conn: u32,
        /// `max-src-conn-rate`
        pub max_src_conn_rate: ConnRate,
        /// The queue's number.
        pub qid: u32,
        /// The number of the queue for packets in a hurry.
        pub pqid: u32,
        /// The number of the route label.
        pub rt_listid: u32,
        /// The number of the rule in its list, from 0.
        pub nr: u32,
        /// `probability`: of 2^32 - 1, how many packets match; 0 for all.
        pub prob: u32,
        /// The user who loaded the rule.
        pub cuid: u32,
        /// The process that loaded it.
        pub cpid: i32,
        /// `return-icmp`: type in the high byte, code in the low.
        pub return_icmp: u16,
        /// `return-icmp6`: type in the high byte, code in the low.
        pub return_icmp6: u16,
        /// `max-mss`
        pub max_mss: u16,
        /// The number of `tagname`.
        pub tag: u16,
        /// The number of `match_tagname`.
        pub match_tag: u16,
        #[doc(hidden)]
        pub _pad0: [u8; 2],
        /// `user`
        pub uid: RuleId,
        /// `group`
        pub gid: RuleId,
        /// `PFRULE_*`
        pub rule_flag: u32,
        /// [`Action`]
        pub action: u8,
        /// [`Direction`]
        pub direction: u8,
        /// `PF_LOG*`
        pub log: u8,
        /// The number of the log interface.
        pub logif: u8,
        /// Not 0 for `quick`.
        pub quick: u8,
        /// Not 0 where the rule matches every interface but `ifname`.
        pub ifnot: u8,
        /// Not 0 where the rule matches every tag but `match_tagname`.
        pub match_tag_not: u8,
        /// Not 0 for `nat pass` and its like.
        pub natpass: u8,
        /// `PF_STATE_*`, or 0 for `no state`.
        pub keep_state: u8,
        /// `AF_*`; [`crate::AF_UNSPEC`] for both.
        pub af: u8,
        /// The protocol; 0 for any.
        pub proto: u8,
        /// `icmp-type` plus 1; 0 for any.
        pub kind: u8,
        /// `code` plus 1; 0 for any.
        pub code: u8,
        /// The TCP flags that must be set, of those in `flagset`.
        pub flags: u8,
        /// The TCP flags that are looked at.
        pub flagset: u8,
        /// `min-ttl`
        pub min_ttl: u8,
        /// Not 0 for `allow-opts`.
        pub allow_opts: u8,
        /// [`Route`]
        pub rt: u8,
        /// `return-rst (ttl n)`
        pub return_ttl: u8,
        /// `tos`
        pub tos: u8,
        /// How the anchor's name is relative.
        pub anchor_relative: u8,
        /// Not 0 where the anchor's name ends in `*`.
        pub anchor_wildcard: u8,
        /// `PF_FLUSH*`
        pub flush: u8,
        #[doc(hidden)]
        pub _pad1: [u8; 5],
    }
}
