//! The active rules of the kernel.

use crate::device::{IoctlError, Pf};
use pf_abi::{AnchorPath, PF_NAT, PF_PASS, PF_RDR, PoolAddr, Rule, RulesetKind, errno};

/// An active rule.
#[derive(Clone, Debug)]
pub struct ActiveRule {
    /// The rule, with its counters.
    pub rule: Box<Rule>,
    /// The addresses of its pool.
    pub pool: Vec<PoolAddr>,
    /// The anchor that it calls; empty for none.
    pub anchor_call: AnchorPath,
}

/// How often the rules are read again when somebody else changes them meanwhile.
const ATTEMPTS: usize = 10;

/// The action by which a list is asked for.
fn action(kind: RulesetKind) -> u8 {
    match kind {
        RulesetKind::Scrub => pf_abi::PF_SCRUB,
        RulesetKind::Nat => PF_NAT,
        RulesetKind::Rdr => PF_RDR,
        RulesetKind::Binat => pf_abi::PF_BINAT,
        RulesetKind::Filter | RulesetKind::Altq | RulesetKind::Table => PF_PASS,
    }
}

/// The rules of a list of the ruleset that `pf` is set to, all of one moment.
pub fn read(pf: &mut Pf<'_>, kind: RulesetKind) -> Result<Vec<ActiveRule>, IoctlError> {
    read_and(pf, kind, false)
}

/// The same, and with `clear`, their counters begin anew.
pub fn read_and(pf: &mut Pf<'_>, kind: RulesetKind, clear: bool) -> Result<Vec<ActiveRule>, IoctlError> {
    let mut attempt = 1;
    loop {
        match read_once(pf, action(kind), clear) {
            Err(error) if error.errno() == Some(errno::EBUSY) && attempt < ATTEMPTS => attempt += 1,
            outcome => return outcome,
        }
    }
}

fn read_once(pf: &mut Pf<'_>, action: u8, clear: bool) -> Result<Vec<ActiveRule>, IoctlError> {
    let (count, ticket) = pf.rule_count(action)?;
    let mut rules = Vec::new();
    for nr in 0..count {
        let (rule, anchor_call) = pf.rule(action, ticket, nr, clear)?;
        let translates = action != PF_PASS && action != pf_abi::PF_SCRUB;
        let calls = !anchor_call.is_empty();
        let pool = if !calls && (translates || rule.rt != 0) {
            pf.pool(action, ticket, nr)?
        } else {
            Vec::new()
        };
        rules.push(ActiveRule {
            rule: Box::new(rule),
            pool,
            anchor_call,
        });
    }
    Ok(rules)
}
