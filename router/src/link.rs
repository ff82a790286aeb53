//! The router's interfaces: their counters, and how a packet leaves on one of them.
//!
//! # Life cycle
//! Made at the start, in the order of the command line; an interface's number in pf is its place in that order, from 1 on.
//!
//! # Locking
//! Nothing changes but atomic counters. Packets of several threads may leave on one interface at once: a link takes each whole.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pf::kpi::Mbuf;
use tracing::{debug, info};

use crate::packet::{Packet, fragments};
use crate::table::{Position, Table};

/// Where packets go that leave on an interface.
pub trait Link: Send + Sync {
    /// Sends one whole IP packet, without waiting.
    ///
    /// # Errors
    /// The packet is lost: the device is down, gone, or out of memory.
    fn send(&self, packet: &[u8]) -> io::Result<()>;
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds `n`.
    #[inline]
    pub fn add(&self, n: usize) {
        self.0.fetch_add(n as u64, Ordering::Relaxed);
    }

    /// What it has come to.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What was counted on one interface. Packets that go no further are counted on the interface they came in on, unless it says
/// otherwise.
#[derive(Debug, Default)]
pub struct Counters {
    /// Packets received.
    pub received: Count,
    /// Bytes of them.
    pub received_bytes: Count,
    /// Packets sent, fragments counted each.
    pub sent: Count,
    /// Bytes of them.
    pub sent_bytes: Count,
    /// Packets received here and forwarded to an interface.
    pub forwarded: Count,
    /// Packets received here for the router itself.
    pub delivered: Count,
    /// Packets that pf's input hook dropped here, or took: fragments that wait for others.
    pub blocked_in: Count,
    /// Packets that pf's output hook dropped here, where they were to be sent.
    pub blocked_out: Count,
    /// Packets whose IP header makes no sense.
    pub malformed: Count,
    /// Packets from or to an address that no packet is routed for: multicast, broadcast, of the link alone.
    pub unroutable: Count,
    /// Packets whose TTL was used up.
    pub expired: Count,
    /// Packets for which there was no route or no host.
    pub unreachable: Count,
    /// Packets too big for the next link that may not be fragmented.
    pub too_big: Count,
    /// ICMP errors in answer to packets received here.
    pub icmp_errors: Count,
    /// Packets that could not be sent here.
    pub send_failed: Count,
}

/// One interface.
pub struct Interface {
    /// Its name, as rules have it.
    pub name: String,
    /// The router's addresses on it.
    pub addresses: Vec<IpAddr>,
    /// The most bytes that a packet may have, 68 or more.
    pub mtu: u16,
    /// What was counted on it.
    pub counters: Counters,
    link: Arc<dyn Link>,
}

impl Interface {
    /// An interface that sends on `link`.
    pub fn new(name: String, addresses: Vec<IpAddr>, mtu: u16, link: Arc<dyn Link>) -> Self {
        Interface {
            name,
            addresses,
            mtu,
            counters: Counters::default(),
            link,
        }
    }

    /// Sends a packet that may be as long as the MTU or may be fragmented. A packet that is neither is dropped.
    pub fn send(&self, bytes: &[u8], packet: &Packet) {
        let mtu = usize::from(self.mtu);
        if packet.total <= mtu {
            self.send_piece(&bytes[..packet.total]);
        } else if packet.may_fragment {
            fragments(bytes, packet, mtu).for_each(|fragment| self.send_piece(&fragment));
        } else {
            self.counters.send_failed.add(1);
        }
    }

    fn send_piece(&self, bytes: &[u8]) {
        match self.link.send(bytes) {
            Ok(()) => {
                self.counters.sent.add(1);
                self.counters.sent_bytes.add(bytes.len());
            }
            Err(error) => {
                self.counters.send_failed.add(1);
                debug!(interface = self.name, %error, "a packet could not be sent");
            }
        }
    }
}

impl fmt::Debug for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interface")
            .field("name", &self.name)
            .field("addresses", &self.addresses)
            .field("mtu", &self.mtu)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

/// All interfaces, and the table that tells which one leads where.
#[derive(Debug)]
pub struct Links {
    interfaces: Vec<Interface>,
    /// Which interface leads to an address.
    pub table: Table,
}

impl Links {
    /// These interfaces, at the positions that `table` has for them.
    pub fn new(interfaces: Vec<Interface>, table: Table) -> Self {
        Links { interfaces, table }
    }

    /// The interfaces.
    pub fn all(&self) -> &[Interface] {
        &self.interfaces
    }

    /// The interface at a position that the table gave.
    pub fn at(&self, position: Position) -> &Interface {
        &self.interfaces[position]
    }

    /// The address that the router has, of the family of `like`, on the interface at `position`, or else on any.
    pub fn source(&self, position: Position, like: IpAddr) -> Option<IpAddr> {
        let of = |interface: &Interface| {
            let same = |addr: &&IpAddr| addr.is_ipv4() == like.is_ipv4();
            interface.addresses.iter().find(same).copied()
        };
        of(self.at(position)).or_else(|| self.interfaces.iter().find_map(of))
    }

    /// Sends a packet that pf made itself, past the hooks: where its destination is, if there is a route.
    pub fn output(&self, mut packet: Mbuf) {
        let len = packet.len();
        let Ok(bytes) = packet.head_mut(len) else { return };
        match Packet::parse(bytes) {
            Some(header) if !self.table.is_own(header.dst) => {
                if let Some(to) = self.table.lookup(header.dst) {
                    self.at(to).send(bytes, &header);
                }
            }
            _ => (),
        }
    }

    /// Logs what was counted, a line for each interface.
    pub fn log_counters(&self) {
        for interface in &self.interfaces {
            let counters = &interface.counters;
            info!(
                interface = interface.name,
                received = counters.received.get(),
                received_bytes = counters.received_bytes.get(),
                sent = counters.sent.get(),
                sent_bytes = counters.sent_bytes.get(),
                forwarded = counters.forwarded.get(),
                delivered = counters.delivered.get(),
                blocked_in = counters.blocked_in.get(),
                blocked_out = counters.blocked_out.get(),
                malformed = counters.malformed.get(),
                unroutable = counters.unroutable.get(),
                expired = counters.expired.get(),
                unreachable = counters.unreachable.get(),
                too_big = counters.too_big.get(),
                icmp_errors = counters.icmp_errors.get(),
                send_failed = counters.send_failed.get(),
                "packets"
            );
        }
    }
}
