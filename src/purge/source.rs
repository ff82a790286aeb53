//! The purge of source nodes, and of the states of sources that are to be flushed.
//!
//! # Locking
//! One partition at a time. The level is lowered in between, so that packets wait for none for long.

use pf_abi::Timeout;

use crate::Pf;
use crate::kpi::SoftNet;
use crate::mem::{KArc, KVec};
use crate::source::{FLUSH_GLOBAL, Node, Position, Sources};
use crate::state::State;

/// Sources whose states are killed in one go.
const FLUSHES: usize = 256;

/// Seconds that a node is kept after its last state.
pub(crate) fn lifetime(pf: &Pf, node: &Node) -> u32 {
    pf.timeouts.unscaled(Timeout::SrcTrack, node.rule().map(|rule| &**rule))
}

/// Takes out nodes whose time is over, in the part of the table that is due.
pub(super) fn expire(pf: &Pf, next: &mut Position) {
    if pf.sources.is_empty() {
        return;
    }
    let mut at = Some(*next);
    for _ in 0..Sources::share(pf.timeouts.get(Timeout::Interval)) {
        let Some(from) = at else { break };
        let level = SoftNet::raise();
        let now = pf.kernel.uptime();
        let (removed, after) = pf
            .sources
            .sweep(from, &level, |node| Sources::is_expired(node, now, lifetime(pf, node)));
        pf.stats.count_source_removals(removed);
        at = after;
    }
    *next = at.unwrap_or_default();
}

/// Kills the states of sources that have connected too often, where their rules say so: `flush`.
pub(super) fn flush(pf: &Pf) {
    if pf.is_locked() || !pf.sources.has_flushes() {
        return;
    }
    let mut sources = KVec::new();
    let mut at = Some(Position::default());
    while let Some(from) = at {
        at = pf.sources.take_flushes(&SoftNet::raise(), from, &mut sources, FLUSHES);
    }
    sources.sort_unstable_by_key(|(node, _)| (node.af, node.addr));
    let killed = pf.states.remove_where(&pf.passive, |state| is_of(state, &sources));
    pf.stats.count_removals(killed);
}

/// Whether a state is one of a source that is to be flushed.
fn is_of(state: &State, sources: &[(KArc<Node>, u8)]) -> bool {
    let source = (state.key().af, state.source());
    let first = sources.partition_point(|(node, _)| (node.af, node.addr) < source);
    let same = sources.get(first..).unwrap_or_default();
    same.iter()
        .take_while(|(node, _)| (node.af, node.addr) == source)
        .any(|(node, what)| {
            what & FLUSH_GLOBAL != 0
                || match (node.rule(), state.rule()) {
                    (Some(of), Some(rule)) => of.ptr_eq(rule),
                    // Rules that track together.
                    (None, _) => state
                        .extra()
                        .is_some_and(|extra| extra.nodes().any(|at| core::ptr::eq(at, &**node))),
                    _ => false,
                }
        })
}
