//! The command line of Jobshop as a library, so that tests can drive the parts of the one binary:
//! the data directory, the embedded Postgres cluster and the start of child processes.

use std::process::ExitCode;

use clap::Parser as _;

pub mod agents;
pub mod app;
pub mod bench;
pub mod client;
pub mod cluster;
pub mod commands;
pub mod config;
pub mod data_dir;
pub mod exec;
pub mod exit;
pub mod logging;
pub mod moment;
pub mod output;
pub mod process;
pub mod progress;
pub mod service;
pub mod signals;
pub mod table;
pub mod token;
pub mod transcript;
pub mod words;

/// Runs what the arguments of this process ask for.
pub fn main() -> ExitCode {
    // First of all, before any runtime or thread exists: a child on its way to another program.
    if let Some(code) = exec::dispatch() {
        return code;
    }
    commands::CommandLine::parse().execute().into()
}
