//! Criteria that few rules have: users, groups, systems, type of service, tags, chance.

use super::Expander;
use crate::conf::ast::{Particulars, PortSpec};
use crate::conf::diagnostic::{Diagnostic, Spanned, did_you_mean};
use crate::conf::parser::parse_number;
use crate::osfp::{self, Fingerprints};
use pf_abi::{CName, PF_OSFP_ANY, PortOp, Rule, RuleId};

/// The users and groups of a rule, each list with at least one entry.
pub(super) struct Owners {
    users: Vec<RuleId>,
    groups: Vec<RuleId>,
}

impl Owners {
    /// The rule for each of them.
    pub(super) fn multiply(&self, rule: &Rule) -> Vec<Rule> {
        let mut rules = Vec::new();
        for uid in &self.users {
            for gid in &self.groups {
                let mut rule = rule.clone();
                (rule.uid, rule.gid) = (*uid, *gid);
                rules.push(rule);
            }
        }
        rules
    }

    /// Whether any is asked for.
    pub(super) fn is_asked(&self) -> bool {
        self.users.iter().chain(&self.groups).any(|id| id.op != 0)
    }
}

impl Expander<'_> {
    /// Puts what is the same for all rules of a statement into `rule`, and looks up the rest.
    pub(super) fn particulars(&self, from: &Particulars, rule: &mut Rule, mistakes: &mut Vec<Diagnostic>) -> Owners {
        rule.tos = from.tos.unwrap_or(0);
        rule.prob = from.probability.unwrap_or(0);
        set_tags(from, rule);
        let mut ids = |list: &[Spanned<PortSpec>], what: &str, find: &dyn Fn(&str) -> Option<u32>| match list {
            [] => vec![RuleId::default()],
            list => list
                .iter()
                .filter_map(|spec| {
                    id(&spec.node, what, find)
                        .map_err(|mistake| mistakes.push(mistake))
                        .ok()
                })
                .collect(),
        };
        Owners {
            users: ids(&from.users, "user", &|name| self.resolver.user(name)),
            groups: ids(&from.groups, "group", &|name| self.resolver.group(name)),
        }
    }

    /// The numbers of systems; [`PF_OSFP_ANY`] where none is named.
    pub(super) fn systems(&mut self, names: &[Spanned<String>]) -> Option<Vec<u32>> {
        if names.is_empty() {
            return Some(vec![PF_OSFP_ANY]);
        }
        if self.config.fingerprints.is_none() {
            self.read_fingerprints(osfp::FILE, names[0].span);
        }
        let known = self.config.fingerprints.as_ref()?;
        let mut numbers = Vec::new();
        let mut mistakes = Vec::new();
        for name in names {
            match known.number(&name.node) {
                Some(number) => numbers.push(number),
                None => mistakes.push(
                    Diagnostic::error(name.span, format!("there is no fingerprint of `{}`", name.node))
                        .hint_opt(did_you_mean(&name.node, known.classes())),
                ),
            }
        }
        self.report(mistakes).then_some(numbers)
    }

    /// Reads pf.os(5).
    pub(super) fn read_fingerprints(&mut self, file: &str, span: crate::conf::diagnostic::Span) {
        match self.resolver.fingerprints(file) {
            Ok(text) => {
                let (fingerprints, mistakes) = Fingerprints::parse(&text);
                for (line, mistake) in mistakes {
                    let warning = Diagnostic::warning(span, format!("{file}:{line}: {mistake}"));
                    self.diagnostics.push(warning.label("of this file"));
                }
                self.config.fingerprints = Some(fingerprints);
            }
            Err(error) => self.diagnostics.push(
                Diagnostic::error(span, format!("cannot read `{file}`: {error}"))
                    .hint("fingerprints are in /etc/pf.os, or where `set fingerprints` says"),
            ),
        }
    }
}

/// `tag` and `tagged`.
pub(super) fn set_tags(from: &Particulars, rule: &mut Rule) {
    if let Some(tag) = &from.tag {
        rule.tagname = CName::new(&tag.node).unwrap_or_default();
    }
    if let Some(tagged) = &from.tagged {
        rule.match_tagname = CName::new(&tagged.name.node).unwrap_or_default();
        rule.match_tag_not = tagged.not.into();
    }
}

/// A user or a group: by name, by number, `unknown`.
fn id(spec: &PortSpec, what: &str, find: &dyn Fn(&str) -> Option<u32>) -> Result<RuleId, Diagnostic> {
    let is_equal = matches!(spec.op, PortOp::Equal | PortOp::NotEqual);
    let number = |text: &Spanned<String>| {
        if text.node == "unknown" {
            return match is_equal {
                true => Ok(u32::MAX),
                false => Err(Diagnostic::error(text.span, "`unknown` can only be equal or not")),
            };
        }
        match parse_number(&text.node) {
            Some(number) => u32::try_from(number)
                .ok()
                .filter(|number| *number < u32::MAX)
                .ok_or_else(|| Diagnostic::error(text.span, format!("{what} {number} is out of range"))),
            None => find(&text.node)
                .ok_or_else(|| Diagnostic::error(text.span, format!("there is no {what} `{}`", text.node))),
        }
    };
    Ok(RuleId {
        id: [number(&spec.first)?, spec.second.as_ref().map_or(Ok(0), number)?],
        op: spec.op.into(),
        ..RuleId::default()
    })
}
