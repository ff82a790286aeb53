//! pfctl(8), and pfs(8) when called by that name.

use std::process::ExitCode;

fn main() -> ExitCode {
    pfctl::cli::run(std::env::args_os())
}
