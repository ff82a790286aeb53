//! The two commands. A program is one or the other by the name that it is called by.

mod pfctl;
mod pfs;
mod show;
mod table;

use crate::device::{IoctlError, OpenError};
use crate::dump::FileError;
use crate::lock::LockError;
use crate::states::EndsError;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::ExitCode;

/// Where pf is unless told.
const DEVICE: &str = "/dev/pf";

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The device could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// An ioctl failed.
    #[error(transparent)]
    Ioctl(#[from] IoctlError),
    /// Something under the lock failed.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A dump could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A host of `-k` means nothing.
    #[error(transparent)]
    Ends(#[from] EndsError),
    /// Nobody reads what is printed.
    #[error("writing to the standard output: {0}")]
    Output(#[from] io::Error),
    /// A host of `-T test` is not in the table.
    #[error("not all addresses match")]
    Unmatched,
    /// Anything else, in its own words.
    #[error("{0}")]
    Other(String),
    /// The mistakes of a configuration, which have been reported already.
    #[error("{0}")]
    Configuration(String),
}

/// Runs the command that the first argument names, with the others.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let program = arguments
        .first()
        .and_then(|path| Path::new(path).file_name())
        .map_or_else(|| "pfctl".to_owned(), |name| name.to_string_lossy().into_owned());
    let outcome = if program == "pfs" {
        pfs::run(arguments)
    } else {
        pfctl::run(arguments)
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever closes a pipe has seen enough.
        Err(Error::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        // What scripts ask for: it has been said already.
        Err(Error::Unmatched) => ExitCode::from(2),
        Err(error) => {
            eprintln!("{program}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Parses a command line. What clap answers to `--help` and to a mistake goes out from here, with its exit code.
fn parse<T: clap::Parser>(arguments: Vec<OsString>) -> T {
    T::try_parse_from(arguments).unwrap_or_else(|error| {
        // clap's own exit code for a wrong command line is 2; pfctl's is 1.
        let _ = error.print();
        std::process::exit(i32::from(error.use_stderr()))
    })
}

/// The word of a list that an argument begins, as pfctl has always abbreviated: the first that fits.
fn abbreviated<'a>(argument: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    words
        .into_iter()
        .find(|word| !argument.is_empty() && word.starts_with(argument))
}
