//! The server that tests share. Without arguments (nextest's set-up script): makes sure that it runs
//! and holds the template. `serve`: is that server. It is also the launcher of its own cluster.

use std::process::ExitCode;

use anyhow::bail;
use jobshop_tests::{database, server};

fn main() -> anyhow::Result<ExitCode> {
    if let Some(code) = jobshop::exec::dispatch() {
        return Ok(code);
    }
    let runtime = tokio::runtime::Runtime::new()?;
    match std::env::args().nth(1).as_deref() {
        None => runtime.block_on(prepare())?,
        Some("serve") => runtime.block_on(server::serve(&jobshop::exec::launcher()?))?,
        Some(other) => bail!("unknown argument {other}"),
    }
    Ok(ExitCode::SUCCESS)
}

async fn prepare() -> anyhow::Result<()> {
    let server = server::Server::shared().await?;
    let mut admin = server.connect().await?;
    database::prepare(server, &mut admin).await?;
    Ok(())
}
