//! `pass` and `block` rules.

use super::particular::Owners;
use super::{Combination, Expander, Resolved, common_family, span_of};
use crate::conf::ast::{FilterRule, IcmpSpec, Match, Response, SourceScope, StateOption, StatePolicy, Verdict};
use crate::conf::diagnostic::{Diagnostic, Span, Spanned};
use crate::conf::parser::{DEFAULT_ICMP_CODE, DEFAULT_ICMP6_CODE};
use crate::icmp;
use pf_abi::{
    AF_INET, AF_INET6, CName, PF_DROP, PF_OSFP_ANY, PF_PASS, PF_RULE_LABEL_SIZE, PF_STATE_MODULATE, PF_STATE_NORMAL,
    PF_STATE_SYNPROXY, PFRULE_FRAGMENT, PFRULE_IFBOUND, PFRULE_NOSYNC, PFRULE_RETURN, PFRULE_RETURNICMP,
    PFRULE_RETURNRST, PFRULE_RULESRCTRACK, PFRULE_SRCTRACK, Rule, Timeout,
};

const IPPROTO_ICMP: u8 = 1;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;
const IPPROTO_ICMPV6: u8 = 58;

/// `flags S/SA`, which stateful rules have unless told.
const SYN: u8 = 0x02;
const SYN_ACK: u8 = 0x12;

/// Whether a protocol has ports.
pub(super) fn has_ports(proto: u8) -> bool {
    proto == IPPROTO_TCP || proto == IPPROTO_UDP
}

impl Expander<'_> {
    /// Adds the rules of a statement.
    pub(super) fn filter(&mut self, statement: &FilterRule) {
        let Some(resolved) = self.resolve(&statement.matching) else {
            return;
        };
        let mut mistakes = Vec::new();
        let mut base = self.base(statement, &mut mistakes);
        let owners = self.particulars(&statement.particulars, &mut base, &mut mistakes);
        check_flags(statement, &resolved, &mut mistakes);
        let Some(pool) = self.route(statement, &mut base) else {
            return;
        };
        if base.af == 0 {
            base.af = common_family(&resolved.src);
        }
        if base.af == 0 {
            base.af = common_family(&resolved.dst);
        }
        let rules = self.combine(statement, &base, &resolved, &owners, &mut mistakes);
        if !self.report(mistakes) {
            return;
        }
        if rules.is_empty() {
            self.diagnostics.push(no_combination(statement));
        }
        for rule in rules {
            self.add(rule, pool.clone(), statement.span);
        }
    }

    /// What all rules of a statement have in common.
    fn base(&self, statement: &FilterRule, mistakes: &mut Vec<Diagnostic>) -> Rule {
        let mut rule = Rule {
            direction: statement.direction.into(),
            quick: statement.quick.into(),
            allow_opts: statement.allow_opts.is_some().into(),
            rtableid: -1,
            ..Rule::default()
        };
        if let Some(log) = statement.log {
            rule.log = log.flags();
            rule.logif = log.interface;
        }
        if let Some(queue) = &statement.queue {
            rule.qname = CName::new(&queue.queue).unwrap_or_default();
            rule.pqname = CName::new(queue.priority.as_deref().unwrap_or_default()).unwrap_or_default();
        }
        if let Some(af) = statement.matching.af {
            rule.af = af.node.number();
        }
        match statement.verdict.node {
            Verdict::Pass => rule.action = PF_PASS,
            Verdict::Block(response) => {
                rule.action = PF_DROP;
                answer(&mut rule, response.unwrap_or(self.config.options.block_policy));
            }
        }
        self.keep_state(statement, &mut rule, mistakes);
        if statement.fragment.is_some() {
            rule.rule_flag |= PFRULE_FRAGMENT;
        }
        if let Some(flags) = statement.flags {
            rule.flags = flags.node.set;
            rule.flagset = flags.node.of;
        } else if rule.action == PF_PASS && rule.keep_state != 0 && statement.fragment.is_none() {
            rule.flags = SYN;
            rule.flagset = SYN_ACK;
        }
        rule
    }

    fn keep_state(&self, statement: &FilterRule, rule: &mut Rule, mistakes: &mut Vec<Diagnostic>) {
        let Some(keep) = &statement.keep else {
            if rule.action == PF_PASS {
                rule.keep_state = PF_STATE_NORMAL;
                self.default_policy(rule);
            }
            return;
        };
        rule.keep_state = keep.node.kind;
        if rule.action == PF_DROP && rule.keep_state != 0 {
            mistakes.push(
                Diagnostic::error(keep.span, "a rule that blocks keeps no state")
                    .hint("`keep state` belongs to `pass`"),
            );
        }
        let mut policy_given = false;
        let mut track = None;
        let mut adaptive_given = false;
        for option in &keep.node.options {
            let twice = |what: &str| Diagnostic::error(option.span, format!("{what} given twice"));
            match option.node {
                StateOption::Max(0) => mistakes.push(Diagnostic::error(option.span, "`max` must be above 0")),
                StateOption::Max(_) if rule.max_states != 0 => mistakes.push(twice("`max`")),
                StateOption::Max(max) => rule.max_states = max,
                StateOption::NoSync if rule.rule_flag & PFRULE_NOSYNC != 0 => {
                    mistakes.push(twice("`no-sync`"));
                }
                StateOption::NoSync => rule.rule_flag |= PFRULE_NOSYNC,
                StateOption::Policy(_) if policy_given => mistakes.push(twice("the state policy")),
                StateOption::Policy(policy) => {
                    policy_given = true;
                    if policy == StatePolicy::IfBound {
                        rule.rule_flag |= PFRULE_IFBOUND;
                    }
                }
                StateOption::SourceTrack(_) if track.is_some() => mistakes.push(twice("`source-track`")),
                StateOption::SourceTrack(scope) => {
                    track = Some(scope);
                    rule.rule_flag |= PFRULE_SRCTRACK;
                }
                StateOption::MaxSrcNodes(_)
                | StateOption::MaxSrcStates(_)
                | StateOption::MaxSrcConn(_)
                | StateOption::MaxSrcConnRate(..)
                | StateOption::Overload(..) => mistakes.extend(limit_source(option, rule)),
                StateOption::Timeout(timeout, seconds) => {
                    adaptive_given |= matches!(timeout, Timeout::AdaptiveStart | Timeout::AdaptiveEnd);
                    let slot = &mut rule.timeout[timeout as usize];
                    if *slot != 0 {
                        mistakes.push(twice(&format!("`{}`", timeout.name())));
                    }
                    *slot = seconds;
                }
            }
        }
        mistakes.extend(check_tracking(track.flatten(), keep.span, rule));
        if rule.max_states != 0 && !adaptive_given {
            let tenth = rule.max_states / 10;
            rule.timeout[Timeout::AdaptiveStart as usize] = tenth * 6;
            rule.timeout[Timeout::AdaptiveEnd as usize] = tenth.saturating_mul(12);
        }
        if rule.keep_state != 0 && !policy_given {
            self.default_policy(rule);
        }
    }

    fn default_policy(&self, rule: &mut Rule) {
        if self.config.options.state_policy == StatePolicy::IfBound {
            rule.rule_flag |= PFRULE_IFBOUND;
        }
    }

    /// One rule for each combination that makes sense.
    fn combine(
        &self,
        statement: &FilterRule,
        base: &Rule,
        resolved: &Resolved,
        owners: &Owners,
        mistakes: &mut Vec<Diagnostic>,
    ) -> Vec<Rule> {
        let icmp: Vec<Option<&Spanned<IcmpSpec>>> = match statement.icmp.as_slice() {
            [] => vec![None],
            list => list.iter().map(Some).collect(),
        };
        let mut rules = Vec::new();
        for interface in 0..resolved.interfaces.len() {
            for proto in 0..resolved.protos.len() {
                for icmp in &icmp {
                    for combination in resolved.combinations(interface, proto) {
                        let Some(af) = combination.family(base.af) else {
                            continue;
                        };
                        let mut rule = base.clone();
                        combination.apply(&mut rule, af);
                        adjust(&mut rule, *icmp);
                        check(statement, &rule, *icmp, mistakes);
                        check_particulars(statement, &rule, owners, mistakes);
                        for mut rule in owners.multiply(&rule) {
                            let nr = (self.config.rules.len() + rules.len()) as u32;
                            self.label(statement, &mut rule, &combination, nr, mistakes);
                            rules.push(rule);
                        }
                    }
                }
            }
        }
        rules
    }

    fn label(
        &self,
        statement: &FilterRule,
        rule: &mut Rule,
        combination: &Combination<'_>,
        nr: u32,
        mistakes: &mut Vec<Diagnostic>,
    ) {
        let Some(label) = &statement.label else {
            return;
        };
        let text = super::label::expand_label(&label.node, combination, rule.af, nr, self.resolver);
        match CName::new(&text) {
            Some(name) => rule.label = name,
            None => mistakes.push(
                Diagnostic::error(label.span, "the label is too long")
                    .label(format!("at most {} characters", PF_RULE_LABEL_SIZE - 1)),
            ),
        }
    }
}

/// Puts a limit of sources into a rule, or says what is wrong with it.
fn limit_source(option: &Spanned<StateOption>, rule: &mut Rule) -> Option<Diagnostic> {
    let by_rule = PFRULE_SRCTRACK | PFRULE_RULESRCTRACK;
    let (name, slot, value, flags) = match option.node {
        StateOption::MaxSrcNodes(max) => ("max-src-nodes", &mut rule.max_src_nodes, max, by_rule),
        StateOption::MaxSrcStates(max) => ("max-src-states", &mut rule.max_src_states, max, PFRULE_SRCTRACK),
        StateOption::MaxSrcConn(max) => ("max-src-conn", &mut rule.max_src_conn, max, by_rule),
        StateOption::MaxSrcConnRate(max, seconds) => {
            let rate = &mut rule.max_src_conn_rate;
            if rate.limit == 0 {
                rate.seconds = seconds;
            }
            let value = if seconds == 0 { 0 } else { max };
            ("max-src-conn-rate", &mut rate.limit, value, by_rule)
        }
        StateOption::Overload(table, flush) => {
            if !rule.overload_tblname.is_empty() {
                return Some(Diagnostic::error(option.span, "`overload` given twice"));
            }
            (rule.overload_tblname, rule.flush) = (table, flush);
            return None;
        }
        _ => return None,
    };
    if value == 0 {
        return Some(Diagnostic::error(option.span, format!("`{name}` must be above 0")));
    }
    if *slot != 0 {
        return Some(Diagnostic::error(option.span, format!("`{name}` given twice")));
    }
    *slot = value;
    rule.rule_flag |= flags;
    None
}

/// What the limits of sources mean together.
fn check_tracking(scope: Option<SourceScope>, span: Span, rule: &mut Rule) -> Option<Diagnostic> {
    match scope {
        Some(SourceScope::Rule) => rule.rule_flag |= PFRULE_RULESRCTRACK,
        Some(SourceScope::Global) if rule.rule_flag & PFRULE_RULESRCTRACK != 0 => {
            return Some(
                Diagnostic::error(span, "`source-track global` with a limit that is the rule's alone")
                    .hint("`max-src-nodes`, `max-src-conn` and `max-src-conn-rate` go with `source-track rule`"),
            );
        }
        Some(SourceScope::Global) | None => {}
    }
    if !rule.overload_tblname.is_empty() && rule.max_src_conn == 0 && rule.max_src_conn_rate.limit == 0 {
        return Some(
            Diagnostic::error(span, "`overload` without anything that could be too much")
                .hint("write `max-src-conn` or `max-src-conn-rate`"),
        );
    }
    None
}

/// "Destination unreachable" with a code: [`Rule::return_icmp`].
fn icmp_code(code: u8) -> u16 {
    u16::from(icmp::UNREACH) << 8 | u16::from(code)
}

/// "Destination unreachable" with a code: [`Rule::return_icmp6`].
fn icmp6_code(code: u8) -> u16 {
    u16::from(icmp::UNREACH6) << 8 | u16::from(code)
}

/// How a blocked packet is answered.
fn answer(rule: &mut Rule, response: Response) {
    match response {
        Response::Drop => {}
        Response::Return => {
            rule.rule_flag |= PFRULE_RETURN;
            rule.return_icmp = icmp_code(DEFAULT_ICMP_CODE);
            rule.return_icmp6 = icmp6_code(DEFAULT_ICMP6_CODE);
        }
        Response::ReturnRst(ttl) => {
            rule.rule_flag |= PFRULE_RETURNRST;
            rule.return_ttl = ttl;
        }
        Response::ReturnIcmp(code, code6) => {
            rule.rule_flag |= PFRULE_RETURNICMP;
            rule.return_icmp = icmp_code(code);
            rule.return_icmp6 = icmp6_code(code6);
        }
    }
}

/// What depends on the protocol and the family of one combination.
fn adjust(rule: &mut Rule, icmp: Option<&Spanned<IcmpSpec>>) {
    if rule.proto != 0 && rule.proto != IPPROTO_TCP {
        rule.flags = 0;
        rule.flagset = 0;
        if rule.keep_state == PF_STATE_MODULATE || rule.keep_state == PF_STATE_SYNPROXY {
            rule.keep_state = PF_STATE_NORMAL;
        }
    }
    // A rule of one family answers with the codes of that family only.
    if rule.rule_flag & PFRULE_RETURNICMP != 0 {
        match rule.af {
            AF_INET => rule.return_icmp6 = icmp6_code(DEFAULT_ICMP6_CODE),
            AF_INET6 => rule.return_icmp = icmp_code(DEFAULT_ICMP_CODE),
            _ => {}
        }
    }
    if let Some(icmp) = icmp {
        rule.kind = icmp.node.kind.wrapping_add(1);
        rule.code = icmp.node.code.map_or(0, |code| code.wrapping_add(1));
    }
}

/// `flags` where no protocol is TCP.
fn check_flags(statement: &FilterRule, resolved: &Resolved, mistakes: &mut Vec<Diagnostic>) {
    if let Some(flags) = statement.flags
        && flags.node.of != 0
        && !statement.matching.protos.is_empty()
        && !resolved.protos.contains(&IPPROTO_TCP)
    {
        mistakes.push(
            Diagnostic::error(flags.span, "`flags` apply to TCP only")
                .hint("write `proto tcp`, or leave the flags out"),
        );
    }
}

/// A rule that asks for ports is one of a protocol that has them.
pub(super) fn check_ports(matching: &Match, proto: u8, statement: Span, mistakes: &mut Vec<Diagnostic>) {
    if has_ports(proto) {
        return;
    }
    for ports in [&matching.from.ports, &matching.to.ports] {
        if !ports.is_empty() {
            mistakes.push(
                Diagnostic::error(span_of(ports, statement), "a port without TCP or UDP")
                    .hint("write `proto tcp`, `proto udp` or `proto { tcp udp }`"),
            );
        }
    }
}

/// What does not go together in one rule.
fn check(statement: &FilterRule, rule: &Rule, icmp: Option<&Spanned<IcmpSpec>>, mistakes: &mut Vec<Diagnostic>) {
    let matching = &statement.matching;
    check_ports(matching, rule.proto, statement.span, mistakes);
    let proto_span = span_of(&matching.protos, statement.span);
    if let Some(icmp) = icmp {
        check_icmp(rule, icmp, mistakes);
    }
    if (rule.proto == IPPROTO_ICMP && rule.af == AF_INET6) || (rule.proto == IPPROTO_ICMPV6 && rule.af == AF_INET) {
        let (proto, family) = match rule.proto {
            IPPROTO_ICMP => ("icmp", "inet6"),
            _ => ("icmp6", "inet"),
        };
        mistakes.push(
            Diagnostic::error(proto_span, format!("`proto {proto}` does not go with `{family}`"))
                .hint("ICMP goes with IPv4, ICMPv6 with IPv6"),
        );
    }
    if let Some(span) = statement.allow_opts
        && rule.action != PF_PASS
    {
        mistakes.push(Diagnostic::error(span, "`allow-opts` in a rule that does not pass"));
    }
    if let Some(span) = statement.fragment
        && (rule.src.port_op != 0 || rule.dst.port_op != 0 || rule.flagset != 0 || icmp.is_some())
    {
        mistakes.push(
            Diagnostic::error(span, "fragments have no ports, flags or types")
                .hint("a rule for fragments can look at the IP header only"),
        );
    }
    if rule.rule_flag & PFRULE_RETURNRST != 0 && rule.proto != IPPROTO_TCP {
        mistakes.push(
            Diagnostic::error(statement.verdict.span, "`return-rst` without TCP")
                .hint("write `proto tcp`, or `return`, which suits every protocol"),
        );
    }
}

/// What only some protocols have.
fn check_particulars(statement: &FilterRule, rule: &Rule, owners: &Owners, mistakes: &mut Vec<Diagnostic>) {
    if owners.is_asked() && rule.proto != 0 && !has_ports(rule.proto) {
        let particulars = &statement.particulars;
        let span = span_of(&particulars.users, span_of(&particulars.groups, statement.span));
        mistakes.push(
            Diagnostic::error(span, "`user` and `group` apply to TCP and UDP only")
                .hint("write `proto tcp`, `proto udp` or `proto { tcp udp }`"),
        );
    }
    if rule.os_fingerprint != PF_OSFP_ANY && rule.proto != 0 && rule.proto != IPPROTO_TCP {
        mistakes.push(
            Diagnostic::error(
                span_of(&statement.matching.os, statement.span),
                "`os` applies to TCP only",
            )
            .hint("a system is known by the first packet of a TCP connection"),
        );
    }
}

fn check_icmp(rule: &Rule, icmp: &Spanned<IcmpSpec>, mistakes: &mut Vec<Diagnostic>) {
    use crate::conf::ast::Af;

    if icmp.node.kind == u8::MAX || icmp.node.code == Some(u8::MAX) {
        mistakes.push(Diagnostic::error(icmp.span, "type and code 255 cannot be matched"));
    }
    let (wanted, name) = match icmp.node.af {
        Af::Inet => (IPPROTO_ICMP, "icmp"),
        Af::Inet6 => (IPPROTO_ICMPV6, "icmp6"),
    };
    if rule.proto != wanted {
        mistakes.push(
            Diagnostic::error(icmp.span, format!("a type of ICMP without `proto {name}`"))
                .hint("`icmp-type` goes with `proto icmp`, `icmp6-type` with `proto icmp6`"),
        );
    }
    if rule.af == 0 {
        mistakes.push(
            Diagnostic::error(icmp.span, "a type of ICMP without an address family")
                .hint("write `inet` with `icmp-type`, `inet6` with `icmp6-type`"),
        );
    }
}

/// A rule of which nothing is left.
fn no_combination(statement: &FilterRule) -> Diagnostic {
    Diagnostic::error(statement.span, "the addresses of this rule do not go together")
        .label("no combination has one address family")
        .hint("source, destination and `inet` or `inet6` must have a family in common")
}
