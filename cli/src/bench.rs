//! `jobshop bench`: measures this installation through the path that users take: definitions are
//! applied and submitted over HTTP, and a real worker executes them. It knows what is measured,
//! not how the numbers are printed.

mod report;
mod shapes;
mod stage;

use std::time::Duration;

use clap::ValueEnum;
use jobshop_engine::id::SessionKey;
use jobshop_engine::store::claim::Ask;
use jobshop_engine::store::{measure, workers};

pub use report::Report;
use report::{Limit, Run, quantile};
use stage::Stage;

use crate::app::App;
use crate::exit::Failure;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Bench {
    /// 20 000 independent tasks in sessions of 100: how fast they are enqueued and drained
    Jobs,
    /// 200 tasks one after the other: how long a step takes
    Chain,
    /// 100 sessions of 50 tasks one after the other: steps per second
    Chains,
    /// One task, then 500 (and 10 000) beside each other, then one: how long all of it takes
    Fanout,
    /// One task at a time: from submission to start
    Latency,
    /// 2 000 sessions of 3 tasks, submitted one by one: sessions per second
    Sessions,
    /// A claim with 10 000 and with 1 000 000 ready tasks
    Backlog,
}

impl Bench {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Jobs => "jobs",
            Self::Chain => "chain",
            Self::Chains => "chains",
            Self::Fanout => "fanout",
            Self::Latency => "latency",
            Self::Sessions => "sessions",
            Self::Backlog => "backlog",
        }
    }
}

/// How often, and with what beside it.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub runs: usize,
    /// Also drain bare rows in the same minute.
    pub limit: bool,
}

const JOBS_SESSIONS: usize = 200;
const JOBS_TASKS: usize = 100;
const CHAIN_STEPS: usize = 200;
const CHAINS_SESSIONS: usize = 100;
const CHAINS_STEPS: usize = 50;
const FANOUT_WIDTH: usize = 500;
const FANOUT_WIDE: usize = 9_998;
const LATENCY_SESSIONS: usize = 200;
const SESSIONS: usize = 2_000;
const SESSIONS_STEPS: usize = 3;
const BACKLOGS: [usize; 2] = [10_000, 1_000_000];
const BACKLOG_TASKS: usize = 1_000;
const CLAIM_LIMIT: i32 = 50;
const CLAIMS: usize = 200;
/// Rows that the bare bound drains at a time, as a busy worker does.
const BARE_BATCH: i32 = 500;

/// Runs a benchmark and reports the median of its runs.
pub async fn run(app: &App, bench: Bench, options: Options) -> Result<Report, Failure> {
    let mut stage = Stage::set(app).await?;
    let measured = measure(&mut stage, bench, options).await;
    stage.strike().await?;
    measured
}

async fn measure(stage: &mut Stage, bench: Bench, options: Options) -> Result<Report, Failure> {
    let settings = stage.settings().await?;
    let mut runs = Vec::new();
    for _ in 0..options.runs {
        let before = measure::meter(&stage.store.pool).await?;
        let mut run = match bench {
            Bench::Jobs => jobs(stage).await?,
            Bench::Chain => chain(stage).await?,
            Bench::Chains => chains(stage).await?,
            Bench::Fanout => fanout(stage).await?,
            Bench::Latency => latency(stage).await?,
            Bench::Sessions => sessions(stage).await?,
            Bench::Backlog => backlog(stage).await?,
        };
        // Postgres publishes the commits of a connection about once a second.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        let after = measure::meter(&stage.store.pool).await?;
        run.commits = after.commits - before.commits;
        run.wal_bytes = after.wal_bytes - before.wal_bytes;
        runs.push(run);
    }
    let limit = if bench == Bench::Jobs && options.limit {
        Some(limit(stage, options.runs).await?)
    } else {
        None
    };
    Ok(Report::new(bench.name(), runs, settings, limit))
}

/// The bare bound: the median rate of draining as many rows with nothing around them.
async fn limit(stage: &Stage, runs: usize) -> Result<Limit, Failure> {
    let tasks = i32::try_from(JOBS_SESSIONS * JOBS_TASKS).unwrap_or(i32::MAX);
    let mut rates = Vec::new();
    for _ in 0..runs {
        let taken = measure::bare_drain(&stage.store.pool, tasks, BARE_BATCH).await?;
        rates.push(f64::from(tasks) / taken.as_secs_f64());
    }
    Ok(Limit::new(quantile(&mut rates, 0.5)))
}

async fn jobs(stage: &mut Stage) -> Result<Run, Failure> {
    stage.apply(&shapes::parallel("bench-jobs", JOBS_TASKS, None)).await?;
    // With a server of our own the queue is filled before anybody works, so that the two rates are
    // those of enqueueing and draining alone.
    stage.rest().await;
    let (keys, enqueue) = stage.submit("bench-jobs", JOBS_SESSIONS).await?;
    stage.work()?;
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

async fn chain(stage: &mut Stage) -> Result<Run, Failure> {
    stage.apply(&shapes::chain("bench-chain", CHAIN_STEPS)).await?;
    stage.work()?;
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

async fn chains(stage: &mut Stage) -> Result<Run, Failure> {
    stage.apply(&shapes::chain("bench-chains", CHAINS_STEPS)).await?;
    stage.rest().await;
    let (keys, _) = stage.submit("bench-chains", CHAINS_SESSIONS).await?;
    stage.work()?;
    let progress = stage.ended(&keys).await?;
    let from = if stage.is_own() { progress.first_start.unwrap_or_default() } else { 0.0 };
    let seconds = progress.last_end.unwrap_or_default() - from;
    let tasks = CHAINS_SESSIONS * CHAINS_STEPS;
    Ok(Run {
        per_second: Some(per_second(tasks, seconds)),
        ..Run::new(tasks, seconds, progress.events)
    })
}

async fn fanout(stage: &mut Stage) -> Result<Run, Failure> {
    stage.apply(&shapes::fan("bench-fanout", FANOUT_WIDTH)).await?;
    stage.apply(&shapes::fan("bench-fanout-wide", FANOUT_WIDE)).await?;
    stage.work()?;
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

async fn latency(stage: &mut Stage) -> Result<Run, Failure> {
    stage.apply(&shapes::chain("bench-latency", 1)).await?;
    stage.work()?;
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

async fn sessions(stage: &mut Stage) -> Result<Run, Failure> {
    stage.apply(&shapes::chain("bench-sessions", SESSIONS_STEPS)).await?;
    stage.work()?;
    let (keys, _) = stage.submit("bench-sessions", SESSIONS).await?;
    let progress = stage.ended(&keys).await?;
    let seconds = progress.last_end.unwrap_or_default();
    Ok(Run {
        per_second: Some(per_second(SESSIONS, seconds)),
        ..Run::new(SESSIONS * SESSIONS_STEPS, seconds, progress.events)
    })
}

async fn backlog(stage: &mut Stage) -> Result<Run, Failure> {
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

#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are far below 2^52")]
fn per_second(count: usize, seconds: f64) -> f64 {
    count as f64 / seconds.max(f64::EPSILON)
}
