//! Packets, made and read byte by byte, with nothing that is under test.

use std::net::IpAddr;

pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const GRE: u8 = 47;
pub(crate) const ICMP6: u8 = 58;

pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const PUSH: u8 = 8;
pub(crate) const ACK: u8 = 16;

/// The Internet checksum (RFC 1071) of parts, each but the last of an even length.
pub(crate) fn checksum(parts: &[&[u8]]) -> u16 {
    let word = |pair: &[u8]| u64::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u64::from(*low));
    let mut sum: u64 = parts.iter().flat_map(|part| part.chunks(2)).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn octets(addr: IpAddr) -> Vec<u8> {
    match addr {
        IpAddr::V4(addr) => addr.octets().to_vec(),
        IpAddr::V6(addr) => addr.octets().to_vec(),
    }
}

fn pseudo_header(src: IpAddr, dst: IpAddr, proto: u8, len: usize) -> Vec<u8> {
    let mut bytes = octets(src);
    bytes.extend(octets(dst));
    bytes.extend((len as u32).to_be_bytes());
    bytes.extend([0, 0, 0, proto]);
    bytes
}

/// An IP header of either family, and what may come between it and the payload.
#[derive(Debug, Clone)]
pub(crate) struct Ip {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) ttl: u8,
    /// IPv4 options, a multiple of four bytes.
    pub(crate) options: Vec<u8>,
    /// Where an IPv4 fragment begins, and whether there are more.
    pub(crate) fragment: Option<(u16, bool)>,
    /// IPv6 extension headers: what each is, and its bytes, of which the first is filled in.
    pub(crate) extensions: Vec<(u8, Vec<u8>)>,
}

/// A header between two addresses.
pub(crate) fn ip(src: &str, dst: &str) -> Ip {
    Ip {
        src: src.parse().unwrap(),
        dst: dst.parse().unwrap(),
        ttl: 64,
        options: vec![],
        fragment: None,
        extensions: vec![],
    }
}

impl Ip {
    /// The other way round.
    pub(crate) fn back(&self) -> Ip {
        Ip {
            src: self.dst,
            dst: self.src,
            ..self.clone()
        }
    }

    pub(crate) fn with_options(self, options: &[u8]) -> Ip {
        Ip {
            options: options.to_vec(),
            ..self
        }
    }

    pub(crate) fn with_extension(mut self, kind: u8, bytes: &[u8]) -> Ip {
        self.extensions.push((kind, bytes.to_vec()));
        self
    }

    /// A fragment, in the family's own way.
    pub(crate) fn with_fragment(self, offset: u16, more: bool) -> Ip {
        if self.src.is_ipv6() {
            let [high, low] = (offset | u16::from(more)).to_be_bytes();
            self.with_extension(44, &[0, 0, high, low, 1, 2, 3, 4])
        } else {
            let fragment = Some((offset, more));
            Ip { fragment, ..self }
        }
    }

    /// The packet with this payload.
    pub(crate) fn packet(&self, proto: u8, payload: &[u8]) -> Vec<u8> {
        if self.src.is_ipv6() {
            return self.packet6(proto, payload);
        }
        let header_len = 20 + self.options.len();
        let [len_high, len_low] = ((header_len + payload.len()) as u16).to_be_bytes();
        let (offset, more) = self.fragment.unwrap_or((0, false));
        let [frag_high, frag_low] = ((offset / 8) | (u16::from(more) << 13)).to_be_bytes();
        let mut bytes = vec![0x40 | (header_len / 4) as u8, 0, len_high, len_low, 0x12, 0x34];
        bytes.extend([frag_high, frag_low, self.ttl, proto, 0, 0]);
        bytes.extend(octets(self.src));
        bytes.extend(octets(self.dst));
        bytes.extend(&self.options);
        let sum = checksum(&[&bytes]);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    fn packet6(&self, proto: u8, payload: &[u8]) -> Vec<u8> {
        let kinds = self.extensions.iter().map(|(kind, _)| *kind).chain([proto]);
        let mut kinds: Vec<u8> = kinds.collect();
        let first = kinds.remove(0);
        let mut rest = vec![];
        for ((_, bytes), next) in self.extensions.iter().zip(kinds) {
            rest.push(next);
            rest.extend(&bytes[1..]);
        }
        rest.extend(payload);
        let [len_high, len_low] = (rest.len() as u16).to_be_bytes();
        let mut bytes = vec![0x60, 0, 0, 0, len_high, len_low, first, self.ttl];
        bytes.extend(octets(self.src));
        bytes.extend(octets(self.dst));
        bytes.extend(rest);
        bytes
    }

    pub(crate) fn tcp(&self, segment: &Segment) -> Vec<u8> {
        let header_len = 20 + segment.options.len();
        let mut bytes = [segment.src_port, segment.dst_port].map(u16::to_be_bytes).concat();
        bytes.extend([segment.seq, segment.ack].map(u32::to_be_bytes).concat());
        bytes.extend([(header_len * 4) as u8, segment.flags]);
        bytes.extend([segment.window, 0, 0].map(u16::to_be_bytes).concat());
        bytes.extend(&segment.options);
        bytes.extend(&segment.data);
        let pseudo = pseudo_header(self.src, self.dst, TCP, bytes.len());
        let sum = checksum(&[&pseudo, &bytes]);
        bytes[16..18].copy_from_slice(&sum.to_be_bytes());
        self.packet(TCP, &bytes)
    }

    pub(crate) fn udp(&self, src_port: u16, dst_port: u16, data: &[u8]) -> Vec<u8> {
        let len = (8 + data.len()) as u16;
        let mut bytes = [src_port, dst_port, len, 0].map(u16::to_be_bytes).concat();
        bytes.extend(data);
        let pseudo = pseudo_header(self.src, self.dst, UDP, bytes.len());
        let sum = match checksum(&[&pseudo, &bytes]) {
            0 => 0xffff,
            sum => sum,
        };
        bytes[6..8].copy_from_slice(&sum.to_be_bytes());
        self.packet(UDP, &bytes)
    }

    /// UDP over IPv4 without a checksum.
    pub(crate) fn udp_unchecked(&self, src_port: u16, dst_port: u16, data: &[u8]) -> Vec<u8> {
        let mut bytes = self.udp(src_port, dst_port, data);
        let at = transport(&bytes).unwrap().1 + 6;
        bytes[at..at + 2].fill(0);
        bytes
    }

    /// The family's ICMP.
    pub(crate) fn icmp(&self, kind: u8, code: u8, rest: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind, code, 0, 0];
        bytes.extend(rest.to_be_bytes());
        bytes.extend(body);
        let (proto, pseudo) = match self.src {
            IpAddr::V4(_) => (ICMP, vec![]),
            IpAddr::V6(_) => (ICMP6, pseudo_header(self.src, self.dst, ICMP6, bytes.len())),
        };
        let sum = checksum(&[&pseudo, &bytes]);
        bytes[2..4].copy_from_slice(&sum.to_be_bytes());
        self.packet(proto, &bytes)
    }

    pub(crate) fn ping(&self, id: u16) -> Vec<u8> {
        let kind = if self.src.is_ipv6() { 128 } else { 8 };
        self.icmp(kind, 0, u32::from(id) << 16 | 7, b"are you there?")
    }

    pub(crate) fn pong(&self, id: u16) -> Vec<u8> {
        let kind = if self.src.is_ipv6() { 129 } else { 0 };
        self.icmp(kind, 0, u32::from(id) << 16 | 7, b"are you there?")
    }

    /// An error, a port or a host that cannot be reached, about a packet.
    pub(crate) fn error(&self, about: &[u8]) -> Vec<u8> {
        let (kind, code) = if self.src.is_ipv6() { (1, 4) } else { (3, 3) };
        self.icmp(kind, code, 0, about)
    }
}

/// A TCP segment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Segment {
    pub(crate) src_port: u16,
    pub(crate) dst_port: u16,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    /// A multiple of four bytes.
    pub(crate) options: Vec<u8>,
    pub(crate) data: Vec<u8>,
}

/// A segment between two ports.
pub(crate) fn segment(src_port: u16, dst_port: u16, flags: u8, seq: u32, ack: u32) -> Segment {
    Segment {
        src_port,
        dst_port,
        seq,
        ack,
        flags,
        window: 65_535,
        ..Segment::default()
    }
}

impl Segment {
    pub(crate) fn with_data(self, len: usize) -> Self {
        let data = (0..len).map(|n| n as u8).collect();
        Segment { data, ..self }
    }

    pub(crate) fn with_window(self, window: u16) -> Self {
        Segment { window, ..self }
    }

    pub(crate) fn with_stamps(self, val: u32, ecr: u32) -> Self {
        let options = [&[1, 1, 8, 10][..], &val.to_be_bytes(), &ecr.to_be_bytes()].concat();
        Segment { options, ..self }
    }

    pub(crate) fn with_scale(self, shift: u8) -> Self {
        let options = vec![3, 3, shift, 1];
        Segment { options, ..self }
    }
}

/// The transport protocol of a packet, and where its header begins; nothing for a fragment and what is too short.
pub(crate) fn transport(packet: &[u8]) -> Option<(u8, usize)> {
    if packet.first()? >> 4 == 4 {
        let fragment = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]) & 0x3fff != 0;
        return (!fragment).then_some((*packet.get(9)?, usize::from(packet[0] & 15) * 4));
    }
    let (mut proto, mut at) = (*packet.get(6)?, 40);
    while let 0 | 43 | 44 | 51 | 60 = proto {
        let len = usize::from(*packet.get(at + 1)?);
        let step = match proto {
            44 if packet.get(at + 2..at + 4)? != [0, 0] => return None,
            44 => 8,
            51 => 8 + len * 4,
            _ => 8 + len * 8,
        };
        (proto, at) = (*packet.get(at)?, at + step);
    }
    Some((proto, at))
}

/// Both addresses.
pub(crate) fn addresses(packet: &[u8]) -> (IpAddr, IpAddr) {
    if packet[0] >> 4 == 4 {
        let at = |at: usize| <[u8; 4]>::try_from(&packet[at..at + 4]).unwrap();
        (at(12).into(), at(16).into())
    } else {
        let at = |at: usize| <[u8; 16]>::try_from(&packet[at..at + 16]).unwrap();
        (at(8).into(), at(24).into())
    }
}

fn word(packet: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([packet[at], packet[at + 1]])
}

/// What a packet says of itself: `10.0.0.1:1025 > 192.0.2.7:80`, `10.0.0.1 > 192.0.2.7 id 77`, `192.0.2.7 > 10.0.0.1 (about)`.
pub(crate) fn ends(packet: &[u8]) -> String {
    let (src, dst) = addresses(packet);
    match transport(packet) {
        Some((TCP | UDP, at)) => format!("{src}:{} > {dst}:{}", word(packet, at), word(packet, at + 2)),
        Some((proto @ (ICMP | ICMP6), at)) => match (proto, packet[at]) {
            (ICMP, 0 | 8) | (ICMP6, 128 | 129) => format!("{src} > {dst} id {}", word(packet, at + 4)),
            (ICMP, 3..=5 | 11 | 12) | (ICMP6, 1..=4) => format!("{src} > {dst} ({})", ends(&packet[at + 8..])),
            (_, kind) => format!("{src} > {dst} type {kind}"),
        },
        _ => format!("{src} > {dst}"),
    }
}

/// Computes every checksum of a packet afresh, and those of a packet that it quotes as far as it quotes it, and says
/// which are wrong.
pub(crate) fn wrong_checksums(packet: &[u8]) -> Vec<&'static str> {
    let mut wrong = vec![];
    let total = if packet[0] >> 4 == 4 {
        let header = &packet[..usize::from(packet[0] & 15) * 4];
        if checksum(&[header]) != 0 {
            wrong.push("IP");
        }
        usize::from(word(packet, 2))
    } else {
        40 + usize::from(word(packet, 4))
    };
    let Some((proto, at)) = transport(packet) else {
        return wrong;
    };
    let (src, dst) = addresses(packet);
    // A quotation may end early.
    let is_whole = packet.len() >= total;
    let end = total.min(packet.len());
    let payload = &packet[at.min(end)..end];
    let pseudo = pseudo_header(src, dst, proto, payload.len());
    let is_wrong = |pseudo: &[u8]| is_whole && checksum(&[pseudo, payload]) != 0;
    match proto {
        TCP if is_wrong(&pseudo) => wrong.push("TCP"),
        UDP if payload.len() >= 8 && word(payload, 6) != 0 && is_wrong(&pseudo) => wrong.push("UDP"),
        ICMP if is_wrong(&[]) => wrong.push("ICMP"),
        ICMP6 if is_wrong(&pseudo) => wrong.push("ICMPv6"),
        _ => (),
    }
    let is_error = match proto {
        ICMP => matches!(payload, [3..=5 | 11 | 12, ..]),
        ICMP6 => matches!(payload, [1..=4, ..]),
        _ => false,
    };
    let quoted = payload.get(8..).unwrap_or_default();
    let has_header = match quoted {
        [first @ 0x45..=0x4f, ..] => quoted.len() >= usize::from(first & 15) * 4,
        [0x60..=0x6f, ..] => quoted.len() >= 40,
        _ => false,
    };
    if is_error && has_header {
        wrong.extend(wrong_checksums(quoted).into_iter().map(|of| match of {
            "IP" => "quoted IP",
            "TCP" => "quoted TCP",
            "UDP" => "quoted UDP",
            _ => "quoted ICMP",
        }));
    }
    wrong
}

/// Checks that every checksum is right, and says what the packet says of itself.
#[track_caller]
pub(crate) fn sound(packet: &[u8]) -> String {
    assert_eq!(wrong_checksums(packet), [""; 0], "in {}", ends(packet));
    ends(packet)
}
