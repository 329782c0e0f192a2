//! `snapshot --seconds 60 --rate 200`: what an old snapshot costs. Tasks are claimed and finished at a
//! steady rate on a durable Postgres of its own: before somebody opens a snapshot, while it stays
//! open, and after it was closed. Prints a table; the last line on stdout is one JSON object.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::print_stdout,
    reason = "figures for people, and the table is the result"
)]

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use jobshop_engine::store::{Store, StoreConfig};
use jobshop_tests::{
    OwnCluster, Stage, TestDb,
    stage::{Player, succeeded},
};
use serde::Serialize;
use sqlx::PgPool;
use tokio::time::{MissedTickBehavior, interval};

const BATCH: i32 = 10;
const HUNDRED: &str = "
version: 1
name: hundred
tasks:
  all: { for_each: '${{ range(100) }}', tasks: { one: { uses: builtin/noop } } }
";

#[derive(Debug, Parser)]
struct Arguments {
    /// How long each phase takes
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Tasks that are claimed and finished in a second
    #[arg(long, default_value_t = 200)]
    rate: u32,
}

/// One phase, as it was.
#[derive(Debug, Serialize)]
struct Phase {
    name: &'static str,
    per_second: f64,
    claim_p50_ms: f64,
    claim_p99_ms: f64,
    finish_p50_ms: f64,
    /// Of `tasks`, at its end.
    dead_rows: i64,
    table_mib: f64,
    index_mib: f64,
    /// Of the updates of tasks in it, how many touched no index.
    hot_percent: f64,
    autovacuums: i64,
}

#[derive(sqlx::FromRow, Clone, Copy)]
struct Figures {
    dead: i64,
    table_bytes: i64,
    index_bytes: i64,
    updates: i64,
    hot: i64,
    vacuums: i64,
}

async fn figures(db: &PgPool) -> anyhow::Result<Figures> {
    Ok(sqlx::query_as(
        "select n_dead_tup as dead, pg_table_size(relid) as table_bytes,
                pg_indexes_size(relid) as index_bytes, n_tup_upd as updates,
                n_tup_hot_upd as hot, autovacuum_count as vacuums
           from pg_stat_user_tables where relname = 'tasks'",
    )
    .fetch_one(db)
    .await?)
}

struct Gate {
    stage: Stage,
    player: Player,
    arguments: Arguments,
}

impl Gate {
    /// Claims and finishes at the rate for a while; what every cycle took, in milliseconds.
    async fn cycles(&self, time: Duration) -> (Vec<f64>, Vec<f64>, usize) {
        let cycles = f64::from(self.arguments.rate) / f64::from(BATCH);
        let mut ticks = interval(Duration::from_secs_f64(1.0 / cycles));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let (mut claims, mut finishes, mut done) = (Vec::new(), Vec::new(), 0);
        let began = Instant::now();
        let ms = |at: Instant| at.elapsed().as_secs_f64() * 1_000.0;
        while began.elapsed() < time {
            ticks.tick().await;
            let at = Instant::now();
            let held = self.player.claim(BATCH).await;
            claims.push(ms(at));
            if held.is_empty() {
                self.stage.submit(HUNDRED).await;
                self.stage.settle().await;
                claims.pop();
                continue;
            }
            let moves: Vec<_> = held.iter().map(|held| succeeded(held.fence)).collect();
            let at = Instant::now();
            self.player.finish(&moves).await;
            finishes.push(ms(at));
            done += held.len();
        }
        (claims, finishes, done)
    }

    async fn phase(&self, name: &'static str, time: Duration) -> anyhow::Result<Phase> {
        let before = figures(self.stage.db.pool()).await?;
        let (mut claims, mut finishes, done) = self.cycles(time).await;
        let after = figures(self.stage.db.pool()).await?;
        let mib = |bytes: i64| bytes as f64 / 1_048_576.0;
        let updates = (after.updates - before.updates).max(1);
        let phase = Phase {
            name,
            per_second: done as f64 / time.as_secs_f64(),
            claim_p50_ms: nth(&mut claims, 0.50),
            claim_p99_ms: nth(&mut claims, 0.99),
            finish_p50_ms: nth(&mut finishes, 0.50),
            dead_rows: after.dead,
            table_mib: mib(after.table_bytes),
            index_mib: mib(after.index_bytes),
            hot_percent: 100.0 * (after.hot - before.hot) as f64 / updates as f64,
            autovacuums: after.vacuums - before.vacuums,
        };
        println!(
            "| {name} | {:.0} | {:.1} | {:.1} | {:.1} | {} | {:.1} | {:.1} | {:.0} % | {} |",
            phase.per_second,
            phase.claim_p50_ms,
            phase.claim_p99_ms,
            phase.finish_p50_ms,
            phase.dead_rows,
            phase.table_mib,
            phase.index_mib,
            phase.hot_percent,
            phase.autovacuums
        );
        Ok(phase)
    }
}

fn nth(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = (values.len().saturating_sub(1)) as f64 * part;
    values.get(place.round() as usize).copied().unwrap_or(0.0)
}

fn main() -> anyhow::Result<ExitCode> {
    // It is the launcher of its own cluster.
    if let Some(code) = jobshop::exec::dispatch() {
        return Ok(code);
    }
    tokio::runtime::Runtime::new()?.block_on(run(Arguments::parse()))
}

async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let cluster = OwnCluster::start(&jobshop::exec::launcher()?).await;
    let db = TestDb::on(&cluster.server()).await;
    let pool = Store::new(StoreConfig::new(db.url()))?.pool;
    let stage = Stage::of(db);
    stage.submit(HUNDRED).await;
    stage.settle().await;
    let player = stage.player("worker").await;
    // Leases end while nobody renews them; here nobody is to.
    sqlx::query("update workers set lease_until = lease_until + interval '1 day'")
        .execute(&pool)
        .await?;
    let time = Duration::from_secs(arguments.seconds);
    let gate = Gate { stage, player, arguments };
    println!(
        "| phase | tasks/s | claim p50 ms | p99 ms | finish p50 ms | dead rows | table MiB | indexes MiB \
         | HOT | autovacuums |\n|---|---|---|---|---|---|---|---|---|---|"
    );
    let mut phases = vec![gate.phase("before", time).await?];
    let mut snapshot = pool.begin().await?;
    // Somebody's report: it is asked something now and then, or it would be ended for idling.
    sqlx::query("set transaction isolation level repeatable read").execute(&mut *snapshot).await?;
    sqlx::query("set local idle_in_transaction_session_timeout = 0")
        .execute(&mut *snapshot)
        .await?;
    sqlx::query("select count(*) from tasks").execute(&mut *snapshot).await?;
    phases.push(gate.phase("first half of the snapshot", time / 2).await?);
    phases.push(gate.phase("second half", time / 2).await?);
    snapshot.rollback().await?;
    let bound = 2.0 * phases[0].claim_p99_ms;
    let released = Instant::now();
    let mut recovered = None;
    while recovered.is_none() && released.elapsed() < Duration::from_mins(3) {
        let (mut claims, ..) = gate.cycles(Duration::from_secs(5)).await;
        if nth(&mut claims, 0.99) <= bound {
            recovered = Some(released.elapsed().as_secs());
        }
    }
    phases.push(gate.phase("after", time).await?);
    let settings =
        serde_json::json!({ "seconds": gate.arguments.seconds, "rate": gate.arguments.rate });
    println!(
        "{}",
        serde_json::json!({ "phases": phases, "recovered_within_s": recovered, "settings": settings })
    );
    drop(gate);
    pool.close().await;
    cluster.stop().await;
    Ok(if recovered.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
