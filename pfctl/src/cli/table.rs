//! `pfctl -t NAME -T COMMAND`.

use super::{Error, abbreviated};
use crate::conf::expand::{table_addresses, words};
use crate::device::Pf;
use crate::print::table::{address_line, address_stats_text, tested_line};
use crate::resolve::Resolver;
use pf_abi::{
    Feedback, PFR_FLAG_DUMMY, PFR_FLAG_FEEDBACK, PFR_FLAG_REPLACE, PFR_TFLAG_PERSIST, Table, TableAddr, TableName,
    errno,
};
use std::io::{Read as _, Write};
use std::time::{SystemTime, UNIX_EPOCH};

/// What `-T` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Kill,
    Flush,
    Add,
    Delete,
    Expire,
    Load,
    Replace,
    Show,
    Test,
    Zero,
}

/// Understands the word behind `-T`, abbreviated or not.
pub(super) fn command(argument: &str) -> Result<Command, String> {
    const WORDS: [(&str, Command); 10] = [
        ("kill", Command::Kill),
        ("flush", Command::Flush),
        ("add", Command::Add),
        ("delete", Command::Delete),
        ("load", Command::Load),
        ("replace", Command::Replace),
        ("show", Command::Show),
        ("test", Command::Test),
        ("zero", Command::Zero),
        ("expire", Command::Expire),
    ];
    let word = abbreviated(argument, WORDS.map(|(word, _)| word))
        .ok_or("it is kill, flush, add, delete, expire, replace, show, test, zero or load")?;
    let found = WORDS.iter().find(|(known, _)| *known == word);
    found.map(|(_, command)| *command).ok_or("unknown".to_owned())
}

/// The name behind `-t`.
pub(super) fn name(argument: &str) -> Result<TableName, String> {
    TableName::new(argument)
        .filter(|name| !name.is_empty())
        .ok_or_else(|| "the name is too long, or empty".to_owned())
}

impl Command {
    /// Whether it changes anything.
    pub(super) fn changes(self) -> bool {
        !matches!(self, Self::Show | Self::Test)
    }
}

/// How it is done.
pub(super) struct Manner {
    /// `-v`, how often.
    pub(super) verbose: u8,
    /// `-q`
    pub(super) quiet: bool,
    /// `-n`: only tried.
    pub(super) dummy: bool,
}

impl Manner {
    fn say(&self, text: &str) {
        if !self.quiet {
            eprintln!("{text}{}.", if self.dummy { " (dummy)" } else { "" });
        }
    }

    fn flags(&self) -> i32 {
        let feedback = if self.verbose > 0 { PFR_FLAG_FEEDBACK } else { 0 };
        self.dummy_flag() | feedback
    }

    fn dummy_flag(&self) -> i32 {
        if self.dummy { PFR_FLAG_DUMMY } else { 0 }
    }

    /// With `-v` those that something became of; with `-vv` all.
    fn report(&self, addresses: &[TableAddr], out: &mut dyn Write) -> Result<(), Error> {
        if self.verbose == 0 {
            return Ok(());
        }
        for address in addresses {
            if self.verbose > 1 || address.fback != u8::from(Feedback::None) {
                out.write_all(address_line(address).as_bytes())?;
            }
        }
        Ok(())
    }
}

/// The addresses of the command line and of a file (`-f`).
pub(super) fn addresses(
    arguments: &[String],
    file: Option<&str>,
    resolver: &dyn Resolver,
) -> Result<Vec<TableAddr>, Error> {
    let mut text = String::new();
    let read = match file {
        None => Ok(0),
        Some("-") => std::io::stdin().read_to_string(&mut text),
        Some(file) => std::fs::File::open(file).and_then(|mut file| file.read_to_string(&mut text)),
    };
    read.map_err(|error| Error::Other(format!("cannot load {}: {error}", file.unwrap_or_default())))?;
    let given = arguments.iter().map(String::as_str).chain(words(&text));
    table_addresses(given, resolver).map_err(Error::Other)
}

/// Makes the table persistent if it is not there. False where that was only tried, and there is nothing to go on with.
fn create(pf: &mut Pf<'_>, name: TableName, manner: &Manner) -> Result<bool, Error> {
    let mut tables = [Table {
        flags: PFR_TFLAG_PERSIST,
        ..pf.table(name)
    }];
    let made = pf.add_tables(&mut tables, manner.dummy_flag())?;
    if made > 0 {
        manner.say(&format!("{made} table created"));
    }
    Ok(made == 0 || !manner.dummy)
}

/// Does a command. `words` are what stands behind it, `addresses` what they and the file say.
pub(super) fn run(
    pf: &mut Pf<'_>,
    name: TableName,
    command: Command,
    words: &[String],
    mut addresses: Vec<TableAddr>,
    manner: &Manner,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let flags = manner.flags();
    let given = addresses.len();
    let mut tables = [pf.table(name)];
    match command {
        Command::Kill => {
            let deleted = pf.delete_tables(&mut tables, manner.dummy_flag())?;
            manner.say(&format!("{deleted} table deleted"));
        }
        Command::Flush => {
            let deleted = pf.clear_addresses(name, manner.dummy_flag())?;
            manner.say(&format!("{deleted} addresses deleted"));
        }
        Command::Add => {
            if create(pf, name, manner)? {
                let added = pf.add_addresses(name, &mut addresses, flags)?;
                manner.say(&format!("{added}/{given} addresses added"));
                manner.report(&addresses, out)?;
            }
        }
        Command::Delete => {
            let deleted = pf.delete_addresses(name, &mut addresses, flags)?;
            manner.say(&format!("{deleted}/{given} addresses deleted"));
            manner.report(&addresses, out)?;
        }
        Command::Replace => {
            if create(pf, name, manner)? {
                let replaced = pf.set_addresses(name, &mut addresses, flags)?;
                for (count, what) in [
                    (replaced.added, "added"),
                    (replaced.deleted, "deleted"),
                    (replaced.changed, "changed"),
                ] {
                    if count != 0 {
                        manner.say(&format!("{count} addresses {what}"));
                    }
                }
                if replaced == Default::default() {
                    manner.say("no changes");
                }
                manner.report(&addresses, out)?;
            }
        }
        Command::Expire => expire(pf, name, words, manner, out)?,
        Command::Show if manner.verbose > 0 => {
            for stats in pf.address_stats(name)? {
                out.write_all(address_stats_text(&stats).as_bytes())?;
            }
        }
        Command::Show => {
            for address in pf.addresses(name)? {
                out.write_all(address_line(&address).as_bytes())?;
            }
        }
        Command::Test => return test(pf, name, addresses, manner, out),
        Command::Zero => {
            let cleared = pf.clear_table_stats(&mut tables, manner.dummy_flag())?;
            manner.say(&format!("{cleared} table/stats cleared"));
        }
        Command::Load => (),
    }
    Ok(())
}

/// Deletes the addresses that have counted for longer than so many seconds.
fn expire(
    pf: &mut Pf<'_>,
    name: TableName,
    words: &[String],
    manner: &Manner,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let [seconds] = words else {
        return Err(Error::Other("-T expire takes a number of seconds".to_owned()));
    };
    let seconds: u32 = seconds
        .parse()
        .map_err(|_| Error::Other(format!("{seconds}: not a number of seconds")))?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs() as i64;
    let old = pf.address_stats(name)?;
    let old = old
        .iter()
        .filter(|it| now.saturating_sub(it.tzero) > i64::from(seconds));
    let mut old: Vec<TableAddr> = old.map(|it| it.a).collect();
    let deleted = pf.delete_addresses(name, &mut old, manner.flags())?;
    manner.say(&format!("{deleted}/{} addresses expired", old.len()));
    manner.report(&old, out)
}

fn test(
    pf: &mut Pf<'_>,
    name: TableName,
    mut addresses: Vec<TableAddr>,
    manner: &Manner,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let asked = addresses.clone();
    let flags = if manner.verbose > 1 { PFR_FLAG_REPLACE } else { 0 };
    let matched = pf.test_addresses(name, &mut addresses, flags).map_err(|error| {
        if error.errno() == Some(errno::EINVAL) {
            error.doing("looking for hosts in a table (a network cannot be looked for)")
        } else {
            error
        }
    })?;
    manner.say(&format!("{matched}/{} addresses match", asked.len()));
    for (asked, found) in asked.iter().zip(&addresses) {
        if manner.verbose > 1 {
            out.write_all(tested_line(asked, found).as_bytes())?;
        } else if manner.verbose > 0 && found.fback == u8::from(Feedback::Match) {
            out.write_all(address_line(found).as_bytes())?;
        }
    }
    if usize::try_from(matched).is_ok_and(|matched| matched < asked.len()) {
        return Err(Error::Unmatched);
    }
    Ok(())
}
