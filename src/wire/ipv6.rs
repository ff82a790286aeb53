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
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct FragmentHeader {
    next_header: Proto,
    reserved: u8,
    /// The offset in bytes, a multiple of eight; the lowest bit is set if there are more.
    offset_more: U16,
    id: U32,
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
/// the upper protocol. `end` is where the packet ends.
///
/// The upper protocol's own header may still be short. For a packet quoted in an ICMPv6 error, `end` is where the quotation
/// ends.
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
        let [kind] = packet.take(at)?;
        if kind == PAD_1 {
            at = at.saturating_add(1);
            continue;
        }
        let [_, len] = take_before::<[u8; 2], B>(packet, at, end).map_err(|_| Error::Options)?;
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
