//! An IP packet as a router sees it: who sends it to whom, how long it is, and how far it may still go.
//!
//! The views of the headers are those of the engine, [`pf::wire`].

use std::net::IpAddr;

use pf::wire::checksum::Delta;
use pf::wire::{Addr, Af, ipv4, ipv6};
use zerocopy::FromBytes;

/// What a router needs to know of a packet. Made from bytes by [`Packet::parse`], which checks them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// The source address.
    pub src: IpAddr,
    /// The destination address.
    pub dst: IpAddr,
    /// How many more routers may forward it: IPv4's TTL, IPv6's hop limit.
    pub ttl: u8,
    /// Bytes of IPv4's header with its options, or of IPv6's fixed header.
    pub header: usize,
    /// Bytes of the whole packet: not less than `header`, not more than there were.
    pub total: usize,
    /// Whether routers may cut it into fragments: IPv4 without options and without Don't Fragment.
    pub may_fragment: bool,
}

impl Packet {
    /// Reads the IP header at the beginning of `bytes`. None if there is no whole and consistent one: the version, a
    /// length, or IPv4's checksum is wrong (RFC 1812, 5.2.2).
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        match bytes.first()? >> 4 {
            4 => {
                let (header, rest) = ipv4::Header::ref_from_prefix(bytes).ok()?;
                let extent = header.extent(bytes.len()).ok()?;
                let options = rest.get(..extent.header - ipv4::HEADER_LEN)?;
                header.checksum_is_valid(options).then(|| Packet {
                    src: header.src().to_ip(Af::Inet),
                    dst: header.dst().to_ip(Af::Inet),
                    ttl: header.ttl,
                    header: extent.header,
                    total: extent.total,
                    may_fragment: !header.dont_fragment() && options.is_empty(),
                })
            }
            6 => {
                let (header, _) = ipv6::Header::ref_from_prefix(bytes).ok()?;
                let extent = header.extent(bytes.len()).ok()?;
                Some(Packet {
                    src: header.src().to_ip(Af::Inet6),
                    dst: header.dst().to_ip(Af::Inet6),
                    ttl: header.hop_limit,
                    header: extent.header,
                    total: extent.total,
                    may_fragment: false,
                })
            }
            _ => None,
        }
    }

    /// Whether a router may take packets from such a sender to such a destination any further: neither is unspecified,
    /// loopback, of the link alone, or reserved, the sender is a single node, and multicast is not routed here
    /// (RFC 1812, 5.3.7; RFC 4291, 2.5).
    pub fn is_routable(&self) -> bool {
        is_global(self.src) && is_global(self.dst)
    }
}

fn is_global(addr: IpAddr) -> bool {
    match addr {
        // Class E, the limited broadcast address in it, and the network that is called "this" (RFC 1122).
        IpAddr::V4(v4) if v4.octets()[0] >= 240 || v4.octets()[0] == 0 || v4.is_link_local() => false,
        IpAddr::V6(v6) if v6.is_unicast_link_local() => false,
        _ => !(addr.is_unspecified() || addr.is_loopback() || addr.is_multicast()),
    }
}

/// The address in the engine's type.
pub(crate) fn wire_addr(addr: IpAddr) -> Addr {
    Addr::from(addr)
}

/// Takes one from the TTL or the hop limit of the packet that `bytes` begins with, which [`Packet::parse`] has taken and which has more
/// than 0, and updates IPv4's checksum (RFC 1624).
pub fn lower_ttl(bytes: &mut [u8]) {
    match bytes.first().map(|first| first >> 4) {
        Some(4) => {
            if let Ok((header, _)) = ipv4::Header::mut_from_prefix(bytes) {
                let old = u16::from_be_bytes([header.ttl, header.proto.0]);
                header.ttl = header.ttl.saturating_sub(1);
                let mut delta = Delta::new();
                delta.replace_u16(old, u16::from_be_bytes([header.ttl, header.proto.0]));
                header.checksum = delta.apply(header.checksum.get()).into();
            }
        }
        Some(6) => {
            if let Ok((header, _)) = ipv6::Header::mut_from_prefix(bytes) {
                header.hop_limit = header.hop_limit.saturating_sub(1);
            }
        }
        _ => (),
    }
}

/// Cuts an IPv4 packet into pieces of at most `mtu` bytes, 68 or more (RFC 791, 3.2). `packet` is what [`Packet::parse`] said of `bytes`, and
/// may be fragmented; the packet may be a fragment itself.
pub fn fragments<'a>(bytes: &'a [u8], packet: &Packet, mtu: usize) -> impl Iterator<Item = Vec<u8>> + 'a {
    let (header, payload) = bytes.get(..packet.total).unwrap_or(bytes).split_at(packet.header);
    let piece = mtu.saturating_sub(packet.header) / 8 * 8;
    let last = payload.len().saturating_sub(1) / piece.max(8);
    payload.chunks(piece.max(8)).enumerate().filter_map(move |(i, part)| {
        let mut fragment = Vec::with_capacity(header.len() + part.len());
        fragment.extend_from_slice(header);
        fragment.extend_from_slice(part);
        let len = u16::try_from(fragment.len()).ok()?;
        let (header, _) = ipv4::Header::mut_from_prefix(&mut fragment).ok()?;
        let frag = header.frag.get();
        let units = u16::try_from(i * piece / 8).ok()?;
        let offset = (frag & ipv4::Header::OFFSET_MASK).checked_add(units)?;
        let more = if i == last {
            frag & ipv4::Header::MORE_FRAGMENTS
        } else {
            ipv4::Header::MORE_FRAGMENTS
        };
        let new = offset | more;
        let mut delta = Delta::new();
        delta.replace_u16(frag, new);
        delta.replace_u16(header.total_len.get(), len);
        header.frag = new.into();
        header.total_len = len.into();
        header.checksum = delta.apply(header.checksum.get()).into();
        Some(fragment)
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use pf::wire::checksum::Sum;

    /// The bytes of hexadecimal digits.
    pub(crate) fn hex(digits: &str) -> Vec<u8> {
        let digits: Vec<u8> = digits.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(byte).collect()
    }

    /// UDP from 10.0.0.2 port 40000 to 198.51.100.2 port 53, TTL 64, without Don't Fragment. These packets, and those expected in
    /// answer, were composed by another program than the router.
    pub(crate) fn udp_v4() -> Vec<u8> {
        hex("4500 0020 1234 0000 4011 3462 0a000002 c6336402 9c40 0035 000c 5058 70696e67")
    }

    /// UDP from fd00:1::2 port 40000 to fd00:2::2 port 53, hop limit 64.
    pub(crate) fn udp_v6() -> Vec<u8> {
        hex(
            "60000000 000c 11 40 fd000001000000000000000000000002 fd000002000000000000000000000002
             9c40 0035 000c 8a87 70696e67",
        )
    }

    /// A UDP packet from 10.0.0.2 to 198.51.100.2 with `len` bytes of data and these flags.
    pub(crate) fn long_v4(len: usize, dont_fragment: bool) -> Vec<u8> {
        let repr = ipv4::Repr {
            src: Addr::from_v4([10, 0, 0, 2]),
            dst: Addr::from_v4([198, 51, 100, 2]),
            proto: pf::wire::Proto::UDP,
            tos: 0,
            ttl: 64,
            id: 7,
            dont_fragment,
        };
        let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
        let header = repr.emit(len).unwrap();
        [zerocopy::IntoBytes::as_bytes(&header), &payload].concat()
    }

    #[test]
    fn headers_of_both_families_are_read() {
        let packet = Packet::parse(&udp_v4()).unwrap();
        assert_eq!(packet.src.to_string(), "10.0.0.2");
        assert_eq!(packet.dst.to_string(), "198.51.100.2");
        assert_eq!(
            (packet.ttl, packet.header, packet.total, packet.may_fragment),
            (64, 20, 32, true)
        );
        let packet = Packet::parse(&udp_v6()).unwrap();
        assert_eq!(packet.src.to_string(), "fd00:1::2");
        assert_eq!(packet.dst.to_string(), "fd00:2::2");
        assert_eq!(
            (packet.ttl, packet.header, packet.total, packet.may_fragment),
            (64, 40, 52, false)
        );
    }

    #[test]
    fn what_is_no_packet_is_not_read() {
        assert_eq!(Packet::parse(&[]), None);
        for good in [udp_v4(), udp_v6()] {
            for len in 0..good.len() {
                assert_eq!(Packet::parse(&good[..len]), None, "{len} bytes");
            }
            let mut version = good.clone();
            version[0] ^= 0x10;
            assert_eq!(Packet::parse(&version), None);
        }
        let mut checksum = udp_v4();
        checksum[10] ^= 1;
        assert_eq!(Packet::parse(&checksum), None);
    }

    #[test]
    fn what_lies_behind_the_packet_is_not_part_of_it() {
        let mut padded = udp_v4();
        padded.extend([0; 14]);
        assert_eq!(Packet::parse(&padded).unwrap().total, 32);
    }

    #[test]
    fn each_router_takes_one_from_the_ttl() {
        let mut packet = udp_v4();
        lower_ttl(&mut packet);
        assert_eq!(
            packet,
            hex("4500 0020 1234 0000 3f11 3562 0a000002 c6336402 9c40 0035 000c 5058 70696e67")
        );
        for ttl in (1..=63).rev() {
            assert_eq!(Packet::parse(&packet).unwrap().ttl, ttl);
            lower_ttl(&mut packet);
        }
        let mut packet = udp_v6();
        lower_ttl(&mut packet);
        assert_eq!(packet[7], 63);
        packet[7] = 64;
        assert_eq!(packet, udp_v6());
    }

    #[test]
    fn addresses_that_mean_no_single_distant_node_are_not_routed() {
        let routable = |src: &str, dst: &str| {
            Packet {
                src: src.parse().unwrap(),
                dst: dst.parse().unwrap(),
                ..Packet::parse(&udp_v4()).unwrap()
            }
            .is_routable()
        };
        assert!(routable("10.0.0.2", "198.51.100.2") && routable("fd00::1", "2001:db8::1"));
        for bad in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "169.254.1.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
        ] {
            assert!(!routable(bad, "10.0.0.2") && !routable("10.0.0.2", bad), "{bad}");
        }
        for bad in ["::", "::1", "fe80::1", "ff02::1"] {
            assert!(!routable(bad, "fd00::1") && !routable("fd00::1", bad), "{bad}");
        }
    }

    /// Puts fragments together again, each of which must be a good packet.
    fn reassemble(fragments: &[Vec<u8>], mtu: usize) -> Vec<u8> {
        let mut payload = Vec::new();
        for (i, fragment) in fragments.iter().enumerate() {
            let packet = Packet::parse(fragment).unwrap();
            assert!(fragment.len() <= mtu && packet.total == fragment.len());
            let (header, data) = ipv4::Header::ref_from_prefix(fragment).unwrap();
            assert!(Sum::new().with(&fragment[..20]).is_valid());
            let at = header.fragment().unwrap();
            assert_eq!(usize::from(at.offset), payload.len());
            assert_eq!(at.more, i + 1 < fragments.len());
            assert_eq!(at.id, 7);
            payload.extend_from_slice(data);
        }
        payload
    }

    #[test]
    fn fragments_are_the_packet_again() {
        for len in [1481, 1488, 2960, 2961, 4000] {
            let long = long_v4(len, false);
            let packet = Packet::parse(&long).unwrap();
            let pieces: Vec<_> = fragments(&long, &packet, 1500).collect();
            assert_eq!(pieces.len(), len.div_ceil(1480));
            assert_eq!(reassemble(&pieces, 1500), long[20..]);
        }
        let long = long_v4(1000, false);
        let pieces: Vec<_> = fragments(&long, &Packet::parse(&long).unwrap(), 68).collect();
        assert_eq!(reassemble(&pieces, 68), long[20..]);
    }

    #[test]
    fn a_fragment_is_cut_further() {
        let long = long_v4(4000, false);
        let pieces = fragments(&long, &Packet::parse(&long).unwrap(), 1500);
        let smaller: Vec<_> = pieces
            .flat_map(|piece| fragments(&piece, &Packet::parse(&piece).unwrap(), 600).collect::<Vec<_>>())
            .collect();
        assert_eq!(reassemble(&smaller, 600), long[20..]);
    }
}
