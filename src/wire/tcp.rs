//! TCP (RFC 9293): the header, its options, sequence numbers, and the segments that pf sends itself.
//!
//! # Overview
//!
//! [`Header::header_len`] says where the options end; [`Options`] goes through them. [`Seq`] is a sequence number with the
//! comparisons that make sense on a circle. [`Repr`] writes a segment without data: a reset, or a SYN|ACK.
//!
//! # Life cycle, locking
//!
//! Plain values and borrowed bytes.

use core::fmt;
use core::ops::{Add, AddAssign, Sub, SubAssign};

use bitflags::bitflags;
use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::checksum::Sum;
use super::{Addr, Error, Proto};

/// Bytes of a header without options.
pub const HEADER_LEN: usize = size_of::<Header>();

/// The most bytes a header can have with its options.
pub const MAX_HEADER_LEN: usize = 60;

/// The largest window scale in use: RFC 7323, 2.3.
pub const MAX_WINDOW_SCALE: u8 = 14;

/// The smallest maximum segment size that is believed: what leaves room for data behind the options.
pub const MIN_MSS: u16 = 64;

/// A sequence number: a place on a circle of 2^32.
///
/// Of two numbers less than 2^31 apart, one comes before the other, and the comparisons say which. This is no order (of three
/// numbers each can come before the next), so there is no `Ord`. At exactly 2^31 apart each comes before the other.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Seq(pub u32);

impl Seq {
    /// How far this number is after `earlier`: 0 to 2^32 - 1, around the circle if it is before it.
    #[inline]
    #[must_use]
    pub const fn since(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }

    /// How far this number is after `other`, negative if it is before it.
    #[inline]
    #[must_use]
    pub const fn distance(self, other: Self) -> i32 {
        self.since(other).cast_signed()
    }

    /// Whether this number comes before `other`.
    #[inline]
    #[must_use]
    pub const fn lt(self, other: Self) -> bool {
        self.distance(other) < 0
    }

    /// Whether this number comes before `other` or is the same.
    #[inline]
    #[must_use]
    pub const fn leq(self, other: Self) -> bool {
        self.distance(other) <= 0
    }

    /// Whether this number comes after `other`.
    #[inline]
    #[must_use]
    pub const fn gt(self, other: Self) -> bool {
        self.distance(other) > 0
    }

    /// Whether this number comes after `other` or is the same.
    #[inline]
    #[must_use]
    pub const fn geq(self, other: Self) -> bool {
        self.distance(other) >= 0
    }

    /// The later of two numbers.
    #[inline]
    #[must_use]
    pub const fn latest(self, other: Self) -> Self {
        if self.lt(other) { other } else { self }
    }
}

/// The number so many bytes later.
impl Add<u32> for Seq {
    type Output = Self;

    #[inline]
    fn add(self, bytes: u32) -> Self {
        Self(self.0.wrapping_add(bytes))
    }
}

/// The number so many bytes earlier.
impl Sub<u32> for Seq {
    type Output = Self;

    #[inline]
    fn sub(self, bytes: u32) -> Self {
        Self(self.0.wrapping_sub(bytes))
    }
}

impl AddAssign<u32> for Seq {
    #[inline]
    fn add_assign(&mut self, bytes: u32) {
        *self = *self + bytes;
    }
}

impl SubAssign<u32> for Seq {
    #[inline]
    fn sub_assign(&mut self, bytes: u32) {
        *self = *self - bytes;
    }
}

impl fmt::Debug for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

bitflags! {
    /// The control bits of a segment.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct TcpFlags: u8 {
        /// The sender has no more data.
        const FIN = 0x01;
        /// The sequence number is the initial one.
        const SYN = 0x02;
        /// The connection is reset.
        const RST = 0x04;
        /// The data is to be handed on at once.
        const PUSH = 0x08;
        /// The acknowledgment number counts.
        const ACK = 0x10;
        /// The urgent pointer counts.
        const URG = 0x20;
        /// An echo of congestion experienced (RFC 3168).
        const ECE = 0x40;
        /// The congestion window was reduced (RFC 3168).
        const CWR = 0x80;
    }
}

/// The fixed part of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    /// The source port.
    pub src_port: U16,
    /// The destination port.
    pub dst_port: U16,
    /// The sequence number of the first byte of data, or of the SYN.
    pub seq: U32,
    /// The next sequence number that the sender expects.
    pub ack: U32,
    /// The length of the header in units of four bytes, and four bits that are reserved.
    offset_reserved: u8,
    /// The control bits: [`Header::flags`].
    pub flag_bits: u8,
    /// How many bytes beyond `ack` the sender takes, not scaled.
    pub window: U16,
    /// The checksum of pseudo-header, header and data.
    pub checksum: U16,
    /// Where urgent data ends, from `seq` on.
    pub urgent: U16,
}

impl Header {
    /// Where `checksum` is in the header, in bytes.
    pub const CHECKSUM_OFFSET: usize = core::mem::offset_of!(Self, checksum);

    /// Bytes of the header, options included, where `available` bytes begin with it: 20 to 60, and not more than `available`.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] if the stated length is below 20, [`Error::Short`] if it is more than `available`.
    #[inline]
    pub const fn header_len(&self, available: usize) -> Result<usize, Error> {
        let len = (self.offset_reserved >> 4) as usize * 4;
        if len < HEADER_LEN {
            Err(Error::Length)
        } else if len > available {
            Err(Error::Short)
        } else {
            Ok(len)
        }
    }

    /// The control bits.
    #[inline]
    #[must_use]
    pub const fn flags(&self) -> TcpFlags {
        TcpFlags::from_bits_retain(self.flag_bits)
    }

    /// The sequence number.
    #[inline]
    #[must_use]
    pub fn seq(&self) -> Seq {
        Seq(self.seq.get())
    }

    /// The acknowledgment number.
    #[inline]
    #[must_use]
    pub fn ack(&self) -> Seq {
        Seq(self.ack.get())
    }

    /// The sequence number after this segment, if it has `data_len` bytes of data: SYN and FIN take one each.
    #[inline]
    #[must_use]
    pub fn end(&self, data_len: u16) -> Seq {
        let flags = self.flags();
        let controls = u32::from(flags.contains(TcpFlags::SYN)) + u32::from(flags.contains(TcpFlags::FIN));
        self.seq() + u32::from(data_len) + controls
    }
}

/// The part of a header that an ICMP error quotes at least: the first eight bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Quoted {
    /// The source port.
    pub src_port: U16,
    /// The destination port.
    pub dst_port: U16,
    /// The sequence number.
    pub seq: U32,
}

/// One pair of edges in a selective acknowledgment (RFC 2018).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SackBlock {
    /// The first sequence number received.
    pub left: U32,
    /// The one after the last received.
    pub right: U32,
}

/// An option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpOption<'a> {
    /// The maximum segment size, in bytes.
    Mss(u16),
    /// By how many bits windows are to be shifted, as stated: it may be more than [`MAX_WINDOW_SCALE`].
    WindowScale(u8),
    /// Selective acknowledgments are welcome.
    SackPermitted,
    /// Selective acknowledgments. Block `i` begins `2 + 8 * i` bytes into the option.
    Sack(&'a [SackBlock]),
    /// The sender's clock, and the latest that it has seen of the other's (RFC 7323, 3).
    Timestamps {
        /// The sender's clock.
        val: u32,
        /// The echo of the other's.
        ecr: u32,
    },
    /// Any other, or one of the above with a length that it cannot have.
    Unknown {
        /// Its number.
        kind: u8,
        /// What it has besides number and length.
        data: &'a [u8],
    },
}

/// An option, and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located<'a> {
    /// Where its first byte, the number, is in the options. The first option is 20 bytes into the header, so what is odd here is
    /// odd for the checksum too.
    pub offset: usize,
    /// The option.
    pub option: TcpOption<'a>,
}

/// The options of a header, one after the other, without the padding. Ends after an error.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    options: &'a [u8],
    offset: usize,
}

impl<'a> Options<'a> {
    /// The options in the bytes between the fixed header and its end.
    #[inline]
    #[must_use]
    pub const fn new(options: &'a [u8]) -> Self {
        Self { options, offset: 0 }
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = Result<Located<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        const END: u8 = 0;
        const NO_OPERATION: u8 = 1;

        loop {
            let offset = self.offset;
            let rest = self.options.get(offset..)?;
            match *rest.first()? {
                END => {
                    self.offset = self.options.len();
                    return None;
                }
                NO_OPERATION => self.offset = offset.saturating_add(1),
                kind => {
                    let len = rest.get(1).copied().map_or(0, usize::from);
                    let Some(data) = rest.get(2..len) else {
                        self.offset = self.options.len();
                        return Some(Err(Error::Options));
                    };
                    self.offset = offset.saturating_add(len);
                    let option = TcpOption::new(kind, data);
                    return Some(Ok(Located { offset, option }));
                }
            }
        }
    }
}

impl<'a> TcpOption<'a> {
    /// The option of this number with what follows number and length.
    fn new(kind: u8, data: &'a [u8]) -> Self {
        match (kind, data) {
            (2, &[high, low]) => Self::Mss(u16::from_be_bytes([high, low])),
            (3, &[shift]) => Self::WindowScale(shift),
            (4, []) => Self::SackPermitted,
            (5, [_, ..]) => match <[SackBlock]>::ref_from_bytes(data) {
                Ok(blocks) => Self::Sack(blocks),
                Err(_) => Self::Unknown { kind, data },
            },
            (8, &[a, b, c, d, e, f, g, h]) => Self::Timestamps {
                val: u32::from_be_bytes([a, b, c, d]),
                ecr: u32::from_be_bytes([e, f, g, h]),
            },
            _ => Self::Unknown { kind, data },
        }
    }
}

/// The window scale in the options of a SYN, if it has one: 0 to 14, where a larger one counts as 14 (RFC 7323, 2.3). The first
/// one counts; what follows a malformed option is not looked at.
#[must_use]
pub fn window_scale(options: &[u8]) -> Option<u8> {
    Options::new(options).find_map(|located| match located.ok()?.option {
        TcpOption::WindowScale(shift) => Some(shift.min(MAX_WINDOW_SCALE)),
        _ => None,
    })
}

/// The maximum segment size in the options of a SYN, if it has one: not below [`MIN_MSS`]. The first one counts; what follows a
/// malformed option is not looked at.
#[must_use]
pub fn mss(options: &[u8]) -> Option<u16> {
    Options::new(options).find_map(|located| match located.ok()?.option {
        TcpOption::Mss(mss) => Some(mss.max(MIN_MSS)),
        _ => None,
    })
}

/// A segment without data that pf sends itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// The source port.
    pub src_port: u16,
    /// The destination port.
    pub dst_port: u16,
    /// The sequence number.
    pub seq: Seq,
    /// The acknowledgment number.
    pub ack: Seq,
    /// The control bits.
    pub flags: TcpFlags,
    /// The window, not scaled.
    pub window: u16,
    /// The maximum segment size to state in an option, for a SYN.
    pub mss: Option<u16>,
}

impl Repr {
    /// The most bytes that [`Repr::emit`] writes.
    pub const MAX_LEN: usize = HEADER_LEN + 4;

    /// The reset that answers a segment with `data_len` bytes of data where there is no connection: RFC 9293, 3.5.2, group 1.
    /// None if the segment is a reset itself.
    #[must_use]
    pub fn reset(segment: &Header, data_len: u16) -> Option<Self> {
        let flags = segment.flags();
        if flags.contains(TcpFlags::RST) {
            return None;
        }
        let (seq, ack, flags) = if flags.contains(TcpFlags::ACK) {
            (segment.ack(), Seq(0), TcpFlags::RST)
        } else {
            (Seq(0), segment.end(data_len), TcpFlags::RST | TcpFlags::ACK)
        };
        Some(Self {
            src_port: segment.dst_port.get(),
            dst_port: segment.src_port.get(),
            seq,
            ack,
            flags,
            window: 0,
            mss: None,
        })
    }

    /// Bytes of the segment: 20 or 24.
    #[inline]
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a segment has a header")]
    pub const fn len(&self) -> usize {
        match self.mss {
            None => HEADER_LEN,
            Some(_) => Self::MAX_LEN,
        }
    }

    /// Writes the segment, checksum and all, to the beginning of `to`, for a packet from `src` to `dst`. Gives the
    /// bytes written, [`Repr::len`] of them, or None if `to` is too short.
    #[must_use]
    pub fn emit<'a>(&self, src: &Addr, dst: &Addr, to: &'a mut [u8]) -> Option<&'a [u8]> {
        let len = self.len();
        let (segment, _) = to.split_at_mut_checked(len)?;
        let (header, options) = Header::mut_from_prefix(segment).ok()?;
        *header = Header {
            src_port: self.src_port.into(),
            dst_port: self.dst_port.into(),
            seq: self.seq.0.into(),
            ack: self.ack.0.into(),
            offset_reserved: (len as u8) << 2,
            flag_bits: self.flags.bits(),
            window: self.window.into(),
            checksum: U16::ZERO,
            urgent: U16::ZERO,
        };
        if let Some(mss) = self.mss {
            let [high, low] = mss.to_be_bytes();
            [2, 4, high, low].write_to(options).ok()?;
        }
        header.checksum = Sum::pseudo(src, dst, Proto::TCP, len as u32)
            .with(header.as_bytes())
            .with(options)
            .checksum()
            .into();
        Some(segment)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use proptest::prelude::*;

    use super::super::checksum::Delta;
    use super::super::ipv4;
    use super::*;

    /// A SYN over IPv4, its sequence number about to wrap.
    const SYN: [u8; 60] = [
        0x45, 0x00, 0x00, 0x3c, 0xab, 0xcd, 0x40, 0x00, 0x40, 0x06, 0x97, 0x61, 0xc0, 0xa8, 0x01, 0x0a, 0x5d, 0xb8,
        0xd8, 0x22, 0xc8, 0x22, 0x01, 0xbb, 0xff, 0xff, 0xff, 0xf0, 0x00, 0x00, 0x00, 0x00, 0xa0, 0x02, 0xfa, 0xf0,
        0x55, 0x58, 0x00, 0x00, 0x02, 0x04, 0x05, 0xb4, 0x04, 0x02, 0x08, 0x0a, 0x0a, 0x1b, 0x2c, 0x3d, 0x00, 0x00,
        0x00, 0x00, 0x01, 0x03, 0x03, 0x0a,
    ];

    /// An acknowledgment over IPv4 with a selective one, its options behind two bytes of padding each.
    const SACK: [u8; 64] = [
        0x45, 0x00, 0x00, 0x40, 0xab, 0xce, 0x40, 0x00, 0x40, 0x06, 0x97, 0x5c, 0xc0, 0xa8, 0x01, 0x0a, 0x5d, 0xb8,
        0xd8, 0x22, 0xc8, 0x22, 0x01, 0xbb, 0xff, 0xff, 0xff, 0xf1, 0x00, 0x00, 0x03, 0xe8, 0xb0, 0x10, 0x01, 0xf5,
        0x07, 0x7c, 0x00, 0x00, 0x01, 0x01, 0x08, 0x0a, 0x0a, 0x1b, 0x2c, 0x41, 0x00, 0x11, 0x22, 0x33, 0x01, 0x01,
        0x05, 0x0a, 0x00, 0x00, 0x0a, 0x00, 0x00, 0x00, 0x0f, 0x50,
    ];

    /// The reset over IPv4 that answers [`SYN`].
    const RESET: [u8; 40] = [
        0x45, 0x00, 0x00, 0x28, 0x00, 0x00, 0x40, 0x00, 0x40, 0x06, 0x43, 0x43, 0x5d, 0xb8, 0xd8, 0x22, 0xc0, 0xa8,
        0x01, 0x0a, 0x01, 0xbb, 0xc8, 0x22, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xf1, 0x50, 0x14, 0x00, 0x00,
        0xee, 0x73, 0x00, 0x00,
    ];

    /// The SYN|ACK over IPv4 that answers [`SYN`].
    const SYN_ACK: [u8; 44] = [
        0x45, 0x00, 0x00, 0x2c, 0x00, 0x00, 0x40, 0x00, 0x40, 0x06, 0x43, 0x3f, 0x5d, 0xb8, 0xd8, 0x22, 0xc0, 0xa8,
        0x01, 0x0a, 0x01, 0xbb, 0xc8, 0x22, 0x00, 0x00, 0x10, 0x00, 0xff, 0xff, 0xff, 0xf1, 0x60, 0x12, 0x04, 0x00,
        0xc2, 0xb9, 0x00, 0x00, 0x02, 0x04, 0x05, 0xb4,
    ];

    const CLIENT: Addr = Addr::from_v4([192, 168, 1, 10]);
    const SERVER: Addr = Addr::from_v4([93, 184, 216, 34]);

    /// The TCP header, and the options.
    fn parse(packet: &[u8]) -> (Header, &[u8]) {
        let (ip, segment) = ipv4::Header::read_from_prefix(packet).unwrap();
        assert_eq!(ip.extent(packet.len()).unwrap().header, ipv4::HEADER_LEN);
        assert_eq!(ip.proto, Proto::TCP);
        let (header, _) = Header::read_from_prefix(segment).unwrap();
        let len = header.header_len(segment.len()).unwrap();
        (header, &segment[HEADER_LEN..len])
    }

    fn is_valid(src: &Addr, dst: &Addr, segment: &[u8]) -> bool {
        Sum::pseudo(src, dst, Proto::TCP, segment.len() as u32)
            .with(segment)
            .is_valid()
    }

    #[test]
    fn fields_of_a_syn() {
        let (header, options) = parse(&SYN);
        assert_eq!((header.src_port.get(), header.dst_port.get()), (51234, 443));
        assert_eq!((header.seq(), header.ack()), (Seq(0xffff_fff0), Seq(0)));
        assert_eq!(header.flags(), TcpFlags::SYN);
        assert_eq!((header.window.get(), header.urgent.get()), (64240, 0));
        assert_eq!(header.checksum.get(), 0x5558);
        assert_eq!(SYN[20 + Header::CHECKSUM_OFFSET..][..2], [0x55, 0x58]);
        assert_eq!(header.end(0), Seq(0xffff_fff1));
        assert!(is_valid(&CLIENT, &SERVER, &SYN[20..]));
        assert!(!is_valid(&CLIENT, &CLIENT, &SYN[20..]));

        let options: Vec<_> = Options::new(options).map(Result::unwrap).collect();
        let at = |offset, option| Located { offset, option };
        assert_eq!(
            options,
            [
                at(0, TcpOption::Mss(1460)),
                at(4, TcpOption::SackPermitted),
                at(
                    6,
                    TcpOption::Timestamps {
                        val: 169_552_957,
                        ecr: 0
                    }
                ),
                at(17, TcpOption::WindowScale(10)),
            ]
        );
    }

    #[test]
    fn fields_of_a_selective_acknowledgment() {
        let (header, options) = parse(&SACK);
        assert_eq!(header.flags(), TcpFlags::ACK);
        let options: Vec<_> = Options::new(options).map(Result::unwrap).collect();
        assert_eq!(
            options[0].option,
            TcpOption::Timestamps {
                val: 169_552_961,
                ecr: 1_122_867
            }
        );
        assert_eq!(options[1].offset, 14);
        let TcpOption::Sack([block]) = options[1].option else {
            panic!("not one block: {:?}", options[1]);
        };
        assert_eq!((block.left.get(), block.right.get()), (2560, 3920));
        assert_eq!(mss(&SACK[40..]), None);
        assert_eq!(window_scale(&SACK[40..]), None);
    }

    #[test]
    fn impossible_lengths_are_told() {
        let with = |offset_reserved| Header {
            offset_reserved,
            ..parse(&SYN).0
        };
        assert_eq!(with(0x40).header_len(40), Err(Error::Length));
        assert_eq!(with(0x0f).header_len(40), Err(Error::Length));
        assert_eq!(with(0x5f).header_len(20), Ok(20));
        assert_eq!(with(0x50).header_len(19), Err(Error::Short));
        assert_eq!(with(0xf0).header_len(59), Err(Error::Short));
        assert_eq!(with(0xf0).header_len(60), Ok(60));
    }

    #[test]
    fn controls_take_sequence_numbers() {
        let with = |flags: TcpFlags| Header {
            flag_bits: flags.bits(),
            ..parse(&SYN).0
        };
        assert_eq!(with(TcpFlags::ACK).end(16), Seq(0));
        assert_eq!(with(TcpFlags::FIN | TcpFlags::ACK).end(16), Seq(1));
        assert_eq!(with(TcpFlags::SYN | TcpFlags::FIN).end(16), Seq(2));
        assert_eq!(with(TcpFlags::all() - TcpFlags::FIN).end(0), Seq(0xffff_fff1));
    }

    #[test]
    fn the_window_scale_is_limited() {
        assert_eq!(window_scale(&[3, 3, 0]), Some(0));
        assert_eq!(window_scale(&[1, 3, 3, 14]), Some(14));
        assert_eq!(window_scale(&[1, 3, 3, 15]), Some(14));
        assert_eq!(window_scale(&[1, 3, 3, 255]), Some(14));
        assert_eq!(window_scale(&[3, 4, 7, 7]), None);
        assert_eq!(window_scale(&[0, 3, 3, 7]), None);
        assert_eq!(window_scale(&[2, 0, 3, 3, 7]), None);
        assert_eq!(window_scale(&[3, 3]), None);
    }

    #[test]
    fn the_mss_is_limited() {
        assert_eq!(mss(&SYN[40..]), Some(1460));
        assert_eq!(mss(&[2, 4, 0, 0]), Some(MIN_MSS));
        assert_eq!(mss(&[2, 4, 0, 65]), Some(65));
        assert_eq!(mss(&[2, 4, 0xff, 0xff]), Some(65535));
        assert_eq!(mss(&[2, 3, 5]), None);
        assert_eq!(mss(&[]), None);
    }

    #[test]
    fn options_with_a_length_they_cannot_have_are_unknown() {
        for options in [
            &[2, 3, 5][..],
            &[3, 2],
            &[4, 3, 0],
            &[5, 2],
            &[5, 9, 0, 0, 0, 0, 0, 0, 0],
            &[8, 9, 0, 0, 0, 0, 0, 0, 0],
            &[34, 4, 1, 2],
        ] {
            let all: Vec<_> = Options::new(options).collect();
            let unknown = TcpOption::Unknown {
                kind: options[0],
                data: &options[2..],
            };
            assert_eq!(
                all,
                [Ok(Located {
                    offset: 0,
                    option: unknown
                })]
            );
        }
    }

    #[test]
    fn malformed_options_are_told_once() {
        for options in [&[2][..], &[2, 0, 0], &[2, 1], &[1, 8, 10, 0], &[4, 2, 3, 4, 0]] {
            let all: Vec<_> = Options::new(options).collect();
            assert_eq!(all.last(), Some(&Err(Error::Options)));
            assert_eq!(all.iter().filter(|option| option.is_err()).count(), 1);
        }
    }

    #[test]
    fn a_reset_answers_a_syn() {
        let (syn, _) = parse(&SYN);
        let mut buffer = [0; Repr::MAX_LEN];
        let reset = Repr::reset(&syn, 0).unwrap();
        let segment = reset.emit(&SERVER, &CLIENT, &mut buffer).unwrap();
        assert_eq!(segment, &RESET[20..]);
        assert_eq!(reset.emit(&SERVER, &CLIENT, &mut [0; 19]), None);
    }

    #[test]
    fn a_reset_has_the_number_that_was_acknowledged() {
        let (ack, _) = parse(&SACK);
        let reset = Repr::reset(&ack, 100).unwrap();
        assert_eq!(reset.flags, TcpFlags::RST);
        assert_eq!((reset.seq, reset.ack), (Seq(1000), Seq(0)));
        assert_eq!((reset.src_port, reset.dst_port), (443, 51234));
    }

    #[test]
    fn a_reset_is_not_answered() {
        assert_eq!(Repr::reset(&parse(&RESET).0, 0), None);
    }

    #[test]
    fn a_syn_ack_states_the_segment_size() {
        let repr = Repr {
            src_port: 443,
            dst_port: 51234,
            seq: Seq(0x1000),
            ack: Seq(0xffff_fff1),
            flags: TcpFlags::SYN | TcpFlags::ACK,
            window: 1024,
            mss: Some(1460),
        };
        let mut buffer = [0xaa; 40];
        let segment = repr.emit(&SERVER, &CLIENT, &mut buffer).unwrap();
        assert_eq!(segment, &SYN_ACK[20..]);
        assert_eq!(repr.emit(&SERVER, &CLIENT, &mut [0; 23]), None);
    }

    /// The whole of a modulated and translated SYN|ACK's rewrite, its timestamp at an odd offset.
    #[test]
    fn a_rewrite_updates_the_checksum() {
        let mut segment = [1, 2, 3, 4].repeat(9);
        segment[12] = 0x90;
        // Behind one byte of padding, the clock is at 23.
        segment[20..23].copy_from_slice(&[1, 8, 10]);
        let before = Sum::pseudo(&SERVER, &CLIENT, Proto::TCP, 36).with(&segment).checksum();

        let located = Options::new(&segment[20..]).next().unwrap().unwrap();
        let TcpOption::Timestamps { val, .. } = located.option else {
            panic!("no timestamps: {located:?}");
        };
        assert_eq!(located.offset, 1);
        let mut delta = Delta::new();
        let at = HEADER_LEN + located.offset + 2;
        delta.replace_at(at, val.to_be_bytes(), 77u32.to_be_bytes());
        segment[at..at + 4].copy_from_slice(&77u32.to_be_bytes());
        let (header, _) = Header::mut_from_prefix(&mut segment).unwrap();
        delta.replace_u32(header.seq.get(), 0xdead_beef);
        header.seq = 0xdead_beef.into();
        delta.replace_u16(header.dst_port.get(), 80);
        header.dst_port = 80.into();
        let inside = Addr::from_v4([10, 0, 0, 7]);
        delta.replace_addr(&CLIENT, &inside);

        let after = Sum::pseudo(&SERVER, &inside, Proto::TCP, 36).with(&segment).checksum();
        assert_eq!(delta.apply(before), after);
    }

    #[test]
    fn sequence_numbers_wrap() {
        let last = Seq(u32::MAX);
        assert_eq!(last + 1, Seq(0));
        assert_eq!(Seq(0) - 1, last);
        assert_eq!(Seq(4).since(Seq(0xffff_fffe)), 6);
        assert_eq!(Seq(0xffff_fffe).distance(Seq(4)), -6);
        assert!(last.lt(Seq(0)) && last.leq(Seq(0)) && Seq(0).gt(last) && Seq(0).geq(last));
        assert!(!last.gt(Seq(0)) && !Seq(0).lt(last));
        assert!(Seq(0x7fff_ffff).lt(Seq(0x8000_0000)));
        assert!(Seq(0).lt(Seq(0x7fff_ffff)) && Seq(0).gt(Seq(0x8000_0001)));
        assert_eq!(last.latest(Seq(5)), Seq(5));
        assert_eq!(Seq(5).latest(last), Seq(5));
        let mut seq = last;
        seq += 2;
        assert_eq!(seq, Seq(1));
        seq -= 2;
        assert_eq!(seq, last);
    }

    /// What [`Seq`] says of itself at exactly half the circle.
    #[test]
    fn opposite_numbers_both_come_first() {
        for seq in [Seq(0), Seq(1), Seq(0x8000_0000), Seq(u32::MAX)] {
            let opposite = seq + 0x8000_0000;
            assert!(seq.lt(opposite) && opposite.lt(seq));
            assert!(!seq.gt(opposite) && !opposite.gt(seq));
        }
    }

    proptest! {
        #[test]
        fn order_is_antisymmetric(seq: u32, ahead in 1u32..0x8000_0000) {
            let (seq, next) = (Seq(seq), Seq(seq) + ahead);
            prop_assert!(seq.lt(next) && seq.leq(next) && !seq.gt(next) && !seq.geq(next));
            prop_assert!(next.gt(seq) && next.geq(seq) && !next.lt(seq) && !next.leq(seq));
            prop_assert!(seq.leq(seq) && seq.geq(seq) && !seq.lt(seq) && !seq.gt(seq));
            prop_assert_eq!(next.since(seq), ahead);
            prop_assert_eq!(next - ahead, seq);
            prop_assert_eq!(seq.latest(next), next);
            prop_assert_eq!(next.latest(seq), next);
        }

        #[test]
        fn what_is_emitted_is_what_is_read(
            src: [u8; 16], dst: [u8; 16], src_port: u16, dst_port: u16, seq: u32, ack: u32, flags: u8,
            window: u16, size in prop::option::of(MIN_MSS..),
        ) {
            let (src, dst) = (Addr::from_octets(src), Addr::from_octets(dst));
            let repr = Repr {
                src_port,
                dst_port,
                seq: Seq(seq),
                ack: Seq(ack),
                flags: TcpFlags::from_bits_retain(flags),
                window,
                mss: size,
            };
            let mut buffer = [0x55; Repr::MAX_LEN];
            let segment = repr.emit(&src, &dst, &mut buffer).unwrap();
            prop_assert!(is_valid(&src, &dst, segment));
            let (header, options) = Header::read_from_prefix(segment).unwrap();
            prop_assert_eq!(header.header_len(segment.len()), Ok(segment.len()));
            prop_assert_eq!(segment.len(), repr.len());
            let read = Repr {
                src_port: header.src_port.get(),
                dst_port: header.dst_port.get(),
                seq: header.seq(),
                ack: header.ack(),
                flags: header.flags(),
                window: header.window.get(),
                mss: mss(options),
            };
            prop_assert_eq!(read, repr);
        }

        #[test]
        fn options_end_and_do_not_overlap(
            options in prop::collection::vec(prop_oneof![0u8..12, any::<u8>()], 0..=40),
        ) {
            let mut after = 0;
            let mut count = 0;
            for located in Options::new(&options) {
                count += 1;
                let Ok(located) = located else { continue };
                prop_assert!(located.offset >= after);
                after = located.offset + usize::from(options[located.offset + 1]);
                prop_assert!(after <= options.len());
            }
            prop_assert!(count <= options.len());
            prop_assert!(window_scale(&options).is_none_or(|shift| shift <= MAX_WINDOW_SCALE));
            prop_assert!(mss(&options).is_none_or(|mss| mss >= MIN_MSS));
        }
    }
}
