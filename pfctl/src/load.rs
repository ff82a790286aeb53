//! A configuration into the kernel, whole or not at all.
//!
//! Rules go into inactive lists of one transaction. Options have no transactions, so each is noted with its old value before
//! the commit, and set back if anything fails, the commit included.

use crate::conf::expand::{Config, LoadRule, Options};
use crate::device::{IoctlError, Pf};
use pf_abi::{Debug as DebugLevel, IfName, Limit, RulesetKind, Timeout};

/// The lists that a configuration replaces, in the order in which they are loaded.
pub const KINDS: [RulesetKind; 5] = [
    RulesetKind::Scrub,
    RulesetKind::Nat,
    RulesetKind::Rdr,
    RulesetKind::Binat,
    RulesetKind::Filter,
];

/// Loads a configuration. After an error pf is as it was before; what could not be put back is in the error's text.
pub fn load(pf: &mut Pf<'_>, config: &Config) -> Result<(), IoctlError> {
    let tickets = pf.begin(&KINDS)?;
    let mut undo = Vec::new();
    let outcome = fill(pf, config, &tickets)
        .and_then(|()| set_options(pf, &config.options, &mut undo))
        .and_then(|()| pf.commit(&KINDS, &tickets));
    let Err(mut error) = outcome else {
        return Ok(());
    };
    let mut left = Vec::new();
    for step in undo.into_iter().rev() {
        left.extend(step.undo(pf).err());
    }
    left.extend(pf.roll_back(&KINDS, &tickets).err());
    for failed in left {
        error.doing = format!("{} (and then, {failed})", error.doing);
    }
    Err(error)
}

/// Empties some lists.
pub fn clear(pf: &mut Pf<'_>, kinds: &[RulesetKind]) -> Result<(), IoctlError> {
    let tickets = pf.begin(kinds)?;
    pf.commit(kinds, &tickets)
}

fn fill(pf: &mut Pf<'_>, config: &Config, tickets: &[u32]) -> Result<(), IoctlError> {
    for (kind, ticket) in KINDS.iter().zip(tickets) {
        for rule in config.rules_of(*kind) {
            add(pf, rule, *ticket).map_err(|error| {
                let doing = format!("{}:{}: {}", rule.file, rule.line, error.doing);
                error.doing(doing)
            })?;
        }
    }
    Ok(())
}

fn add(pf: &mut Pf<'_>, rule: &LoadRule, ticket: u32) -> Result<(), IoctlError> {
    let pool_ticket = pf.begin_addresses()?;
    for address in &rule.pool {
        pf.add_address(pool_ticket, rule.rule.af, address)?;
    }
    pf.add_rule(ticket, pool_ticket, &rule.rule)
}

/// An option that was changed, with its old value.
enum Change {
    Limit(Limit, u32),
    Timeout(Timeout, i32),
    Debug(u32),
    LogInterface(IfName),
    Skip(Vec<IfName>),
}

impl Change {
    fn undo(self, pf: &mut Pf<'_>) -> Result<(), IoctlError> {
        match self {
            Self::Limit(limit, old) => pf.set_limit(limit, old).map(drop),
            Self::Timeout(timeout, old) => pf.set_timeout(timeout, old).map(drop),
            Self::Debug(old) => pf.set_debug(old),
            Self::LogInterface(old) => pf.set_log_interface(old),
            Self::Skip(old) => {
                pf.skip_none()?;
                old.into_iter().try_for_each(|name| pf.skip(name))
            }
        }
    }
}

/// Takes an option that the configuration does not set as it is where pf does not have it.
fn if_known<T>(outcome: Result<T, IoctlError>, wanted: bool) -> Result<Option<T>, IoctlError> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_unknown() && !wanted => Ok(None),
        Err(error) => Err(error),
    }
}

fn set_options(pf: &mut Pf<'_>, options: &Options, undo: &mut Vec<Change>) -> Result<(), IoctlError> {
    for limit in Limit::ALL.iter().copied() {
        let wanted = options.limits.contains_key(&limit);
        let old = if_known(pf.set_limit(limit, options.limit(limit)), wanted)?;
        undo.extend(old.map(|old| Change::Limit(limit, old)));
    }
    for timeout in Timeout::ALL.iter().copied() {
        let wanted = options.timeouts.contains_key(&timeout);
        let seconds = i32::try_from(options.timeout(timeout)).unwrap_or(i32::MAX);
        let old = if_known(pf.set_timeout(timeout, seconds), wanted)?;
        undo.extend(old.map(|old| Change::Timeout(timeout, old)));
    }
    let status = pf.status()?;
    let debug = options.debug.unwrap_or(DebugLevel::Urgent);
    if if_known(pf.set_debug(debug.into()), options.debug.is_some())?.is_some() {
        undo.push(Change::Debug(status.debug));
    }
    let interface = options.log_interface.as_deref().unwrap_or_default();
    let interface = IfName::new(interface).unwrap_or_default();
    if if_known(pf.set_log_interface(interface), !interface.is_empty())?.is_some() {
        undo.push(Change::LogInterface(status.ifname));
    }
    // The identity has no way back, and needs none: it only names this host to others.
    if let Some(id) = options.host_id {
        pf.set_host_id(id.to_be())?;
    }
    set_skip(pf, options, undo)
}

fn set_skip(pf: &mut Pf<'_>, options: &Options, undo: &mut Vec<Change>) -> Result<(), IoctlError> {
    let wanted = !options.skip.is_empty();
    let old = if_known(pf.skipped(), false)?.unwrap_or_default();
    if if_known(pf.skip_none(), wanted)?.is_none() {
        return Ok(());
    }
    undo.push(Change::Skip(old));
    for name in &options.skip {
        pf.skip(IfName::new(name).unwrap_or_default())?;
    }
    Ok(())
}
