//! The one binary, built beside the tests so that they find it.

use std::process::ExitCode;

fn main() -> ExitCode {
    jobshop::main()
}
