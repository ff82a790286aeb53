//! What the sender of a blocked packet hears: a TCP reset, or an ICMP error.
//!
//! Both come from the address that the packet was sent to, so that they say no more of the firewall than a host there would.

use zerocopy::{FromBytes, IntoBytes};

use super::{Packet, Transport};
use crate::kpi::{Direction, Kernel, Mbuf};
use crate::rule::Answer;
use crate::wire::checksum::Sum;
use crate::wire::icmp::Class;
use crate::wire::{Addr, Af, Proto, icmp, ipv4, ipv6, tcp};

/// The TTL or hop limit where the rule names none.
const DEFAULT_TTL: u8 = 64;
/// The most bytes of an ICMP error (RFC 1812, 4.3.2.3).
const ICMP_MAX: usize = 576;
/// The most bytes of an ICMPv6 error: the least MTU (RFC 4443, 2.4).
const ICMP6_MAX: usize = 1280;

/// The packet to send for a packet that was blocked; nothing where silence is right: to a reset or an ICMP error, to or from
/// more than one host, for a checksum that is wrong, and where there is no memory.
pub fn answer(kernel: &Kernel, packet: &Packet, answer: &Answer) -> Option<Mbuf> {
    if !is_host(packet.src, packet.af) || !is_host(packet.dst, packet.af) {
        return None;
    }
    // What we send out has its checksum computed later; what comes in may be forged without one, and no host would answer it.
    if packet.direction == Direction::In && !packet.checksum_is_valid() {
        return None;
    }
    if let (Transport::Tcp { header, data_len, .. }, Some(ttl)) = (&packet.transport, answer.reset) {
        let segment = tcp::Repr::reset(header, *data_len)?;
        let ttl = if ttl == 0 { DEFAULT_TTL } else { ttl };
        return reply(kernel, packet, Proto::TCP, ttl, segment.len(), |src, dst, to| {
            segment.emit(src, dst, to).map(|_| ())
        });
    }
    let (kind, code) = match packet.af {
        Af::Inet => answer.icmp?,
        Af::Inet6 => answer.icmp6?,
    };
    match &packet.transport {
        // Never an error about an error, a redirect, or a fragment, of which the first may have been answered.
        Transport::Icmp {
            class: Class::Error | Class::NeighborDiscovery,
            ..
        }
        | Transport::Fragment => return None,
        Transport::Tcp { header, .. } if header.flags().contains(tcp::TcpFlags::RST) => return None,
        _ => (),
    }
    let (proto, headers, most) = match packet.af {
        Af::Inet => (Proto::ICMP, ipv4::HEADER_LEN + icmp::HEADER_LEN, ICMP_MAX),
        Af::Inet6 => (Proto::ICMPV6, ipv6::HEADER_LEN + icmp::HEADER_LEN, ICMP6_MAX),
    };
    let quoted = (packet.len as usize).min(most - headers);
    reply(
        kernel,
        packet,
        proto,
        DEFAULT_TTL,
        icmp::HEADER_LEN + quoted,
        |src, dst, to| {
            let pseudo = match packet.af {
                Af::Inet => Sum::new(),
                Af::Inet6 => Sum::pseudo(src, dst, proto, to.len() as u32),
            };
            let (header, body) = icmp::Header::mut_from_prefix(to).ok()?;
            *header = icmp::Header::new(kind, code, 0);
            if !packet.mbuf.copy(0, body) {
                return None;
            }
            header.checksum = pseudo.with(header.as_bytes()).with(body).checksum().into();
            Some(())
        },
    )
}

/// A packet back to where `packet` came from, with `len` bytes of payload that `emit` writes, given both addresses.
fn reply(
    kernel: &Kernel,
    packet: &Packet,
    proto: Proto,
    ttl: u8,
    len: usize,
    emit: impl FnOnce(&Addr, &Addr, &mut [u8]) -> Option<()>,
) -> Option<Mbuf> {
    let ends = (packet.dst, packet.src);
    let mut mbuf = compose(kernel, packet.af, ends, proto, ttl, len, emit)?;
    mbuf.answers(&packet.mbuf);
    mbuf.mark_from_pf().ok()?;
    Some(mbuf)
}

/// A TCP segment without data from one address to another, that pf sends in the place of either. It passes the hooks like any
/// other until it is marked.
pub fn compose_segment(kernel: &Kernel, af: Af, ends: (Addr, Addr), segment: &tcp::Repr) -> Option<Mbuf> {
    let len = segment.len();
    compose(kernel, af, ends, Proto::TCP, DEFAULT_TTL, len, |src, dst, to| {
        segment.emit(src, dst, to).map(|_| ())
    })
}

/// A packet from one address to another, with `len` bytes of payload that `emit` writes, given both.
fn compose(
    kernel: &Kernel,
    af: Af,
    (src, dst): (Addr, Addr),
    proto: Proto,
    ttl: u8,
    len: usize,
    emit: impl FnOnce(&Addr, &Addr, &mut [u8]) -> Option<()>,
) -> Option<Mbuf> {
    let header_len = match af {
        Af::Inet => ipv4::HEADER_LEN,
        Af::Inet6 => ipv6::HEADER_LEN,
    };
    let mut mbuf = Mbuf::new(header_len + len)?;
    let bytes = mbuf.head_mut(header_len + len).ok()?;
    let (ip, payload) = bytes.split_at_mut_checked(header_len)?;
    match af {
        Af::Inet => {
            let id = kernel.random_u32() as u16;
            let repr = ipv4::Repr {
                src,
                dst,
                proto,
                tos: 0,
                ttl,
                id,
                dont_fragment: false,
            };
            ip.copy_from_slice(repr.emit(len)?.as_bytes());
        }
        Af::Inet6 => {
            let repr = ipv6::Repr {
                src,
                dst,
                next_header: proto,
                traffic_class: 0,
                flow_label: 0,
                hop_limit: ttl,
            };
            ip.copy_from_slice(repr.emit(len)?.as_bytes());
        }
    }
    emit(&src, &dst, payload)?;
    Some(mbuf)
}

/// Whether an address is that of one host: not unspecified, not multicast, not the limited broadcast.
pub(crate) fn is_host(addr: Addr, af: Af) -> bool {
    let [first, ..] = addr.octets();
    match af {
        Af::Inet => !addr.is_zero() && first < 224,
        Af::Inet6 => !addr.is_zero() && first != 0xff,
    }
}

impl Packet {
    /// Whether the checksum of the transport header is right, where it has one that covers no more than is here.
    pub(crate) fn checksum_is_valid(&self) -> bool {
        let offset = usize::from(self.offset);
        let rest = (self.len as usize).saturating_sub(offset);
        let len = match &self.transport {
            Transport::Tcp { .. } | Transport::Icmp { .. } => rest,
            Transport::Udp(header) if header.has_checksum() => header.len.get().into(),
            // Over IPv6 there has to be one (RFC 8200, 8.1).
            Transport::Udp(_) => return self.af == Af::Inet,
            Transport::Other | Transport::Fragment => return true,
        };
        let mut sum = if self.proto == Proto::ICMP {
            Sum::new()
        } else {
            Sum::pseudo(&self.src, &self.dst, self.proto, len as u32)
        };
        self.mbuf.visit(offset, len, |part| sum.add(part));
        sum.is_valid()
    }
}
