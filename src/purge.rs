//! The purge thread's tick: expired states go, a part of the table at a time, so that the whole is seen once an interval; or, of a
//! table in which that would be more than [`MOST`] a second, as soon as that allows.
//!
//! # Locking
//! The tick has a mutex of its own for its place in the table. It takes partitions and states one at a time, and waits for
//! readers at its end, with no spin lock held, before it frees what it removed. It never waits for the control mutex, as an ioctl may
//! have that while it waits for its caller's memory: what needs the mutex is done with a later tick then.

mod source;

pub(crate) use source::lifetime as source_lifetime;

use pf_abi::Timeout;

use crate::Pf;
use crate::ctl::{self, hold};
use crate::filter::proxy;
use crate::kpi::SoftNet;
use crate::source::Position;
use crate::state::State;

/// How far the purge has come through the table.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    /// The place where it goes on.
    next: u64,
    /// The same among the source nodes.
    source: Position,
}

/// States of a batch that are looked at before a packet may come between.
const BATCH: usize = 64;
/// States and empty partitions that a tick looks at, a batch more at most: some tens of milliseconds.
const MOST: usize = 1 << 18;

pub(crate) fn tick(pf: &Pf) {
    hold::tick(pf);
    pf.catch_up();
    let mut sweep = pf.sweep.lock();
    if !pf.is_locked() {
        // States are spread evenly over all places, so an interval's share of the places has a share of the states, however many
        // go meanwhile.
        let share = (u64::MAX / u64::from(pf.timeouts.get(Timeout::Interval).max(1))).saturating_add(1);
        let end = sweep.next.checked_add(share);
        let is_due = |place: &u64| end.is_none_or(|end| *place < end);
        let mut place = Some(sweep.next);
        let (mut removed, mut looked_at) = (0, 0);
        while looked_at < MOST && place.as_ref().is_some_and(is_due) {
            // The level is lowered between batches, so that packets wait for none for long.
            let level = SoftNet::raise();
            let section = pf.read(&level);
            let mut batch = BATCH;
            while batch > 0
                && let Some(from) = place.filter(is_due)
            {
                let (seen, next) = pf.states.sweep(from, &level, &section, |state| {
                    let expired = expire(pf, state, &level);
                    removed += u64::from(expired);
                    expired
                });
                // An empty partition costs about as much as a state.
                batch = batch.saturating_sub(seen + 1);
                looked_at += seen + 1;
                place = next;
            }
        }
        sweep.next = place.unwrap_or(0);
        pf.stats.count_removals(removed);
        source::expire(pf, &mut sweep.source);
    }
    drop(sweep);
    // With no mutex held, as it sends: an interface may wait for who waits for the mutex.
    proxy::tick(pf);
    pf.identities.lock().forget(pf.kernel.uptime());
    source::flush(pf);
    pf.norm
        .purge(pf.kernel.uptime(), pf.timeouts.get(Timeout::Frag), &pf.stats);
    pf.states.reap(&pf.passive);
    // The states that were freed may have been the last to hold a rule, and the rule its tables.
    ctl::sweep_tables(pf);
}

/// Marks a state as unlinked if its time is over.
fn expire(pf: &Pf, state: &State, level: &SoftNet) -> bool {
    let mut body = state.lock(level);
    let rule = state.rule().map(|rule| &**rule);
    let lifetime = pf.timeouts.lifetime(body.timeout, rule, pf.states.len());
    if body.unlinked || body.idle(pf.kernel.uptime()) < lifetime {
        return false;
    }
    body.unlinked = true;
    true
}
