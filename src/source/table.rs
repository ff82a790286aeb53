//! The table of source nodes.
//!
//! # Overview
//! A node's place is a keyed hash of its source and its rule, and some bits of the place say which of many partitions it stands in, in
//! the order of places. So nobody can choose sources that fall together, and finding, adding and removing one costs the same few
//! steps whatever sources there are: there are a thousand partitions, so a million nodes are a thousand to each.
//!
//! # Locking
//! Each partition has a spin lock, which is taken with no other held. A node is taken out only under it, and only if it is idle: what
//! is found under it and tied to before it is let go is not purged.

use core::sync::atomic::{AtomicUsize, Ordering};

use super::{Node, Scope, Tie, identity};
use crate::hash::HashKey;
use crate::kpi::{Kernel, NoMemory, SoftNet, SpinLock};
use crate::mem::{KArc, KVec};
use crate::rule::Rule;
use crate::wire::{Addr, Af};

/// Partitions.
const PARTITIONS: usize = 1024;

/// A node and its place.
type Slot = (u64, KArc<Node>);

/// All source nodes.
#[derive(Debug)]
pub struct Sources {
    partitions: KVec<Partition>,
    secret: HashKey,
    len: AtomicUsize,
    limit: AtomicUsize,
    /// Whether a node may have asked for its states to be killed.
    flushes: AtomicUsize,
}

/// Nodes in the order of their places.
#[derive(Debug)]
struct Partition(SpinLock<KVec<Slot>>);

/// What a node is found by.
pub(super) struct Key<'a> {
    pub(super) addr: Addr,
    pub(super) af: Af,
    /// Nothing for what all rules track together.
    pub(super) rule: Option<&'a KArc<Rule>>,
    /// The rule that wants it.
    pub(super) maker: &'a KArc<Rule>,
}

/// Why a state may not count at its source's node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The rule has as many nodes as it may have: `max-src-nodes`.
    RuleNodes,
    /// There are as many nodes as there may be.
    Nodes,
    /// The source has as many states as it may have: `max-src-states`.
    States,
    /// There is no memory.
    NoMemory,
}

/// Where a walk over all nodes goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Position {
    partition: usize,
    /// The first place that has not been seen.
    place: u64,
}

impl Sources {
    /// An empty table for at most `limit` nodes.
    #[inline(never)]
    pub fn new(kernel: &Kernel, limit: usize) -> Result<Self, NoMemory> {
        let mut secret = [0; 16];
        kernel.fill_random(&mut secret);
        let mut partitions = KVec::with_capacity(PARTITIONS)?;
        for _ in 0..PARTITIONS {
            partitions.push(Partition(SpinLock::new(KVec::new())))?;
        }
        Ok(Sources {
            partitions,
            secret: HashKey::new(secret),
            len: AtomicUsize::new(0),
            limit: AtomicUsize::new(limit),
            flushes: AtomicUsize::new(0),
        })
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sets how many there may be; what is above stays until it expires.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    fn place(&self, key: &Key<'_>) -> u64 {
        let [a, b, c, d] = key.addr.words().map(u64::from);
        self.secret
            .hash([a << 32 | b, c << 32 | d, identity(key.rule)], key.af as u64)
    }

    fn partition(&self, place: u64) -> Option<&Partition> {
        self.partitions.get(place as usize % PARTITIONS)
    }

    /// The node of `addr` that a rule counts at, if there is one.
    pub fn find(&self, rule: &KArc<Rule>, addr: Addr, af: Af, level: &SoftNet) -> Option<KArc<Node>> {
        let key = Key::new(rule, addr, af);
        let place = self.place(&key);
        let nodes = self.partition(place)?.0.lock(level);
        position(&nodes, place, &key)
            .ok()
            .and_then(|at| nodes.get(at))
            .map(|(_, node)| node.clone())
    }

    /// Counts a state at the node of `addr`, which is made where there is none. True if it was.
    pub fn tie(
        &self,
        rule: &KArc<Rule>,
        addr: Addr,
        af: Af,
        now: u32,
        level: &SoftNet,
    ) -> Result<(Tie, bool), Refused> {
        let key = Key::new(rule, addr, af);
        let place = self.place(&key);
        let partition = self.partition(place).ok_or(Refused::NoMemory)?;
        {
            let nodes = partition.0.lock(level);
            if let Some((_, node)) = position(&nodes, place, &key).ok().and_then(|at| nodes.get(at)) {
                return tie_to(node, rule).map(|tie| (tie, false));
            }
        }
        // Made with no lock held, so that others do not wait for memory.
        self.reserve(&key)?;
        let node = KArc::new(Node::new(&key, now)).map_err(|_| self.give_back(&key))?;
        let mut nodes = partition.0.lock(level);
        match position(&nodes, place, &key) {
            Ok(at) => {
                // Somebody else was faster.
                self.give_back(&key);
                let node = nodes.get(at).map(|(_, node)| node).ok_or(Refused::NoMemory)?;
                tie_to(node, rule).map(|tie| (tie, false))
            }
            Err(at) => {
                let tie = tie_to(&node, rule);
                if nodes.push((place, node)).is_err() {
                    return Err(self.give_back(&key));
                }
                if let Some(behind) = nodes.get_mut(at..) {
                    behind.rotate_right(1);
                }
                tie.map(|tie| (tie, true))
            }
        }
    }

    /// Makes room for a node, within the limits.
    fn reserve(&self, key: &Key<'_>) -> Result<(), Refused> {
        let below = |limit: usize| move |count: usize| (count < limit).then_some(count + 1);
        let limit = self.limit.load(Ordering::Relaxed);
        if let Some(rule) = key.rule {
            let most = match rule.limits().max_nodes {
                0 => u32::MAX,
                most => most,
            };
            rule.src_nodes
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                    (count < most).then_some(count + 1)
                })
                .map_err(|_| Refused::RuleNodes)?;
        }
        if self
            .len
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, below(limit))
            .is_err()
        {
            if let Some(rule) = key.rule {
                rule.src_nodes.fetch_sub(1, Ordering::Relaxed);
            }
            return Err(Refused::Nodes);
        }
        Ok(())
    }

    /// Gives the room of a node back that did not come to be.
    fn give_back(&self, key: &Key<'_>) -> Refused {
        self.forget(key.rule);
        Refused::NoMemory
    }

    /// A node less.
    fn forget(&self, rule: Option<&KArc<Rule>>) {
        self.len.fetch_sub(1, Ordering::Relaxed);
        if let Some(rule) = rule {
            rule.src_nodes.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Visits nodes of one partition from `from` on until `visit` says false. The answer is where to go on; nothing if that was all.
    pub fn walk(&self, from: Position, level: &SoftNet, mut visit: impl FnMut(&Node) -> bool) -> Option<Position> {
        let nodes = self.partitions.get(from.partition)?.0.lock(level);
        let first = nodes.partition_point(|(place, _)| *place < from.place);
        for (place, node) in nodes.get(first..).unwrap_or_default() {
            if !visit(node) {
                return Some(Position { place: *place, ..from });
            }
        }
        self.after(from.partition)
    }

    /// The beginning of the next partition, if there is one.
    fn after(&self, partition: usize) -> Option<Position> {
        let partition = partition + 1;
        (partition < self.partitions.len()).then_some(Position { partition, place: 0 })
    }

    /// Takes out of one partition the nodes that `is_doomed`, and says how many, and where the next partition begins.
    pub fn sweep(
        &self,
        from: Position,
        level: &SoftNet,
        mut is_doomed: impl FnMut(&Node) -> bool,
    ) -> (u64, Option<Position>) {
        let Some(partition) = self.partitions.get(from.partition) else {
            return (0, None);
        };
        let mut removed = 0;
        let mut nodes = partition.0.lock(level);
        let mut kept = 0;
        for at in 0..nodes.len() {
            if nodes.get(at).is_some_and(|(_, node)| is_doomed(node)) {
                removed += 1;
            } else {
                nodes.swap(kept, at);
                kept += 1;
            }
        }
        for _ in 0..removed {
            if let Some((_, node)) = nodes.pop() {
                self.forget(node.rule());
            }
        }
        (removed, self.after(from.partition))
    }

    /// The share of the table that the purge sees in a second, where it sees the whole in `interval` seconds: partitions.
    pub fn share(interval: u32) -> usize {
        PARTITIONS.div_ceil(interval.max(1) as usize)
    }

    /// Whether a node's time is over: no state has counted there for `lifetime` seconds. The purge asks, and this is how it learns when
    /// that began.
    pub fn is_expired(node: &Node, now: u32, lifetime: u32) -> bool {
        if node.states.load(Ordering::Acquire) != 0 || node.flush.load(Ordering::Relaxed) != 0 {
            return false;
        }
        let since = match node.idle_since.load(Ordering::Relaxed) {
            0 => {
                node.idle_since.store(now.max(1), Ordering::Relaxed);
                now
            }
            since => since,
        };
        now.wrapping_sub(since) >= lifetime
    }

    /// Asks the purge to kill the states of a node's source.
    pub fn ask_for_flush(&self, node: &Node, what: u8) {
        node.ask_for_flush(what);
        self.flushes.store(1, Ordering::Release);
    }

    /// The nodes whose sources' states are to be killed, with what of them: as many as there is room for; the rest is for the next time.
    pub fn take_flushes(
        &self,
        level: &SoftNet,
        from: Position,
        to: &mut KVec<(KArc<Node>, u8)>,
        most: usize,
    ) -> Option<Position> {
        let nodes = self.partitions.get(from.partition)?.0.lock(level);
        for (_, node) in nodes.iter() {
            if node.flush.load(Ordering::Relaxed) == 0 {
                continue;
            }
            if to.len() >= most || to.reserve_exact(most).is_err() {
                self.flushes.store(1, Ordering::Release);
                return None;
            }
            // There is room.
            let _ = to.push((node.clone(), node.take_flush()));
        }
        self.after(from.partition)
    }

    /// Whether there may be any, which is answered by that.
    pub fn has_flushes(&self) -> bool {
        self.flushes.load(Ordering::Relaxed) != 0 && self.flushes.swap(0, Ordering::Acquire) != 0
    }
}

impl<'a> Key<'a> {
    /// A rule whose pool is sticky has nodes of its own, and so has one that tracks by rule.
    fn new(rule: &'a KArc<Rule>, addr: Addr, af: Af) -> Self {
        let is_shared = rule.limits().track == Some(Scope::Global) && !rule.is_sticky();
        Key {
            addr,
            af,
            rule: (!is_shared).then_some(rule),
            maker: rule,
        }
    }
}

/// Where the node with this key is, or belongs.
fn position(nodes: &[Slot], place: u64, key: &Key<'_>) -> Result<usize, usize> {
    let first = nodes.partition_point(|(of, _)| *of < place);
    let same = nodes
        .get(first..)
        .unwrap_or_default()
        .iter()
        .take_while(|(of, _)| *of == place);
    for (at, (_, node)) in (first..).zip(same) {
        if node.addr == key.addr && node.af == key.af && node.is_of(key.rule) {
            return Ok(at);
        }
    }
    Err(first)
}

/// Counts a state of `rule` at a node, if the source may have one more.
fn tie_to(node: &KArc<Node>, rule: &Rule) -> Result<Tie, Refused> {
    let tie = Tie::new(node.clone());
    let most = rule.limits().max_states;
    if most != 0 && node.states() > most {
        drop(tie);
        return Err(Refused::States);
    }
    Ok(tie)
}
