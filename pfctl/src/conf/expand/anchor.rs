//! Rules that call anchors.

use super::Expander;
use super::filter::check_ports;
use crate::conf::ast::{AnchorKind, AnchorRule};
use crate::conf::diagnostic::Diagnostic;
use pf_abi::{PF_BINAT, PF_NAT, PF_PASS, PF_RDR, Rule};

impl Expander<'_> {
    /// Adds the rules of a statement; where it has a block, what follows stands in it.
    pub(super) fn anchor(&mut self, statement: &AnchorRule) {
        let call = match &statement.name {
            Some(name) => name.node.clone(),
            None => format!("_{}", self.blocks + 1),
        };
        if statement.block {
            self.blocks += 1;
        }
        self.anchor_rules(statement, &call);
        if statement.block {
            let path = match (call.strip_prefix('/'), self.path.as_str()) {
                (Some(absolute), _) => absolute.to_owned(),
                (None, "") => call,
                (None, path) => format!("{path}/{call}"),
            };
            if self.inline.contains(&path) {
                self.diagnostics.push(Diagnostic::error(
                    statement.span,
                    format!("anchor `{path}` has its rules here and elsewhere"),
                ));
            }
            self.inline.push(path.clone());
            self.outer.push(std::mem::replace(&mut self.path, path));
        }
    }

    /// Ends a block.
    pub(super) fn end_block(&mut self) {
        if let Some(path) = self.outer.pop() {
            self.path = path;
        }
    }

    fn anchor_rules(&mut self, statement: &AnchorRule, call: &str) {
        let Some(resolved) = self.resolve(&statement.matching) else {
            return;
        };
        let mut base = Rule {
            action: match statement.kind {
                AnchorKind::Filter => PF_PASS,
                AnchorKind::Nat => PF_NAT,
                AnchorKind::Rdr => PF_RDR,
                AnchorKind::Binat => PF_BINAT,
            },
            direction: statement.direction.into(),
            quick: statement.quick.into(),
            af: statement.matching.af.map_or(0, |af| af.node.number()),
            rtableid: -1,
            ..Rule::default()
        };
        let mut mistakes = Vec::new();
        let owners = self.particulars(&statement.particulars, &mut base, &mut mistakes);
        let mut rules = Vec::new();
        for interface in 0..resolved.interfaces.len() {
            for proto in 0..resolved.protos.len() {
                for combination in resolved.combinations(interface, proto) {
                    let Some(af) = combination.family(base.af) else {
                        continue;
                    };
                    let mut rule = base.clone();
                    combination.apply(&mut rule, af);
                    if statement.kind != AnchorKind::Nat {
                        check_ports(&statement.matching, rule.proto, statement.span, &mut mistakes);
                    }
                    rules.extend(owners.multiply(&rule));
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
            if let Some(added) = self.config.rules.last_mut() {
                added.call = call.to_owned();
                added.block = statement.block;
            }
        }
    }
}
