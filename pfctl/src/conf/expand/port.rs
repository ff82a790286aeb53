//! Ports and services.

use super::{Expander, any_port};
use crate::conf::ast::PortSpec;
use crate::conf::diagnostic::{Diagnostic, Spanned, did_you_mean};
use crate::conf::parser::parse_number;
use crate::resolve::Transport;
use pf_abi::PortOp;

/// A comparison of ports, with ports in host byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Port {
    /// How.
    pub op: PortOp,
    /// With which.
    pub first: u16,
    /// The end of a range; 0 where there is none.
    pub second: u16,
}

impl Expander<'_> {
    /// The comparisons of a rule, or one that always holds; `None` where there were mistakes.
    pub(super) fn ports(&mut self, specs: &[Spanned<PortSpec>]) -> Option<Vec<Port>> {
        if specs.is_empty() {
            return Some(vec![any_port()]);
        }
        let mut ports = Vec::new();
        let mut failed = false;
        for spec in specs {
            match self.port(&spec.node) {
                Ok(port) => ports.push(port),
                Err(diagnostic) => {
                    self.diagnostics.push(diagnostic);
                    failed = true;
                }
            }
        }
        (!failed).then_some(ports)
    }

    fn port(&self, spec: &PortSpec) -> Result<Port, Diagnostic> {
        Ok(Port {
            op: spec.op,
            first: self.port_number(&spec.first)?,
            second: match &spec.second {
                Some(second) => self.port_number(second)?,
                None => 0,
            },
        })
    }

    /// A port by number, or by the name that a service has over TCP, else over UDP.
    pub(super) fn port_number(&self, text: &Spanned<String>) -> Result<u16, Diagnostic> {
        if let Some(number) = parse_number(&text.node) {
            return u16::try_from(number).map_err(|_| {
                Diagnostic::error(text.span, format!("port {number} is out of range")).label("at most 65535")
            });
        }
        let known = |transport| self.resolver.service(&text.node, transport);
        known(Transport::Tcp).or_else(|| known(Transport::Udp)).ok_or_else(|| {
            let names = self.resolver.service_names();
            Diagnostic::error(text.span, format!("unknown service `{}`", text.node))
                .label("not in services(5)")
                .hint_opt(did_you_mean(&text.node, names.iter().map(String::as_str)))
        })
    }
}
