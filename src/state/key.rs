//! What identifies a connection: three address/port pairs, and the two keys that they make.
//!
//! In pf's words: *lan* is the end behind the firewall, *gwy* the same end as the other side sees it (they differ under
//! translation), and *ext* the other side. A packet that leaves through the interface carries lan → ext before its
//! translation and gwy → ext after; one that comes in carries ext → gwy, and ext → lan after. So there are two trees: packets
//! going out are looked up by (lan, ext), packets coming in by (ext, gwy), and each key occurs once in its tree.

use crate::hash::HashKey;
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

    /// Whether packets of this connection are translated.
    pub fn is_translated(&self) -> bool {
        self.lan != self.gwy
    }
}

impl TreeKey {
    /// The key's place in the table: uniformly spread for whoever does not know the secret.
    #[inline]
    pub(super) fn hash(&self, secret: &HashKey, tree: Tree) -> u64 {
        // Seven bytes.
        let tail = u64::from(self.near.port) << 40
            | u64::from(self.far.port) << 24
            | u64::from(self.af as u8) << 16
            | u64::from(self.proto.0) << 8
            | tree as u64;
        let near = self.near.addr.words().map(u64::from);
        let far = self.far.addr.words().map(u64::from);
        match self.af {
            Af::Inet => secret.hash([near[0] << 32 | far[0]], tail),
            Af::Inet6 => {
                let words = [near, far].map(|[a, b, c, d]| [a << 32 | b, c << 32 | d]);
                let [[a, b], [c, d]] = words;
                secret.hash([a, b, c, d], tail)
            }
        }
    }
}
