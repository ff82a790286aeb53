//! Connections to measure with: random ones, and ones that an attacker would choose.
//!
//! # Life cycle, locking
//! Plain values; the same from run to run, as the generator is seeded.

use std::collections::HashSet;

use pf::state::{Host, StateKey, Tree, TreeKey};
use pf::wire::{Addr, Af, Proto};
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

/// Ends of random connections, on either side.
const ADDRESSES: u32 = 1 << 16;

/// Distinct TCP connections over IPv4.
pub(crate) struct Population {
    pub(crate) keys: Vec<StateKey>,
    /// How many addresses they have among them.
    pub(crate) addresses: usize,
}

impl Population {
    /// `n` connections between random clients of one network and random servers anywhere.
    pub(crate) fn random(n: usize) -> Self {
        let mut random = SmallRng::seed_from_u64(1);
        let servers: Vec<[u8; 4]> = (0..ADDRESSES).map(|_| random.random()).collect();
        let mut seen = HashSet::with_capacity(n);
        while seen.len() < n {
            let [_, _, a, b] = random.random_range(0..ADDRESSES).to_be_bytes();
            let server = servers[random.random_range(0..servers.len())];
            seen.insert(([10, 0, a, b], random.random_range(1024..=u16::MAX), server, 443));
        }
        let mut ends: Vec<_> = seen.into_iter().collect();
        // A set's order is another in each run.
        ends.sort_unstable();
        ends.shuffle(&mut random);
        Self::of(&ends)
    }

    /// `n` connections to one port of one server, from one /24, their ports one after the other.
    pub(crate) fn crafted(n: usize) -> Self {
        let ends: Vec<_> = (0..n)
            .map(|n| {
                let port = 1024 + (n / 256) as u16;
                ([10, 0, 0, (n % 256) as u8], port, [198, 51, 100, 1], 443)
            })
            .collect();
        Self::of(&ends)
    }

    fn of(ends: &[([u8; 4], u16, [u8; 4], u16)]) -> Self {
        let host = |addr, port| Host {
            addr: Addr::from_v4(addr),
            port,
        };
        let keys = ends.iter().map(|&(client, client_port, server, port)| {
            let client = host(client, client_port);
            StateKey {
                ext: host(server, port),
                lan: client,
                gwy: client,
                af: Af::Inet,
                proto: Proto::TCP,
            }
        });
        let addresses: HashSet<_> = ends.iter().flat_map(|end| [end.0, end.2]).collect();
        Population {
            keys: keys.collect(),
            addresses: addresses.len(),
        }
    }

    /// What to look up: `count` keys of random connections, in random directions, one behind the other in memory, in an order that
    /// has nothing to do with that of their insertion.
    pub(crate) fn probes(&self, among: usize, count: usize) -> Vec<(Tree, TreeKey)> {
        let mut random = SmallRng::seed_from_u64(2);
        (0..count)
            .map(|_| {
                let key = &self.keys[random.random_range(0..among)];
                let tree = if random.random() { Tree::LanExt } else { Tree::ExtGwy };
                (tree, key.of_tree(tree))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_distinct_and_come_again() {
        for make in [Population::random, Population::crafted] {
            let population = make(10_000);
            let distinct: HashSet<_> = population.keys.iter().map(|key| (key.lan, key.ext)).collect();
            assert_eq!(distinct.len(), 10_000);
            assert!(population.keys == make(10_000).keys);
        }
    }
}
