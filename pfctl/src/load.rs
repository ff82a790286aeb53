//! A configuration into the kernel, whole or not at all.
//!
//! Rules go into inactive lists of one transaction. Options have no transactions, so each is noted with its old value before
//! the commit, and set back if anything fails, the commit included.

use crate::conf::expand::{Config, LoadRule, Options};
use crate::device::{IoctlError, ListName, Pf};
use pf_abi::{AnchorPath, Debug as DebugLevel, IfName, Limit, RulesetKind, Timeout};

/// The lists that a configuration replaces, in the order in which they are loaded.
pub const KINDS: [RulesetKind; 6] = [
    RulesetKind::Scrub,
    RulesetKind::Nat,
    RulesetKind::Rdr,
    RulesetKind::Binat,
    RulesetKind::Filter,
    RulesetKind::Table,
];

/// What of a configuration is loaded, and where.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The anchor; empty for the main ruleset.
    pub anchor: String,
    /// The lists.
    pub kinds: Vec<RulesetKind>,
    /// The options, and the fingerprints.
    pub options: bool,
    /// Options that are not set stay as they are, instead of getting their defaults.
    pub merge: bool,
}

impl Default for Scope {
    /// All of it, into the main ruleset.
    fn default() -> Self {
        Scope {
            anchor: String::new(),
            kinds: KINDS.to_vec(),
            options: true,
            merge: false,
        }
    }
}

impl Scope {
    /// The path of an anchor of the configuration.
    fn path(&self, anchor: &str) -> AnchorPath {
        let path = match (self.anchor.as_str(), anchor) {
            ("", anchor) => anchor.to_owned(),
            (within, "") => within.to_owned(),
            (within, anchor) => format!("{within}/{anchor}"),
        };
        AnchorPath::new(&path).unwrap_or_default()
    }
}

/// Loads a configuration. After an error pf is as it was before; what could not be put back is in the error's text.
pub fn load(pf: &mut Pf<'_>, config: &Config) -> Result<(), IoctlError> {
    load_part(pf, config, &Scope::default())
}

/// Loads some of a configuration, as [`load`] does.
pub fn load_part(pf: &mut Pf<'_>, config: &Config, scope: &Scope) -> Result<(), IoctlError> {
    let anchors = std::iter::once("").chain(config.anchors());
    let lists: Vec<(&str, RulesetKind)> = anchors
        .flat_map(|anchor| scope.kinds.iter().map(move |kind| (anchor, *kind)))
        .collect();
    let names: Vec<ListName> = lists.iter().map(|(anchor, kind)| (*kind, scope.path(anchor))).collect();
    let tickets = pf.begin(&names)?;
    let mut undo = Vec::new();
    let outcome = fill(pf, config, scope, &lists, &tickets)
        .and_then(|()| match scope.options {
            true => {
                set_fingerprints(pf, config).and_then(|()| set_options(pf, &config.options, scope.merge, &mut undo))
            }
            false => Ok(()),
        })
        // Behind the options, which may raise the limits.
        .and_then(|()| define(pf, config, scope, &lists, &tickets))
        .and_then(|()| pf.commit(&names, &tickets));
    let Err(mut error) = outcome else {
        return Ok(());
    };
    let mut left = Vec::new();
    for step in undo.into_iter().rev() {
        left.extend(step.undo(pf).err());
    }
    left.extend(pf.roll_back(&names, &tickets).err());
    for failed in left {
        error.doing = format!("{} (and then, {failed})", error.doing);
    }
    Err(error)
}

/// Empties some lists of the main ruleset.
pub fn clear(pf: &mut Pf<'_>, kinds: &[RulesetKind]) -> Result<(), IoctlError> {
    clear_in(pf, AnchorPath::EMPTY, kinds)
}

/// Empties some lists of a ruleset.
pub fn clear_in(pf: &mut Pf<'_>, anchor: AnchorPath, kinds: &[RulesetKind]) -> Result<(), IoctlError> {
    let names: Vec<ListName> = kinds.iter().map(|kind| (*kind, anchor)).collect();
    let tickets = pf.begin(&names)?;
    pf.commit(&names, &tickets)
}

/// Hands over the fingerprints that the rules' numbers are about. They have no transaction; those that were there go.
fn set_fingerprints(pf: &mut Pf<'_>, config: &Config) -> Result<(), IoctlError> {
    let Some(fingerprints) = &config.fingerprints else {
        return Ok(());
    };
    pf.flush_fingerprints()?;
    fingerprints
        .list()
        .iter()
        .try_for_each(|print| pf.add_fingerprint(print))
}

fn fill(
    pf: &mut Pf<'_>,
    config: &Config,
    scope: &Scope,
    lists: &[(&str, RulesetKind)],
    tickets: &[u32],
) -> Result<(), IoctlError> {
    for ((anchor, kind), ticket) in lists.iter().zip(tickets) {
        let mut pf = pf.reborrow();
        pf.set_anchor(scope.path(anchor));
        for rule in config.rules_in(anchor, *kind) {
            add(&mut pf, rule, *ticket).map_err(|error| {
                let doing = format!("{}:{}: {}", rule.file, rule.line, error.doing);
                error.doing(doing)
            })?;
        }
    }
    Ok(())
}

/// Defines the tables.
fn define(
    pf: &mut Pf<'_>,
    config: &Config,
    scope: &Scope,
    lists: &[(&str, RulesetKind)],
    tickets: &[u32],
) -> Result<(), IoctlError> {
    for ((anchor, kind), ticket) in lists.iter().zip(tickets) {
        if *kind != RulesetKind::Table {
            continue;
        }
        let mut pf = pf.reborrow();
        pf.set_anchor(scope.path(anchor));
        for table in config.tables.iter().filter(|table| table.anchor == *anchor) {
            pf.define_table(*ticket, table.name, table.flags, table.addresses.as_deref())
                .map_err(|error| {
                    let doing = format!("{}:{}: {}", table.file, table.line, error.doing);
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
    let call = AnchorPath::new(&rule.call).unwrap_or_default();
    pf.add_rule(ticket, pool_ticket, &rule.rule, &call)
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

fn set_options(pf: &mut Pf<'_>, options: &Options, merge: bool, undo: &mut Vec<Change>) -> Result<(), IoctlError> {
    for limit in Limit::ALL.iter().copied() {
        let wanted = options.limits.contains_key(&limit);
        if merge && !wanted {
            continue;
        }
        let old = if_known(pf.set_limit(limit, options.limit(limit)), wanted)?;
        undo.extend(old.map(|old| Change::Limit(limit, old)));
    }
    for timeout in Timeout::ALL.iter().copied() {
        let wanted = options.timeouts.contains_key(&timeout);
        if merge && !wanted {
            continue;
        }
        let seconds = i32::try_from(options.timeout(timeout)).unwrap_or(i32::MAX);
        let old = if_known(pf.set_timeout(timeout, seconds), wanted)?;
        undo.extend(old.map(|old| Change::Timeout(timeout, old)));
    }
    let status = pf.status()?;
    let debug = options.debug.unwrap_or(DebugLevel::Urgent);
    if (!merge || options.debug.is_some()) && if_known(pf.set_debug(debug.into()), options.debug.is_some())?.is_some() {
        undo.push(Change::Debug(status.debug));
    }
    let interface = options.log_interface.as_deref().unwrap_or_default();
    let interface = IfName::new(interface).unwrap_or_default();
    if (!merge || options.log_interface.is_some())
        && if_known(pf.set_log_interface(interface), !interface.is_empty())?.is_some()
    {
        undo.push(Change::LogInterface(status.ifname));
    }
    // The identity has no way back, and needs none: it only names this host to others.
    if let Some(id) = options.host_id {
        pf.set_host_id(id.to_be())?;
    }
    if merge && options.skip.is_empty() {
        return Ok(());
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
