//! Interfaces by name: those that exist, and those that a rule speaks of before they do.
//!
//! # Life cycle
//! A name gets a number when a rule or an interface first brings it up, and keeps it. Number 0 is `all`: states that are
//! bound to no interface are said to be on it. The table is replaced whole on each change, and read in a passive
//! section; the interfaces themselves are shared between the versions, so counters go on.
//!
//! # Locking
//! Changes come from the ioctl path and from interface events, both under the control mutex.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use pf_abi::IfName;

use crate::kpi::{Direction, NoMemory};
use crate::mem::{KArc, KVec, Tally};
use crate::wire::Af;

/// An interface's number in the table that stands for all of them.
pub const ALL: u16 = 0;

/// An interface, or the name of one.
#[derive(Debug)]
pub struct Interface {
    /// Its name.
    pub name: IfName,
    /// Packets on it pass unseen: `set skip on`.
    pub skip: AtomicBool,
    /// When its counters were cleared, in seconds since 1970; 0 if never.
    pub cleared: AtomicU32,
    /// Packets and bytes, by family, direction and fate: see [`counter`].
    counters: Tally<16>,
}

impl Interface {
    fn new(name: IfName) -> Result<Self, NoMemory> {
        Ok(Interface {
            name,
            skip: AtomicBool::new(false),
            cleared: AtomicU32::new(0),
            counters: Tally::new()?,
        })
    }

    /// Whether packets on it pass unseen.
    #[inline]
    pub fn skips(&self) -> bool {
        self.skip.load(Ordering::Relaxed)
    }

    /// Counts a packet.
    #[inline]
    pub fn count(&self, af: Af, direction: Direction, passed: bool, bytes: u32) {
        let at = counter(af, direction, passed);
        self.counters.add(at, 1);
        self.counters.add(at + 1, bytes.into());
    }

    /// Packets and bytes counted so far.
    pub fn counted(&self, af: Af, direction: Direction, passed: bool) -> (u64, u64) {
        let at = counter(af, direction, passed);
        (self.counters.get(at), self.counters.get(at + 1))
    }

    /// Sets the counters to zero. `now` is in seconds since 1970.
    pub fn clear_counters(&self, now: u32) {
        self.cleared.store(now, Ordering::Relaxed);
        self.counters.clear();
    }
}

/// Where an interface counts packets of a family, a direction and a fate; their bytes come right after.
#[inline]
fn counter(af: Af, direction: Direction, passed: bool) -> usize {
    usize::from(af == Af::Inet6) << 3 | usize::from(direction == Direction::Out) << 2 | usize::from(!passed) << 1
}

/// All names, and the kernel's index of those that exist.
#[derive(Debug)]
pub struct Interfaces {
    known: KVec<KArc<Interface>>,
    /// The kernel's interface index to a number here.
    attached: KVec<(u16, u16)>,
}

impl Interfaces {
    /// Only `all`.
    pub fn new() -> Result<Self, NoMemory> {
        let mut known = KVec::new();
        known.push(KArc::new(Interface::new(IfName::new("all").unwrap_or_default())?)?)?;
        Ok(Interfaces {
            known,
            attached: KVec::new(),
        })
    }

    /// The interface with a number.
    #[inline]
    pub fn get(&self, number: u16) -> Option<&KArc<Interface>> {
        self.known.get(usize::from(number))
    }

    /// The number of the interface that the kernel knows as `ifindex`; [`ALL`] for one that pf has not been told of.
    #[inline]
    pub fn number(&self, ifindex: u16) -> u16 {
        self.attached
            .iter()
            .find(|(index, _)| *index == ifindex)
            .map_or(ALL, |(_, number)| *number)
    }

    /// The number of a name, if it has one.
    pub fn find(&self, name: &IfName) -> Option<u16> {
        let at = self.known.iter().position(|interface| interface.name == *name)?;
        u16::try_from(at).ok()
    }

    /// Every interface and its number.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &KArc<Interface>)> {
        (0u16..).zip(self.known.iter())
    }

    /// Whether an interface of this number exists now.
    pub fn is_attached(&self, number: u16) -> bool {
        self.attached.iter().any(|(_, of)| *of == number)
    }

    fn copy(&self) -> Result<Self, NoMemory> {
        let mut known = KVec::with_capacity(self.known.len() + 1)?;
        for interface in self.known.iter() {
            known.push(interface.clone())?;
        }
        let mut attached = KVec::with_capacity(self.attached.len() + 1)?;
        for pair in self.attached.iter() {
            attached.push(*pair)?;
        }
        Ok(Interfaces { known, attached })
    }

    /// A table in which `name` has a number, and that number.
    pub fn with_name(&self, name: IfName) -> Result<(Self, u16), NoMemory> {
        let mut new = self.copy()?;
        if let Some(number) = new.find(&name) {
            return Ok((new, number));
        }
        let number = u16::try_from(new.known.len()).map_err(|_| NoMemory)?;
        new.known.push(KArc::new(Interface::new(name)?)?)?;
        Ok((new, number))
    }

    /// A table in which the kernel's `ifindex` is `name`.
    pub fn with_attached(&self, ifindex: u16, name: IfName) -> Result<Self, NoMemory> {
        let (mut new, number) = self.with_name(name)?;
        match new.attached.iter_mut().find(|(index, _)| *index == ifindex) {
            Some(pair) => pair.1 = number,
            None => new.attached.push((ifindex, number))?,
        }
        Ok(new)
    }

    /// A table without the kernel's `ifindex`.
    pub fn without_attached(&self, ifindex: u16) -> Result<Self, NoMemory> {
        let mut new = self.copy()?;
        let mut kept = KVec::with_capacity(new.attached.len())?;
        for pair in new.attached.iter().filter(|(index, _)| *index != ifindex) {
            kept.push(*pair)?;
        }
        new.attached = kept;
        Ok(new)
    }
}
