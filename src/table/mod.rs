//! Address tables: sets of networks by name, which rules ask about, and which change without a ruleset being loaded.
//!
//! # Overview
//! [`addresses`] are what a table has, kept in a [`tree`] of [`entry`]s. A [`Table`] is a name and its addresses of the moment;
//! [`Tables`] are all of them. A rule has a [`TableRef`] to its table, whether or not the table has been defined, and asks
//! the table itself, so nothing is looked up by name when a packet comes. A table of an anchor that is not active stands back
//! for the one of the same name in the main ruleset.
//!
//! # Life cycle
//! A table comes up when it is defined or a rule speaks of it, and goes when it is neither persistent nor spoken of. A change of its
//! addresses is made to a copy, which shares nearly all with what is there, and put in place at once; the old version is freed
//! when no packet can see it any more.
//!
//! # Locking
//! Which tables there are, and what is in them, changes under the control mutex. Packets read addresses in passive sections, and take
//! no lock; what they count is atomic. What packets add themselves waits in [`overload`] for a thread that may take the mutex.

#![forbid(unsafe_code)]

mod addresses;
mod entry;
mod overload;
mod registry;
#[cfg(test)]
mod tests;
mod tree;

use core::cmp::Ordering as Order;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use pf_abi::{
    PFR_OP_TABLE_MAX, PFR_TFLAG_ACTIVE, PFR_TFLAG_CONST, PFR_TFLAG_INACTIVE, PFR_TFLAG_PERSIST, PFR_TFLAG_REFDANCHOR,
    PFR_TFLAG_REFERENCED, PFR_TFLAG_USRMASK, TableName,
};

pub use addresses::Addresses;
pub use entry::{Entry, Fate, Prefix};
pub use overload::Overloads;
pub(crate) use overload::settle;
pub use registry::{Change, Tables};

use crate::kpi::{Direction, NoMemory, Passive, ReadSection, SoftNet};
use crate::mem::{KArc, KBox, KVec, Once, Retired, Snapshot, Tally};
use crate::wire::{Addr, Af};

/// What packets see of a table.
#[derive(Debug, Default)]
pub struct Contents {
    /// Somebody has defined it: PFR_TFLAG_ACTIVE.
    pub active: bool,
    /// Its addresses; none while it is not active.
    pub addresses: Addresses,
}

/// Where lookups that found something are counted, and those that found nothing.
const MATCHED: usize = 2 * 2 * PFR_OP_TABLE_MAX;
const UNMATCHED: usize = MATCHED + 1;
/// What a table counts.
type Counters = Tally<{ UNMATCHED + 1 }>;

/// Where packets of a direction and a fate are counted, and their bytes.
fn counters_of(direction: Direction, fate: Fate) -> [usize; 2] {
    let packets = entry::counter(direction, fate, PFR_OP_TABLE_MAX);
    [packets, packets + 1]
}

/// That something is to be done, told without a lock.
#[derive(Debug, Default)]
struct Signal(AtomicBool);

impl Signal {
    fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it was set; it is not any more.
    fn take(&self) -> bool {
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::Acquire)
    }
}

/// A table.
pub struct Table {
    contents: Snapshot<Contents>,
    /// Of a table in an anchor: the one of the same name in the main ruleset.
    main: Option<KArc<Table>>,
    /// There since a rule first spoke of it: only then can anything be counted.
    counters: Once<Counters>,
    /// The path of its anchor; empty for the main ruleset.
    anchor: KVec<u8>,
    name: TableName,
    /// PFR_TFLAG_PERSIST, PFR_TFLAG_CONST and PFR_TFLAG_INACTIVE. The others are seen from what there is.
    flags: AtomicU32,
    /// Rules that speak of it, whether or not they are in use yet.
    rules: AtomicU32,
    /// Tables in anchors that stand before it.
    anchors: AtomicU32,
    /// When its counters began, in seconds since 1970.
    since: AtomicU32,
    /// The number of the last call that came across it.
    seen: AtomicU32,
    /// Something that held it has let go.
    dropped: Signal,
    /// The same for any table of the lot.
    any_dropped: KArc<Signal>,
}

impl Table {
    /// Its place in the order of tables: by anchor and name.
    fn order(&self, anchor: &[u8], name: &TableName) -> Order {
        (&self.anchor[..], self.name.as_array()).cmp(&(anchor, name.as_array()))
    }

    /// The path of its anchor; empty for the main ruleset.
    pub fn anchor(&self) -> &[u8] {
        &self.anchor
    }

    /// Its name.
    pub fn name(&self) -> &TableName {
        &self.name
    }

    /// `PFR_TFLAG_*`, as they are now.
    pub fn flags(&self, section: &ReadSection<'_>) -> u32 {
        let when = |is: bool, flag: u32| if is { flag } else { 0 };
        self.flags.load(Ordering::Relaxed)
            | when(self.contents.read(section).active, PFR_TFLAG_ACTIVE)
            | when(self.rule_count() != 0, PFR_TFLAG_REFERENCED)
            | when(self.anchor_count() != 0, PFR_TFLAG_REFDANCHOR)
    }

    /// Whether nothing but the system itself may change its addresses: `const`.
    pub fn is_const(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & PFR_TFLAG_CONST != 0
    }

    /// How many rules speak of it.
    pub fn rule_count(&self) -> u32 {
        self.rules.load(Ordering::Acquire)
    }

    /// How many tables in anchors stand before it.
    pub fn anchor_count(&self) -> u32 {
        self.anchors.load(Ordering::Acquire)
    }

    /// What is in it.
    #[inline]
    pub fn contents<'a>(&'a self, section: &'a ReadSection<'_>) -> &'a Contents {
        self.contents.read(section)
    }

    /// Its addresses as they are now, to keep: nothing if it is not active.
    pub fn addresses(&self, passive: &Passive) -> Option<Addresses> {
        let level = SoftNet::raise();
        let section = passive.read(&level);
        let contents = self.contents.read(&section);
        contents.active.then(|| contents.addresses.clone())
    }

    /// Sets and clears flags of those that are kept. The caller holds the control mutex.
    fn change_flags(&self, set: u32, clear: u32) {
        const KEPT: u32 = PFR_TFLAG_USRMASK | PFR_TFLAG_INACTIVE;
        self.flags.fetch_and(!(clear & KEPT), Ordering::Relaxed);
        self.flags.fetch_or(set & KEPT, Ordering::Relaxed);
        if clear & (PFR_TFLAG_PERSIST | PFR_TFLAG_INACTIVE) != 0 {
            self.let_go();
        }
    }

    /// Sets and clears flags that userland may set. The caller holds the control mutex.
    pub(crate) fn set_flags(&self, set: u32, clear: u32) {
        self.change_flags(set & PFR_TFLAG_USRMASK, clear & PFR_TFLAG_USRMASK);
    }

    /// Stays until something else lets go of it, though nothing may hold it.
    pub(crate) fn keep(&self) {
        self.dropped.take();
    }

    /// Whether a call of this number has come across it before. The caller holds the control mutex.
    pub(crate) fn is_seen(&self, call: u32) -> bool {
        self.seen.swap(call, Ordering::Relaxed) == call
    }

    /// Something that held it is no longer there.
    fn let_go(&self) {
        self.dropped.set();
        self.any_dropped.set();
    }

    /// Puts other contents in place.
    fn replace(&self, new: KBox<Contents>, retired: &mut Retired<'_, Contents>) -> Result<(), NoMemory> {
        retired.replace(&self.contents, new)
    }

    /// Packets and bytes that rules were about because of it.
    pub fn counted(&self, direction: Direction, fate: Fate) -> (u64, u64) {
        self.read(counters_of(direction, fate), Counters::get)
    }

    /// Lookups that found an address in it, and those that did not.
    pub fn lookups(&self) -> (u64, u64) {
        self.read([MATCHED, UNMATCHED], Counters::get)
    }

    /// What [`counted`](Self::counted) says, which begins anew: what is counted meanwhile is in one reading or in the next.
    pub fn take(&self, direction: Direction, fate: Fate) -> (u64, u64) {
        self.read(counters_of(direction, fate), Counters::take)
    }

    /// What [`lookups`](Self::lookups) says, likewise.
    pub fn take_lookups(&self) -> (u64, u64) {
        self.read([MATCHED, UNMATCHED], Counters::take)
    }

    fn read(&self, at: [usize; 2], read: impl Fn(&Counters, usize) -> u64) -> (u64, u64) {
        let [one, other] = at.map(|at| self.counters.get().map_or(0, |counters| read(counters, at)));
        (one, other)
    }

    /// Undoes a [`take`](Self::take) that gave these packets and bytes.
    pub fn put_back(&self, direction: Direction, fate: Fate, taken: (u64, u64)) {
        self.add_again(counters_of(direction, fate), taken);
    }

    /// Undoes a [`take_lookups`](Self::take_lookups) that gave these.
    pub fn put_back_lookups(&self, taken: (u64, u64)) {
        self.add_again([MATCHED, UNMATCHED], taken);
    }

    fn add_again(&self, [one, other]: [usize; 2], taken: (u64, u64)) {
        if let Some(counters) = self.counters.get() {
            counters.put_back(one, taken.0);
            counters.put_back(other, taken.1);
        }
    }

    /// Says when its counters began, in seconds since 1970.
    pub fn set_since(&self, since: u32) {
        self.since.store(since, Ordering::Relaxed);
    }

    /// When its counters began, in seconds since 1970.
    pub fn since(&self) -> u32 {
        self.since.load(Ordering::Relaxed)
    }

    /// Begins to count anew, at `now`, in seconds since 1970; its entries go on.
    pub fn clear_counters(&self, now: u32) {
        self.set_since(now);
        if let Some(counters) = self.counters.get() {
            counters.clear();
        }
    }

    #[inline]
    fn add(&self, at: usize, n: u64) {
        if let Some(counters) = self.counters.get() {
            counters.add(at, n);
        }
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        if let Some(main) = &self.main {
            main.anchors.fetch_sub(1, Ordering::AcqRel);
            main.let_go();
        }
    }
}

impl core::fmt::Debug for Table {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "<{}>", self.name.as_str().unwrap_or("?"))
    }
}

/// A rule's hold on its table: the table stays as long as this does.
pub struct TableRef(KArc<Table>);

impl TableRef {
    /// One more rule speaks of a table.
    fn new(table: &KArc<Table>) -> Result<Self, NoMemory> {
        table.counters.get_or_make(Tally::new)?;
        table.rules.fetch_add(1, Ordering::AcqRel);
        Ok(TableRef(table.clone()))
    }

    /// The table itself.
    pub fn table(&self) -> &KArc<Table> {
        &self.0
    }

    /// The table that counts and its addresses: the one that is meant if it is active, or else the main ruleset's, if that is.
    #[inline]
    fn visible<'a>(&'a self, section: &'a ReadSection<'_>) -> Option<(&'a Table, &'a Addresses)> {
        let active = |table: &'a KArc<Table>| {
            let contents = table.contents.read(section);
            contents.active.then_some((&**table, &contents.addresses))
        };
        active(&self.0).or_else(|| active(self.0.main.as_ref()?))
    }

    /// The addresses that a packet sees.
    #[inline]
    pub fn addresses<'a>(&'a self, section: &'a ReadSection<'_>) -> Option<&'a Addresses> {
        self.visible(section).map(|(_, addresses)| addresses)
    }

    /// Whether an address is of the table. It is counted whether it was.
    #[inline]
    pub fn contains(&self, af: Af, addr: &Addr, section: &ReadSection<'_>) -> bool {
        let Some((table, addresses)) = self.visible(section) else {
            return false;
        };
        let is_in = addresses.find(af, addr).is_some_and(|entry| !entry.is_negated());
        table.add(if is_in { MATCHED } else { UNMATCHED }, 1);
        is_in
    }

    /// Counts a packet of `bytes` that a rule was about because this address is of the table, or, `negated`, is not.
    pub fn count(
        &self,
        (af, addr): (Af, &Addr),
        negated: bool,
        direction: Direction,
        passed: bool,
        bytes: u32,
        section: &ReadSection<'_>,
    ) {
        let Some((table, addresses)) = self.visible(section) else {
            return;
        };
        let entry = addresses.find(af, addr);
        let is_in = entry.is_some_and(|entry| !entry.is_negated());
        let fate = match passed {
            _ if is_in == negated => Fate::PassedAnyway,
            true => Fate::Passed,
            false => Fate::Blocked,
        };
        let at = entry::counter(direction, fate, PFR_OP_TABLE_MAX);
        table.add(at, 1);
        table.add(at + 1, bytes.into());
        if let Some(entry) = entry.filter(|_| fate != Fate::PassedAnyway) {
            entry.count(direction, fate, bytes);
        }
    }
}

impl Clone for TableRef {
    fn clone(&self) -> Self {
        self.0.rules.fetch_add(1, Ordering::AcqRel);
        TableRef(self.0.clone())
    }
}

impl Drop for TableRef {
    fn drop(&mut self) {
        if self.0.rules.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.let_go();
        }
    }
}

impl PartialEq for TableRef {
    /// Whether both are the same table.
    fn eq(&self, other: &Self) -> bool {
        self.0.ptr_eq(&other.0)
    }
}

impl Eq for TableRef {}

impl core::fmt::Debug for TableRef {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.fmt(f)
    }
}
