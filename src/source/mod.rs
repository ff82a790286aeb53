//! Source tracking: what pf remembers of the addresses that connections come from.
//!
//! # Overview
//! A [`Node`] is one source address, of one rule or of all rules that track it together. It counts the source's states and
//! connections, holds the address that a pool has given it, and is what `max-src-states` and its like are held against. [`Sources`] is
//! the table of all nodes. A state that counts at a node has a [`Tie`] to it.
//!
//! # Life cycle
//! A node is made when a state needs it and there is none. It stays as long as states count there, and for `src.track` seconds
//! after the last; then the purge takes it out. A node that is taken out before (DIOCCLRSRCNODES) lives on for the states that have
//! ties to it, and counts for nobody else.
//!
//! # Locking
//! What a node counts is atomic; the address that it was given has a spin lock of its own, under which nothing else is taken. See
//! [`table`] for the rest.

#![forbid(unsafe_code)]

mod rate;
mod table;

use core::ptr;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use pf_abi as abi;

pub use table::{Position, Refused, Sources};

use crate::kpi::{Direction, SoftNet, SpinLock};
use crate::mem::KArc;
use crate::nat::Choice;
use crate::rule::Rule;
use crate::wire::{Addr, Af};
use rate::Rate;

/// `Node::flush`: states of the node's rule are to be killed.
pub const FLUSH_RULE: u8 = abi::PF_FLUSH;
/// `Node::flush`: all states of the source are to be killed.
pub const FLUSH_GLOBAL: u8 = abi::PF_FLUSH_GLOBAL;

/// A source address.
#[derive(Debug)]
pub struct Node {
    /// The address.
    pub addr: Addr,
    /// Its family.
    pub af: Af,
    /// The rule that it is tracked for; nothing where rules track it together.
    rule: Option<KArc<Rule>>,
    /// What the rule that made it does: `PF_PASS`, `PF_NAT`...
    action: u8,
    /// When it was made, in seconds of uptime.
    creation: u32,
    /// States that count here.
    states: AtomicU32,
    /// TCP connections among them whose handshake is over.
    connections: AtomicU32,
    /// How fast they come.
    rate: Rate,
    /// Since when no state has counted here, as far as the purge has seen, in seconds of uptime; 0 if it has not.
    idle_since: AtomicU32,
    /// What is to become of its states: `FLUSH_*`.
    flush: AtomicU8,
    given: SpinLock<Option<Choice>>,
    /// Packets in and out, bytes in and out.
    counters: [AtomicU64; 4],
}

impl Node {
    fn new(key: &table::Key<'_>, now: u32) -> Self {
        let source = key.maker.limits();
        Node {
            addr: key.addr,
            af: key.af,
            rule: key.rule.cloned(),
            action: key.maker.action_number(),
            creation: now,
            states: AtomicU32::new(0),
            connections: AtomicU32::new(0),
            rate: Rate::new(source.max_conn_rate),
            idle_since: AtomicU32::new(0),
            flush: AtomicU8::new(0),
            given: SpinLock::new(None),
            counters: Default::default(),
        }
    }

    /// The rule that it is tracked for.
    pub fn rule(&self) -> Option<&KArc<Rule>> {
        self.rule.as_ref()
    }

    /// Whether this is the node of that rule, or of all rules.
    fn is_of(&self, rule: Option<&KArc<Rule>>) -> bool {
        match (&self.rule, rule) {
            (Some(one), Some(other)) => one.ptr_eq(other),
            (None, None) => true,
            _ => false,
        }
    }

    /// States that count here.
    pub fn states(&self) -> u32 {
        self.states.load(Ordering::Relaxed)
    }

    /// TCP connections among them whose handshake is over.
    pub fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    /// The address that a pool has given to this source.
    pub fn given(&self, level: &SoftNet) -> Option<Choice> {
        *self.given.lock(level)
    }

    /// Remembers what a pool has given to this source, from now on.
    pub fn give(&self, choice: Choice, level: &SoftNet) {
        *self.given.lock(level) = Some(choice);
    }

    /// Counts a packet of one of its states.
    #[inline]
    pub fn count(&self, direction: Direction, bytes: u32) {
        let at = usize::from(direction == Direction::Out);
        self.counters[at].fetch_add(1, Ordering::Relaxed);
        self.counters[2 + at].fetch_add(bytes.into(), Ordering::Relaxed);
    }

    /// Asks the purge to kill its states: `FLUSH_*`.
    fn ask_for_flush(&self, what: u8) {
        self.flush.fetch_or(what, Ordering::Relaxed);
    }

    /// What the purge has been asked for, which is answered by that.
    fn take_flush(&self) -> u8 {
        self.flush.swap(0, Ordering::Relaxed)
    }

    /// The node as the ABI has it. `lifetime` is how long it is kept when it is idle.
    pub fn export(&self, level: &SoftNet, now: u32, lifetime: u32, to: &mut abi::SrcNode) {
        let load = |at: usize| self.counters[at].load(Ordering::Relaxed);
        let idle = match self.idle_since.load(Ordering::Relaxed) {
            0 => 0,
            since => now.wrapping_sub(since),
        };
        *to = abi::SrcNode {
            addr: self.addr.into(),
            raddr: self.given(level).map_or(Addr::ZERO, |given| given.addr).into(),
            rule: self.rule.as_ref().map_or(abi::NO_RULE, |rule| rule.nr()).into(),
            packets: [load(0), load(1)],
            bytes: [load(2), load(3)],
            states: self.states(),
            conn: self.connections(),
            conn_rate: self.rate.export(now),
            creation: now.wrapping_sub(self.creation),
            expire: if self.states() == 0 {
                lifetime.saturating_sub(idle)
            } else {
                0
            },
            af: self.af.into(),
            ruletype: self.action,
            ..abi::SrcNode::default()
        };
    }
}

/// A state counts at a node.
#[derive(Debug)]
pub struct Tie {
    node: KArc<Node>,
    /// `RELEASED`, `CONNECTED`.
    flags: AtomicU8,
}

/// It counts no more.
const RELEASED: u8 = 1;
/// It counts as a connection.
const CONNECTED: u8 = 2;

impl Tie {
    /// Counts a state. The caller holds what keeps the node from being purged.
    fn new(node: KArc<Node>) -> Self {
        node.states.fetch_add(1, Ordering::Relaxed);
        node.idle_since.store(0, Ordering::Relaxed);
        Tie {
            node,
            flags: AtomicU8::new(0),
        }
    }

    /// Where it counts.
    #[inline]
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Whether it counts as a connection already.
    #[inline]
    pub fn is_connected(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & CONNECTED != 0
    }

    /// The handshake is over: counts a connection, the first time. The state is not on its way out, and its lock is held.
    pub fn connect(&self, now: u32) {
        if self.flags.fetch_or(CONNECTED, Ordering::Relaxed) & (CONNECTED | RELEASED) == 0 {
            self.node.connections.fetch_add(1, Ordering::Relaxed);
            self.node.rate.add(now);
        }
    }

    /// The same for a connection that was there before, which does not count as a new one.
    pub fn reconnect(&self) {
        if self.flags.fetch_or(CONNECTED, Ordering::Relaxed) & (CONNECTED | RELEASED) == 0 {
            self.node.connections.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether more connections have come than the rate of the node allows.
    pub fn is_too_fast(&self, now: u32) -> bool {
        self.node.rate.is_exceeded(now)
    }

    /// The state is gone from the table: it counts no more.
    pub fn release(&self) {
        let before = self.flags.fetch_or(RELEASED, Ordering::Relaxed);
        if before & RELEASED != 0 {
            return;
        }
        if before & CONNECTED != 0 {
            self.node.connections.fetch_sub(1, Ordering::Relaxed);
        }
        self.node.states.fetch_sub(1, Ordering::Release);
    }
}

impl Drop for Tie {
    fn drop(&mut self) {
        self.release();
    }
}

/// What a rule allows a source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// `source-track`: by rule, or together with all that track globally.
    pub track: Option<Scope>,
    /// `max-src-nodes`; 0 for no limit, as in all that follows.
    pub max_nodes: u32,
    /// `max-src-states`
    pub max_states: u32,
    /// `max-src-conn`
    pub max_conn: u32,
    /// `max-src-conn-rate`
    pub max_conn_rate: abi::ConnRate,
    /// `overload ... flush`: `FLUSH_*`, or 0.
    pub flush: u8,
}

/// With whom a rule shares its nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// `source-track rule`
    Rule,
    /// `source-track global`
    Global,
}

impl Limits {
    /// What the ABI's rule asks for.
    pub fn new(source: &abi::Rule) -> Self {
        let by_rule = source.rule_flag & abi::PFRULE_RULESRCTRACK != 0;
        let track = (source.rule_flag & abi::PFRULE_SRCTRACK != 0).then_some(match by_rule {
            true => Scope::Rule,
            false => Scope::Global,
        });
        Limits {
            track,
            max_nodes: source.max_src_nodes,
            max_states: source.max_src_states,
            max_conn: source.max_src_conn,
            max_conn_rate: source.max_src_conn_rate,
            flush: source.flush,
        }
    }
}

/// A number by which a rule is known for as long as somebody has it.
fn identity(rule: Option<&KArc<Rule>>) -> u64 {
    rule.map_or(0, |rule| ptr::from_ref::<Rule>(rule).addr() as u64)
}
