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
            options.copy_from_slice(&[2, 4, high, low]);
        }
        header.checksum = Sum::pseudo(src, dst, Proto::TCP, len as u32)
            .with(header.as_bytes())
            .with(options)
            .checksum()
            .into();
        Some(segment)
    }
}
