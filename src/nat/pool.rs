//! Pools of addresses: what a rule gives out, and how it chooses.
//!
//! # Overview
//! The addresses of a pool have an order: those of its first entry, then those of the second, and so on. `round-robin`, `random` and
//! `source-hash` draw a place in that order, each in its way; `bitmask` puts the host part of the source behind the network of
//! its one entry. Whatever the way, an address that is chosen is one of the pool's.
//!
//! A table stands for as many places as it has networks. Each time it is a network's turn again it is the next address of that network, as
//! there is no telling in a moment how many addresses a large table has. What is negated in the table is passed over.
//!
//! Where pf.conf(5) names no way, a single address is that address, and several are taken in turn.
//!
//! # Locking
//! None: a pool is immutable, but for whose turn it is, which is one atomic number. Interfaces and tables are read in the packet's
//! passive section.

use core::sync::atomic::{AtomicU64, Ordering};

use pf_abi as abi;

use super::port::Exhausted;
use crate::hash::HashKey;
use crate::iface::{DynamicAddr, Interfaces};
use crate::kpi::{Errno, Kernel, ReadSection};
use crate::mem::KVec;
use crate::table::TableRef;
use crate::wire::{Addr, Af};

/// Places that are tried for one packet where what stands there is negated in a table.
const TRIES: u128 = 64;

/// What the addresses of a pool may depend on, as it is while a packet is judged.
#[derive(Clone, Copy)]
pub struct Current<'a> {
    /// The interfaces.
    pub interfaces: &'a Interfaces,
    /// What keeps tables as they are.
    pub section: &'a ReadSection<'a>,
}

/// What an entry of a pool stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    /// A network: its first address, its mask, and how many addresses it has.
    Net { addr: Addr, mask: Addr, len: u128 },
    /// Of `route-to em0` without an address: where the packet is for.
    Destination,
    /// The addresses that an interface has at the time of the packet.
    Dynamic(DynamicAddr),
    /// Those that a table has.
    Table(TableRef),
}

/// How many addresses a network has. A network of all addresses counts as half of them.
fn size(mask: &Addr, af: Af) -> u128 {
    let host_bits = af.bits().saturating_sub(mask.prefix_len().unwrap_or(0));
    1u128.checked_shl(host_bits.into()).unwrap_or(1 << 127)
}

/// A place counted round, of `len`; nothing where that is 0. Without a division of 128 bits, which not every kernel has: where there are more
/// than 2^64 addresses and not a power of two, it is a place all the same, if not that which counting round would come to.
fn round(place: u128, len: u128) -> Option<u128> {
    let mask = len.checked_next_power_of_two().map_or(u128::MAX, |power| power - 1);
    match (len, u64::try_from(len)) {
        (0, _) => None,
        (len, _) if len.is_power_of_two() => Some(place & mask),
        (_, Ok(len)) => Some((place as u64 % len).into()),
        (len, Err(_)) => Some(place & mask).map(|place| if place < len { place } else { place - len }),
    }
}

impl Target {
    /// How many addresses it has; of an interface or a table, that is asked each time, and 0 here.
    fn fixed_len(&self) -> u128 {
        match self {
            Target::Net { len, .. } => *len,
            Target::Destination => 1,
            Target::Dynamic(_) | Target::Table(_) => 0,
        }
    }

    /// How many addresses it has now.
    fn len(&self, af: Af, current: &Current<'_>) -> u128 {
        match self {
            Target::Table(table) => {
                let addresses = table.addresses(current.section);
                addresses.map_or(0, |addresses| addresses.len_of(af) as u128)
            }
            Target::Dynamic(dynamic) => {
                let sizes = dynamic.nets(current.interfaces, af).map(|(_, mask)| size(&mask, af));
                sizes.fold(0, u128::saturating_add)
            }
            fixed => fixed.fixed_len(),
        }
    }

    /// The address at a place among its own, when it has been that place's turn so many times. Nothing where a table says that what is
    /// there is not to be had.
    fn at(&self, place: u128, turn: u64, af: Af, current: &Current<'_>) -> Option<Addr> {
        let host = |net: &Addr, place: u128| Addr::from_bits(net.to_bits() | place << (128 - af.bits()));
        Some(match self {
            Target::Net { addr, .. } => host(addr, place),
            Target::Destination => Addr::ZERO,
            Target::Dynamic(dynamic) => {
                let mut place = place;
                for (net, mask) in dynamic.nets(current.interfaces, af) {
                    let size = size(&mask, af);
                    if place < size {
                        return Some(host(&net, place));
                    }
                    place -= size;
                }
                Addr::ZERO
            }
            Target::Table(table) => {
                let addresses = table.addresses(current.section)?;
                let prefix = addresses.nth(af, usize::try_from(place).ok()?)?.prefix();
                let size = size(&Addr::prefix_mask(af, prefix.len())?, af);
                let addr = host(&prefix.addr(), u128::from(turn) & (size - 1));
                // A narrower network may say otherwise.
                addresses.find(af, &addr).filter(|entry| !entry.is_negated())?;
                addr
            }
        })
    }
}

/// An entry of a pool.
#[derive(Debug, Clone)]
struct Entry {
    target: Target,
    /// Where it leads to, for `route-to` and its like: the interface's number in the interface table.
    interface: u16,
    /// How many addresses this entry and those before it have, those of interfaces and tables not counted.
    end: u128,
}

/// What a pool has chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// The address; zero where a route names an interface alone.
    pub addr: Addr,
    /// The interface of a route, by its number in the interface table; 0 in a translation.
    pub interface: u16,
}

/// What a pool is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// `nat`, `rdr`
    Translation,
    /// `binat`
    Binat,
    /// `route-to`, `reply-to`, `dup-to`
    Route,
}

/// The addresses and the ports that a rule gives out.
#[derive(Debug)]
pub struct Pool {
    entries: KVec<Entry>,
    /// What the entries were made of.
    addresses: KVec<abi::PoolAddr>,
    /// The rule's family; a pool of interfaces alone is of none, and then it does not matter.
    af: Af,
    kind: abi::PoolKind,
    sticky: bool,
    /// There are addresses of interfaces or of tables among its.
    dynamic: bool,
    key: HashKey,
    /// Whose turn it is.
    next: AtomicU64,
    pub(super) ports: (u16, u16),
    pub(super) exhausted: Exhausted,
}

impl Pool {
    /// Takes the ABI's pool. The addresses have the numbers of their interfaces in `kif`, and those of the interfaces whose addresses
    /// they stand for in `addr.p`; `tables` has for each the table that it stands for, if it does.
    ///
    /// # Errors
    /// EINVAL for what makes no sense: no address, one without a family, a mask with holes, several addresses where only one can
    /// be, ports that end before they begin. EOPNOTSUPP for addresses that are not done here.
    #[inline(never)]
    pub fn new(
        pool: &abi::Pool,
        addresses: KVec<abi::PoolAddr>,
        tables: &[Option<TableRef>],
        af: Option<Af>,
        purpose: Purpose,
    ) -> Result<Self, Errno> {
        let kind = abi::PoolKind::try_from(pool.opts & abi::PF_POOL_TYPEMASK).map_err(|_| Errno::Einval)?;
        if pool.opts & !(abi::PF_POOL_TYPEMASK | abi::PF_POOL_STICKYADDR) != 0 {
            return Err(Errno::Einval);
        }
        let [low, high] = pool.proxy_port;
        if high != 0 && low > high {
            return Err(Errno::Einval);
        }
        let mut entries = KVec::with_capacity(addresses.len())?;
        let mut end = 0u128;
        let mut dynamic = false;
        for (at, address) in addresses.iter().enumerate() {
            let target = match tables.get(at).cloned().flatten() {
                Some(table) => of_table(table, kind, af, purpose)?,
                None => target(&address.addr, af, purpose)?,
            };
            end = end.checked_add(target.fixed_len()).ok_or(Errno::Einval)?;
            dynamic |= matches!(target, Target::Dynamic(_) | Target::Table(_));
            let interface = u16::try_from(address.kif.0).map_err(|_| Errno::Einval)?;
            if (purpose == Purpose::Route) != (interface != 0) {
                return Err(Errno::Einval);
            }
            entries.push(Entry { target, interface, end })?;
        }
        let single = kind == abi::PoolKind::Bitmask || purpose == Purpose::Binat;
        if entries.is_empty() || (single && entries.len() > 1) {
            return Err(Errno::Einval);
        }
        let mut key = [0; 16];
        for (to, word) in key.chunks_exact_mut(4).zip(pool.key) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        Ok(Pool {
            entries,
            addresses,
            af: af.unwrap_or(Af::Inet6),
            kind,
            sticky: pool.opts & abi::PF_POOL_STICKYADDR != 0,
            dynamic,
            key: HashKey::new(key),
            next: AtomicU64::new(0),
            ports: (low, high),
            exhausted: Exhausted::default(),
        })
    }

    /// Its addresses as they were loaded: what DIOCGETADDR hands out.
    pub fn addresses(&self) -> &[abi::PoolAddr] {
        &self.addresses
    }

    /// `sticky-address`: a source keeps the address that it was given.
    pub fn is_sticky(&self) -> bool {
        self.sticky
    }

    /// The family of its addresses.
    pub(super) fn af(&self) -> Af {
        self.af
    }

    /// A hash under the rule's key.
    pub(super) fn hash(&self, words: [u64; 4], tail: u64) -> u64 {
        self.key.hash(words, tail)
    }

    /// How many addresses there are.
    fn len(&self, current: &Current<'_>) -> u128 {
        if self.dynamic {
            let lens = self.entries.iter().map(|entry| entry.target.len(self.af, current));
            lens.fold(0, u128::saturating_add)
        } else {
            self.entries.last().map_or(0, |entry| entry.end)
        }
    }

    /// Whether another address may be had where one will not do.
    pub(super) fn has_others(&self) -> bool {
        let several = self.dynamic || self.entries.last().is_some_and(|entry| entry.end > 1);
        several && !matches!(self.kind, abi::PoolKind::Bitmask | abi::PoolKind::SourceHash)
    }

    /// The address at a place, counted round, of so many that there are.
    fn at(&self, place: u128, len: u128, current: &Current<'_>) -> Option<Choice> {
        // No table has as many networks as a word cannot count.
        let turn = (place as u64).checked_div(u64::try_from(len).unwrap_or(u64::MAX))?;
        let place = round(place, len)?;
        let (entry, place) = if self.dynamic {
            let mut place = place;
            self.entries.iter().find_map(|entry| {
                let len = entry.target.len(self.af, current);
                if place < len {
                    return Some((entry, place));
                }
                place -= len;
                None
            })?
        } else {
            let entry = self.entries.partition_point(|entry| entry.end <= place);
            let entry = self.entries.get(entry)?;
            (entry, place - (entry.end - entry.target.fixed_len()))
        };
        Some(Choice {
            addr: entry.target.at(place, turn, self.af, current)?,
            interface: entry.interface,
        })
    }

    /// A place among so many for a packet from `src`.
    fn place(&self, kernel: &Kernel, src: &Addr, len: u128) -> u128 {
        match self.kind {
            abi::PoolKind::None | abi::PoolKind::RoundRobin if len == 1 => 0,
            abi::PoolKind::None | abi::PoolKind::RoundRobin => self.next.fetch_add(1, Ordering::Relaxed).into(),
            abi::PoolKind::Random => {
                let mut bytes = [0; 16];
                kernel.fill_random(&mut bytes);
                u128::from_le_bytes(bytes)
            }
            abi::PoolKind::SourceHash => {
                let [a, b, c, d] = src.words().map(u64::from);
                let half = |salt: u64| u128::from(self.key.hash([a << 32 | b, c << 32 | d], salt));
                half(0) << 64 | half(1)
            }
            // The bits of the source that the network leaves free.
            abi::PoolKind::Bitmask => src.to_bits() >> (128 - self.af.bits()),
        }
    }

    /// An address for a packet from `src`; nothing where the interfaces or tables that it is to come from have none.
    pub fn choose(&self, kernel: &Kernel, current: &Current<'_>, src: &Addr) -> Option<Choice> {
        let len = self.len(current);
        let place = self.place(kernel, src, len);
        let tries = if self.dynamic { TRIES } else { 1 };
        (0..tries).find_map(|step| self.at(place.wrapping_add(step), len, current))
    }

    /// The address for a packet from `src`, and those that come next where it will not do: as many as `most`.
    pub(super) fn candidates<'a>(
        &'a self,
        kernel: &Kernel,
        current: Current<'a>,
        src: &Addr,
        most: usize,
    ) -> impl Iterator<Item = Choice> + use<'a> {
        let len = self.len(&current);
        let place = self.place(kernel, src, len);
        let count = match self.has_others() {
            // A network of a table has more than its place says.
            true if self.dynamic => most as u128,
            true => len.min(most as u128),
            false => 1,
        };
        (0..count).filter_map(move |step| self.at(place.wrapping_add(step), len, &current))
    }

    /// Whether the pool has this to give, as it was given before.
    pub fn contains(&self, current: &Current<'_>, choice: &Choice) -> bool {
        self.entries.iter().any(|entry| {
            entry.interface == choice.interface
                && match &entry.target {
                    Target::Net { addr, mask, .. } => choice.addr.matches(addr, mask),
                    Target::Destination => choice.addr.is_zero(),
                    Target::Dynamic(dynamic) => dynamic.contains(current.interfaces, self.af, &choice.addr),
                    Target::Table(table) => table.addresses(current.section).is_some_and(|addresses| {
                        let found = addresses.find(self.af, &choice.addr);
                        found.is_some_and(|entry| !entry.is_negated())
                    }),
                }
        })
    }

    /// What was chosen where this address came of it, as far as that can be told.
    pub fn recall(&self, current: &Current<'_>, addr: Addr) -> Option<Choice> {
        let candidates = self.entries.iter().map(|entry| Choice {
            addr,
            interface: entry.interface,
        });
        candidates.into_iter().find(|choice| self.contains(current, choice))
    }

    /// The destination that a packet coming in to `port` gets at the address that was chosen, where the rule names a port. A range
    /// of ports is mapped onto one of the same width, by the distance from `first`, the lowest port that the rule matches.
    pub fn destination_port(&self, port: u16, first: u16) -> u16 {
        match self.ports {
            (0, _) => port,
            (low, 0) => low,
            (low, high) => {
                let span = u32::from(high.saturating_sub(low)) + 1;
                low + (u32::from(port.wrapping_sub(first)) % span) as u16
            }
        }
    }

    /// The network of the one entry: its first address and its mask.
    pub(super) fn network(&self, interfaces: &Interfaces) -> Option<(Addr, Addr)> {
        match &self.entries.first()?.target {
            Target::Net { addr, mask, .. } => Some((*addr, *mask)),
            Target::Destination | Target::Table(_) => None,
            Target::Dynamic(dynamic) => dynamic.nets(interfaces, self.af).next(),
        }
    }

    /// The mask of the one entry, where it is always the same.
    pub(super) fn fixed_mask(&self) -> Option<&Addr> {
        match &self.entries.first()?.target {
            Target::Net { mask, .. } => Some(mask),
            Target::Destination | Target::Dynamic(_) | Target::Table(_) => None,
        }
    }
}

/// A table as a part of a pool.
///
/// # Errors
/// EINVAL for a way other than `round-robin` and `random`, which ask for one place after the other; for `binat`; without a family.
fn of_table(table: TableRef, kind: abi::PoolKind, af: Option<Af>, purpose: Purpose) -> Result<Target, Errno> {
    let in_turn = matches!(kind, abi::PoolKind::RoundRobin | abi::PoolKind::Random);
    match af {
        Some(_) if in_turn && purpose != Purpose::Binat => Ok(Target::Table(table)),
        _ => Err(Errno::Einval),
    }
}

/// What an address of a pool stands for.
fn target(from: &abi::AddrWrap, af: Option<Af>, purpose: Purpose) -> Result<Target, Errno> {
    match abi::AddrKind::try_from(from.kind) {
        Ok(abi::AddrKind::AddrMask) => (),
        Ok(abi::AddrKind::DynIfTl) => {
            af.ok_or(Errno::Einval)?;
            let interface = u16::try_from(from.p).map_err(|_| Errno::Einval)?;
            let mask = Addr::from(from.a.mask);
            let dynamic = DynamicAddr::new(interface, from.iflags, mask)?;
            // A gateway may have a link-local address; what is translated goes further than that.
            return Ok(Target::Dynamic(match purpose {
                Purpose::Translation | Purpose::Binat => dynamic.without_link_local(),
                Purpose::Route => dynamic,
            }));
        }
        Ok(_) => return Err(Errno::Eopnotsupp),
        Err(_) => return Err(Errno::Einval),
    }
    let mask = Addr::from(from.a.mask);
    if purpose == Purpose::Route && mask.is_zero() && Addr::from(from.a.addr).is_zero() {
        return Ok(Target::Destination);
    }
    // A rule that gives out addresses is about one family, which they are of.
    let af = af.ok_or(Errno::Einval)?;
    let mask = mask.of_family(af);
    if matches!(mask.prefix_len(), None | Some(0)) {
        return Err(Errno::Einval);
    }
    Ok(Target::Net {
        addr: Addr::from(from.a.addr).of_family(af).masked(&mask),
        len: size(&mask, af),
        mask,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kpi::{Passive, SoftNet};
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::vec;
    use std::vec::Vec;

    fn net(addr: [u8; 4], len: u8) -> abi::PoolAddr {
        let mask = Addr::prefix_mask(Af::Inet, len).unwrap();
        abi::PoolAddr {
            addr: abi::AddrWrap::masked(Addr::from_v4(addr).into(), mask.into()),
            ..abi::PoolAddr::default()
        }
    }

    fn all(addresses: &[abi::PoolAddr]) -> KVec<abi::PoolAddr> {
        let mut all = KVec::new();
        addresses.iter().for_each(|address| all.push(*address).unwrap());
        all
    }

    fn pool(kind: abi::PoolKind, addresses: &[abi::PoolAddr]) -> Result<Pool, Errno> {
        let source = abi::Pool {
            opts: kind.into(),
            key: [1, 2, 3, 4],
            ..abi::Pool::default()
        };
        Pool::new(&source, all(addresses), &[], Some(Af::Inet), Purpose::Translation)
    }

    /// Without interfaces.
    fn with_current<R>(act: impl FnOnce(&Current<'_>) -> R) -> R {
        let (passive, interfaces, level) = (Passive::new().unwrap(), Interfaces::new().unwrap(), SoftNet::raise());
        let section = passive.read(&level);
        act(&Current {
            interfaces: &interfaces,
            section: &section,
        })
    }

    fn choose(pool: &Pool, kernel: &Kernel, src: &Addr) -> Choice {
        with_current(|current| pool.choose(kernel, current, src)).unwrap()
    }

    fn v4(choice: Choice) -> [u8; 4] {
        choice.addr.octets_v4()
    }

    #[test]
    fn a_place_is_counted_round() {
        let past = u128::from(u64::MAX);
        for (place, len, expected) in [
            (7, 0, None),
            (7, 1, Some(0)),
            (7, 4, Some(3)),
            (7, 3, Some(1)),
            (past + 8, past + 1, Some(7)),
        ] {
            assert_eq!(round(place, len), expected, "{place} of {len}");
        }
        // Not a power of two, and more than a word holds: still one of them.
        for place in [0, 1, 3 << 65, 3 << 66, u128::MAX] {
            assert!(round(place, 3 << 65).is_some_and(|place| place < 3 << 65));
            assert!(round(place, u128::MAX).is_some());
        }
        assert_eq!(round(5, 3 << 65), Some(5));
    }

    #[test]
    fn addresses_take_turns_through_all_entries() {
        let kernel = Kernel::seeded(1);
        let pool = pool(
            abi::PoolKind::RoundRobin,
            &[net([192, 0, 2, 1], 32), net([192, 0, 2, 8], 31), net([10, 0, 0, 1], 32)],
        );
        let pool = pool.unwrap();
        let given: Vec<_> = (0..8).map(|_| v4(choose(&pool, &kernel, &Addr::ZERO))[3]).collect();
        assert_eq!(given, [1, 8, 9, 1, 1, 8, 9, 1]);
    }

    #[test]
    fn a_bitmask_keeps_the_host_bits() {
        let kernel = Kernel::seeded(1);
        let pool = pool(abi::PoolKind::Bitmask, &[net([192, 0, 2, 0], 24)]).unwrap();
        assert_eq!(
            v4(choose(&pool, &kernel, &Addr::from_v4([10, 1, 2, 77]))),
            [192, 0, 2, 77]
        );
    }

    #[test]
    fn a_source_hash_is_stable_and_spreads() {
        let kernel = Kernel::seeded(1);
        let pool = pool(abi::PoolKind::SourceHash, &[net([192, 0, 2, 0], 30)]).unwrap();
        let mut seen = BTreeMap::new();
        for host in 0..=255 {
            let from = Addr::from_v4([10, 0, 0, host]);
            let given = v4(choose(&pool, &kernel, &from));
            assert_eq!(given, v4(choose(&pool, &kernel, &from)));
            *seen.entry(given).or_insert(0) += 1;
        }
        assert!(seen.len() == 4 && seen.values().all(|count| *count > 32), "{seen:?}");
    }

    #[test]
    fn what_makes_no_sense_is_no_pool() {
        use abi::PoolKind::*;
        assert_eq!(pool(RoundRobin, &[]).unwrap_err(), Errno::Einval);
        let two = [net([192, 0, 2, 1], 32), net([192, 0, 2, 2], 32)];
        assert_eq!(pool(Bitmask, &two).unwrap_err(), Errno::Einval);
        assert_eq!(pool(RoundRobin, &[net([0; 4], 0)]).unwrap_err(), Errno::Einval);
        let mut holes = net([192, 0, 2, 1], 32);
        holes.addr.a.mask = Addr::from_v4([255, 0, 255, 0]).into();
        assert_eq!(pool(None, &[holes]).unwrap_err(), Errno::Einval);
        for opts in [5, 0x40] {
            let source = abi::Pool {
                opts,
                ..abi::Pool::default()
            };
            let made = Pool::new(&source, all(&two), &[], Some(Af::Inet), Purpose::Translation);
            assert_eq!(made.unwrap_err(), Errno::Einval);
        }
    }

    proptest! {
        #[test]
        fn a_pool_gives_only_its_addresses(
            kind in prop::sample::select(vec![
                abi::PoolKind::None, abi::PoolKind::Random, abi::PoolKind::SourceHash, abi::PoolKind::RoundRobin,
            ]),
            nets in prop::collection::vec((any::<[u8; 4]>(), 1u8..=32), 1..5),
            src: [u8; 4],
        ) {
            let kernel = Kernel::seeded(7);
            let nets: Vec<_> = nets.into_iter().map(|(addr, len)| net(addr, len)).collect();
            let pool = pool(kind, &nets).unwrap();
            for _ in 0..20 {
                let choice = choose(&pool, &kernel, &Addr::from_v4(src));
                let within = nets.iter().any(|net| {
                    choice.addr.matches(&net.addr.a.addr.into(), &net.addr.a.mask.into())
                });
                prop_assert!(within && with_current(|current| pool.contains(current, &choice)), "{choice:?}");
            }
        }

        #[test]
        fn a_bitmask_gives_the_network_and_the_host(addr: [u8; 4], len in 1u8..=32, src: [u8; 4]) {
            let pool = pool(abi::PoolKind::Bitmask, &[net(addr, len)]).unwrap();
            let given = choose(&pool, &Kernel::seeded(1), &Addr::from_v4(src)).addr.to_bits() >> 96;
            let (addr, src) = (u32::from_be_bytes(addr), u32::from_be_bytes(src));
            let mask = u32::MAX << (32 - len);
            prop_assert_eq!(given, u128::from(addr & mask | src & !mask));
        }
    }
}
