//! Hosts that packets put into tables: `overload <name>`.
//!
//! # Life cycle
//! A packet cannot wait for the control mutex, which a change of a table needs. So it leaves the host here and wakes the purge thread,
//! which puts all that has come together into their tables at once. There is room for a thousand; who finds none tries again with the
//! next packet.
//!
//! # Locking
//! A spin lock over what waits, held for a few instructions, within which no other is taken.

use core::mem::swap;
use core::sync::atomic::{AtomicBool, Ordering};

use super::{Change, Contents, Entry, Prefix, TableRef, Tables};
use crate::Pf;
use crate::kpi::{Kernel, NoMemory, SoftNet, SpinLock};
use crate::mem::{KBox, KVec, Retired};
use crate::wire::{Addr, Af};

/// Hosts that may wait.
const ROOM: usize = 1024;

/// A host that is to be of a table.
struct Overload {
    table: TableRef,
    af: Af,
    addr: Addr,
}

/// The hosts that wait.
pub struct Overloads {
    queue: SpinLock<KVec<Overload>>,
    /// There are some.
    waiting: AtomicBool,
}

impl Overloads {
    /// None.
    pub fn new() -> Result<Self, NoMemory> {
        Ok(Overloads {
            queue: SpinLock::new(KVec::with_capacity(ROOM)?),
            waiting: AtomicBool::new(false),
        })
    }

    /// Leaves a host to be put into a table, from the packet path, and sees to it that this happens soon. False if too many are
    /// waiting.
    pub fn push(&self, table: &TableRef, af: Af, addr: Addr, kernel: &Kernel, level: &SoftNet) -> bool {
        let host = Overload {
            table: table.clone(),
            af,
            addr,
        };
        let mut queue = self.queue.lock(level);
        let fits = queue.len() < ROOM && queue.push(host).is_ok();
        drop(queue);
        if !self.waiting.swap(true, Ordering::AcqRel) {
            kernel.wake();
        }
        fits
    }

    /// All that wait. Where there is no memory, they go on waiting.
    fn take(&self) -> KVec<Overload> {
        let mut taken = KVec::new();
        if self.waiting.swap(false, Ordering::Acquire) {
            match KVec::with_capacity(ROOM) {
                Ok(room) => taken = room,
                Err(NoMemory) => {
                    self.waiting.store(true, Ordering::Release);
                    return taken;
                }
            }
            let level = SoftNet::raise();
            swap(&mut *self.queue.lock(&level), &mut taken);
        }
        taken
    }
}

/// Puts those that wait into their tables; with the next tick, if somebody is at work on tables. May sleep; called with no lock held.
pub(crate) fn settle(pf: &Pf) {
    if !pf.overloads.waiting.load(Ordering::Relaxed) {
        return;
    }
    let Some(mut control) = pf.control.try_lock() else {
        return;
    };
    let limit = control.limit(pf_abi::Limit::TableEntries);
    let mut hosts = pf.overloads.take();
    while let Some(table) = hosts.last().map(|host| host.table.clone()) {
        // Those of one table go in together; the others come to the front.
        let mut others = 0;
        for at in 0..hosts.len() {
            if hosts.get(at).is_some_and(|host| host.table != table) {
                hosts.swap(at, others);
                others += 1;
            }
        }
        // A host that there is no memory for is one that the next packet brings again.
        let _ = add(
            pf,
            &mut control.tables,
            limit,
            &table,
            hosts.get(others..).unwrap_or_default(),
        );
        while hosts.len() > others {
            hosts.pop();
        }
    }
}

/// Puts hosts into a table that has been defined; those that it has already stay as they are.
fn add(pf: &Pf, tables: &mut Tables, limit: usize, table: &TableRef, hosts: &[Overload]) -> Result<(), NoMemory> {
    let table = table.table();
    let Some(mut addresses) = table.addresses(&pf.passive) else {
        return Ok(());
    };
    let now = pf.kernel.wall_clock();
    let (before, mut entries) = (addresses.len(), tables.entries());
    for host in hosts {
        let prefix = Prefix::host(&host.addr, host.af);
        if entries < limit && addresses.get(host.af, &prefix).is_none() {
            addresses.insert(host.af, Entry::new(prefix, false, now))?;
            entries += 1;
        }
    }
    if addresses.len() == before {
        return Ok(());
    }
    let mut changes = KVec::with_capacity(1)?;
    let mut retired = Retired::with_room(1, &pf.passive)?;
    changes.push(Change {
        table: table.clone(),
        new: KBox::new(Contents {
            active: true,
            addresses,
        })?,
        flags: None,
        clear: false,
    })?;
    tables.apply(changes, now, &pf.passive, &mut retired)
}
