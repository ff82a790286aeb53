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
