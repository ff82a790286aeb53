//! Views of packet headers over bytes: IPv4, IPv6, TCP, UDP, ICMP and ICMPv6, and their checksums.
//!
//! # Overview
//!
//! One file a protocol. Each has a `Header`: the fixed part, laid out as on the wire, with no alignment of its own, so that
//! zerocopy's `ref_from_prefix`, `mut_from_prefix` and [`Bytes::take`] make a view or a copy of it from any bytes. A field that is
//! a whole number on the wire is a public field; what is packed into bits has an accessor.
//!
//! Nothing read from a packet is trusted: a length becomes usable through the function that checks it (`extent`, `header_len`,
//! `payload_len`, [`ipv6::walk`]), which answers an [`Error`] otherwise. No function here panics, and each loop is bounded by
//! the bytes it is given or by a constant.
//!
//! Numbers are in host order once they are out of a header; [`Addr`] stays in network order.
//!
//! # Life cycle, locking
//!
//! Plain values and borrowed bytes: nothing is allocated, nothing is shared, nothing is locked.

#![forbid(unsafe_code)]

pub mod checksum;
pub mod icmp;
pub mod icmp6;
pub mod ipv4;
pub mod ipv6;
pub mod tcp;
pub mod udp;

use core::cmp::Ordering;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, transmute};

/// Why a header cannot be taken. The packet is to be dropped; the variant decides under which reason it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Error {
    /// The packet ends before the header does, or before the length that a header states (PFRES_SHORT).
    Short,
    /// The version of the IP header, or the ICMP behind it, is not that of the family it came as (PFRES_SHORT).
    Version,
    /// A length contradicts itself: smaller than the header that states it (PFRES_SHORT).
    Length,
    /// The IPv4 options, or the options of an IPv6 extension header, are malformed: an option shorter than its own header or
    /// longer than what is left, or more options than any sender has a use for (PFRES_IPOPTIONS).
    Options,
    /// The IPv6 extension headers are out of order, repeat where they must not, or are too many (PFRES_IPOPTIONS).
    Chain,
    /// An IPv6 jumbogram (RFC 2675), which pf does not handle (PFRES_IPOPTIONS).
    Jumbo,
    /// A fragment that cannot be part of any packet: it ends beyond 65535 bytes, it is empty, or it is not the last one and not
    /// a multiple of eight bytes long (PFRES_FRAG).
    Fragment,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Short => "the packet ends before its headers do",
            Self::Version => "the IP version is not the one expected",
            Self::Length => "a length is smaller than the header that states it",
            Self::Options => "malformed IP options",
            Self::Chain => "IPv6 extension headers out of order or too many",
            Self::Jumbo => "IPv6 jumbogram",
            Self::Fragment => "impossible fragment",
        })
    }
}

impl core::error::Error for Error {}

/// The bytes of a packet, which need not lie in one piece.
pub trait Bytes {
    /// Fills `to` with the bytes that begin `offset` bytes into the packet. False if the packet ends before; `to` is then
    /// unspecified.
    #[must_use]
    fn copy(&self, offset: usize, to: &mut [u8]) -> bool;

    /// The bytes that begin `offset` bytes into the packet, up to the end of the piece that they lie in. None where they
    /// would have to be looked for.
    #[must_use]
    fn piece(&self, offset: usize) -> &[u8];

    /// A copy of the header, or other plain value, that begins `offset` bytes into the packet.
    ///
    /// # Errors
    ///
    /// [`Error::Short`] if the packet ends before it does.
    #[inline]
    fn take<T: FromBytes + IntoBytes>(&self, offset: usize) -> Result<T, Error> {
        let mut value = T::new_zeroed();
        if self.copy(offset, value.as_mut_bytes()) {
            Ok(value)
        } else {
            Err(Error::Short)
        }
    }

    /// The header that begins `offset` bytes into the packet: where it lies if it lies in one piece, as it nearly always does,
    /// and else a copy of it in `room`.
    ///
    /// # Errors
    ///
    /// [`Error::Short`] if the packet ends before it does.
    #[inline(always)]
    fn view<'a, T>(&'a self, offset: usize, room: &'a mut Option<T>) -> Result<&'a T, Error>
    where
        T: FromBytes + IntoBytes + KnownLayout + Immutable + Unaligned,
    {
        match T::ref_from_prefix(self.piece(offset)) {
            Ok((header, _)) => Ok(header),
            Err(_) => Ok(room.insert(self.gather(offset)?)),
        }
    }

    /// [`take`](Self::take) where that is the exception.
    #[cold]
    #[inline(never)]
    fn gather<T: FromBytes + IntoBytes>(&self, offset: usize) -> Result<T, Error> {
        self.take(offset)
    }
}

impl Bytes for [u8] {
    #[inline]
    fn piece(&self, offset: usize) -> &[u8] {
        self.get(offset..).unwrap_or_default()
    }

    #[inline]
    fn copy(&self, offset: usize, to: &mut [u8]) -> bool {
        let from = self.get(offset..).and_then(|rest| rest.get(..to.len()));
        if let Some(from) = from {
            to.copy_from_slice(from);
        }
        from.is_some()
    }
}

/// An address family, by NetBSD's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Af {
    /// IPv4: AF_INET.
    Inet = 2,
    /// IPv6: NetBSD's AF_INET6.
    Inet6 = 24,
}

impl Af {
    /// The bits of an address of this family: 32 or 128.
    #[inline]
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::Inet => 32,
            Self::Inet6 => 128,
        }
    }

    /// The bytes of an address of this family: 4 or 16.
    #[inline]
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Inet => 4,
            Self::Inet6 => 16,
        }
    }
}

/// A number that is no address family pf knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownAf(pub u8);

impl TryFrom<u8> for Af {
    type Error = UnknownAf;

    #[inline]
    fn try_from(number: u8) -> Result<Self, UnknownAf> {
        match number {
            2 => Ok(Self::Inet),
            24 => Ok(Self::Inet6),
            other => Err(UnknownAf(other)),
        }
    }
}

impl From<Af> for u8 {
    #[inline]
    fn from(af: Af) -> Self {
        af as Self
    }
}

/// An IP protocol number: IPv4's protocol, IPv6's next header (IANA's "Assigned Internet Protocol Numbers").
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(transparent)]
pub struct Proto(pub u8);

impl Proto {
    /// IPv6 hop-by-hop options (RFC 8200, 4.3). In a rule the same number means "any protocol".
    pub const HOP_BY_HOP: Self = Self(0);
    /// ICMP (RFC 792).
    pub const ICMP: Self = Self(1);
    /// IGMP.
    pub const IGMP: Self = Self(2);
    /// IPv4 in IP (RFC 2003).
    pub const IPV4: Self = Self(4);
    /// TCP (RFC 9293).
    pub const TCP: Self = Self(6);
    /// UDP (RFC 768).
    pub const UDP: Self = Self(17);
    /// IPv6 in IP (RFC 2473).
    pub const IPV6: Self = Self(41);
    /// IPv6 routing header (RFC 8200, 4.4).
    pub const ROUTING: Self = Self(43);
    /// IPv6 fragment header (RFC 8200, 4.5).
    pub const FRAGMENT: Self = Self(44);
    /// GRE (RFC 2784).
    pub const GRE: Self = Self(47);
    /// Encapsulating security payload (RFC 4303).
    pub const ESP: Self = Self(50);
    /// Authentication header (RFC 4302).
    pub const AH: Self = Self(51);
    /// ICMPv6 (RFC 4443).
    pub const ICMPV6: Self = Self(58);
    /// Nothing follows (RFC 8200, 4.7).
    pub const NO_NEXT_HEADER: Self = Self(59);
    /// IPv6 destination options (RFC 8200, 4.6).
    pub const DEST_OPTIONS: Self = Self(60);
    /// Protocol independent multicast.
    pub const PIM: Self = Self(103);
    /// CARP and VRRP share this number.
    pub const CARP: Self = Self(112);
    /// SCTP.
    pub const SCTP: Self = Self(132);
    /// pfsync(4).
    pub const PFSYNC: Self = Self(240);
}

/// An address of either family, sixteen bytes in network order. An IPv4 address is the first four bytes, and the rest is zero.
///
/// Laid out as pf's `struct pf_addr`. Ordered as numbers are: within a family, 10.0.0.255 is below 10.0.1.0.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(transparent)]
pub struct Addr([u32; 4]);

impl Addr {
    /// All zero: the unspecified address of either family, and the mask that lets everything match.
    pub const ZERO: Self = Self([0; 4]);

    /// The IPv4 address of these bytes.
    #[inline]
    #[must_use]
    pub const fn from_v4(octets: [u8; 4]) -> Self {
        Self([u32::from_ne_bytes(octets), 0, 0, 0])
    }

    /// The address of these sixteen bytes.
    #[inline]
    #[must_use]
    pub const fn from_octets(octets: [u8; 16]) -> Self {
        transmute!(octets)
    }

    /// All sixteen bytes.
    #[inline]
    #[must_use]
    pub const fn octets(self) -> [u8; 16] {
        transmute!(self)
    }

    /// The first four bytes: an IPv4 address.
    #[inline]
    #[must_use]
    pub const fn octets_v4(self) -> [u8; 4] {
        let Self([first, ..]) = self;
        first.to_ne_bytes()
    }

    /// The four words, each in network order.
    #[inline]
    #[must_use]
    pub const fn words(self) -> [u32; 4] {
        self.0
    }

    /// The address as an integer, its first byte the most significant.
    #[inline]
    #[must_use]
    pub const fn to_bits(self) -> u128 {
        u128::from_be_bytes(self.octets())
    }

    /// The address whose first byte is the most significant one of `bits`.
    #[inline]
    #[must_use]
    pub const fn from_bits(bits: u128) -> Self {
        Self::from_octets(bits.to_be_bytes())
    }

    /// The address in the standard library's type.
    #[must_use]
    pub fn to_ip(self, af: Af) -> IpAddr {
        match af {
            Af::Inet => IpAddr::V4(self.octets_v4().into()),
            Af::Inet6 => IpAddr::V6(self.octets().into()),
        }
    }

    /// What an address of this family consists of, the rest set to zero. For addresses that come from outside.
    #[inline]
    #[must_use]
    pub const fn of_family(self, af: Af) -> Self {
        match af {
            Af::Inet => Self::from_v4(self.octets_v4()),
            Af::Inet6 => self,
        }
    }

    /// Whether every bit is zero.
    #[inline]
    #[must_use]
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }

    /// The bits of this address that `mask` has set.
    #[inline]
    #[must_use]
    pub const fn masked(self, mask: &Self) -> Self {
        let Self([a, b, c, d]) = self;
        let Self([i, j, k, l]) = *mask;
        Self([a & i, b & j, c & k, d & l])
    }

    /// Whether this address and `net` are equal in the bits that `mask` has set.
    #[inline]
    #[must_use]
    pub const fn matches(&self, net: &Self, mask: &Self) -> bool {
        let Self([a, b, c, d]) = *self;
        let Self([m, n, o, p]) = *net;
        let Self([i, j, k, l]) = *mask;
        ((a ^ m) & i) | ((b ^ n) & j) | ((c ^ o) & k) | ((d ^ p) & l) == 0
    }

    /// The mask of the first `len` bits. None if an address of this family has no so many.
    #[must_use]
    pub const fn prefix_mask(af: Af, len: u8) -> Option<Self> {
        if len > af.bits() {
            return None;
        }
        let bits = match u128::MAX.checked_shr(len as u32) {
            Some(host) => !host,
            None => u128::MAX,
        };
        Some(Self::from_bits(bits))
    }

    /// How many bits this mask has set, if they are the first ones: 0 to 32 or 128. None if a bit is missing between.
    #[must_use]
    pub fn prefix_len(self) -> Option<u8> {
        let bits = self.to_bits();
        let len = bits.leading_ones();
        let rest = bits.checked_shl(len).unwrap_or(0);
        if rest == 0 { u8::try_from(len).ok() } else { None }
    }

    /// The address in the notation of its family.
    #[inline]
    #[must_use]
    pub const fn display(self, af: Af) -> DisplayAddr {
        DisplayAddr { addr: self, af }
    }
}

impl Ord for Addr {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        self.to_bits().cmp(&other.to_bits())
    }
}

impl PartialOrd for Addr {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl From<Ipv4Addr> for Addr {
    #[inline]
    fn from(ip: Ipv4Addr) -> Self {
        Self::from_v4(ip.octets())
    }
}

impl From<Ipv6Addr> for Addr {
    #[inline]
    fn from(ip: Ipv6Addr) -> Self {
        Self::from_octets(ip.octets())
    }
}

impl From<pf_abi::Addr> for Addr {
    #[inline]
    fn from(addr: pf_abi::Addr) -> Self {
        Self(addr.words())
    }
}

impl From<Addr> for pf_abi::Addr {
    #[inline]
    fn from(addr: Addr) -> Self {
        Self::from_words(addr.words())
    }
}

impl From<IpAddr> for Addr {
    #[inline]
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => ip.into(),
            IpAddr::V6(ip) => ip.into(),
        }
    }
}

/// The family is not in the address: an address with twelve zero bytes at its end is shown as IPv4.
impl fmt::Debug for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let af = if *self == self.of_family(Af::Inet) {
            Af::Inet
        } else {
            Af::Inet6
        };
        fmt::Display::fmt(&self.display(af), f)
    }
}

/// An address to be shown in the notation of its family. Made by [`Addr::display`].
#[derive(Clone, Copy, Debug)]
pub struct DisplayAddr {
    addr: Addr,
    af: Af,
}

impl fmt::Display for DisplayAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.addr.to_ip(self.af), f)
    }
}

/// How much of a packet is what, as its IP header states it and as it was checked against the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Bytes of the IP header: IPv4's with its options, IPv6's fixed 40.
    pub header: usize,
    /// Bytes of the packet from the first of the IP header on. Not less than `header`, not more than the packet holds.
    pub total: usize,
}

impl Extent {
    /// Bytes after the IP header.
    #[inline]
    #[must_use]
    pub const fn payload(&self) -> usize {
        self.total.saturating_sub(self.header)
    }
}

/// Which part of a packet a fragment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Where in the payload of the whole packet this part begins, in bytes: a multiple of eight.
    pub offset: u16,
    /// Whether this is not the last part.
    pub more: bool,
    /// What the parts of one packet have in common; for IPv4 sixteen bits of it.
    pub id: u32,
}

impl Fragment {
    /// Whether this part is the first, which has the header of the protocol above IP.
    #[inline]
    #[must_use]
    pub const fn is_first(&self) -> bool {
        self.offset == 0
    }

    /// Whether this part is all there is: an IPv6 "atomic" fragment (RFC 6946).
    #[inline]
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.offset == 0 && !self.more
    }

    /// Where in the payload of the whole packet this part ends, if it is `len` bytes long.
    ///
    /// # Errors
    ///
    /// [`Error::Fragment`] if `len` is zero, if the end is beyond 65535, or if this is not the last part and `len` is no
    /// multiple of eight.
    #[inline]
    pub fn end(&self, len: usize) -> Result<u16, Error> {
        if len == 0 || (self.more && !len.is_multiple_of(8)) {
            return Err(Error::Fragment);
        }
        u16::try_from(len)
            .ok()
            .and_then(|len| self.offset.checked_add(len))
            .ok_or(Error::Fragment)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::format;
    use std::string::ToString;

    use proptest::prelude::*;

    use super::*;

    /// Bytes of which only the first few lie in one piece.
    struct Cut<'a>(&'a [u8], usize);

    impl Bytes for Cut<'_> {
        fn piece(&self, offset: usize) -> &[u8] {
            self.0[..self.1].piece(offset)
        }

        fn copy(&self, offset: usize, to: &mut [u8]) -> bool {
            self.0.copy(offset, to)
        }
    }

    #[test]
    fn a_header_is_the_same_wherever_it_is_cut() {
        let bytes: [u8; 12] = core::array::from_fn(|at| at as u8);
        for cut in 0..=12 {
            for offset in 0..=13 {
                let mut room: Option<[u8; 4]> = None;
                let packet = Cut(&bytes, cut);
                let seen = packet.view(offset, &mut room).copied();
                let expected = bytes.get(offset..offset + 4).and_then(|it| it.try_into().ok());
                assert_eq!(seen, expected.ok_or(Error::Short));
                assert_eq!(
                    room.is_none(),
                    offset + 4 <= cut || offset > 8,
                    "copied only where it is cut"
                );
            }
        }
    }

    fn v4(text: &str) -> Addr {
        text.parse::<Ipv4Addr>().unwrap().into()
    }

    fn v6(text: &str) -> Addr {
        text.parse::<Ipv6Addr>().unwrap().into()
    }

    #[test]
    fn layout_is_that_of_pf_addr() {
        assert_eq!((size_of::<Addr>(), align_of::<Addr>()), (16, 4));
        let mut expected = [0; 16];
        expected[..4].copy_from_slice(&[192, 0, 2, 1]);
        assert_eq!(v4("192.0.2.1").as_bytes(), expected);
        assert_eq!(v6("2001:db8::5").as_bytes()[..4], [0x20, 1, 0x0d, 0xb8]);
        assert_eq!(v6("2001:db8::5").as_bytes()[15], 5);
    }

    #[test]
    fn families_have_netbsd_numbers() {
        assert_eq!((u8::from(Af::Inet), u8::from(Af::Inet6)), (2, 24));
        for number in 0..=255 {
            match Af::try_from(number) {
                Ok(af) => assert_eq!(u8::from(af), number),
                Err(unknown) => assert_eq!(unknown, UnknownAf(number)),
            }
        }
        assert_eq!(Af::try_from(77), Err(UnknownAf(77)));
        // Linux's AF_INET6 is 10, OpenBSD's is 24 as well, FreeBSD's is 28.
        assert!(Af::try_from(10).is_err() && Af::try_from(28).is_err());
    }

    #[test]
    fn addresses_are_ordered_as_numbers() {
        assert!(v4("10.0.0.255") < v4("10.0.1.0"));
        assert!(v4("9.255.255.255") < v4("10.0.0.0"));
        assert!(v6("2001:db8::ff") < v6("2001:db8::1:0"));
        assert!(v6("::1") < v6("::100"));
    }

    #[test]
    fn masks_and_prefixes() {
        let mask = Addr::prefix_mask(Af::Inet, 12).unwrap();
        assert_eq!(mask, v4("255.240.0.0"));
        assert_eq!(v4("172.31.4.5").masked(&mask), v4("172.16.0.0"));
        assert!(v4("172.31.4.5").matches(&v4("172.16.0.0"), &mask));
        assert!(!v4("172.32.4.5").matches(&v4("172.16.0.0"), &mask));
        assert!(v4("1.2.3.4").matches(&v4("9.9.9.9"), &Addr::ZERO));

        let mask = Addr::prefix_mask(Af::Inet6, 61).unwrap();
        assert_eq!(mask, v6("ffff:ffff:ffff:fff8::"));
        assert!(v6("2001:db8:0:f::1").matches(&v6("2001:db8:0:8::"), &mask));
        assert!(!v6("2001:db8:0:10::1").matches(&v6("2001:db8:0:8::"), &mask));

        assert_eq!(Addr::prefix_mask(Af::Inet, 33), None);
        assert_eq!(Addr::prefix_mask(Af::Inet6, 129), None);
        assert_eq!(v4("255.0.255.0").prefix_len(), None);
        assert_eq!(v4("0.0.0.1").prefix_len(), None);
    }

    #[test]
    fn each_prefix_length_comes_back_from_its_mask() {
        for af in [Af::Inet, Af::Inet6] {
            for len in 0..=af.bits() {
                let mask = Addr::prefix_mask(af, len).unwrap();
                assert_eq!(mask.prefix_len(), Some(len));
                assert_eq!(mask.to_bits().count_ones(), u32::from(len));
                assert_eq!(mask.of_family(af), mask);
            }
        }
    }

    #[test]
    fn shown_in_the_notation_of_the_family() {
        assert_eq!(v4("192.0.2.1").display(Af::Inet).to_string(), "192.0.2.1");
        assert_eq!(v6("2001:db8::1").display(Af::Inet6).to_string(), "2001:db8::1");
        assert_eq!(Addr::ZERO.display(Af::Inet6).to_string(), "::");
        assert_eq!(format!("{:>12}", v4("10.0.0.1").display(Af::Inet)), "    10.0.0.1");
        assert_eq!(format!("{:?}", v4("10.0.0.1")), "10.0.0.1");
    }

    #[test]
    fn what_is_not_of_the_family_is_cleared() {
        let hostile = Addr::from_octets([0xff; 16]);
        assert_eq!(hostile.of_family(Af::Inet), v4("255.255.255.255"));
        assert_eq!(hostile.of_family(Af::Inet6), hostile);
    }

    #[test]
    fn bytes_beyond_the_packet_are_not_taken() {
        let packet: &[u8] = &[1, 2, 3, 4];
        let mut two = [0; 2];
        assert!(packet.copy(2, &mut two));
        assert_eq!(two, [3, 4]);
        assert!(!packet.copy(3, &mut two));
        assert!(!packet.copy(5, &mut two));
        assert!(!packet.copy(usize::MAX, &mut two));
        assert!(packet.copy(4, &mut []));
        assert_eq!(packet.take::<[u8; 4]>(0), Ok([1, 2, 3, 4]));
        assert_eq!(packet.take::<[u8; 4]>(1), Err(Error::Short));
    }

    #[test]
    fn impossible_fragments_are_told() {
        let fragment = |offset, more| Fragment { offset, more, id: 1 };
        assert_eq!(fragment(0, true).end(1480), Ok(1480));
        assert_eq!(fragment(1480, false).end(13), Ok(1493));
        assert_eq!(fragment(0, true).end(1479), Err(Error::Fragment));
        assert_eq!(fragment(8, false).end(0), Err(Error::Fragment));
        assert_eq!(fragment(65528, false).end(7), Ok(65535));
        // The "ping of death".
        assert_eq!(fragment(65528, false).end(8), Err(Error::Fragment));
        assert_eq!(fragment(0, false).end(65536), Err(Error::Fragment));
        assert!(fragment(0, true).is_first() && !fragment(0, true).is_whole());
        assert!(fragment(0, false).is_whole());
        assert!(!fragment(8, false).is_first());
    }

    proptest! {
        #[test]
        fn an_address_is_in_its_own_network(octets: [u8; 16], len in 0u8..=128) {
            let addr = Addr::from_octets(octets);
            let mask = Addr::prefix_mask(Af::Inet6, len).unwrap();
            let net = addr.masked(&mask);
            prop_assert!(addr.matches(&net, &mask));
            prop_assert!(net <= addr);
            prop_assert_eq!(net.masked(&mask), net);
            if len > 0 {
                let other = Addr::from_bits(addr.to_bits() ^ (1 << (128 - u32::from(len))));
                prop_assert!(!other.matches(&net, &mask));
            }
        }

        #[test]
        fn order_is_that_of_the_standard_library(a: [u8; 16], b: [u8; 16]) {
            let order = Ipv6Addr::from(a).cmp(&Ipv6Addr::from(b));
            prop_assert_eq!(Addr::from_octets(a).cmp(&Addr::from_octets(b)), order);
        }
    }
}
