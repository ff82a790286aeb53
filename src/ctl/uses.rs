//! Who speaks of an interface: rules that name it, and states that are bound to it.
//!
//! Nobody keeps count, so that a packet has nothing to count: it is counted when somebody asks, by a walk over all rules and one over all
//! states.
//!
//! # Locking
//! A walk lets packets come between, and may see some of what comes or goes meanwhile.

use pf_abi::{PF_ADDR_DYNIFTL, PoolAddr};

use super::rules::Staging;
use crate::Pf;
use crate::iface::ALL;
use crate::kpi::{NoMemory, ReadSection, SoftNet};
use crate::mem::KVec;
use crate::rule::{Rule, RulePlace};
use crate::source::Position;

/// Names of interfaces in rules, and partitions of the state table, that are looked at before a packet may come between.
const BATCH: usize = 64;

/// How often an interface is spoken of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Use {
    /// Rules that name it: as theirs, for its addresses, or as the way that their packets go. Each counts once.
    pub(super) rules: u32,
    /// States that are bound to it.
    pub(super) states: u32,
    /// Something else keeps its number.
    is_held: bool,
    /// The last rule that was counted, by its place in the walk.
    last: usize,
}

impl Use {
    /// Whether anybody has its number.
    pub(super) fn is_any(&self) -> bool {
        self.rules != 0 || self.states != 0 || self.is_held
    }
}

/// The same of all interfaces, by their numbers.
#[derive(Default)]
pub(super) struct Uses {
    known: KVec<Use>,
    /// Rules that have been looked at.
    rules: usize,
}

/// The numbers of the interfaces that an address of a pool names: the one that it leads to, and the one whose addresses it stands for.
fn named(address: &PoolAddr) -> impl Iterator<Item = u16> {
    let to = Some(address.kif.0).filter(|number| *number != ALL.into());
    let of = (address.addr.kind == PF_ADDR_DYNIFTL).then_some(address.addr.p);
    to.into_iter().chain(of).filter_map(|number| u16::try_from(number).ok())
}

impl Uses {
    /// Counts what is loaded and the states there are.
    pub(super) fn count(pf: &Pf) -> Result<Self, NoMemory> {
        let known = {
            let level = SoftNet::raise();
            pf.interfaces.read(&pf.read(&level)).len()
        };
        let mut uses = Uses {
            known: KVec::filled(Use::default(), known)?,
            rules: 0,
        };
        let mut rules = Some(RulePlace::default());
        while let Some(from) = rules {
            rules = uses.add_rules(pf, from);
        }
        let mut states = Some(0);
        while let Some(from) = states {
            states = uses.add_states(pf, from);
        }
        Ok(uses)
    }

    /// Those of an interface.
    pub(super) fn of(&self, number: u16) -> Use {
        self.known.get(usize::from(number)).copied().unwrap_or_default()
    }

    /// The next loaded rules; where to go on, if that was not all.
    fn add_rules(&mut self, pf: &Pf, from: RulePlace) -> Option<RulePlace> {
        let level = SoftNet::raise();
        let section = pf.read(&level);
        let mut names = 0;
        for (next, rule) in pf.config.read(&section).rules_from(from) {
            names += self.add_rule(rule, &section);
            if names >= BATCH {
                return Some(next);
            }
        }
        None
    }

    /// Counts a rule. The answer is how much there was to look at.
    fn add_rule(&mut self, rule: &Rule, section: &ReadSection<'_>) -> usize {
        let own = Some(rule.interface).filter(|number| *number != ALL);
        let ends = [&rule.src, &rule.dst].into_iter().filter_map(|end| end.interface());
        let pool = rule.addresses(section);
        self.rules += 1;
        for number in own.into_iter().chain(ends).chain(pool.iter().flat_map(named)) {
            if let Some(of) = self.known.get_mut(usize::from(number))
                && of.last != self.rules
            {
                of.last = self.rules;
                of.rules = of.rules.saturating_add(1);
            }
        }
        1 + pool.len()
    }

    /// The states of the next partitions; where to go on, if that was not all.
    fn add_states(&mut self, pf: &Pf, from: u64) -> Option<u64> {
        let level = SoftNet::raise();
        (0..BATCH).try_fold(from, |from, _| {
            pf.states.walk_partition(from, &level, |state| {
                if let Some(of) = self.known.get_mut(usize::from(state.interface())) {
                    of.states = of.states.saturating_add(1);
                }
                if let Some(route) = state.extra().and_then(|extra| extra.route) {
                    self.hold(route.choice.interface);
                }
                true
            })
        })
    }

    fn hold(&mut self, number: u16) {
        if let Some(of) = self.known.get_mut(usize::from(number)) {
            of.is_held = true;
        }
    }

    /// Adds what is being loaded, and the addresses of a pool that are on their way into a rule.
    pub(super) fn add_staged(&mut self, pf: &Pf, staging: &Staging, pool: &[PoolAddr]) {
        for number in staging.pool.iter().chain(pool).flat_map(named) {
            self.hold(number);
        }
        for rules in staging.lists().flat_map(|list| list.rules().chunks(BATCH)) {
            let level = SoftNet::raise();
            let section = pf.read(&level);
            for rule in rules {
                self.add_rule(rule, &section);
            }
        }
    }

    /// Adds what the pools of rules have given to sources.
    pub(super) fn add_nodes(&mut self, pf: &Pf) {
        let mut from = Some(Position::default());
        while let Some(start) = from {
            let level = SoftNet::raise();
            from = pf.sources.walk(start, &level, |node| {
                if let Some(given) = node.given(&level) {
                    self.hold(given.interface);
                }
                true
            });
        }
    }
}
