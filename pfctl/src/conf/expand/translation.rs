//! `nat`, `rdr` and `binat` rules.

use super::filter::{check_ports, has_ports};
use super::host::{Host, Purpose};
use super::particular::set_tags;
use super::pool::{choose, is_network, may_be_several};
use super::port::Port;
use super::{Expander, Resolved, span_of};
use crate::conf::ast::{RedirectEnd, StatePolicy, Target, TranslationKind, TranslationRule};
use crate::conf::diagnostic::{Diagnostic, Span};
use pf_abi::{
    PF_ADDR_ADDRMASK, PF_ADDR_DYNIFTL, PF_ADDR_TABLE, PF_BINAT, PF_NAT, PF_NOBINAT, PF_NONAT, PF_NORDR, PF_RDR,
    PFRULE_IFBOUND, PoolAddr, PortOp, Rule,
};

/// The lowest source port of `nat` unless told.
pub const NAT_PORT_LOW: u16 = 50_001;
/// The highest source port of `nat` unless told.
pub const NAT_PORT_HIGH: u16 = 65_535;

impl Expander<'_> {
    /// Adds the rules of a statement.
    pub(super) fn translation(&mut self, statement: &TranslationRule) {
        let target = match &statement.target {
            Some(target) => match self.hosts_for(Purpose::Give, &target.hosts) {
                Some(hosts) => Some((target, hosts)),
                None => return,
            },
            None => None,
        };
        let Some(resolved) = self.resolve(&statement.matching) else {
            return;
        };
        let mut mistakes = Vec::new();
        let mut base = self.translation_base(statement, &resolved);
        let mut pool = Vec::new();
        if let Some((target, hosts)) = target {
            match self.aim(statement, target, hosts, &mut base, &resolved) {
                Ok(addresses) => pool = addresses,
                Err(diagnostic) => mistakes.push(*diagnostic),
            }
        }
        let mut rules = Vec::new();
        for interface in 0..resolved.interfaces.len() {
            for proto in 0..resolved.protos.len() {
                for combination in resolved.combinations(interface, proto) {
                    let Some(af) = combination.family(base.af) else {
                        continue;
                    };
                    let mut rule = base.clone();
                    combination.apply(&mut rule, af);
                    check(statement, &rule, &mut mistakes);
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
            self.add(rule, pool.clone(), statement.span);
        }
    }

    fn translation_base(&self, statement: &TranslationRule, resolved: &Resolved) -> Rule {
        let mut rule = Rule {
            action: match (statement.kind, statement.no) {
                (TranslationKind::Nat, false) => PF_NAT,
                (TranslationKind::Nat, true) => PF_NONAT,
                (TranslationKind::Rdr, false) => PF_RDR,
                (TranslationKind::Rdr, true) => PF_NORDR,
                (TranslationKind::Binat, false) => PF_BINAT,
                (TranslationKind::Binat, true) => PF_NOBINAT,
            },
            natpass: statement.pass.into(),
            rtableid: -1,
            ..Rule::default()
        };
        if let Some(log) = statement.log {
            rule.log = log.flags();
            rule.logif = log.interface;
        }
        set_tags(&statement.particulars, &mut rule);
        if self.config.options.state_policy == StatePolicy::IfBound {
            rule.rule_flag |= PFRULE_IFBOUND;
        }
        rule.af = match statement.matching.af {
            Some(af) => af.node.number(),
            // The first address that has a family decides.
            None => [&resolved.src[0], &resolved.dst[0]]
                .into_iter()
                .find(|host| host.af != 0 && host.scope.is_none())
                .map_or(0, |host| host.af),
        };
        rule
    }

    /// Works out what stands behind `->`: sets the family, the ports and the choice, and gives the pool.
    fn aim(
        &self,
        statement: &TranslationRule,
        target: &Target,
        mut hosts: Vec<Host>,
        rule: &mut Rule,
        resolved: &Resolved,
    ) -> Result<Vec<PoolAddr>, Box<Diagnostic>> {
        let span = span_of(&target.hosts, statement.span);
        if rule.af == 0
            && let Some(first) = hosts.first().filter(|host| host.scope.is_none())
        {
            rule.af = first.af;
        }
        hosts.retain(|host| rule.af == 0 || host.af == 0 || host.af == rule.af);
        if hosts.is_empty() {
            return Err(Box::new(
                Diagnostic::error(span, "no address to translate to has the rule's family")
                    .hint("a packet stays IPv4 or IPv6 when it is translated"),
            ));
        }
        if rule.af == 0 && hosts.iter().any(|host| host.wrap.kind != PF_ADDR_DYNIFTL) {
            return Err(Box::new(
                Diagnostic::error(span, "the address to translate to has several families")
                    .hint("write `inet` or `inet6`"),
            ));
        }
        if statement.kind == TranslationKind::Binat {
            check_binat(statement, target, &hosts, resolved, span)?;
        }
        self.redirect_ports(target, rule, resolved, statement)?;
        if let Some(static_port) = target.static_port {
            set_static_port(target, rule, static_port)?;
        }
        let several = hosts.len() > 1 || hosts.iter().any(may_be_several);
        choose(&target.choice, several, hosts.iter().any(is_network), span, rule)?;
        Ok(hosts
            .iter()
            .map(|host| PoolAddr {
                addr: host.wrap_for(rule.af),
                ..PoolAddr::default()
            })
            .collect())
    }

    /// Sets the ports behind `->`, in host byte order.
    fn redirect_ports(
        &self,
        target: &Target,
        rule: &mut Rule,
        resolved: &Resolved,
        statement: &TranslationRule,
    ) -> Result<(), Box<Diagnostic>> {
        let (mut first, mut last, mut open) = (0, 0, false);
        if let Some(port) = &target.port {
            first = self.port_number(&port.node.first)?;
            match &port.node.last {
                RedirectEnd::Same => {}
                RedirectEnd::Open => open = true,
                RedirectEnd::At(end) => {
                    last = self.port_number(end)?;
                    if last == first {
                        last = 0;
                    }
                }
            }
            if last != 0 && last < first {
                return Err(Box::new(Diagnostic::error(
                    port.span,
                    "a range of ports that ends before it begins",
                )));
            }
        }
        match statement.kind {
            TranslationKind::Rdr => {
                if open && !statement.matching.to.ports.is_empty() {
                    last = open_end(first, &resolved.dst_ports[0]);
                }
            }
            TranslationKind::Nat if first == 0 && last == 0 => {
                (first, last) = (NAT_PORT_LOW, NAT_PORT_HIGH);
            }
            TranslationKind::Nat if last == 0 => last = first,
            TranslationKind::Nat | TranslationKind::Binat => {}
        }
        rule.rpool.proxy_port = [first, last];
        Ok(())
    }
}

/// The end of `port:*`: as many ports further as the destination's range has; 0 where that is none.
fn open_end(first: u16, destination: &Port) -> u16 {
    let width = match destination.op {
        PortOp::Range => destination.second.saturating_sub(destination.first),
        _ => 0,
    };
    match width {
        0 => 0,
        _ => first.saturating_add(width),
    }
}

fn set_static_port(target: &Target, rule: &mut Rule, span: Span) -> Result<(), Box<Diagnostic>> {
    if rule.action != PF_NAT {
        return Err(Box::new(Diagnostic::error(span, "`static-port` belongs to `nat`")));
    }
    if target.port.is_some() {
        return Err(Box::new(
            Diagnostic::error(span, "`static-port` together with a port").hint("a port is either kept or chosen"),
        ));
    }
    rule.rpool.proxy_port = [0, 0];
    Ok(())
}

/// What makes no sense in a `binat` rule: it stands for one network inside and one outside, of the same size.
fn check_binat(
    statement: &TranslationRule,
    target: &Target,
    hosts: &[Host],
    resolved: &Resolved,
    span: Span,
) -> Result<(), Box<Diagnostic>> {
    let matching = &statement.matching;
    let mistake = |span, message: &str, hint: &str| Err(Box::new(Diagnostic::error(span, message).hint(hint)));
    for ports in [&matching.from.ports, &matching.to.ports] {
        if !ports.is_empty() {
            return mistake(
                span_of(ports, statement.span),
                "a port in a `binat` rule",
                "ports stay as they are; use `rdr` and `nat`",
            );
        }
    }
    if let Some(port) = &target.port {
        return mistake(
            port.span,
            "a port in a `binat` rule",
            "ports stay as they are; use `rdr` and `nat`",
        );
    }
    if hosts.iter().any(|host| host.wrap.kind == PF_ADDR_TABLE) {
        return mistake(
            span,
            "a table in a `binat` rule",
            "it stands for one network inside and one outside",
        );
    }
    if let Some(kind) = target.choice.kind {
        return mistake(
            kind.span,
            "a `binat` rule has no choice",
            "each address inside has its own outside",
        );
    }
    let lists = [
        (resolved.interfaces.len(), span_of(&matching.interfaces, statement.span)),
        (resolved.src.len(), span_of(&matching.from.hosts, statement.span)),
        (resolved.dst.len(), span_of(&matching.to.hosts, statement.span)),
        (hosts.len(), span),
    ];
    for (len, span) in lists {
        if len > 1 {
            return mistake(span, "a list in a `binat` rule", "write a rule for each");
        }
    }
    let (Some(inside), Some(outside)) = (resolved.src.first(), hosts.first()) else {
        return Ok(());
    };
    let from = span_of(&matching.from.hosts, statement.span);
    if inside.wrap.kind == PF_ADDR_ADDRMASK && inside.af == 0 || inside.not {
        return mistake(
            from,
            "a `binat` rule needs the addresses inside",
            "write `from` and an address or a network",
        );
    }
    let both_fixed = inside.wrap.kind == PF_ADDR_ADDRMASK && outside.wrap.kind == PF_ADDR_ADDRMASK;
    if both_fixed && inside.wrap.a.mask != outside.wrap.a.mask {
        return mistake(
            span,
            "the networks inside and outside are not of one size",
            "both must have the same mask",
        );
    }
    Ok(())
}

/// What does not go together in one rule.
fn check(statement: &TranslationRule, rule: &Rule, mistakes: &mut Vec<Diagnostic>) {
    // NetBSD's pfctl lets `nat` compare ports of any protocol; those without ports have port 0.
    if statement.kind != TranslationKind::Rdr {
        return;
    }
    let matching = &statement.matching;
    let mistake = |span, message: &str, hint: &str| Diagnostic::error(span, message).hint(hint);
    if has_ports(rule.proto) {
        let op = PortOp::try_from(rule.dst.port_op);
        if !matches!(op, Ok(PortOp::None | PortOp::Equal | PortOp::Range)) {
            mistakes.push(mistake(
                span_of(&matching.to.ports, statement.span),
                "this comparison of ports cannot be redirected",
                "`rdr` takes a port or a range `a:b`",
            ));
        }
        return;
    }
    let protocols = "write `proto tcp`, `proto udp` or `proto { tcp udp }`";
    check_ports(matching, rule.proto, statement.span, mistakes);
    if let Some(span) = target_port(statement) {
        mistakes.push(mistake(span, "a port to redirect to without TCP or UDP", protocols));
    }
}

fn target_port(statement: &TranslationRule) -> Option<Span> {
    let target = statement.target.as_ref()?;
    target.port.as_ref().map(|port| port.span)
}
