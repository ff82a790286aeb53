//! pfs(8).

use super::{DEVICE, Error, parse};
use crate::device::{self, Access, Pf};
use crate::dump::{self, Format};
use crate::lock::Held;
use clap::{ArgGroup, Parser};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Saves and restores the state table.
#[derive(Debug, Parser)]
#[command(
    name = "pfs",
    version,
    about = "Saves and restores the state table of the packet filter. See pfs(8).",
    group(ArgGroup::new("action").required(true).args(["lock", "unlock", "write", "read", "write_locking", "read_locking"]))
)]
struct Arguments {
    /// Lock the state table
    #[arg(short = 'l')]
    lock: bool,
    /// Unlock the state table
    #[arg(short = 'u')]
    unlock: bool,
    /// Write the state table, which must be locked, to a file
    #[arg(short = 'w', value_name = "FILE")]
    write: Option<PathBuf>,
    /// Read the state table, which must be locked, from a file
    #[arg(short = 'r', value_name = "FILE")]
    read: Option<PathBuf>,
    /// Lock the state table, write it to a file, and unlock it
    #[arg(short = 'W', value_name = "FILE")]
    write_locking: Option<PathBuf>,
    /// Lock the state table, read it from a file, and unlock it
    #[arg(short = 'R', value_name = "FILE")]
    read_locking: Option<PathBuf>,
    /// Write in binary; a file is read in whatever format it has
    #[arg(short = 'b')]
    binary: bool,
    /// Use another device: a character device, or the socket of a pf-router
    #[arg(short = 'p', value_name = "DEVICE", default_value = DEVICE)]
    device: PathBuf,
    /// Say what is done
    #[arg(short = 'v')]
    verbose: bool,
}

/// Runs pfs.
pub(super) fn run(arguments: Vec<OsString>) -> Result<(), Error> {
    let arguments: Arguments = parse(arguments);
    // What is wrong with a file comes out before anything is touched.
    let input = arguments.read.as_deref().or(arguments.read_locking.as_deref());
    let dump = input.map(dump::open).transpose()?;
    let mut device = device::open(&arguments.device, Access::Write)?;
    let mut pf = Pf::new(device.as_mut());
    if arguments.lock || arguments.unlock {
        pf.set_lock(arguments.lock)?;
        let state = if arguments.lock { "locked" } else { "unlocked" };
        arguments.say(&format!("state table {state}"));
        return Ok(());
    }
    let locking = arguments.write_locking.is_some() || arguments.read_locking.is_some();
    let mut held = if locking { Held::take(pf)? } else { Held::expect(pf)? };
    if let Some(dump) = dump {
        let summary = dump::restore(&mut held, &dump)?;
        held.release()?;
        if arguments.verbose || summary.refused_count() > 0 {
            eprintln!("{summary}");
        }
        return Ok(());
    }
    let output = arguments.write.as_deref().or(arguments.write_locking.as_deref());
    let dump = dump::take(&mut held)?;
    held.release()?;
    let format = if arguments.binary { Format::Binary } else { Format::Text };
    let path = output.unwrap_or(Path::new("/dev/stdout"));
    dump::save(&dump, path, format)?;
    arguments.say(&format!("stored {} states", dump.states.len()));
    Ok(())
}

impl Arguments {
    fn say(&self, text: &str) {
        if self.verbose {
            eprintln!("{text}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    /// etc/rc.d/pf_states tells it from NetBSD's pfs(8) by that, which has no such option.
    #[test]
    fn it_says_who_it_is() {
        let said = Arguments::command().render_version();
        let version = said.strip_prefix("pfs ").unwrap();
        assert!(version.starts_with(|c: char| c.is_ascii_digit()), "{said}");
    }

    #[test]
    fn exactly_one_thing_is_done() {
        let parsed = |words: &[&str]| Arguments::try_parse_from(std::iter::once(&"pfs").chain(words)).map(drop);
        assert!(parsed(&["-bvW", "file"]).is_ok());
        assert!(parsed(&["-l"]).is_ok());
        assert!(parsed(&[]).is_err());
        assert!(parsed(&["-l", "-u"]).is_err());
        assert!(parsed(&["-w", "a", "-W", "b"]).is_err());
    }
}
