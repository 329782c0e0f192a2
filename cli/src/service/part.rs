//! One part of a process: the futures that make it up, and how to end them.

use std::future::pending;

use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::exit::Failure;

/// Something that runs until it is told to stop.
#[derive(Debug)]
pub(super) struct Part {
    name: &'static str,
    pub(super) stop: CancellationToken,
    tasks: JoinSet<anyhow::Result<()>>,
}

impl Part {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, stop: CancellationToken::new(), tasks: JoinSet::new() }
    }

    /// Adds something that ends soon after `stop`.
    pub(super) fn run(&mut self, work: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        self.tasks.spawn(work);
    }

    /// Returns once something of this part has ended, which it should not have. Cancel-safe.
    pub(super) async fn ended(&mut self) -> Failure {
        match self.tasks.join_next().await {
            None => pending().await,
            Some(ended) => {
                let why = why(ended).unwrap_or_else(|| "ended by itself".to_owned());
                Failure::temporary(format!("{} {why}", self.name))
            }
        }
    }

    /// Stops it and waits until nothing of it is left.
    pub(super) async fn end(&mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            if let Some(why) = why(ended) {
                tracing::warn!("{} {why}", self.name);
            }
        }
    }
}

/// What went wrong, if anything.
fn why(ended: Result<anyhow::Result<()>, JoinError>) -> Option<String> {
    match ended {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(format!("failed: {error:#}")),
        Err(error) => Some(format!("broke: {error}")),
    }
}
