//! All tables: which there are, and the changes that are made to several of them at once.
//!
//! # Locking
//! Under the control mutex, all of it.

use core::sync::atomic::{AtomicU32, Ordering};

use pf_abi::{PFR_TFLAG_INACTIVE, PFR_TFLAG_PERSIST, PFR_TFLAG_USRMASK, TableName};

use super::{Addresses, Contents, Signal, Table, TableRef};
use crate::kpi::{Errno, NoMemory, Passive, SoftNet};
use crate::mem::{KArc, KBox, KVec, Once, Retired, Snapshot};

/// What a transaction has for a table.
struct Definition {
    table: KArc<Table>,
    /// `PFR_TFLAG_*` of those that userland may set.
    flags: u32,
    /// Its addresses; those that it has, where none are given.
    addresses: Option<Addresses>,
}

/// What a commit puts in place of a table's contents.
pub struct Change {
    /// The table.
    pub table: KArc<Table>,
    /// What is to be in it.
    pub new: KBox<Contents>,
    /// `PFR_TFLAG_*` of those that userland may set, where they change.
    pub flags: Option<u32>,
    /// All that the table has counted is of another time.
    pub clear: bool,
}

/// All tables.
pub struct Tables {
    /// By anchor and name.
    list: KVec<KArc<Table>>,
    /// Entries of all of them.
    entries: usize,
    /// What transactions have, the newest definition of a table only.
    staged: KVec<Definition>,
    /// The number of the last call that asked for one.
    call: u32,
    dropped: KArc<Signal>,
}

impl Tables {
    /// Without a table.
    pub fn new() -> Result<Self, NoMemory> {
        Ok(Tables {
            list: KVec::new(),
            entries: 0,
            staged: KVec::new(),
            call: 0,
            dropped: KArc::new(Signal::default())?,
        })
    }

    /// All tables, by anchor and name.
    pub fn iter(&self) -> impl Iterator<Item = &KArc<Table>> {
        self.list.iter()
    }

    /// A number for a call, by which tables remember that it has come across them.
    pub fn next_call(&mut self) -> u32 {
        self.call = self.call.wrapping_add(1).max(1);
        self.call
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many entries they have together.
    pub fn entries(&self) -> usize {
        self.entries
    }

    fn position(&self, anchor: &[u8], name: &TableName) -> Result<usize, usize> {
        self.list.binary_search_by(|table| table.order(anchor, name))
    }

    /// The table of a name, whether or not it is active.
    pub fn find(&self, anchor: &[u8], name: &TableName) -> Option<&KArc<Table>> {
        self.list.get(self.position(anchor, name).ok()?)
    }

    /// Tables that have to be made for this one to be there: it and, for one in an anchor, the one of the main ruleset.
    pub fn missing(&self, anchor: &[u8], name: &TableName) -> usize {
        if self.find(anchor, name).is_some() {
            return 0;
        }
        1 + usize::from(!anchor.is_empty() && self.find(b"", name).is_none())
    }

    /// The table of a name, made if there is none: not active, and held by nothing.
    ///
    /// # Errors
    /// ENOMEM, also where there are `limit` tables already.
    pub fn bring(&mut self, anchor: &[u8], name: &TableName, limit: usize, now: u32) -> Result<KArc<Table>, Errno> {
        if let Some(table) = self.find(anchor, name) {
            return Ok(table.clone());
        }
        if self.list.len().saturating_add(self.missing(anchor, name)) > limit {
            return Err(Errno::Enomem);
        }
        let main = match anchor {
            [] => None,
            _ => Some(self.bring_one(b"", name, None, now)?),
        };
        Ok(self.bring_one(anchor, name, main, now)?)
    }

    fn bring_one(
        &mut self,
        anchor: &[u8],
        name: &TableName,
        main: Option<KArc<Table>>,
        now: u32,
    ) -> Result<KArc<Table>, NoMemory> {
        let at = match self.position(anchor, name) {
            Ok(at) => return self.list.get(at).cloned().ok_or(NoMemory),
            Err(at) => at,
        };
        let mut path = KVec::with_capacity(anchor.len())?;
        for byte in anchor {
            path.push(*byte)?;
        }
        let contents = Snapshot::new(KBox::new(Contents::default())?);
        if let Some(main) = &main {
            main.anchors.fetch_add(1, Ordering::AcqRel);
        }
        let table = Table {
            contents,
            main,
            counters: Once::new(),
            anchor: path,
            name: *name,
            flags: AtomicU32::new(0),
            rules: AtomicU32::new(0),
            anchors: AtomicU32::new(0),
            since: AtomicU32::new(now),
            seen: AtomicU32::new(0),
            dropped: Signal::default(),
            any_dropped: self.dropped.clone(),
        };
        let table = KArc::new(table)?;
        // If nobody comes to hold it, it goes with the next sweep.
        table.let_go();
        self.list.push(table.clone())?;
        if let Some(behind) = self.list.get_mut(at..) {
            behind.rotate_right(1);
        }
        Ok(table)
    }

    /// A rule speaks of a table, which comes up if there is none.
    ///
    /// # Errors
    /// ENOMEM, also where there are `limit` tables already.
    pub fn refer(&mut self, anchor: &[u8], name: &TableName, limit: usize, now: u32) -> Result<TableRef, Errno> {
        let table = self.bring(anchor, name, limit, now)?;
        Ok(TableRef::new(&table)?)
    }

    /// Makes changes, all at once: nothing can fail any more. What was there is freed with `retired`, which has room for it.
    pub fn apply(
        &mut self,
        changes: KVec<Change>,
        now: u32,
        passive: &Passive,
        retired: &mut Retired<'_, Contents>,
    ) -> Result<(), NoMemory> {
        for change in changes {
            let Change {
                table,
                new,
                flags,
                clear,
            } = change;
            let after = new.addresses.len();
            let before = {
                let level = SoftNet::raise();
                let section = passive.read(&level);
                table.contents.read(&section).addresses.len()
            };
            let is_active = new.active;
            table.replace(new, retired)?;
            self.entries = self.entries.saturating_sub(before).saturating_add(after);
            if clear {
                table.clear_counters(now);
            }
            match flags {
                // What is not active has no flags of its own.
                _ if !is_active => table.change_flags(0, PFR_TFLAG_USRMASK),
                Some(flags) => table.change_flags(flags & PFR_TFLAG_USRMASK, !flags & PFR_TFLAG_USRMASK),
                None => (),
            }
        }
        Ok(())
    }

    /// Keeps a definition until its transaction ends, in place of one that it had.
    ///
    /// # Errors
    /// ENOMEM
    pub fn stage(&mut self, table: KArc<Table>, flags: u32, addresses: Option<Addresses>) -> Result<(), NoMemory> {
        let definition = Definition {
            table,
            flags,
            addresses,
        };
        let before = self
            .staged
            .iter_mut()
            .find(|before| before.table.ptr_eq(&definition.table));
        match before {
            Some(before) => *before = definition,
            None => {
                let table = definition.table.clone();
                self.staged.push(definition)?;
                table.change_flags(PFR_TFLAG_INACTIVE, 0);
            }
        }
        Ok(())
    }

    /// Entries that transactions have, but for those of one table.
    pub fn staged_entries(&self, but: &KArc<Table>) -> usize {
        let others = self.staged.iter().filter(|staged| !staged.table.ptr_eq(but));
        others
            .filter_map(|staged| staged.addresses.as_ref())
            .fold(0, |sum, addresses| sum.saturating_add(addresses.len()))
    }

    /// Forgets what is staged for an anchor.
    pub fn unstage(&mut self, anchor: &[u8]) {
        for definition in self.staged.iter().filter(|it| it.table.anchor() == anchor) {
            definition.table.change_flags(0, PFR_TFLAG_INACTIVE);
        }
        self.staged.retain(|it| it.table.anchor() != anchor);
    }

    /// The changes that a commit of these anchors makes. What an entry has counted goes on where the entry stays.
    ///
    /// # Errors
    /// No memory, or more than `limit` entries.
    pub fn staged_changes<'a>(
        &self,
        anchors: impl Iterator<Item = &'a [u8]> + Clone,
        limit: usize,
        passive: &Passive,
    ) -> Result<KVec<Change>, NoMemory> {
        let mut changes = KVec::new();
        let mut entries = self.entries;
        for definition in self.staged.iter() {
            if !anchors.clone().any(|anchor| definition.table.anchor() == anchor) {
                continue;
            }
            let old = definition.table.addresses(passive);
            let addresses = match (&definition.addresses, &old) {
                (Some(new), Some(old)) => merged(new, old)?,
                (Some(new), None) => new.clone(),
                (None, Some(old)) => old.clone(),
                (None, None) => Addresses::default(),
            };
            let before = old.as_ref().map_or(0, Addresses::len);
            entries = entries.saturating_sub(before).saturating_add(addresses.len());
            changes.push(Change {
                table: definition.table.clone(),
                new: KBox::new(Contents {
                    active: true,
                    addresses,
                })?,
                flags: Some(definition.flags),
                clear: old.is_none(),
            })?;
        }
        // A lower limit does not stand in the way of what makes it no worse.
        if entries > limit && entries > self.entries {
            return Err(NoMemory);
        }
        Ok(changes)
    }

    /// Lets those tables go that nothing holds any more, if something was let go of since the last time. What there is no memory
    /// for now is done the next time. The answer is whether any went.
    pub fn sweep(&mut self, passive: &Passive) -> bool {
        if !self.dropped.take() {
            return false;
        }
        let before = self.list.len();
        // Tables of anchors come last, and let go of those of the main ruleset, which come first.
        for at in (0..self.list.len()).rev() {
            let Some(table) = self.list.get(at).filter(|table| table.dropped.take()).cloned() else {
                continue;
            };
            let is_held = table.rule_count() != 0 || table.flags.load(Ordering::Relaxed) & PFR_TFLAG_PERSIST != 0;
            if is_held {
                continue;
            }
            let entries = {
                let level = SoftNet::raise();
                let section = passive.read(&level);
                let contents = table.contents.read(&section);
                contents.active.then(|| contents.addresses.len())
            };
            if table.anchor_count() == 0 && table.flags.load(Ordering::Relaxed) & PFR_TFLAG_INACTIVE == 0 {
                self.entries = self.entries.saturating_sub(entries.unwrap_or(0));
                if let Some(behind) = self.list.get_mut(at..) {
                    behind.rotate_left(1);
                }
                self.list.pop();
            } else if entries.is_some() && self.deactivate(&table, passive).is_err() {
                table.let_go();
            }
        }
        self.list.len() != before
    }

    /// A table that stays for others to stand before it, and is no longer defined.
    fn deactivate(&mut self, table: &KArc<Table>, passive: &Passive) -> Result<(), NoMemory> {
        let mut changes = KVec::with_capacity(1)?;
        let mut retired = Retired::with_room(1, passive)?;
        changes.push(Change {
            table: table.clone(),
            new: KBox::new(Contents::default())?,
            flags: None,
            clear: false,
        })?;
        self.apply(changes, 0, passive, &mut retired)
    }
}

/// The new addresses, with the entries of old ones that are the same.
fn merged(new: &Addresses, old: &Addresses) -> Result<Addresses, NoMemory> {
    let mut merged = new.clone();
    for (af, entry) in new.iter() {
        let prefix = entry.prefix();
        if old
            .get(af, &prefix)
            .is_some_and(|of_old| of_old.is_negated() == entry.is_negated())
        {
            merged.share(old, af, &prefix)?;
        }
    }
    Ok(merged)
}
