//! What waits too long to start: tasks and whole sessions with a `start_timeout`.

use std::time::Duration;

use chrono::Utc;
use jobshop_engine::{outcome::ErrorClass, session::SessionState, store::Views, task::TaskState};
use jobshop_tests::{Stage, stage::succeeded, truth};

const SECOND: Duration = Duration::from_secs(1);

async fn stage() -> Stage {
    let stage = Stage::new().await;
    stage.db.freeze_clock(Utc::now()).await;
    stage
}

const WORKFLOW: &str = "
version: 1
name: picky
tasks:
  a: { uses: builtin/noop, start_timeout: 10s, retry: { max_attempts: 5 } }
  b: { uses: builtin/noop, needs: [a], start_timeout: 10s }
  free: { uses: builtin/noop }
";

#[tokio::test]
async fn a_task_that_nobody_starts_in_time_fails_and_is_not_tried_again() {
    let stage = stage().await;
    let session = stage.submit(WORKFLOW).await;
    stage.db.advance(9 * SECOND).await;
    assert_eq!(stage.housekeep().await, 0);
    let views = Views::new(&stage.store, session.tenant);
    let why = views.why(session, Some("a")).await.unwrap();
    let limit = why.reasons.iter().find(|reason| reason.message.contains("may wait 10s"));
    assert!(limit.is_some(), "{why:?}");
    stage.db.advance(SECOND).await;
    assert_eq!(stage.housekeep().await, 1);
    assert_eq!(stage.housekeep().await, 0);
    stage.settle().await;
    let [a, b, free] = <[_; 3]>::try_from(stage.tasks(session).await).unwrap();
    assert_eq!((a.state(), a.failures, a.attempt), (TaskState::Failed, 0, 0));
    assert_eq!((b.state(), free.state()), (TaskState::Skipped, TaskState::Ready));
    assert_eq!(a.error.unwrap()["class"], ErrorClass::Timeout.as_str());
    let why = views.why(session, Some("a")).await.unwrap();
    assert!(why.summary.contains("it was ready for 10s and no agent started it"), "{why:?}");
    let player = stage.player("late").await;
    let held = player.claim_one().await;
    assert!(player.ends(succeeded(held.fence)).await);
    assert_eq!(stage.state(session).await, SessionState::Failed);
    truth::check(stage.db.pool()).await;
}

#[tokio::test]
async fn the_limit_counts_from_when_a_task_is_ready_and_ends_with_its_start() {
    let stage = stage().await;
    let session = stage.submit(WORKFLOW).await;
    let player = stage.player("worker").await;
    let held = player.claim(8).await;
    let a = held.iter().find(|held| held.fence.task.seq == 1).unwrap();
    stage.db.advance(20 * SECOND).await;
    assert!(player.renew().await);
    assert_eq!(stage.housekeep().await, 0, "it has started");
    assert!(player.ends(succeeded(a.fence)).await);
    stage.db.advance(9 * SECOND).await;
    assert_eq!(stage.housekeep().await, 0, "`b` is ready for nine seconds");
    stage.db.advance(SECOND).await;
    assert_eq!(stage.housekeep().await, 1);
    assert_eq!(stage.task(session, 2).await.state(), TaskState::Failed);
}

#[tokio::test]
async fn a_session_that_does_not_begin_in_time_ends_with_what_follows_a_result() {
    let stage = stage().await;
    let definition = "
version: 1
name: prompt-start
start_timeout: 1m
tasks: { a: { uses: builtin/noop } }
finally: { report: { uses: builtin/noop } }
";
    let sessions = stage.submit_many(definition, 2).await;
    let player = stage.player("worker").await;
    let begun = player.claim_one().await;
    player.note(&[(begun.fence, 0)]).await;
    let waiting = if begun.fence.task.session == sessions[0] { sessions[1] } else { sessions[0] };
    for _ in 0..3 {
        stage.db.advance(20 * SECOND).await;
        assert!(player.renew().await);
    }
    assert_eq!(stage.housekeep().await, 1);
    assert_eq!(stage.housekeep().await, 0);
    stage.settle().await;
    let report = player.claim_one().await;
    assert_eq!((report.fence.task.session, report.fence.task.seq), (waiting, 2));
    assert!(player.ends(succeeded(report.fence)).await);
    stage.settle().await;
    assert_eq!(stage.state(waiting).await, SessionState::Timeout);
    let shown = Views::new(&stage.store, waiting.tenant).session(waiting).await.unwrap();
    let error = shown.error.unwrap();
    assert_eq!(error.message, "the session did not begin within 1m (`start_timeout`)");
    assert_eq!(stage.state(begun.fence.task.session).await, SessionState::Running);
    truth::check(stage.db.pool()).await;
}
