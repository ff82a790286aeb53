//! Statements into rules: names are looked up, each list is multiplied out, in the order in which NetBSD's pfctl does it.

mod anchor;
mod antispoof;
mod filter;
mod host;
mod label;
mod options;
mod particular;
mod pool;
mod port;
mod scrub;
mod table;
mod translation;

pub use host::{apply_mask, mask_of};
pub use options::Options;
pub use table::{LoadTable, table_addresses, words};
pub use translation::{NAT_PORT_HIGH, NAT_PORT_LOW};

use super::ast::{IfSpec, LoadAnchor, Match, SetOption, Statement};
use super::diagnostic::{Diagnostic, Diagnostics, Sources, Span, Spanned};
use super::parser::Item;
use crate::osfp::Fingerprints;
use crate::resolve::{Interface, Resolver};
use host::Host;
use pf_abi::{Be16, IfName, PoolAddr, PortOp, Rule, RulesetKind};
use port::Port;

/// A rule as it goes to the kernel.
#[derive(Clone, Debug)]
pub struct LoadRule {
    /// The rule; its number counts all rules of the configuration.
    pub rule: Box<Rule>,
    /// The addresses of its pool.
    pub pool: Vec<PoolAddr>,
    /// The list that it belongs to.
    pub kind: RulesetKind,
    /// The path of the anchor that it stands in; empty for the ruleset that is loaded.
    pub anchor: String,
    /// The anchor that it calls, or empty.
    pub call: String,
    /// Whether the rules of that anchor stand right behind it, in braces.
    pub block: bool,
    /// The file that it stands in.
    pub file: String,
    /// The line that it stands in, from 1.
    pub line: usize,
}

/// A whole configuration.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// What `set` sets.
    pub options: Options,
    /// The tables.
    pub tables: Vec<LoadTable>,
    /// The rules, as they stand in the file.
    pub rules: Vec<LoadRule>,
    /// Something is said of queues, which go to no kernel.
    pub speaks_of_queues: bool,
    /// Macros, options and tables, as `pfctl -v` repeats them.
    pub echo: Vec<String>,
    /// Anchors that have their rules in files of their own: path, and file, in order.
    pub loads: Vec<(String, String)>,
    /// What they are before the files are read.
    pub(super) load_statements: Vec<LoadAnchor>,
    /// Fingerprints of operating systems, where rules ask for them or `set fingerprints` does.
    pub fingerprints: Option<Fingerprints>,
}

impl Config {
    /// The rules of one list, in their order, without those in anchors.
    pub fn rules_of(&self, kind: RulesetKind) -> impl Iterator<Item = &LoadRule> {
        self.rules_in("", kind)
    }

    /// The rules of one list of an anchor, in their order.
    pub fn rules_in<'a>(&'a self, anchor: &'a str, kind: RulesetKind) -> impl Iterator<Item = &'a LoadRule> {
        let rules = self.rules.iter();
        rules.filter(move |rule| rule.kind == kind && rule.anchor == anchor)
    }

    /// The paths of the anchors that are loaded from here, in the order in which they come up.
    pub fn anchors(&self) -> Vec<&str> {
        let mut anchors: Vec<&str> = Vec::new();
        let with_rules = self.rules.iter().map(|rule| rule.anchor.as_str());
        let with_files = self.loads.iter().map(|(path, _)| path.as_str());
        let with_tables = self.tables.iter().map(|table| table.anchor.as_str());
        for path in with_rules
            .chain(with_files)
            .chain(with_tables)
            .filter(|path| !path.is_empty())
        {
            if !anchors.contains(&path) {
                anchors.push(path);
            }
        }
        anchors
    }
}

/// Turns statements into rules. Mistakes are added to the others; a statement with mistakes makes no rules.
pub fn expand(items: &[Item], sources: &Sources, resolver: &dyn Resolver, diagnostics: &mut Diagnostics) -> Config {
    let mut expander = Expander {
        sources,
        resolver,
        interfaces: resolver.interfaces().unwrap_or_default(),
        diagnostics,
        config: Config::default(),
        path: String::new(),
        outer: Vec::new(),
        blocks: 0,
        inline: Vec::new(),
    };
    for item in items {
        match item {
            Item::Macro(name, value) => expander.config.echo.push(format!("{name} = \"{value}\"")),
            Item::Statement(statement) => match &statement.node {
                Statement::Set(option) => {
                    if let SetOption::Fingerprints(file) = option {
                        expander.read_fingerprints(&file.node, file.span);
                    }
                    if let SetOption::RulesetOptimization(level) = option
                        && level.node != "none"
                    {
                        expander.diagnostics.push(
                            Diagnostic::warning(level.span, "rules are not rewritten")
                                .hint("they are loaded as they are written, and found through an index"),
                        );
                    }
                    let echo = expander.config.options.set(option);
                    expander.config.echo.push(echo);
                }
                Statement::Scrub(rule) => expander.scrub(rule),
                Statement::Filter(rule) => {
                    if rule.queue.is_some() {
                        expander.leave_queues_out(rule.span);
                    }
                    expander.filter(rule);
                }
                Statement::Translation(rule) => expander.translation(rule),
                Statement::Queueing(queueing) => {
                    expander.config.echo.push(queueing.text.clone());
                    expander.leave_queues_out(statement.span);
                }
                Statement::Table(table) => expander.table(table),
                Statement::Anchor(rule) => expander.anchor(rule),
                Statement::EndAnchor => expander.end_block(),
                Statement::LoadAnchor(load) => expander.config.load_statements.push(load.clone()),
                Statement::Antispoof(rule) => expander.antispoof(rule),
            },
        }
    }
    expander.config
}

struct Expander<'a> {
    sources: &'a Sources,
    resolver: &'a dyn Resolver,
    interfaces: Vec<Interface>,
    diagnostics: &'a mut Diagnostics,
    config: Config,
    /// The anchor whose rules are read, and those that it stands in.
    path: String,
    outer: Vec<String>,
    /// Blocks so far: one without a name is called by its number.
    blocks: usize,
    /// The anchors whose rules stand in blocks.
    inline: Vec<String>,
}

/// What a rule matches, looked up: each list has at least one entry.
struct Resolved {
    interfaces: Vec<IfSpec>,
    /// Protocols by number; 0 for any.
    protos: Vec<u8>,
    src: Vec<Host>,
    src_ports: Vec<Port>,
    /// Systems by number; `PF_OSFP_ANY` for any.
    systems: Vec<u32>,
    dst: Vec<Host>,
    dst_ports: Vec<Port>,
}

/// One combination of all lists.
struct Combination<'a> {
    interface: &'a IfSpec,
    proto: u8,
    src: &'a Host,
    src_port: &'a Port,
    system: u32,
    dst: &'a Host,
    dst_port: &'a Port,
}

impl Resolved {
    /// All combinations for one interface, protocol: the rest of the loops.
    fn combinations(&self, interface: usize, proto: usize) -> Vec<Combination<'_>> {
        let mut all = Vec::new();
        for src in &self.src {
            for src_port in &self.src_ports {
                let systems = self.systems.iter();
                let ends = systems.flat_map(|system| self.dst.iter().map(move |dst| (*system, dst)));
                for (system, dst) in ends {
                    for dst_port in &self.dst_ports {
                        all.push(Combination {
                            interface: &self.interfaces[interface],
                            proto: self.protos[proto],
                            src,
                            src_port,
                            system,
                            dst,
                            dst_port,
                        });
                    }
                }
            }
        }
        all
    }
}

impl Combination<'_> {
    /// The family of the combination, where the rule has `af` or 0; `None` where the addresses do not go together.
    fn family(&self, af: u8) -> Option<u8> {
        let mut family = af;
        for host in [self.src, self.dst] {
            if host.af != 0 {
                if family != 0 && family != host.af {
                    return None;
                }
                family = host.af;
            }
        }
        // A link-local address means something on its own interface only.
        let scopes = [self.src.scope.as_deref(), self.dst.scope.as_deref()];
        if let [Some(a), Some(b)] = scopes
            && a != b
        {
            return None;
        }
        let named = &self.interface.name;
        let elsewhere = |scope: &str| !named.is_empty() && scope != named;
        if scopes.into_iter().flatten().any(elsewhere) {
            return None;
        }
        Some(family)
    }

    /// The interface of the combination: the one named, or the one that a link-local address belongs to.
    fn ifname(&self) -> &str {
        if !self.interface.name.is_empty() {
            return &self.interface.name;
        }
        self.src
            .scope
            .as_deref()
            .or(self.dst.scope.as_deref())
            .unwrap_or_default()
    }

    /// Puts the combination into a rule.
    fn apply(&self, rule: &mut Rule, af: u8) {
        rule.af = af;
        rule.ifname = IfName::new(self.ifname()).unwrap_or_default();
        rule.ifnot = self.interface.not.into();
        rule.proto = self.proto;
        rule.os_fingerprint = self.system;
        for (end, host, port) in [
            (&mut rule.src, self.src, self.src_port),
            (&mut rule.dst, self.dst, self.dst_port),
        ] {
            end.addr = host.wrap_for(af);
            end.neg = host.not.into();
            end.port = [Be16::new(port.first), Be16::new(port.second)];
            end.port_op = port.op.into();
        }
    }
}

impl Expander<'_> {
    /// Warns at the first line that speaks of queues.
    fn leave_queues_out(&mut self, span: Span) {
        if !std::mem::replace(&mut self.config.speaks_of_queues, true) {
            self.diagnostics.push(
                Diagnostic::warning(span, "no packet is queued")
                    .hint("there is no ALTQ in this pf: `altq` and `queue` are read, and do nothing"),
            );
        }
    }

    /// Looks up what a rule matches; `None` where there were mistakes.
    fn resolve(&mut self, matching: &Match) -> Option<Resolved> {
        let interfaces = self.rule_interfaces(&matching.interfaces);
        let protos = self.protos(&matching.protos);
        let src = self.hosts(&matching.from.hosts);
        let src_ports = self.ports(&matching.from.ports);
        let systems = self.systems(&matching.os);
        let dst = self.hosts(&matching.to.hosts);
        let dst_ports = self.ports(&matching.to.ports);
        Some(Resolved {
            interfaces,
            protos: protos?,
            src: src?,
            src_ports: src_ports?,
            systems: systems?,
            dst: dst?,
            dst_ports: dst_ports?,
        })
    }

    /// The interfaces of a rule, or one nameless for any. One that does not exist may come to exist: a warning.
    fn rule_interfaces(&mut self, specs: &[Spanned<IfSpec>]) -> Vec<IfSpec> {
        for spec in specs {
            let name = &spec.node.name;
            let is_interface = name.ends_with(|c: char| c.is_ascii_digit());
            let exists = self.interfaces.iter().any(|known| known.name == *name);
            if is_interface && !exists && !self.interfaces.is_empty() {
                let known = self.interfaces.iter().map(|known| known.name.as_str());
                let hint = super::diagnostic::did_you_mean(name, known);
                self.diagnostics
                    .push(Diagnostic::warning(spec.span, format!("there is no interface `{name}` now")).hint_opt(hint));
            }
        }
        if specs.is_empty() {
            return vec![IfSpec {
                not: false,
                name: String::new(),
            }];
        }
        specs.iter().map(|spec| spec.node.clone()).collect()
    }

    /// The protocols of a rule by number, or 0 for any.
    fn protos(&mut self, specs: &[Spanned<String>]) -> Option<Vec<u8>> {
        if specs.is_empty() {
            return Some(vec![0]);
        }
        let mut protos = Vec::new();
        let mut failed = false;
        for spec in specs {
            match self.proto(spec) {
                Ok(proto) => protos.push(proto),
                Err(diagnostic) => {
                    self.diagnostics.push(diagnostic);
                    failed = true;
                }
            }
        }
        (!failed).then_some(protos)
    }

    fn proto(&self, spec: &Spanned<String>) -> Result<u8, Diagnostic> {
        let number = match super::parser::parse_number(&spec.node) {
            Some(number) => {
                u8::try_from(number).map_err(|_| Diagnostic::error(spec.span, "a protocol is at most 255"))?
            }
            None => self.resolver.protocol(&spec.node).ok_or_else(|| {
                Diagnostic::error(spec.span, format!("unknown protocol `{}`", spec.node)).hint_opt(
                    super::diagnostic::did_you_mean(
                        &spec.node,
                        ["tcp", "udp", "icmp", "icmp6", "esp", "ah", "gre", "igmp"],
                    ),
                )
            })?,
        };
        if number == 0 {
            return Err(Diagnostic::error(spec.span, "protocol 0 cannot be matched"));
        }
        Ok(number)
    }

    /// Takes a finished rule into the configuration.
    fn add(&mut self, mut rule: Rule, pool: Vec<PoolAddr>, span: Span) {
        let Some(kind) = pf_abi::Action::try_from(rule.action)
            .ok()
            .and_then(pf_abi::Action::ruleset)
        else {
            return;
        };
        rule.nr = self.config.rules.len() as u32;
        let (file, line) = self.sources.line(span);
        self.config.rules.push(LoadRule {
            rule: Box::new(rule),
            pool,
            kind,
            anchor: self.path.clone(),
            call: String::new(),
            block: false,
            file,
            line,
        });
    }

    /// Adds mistakes of one statement, each once.
    fn report(&mut self, mistakes: Vec<Diagnostic>) -> bool {
        let mut seen: Vec<String> = Vec::new();
        for mistake in mistakes {
            if !seen.contains(&mistake.message) {
                seen.push(mistake.message.clone());
                self.diagnostics.push(mistake);
            }
        }
        seen.is_empty()
    }
}

/// The family that all hosts of a list share, or 0.
fn common_family(hosts: &[Host]) -> u8 {
    match hosts {
        [first, rest @ ..] if rest.iter().all(|host| host.af == first.af) => first.af,
        _ => 0,
    }
}

/// Where a list of things stands: from the first to the last, or the whole rule.
fn span_of<T>(list: &[Spanned<T>], rule: Span) -> Span {
    match (list.first(), list.last()) {
        (Some(first), Some(last)) => first.span.to(last.span),
        _ => rule,
    }
}

/// No comparison of ports.
fn any_port() -> Port {
    Port {
        op: PortOp::None,
        first: 0,
        second: 0,
    }
}
