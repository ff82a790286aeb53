//! A tree of networks of one family, in which the narrowest that has an address is found in a few steps.
//!
//! # Overview
//! A branch looks at six bits of an address. It has a bit for each of the 64 children that there may be, a bit for each of the 63
//! networks that end within the six bits, and an array of those that there are: where one stands in the array is how many bits are
//! set before its own. Bits in which all that is below agree are not looked at: a child is the next branch at which something
//! differs, or the one entry that there is. So a lookup among half a million addresses takes about four steps, of which the
//! first two are in every cache, and each reads one or two cache lines.
//!
//! # Life cycle
//! Nodes are counted references, and are not changed while anybody else has them: who changes a tree that others have as well,
//! copies the nodes along one path, and shares the rest. Nodes that this very change has made are changed in place, so that a
//! thousand changes at once do not copy the same nodes a thousand times.
//!
//! # Locking
//! None. A tree belongs to one thread, or nobody changes it.
//!
//! # Invariants
//! A branch stands at a multiple of six bits, deeper than the one above it, and all that is below it agrees in the bits before. It has
//! two items at least. No entry is there twice. So nothing here goes deeper than 22 branches and an entry.

use core::num::NonZeroU8;

use super::entry::{Entry, Prefix, mask};
use crate::kpi::NoMemory;
use crate::mem::Row;

/// Bits that a branch looks at.
const STRIDE: u8 = 6;
/// Nodes on the longest way from the root to an entry.
const LEVELS: usize = 128usize.div_ceil(STRIDE as usize) + 1;

/// A branch or an entry.
#[derive(Debug, Clone)]
pub(super) struct Node(Row<Head, Node>);

#[derive(Debug)]
enum Head {
    Branch(Branch),
    /// Without items.
    Entry(Entry),
}

/// What stands before the items of a branch: its children, then the networks that end here.
#[derive(Debug, Clone, Copy)]
struct Branch {
    /// Which children there are, by the six bits.
    children: u64,
    /// Which networks end here, by [`Slot::Inner`].
    inner: u64,
    /// The bits before: those of all that is below.
    bits: [u64; 2],
    /// Entries below.
    count: u32,
    /// The number of the first bit that it looks at, counted from 1: with 0 to spare, a [`Head`] is no larger than a branch.
    first: NonZeroU8,
}

const _: () = assert!(
    size_of::<Node>() == 8 && size_of::<Head>() == 40,
    "an entry takes 48 bytes"
);

/// A place in a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    /// A network that ends here: a 1, and behind it as many of the six bits as it has.
    Inner(u8),
    /// All that goes on from here with these six bits.
    Child(u8),
}

/// Places in the order of their first addresses, the wider networks first.
static ORDER: [Slot; 127] = order();

const fn order() -> [Slot; 127] {
    let mut order = [Slot::Child(0); 127];
    let (mut at, mut chunk) = (0, 0);
    while chunk < 64 {
        let mut len = 0;
        while len < STRIDE {
            if chunk % (1 << (STRIDE - len)) == 0 {
                order[at] = inner(chunk, len);
                at += 1;
            }
            len += 1;
        }
        order[at] = Slot::Child(chunk);
        (at, chunk) = (at + 1, chunk + 1);
    }
    assert!(at == 127);
    order
}

/// The network of the first `len` of these six bits.
const fn inner(chunk: u8, len: u8) -> Slot {
    Slot::Inner(1 << len | chunk >> (STRIDE - len))
}

/// By six bits: the networks that end here and have them.
static COVERING: [u64; 64] = covering();

const fn covering() -> [u64; 64] {
    let mut covering = [0; 64];
    let mut chunk = 0;
    while chunk < 64 {
        let mut len = 0;
        while len < STRIDE {
            if let Slot::Inner(at) = inner(chunk as u8, len) {
                covering[chunk] |= 1 << at;
            }
            len += 1;
        }
        chunk += 1;
    }
    covering
}

/// The six bits behind the first `depth`.
#[inline]
fn chunk(bits: u128, depth: u8) -> u8 {
    (bits << (depth & 127) >> (128 - STRIDE)) as u8
}

/// How many bits are set before bit `at`.
#[inline]
fn rank(bits: u64, at: u8) -> usize {
    (bits & ((1 << (at & 63)) - 1)).count_ones() as usize
}

impl Branch {
    #[inline]
    fn bits(&self) -> u128 {
        let [high, low] = self.bits;
        u128::from(high) << 64 | u128::from(low)
    }

    /// How many bits are before.
    #[inline]
    fn depth(&self) -> u8 {
        self.first.get() - 1
    }

    /// Whether a network lies wholly below.
    fn covers(&self, prefix: &Prefix) -> bool {
        prefix.len() >= self.depth() && (prefix.bits() ^ self.bits()) & mask(self.depth()) == 0
    }

    /// Where a network belongs that lies below.
    fn slot(&self, prefix: &Prefix) -> Slot {
        let chunk = chunk(prefix.bits(), self.depth());
        match prefix.len().saturating_sub(self.depth()) {
            len @ 0..STRIDE => inner(chunk, len),
            _ => Slot::Child(chunk),
        }
    }

    #[inline]
    fn has(&self, slot: Slot) -> bool {
        match slot {
            Slot::Inner(at) => self.inner >> at & 1 != 0,
            Slot::Child(at) => self.children >> at & 1 != 0,
        }
    }

    /// Where in the array an item is, or would be.
    #[inline]
    fn index(&self, slot: Slot) -> usize {
        match slot {
            Slot::Inner(at) => self.children.count_ones() as usize + rank(self.inner, at),
            Slot::Child(at) => rank(self.children, at),
        }
    }

    /// The same with, or without, an item.
    fn toggled(mut self, slot: Slot) -> Self {
        match slot {
            Slot::Inner(at) => self.inner ^= 1 << at,
            Slot::Child(at) => self.children ^= 1 << at,
        }
        self
    }

    fn of_count(self, count: u32) -> Self {
        Branch { count, ..self }
    }
}

impl Node {
    /// An entry alone.
    pub(super) fn new(entry: Entry) -> Result<Self, NoMemory> {
        Row::new(Head::Entry(entry), []).map(Node)
    }

    fn entry(&self) -> Option<&Entry> {
        match self.0.head() {
            Head::Entry(entry) => Some(entry),
            Head::Branch(_) => None,
        }
    }

    fn branch(&self) -> Option<&Branch> {
        match self.0.head() {
            Head::Branch(branch) => Some(branch),
            Head::Entry(_) => None,
        }
    }

    /// Entries from here on.
    fn count(&self) -> u32 {
        self.branch().map_or(1, |branch| branch.count)
    }

    /// What all from here on have in common.
    fn prefix(&self) -> Prefix {
        match self.0.head() {
            Head::Entry(entry) => entry.prefix(),
            Head::Branch(branch) => Prefix::from_bits(branch.bits(), branch.depth()),
        }
    }

    /// A branch with two items, of which neither belongs below the other.
    fn fork(one: Node, other: Node) -> Result<Self, NoMemory> {
        let (a, b) = (one.prefix(), other.prefix());
        let common = ((a.bits() ^ b.bits()).leading_zeros() as u8).min(a.len()).min(b.len());
        let depth = common - common % STRIDE;
        let bits = a.bits() & mask(depth);
        let branch = Branch {
            children: 0,
            inner: 0,
            bits: [(bits >> 64) as u64, bits as u64],
            count: one.count().saturating_add(other.count()),
            first: NonZeroU8::MIN.saturating_add(depth),
        };
        let (at, of_other) = (branch.slot(&a), branch.slot(&b));
        let branch = branch.toggled(at).toggled(of_other);
        let items = if branch.index(at) < branch.index(of_other) {
            [one, other]
        } else {
            [other, one]
        };
        Row::new(Head::Branch(branch), items).map(Node)
    }

    /// The item at `index` of a branch, to be changed, and a new head for the branch.
    fn item_mut(&mut self, branch: Branch, index: usize) -> Result<&mut Node, NoMemory> {
        let (head, items) = self.0.make_mut(|_| Head::Branch(branch))?;
        *head = Head::Branch(branch);
        items.get_mut(index).ok_or(NoMemory)
    }
}

/// The networks of one family.
#[derive(Debug, Clone, Default)]
pub(super) struct Tree(Option<Node>);

impl Tree {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |root| root.count() as usize)
    }

    /// The narrowest network that has the address with these bits.
    #[inline]
    pub(super) fn find(&self, bits: u128) -> Option<&Entry> {
        let mut node = self.0.as_ref()?;
        let mut best = None;
        loop {
            let branch = match node.0.head() {
                Head::Entry(entry) if entry.covers(bits) => return Some(entry),
                Head::Entry(_) => break,
                Head::Branch(branch) => branch,
            };
            if (bits ^ branch.bits()) & mask(branch.depth()) != 0 {
                break;
            }
            let items = node.0.items();
            let chunk = chunk(bits, branch.depth());
            let covering = branch.inner & COVERING.get(usize::from(chunk)).copied().unwrap_or(0);
            if covering != 0 {
                let narrowest = Slot::Inner(63 - covering.leading_zeros() as u8);
                best = items.get(branch.index(narrowest));
            }
            let slot = Slot::Child(chunk);
            match items.get(branch.index(slot)) {
                Some(child) if branch.has(slot) => node = child,
                _ => break,
            }
        }
        best.and_then(Node::entry)
    }

    /// The node of this very network.
    pub(super) fn get(&self, prefix: &Prefix) -> Option<&Node> {
        let mut node = self.0.as_ref()?;
        while let Some(branch) = node.branch().filter(|branch| branch.covers(prefix)) {
            let slot = branch.slot(prefix);
            if !branch.has(slot) {
                return None;
            }
            node = node.0.items().get(branch.index(slot))?;
        }
        node.entry()
            .is_some_and(|entry| entry.prefix() == *prefix)
            .then_some(node)
    }

    /// The entry of this very network.
    pub(super) fn entry(&self, prefix: &Prefix) -> Option<&Entry> {
        self.get(prefix).and_then(Node::entry)
    }

    /// Puts an entry in, in place of the one of the same network if there is one. After an error the tree is not whole, and is only
    /// to be dropped.
    pub(super) fn insert(&mut self, leaf: Node) -> Result<(), NoMemory> {
        let prefix = leaf.prefix();
        let more = u32::from(self.get(&prefix).is_none());
        let Some(mut at) = self.0.as_mut() else {
            self.0 = Some(leaf);
            return Ok(());
        };
        loop {
            let branch = match at.branch() {
                Some(branch) if branch.covers(&prefix) => *branch,
                None if more == 0 => {
                    *at = leaf;
                    return Ok(());
                }
                _ => {
                    *at = Node::fork(at.clone(), leaf)?;
                    return Ok(());
                }
            };
            let slot = branch.slot(&prefix);
            let index = branch.index(slot);
            let grown = branch.of_count(branch.count.checked_add(more).ok_or(NoMemory)?);
            if !branch.has(slot) {
                return at.0.insert(Head::Branch(grown.toggled(slot)), index, leaf);
            }
            at = at.item_mut(grown, index)?;
            if matches!(slot, Slot::Inner(_)) {
                *at = leaf;
                return Ok(());
            }
        }
    }

    /// Takes an entry out. False if there is none. After an error the tree is not whole, and is only to be dropped.
    pub(super) fn remove(&mut self, prefix: &Prefix) -> Result<bool, NoMemory> {
        if self.get(prefix).is_none() {
            return Ok(false);
        }
        if self.len() == 1 {
            self.0 = None;
            return Ok(true);
        }
        let Some(mut at) = self.0.as_mut() else {
            return Ok(false);
        };
        while let Some(branch) = at.branch().copied() {
            let slot = branch.slot(prefix);
            let index = branch.index(slot);
            let shrunk = branch.of_count(branch.count.saturating_sub(1));
            if at.0.items().get(index).is_some_and(|item| item.entry().is_some()) {
                at.0.remove(Head::Branch(shrunk.toggled(slot)), index)?;
                if let [only] = at.0.items() {
                    *at = only.clone();
                }
                return Ok(true);
            }
            at = at.item_mut(shrunk, index)?;
        }
        Ok(false)
    }

    /// All entries, in their order.
    pub(super) fn iter(&self) -> Iter<'_> {
        let mut iter = Iter {
            levels: [None; LEVELS],
            level: 0,
        };
        iter.restart(self);
        iter
    }

    /// The entry that has `n` before it in their order.
    pub(super) fn nth(&self, n: usize) -> Option<&Entry> {
        let mut left = u32::try_from(n).ok()?;
        let mut node = self.0.as_ref()?;
        while let Some(branch) = node.branch() {
            if left >= branch.count {
                return None;
            }
            node = ORDER
                .iter()
                .filter(|slot| branch.has(**slot))
                .filter_map(|slot| node.0.items().get(branch.index(*slot)))
                .find(|item| {
                    let is_in = left < item.count();
                    left -= if is_in { 0 } else { item.count() };
                    is_in
                })?;
        }
        node.entry().filter(|_| left == 0)
    }
}

/// The entries of a tree, in their order.
#[derive(Debug)]
pub(super) struct Iter<'a> {
    /// The way down: each node, and how far its places have been gone through.
    levels: [Option<(&'a Node, u8)>; LEVELS],
    level: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a Entry;

    fn next(&mut self) -> Option<&'a Entry> {
        loop {
            let (node, place) = self.levels.get_mut(self.level)?.as_mut()?;
            let node = *node;
            let Some(branch) = node.branch() else {
                self.up();
                return node.entry();
            };
            let rest = ORDER.get(usize::from(*place)..).unwrap_or_default();
            let found = rest.iter().position(|slot| branch.has(*slot));
            let item = found.and_then(|at| node.0.items().get(branch.index(*rest.get(at)?)));
            match (found, item) {
                (Some(at), Some(item)) => {
                    *place += at as u8 + 1;
                    self.level += 1;
                    *self.levels.get_mut(self.level)? = Some((item, 0));
                }
                _ => self.up(),
            }
        }
    }
}

impl<'a> Iter<'a> {
    /// Goes on with the entries of another tree, when it has come to an end.
    pub(super) fn restart(&mut self, tree: &'a Tree) {
        self.level = 0;
        if let Some(top) = self.levels.first_mut() {
            *top = tree.0.as_ref().map(|root| (root, 0));
        }
    }

    /// This level is done.
    fn up(&mut self) {
        if let Some(level) = self.levels.get_mut(self.level) {
            *level = None;
        }
        self.level = self.level.saturating_sub(1);
    }
}
