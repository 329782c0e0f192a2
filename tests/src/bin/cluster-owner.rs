//! A process that owns a cluster as production does, for tests that kill such a process:
//! `cluster-owner DATA_DIR` prints the URL and runs until it is told to stop.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use jobshop::cluster::{Cluster, ClusterConfig};
use jobshop::data_dir::DataDir;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> anyhow::Result<ExitCode> {
    if let Some(code) = jobshop::exec::dispatch() {
        return Ok(code);
    }
    let path = std::env::args_os().nth(1).context("usage: cluster-owner DATA_DIR")?;
    tokio::runtime::Runtime::new()?.block_on(own(DataDir::at(path)?))?;
    Ok(ExitCode::SUCCESS)
}

async fn own(dir: DataDir) -> anyhow::Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    let config = ClusterConfig {
        data: dir.lock()?,
        launcher: jobshop::exec::launcher()?,
        settings: Vec::new(),
    };
    let cluster = Cluster::start(config).await?;
    writeln!(std::io::stdout(), "{}", cluster.url())?;
    terminated.recv().await;
    Ok(cluster.stop().await?)
}
