//! The laws of translation: every checksum that was right is right afterwards, a wrong one stays wrong, all else stays as it is,
//! and what is translated there and back is what it was.

use std::net::IpAddr;

use pf::kpi::{Direction, Mbuf};
use pf::packet::{Packet, Rewrite};
use pf::state::Host;
use proptest::prelude::*;

use crate::common::packets::*;

/// What a packet carries.
#[derive(Debug, Clone)]
enum Kind {
    Tcp(Segment),
    Udp(Vec<u8>),
    UncheckedUdp(Vec<u8>),
    Ping,
    Pong,
    Other(Vec<u8>),
}

/// The two ends of a packet. A ping has its identifier for a first port.
#[derive(Debug, Clone, Copy)]
struct Ends {
    addrs: (IpAddr, IpAddr),
    ports: (u16, u16),
}

#[derive(Debug, Clone)]
struct Recipe {
    ip: Ip,
    kind: Kind,
}

impl Recipe {
    fn make(&self, ends: Ends) -> Vec<u8> {
        let (src, dst) = ends.addrs;
        let ip = Ip {
            src,
            dst,
            ..self.ip.clone()
        };
        let (src_port, dst_port) = ends.ports;
        match &self.kind {
            Kind::Tcp(segment) => ip.tcp(&Segment {
                src_port,
                dst_port,
                ..segment.clone()
            }),
            Kind::Udp(data) => ip.udp(src_port, dst_port, data),
            Kind::UncheckedUdp(data) => ip.udp_unchecked(src_port, dst_port, data),
            Kind::Ping => ip.ping(src_port),
            Kind::Pong => ip.pong(src_port),
            Kind::Other(data) => ip.packet(GRE, data),
        }
    }

    /// What these ends look like where only an identifier, or no port at all, can be written.
    fn rewrite(&self, ends: Ends) -> Rewrite {
        let (src, dst) = match self.kind {
            Kind::Ping | Kind::Pong => (ends.ports.0, 0),
            Kind::Other(_) => (0, 0),
            _ => ends.ports,
        };
        let host = |addr: IpAddr, port| Host {
            addr: addr.into(),
            port,
        };
        Rewrite {
            src: host(ends.addrs.0, src),
            dst: host(ends.addrs.1, dst),
        }
    }
}

fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..most)
}

fn kinds(v6: bool) -> impl Strategy<Value = Kind> {
    let tcp = (
        any::<(u32, u32, u8, u16)>(),
        prop::sample::select(vec![0, 4, 20, 40]),
        bytes(90),
    )
        .prop_map(|((seq, ack, flags, window), options, data)| {
            let options = vec![1; options];
            Kind::Tcp(Segment {
                seq,
                ack,
                flags,
                window,
                options,
                data,
                ..Segment::default()
            })
        });
    // Over IPv6 UDP has a checksum.
    let unchecked = if v6 { Kind::Udp } else { Kind::UncheckedUdp };
    prop_oneof![
        tcp,
        bytes(90).prop_map(Kind::Udp),
        bytes(90).prop_map(unchecked),
        Just(Kind::Ping),
        Just(Kind::Pong),
        bytes(90).prop_map(Kind::Other),
    ]
}

fn addr(v6: bool) -> BoxedStrategy<IpAddr> {
    // Words of zeros and of ones are where sums go round.
    let word = || prop_oneof![any::<u8>(), Just(0), Just(0xff)];
    if v6 {
        prop::array::uniform16(word()).prop_map(IpAddr::from).boxed()
    } else {
        prop::array::uniform4(word()).prop_map(IpAddr::from).boxed()
    }
}

fn ends(v6: bool) -> impl Strategy<Value = Ends> {
    let port = || prop_oneof![1..=u16::MAX, Just(0xffff)];
    ((addr(v6), addr(v6)), (port(), port())).prop_map(|(addrs, ports)| Ends { addrs, ports })
}

fn recipes(v6: bool) -> impl Strategy<Value = Recipe> {
    let ip = if v6 { ip("::", "::") } else { ip("0.0.0.0", "0.0.0.0") };
    let options = [0, 0, 1, 4, 0, 0, 0, 0];
    let ips = if v6 {
        vec![
            ip.clone(),
            ip.clone().with_extension(60, &options),
            ip.with_fragment(0, false),
        ]
    } else {
        vec![ip.clone(), ip.with_options(&[148, 4, 0, 0])]
    };
    (prop::sample::select(ips), kinds(v6)).prop_map(|(ip, kind)| Recipe { ip, kind })
}

/// A packet, and three pairs of ends: what it has, what it is to have, and whom an error about it goes between.
fn cases() -> impl Strategy<Value = (Recipe, [Ends; 3])> {
    any::<bool>().prop_flat_map(|v6| (recipes(v6), [ends(v6), ends(v6), ends(v6)]))
}

fn parse(bytes: &[u8], cut: usize) -> Packet {
    let mbuf = Mbuf::split(bytes, cut % (bytes.len() + 1));
    let mut packet = Packet::new(mbuf, Direction::Out);
    let parsed = packet.parse();
    parsed.unwrap_or_else(|reason| panic!("{reason:?}: {bytes:02x?}"));
    packet
}

/// A packet with new ends.
fn rewritten(bytes: &[u8], cut: usize, rewrite: &Rewrite) -> Vec<u8> {
    let mut packet = parse(bytes, cut);
    packet.rewrite(rewrite).unwrap();
    packet.into_mbuf().to_bytes()
}

proptest! {
    #[test]
    fn a_rewritten_packet_is_one_made_afresh((recipe, [old, new, _]) in cases(), cut: usize) {
        let (before, after) = (recipe.make(old), recipe.make(new));
        let there = rewritten(&before, cut, &recipe.rewrite(new));
        prop_assert_eq!(wrong_checksums(&there), [""; 0]);
        prop_assert_eq!(&there, &after);
        let back = rewritten(&there, cut, &recipe.rewrite(old));
        prop_assert_eq!(back, before);
    }

    #[test]
    fn a_wrong_checksum_stays_wrong((recipe, [old, new, _]) in cases(), cut: usize, damage: (usize, u8)) {
        let mut before = recipe.make(old);
        // Somewhere behind the headers.
        let Some((proto, at)) = transport(&before) else { unreachable!() };
        let header = match proto {
            TCP => 20,
            UDP | ICMP | ICMP6 => 8,
            _ => 0,
        };
        let room = before.len() - at - header;
        prop_assume!(room > 0);
        let bit = 1 << (damage.1 % 8);
        before[at + header + damage.0 % room] ^= bit;
        let wrong = wrong_checksums(&before);
        let there = rewritten(&before, cut, &recipe.rewrite(new));
        prop_assert_eq!(wrong_checksums(&there), wrong);
        let back = rewritten(&there, cut, &recipe.rewrite(old));
        prop_assert_eq!(back, before);
    }

    #[test]
    fn a_rewritten_error_is_one_made_afresh((recipe, [old, new, outer]) in cases(), shown: usize, cut: usize) {
        let (quoted, expected) = (recipe.make(old), recipe.make(new));
        let (proto, at) = transport(&quoted).unwrap();
        // From the eight bytes that have to be there to all of it; where it ends within a checksum, half of one is as it was.
        prop_assume!(quoted.len() >= at + 8);
        let mut len = at + 8 + shown % (quoted.len() - at - 7);
        if proto == TCP && len == at + 17 {
            len = at + 16;
        }
        let error = |ends: Ends, about: &[u8]| {
            let (src, dst) = ends.addrs;
            Ip { src, dst, ..ip("::", "::") }.error(about)
        };
        let before = error(outer, &quoted[..len]);
        let mut packet = parse(&before, cut);
        let quote = packet.quote().unwrap();
        let mut rewrite = recipe.rewrite(new);
        if matches!(recipe.kind, Kind::Ping | Kind::Pong) {
            // One identifier for both.
            rewrite.dst.port = rewrite.src.port;
        }
        let (src, dst) = new.addrs;
        packet.rewrite_error(src.into(), dst.into(), &quote, &rewrite, None).unwrap();
        let there = packet.into_mbuf().to_bytes();
        prop_assert_eq!(wrong_checksums(&there), [""; 0]);
        prop_assert_eq!(there, error(new, &expected[..len]));
    }
}
