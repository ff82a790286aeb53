//! ICMP (RFC 792), and the header that it shares with ICMPv6.
//!
//! # Overview
//!
//! [`class`] says what a message is to a packet filter: a query or a reply, which have an identifier and make a state of their own,
//! or an error, which quotes the packet that it is about and belongs to the state of that one.
//!
//! # Life cycle, locking
//!
//! Plain values and borrowed bytes.

use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::checksum::Sum;

/// Bytes of the header. An error quotes the packet that it is about right behind it.
pub const HEADER_LEN: usize = size_of::<Header>();

/// Echo reply.
pub const ECHO_REPLY: u8 = 0;
/// Destination unreachable.
pub const UNREACHABLE: u8 = 3;
/// Source quench (deprecated by RFC 6633).
pub const SOURCE_QUENCH: u8 = 4;
/// Redirect.
pub const REDIRECT: u8 = 5;
/// Echo request.
pub const ECHO_REQUEST: u8 = 8;
/// Router advertisement (RFC 1256).
pub const ROUTER_ADVERTISEMENT: u8 = 9;
/// Router solicitation (RFC 1256).
pub const ROUTER_SOLICITATION: u8 = 10;
/// Time exceeded.
pub const TIME_EXCEEDED: u8 = 11;
/// Parameter problem.
pub const PARAMETER_PROBLEM: u8 = 12;
/// Timestamp request.
pub const TIMESTAMP_REQUEST: u8 = 13;
/// Timestamp reply.
pub const TIMESTAMP_REPLY: u8 = 14;
/// Information request (deprecated by RFC 6918).
pub const INFO_REQUEST: u8 = 15;
/// Information reply (deprecated by RFC 6918).
pub const INFO_REPLY: u8 = 16;
/// Address mask request (RFC 950).
pub const MASK_REQUEST: u8 = 17;
/// Address mask reply (RFC 950).
pub const MASK_REPLY: u8 = 18;

/// Code of [`UNREACHABLE`]: the network.
pub const UNREACHABLE_NET: u8 = 0;
/// Code of [`UNREACHABLE`]: the host.
pub const UNREACHABLE_HOST: u8 = 1;
/// Code of [`UNREACHABLE`]: the protocol.
pub const UNREACHABLE_PROTOCOL: u8 = 2;
/// Code of [`UNREACHABLE`]: the port.
pub const UNREACHABLE_PORT: u8 = 3;
/// Code of [`UNREACHABLE`]: the packet would have to be fragmented, and must not be.
pub const UNREACHABLE_NEED_FRAGMENT: u8 = 4;
/// Code of [`UNREACHABLE`]: prohibited by a filter (RFC 1812, 5.2.7.1).
pub const UNREACHABLE_PROHIBITED: u8 = 13;

/// Code of [`TIME_EXCEEDED`]: in transit.
pub const TIME_EXCEEDED_TRANSIT: u8 = 0;
/// Code of [`TIME_EXCEEDED`]: in reassembly.
pub const TIME_EXCEEDED_REASSEMBLY: u8 = 1;

/// The header of ICMP and of ICMPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    /// The type.
    pub kind: u8,
    /// The code, which tells types further apart.
    pub code: u8,
    /// The checksum of the message, and for ICMPv6 of the pseudo-header.
    pub checksum: U16,
    /// The identifier of a query or a reply.
    pub id: U16,
    /// The sequence number of a query or a reply; the next hop's MTU where an ICMP error needs fragments (RFC 1191).
    pub seq: U16,
}

impl Header {
    /// Where `checksum` is in the header, in bytes.
    pub const CHECKSUM_OFFSET: usize = core::mem::offset_of!(Self, checksum);

    /// A header without checksum. `rest` is its second half.
    #[inline]
    #[must_use]
    pub const fn new(kind: u8, code: u8, rest: u32) -> Self {
        Self {
            kind,
            code,
            checksum: U16::ZERO,
            id: U16::new((rest >> 16) as u16),
            seq: U16::new(rest as u16),
        }
    }

    /// The second half of the header: the MTU where an ICMPv6 packet is too big.
    #[inline]
    #[must_use]
    pub fn rest(&self) -> u32 {
        u32::from(self.id.get()) << 16 | u32::from(self.seq.get())
    }

    /// Writes this header, its checksum computed, and `body` to the beginning of `to`. `pseudo` is the sum of the pseudo-header
    /// for ICMPv6, of nothing for ICMP. Gives the bytes written, or None if `to` is too short.
    #[must_use]
    pub fn emit<'a>(&self, pseudo: Sum, body: &[u8], to: &'a mut [u8]) -> Option<&'a [u8]> {
        let (message, _) = to.split_at_mut_checked(body.len().checked_add(HEADER_LEN)?)?;
        let (header, rest) = Self::mut_from_prefix(message).ok()?;
        *header = Self {
            checksum: U16::ZERO,
            ..*self
        };
        header.checksum = pseudo.with(header.as_bytes()).with(body).checksum().into();
        rest.copy_from_slice(body);
        Some(message)
    }
}

/// What a message of ICMP or ICMPv6 is to a packet filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A request, with an identifier.
    Query,
    /// A reply to one, with the same identifier.
    Reply,
    /// An error. The packet that it is about begins [`HEADER_LEN`] bytes into the message and may not be there in full.
    Error,
    /// ICMPv6: how neighbours, routers and prefixes of a link are found (RFC 4861).
    NeighborDiscovery,
    /// ICMPv6: which multicast groups are listened to on a link (RFC 2710, RFC 3810).
    MulticastListener,
    /// Any other.
    Other,
}

/// What an ICMP message of type `kind` is.
#[inline]
#[must_use]
pub const fn class(kind: u8) -> Class {
    match kind {
        ECHO_REQUEST | TIMESTAMP_REQUEST | INFO_REQUEST | MASK_REQUEST => Class::Query,
        ECHO_REPLY | TIMESTAMP_REPLY | INFO_REPLY | MASK_REPLY => Class::Reply,
        UNREACHABLE | SOURCE_QUENCH | REDIRECT | TIME_EXCEEDED | PARAMETER_PROBLEM => Class::Error,
        _ => Class::Other,
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use proptest::prelude::*;

    use super::super::checksum::Delta;
    use super::super::{Addr, Bytes, Error, Proto, ipv4, udp};
    use super::*;

    /// An IPv4 packet that says that a DNS query found no server, and quotes the least that it must.
    const UNREACHED: [u8; 56] = [
        0x45, 0xc0, 0x00, 0x38, 0x00, 0x77, 0x00, 0x00, 0x40, 0x01, 0x65, 0x58, 0x0a, 0x00, 0x00, 0x35, 0x0a, 0x00,
        0x00, 0x02, 0x03, 0x03, 0x35, 0x63, 0x00, 0x00, 0x00, 0x00, 0x45, 0x00, 0x00, 0x38, 0x1c, 0x46, 0x00, 0x00,
        0x40, 0x11, 0x4a, 0x39, 0x0a, 0x00, 0x00, 0x02, 0x0a, 0x00, 0x00, 0x35, 0x9c, 0x40, 0x00, 0x35, 0x00, 0x24,
        0x2b, 0x00,
    ];

    /// An IPv4 packet that says that a TCP SYN is too big.
    const NEED_FRAGMENT: [u8; 56] = [
        0x45, 0x00, 0x00, 0x38, 0x00, 0x09, 0x00, 0x00, 0x40, 0x01, 0xa6, 0x00, 0x0a, 0x09, 0x09, 0x01, 0xc0, 0xa8,
        0x01, 0x0a, 0x03, 0x04, 0x2d, 0x8d, 0x00, 0x00, 0x05, 0xa0, 0x45, 0x00, 0x00, 0x3c, 0xab, 0xcd, 0x40, 0x00,
        0x40, 0x06, 0x97, 0x61, 0xc0, 0xa8, 0x01, 0x0a, 0x5d, 0xb8, 0xd8, 0x22, 0xc8, 0x22, 0x01, 0xbb, 0xff, 0xff,
        0xff, 0xf0,
    ];

    /// An echo request over IPv4.
    const ECHO: [u8; 44] = [
        0x45, 0x00, 0x00, 0x2c, 0x00, 0x03, 0x40, 0x00, 0x40, 0x01, 0x26, 0x98, 0x0a, 0x00, 0x00, 0x02, 0x0a, 0x00,
        0x00, 0x35, 0x08, 0x00, 0xad, 0x8a, 0x12, 0x34, 0x00, 0x01, 0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07,
        0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f,
    ];

    fn message(packet: &[u8]) -> (Header, &[u8]) {
        let ip: ipv4::Header = packet.take(0).unwrap();
        assert_eq!(ip.proto, Proto::ICMP);
        let message = &packet[ip.extent(packet.len()).unwrap().header..];
        assert!(Sum::new().with(message).is_valid());
        (message.take(0).unwrap(), &message[HEADER_LEN..])
    }

    #[test]
    fn an_error_quotes_a_packet() {
        let (header, quote) = message(&UNREACHED);
        assert_eq!((header.kind, header.code), (UNREACHABLE, UNREACHABLE_PORT));
        assert_eq!(class(header.kind), Class::Error);
        let ip: ipv4::Header = quote.take(0).unwrap();
        assert_eq!(ip.proto, Proto::UDP);
        // The quotation ends before the quoted packet does.
        assert_eq!(ip.header_len(quote.len()), Ok(20));
        assert_eq!(ip.extent(quote.len()), Err(Error::Short));
        let udp: udp::Header = quote.take(20).unwrap();
        assert_eq!((udp.src_port.get(), udp.dst_port.get()), (40000, 53));
    }

    #[test]
    fn an_error_states_the_mtu() {
        let (header, quote) = message(&NEED_FRAGMENT);
        assert_eq!((header.kind, header.code), (UNREACHABLE, UNREACHABLE_NEED_FRAGMENT));
        assert_eq!((header.seq.get(), header.rest()), (1440, 1440));
        let tcp: super::super::tcp::Quoted = quote.take(20).unwrap();
        assert_eq!((tcp.src_port.get(), tcp.dst_port.get()), (51234, 443));
        assert_eq!(tcp.seq.get(), 0xffff_fff0);
    }

    #[test]
    fn a_query_has_an_identifier() {
        let (header, _) = message(&ECHO);
        assert_eq!(class(header.kind), Class::Query);
        assert_eq!((header.id.get(), header.seq.get()), (0x1234, 1));
        assert_eq!(header.rest(), 0x1234_0001);
    }

    #[test]
    fn each_type_has_its_class() {
        let of = |wanted| -> Vec<u8> { (0..=255).filter(|&kind| class(kind) == wanted).collect() };
        assert_eq!(of(Class::Query), [8, 13, 15, 17]);
        assert_eq!(of(Class::Reply), [0, 14, 16, 18]);
        assert_eq!(of(Class::Error), [3, 4, 5, 11, 12]);
        assert_eq!(of(Class::NeighborDiscovery), []);
        assert_eq!(of(Class::MulticastListener), []);
    }

    /// The translation back of an error: the packet quoted, its checksums, and the checksum over all of that.
    #[test]
    fn a_rewrite_of_the_quote_updates_all_checksums() {
        let (mut header, quote) = message(&UNREACHED);
        let mut quote = quote.to_vec();
        let inside = Addr::from_v4([192, 168, 77, 3]);

        let mut outer = Delta::new();
        let (ip, rest) = ipv4::Header::mut_from_prefix(&mut quote).unwrap();
        let (udp, _) = udp::Header::mut_from_prefix(rest).unwrap();
        let mut addrs = Delta::new();
        addrs.replace_addr(&ip.src(), &inside);
        let mut ports = Delta::new();
        ports.replace_u16(udp.src_port.get(), 1025);

        let checksum = addrs.apply(ip.checksum.get());
        outer.replace_u16(ip.checksum.get(), checksum);
        ip.checksum = checksum.into();
        ip.src = inside.octets_v4();
        let checksum = (addrs + ports).apply_udp(udp.checksum.get());
        outer.replace_u16(udp.checksum.get(), checksum);
        udp.checksum = checksum.into();
        udp.src_port = 1025.into();
        assert!(ip.checksum_is_valid(&[]));

        header.checksum = (outer + addrs + ports).apply(header.checksum.get()).into();
        let sum = Sum::new().with(header.as_bytes()).with(&quote);
        assert!(sum.is_valid());
    }

    #[test]
    fn an_error_is_written_as_it_was_read() {
        for packet in [&UNREACHED, &NEED_FRAGMENT] {
            let (header, quote) = message(packet);
            let new = Header::new(header.kind, header.code, header.rest());
            let mut buffer = [0xaa; 64];
            let written = new.emit(Sum::new(), quote, &mut buffer).unwrap();
            assert_eq!(written, &packet[20..]);
            assert_eq!(new.emit(Sum::new(), quote, &mut [0; 35]), None);
            // The checksum that the header has already does not count.
            assert_eq!(header.emit(Sum::new(), quote, &mut buffer).unwrap(), &packet[20..]);
        }
    }

    proptest! {
        #[test]
        fn what_is_emitted_is_what_is_read(kind: u8, code: u8, rest: u32, body: Vec<u8>) {
            let mut buffer = std::vec![0x55; HEADER_LEN + body.len()];
            let message = Header::new(kind, code, rest).emit(Sum::new(), &body, &mut buffer).unwrap();
            prop_assert!(Sum::new().with(message).is_valid());
            let (header, quote) = Header::read_from_prefix(message).unwrap();
            prop_assert_eq!((header.kind, header.code, header.rest()), (kind, code, rest));
            prop_assert_eq!(quote, &body[..]);
        }
    }
}
