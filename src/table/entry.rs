//! An entry of a table: a network, whether it is negated, and what packets of it were counted.
//!
//! # Life cycle
//! An entry is shared by all versions of its table that have it, so its counters go on while others come and go. Its counters take
//! no memory before there is something to count: most entries of a large table never match.
//!
//! # Locking
//! None. What is counted is atomic, the rest immutable.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::kpi::Direction;
use crate::mem::Once;
use crate::wire::{Addr, Af};

/// A network of either family: its first bits, and how many. In order of the first address; of two networks with the same one, the
/// wider comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix {
    bits: u128,
    len: u8,
}

impl Prefix {
    /// The network of `len` bits, at most the family's, in which an address lies.
    pub fn new(addr: &Addr, af: Af, len: u8) -> Self {
        let len = len.min(af.bits());
        Prefix {
            bits: addr.of_family(af).to_bits() & mask(len),
            len,
        }
    }

    /// An address alone.
    pub fn host(addr: &Addr, af: Af) -> Self {
        Self::new(addr, af, af.bits())
    }

    pub(super) fn from_bits(bits: u128, len: u8) -> Self {
        Prefix { bits, len }
    }

    /// The first address.
    pub fn addr(&self) -> Addr {
        Addr::from_bits(self.bits)
    }

    /// The bits of the network.
    pub fn len(&self) -> u8 {
        self.len
    }

    /// Whether it is all addresses of its family.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline]
    pub(super) fn bits(&self) -> u128 {
        self.bits
    }
}

/// The first `len` bits, of 128 at most.
#[inline]
pub(super) const fn mask(len: u8) -> u128 {
    match u128::MAX.checked_shl(128 - len as u32) {
        Some(mask) => mask,
        None => 0,
    }
}

/// What became of a packet, for the counters: the second index of [`pf_abi::TableStats::packets`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Fate {
    /// PFR_OP_BLOCK
    Blocked = 0,
    /// PFR_OP_PASS
    Passed = 1,
    /// PFR_OP_XPASS: passed, though the table no longer says what the rule goes by.
    PassedAnyway = 2,
}

/// Where packets of a direction and a fate are counted, of so many fates; their bytes come right after.
#[inline]
pub(super) fn counter(direction: Direction, fate: Fate, fates: usize) -> usize {
    (usize::from(direction == Direction::Out) * fates + fate as usize) * 2
}

/// Fates that an entry tells apart.
const FATES: usize = pf_abi::PFR_OP_ADDR_MAX;

/// An entry of a table.
#[derive(Debug)]
pub struct Entry {
    // As two halves, which want no more than a word's alignment.
    bits: [u64; 2],
    len: u8,
    negated: bool,
    /// When its counters began, in seconds since 1970.
    since: AtomicU32,
    counters: Once<[AtomicU64; 2 * 2 * FATES]>,
}

impl Entry {
    /// An entry that has counted nothing since `now`, in seconds since 1970.
    pub fn new(prefix: Prefix, negated: bool, now: u32) -> Self {
        Entry {
            bits: [(prefix.bits >> 64) as u64, prefix.bits as u64],
            len: prefix.len,
            negated,
            since: AtomicU32::new(now),
            counters: Once::new(),
        }
    }

    /// The network.
    #[inline]
    pub fn prefix(&self) -> Prefix {
        let [high, low] = self.bits;
        Prefix {
            bits: u128::from(high) << 64 | u128::from(low),
            len: self.len,
        }
    }

    /// Whether its addresses are not of the table: `!`.
    #[inline]
    pub fn is_negated(&self) -> bool {
        self.negated
    }

    /// Whether the address with these bits is of the network.
    #[inline]
    pub(super) fn covers(&self, bits: u128) -> bool {
        (bits ^ self.prefix().bits) & mask(self.len) == 0
    }

    /// Counts a packet. Where there is no memory to count in, it is not counted.
    #[inline]
    pub fn count(&self, direction: Direction, fate: Fate, bytes: u32) {
        let Ok(counters) = self
            .counters
            .get_or_make(|| Ok([const { AtomicU64::new(0) }; 2 * 2 * FATES]))
        else {
            return;
        };
        let at = counter(direction, fate, FATES);
        if let Some([packets, octets]) = counters.get(at..at + 2) {
            packets.fetch_add(1, Ordering::Relaxed);
            octets.fetch_add(bytes.into(), Ordering::Relaxed);
        }
    }

    /// Packets and bytes that were counted.
    pub fn counted(&self, direction: Direction, fate: Fate) -> (u64, u64) {
        self.read(direction, fate, |counter| counter.load(Ordering::Relaxed))
    }

    /// The same, which begins anew: what is counted meanwhile is in one reading or in the next.
    pub fn take(&self, direction: Direction, fate: Fate) -> (u64, u64) {
        self.read(direction, fate, |counter| counter.swap(0, Ordering::Relaxed))
    }

    fn read(&self, direction: Direction, fate: Fate, read: impl Fn(&AtomicU64) -> u64) -> (u64, u64) {
        match self.both(direction, fate) {
            Some([packets, octets]) => (read(packets), read(octets)),
            None => (0, 0),
        }
    }

    /// Where packets are counted, and their bytes, if any has been.
    fn both(&self, direction: Direction, fate: Fate) -> Option<&[AtomicU64; 2]> {
        let at = counter(direction, fate, FATES);
        self.counters.get()?.get(at..)?.first_chunk()
    }

    /// Undoes a [`take`](Self::take) that gave these packets and bytes.
    pub fn put_back(&self, direction: Direction, fate: Fate, taken: (u64, u64)) {
        if let Some([packets, octets]) = self.both(direction, fate) {
            packets.fetch_add(taken.0, Ordering::Relaxed);
            octets.fetch_add(taken.1, Ordering::Relaxed);
        }
    }

    /// Says when its counters began, in seconds since 1970.
    pub fn set_since(&self, since: u32) {
        self.since.store(since, Ordering::Relaxed);
    }

    /// When its counters began, in seconds since 1970.
    pub fn since(&self) -> u32 {
        self.since.load(Ordering::Relaxed)
    }

    /// Begins to count anew, at `now`, in seconds since 1970.
    pub fn clear(&self, now: u32) {
        self.set_since(now);
        for counter in self.counters.get().into_iter().flatten() {
            counter.store(0, Ordering::Relaxed);
        }
    }
}
