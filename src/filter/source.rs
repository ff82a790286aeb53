//! Source tracking on a packet's way: what a source was given before, whether it may have another state, and what happens when it
//! connects too often.
//!
//! A source is the address that a connection comes from, before any translation.
//!
//! # Locking
//! Takes a partition's lock of the source nodes, with no other held.

use pf_abi::{
    LCNT_OVERLOAD_FLUSH, LCNT_OVERLOAD_TABLE, LCNT_SRCCONN, LCNT_SRCCONNRATE, LCNT_SRCNODES, LCNT_SRCSTATES, Reason,
};

use super::translate::Translation;
use super::{Filter, Refusal};
use crate::mem::{KArc, KBox};
use crate::nat::{Choice, Pool};
use crate::rule::Rule;
use crate::source::{Refused, Tie};
use crate::state::{Body, Extra, State};
use crate::wire::{Addr, Af};

/// The nodes that a new state counts at: its rule's and its translation rule's.
#[derive(Default)]
pub(super) struct Ties {
    pub rule: Option<Tie>,
    pub nat_rule: Option<Tie>,
}

impl Filter<'_> {
    /// What a rule's pool has given to this source before: `sticky-address`.
    pub(super) fn given(&self, rule: &KArc<Rule>, pool: &Pool, src: &Addr, af: Af) -> Option<Choice> {
        if !pool.is_sticky() {
            return None;
        }
        self.pf.stats.count_source_search();
        let node = self.pf.sources.find(rule, *src, af, self.level)?;
        // Where the pool has changed meanwhile, as that of an interface does, it may be the pool's no more.
        node.given(self.level)
            .filter(|choice| pool.contains(&self.current(), choice))
    }

    /// Counts a new state at its source's nodes, where its rules ask for that. `route` is what a sticky pool of the filter rule has
    /// given it.
    pub(super) fn tie(
        &self,
        rule: Option<&KArc<Rule>>,
        translated: Option<&Translation<'_>>,
        route: Option<Choice>,
        (src, af): (Addr, Af),
    ) -> Result<Ties, Refusal> {
        let mut ties = Ties::default();
        if let Some(rule) = rule
            && (rule.limits().track.is_some() || route.is_some())
        {
            ties.rule = Some(self.tie_to(rule, src, af, route)?);
        }
        if let Some(translated) = translated
            && translated.sticky.is_some()
        {
            ties.nat_rule = Some(self.tie_to(translated.rule, src, af, translated.sticky)?);
        }
        Ok(ties)
    }

    fn tie_to(&self, rule: &KArc<Rule>, src: Addr, af: Af, given: Option<Choice>) -> Result<Tie, Refusal> {
        let pf = self.pf;
        pf.stats.count_source_search();
        match pf.sources.tie(rule, src, af, pf.kernel.uptime(), self.level) {
            Ok((tie, is_new)) => {
                if is_new {
                    pf.stats.count_source_insert();
                }
                if let Some(given) = given {
                    tie.node().give(given, self.level);
                }
                Ok(tie)
            }
            Err(Refused::NoMemory) => Err(Reason::Memory.into()),
            Err(refused) => {
                match refused {
                    Refused::RuleNodes => pf.stats.count_limit(LCNT_SRCNODES),
                    Refused::States => pf.stats.count_limit(LCNT_SRCSTATES),
                    Refused::Nodes | Refused::NoMemory => (),
                }
                Err(Reason::SrcLimit.into())
            }
        }
    }

    /// Chooses where the packets of a new state go, and counts it at its source's nodes.
    #[inline(never)]
    pub(super) fn begin_tracking(
        &self,
        extra: &mut Option<KBox<Extra>>,
        rule: Option<&KArc<Rule>>,
        translated: Option<&Translation<'_>>,
        source: (Addr, Af),
    ) -> Result<(), Refusal> {
        let route = self.choose_route(rule, &source.0, source.1)?;
        let is_sticky = rule.is_some_and(|rule| rule.is_sticky());
        let sticky = route.filter(|_| is_sticky).map(|route| route.choice);
        let ties = self.tie(rule, translated, sticky, source)?;
        if route.is_some() || ties.rule.is_some() || ties.nat_rule.is_some() {
            let extra = Extra::entry(extra).map_err(|_| Reason::Memory)?;
            (extra.route, extra.source, extra.nat_source) = (route, ties.rule, ties.nat_rule);
        }
        Ok(())
    }

    /// Called with the state's lock held, when a packet has moved a TCP state on: counts it at its source's node if the handshake is
    /// over now. True if the source has connected too often: the state is to go, and the body says so.
    #[inline(always)]
    pub(super) fn count_connection(&self, state: &State, body: &mut Body) -> bool {
        let Some(extra) = state.extra() else {
            return false;
        };
        self.count_tied(state, extra, body)
    }

    #[inline(never)]
    fn count_tied(&self, state: &State, extra: &Extra, body: &mut Body) -> bool {
        let Some(tie) = extra.source.as_ref() else {
            return false;
        };
        if tie.is_connected() || !body.is_established() {
            return false;
        }
        self.connect(state, tie, body)
    }

    /// The same, when the proxy has shaken hands with the client.
    pub(super) fn count_proxied(&self, state: &State, body: &mut Body) -> bool {
        match state.extra().and_then(|extra| extra.source.as_ref()) {
            Some(tie) if !tie.is_connected() => self.connect(state, tie, body),
            _ => false,
        }
    }

    #[inline(never)]
    fn connect(&self, state: &State, tie: &Tie, body: &mut Body) -> bool {
        let now = self.pf.kernel.uptime();
        tie.connect(now);
        let limits = state.rule().map(|rule| *rule.limits()).unwrap_or_default();
        let mut is_bad = false;
        if limits.max_conn != 0 && tie.node().connections() > limits.max_conn {
            self.pf.stats.count_limit(LCNT_SRCCONN);
            is_bad = true;
        }
        if limits.max_conn_rate.limit != 0 && tie.is_too_fast(now) {
            self.pf.stats.count_limit(LCNT_SRCCONNRATE);
            is_bad = true;
        }
        body.unlinked |= is_bad;
        is_bad
    }

    /// Takes out a state whose source has connected too often, and does to the source what the rule says. No lock is held.
    pub(super) fn end_overload(&self, state: &State) {
        let pf = self.pf;
        pf.states.remove(state, self.level);
        pf.stats.count_removals(1);
        let source = state.extra().and_then(|extra| extra.source.as_ref());
        let (Some(tie), Some(rule)) = (source, state.rule()) else {
            return;
        };
        let node = tie.node();
        if let Some(table) = &rule.overload {
            pf.stats.count_limit(LCNT_OVERLOAD_TABLE);
            pf.overloads.push(table, node.af, node.addr, &pf.kernel, self.level);
        }
        let flush = rule.limits().flush;
        if flush != 0 {
            pf.stats.count_limit(LCNT_OVERLOAD_FLUSH);
            pf.sources.ask_for_flush(node, flush);
        }
    }
}
