//! Timeouts and limits: their numbers, names and defaults.

c_enum! {
    /// A timeout that can be set: an index of [`crate::Rule::timeout`].
    pub enum Timeout: u8 {
        /// After the first TCP packet.
        TcpFirst = PFTM_TCP_FIRST_PACKET = 0,
        /// Before the other end has answered.
        TcpOpening = PFTM_TCP_OPENING = 1,
        /// Of an established connection.
        TcpEstablished = PFTM_TCP_ESTABLISHED = 2,
        /// After the first FIN.
        TcpClosing = PFTM_TCP_CLOSING = 3,
        /// After both FINs.
        TcpFinWait = PFTM_TCP_FIN_WAIT = 4,
        /// After a RST.
        TcpClosed = PFTM_TCP_CLOSED = 5,
        /// After the first UDP packet.
        UdpFirst = PFTM_UDP_FIRST_PACKET = 6,
        /// While only one end sends.
        UdpSingle = PFTM_UDP_SINGLE = 7,
        /// Once both ends send.
        UdpMultiple = PFTM_UDP_MULTIPLE = 8,
        /// After the first ICMP packet.
        IcmpFirst = PFTM_ICMP_FIRST_PACKET = 9,
        /// After an ICMP error in answer to an ICMP packet.
        IcmpError = PFTM_ICMP_ERROR_REPLY = 10,
        /// After the first packet of another protocol.
        OtherFirst = PFTM_OTHER_FIRST_PACKET = 11,
        /// While only one end sends.
        OtherSingle = PFTM_OTHER_SINGLE = 12,
        /// Once both ends send.
        OtherMultiple = PFTM_OTHER_MULTIPLE = 13,
        /// Of fragments that wait for others.
        Frag = PFTM_FRAG = 14,
        /// Between two runs of the purge.
        Interval = PFTM_INTERVAL = 15,
        /// Not a time: states from which the timeouts shrink.
        AdaptiveStart = PFTM_ADAPTIVE_START = 16,
        /// Not a time: states at which the timeouts are 0.
        AdaptiveEnd = PFTM_ADAPTIVE_END = 17,
        /// Of a source node without states.
        SrcTrack = PFTM_SRC_NODE = 18,
        /// How far TCP timestamps may be apart.
        TsDiff = PFTM_TS_DIFF = 19,
    }
}

/// `PFTM_MAX`: the timeouts that can be set.
pub const PFTM_MAX: u8 = 20;
/// `PFTM_PURGE`: of a state, to be removed at once.
pub const PFTM_PURGE: u8 = 21;
/// `PFTM_UNLINKED`: of a state, removed already.
pub const PFTM_UNLINKED: u8 = 22;
/// `PFTM_UNTIL_PACKET`: of a state, expires at the next packet.
pub const PFTM_UNTIL_PACKET: u8 = 23;

impl Timeout {
    /// [`PFTM_MAX`] as a count.
    pub const COUNT: usize = PFTM_MAX as usize;

    /// The name in pf.conf(5).
    pub const fn name(self) -> &'static str {
        match self {
            Self::TcpFirst => "tcp.first",
            Self::TcpOpening => "tcp.opening",
            Self::TcpEstablished => "tcp.established",
            Self::TcpClosing => "tcp.closing",
            Self::TcpFinWait => "tcp.finwait",
            Self::TcpClosed => "tcp.closed",
            Self::UdpFirst => "udp.first",
            Self::UdpSingle => "udp.single",
            Self::UdpMultiple => "udp.multiple",
            Self::IcmpFirst => "icmp.first",
            Self::IcmpError => "icmp.error",
            Self::OtherFirst => "other.first",
            Self::OtherSingle => "other.single",
            Self::OtherMultiple => "other.multiple",
            Self::Frag => "frag",
            Self::Interval => "interval",
            Self::AdaptiveStart => "adaptive.start",
            Self::AdaptiveEnd => "adaptive.end",
            Self::SrcTrack => "src.track",
            Self::TsDiff => "tcp.tsdiff",
        }
    }

    /// The timeout of a name in pf.conf(5).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|timeout| timeout.name() == name)
    }

    /// The value unless set: seconds, or states for the two `adaptive` ones.
    pub const fn default_value(self) -> u32 {
        match self {
            Self::TcpFirst => PFTM_TCP_FIRST_PACKET_VAL,
            Self::TcpOpening => PFTM_TCP_OPENING_VAL,
            Self::TcpEstablished => PFTM_TCP_ESTABLISHED_VAL,
            Self::TcpClosing => PFTM_TCP_CLOSING_VAL,
            Self::TcpFinWait => PFTM_TCP_FIN_WAIT_VAL,
            Self::TcpClosed => PFTM_TCP_CLOSED_VAL,
            Self::UdpFirst => PFTM_UDP_FIRST_PACKET_VAL,
            Self::UdpSingle => PFTM_UDP_SINGLE_VAL,
            Self::UdpMultiple => PFTM_UDP_MULTIPLE_VAL,
            Self::IcmpFirst => PFTM_ICMP_FIRST_PACKET_VAL,
            Self::IcmpError => PFTM_ICMP_ERROR_REPLY_VAL,
            Self::OtherFirst => PFTM_OTHER_FIRST_PACKET_VAL,
            Self::OtherSingle => PFTM_OTHER_SINGLE_VAL,
            Self::OtherMultiple => PFTM_OTHER_MULTIPLE_VAL,
            Self::Frag => PFTM_FRAG_VAL,
            Self::Interval => PFTM_INTERVAL_VAL,
            Self::AdaptiveStart => crate::PFSTATE_ADAPT_START,
            Self::AdaptiveEnd => crate::PFSTATE_ADAPT_END,
            Self::SrcTrack => PFTM_SRC_NODE_VAL,
            Self::TsDiff => PFTM_TS_DIFF_VAL,
        }
    }
}

/// Default of `tcp.first`, in seconds, as all of these are.
pub const PFTM_TCP_FIRST_PACKET_VAL: u32 = 120;
/// Default of `tcp.opening`
pub const PFTM_TCP_OPENING_VAL: u32 = 30;
/// Default of `tcp.established`
pub const PFTM_TCP_ESTABLISHED_VAL: u32 = 24 * 60 * 60;
/// Default of `tcp.closing`
pub const PFTM_TCP_CLOSING_VAL: u32 = 15 * 60;
/// Default of `tcp.finwait`
pub const PFTM_TCP_FIN_WAIT_VAL: u32 = 45;
/// Default of `tcp.closed`
pub const PFTM_TCP_CLOSED_VAL: u32 = 90;
/// Default of `udp.first`
pub const PFTM_UDP_FIRST_PACKET_VAL: u32 = 60;
/// Default of `udp.single`
pub const PFTM_UDP_SINGLE_VAL: u32 = 30;
/// Default of `udp.multiple`
pub const PFTM_UDP_MULTIPLE_VAL: u32 = 60;
/// Default of `icmp.first`
pub const PFTM_ICMP_FIRST_PACKET_VAL: u32 = 20;
/// Default of `icmp.error`
pub const PFTM_ICMP_ERROR_REPLY_VAL: u32 = 10;
/// Default of `other.first`
pub const PFTM_OTHER_FIRST_PACKET_VAL: u32 = 60;
/// Default of `other.single`
pub const PFTM_OTHER_SINGLE_VAL: u32 = 30;
/// Default of `other.multiple`
pub const PFTM_OTHER_MULTIPLE_VAL: u32 = 60;
/// Default of `frag`
pub const PFTM_FRAG_VAL: u32 = 30;
/// Default of `interval`
pub const PFTM_INTERVAL_VAL: u32 = 10;
/// Default of `src.track`
pub const PFTM_SRC_NODE_VAL: u32 = 0;
/// Default of `tcp.tsdiff`
pub const PFTM_TS_DIFF_VAL: u32 = 30;

c_enum! {
    /// What is limited in number.
    pub enum Limit: i32 {
        /// States.
        States = PF_LIMIT_STATES = 0,
        /// Source nodes.
        SrcNodes = PF_LIMIT_SRC_NODES = 1,
        /// Fragments that wait for others.
        Frags = PF_LIMIT_FRAGS = 2,
        /// Tables.
        Tables = PF_LIMIT_TABLES = 3,
        /// Addresses in all tables together.
        TableEntries = PF_LIMIT_TABLE_ENTRIES = 4,
    }
}

/// `PF_LIMIT_MAX`
pub const PF_LIMIT_MAX: i32 = 5;

/// `PFSNODE_HIWAT`: the most source nodes unless set.
pub const PFSNODE_HIWAT: u32 = 10_000;
/// `PFFRAG_FRENT_HIWAT`: the most fragments unless set.
pub const PFFRAG_FRENT_HIWAT: u32 = 5_000;
/// `PFFRAG_FRAG_HIWAT`: the most fragmented packets.
pub const PFFRAG_FRAG_HIWAT: u32 = 1_000;
/// `PFR_KTABLE_HIWAT`: the most tables unless set.
pub const PFR_KTABLE_HIWAT: u32 = 1_000;
/// `PFR_KENTRY_HIWAT`: the most addresses in tables unless set.
pub const PFR_KENTRY_HIWAT: u32 = 200_000;

impl Limit {
    /// [`PF_LIMIT_MAX`] as a count.
    pub const COUNT: usize = PF_LIMIT_MAX as usize;

    /// The name in pf.conf(5).
    pub const fn name(self) -> &'static str {
        match self {
            Self::States => "states",
            Self::SrcNodes => "src-nodes",
            Self::Frags => "frags",
            Self::Tables => "tables",
            Self::TableEntries => "table-entries",
        }
    }

    /// The limit of a name in pf.conf(5).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|limit| limit.name() == name)
    }

    /// The value unless set.
    pub const fn default_value(self) -> u32 {
        match self {
            Self::States => crate::PFSTATE_HIWAT,
            Self::SrcNodes => PFSNODE_HIWAT,
            Self::Frags => PFFRAG_FRENT_HIWAT,
            Self::Tables => PFR_KTABLE_HIWAT,
            Self::TableEntries => PFR_KENTRY_HIWAT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_timeout_and_limit_is_found_by_its_name() {
        assert_eq!(Timeout::ALL.len(), Timeout::COUNT);
        for &timeout in Timeout::ALL {
            assert_eq!(Timeout::from_name(timeout.name()), Some(timeout));
        }
        assert_eq!(Limit::ALL.len(), Limit::COUNT);
        for &limit in Limit::ALL {
            assert_eq!(Limit::from_name(limit.name()), Some(limit));
        }
        assert_eq!(Timeout::from_name("tcp"), None);
    }
}
