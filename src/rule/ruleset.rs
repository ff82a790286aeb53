//! Lists of rules, and the configuration that packets see: all rulesets at once.
//!
//! # Life cycle
//! A configuration is built aside, and swapped in whole by [`Snapshot`](crate::mem::Snapshot); a list, and a ruleset, that a
//! transaction does not touch is shared with the configuration before.

use pf_abi::{PF_RULESET_MAX, RulesetKind};

use super::Rule;
use super::anchor::{Anchors, Call, MAIN};
use super::index::{Index, Places, WORTHWHILE};
use super::matching::Subject;
use crate::kpi::NoMemory;
use crate::mem::{KArc, KVec};

/// What rules ask about that is found out only where some rule does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asks {
    /// Who has the socket: `user`, `group`.
    pub owner: bool,
    /// Which system sent the packet: `os`.
    pub os: bool,
}

impl Asks {
    fn or(self, other: Asks) -> Self {
        Asks {
            owner: self.owner || other.owner,
            os: self.os || other.os,
        }
    }
}

/// Rules in the order of evaluation.
#[derive(Debug, Default)]
pub struct RuleList {
    rules: KVec<KArc<Rule>>,
    index: Option<Index>,
    /// Numbers of rules that call anchors.
    calls: KVec<u32>,
    asks: Asks,
}

impl RuleList {
    /// No rules.
    pub const fn new() -> Self {
        RuleList {
            rules: KVec::new(),
            index: None,
            calls: KVec::new(),
            asks: Asks {
                owner: false,
                os: false,
            },
        }
    }

    /// The rules.
    pub fn rules(&self) -> &[KArc<Rule>] {
        &self.rules
    }

    /// Appends a rule.
    pub fn push(&mut self, rule: Rule) -> Result<(), NoMemory> {
        self.share(KArc::new(rule)?)
    }

    /// Appends a rule that another list may have as well.
    pub fn share(&mut self, rule: KArc<Rule>) -> Result<(), NoMemory> {
        self.asks = self.asks.or(rule.asks());
        if rule.call.is_some() {
            let nr = u32::try_from(self.rules.len()).map_err(|_| NoMemory)?;
            self.calls.push(nr)?;
        }
        self.rules.push(rule)
    }

    /// The anchors that its rules call.
    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        let rules = self.calls.iter().filter_map(|nr| self.rules.get(*nr as usize));
        rules.filter_map(|rule| rule.call.as_ref())
    }

    /// Makes the list ready for packets: no more rules come.
    pub fn seal(&mut self) -> Result<(), NoMemory> {
        if self.rules.len() >= WORTHWHILE {
            self.index = Some(Index::new(self.rules.iter().map(|rule| &**rule))?);
        }
        Ok(())
    }

    /// The way through the list that a packet goes, from rule `from` on.
    #[inline]
    pub(super) fn walk(&self, subject: &Subject, from: u32) -> Walk<'_> {
        Walk {
            list: self,
            places: self.index.as_ref().map(|index| (index, index.places(subject, from))),
            next: from,
        }
    }

    /// The same, past no rule.
    pub(super) fn walk_all(&self, from: u32) -> Walk<'_> {
        Walk {
            list: self,
            places: None,
            next: from,
        }
    }
}

/// A way through a list: every rule that may match, in order.
pub(super) struct Walk<'a> {
    list: &'a RuleList,
    places: Option<(&'a Index, Places)>,
    next: u32,
}

impl<'a> Iterator for Walk<'a> {
    type Item = (u32, &'a KArc<Rule>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let at = match &mut self.places {
            Some((index, places)) => index.next(places, self.next)?,
            None => self.next,
        };
        let rule = self.list.rules.get(at as usize)?;
        self.next = at + 1;
        Some((at, rule))
    }
}

/// The lists of one ruleset.
#[derive(Debug, Clone)]
pub struct Ruleset {
    lists: [KArc<RuleList>; PF_RULESET_MAX as usize],
    /// The numbers of the rulesets within, in the order of their names.
    children: KArc<KVec<u16>>,
}

impl Ruleset {
    fn new() -> Result<Self, NoMemory> {
        let empty = KArc::new(RuleList::new())?;
        Ok(Ruleset {
            lists: core::array::from_fn(|_| empty.clone()),
            children: KArc::new(KVec::new())?,
        })
    }

    /// The list of a kind. The queues and tables are no lists of rules.
    pub fn list(&self, kind: RulesetKind) -> Option<&KArc<RuleList>> {
        self.lists.get(kind as usize)
    }

    /// The lists.
    pub fn lists(&self) -> &[KArc<RuleList>] {
        &self.lists
    }

    /// The numbers of the rulesets within, in the order of their names.
    pub fn children(&self) -> &[u16] {
        &self.children
    }
}

/// One list of a ruleset that is to be replaced.
pub struct ListChange {
    /// The ruleset's number.
    pub ruleset: u16,
    /// Which of its lists.
    pub kind: RulesetKind,
    /// The new one.
    pub list: KArc<RuleList>,
}

/// Where a walk over all rules goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RulePlace {
    ruleset: usize,
    list: usize,
    rule: usize,
}

/// All that packets are judged by.
#[derive(Debug)]
pub struct Config {
    /// By number; nothing where there are no rules.
    rulesets: KVec<Option<KArc<Ruleset>>>,
    /// Their numbers in the order of their paths.
    order: KVec<u16>,
    asks: Asks,
}

impl Config {
    /// Without rules.
    pub fn new() -> Result<Self, NoMemory> {
        let mut rulesets = KVec::new();
        rulesets.push(Some(KArc::new(Ruleset::new()?)?))?;
        let mut order = KVec::new();
        order.push(MAIN)?;
        Ok(Config {
            rulesets,
            order,
            asks: Asks::default(),
        })
    }

    /// The ruleset with this number, if there is anything in it.
    #[inline]
    pub fn ruleset(&self, number: u16) -> Option<&KArc<Ruleset>> {
        self.rulesets.get(usize::from(number))?.as_ref()
    }

    /// Every ruleset with anything in it, and its number.
    pub fn rulesets(&self) -> impl Iterator<Item = (u16, &KArc<Ruleset>)> {
        (0u16..)
            .zip(self.rulesets.iter())
            .filter_map(|(number, it)| Some((number, it.as_ref()?)))
    }

    /// A list of a ruleset.
    #[inline]
    pub fn list_of(&self, number: u16, kind: RulesetKind) -> Option<&KArc<RuleList>> {
        self.ruleset(number)?.list(kind)
    }

    /// All rules from a place on, each with the place behind it.
    pub fn rules_from(&self, from: RulePlace) -> impl Iterator<Item = (RulePlace, &KArc<Rule>)> {
        let mut at = from;
        core::iter::from_fn(move || {
            loop {
                let ruleset = self.rulesets.get(at.ruleset)?.as_ref();
                let Some(list) = ruleset.and_then(|ruleset| ruleset.lists().get(at.list)) else {
                    at = RulePlace {
                        ruleset: at.ruleset + 1,
                        ..RulePlace::default()
                    };
                    continue;
                };
                match list.rules().get(at.rule) {
                    Some(rule) => {
                        at.rule += 1;
                        return Some((at, rule));
                    }
                    None => (at.list, at.rule) = (at.list + 1, 0),
                }
            }
        })
    }

    /// The numbers of all rulesets in the order of their paths, the main one first.
    pub fn in_order(&self) -> &[u16] {
        &self.order
    }

    /// A list of the main ruleset.
    pub fn list(&self, kind: RulesetKind) -> Option<&KArc<RuleList>> {
        self.list_of(MAIN, kind)
    }

    /// What the rules ask about.
    #[inline]
    pub fn asks(&self) -> Asks {
        self.asks
    }

    /// The scrub rules.
    #[inline]
    pub fn scrub(&self) -> &RuleList {
        static NONE: RuleList = RuleList::new();
        self.list(RulesetKind::Scrub).map_or(&NONE, |list| list)
    }

    /// Whether the main ruleset has rules of a kind: without them, no ruleset's are evaluated.
    #[inline]
    pub fn has(&self, kind: RulesetKind) -> bool {
        self.list(kind).is_some_and(|list| !list.rules.is_empty())
    }

    /// The same configuration with some lists replaced, and with the rulesets that there are now.
    pub fn with(&self, anchors: &Anchors, changes: KVec<ListChange>) -> Result<Self, NoMemory> {
        let mut rulesets: KVec<Option<KArc<Ruleset>>> = KVec::with_capacity(anchors.len())?;
        for number in 0..anchors.len() {
            let old = self.rulesets.get(number).and_then(Option::as_ref);
            let exists = u16::try_from(number).is_ok_and(|number| anchors.name(number).is_some());
            rulesets.push(old.filter(|_| exists).cloned())?;
        }
        for change in changes {
            let Some(slot) = rulesets.get_mut(usize::from(change.ruleset)) else {
                continue;
            };
            let mut new = match slot {
                Some(old) => Ruleset::clone(old),
                None => Ruleset::new()?,
            };
            if let Some(list) = new.lists.get_mut(change.kind as usize) {
                *list = change.list;
            }
            *slot = Some(KArc::new(new)?);
        }
        let mut asks = Asks::default();
        for (number, slot) in (0u16..).zip(rulesets.iter_mut()) {
            let children = anchors.children(number);
            if slot.as_ref().map_or(&[][..], |ruleset| ruleset.children()) != children {
                let mut new = match slot {
                    Some(old) => Ruleset::clone(old),
                    None => Ruleset::new()?,
                };
                let mut copy = KVec::with_capacity(children.len())?;
                for child in children {
                    copy.push(*child)?;
                }
                new.children = KArc::new(copy)?;
                *slot = Some(KArc::new(new)?);
            }
            for list in slot.iter().flat_map(|ruleset| ruleset.lists()) {
                asks = asks.or(list.asks);
            }
        }
        let order = anchors.in_order()?;
        Ok(Config { rulesets, order, asks })
    }
}
