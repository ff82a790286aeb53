//! States: what pf remembers of a connection, the table that holds them, and how they move on.
//!
//! # Overview
//! [`key`] is what identifies a connection, [`tree`] finds it, [`table`] owns it, [`tcp`] tracks a TCP connection's
//! windows, [`timeout`] says how long a silent one is kept.
//!
//! # Life cycle
//! A state is made with all that does not change, and inserted; it is then found by lookups. To remove it, somebody
//! marks it as unlinked under its lock (only one can), takes it out of both trees, and leaves it in the table's limbo.
//! The purge thread frees it when no lookup can still hold it.
//!
//! # Locking
//! What changes with traffic is in [`Body`], under the state's own spin lock; the rest is immutable. The lock is the last
//! in the lock order: who holds it takes no other. A body that says `unlinked` is dead, and whoever found it goes on as if
//! there were nothing.

mod extra;
mod identities;
mod isn;
mod key;
mod partition;
pub mod proxy;
mod queue;
mod scrub;
mod table;
pub mod tcp;
#[cfg(test)]
mod tests;
pub mod timeout;
mod tree;

use core::mem::offset_of;
use core::sync::atomic::AtomicPtr;

pub use extra::{Extra, Route};
pub use identities::Identities;
pub use isn::Isns;
pub use key::{Host, StateKey, Tree, TreeKey};
use partition::Children;
pub use queue::{Entry, Queue};
pub use scrub::{Clock, DataStamps, ScrubPeer};
pub use table::{InsertError, Place, StateTable};

use pf_abi::Timeout;

use crate::kpi::{Direction, SoftNet, SpinGuard, SpinLock};
use crate::mem::{KArc, KBox};
use crate::rule::Rule;
use crate::wire::Addr;
use crate::wire::tcp::Seq;

/// What is known of one end of a connection: in pf's words, a peer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Peer {
    /// Highest sequence number sent, plus one: where this end's next byte goes.
    pub seqlo: Seq,
    /// Highest sequence number that the other end will take: what it acknowledged, plus its window.
    pub seqhi: Seq,
    /// What the other end has acknowledged of it: below `seqlo` where data is under way, or was lost behind the filter.
    pub acked: Seq,
    /// Added to this end's sequence numbers on their way out (modulate state).
    pub seqdiff: u32,
    /// The largest window this end ever offered, before scaling.
    pub max_win: u16,
    /// This end's maximum segment size, 0 if it said none.
    pub mss: u16,
    /// TCPS_* for TCP, PFUDPS_* or PFOTHERS_* for the others.
    pub state: u8,
    /// This end's window scale, with PF_WSCALE_FLAG if it sent the option.
    pub wscale: u8,
    /// Nothing has been seen of this end since the state was restored, or since the connection was picked up in the middle:
    /// where its window is may be known from some time ago only, or from what the other end said.
    pub stale: bool,
}

/// How the segments of a connection go through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Course {
    /// As they are, but for addresses and ports: every connection that is not TCP, and most that are.
    #[default]
    Direct,
    /// Their numbers are shifted by each end's [`seqdiff`](Peer::seqdiff): `modulate state`, and what began as `synproxy state`.
    Shifted,
    /// Not at all: `synproxy state`, and pf talks to either end itself.
    Proxied,
}

/// What a packet of the connection may change.
#[derive(Debug)]
#[repr(C, packed(4))]
pub struct Body {
    /// The state is out of the trees, or on its way: it does not count any more.
    pub unlinked: bool,
    /// Which timeout applies.
    pub timeout: Timeout,
    /// How the segments go through.
    pub course: Course,
    /// When it was last used, in seconds of uptime, modulo 2^32: the timeout counts from here.
    pub expire: u32,
    /// Packets in the direction of the first one, and back.
    pub packets: [u64; 2],
    /// The same in bytes.
    pub bytes: [u64; 2],
    /// The end that sent the first packet.
    pub src: Peer,
    /// The other end.
    pub dst: Peer,
}

impl Body {
    /// Whether both ends have shaken hands, and neither has said goodbye.
    pub fn is_established(&self) -> bool {
        self.timeout == Timeout::TcpEstablished
    }

    /// Seconds of silence until `now`. The clock may have been at 0 after the state was last used, where it was restored.
    pub fn idle(&self, now: u32) -> u32 {
        (now.wrapping_sub(self.expire) as i32).max(0) as u32
    }
}

/// The parts of a new state that do not change.
pub struct Origin {
    /// The three address/port pairs.
    pub key: StateKey,
    /// The direction of the first packet.
    pub direction: Direction,
    /// The interface that the state is bound to, by its number in the interface table.
    pub interface: u16,
    /// The rule that made the state; the default rule if there is none.
    pub rule: Option<KArc<Rule>>,
    /// The translation rule, if there was one.
    pub nat_rule: Option<KArc<Rule>>,
    /// What only some states have.
    pub extra: Option<KBox<Extra>>,
    /// The state's identity, together with `creator`; 0 lets the table choose.
    pub id: u64,
    /// The host that made it.
    pub creator: u32,
    /// When it was made, in seconds of uptime.
    pub creation: u32,
}

/// A connection.
#[repr(C, align(64))]
pub struct State {
    // What a lookup reads comes first: one cache line for one tree, and some of the next for the other.
    /// The keys' hashes, which say where they stand in the order of either tree.
    hashes: [u64; 2],
    key: StateKey,
    body: SpinLock<Body>,
    direction: Direction,
    interface: u16,
    creator: u32,
    creation: u32,
    id: u64,
    rule: Option<KArc<Rule>>,
    nat_rule: Option<KArc<Rule>>,
    extra: Option<KBox<Extra>>,
    children: [Children; 2],
    /// The next state that waits to be freed.
    limbo: AtomicPtr<State>,
}

const _: () = assert!(size_of::<State>() == 256, "four cache lines");
/// The lock's byte would take eight, if the body did not do with an alignment of four; its counters lie at multiples of eight as it is.
const _: () = assert!((offset_of!(State, body) + offset_of!(Body, packets)) % 8 == 0);

/// What a lookup reads of a state, from its beginning on: it ends with gwy's pair, which only one of the trees needs.
const LAN_EXT_LEN: usize = offset_of!(State, key) + offset_of!(StateKey, gwy);
const EXT_GWY_LEN: usize = offset_of!(State, body);
const _: () = assert!(LAN_EXT_LEN <= 64, "one cache line");
const _: () = assert!(EXT_GWY_LEN <= 128, "two cache lines");

impl State {
    /// The three address/port pairs.
    #[inline]
    pub fn key(&self) -> &StateKey {
        &self.key
    }

    /// The hash of its key.
    #[inline]
    fn hash(&self, tree: Tree) -> u64 {
        self.hashes[tree as usize]
    }

    /// Where its key stands in the order of the tree.
    #[inline]
    fn place(&self, tree: Tree) -> u64 {
        tree::place(self.hash(tree))
    }

    #[inline]
    fn children(&self, tree: Tree) -> &Children {
        &self.children[tree as usize]
    }

    /// Takes the state's lock.
    #[inline]
    pub fn lock<'a>(&'a self, level: &'a SoftNet) -> SpinGuard<'a, Body> {
        self.body.lock(level)
    }

    /// The direction of the first packet.
    #[inline]
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// The address that the connection comes from, before any translation.
    pub fn source(&self) -> Addr {
        match self.direction {
            Direction::Out => self.key.lan.addr,
            Direction::In => self.key.ext.addr,
        }
    }

    /// The interface that the first packet crossed, by its number in the interface table, where the state is bound to it; else
    /// [`ALL`](crate::iface::ALL).
    #[inline]
    pub fn interface(&self) -> u16 {
        self.interface
    }

    /// The rule that made the state; nothing for the default rule.
    #[inline]
    pub fn rule(&self) -> Option<&KArc<Rule>> {
        self.rule.as_ref()
    }

    /// The translation rule.
    #[inline]
    pub fn nat_rule(&self) -> Option<&KArc<Rule>> {
        self.nat_rule.as_ref()
    }

    /// What only some states have.
    #[inline]
    pub fn extra(&self) -> Option<&Extra> {
        self.extra.as_deref()
    }

    /// The rules that count it.
    #[inline]
    pub fn rules(&self) -> impl Iterator<Item = &KArc<Rule>> {
        let anchor = self.extra().and_then(|extra| extra.anchor.as_ref());
        self.rule.iter().chain(&self.nat_rule).chain(anchor)
    }

    /// Whether others than [`rule`](Self::rule) may count it.
    #[inline]
    pub fn has_more_rules(&self) -> bool {
        self.nat_rule.is_some() || self.extra.is_some()
    }

    /// The state's identity: its number, and the host that gave it.
    pub fn id(&self) -> (u64, u32) {
        (self.id, self.creator)
    }

    /// When it was made, in seconds of uptime.
    pub fn creation(&self) -> u32 {
        self.creation
    }
}
