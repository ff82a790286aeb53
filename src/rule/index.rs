//! An index over the rules of a long list: which of them may be about a packet at all.
//!
//! # Overview
//! A rule is filed under the criterion that rules out most: an address and its prefix, or one destination port. A packet can only
//! match what is filed under its own addresses and port, and the rules that are filed under nothing. So a list of 10,000 rules, each
//! for a port or an address of its own, costs a packet a few binary searches, where a walk would look at each rule.
//!
//! The index answers in the order of the list, and may name a rule that does not match; it never leaves out one that does.
//!
//! # Life cycle, locking
//! Made with the list, immutable.

use super::Rule;
use super::matching::{NO_PORTS, Subject};
use crate::kpi::NoMemory;
use crate::mem::KVec;
use crate::wire::{Addr, Af};

/// Rules from which on an index pays.
pub(super) const WORTHWHILE: usize = 16;
/// Lengths of prefixes that are looked up for one end of a packet, of both families.
const LENGTHS: usize = 5;
/// Places in the list at once: a port's, an address's by each length, and those of rules that are filed under nothing.
const PLACES: usize = 2 + 2 * LENGTHS;

/// What a rule is filed under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Filed {
    key: u64,
    nr: u32,
}

/// A family and a length.
type Length = (Af, u8);

#[derive(Debug, Default)]
pub(super) struct Index {
    /// In order.
    filed: KVec<Filed>,
    /// Rules that are filed under nothing, in order.
    others: KVec<u32>,
    /// The lengths of prefixes under which something is filed, of source and destination.
    lengths: [KVec<Length>; 2],
}

/// What a key is made of: which criterion, and its value. Two values may have one key.
fn key(criterion: u64, addr: &Addr) -> u64 {
    let bits = addr.to_bits();
    let mut key = criterion.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for word in [(bits >> 64) as u64, bits as u64] {
        key = (key ^ word).wrapping_mul(0xff51_afd7_ed55_8ccd);
        key ^= key >> 32;
    }
    key
}

fn prefix_key(end: usize, (af, length): Length, addr: &Addr) -> Option<u64> {
    let mask = Addr::prefix_mask(af, length)?;
    let criterion = 1 + end as u64 + 2 * u64::from(length) + if af == Af::Inet6 { 1 << 16 } else { 0 };
    Some(key(criterion, &addr.masked(&mask)))
}

fn port_key(port: u16) -> u64 {
    key(1 << 20, &Addr::from_bits(port.into()))
}

impl Index {
    /// An index over the rules.
    pub(super) fn new<'a>(rules: impl Iterator<Item = &'a Rule>) -> Result<Self, NoMemory> {
        let mut index = Index::default();
        for (nr, rule) in (0..).zip(rules) {
            match index.file(rule)? {
                Some(key) => index.filed.push(Filed { key, nr })?,
                None => index.others.push(nr)?,
            }
        }
        // Not stable, and in place: it takes no memory.
        index.filed.sort_unstable();
        Ok(index)
    }

    /// What a rule is filed under, if anything.
    fn file(&mut self, rule: &Rule) -> Result<Option<u64>, NoMemory> {
        let prefixes = [&rule.src, &rule.dst].map(|end| end.prefix(rule.af));
        // The longer prefix first; one of less than an eighth of an address is no good.
        let first = usize::from(prefixes[1].map(|it| it.1) > prefixes[0].map(|it| it.1));
        for end in [first, 1 - first] {
            let Some((addr, length, af)) = prefixes.get(end).copied().flatten() else {
                continue;
            };
            if length >= af.bits() / 4
                && let Some(lengths) = self.lengths.get_mut(end)
                && (lengths.contains(&(af, length)) || lengths.len() < LENGTHS)
            {
                if !lengths.contains(&(af, length)) {
                    lengths.push((af, length))?;
                }
                return Ok(prefix_key(end, (af, length), &addr));
            }
        }
        // Without a protocol the rule is about what has no ports too, and that is not looked for by port.
        let port = rule.dst.only_port();
        Ok(port
            .filter(|port| rule.proto.is_some() || *port != NO_PORTS.1)
            .map(port_key))
    }

    /// Where in the list the candidates for a packet are, from number `from` on.
    pub(super) fn places(&self, subject: &Subject, from: u32) -> Places {
        let mut places = Places {
            ranges: [(0, 0); PLACES],
            used: 0,
            other: self.others.partition_point(|nr| *nr < from),
        };
        if let Some((_, port)) = subject.ports {
            places.add(self.range(port_key(port)));
        }
        for (end, addr) in [&subject.src, &subject.dst].into_iter().enumerate() {
            let lengths = self.lengths.get(end).map_or(&[][..], |lengths| lengths);
            for length in lengths.iter().filter(|(af, _)| *af == subject.af) {
                if let Some(key) = prefix_key(end, *length, addr) {
                    places.add(self.range(key));
                }
            }
        }
        places
    }

    fn range(&self, key: u64) -> (u32, u32) {
        let start = self.filed.partition_point(|filed| filed.key < key);
        let rest = self.filed.get(start..).unwrap_or_default();
        let len = match rest.first() {
            Some(first) if first.key == key => rest.partition_point(|filed| filed.key == key),
            _ => 0,
        };
        (start as u32, (start + len) as u32)
    }

    /// The first candidate whose number is at least `from`, which does not become less from call to call.
    pub(super) fn next(&self, places: &mut Places, from: u32) -> Option<u32> {
        while self.others.get(places.other).is_some_and(|nr| *nr < from) {
            places.other += 1;
        }
        let mut least = self.others.get(places.other).copied();
        for (start, end) in places.ranges.iter_mut().take(places.used) {
            while *start < *end
                && let Some(filed) = self.filed.get(*start as usize)
            {
                if filed.nr >= from {
                    least = Some(least.map_or(filed.nr, |least| least.min(filed.nr)));
                    break;
                }
                *start += 1;
            }
        }
        least
    }
}

/// Where the candidates for one packet are in the index of one list.
pub(super) struct Places {
    ranges: [(u32, u32); PLACES],
    used: usize,
    /// Where it is among the rules that are filed under nothing.
    other: usize,
}

impl Places {
    fn add(&mut self, range: (u32, u32)) {
        if range.0 < range.1
            && let Some(slot) = self.ranges.get_mut(self.used)
        {
            *slot = range;
            self.used += 1;
        }
    }
}
