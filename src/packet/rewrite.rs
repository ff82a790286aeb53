//! Writing translated addresses, ports and identifiers into a packet, or into the packet that an ICMP error quotes.
//!
//! Checksums are updated by what changes (RFC 1624), so a packet that came in damaged goes out damaged.

use zerocopy::FromBytes;

use super::{Packet, Quote, Renumber, Transport};
use crate::kpi::{Direction, Mbuf, NoMemory};
use crate::state::Host;
use crate::wire::checksum::{Delta, Sum};
use crate::wire::{Addr, Af, Proto, icmp, ipv4, ipv6, tcp, udp};

/// The two ends that a packet is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rewrite {
    /// The source.
    pub src: Host,
    /// The destination.
    pub dst: Host,
}

/// Where the headers of a packet are, in bytes that begin with its IP header.
struct Layout {
    af: Af,
    proto: Proto,
    /// Where the transport header begins.
    offset: usize,
    /// It is ICMP or ICMPv6 with an identifier.
    has_id: bool,
}

impl Rewrite {
    /// The port of the end that has one: of an ICMP query, the identifier.
    fn id(&self) -> u16 {
        self.src.port.max(self.dst.port)
    }

    /// Writes both ends into a packet. Fields that the bytes are too short for are left out: a quotation may end early.
    fn apply(&self, bytes: &mut [u8], layout: &Layout) -> Option<()> {
        let addresses = self.apply_addresses(bytes, layout.af)?;
        let transport = bytes.get_mut(layout.offset..)?;
        match layout.proto {
            Proto::TCP => {
                let ports = self.apply_ports(transport)?;
                update(transport, tcp::Header::CHECKSUM_OFFSET, |sum| {
                    (addresses + ports).apply(sum)
                });
            }
            Proto::UDP => {
                let ports = self.apply_ports(transport)?;
                update(transport, udp::Header::CHECKSUM_OFFSET, |sum| {
                    (addresses + ports).apply_udp(sum)
                });
            }
            Proto::ICMP | Proto::ICMPV6 => {
                let mut delta = if layout.proto == Proto::ICMPV6 {
                    addresses
                } else {
                    Delta::new()
                };
                let (header, _) = icmp::Header::mut_from_prefix(transport).ok()?;
                if layout.has_id {
                    delta.replace_u16(header.id.get(), self.id());
                    header.id = self.id().into();
                }
                header.checksum = delta.apply(header.checksum.get()).into();
            }
            _ => (),
        }
        Some(())
    }

    /// Writes both addresses, and says what that does to checksums that cover them.
    fn apply_addresses(&self, bytes: &mut [u8], af: Af) -> Option<Delta> {
        let change = |old: (Addr, Addr)| {
            let mut delta = Delta::new();
            delta.replace_addr(&old.0, &self.src.addr);
            delta.replace_addr(&old.1, &self.dst.addr);
            delta
        };
        Some(match af {
            Af::Inet => {
                let (header, _) = ipv4::Header::mut_from_prefix(bytes).ok()?;
                let delta = change((header.src(), header.dst()));
                header.src = self.src.addr.octets_v4();
                header.dst = self.dst.addr.octets_v4();
                header.checksum = delta.apply(header.checksum.get()).into();
                delta
            }
            Af::Inet6 => {
                let (header, _) = ipv6::Header::mut_from_prefix(bytes).ok()?;
                let delta = change((header.src(), header.dst()));
                header.src = self.src.addr.octets();
                header.dst = self.dst.addr.octets();
                delta
            }
        })
    }

    /// Writes both ports, which TCP and UDP have in the same place.
    fn apply_ports(&self, transport: &mut [u8]) -> Option<Delta> {
        let (header, _) = tcp::Quoted::mut_from_prefix(transport).ok()?;
        let mut delta = Delta::new();
        delta.replace_u16(header.src_port.get(), self.src.port);
        delta.replace_u16(header.dst_port.get(), self.dst.port);
        header.src_port = self.src.port.into();
        header.dst_port = self.dst.port.into();
        Some(delta)
    }
}

/// Changes the checksum at `offset`, if the bytes reach that far.
pub(super) fn update(bytes: &mut [u8], offset: usize, change: impl FnOnce(u16) -> u16) {
    if let Some(field) = bytes.get_mut(offset..).and_then(|rest| rest.first_chunk_mut::<2>()) {
        *field = change(u16::from_be_bytes(*field)).to_be_bytes();
    }
}

/// Gives a TCP packet new ends that is IPv4 without options.
#[inline(never)]
pub fn rewrite_tcp_v4(mbuf: &mut Mbuf, direction: Direction, rewrite: &Rewrite) -> Result<(), NoMemory> {
    let layout = Layout {
        af: Af::Inet,
        proto: Proto::TCP,
        offset: ipv4::HEADER_LEN,
        has_id: false,
    };
    mbuf.settle_checksums(direction)?;
    let bytes = mbuf.head_mut(ipv4::HEADER_LEN + tcp::HEADER_LEN)?;
    rewrite.apply(bytes, &layout).ok_or(NoMemory)
}

impl Packet {
    /// Gives the packet new ends.
    pub fn rewrite(&mut self, rewrite: &Rewrite) -> Result<(), NoMemory> {
        let (header, has_id) = match &self.transport {
            Transport::Tcp { .. } => (tcp::HEADER_LEN, false),
            Transport::Udp(_) => (udp::HEADER_LEN, false),
            Transport::Icmp { class, .. } => (
                icmp::HEADER_LEN,
                matches!(class, icmp::Class::Query | icmp::Class::Reply),
            ),
            Transport::Other | Transport::Fragment => (0, false),
        };
        let layout = Layout {
            af: self.af,
            proto: self.proto,
            offset: self.offset.into(),
            has_id,
        };
        self.mbuf.settle_checksums(self.direction)?;
        let bytes = self.mbuf.head_mut(layout.offset + header)?;
        rewrite.apply(bytes, &layout).ok_or(NoMemory)?;
        self.src = rewrite.src.addr;
        self.dst = rewrite.dst.addr;
        Ok(())
    }

    /// Gives an ICMP error new outer addresses, and the packet that it quotes new ends, and other numbers where it is TCP.
    pub fn rewrite_error(
        &mut self,
        src: Addr,
        dst: Addr,
        quote: &Quote,
        quoted: &Rewrite,
        numbers: Option<Renumber>,
    ) -> Result<(), NoMemory> {
        let offset = usize::from(self.offset);
        let layout = Layout {
            af: self.af,
            proto: quote.proto,
            offset: quote.header_len.into(),
            has_id: quote.has_id,
        };
        self.mbuf.settle_checksums(self.direction)?;
        let begin = offset + icmp::HEADER_LEN;
        let end = begin + usize::from(quote.header_len) + usize::from(quote.transport_len);
        let bytes = self.mbuf.head_mut(end)?;
        // What is quoted is data of the error, which its own checksum covers.
        let (outer, inner) = bytes.split_at_mut_checked(begin).ok_or(NoMemory)?;
        let before = Sum::new().with(inner).checksum();
        quoted.apply(inner, &layout).ok_or(NoMemory)?;
        if let Some(numbers) = numbers {
            let transport = inner.get_mut(layout.offset..).ok_or(NoMemory)?;
            numbers.apply(transport).ok_or(NoMemory)?;
        }
        let after = Sum::new().with(inner).checksum();
        update(outer, offset + icmp::Header::CHECKSUM_OFFSET, |sum| {
            let mut delta = Delta::new();
            delta.replace_u16(!before, !after);
            delta.apply(sum)
        });
        let ends = Rewrite {
            src: Host { addr: src, port: 0 },
            dst: Host { addr: dst, port: 0 },
        };
        let layout = Layout {
            af: self.af,
            proto: self.proto,
            offset,
            has_id: false,
        };
        ends.apply(outer, &layout).ok_or(NoMemory)?;
        self.src = src;
        self.dst = dst;
        Ok(())
    }
}
