//! `pfctl -s`.

use super::{Error, abbreviated};
use crate::device::Pf;
use crate::print::interface::interface_text;
use crate::print::osfp::fingerprints_text;
use crate::print::rule::{RulePrinter, counters_text, label_text};
use crate::print::source::source_text;
use crate::print::state::state_text;
use crate::print::status::{TIMEOUT_ORDER, limit_text, status_text, timeout_text};
use crate::print::table::{table_stats_text, table_text};
use crate::resolve::Resolver;
use crate::ruleset;
use pf_abi::{AnchorPath, IfName, Limit, PFR_TFLAG_ACTIVE, RulesetKind};
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// What `-s` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Show {
    Nat,
    Rules,
    Sources,
    States,
    Info,
    Labels,
    Timeouts,
    Memory,
    Anchors,
    Interfaces,
    Fingerprints,
    Tables,
    All,
}

/// Rulesets within each other that are shown.
const MAX_DEPTH: usize = 32;

/// What `-a` names: a ruleset, and with `/*`, what it calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Anchor {
    /// Its path; empty for the main ruleset.
    pub(super) path: String,
    /// With what it calls.
    pub(super) recurse: bool,
}

/// Understands what stands behind `-a`.
pub(super) fn anchor(argument: &str) -> Result<Anchor, String> {
    let (path, recurse) = match argument {
        "*" => ("", true),
        path => match path.strip_suffix("/*") {
            Some(path) => (path, true),
            None => (path, false),
        },
    };
    let path = path.trim_start_matches('/');
    match AnchorPath::new(path) {
        Some(_) => Ok(Anchor {
            path: path.to_owned(),
            recurse,
        }),
        None => Err("the path is too long".to_owned()),
    }
}

/// Understands the word behind `-s`, abbreviated or not.
pub(super) fn modifier(argument: &str) -> Result<Show, String> {
    const WORDS: [(&str, Option<Show>); 14] = [
        ("nat", Some(Show::Nat)),
        ("queue", None),
        ("rules", Some(Show::Rules)),
        ("Anchors", Some(Show::Anchors)),
        ("Sources", Some(Show::Sources)),
        ("states", Some(Show::States)),
        ("info", Some(Show::Info)),
        ("Interfaces", Some(Show::Interfaces)),
        ("labels", Some(Show::Labels)),
        ("timeouts", Some(Show::Timeouts)),
        ("memory", Some(Show::Memory)),
        ("Tables", Some(Show::Tables)),
        ("osfp", Some(Show::Fingerprints)),
        ("all", Some(Show::All)),
    ];
    let word = abbreviated(argument, WORDS.map(|(word, _)| word))
        .ok_or("it is rules, nat, Sources, states, info, labels, timeouts, memory, Tables or all")?;
    WORDS
        .iter()
        .find(|(known, _)| *known == word)
        .and_then(|(_, show)| *show)
        .ok_or(format!("-s {word} is not supported yet"))
}

/// How much is shown, and of what part.
pub(super) struct View<'a> {
    /// Only what is on this interface.
    pub(super) interface: Option<IfName>,
    /// The ruleset.
    pub(super) anchor: &'a Anchor,
    /// How often `-v` was given.
    pub(super) verbose: u8,
    /// Counters of rules are cleared when they have been shown.
    pub(super) clear: bool,
}

/// Shows what was asked for.
pub(super) fn show(
    pf: &mut Pf<'_>,
    what: Show,
    view: &View<'_>,
    resolver: &dyn Resolver,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let mut shower = Shower {
        pf,
        interface: view.interface,
        path: view.anchor.path.clone(),
        recurse: view.anchor.recurse,
        clear: view.clear,
        verbose: view.verbose,
        resolver,
        out,
        titles: what == Show::All,
        first_title: true,
    };
    match what {
        Show::Nat => shower.nat(),
        Show::Rules => shower.rules(),
        Show::Sources => shower.sources(),
        Show::States => shower.states(),
        Show::Info => shower.info(),
        Show::Labels => shower.labels(),
        Show::Timeouts => shower.timeouts(),
        Show::Memory => shower.limits(),
        Show::Anchors => shower.anchors(),
        Show::Interfaces => shower.interfaces(),
        Show::Fingerprints => shower.fingerprints(),
        Show::Tables => shower.tables(),
        Show::All => {
            shower.nat()?;
            shower.rules()?;
            shower.states()?;
            shower.sources()?;
            shower.info()?;
            shower.labels()?;
            shower.timeouts()?;
            shower.limits()?;
            shower.tables()?;
            shower.fingerprints()
        }
    }
}

struct Shower<'a, 'b> {
    pf: &'a mut Pf<'b>,
    interface: Option<IfName>,
    /// The ruleset whose rules are shown.
    path: String,
    /// What it calls is shown as well.
    recurse: bool,
    /// The counters of the rules that are shown begin anew.
    clear: bool,
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

    fn tables(&mut self) -> Result<(), Error> {
        self.pf.set_anchor(self.anchor()?);
        let texts = self.table_texts();
        self.pf.set_anchor(AnchorPath::EMPTY);
        let texts = texts?;
        if !texts.is_empty() {
            self.title("TABLES:")?;
        }
        Ok(self.out.write_all(texts.concat().as_bytes())?)
    }

    /// The tables that are defined.
    fn table_texts(&mut self) -> Result<Vec<String>, Error> {
        Ok(if self.verbose > 1 {
            let all = self.pf.table_stats(false)?;
            let active = all.iter().filter(|it| it.t.flags & PFR_TFLAG_ACTIVE != 0);
            active.map(table_stats_text).collect()
        } else {
            let all = self.pf.tables(false)?;
            let active = all.iter().filter(|it| it.flags & PFR_TFLAG_ACTIVE != 0);
            active.map(|table| table_text(table, self.verbose > 0)).collect()
        })
    }

    fn anchor(&self) -> Result<AnchorPath, Error> {
        AnchorPath::new(&self.path).ok_or(Error::Other("the path of the anchor is too long".to_owned()))
    }

    fn list(&mut self, kind: RulesetKind, title: Option<&str>) -> Result<(), Error> {
        self.list_within(kind, title, 0)
    }

    /// The rules of the anchor whose path is set.
    fn active(&mut self, kind: RulesetKind) -> Result<Vec<ruleset::ActiveRule>, Error> {
        self.pf.set_anchor(self.anchor()?);
        let rules = ruleset::read_and(self.pf, kind, self.clear);
        self.pf.set_anchor(AnchorPath::EMPTY);
        Ok(rules?)
    }

    fn list_within(&mut self, kind: RulesetKind, title: Option<&str>, depth: usize) -> Result<(), Error> {
        let rules = self.active(kind)?;
        if let (Some(title), false) = (title, rules.is_empty()) {
            self.title(title)?;
        }
        let printer = RulePrinter {
            resolver: self.resolver,
            numbers: self.verbose > 1,
        };
        let indent = if self.verbose > 0 {
            String::new()
        } else {
            "  ".repeat(depth)
        };
        for active in &rules {
            let call = active.anchor_call.as_str().unwrap_or("?");
            let name = call.rsplit('/').next().unwrap_or_default();
            // What pfctl itself has named is shown with its rules; so is, if asked, all else that has a place right here.
            let within =
                !call.is_empty() && depth < MAX_DEPTH && (name.starts_with('_') || self.recurse && call == name);
            let shown = if within { name } else { call };
            let brace = if within { " {" } else { "" };
            let text = printer.text(&active.rule, &active.pool, shown);
            writeln!(self.out, "{indent}{text}{brace}")?;
            if self.verbose > 0 {
                self.out.write_all(counters_text(&active.rule).as_bytes())?;
            }
            if within {
                let path = match self.path.as_str() {
                    "" => name.to_owned(),
                    path => format!("{path}/{name}"),
                };
                let outer = std::mem::replace(&mut self.path, path);
                let listed = if name == "*" {
                    Ok(())
                } else {
                    self.list_within(kind, None, depth + 1)
                };
                self.path = outer;
                listed?;
                writeln!(self.out, "{indent}}}")?;
            }
        }
        Ok(())
    }

    /// The paths of anchors, those within others only if asked.
    fn anchors(&mut self) -> Result<(), Error> {
        let mut waiting = vec![self.path.clone()];
        while let Some(above) = waiting.pop() {
            self.pf.set_anchor(AnchorPath::new(&above).unwrap_or_default());
            let names = self.pf.anchors();
            self.pf.set_anchor(AnchorPath::EMPTY);
            let mut paths = Vec::new();
            for name in names? {
                // What pfctl itself has named is no news.
                if name.starts_with('_') && self.verbose == 0 {
                    continue;
                }
                paths.push(if above.is_empty() {
                    name
                } else {
                    format!("{above}/{name}")
                });
            }
            if above != self.path {
                writeln!(self.out, "  {above}")?;
            }
            if self.verbose > 0 {
                waiting.extend(paths.into_iter().rev());
            } else {
                for path in paths {
                    writeln!(self.out, "  {path}")?;
                }
            }
        }
        Ok(())
    }

    fn interfaces(&mut self) -> Result<(), Error> {
        let mut kifs = self.pf.interfaces(self.interface.unwrap_or_default())?;
        kifs.sort_by(|a, b| a.name.as_str().cmp(&b.name.as_str()));
        for kif in &kifs {
            self.out.write_all(interface_text(kif, self.verbose).as_bytes())?;
        }
        Ok(())
    }

    fn fingerprints(&mut self) -> Result<(), Error> {
        let all = self.pf.fingerprints()?;
        if self.titles {
            if !all.is_empty() {
                self.title("OS FINGERPRINTS:")?;
                writeln!(self.out, "{} fingerprints loaded", all.len())?;
            }
            return Ok(());
        }
        self.out.write_all(fingerprints_text(&all).as_bytes())?;
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
            let rules = self.active(kind)?;
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

    fn sources(&mut self) -> Result<(), Error> {
        let nodes = match self.pf.sources() {
            // Among all the rest, what there is not is nothing.
            Err(error) if self.titles && error.is_unknown() => Vec::new(),
            outcome => outcome?,
        };
        if !nodes.is_empty() {
            self.title("SOURCE TRACKING NODES:")?;
        }
        for node in &nodes {
            self.out.write_all(source_text(node, self.verbose > 0).as_bytes())?;
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
