//! Finding a port that no state has.
//!
//! The search begins at a random port of the range and goes round once, then on at the pool's next address. It is bounded, by as
//! many lookups as there are ports, so that what a range has free at one address is found, and a pool of several is tried as
//! far as that goes. Where nothing was found, that is remembered for the second in which it was: who floods an exhausted pool
//! does not make it search for every packet.

use core::sync::atomic::{AtomicU64, Ordering};

use super::{Choice, Current, Pool};
use crate::kpi::Kernel;
use crate::state::Host;
use crate::wire::{Addr, Proto};

/// Ports that are looked at for one packet, over all addresses: a bound on the time that it takes.
const PROBES: u32 = 1 << 16;
/// Addresses of a pool that are looked at for one packet.
const ADDRESSES: usize = 64;
/// Destinations to which nothing was free that are remembered.
const MEMORY: usize = 8;

/// Where a search has found nothing: the hash of its destination in the upper half, and the second in the lower.
#[derive(Debug, Default)]
pub(super) struct Exhausted([AtomicU64; MEMORY]);

impl Exhausted {
    fn slot(&self, hash: u64) -> &AtomicU64 {
        &self.0[hash as usize % MEMORY]
    }

    fn word(hash: u64, now: u32) -> u64 {
        hash & !u64::from(u32::MAX) | u64::from(now)
    }

    fn is_known(&self, hash: u64, now: u32) -> bool {
        self.slot(hash).load(Ordering::Relaxed) == Self::word(hash, now)
    }

    fn remember(&self, hash: u64, now: u32) {
        self.slot(hash).store(Self::word(hash, now), Ordering::Relaxed);
    }
}

/// What is known of the packet that is to get a new source.
#[derive(Debug, Clone, Copy)]
pub struct Source {
    /// Its protocol.
    pub proto: Proto,
    /// Its source as it is. Of an ICMP query, the identifier is the port.
    pub near: Host,
    /// Its destination.
    pub far: Host,
    /// The address that it has to be, where the source was given one before.
    pub given: Option<Choice>,
}

impl Pool {
    /// The source that a packet going out gets: an address of the pool, with a port that `is_free` there. Nothing if all are taken.
    pub fn choose_source(
        &self,
        kernel: &Kernel,
        current: &Current<'_>,
        packet: &Source,
        is_free: impl Fn(Host) -> bool,
    ) -> Option<Host> {
        let now = kernel.uptime();
        // Where only one address will do, others from the pool may have more luck.
        let fixed = match packet.given {
            Some(given) => given.addr,
            None if self.has_others() => Addr::ZERO,
            None => packet.near.addr,
        };
        let hash = self.exhausted_hash(packet, fixed);
        if self.exhausted.is_known(hash, now) {
            return None;
        }
        let mut probes = PROBES;
        let mut search = |choice: Choice| self.search(kernel, packet, choice.addr, &mut probes, &is_free);
        let found = match packet.given {
            Some(given) => search(given),
            None => self
                .candidates(kernel, *current, &packet.near.addr, ADDRESSES)
                .find_map(&mut search),
        };
        if found.is_none() && !self.keeps_port(packet.proto) {
            self.exhausted.remember(hash, now);
        }
        found
    }

    /// Whether the port stays what it is: `static-port`, and where there are none. One look at the table is all that takes.
    fn keeps_port(&self, proto: Proto) -> bool {
        self.range(proto).is_none()
    }

    /// The ports to choose from; nothing where the port stays what it is.
    fn range(&self, proto: Proto) -> Option<(u16, u16)> {
        match proto {
            Proto::TCP | Proto::UDP => Some(self.ports).filter(|(low, high)| (*low, *high) != (0, 0)),
            Proto::ICMP | Proto::ICMPV6 => Some((1, u16::MAX)),
            _ => None,
        }
    }

    fn search(
        &self,
        kernel: &Kernel,
        packet: &Source,
        addr: Addr,
        probes: &mut u32,
        is_free: impl Fn(Host) -> bool,
    ) -> Option<Host> {
        let at = |port| Some(Host { addr, port }).filter(|host| is_free(*host));
        let Some((low, high)) = self.range(packet.proto) else {
            // No ports: one connection to each destination.
            return at(packet.near.port);
        };
        let span = u32::from(high.max(low) - low) + 1;
        let count = span.min(*probes);
        *probes -= count;
        let start = kernel.random_u32() % span;
        (0..count).find_map(|step| at(low + ((start + step) % span) as u16))
    }

    /// What an exhausted destination is remembered by.
    fn exhausted_hash(&self, packet: &Source, fixed: Addr) -> u64 {
        let [a, b, c, d] = packet.far.addr.words().map(u64::from);
        let [e, f, g, h] = fixed.words().map(u64::from);
        let tail = u64::from(packet.proto.0) << 16 | u64::from(packet.far.port);
        self.hash([a << 32 | b, c << 32 | d, e << 32 | f, g << 32 | h], tail)
    }
}
