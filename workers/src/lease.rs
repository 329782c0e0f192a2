//! Keeps the lease: one small update per process, and by the worker's own clock everything is let go
//! before the lease ends.

use std::sync::Arc;

use jobshop_engine::store::workers;
use tokio::time::{Duration, Instant};

use crate::life::Life;

const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(500);

/// Renews until the life ends; where that fails for too long, or the lease has run out, the life
/// is lost.
pub(crate) async fn keep(life: Arc<Life>) {
    let every = life.config.lease / 3;
    let lease_secs = i32::try_from(life.config.lease.as_secs()).unwrap_or(i32::MAX);
    let mut wait = every;
    loop {
        let let_go = life.let_go_at();
        tokio::select! {
            () = life.done.cancelled() => return,
            () = tokio::time::sleep_until(let_go) => return lose(&life, "it could not be renewed in time"),
            () = tokio::time::sleep(wait) => {}
        }
        let asked = Instant::now();
        let renewed = tokio::select! {
            renewed = workers::renew(&life.claims, life.id, lease_secs) => renewed,
            () = tokio::time::sleep_until(let_go) => return lose(&life, "it could not be renewed in time"),
        };
        wait = match renewed {
            Ok(true) => {
                life.renewed(asked);
                every
            }
            Ok(false) => return lose(&life, "it was ended or had run out"),
            Err(error) => {
                tracing::warn!(%error, "the lease was not renewed yet");
                PAUSE_AFTER_ERROR
            }
        };
    }
}

fn lose(life: &Life, why: &str) {
    tracing::warn!(worker.id = %life.id, why, "the lease is lost");
    life.lost.cancel();
}
