//! How many there are in a second: tasks, steps and sessions.

use super::report::Run;
use super::stage::Stage;
use super::{per_second, shapes};
use crate::exit::Failure;

pub(super) const JOBS_SESSIONS: usize = 200;
pub(super) const JOBS_TASKS: usize = 100;
const CHAINS_SESSIONS: usize = 100;
const CHAINS_STEPS: usize = 50;
const SESSIONS: usize = 2_000;
const SESSIONS_STEPS: usize = 3;

pub(super) async fn jobs(stage: &mut Stage) -> Result<Run, Failure> {
    stage.apply(&shapes::parallel("bench-jobs", JOBS_TASKS, None)).await?;
    // With a server of our own the queue is filled before anybody works, so that the two rates are
    // those of enqueueing and draining alone.
    stage.rest().await;
    let (keys, enqueue) = stage.submit("bench-jobs", JOBS_SESSIONS).await?;
    stage.work().await?;
    let progress = stage.ended(&keys).await?;
    let from = if stage.is_own() { progress.first_start.unwrap_or_default() } else { 0.0 };
    let seconds = progress.last_end.unwrap_or_default() - from;
    let tasks = JOBS_SESSIONS * JOBS_TASKS;
    Ok(Run {
        enqueue_per_second: Some(per_second(tasks, enqueue.as_secs_f64())),
        per_second: Some(per_second(tasks, seconds)),
        ..Run::new(tasks, seconds, progress.events)
    })
}

pub(super) async fn chains(stage: &mut Stage) -> Result<Run, Failure> {
    stage.apply(&shapes::chain("bench-chains", CHAINS_STEPS)).await?;
    stage.rest().await;
    let (keys, _) = stage.submit("bench-chains", CHAINS_SESSIONS).await?;
    stage.work().await?;
    let progress = stage.ended(&keys).await?;
    let from = if stage.is_own() { progress.first_start.unwrap_or_default() } else { 0.0 };
    let seconds = progress.last_end.unwrap_or_default() - from;
    let tasks = CHAINS_SESSIONS * CHAINS_STEPS;
    Ok(Run {
        per_second: Some(per_second(tasks, seconds)),
        ..Run::new(tasks, seconds, progress.events)
    })
}

pub(super) async fn sessions(stage: &mut Stage) -> Result<Run, Failure> {
    stage.apply(&shapes::chain("bench-sessions", SESSIONS_STEPS)).await?;
    stage.work().await?;
    let (keys, _) = stage.submit("bench-sessions", SESSIONS).await?;
    let progress = stage.ended(&keys).await?;
    let seconds = progress.last_end.unwrap_or_default();
    Ok(Run {
        per_second: Some(per_second(SESSIONS, seconds)),
        ..Run::new(SESSIONS * SESSIONS_STEPS, seconds, progress.events)
    })
}
