//! Packets that pf sends another way than the table: `route-to` and its like.
//!
//! # Locking
//! What senders are to be told waits under a lock, until the thread that brought the packet has come back from pf's hook: it is told
//! by a packet that passes the hook itself.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pf::kpi::host::Diversions;
use pf::kpi::{Mbuf, Problem};

use crate::link::Links;
use crate::packet::Packet;
use crate::table::Position;

/// A packet that cannot go on, where it came from, and why.
pub struct Report {
    /// What is wrong.
    pub problem: Problem,
    /// The interface that it crossed.
    pub from: Position,
    /// The packet.
    pub bytes: Vec<u8>,
}

/// The router's interfaces, as pf sends packets out of them.
#[derive(Clone)]
pub struct Diverter(Arc<Inner>);

struct Inner {
    links: Arc<Links>,
    reports: Mutex<Vec<Report>>,
    /// Whether there are any.
    pending: AtomicBool,
}

impl Diverter {
    /// Sends out of `links`.
    pub fn new(links: Arc<Links>) -> Self {
        Diverter(Arc::new(Inner {
            links,
            reports: Mutex::default(),
            pending: AtomicBool::new(false),
        }))
    }

    /// What senders are to be told. Hardly ever anything.
    pub fn take_reports(&self) -> Vec<Report> {
        if !self.0.pending.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let mut reports = self.0.reports.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.pending.store(false, Ordering::Relaxed);
        std::mem::take(&mut reports)
    }

    /// The position of an interface by its number in pf, which counts from 1.
    fn position(&self, ifindex: u16) -> Option<Position> {
        let position = Position::from(ifindex).checked_sub(1)?;
        (position < self.0.links.all().len()).then_some(position)
    }
}

impl Diversions for Diverter {
    fn mtu(&self, ifindex: u16) -> Option<u16> {
        self.position(ifindex).map(|position| self.0.links.at(position).mtu)
    }

    /// A TUN device has one host at its other end, whoever `next` is.
    fn divert(&self, mut packet: Mbuf, ifindex: u16, _next: IpAddr) {
        let len = packet.len();
        let (Some(position), Ok(bytes)) = (self.position(ifindex), packet.head_mut(len)) else {
            return;
        };
        if let Some(header) = Packet::parse(bytes) {
            self.0.links.at(position).send(bytes, &header);
        }
    }

    fn report(&self, packet: Mbuf, ifindex: u16, problem: Problem) {
        let Some(from) = self.position(ifindex) else { return };
        let bytes = packet.to_bytes();
        let report = Report { problem, from, bytes };
        let mut reports = self.0.reports.lock().unwrap_or_else(PoisonError::into_inner);
        reports.push(report);
        self.0.pending.store(true, Ordering::Relaxed);
    }
}
