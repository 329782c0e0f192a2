//! `jobshop bench`: measures this installation through the path that users take: definitions are
//! applied and submitted over HTTP, and a real worker executes them. It knows what is measured,
//! not how the numbers are printed.

mod crowd;
pub mod page;
mod rates;
mod report;
mod shapes;
mod stage;
mod times;
mod workers;

use std::time::Duration;

use clap::ValueEnum;
use jobshop_engine::store::measure;

pub use report::Report;
use report::{Limit, quantile};
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
    /// One busy session of 2 000 tasks, followed by 500 sockets: what they cost it
    Events,
    /// Submission to start of one tenant, alone and beside another's 1 000 000 ready tasks
    Fairness,
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
            Self::Events => "events",
            Self::Fairness => "fairness",
        }
    }
}

/// How often, and with what beside it.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub runs: usize,
    /// Also drain bare rows in the same minute.
    pub limit: bool,
    /// So many worker processes instead of one within the server.
    pub workers: Option<u16>,
}

/// Rows that the bare bound drains at a time, as a busy worker does.
const BARE_BATCH: i32 = 500;

/// Runs a benchmark and reports the median of its runs.
pub async fn run(app: &App, bench: Bench, options: Options) -> Result<Report, Failure> {
    let mut stage = Stage::set(app, options.workers).await?;
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
            Bench::Jobs => rates::jobs(stage).await?,
            Bench::Chain => times::chain(stage).await?,
            Bench::Chains => rates::chains(stage).await?,
            Bench::Fanout => times::fanout(stage).await?,
            Bench::Latency => times::latency(stage).await?,
            Bench::Sessions => rates::sessions(stage).await?,
            Bench::Backlog => times::backlog(stage).await?,
            Bench::Events => crowd::events(stage).await?,
            Bench::Fairness => crowd::fairness(stage).await?,
        };
        // Postgres publishes the commits of a connection about once a second.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        let after = measure::meter(&stage.store.pool).await?;
        run.commits = after.commits - before.commits;
        run.wal_bytes = after.wal_bytes - before.wal_bytes;
        run.worker_memory_bytes = stage.worker_memory();
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
    let tasks = i32::try_from(rates::JOBS_SESSIONS * rates::JOBS_TASKS).unwrap_or(i32::MAX);
    let mut rates = Vec::new();
    for _ in 0..runs {
        let taken = measure::bare_drain(&stage.store.pool, tasks, BARE_BATCH).await?;
        rates.push(f64::from(tasks) / taken.as_secs_f64());
    }
    Ok(Limit::new(quantile(&mut rates, 0.5)))
}

#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are far below 2^52")]
fn per_second(count: usize, seconds: f64) -> f64 {
    count as f64 / seconds.max(f64::EPSILON)
}
