//! Lists of rules, and the configuration that packets see: all lists at once.
//!
//! # Life cycle
//! A configuration is built aside, and swapped in whole by [`Snapshot`](crate::mem::Snapshot); a list that a transaction does not
//! touch is shared with the configuration before.

use pf_abi::{PF_RULESET_MAX, RulesetKind};

use super::Rule;
use crate::kpi::NoMemory;
use crate::mem::{KArc, KVec};

/// Rules in the order of evaluation.
#[derive(Debug, Default)]
pub struct RuleList(KVec<KArc<Rule>>);

impl RuleList {
    /// No rules.
    pub const fn new() -> Self {
        RuleList(KVec::new())
    }

    /// The rules.
    pub fn rules(&self) -> &[KArc<Rule>] {
        &self.0
    }

    /// Appends a rule.
    pub fn push(&mut self, rule: Rule) -> Result<(), NoMemory> {
        self.0.push(KArc::new(rule)?)
    }
}

/// All that packets are judged by.
#[derive(Debug)]
pub struct Config {
    lists: [KArc<RuleList>; PF_RULESET_MAX as usize],
}

impl Config {
    /// Without rules.
    pub fn new() -> Result<Self, NoMemory> {
        let empty = KArc::new(RuleList::new())?;
        Ok(Config {
            lists: core::array::from_fn(|_| empty.clone()),
        })
    }

    /// The list of a kind. The queues and tables, which are no lists of rules, have the empty one's answer: none.
    pub fn list(&self, kind: RulesetKind) -> Option<&KArc<RuleList>> {
        self.lists.get(kind as usize)
    }

    /// The filter rules.
    #[inline]
    pub fn filter(&self) -> &RuleList {
        &self.lists[RulesetKind::Filter as usize]
    }

    /// The scrub rules.
    #[inline]
    pub fn scrub(&self) -> &RuleList {
        &self.lists[RulesetKind::Scrub as usize]
    }

    /// The nat rules.
    #[inline]
    pub fn nat(&self) -> &RuleList {
        &self.lists[RulesetKind::Nat as usize]
    }

    /// The rdr rules.
    #[inline]
    pub fn rdr(&self) -> &RuleList {
        &self.lists[RulesetKind::Rdr as usize]
    }

    /// The same configuration with some lists replaced.
    pub fn with_lists(&self, new: impl IntoIterator<Item = (RulesetKind, KArc<RuleList>)>) -> Self {
        let mut lists = self.lists.clone();
        for (kind, list) in new {
            if let Some(slot) = lists.get_mut(kind as usize) {
                *slot = list;
            }
        }
        Config { lists }
    }
}
