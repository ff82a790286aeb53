//! `pfctl -s`.

use super::{Error, abbreviated};
use crate::device::Pf;
use crate::print::rule::{RulePrinter, counters_text, label_text};
use crate::print::state::state_text;
use crate::print::status::{TIMEOUT_ORDER, limit_text, status_text, timeout_text};
use crate::resolve::Resolver;
use crate::ruleset;
use pf_abi::{IfName, Limit, RulesetKind};
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// What `-s` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Show {
    Nat,
    Rules,
    States,
    Info,
    Labels,
    Timeouts,
    Memory,
    All,
}

/// Understands the word behind `-s`, abbreviated or not.
pub(super) fn modifier(argument: &str) -> Result<Show, String> {
    const WORDS: [(&str, Option<Show>); 14] = [
        ("nat", Some(Show::Nat)),
        ("queue", None),
        ("rules", Some(Show::Rules)),
        ("Anchors", None),
        ("Sources", None),
        ("states", Some(Show::States)),
        ("info", Some(Show::Info)),
        ("Interfaces", None),
        ("labels", Some(Show::Labels)),
        ("timeouts", Some(Show::Timeouts)),
        ("memory", Some(Show::Memory)),
        ("Tables", None),
        ("osfp", None),
        ("all", Some(Show::All)),
    ];
    let word = abbreviated(argument, WORDS.map(|(word, _)| word))
        .ok_or("it is rules, nat, states, info, labels, timeouts, memory or all")?;
    WORDS
        .iter()
        .find(|(known, _)| *known == word)
        .and_then(|(_, show)| *show)
        .ok_or(format!("-s {word} is not supported yet"))
}

/// Shows what was asked for.
pub(super) fn show(
    pf: &mut Pf<'_>,
    what: Show,
    interface: Option<IfName>,
    verbose: u8,
    resolver: &dyn Resolver,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let mut shower = Shower {
        pf,
        interface,
        verbose,
        resolver,
        out,
        titles: what == Show::All,
        first_title: true,
    };
    match what {
        Show::Nat => shower.nat(),
        Show::Rules => shower.rules(),
        Show::States => shower.states(),
        Show::Info => shower.info(),
        Show::Labels => shower.labels(),
        Show::Timeouts => shower.timeouts(),
        Show::Memory => shower.limits(),
        Show::All => {
            shower.nat()?;
            shower.rules()?;
            shower.states()?;
            shower.info()?;
            shower.labels()?;
            shower.timeouts()?;
            shower.limits()
        }
    }
}

struct Shower<'a, 'b> {
    pf: &'a mut Pf<'b>,
    interface: Option<IfName>,
    verbose: u8,
    resolver: &'a dyn Resolver,
    out: &'a mut dyn Write,
    titles: bool,
    first_title: bool,
}

impl Shower<'_, '_> {
    fn title(&mut self, title: &str) -> Result<(), Error> {
        if self.titles {
            if !self.first_title {
                writeln!(self.out)?;
            }
            self.first_title = false;
            writeln!(self.out, "{title}")?;
        }
        Ok(())
    }

    fn list(&mut self, kind: RulesetKind, title: Option<&str>) -> Result<(), Error> {
        let rules = ruleset::read(self.pf, kind)?;
        if let (Some(title), false) = (title, rules.is_empty()) {
            self.title(title)?;
        }
        let printer = RulePrinter {
            resolver: self.resolver,
            numbers: self.verbose > 1,
        };
        for active in &rules {
            let anchor = active.anchor_call.as_str().unwrap_or("?");
            writeln!(self.out, "{}", printer.text(&active.rule, &active.pool, anchor))?;
            if self.verbose > 0 {
                self.out.write_all(counters_text(&active.rule).as_bytes())?;
            }
        }
        Ok(())
    }

    fn nat(&mut self) -> Result<(), Error> {
        let mut title = Some("TRANSLATION RULES:");
        for kind in [RulesetKind::Nat, RulesetKind::Rdr, RulesetKind::Binat] {
            let was_first = self.first_title;
            self.list(kind, title)?;
            if was_first != self.first_title {
                title = None;
            }
        }
        Ok(())
    }

    fn rules(&mut self) -> Result<(), Error> {
        self.title("FILTER RULES:")?;
        self.list(RulesetKind::Scrub, None)?;
        self.list(RulesetKind::Filter, None)
    }

    fn labels(&mut self) -> Result<(), Error> {
        let mut lines = Vec::new();
        for kind in [RulesetKind::Scrub, RulesetKind::Filter] {
            let rules = ruleset::read(self.pf, kind)?;
            lines.extend(rules.iter().filter_map(|active| label_text(&active.rule)));
        }
        if !lines.is_empty() {
            self.title("LABEL COUNTERS:")?;
        }
        Ok(self.out.write_all(lines.concat().as_bytes())?)
    }

    fn states(&mut self) -> Result<(), Error> {
        let states = self.pf.states()?;
        let wanted = |name: &IfName| self.interface.is_none_or(|interface| interface == *name);
        let chosen: Vec<_> = states.iter().filter(|state| wanted(&state.ifname)).collect();
        if !chosen.is_empty() {
            self.title("STATES:")?;
        }
        for state in chosen {
            let text = state_text(state, self.resolver, self.verbose);
            self.out.write_all(text.as_bytes())?;
        }
        Ok(())
    }

    fn info(&mut self) -> Result<(), Error> {
        let status = self.pf.status()?;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        self.title("INFO:")?;
        let text = status_text(&status, now, self.verbose > 0);
        Ok(self.out.write_all(text.as_bytes())?)
    }

    fn timeouts(&mut self) -> Result<(), Error> {
        self.title("TIMEOUTS:")?;
        for timeout in TIMEOUT_ORDER {
            let value = self.pf.timeout(timeout)?;
            self.out.write_all(timeout_text(timeout, value).as_bytes())?;
        }
        Ok(())
    }

    fn limits(&mut self) -> Result<(), Error> {
        self.title("LIMITS:")?;
        for limit in Limit::ALL.iter().copied() {
            let value = self.pf.limit(limit)?;
            self.out.write_all(limit_text(limit, value).as_bytes())?;
        }
        Ok(())
    }
}
