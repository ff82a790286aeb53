//! pfctl(8).

use super::show::{self, Show};
use super::table;
use super::{DEVICE, Error, abbreviated, parse};
use crate::conf;
use crate::conf::diagnostic::Sources;
use crate::conf::expand::Config;
use crate::conf::parser::Macros;
use crate::device::{self, Access, Device, Pf};
use crate::dump::{self, Format};
use crate::load;
use crate::lock::Held;
use crate::print::rule::RulePrinter;
use crate::resolve::SystemResolver;
use crate::states::{self, Ends};
use clap::{ArgAction, Parser};
use pf_abi::{AnchorPath, IfName, RulesetKind, TableName, errno};
use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;

/// Controls the packet filter.
#[derive(Debug, Parser)]
#[command(
    name = "pfctl",
    version,
    about = "Controls the packet filter: rules, states, dump and restore. See pfctl(8).",
    arg_required_else_help = true
)]
struct Arguments {
    /// Disable the packet filter
    #[arg(short = 'd')]
    disable: bool,
    /// Enable the packet filter
    #[arg(short = 'e', conflicts_with = "disable")]
    enable: bool,
    /// Load the rules of a file (- for the standard input)
    #[arg(short = 'f', value_name = "FILE")]
    file: Option<String>,
    /// Check the rules, do not load them
    #[arg(short = 'n')]
    no_action: bool,
    /// Remove: rules, nat, Sources, states, info, Tables or all
    #[arg(short = 'F', value_name = "MODIFIER", value_parser = flush)]
    flush: Option<Flush>,
    /// Show: rules, nat, Sources, states, info, labels, timeouts, memory, Tables or all
    #[arg(short = 's', value_name = "MODIFIER", value_parser = show::modifier)]
    show: Option<Show>,
    /// Remove the states from a host or network, and with a second -k those from the first to the second
    #[arg(short = 'k', value_name = "HOST", action = ArgAction::Append)]
    kill: Vec<String>,
    /// Remove the source nodes of a host or network, and with a second -K those that were given the second
    #[arg(short = 'K', value_name = "HOST", action = ArgAction::Append)]
    kill_sources: Vec<String>,
    /// Work on the rules or tables of an anchor; with /* at its end, show what it calls, too
    #[arg(short = 'a', value_name = "ANCHOR", default_value = "", hide_default_value = true, value_parser = show::anchor)]
    anchor: show::Anchor,
    /// Load only the queue rules of the file
    #[arg(short = 'A')]
    only_queues: bool,
    /// Load only the translation rules of the file
    #[arg(short = 'N')]
    only_nat: bool,
    /// Load only the filter rules of the file
    #[arg(short = 'R')]
    only_filter: bool,
    /// Load only the options of the file
    #[arg(short = 'O')]
    only_options: bool,
    /// Optimise the rules: none, the only level there is, as they are found by an index
    #[arg(short = 'o', value_name = "LEVEL", num_args = 0..=1, default_missing_value = "none", value_parser = level)]
    optimise: Option<String>,
    /// Set the debug level: none, urgent, misc or loud
    #[arg(short = 'x', value_name = "LEVEL", value_parser = debug_level)]
    debug: Option<pf_abi::Debug>,
    /// Clear the counters of rules
    #[arg(short = 'z')]
    clear_counters: bool,
    /// Say more for who looks for a mistake
    #[arg(short = 'g')]
    extra: bool,
    /// Look up the names of addresses of states
    #[arg(short = 'r')]
    names: bool,
    /// Keep the options that the file does not set
    #[arg(short = 'm')]
    merge: bool,
    /// Limit -s states, -s Interfaces, -F states and -k to an interface
    #[arg(short = 'i', value_name = "INTERFACE", value_parser = interface)]
    interface: Option<IfName>,
    /// Define a macro, over what the file says
    #[arg(short = 'D', value_name = "MACRO=VALUE", action = ArgAction::Append, value_parser = definition)]
    define: Vec<(String, String)>,
    /// Store the state table in a file
    #[arg(short = 'S', value_name = "FILE")]
    store: Option<PathBuf>,
    /// Load the state table from a file
    #[arg(short = 'L', value_name = "FILE")]
    restore: Option<PathBuf>,
    /// Use another device: a character device, or the socket of a pf-router
    #[arg(short = 'p', value_name = "DEVICE", default_value = DEVICE)]
    device: PathBuf,
    /// The table that -T is about
    #[arg(short = 't', value_name = "TABLE", value_parser = table::name, requires = "command")]
    table: Option<TableName>,
    /// Change or show a table: kill, flush, add, delete, expire, replace, show, test, zero; or load the tables of -f
    #[arg(short = 'T', value_name = "COMMAND", value_parser = table::command)]
    command: Option<table::Command>,
    /// What -T is about: addresses, or seconds
    #[arg(value_name = "ADDRESS", requires = "command")]
    words: Vec<String>,
    /// Say more; twice for even more
    #[arg(short = 'v', action = ArgAction::Count)]
    verbose: u8,
    /// Say only what went wrong
    #[arg(short = 'q')]
    quiet: bool,
}

/// What `-F` removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flush {
    Rules,
    Nat,
    Sources,
    States,
    Info,
    Fingerprints,
    Tables,
    All,
}

fn flush(argument: &str) -> Result<Flush, String> {
    const WORDS: [(&str, Option<Flush>); 9] = [
        ("nat", Some(Flush::Nat)),
        ("queue", None),
        ("rules", Some(Flush::Rules)),
        ("Sources", Some(Flush::Sources)),
        ("states", Some(Flush::States)),
        ("info", Some(Flush::Info)),
        ("Tables", Some(Flush::Tables)),
        ("osfp", Some(Flush::Fingerprints)),
        ("all", Some(Flush::All)),
    ];
    let word =
        abbreviated(argument, WORDS.map(|(word, _)| word)).ok_or("it is rules, nat, Sources, states, info or all")?;
    WORDS
        .iter()
        .find(|(known, _)| *known == word)
        .and_then(|(_, flush)| *flush)
        .ok_or(format!("-F {word} is not supported yet"))
}

fn level(argument: &str) -> Result<String, String> {
    match argument {
        "none" => Ok(argument.to_owned()),
        _ => Err("rules are loaded as they are written: it is none".to_owned()),
    }
}

fn debug_level(argument: &str) -> Result<pf_abi::Debug, String> {
    let levels = pf_abi::Debug::ALL;
    let word = abbreviated(argument, levels.iter().map(|level| level.name()));
    let level = levels.iter().find(|level| Some(level.name()) == word);
    level.copied().ok_or("it is none, urgent, misc or loud".to_owned())
}

fn interface(argument: &str) -> Result<IfName, String> {
    IfName::new(argument).ok_or_else(|| "the name is too long".to_owned())
}

fn definition(argument: &str) -> Result<(String, String), String> {
    let (name, value) = argument.split_once('=').ok_or("it must be macro=value")?;
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(valid) {
        return Err("the name of a macro has letters, digits and `_`".to_owned());
    }
    Ok((name.to_owned(), value.to_owned()))
}

impl Arguments {
    fn access(&self) -> Access {
        let changes = self.disable
            || self.enable
            || self.file.is_some()
            || self.flush.is_some()
            || !self.kill.is_empty()
            || self.command.is_some_and(|command| command.changes() && !self.no_action)
            || !self.kill_sources.is_empty()
            || self.store.is_some()
            || self.debug.is_some()
            || self.clear_counters
            || self.restore.is_some();
        if changes { Access::Write } else { Access::Read }
    }

    /// What of the file is loaded, and where.
    fn scope(&self) -> load::Scope {
        if self.command == Some(table::Command::Load) {
            return load::Scope {
                anchor: self.anchor.path.clone(),
                kinds: vec![RulesetKind::Table],
                options: false,
                merge: self.merge,
            };
        }
        let asked = self.only_queues || self.only_nat || self.only_filter || self.only_options;
        let mut kinds = Vec::new();
        if self.only_filter || !asked {
            kinds.extend([RulesetKind::Scrub, RulesetKind::Filter]);
        }
        if self.only_nat || !asked {
            kinds.extend([RulesetKind::Nat, RulesetKind::Rdr, RulesetKind::Binat]);
        }
        if !asked {
            kinds.push(RulesetKind::Table);
        }
        load::Scope {
            anchor: self.anchor.path.clone(),
            kinds,
            options: self.anchor.path.is_empty() && (self.only_options || !asked),
            merge: self.merge,
        }
    }

    fn say(&self, text: &str) {
        if !self.quiet {
            eprintln!("{text}");
        }
    }
}

/// Runs pfctl.
pub(super) fn run(arguments: Vec<OsString>) -> Result<(), Error> {
    let arguments: Arguments = parse(arguments);
    if arguments.kill.len() > 2 {
        return Err(Error::Other("-k can be given twice at most".to_owned()));
    }
    if arguments.kill_sources.len() > 2 {
        return Err(Error::Other("-K can be given twice at most".to_owned()));
    }
    let resolver = SystemResolver::new();
    let command = arguments.command.filter(|command| *command != table::Command::Load);
    if let Some(command) = command {
        return run_table(&arguments, command, &resolver);
    }
    if arguments.command.is_some() && (arguments.file.is_none() || arguments.table.is_some()) {
        return Err(Error::Other("-T load goes with -f, and without -t".to_owned()));
    }
    // Mistakes in files come out before anything is touched.
    let config = arguments
        .file
        .as_deref()
        .map(|file| read_config(&arguments, file, &resolver))
        .transpose()?;
    if arguments.no_action {
        return match &config {
            Some(config) => repeat(&arguments, config, &resolver),
            None => Err(Error::Other("-n needs -f".to_owned())),
        };
    }
    let dump = arguments.restore.as_deref().map(dump::open).transpose()?;
    let ends_of = |hosts: &[String]| {
        let ends = hosts.iter().map(|host| Ends::parse(host, &resolver));
        ends.collect::<Result<Vec<_>, _>>()
    };
    let ends = ends_of(&arguments.kill)?;
    let source_ends = ends_of(&arguments.kill_sources)?;

    let mut device = device::open(&arguments.device, arguments.access())?;
    let device: &mut dyn Device = device.as_mut();
    if arguments.disable {
        disable(&mut Pf::new(device))?;
        arguments.say("pf disabled");
    }
    if let Some(what) = arguments.show {
        let mut out = io::stdout().lock();
        show::show(
            &mut Pf::new(device),
            what,
            &show::View {
                interface: arguments.interface,
                anchor: &arguments.anchor,
                verbose: arguments.verbose.max(if arguments.extra { 2 } else { 0 }),
                clear: arguments.clear_counters,
            },
            &resolver,
            &mut out,
        )?;
        out.flush()?;
    }
    if let Some(path) = &arguments.store {
        let mut held = Held::take(Pf::new(device))?;
        let dump = dump::take(&mut held)?;
        held.release()?;
        dump::save(&dump, path, Format::Binary)?;
        arguments.say(&format!("stored {} states", dump.states.len()));
    }
    if let Some(what) = arguments.flush {
        remove(&arguments, &mut Pf::new(device), what)?;
    }
    if let Some(from) = ends.first() {
        let ifname = arguments.interface.unwrap_or_default();
        let killed = states::kill(&mut Pf::new(device), from, ends.get(1), ifname)?;
        arguments.say(&format!(
            "killed {} states from {} sources and {} destinations",
            killed.states, killed.sources, killed.destinations
        ));
    }
    if let Some(from) = source_ends.first() {
        let killed = states::kill_sources(&mut Pf::new(device), from, source_ends.get(1))?;
        arguments.say(&format!(
            "killed {} src nodes from {} sources and {} destinations",
            killed.states, killed.sources, killed.destinations
        ));
    }
    if let Some(config) = &config {
        load::load_part(&mut Pf::new(device), config, &arguments.scope())?;
        if config.speaks_of_queues {
            arguments.say(queues_are_left_out(&mut Pf::new(device))?);
        }
        repeat(&arguments, config, &resolver)?;
    }
    if let Some(level) = arguments.debug {
        Pf::new(device).set_debug(level.into())?;
        arguments.say(&format!("debug level set to '{}'", level.name()));
    }
    if arguments.clear_counters && arguments.show.is_none() {
        Pf::new(device).clear_rule_counters()?;
        arguments.say("pf: rule counters cleared");
    }
    if arguments.enable {
        enable(&mut Pf::new(device))?;
        arguments.say("pf enabled");
    }
    if let Some(dump) = &dump {
        let mut held = Held::take(Pf::new(device))?;
        let summary = dump::restore(&mut held, dump)?;
        held.release()?;
        if !arguments.quiet || summary.refused_count() > 0 {
            eprintln!("{summary}");
        }
    }
    Ok(())
}

/// What becomes of a configuration's queues.
fn queues_are_left_out(pf: &mut Pf<'_>) -> Result<&'static str, Error> {
    Ok(match pf.has_altq()? {
        false => "No ALTQ support in kernel\nALTQ related functions disabled",
        true => "pfctl: queues are not loaded by this pfctl",
    })
}

/// `-t NAME -T COMMAND`: nothing else is done.
fn run_table(arguments: &Arguments, command: table::Command, resolver: &SystemResolver) -> Result<(), Error> {
    let name = arguments
        .table
        .ok_or_else(|| Error::Other("-T needs -t and the name of a table".to_owned()))?;
    let takes = matches!(
        command,
        table::Command::Add | table::Command::Delete | table::Command::Replace | table::Command::Test
    );
    let (words, file) = (&arguments.words, arguments.file.as_deref());
    if !takes && (file.is_some() || command != table::Command::Expire && !words.is_empty()) {
        return Err(Error::Other("this command of -T takes no addresses".to_owned()));
    }
    let addresses = if takes {
        table::addresses(words, file, resolver)?
    } else {
        Vec::new()
    };
    let mut device = device::open(&arguments.device, arguments.access())?;
    let manner = table::Manner {
        verbose: arguments.verbose,
        quiet: arguments.quiet,
        dummy: arguments.no_action,
    };
    let mut out = io::stdout().lock();
    let mut pf = Pf::new(device.as_mut());
    pf.set_anchor(AnchorPath::new(&arguments.anchor.path).unwrap_or_default());
    let outcome = table::run(&mut pf, name, command, words, addresses, &manner, &mut out);
    out.flush()?;
    outcome
}

fn enable(pf: &mut Pf<'_>) -> Result<(), Error> {
    match pf.start() {
        Err(error) if error.errno() == Some(errno::EEXIST) => Err(Error::Other("pf already enabled".to_owned())),
        outcome => Ok(outcome?),
    }
}

fn disable(pf: &mut Pf<'_>) -> Result<(), Error> {
    match pf.stop() {
        Err(error) if error.errno() == Some(errno::ENOENT) => Err(Error::Other("pf not enabled".to_owned())),
        outcome => Ok(outcome?),
    }
}

fn remove(arguments: &Arguments, pf: &mut Pf<'_>, what: Flush) -> Result<(), Error> {
    let path = AnchorPath::new(&arguments.anchor.path).unwrap_or_default();
    if !path.is_empty() && !matches!(what, Flush::Rules | Flush::Nat | Flush::Tables) {
        return Err(Error::Other("with -a, -F removes rules, nat or Tables".to_owned()));
    }
    let all = what == Flush::All;
    if what == Flush::Fingerprints || all {
        match pf.flush_fingerprints() {
            Err(error) if all && error.is_unknown() => {}
            outcome => outcome?,
        }
        arguments.say("pf: fingerprints cleared");
    }
    if all || what == Flush::Rules {
        load::clear_in(pf, path, &[RulesetKind::Scrub, RulesetKind::Filter])?;
        arguments.say("rules cleared");
    }
    if all || what == Flush::Nat {
        load::clear_in(pf, path, &[RulesetKind::Nat, RulesetKind::Binat, RulesetKind::Rdr])?;
        arguments.say("nat cleared");
    }
    if all || what == Flush::States {
        let count = pf.clear_states(arguments.interface.unwrap_or_default())?;
        arguments.say(&format!("{count} states cleared"));
    }
    if all || what == Flush::Tables {
        let mut pf = pf.reborrow();
        pf.set_anchor(path);
        match pf.clear_tables(0) {
            Err(error) if all && error.is_unknown() => {}
            outcome => arguments.say(&format!("{} tables deleted.", outcome?)),
        }
    }
    if all || what == Flush::Sources {
        match pf.clear_sources() {
            Err(error) if all && error.is_unknown() => {}
            outcome => {
                outcome?;
                arguments.say("source tracking entries cleared");
            }
        }
    }
    if all || what == Flush::Info {
        match pf.clear_status() {
            Err(error) if all && error.is_unknown() => {}
            outcome => {
                outcome?;
                arguments.say("pf: statistics cleared");
            }
        }
    }
    Ok(())
}

fn read_config(arguments: &Arguments, file: &str, resolver: &SystemResolver) -> Result<Config, Error> {
    let (name, text) = if file == "-" {
        let mut text = String::new();
        let outcome = io::stdin().read_to_string(&mut text);
        ("stdin", outcome.map(|_| text))
    } else {
        (file, std::fs::read_to_string(file))
    };
    let text = text.map_err(|error| Error::Other(format!("{name}: {error}")))?;
    let mut sources = Sources::default();
    let file = sources.add(name, text);
    let mut macros = Macros::default();
    for (name, value) in &arguments.define {
        macros.define_fixed(name, value);
    }
    match conf::compile(&mut sources, file, macros, resolver) {
        Ok((config, warnings)) => {
            // The interfaces of a pf-router may be unknown here: most warnings are no news to who loads rules.
            if !arguments.quiet && (arguments.no_action || arguments.verbose > 0) {
                eprint!("{}", warnings.render(&sources));
            }
            Ok(config)
        }
        Err(diagnostics) => {
            eprint!("{}", diagnostics.render(&sources));
            let count = match diagnostics.error_count() {
                1 => "1 mistake".to_owned(),
                count => format!("{count} mistakes"),
            };
            Err(Error::Configuration(format!("{name}: {count}; no rules were loaded")))
        }
    }
}

/// With `-v`, says what was loaded.
fn repeat(arguments: &Arguments, config: &Config, resolver: &SystemResolver) -> Result<(), Error> {
    if arguments.verbose == 0 {
        return Ok(());
    }
    let mut out = io::stdout().lock();
    for line in &config.echo {
        writeln!(out, "{line}")?;
    }
    let printer = RulePrinter {
        resolver,
        numbers: arguments.verbose > 1,
    };
    repeat_rules(&mut out, &printer, config, "", 0)?;
    for (path, file) in &config.loads {
        writeln!(out, "\nLoading anchor {path} from {file}")?;
        repeat_rules(&mut out, &printer, config, path, 0)?;
    }
    Ok(out.flush()?)
}

/// The rules of an anchor, those in braces within them.
fn repeat_rules(
    out: &mut dyn io::Write,
    printer: &RulePrinter<'_>,
    config: &Config,
    anchor: &str,
    depth: usize,
) -> io::Result<()> {
    let indent = "  ".repeat(depth);
    for kind in load::KINDS {
        for rule in config.rules_in(anchor, kind) {
            let brace = if rule.block { " {" } else { "" };
            writeln!(
                out,
                "{indent}{}{brace}",
                printer.text(&rule.rule, &rule.pool, &rule.call)
            )?;
            if rule.block && depth < 64 {
                let path = if anchor.is_empty() {
                    rule.call.clone()
                } else {
                    format!("{anchor}/{}", rule.call)
                };
                repeat_rules(out, printer, config, &path, depth + 1)?;
                writeln!(out, "{indent}}}")?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn parsed(words: &[&str]) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(std::iter::once(&"pfctl").chain(words))
    }

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn options_go_together_as_they_always_did() {
        let arguments = parsed(&["-nvf", "/etc/pf.conf"]).unwrap();
        assert!(arguments.no_action && arguments.verbose == 1);
        assert_eq!(arguments.file.as_deref(), Some("/etc/pf.conf"));
        assert_eq!(parsed(&["-sr"]).unwrap().show, Some(Show::Rules));
        assert_eq!(parsed(&["-s", "st"]).unwrap().show, Some(Show::States));
        assert_eq!(parsed(&["-Fa"]).unwrap().flush, Some(Flush::All));
        assert_eq!(parsed(&["-k", "a", "-k", "b"]).unwrap().kill, ["a", "b"]);
        assert!(parsed(&["-s", "x"]).is_err());
        assert_eq!(parsed(&["-F", "Sources"]).unwrap().flush, Some(Flush::Sources));
        assert!(parsed(&["-t", "a"]).is_err() && parsed(&["-t", "", "-T", "show"]).is_err());
        assert!(parsed(&["10.0.0.1"]).is_err() && parsed(&["-T", "x"]).is_err());
        let arguments = parsed(&["-t", "bad", "-T", "e", "60"]).unwrap();
        assert_eq!(
            (arguments.command, &arguments.words[..]),
            (Some(table::Command::Expire), &["60".to_owned()][..])
        );
        assert!(parsed(&["-ed"]).is_err());
    }

    #[test]
    fn only_what_changes_something_opens_for_writing() {
        assert_eq!(parsed(&["-s", "all"]).unwrap().access(), Access::Read);
        let table = |command| parsed(&["-t", "a", "-T", command]).unwrap().access();
        assert_eq!([table("show"), table("test")], [Access::Read; 2]);
        assert_eq!([table("add"), table("kill"), table("zero")], [Access::Write; 3]);
        assert_eq!(parsed(&["-nt", "a", "-T", "add"]).unwrap().access(), Access::Read);
        for words in [["-S", "x"], ["-L", "x"], ["-f", "x"], ["-F", "all"], ["-k", "x"]] {
            assert_eq!(parsed(&words).unwrap().access(), Access::Write, "{words:?}");
        }
    }

    #[test]
    fn a_macro_has_a_name_and_a_value() {
        let arguments = parsed(&["-D", "ext_if=em0", "-D", "x=a=b"]).unwrap();
        assert_eq!(arguments.define[0], ("ext_if".to_owned(), "em0".to_owned()));
        assert_eq!(arguments.define[1], ("x".to_owned(), "a=b".to_owned()));
        assert!(parsed(&["-D", "ext_if"]).is_err());
        assert!(parsed(&["-D", "a-b=1"]).is_err());
    }
}
