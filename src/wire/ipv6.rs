//! IPv6 (RFC 8200): the header, the walk along its extension headers, and the headers of the packets that pf sends itself.
//!
//! # Overview
//!
//! [`Header::extent`] says where the packet ends. [`walk`] follows the chain of extension headers from there to the protocol
//! that rules and states are about, or to what hides it: a fragment that is not the first, an encrypted payload, nothing.
//!
//! The walk reads hop-by-hop options, destination options, routing, fragment and authentication headers. Anything else is taken
//! as the upper protocol. It takes at most [`MAX_EXTENSIONS`] headers with at most [`MAX_OPTIONS`] options each.
//!
//! # Life cycle, locking
//!
//! Plain values and borrowed bytes.

use bitflags::bitflags;
use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{Addr, Bytes, Error, Extent, Fragment, Proto};

/// Bytes of the header.
pub const HEADER_LEN: usize = size_of::<Header>();

/// The most extension headers a packet may have.
pub const MAX_EXTENSIONS: usize = 16;

/// The most options, padding included, a header of options may have. RFC 8504, 5.3 lets a node stop at eight, and at seven bytes
/// of padding in a row.
pub const MAX_OPTIONS: usize = 64;

/// Whether an address is one on every link, or in every host (RFC 4291, 2.5.6 and 2.7): which one is meant does not stand in it.
pub const fn is_of_link(addr: &Addr) -> bool {
    match addr.octets() {
        [0xfe, second, ..] => second & 0xc0 == 0x80,
        [0xff, second, ..] => matches!(second & 0xf, 1 | 2),
        _ => false,
    }
}

/// The header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    /// Four bits of version, eight of traffic class, twenty of flow label.
    version_class_flow: U32,
    /// Bytes after this header. To be used through [`Header::extent`].
    pub payload_len: U16,
    /// What the payload begins with.
    pub next_header: Proto,
    /// How many more routers may forward the packet.
    pub hop_limit: u8,
    /// The source address.
    pub src: [u8; 16],
    /// The destination address.
    pub dst: [u8; 16],
}

impl Header {
    /// The version: 6 in a good packet.
    #[inline]
    #[must_use]
    pub fn version(&self) -> u8 {
        (self.version_class_flow.get() >> 28) as u8
    }

    /// The traffic class: DSCP and ECN.
    #[inline]
    #[must_use]
    pub fn traffic_class(&self) -> u8 {
        (self.version_class_flow.get() >> 20) as u8
    }

    /// The flow label, of twenty bits.
    #[inline]
    #[must_use]
    pub fn flow_label(&self) -> u32 {
        self.version_class_flow.get() & 0xf_ffff
    }

    /// Where the packet ends, where `available` bytes begin with the header. `available` may be more than the packet has: padding
    /// of the link.
    ///
    /// # Errors
    ///
    /// [`Error::Version`] if this is not IPv6, [`Error::Jumbo`] if a hop-by-hop header is to give the length,
    /// [`Error::Short`] if the packet is longer than `available`.
    #[inline]
    pub fn extent(&self, available: usize) -> Result<Extent, Error> {
        if self.version() != 6 {
            return Err(Error::Version);
        }
        let payload_len = self.payload_len.get();
        if payload_len == 0 && self.next_header == Proto::HOP_BY_HOP {
            return Err(Error::Jumbo);
        }
        let total = usize::from(payload_len) + HEADER_LEN;
        if total > available {
            return Err(Error::Short);
        }
        Ok(Extent {
            header: HEADER_LEN,
            total,
        })
    }

    /// The source address.
    #[inline]
    #[must_use]
    pub const fn src(&self) -> Addr {
        Addr::from_octets(self.src)
    }

    /// The destination address.
    #[inline]
    #[must_use]
    pub const fn dst(&self) -> Addr {
        Addr::from_octets(self.dst)
    }
}

/// A header to be written for a packet that pf sends itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// The source address.
    pub src: Addr,
    /// The destination address.
    pub dst: Addr,
    /// What the payload begins with.
    pub next_header: Proto,
    /// The traffic class.
    pub traffic_class: u8,
    /// The flow label; its lower twenty bits are used.
    pub flow_label: u32,
    /// How many routers may forward the packet.
    pub hop_limit: u8,
}

impl Repr {
    /// The header of a packet with `payload_len` bytes after it. None if that is too much: above 65535.
    #[must_use]
    pub fn emit(&self, payload_len: usize) -> Option<Header> {
        let payload_len = u16::try_from(payload_len).ok()?;
        let class = u32::from(self.traffic_class) << 20;
        Some(Header {
            version_class_flow: (6 << 28 | class | self.flow_label & 0xf_ffff).into(),
            payload_len: payload_len.into(),
            next_header: self.next_header,
            hop_limit: self.hop_limit,
            src: self.src.octets(),
            dst: self.dst.octets(),
        })
    }
}

/// The beginning of every extension header.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct Extension {
    next_header: Proto,
    /// The length, in a unit that depends on the header.
    len: u8,
    /// A routing header's type. The others have something else here, and all have at least eight bytes.
    routing_type: u8,
    reserved: u8,
}

/// A fragment header (RFC 8200, 4.5).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct FragmentHeader {
    /// What the fragmented part begins with.
    pub next_header: Proto,
    reserved: u8,
    /// The offset in bytes, a multiple of eight; the lowest bit is set if there are more.
    offset_more: U16,
    id: U32,
}

/// Bytes of a fragment header.
pub const FRAGMENT_HEADER_LEN: usize = size_of::<FragmentHeader>();

impl FragmentHeader {
    /// The header of a fragment of what begins with `next_header`.
    #[must_use]
    pub fn new(next_header: Proto, fragment: Fragment) -> Self {
        Self {
            next_header,
            reserved: 0,
            offset_more: (fragment.offset & !7 | u16::from(fragment.more)).into(),
            id: fragment.id.into(),
        }
    }
}

/// Where the fragment header of a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentPlace {
    /// Where it begins: the bytes that are the same in all fragments, the IPv6 header among them.
    pub offset: usize,
    /// The byte that says that it is one: a next header field before it.
    pub named_at: usize,
}

/// Finds the fragment header of a packet that [`walk`] has found to have one; `first` is the next header field of the IPv6 header.
/// None if it is not there after all.
pub fn find_fragment_header<B: Bytes + ?Sized>(packet: &B, first: Proto) -> Option<FragmentPlace> {
    let mut proto = first;
    let mut place = FragmentPlace {
        offset: HEADER_LEN,
        named_at: core::mem::offset_of!(Header, next_header),
    };
    for _ in 0..=MAX_EXTENSIONS {
        let unit = match proto {
            Proto::FRAGMENT => return Some(place),
            Proto::HOP_BY_HOP | Proto::DEST_OPTIONS | Proto::ROUTING => 8,
            Proto::AH => 4,
            _ => return None,
        };
        let extension: Extension = packet.take(place.offset).ok()?;
        proto = extension.next_header;
        place = FragmentPlace {
            offset: place.offset.saturating_add(8 + usize::from(extension.len) * unit),
            named_at: place.offset,
        };
    }
    None
}

bitflags! {
    /// What was met on the walk along the extension headers.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Met: u16 {
        /// Hop-by-hop options, other than padding or not.
        const HOP_BY_HOP = 1 << 0;
        /// Destination options.
        const DEST_OPTIONS = 1 << 1;
        /// A routing header of any type.
        const ROUTING = 1 << 2;
        /// A routing header of type 0, a source route, to be dropped (RFC 5095).
        const ROUTING_TYPE_0 = 1 << 3;
        /// A fragment header.
        const FRAGMENT = 1 << 4;
        /// An authentication header.
        const AH = 1 << 5;
        /// An encapsulating security payload: the walk ended there.
        const ESP = 1 << 6;
        /// Nothing follows the extension headers.
        const NO_NEXT_HEADER = 1 << 7;
        /// The hop-by-hop options have a router alert (RFC 2711), as in multicast listener discovery.
        const ROUTER_ALERT = 1 << 8;
    }
}

impl Met {
    /// Headers that are what options are in IPv4: what a rule without `allow-opts` does not let pass.
    pub const OPTIONS: Self = Self::HOP_BY_HOP.union(Self::DEST_OPTIONS).union(Self::ROUTING);
}

/// Where the extension headers lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upper {
    /// The upper protocol. [`Proto::ESP`] and [`Proto::NO_NEXT_HEADER`] stand for themselves. In a fragment that is not the first
    /// one, what the fragment header states, which may still be an extension header.
    pub proto: Proto,
    /// Where its header begins, from the start of what was walked; in a fragment that is not the first one, where the
    /// fragment's data begins. Not more than the `end` given to the walk.
    pub offset: usize,
    /// What the fragment header says, if there is one.
    pub fragment: Option<Fragment>,
    /// What was met on the way.
    pub met: Met,
}

impl Upper {
    /// Whether a header of the upper protocol begins at `offset`: not in a fragment that is not the first.
    #[inline]
    #[must_use]
    pub fn has_header(&self) -> bool {
        self.fragment.is_none_or(|fragment| fragment.is_first())
    }
}

/// Follows the extension headers of a packet, from the header `first`, which begins at `offset`, right after the IPv6 header, to
/// the upper protocol. `end` is where the packet ends: not beyond what is there of it, so for a packet quoted in an ICMPv6
/// error, where the quotation ends. The upper protocol's own header may still be short.
///
/// # Errors
///
/// [`Error::Short`] if the packet, or what is there of it, ends within an extension header.
/// [`Error::Chain`] if hop-by-hop options are not the first header, if there are two fragment headers, or if there are more than
/// [`MAX_EXTENSIONS`] headers.
/// [`Error::Options`] if options overrun their header, or are more than [`MAX_OPTIONS`].
/// [`Error::Jumbo`] if there is a jumbo payload option.
#[inline]
pub fn walk<B: Bytes + ?Sized>(packet: &B, first: Proto, offset: usize, end: usize) -> Result<Upper, Error> {
    match first {
        // The way of nearly all packets.
        Proto::TCP | Proto::UDP | Proto::ICMPV6 if offset <= end => Ok(Upper {
            proto: first,
            offset,
            fragment: None,
            met: Met::empty(),
        }),
        _ => walk_extensions(packet, first, offset, end),
    }
}

/// What [`walk`] does where there is something to walk along.
fn walk_extensions<B: Bytes + ?Sized>(packet: &B, first: Proto, offset: usize, end: usize) -> Result<Upper, Error> {
    let mut upper = Upper {
        proto: first,
        offset,
        fragment: None,
        met: Met::empty(),
    };
    if offset > end {
        return Err(Error::Short);
    }
    // One turn more than there may be extension headers, for the upper protocol behind the last.
    for at in 0..=MAX_EXTENSIONS {
        let unit = match upper.proto {
            Proto::HOP_BY_HOP | Proto::DEST_OPTIONS | Proto::ROUTING => 8,
            Proto::FRAGMENT => {
                take_fragment(packet, end, &mut upper)?;
                if upper.has_header() {
                    continue;
                }
                return Ok(upper);
            }
            Proto::AH => 4,
            Proto::ESP => {
                upper.met |= Met::ESP;
                return Ok(upper);
            }
            Proto::NO_NEXT_HEADER => {
                upper.met |= Met::NO_NEXT_HEADER;
                return Ok(upper);
            }
            _ => return Ok(upper),
        };

        let extension: Extension = take_before(packet, upper.offset, end)?;
        let len = usize::from(extension.len);
        // The length leaves out the first eight bytes, in units of eight or, in the authentication header, of four.
        let next = upper.offset.saturating_add(8 + len * unit);
        if next > end {
            return Err(Error::Short);
        }
        match upper.proto {
            Proto::HOP_BY_HOP if at > 0 => return Err(Error::Chain),
            Proto::HOP_BY_HOP => {
                upper.met |= Met::HOP_BY_HOP | walk_options(packet, upper.offset, next)?;
            }
            Proto::DEST_OPTIONS => {
                walk_options(packet, upper.offset, next)?;
                upper.met |= Met::DEST_OPTIONS;
            }
            Proto::ROUTING if extension.routing_type == 0 => {
                upper.met |= Met::ROUTING | Met::ROUTING_TYPE_0;
            }
            Proto::ROUTING => upper.met |= Met::ROUTING,
            _ => upper.met |= Met::AH,
        }
        upper.proto = extension.next_header;
        upper.offset = next;
    }
    Err(Error::Chain)
}

/// Takes a header that must end before `end`.
#[inline]
fn take_before<T, B>(packet: &B, offset: usize, end: usize) -> Result<T, Error>
where
    T: FromBytes + IntoBytes,
    B: Bytes + ?Sized,
{
    if end.saturating_sub(offset) < size_of::<T>() {
        return Err(Error::Short);
    }
    packet.take(offset)
}

/// Takes the fragment header that `upper` has come to.
fn take_fragment<B: Bytes + ?Sized>(packet: &B, end: usize, upper: &mut Upper) -> Result<(), Error> {
    if upper.fragment.is_some() {
        return Err(Error::Chain);
    }
    let header: FragmentHeader = take_before(packet, upper.offset, end)?;
    let offset_more = header.offset_more.get();
    upper.fragment = Some(Fragment {
        offset: offset_more & !7,
        more: offset_more & 1 != 0,
        id: header.id.get(),
    });
    upper.met |= Met::FRAGMENT;
    upper.proto = header.next_header;
    upper.offset = upper.offset.saturating_add(size_of::<FragmentHeader>());
    Ok(())
}

/// Goes through the options of the header from `offset` to `end` (RFC 8200, 4.2).
fn walk_options<B: Bytes + ?Sized>(packet: &B, offset: usize, end: usize) -> Result<Met, Error> {
    const PAD_1: u8 = 0;
    const ROUTER_ALERT: u8 = 5;
    const JUMBO_PAYLOAD: u8 = 0xc2;

    let mut met = Met::empty();
    let mut at = offset.saturating_add(2);
    for _ in 0..MAX_OPTIONS {
        if at >= end {
            break;
        }
        let [kind]: [u8; 1] = packet.take(at)?;
        if kind == PAD_1 {
            at = at.saturating_add(1);
            continue;
        }
        if end.saturating_sub(at) < 2 {
            return Err(Error::Options);
        }
        let [_, len]: [u8; 2] = packet.take(at)?;
        at = at.saturating_add(2 + usize::from(len));
        match kind {
            JUMBO_PAYLOAD => return Err(Error::Jumbo),
            ROUTER_ALERT => met |= Met::ROUTER_ALERT,
            _ => (),
        }
    }
    // Beyond the end: an overrun. Before it: too many options.
    if at == end { Ok(met) } else { Err(Error::Options) }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    /// A TCP SYN, with a flow label.
    const SYN: [u8; 64] = [
        0x60, 0x0b, 0x84, 0xd2, 0x00, 0x18, 0x06, 0x40, 0x20, 0x01, 0x0d, 0xb8, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x20, 0x01, 0x0d, 0xb8, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x02, 0xc8, 0x22, 0x01, 0xbb, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x60, 0x02,
        0xfd, 0x20, 0x75, 0xc5, 0x00, 0x00, 0x02, 0x04, 0x05, 0xa0,
    ];

    /// The first of two fragments of a UDP packet, behind hop-by-hop options that are padding.
    const FIRST: [u8; 80] = [
        0x60, 0x00, 0x00, 0x00, 0x00, 0x28, 0x00, 0x40, 0x20, 0x01, 0x0d, 0xb8, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x20, 0x01, 0x0d, 0xb8, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x02, 0x2c, 0x00, 0x01, 0x04, 0x00, 0x00, 0x00, 0x00, 0x11, 0x00, 0x00, 0x01, 0xca, 0xfe,
        0x12, 0x34, 0x13, 0x88, 0x13, 0x89, 0x00, 0x30, 0xff, 0x75, 0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07,
        0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f,
    ];

    /// The second of them.
    const SECOND: [u8; 80] = [
        0x60, 0x00, 0x00, 0x00, 0x00, 0x28, 0x00, 0x40, 0x20, 0x01, 0x0d, 0xb8, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x20, 0x01, 0x0d, 0xb8, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x02, 0x2c, 0x00, 0x01, 0x04, 0x00, 0x00, 0x00, 0x00, 0x11, 0x00, 0x00, 0x18, 0xca, 0xfe,
        0x12, 0x34, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f,
        0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27,
    ];

    /// A version 2 multicast listener report, behind a router alert.
    const REPORT: [u8; 76] = [
        0x60, 0x00, 0x00, 0x00, 0x00, 0x24, 0x00, 0x01, 0xfe, 0x80, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0xff, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x16, 0x3a, 0x00, 0x05, 0x02, 0x00, 0x00, 0x01, 0x00, 0x8f, 0x00, 0x6f, 0x0f, 0x00, 0x00,
        0x00, 0x01, 0x04, 0x00, 0x00, 0x00, 0xff, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0xfb,
    ];

    /// UDP behind destination options, a type 0 routing header and an authentication header.
    const ROUTED: [u8; 144] = [
        0x60, 0x00, 0x00, 0x00, 0x00, 0x68, 0x3c, 0x40, 0x20, 0x01, 0x0d, 0xb8, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x20, 0x01, 0x0d, 0xb8, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x02, 0x2b, 0x00, 0x01, 0x04, 0x00, 0x00, 0x00, 0x00, 0x33, 0x02, 0x00, 0x01, 0x00, 0x00,
        0x00, 0x00, 0x20, 0x01, 0x0d, 0xb8, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x99,
        0x11, 0x04, 0x00, 0x00, 0x00, 0x00, 0x11, 0x11, 0x00, 0x00, 0x00, 0x01, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06,
        0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x13, 0x88, 0x13, 0x89, 0x00, 0x30, 0xff, 0x75, 0x00, 0x01, 0x02, 0x03,
        0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15,
        0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27,
    ];

    fn header(bytes: &[u8]) -> Header {
        Header::read_from_prefix(bytes).unwrap().0
    }

    /// The walk along a packet from its IPv6 header on.
    fn walk_packet(bytes: &[u8]) -> Result<Upper, Error> {
        let extent = header(bytes).extent(bytes.len())?;
        walk(bytes, header(bytes).next_header, extent.header, extent.total)
    }

    /// The walk along extension headers alone.
    fn walk_chain(first: Proto, chain: &[u8]) -> Result<Upper, Error> {
        walk(chain, first, 0, chain.len())
    }

    #[test]
    fn fields_of_a_syn() {
        let header = header(&SYN);
        assert_eq!(
            (header.version(), header.traffic_class(), header.flow_label()),
            (6, 0, 0xb84d2)
        );
        assert_eq!((header.next_header, header.hop_limit), (Proto::TCP, 64));
        assert_eq!(header.src().octets(), SYN[8..24]);
        assert_eq!(header.dst().octets(), SYN[24..40]);
        let extent = header.extent(SYN.len()).unwrap();
        assert_eq!((extent.header, extent.total, extent.payload()), (40, 64, 24));
        assert_eq!(
            walk_packet(&SYN),
            Ok(Upper {
                proto: Proto::TCP,
                offset: 40,
                fragment: None,
                met: Met::empty()
            })
        );
    }

    #[test]
    fn impossible_lengths_are_told() {
        let with = |next_header, payload_len: u16| Header {
            payload_len: payload_len.into(),
            next_header,
            ..header(&SYN)
        };
        assert_eq!(with(Proto::TCP, 25).extent(64), Err(Error::Short));
        assert_eq!(with(Proto::TCP, 65535).extent(65575).unwrap().total, 65575);
        assert_eq!(with(Proto::HOP_BY_HOP, 0).extent(64), Err(Error::Jumbo));
        assert_eq!(with(Proto::NO_NEXT_HEADER, 0).extent(64).unwrap().payload(), 0);
        // Padding of the link is not of the packet.
        assert_eq!(with(Proto::TCP, 20).extent(64).unwrap().total, 60);
        let mut old = SYN;
        old[0] = 0x45;
        assert_eq!(header(&old).extent(64), Err(Error::Version));
    }

    #[test]
    fn a_first_fragment_leads_to_the_upper_protocol() {
        let upper = walk_packet(&FIRST).unwrap();
        assert_eq!((upper.proto, upper.offset), (Proto::UDP, 56));
        assert_eq!(upper.met, Met::HOP_BY_HOP | Met::FRAGMENT);
        assert!(upper.has_header());
        let fragment = upper.fragment.unwrap();
        assert_eq!(
            fragment,
            Fragment {
                offset: 0,
                more: true,
                id: 0xcafe_1234
            }
        );
        assert_eq!(fragment.end(FIRST.len() - upper.offset), Ok(24));
    }

    #[test]
    fn a_later_fragment_has_no_header() {
        let upper = walk_packet(&SECOND).unwrap();
        assert_eq!((upper.proto, upper.offset), (Proto::UDP, 56));
        assert!(!upper.has_header());
        let fragment = upper.fragment.unwrap();
        assert_eq!((fragment.offset, fragment.more), (24, false));
        assert_eq!(fragment.end(SECOND.len() - upper.offset), Ok(48));
        // The reserved bits are no part of the offset.
        let mut bytes = SECOND;
        bytes[51] |= 6;
        assert_eq!(walk_packet(&bytes).unwrap(), upper);
        // Nor is an extension header looked for in its data.
        let mut bytes = SECOND;
        bytes[48] = Proto::DEST_OPTIONS.0;
        let upper = walk_packet(&bytes).unwrap();
        assert_eq!((upper.proto, upper.offset), (Proto::DEST_OPTIONS, 56));
    }

    #[test]
    fn a_router_alert_is_met() {
        let upper = walk_packet(&REPORT).unwrap();
        assert_eq!((upper.proto, upper.offset), (Proto::ICMPV6, 48));
        assert_eq!(upper.met, Met::HOP_BY_HOP | Met::ROUTER_ALERT);
        assert!(upper.met.intersects(Met::OPTIONS));
    }

    #[test]
    fn a_long_chain_is_followed() {
        let upper = walk_packet(&ROUTED).unwrap();
        assert_eq!((upper.proto, upper.offset), (Proto::UDP, 96));
        assert_eq!(
            upper.met,
            Met::DEST_OPTIONS | Met::ROUTING | Met::ROUTING_TYPE_0 | Met::AH
        );
        // A type 2 routing header, of Mobile IPv6, is no source route.
        let mut bytes = ROUTED;
        bytes[50] = 2;
        let met = walk_packet(&bytes).unwrap().met;
        assert!(met.contains(Met::ROUTING) && !met.contains(Met::ROUTING_TYPE_0));
    }

    #[test]
    fn a_chain_that_is_cut_off_is_told() {
        for packet in [&FIRST[..56], &REPORT[..48], &ROUTED[..96]] {
            let first = header(packet).next_header;
            assert!(walk(packet, first, 40, packet.len()).is_ok());
            for end in 0..packet.len() {
                assert_eq!(walk(packet, first, 40, end), Err(Error::Short));
            }
        }
        // The bytes end within the options, before the end that was given.
        for end in 40..46 {
            assert_eq!(walk(&REPORT[..end], Proto::HOP_BY_HOP, 40, 76), Err(Error::Short));
        }
    }

    #[test]
    fn the_walk_ends_at_what_hides_the_rest() {
        let upper = walk_chain(Proto::ESP, &[0; 16]).unwrap();
        assert_eq!((upper.proto, upper.offset, upper.met), (Proto::ESP, 0, Met::ESP));
        let options = [Proto::NO_NEXT_HEADER.0, 0, 1, 4, 0, 0, 0, 0];
        let upper = walk_chain(Proto::DEST_OPTIONS, &options).unwrap();
        assert_eq!((upper.proto, upper.offset), (Proto::NO_NEXT_HEADER, 8));
        assert_eq!(upper.met, Met::DEST_OPTIONS | Met::NO_NEXT_HEADER);
    }

    #[test]
    fn hop_by_hop_options_come_first() {
        let mut chain = [0; 24];
        chain[..4].copy_from_slice(&[Proto::HOP_BY_HOP.0, 0, 1, 4]);
        chain[8..12].copy_from_slice(&[Proto::UDP.0, 0, 1, 4]);
        assert_eq!(walk_chain(Proto::HOP_BY_HOP, &chain), Err(Error::Chain));
        assert_eq!(walk_chain(Proto::DEST_OPTIONS, &chain), Err(Error::Chain));
        chain[0] = Proto::DEST_OPTIONS.0;
        assert_eq!(walk_chain(Proto::HOP_BY_HOP, &chain).unwrap().offset, 16);
    }

    #[test]
    fn a_fragment_is_not_fragmented_again() {
        let mut chain = [0; 24];
        chain[0] = Proto::FRAGMENT.0;
        chain[8] = Proto::UDP.0;
        assert_eq!(walk_chain(Proto::FRAGMENT, &chain), Err(Error::Chain));
        // One that says of itself that it is all there is, is taken.
        chain[0] = Proto::UDP.0;
        let upper = walk_chain(Proto::FRAGMENT, &chain).unwrap();
        assert!(upper.has_header() && upper.fragment.unwrap().is_whole());
    }

    #[test]
    fn as_many_extension_headers_as_there_may_be() {
        let chain = |count: usize| {
            let mut chain = [Proto::DEST_OPTIONS.0, 0, 1, 4, 0, 0, 0, 0].repeat(count);
            chain[(count - 1) * 8] = Proto::TCP.0;
            chain
        };
        let upper = walk_chain(Proto::DEST_OPTIONS, &chain(MAX_EXTENSIONS)).unwrap();
        assert_eq!((upper.proto, upper.offset), (Proto::TCP, 8 * MAX_EXTENSIONS));
        assert_eq!(
            walk_chain(Proto::DEST_OPTIONS, &chain(MAX_EXTENSIONS + 1)),
            Err(Error::Chain)
        );
    }

    #[test]
    fn malformed_options_are_told() {
        for first in [Proto::HOP_BY_HOP, Proto::DEST_OPTIONS] {
            // An option that is longer than its header, in a packet that is long enough.
            let overrun = [17, 0, 1, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            assert_eq!(walk_chain(first, &overrun), Err(Error::Options));
            // An option without a length.
            let cut = [17, 0, 1, 3, 0, 0, 0, 1, 0, 0];
            assert_eq!(walk_chain(first, &cut), Err(Error::Options));
            assert_eq!(walk_chain(first, &cut[..8]), Err(Error::Options));
            // Nothing but padding of one byte: 62 bytes are taken, 70 are not.
            let mut padding = [0; 72];
            padding[..2].copy_from_slice(&[17, 7]);
            assert!(walk_chain(first, &padding).is_ok());
            padding[1] = 8;
            assert_eq!(walk_chain(first, &padding), Err(Error::Options));
        }
    }

    #[test]
    fn a_jumbo_payload_is_told() {
        let chain = [6, 0, 0xc2, 4, 0, 1, 0, 0];
        assert_eq!(walk_chain(Proto::HOP_BY_HOP, &chain), Err(Error::Jumbo));
    }

    #[test]
    fn an_offset_beyond_the_end_is_told() {
        assert_eq!(walk(&SYN[..], Proto::TCP, 65, 64), Err(Error::Short));
        assert_eq!(walk(&SYN[..], Proto::TCP, usize::MAX, 64), Err(Error::Short));
        assert_eq!(walk(&SYN[..], Proto::AH, usize::MAX - 2, usize::MAX), Err(Error::Short));
    }

    /// A packet in pieces, like a chain of mbufs, that may only be read up to an end.
    struct Pieces<'a> {
        pieces: Vec<&'a [u8]>,
        end: usize,
    }

    impl Bytes for Pieces<'_> {
        fn piece(&self, _offset: usize) -> &[u8] {
            &[]
        }

        fn copy(&self, offset: usize, to: &mut [u8]) -> bool {
            assert!(offset + to.len() <= self.end, "read beyond the end");
            let bytes = self.pieces.iter().flat_map(|piece| piece.iter());
            let mut bytes = bytes.skip(offset);
            to.iter_mut().all(|to| bytes.next().map(|byte| *to = *byte).is_some())
        }
    }

    /// Bytes among which there are many that continue a chain.
    fn chains() -> impl Strategy<Value = Vec<u8>> {
        let kind = prop::sample::select(std::vec![0u8, 17, 43, 44, 50, 51, 59, 60, 60, 60, 51]);
        let unit = (
            kind,
            prop_oneof![5 => Just(0u8), 1 => 0u8..4],
            any::<[u8; 2]>(),
            any::<bool>(),
        );
        let unit = unit.prop_map(|(kind, len, rest, plain)| {
            let pad = if plain { [1, 4] } else { rest };
            [kind, len, pad[0], pad[1], 0, 0, 0, 0]
        });
        prop::collection::vec(unit, 0..24).prop_map(|units| units.concat())
    }

    #[test]
    fn a_fragment_header_is_found_and_written_again() {
        for (packet, more, offset) in [(&FIRST, true, 0), (&SECOND, false, 24)] {
            let place = find_fragment_header(&packet[..], Proto(packet[6])).unwrap();
            assert_eq!(
                place,
                FragmentPlace {
                    offset: 48,
                    named_at: 40
                }
            );
            let fragment = Fragment {
                offset,
                more,
                id: 0xcafe_1234,
            };
            assert_eq!(FragmentHeader::new(Proto::UDP, fragment).as_bytes(), &packet[48..56]);
        }
        assert_eq!(find_fragment_header(&SYN[..], Proto::TCP), None);
        assert_eq!(find_fragment_header(&REPORT[..], Proto(REPORT[6])), None);
        assert_eq!(find_fragment_header(&FIRST[..41], Proto(FIRST[6])), None);
    }

    proptest! {
        #[test]
        fn what_is_emitted_is_what_is_read(
            src: [u8; 16], dst: [u8; 16], next_header in 1u8.., traffic_class: u8,
            flow_label in 0u32..1 << 20, hop_limit: u8, payload_len: u16,
        ) {
            let repr = Repr {
                src: Addr::from_octets(src),
                dst: Addr::from_octets(dst),
                next_header: Proto(next_header),
                traffic_class,
                flow_label,
                hop_limit,
            };
            let header = header(repr.emit(payload_len.into()).unwrap().as_bytes());
            let extent = header.extent(usize::from(payload_len) + HEADER_LEN).unwrap();
            prop_assert_eq!(extent.payload(), usize::from(payload_len));
            let read = Repr {
                src: header.src(),
                dst: header.dst(),
                next_header: header.next_header,
                traffic_class: header.traffic_class(),
                flow_label: header.flow_label(),
                hop_limit: header.hop_limit,
            };
            prop_assert_eq!(read, repr);
            prop_assert_eq!(repr.emit(65536), None);
        }

        #[test]
        fn a_walk_ends_within_the_packet(
            bytes in prop_oneof![chains(), prop::collection::vec(any::<u8>(), 0..300)],
            first in prop::sample::select(std::vec![0u8, 6, 43, 44, 51, 60]),
            offset in 0usize..40,
            end in 0usize..320,
            cut: prop::sample::Index,
        ) {
            let (left, right) = bytes.split_at(cut.index(bytes.len() + 1));
            let pieces = Pieces { pieces: std::vec![left, right], end };
            let walked = walk(&pieces, Proto(first), offset, end);
            prop_assert_eq!(walked, walk(&bytes[..], Proto(first), offset, end));
            if let Ok(upper) = walked {
                prop_assert!(offset <= upper.offset && upper.offset <= end);
                prop_assert_eq!(upper.fragment.is_some(), upper.met.contains(Met::FRAGMENT));
            }
        }
    }
}
