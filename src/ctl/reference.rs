//! A rule outside the kernel: the two numbers by which a state's record tells its rule, and how it is found again.
//!
//! # Format
//! A rule of the main ruleset is its number in its list, and has no anchor. Of a rule in an anchor, `anchor` is the number of the
//! main ruleset's rule that leads there, and `rule` its own number, as NetBSD's pf has it, where that rule calls this very anchor. Where
//! it leads further (a wildcard, an anchor within an anchor), the upper twelve bits of `rule` tell which ruleset it is: its place
//! in the order of all paths. A translation rule in an anchor has that place in its upper bits as well, and no number of an anchor.
//! Below them a bit tells a `binat` rule; of the others the list follows from the state's direction.
//!
//! # Locking
//! None.

use pf_abi::{ANCHORED_RULE, BINAT_RULE, NO_RULE, RulesetKind};

use crate::kpi::Direction;
use crate::mem::KArc;
use crate::rule::{Config, MAIN, Rule};

/// Bits of a rule's number in its list.
const BITS: u32 = ANCHORED_RULE.trailing_zeros();
/// Places of rulesets that can be told.
const PLACES: u32 = (1 << (u32::BITS - BITS)) - 1;

/// The number of a rule in its list, if it is this very rule that has it now.
fn number(config: &Config, ruleset: u16, kind: RulesetKind, rule: &KArc<Rule>) -> Option<u32> {
    let nr = rule.nr();
    let of = config.list_of(ruleset, kind)?.rules().get(nr as usize)?;
    (of.ptr_eq(rule) && nr < 1 << BITS).then_some(nr)
}

/// The upper bits for a ruleset.
fn place(config: &Config, ruleset: u16) -> Option<u32> {
    let place = config.in_order().iter().position(|of| *of == ruleset)?;
    let place = u32::try_from(place).ok().filter(|place| *place < PLACES)?;
    Some(place << BITS)
}

/// The ruleset of upper bits.
fn ruleset(config: &Config, number: u32) -> Option<u16> {
    config.in_order().get((number >> BITS) as usize).copied()
}

fn home(rule: &Rule) -> u16 {
    rule.home().map_or(MAIN, |home| home.number())
}

/// `rule` and `anchor` of a record.
pub(super) fn of_filter(config: &Config, rule: Option<&KArc<Rule>>, anchor: Option<&KArc<Rule>>) -> (u32, u32) {
    let tell = || {
        let rule = rule?;
        let nr = number(config, home(rule), RulesetKind::Filter, rule)?;
        let Some(anchor) = anchor else {
            return (home(rule) == MAIN).then_some((nr, NO_RULE));
        };
        let anchor_nr = number(config, MAIN, RulesetKind::Filter, anchor)?;
        let call = anchor.call.as_ref()?;
        let upper = match call.anchor.number() == home(rule) && !call.wildcard {
            true => 0,
            false => place(config, home(rule))?,
        };
        Some((upper | nr, anchor_nr))
    };
    tell().unwrap_or((NO_RULE, NO_RULE))
}

/// The list that a translation stands in of a state whose first packet went this way, if it is no `binat` rule.
fn list(direction: Direction) -> RulesetKind {
    match direction {
        Direction::In => RulesetKind::Rdr,
        Direction::Out => RulesetKind::Nat,
    }
}

/// `nat_rule` of the record of a state that began in this direction.
pub(super) fn of_translation(config: &Config, direction: Direction, rule: Option<&KArc<Rule>>) -> u32 {
    let tell = || {
        let rule = rule?;
        let number = |kind| number(config, home(rule), kind, rule).filter(|nr| nr & BINAT_RULE == 0);
        let nr = number(list(direction)).or_else(|| Some(number(RulesetKind::Binat)? | BINAT_RULE))?;
        Some(place(config, home(rule))? | nr)
    };
    tell().unwrap_or(NO_RULE)
}

fn find(config: &Config, ruleset: u16, kind: RulesetKind, number: u32) -> Option<KArc<Rule>> {
    let rules = config.list_of(ruleset, kind)?.rules();
    rules.get((number & ((1 << BITS) - 1)) as usize).cloned()
}

/// The rule and the anchor's rule that a record tells of, as far as they are loaded.
pub(super) fn find_filter(config: &Config, rule: u32, anchor: u32) -> (Option<KArc<Rule>>, Option<KArc<Rule>>) {
    if rule == NO_RULE {
        return (None, None);
    }
    if anchor == NO_RULE {
        let rule = (rule >> BITS == 0).then(|| find(config, MAIN, RulesetKind::Filter, rule));
        return (rule.flatten(), None);
    }
    let find = || {
        let leads = find(config, MAIN, RulesetKind::Filter, anchor).filter(|_| anchor >> BITS == 0)?;
        let call = leads.call.as_ref()?;
        let ruleset = match rule >> BITS {
            0 if call.wildcard => return None,
            0 => call.anchor.number(),
            _ => ruleset(config, rule)?,
        };
        let rule = find(config, ruleset, RulesetKind::Filter, rule)?;
        Some((rule, leads))
    };
    find().unzip()
}

/// The translation rule that a record tells of, if it is loaded.
pub(super) fn find_translation(config: &Config, direction: Direction, number: u32) -> Option<KArc<Rule>> {
    if number == NO_RULE {
        return None;
    }
    let kind = match number & BINAT_RULE {
        0 => list(direction),
        _ => RulesetKind::Binat,
    };
    find(config, ruleset(config, number)?, kind, number & !BINAT_RULE)
}
