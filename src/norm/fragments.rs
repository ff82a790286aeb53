//! All packets that are not whole yet: found by a keyed hash, bounded in number and bytes, the oldest in front.
//!
//! # Overview
//! Entries lie in slots of chunks that are allocated as they are needed, and refer to each other by number: a chain for each bucket
//! of the hash table, which has as many buckets as the limit calls for, and one list by age. Where there are more fragments
//! than may wait, the oldest packets go. So neither can anybody make a lookup slow who does not know the key, nor use more memory than
//! the limit gives, nor keep a packet for longer than the timeout.
//!
//! # Locking
//! One spin lock around all of it.

use core::mem::replace;

use pf_abi::Reason;

use super::datagram::{Datagram, Refused};
use super::is_out;
use super::ranges::Ranges;
use crate::hash::HashKey;
use crate::kpi::{Kernel, Mbuf, NoMemory, SoftNet, SpinLock};
use crate::mem::KVec;
use crate::packet::{Packet, Part};
use crate::rule::FragmentPolicy;
use crate::stats::Stats;
use crate::wire::{Addr, Af};

/// Bytes of data for each fragment of the limit: about what an mbuf with a cluster has.
const BYTES_PER_FRAGMENT: usize = 2048;
/// Packets that are purged before others may come between.
const BATCH: usize = 64;
/// Entries of a chunk.
const CHUNK: usize = 64;
/// The number of no slot.
const NONE: u32 = u32::MAX;

/// What the fragments of a packet have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    src: Addr,
    dst: Addr,
    id: u32,
    /// Family, protocol (of IPv4), direction and policy. A router that scrubs in both directions sees each fragment twice.
    kind: u32,
}

impl Key {
    pub(super) fn new(packet: &Packet, part: &Part, policy: FragmentPolicy) -> Self {
        let proto = match packet.af {
            Af::Inet => packet.proto.0,
            // What a fragment header says follows may differ from one to the next (RFC 8200, 4.5).
            Af::Inet6 => 0,
        };
        let kind = [packet.af.into(), proto, is_out(packet.direction).into(), policy as u8];
        Key {
            src: packet.src,
            dst: packet.dst,
            id: part.id,
            kind: u32::from_ne_bytes(kind),
        }
    }

    fn is_strict(&self) -> bool {
        self.kind.to_ne_bytes()[0] == u8::from(Af::Inet6)
    }

    fn hash(&self, secret: &HashKey) -> u64 {
        let halves = |addr: &Addr| {
            let bits = addr.to_bits();
            [bits as u64, (bits >> 64) as u64]
        };
        let ([a, b], [c, d]) = (halves(&self.src), halves(&self.dst));
        secret.hash([a, b, c, d, u64::from(self.id) << 32 | u64::from(self.kind)], 0)
    }
}

/// What is known of a packet.
enum Content {
    /// A free slot.
    Free,
    /// Its parts wait for each other.
    Held(Datagram),
    /// Its parts have passed.
    Passed(Ranges),
    /// It cannot be believed: whatever comes of it is dropped.
    Void,
}

impl Content {
    /// What it counts against the limit: an entry that holds nothing takes a place, too.
    fn weight(&self) -> usize {
        match self {
            Content::Free => 0,
            Content::Held(datagram) => datagram.len().max(1),
            Content::Passed(ranges) => ranges.len().max(1),
            Content::Void => 1,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Content::Held(datagram) => datagram.bytes(),
            _ => 0,
        }
    }

    /// Counts the fragments that are dropped with it. Those that have passed are not lost.
    fn count_lost(&self, stats: &Stats) {
        if let Content::Held(datagram) = self {
            for _ in 0..datagram.len() {
                stats.count(Reason::Fragment);
            }
        }
    }
}

struct Slot {
    key: Key,
    /// Of the key.
    hash: u64,
    /// In seconds of uptime.
    made: u32,
    /// The next in the bucket's chain, or the next free one.
    next: u32,
    older: u32,
    newer: u32,
    content: Content,
}

impl Slot {
    fn free() -> Self {
        Slot {
            key: Key {
                src: Addr::ZERO,
                dst: Addr::ZERO,
                id: 0,
                kind: 0,
            },
            hash: 0,
            made: 0,
            next: NONE,
            older: NONE,
            newer: NONE,
            content: Content::Free,
        }
    }
}

/// What became of a fragment that is to be reassembled.
pub(super) enum Held {
    /// It waits for others.
    Waiting,
    /// It was the last that was missing.
    Complete(Datagram),
}

/// All packets that are not whole yet.
pub(super) struct Fragments {
    table: SpinLock<Table>,
    secret: HashKey,
}

struct Table {
    chunks: KVec<KVec<Slot>>,
    free: u32,
    /// The first of each chain; a power of two of them.
    buckets: KVec<u32>,
    oldest: u32,
    newest: u32,
    /// Fragments that wait, counted as [`Content::weight`] does.
    len: usize,
    /// Bytes of data that wait.
    bytes: usize,
    limit: usize,
}

/// Buckets for a limit.
fn buckets_for(limit: usize) -> usize {
    (limit / 4).clamp(64, 1 << 16).next_power_of_two()
}

impl Fragments {
    pub(super) fn new(kernel: &Kernel, limit: usize) -> Result<Self, NoMemory> {
        let mut secret = [0; 16];
        kernel.fill_random(&mut secret);
        Ok(Fragments {
            table: SpinLock::new(Table {
                chunks: KVec::new(),
                free: NONE,
                buckets: KVec::filled(NONE, buckets_for(limit))?,
                oldest: NONE,
                newest: NONE,
                len: 0,
                bytes: 0,
                limit,
            }),
            secret: HashKey::new(secret),
        })
    }

    pub(super) fn len(&self, level: &SoftNet) -> usize {
        self.table.lock(level).len
    }

    /// Sets how many may wait. What is above goes as soon as another comes.
    pub(super) fn set_limit(&self, limit: usize, level: &SoftNet) -> Result<(), NoMemory> {
        let buckets = KVec::filled(NONE, buckets_for(limit))?;
        let old = {
            let mut table = self.table.lock(level);
            table.limit = limit;
            if table.buckets.len() == buckets.len() {
                return Ok(());
            }
            table.rehash(buckets)
        };
        drop(old);
        Ok(())
    }

    /// Takes a fragment whose packet is reassembled. `mbuf` begins with its headers and ends with its data.
    ///
    /// # Errors
    /// PFRES_FRAG for one that contradicts others or repeats them, PFRES_MEMORY.
    pub(super) fn hold(
        &self,
        key: Key,
        part: &Part,
        mbuf: Mbuf,
        now: u32,
        stats: &Stats,
        level: &SoftNet,
    ) -> Result<Held, Reason> {
        if !part.front.is_repeatable() {
            return Err(Reason::Fragment);
        }
        let hash = key.hash(&self.secret);
        let mut table = self.table.lock(level);
        table.check_limit()?;
        let at = table.enter(key, hash, now, || {
            Content::Held(Datagram::new(part.id, key.is_strict()))
        })?;
        let slot = table.slot(at).ok_or(Reason::Memory)?;
        let before = (slot.content.weight(), slot.content.bytes());
        let Content::Held(datagram) = &mut slot.content else {
            return Err(Reason::Fragment);
        };
        let outcome = datagram.add(part, mbuf);
        let is_complete = datagram.is_complete();
        let after = (slot.content.weight(), slot.content.bytes());
        table.recount(before, after);
        match outcome {
            Ok(()) if is_complete => match table.remove(at) {
                Content::Held(datagram) => Ok(Held::Complete(datagram)),
                _ => Err(Reason::Fragment),
            },
            Ok(()) => {
                table.trim(stats);
                Ok(Held::Waiting)
            }
            Err(Refused::Repeated) => Err(Reason::Fragment),
            Err(Refused::Void) => {
                table.make_void(at, key.is_strict(), stats);
                Err(Reason::Fragment)
            }
            Err(Refused::NoMemory) => Err(Reason::Memory),
        }
    }

    /// Lets a fragment pass at once, if none of it has: where what may pass of it starts and ends. With `strict`, nothing more passes
    /// of a packet of which something would have passed twice.
    ///
    /// # Errors
    /// As for [`hold`](Self::hold).
    pub(super) fn pass(
        &self,
        key: Key,
        part: &Part,
        strict: bool,
        now: u32,
        stats: &Stats,
        level: &SoftNet,
    ) -> Result<(u16, u16), Reason> {
        let hash = key.hash(&self.secret);
        let mut table = self.table.lock(level);
        table.check_limit()?;
        let at = table.enter(key, hash, now, || Content::Passed(Ranges::default()))?;
        let slot = table.slot(at).ok_or(Reason::Memory)?;
        let before = (slot.content.weight(), 0);
        let Content::Passed(ranges) = &mut slot.content else {
            return Err(Reason::Fragment);
        };
        let outcome = ranges.add(part, strict);
        let after = (slot.content.weight(), 0);
        table.recount(before, after);
        let outcome = outcome.map_err(|refused| match refused {
            Refused::NoMemory => Reason::Memory,
            Refused::Void if strict => {
                table.make_void(at, true, stats);
                Reason::Fragment
            }
            Refused::Void | Refused::Repeated => Reason::Fragment,
        });
        table.trim(stats);
        outcome
    }

    /// Drops what has waited for `lifetime` seconds. Whether there may be more of it.
    pub(super) fn purge(&self, now: u32, lifetime: u32, stats: &Stats, level: &SoftNet) -> bool {
        let mut table = self.table.lock(level);
        for _ in 0..BATCH {
            let oldest = table.oldest;
            let is_over = |slot: &mut Slot| now.wrapping_sub(slot.made) >= lifetime;
            if !table.slot(oldest).is_some_and(is_over) {
                return false;
            }
            table.drop_counted(oldest, stats);
        }
        true
    }
}

impl Table {
    fn slot(&mut self, at: u32) -> Option<&mut Slot> {
        let at = at as usize;
        self.chunks.get_mut(at / CHUNK)?.get_mut(at % CHUNK)
    }

    fn bucket(&mut self, hash: u64) -> Option<&mut u32> {
        let at = hash as usize & (self.buckets.len() - 1);
        self.buckets.get_mut(at)
    }

    /// PFRES_MEMORY where none may wait.
    fn check_limit(&self) -> Result<(), Reason> {
        if self.limit == 0 { Err(Reason::Memory) } else { Ok(()) }
    }

    /// Drops the oldest until there is no more than there may be, and counts them.
    fn trim(&mut self, stats: &Stats) {
        let most = self.limit.saturating_mul(BYTES_PER_FRAGMENT);
        while (self.len > self.limit || self.bytes > most) && self.oldest != NONE {
            self.drop_counted(self.oldest, stats);
        }
    }

    /// The slot of a key, which gets one if it has none.
    fn enter(&mut self, key: Key, hash: u64, now: u32, content: impl FnOnce() -> Content) -> Result<u32, Reason> {
        let mut at = self.bucket(hash).map_or(NONE, |first| *first);
        while let Some(slot) = self.slot(at) {
            if slot.hash == hash && slot.key == key {
                return Ok(at);
            }
            at = slot.next;
        }
        if self.free == NONE {
            self.add_chunk().map_err(|NoMemory| Reason::Memory)?;
        }
        let at = self.free;
        let first = self.bucket(hash).map_or(NONE, |first| replace(first, at));
        let newest = replace(&mut self.newest, at);
        let slot = self.slot(at).ok_or(Reason::Memory)?;
        let free = slot.next;
        *slot = Slot {
            key,
            hash,
            made: now,
            next: first,
            older: newest,
            newer: NONE,
            content: content(),
        };
        self.free = free;
        self.len += 1;
        match self.slot(newest) {
            Some(slot) => slot.newer = at,
            None => self.oldest = at,
        }
        Ok(at)
    }

    fn add_chunk(&mut self) -> Result<(), NoMemory> {
        let first = u32::try_from(self.chunks.len() * CHUNK).map_err(|_| NoMemory)?;
        let end = first
            .checked_add(CHUNK as u32)
            .filter(|end| *end < NONE)
            .ok_or(NoMemory)?;
        let mut chunk = KVec::with_capacity(CHUNK)?;
        for at in first..end {
            chunk.push(Slot {
                next: if at + 1 < end { at + 1 } else { NONE },
                ..Slot::free()
            })?;
        }
        self.chunks.push(chunk)?;
        self.free = first;
        Ok(())
    }

    /// Takes an entry out: what it held.
    fn remove(&mut self, at: u32) -> Content {
        let free = self.free;
        let Some(slot) = self.slot(at) else {
            return Content::Free;
        };
        let (hash, next, older, newer) = (slot.hash, slot.next, slot.older, slot.newer);
        let content = replace(&mut slot.content, Content::Free);
        (slot.next, slot.older, slot.newer) = (free, NONE, NONE);
        self.free = at;
        self.len -= content.weight();
        self.bytes -= content.bytes();
        match self.slot(older) {
            Some(slot) => slot.newer = newer,
            None => self.oldest = newer,
        }
        match self.slot(newer) {
            Some(slot) => slot.older = older,
            None => self.newest = older,
        }
        // Out of the chain of its bucket.
        let mut before = match self.bucket(hash) {
            Some(first) if *first == at => {
                *first = next;
                return content;
            }
            Some(first) => *first,
            None => return content,
        };
        while let Some(slot) = self.slot(before) {
            if slot.next == at {
                slot.next = next;
                break;
            }
            before = slot.next;
        }
        content
    }

    /// Drops an entry, and counts the fragments that it held.
    fn drop_counted(&mut self, at: u32, stats: &Stats) {
        self.remove(at).count_lost(stats);
    }

    /// Drops what an entry holds and counts it, and with `for_long` whatever comes of it later.
    fn make_void(&mut self, at: u32, for_long: bool, stats: &Stats) {
        if !for_long {
            self.drop_counted(at, stats);
            return;
        }
        let Some(slot) = self.slot(at) else { return };
        let before = (slot.content.weight(), slot.content.bytes());
        replace(&mut slot.content, Content::Void).count_lost(stats);
        self.recount(before, (1, 0));
    }

    fn recount(&mut self, before: (usize, usize), after: (usize, usize)) {
        self.len = self.len + after.0 - before.0;
        self.bytes = self.bytes + after.1 - before.1;
    }

    /// Spreads all entries over other buckets: the old ones.
    fn rehash(&mut self, buckets: KVec<u32>) -> KVec<u32> {
        let old = replace(&mut self.buckets, buckets);
        let mut at = self.oldest;
        while let Some(slot) = self.slot(at) {
            let (hash, newer) = (slot.hash, slot.newer);
            let first = self.bucket(hash).map_or(NONE, |first| replace(first, at));
            if let Some(slot) = self.slot(at) {
                slot.next = first;
            }
            at = newer;
        }
        old
    }
}
