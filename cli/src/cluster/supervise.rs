//! Keeps Postgres running: starts it again when it ends unasked, gives up when it does not start any
//! more.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::ClusterError;
use super::postmaster::{self, Launch, Postmaster};

/// Starts in a row that may fail.
const FAILED_STARTS_MAX: usize = 5;
/// Postgres that served for so long is started again at once.
const STEADY: Duration = Duration::from_secs(5);

/// Runs until told to stop, or until Postgres did not start any more. However often it is killed, it
/// is started again as long as it starts.
pub(super) async fn supervise(
    launch: Launch,
    mut postmaster: Postmaster,
    stop: CancellationToken,
    gives_up: watch::Sender<Option<String>>,
) -> Result<(), ClusterError> {
    let mut ready = Instant::now();
    loop {
        tokio::select! {
            () = stop.cancelled() => return postmaster.stop().await,
            ended = postmaster.ended() => {
                tracing::error!(status = %ended?, "Postgres ended unasked; starting it again");
            }
        }
        let delay = after_serving(ready.elapsed());
        match restart(&launch, delay, &stop).await {
            Ok(Some(restarted)) => postmaster = restarted,
            Ok(None) => return Ok(()),
            Err(error) => {
                gives_up.send_replace(Some(error.to_string()));
                return Err(error);
            }
        }
        ready = Instant::now();
    }
}

/// Starts Postgres again, with a growing delay; `None` when told to stop instead.
async fn restart(
    launch: &Launch,
    mut delay: Duration,
    stop: &CancellationToken,
) -> Result<Option<Postmaster>, ClusterError> {
    let mut failed = 0;
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(None),
            () = tokio::time::sleep(delay) => {}
        }
        // Not interrupted when told to stop: what was started must be stopped in order.
        let log = match postmaster::start(launch).await {
            Ok(postmaster) => {
                tracing::warn!("Postgres runs again");
                return Ok(Some(postmaster));
            }
            Err(ClusterError::Start { log }) => log,
            Err(error) => error.to_string(),
        };
        failed += 1;
        match after_failures(failed) {
            Some(longer) => delay = longer,
            None => return Err(ClusterError::DoesNotStart { times: failed, log }),
        }
    }
}

/// How long to wait before Postgres is started that had served for so long.
fn after_serving(served: Duration) -> Duration {
    if served >= STEADY { Duration::from_millis(200) } else { Duration::from_secs(1) }
}

/// How long to wait after so many failed starts in a row; `None` when it was one too many.
fn after_failures(failed: usize) -> Option<Duration> {
    match failed {
        0..=1 => Some(Duration::from_secs(1)),
        2..FAILED_STARTS_MAX => Some(Duration::from_secs(5)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_starts_that_fail_in_a_row_lead_to_giving_up() {
        let secs = Duration::from_secs;
        let delays: Vec<_> = (1..=5).map(after_failures).collect();
        assert_eq!(delays, [Some(secs(1)), Some(secs(5)), Some(secs(5)), Some(secs(5)), None]);
        assert_eq!(after_serving(secs(60)), Duration::from_millis(200));
        assert_eq!(after_serving(secs(1)), secs(1), "what falls over at once is not hurried");
    }
}
