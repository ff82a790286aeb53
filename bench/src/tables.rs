//! Address tables beside a BTreeMap and a classical radix tree: lookups, loading, changes, memory; and many tables.
//!
//! # Overview
//! All three hold the same IPv4 networks: nine of ten are hosts, the others are /24. The map has them by length and address, and is
//! asked once for each length that there is, the longest first. The radix tree looks at one bit at a time, with the bits left out
//! in which nothing differs, as BSD's does. Half of the lookups are of addresses that are there, in no order. As packets do,
//! each lookup in the engine's table opens a read section of its own.
//!
//! # Life cycle, locking
//! One thread. The tables end with the measurement.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use pf::kpi::{Passive, SoftNet};
use pf::mem::{KBox, Snapshot};
use pf::table::{Contents, Entry, Prefix, Tables};
use pf::wire::{Addr, Af};
use pf_abi::TableName;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use crate::memory;
use crate::report::{Record, tenths};
use crate::states::{SPAN, median};

/// Bits of the networks.
const LENGTHS: [u8; 2] = [32, 24];
/// Lookups in a pass.
const LOOKUPS: usize = 1 << 20;
/// Tables that are made.
const MANY: usize = 10_000;

fn masked(addr: u32, len: u8) -> u32 {
    addr & u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0)
}

/// What is compared.
trait Table {
    fn insert(&mut self, addr: u32, len: u8);
    /// The bits of the narrowest network that has the address.
    fn find(&self, addr: u32) -> Option<u8>;
}

/// The engine's.
struct Ours {
    contents: Snapshot<Contents>,
    passive: Passive,
}

impl Ours {
    fn new() -> Self {
        Ours {
            contents: Snapshot::new(KBox::new(Contents::default()).expect("memory")),
            passive: Passive::new().expect("memory"),
        }
    }

    /// One change: what is there, with these networks, in its place.
    fn add(&self, networks: &[(u32, u8)]) {
        let mut addresses = {
            let level = SoftNet::raise();
            let section = self.passive.read(&level);
            self.contents.read(&section).addresses.clone()
        };
        for (addr, len) in networks {
            let prefix = Prefix::new(&Addr::from_v4(addr.to_be_bytes()), Af::Inet, *len);
            addresses
                .insert(Af::Inet, Entry::new(prefix, false, 0))
                .expect("memory");
        }
        let active = true;
        let new = KBox::new(Contents { active, addresses }).expect("memory");
        drop(self.contents.replace(new, &self.passive));
    }
}

impl Table for Ours {
    fn insert(&mut self, addr: u32, len: u8) {
        self.add(&[(addr, len)]);
    }

    #[inline]
    fn find(&self, addr: u32) -> Option<u8> {
        let level = SoftNet::raise();
        let section = self.passive.read(&level);
        let addresses = &self.contents.read(&section).addresses;
        let found = addresses.find(Af::Inet, &Addr::from_v4(addr.to_be_bytes()));
        found.map(|entry| entry.prefix().len())
    }
}

impl Table for BTreeMap<(u8, u32), ()> {
    fn insert(&mut self, addr: u32, len: u8) {
        self.insert((len, addr), ());
    }

    #[inline]
    fn find(&self, addr: u32) -> Option<u8> {
        LENGTHS
            .into_iter()
            .find(|len| self.contains_key(&(*len, masked(addr, *len))))
    }
}

/// A radix tree: a node for each network, and for each place where two part.
#[derive(Default)]
struct Radix(Option<Box<Node>>);

struct Node {
    addr: u32,
    len: u8,
    is_network: bool,
    children: [Option<Box<Node>>; 2],
}

impl Node {
    fn new(addr: u32, len: u8) -> Box<Self> {
        Box::new(Node {
            addr,
            len,
            is_network: true,
            children: [None, None],
        })
    }
}

/// The bit of an address behind the first `len`.
fn bit(addr: u32, len: u8) -> usize {
    (addr << (len & 31) >> 31) as usize
}

impl Table for Radix {
    fn insert(&mut self, addr: u32, len: u8) {
        let mut at = &mut self.0;
        while at
            .as_ref()
            .is_some_and(|node| node.len < len && masked(addr, node.len) == node.addr)
        {
            let node = at.as_mut().expect("it was seen");
            at = &mut node.children[bit(addr, node.len)];
        }
        *at = Some(match at.take() {
            None => Node::new(addr, len),
            Some(mut node) if (node.addr, node.len) == (addr, len) => {
                node.is_network = true;
                node
            }
            // Above it: the network itself, or where the two part.
            Some(node) => {
                let common = ((node.addr ^ addr).leading_zeros() as u8).min(node.len).min(len);
                let mut above = Node::new(masked(addr, common), common);
                above.is_network = common == len;
                let child = bit(node.addr, common);
                above.children[child] = Some(node);
                if common < len {
                    above.children[1 - child] = Some(Node::new(addr, len));
                }
                above
            }
        });
    }

    #[inline]
    fn find(&self, addr: u32) -> Option<u8> {
        let mut best = None;
        let mut at = &self.0;
        while let Some(node) = at {
            if masked(addr, node.len) != node.addr {
                break;
            }
            if node.is_network {
                best = Some(node.len);
            }
            if node.len == 32 {
                break;
            }
            at = &node.children[bit(addr, node.len)];
        }
        best
    }
}

/// Networks that differ.
fn networks(count: usize, random: &mut SmallRng) -> Vec<(u32, u8)> {
    let mut networks = BTreeMap::new();
    while networks.len() < count {
        let len = LENGTHS[usize::from(random.random_range(0..10) == 0)];
        networks.insert((masked(random.random(), len), len), ());
    }
    let mut networks: Vec<_> = networks.into_keys().collect();
    networks.shuffle(random);
    networks
}

/// Nanoseconds of one lookup: the median of spans.
fn time(table: &impl Table, asked: &[u32]) -> Vec<f64> {
    asked
        .chunks_exact(SPAN)
        .map(|asked| {
            let start = Instant::now();
            let found = asked.iter().filter(|addr| black_box(table.find(**addr)).is_some());
            black_box(found.count());
            start.elapsed().as_nanos() as f64 / SPAN as f64
        })
        .collect()
}

/// What is made by `fill`, and the bytes that it takes.
fn weighed<T>(mut table: T, fill: impl FnOnce(&mut T)) -> (T, f64, f64) {
    let (before, start) = (memory::allocated(), Instant::now());
    fill(&mut table);
    let elapsed = start.elapsed().as_nanos() as f64;
    (table, memory::allocated().saturating_sub(before) as f64, elapsed)
}

/// Measures a table of `count` networks, and 10,000 tables.
pub(crate) fn measure(count: usize, passes: usize) -> Vec<Record> {
    let mut random = SmallRng::seed_from_u64(7);
    let networks = networks(count, &mut random);
    let (ours, our_bytes, our_load) = weighed(Ours::new(), |ours| ours.add(&networks));
    let fill = |table: &mut dyn FnMut(u32, u8)| networks.iter().for_each(|(addr, len)| table(*addr, *len));
    let (map, map_bytes, map_load) = weighed(BTreeMap::new(), |map| fill(&mut |a, l| Table::insert(map, a, l)));
    let (radix, radix_bytes, radix_load) = weighed(Radix::default(), |radix| fill(&mut |a, l| radix.insert(a, l)));
    let asked: Vec<u32> = (0..LOOKUPS)
        .map(|n| match n % 2 {
            0 => networks[random.random_range(0..networks.len())].0,
            _ => random.random(),
        })
        .collect();
    for addr in asked.iter().take(50_000) {
        assert_eq!([ours.find(*addr), radix.find(*addr)], [map.find(*addr); 2]);
    }
    let mut spans = [const { vec![] }; 3];
    for pass in 0..passes {
        for way in 0..3 {
            let way = (pass + way) % 3;
            spans[way].extend(match way {
                0 => time(&ours, &asked),
                1 => time(&map, &asked),
                _ => time(&radix, &asked),
            });
        }
    }
    let [ours_ns, map_ns, radix_ns] = spans.map(median);
    let beside = |name, baseline, ns: f64, baseline_ns: f64, bytes: f64, baseline_bytes: f64| Record {
        name,
        addresses: count,
        ns: Some(tenths(ns)),
        bytes: Some(tenths(bytes / count as f64)),
        baseline: Some(baseline),
        baseline_ns: Some(tenths(baseline_ns)),
        baseline_bytes: Some(tenths(baseline_bytes / count as f64)),
        ratio: Some(tenths(baseline_ns / ns)),
        ..Record::default()
    };
    let each = |load: f64| load / count as f64;
    let mut records = vec![
        beside("table-lookup", "btreemap", ours_ns, map_ns, our_bytes, map_bytes),
        beside("table-lookup", "radix", ours_ns, radix_ns, our_bytes, radix_bytes),
        beside(
            "table-load",
            "btreemap",
            each(our_load),
            each(map_load),
            our_bytes,
            map_bytes,
        ),
        beside(
            "table-load",
            "radix",
            each(our_load),
            each(radix_load),
            our_bytes,
            radix_bytes,
        ),
    ];
    records.push(Record {
        name: "table-change",
        addresses: count,
        ns: Some(tenths(change(&ours, &mut random))),
        ..Record::default()
    });
    records.push(many());
    records
}

/// Nanoseconds of one address more, put in place by itself.
fn change(ours: &Ours, random: &mut SmallRng) -> f64 {
    const CHANGES: usize = 1000;
    let hosts: Vec<u32> = (0..CHANGES).map(|_| random.random()).collect();
    let start = Instant::now();
    for host in hosts {
        ours.add(&[(host, 32)]);
    }
    start.elapsed().as_nanos() as f64 / CHANGES as f64
}

/// What a table without addresses costs, if there are many.
fn many() -> Record {
    let (tables, bytes, elapsed) = weighed(Tables::new().expect("memory"), |tables| {
        for n in 0..MANY {
            // In no order.
            let name = format!("table{}", n * 7919 % MANY);
            let name = TableName::new(&name).expect("a short name");
            tables.bring(b"", &name, MANY, 0).expect("memory");
        }
    });
    assert_eq!(tables.len(), MANY);
    Record {
        name: "tables-made",
        addresses: MANY,
        ns: Some(tenths(elapsed / MANY as f64)),
        bytes: Some(tenths(bytes / MANY as f64)),
        ..Record::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_agree() {
        let mut random = SmallRng::seed_from_u64(3);
        let mut networks = networks(2000, &mut random);
        // Some that are within others.
        networks.extend((0..200).map(|n| (networks[n].0 & !0xff, 24)).collect::<Vec<_>>());
        let (mut ours, mut map, mut radix) = (Ours::new(), BTreeMap::new(), Radix::default());
        for (addr, len) in &networks {
            ours.insert(*addr, *len);
            Table::insert(&mut map, *addr, *len);
            radix.insert(*addr, *len);
        }
        let near = networks.iter().map(|(addr, _)| addr ^ random.random_range(0..512));
        for addr in near.collect::<Vec<_>>() {
            assert_eq!([ours.find(addr), radix.find(addr)], [map.find(addr); 2], "{addr:x}");
        }
    }
}
