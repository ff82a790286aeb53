//! One packet on its way: the mbuf, what was parsed of it, and the rewrites to apply once at the end.
//!
//! # Overview
//! [`Packet::parse`] reads each header once, where it lies, into a descriptor of plain values; the mbuf is not touched. What is to change is
//! written by [`rewrite`], in one pass, when the verdict is known. [`answer`] makes the packets that pf sends in reply,
//! [`quote`] reads what an ICMP error quotes, [`fragment`] takes fragments apart and puts packets together, [`scrub`] is what
//! normalisation changes.
//!
//! # Life cycle, locking
//! A packet belongs to the call that judges it.

#![forbid(unsafe_code)]

mod answer;
mod fragment;
mod quote;
mod renumber;
mod rewrite;
mod scrub;
pub(crate) mod ttl;

use pf_abi::{PF_OSFP_DF, PF_OSFP_INET6, Reason};

pub(crate) use answer::is_host;
pub use answer::{answer, compose_segment};
pub use fragment::{Cut, Front, Part};
pub use quote::Quote;
pub use renumber::Renumber;
pub use rewrite::{Rewrite, rewrite_tcp_v4};
pub use scrub::Timestamps;

use crate::iface::Interfaces;
use crate::kpi::{Direction, Mbuf, NoMemory};
use crate::osfp::Print;
use crate::rule::Subject;
use crate::state::tcp::Segment;
use crate::state::{Host, TreeKey};
use crate::wire::icmp::Class;
use crate::wire::{Addr, Af, Bytes, Error, Fragment, Proto, icmp, icmp6, ipv4, ipv6, tcp, udp};

impl Bytes for Mbuf {
    #[inline]
    fn piece(&self, offset: usize) -> &[u8] {
        self.head().get(offset..).unwrap_or_default()
    }

    #[inline]
    fn copy(&self, offset: usize, to: &mut [u8]) -> bool {
        Mbuf::copy(self, offset, to)
    }
}

/// The header above IP.
#[derive(Debug, Clone, Copy)]
pub enum Transport {
    /// TCP: the fixed header, its bytes with options, and the bytes of data.
    Tcp {
        /// The fixed header.
        header: tcp::Header,
        /// Bytes of the header, options included.
        header_len: u8,
        /// Bytes of data.
        data_len: u16,
    },
    /// UDP.
    Udp(udp::Header),
    /// ICMP or ICMPv6, by the packet's protocol.
    Icmp {
        /// The header.
        header: icmp::Header,
        /// What kind of message it is.
        class: Class,
    },
    /// Any other protocol.
    Other,
    /// A fragment, judged without ports, flags and types, whether it carries them or not: the others do not.
    Fragment,
}

/// A packet, parsed.
pub struct Packet {
    mbuf: Mbuf,
    /// Which way it crosses the interface.
    pub direction: Direction,
    /// The family.
    pub af: Af,
    /// The protocol of the transport.
    pub proto: Proto,
    /// The source address.
    pub src: Addr,
    /// The destination address.
    pub dst: Addr,
    /// Bytes, the IP header included: 40 more than 16 bits say, of an IPv6 packet that was put together from fragments.
    pub len: u32,
    /// Where the transport header begins.
    offset: u16,
    /// There are IPv4 options, be it only padding, or an IPv6 routing header: it passes only by a rule with `allow-opts`.
    pub has_options: bool,
    /// The transport header.
    pub transport: Transport,
    /// Which part of a packet it is, if it is a fragment.
    pub fragment: Option<Fragment>,
}

/// The reason counter for a header that cannot be taken.
pub(crate) fn reason(error: Error) -> Reason {
    match error {
        Error::Short | Error::Version | Error::Length => Reason::Short,
        Error::Options | Error::Chain | Error::Jumbo => Reason::IpOption,
        Error::Fragment => Reason::Fragment,
    }
}

/// Looks at the options of an IPv4 header of so many bytes.
#[cold]
#[inline(never)]
fn check_options(mbuf: &Mbuf, header: usize) -> Result<(), Reason> {
    let mut options = [0; ipv4::MAX_HEADER_LEN - ipv4::HEADER_LEN];
    let options = options.get_mut(..header - ipv4::HEADER_LEN).ok_or(Reason::IpOption)?;
    if !mbuf.copy(ipv4::HEADER_LEN, options) {
        return Err(Reason::Short);
    }
    ipv4::check_options(options).map_err(reason)?;
    Ok(())
}

impl Packet {
    /// A packet of which nothing has been read yet. It is read in place: values that are put together here and moved from call to
    /// call would cost more than reading them.
    #[inline]
    pub fn new(mbuf: Mbuf, direction: Direction) -> Self {
        Packet {
            mbuf,
            direction,
            af: Af::Inet,
            proto: Proto::default(),
            src: Addr::ZERO,
            dst: Addr::ZERO,
            len: 0,
            offset: 0,
            has_options: false,
            transport: Transport::Other,
            fragment: None,
        }
    }

    /// Reads the headers, or says why the packet is to be dropped.
    #[inline(always)]
    pub fn parse(&mut self) -> Result<(), Reason> {
        // The first segment may be empty.
        let first = match self.mbuf.head().first() {
            Some(byte) => *byte,
            None => self.mbuf.take(0).map_err(reason)?,
        };
        match first >> 4 {
            4 => self.parse_v4(),
            6 => self.parse_v6(),
            _ => Err(Reason::Short),
        }
    }

    #[inline(always)]
    fn parse_v4(&mut self) -> Result<(), Reason> {
        let mut room = None;
        let header: &ipv4::Header = self.mbuf.view(0, &mut room).map_err(reason)?;
        let extent = header.extent(self.mbuf.len()).map_err(reason)?;
        if extent.header > ipv4::HEADER_LEN {
            check_options(&self.mbuf, extent.header)?;
            self.has_options = true;
        }
        self.af = Af::Inet;
        self.proto = header.proto;
        self.src = header.src();
        self.dst = header.dst();
        self.len = extent.total as u32;
        self.offset = extent.header as u16;
        match header.fragment() {
            Some(fragment) => self.take_fragment(fragment, extent.total - extent.header),
            None => self.parse_transport(extent.header, extent.total).map_err(reason),
        }
    }

    #[inline(never)]
    fn parse_v6(&mut self) -> Result<(), Reason> {
        self.af = Af::Inet6;
        let mut room = None;
        let header: &ipv6::Header = self.mbuf.view(0, &mut room).map_err(reason)?;
        let extent = header.extent(self.mbuf.len()).map_err(reason)?;
        let upper = ipv6::walk(&self.mbuf, header.next_header, extent.header, extent.total).map_err(reason)?;
        if upper.met.contains(ipv6::Met::ROUTING_TYPE_0) {
            return Err(Reason::IpOption);
        }
        self.af = Af::Inet6;
        self.proto = upper.proto;
        self.src = header.src();
        self.dst = header.dst();
        self.len = u32::try_from(extent.total).map_err(|_| Reason::Short)?;
        self.offset = upper.offset as u16;
        self.has_options = upper.met.contains(ipv6::Met::ROUTING);
        match upper.fragment {
            // A fragment that is the whole (RFC 6946) is as good as none.
            Some(fragment) if !fragment.is_whole() => {
                self.fragment = Some(fragment);
                self.transport = Transport::Fragment;
                self.part().map(|_| ())
            }
            _ => self.parse_transport(upper.offset, extent.total).map_err(reason),
        }
    }

    /// Gives the packet up.
    #[inline]
    pub fn into_mbuf(self) -> Mbuf {
        self.mbuf
    }

    /// The packet's bytes.
    #[inline]
    pub fn mbuf(&self) -> &Mbuf {
        &self.mbuf
    }

    /// Puts the packet into a queue of the kernel's.
    pub fn set_queue(&mut self, queue: u32) {
        self.mbuf.set_queue(queue);
    }

    /// What rules look at. `interface` is the number of the one that it crosses.
    pub fn subject(&self, interface: u16, interfaces: &Interfaces) -> Subject {
        Subject {
            direction: self.direction,
            interface,
            group: interfaces.group(interface),
            af: self.af,
            proto: self.proto,
            src: self.src,
            dst: self.dst,
            ports: match &self.transport {
                Transport::Tcp { header, .. } => Some((header.src_port.get(), header.dst_port.get())),
                Transport::Udp(header) => Some((header.src_port.get(), header.dst_port.get())),
                _ => None,
            },
            flags: match &self.transport {
                Transport::Tcp { header, .. } => Some(header.flags()),
                _ => None,
            },
            icmp: match &self.transport {
                Transport::Icmp { header, .. } => Some((header.kind, header.code)),
                _ => None,
            },
            fragment: matches!(self.transport, Transport::Fragment),
            tos: self.tos(),
            tag: self.mbuf.tag(),
            owner: None,
        }
    }

    /// The type of service, or IPv6's traffic class.
    fn tos(&self) -> u8 {
        let mut first = [0; 2];
        if !Mbuf::copy(&self.mbuf, 0, &mut first) {
            return 0;
        }
        match self.af {
            Af::Inet => first[1],
            Af::Inet6 => (u16::from_be_bytes(first) >> 4) as u8,
        }
    }

    /// Gives the packet a tag, which it carries to the next interface.
    pub fn set_tag(&mut self, tag: u16) -> Result<(), NoMemory> {
        self.mbuf.set_tag(tag)
    }

    /// What a SYN shows of the system that sent it; nothing for any other packet.
    #[inline(never)]
    pub fn fingerprint(&self) -> Option<Print> {
        let Transport::Tcp { header, header_len, .. } = &self.transport else {
            return None;
        };
        let flags = header.flags();
        if flags & (tcp::TcpFlags::SYN | tcp::TcpFlags::ACK) != tcp::TcpFlags::SYN {
            return None;
        }
        let mut first = [0; 9];
        if !Mbuf::copy(&self.mbuf, 0, &mut first) {
            return None;
        }
        let (ttl, ip_flags) = match self.af {
            Af::Inet => (first[8], if first[6] & 0x40 != 0 { PF_OSFP_DF } else { 0 }),
            Af::Inet6 => (first[7], PF_OSFP_DF | PF_OSFP_INET6),
        };
        let mut print = Print {
            window: header.window.get(),
            size: self.len as u16,
            ttl,
            flags: ip_flags,
            ..Print::default()
        };
        let mut options = [0; tcp::MAX_HEADER_LEN - tcp::HEADER_LEN];
        let len = usize::from(*header_len).saturating_sub(tcp::HEADER_LEN);
        let options = options.get_mut(..len)?;
        let is_there = Mbuf::copy(&self.mbuf, usize::from(self.offset) + tcp::HEADER_LEN, options);
        (is_there && print.read_options(options)).then_some(print)
    }

    /// The two ends as states know them: the one on our side of the interface, and the one on the other side. An ICMP query
    /// has its identifier at the near end; what has no ports has 0.
    #[inline(always)]
    pub fn ends(&self) -> (Host, Host) {
        let (src_port, dst_port) = match &self.transport {
            Transport::Tcp { header, .. } => (header.src_port.get(), header.dst_port.get()),
            _ => self.other_ports(),
        };
        let src = Host {
            addr: self.src,
            port: src_port,
        };
        let dst = Host {
            addr: self.dst,
            port: dst_port,
        };
        match self.direction {
            Direction::Out => (src, dst),
            Direction::In => (dst, src),
        }
    }

    /// What stands for ports where it is not TCP.
    #[inline(never)]
    fn other_ports(&self) -> (u16, u16) {
        match &self.transport {
            Transport::Udp(header) => (header.src_port.get(), header.dst_port.get()),
            Transport::Icmp {
                header,
                class: Class::Query | Class::Reply,
            } => match self.direction {
                Direction::Out => (header.id.get(), 0),
                Direction::In => (0, header.id.get()),
            },
            _ => (0, 0),
        }
    }

    /// The key under which the packet's state stands in the tree of its direction.
    #[inline(always)]
    pub fn key(&self) -> TreeKey {
        let (near, far) = self.ends();
        TreeKey {
            near,
            far,
            af: self.af,
            proto: self.proto,
        }
    }

    /// What counts of a TCP segment. Options are read only where they can matter: in a SYN.
    #[inline]
    pub fn segment(&self) -> Option<Segment> {
        let Transport::Tcp {
            header,
            header_len,
            data_len,
        } = &self.transport
        else {
            return None;
        };
        let mut segment = Segment::plain(header, *data_len);
        if segment.flags.contains(tcp::TcpFlags::SYN) {
            self.read_options(usize::from(*header_len), &mut segment);
        }
        Some(segment)
    }

    #[inline(never)]
    fn read_options(&self, header_len: usize, segment: &mut Segment) {
        let mut options = [0; tcp::MAX_HEADER_LEN - tcp::HEADER_LEN];
        let len = header_len.saturating_sub(tcp::HEADER_LEN);
        if let Some(options) = options.get_mut(..len)
            && Mbuf::copy(&self.mbuf, usize::from(self.offset) + tcp::HEADER_LEN, options)
        {
            segment.wscale = tcp::window_scale(options);
            segment.mss = tcp::mss(options).unwrap_or(0);
        }
    }

    /// Whether it is the SYN with which a connection begins.
    pub fn is_first_syn(&self) -> bool {
        const BOTH: tcp::TcpFlags = tcp::TcpFlags::SYN.union(tcp::TcpFlags::ACK);
        matches!(&self.transport, Transport::Tcp { header, .. } if header.flags() & BOTH == tcp::TcpFlags::SYN)
    }

    /// Takes a packet as a fragment of `len` bytes, unless there cannot be one.
    fn take_fragment(&mut self, fragment: Fragment, len: usize) -> Result<(), Reason> {
        fragment.end(len).map_err(reason)?;
        self.fragment = Some(fragment);
        self.transport = Transport::Fragment;
        Ok(())
    }

    /// Reads the header that begins at `offset` of a packet that ends at `end`.
    #[inline(always)]
    fn parse_transport(&mut self, offset: usize, end: usize) -> Result<(), Error> {
        if self.proto != Proto::TCP {
            return self.parse_other(offset, end);
        }
        let available = end.saturating_sub(offset);
        if available < tcp::HEADER_LEN {
            return Err(Error::Short);
        }
        let mut room = None;
        let header: &tcp::Header = self.mbuf.view(offset, &mut room)?;
        let header_len = header.header_len(available)?;
        self.transport = Transport::Tcp {
            header: *header,
            header_len: header_len as u8,
            data_len: (available - header_len) as u16,
        };
        Ok(())
    }

    /// The same for all but TCP. Each family has an ICMP of its own, and the other one's is [`Error::Version`].
    #[inline(never)]
    fn parse_other(&mut self, offset: usize, end: usize) -> Result<(), Error> {
        let available = end.saturating_sub(offset);
        let needed = match self.proto {
            Proto::UDP => udp::HEADER_LEN,
            Proto::ICMP | Proto::ICMPV6 => icmp::HEADER_LEN,
            _ => 0,
        };
        if available < needed {
            return Err(Error::Short);
        }
        match (self.proto, self.af) {
            (Proto::UDP, _) => {
                let mut room = None;
                let header: &udp::Header = self.mbuf.view(offset, &mut room)?;
                header.check_len(available)?;
                if header.dst_port.get() == 0 {
                    return Err(Error::Short);
                }
                self.transport = Transport::Udp(*header);
            }
            (Proto::ICMP, Af::Inet) => {
                let header: icmp::Header = self.mbuf.take(offset)?;
                let class = icmp::class(header.kind);
                self.transport = Transport::Icmp { header, class };
            }
            (Proto::ICMPV6, Af::Inet6) => {
                let header: icmp::Header = self.mbuf.take(offset)?;
                let class = icmp6::class(header.kind);
                self.transport = Transport::Icmp { header, class };
            }
            (Proto::ICMP | Proto::ICMPV6, _) => return Err(Error::Version),
            _ => self.transport = Transport::Other,
        }
        Ok(())
    }
}
