//! States out of the kernel and into a file.

use super::identity::{Identity, identify};
use super::{Dump, FileError, Format, RuleRecord};
use crate::lock::{Held, LockError};
use crate::ruleset;
use pf_abi::{BINAT_RULE, NO_RULE, PF_OUT, RulesetKind, SyncState};
use std::collections::{BTreeSet, HashMap};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// The lists whose rules states belong to.
pub(super) const KINDS: [RulesetKind; 4] = [
    RulesetKind::Filter,
    RulesetKind::Nat,
    RulesetKind::Binat,
    RulesetKind::Rdr,
];

/// The list in which a state's translation rule stands: unless the number tells of `binat`, what goes out is translated by `nat`, what
/// comes in by `rdr`.
pub(super) fn translation_kind(state: &SyncState) -> RulesetKind {
    if state.nat_rule != NO_RULE && state.nat_rule & BINAT_RULE != 0 {
        RulesetKind::Binat
    } else if state.direction == PF_OUT {
        RulesetKind::Nat
    } else {
        RulesetKind::Rdr
    }
}

/// Reads the state table, and the rules that its states belong to, under the lock.
pub fn take(held: &mut Held<'_>) -> Result<Dump, LockError> {
    let states = held.pf()?.states()?;
    let created = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let mut wanted = BTreeSet::new();
    for state in &states {
        // A rule of an anchor has its number there; the rule of the main ruleset that leads to it is the one to be known again.
        let main_rule = if state.anchor == NO_RULE {
            state.rule
        } else {
            state.anchor
        };
        if main_rule != NO_RULE {
            wanted.insert((RulesetKind::Filter, main_rule));
        }
        if state.nat_rule != NO_RULE {
            wanted.insert((translation_kind(state), state.nat_rule & !BINAT_RULE));
        }
    }
    let mut rules = Vec::new();
    for kind in KINDS {
        if wanted.iter().any(|(of, _)| *of == kind) {
            let all = records(held, kind)?;
            rules.extend(all.into_iter().filter(|record| wanted.contains(&(kind, record.number))));
        }
    }
    Ok(Dump { created, rules, states })
}

/// The records of all active rules of a list.
pub(super) fn records(held: &mut Held<'_>, kind: RulesetKind) -> Result<Vec<RuleRecord>, LockError> {
    let rules = ruleset::read(&mut held.pf()?, kind)?;
    let mut counts: HashMap<Identity, u32> = HashMap::new();
    Ok(rules
        .iter()
        .zip(0..)
        .map(|(active, number)| {
            let identity = identify(&active.rule, &active.pool);
            let count = counts.entry(identity).or_insert(0);
            let ordinal = *count;
            *count += 1;
            RuleRecord {
                kind,
                number,
                ordinal,
                identity,
            }
        })
        .collect())
}

/// Writes a file: beside, synced, and then renamed, so that there is always a whole one. Only its owner can read it.
pub fn save(dump: &Dump, path: &Path, format: Format) -> Result<(), FileError> {
    write_whole(&dump.encode(format), path).map_err(|source| FileError::Io {
        path: path.to_owned(),
        source,
    })
}

fn write_whole(bytes: &[u8], path: &Path) -> std::io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut file = tempfile::Builder::new()
        .prefix(".pf-states.")
        .permissions(std::fs::Permissions::from_mode(0o600))
        .tempfile_in(directory)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    std::fs::File::open(directory)?.sync_all()
}
