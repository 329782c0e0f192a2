//! Keeps Postgres running: starts it again when it ends unasked, gives up when that does not help.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::ClusterError;
use super::postmaster::{self, Launch, Postmaster};

const STOPS_MAX: usize = 5;
const WINDOW: Duration = Duration::from_mins(1);

/// Runs until told to stop, or until Postgres ended more than five times within a minute.
pub(super) async fn supervise(
    launch: Launch,
    mut postmaster: Postmaster,
    stop: CancellationToken,
    gives_up: watch::Sender<Option<String>>,
) -> Result<(), ClusterError> {
    let mut stops = Stops::default();
    loop {
        let log = tokio::select! {
            () = stop.cancelled() => return postmaster.stop().await,
            ended = postmaster.ended() => {
                tracing::error!(status = %ended?, "Postgres ended unasked; starting it again");
                postmaster.last_words().await
            }
        };
        match restart(&launch, &mut stops, &stop, log).await {
            Ok(Some(restarted)) => postmaster = restarted,
            Ok(None) => return Ok(()),
            Err(error) => {
                gives_up.send_replace(Some(error.to_string()));
                return Err(error);
            }
        }
    }
}

/// Starts Postgres again, with a growing delay; `None` when told to stop instead.
async fn restart(
    launch: &Launch,
    stops: &mut Stops,
    stop: &CancellationToken,
    mut log: String,
) -> Result<Option<Postmaster>, ClusterError> {
    while let Some(delay) = stops.delay(Instant::now()) {
        tokio::select! {
            () = stop.cancelled() => return Ok(None),
            () = tokio::time::sleep(delay) => {}
        }
        // Not interrupted when told to stop: what was started must be stopped in order.
        match postmaster::start(launch).await {
            Ok(postmaster) => {
                tracing::warn!("Postgres runs again");
                return Ok(Some(postmaster));
            }
            Err(ClusterError::Start { log: said }) => log = said,
            Err(error) => log = error.to_string(),
        }
    }
    Err(ClusterError::KeepsStopping { times: stops.times.len(), log })
}

/// When Postgres ended unasked, within the window.
#[derive(Debug, Default)]
struct Stops {
    times: VecDeque<Instant>,
}

impl Stops {
    /// Notes one more end. How long to wait before the next start; `None` when it was one too many.
    fn delay(&mut self, now: Instant) -> Option<Duration> {
        self.times.retain(|time| now.duration_since(*time) < WINDOW);
        self.times.push_back(now);
        match self.times.len() {
            1 => Some(Duration::from_millis(200)),
            2 => Some(Duration::from_secs(1)),
            3..=STOPS_MAX => Some(Duration::from_secs(5)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sixth_end_within_a_minute_is_one_too_many() {
        let began = Instant::now();
        let at = |secs| began + Duration::from_secs(secs);
        let mut stops = Stops::default();
        let delays: Vec<_> = (0..6).map(|i| stops.delay(at(i * 10))).collect();
        let [millis, secs] = [Duration::from_millis, Duration::from_secs];
        assert_eq!(
            delays,
            [Some(millis(200)), Some(secs(1)), Some(secs(5)), Some(secs(5)), Some(secs(5)), None]
        );
        assert_eq!(stops.delay(at(200)), Some(millis(200)), "a quiet time forgives");
    }
}
