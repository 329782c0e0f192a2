//! What becomes of the tasks of workers that are gone.

use std::time::Duration;

use chrono::Utc;
use jobshop_engine::{
    session::SessionState,
    store::{claim, sessions, workers},
    task::{Reason, TaskState},
};
use jobshop_tests::{
    Stage,
    stage::{Player, failed, released, succeeded},
    truth,
};

const GRAPH: &str = "
version: 1
name: graph
tasks:
  a: { uses: builtin/noop }
  b: { needs: [a], uses: builtin/noop }
  c: { needs: [a], uses: builtin/noop, join: all_done }
";

/// More than a lease.
const LONG: Duration = Duration::from_secs(31);
/// More than a dead worker is looked after.
const AFTER_THAT: Duration = Duration::from_secs(6);

async fn stage() -> Stage {
    let stage = Stage::new().await;
    stage.db.freeze_clock(Utc::now()).await;
    stage
}

#[tokio::test]
async fn a_lost_attempt_that_had_not_started_counts_nothing() {
    let stage = stage().await;
    let session = stage.submit(GRAPH).await;
    let dead = stage.player("dead").await;
    for attempt in 1..=5 {
        let dead = stage.player("dead").await;
        assert_eq!(dead.claim_one().await.fence.attempt, attempt);
        stage.db.advance(LONG).await;
        assert_eq!(stage.housekeep().await, 1);
        let task = stage.task(session, 1).await;
        assert_eq!((task.state(), task.failures, task.crashes), (TaskState::Ready, 0, 0));
    }
    assert!(!dead.renew().await);
    assert!(stage.kinds(session, 1).await.is_empty());
    truth::check(stage.db.pool()).await;
}

/// A worker that dies after it has reported the start of the one task it took.
async fn crash(stage: &Stage) {
    let dead = stage.player("dead").await;
    let held = dead.claim_one().await;
    dead.note(&[(held.fence, 60)]).await;
    stage.db.advance(LONG).await;
    assert_eq!(stage.housekeep().await, 1);
}

#[tokio::test]
async fn what_was_lost_or_handed_back_keeps_its_place_in_the_queue() {
    let stage = stage().await;
    let lost = stage.submit("{ version: 1, name: lost, tasks: { a: { run: ':' } } }").await;
    crash(&stage).await;
    let waited = stage.submit("{ version: 1, name: waited, tasks: { a: { run: ':' } } }").await;
    stage.db.advance(Duration::from_secs(1)).await;
    for _ in 0..2 {
        let player = stage.player("live").await;
        let held = player.claim_one().await;
        assert_eq!(held.fence.task.session, lost, "it waits behind what came later");
        assert!(player.ends(released(held.fence)).await);
    }
    crash(&stage).await;
    let player = stage.player("live").await;
    for session in [lost, waited] {
        assert_eq!(player.claim_one().await.fence.task.session, session);
    }
    truth::check(stage.db.pool()).await;
}

#[tokio::test]
async fn the_third_crash_fails_the_task_and_lets_its_dependents_go() {
    let stage = stage().await;
    let session = stage.submit(GRAPH).await;
    for crashes in 1..=2 {
        crash(&stage).await;
        let task = stage.task(session, 1).await;
        assert_eq!((task.state(), task.failures, task.crashes), (TaskState::Ready, 0, crashes));
    }
    crash(&stage).await;
    let task = stage.task(session, 1).await;
    assert_eq!((task.state(), task.failures, task.crashes), (TaskState::Failed, 0, 3));
    assert_eq!(task.error.unwrap()["class"], "crash");

    stage.settle().await;
    let tasks = stage.tasks(session).await;
    assert_eq!(tasks[1].state(), TaskState::Skipped);
    assert_eq!(tasks[1].reason(), Some(Reason::UpstreamFailed));
    let player = stage.player("player").await;
    let last = player.claim_one().await;
    assert_eq!(last.fence.task.seq, 3);
    assert!(player.ends(succeeded(last.fence)).await);
    assert_eq!(stage.state(session).await, SessionState::Failed);
    truth::check(stage.db.pool()).await;
}

#[tokio::test]
async fn crashes_and_failures_do_not_count_for_one_another() {
    let stage = stage().await;
    let session = stage.submit(GRAPH).await;
    crash(&stage).await;
    let player = stage.player("player").await;
    let held = player.claim_one().await;
    assert_eq!((held.failures, held.crashes), (0, 1));
    assert!(player.ends(failed(held.fence)).await);
    let task = stage.task(session, 1).await;
    assert_eq!((task.failures, task.crashes), (1, 1));
}

#[tokio::test]
async fn what_a_dead_worker_finished_stays_and_what_it_held_comes_back_once() {
    let stage = stage().await;
    let sessions = stage.submit_many(GRAPH, 20).await;
    let dead = stage.player("dead").await;
    let held = dead.claim(20).await;
    let ends: Vec<_> = held[..10].iter().map(|held| succeeded(held.fence)).collect();
    dead.finish(&ends).await;
    stage.db.advance(LONG).await;
    let (one, other) = (stage.another_store(), stage.another_store());
    let (first, second) = tokio::join!(
        jobshop_engine::store::control::housekeep(&one),
        jobshop_engine::store::control::housekeep(&other)
    );
    assert!(first.unwrap() + second.unwrap() >= 10, "what both saw both may count");
    for session in sessions {
        let task = stage.task(session, 1).await;
        let is_done = ends.iter().any(|end| end.task.session == session);
        let state = if is_done { TaskState::Completed } else { TaskState::Ready };
        assert_eq!((task.state(), task.attempt), (state, 1));
    }
    assert_eq!(stage.player("next").await.claim(100).await.len(), 30);
    truth::check(stage.db.pool()).await;
}

#[tokio::test]
async fn what_was_handed_over_is_found_like_what_was_claimed() {
    let stage = stage().await;
    let session = stage.submit(GRAPH).await;
    let dead = stage.player("dead").await;
    let first = dead.claim_one().await;
    let moved = dead.finish_taking(&[succeeded(first.fence)], 2, &[]).await;
    assert_eq!(moved.handed.len(), 2);
    // The receipt of its claim is gone: that task has left.
    truth::check(stage.db.pool()).await;
    stage.db.advance(LONG).await;
    assert_eq!(stage.housekeep().await, 2);
    use TaskState::{Completed, Ready};
    assert_eq!(stage.states(session).await, [Completed, Ready, Ready]);
    assert_eq!(stage.receipts().await, 0);
}

#[tokio::test]
async fn receipts_go_when_nothing_they_name_is_held() {
    let stage = stage().await;
    stage.submit_many(GRAPH, 3).await;
    let player = stage.player("player").await;
    let mut receipts = Vec::new();
    for _ in 0..3 {
        let ask = claim::Ask {
            worker: player.id,
            routes: &player.routes,
            shares: &[],
            limit: 1,
            session: None,
        };
        receipts.extend(claim::claim(&stage.store.pool, ask).await.unwrap().receipt);
    }
    assert_eq!(stage.receipts().await, 3);
    claim::forget(&stage.store.pool, player.id, &receipts[..1]).await.unwrap();
    assert_eq!(stage.receipts().await, 2);

    // The reaper deletes what a worker leaves, also where there is nothing to give back.
    workers::end(&stage.store.pool, player.id).await.unwrap();
    stage.housekeep().await;
    assert_eq!(stage.receipts().await, 0);
    stage.db.advance(AFTER_THAT).await;
    stage.housekeep().await;
    let unswept: i64 = sqlx::query_scalar("select count(*) from workers where not swept")
        .fetch_one(stage.db.pool())
        .await
        .unwrap();
    assert_eq!(unswept, 0);
}

#[tokio::test]
async fn a_claim_that_commits_after_its_worker_ended_is_found() {
    let stage = stage().await;
    let session = stage.submit(GRAPH).await;
    let dead = stage.player("dead").await;
    // The claim's transaction is still open when the worker ends.
    let held = dead.claim_one().await;
    let receipt: (uuid::Uuid, Vec<uuid::Uuid>, Vec<uuid::Uuid>, Vec<i32>) =
        sqlx::query_as("delete from receipts returning id, tenants, sessions, seqs")
            .fetch_one(stage.db.pool())
            .await
            .unwrap();
    workers::end(&stage.store.pool, dead.id).await.unwrap();
    stage.housekeep().await;
    assert_eq!(stage.task(session, 1).await.state(), TaskState::InProgress);
    sqlx::query(
        "insert into receipts (worker_id, at, tenants, sessions, seqs)
                 values ($1, clock(), $2, $3, $4)",
    )
    .bind(held.fence.worker.0)
    .bind(receipt.1)
    .bind(receipt.2)
    .bind(receipt.3)
    .execute(stage.db.pool())
    .await
    .unwrap();
    stage.housekeep().await;
    assert_eq!(stage.task(session, 1).await.state(), TaskState::Ready);
}

#[tokio::test]
async fn the_slow_sweep_finds_what_no_receipt_covers() {
    let stage = stage().await;
    let sessions = stage.submit_many(GRAPH, 5).await;
    let (dead, alive) = (stage.player("dead").await, stage.player("alive").await);
    dead.claim(3).await;
    stage.db.advance(Duration::from_secs(20)).await;
    assert!(alive.renew().await);
    alive.claim(1).await;
    sqlx::query("delete from receipts").execute(stage.db.pool()).await.unwrap();
    stage.db.advance(Duration::from_secs(11)).await;
    stage.housekeep().await;
    stage.db.advance(AFTER_THAT).await;
    stage.housekeep().await;
    let in_progress = async || {
        let mut count = 0;
        for session in &sessions {
            count += usize::from(stage.task(*session, 1).await.state() == TaskState::InProgress);
        }
        count
    };
    assert_eq!(in_progress().await, 4, "no receipt leads to them");
    assert_eq!(stage.patrol().await, 3);
    assert_eq!(in_progress().await, 1, "a live worker keeps what it holds");
}

#[tokio::test]
async fn the_janitor_and_not_the_reaper_takes_what_a_cancelled_session_left() {
    let stage = stage().await;
    let session = stage.submit(GRAPH).await;
    let dead = stage.player("dead").await;
    dead.claim_one().await;
    sessions::cancel(&stage.store, session, None, None).await.unwrap();
    stage.db.advance(LONG).await;
    assert_eq!(stage.housekeep().await, 0);
    assert_eq!(stage.receipts().await, 0);
    stage.settle().await;
    assert_eq!(stage.states(session).await, [TaskState::Cancelled; 3]);
    truth::check(stage.db.pool()).await;
}

#[tokio::test]
async fn a_worker_that_handed_everything_back_leaves_nothing_to_reap() {
    let stage = stage().await;
    let session = stage.submit(GRAPH).await;
    let player: Player = stage.player("player").await;
    let held = player.claim_one().await;
    assert!(player.ends(released(held.fence)).await);
    workers::end(&stage.store.pool, player.id).await.unwrap();
    assert_eq!(stage.housekeep().await, 0);
    let task = stage.task(session, 1).await;
    assert_eq!((task.state(), task.attempt, task.crashes), (TaskState::Ready, 1, 0));
}

#[tokio::test]
async fn what_an_ended_session_left_open_is_found_and_cancelled() {
    let stage = stage().await;
    let session = stage
        .submit(
            "{ version: 1, name: left, tasks: { g: { tasks: { a: { uses: builtin/noop } } } } }",
        )
        .await;
    stage.settle().await;
    let player = stage.player("player").await;
    assert!(player.ends(succeeded(player.claim_one().await.fence)).await);
    stage.settle().await;
    assert_eq!(stage.state(session).await, SessionState::Completed);
    // There is no known way to this.
    sqlx::query("update tasks set state = 1, queued = true, finished_at = null where seq = 2")
        .execute(stage.db.pool())
        .await
        .unwrap();
    stage.settle().await;
    assert_eq!(stage.task(session, 2).await.state(), TaskState::Ready);
    assert_eq!(stage.patrol().await, 0);
    stage.settle().await;
    assert_eq!(stage.task(session, 2).await.state(), TaskState::Cancelled);
    assert_eq!(stage.state(session).await, SessionState::Completed);
}

#[tokio::test]
async fn workers_that_ended_long_ago_are_forgotten_unless_they_left_something() {
    let stage = stage().await;
    stage.submit(GRAPH).await;
    stage.player("alive").await;
    let (gone, holding) = (stage.player("gone").await, stage.player("holding").await);
    holding.claim_one().await;
    for ended in [&gone, &holding] {
        workers::end(&stage.store.pool, ended.id).await.unwrap();
    }
    sqlx::query("update workers set swept = true where ended_at is not null")
        .execute(stage.db.pool())
        .await
        .unwrap();
    assert_eq!(workers::forget_ended(&stage.store.pool).await.unwrap(), 0);
    stage.db.advance(Duration::from_hours(31 * 24)).await;
    assert_eq!(workers::forget_ended(&stage.store.pool).await.unwrap(), 1);
    let left: Vec<String> = sqlx::query_scalar("select name from workers order by name")
        .fetch_all(stage.db.pool())
        .await
        .unwrap();
    assert_eq!(left, ["alive", "holding"]);
}
