//! What identifies a connection: three address/port pairs, and the two keys that they make.
//!
//! In pf's words: *lan* is the end behind the firewall, *gwy* the same end as the other side sees it (they differ under
//! translation), and *ext* the other side. A packet that leaves through the interface carries lan → ext before its
//! translation and gwy → ext after; one that comes in carries ext → gwy, and ext → lan after. So there are two trees: packets
//! going out are looked up by (lan, ext), packets coming in by (ext, gwy), and each key occurs once in its tree.

use crate::hash::{HashKey, SpreadKey};
use crate::kpi::Direction;
use crate::wire::{Addr, Af, Proto};

/// An address and a port; for ICMP queries, the identifier stands for the near end's port and the far end's is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Host {
    /// The address.
    pub addr: Addr,
    /// The port, in host order.
    pub port: u16,
}

/// The three pairs of a connection. Their order is one of memory: see [`State`](super::State).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct StateKey {
    /// The end behind the firewall.
    pub lan: Host,
    /// The other side.
    pub ext: Host,
    /// The family of all three.
    pub af: Af,
    /// The protocol.
    pub proto: Proto,
    /// The end behind the firewall, as the other side sees it.
    pub gwy: Host,
}

/// One of the two trees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Tree {
    /// By (lan, ext): packets going out.
    LanExt = 0,
    /// By (ext, gwy): packets coming in.
    ExtGwy = 1,
}

impl Tree {
    /// The tree that a packet of this direction is looked up in.
    #[inline]
    pub fn of(direction: Direction) -> Self {
        match direction {
            Direction::Out => Tree::LanExt,
            Direction::In => Tree::ExtGwy,
        }
    }
}

/// A key in one of the trees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeKey {
    /// lan or gwy.
    pub near: Host,
    /// ext.
    pub far: Host,
    /// The family.
    pub af: Af,
    /// The protocol.
    pub proto: Proto,
}

impl StateKey {
    /// The key under which the connection stands in `tree`.
    #[inline]
    pub fn of_tree(&self, tree: Tree) -> TreeKey {
        let near = match tree {
            Tree::LanExt => self.lan,
            Tree::ExtGwy => self.gwy,
        };
        TreeKey {
            near,
            far: self.ext,
            af: self.af,
            proto: self.proto,
        }
    }

    /// Whether this is the key under which the connection stands in `tree`.
    #[inline(always)]
    pub fn is_at(&self, tree: Tree, key: &TreeKey) -> bool {
        let near = match tree {
            Tree::LanExt => &self.lan,
            Tree::ExtGwy => &self.gwy,
        };
        *near == key.near && self.ext == key.far && self.af == key.af && self.proto == key.proto
    }

    /// Whether packets of this connection are translated.
    #[inline]
    pub fn is_translated(&self) -> bool {
        self.lan != self.gwy
    }
}

impl TreeKey {
    /// What tells the key's place in a tree: uniformly spread for whoever does not know the secret, and shown to no packet.
    #[inline(always)]
    pub(super) fn spread(&self, secret: &SpreadKey, tree: Tree) -> u64 {
        let tail = self.tail(tree);
        match self.af {
            Af::Inet => secret.hash([tail, self.v4()]),
            Af::Inet6 => {
                let [a, b, c, d] = self.v6();
                secret.hash([tail, a, b, c, d])
            }
        }
    }

    /// A number that says nothing of the key or of the secret to whoever sees it, nor of other keys' numbers.
    pub(super) fn hash(&self, secret: &HashKey, tree: Tree) -> u64 {
        let tail = self.tail(tree);
        match self.af {
            Af::Inet => secret.hash([self.v4()], tail),
            Af::Inet6 => secret.hash(self.v6(), tail),
        }
    }

    /// All but the addresses, and the tree: seven bytes.
    #[inline]
    fn tail(&self, tree: Tree) -> u64 {
        u64::from(self.near.port) << 40
            | u64::from(self.far.port) << 24
            | u64::from(self.af as u8) << 16
            | u64::from(self.proto.0) << 8
            | tree as u64
    }

    #[inline]
    fn v4(&self) -> u64 {
        let [near, far] = [self.near, self.far].map(|host| u64::from(host.addr.words()[0]));
        near << 32 | far
    }

    #[inline]
    fn v6(&self) -> [u64; 4] {
        let words = [self.near, self.far].map(|host| {
            let [a, b, c, d] = host.addr.words().map(u64::from);
            [a << 32 | b, c << 32 | d]
        });
        let [[a, b], [c, d]] = words;
        [a, b, c, d]
    }
}
