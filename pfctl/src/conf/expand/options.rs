//! `set`: what the options amount to.

use crate::conf::ast::{Optimization, Response, SetOption, StatePolicy};
use pf_abi::{Debug as DebugLevel, Limit, Timeout};
use std::collections::BTreeMap;

/// All options of a configuration. What is not set here gets its default when the configuration is loaded.
#[derive(Clone, Debug)]
pub struct Options {
    /// Timeouts that were set.
    pub timeouts: BTreeMap<Timeout, u32>,
    /// Limits that were set.
    pub limits: BTreeMap<Limit, u32>,
    /// The debug level.
    pub debug: Option<DebugLevel>,
    /// The log interface; empty for none.
    pub log_interface: Option<String>,
    /// The interfaces to leave alone.
    pub skip: Vec<String>,
    /// The identity of the host, in host byte order.
    pub host_id: Option<u32>,
    /// How a blocked packet is answered by a rule that does not say.
    pub block_policy: Response,
    /// What a state is bound to by a rule that does not say.
    pub state_policy: StatePolicy,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            timeouts: BTreeMap::new(),
            limits: BTreeMap::new(),
            debug: None,
            log_interface: None,
            skip: Vec::new(),
            host_id: None,
            block_policy: Response::Drop,
            state_policy: StatePolicy::Floating,
        }
    }
}

impl Options {
    /// Takes an option: what `pfctl -v` says of it.
    pub(super) fn set(&mut self, option: &SetOption) -> String {
        let mut lines = Vec::new();
        match option {
            SetOption::Timeouts(list) => {
                for (timeout, value) in list {
                    self.timeouts.insert(timeout.node, *value);
                    lines.push(format!("set timeout {} {value}", timeout.node.name()));
                }
            }
            SetOption::Limits(list) => {
                for (limit, value) in list {
                    self.limits.insert(limit.node, *value);
                    lines.push(format!("set limit {} {value}", limit.node.name()));
                }
            }
            SetOption::Optimization(optimization) => {
                self.timeouts.extend(hints(*optimization));
                lines.push(format!("set optimization {}", optimization_name(*optimization)));
            }
            SetOption::Debug(level) => {
                self.debug = Some(*level);
                lines.push(format!("set debug {}", level.name()));
            }
            SetOption::LogInterface(interface) => {
                let name = interface.as_ref().map_or("", |name| &name.node);
                self.log_interface = Some(name.to_owned());
                let shown = if name.is_empty() { "none" } else { name };
                lines.push(format!("set loginterface {shown}"));
            }
            SetOption::BlockPolicy(policy) => {
                self.block_policy = *policy;
                let shown = match policy {
                    Response::Drop => "drop",
                    _ => "return",
                };
                lines.push(format!("set block-policy {shown}"));
            }
            SetOption::Skip(interfaces) => {
                self.skip
                    .extend(interfaces.iter().map(|interface| interface.node.clone()));
                lines.push(skip_line(interfaces.iter().map(|interface| interface.node.as_str())));
            }
            SetOption::RequireOrder(required) => {
                let shown = if *required { "yes" } else { "no" };
                lines.push(format!("set require-order {shown}"));
            }
            SetOption::StatePolicy(policy) => {
                self.state_policy = *policy;
                let shown = match policy {
                    StatePolicy::Floating => "floating",
                    StatePolicy::IfBound => "if-bound",
                };
                lines.push(format!("set state-policy {shown}"));
            }
            SetOption::HostId(id) => {
                self.host_id = Some(*id);
                lines.push(format!("set hostid 0x{id:08x}"));
            }
            SetOption::Fingerprints(file) => lines.push(format!("set fingerprints \"{}\"", file.node)),
            SetOption::RulesetOptimization(level) => {
                lines.push(format!("set ruleset-optimization {}", level.node));
            }
        }
        lines.join("\n")
    }

    /// The value that a timeout shall have. Where the limit of states is set and the adaptive timeouts are not, they follow it.
    pub fn timeout(&self, timeout: Timeout) -> u32 {
        if let Some(value) = self.timeouts.get(&timeout) {
            return *value;
        }
        let adaptive_set =
            self.timeouts.contains_key(&Timeout::AdaptiveStart) || self.timeouts.contains_key(&Timeout::AdaptiveEnd);
        match (timeout, self.limits.get(&Limit::States)) {
            (Timeout::AdaptiveStart, Some(states)) if !adaptive_set => states / 10 * 6,
            (Timeout::AdaptiveEnd, Some(states)) if !adaptive_set => (states / 10).saturating_mul(12),
            _ => timeout.default_value(),
        }
    }

    /// The value that a limit shall have.
    pub fn limit(&self, limit: Limit) -> u32 {
        self.limits.get(&limit).copied().unwrap_or(limit.default_value())
    }
}

fn skip_line<'a>(interfaces: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = interfaces.collect();
    if names.is_empty() {
        "set skip on none".to_owned()
    } else {
        format!("set skip on {{ {} }}", names.join(" "))
    }
}

fn optimization_name(optimization: Optimization) -> &'static str {
    match optimization {
        Optimization::Normal => "normal",
        Optimization::HighLatency => "high-latency",
        Optimization::Conservative => "conservative",
        Optimization::Aggressive => "aggressive",
    }
}

/// The timeouts of TCP that an optimization stands for, in seconds.
fn hints(optimization: Optimization) -> [(Timeout, u32); 7] {
    const MINUTE: u32 = 60;
    const HOUR: u32 = 60 * MINUTE;
    let [first, opening, established, closing, finwait, closed, tsdiff] = match optimization {
        Optimization::Normal => [2 * MINUTE, 30, 24 * HOUR, 15 * MINUTE, 45, 90, 30],
        Optimization::HighLatency => [3 * MINUTE, 35, 24 * HOUR, 15 * MINUTE + 5, 50, 95, 60],
        Optimization::Conservative => [HOUR, 15 * MINUTE, 5 * 24 * HOUR, HOUR, 10 * MINUTE, 3 * MINUTE, 60],
        Optimization::Aggressive => [30, 5, 5 * HOUR, MINUTE, 30, 30, 10],
    };
    [
        (Timeout::TcpFirst, first),
        (Timeout::TcpOpening, opening),
        (Timeout::TcpEstablished, established),
        (Timeout::TcpClosing, closing),
        (Timeout::TcpFinWait, finwait),
        (Timeout::TcpClosed, closed),
        (Timeout::TsDiff, tsdiff),
    ]
}
