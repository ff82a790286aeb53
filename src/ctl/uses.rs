//! Who speaks of an interface: rules that name it, and states that are bound to it.
//!
//! Nobody keeps count, so that a packet has nothing to count: it is counted when somebody asks, by a walk over all rules and one over all
//! states.
//!
//! # Locking
//! A walk lets packets come between, and may see some of what comes or goes meanwhile.

use pf_abi::{PF_ADDR_DYNIFTL, PoolAddr};

use crate::Pf;
use crate::iface::ALL;
use crate::kpi::{NoMemory, ReadSection, SoftNet};
use crate::mem::KVec;
use crate::rule::{Rule, RulePlace};

/// Names of interfaces in rules, and partitions of the state table, that are looked at before a packet may come between.
const BATCH: usize = 64;

/// How often an interface is spoken of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Use {
    /// Rules that name it: as theirs, for its addresses, or as the way that their packets go. Each counts once.
    pub(super) rules: u32,
    /// States that are bound to it.
    pub(super) states: u32,
    /// The last rule that was counted, by its place in the walk.
    last: usize,
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
                true
            })
        })
    }
}
