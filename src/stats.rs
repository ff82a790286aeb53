//! What is counted over the whole of pf: `struct pf_status`.
//!
//! # Locking
//! None: what is counted is atomic, and read one by one.

use pf_abi::{
    FCNT_MAX, FCNT_STATE_INSERT, FCNT_STATE_REMOVALS, FCNT_STATE_SEARCH, LCNT_MAX, PFRES_MAX, Reason, SCNT_MAX,
    SCNT_SRC_NODE_INSERT, SCNT_SRC_NODE_REMOVALS, SCNT_SRC_NODE_SEARCH,
};

use crate::kpi::{NoMemory, Stripe};
use crate::mem::Tally;

/// Where the `LCNT_*` begin, behind the reasons.
const LIMITS: usize = PFRES_MAX;
/// Where the `FCNT_*` begin.
const TABLE: usize = LIMITS + LCNT_MAX;
/// Where the `SCNT_*` begin.
const SOURCES: usize = TABLE + FCNT_MAX;

/// The counters of pfctl(8)'s `-s info`.
#[derive(Debug)]
pub struct Stats(Tally<{ SOURCES + SCNT_MAX }>);

impl Stats {
    /// All zero.
    pub fn new() -> Result<Self, NoMemory> {
        Ok(Stats(Tally::new()?))
    }

    /// Counts why a packet was dropped, or that a rule matched.
    #[inline]
    pub fn count(&self, reason: Reason) {
        self.0.add(reason as usize, 1);
    }

    /// Counts that a limit was reached: `LCNT_*`.
    pub fn count_limit(&self, limit: usize) {
        if limit < LCNT_MAX {
            self.0.add(LIMITS + limit, 1);
        }
    }

    /// Counts a lookup of a state, in the stripe of the CPU that this runs on.
    #[inline]
    pub fn count_search(&self, stripe: Stripe) {
        self.0.add_in(stripe, [(TABLE + FCNT_STATE_SEARCH, 1)]);
    }

    /// Counts a new state.
    pub fn count_insert(&self) {
        self.0.add(TABLE + FCNT_STATE_INSERT, 1);
    }

    /// Counts states that were removed.
    pub fn count_removals(&self, states: u64) {
        self.0.add(TABLE + FCNT_STATE_REMOVALS, states);
    }

    /// Counts a lookup of a source node.
    pub fn count_source_search(&self) {
        self.0.add(SOURCES + SCNT_SRC_NODE_SEARCH, 1);
    }

    /// Counts a new source node.
    pub fn count_source_insert(&self) {
        self.0.add(SOURCES + SCNT_SRC_NODE_INSERT, 1);
    }

    /// Counts source nodes that were removed.
    pub fn count_source_removals(&self, nodes: u64) {
        self.0.add(SOURCES + SCNT_SRC_NODE_REMOVALS, nodes);
    }

    /// How many packets were dropped for `reason`.
    pub fn reason(&self, reason: Reason) -> u64 {
        self.0.get(reason as usize)
    }

    /// Fills in the counters.
    pub fn export(&self, status: &mut pf_abi::Status) {
        let copy = |to: &mut [u64], from: usize| {
            to.iter_mut().zip(from..).for_each(|(to, at)| *to = self.0.get(at));
        };
        copy(&mut status.counters, 0);
        copy(&mut status.lcounters, LIMITS);
        copy(&mut status.fcounters, TABLE);
        copy(&mut status.scounters, SOURCES);
    }

    /// Sets all to zero: DIOCCLRSTATUS.
    pub fn clear(&self) {
        self.0.clear();
    }
}
