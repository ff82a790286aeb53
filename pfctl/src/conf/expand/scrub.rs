//! `scrub` rules.

use super::Expander;
use super::filter::check_ports;
use crate::conf::ast::{Fragments, ScrubRule};
use crate::conf::diagnostic::Diagnostic;
use pf_abi::{
    Direction, PF_LOG, PF_LOG_ALL, PF_NOSCRUB, PF_SCRUB, PFRULE_FRAGCROP, PFRULE_FRAGDROP, PFRULE_NODF,
    PFRULE_RANDOMID, PFRULE_REASSEMBLE_TCP, Rule,
};

impl Expander<'_> {
    /// Adds the rules of a statement.
    pub(super) fn scrub(&mut self, statement: &ScrubRule) {
        let Some(resolved) = self.resolve(&statement.matching) else {
            return;
        };
        let mut mistakes = Vec::new();
        check(statement, &mut mistakes);
        let base = base(statement);
        let mut rules = Vec::new();
        for interface in 0..resolved.interfaces.len() {
            for proto in 0..resolved.protos.len() {
                for combination in resolved.combinations(interface, proto) {
                    let Some(af) = combination.family(base.af) else {
                        continue;
                    };
                    let mut rule = base.clone();
                    combination.apply(&mut rule, af);
                    check_ports(&statement.matching, rule.proto, statement.span, &mut mistakes);
                    rules.push(rule);
                }
            }
        }
        if !self.report(mistakes) {
            return;
        }
        if rules.is_empty() {
            self.diagnostics.push(
                Diagnostic::error(statement.span, "the addresses of this rule do not go together")
                    .label("no combination has one address family"),
            );
        }
        for rule in rules {
            self.add(rule, Vec::new(), statement.span);
        }
    }
}

/// What all rules of a statement have in common.
fn base(statement: &ScrubRule) -> Rule {
    let mut rule = Rule {
        action: if statement.no { PF_NOSCRUB } else { PF_SCRUB },
        direction: statement.direction.into(),
        rtableid: -1,
        ..Rule::default()
    };
    if let Some(log) = statement.log {
        rule.log = PF_LOG | if log.all { PF_LOG_ALL } else { 0 };
        rule.logif = log.interface;
    }
    if let Some(af) = statement.matching.af {
        rule.af = af.node.number();
    }
    for (given, flag) in [
        (statement.no_df, PFRULE_NODF),
        (statement.random_id, PFRULE_RANDOMID),
        (statement.reassemble_tcp, PFRULE_REASSEMBLE_TCP),
    ] {
        if given.is_some() {
            rule.rule_flag |= flag;
        }
    }
    match statement.fragments.map(|fragments| fragments.node) {
        Some(Fragments::Crop) => rule.rule_flag |= PFRULE_FRAGCROP,
        Some(Fragments::DropOverlaps) => rule.rule_flag |= PFRULE_FRAGDROP,
        Some(Fragments::Reassemble) | None => {}
    }
    rule.min_ttl = statement.min_ttl.map_or(0, |ttl| ttl.node);
    rule.max_mss = statement.max_mss.map_or(0, |mss| mss.node);
    rule
}

fn check(statement: &ScrubRule, mistakes: &mut Vec<Diagnostic>) {
    if let Some(span) = statement.reassemble_tcp
        && statement.direction != Direction::InOut
    {
        mistakes.push(
            Diagnostic::error(span, "`reassemble tcp` in one direction")
                .hint("it has to see both directions of a connection: leave `in` or `out` out"),
        );
    }
    let options = [
        statement.no_df,
        statement.random_id,
        statement.reassemble_tcp,
        statement.min_ttl.map(|ttl| ttl.span),
        statement.max_mss.map(|mss| mss.span),
        statement.fragments.map(|fragments| fragments.span),
    ];
    if statement.no
        && let Some(span) = options.into_iter().flatten().next()
    {
        mistakes.push(Diagnostic::error(span, "`no scrub` changes nothing").label("so there is nothing to say how"));
    }
}
