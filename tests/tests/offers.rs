//! Tasks that prefer some agents are for a while the best one's alone, and then anybody's.

use std::time::Duration;

use jobshop_engine::{
    event::EventKind,
    id::{SessionKey, TenantId},
    session::SessionState,
    store::{
        Views,
        agents::{self, Drain},
        offers, steer, steer_task,
    },
    task::TaskState,
};
use jobshop_tests::{
    Fleet, Stage,
    stage::{self, Player, succeeded},
    wait,
};
use serde_json::json;

const LAUNCHER: &str = env!("CARGO_BIN_EXE_cluster-owner");
const LIMIT: Duration = Duration::from_secs(30);

const PREFERRING: &str = "{ version: 1, name: preferring, tasks: { \
    a: { requires: [rust], prefers: { type: reviewer, within: 20s }, uses: builtin/noop }, \
    b: { needs: [a], requires: [rust], uses: builtin/noop } } }";

/// A session whose first task was offered to the reviewer.
async fn offered(stage: &Stage) -> (SessionKey, Player, Player) {
    let session = stage.submit(PREFERRING).await;
    let reviewer = stage.player_with("reviewer", &["code_review", "rust"], &[]).await;
    let other = stage.player_with("other", &["rust"], &[]).await;
    stage.settle().await;
    assert_eq!(stage.states(session).await[0], TaskState::Assigned);
    (session, reviewer, other)
}

#[tokio::test]
async fn what_is_offered_to_one_agent_only_that_one_takes() {
    let stage = Stage::new().await;
    let (session, reviewer, other) = offered(&stage).await;
    let db = &stage.store.pool;
    let views = Views::new(&stage.store, TenantId::DEFAULT);
    let why = views.why(session, Some("a")).await.unwrap();
    assert!(why.summary.starts_with("`a` is offered to `reviewer` (score 0."), "{}", why.summary);
    assert!(other.claim(5).await.is_empty() && reviewer.claim(5).await.is_empty());
    assert!(offers::claim(db, other.id, 5, None).await.unwrap().tasks.is_empty());
    let claimed = offers::claim(db, reviewer.id, 5, None).await.unwrap();
    assert!(claimed.receipt.is_some());
    assert_eq!(claimed.tasks.len(), 1);
    assert!(offers::claim(db, reviewer.id, 5, None).await.unwrap().tasks.is_empty());
    assert!(reviewer.ends(succeeded(claimed.tasks[0].fence)).await);
    assert_eq!(other.claim(5).await.len(), 1, "what prefers nobody is anybody's");
    let kinds = stage.kinds(session, 1).await;
    let expected = [EventKind::TaskAssigned, EventKind::TaskInProgress, EventKind::TaskCompleted];
    assert_eq!(kinds, expected.map(EventKind::code));
}

#[tokio::test]
async fn an_offer_that_is_not_taken_in_time_is_anybodys() {
    let stage = Stage::new().await;
    let (session, reviewer, other) = offered(&stage).await;
    stage.housekeep().await;
    assert_eq!(stage.states(session).await[0], TaskState::Assigned);
    stage.db.advance(Duration::from_secs(21)).await;
    stage.housekeep().await;
    assert_eq!(stage.states(session).await[0], TaskState::Ready);
    let late = offers::claim(&stage.store.pool, reviewer.id, 5, None).await.unwrap();
    assert!(late.tasks.is_empty());
    assert_eq!(other.claim(5).await.len(), 1);
}

#[tokio::test]
async fn an_offer_to_who_is_drained_or_a_session_that_is_cancelled_comes_to_nothing() {
    let stage = Stage::new().await;
    let (session, reviewer, other) = offered(&stage).await;
    let by = Drain { by: "anna", reason: None, maintenance: false };
    agents::drain(&stage.store, "reviewer", by).await.unwrap();
    assert!(offers::claim(&stage.store.pool, reviewer.id, 5, None).await.unwrap().tasks.is_empty());
    stage.housekeep().await;
    assert_eq!(stage.states(session).await[0], TaskState::Ready);
    assert_eq!(other.claim(5).await.len(), 1);

    let next = stage.submit(PREFERRING).await;
    stage.settle().await;
    let state = stage.states(next).await[0];
    assert_eq!(state, TaskState::Assigned, "to the other: nobody else is there");
    jobshop_engine::store::sessions::cancel(&stage.store, next, None, None).await.unwrap();
    stage.settle().await;
    assert_eq!(stage.state(next).await, SessionState::Cancelled);
    assert_eq!(stage.states(next).await, [TaskState::Cancelled; 2]);
}

#[tokio::test]
async fn what_is_offered_can_be_paused_and_is_anybodys_after_that() {
    let stage = Stage::new().await;
    let (session, reviewer, other) = offered(&stage).await;
    let by = steer::By::default;
    steer_task::pause(&stage.store, stage::task(session, 1), by()).await.unwrap();
    assert_eq!(stage.states(session).await[0], TaskState::Paused);
    assert!(offers::claim(&stage.store.pool, reviewer.id, 5, None).await.unwrap().tasks.is_empty());
    stage.db.advance(Duration::from_secs(21)).await;
    stage.housekeep().await;
    assert_eq!(stage.states(session).await[0], TaskState::Paused);
    steer_task::resume(&stage.store, stage::task(session, 1), by()).await.unwrap();
    assert_eq!(other.claim(5).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_take_what_they_are_offered() {
    let mut fleet = Fleet::new(LAUNCHER).await;
    fleet.worker();
    fleet.worker();
    let views = Views::new(&fleet.store, TenantId::DEFAULT);
    let two = wait::until("two agents", LIMIT, async || {
        views.agent("worker-1").await.ok()?;
        views.agent("worker-2").await.ok()
    })
    .await;
    let definition = "version: 1\nname: preferring\ntasks:\n  \
         items: { for_each: [1, 2, 3], tasks: { a: { run: 'true', \
                  prefers: { agents: [worker-2], within: 1h } } } }\n";
    let session = fleet.submit(definition, json!({})).await;
    assert_eq!(fleet.end_of(session).await, SessionState::Completed);
    let by: Vec<sqlx::types::Uuid> = sqlx::query_scalar(
        "select distinct last_worker from tasks where session_id = $1 and last_worker is not null",
    )
    .bind(session.id.0)
    .fetch_all(fleet.db.pool())
    .await
    .unwrap();
    assert_eq!(by, [two.id]);
    fleet.stop().await;
}
