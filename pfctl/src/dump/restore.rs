//! States out of a dump and into the kernel.

use super::identity::Identity;
use super::store::{KINDS, records, translation_kind};
use super::{Dump, RuleRecord};
use crate::device::Errno;
use crate::lock::{Held, LockError};
use pf_abi::{ANCHORED_RULE, BINAT_RULE, NO_RULE, RulesetKind, SyncState, errno};
use std::collections::{BTreeMap, HashMap};
use std::fmt;

/// States that are added with one ioctl.
const BATCH: usize = 4096;

/// What became of a dump.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// States added.
    pub loaded: usize,
    /// States refused, by the number with which they were.
    pub refused: BTreeMap<Errno, usize>,
    /// States added whose rule is not loaded now.
    pub without_rule: usize,
}

impl Summary {
    /// States refused in all.
    pub fn refused_count(&self) -> usize {
        self.refused.values().sum()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "loaded {} states", self.loaded)?;
        if self.without_rule > 0 {
            write!(
                f,
                " ({} of them without their rule, which is not loaded)",
                self.without_rule
            )?;
        }
        for (index, (reason, count)) in self.refused.iter().enumerate() {
            let separator = if index == 0 {
                format!(", refused {}: ", self.refused_count())
            } else {
                ", ".to_owned()
            };
            write!(f, "{separator}{count} {}", reason_text(*reason))?;
        }
        Ok(())
    }
}

fn reason_text(reason: Errno) -> String {
    match reason.0 {
        errno::EEXIST => "already exist".to_owned(),
        errno::EINVAL => "invalid".to_owned(),
        errno::ENOMEM => "for lack of memory".to_owned(),
        errno::ENOSPC => "beyond the limit of states".to_owned(),
        _ => format!("refused with \"{reason}\""),
    }
}

/// Adds the states of a dump under the lock, each with the number that its rule has now. One that is refused does not keep
/// others out.
pub fn restore(held: &mut Held<'_>, dump: &Dump) -> Result<Summary, LockError> {
    let numbers = Numbers::find(held, dump)?;
    let mut summary = Summary::default();
    // NetBSD's own pf does not know DIOCGETLCK; its DIOCADDSTATE follows a user's pointer in the kernel, and must not be called.
    let tells_why = held.pf()?.is_locked()?.is_some();
    for batch in dump.states.chunks(BATCH) {
        let (mut states, have_rules): (Vec<SyncState>, Vec<bool>) =
            batch.iter().map(|state| numbers.renumber(*state)).unzip();
        add_batch(held, &mut states, &have_rules, tells_why, &mut summary)?;
    }
    Ok(summary)
}

/// Adds states; `have_rules` says of each whether it still has the rule that it had.
fn add_batch(
    held: &mut Held<'_>,
    states: &mut [SyncState],
    have_rules: &[bool],
    tells_why: bool,
    summary: &mut Summary,
) -> Result<(), LockError> {
    let mut next = 0;
    while next < states.len() {
        let told = match tells_why {
            true => held.pf()?.add_states_or_tell(&mut states[next..])?,
            false => None,
        };
        let (added, reason) = match told {
            Some(told) => told,
            None => {
                held.pf()?.add_states(&mut states[next..])?;
                (states.len() - next, None)
            }
        };
        let behind = next + added;
        summary.loaded += added;
        summary.without_rule += have_rules[next..behind].iter().filter(|has| !**has).count();
        if let Some(reason) = reason {
            *summary.refused.entry(reason).or_insert(0) += 1;
        }
        next = behind + 1;
    }
    Ok(())
}

/// The numbers that the rules of a dump have now.
struct Numbers(HashMap<(RulesetKind, u32), u32>);

impl Numbers {
    fn find(held: &mut Held<'_>, dump: &Dump) -> Result<Self, LockError> {
        let mut numbers = HashMap::new();
        for kind in KINDS {
            let wanted: Vec<&RuleRecord> = dump.rules.iter().filter(|rule| rule.kind == kind).collect();
            if wanted.is_empty() {
                continue;
            }
            let mut now: HashMap<Identity, Vec<u32>> = HashMap::new();
            for record in records(held, kind)? {
                now.entry(record.identity).or_default().push(record.number);
            }
            for rule in wanted {
                // Of rules that say the same, the one in the same place; if there are fewer now, the last.
                let same = now.get(&rule.identity);
                let number = same.and_then(|same| same.get(rule.ordinal as usize).or(same.last()));
                if let Some(number) = number {
                    numbers.insert((kind, rule.number), *number);
                }
            }
        }
        Ok(Self(numbers))
    }

    /// A state with the numbers of now, and whether it has the rule that it had.
    fn renumber(&self, mut state: SyncState) -> (SyncState, bool) {
        let lookup = |kind, number| self.0.get(&(kind, number)).copied().unwrap_or(NO_RULE);
        let had_rule = state.rule != NO_RULE;
        if state.anchor == NO_RULE {
            state.rule = lookup(RulesetKind::Filter, state.rule);
        } else {
            // Within an anchor the number has to do.
            state.anchor = lookup(RulesetKind::Filter, state.anchor);
            if state.anchor == NO_RULE {
                state.rule = NO_RULE;
            }
        }
        if state.nat_rule != NO_RULE && state.nat_rule & ANCHORED_RULE == 0 {
            let (kind, flag) = (translation_kind(&state), state.nat_rule & BINAT_RULE);
            state.nat_rule = match lookup(kind, state.nat_rule & !BINAT_RULE) {
                NO_RULE => NO_RULE,
                number => number | flag,
            };
        }
        (state, !had_rule || state.rule != NO_RULE)
    }
}
