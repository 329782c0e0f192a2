//! Five processes that fire schedules, of which one is frozen in the midst of it, again and again.

use std::collections::BTreeSet;

use jobshop_tests::{CommandLine, command_line::Staying, wait};
use nix::sys::signal::Signal;

use super::*;

const PROGRAM: &str = env!("CARGO_BIN_EXE_jobshop-cli");
const PROCESSES: usize = 5;
const ROUNDS: usize = 12;

/// How many fires started a session, their times, and how many sessions there are.
async fn started(it: &Stage) -> (BTreeSet<DateTime<Utc>>, i64) {
    let times: Vec<DateTime<Utc>> =
        sqlx::query_scalar("select fire_time from schedule_fires where state = 1")
            .fetch_all(it.db.pool())
            .await
            .unwrap();
    let sessions =
        sqlx::query_scalar("select count(*) from sessions where schedule_id is not null");
    (times.into_iter().collect(), sessions.fetch_one(it.db.pool()).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn five_processes_of_which_one_is_frozen_fire_everything_once() {
    let it = Clockwork::new(
        "{ id: it, cron: \"* * * * *\", overlap: allow, catch_up: all, with: { nap: 1d } }",
    )
    .await;
    let it = it.stage;
    let begin = at("2026-01-05T09:30:00Z");
    let hosts: Vec<CommandLine> = (0..PROCESSES)
        .map(|_| CommandLine::new(PROGRAM).with("DATABASE_URL", it.db.url()))
        .collect();
    let processes: Vec<Staying> = hosts.iter().map(|host| host.start(&["worker"])).collect();
    wait::until("all processes", wait::LIMIT, async || {
        let all = sqlx::query_scalar("select count(*) from workers where ended_at is null");
        let all: i64 = all.fetch_one(it.db.pool()).await.unwrap();
        (usize::try_from(all).unwrap() >= PROCESSES).then_some(())
    })
    .await;
    let mut minutes = 0;
    for round in 0..ROUNDS {
        let frozen = &processes[round % PROCESSES];
        // It may hold the schedule while it is frozen; Postgres then takes it away from it.
        it.db.advance(3 * MINUTE).await;
        frozen.send(Signal::SIGSTOP);
        it.db.advance(2 * MINUTE).await;
        minutes += 5;
        wait::until("the fires of a round", wait::LIMIT, async || {
            let (times, _) = started(&it).await;
            (times.len() == minutes).then_some(())
        })
        .await;
        frozen.send(Signal::SIGCONT);
    }
    // Only one that was frozen is left to do it.
    for other in &processes[1..] {
        other.send(Signal::SIGSTOP);
    }
    it.db.advance(5 * MINUTE).await;
    wait::until("the last fires", wait::LIMIT, async || {
        (started(&it).await.0.len() == minutes + 5).then_some(())
    })
    .await;
    for process in &processes {
        process.send(Signal::SIGCONT);
    }
    let wanted: BTreeSet<_> =
        (1..=u32::try_from(minutes + 5).unwrap()).map(|minute| begin + minute * MINUTE).collect();
    let (times, sessions) = started(&it).await;
    assert_eq!((times, sessions), (wanted, i64::try_from(minutes + 5).unwrap()));
}
