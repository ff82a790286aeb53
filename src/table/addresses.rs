//! The addresses of a table: what packets look into, and what is replaced whole.
//!
//! # Life cycle
//! A change is made to a copy, which costs nothing, and the copy is put in place. Whoever has the version before keeps it as long as
//! they like.
//!
//! # Locking
//! None. Addresses belong to one thread, or nobody changes them.

use super::entry::{Entry, Prefix};
use super::tree::{Iter, Node, Tree};
use crate::kpi::NoMemory;
use crate::wire::{Addr, Af};

/// The networks of a table, of both families. After an error of a change it is not whole, and is only to be dropped.
#[derive(Debug, Clone, Default)]
pub struct Addresses {
    inet: Tree,
    inet6: Tree,
}

impl Addresses {
    fn tree(&self, af: Af) -> &Tree {
        match af {
            Af::Inet => &self.inet,
            Af::Inet6 => &self.inet6,
        }
    }

    fn tree_mut(&mut self, af: Af) -> &mut Tree {
        match af {
            Af::Inet => &mut self.inet,
            Af::Inet6 => &mut self.inet6,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.inet.len() + self.inet6.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many there are of a family.
    pub fn len_of(&self, af: Af) -> usize {
        self.tree(af).len()
    }

    /// The narrowest network that an address is in. If that one is negated, the address is not of the table.
    #[inline]
    pub fn find(&self, af: Af, addr: &Addr) -> Option<&Entry> {
        self.tree(af).find(addr.to_bits())
    }

    /// The entry of this very network.
    pub fn get(&self, af: Af, prefix: &Prefix) -> Option<&Entry> {
        self.tree(af).entry(prefix)
    }

    /// Puts an entry in, in place of the one of the same network if there is one.
    pub fn insert(&mut self, af: Af, entry: Entry) -> Result<(), NoMemory> {
        let node = Node::new(entry)?;
        self.tree_mut(af).insert(node)
    }

    /// Puts in what another version has of a network, the counters with it. False where it has none.
    pub fn share(&mut self, from: &Addresses, af: Af, prefix: &Prefix) -> Result<bool, NoMemory> {
        match from.tree(af).get(prefix) {
            Some(node) => self.tree_mut(af).insert(node.clone()).map(|()| true),
            None => Ok(false),
        }
    }

    /// Takes an entry out. False where there is none.
    pub fn remove(&mut self, af: Af, prefix: &Prefix) -> Result<bool, NoMemory> {
        self.tree_mut(af).remove(prefix)
    }

    /// All entries: IPv4 and then IPv6, in the order of their addresses.
    pub fn iter(&self) -> Entries<'_> {
        Entries {
            entries: self.inet.iter(),
            af: Af::Inet,
            then: Some(&self.inet6),
        }
    }

    /// The entry of a family that has `n` before it in the order of their addresses. It takes a few steps for each of the few
    /// levels of the tree, however many entries there are.
    pub fn nth(&self, af: Af, n: usize) -> Option<&Entry> {
        self.tree(af).nth(n)
    }
}

/// The entries of both families.
#[derive(Debug)]
pub struct Entries<'a> {
    // One at a time: each has a way down to remember.
    entries: Iter<'a>,
    af: Af,
    then: Option<&'a Tree>,
}

impl<'a> Iterator for Entries<'a> {
    type Item = (Af, &'a Entry);

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(entry) = self.entries.next() {
            return Some((self.af, entry));
        }
        self.entries.restart(self.then.take()?);
        self.af = Af::Inet6;
        Some((self.af, self.entries.next()?))
    }
}
