//! IPv4 (RFC 791): the header, its options, and the headers of the packets that pf sends itself.
//!
//! # Overview
//!
//! [`Header::extent`] says where the header and the packet end; [`check_options`] looks at what lies between the fixed header
//! and the end of it. Most packets have no options, and need no second look.
//!
//! # Life cycle, locking
//!
//! Plain values and borrowed bytes.

use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::checksum::Sum;
use super::{Addr, Error, Extent, Fragment, Proto};

/// Bytes of a header without options.
pub const HEADER_LEN: usize = size_of::<Header>();

/// The most bytes a header can have with its options.
pub const MAX_HEADER_LEN: usize = 60;

/// The fixed part of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    /// The version in the upper half, the length of the header in units of four bytes in the lower one.
    version_len: u8,
    /// Type of service: DSCP and ECN.
    pub tos: u8,
    /// Bytes of header and payload together. To be used through [`Header::extent`].
    pub total_len: U16,
    /// What the fragments of one packet have in common.
    pub id: U16,
    /// [`Header::DONT_FRAGMENT`], [`Header::MORE_FRAGMENTS`], and the offset in units of eight bytes.
    pub frag: U16,
    /// How many more routers may forward the packet.
    pub ttl: u8,
    /// What the payload is.
    pub proto: Proto,
    /// The checksum of the header and its options.
    pub checksum: U16,
    /// The source address.
    pub src: [u8; 4],
    /// The destination address.
    pub dst: [u8; 4],
}

impl Header {
    /// The bit of `frag` for a packet that must not be fragmented.
    pub const DONT_FRAGMENT: u16 = 0x4000;
    /// The bit of `frag` for a fragment that is not the last one.
    pub const MORE_FRAGMENTS: u16 = 0x2000;
    /// The bits of `frag` that are the offset.
    pub const OFFSET_MASK: u16 = 0x1fff;

    /// The version: 4 in a good packet.
    #[inline]
    #[must_use]
    pub const fn version(&self) -> u8 {
        self.version_len >> 4
    }

    /// Bytes of the header, options included, where `available` bytes begin with it: 20 to 60, and not more than `available`.
    ///
    /// This and not [`Header::extent`] is for a packet quoted in an ICMP error, which may end before its stated length.
    ///
    /// # Errors
    ///
    /// [`Error::Version`] if this is not IPv4, [`Error::Length`] if the stated length is below 20, [`Error::Short`] if it is
    /// more than `available`.
    #[inline]
    pub const fn header_len(&self, available: usize) -> Result<usize, Error> {
        if self.version() != 4 {
            return Err(Error::Version);
        }
        let len = (self.version_len & 0xf) as usize * 4;
        if len < HEADER_LEN {
            Err(Error::Length)
        } else if len > available {
            Err(Error::Short)
        } else {
            Ok(len)
        }
    }

    /// Where header and packet end, where `available` bytes begin with the header. `available` may be more than the packet has:
    /// padding of the link.
    ///
    /// # Errors
    ///
    /// Those of [`Header::header_len`]; [`Error::Length`] if the total length is below that of the header, [`Error::Short`] if it
    /// is more than `available`.
    #[inline]
    pub fn extent(&self, available: usize) -> Result<Extent, Error> {
        let header = self.header_len(available)?;
        let total = usize::from(self.total_len.get());
        if total < header {
            Err(Error::Length)
        } else if total > available {
            Err(Error::Short)
        } else {
            Ok(Extent { header, total })
        }
    }

    /// Whether it is IPv4 without options, and no fragment.
    #[inline]
    #[must_use]
    pub fn is_plain(&self) -> bool {
        const FRAGMENT: U16 = U16::new(Header::MORE_FRAGMENTS | Header::OFFSET_MASK);
        self.version_len == 0x45
            && u16::from_ne_bytes(self.frag.to_bytes()) & u16::from_ne_bytes(FRAGMENT.to_bytes()) == 0
    }

    /// The source address.
    #[inline]
    #[must_use]
    pub const fn src(&self) -> Addr {
        Addr::from_v4(self.src)
    }

    /// The destination address.
    #[inline]
    #[must_use]
    pub const fn dst(&self) -> Addr {
        Addr::from_v4(self.dst)
    }

    /// Whether routers must not fragment the packet.
    #[inline]
    #[must_use]
    pub fn dont_fragment(&self) -> bool {
        self.frag.get() & Self::DONT_FRAGMENT != 0
    }

    /// Which fragment the packet is. None if it is a whole one.
    #[inline]
    #[must_use]
    pub fn fragment(&self) -> Option<Fragment> {
        let frag = self.frag.get();
        if frag & (Self::MORE_FRAGMENTS | Self::OFFSET_MASK) == 0 {
            return None;
        }
        Some(Fragment {
            offset: (frag & Self::OFFSET_MASK) << 3,
            more: frag & Self::MORE_FRAGMENTS != 0,
            id: self.id.get().into(),
        })
    }

    /// Whether the checksum is right. `options` are the bytes between the fixed header and its end, often none.
    #[inline]
    #[must_use]
    pub fn checksum_is_valid(&self, options: &[u8]) -> bool {
        Sum::new().with(self.as_bytes()).with(options).is_valid()
    }
}

/// A header without options, to be written for a packet that pf sends itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// The source address.
    pub src: Addr,
    /// The destination address.
    pub dst: Addr,
    /// What the payload is.
    pub proto: Proto,
    /// Type of service.
    pub tos: u8,
    /// How many routers may forward the packet.
    pub ttl: u8,
    /// The identification. Of no meaning where `dont_fragment` is set (RFC 6864).
    pub id: u16,
    /// Whether routers must not fragment the packet.
    pub dont_fragment: bool,
}

impl Repr {
    /// The header, checksum and all, of a packet with `payload_len` bytes after it. None if that is too much: above 65515.
    #[must_use]
    pub fn emit(&self, payload_len: usize) -> Option<Header> {
        let total_len = payload_len
            .checked_add(HEADER_LEN)
            .and_then(|len| u16::try_from(len).ok())?;
        let frag = if self.dont_fragment { Header::DONT_FRAGMENT } else { 0 };
        let mut header = Header {
            version_len: 0x45,
            tos: self.tos,
            total_len: total_len.into(),
            id: self.id.into(),
            frag: frag.into(),
            ttl: self.ttl,
            proto: self.proto,
            checksum: U16::ZERO,
            src: self.src.octets_v4(),
            dst: self.dst.octets_v4(),
        };
        header.checksum = Sum::new().with(header.as_bytes()).checksum().into();
        Some(header)
    }
}

/// The number of an option: the copied flag, the class, and the number within it (RFC 791, 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionKind(pub u8);

impl OptionKind {
    /// The end of the options; what follows is padding.
    pub const END: Self = Self(0);
    /// One byte of padding.
    pub const NO_OPERATION: Self = Self(1);
    /// Record the route (RFC 791).
    pub const RECORD_ROUTE: Self = Self(7);
    /// Record the time at each router (RFC 791).
    pub const TIMESTAMP: Self = Self(68);
    /// Loose source and record route (RFC 791).
    pub const LOOSE_SOURCE_ROUTE: Self = Self(131);
    /// Strict source and record route (RFC 791).
    pub const STRICT_SOURCE_ROUTE: Self = Self(137);
    /// Routers are to look at the packet (RFC 2113), as in IGMP.
    pub const ROUTER_ALERT: Self = Self(148);
}

/// What the options of a header are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OptionSummary {
    /// There is an option other than padding: what a rule without `allow-opts` does not let pass.
    pub any: bool,
    /// There is a loose or a strict source route.
    pub source_route: bool,
    /// There is a router alert.
    pub router_alert: bool,
}

/// Looks at the bytes between the fixed header and its end, all of them up to the end-of-options.
///
/// # Errors
///
/// [`Error::Options`] if an option states a length below 2 or beyond the end.
pub fn check_options(options: &[u8]) -> Result<OptionSummary, Error> {
    let mut summary = OptionSummary::default();
    for kind in Options::new(options) {
        let kind = kind?;
        summary.any = true;
        match kind {
            OptionKind::LOOSE_SOURCE_ROUTE | OptionKind::STRICT_SOURCE_ROUTE => {
                summary.source_route = true;
            }
            OptionKind::ROUTER_ALERT => summary.router_alert = true,
            _ => (),
        }
    }
    Ok(summary)
}

/// The options of a header, one after the other, without the padding. Ends after an error.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    rest: &'a [u8],
}

impl<'a> Options<'a> {
    /// The options in the bytes between the fixed header and its end.
    #[inline]
    #[must_use]
    pub const fn new(options: &'a [u8]) -> Self {
        Self { rest: options }
    }
}

impl Iterator for Options<'_> {
    type Item = Result<OptionKind, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (&kind, after) = self.rest.split_first()?;
            match OptionKind(kind) {
                OptionKind::END => {
                    self.rest = &[];
                    return None;
                }
                OptionKind::NO_OPERATION => self.rest = after,
                kind => {
                    let rest = after
                        .first()
                        .filter(|&&len| len >= 2)
                        .and_then(|&len| self.rest.get(usize::from(len)..));
                    self.rest = rest.unwrap_or(&[]);
                    return Some(rest.map(|_| kind).ok_or(Error::Options));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    /// A UDP packet's header, as it is known from many a textbook.
    const UDP: [u8; 20] = [
        0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0x00, 0x01, 0xc0, 0xa8,
        0x00, 0xc7,
    ];

    /// The second of the fragments of a ping of 3000 bytes.
    const FRAGMENT: [u8; 20] = [
        0x45, 0x00, 0x05, 0xdc, 0x12, 0x34, 0x20, 0xb9, 0x40, 0x01, 0x2e, 0x32, 0x0a, 0x00, 0x00, 0x01, 0x0a, 0x00,
        0x00, 0x02,
    ];

    /// An IGMPv2 report, with the router alert.
    const IGMP: [u8; 24] = [
        0x46, 0xc0, 0x00, 0x20, 0x00, 0x00, 0x40, 0x00, 0x01, 0x02, 0x41, 0x72, 0xc0, 0xa8, 0x01, 0x02, 0xe0, 0x00,
        0x00, 0xfb, 0x94, 0x04, 0x00, 0x00,
    ];

    fn header(bytes: &[u8]) -> Header {
        Header::read_from_prefix(bytes).unwrap().0
    }

    #[test]
    fn fields_of_a_udp_packet() {
        let header = header(&UDP);
        assert_eq!(header.version(), 4);
        assert_eq!(header.extent(115), Ok(Extent { header: 20, total: 115 }));
        assert_eq!(header.extent(115).unwrap().payload(), 95);
        assert_eq!((header.ttl, header.proto), (64, Proto::UDP));
        assert_eq!(header.checksum.get(), 0xb861);
        assert_eq!(header.src(), Addr::from_v4([192, 168, 0, 1]));
        assert_eq!(header.dst(), Addr::from_v4([192, 168, 0, 199]));
        assert!(header.dont_fragment());
        assert_eq!(header.fragment(), None);
        assert!(header.checksum_is_valid(&[]));
    }

    #[test]
    fn fields_of_a_fragment() {
        let header = header(&FRAGMENT);
        assert!(header.checksum_is_valid(&[]));
        assert!(!header.dont_fragment());
        let fragment = header.fragment().unwrap();
        assert_eq!(
            fragment,
            Fragment {
                offset: 1480,
                more: true,
                id: 0x1234
            }
        );
        assert_eq!(fragment.end(1480), Ok(2960));
    }

    #[test]
    fn options_of_an_igmp_report() {
        let header = header(&IGMP);
        let extent = header.extent(IGMP.len() + 8).unwrap();
        assert_eq!((extent.header, extent.total), (24, 32));
        let options = &IGMP[HEADER_LEN..extent.header];
        assert!(header.checksum_is_valid(options));
        assert!(!header.checksum_is_valid(&[]));
        assert_eq!(
            check_options(options),
            Ok(OptionSummary {
                any: true,
                source_route: false,
                router_alert: true
            })
        );
    }

    #[test]
    fn a_changed_byte_spoils_the_checksum() {
        for at in 0..UDP.len() {
            let mut bytes = UDP;
            bytes[at] ^= 0x10;
            assert!(!header(&bytes).checksum_is_valid(&[]));
        }
    }

    #[test]
    fn link_padding_is_not_of_the_packet() {
        assert_eq!(header(&UDP).extent(200).unwrap().total, 115);
    }

    #[test]
    fn impossible_lengths_are_told() {
        let with = |version_len, total_len: u16| Header {
            version_len,
            total_len: total_len.into(),
            ..header(&UDP)
        };
        assert_eq!(with(0x65, 115).extent(115), Err(Error::Version));
        assert_eq!(with(0x44, 115).extent(115), Err(Error::Length));
        assert_eq!(with(0x40, 115).extent(115), Err(Error::Length));
        assert_eq!(with(0x4f, 115).extent(59), Err(Error::Short));
        assert_eq!(with(0x4f, 59).extent(115), Err(Error::Length));
        assert_eq!(with(0x45, 19).extent(115), Err(Error::Length));
        assert_eq!(with(0x45, 116).extent(115), Err(Error::Short));
        assert_eq!(with(0x45, 116).header_len(28), Ok(20));
        assert_eq!(with(0x4f, 60).extent(60).unwrap().payload(), 0);
        assert_eq!(with(0x45, 20).extent(20).unwrap().payload(), 0);
    }

    #[test]
    fn padding_is_no_option() {
        assert_eq!(check_options(&[]), Ok(OptionSummary::default()));
        assert_eq!(check_options(&[1, 1, 1, 0]), Ok(OptionSummary::default()));
        // What follows the end is not looked at.
        assert_eq!(check_options(&[0, 7, 0, 0]), Ok(OptionSummary::default()));
    }

    #[test]
    fn source_routes_are_recognised() {
        for kind in [131, 137] {
            let options = [1, kind, 7, 4, 10, 0, 0, 1];
            let summary = check_options(&options).unwrap();
            assert!(summary.any && summary.source_route && !summary.router_alert);
        }
        // Behind another option.
        let options = [7, 3, 4, 131, 7, 4, 10, 0, 0, 1, 0, 0];
        assert!(check_options(&options).unwrap().source_route);
        let options = [7, 7, 4, 0, 0, 0, 0, 0];
        let summary = check_options(&options).unwrap();
        assert!(summary.any && !summary.source_route);
    }

    #[test]
    fn malformed_options_are_told() {
        for options in [
            &[7, 0, 0, 0][..],
            &[7, 1, 0, 0],
            &[7, 5, 0, 0],
            &[1, 1, 1, 7],
            &[148, 4, 0, 0, 131, 40, 4, 0],
        ] {
            assert_eq!(check_options(options), Err(Error::Options));
            let kinds: Vec<_> = Options::new(options).collect();
            assert_eq!(kinds.last(), Some(&Err(Error::Options)));
            assert_eq!(kinds.iter().filter(|kind| kind.is_err()).count(), 1);
        }
    }

    proptest! {
        #[test]
        fn what_is_emitted_is_what_is_read(
            src: [u8; 4], dst: [u8; 4], proto: u8, tos: u8, ttl: u8, id: u16, dont_fragment: bool,
            payload_len in 0usize..=65515,
        ) {
            let repr = Repr {
                src: Addr::from_v4(src),
                dst: Addr::from_v4(dst),
                proto: Proto(proto),
                tos,
                ttl,
                id,
                dont_fragment,
            };
            let header = header(repr.emit(payload_len).unwrap().as_bytes());
            let extent = header.extent(payload_len + HEADER_LEN).unwrap();
            prop_assert_eq!((extent.header, extent.payload()), (HEADER_LEN, payload_len));
            prop_assert!(header.checksum_is_valid(&[]));
            prop_assert_eq!(header.fragment(), None);
            let read = Repr {
                src: header.src(),
                dst: header.dst(),
                proto: header.proto,
                tos: header.tos,
                ttl: header.ttl,
                id: header.id.get(),
                dont_fragment: header.dont_fragment(),
            };
            prop_assert_eq!(read, repr);
            prop_assert_eq!(repr.emit(payload_len + 65516 - payload_len), None);
            prop_assert_eq!(repr.emit(usize::MAX), None);
        }

        #[test]
        fn an_extent_is_within_the_packet(bytes: [u8; 20], available in 0usize..70000) {
            if let Ok(extent) = header(&bytes).extent(available) {
                prop_assert!((20..=60).contains(&extent.header));
                prop_assert!(extent.header <= extent.total && extent.total <= available);
            }
        }

        #[test]
        fn options_end(options in prop::collection::vec(any::<u8>(), 0..=40)) {
            prop_assert!(Options::new(&options).count() <= options.len());
            let any_error = Options::new(&options).any(|kind| kind.is_err());
            prop_assert_eq!(check_options(&options).is_err(), any_error);
        }
    }
}
