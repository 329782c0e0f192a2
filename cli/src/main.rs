//! The binary `jobshop`: nothing but the entry; everything it can do lives in the library beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    jobshop::main()
}
