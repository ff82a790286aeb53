//! The Internet checksum: over bytes (RFC 1071), with the pseudo-headers of both families, and updated incrementally (RFC 1624).
//!
//! # Overview
//!
//! [`Sum`] adds bytes up and gives the checksum of them. [`Delta`] collects what a rewrite changes and turns the checksum that
//! the packet carries into the one of the rewritten packet, without a look at the rest of the packet; a checksum that was wrong
//! before stays wrong, so that the receiver notices.
//!
//! Both add native words with the carry brought back in. One's complement addition does not care about byte order until the
//! end, and a word of 64 or 32 bits is worth the same as the 16-bit words in it.
//!
//! # Life cycle, locking
//!
//! Plain values.

use core::ops::Add;

use super::{Addr, Proto};

/// One's complement addition of two 64-bit words. Zero only if both are.
#[inline]
const fn carry_add(a: u64, b: u64) -> u64 {
    let (sum, carry) = a.overflowing_add(b);
    // After a carry the sum is at most 2^64 - 2.
    sum.wrapping_add(carry as u64)
}

/// The same sum as a 16-bit word. Zero only if `sum` is.
#[inline]
const fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32); // below 2^33
    let sum = (sum & 0xffff_ffff) + (sum >> 32); // below 2^32
    let sum = (sum & 0xffff) + (sum >> 16); // below 2^17
    let sum = (sum & 0xffff) + (sum >> 16); // below 2^16
    sum as u16
}

/// The sum of bytes that begin at an even offset, in native words.
#[inline]
fn sum_bytes(bytes: &[u8]) -> u64 {
    let (words, tail) = bytes.as_chunks::<8>();
    let mut sum = 0;
    for word in words {
        sum = carry_add(sum, u64::from_ne_bytes(*word));
    }
    let mut last = [0; 8];
    for (to, from) in last.iter_mut().zip(tail) {
        *to = *from;
    }
    carry_add(sum, u64::from_ne_bytes(last))
}

/// The sum of an address.
#[inline]
const fn sum_addr(addr: &Addr) -> u64 {
    let [a, b, c, d] = addr.words();
    a as u64 + b as u64 + c as u64 + d as u64
}

/// A checksum in the making: the one's complement sum of the bytes added so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    /// The sum in native words.
    words: u64,
    /// Whether an odd number of bytes has been added, so that the next one is the second of its word.
    odd: bool,
}

impl Sum {
    /// The sum of nothing.
    #[inline]
    #[must_use]
    pub const fn new() -> Self {
        Self { words: 0, odd: false }
    }

    /// The sum of the pseudo-header of TCP, UDP and (IPv6 only) ICMPv6: RFC 9293, 3.1 and RFC 8200, 8.1. `len` is the bytes
    /// of the protocol's header and data. One function does for both families, as the rest of an IPv4 address is zero.
    #[inline]
    #[must_use]
    pub const fn pseudo(src: &Addr, dst: &Addr, proto: Proto, len: u32) -> Self {
        let rest = len.to_be() as u64 + (proto.0 as u16).to_be() as u64;
        Self {
            words: sum_addr(src) + sum_addr(dst) + rest,
            odd: false,
        }
    }

    /// Adds the bytes that follow those added so far, whatever their number and alignment.
    #[inline]
    pub fn add(&mut self, bytes: &[u8]) {
        let sum = sum_bytes(bytes);
        let sum = if self.odd {
            u64::from(fold(sum).swap_bytes())
        } else {
            sum
        };
        self.words = carry_add(self.words, sum);
        self.odd ^= bytes.len() % 2 == 1;
    }

    /// This sum with more bytes added.
    #[inline]
    #[must_use]
    pub fn with(mut self, bytes: &[u8]) -> Self {
        self.add(bytes);
        self
    }

    /// The checksum to store, if the field for it was zero among the bytes added. For UDP see [`Sum::udp_checksum`].
    #[inline]
    #[must_use]
    pub const fn checksum(self) -> u16 {
        !u16::from_be(fold(self.words))
    }

    /// The checksum to store in a UDP header, where zero would mean that there is none (RFC 768): 0xffff in its place.
    #[inline]
    #[must_use]
    pub const fn udp_checksum(self) -> u16 {
        never_zero(self.checksum())
    }

    /// Whether the bytes added, a checksum among them, have the right one.
    #[inline]
    #[must_use]
    pub const fn is_valid(self) -> bool {
        fold(self.words) == 0xffff
    }
}

/// The other representation of zero, for the protocol that gives zero a meaning of its own.
#[inline]
const fn never_zero(checksum: u16) -> u16 {
    if checksum == 0 { 0xffff } else { checksum }
}

/// What a rewrite changes in a checksum: the sum of the new values less that of the old ones.
///
/// Equation 3 of RFC 1624, with everything that is replaced taken together. The result is the checksum that a fresh
/// computation gives, zero and 0xffff told apart, unless all that is covered becomes zero, which no packet with an address in
/// its pseudo-header or with a version in its header does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delta(u64);

impl Delta {
    /// Nothing replaced.
    #[inline]
    #[must_use]
    pub const fn new() -> Self {
        Self(0)
    }

    /// Whether this leaves every checksum as it is, because nothing was replaced.
    #[inline]
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Replaces a 16-bit number at an even offset: a port, a length, another checksum, an ICMP identifier.
    #[inline]
    pub const fn replace_u16(&mut self, old: u16, new: u16) {
        let change = !old.to_be() as u64 + new.to_be() as u64;
        self.0 = carry_add(self.0, change);
    }

    /// Replaces a 32-bit number at an even offset: a sequence number.
    #[inline]
    pub const fn replace_u32(&mut self, old: u32, new: u32) {
        let change = !old.to_be() as u64 + new.to_be() as u64;
        self.0 = carry_add(self.0, change);
    }

    /// Replaces an address of either family at an even offset, or in a pseudo-header.
    #[inline]
    pub const fn replace_addr(&mut self, old: &Addr, new: &Addr) {
        let [a, b, c, d] = old.words();
        let gone = !a as u64 + !b as u64 + !c as u64 + !d as u64;
        self.0 = carry_add(self.0, gone + sum_addr(new));
    }

    /// Replaces `N` bytes that begin `offset` bytes after an even place of what is checksummed. `offset` may be odd, as that of
    /// a TCP option may be.
    #[inline]
    pub fn replace_at<const N: usize>(&mut self, offset: usize, old: [u8; N], new: [u8; N]) {
        let change = fold(carry_add(!sum_bytes(&old), sum_bytes(&new)));
        let change = if offset % 2 == 1 { change.swap_bytes() } else { change };
        self.0 = carry_add(self.0, u64::from(change));
    }

    /// The checksum after the rewrite of a packet that carries `checksum`. For UDP see [`Delta::apply_udp`].
    #[inline]
    #[must_use]
    pub const fn apply(self, checksum: u16) -> u16 {
        let sum = carry_add(!checksum.to_be() as u64, self.0);
        !u16::from_be(fold(sum))
    }

    /// The checksum after the rewrite of a UDP packet that carries `checksum`: zero, which is none, stays zero, and nothing else
    /// becomes zero (RFC 768).
    #[inline]
    #[must_use]
    pub const fn apply_udp(self, checksum: u16) -> u16 {
        if checksum == 0 {
            0
        } else {
            never_zero(self.apply(checksum))
        }
    }
}

/// Both rewrites: that of the addresses, say, which the checksums of IPv4 and of TCP have in common, and that of the ports.
impl Add for Delta {
    type Output = Self;

    #[inline]
    fn add(self, other: Self) -> Self {
        Self(carry_add(self.0, other.0))
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    /// RFC 1071 as its text has it: 16-bit words, big endian, one at a time.
    fn reference(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn example_of_rfc_1071() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::new().with(&bytes).checksum(), !0xddf2);
    }

    #[test]
    fn example_of_rfc_1624() {
        let mut delta = Delta::new();
        delta.replace_u16(0x5555, 0x3285);
        // Equation 2 of RFC 1141 gives 0xffff here.
        assert_eq!(delta.apply(0xdd2f), 0x0000);
        assert_eq!(delta.apply_udp(0xdd2f), 0xffff);
    }

    #[test]
    fn nothing_replaced_changes_nothing() {
        for checksum in 0..=0xffff {
            assert_eq!(Delta::new().apply(checksum), checksum);
            assert_eq!(Delta::new().apply_udp(checksum), checksum);
        }
        assert!(Delta::new().is_empty());
    }

    #[test]
    fn the_same_put_in_place_changes_nothing() {
        for value in [0, 1, 0x8000, 0xffff] {
            let mut delta = Delta::new();
            delta.replace_u16(value, value);
            for checksum in 0..0xffff {
                assert_eq!(delta.apply(checksum), checksum);
            }
        }
    }

    #[test]
    fn udp_without_checksum_stays_without() {
        let mut delta = Delta::new();
        delta.replace_u16(53, 5353);
        assert_eq!(delta.apply_udp(0), 0);
        assert_ne!(delta.apply(0), 0);
    }

    #[test]
    fn nothing_has_the_checksum_of_nothing() {
        assert_eq!(Sum::new().checksum(), 0xffff);
        assert_eq!(Sum::new().udp_checksum(), 0xffff);
        assert!(!Sum::new().is_valid());
        assert_eq!(Sum::new().with(&[0xff, 0xff]).udp_checksum(), 0xffff);
        assert_eq!(Sum::new().with(&[0xff, 0xff]).checksum(), 0);
    }

    #[test]
    fn carries_are_never_lost() {
        for len in 0..100 {
            let bytes = std::vec![0xff; len];
            assert_eq!(Sum::new().with(&bytes).checksum(), reference(&bytes));
        }
    }

    proptest! {
        #[test]
        fn sum_is_that_of_rfc_1071(bytes: Vec<u8>) {
            prop_assert_eq!(Sum::new().with(&bytes).checksum(), reference(&bytes));
        }

        #[test]
        fn sum_does_not_depend_on_the_pieces(pieces: Vec<Vec<u8>>) {
            let mut sum = Sum::new();
            for piece in &pieces {
                sum.add(piece);
            }
            prop_assert_eq!(sum.checksum(), reference(&pieces.concat()));
        }

        #[test]
        fn sum_with_its_checksum_is_valid(mut bytes: Vec<u8>, flip: prop::sample::Index, bit in 0u8..8) {
            bytes.extend([0; 16]);
            bytes.truncate(bytes.len() / 2 * 2);
            bytes.push(1);
            bytes.push(1);
            let at = bytes.len() - 4;
            bytes[at..at + 2].fill(0);
            let checksum = Sum::new().with(&bytes).checksum();
            bytes[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
            prop_assert!(Sum::new().with(&bytes).is_valid());
            let at = flip.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(!Sum::new().with(&bytes).is_valid());
        }

        #[test]
        fn pseudo_header_of_ipv4(src: [u8; 4], dst: [u8; 4], proto: u8, len: u16, data: Vec<u8>) {
            let mut bytes = [&src[..], &dst, &[0, proto], &len.to_be_bytes()].concat();
            bytes.extend(&data);
            let sum = Sum::pseudo(&Addr::from_v4(src), &Addr::from_v4(dst), Proto(proto), len.into());
            prop_assert_eq!(sum.with(&data).checksum(), reference(&bytes));
        }

        #[test]
        fn pseudo_header_of_ipv6(src: [u8; 16], dst: [u8; 16], proto: u8, len: u32, data: Vec<u8>) {
            let mut bytes = [&src[..], &dst, &len.to_be_bytes(), &[0, 0, 0, proto]].concat();
            bytes.extend(&data);
            let sum = Sum::pseudo(&Addr::from_octets(src), &Addr::from_octets(dst), Proto(proto), len);
            prop_assert_eq!(sum.with(&data).checksum(), reference(&bytes));
        }

        /// A rewrite of each kind, at even and odd offsets, in one and in two parts.
        #[test]
        fn update_is_the_checksum_computed_afresh(
            mut bytes in prop::collection::vec(any::<u8>(), 64..200),
            port: u16,
            seq: u32,
            addr: [u8; 16],
            option: [u8; 4],
            byte: u8,
            at in 24usize..60,
            in_two: bool,
        ) {
            // Something that is not zero stays.
            bytes[62] = 0x45;
            let before = Sum::new().with(&bytes).checksum();
            let old: [u8; 64] = bytes[..64].try_into().unwrap();

            bytes[0..2].copy_from_slice(&port.to_be_bytes());
            bytes[2..6].copy_from_slice(&seq.to_be_bytes());
            bytes[6..22].copy_from_slice(&addr);
            bytes[23] = byte;
            bytes[at..at + 4].copy_from_slice(&option);
            bytes[62] = 0x45;
            if at > 58 {
                return Ok(());
            }

            let mut first = Delta::new();
            first.replace_u16(u16::from_be_bytes([old[0], old[1]]), port);
            first.replace_u32(u32::from_be_bytes(old[2..6].try_into().unwrap()), seq);
            let mut second = if in_two { Delta::new() } else { first };
            second.replace_addr(
                &Addr::from_octets(old[6..22].try_into().unwrap()),
                &Addr::from_octets(addr),
            );
            second.replace_at(23, [old[23]], [byte]);
            second.replace_at(at, old[at..at + 4].try_into().unwrap(), option);
            let delta = if in_two { first + second } else { second };

            let fresh = Sum::new().with(&bytes);
            prop_assert_eq!(delta.apply(before), fresh.checksum());
            if before != 0 {
                prop_assert_eq!(delta.apply_udp(before), fresh.udp_checksum());
            }
        }

        /// Each pair of 16-bit values with each checksum: the sums that come out as a zero are not left to chance.
        #[test]
        fn update_tells_the_zeros_apart(old: u16, new: u16, rest in 1u16..) {
            let words = |value: u16| [value.to_be_bytes(), rest.to_be_bytes()].concat();
            for (old, new) in [(old, new), (old, !rest), (!rest, new), (0, new), (0xffff, new), (old, 0), (old, 0xffff)] {
                let before = Sum::new().with(&words(old)).checksum();
                let mut delta = Delta::new();
                delta.replace_u16(old, new);
                prop_assert_eq!(delta.apply(before), Sum::new().with(&words(new)).checksum());
            }
        }
    }
}
