//! Waiting for a condition with a deadline. A test that waits for a length of time is wrong.

use std::time::Duration;

use tokio::time::{Instant, interval};

/// How long a test waits for what has to come.
pub const LIMIT: Duration = Duration::from_mins(1);

/// Asks again and again until there is an answer; panics, naming what was awaited, when the time is
/// over.
pub async fn until<T>(
    what: &str,
    limit: Duration,
    mut question: impl AsyncFnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + limit;
    let mut ticks = interval(Duration::from_millis(10));
    loop {
        ticks.tick().await;
        if let Some(answer) = question().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {limit:?} for: {what}");
    }
}
