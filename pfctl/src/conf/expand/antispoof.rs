//! `antispoof`: what an interface's networks send may come in at that interface alone, and nobody else has its addresses.

use super::Expander;
use super::host::Host;
use crate::conf::ast::{Antispoof, HostKind, HostSpec, IfSpec};
use crate::conf::diagnostic::{Diagnostic, Spanned};
use pf_abi::{CName, PF_DROP, PF_IN, PF_LOG, PF_LOG_ALL, PFI_AFLAG_NETWORK, Rule};

impl Expander<'_> {
    /// Adds the rules of a statement: for each interface those of its networks, and those of its addresses unless it is a loopback
    /// interface.
    pub(super) fn antispoof(&mut self, statement: &Antispoof) {
        let mut base = Rule {
            action: PF_DROP,
            direction: PF_IN,
            quick: statement.quick.into(),
            rtableid: -1,
            af: statement.af.map_or(0, |af| af.node.number()),
            ..Rule::default()
        };
        if let Some(log) = statement.log {
            base.log = PF_LOG | if log.all { PF_LOG_ALL } else { 0 };
            base.logif = log.interface;
        }
        if let Some(label) = &statement.label {
            match CName::new(&label.node) {
                Some(name) => base.label = name,
                None => {
                    let mistake = Diagnostic::error(label.span, "the label is too long");
                    self.diagnostics.push(mistake);
                    return;
                }
            }
        }
        for interface in &statement.interfaces {
            let name = &interface.node.name;
            let of = |flags: u8| {
                let kind = match interface.node.dynamic {
                    true => HostKind::Dynamic {
                        name: name.clone(),
                        flags,
                        mask: None,
                    },
                    false if flags != 0 => HostKind::Name(format!("{name}:network"), None),
                    false => HostKind::Name(name.clone(), None),
                };
                [Spanned {
                    node: HostSpec { not: false, kind },
                    span: interface.span,
                }]
            };
            let elsewhere = IfSpec {
                not: true,
                name: name.clone(),
            };
            if let Some(networks) = self.hosts(&of(PFI_AFLAG_NETWORK)) {
                self.spoofed(&base, &networks, Some(&elsewhere), statement);
            }
            // The addresses of a loopback interface are talked to from there.
            if !name.starts_with("lo")
                && let Some(addresses) = self.hosts(&of(0))
            {
                self.spoofed(&base, &addresses, None, statement);
            }
        }
    }

    fn spoofed(&mut self, base: &Rule, from: &[Host], on: Option<&IfSpec>, statement: &Antispoof) {
        for host in from {
            if base.af != 0 && host.af != 0 && base.af != host.af {
                continue;
            }
            let mut rule = base.clone();
            rule.af = if host.af != 0 { host.af } else { base.af };
            rule.src.addr = host.wrap_for(rule.af);
            // A link-local address means something on its own interface only.
            let named = on.map(|on| on.name.as_str());
            match (&host.scope, named) {
                (Some(scope), Some(name)) if scope == name && on.is_some_and(|on| on.not) => continue,
                (Some(scope), None) => rule.ifname = CName::new(scope).unwrap_or_default(),
                _ => (),
            }
            if let Some(on) = on {
                rule.ifname = CName::new(&on.name).unwrap_or_default();
                rule.ifnot = on.not.into();
            }
            self.add(rule, Vec::new(), statement.span);
        }
    }
}
