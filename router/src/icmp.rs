//! The ICMP and ICMPv6 messages that the router itself sends: errors (RFC 792, RFC 1812, RFC 4443) and echo replies.
//!
//! # Overview
//! [`error`] says what was wrong with a packet, to its sender, and never to somebody who could not have sent it or who sent an
//! error himself. [`Budget`] bounds how many go out in a second.
//!
//! # Locking
//! A [`Budget`] has a mutex around two numbers.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use pf::wire::checksum::Sum;
use pf::wire::icmp::{Class, Header};
use pf::wire::{Proto, icmp, icmp6, ipv4, ipv6};
use zerocopy::{FromBytes, IntoBytes};

use crate::packet::{Packet, wire_addr};

/// The TTL of what the router sends itself.
const TTL: u8 = 64;
/// The precedence of ICMP errors, "internetwork control" (RFC 1812, 4.3.2.5).
const INTERNETWORK_CONTROL: u8 = 0xc0;
/// The most bytes of an ICMP error (RFC 1812, 4.3.2.3).
const LONGEST_V4: usize = 576;
/// The most bytes of an ICMPv6 error (RFC 4443, 2.4).
const LONGEST_V6: usize = 1280;

/// Why a packet went no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// Its TTL or hop limit is used up.
    Expired,
    /// No route leads to its destination.
    NoRoute,
    /// Its destination would be on the link it came from, and is not there.
    NoHost,
    /// It is for the router itself, which has no service on that port.
    NoPort,
    /// It is longer than the next link takes, and must not be cut: the link's MTU in bytes.
    TooBig(u16),
}

impl Problem {
    fn header_v4(self) -> Header {
        match self {
            Problem::Expired => Header::new(icmp::TIME_EXCEEDED, icmp::TIME_EXCEEDED_TRANSIT, 0),
            Problem::NoRoute => Header::new(icmp::UNREACHABLE, icmp::UNREACHABLE_NET, 0),
            Problem::NoHost => Header::new(icmp::UNREACHABLE, icmp::UNREACHABLE_HOST, 0),
            Problem::NoPort => Header::new(icmp::UNREACHABLE, icmp::UNREACHABLE_PORT, 0),
            Problem::TooBig(mtu) => Header::new(icmp::UNREACHABLE, icmp::UNREACHABLE_NEED_FRAGMENT, mtu.into()),
        }
    }

    fn header_v6(self) -> Header {
        match self {
            Problem::Expired => Header::new(icmp6::TIME_EXCEEDED, icmp6::TIME_EXCEEDED_TRANSIT, 0),
            Problem::NoRoute => Header::new(icmp6::UNREACHABLE, icmp6::UNREACHABLE_NO_ROUTE, 0),
            Problem::NoHost => Header::new(icmp6::UNREACHABLE, icmp6::UNREACHABLE_ADDRESS, 0),
            Problem::NoPort => Header::new(icmp6::UNREACHABLE, icmp6::UNREACHABLE_PORT, 0),
            Problem::TooBig(mtu) => Header::new(icmp6::PACKET_TOO_BIG, 0, mtu.into()),
        }
    }
}

/// The message that says from `source`, an address of the router's, what the problem with a packet is; `packet` is what
/// [`Packet::parse`] said of `bytes`. `id` is the identification of an IPv4 message.
///
/// None where there must be none (RFC 1812, 4.3.2.7; RFC 4443, 2.4): about an ICMP error or redirect, about a fragment other than the
/// first, to or about an address that is not one node's, or about something too mangled to tell.
pub fn error(problem: Problem, bytes: &[u8], packet: &Packet, source: IpAddr, id: u16) -> Option<Vec<u8>> {
    let whole = bytes.get(..packet.total)?;
    if !packet.is_routable() || !may_be_reported(whole, packet)? {
        return None;
    }
    match packet.src {
        IpAddr::V4(_) => {
            let quote = &whole[..whole.len().min(LONGEST_V4 - ipv4::HEADER_LEN - icmp::HEADER_LEN)];
            let header = problem.header_v4();
            message(source, packet.src, INTERNETWORK_CONTROL, id, header, quote)
        }
        IpAddr::V6(_) => {
            let quote = &whole[..whole.len().min(LONGEST_V6 - ipv6::HEADER_LEN - icmp6::HEADER_LEN)];
            message(source, packet.src, 0, id, problem.header_v6(), quote)
        }
    }
}

/// Whether the packet is one that an ICMP error may be about. None if that cannot be told.
fn may_be_reported(whole: &[u8], packet: &Packet) -> Option<bool> {
    match packet.src {
        IpAddr::V4(_) => {
            let (header, _) = ipv4::Header::ref_from_prefix(whole).ok()?;
            if header.fragment().is_some_and(|fragment| !fragment.is_first()) {
                return Some(false);
            }
            if header.proto != Proto::ICMP {
                return Some(true);
            }
            let kind = *whole.get(packet.header)?;
            Some(matches!(icmp::class(kind), Class::Query | Class::Reply))
        }
        IpAddr::V6(_) => {
            let (header, _) = ipv6::Header::ref_from_prefix(whole).ok()?;
            let upper = ipv6::walk(whole, header.next_header, packet.header, packet.total).ok()?;
            if !upper.has_header() {
                return Some(false);
            }
            if upper.proto != Proto::ICMPV6 {
                return Some(true);
            }
            let kind = *whole.get(upper.offset)?;
            Some(matches!(icmp6::class(kind), Class::Query | Class::Reply))
        }
    }
}

/// The reply to an echo request for one of the router's addresses. None if the packet is no echo request, is one in fragments, or has a
/// wrong checksum. `id` is the identification of an IPv4 reply.
pub fn echo_reply(bytes: &[u8], packet: &Packet, id: u16) -> Option<Vec<u8>> {
    let whole = bytes.get(..packet.total)?;
    let (message_bytes, kind, class, pseudo) = match packet.src {
        IpAddr::V4(_) => {
            let (header, _) = ipv4::Header::ref_from_prefix(whole).ok()?;
            if header.proto != Proto::ICMP || header.fragment().is_some() {
                return None;
            }
            (whole.get(packet.header..)?, icmp::ECHO_REQUEST, header.tos, Sum::new())
        }
        IpAddr::V6(_) => {
            let (header, _) = ipv6::Header::ref_from_prefix(whole).ok()?;
            let upper = ipv6::walk(whole, header.next_header, packet.header, packet.total).ok()?;
            if upper.proto != Proto::ICMPV6 || upper.fragment.is_some() {
                return None;
            }
            let message_bytes = whole.get(upper.offset..)?;
            let pseudo = pseudo_v6(packet.src, packet.dst, message_bytes.len())?;
            (message_bytes, icmp6::ECHO_REQUEST, header.traffic_class(), pseudo)
        }
    };
    let (request, body) = Header::ref_from_prefix(message_bytes).ok()?;
    if request.kind != kind || request.code != 0 || !pseudo.with(message_bytes).is_valid() {
        return None;
    }
    let kind = if packet.src.is_ipv4() {
        icmp::ECHO_REPLY
    } else {
        icmp6::ECHO_REPLY
    };
    message(
        packet.dst,
        packet.src,
        class,
        id,
        Header::new(kind, 0, request.rest()),
        body,
    )
}

/// Whether the packet is UDP with its header there: one for a port, of which the router has none.
pub fn is_udp(bytes: &[u8], packet: &Packet) -> bool {
    let proto = match packet.src {
        IpAddr::V4(_) => ipv4::Header::ref_from_prefix(bytes)
            .ok()
            .map(|(header, _)| header.proto),
        IpAddr::V6(_) => ipv6::Header::ref_from_prefix(bytes)
            .ok()
            .and_then(|(header, _)| ipv6::walk(bytes, header.next_header, packet.header, packet.total).ok())
            .map(|upper| upper.proto),
    };
    proto == Some(Proto::UDP)
}

fn pseudo_v6(src: IpAddr, dst: IpAddr, len: usize) -> Option<Sum> {
    let len = u32::try_from(len).ok()?;
    Some(Sum::pseudo(&wire_addr(src), &wire_addr(dst), Proto::ICMPV6, len))
}

/// A whole IP packet with an ICMP or ICMPv6 message in it. `class` is IPv4's type of service or IPv6's traffic class.
fn message(src: IpAddr, dst: IpAddr, class: u8, id: u16, header: Header, body: &[u8]) -> Option<Vec<u8>> {
    let len = icmp::HEADER_LEN + body.len();
    let (mut bytes, pseudo) = match (src, dst) {
        (IpAddr::V4(_), IpAddr::V4(_)) => {
            let repr = ipv4::Repr {
                src: wire_addr(src),
                dst: wire_addr(dst),
                proto: Proto::ICMP,
                tos: class,
                ttl: TTL,
                id,
                dont_fragment: false,
            };
            (repr.emit(len)?.as_bytes().to_vec(), Sum::new())
        }
        (IpAddr::V6(_), IpAddr::V6(_)) => {
            let repr = ipv6::Repr {
                src: wire_addr(src),
                dst: wire_addr(dst),
                next_header: Proto::ICMPV6,
                traffic_class: class,
                flow_label: 0,
                hop_limit: TTL,
            };
            (repr.emit(len)?.as_bytes().to_vec(), pseudo_v6(src, dst, len)?)
        }
        _ => return None,
    };
    let at = bytes.len();
    bytes.resize(at + len, 0);
    header.emit(pseudo, body, &mut bytes[at..])?;
    Some(bytes)
}

/// How many more messages may go out: a bucket of one second's worth, which fills again as time passes (RFC 4443, 2.4 (f)).
#[derive(Debug)]
pub struct Budget {
    rate: f64,
    left: Mutex<(f64, Instant)>,
}

impl Budget {
    /// `rate` messages a second, and as many at once; full at `now`.
    pub fn new(rate: u32, now: Instant) -> Self {
        Budget {
            rate: rate.into(),
            left: Mutex::new((rate.into(), now)),
        }
    }

    /// Takes one at `now`; false if there is none left.
    pub fn take(&self, now: Instant) -> bool {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let (tokens, since) = *left;
        let refilled = tokens + now.saturating_duration_since(since).as_secs_f64() * self.rate;
        let tokens = refilled.min(self.rate);
        let enough = tokens >= 1.0;
        *left = (if enough { tokens - 1.0 } else { tokens }, now.max(since));
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::tests::{hex, long_v4, udp_v4, udp_v6};
    use std::time::Duration;

    fn report(problem: Problem, bytes: &[u8]) -> Option<Vec<u8>> {
        let packet = Packet::parse(bytes).unwrap();
        let source = if packet.src.is_ipv4() { "10.0.0.1" } else { "fd00:1::1" };
        error(problem, bytes, &packet, source.parse().unwrap(), 0xabcd)
    }

    #[test]
    fn time_exceeded_is_as_the_rfc_has_it() {
        let head = hex("45c0 003c abcd 0000 4001 ba31 0a000001 0a000002 0b00 2955 00000000");
        assert_eq!(report(Problem::Expired, &udp_v4()).unwrap(), [head, udp_v4()].concat());
    }

    #[test]
    fn fragmentation_needed_tells_the_mtu() {
        let head = hex("45c0 003c abcd 0000 4001 ba31 0a000001 0a000002 0304 2bd9 0000 0578");
        assert_eq!(
            report(Problem::TooBig(1400), &udp_v4()).unwrap(),
            [head, udp_v4()].concat()
        );
    }

    #[test]
    fn icmpv6_time_exceeded_is_as_the_rfc_has_it() {
        let head = hex(
            "60000000 003c 3a 40 fd000001000000000000000000000001 fd000001000000000000000000000002
                        0300 9153 00000000",
        );
        assert_eq!(report(Problem::Expired, &udp_v6()).unwrap(), [head, udp_v6()].concat());
    }

    #[test]
    fn packet_too_big_tells_the_mtu() {
        let head = hex(
            "60000000 003c 3a 40 fd000001000000000000000000000001 fd000001000000000000000000000002
                        0200 8d53 00000500",
        );
        assert_eq!(
            report(Problem::TooBig(1280), &udp_v6()).unwrap(),
            [head, udp_v6()].concat()
        );
    }

    #[test]
    fn the_other_problems_have_their_codes() {
        for (problem, v4, v6) in [
            (Problem::NoRoute, [3, 0], [1, 0]),
            (Problem::NoHost, [3, 1], [1, 3]),
            (Problem::NoPort, [3, 3], [1, 4]),
        ] {
            assert_eq!(report(problem, &udp_v4()).unwrap()[20..22], v4);
            assert_eq!(report(problem, &udp_v6()).unwrap()[40..42], v6);
        }
    }

    #[test]
    fn an_error_quotes_no_more_than_it_may() {
        let long = long_v4(3000, false);
        let error = report(Problem::Expired, &long).unwrap();
        assert_eq!(error.len(), 576);
        assert_eq!(error[28..], long[..548]);
        assert!(Sum::new().with(&error[20..]).is_valid());

        let mut long = udp_v6();
        long.resize(40 + 3000, 0);
        long[4..6].copy_from_slice(&3000u16.to_be_bytes());
        let error = report(Problem::Expired, &long).unwrap();
        assert_eq!(error.len(), 1280);
        assert_eq!(error[48..], long[..1232]);
    }

    #[test]
    fn what_lies_behind_the_packet_is_not_quoted() {
        let padded = [udp_v4(), vec![0; 14]].concat();
        assert_eq!(report(Problem::Expired, &padded), report(Problem::Expired, &udp_v4()));
    }

    #[test]
    fn errors_are_never_about_errors() {
        let v4 = report(Problem::Expired, &udp_v4()).unwrap();
        let v6 = report(Problem::Expired, &udp_v6()).unwrap();
        for error in [v4, v6] {
            assert_eq!(report(Problem::Expired, &error), None);
            // Cut off before its type, it might be one.
            let mut cut = error.clone();
            let packet = Packet::parse(&error).unwrap();
            cut.truncate(packet.header);
            let cut_packet = Packet {
                total: packet.header,
                ..packet
            };
            assert_eq!(super::error(Problem::Expired, &cut, &cut_packet, packet.src, 0), None);
        }
    }

    #[test]
    fn errors_are_about_echo_requests_too() {
        assert!(report(Problem::Expired, &echo_v4()).is_some());
        assert!(report(Problem::Expired, &echo_v6()).is_some());
    }

    #[test]
    fn only_the_first_fragment_is_reported() {
        let long = long_v4(3000, false);
        let packet = Packet::parse(&long).unwrap();
        let reported: Vec<bool> = crate::packet::fragments(&long, &packet, 1500)
            .map(|fragment| report(Problem::Expired, &fragment).is_some())
            .collect();
        assert_eq!(reported, [true, false, false]);
    }

    #[test]
    fn nobody_is_told_who_could_not_have_sent_it() {
        for src in ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"] {
            let bytes = udp_v4();
            let packet = Packet {
                src: src.parse().unwrap(),
                ..Packet::parse(&bytes).unwrap()
            };
            assert_eq!(
                super::error(Problem::NoRoute, &bytes, &packet, "10.0.0.1".parse().unwrap(), 0),
                None,
                "{src}"
            );
        }
        for dst in ["224.0.0.1", "255.255.255.255"] {
            let bytes = udp_v4();
            let packet = Packet {
                dst: dst.parse().unwrap(),
                ..Packet::parse(&bytes).unwrap()
            };
            assert_eq!(
                super::error(Problem::NoRoute, &bytes, &packet, "10.0.0.1".parse().unwrap(), 0),
                None,
                "{dst}"
            );
        }
    }

    fn echo_v4() -> Vec<u8> {
        hex("4500 0021 1234 4000 4001 14a6 0a000002 0a000001 0800 b425 0007 0001 68656c6c6f")
    }

    fn echo_v6() -> Vec<u8> {
        hex(
            "60000000 000d 3a 40 fd000001000000000000000000000002 fd000001000000000000000000000001
             8000 41d7 0007 0001 68656c6c6f",
        )
    }

    fn reply(bytes: &[u8]) -> Option<Vec<u8>> {
        echo_reply(bytes, &Packet::parse(bytes).unwrap(), 0xabcd)
    }

    #[test]
    fn an_echo_request_is_answered() {
        assert_eq!(
            reply(&echo_v4()).unwrap(),
            hex("4500 0021 abcd 0000 4001 bb0c 0a000001 0a000002 0000 bc25 0007 0001 68656c6c6f")
        );
        assert_eq!(
            reply(&echo_v6()).unwrap(),
            hex(
                "60000000 000d 3a 40 fd000001000000000000000000000001 fd000001000000000000000000000002
                 8100 40d7 0007 0001 68656c6c6f"
            )
        );
    }

    #[test]
    fn nothing_else_is_answered_as_one() {
        for good in [echo_v4(), echo_v6()] {
            let mut corrupt = good.clone();
            *corrupt.last_mut().unwrap() ^= 1;
            assert_eq!(reply(&corrupt), None);
            assert_eq!(reply(&reply(&good).unwrap()), None);
        }
        assert_eq!(reply(&udp_v4()), None);
        assert_eq!(reply(&udp_v6()), None);
        assert!(is_udp(&udp_v4(), &Packet::parse(&udp_v4()).unwrap()));
        assert!(is_udp(&udp_v6(), &Packet::parse(&udp_v6()).unwrap()));
        assert!(!is_udp(&echo_v4(), &Packet::parse(&echo_v4()).unwrap()));
    }

    #[test]
    fn a_budget_is_spent_and_fills_again() {
        let start = Instant::now();
        let budget = Budget::new(10, start);
        let taken = |now| (0..100).filter(|_| budget.take(now)).count();
        assert_eq!(taken(start), 10);
        assert_eq!(taken(start + Duration::from_millis(250)), 2);
        assert_eq!(taken(start + Duration::from_millis(300)), 1);
        // A quiet hour saves no more than a second's worth.
        assert_eq!(taken(start + Duration::from_secs(3600)), 10);
        // A clock that another thread read a little earlier gives nothing twice.
        assert_eq!(taken(start), 0);
        assert!(!Budget::new(0, start).take(start + Duration::from_secs(10)));
    }
}
