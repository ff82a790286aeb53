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
