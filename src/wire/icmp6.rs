//! ICMPv6 (RFC 4443): types, codes and classes. The header is that of [`super::icmp`]; its checksum covers the pseudo-header too.
//!
//! # Life cycle, locking
//!
//! Constants and a function of one byte.

pub use super::icmp::{Class, HEADER_LEN, Header};

/// Destination unreachable.
pub const UNREACHABLE: u8 = 1;
/// Packet too big; the second half of the header is the MTU.
pub const PACKET_TOO_BIG: u8 = 2;
/// Time exceeded.
pub const TIME_EXCEEDED: u8 = 3;
/// Parameter problem; the second half of the header says where.
pub const PARAMETER_PROBLEM: u8 = 4;
/// Echo request.
pub const ECHO_REQUEST: u8 = 128;
/// Echo reply.
pub const ECHO_REPLY: u8 = 129;
/// Multicast listener query (RFC 2710).
pub const LISTENER_QUERY: u8 = 130;
/// Multicast listener report (RFC 2710).
pub const LISTENER_REPORT: u8 = 131;
/// Multicast listener done (RFC 2710).
pub const LISTENER_DONE: u8 = 132;
/// Router solicitation (RFC 4861).
pub const ROUTER_SOLICITATION: u8 = 133;
/// Router advertisement (RFC 4861).
pub const ROUTER_ADVERTISEMENT: u8 = 134;
/// Neighbour solicitation (RFC 4861).
pub const NEIGHBOR_SOLICITATION: u8 = 135;
/// Neighbour advertisement (RFC 4861).
pub const NEIGHBOR_ADVERTISEMENT: u8 = 136;
/// Redirect (RFC 4861).
pub const REDIRECT: u8 = 137;
/// Version 2 multicast listener report (RFC 3810).
pub const LISTENER_REPORT_V2: u8 = 143;

/// Code of [`UNREACHABLE`]: no route.
pub const UNREACHABLE_NO_ROUTE: u8 = 0;
/// Code of [`UNREACHABLE`]: prohibited by a filter.
pub const UNREACHABLE_PROHIBITED: u8 = 1;
/// Code of [`UNREACHABLE`]: the address.
pub const UNREACHABLE_ADDRESS: u8 = 3;
/// Code of [`UNREACHABLE`]: the port.
pub const UNREACHABLE_PORT: u8 = 4;

/// Code of [`TIME_EXCEEDED`]: in transit.
pub const TIME_EXCEEDED_TRANSIT: u8 = 0;
/// Code of [`TIME_EXCEEDED`]: in reassembly.
pub const TIME_EXCEEDED_REASSEMBLY: u8 = 1;

/// What an ICMPv6 message of type `kind` is.
#[inline]
#[must_use]
pub const fn class(kind: u8) -> Class {
    match kind {
        ECHO_REQUEST => Class::Query,
        ECHO_REPLY => Class::Reply,
        UNREACHABLE | PACKET_TOO_BIG | TIME_EXCEEDED | PARAMETER_PROBLEM => Class::Error,
        ROUTER_SOLICITATION | ROUTER_ADVERTISEMENT | NEIGHBOR_SOLICITATION | NEIGHBOR_ADVERTISEMENT | REDIRECT => {
            Class::NeighborDiscovery
        }
        LISTENER_QUERY | LISTENER_REPORT | LISTENER_DONE | LISTENER_REPORT_V2 => Class::MulticastListener,
        _ => Class::Other,
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::super::checksum::{Delta, Sum};
    use super::super::{Addr, Bytes, Proto, ipv6, tcp};
    use super::*;

    /// An echo request.
    const ECHO: [u8; 56] = [
        0x60, 0x00, 0x00, 0x00, 0x00, 0x10, 0x3a, 0x40, 0x20, 0x01, 0x0d, 0xb8, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x20, 0x01, 0x0d, 0xb8, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x02, 0x80, 0x00, 0x92, 0x99, 0x00, 0x07, 0x00, 0x09, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66,
        0x67, 0x68,
    ];

    /// A message that says that a TCP SYN is too big.
    const TOO_BIG: [u8; 96] = [
        0x60, 0x00, 0x00, 0x00, 0x00, 0x38, 0x3a, 0x40, 0x20, 0x01, 0x0d, 0xb8, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x20, 0x01, 0x0d, 0xb8, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x01, 0x02, 0x00, 0x8c, 0x8c, 0x00, 0x00, 0x05, 0x00, 0x60, 0x0b, 0x84, 0xd2, 0x00, 0x18,
        0x06, 0x40, 0x20, 0x01, 0x0d, 0xb8, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01,
        0x20, 0x01, 0x0d, 0xb8, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0xc8, 0x22,
        0x01, 0xbb, 0x00, 0x00, 0x00, 0x01,
    ];

    fn pseudo(ip: &ipv6::Header) -> Sum {
        let len = ip.payload_len.get().into();
        Sum::pseudo(&ip.src(), &ip.dst(), Proto::ICMPV6, len)
    }

    fn message(packet: &[u8]) -> (ipv6::Header, Header, &[u8]) {
        let ip: ipv6::Header = packet.take(0).unwrap();
        let extent = ip.extent(packet.len()).unwrap();
        let upper = ipv6::walk(packet, ip.next_header, extent.header, extent.total).unwrap();
        assert_eq!(upper.proto, Proto::ICMPV6);
        let message = &packet[upper.offset..];
        assert!(pseudo(&ip).with(message).is_valid());
        (ip, message.take(0).unwrap(), &message[HEADER_LEN..])
    }

    #[test]
    fn a_query_has_an_identifier() {
        let (_, header, data) = message(&ECHO);
        assert_eq!(class(header.kind), Class::Query);
        assert_eq!((header.id.get(), header.seq.get()), (7, 9));
        assert_eq!(data, b"abcdefgh");
    }

    #[test]
    fn an_error_quotes_a_packet() {
        let (ip, header, quote) = message(&TOO_BIG);
        assert_eq!((header.kind, header.code), (PACKET_TOO_BIG, 0));
        assert_eq!(class(header.kind), Class::Error);
        assert_eq!(header.rest(), 1280);
        let quoted: ipv6::Header = quote.take(0).unwrap();
        assert_eq!((quoted.src(), quoted.dst()), (ip.dst(), ip.src()));
        let upper = ipv6::walk(quote, quoted.next_header, 40, quote.len()).unwrap();
        assert_eq!((upper.proto, upper.offset), (Proto::TCP, 40));
        let tcp: tcp::Quoted = quote.take(upper.offset).unwrap();
        assert_eq!((tcp.src_port.get(), tcp.dst_port.get()), (51234, 443));
    }

    #[test]
    fn an_error_is_written_as_it_was_read() {
        let (ip, header, quote) = message(&TOO_BIG);
        let new = Header::new(header.kind, header.code, header.rest());
        let mut buffer = [0xaa; 60];
        let written = new.emit(pseudo(&ip), quote, &mut buffer).unwrap();
        assert_eq!(written, &TOO_BIG[40..]);
    }

    #[test]
    fn a_translation_updates_the_checksum() {
        let (mut ip, mut header, data) = message(&ECHO);
        let outside = Addr::from_bits(0x2001_0db8_ffff_0000_0000_0000_0000_0001);
        let mut delta = Delta::new();
        delta.replace_addr(&ip.src(), &outside);
        delta.replace_u16(header.id.get(), 0xfff8);
        ip.src = outside.octets();
        header.id = 0xfff8.into();
        header.checksum = delta.apply(header.checksum.get()).into();
        let sum = pseudo(&ip).with(zerocopy::IntoBytes::as_bytes(&header)).with(data);
        assert!(sum.is_valid());
    }

    #[test]
    fn each_type_has_its_class() {
        let of = |wanted| -> Vec<u8> { (0..=255).filter(|&kind| class(kind) == wanted).collect() };
        assert_eq!(of(Class::Query), [128]);
        assert_eq!(of(Class::Reply), [129]);
        assert_eq!(of(Class::Error), [1, 2, 3, 4]);
        assert_eq!(of(Class::NeighborDiscovery), [133, 134, 135, 136, 137]);
        assert_eq!(of(Class::MulticastListener), [130, 131, 132, 143]);
    }
}
