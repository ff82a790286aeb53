//! The keyed hashes. Whoever does not know the key cannot choose addresses and ports that fall together. The key of a table is drawn
//! once, and never leaves it.
//!
//! [`HashKey`] spreads source nodes over their table, and sources over a pool: SipHash-1-3 (Aumasson and Bernstein, 2012) over whole
//! words.
//!
//! [`SpreadKey`] spreads states, which each packet asks for, and takes a fifth of that: a sum of products (Lemire and Kaser, "Strongly
//! universal string hashing is fast", 2014). Whatever two keys somebody chooses, their hashes are as good as two independent random
//! numbers to him. Of many keys that is less than what SipHash gives, so the sum is not shown as it is: numbers in a row would have
//! hashes in a row, which a secret factor and two folds break up. No packet tells a hash; the cursor of a dump tells one to who may read
//! all states anyway (`/dev/pf` is root's). And a state tree stays logarithmic even if they all fell together.

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

/// Words of 64 bits that a [`SpreadKey`] takes.
const WORDS: usize = 5;

/// A secret key for at most five words, which is not shown.
#[derive(Clone, Copy)]
pub(crate) struct SpreadKey {
    offset: u128,
    factors: [u128; WORDS],
    /// Odd.
    last: u64,
}

impl fmt::Debug for SpreadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SpreadKey")
    }
}

impl SpreadKey {
    /// How many random bytes a key is made of.
    pub(crate) const BYTES: usize = 16 * (WORDS + 2);

    /// The key of so many random bytes.
    pub(crate) fn new(bytes: [u8; Self::BYTES]) -> Self {
        let (numbers, _) = bytes.as_chunks::<16>();
        let number = |at: usize| numbers.get(at).map_or(0, |bytes| u128::from_le_bytes(*bytes));
        SpreadKey {
            offset: number(0),
            factors: core::array::from_fn(|at| number(at + 1)),
            last: number(WORDS + 1) as u64 | 1,
        }
    }

    /// The hash of at most five words. Hashes of different numbers of words have nothing in common that matters.
    #[inline(always)]
    pub(crate) fn hash<const N: usize>(&self, words: [u64; N]) -> u64 {
        const { assert!(N <= WORDS) };
        let mut sum = self.offset;
        for (word, factor) in words.into_iter().zip(&self.factors) {
            sum = sum.wrapping_add(factor.wrapping_mul(word.into()));
        }
        let hash = (sum >> 64) as u64;
        let hash = (hash ^ hash >> 32).wrapping_mul(self.last);
        hash ^ hash >> 32
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

    /// A key like one that was drawn.
    fn spread_key(seed: u8) -> SpreadKey {
        let key = HashKey::new([seed; 16]);
        let mut bytes = [0; SpreadKey::BYTES];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = key.hash([at as u64], 0) as u8;
        }
        SpreadKey::new(bytes)
    }

    #[test]
    fn a_hash_is_a_sum_of_products() {
        let mut bytes = [0; SpreadKey::BYTES];
        (bytes[8], bytes[16 + 8], bytes[32 + 8]) = (5, 3, 7);
        // The last factor is 1, and of small numbers nothing is folded.
        assert_eq!(SpreadKey::new(bytes).hash([10, 100]), 5 + 30 + 700);
    }

    /// Ports and addresses in a row, as a scan or a flood has them, fill the lines of a table as random numbers would: by both ends of
    /// the hash.
    #[test]
    fn what_is_in_a_row_is_spread() {
        const BINS: usize = 1 << 12;
        const EACH: usize = 8;
        for seed in 0..20 {
            let key = spread_key(seed);
            for step in [1, 1 << 8, 1 << 16, 1 << 24, 1 << 32, 1 << 40, 0x0001_0001_0001] {
                let mut low = std::vec![0; BINS];
                let mut high = std::vec![0; BINS];
                for n in 0..(BINS * EACH) as u64 {
                    let hash = key.hash([0x0a00_0001_c633_6402, n.wrapping_mul(step)]);
                    low[hash as usize % BINS] += 1;
                    high[(hash >> (64 - 12)) as usize] += 1;
                }
                for bins in [low, high] {
                    let most = bins.iter().max().copied().unwrap_or_default();
                    let empty = bins.iter().filter(|count| **count == 0).count();
                    // Of random numbers, one bin in 3,000 is empty, and 30 in one of these bins is a matter of centuries.
                    assert!(
                        most <= 30 && empty <= 20,
                        "seed {seed}, step {step:#x}: {most} in one, {empty} empty"
                    );
                }
            }
        }
    }

    #[test]
    fn the_key_matters() {
        let (one, two) = (spread_key(1), spread_key(2));
        assert_ne!(one.hash([7]), two.hash([7]));
        let one = HashKey::new([1; 16]);
        let two = HashKey::new([2; 16]);
        assert_ne!(one.hash([7], 7), two.hash([7], 7));
    }
}
