//! `nat` and `rdr` rules.

use super::filter::has_ports;
use super::host::Host;
use super::particular::set_tags;
use super::port::Port;
use super::{Expander, Resolved, span_of};
use crate::conf::ast::{RedirectEnd, StatePolicy, Target, TranslationKind, TranslationRule};
use crate::conf::diagnostic::{Diagnostic, Span};
use pf_abi::{
    PF_ADDR_DYNIFTL, PF_NAT, PF_NONAT, PF_NORDR, PF_POOL_ROUNDROBIN, PF_POOL_STICKYADDR, PF_RDR, PFI_AFLAG_NOALIAS,
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
            Some(target) => match self.hosts(&target.hosts) {
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
        self.redirect_ports(target, rule, resolved, statement)?;
        if let Some(static_port) = target.static_port {
            set_static_port(target, rule, static_port)?;
        }
        rule.rpool.opts = choice(target, &hosts, span)?;
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
            TranslationKind::Nat => {}
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

/// How an address is chosen: [`pf_abi::Pool::opts`].
fn choice(target: &Target, hosts: &[Host], span: Span) -> Result<u8, Box<Diagnostic>> {
    let mut opts = target.pool.map_or(0, |pool| pool.node.into());
    let several = hosts.len() > 1 || hosts.iter().any(may_be_several);
    if opts == 0 && several {
        opts = PF_POOL_ROUNDROBIN;
    }
    if several && opts != PF_POOL_ROUNDROBIN {
        return Err(Box::new(
            Diagnostic::error(
                target.pool.map_or(span, |pool| pool.span),
                "several addresses can only be taken in turn",
            )
            .hint("write `round-robin`, or a single address"),
        ));
    }
    if target.sticky {
        opts |= PF_POOL_STICKYADDR;
    }
    Ok(opts)
}

/// Whether an interface in parentheses can have more than one address: unless it is one interface (its name ends in a
/// digit) and `:0` takes the first.
fn may_be_several(host: &Host) -> bool {
    let name = host.wrap.ifname();
    let one_interface = name
        .as_str()
        .is_some_and(|name| name.ends_with(|c: char| c.is_ascii_digit()));
    host.wrap.kind == PF_ADDR_DYNIFTL && (host.wrap.iflags & PFI_AFLAG_NOALIAS == 0 || !one_interface)
}

/// What does not go together in one rule.
fn check(statement: &TranslationRule, rule: &Rule, mistakes: &mut Vec<Diagnostic>) {
    // NetBSD's pfctl lets `nat` compare ports of any protocol; those without ports have port 0.
    if statement.kind == TranslationKind::Nat {
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
    for ports in [&matching.from.ports, &matching.to.ports] {
        if !ports.is_empty() {
            let span = span_of(ports, statement.span);
            mistakes.push(mistake(span, "a port without TCP or UDP", protocols));
        }
    }
    if let Some(span) = target_port(statement) {
        mistakes.push(mistake(span, "a port to redirect to without TCP or UDP", protocols));
    }
}

fn target_port(statement: &TranslationRule) -> Option<Span> {
    let target = statement.target.as_ref()?;
    target.port.as_ref().map(|port| port.span)
}
