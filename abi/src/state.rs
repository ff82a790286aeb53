//! States as they stand outside the kernel.

use crate::{Addr, Be16, IfName};

c_struct! {
    /// `struct pfsync_state_scrub`: what `scrub reassemble tcp` knows of one end.
    #[derive(Copy, Hash)]
    pub struct SyncScrub {
        /// `PFSS_*`
        pub flags: u16,
        /// The lowest TTL seen.
        pub ttl: u8,
        /// `PFSYNC_SCRUB_FLAG_VALID`, or 0 where there is nothing here.
        pub scrub_flag: u8,
        /// What is added to timestamps.
        pub ts_mod: u32,
    }

    /// `struct pfsync_state_host`: an address and a port.
    #[derive(Copy, Hash)]
    pub struct SyncHost {
        /// The address.
        pub addr: Addr,
        /// The port, or the identifier of an ICMP query.
        pub port: Be16,
        #[doc(hidden)]
        pub _pad0: [u8; 6],
    }

    /// `struct pfsync_state_peer`: one end of a connection. All in host byte order.
    #[derive(Copy, Hash)]
    pub struct SyncPeer {
        /// What scrub knows.
        pub scrub: SyncScrub,
        /// The highest sequence number sent.
        pub seqlo: u32,
        /// The highest sequence number that the other end has room for.
        pub seqhi: u32,
        /// What is added to sequence numbers.
        pub seqdiff: u32,
        /// The largest window, not yet scaled.
        pub max_win: u16,
        /// The maximum segment size.
        pub mss: u16,
        /// `TCPS_*`, `PF_TCPS_*`, `PFUDPS_*` or `PFOTHERS_*` by protocol.
        pub state: u8,
        /// The window scale, with `PF_WSCALE_FLAG`.
        pub wscale: u8,
        #[doc(hidden)]
        pub _pad0: [u8; 6],
    }

    /// `struct pfsync_state`: a whole state. The C struct is packed, so its alignment is 1 and its size the same 240 bytes.
    #[derive(Copy, Hash)]
    pub struct SyncState {
        /// The state's identifier: the bytes of a `u64`.
        pub id: [u32; 2],
        /// The interface that the state is bound to, or `all`.
        pub ifname: IfName,
        /// The end inside, untranslated.
        pub lan: SyncHost,
        /// The end inside as the world sees it; the same as `lan` where nothing is translated.
        pub gwy: SyncHost,
        /// The end outside.
        pub ext: SyncHost,
        /// The end that began.
        pub src: SyncPeer,
        /// The other end.
        pub dst: SyncPeer,
        /// Where `route-to` sends its packets.
        pub rt_addr: Addr,
        /// The number of the rule that made it; [`crate::NO_RULE`] for none.
        pub rule: u32,
        /// The number of the anchor's rule; [`crate::NO_RULE`] for none.
        pub anchor: u32,
        /// The number of the translation rule; [`crate::NO_RULE`] for none. With [`crate::BINAT_RULE`] it counts in the list of
        /// `binat`; otherwise in that of `rdr` for a state whose `direction` is in, in that of `nat` for one whose is out.
        pub nat_rule: u32,
        /// Age in seconds.
        pub creation: u32,
        /// Seconds until it expires.
        pub expire: u32,
        /// Packets from the beginner and to it, each in two halves, the high one first.
        pub packets: [[u32; 2]; 2],
        /// Bytes from the beginner and to it, each in two halves, the high one first.
        pub bytes: [[u32; 2]; 2],
        /// The host that made the state.
        pub creatorid: u32,
        /// `AF_*`
        pub af: u8,
        /// The protocol.
        pub proto: u8,
        /// [`crate::Direction`]
        pub direction: u8,
        /// `PF_LOG*`
        pub log: u8,
        /// Not 0 where IP options may pass.
        pub allow_opts: u8,
        /// `PFTM_*`
        pub timeout: u8,
        /// `PFSYNC_FLAG_*`
        pub sync_flags: u8,
        /// Not used.
        pub updates: u8,
    }
}

impl SyncState {
    /// The number in [`SyncState::id`], whose bytes are in network byte order.
    pub fn number(&self) -> u64 {
        u64::from_be(zerocopy::transmute!(self.id))
    }

    /// [`SyncState::id`] of a number.
    pub fn id_of(number: u64) -> [u32; 2] {
        zerocopy::transmute!(number.to_be())
    }
}

impl SyncHost {
    /// An address and a port in host byte order.
    pub fn new(addr: Addr, port: u16) -> Self {
        Self {
            addr,
            port: Be16::new(port),
            ..Self::default()
        }
    }
}

/// Puts a counter into two halves, the high one first, as [`SyncState::packets`] has it.
pub const fn split_counter(value: u64) -> [u32; 2] {
    [(value >> 32) as u32, value as u32]
}

/// Puts two halves together again, the high one first.
pub const fn join_counter(halves: [u32; 2]) -> u64 {
    (halves[0] as u64) << 32 | halves[1] as u64
}

/// `PFSYNC_SCRUB_FLAG_VALID`: a [`SyncScrub`] says something.
pub const PFSYNC_SCRUB_FLAG_VALID: u8 = 0x01;
/// `PFSYNC_FLAG_COMPRESS`
pub const PFSYNC_FLAG_COMPRESS: u8 = 0x01;
/// `PFSYNC_FLAG_STALE`
pub const PFSYNC_FLAG_STALE: u8 = 0x02;
/// `PFSYNC_FLAG_SRCNODE`: the state counts at a source node.
pub const PFSYNC_FLAG_SRCNODE: u8 = 0x04;
/// `PFSYNC_FLAG_NATSRCNODE`: the state counts at a translation's source node.
pub const PFSYNC_FLAG_NATSRCNODE: u8 = 0x08;

/// `PFSS_TIMESTAMP`: timestamps are modulated.
pub const PFSS_TIMESTAMP: u16 = 0x0001;
/// `PFSS_PAWS`: timestamps are checked strictly.
pub const PFSS_PAWS: u16 = 0x0010;
/// `PFSS_PAWS_IDLED`: idle for too long to check timestamps.
pub const PFSS_PAWS_IDLED: u16 = 0x0020;
/// `PFSS_DATA_TS`: data comes with timestamps.
pub const PFSS_DATA_TS: u16 = 0x0040;
/// `PFSS_DATA_NOTS`: data comes without timestamps.
pub const PFSS_DATA_NOTS: u16 = 0x0080;

/// `PF_WSCALE_FLAG`: the end has offered window scaling.
pub const PF_WSCALE_FLAG: u8 = 0x80;
/// `PF_WSCALE_MASK`: the bits of the window scale.
pub const PF_WSCALE_MASK: u8 = 0x0f;

/// `PFSTATE_HIWAT`: the most states unless set.
pub const PFSTATE_HIWAT: u32 = 10_000;
/// `PFSTATE_ADAPT_START`: states from which timeouts shrink unless set.
pub const PFSTATE_ADAPT_START: u32 = 6_000;
/// `PFSTATE_ADAPT_END`: states at which timeouts are 0 unless set.
pub const PFSTATE_ADAPT_END: u32 = 12_000;

c_enum! {
    /// How far one end of a TCP connection has come.
    pub enum TcpState: u8 {
        /// Reset, or nothing seen.
        Closed = TCPS_CLOSED = 0,
        /// Not used by pf.
        Listen = TCPS_LISTEN = 1,
        /// Has sent a SYN.
        SynSent = TCPS_SYN_SENT = 2,
        /// Not used by pf.
        SynReceived = TCPS_SYN_RECEIVED = 3,
        /// Has sent a SYN and seen it acknowledged.
        Established = TCPS_ESTABLISHED = 4,
        /// Not used by pf.
        CloseWait = TCPS_CLOSE_WAIT = 5,
        /// Not used by pf.
        FinWait1 = TCPS_FIN_WAIT_1 = 6,
        /// Has sent a FIN.
        Closing = TCPS_CLOSING = 7,
        /// Not used by pf.
        LastAck = TCPS_LAST_ACK = 8,
        /// Has sent a FIN and seen it acknowledged.
        FinWait2 = TCPS_FIN_WAIT_2 = 9,
        /// The connection was reset.
        TimeWait = TCPS_TIME_WAIT = 10,
        /// The SYN proxy talks to the source.
        ProxySrc = PF_TCPS_PROXY_SRC = 11,
        /// The SYN proxy talks to the destination.
        ProxyDst = PF_TCPS_PROXY_DST = 12,
    }
}

/// `TCP_NSTATES`: the states that are TCP's own, before the proxy's.
pub const TCP_NSTATES: u8 = 11;

/// The names of [`TcpState`] that pfctl(8) prints, by number.
pub const TCP_STATE_NAMES: [&str; 11] = [
    "CLOSED",
    "LISTEN",
    "SYN_SENT",
    "SYN_RCVD",
    "ESTABLISHED",
    "CLOSE_WAIT",
    "FIN_WAIT_1",
    "CLOSING",
    "LAST_ACK",
    "FIN_WAIT_2",
    "TIME_WAIT",
];

c_enum! {
    /// How far one end of a UDP association has come.
    pub enum UdpState: u8 {
        /// Nothing sent.
        NoTraffic = PFUDPS_NO_TRAFFIC = 0,
        /// Something sent.
        Single = PFUDPS_SINGLE = 1,
        /// Something sent and answered.
        Multiple = PFUDPS_MULTIPLE = 2,
    }
}

/// `PFUDPS_NSTATES`
pub const PFUDPS_NSTATES: u8 = 3;
/// `PFOTHERS_NO_TRAFFIC`: as of UDP, for protocols without ports.
pub const PFOTHERS_NO_TRAFFIC: u8 = 0;
/// `PFOTHERS_SINGLE`
pub const PFOTHERS_SINGLE: u8 = 1;
/// `PFOTHERS_MULTIPLE`
pub const PFOTHERS_MULTIPLE: u8 = 2;
/// `PFOTHERS_NSTATES`
pub const PFOTHERS_NSTATES: u8 = 3;

/// `PFUDPS_NAMES` and `PFOTHERS_NAMES`, by number.
pub const UDP_STATE_NAMES: [&str; 3] = ["NO_TRAFFIC", "SINGLE", "MULTIPLE"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_survives_its_halves() {
        for value in [0, 1, u64::from(u32::MAX), 1 << 32, u64::MAX] {
            assert_eq!(join_counter(split_counter(value)), value);
        }
        assert_eq!(split_counter(0x1_0000_0002), [1, 2]);
    }

    #[test]
    fn a_number_beyond_the_last_state_is_none() {
        assert_eq!(TcpState::try_from(12), Ok(TcpState::ProxyDst));
        assert!(TcpState::try_from(13).is_err());
    }
}
