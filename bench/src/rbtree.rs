//! What the state table is compared with: pf's states of old, in two red-black trees.
//!
//! # Overview
//! The classical design keeps a connection's key in a node with the links of both trees in it, and the state beside the
//! node. Each is as large as NetBSD's `struct pf_state_key` (rounded up to whole cache lines, in the tree's favour) and
//! `struct pf_state`, and comes from a pool like the ones that the state table uses, huge pages and all. Keys are compared as pf compares them,
//! field by field. The trees are those of Cormen, Leiserson, Rivest and Stein, "Introduction to Algorithms", chapter 13, with parent
//! pointers. Left out, in its favour again: the third tree, by id, the list of all states, and locks.
//!
//! # Life cycle
//! Nodes are made by [`RbTable::insert`] and given back by [`RbTable::remove`]; the pools have all of the memory.
//!
//! # Locking
//! None. It is for one thread.

use std::alloc::Layout;
use std::cell::Cell;
use std::cmp::Ordering;
use std::ptr::{self, NonNull};

use pf::kpi::{NoMemory, Pool};
use pf::state::{Host, StateKey, Tree, TreeKey};
use pf::wire::Af;

/// The bytes of `struct pf_state`, which the node has only a pointer to.
const STATE_BYTES: usize = 296;

/// A subtree's side. Links are indexed by it, so that what holds on one side is not written down again for the other.
const LEFT: usize = 0;
const RIGHT: usize = 1;

type Ref<'a> = Option<&'a Node<'a>>;

/// A node's place in one tree.
#[derive(Default)]
struct Link<'a> {
    children: [Cell<Ref<'a>>; 2],
    parent: Cell<Ref<'a>>,
    is_red: Cell<bool>,
}

/// A connection's key, in both trees.
#[repr(C, align(64))]
struct Node<'a> {
    key: StateKey,
    links: [Link<'a>; 2],
    state: NonNull<[u64; STATE_BYTES / 8]>,
}

impl<'a> Node<'a> {
    fn link(&self, tree: Tree) -> &Link<'a> {
        &self.links[tree as usize]
    }

    fn child(&self, tree: Tree, side: usize) -> Ref<'a> {
        self.link(tree).children[side].get()
    }

    fn parent(&self, tree: Tree) -> Ref<'a> {
        self.link(tree).parent.get()
    }
}

fn is_red(node: Ref<'_>, tree: Tree) -> bool {
    node.is_some_and(|node| node.link(tree).is_red.get())
}

fn is_same<'a>(a: Ref<'a>, b: Ref<'a>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => ptr::eq(a, b),
        (None, None) => true,
        _ => false,
    }
}

/// A key as a tree orders it: the end that is compared first comes first.
#[derive(Clone, Copy)]
struct Probe<'k> {
    key: &'k TreeKey,
    tree: Tree,
}

impl Probe<'_> {
    /// Where the probe stands beside a node: protocol, family, both addresses, both ports.
    #[inline(always)]
    fn compare(self, node: &Node<'_>) -> Ordering {
        let key = &node.key;
        let (ours, theirs) = match self.tree {
            Tree::LanExt => ([self.key.near, self.key.far], [&key.lan, &key.ext]),
            Tree::ExtGwy => ([self.key.far, self.key.near], [&key.ext, &key.gwy]),
        };
        let address = |at: usize| {
            let (ours, theirs): (&Host, &Host) = (&ours[at], theirs[at]);
            match self.key.af {
                Af::Inet => ours.addr.words()[0].cmp(&theirs.addr.words()[0]),
                Af::Inet6 => ours.addr.words().cmp(&theirs.addr.words()),
            }
        };
        self.key
            .proto
            .cmp(&key.proto)
            .then_with(|| self.key.af.cmp(&key.af))
            .then_with(|| address(0))
            .then_with(|| address(1))
            .then_with(|| ours[0].port.cmp(&theirs[0].port))
            .then_with(|| ours[1].port.cmp(&theirs[1].port))
    }
}

/// One red-black tree over the nodes.
struct RbTree<'a> {
    tree: Tree,
    root: Cell<Ref<'a>>,
}

impl<'a> RbTree<'a> {
    #[inline]
    fn find(&self, key: &TreeKey) -> Ref<'a> {
        let probe = Probe { key, tree: self.tree };
        let mut next = self.root.get();
        while let Some(node) = next {
            next = match probe.compare(node) {
                Ordering::Less => node.child(self.tree, LEFT),
                Ordering::Greater => node.child(self.tree, RIGHT),
                Ordering::Equal => return next,
            };
        }
        None
    }

    /// Puts `new` where `old` hangs, below `parent`.
    fn replace_child(&self, parent: Ref<'a>, old: &'a Node<'a>, new: Ref<'a>) {
        match parent {
            None => self.root.set(new),
            Some(parent) => {
                let side = usize::from(!is_same(parent.child(self.tree, LEFT), Some(old)));
                parent.link(self.tree).children[side].set(new);
            }
        }
        if let Some(new) = new {
            new.link(self.tree).parent.set(parent);
        }
    }

    /// Hangs `child` below `parent`.
    fn set_child(&self, parent: &'a Node<'a>, side: usize, child: Ref<'a>) {
        parent.link(self.tree).children[side].set(child);
        if let Some(child) = child {
            child.link(self.tree).parent.set(Some(parent));
        }
    }

    /// Turns a node down to `side`; the child on the other side, which there is, comes up.
    fn rotate(&self, node: &'a Node<'a>, side: usize) {
        let up = node.child(self.tree, 1 - side).expect("what comes up");
        self.set_child(node, 1 - side, up.child(self.tree, side));
        self.replace_child(node.parent(self.tree), node, Some(up));
        self.set_child(up, side, Some(node));
    }

    fn set_red(&self, node: &'a Node<'a>, is_red: bool) {
        node.link(self.tree).is_red.set(is_red);
    }

    /// Links a node, unless its key is there.
    fn insert(&self, node: &'a Node<'a>) -> bool {
        let key = node.key.of_tree(self.tree);
        let probe = Probe {
            key: &key,
            tree: self.tree,
        };
        let mut parent = None;
        let mut side = LEFT;
        let mut next = self.root.get();
        while let Some(node) = next {
            parent = next;
            side = match probe.compare(node) {
                Ordering::Less => LEFT,
                Ordering::Greater => RIGHT,
                Ordering::Equal => return false,
            };
            next = node.child(self.tree, side);
        }
        match parent {
            None => self.root.set(Some(node)),
            Some(parent) => self.set_child(parent, side, Some(node)),
        }
        self.set_red(node, true);
        self.mend_red(node);
        true
    }

    /// `node` is red, and so may be its parent: all else holds.
    fn mend_red(&self, mut node: &'a Node<'a>) {
        let tree = self.tree;
        while let Some(parent) = node.parent(tree).filter(|parent| is_red(Some(parent), tree)) {
            // A red node is not the root.
            let grand = parent.parent(tree).expect("a red node's parent");
            let side = usize::from(!is_same(grand.child(tree, LEFT), Some(parent)));
            let uncle = grand.child(tree, 1 - side);
            if let Some(uncle) = uncle.filter(|uncle| is_red(Some(uncle), tree)) {
                self.set_red(parent, false);
                self.set_red(uncle, false);
                self.set_red(grand, true);
                node = grand;
                continue;
            }
            let mut parent = parent;
            if is_same(parent.child(tree, 1 - side), Some(node)) {
                self.rotate(parent, side);
                (node, parent) = (parent, node);
            }
            self.set_red(parent, false);
            self.set_red(grand, true);
            self.rotate(grand, 1 - side);
        }
        if let Some(root) = self.root.get() {
            self.set_red(root, false);
        }
    }

    /// Unlinks a node that is in the tree.
    fn remove(&self, node: &'a Node<'a>) {
        let tree = self.tree;
        let (children, parent) = ([LEFT, RIGHT].map(|side| node.child(tree, side)), node.parent(tree));
        // What moves up into a hole, what it then hangs below, and whether a black node is missing there.
        let (moved, below, lost_black);
        if let [Some(left), Some(right)] = children {
            let mut next = right;
            while let Some(left) = next.child(tree, LEFT) {
                next = left;
            }
            moved = next.child(tree, RIGHT);
            lost_black = !is_red(Some(next), tree);
            if ptr::eq(next, right) {
                below = Some(next);
            } else {
                below = next.parent(tree);
                self.replace_child(below, next, moved);
                self.set_child(next, RIGHT, Some(right));
            }
            self.replace_child(parent, node, Some(next));
            self.set_child(next, LEFT, Some(left));
            self.set_red(next, is_red(Some(node), tree));
        } else {
            moved = children[LEFT].or(children[RIGHT]);
            below = parent;
            lost_black = !is_red(Some(node), tree);
            self.replace_child(parent, node, moved);
        }
        if lost_black {
            self.mend_black(moved, below);
        }
    }

    /// Every path through `node`, which hangs below `parent` and may be nothing, lacks a black node.
    fn mend_black(&self, mut node: Ref<'a>, mut parent: Ref<'a>) {
        let tree = self.tree;
        while let Some(above) = parent.filter(|_| !is_red(node, tree)) {
            let side = usize::from(!is_same(above.child(tree, LEFT), node));
            // There is one: its paths have a black node more than ours.
            let mut sibling = above.child(tree, 1 - side).expect("a sibling");
            if is_red(Some(sibling), tree) {
                self.set_red(sibling, false);
                self.set_red(above, true);
                self.rotate(above, side);
                sibling = above.child(tree, 1 - side).expect("a sibling");
            }
            let is_red_at = |sibling: &Node<'a>, side| is_red(sibling.child(tree, side), tree);
            if !is_red_at(sibling, LEFT) && !is_red_at(sibling, RIGHT) {
                self.set_red(sibling, true);
                (node, parent) = (Some(above), above.parent(tree));
                continue;
            }
            if !is_red_at(sibling, 1 - side) {
                if let Some(near) = sibling.child(tree, side) {
                    self.set_red(near, false);
                }
                self.set_red(sibling, true);
                self.rotate(sibling, 1 - side);
                sibling = above.child(tree, 1 - side).expect("a sibling");
            }
            self.set_red(sibling, is_red(Some(above), tree));
            self.set_red(above, false);
            if let Some(far) = sibling.child(tree, 1 - side) {
                self.set_red(far, false);
            }
            self.rotate(above, side);
            return;
        }
        if let Some(node) = node {
            self.set_red(node, false);
        }
    }
}

/// Where the memory of nodes and states comes from.
pub(crate) struct Pools {
    nodes: Pool,
    states: Pool,
}

impl Pools {
    pub(crate) fn new() -> Result<Self, NoMemory> {
        Ok(Pools {
            nodes: Pool::new(c"rbkey", Layout::new::<Node<'_>>())?,
            states: Pool::new(c"rbstate", Layout::new::<[u64; STATE_BYTES / 8]>())?,
        })
    }
}

/// States in two red-black trees.
pub(crate) struct RbTable<'a> {
    trees: [RbTree<'a>; 2],
    pools: &'a Pools,
}

impl<'a> RbTable<'a> {
    /// Bytes that one state takes.
    pub(crate) const BYTES: usize = size_of::<Node<'_>>() + STATE_BYTES;

    /// No states yet.
    pub(crate) fn new(pools: &'a Pools) -> Self {
        RbTable {
            trees: [Tree::LanExt, Tree::ExtGwy].map(|tree| RbTree {
                tree,
                root: Cell::new(None),
            }),
            pools,
        }
    }

    /// The address of the state with this key.
    #[inline]
    pub(crate) fn find(&self, tree: Tree, key: &TreeKey) -> Option<usize> {
        let node = self.trees[tree as usize].find(key)?;
        Some(node.state.as_ptr() as usize)
    }

    /// Makes a state; false if one of its keys is there, or if there is no memory.
    pub(crate) fn insert(&self, key: &StateKey) -> bool {
        let (Some(node), Some(state)) = (self.pools.nodes.get(), self.pools.states.get()) else {
            return false;
        };
        let (node, state): (NonNull<Node<'a>>, NonNull<[u64; STATE_BYTES / 8]>) = (node.cast(), state.cast());
        // SAFETY: both are fresh memory of the pools, each for a value of its type. The pools outlive 'a, and a node goes
        // back only when neither tree has it.
        let node = unsafe {
            state.write([0; STATE_BYTES / 8]);
            node.write(Node {
                key: *key,
                links: Default::default(),
                state,
            });
            node.as_ref()
        };
        let [first, second] = &self.trees;
        if !first.insert(node) {
            // SAFETY: it is in neither tree, and this was the last of it.
            unsafe { self.free(NonNull::from(node)) };
            return false;
        }
        if !second.insert(node) {
            first.remove(node);
            // SAFETY: it is in neither tree, and this was the last of it.
            unsafe { self.free(NonNull::from(node)) };
            return false;
        }
        true
    }

    /// Removes the state with this key; false if there is none.
    pub(crate) fn remove(&self, key: &StateKey) -> bool {
        let [first, _] = &self.trees;
        let Some(node) = first.find(&key.of_tree(first.tree)) else {
            return false;
        };
        for tree in &self.trees {
            tree.remove(node);
        }
        // SAFETY: it is in neither tree any more, and this was the last of it.
        unsafe { self.free(NonNull::from(node)) };
        true
    }

    /// Gives the memory of a node back.
    ///
    /// # Safety
    /// The node is in neither tree, and is not looked at again.
    unsafe fn free(&self, node: NonNull<Node<'a>>) {
        // SAFETY: both came from these pools, and by the caller's word nothing leads to them any more.
        unsafe {
            let state = node.as_ref().state;
            self.pools.states.put(state.cast());
            self.pools.nodes.put(node.cast());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pf::wire::{Addr, Proto};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    impl<'a> RbTree<'a> {
        /// Asserts the order and the five properties; the answer is how many nodes there are.
        fn check(&self) -> usize {
            assert!(!is_red(self.root.get(), self.tree), "the root is black");
            self.check_below(self.root.get(), None).0
        }

        /// Nodes below, and black nodes on each way down.
        fn check_below(&self, node: Ref<'a>, parent: Ref<'a>) -> (usize, usize) {
            let Some(node) = node else {
                return (0, 0);
            };
            assert!(is_same(node.parent(self.tree), parent));
            assert!(
                !(is_red(Some(node), self.tree) && is_red(parent, self.tree)),
                "a red node's children are black"
            );
            let key = node.key.of_tree(self.tree);
            let probe = Probe {
                key: &key,
                tree: self.tree,
            };
            let children = [LEFT, RIGHT].map(|side| node.child(self.tree, side));
            assert!(children[LEFT].is_none_or(|left| probe.compare(left).is_gt()));
            assert!(children[RIGHT].is_none_or(|right| probe.compare(right).is_lt()));
            let [left, right] = children.map(|child| self.check_below(child, Some(node)));
            assert_eq!(left.1, right.1, "each way has as many black nodes");
            (
                left.0 + right.0 + 1,
                left.1 + usize::from(!is_red(Some(node), self.tree)),
            )
        }
    }

    #[test]
    fn nodes_and_states_are_as_large_as_the_originals_in_cache_lines() {
        assert_eq!(size_of::<Node<'_>>(), 152usize.next_multiple_of(64));
        assert_eq!(RbTable::BYTES, 192 + 296);
    }

    fn any_key() -> impl Strategy<Value = StateKey> {
        let host = |net, n: u8| Host {
            addr: Addr::from_v4([10, net, 0, n % 4]),
            port: u16::from(n / 4),
        };
        (0u8..16, 0u8..16, 0u8..8).prop_map(move |(lan, gwy, ext)| StateKey {
            ext: host(0, ext),
            lan: host(1, lan),
            gwy: host(2, gwy),
            af: Af::Inet,
            proto: Proto::TCP,
        })
    }

    proptest! {
        #[test]
        fn it_holds_what_maps_hold(steps in prop::collection::vec((any::<bool>(), any_key()), 1..1000)) {
            let pools = Pools::new().unwrap();
            let table = RbTable::new(&pools);
            let mut models: [BTreeMap<(Host, Host), StateKey>; 2] = Default::default();
            let flat = |key: &StateKey, tree| (key.of_tree(tree).near, key.of_tree(tree).far);
            for (inserts, key) in steps {
                let [first, second] = [Tree::LanExt, Tree::ExtGwy].map(|tree| flat(&key, tree));
                if inserts {
                    let is_new = !models[0].contains_key(&first) && !models[1].contains_key(&second);
                    prop_assert_eq!(table.insert(&key), is_new);
                    if is_new {
                        models[0].insert(first, key);
                        models[1].insert(second, key);
                    }
                } else {
                    let old = models[0].remove(&first);
                    if let Some(old) = &old {
                        models[1].remove(&flat(old, Tree::ExtGwy));
                    }
                    prop_assert_eq!(table.remove(&key), old.is_some());
                }
                for tree in [Tree::LanExt, Tree::ExtGwy] {
                    let found = table.find(tree, &key.of_tree(tree)).is_some();
                    prop_assert_eq!(found, models[tree as usize].contains_key(&flat(&key, tree)));
                }
                for (tree, model) in table.trees.iter().zip(&models) {
                    prop_assert_eq!(tree.check(), model.len());
                }
            }
        }
    }
}
