//! Rules.

use super::addr::{address_text, matches_all};
use crate::conf::expand::{NAT_PORT_HIGH, NAT_PORT_LOW};
use crate::conf::parser::FLAG_LETTERS;
use crate::icmp;
use crate::resolve::{Resolver, Transport};
use pf_abi::{
    AF_INET, AF_INET6, Action, Direction, PF_DROP, PF_FLUSH_GLOBAL, PF_LOG, PF_LOG_ALL, PF_LOG_SOCKET_LOOKUP, PF_NORDR,
    PF_OSFP_ANY, PF_PASS, PF_POOL_STICKYADDR, PF_POOL_TYPEMASK, PF_STATE_MODULATE, PF_STATE_NORMAL, PF_STATE_SYNPROXY,
    PFRULE_FRAGCROP, PFRULE_FRAGDROP, PFRULE_FRAGMENT, PFRULE_IFBOUND, PFRULE_NODF, PFRULE_NOSYNC, PFRULE_RANDOMID,
    PFRULE_REASSEMBLE_TCP, PFRULE_RETURN, PFRULE_RETURNICMP, PFRULE_RETURNRST, PFRULE_RULESRCTRACK, PFRULE_SRCTRACK,
    PoolAddr, PoolKind, PortOp, Route, Rule, RuleAddr, RuleId, Timeout,
};
use std::fmt::Write as _;

const IPPROTO_TCP: u8 = 6;

/// The way in which a rule is printed.
#[derive(Clone, Copy)]
pub struct RulePrinter<'a> {
    /// Who knows the names of protocols and services.
    pub resolver: &'a dyn Resolver,
    /// Whether the rule's number stands in front, and the counts of tables in it.
    pub numbers: bool,
}

impl RulePrinter<'_> {
    /// A rule in one line without its end. `anchor_call` is the anchor that it calls, or empty.
    pub fn text(&self, rule: &Rule, pool: &[PoolAddr], anchor_call: &str) -> String {
        let mut out = String::new();
        if self.numbers {
            let _ = write!(out, "@{} ", rule.nr);
        }
        push_action(&mut out, rule, anchor_call);
        push_head(&mut out, rule);
        self.push_route(&mut out, rule, pool);
        self.push_match(&mut out, rule);
        push_conditions(&mut out, rule, anchor_call);
        push_state(&mut out, rule, anchor_call);
        push_state_options(&mut out, rule);
        push_tail(&mut out, rule);
        let action = Action::try_from(rule.action);
        if anchor_call.is_empty()
            && let Ok(Action::Nat | Action::Binat | Action::Rdr) = action
        {
            out.push_str(" -> ");
            push_pool(&mut out, rule, pool, rule.rpool.proxy_port);
        }
        out
    }

    fn push_route(&self, out: &mut String, rule: &Rule, pool: &[PoolAddr]) {
        let word = match Route::try_from(rule.rt) {
            Ok(Route::To) => " route-to ",
            Ok(Route::ReplyTo) => " reply-to ",
            Ok(Route::DupTo) => " dup-to ",
            Ok(Route::Fast) => {
                out.push_str(" fastroute");
                return;
            }
            _ => return,
        };
        out.push_str(word);
        push_pool(out, rule, pool, [0, 0]);
    }

    fn push_match(&self, out: &mut String, rule: &Rule) {
        match rule.af {
            0 => {}
            AF_INET => out.push_str(" inet"),
            _ => out.push_str(" inet6"),
        }
        if rule.proto != 0 {
            match self.resolver.protocol_name(rule.proto) {
                Some(name) => out.push_str(&format!(" proto {name}")),
                None => out.push_str(&format!(" proto {}", rule.proto)),
            }
        }
        let any = |end: &RuleAddr| matches_all(&end.addr) && end.neg == 0 && end.port_op == 0;
        if any(&rule.src) && any(&rule.dst) && rule.os_fingerprint == PF_OSFP_ANY {
            out.push_str(" all");
            return;
        }
        out.push_str(" from ");
        self.push_end(out, &rule.src, rule);
        if rule.os_fingerprint != PF_OSFP_ANY {
            let number = rule.os_fingerprint;
            let name = self.resolver.system_name(number);
            let _ = write!(out, " os \"{}\"", name.unwrap_or_else(|| format!("{number:#010x}")));
        }
        out.push_str(" to ");
        self.push_end(out, &rule.dst, rule);
    }

    fn push_end(&self, out: &mut String, end: &RuleAddr, rule: &Rule) {
        if end.neg != 0 {
            out.push_str("! ");
        }
        out.push_str(&address_text(&end.addr, rule.af, self.numbers));
        if end.port_op == 0 {
            return;
        }
        let transport = match rule.proto {
            IPPROTO_TCP => Transport::Tcp,
            _ => Transport::Udp,
        };
        let [first, second] = end.port.map(pf_abi::Be16::get);
        let op = PortOp::try_from(end.port_op).unwrap_or(PortOp::None);
        let service = match op {
            PortOp::Equal | PortOp::NotEqual => self.resolver.service_name(first, transport),
            _ => None,
        };
        out.push_str(" port");
        push_comparison(out, op, &service.unwrap_or(first.to_string()), &second.to_string());
    }
}

fn push_comparison(out: &mut String, op: PortOp, a: &str, b: &str) {
    let text = match op {
        PortOp::None => return,
        PortOp::InsideRange => format!(" {a} >< {b}"),
        PortOp::OutsideRange => format!(" {a} <> {b}"),
        PortOp::Equal => format!(" = {a}"),
        PortOp::NotEqual => format!(" != {a}"),
        PortOp::Less => format!(" < {a}"),
        PortOp::LessOrEqual => format!(" <= {a}"),
        PortOp::Greater => format!(" > {a}"),
        PortOp::GreaterOrEqual => format!(" >= {a}"),
        PortOp::Range => format!(" {a}:{b}"),
    };
    out.push_str(&text);
}

fn push_action(out: &mut String, rule: &Rule, anchor_call: &str) {
    let Ok(action) = Action::try_from(rule.action) else {
        let _ = write!(out, "action({})", rule.action);
        return;
    };
    if rule.action > PF_NORDR {
        let _ = write!(out, "action({})", rule.action);
    } else if anchor_call.is_empty() {
        out.push_str(match action {
            Action::Pass => "pass",
            Action::Drop => "block",
            Action::Scrub => "scrub",
            Action::NoScrub => "no scrub",
            Action::Nat => "nat",
            Action::NoNat => "no nat",
            Action::Binat => "binat",
            Action::NoBinat => "no binat",
            Action::Rdr => "rdr",
            Action::NoRdr | Action::SynproxyDrop => "no rdr",
        });
        if rule.natpass != 0 {
            out.push_str(" pass");
        }
    } else {
        out.push_str(match action {
            Action::Nat | Action::NoNat => "nat-anchor",
            Action::Binat | Action::NoBinat => "binat-anchor",
            Action::Rdr | Action::NoRdr => "rdr-anchor",
            _ => "anchor",
        });
        if !anchor_call.starts_with('_') {
            let _ = write!(out, " \"{anchor_call}\"");
        }
    }
    if rule.action == PF_DROP {
        push_response(out, rule);
    }
}

fn push_response(out: &mut String, rule: &Rule) {
    let code = |af, spec: u16| {
        let (kind, code) = ((spec >> 8) as u8, spec as u8);
        icmp::code_name(af, kind, code).map_or(code.to_string(), str::to_owned)
    };
    if rule.rule_flag & PFRULE_RETURN != 0 {
        out.push_str(" return");
    } else if rule.rule_flag & PFRULE_RETURNRST != 0 {
        out.push_str(" return-rst");
        if rule.return_ttl != 0 {
            let _ = write!(out, "(ttl {})", rule.return_ttl);
        }
    } else if rule.rule_flag & PFRULE_RETURNICMP != 0 {
        let v4 = code(AF_INET, rule.return_icmp);
        let v6 = code(AF_INET6, rule.return_icmp6);
        let _ = match rule.af {
            AF_INET => write!(out, " return-icmp({v4})"),
            AF_INET6 => write!(out, " return-icmp6({v6})"),
            _ => write!(out, " return-icmp({v4}, {v6})"),
        };
    } else {
        out.push_str(" drop");
    }
}

/// Direction, log, quick, interface.
fn push_head(out: &mut String, rule: &Rule) {
    match Direction::try_from(rule.direction) {
        Ok(Direction::In) => out.push_str(" in"),
        Ok(Direction::Out) => out.push_str(" out"),
        _ => {}
    }
    if rule.log != 0 {
        out.push_str(" log");
        let mut words = Vec::new();
        if rule.log & PF_LOG_ALL != 0 {
            words.push("all".to_owned());
        }
        if rule.log & PF_LOG_SOCKET_LOOKUP != 0 {
            words.push("user".to_owned());
        }
        if rule.logif != 0 {
            words.push(format!("to pflog{}", rule.logif));
        }
        if rule.log & !PF_LOG != 0 || rule.logif != 0 {
            let _ = write!(out, " ({})", words.join(", "));
        }
    }
    if rule.quick != 0 {
        out.push_str(" quick");
    }
    if !rule.ifname.is_empty() {
        let not = if rule.ifnot != 0 { "! " } else { "" };
        let _ = write!(out, " on {not}{}", rule.ifname.as_str().unwrap_or("?"));
    }
}

/// User, group, TCP flags, ICMP type, type of service.
fn push_conditions(out: &mut String, rule: &Rule, anchor_call: &str) {
    push_owner(out, "user", &rule.uid);
    push_owner(out, "group", &rule.gid);
    if rule.flags != 0 || rule.flagset != 0 {
        let _ = write!(out, " flags {}/{}", flag_text(rule.flags), flag_text(rule.flagset));
    } else if rule.action == PF_PASS
        && (rule.proto == 0 || rule.proto == IPPROTO_TCP)
        && rule.rule_flag & PFRULE_FRAGMENT == 0
        && anchor_call.is_empty()
        && rule.keep_state != 0
    {
        out.push_str(" flags any");
    }
    if rule.kind != 0 {
        let kind = rule.kind - 1;
        let word = if rule.af == AF_INET6 { "icmp6-type" } else { "icmp-type" };
        match icmp::type_name(rule.af, kind) {
            Some(name) => out.push_str(&format!(" {word} {name}")),
            None => out.push_str(&format!(" {word} {kind}")),
        }
        if rule.code != 0 {
            let code = rule.code - 1;
            match icmp::code_name(rule.af, kind, code) {
                Some(name) => out.push_str(&format!(" code {name}")),
                None => out.push_str(&format!(" code {code}")),
            }
        }
    }
    if rule.tos != 0 {
        let _ = write!(out, " tos 0x{:02x}", rule.tos);
    }
}

fn push_owner(out: &mut String, word: &str, owner: &RuleId) {
    let Ok(op) = PortOp::try_from(owner.op) else {
        return;
    };
    if op == PortOp::None {
        return;
    }
    let unknown = owner.id[0] == u32::MAX && matches!(op, PortOp::Equal | PortOp::NotEqual);
    let first = if unknown {
        "unknown".to_owned()
    } else {
        owner.id[0].to_string()
    };
    out.push(' ');
    out.push_str(word);
    push_comparison(out, op, &first, &owner.id[1].to_string());
}

fn flag_text(flags: u8) -> String {
    FLAG_LETTERS
        .chars()
        .enumerate()
        .filter(|(bit, _)| flags & 1 << bit != 0)
        .map(|(_, letter)| letter)
        .collect()
}

fn push_state(out: &mut String, rule: &Rule, anchor_call: &str) {
    match rule.keep_state {
        0 if rule.action == PF_PASS && anchor_call.is_empty() => out.push_str(" no state"),
        PF_STATE_NORMAL => out.push_str(" keep state"),
        PF_STATE_MODULATE => out.push_str(" modulate state"),
        PF_STATE_SYNPROXY => out.push_str(" synproxy state"),
        _ => {}
    }
    if rule.prob != 0 {
        let percent = format!("{:.6}", f64::from(rule.prob) * 100.0 / 4_294_967_296.0);
        let percent = percent.trim_end_matches('0').trim_end_matches('.');
        let _ = write!(out, " probability {percent}%");
    }
}

fn push_state_options(out: &mut String, rule: &Rule) {
    let shown = rule.max_states != 0
        || rule.max_src_nodes != 0
        || rule.max_src_states != 0
        || rule.rule_flag & (PFRULE_NOSYNC | PFRULE_SRCTRACK | PFRULE_IFBOUND) != 0
        || rule.timeout.iter().any(|seconds| *seconds != 0);
    if !shown {
        return;
    }
    let mut words = Vec::new();
    let mut number = |word: &str, value: u32| {
        if value != 0 {
            words.push(format!("{word} {value}"));
        }
    };
    number("max", rule.max_states);
    if rule.rule_flag & PFRULE_NOSYNC != 0 {
        words.push("no-sync".to_owned());
    }
    if rule.rule_flag & PFRULE_SRCTRACK != 0 {
        let scope = match rule.rule_flag & PFRULE_RULESRCTRACK {
            0 => "global",
            _ => "rule",
        };
        words.push(format!("source-track {scope}"));
    }
    let mut number = |word: &str, value: u32| {
        if value != 0 {
            words.push(format!("{word} {value}"));
        }
    };
    number("max-src-states", rule.max_src_states);
    number("max-src-conn", rule.max_src_conn);
    if rule.max_src_conn_rate.limit != 0 {
        let rate = rule.max_src_conn_rate;
        words.push(format!("max-src-conn-rate {}/{}", rate.limit, rate.seconds));
    }
    if rule.max_src_nodes != 0 {
        words.push(format!("max-src-nodes {}", rule.max_src_nodes));
    }
    if !rule.overload_tblname.is_empty() {
        let mut word = format!("overload <{}>", rule.overload_tblname.as_str().unwrap_or("?"));
        if rule.flush != 0 {
            word.push_str(" flush");
        }
        if rule.flush & PF_FLUSH_GLOBAL != 0 {
            word.push_str(" global");
        }
        words.push(word);
    }
    if rule.rule_flag & PFRULE_IFBOUND != 0 {
        words.push("if-bound".to_owned());
    }
    for timeout in Timeout::ALL {
        let seconds = rule.timeout[*timeout as usize];
        if seconds != 0 {
            words.push(format!("{} {seconds}", timeout.name()));
        }
    }
    let _ = write!(out, " ({})", words.join(", "));
}

fn push_tail(out: &mut String, rule: &Rule) {
    for (flag, word) in [
        (PFRULE_FRAGMENT, " fragment"),
        (PFRULE_NODF, " no-df"),
        (PFRULE_RANDOMID, " random-id"),
    ] {
        if rule.rule_flag & flag != 0 {
            out.push_str(word);
        }
    }
    if rule.min_ttl != 0 {
        let _ = write!(out, " min-ttl {}", rule.min_ttl);
    }
    if rule.max_mss != 0 {
        let _ = write!(out, " max-mss {}", rule.max_mss);
    }
    if rule.allow_opts != 0 {
        out.push_str(" allow-opts");
    }
    if Action::try_from(rule.action) == Ok(Action::Scrub) {
        if rule.rule_flag & PFRULE_REASSEMBLE_TCP != 0 {
            out.push_str(" reassemble tcp");
        }
        out.push_str(if rule.rule_flag & PFRULE_FRAGDROP != 0 {
            " fragment drop-ovl"
        } else if rule.rule_flag & PFRULE_FRAGCROP != 0 {
            " fragment crop"
        } else {
            " fragment reassemble"
        });
    }
    if let Some(label) = rule.label.as_str().filter(|label| !label.is_empty()) {
        let _ = write!(out, " label \"{label}\"");
    }
    match (rule.qname.as_str(), rule.pqname.as_str()) {
        (Some(""), _) | (None, _) => {}
        (Some(queue), Some("") | None) => out.push_str(&format!(" queue {queue}")),
        (Some(queue), Some(priority)) => out.push_str(&format!(" queue({queue}, {priority})")),
    }
    if let Some(tag) = rule.tagname.as_str().filter(|tag| !tag.is_empty()) {
        let _ = write!(out, " tag {tag}");
    }
    if let Some(tag) = rule.match_tagname.as_str().filter(|tag| !tag.is_empty()) {
        let not = if rule.match_tag_not != 0 { " !" } else { "" };
        let _ = write!(out, "{not} tagged {tag}");
    }
    if rule.rtableid != -1 {
        let _ = write!(out, " rtable {}", rule.rtableid);
    }
}

fn push_pool(out: &mut String, rule: &Rule, pool: &[PoolAddr], [low, high]: [u16; 2]) {
    let action = Action::try_from(rule.action);
    let addresses: Vec<String> = pool
        .iter()
        .map(|address| match action {
            Ok(Action::Nat | Action::Rdr | Action::Binat) => address_text(&address.addr, rule.af, false),
            _ => route_text(address, rule.af),
        })
        .collect();
    match addresses.as_slice() {
        [] => {}
        [one] => out.push_str(one),
        several => {
            let _ = write!(out, "{{ {} }}", several.join(", "));
        }
    }
    let ports = match action {
        Ok(Action::Nat) if [low, high] == [NAT_PORT_LOW, NAT_PORT_HIGH] || [low, high] == [0, 0] => String::new(),
        Ok(Action::Nat) if low == high => format!(" port {low}"),
        Ok(Action::Nat) => format!(" port {low}:{high}"),
        Ok(Action::Rdr) if low == 0 => String::new(),
        Ok(Action::Rdr) if high == 0 || high == low => format!(" port {low}"),
        Ok(Action::Rdr) => format!(" port {low}:{high}"),
        _ => String::new(),
    };
    out.push_str(&ports);
    match PoolKind::try_from(rule.rpool.opts & PF_POOL_TYPEMASK) {
        Ok(PoolKind::Bitmask) => out.push_str(" bitmask"),
        Ok(PoolKind::Random) => out.push_str(" random"),
        Ok(PoolKind::SourceHash) => {
            let [a, b, c, d] = rule.rpool.key;
            let _ = write!(out, " source-hash 0x{a:08x}{b:08x}{c:08x}{d:08x}");
        }
        Ok(PoolKind::RoundRobin) => out.push_str(" round-robin"),
        Ok(PoolKind::None) | Err(_) => {}
    }
    if rule.rpool.opts & PF_POOL_STICKYADDR != 0 {
        out.push_str(" sticky-address");
    }
    if action == Ok(Action::Nat) && [low, high] == [0, 0] {
        out.push_str(" static-port");
    }
}

/// An address of `route-to` and its like.
fn route_text(address: &PoolAddr, af: u8) -> String {
    let ifname = address.ifname.as_str().unwrap_or("?");
    if address.addr.a.addr == pf_abi::Addr::ZERO {
        ifname.to_owned()
    } else {
        format!("({ifname} {})", address_text(&address.addr, af, false))
    }
}

/// The two lines of counters that `-v` adds to a rule.
pub fn counters_text(rule: &Rule) -> String {
    format!(
        "  [ Evaluations: {:<8}  Packets: {:<8}  Bytes: {:<10}  States: {:<6}]\n  [ Inserted: uid {} pid {} ]\n",
        rule.evaluations,
        rule.packets[0].wrapping_add(rule.packets[1]),
        rule.bytes[0].wrapping_add(rule.bytes[1]),
        rule.states,
        rule.cuid,
        rule.cpid as u32,
    )
}

/// The line of `-s labels`.
pub fn label_text(rule: &Rule) -> Option<String> {
    let label = rule.label.as_str().filter(|label| !label.is_empty())?;
    Some(format!(
        "{label} {} {} {} {} {} {} {}\n",
        rule.evaluations,
        rule.packets[0].wrapping_add(rule.packets[1]),
        rule.bytes[0].wrapping_add(rule.bytes[1]),
        rule.packets[0],
        rule.bytes[0],
        rule.packets[1],
        rule.bytes[1],
    ))
}
