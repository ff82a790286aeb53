//! pf-router(8): reads the command line, sets up the log, and runs the router.
#![forbid(unsafe_code)]

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::Parser;
use pf_router::options::{LogFormat, Options};
use tracing::error;

fn main() -> ExitCode {
    let options = Options::parse();
    let log = tracing_subscriber::fmt()
        .with_max_level(options.log_level)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        // Whoever reads the log may go away. To complain about that in the same place would be the end of the router.
        .log_internal_errors(false);
    match options.log {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    match pf_router::run::run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            error!("{failure:#}");
            ExitCode::FAILURE
        }
    }
}
