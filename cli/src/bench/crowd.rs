//! What others cost: watchers of a session, and a tenant with far more work.

use std::time::Instant;

use futures::future::try_join_all;
use jobshop_engine::store::measure;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::report::{Run, quantile};
use super::shapes;
use super::stage::{self, Stage};
use super::{per_second, times};
use crate::client::{Client, EventStream};
use crate::exit::Failure;

const WATCHED_TASKS: usize = 2_000;
const WATCHERS: usize = 500;
const OTHERS_SESSIONS: usize = 1_000;
const OTHERS_TASKS: usize = 1_000;
const OTHERS: &str = "bench-other";

/// One session, first alone, then followed by many. The rate is that of its tasks; the times are
/// those from its end to the last event at each socket.
pub(super) async fn events(stage: &mut Stage) -> Result<Run, Failure> {
    needs_own(stage, "events")?;
    stage.apply(&shapes::parallel("bench-events", WATCHED_TASKS, None)).await?;
    let (alone, _) = drained(stage, 0).await?;
    let (progress, mut lags) = drained(stage, WATCHERS).await?;
    Ok(Run {
        per_second: Some(rate(&progress)),
        alone_per_second: Some(rate(&alone)),
        p50_ms: Some(quantile(&mut lags, 0.5)),
        p99_ms: Some(quantile(&mut lags, 0.99)),
        ..Run::new(WATCHED_TASKS, seconds(&progress), progress.events)
    })
}

fn seconds(progress: &measure::Progress) -> f64 {
    progress.last_end.unwrap_or_default() - progress.first_start.unwrap_or_default()
}

fn rate(progress: &measure::Progress) -> f64 {
    per_second(WATCHED_TASKS, seconds(progress))
}

/// Runs a session to its end under so many eyes, and says how many milliseconds after its end each
/// of them had seen all.
async fn drained(
    stage: &mut Stage,
    watchers: usize,
) -> Result<(measure::Progress, Vec<f64>), Failure> {
    stage.rest().await;
    let (keys, _) = stage.submit("bench-events", 1).await?;
    let id = keys[0].id.to_string();
    let (mut watching, mut ready) = (JoinSet::new(), Vec::new());
    for _ in 0..watchers {
        let (is_ready, told) = oneshot::channel();
        watching.spawn(watch(stage.client.clone(), id.clone(), is_ready));
        ready.push(told);
    }
    // Who fails says why below.
    let _ = try_join_all(ready).await;
    stage.work().await?;
    let progress = stage.ended(&keys).await?;
    let ended = Instant::now();
    let mut lags = Vec::with_capacity(watchers);
    while let Some(watched) = watching.join_next().await {
        let (seen, at) = watched.map_err(|error| Failure::temporary(error.to_string()))??;
        if seen != progress.events {
            let all = progress.events;
            return Err(Failure::temporary(format!("a socket brought {seen} of {all} events")));
        }
        lags.push(at.saturating_duration_since(ended).as_secs_f64() * 1000.0);
    }
    Ok((progress, lags))
}

/// Follows a session to its end, and returns how many events came, without a gap, and when the last
/// one did.
async fn watch(
    client: Client,
    session: String,
    is_ready: oneshot::Sender<()>,
) -> Result<(i64, Instant), Failure> {
    let mut stream = EventStream::new(client, &session, 0);
    let (mut is_ready, mut seen, mut at) = (Some(is_ready), 0, Instant::now());
    while let Some(event) = stream.next(|| None).await? {
        seen += 1;
        let seq = event.get("seq").and_then(Value::as_i64);
        if seq != Some(seen) {
            return Err(Failure::temporary(format!("event {seq:?} came instead of {seen}")));
        }
        at = Instant::now();
        if let Some(is_ready) = is_ready.take() {
            // Nobody waits for it any more when the benchmark is over.
            let _ = is_ready.send(());
        }
    }
    Ok((seen, at))
}

/// How long one tenant waits for a start, alone and while another has a million tasks ready.
pub(super) async fn fairness(stage: &mut Stage) -> Result<Run, Failure> {
    needs_own(stage, "fairness")?;
    let alone = times::latency(stage).await?;
    stage.rest().await;
    let other = stage.client_of(OTHERS).await?;
    stage::apply(&other, &shapes::parallel("bench-others", OTHERS_TASKS, None)).await?;
    let (others, _) = stage::submit(&other, "bench-others", OTHERS_SESSIONS).await?;
    let run = times::latency(stage).await?;
    let left = measure::ready(&stage.store.pool).await?;
    if left == 0 {
        return Err(Failure::temporary("the other tenant's work was over before the measurement"));
    }
    stage.rest().await;
    stage::cancel(&other, &others).await?;
    Ok(Run { alone_p50_ms: alone.p50_ms, alone_p99_ms: alone.p99_ms, ..run })
}

fn needs_own(stage: &Stage, bench: &str) -> Result<(), Failure> {
    if stage.is_own() {
        return Ok(());
    }
    Err(Failure::usage(format!("`bench {bench}` needs a server of its own"))
        .hint("stop the running server, or set JOBSHOP_DATA_DIR to another folder"))
}
