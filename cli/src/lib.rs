//! The command line of Jobshop as a library, so that tests can drive the parts of the one binary:
//! the data directory, the embedded Postgres cluster and the start of child processes.

use std::io::Write as _;
use std::process::ExitCode;

pub mod cluster;
pub mod data_dir;
pub mod exec;
pub mod process;

/// Runs what the arguments of this process ask for.
pub fn main() -> ExitCode {
    // First of all, before any runtime or thread exists: a child on its way to another program.
    if let Some(code) = exec::dispatch() {
        return code;
    }
    let _ = writeln!(std::io::stderr(), "jobshop: no command given");
    ExitCode::from(2)
}
