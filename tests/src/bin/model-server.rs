//! The scripted model as a program of its own, for demos: `model-server [ADDRESS [COMMAND]]` prints the
//! configuration of opencode that makes it the model, and serves until it is told to stop. Agents whose
//! prompts hold no script are told to run the command.

use std::io::Write as _;
use std::net::SocketAddr;

use anyhow::Context as _;
use jobshop_tests::model_server::ModelServer;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let address: SocketAddr = address.parse().context("usage: model-server [ADDRESS [COMMAND]]")?;
    let model = ModelServer::playing(address, std::env::args().nth(2)).await?;
    writeln!(std::io::stdout(), "{}", model.opencode_config())?;
    tokio::select! {
        _ = terminated.recv() => {}
        stopped = tokio::signal::ctrl_c() => stopped?,
    }
    Ok(())
}
