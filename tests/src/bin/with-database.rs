//! Runs a command with `DATABASE_URL` naming a fresh, migrated database, which is dropped after it:
//! `with-database PROGRAM ARGUMENT…`. `make check` compiles the queries against one.

use std::process::ExitCode;

use anyhow::Context as _;
use jobshop_tests::TestDb;
use tokio::process::Command;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let program = arguments.next().context("usage: with-database PROGRAM ARGUMENT…")?;
    let db = TestDb::new().await;
    let mut command = Command::new(&program);
    command.args(arguments).env("DATABASE_URL", db.url());
    let status = command.status().await.with_context(|| program.display().to_string())?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
