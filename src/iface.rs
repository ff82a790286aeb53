//! Interfaces by name: those that exist, and those that a rule speaks of before they do.
//!
//! # Life cycle
//! A name gets a number when a rule or an interface first brings it up, and keeps it until names are short and nobody uses it: then
//! the number is free for another. Number 0 is `all`: states that are bound to no interface are said to be on it. The table is
//! replaced whole on each change, and read in a passive section; the interfaces themselves are shared between the versions, so
//! counters go on.
//!
//! A group is a name of several interfaces: of all that a driver has (`em` of em0, em1), as NetBSD's pf makes them. Who is of a
//! group follows from the names.
//!
//! # Locking
//! Changes come from the ioctl path and from interface events, both under the control mutex.

mod address;

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use pf_abi::IfName;

use crate::kpi::{Direction, NoMemory, Stripe};
use crate::mem::{KArc, KVec, Tally};
use crate::wire::Af;

pub use address::{DynamicAddr, InterfaceAddress};

/// An interface's number in the table that stands for all of them.
pub const ALL: u16 = 0;

/// An interface, or the name of one.
#[derive(Debug)]
pub struct Interface {
    /// Its name; empty for what has given its number back.
    pub name: IfName,
    /// Packets on it pass unseen: `set skip on`.
    pub skip: AtomicBool,
    /// When its counters were cleared, in seconds since 1970; 0 if never.
    pub cleared: AtomicU32,
    /// Nobody finds it by its name.
    hidden: AtomicBool,
    /// Packets and bytes, by family, direction and fate: see [`counter`].
    counters: Tally<16>,
}

impl Interface {
    fn new(name: IfName) -> Result<Self, NoMemory> {
        Ok(Interface {
            name,
            skip: AtomicBool::new(false),
            cleared: AtomicU32::new(0),
            hidden: AtomicBool::new(false),
            counters: Tally::new()?,
        })
    }

    /// Whether packets on it pass unseen.
    #[inline]
    pub fn skips(&self) -> bool {
        self.skip.load(Ordering::Relaxed)
    }

    /// Hides it from who looks for its name, or shows it again. Who has it hidden and has waited for readers knows that nobody who has not
    /// found it yet will find it.
    pub fn hide(&self, hidden: bool) {
        self.hidden.store(hidden, Ordering::Release);
    }

    /// Counts a packet, in the stripe of the CPU that this runs on.
    #[inline]
    pub fn count(&self, stripe: Stripe, af: Af, direction: Direction, passed: bool, bytes: u32) {
        let at = counter(af, direction, passed);
        self.counters.add_in(stripe, [(at, 1), (at + 1, bytes.into())]);
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

/// The name of the driver that an interface's name begins with, if a number follows.
fn driver(name: &[u8]) -> Option<&[u8]> {
    let digits = name.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let driver = name.get(..name.len() - digits)?;
    (digits > 0 && !driver.is_empty()).then_some(driver)
}

/// A name, and what belongs to it in this version of the table.
#[derive(Debug, Clone)]
struct Entry {
    interface: KArc<Interface>,
    /// The number of the group that the interface is of, [`ALL`] where nobody speaks of one.
    group: u16,
    /// Its addresses, in the order of the system.
    addresses: Option<KArc<KVec<InterfaceAddress>>>,
}

impl Entry {
    fn new(name: IfName) -> Result<Self, NoMemory> {
        Ok(Entry {
            interface: KArc::new(Interface::new(name)?)?,
            group: ALL,
            addresses: None,
        })
    }

    fn is_of(&self, group: &IfName) -> bool {
        let name = self.interface.name.to_bytes().unwrap_or_default();
        driver(name).is_some_and(|driver| group.to_bytes() == Some(driver))
    }
}

/// All names, and the kernel's index of those that exist.
#[derive(Debug)]
pub struct Interfaces {
    known: KVec<Entry>,
    /// The kernel's interface index to a number here.
    attached: KVec<(u16, u16)>,
}

impl Interfaces {
    /// Only `all`.
    pub fn new() -> Result<Self, NoMemory> {
        let mut known = KVec::new();
        known.push(Entry::new(IfName::new("all").unwrap_or_default())?)?;
        Ok(Interfaces {
            known,
            attached: KVec::new(),
        })
    }

    /// The interface with a number.
    #[inline]
    pub fn get(&self, number: u16) -> Option<&KArc<Interface>> {
        self.known.get(usize::from(number)).map(|entry| &entry.interface)
    }

    /// The number of the group that an interface is of; [`ALL`] where nobody speaks of it.
    #[inline]
    pub fn group(&self, number: u16) -> u16 {
        self.known.get(usize::from(number)).map_or(ALL, |entry| entry.group)
    }

    /// Whether the name of this number is that of several interfaces that are known.
    pub fn is_group(&self, number: u16) -> bool {
        number == ALL || self.known.iter().any(|entry| entry.group == number)
    }

    /// The addresses of the interface with this number, or of each interface of the group.
    fn members(&self, number: u16) -> impl Iterator<Item = &[InterfaceAddress]> {
        // A group's name comes up before an interface knows that it is of it, so looking at both is no more than one pass.
        let of = self
            .known
            .iter()
            .enumerate()
            .filter(move |(at, entry)| number == ALL || *at == usize::from(number) || entry.group == number);
        of.filter_map(|(_, entry)| entry.addresses.as_ref().map(|addresses| &addresses[..]))
    }

    /// The number of the interface that the kernel knows as `ifindex`; [`ALL`] for one that pf has not been told of.
    #[inline]
    pub fn number(&self, ifindex: u16) -> u16 {
        self.attached
            .iter()
            .find(|(index, _)| *index == ifindex)
            .map_or(ALL, |(_, number)| *number)
    }

    /// The kernel's index of the interface with a number; nothing where it does not exist now.
    pub fn ifindex(&self, number: u16) -> Option<u16> {
        self.attached
            .iter()
            .find(|(_, of)| *of == number)
            .map(|(index, _)| *index)
    }

    /// The number of a name, if it has one.
    pub fn find(&self, name: &IfName) -> Option<u16> {
        let (number, interface) = self.iter().find(|(_, interface)| interface.name == *name)?;
        (!interface.hidden.load(Ordering::Acquire)).then_some(number)
    }

    /// One more than the highest number.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether there is nothing: never, as `all` is always there.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Every interface and its number.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &KArc<Interface>)> {
        let all = (0u16..).zip(self.known.iter().map(|entry| &entry.interface));
        all.filter(|(_, interface)| !interface.name.is_empty())
    }

    /// The numbers of those that exist now.
    pub fn attached(&self) -> impl Iterator<Item = u16> {
        self.attached.iter().map(|(_, number)| *number)
    }

    /// Whether an interface of this number exists now.
    pub fn is_attached(&self, number: u16) -> bool {
        self.attached.iter().any(|(_, of)| *of == number)
    }

    fn copy(&self) -> Result<Self, NoMemory> {
        let mut known = KVec::with_capacity(self.known.len() + 1)?;
        for entry in self.known.iter() {
            known.push(entry.clone())?;
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
        let free = new.known.iter().position(|entry| entry.interface.name.is_empty());
        let at = free.unwrap_or(new.known.len());
        let number = u16::try_from(at).map_err(|_| NoMemory)?;
        let mut entry = Entry::new(name)?;
        // It may be of a group that is spoken of, or be the group of what is there.
        match driver(name.to_bytes().unwrap_or_default()) {
            Some(driver) => entry.group = new.find(&IfName::cut(driver)).unwrap_or(ALL),
            None => {
                for member in new.known.iter_mut().filter(|member| member.is_of(&name)) {
                    member.group = number;
                }
            }
        }
        match new.known.get_mut(at) {
            Some(free) => *free = entry,
            None => new.known.push(entry)?,
        }
        Ok((new, number))
    }

    /// A table in which these numbers are free for other names. The caller knows that nobody has them.
    pub fn without(&self, is_free: impl Fn(u16) -> bool) -> Result<Self, NoMemory> {
        let mut new = self.copy()?;
        let free = Entry::new(IfName::EMPTY)?;
        for (number, entry) in (0u16..).zip(new.known.iter_mut()) {
            if is_free(number) {
                *entry = free.clone();
            } else if is_free(entry.group) {
                entry.group = ALL;
            }
        }
        Ok(new)
    }

    /// A table in which the kernel's `ifindex` has these addresses, and no others. One that pf has not been told of has none.
    pub fn with_addresses(&self, ifindex: u16, addresses: &[InterfaceAddress]) -> Result<Self, NoMemory> {
        let mut new = self.copy()?;
        let number = new.number(ifindex);
        let mut list = KVec::with_capacity(addresses.len())?;
        for address in addresses {
            list.push(*address)?;
        }
        if let Some(entry) = new.known.get_mut(usize::from(number))
            && number != ALL
        {
            entry.addresses = Some(KArc::new(list)?);
        }
        Ok(new)
    }

    /// Whether the kernel's `ifindex` has these addresses already.
    pub fn has_addresses(&self, ifindex: u16, addresses: &[InterfaceAddress]) -> bool {
        let known = self.known.get(usize::from(self.number(ifindex)));
        let known = known.and_then(|entry| entry.addresses.as_ref());
        known.map_or(&[][..], |known| &known[..]) == addresses
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
        let number = new.number(ifindex);
        if let Some(entry) = new.known.get_mut(usize::from(number)) {
            entry.addresses = None;
        }
        let mut kept = KVec::with_capacity(new.attached.len())?;
        for pair in new.attached.iter().filter(|(index, _)| *index != ifindex) {
            kept.push(*pair)?;
        }
        new.attached = kept;
        Ok(new)
    }
}
