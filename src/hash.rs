//! The keyed hash that spreads states and source nodes over their tables, and sources over a pool: SipHash-1-3 (Aumasson and Bernstein,
//! 2012) over whole words.
//!
//! Whoever does not know the key cannot choose addresses and ports that fall together. The key of a table is drawn once, and never
//! leaves it.

use core::fmt;

/// A secret key, which is not shown.
#[derive(Clone, Copy)]
pub(crate) struct HashKey {
    k0: u64,
    k1: u64,
}

struct Sip {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
}

impl Sip {
    #[inline(always)]
    fn round(&mut self) {
        self.v0 = self.v0.wrapping_add(self.v1);
        self.v2 = self.v2.wrapping_add(self.v3);
        self.v1 = self.v1.rotate_left(13) ^ self.v0;
        self.v3 = self.v3.rotate_left(16) ^ self.v2;
        self.v0 = self.v0.rotate_left(32);
        self.v2 = self.v2.wrapping_add(self.v1);
        self.v0 = self.v0.wrapping_add(self.v3);
        self.v1 = self.v1.rotate_left(17) ^ self.v2;
        self.v3 = self.v3.rotate_left(21) ^ self.v0;
        self.v2 = self.v2.rotate_left(32);
    }

    #[inline(always)]
    fn absorb(&mut self, word: u64) {
        self.v3 ^= word;
        self.round();
        self.v0 ^= word;
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey")
    }
}

impl HashKey {
    /// The key of sixteen random bytes.
    pub(crate) fn new(bytes: [u8; 16]) -> Self {
        let bits = u128::from_le_bytes(bytes);
        HashKey {
            k0: bits as u64,
            k1: (bits >> 64) as u64,
        }
    }

    /// The hash of `words` and the lower seven bytes of `tail`, equal to SipHash-1-3 of their little-endian bytes. Seven fit
    /// beside the length in the last word, and so cost nothing.
    #[inline(always)]
    pub(crate) fn hash<const N: usize>(&self, words: [u64; N], tail: u64) -> u64 {
        let mut sip = Sip {
            v0: self.k0 ^ 0x736f_6d65_7073_6575,
            v1: self.k1 ^ 0x646f_7261_6e64_6f6d,
            v2: self.k0 ^ 0x6c79_6765_6e65_7261,
            v3: self.k1 ^ 0x7465_6462_7974_6573,
        };
        for word in words {
            sip.absorb(word);
        }
        sip.absorb((N as u64 * 8 + 7) << 56 | tail & (u64::MAX >> 8));
        sip.v2 ^= 0xff;
        sip.round();
        sip.round();
        sip.round();
        sip.v0 ^ sip.v1 ^ sip.v2 ^ sip.v3
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::{DefaultHasher, Hasher};

    #[test]
    fn it_is_siphash_1_3() {
        // The standard library's default hasher is SipHash-1-3 with a key of zeros.
        let key = HashKey::new([0; 16]);
        for words in [[0, 0, 0], [1, 2, 3], [u64::MAX, 0x0123_4567_89ab_cdef, u64::MAX]] {
            let mut reference = DefaultHasher::new();
            let bytes = words.map(u64::to_le_bytes).concat();
            reference.write(&bytes[..23]);
            assert_eq!(key.hash([words[0], words[1]], words[2]), reference.finish());
        }
    }

    #[test]
    fn the_key_matters() {
        let one = HashKey::new([1; 16]);
        let two = HashKey::new([2; 16]);
        assert_ne!(one.hash([7], 7), two.hash([7], 7));
    }
}
