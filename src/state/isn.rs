//! Initial sequence numbers that nobody can guess: those that `modulate state` gives to a connection in place of its own, and
//! those with which `synproxy state` speaks for an end.
//!
//! # Overview
//! After RFC 6528: a clock, and a keyed hash of the two ends as the receiver of the numbers sees them. Whoever does not know the key
//! cannot tell one connection's numbers from another's. Between the same ports the numbers go on with the clock, so that a
//! connection that follows an earlier one of the same ports is not taken for a part of it.
//!
//! # Life cycle, locking
//! The key is drawn once, and does not change.

use super::{StateKey, Tree};
use crate::hash::HashKey;
use crate::kpi::{Direction, Kernel};
use crate::wire::tcp::Seq;

/// Where initial sequence numbers come from.
pub struct Isns {
    secret: HashKey,
}

/// Numbers that the clock goes on in a second: one in four microseconds.
const PACE: u32 = 250_000;

impl Isns {
    /// A source of its own.
    pub fn new(kernel: &Kernel) -> Self {
        let mut secret = [0; 16];
        kernel.fill_random(&mut secret);
        Isns {
            secret: HashKey::new(secret),
        }
    }

    /// A number for the end that began the connection, whose first packet went in `direction`: what the other end sees.
    pub fn of_src(&self, kernel: &Kernel, key: &StateKey, direction: Direction) -> Seq {
        self.next(kernel, key, Tree::of(direction.reverse()))
    }

    /// A number for the other end: what the end that began sees.
    pub fn of_dst(&self, kernel: &Kernel, key: &StateKey, direction: Direction) -> Seq {
        self.next(kernel, key, Tree::of(direction))
    }

    fn next(&self, kernel: &Kernel, key: &StateKey, seen: Tree) -> Seq {
        let hash = key.of_tree(seen).hash(&self.secret, seen) as u32;
        // The kernel's clock has seconds only. What it does not say is drawn.
        let clock = kernel
            .uptime()
            .wrapping_mul(PACE)
            .wrapping_add(kernel.random_u32() % PACE);
        Seq(hash) + clock
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::collections::HashSet;
    use std::time::Duration;

    use super::super::Host;
    use super::*;
    use crate::wire::{Addr, Af, Proto};

    fn key(port: u16) -> StateKey {
        let host = |last, port| Host {
            addr: Addr::from_v4([10, 0, 0, last]),
            port,
        };
        StateKey {
            ext: host(1, 80),
            lan: host(2, port),
            gwy: host(3, port),
            af: Af::Inet,
            proto: Proto::TCP,
        }
    }

    #[test]
    fn numbers_go_on_with_the_clock_between_the_same_ports() {
        let kernel = Kernel::seeded(7);
        let isns = Isns::new(&kernel);
        let mut last = isns.of_src(&kernel, &key(1025), Direction::Out);
        for _ in 0..100 {
            kernel.advance(Duration::from_secs(1));
            let next = isns.of_src(&kernel, &key(1025), Direction::Out);
            assert!(next.gt(last) && next.since(last) < 2 * PACE);
            last = next;
        }
    }

    #[test]
    fn numbers_of_different_connections_and_ends_have_nothing_in_common() {
        let kernel = Kernel::seeded(7);
        let isns = Isns::new(&kernel);
        let mut tops = HashSet::new();
        for port in 1..100 {
            for direction in [Direction::In, Direction::Out] {
                let of = [
                    isns.of_src(&kernel, &key(port), direction),
                    isns.of_dst(&kernel, &key(port), direction),
                ];
                tops.extend(of.map(|isn| isn.0 >> 24));
            }
        }
        assert!(tops.len() > 120, "of 256: {}", tops.len());
        let other = Isns::new(&kernel);
        let of = |isns: &Isns| isns.of_src(&kernel, &key(1), Direction::Out);
        assert!(of(&isns).since(of(&other)) > PACE);
    }
}
