//! What only some states have, apart from the state itself, so that a state stays four cache lines.
//!
//! # Life cycle, locking
//! Made with the state and dropped with it; immutable, but for what has a lock of its own.

use pf_abi as abi;

use super::ScrubPeer;
use crate::kpi::{NoMemory, SpinLock};
use crate::mem::{KArc, KBox};
use crate::nat::Choice;
use crate::rule::Rule;
use crate::source::{Node, Tie};

/// Where the packets of a state go: `route-to`, `reply-to`, `dup-to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Which of them.
    pub kind: abi::Route,
    /// The interface, and whom they are handed to there.
    pub choice: Choice,
}

/// What only some states have.
#[derive(Debug, Default)]
pub struct Extra {
    /// The rule of the main ruleset that led to the anchor in which the state's rule stands: it counts the state's packets, too.
    pub anchor: Option<KArc<Rule>>,
    /// The number of the tag that its packets get; 0 for none.
    pub tag: u16,
    /// Each of its packets is logged: `log (all)`.
    pub log_all: bool,
    /// Its rule names a queue that the kernel has.
    pub queued: bool,
    /// What `scrub reassemble tcp` knows of both ends, first the one that began.
    pub scrub: Option<SpinLock<[ScrubPeer; 2]>>,
    /// Where its packets go, if not where the routing table says.
    pub route: Option<Route>,
    /// Where the state counts for its rule: source tracking.
    pub source: Option<Tie>,
    /// Where it counts for its translation rule: `sticky-address`.
    pub nat_source: Option<Tie>,
}

impl Extra {
    /// What a state of these rules has, if that is anything.
    pub fn of(
        rule: Option<&Rule>,
        nat_rule: Option<&Rule>,
        anchor: Option<&KArc<Rule>>,
        tag: u16,
    ) -> Result<Option<KBox<Extra>>, NoMemory> {
        let log_all = [rule, nat_rule]
            .into_iter()
            .flatten()
            .any(|rule| rule.log & abi::PF_LOG_ALL != 0);
        let queued = rule.is_some_and(|rule| rule.queues.is_some());
        if !log_all && !queued && anchor.is_none() && tag == 0 {
            return Ok(None);
        }
        KBox::new(Extra {
            log_all,
            queued,
            anchor: anchor.cloned(),
            tag,
            ..Extra::default()
        })
        .map(Some)
    }

    /// The source nodes that it counts at.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.source.iter().chain(&self.nat_source).map(Tie::node)
    }

    /// The state is gone from the table.
    pub(super) fn release(&self) {
        self.source.iter().chain(&self.nat_source).for_each(Tie::release);
    }

    /// That of a state in the making, which gets one if it has none.
    pub fn entry(extra: &mut Option<KBox<Extra>>) -> Result<&mut Extra, NoMemory> {
        if extra.is_none() {
            *extra = Some(KBox::new(Extra::default())?);
        }
        extra.as_deref_mut().ok_or(NoMemory)
    }
}
