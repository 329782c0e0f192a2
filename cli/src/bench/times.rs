//! How long it takes: a step, a fan-out, the way from a submission to a start, a claim.

use jobshop_engine::id::SessionKey;
use jobshop_engine::store::claim::Ask;
use jobshop_engine::store::{measure, workers};

use super::report::{Run, quantile};
use super::shapes;
use super::stage::Stage;
use crate::exit::Failure;

const CHAIN_STEPS: usize = 200;
const FANOUT_WIDTH: usize = 500;
const FANOUT_WIDE: usize = 9_998;
const LATENCY_SESSIONS: usize = 200;
const BACKLOGS: [usize; 2] = [10_000, 1_000_000];
const BACKLOG_TASKS: usize = 1_000;
const CLAIM_LIMIT: i32 = 50;
const CLAIMS: usize = 200;

pub(super) async fn chain(stage: &mut Stage) -> Result<Run, Failure> {
    stage.apply(&shapes::chain("bench-chain", CHAIN_STEPS)).await?;
    stage.work().await?;
    let (keys, _) = stage.submit("bench-chain", 1).await?;
    let progress = stage.ended(&keys).await?;
    let mut steps = measure::step_times(&stage.store.pool, keys[0]).await?;
    let seconds = progress.last_end.unwrap_or_default();
    Ok(Run {
        p50_ms: Some(quantile(&mut steps, 0.5)),
        p99_ms: Some(quantile(&mut steps, 0.99)),
        ..Run::new(CHAIN_STEPS, seconds, progress.events)
    })
}

pub(super) async fn fanout(stage: &mut Stage) -> Result<Run, Failure> {
    stage.apply(&shapes::fan("bench-fanout", FANOUT_WIDTH)).await?;
    stage.apply(&shapes::fan("bench-fanout-wide", FANOUT_WIDE)).await?;
    stage.work().await?;
    let (keys, _) = stage.submit("bench-fanout", 1).await?;
    let progress = stage.ended(&keys).await?;
    let seconds = spent(&progress);
    let (wide, _) = stage.submit("bench-fanout-wide", 1).await?;
    let wide = stage.ended(&wide).await?;
    Ok(Run {
        p50_ms: Some(seconds * 1000.0),
        p99_ms: Some(seconds * 1000.0),
        wide_ms: Some(spent(&wide) * 1000.0),
        ..Run::new(FANOUT_WIDTH + 2, seconds, progress.events)
    })
}

fn spent(progress: &measure::Progress) -> f64 {
    progress.last_end.unwrap_or_default() - progress.first_start.unwrap_or_default()
}

pub(super) async fn latency(stage: &mut Stage) -> Result<Run, Failure> {
    stage.apply(&shapes::chain("bench-latency", 1)).await?;
    stage.work().await?;
    let mut keys: Vec<SessionKey> = Vec::with_capacity(LATENCY_SESSIONS);
    for _ in 0..LATENCY_SESSIONS {
        let (submitted, _) = stage.submit("bench-latency", 1).await?;
        stage.ended(&submitted).await?;
        keys.extend(submitted);
    }
    let progress = measure::progress(&stage.store.pool, &keys).await?;
    let mut times = measure::start_times(&stage.store.pool, &keys).await?;
    Ok(Run {
        p50_ms: Some(quantile(&mut times, 0.5)),
        p99_ms: Some(quantile(&mut times, 0.99)),
        ..Run::new(keys.len(), progress.last_end.unwrap_or_default(), progress.events)
    })
}

pub(super) async fn backlog(stage: &mut Stage) -> Result<Run, Failure> {
    if !stage.is_own() {
        return Err(Failure::usage("`bench backlog` needs a server of its own")
            .hint("stop the running server, or set JOBSHOP_DATA_DIR to another folder"));
    }
    stage.rest().await;
    let capability = "bench-nobody-offers-this";
    let definition = shapes::parallel("bench-backlog", BACKLOG_TASKS, Some(capability));
    stage.apply(&definition).await?;
    let worker = stage.register().await?;
    let routes = workers::routes(&stage.store.pool, &[capability.to_owned()]).await?;
    let ask = Ask { worker, routes: &routes, shares: &[], limit: CLAIM_LIMIT, session: None };
    let mut medians = Vec::new();
    let mut keys: Vec<SessionKey> = Vec::new();
    let mut last = Vec::new();
    for backlog in BACKLOGS {
        let missing = backlog / BACKLOG_TASKS - keys.len();
        keys.extend(stage.submit("bench-backlog", missing).await?.0);
        last = measure::claim_times(&stage.store.pool, ask, CLAIMS).await?;
        medians.push(quantile(&mut last, 0.5));
    }
    stage.cancel(&keys).await?;
    Ok(Run {
        p50_ms: medians.last().copied(),
        p99_ms: Some(quantile(&mut last, 0.99)),
        small_p50_ms: medians.first().copied(),
        ..Run::new(BACKLOGS[1], 0.0, 0)
    })
}
