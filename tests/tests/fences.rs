//! Who may end an attempt, and what an end that does not count leaves as it was.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use jobshop_engine::{
    id::{Fence, WorkerId},
    session::SessionState,
    store::{claim::Held, sessions, transition::Move},
    task::TaskState,
};
use jobshop_tests::{
    Stage,
    stage::{LEASE_SECS, failed, released, retried, succeeded, task},
    truth,
};
use tokio::task::JoinSet;
use uuid::Uuid;

const ONE: &str = "{ version: 1, name: one, tasks: { a: { uses: builtin/noop } } }";
const CHAIN: &str = "
version: 1
name: chain
tasks:
  a: { uses: builtin/noop }
  b: { needs: [a], uses: builtin/noop }
";
const IN_PROGRESS: i16 = 15;

/// More than a lease.
const LONG: Duration = Duration::from_secs(31);

/// A way to end an attempt.
type End = fn(Fence) -> Move;

const ENDS: [End; 4] = [succeeded, failed, released, |fence| retried(fence, LONG)];

#[tokio::test]
async fn a_stale_attempt_changes_nothing() {
    let stage = Stage::new().await;
    let session = stage.submit(CHAIN).await;
    let (first, second) = (stage.player("first").await, stage.player("second").await);
    let stale = first.claim_one().await;
    assert!(first.ends(released(stale.fence)).await);
    let current = second.claim_one().await;
    assert_eq!(current.fence.attempt, stale.fence.attempt + 1);

    let before = stage.everything(session).await;
    for end in [succeeded, failed] {
        assert!(!first.ends(end(stale.fence)).await);
    }
    first.note(&[(stale.fence, 50)]).await;
    assert_eq!(stage.everything(session).await, before);
    assert!(second.ends(succeeded(current.fence)).await);
    truth::check(stage.db.pool()).await;
}

#[tokio::test]
async fn the_same_attempt_of_another_worker_changes_nothing() {
    let stage = Stage::new().await;
    let session = stage.submit(CHAIN).await;
    let (holder, other) = (stage.player("holder").await, stage.player("other").await);
    let held = holder.claim_one().await;
    let forged = Fence { worker: other.id, ..held.fence };

    let before = stage.everything(session).await;
    for end in ENDS {
        assert!(!other.ends(end(forged)).await);
    }
    other.note(&[(forged, 50)]).await;
    assert_eq!(stage.everything(session).await, before);
    assert!(holder.ends(succeeded(held.fence)).await);
}

#[tokio::test]
async fn a_finish_that_is_said_again_is_success_and_changes_nothing() {
    let stage = Stage::new().await;
    let sessions = stage.submit_many(CHAIN, ENDS.len()).await;
    let player = stage.player("player").await;
    let held = player.claim(10).await;
    for (end, session) in ENDS.into_iter().zip(sessions) {
        let held = held.iter().find(|held| held.fence.task.session == session).unwrap();
        assert!(player.ends(end(held.fence)).await);
        let before = stage.everything(session).await;
        assert!(player.ends(end(held.fence)).await);
        assert_eq!(stage.everything(session).await, before);
    }
    truth::check(stage.db.pool()).await;
}

#[tokio::test]
async fn a_finish_that_is_said_again_is_success_though_the_next_attempt_runs() {
    let stage = Stage::new().await;
    let session = stage.submit(CHAIN).await;
    let player = stage.player("player").await;
    let first = player.claim_one().await;
    assert!(player.ends(released(first.fence)).await);
    let second = player.claim_one().await;

    let before = stage.everything(session).await;
    assert!(player.ends(released(first.fence)).await);
    assert_eq!(stage.everything(session).await, before);
    assert!(player.ends(succeeded(second.fence)).await);
}

#[tokio::test]
async fn the_finish_that_ended_its_session_is_success_again_and_another_outcome_is_lost() {
    let stage = Stage::new().await;
    let session = stage.submit(ONE).await;
    let player = stage.player("player").await;
    let held = player.claim_one().await;
    assert!(player.ends(succeeded(held.fence)).await);
    assert_eq!(stage.state(session).await, SessionState::Completed);

    let before = stage.everything(session).await;
    assert!(player.ends(succeeded(held.fence)).await);
    for end in [failed, released, |fence| retried(fence, LONG)] {
        assert!(!player.ends(end(held.fence)).await);
    }
    assert_eq!(stage.everything(session).await, before);
}

#[tokio::test]
async fn a_finish_that_waited_for_itself_is_success() {
    let stage = Stage::new().await;
    let session = stage.submit(CHAIN).await;
    let player = stage.player("player").await;
    let held = player.claim_one().await;
    // Another transition holds the session while the finish is sent twice: its first answer was
    // lost, and both wait.
    let mut other = stage.db.pool().begin().await.unwrap();
    sqlx::query("select from session_progress where session_id = $1 for update")
        .bind(session.id.0)
        .execute(&mut *other)
        .await
        .unwrap();
    let mut finishes = JoinSet::new();
    for _ in 0..2 {
        let player = player.clone();
        finishes.spawn(async move { player.ends(succeeded(held.fence)).await });
    }
    jobshop_tests::wait::until("both to wait", LONG, async || {
        let waiting: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity
              where datname = current_database() and wait_event_type = 'Lock'",
        )
        .fetch_one(stage.db.pool())
        .await
        .unwrap();
        (waiting == 2).then_some(())
    })
    .await;
    other.commit().await.unwrap();
    assert_eq!(finishes.join_all().await, [true, true]);
    assert_eq!(stage.task(session, 1).await.attempt, 1);
    truth::check(stage.db.pool()).await;
}

#[tokio::test]
async fn a_batch_is_accepted_row_by_row() {
    let stage = Stage::new().await;
    stage.submit_many(ONE, 4).await;
    let player = stage.player("player").await;
    let held = player.claim(4).await;
    let stale = Fence { attempt: 7, ..held[1].fence };
    let stranger = Fence { worker: WorkerId(Uuid::now_v7()), ..held[2].fence };
    assert!(player.ends(succeeded(held[3].fence)).await);
    let ends = [held[0].fence, stale, held[3].fence].map(succeeded);
    assert_eq!(player.finish(&ends).await.accepted, [true, false, true]);
    // The worker of a finish is the one that says it.
    assert!(player.ends(succeeded(stranger)).await);
}

#[tokio::test]
async fn an_outcome_of_a_cancelled_session_is_lost() {
    let stage = Stage::new().await;
    let [cancelled, other] = stage.submit_many(CHAIN, 2).await[..] else { unreachable!() };
    let player = stage.player("player").await;
    let held = player.claim(2).await;
    sessions::cancel(&stage.store, cancelled, None, None).await.unwrap();

    let before = stage.everything(cancelled).await;
    let starts: Vec<(Fence, u64)> = held.iter().map(|held| (held.fence, 50)).collect();
    player.note(&starts).await;
    for end in ENDS {
        let of_cancelled = held.iter().find(|it| it.fence.task.session == cancelled).unwrap();
        assert!(!player.ends(end(of_cancelled.fence)).await);
    }
    let ends: Vec<Move> = held.iter().map(|held| succeeded(held.fence)).collect();
    let accepted = player.finish(&ends).await.accepted;
    for (held, accepted) in held.iter().zip(accepted) {
        assert_eq!(accepted, held.fence.task.session == other, "one session voids no other");
    }
    assert_eq!(stage.everything(cancelled).await, before);

    stage.settle().await;
    assert_eq!(stage.states(cancelled).await, [TaskState::Cancelled; 2]);
    truth::check(stage.db.pool()).await;
}

#[tokio::test]
async fn a_finish_recorded_before_the_cancel_stays_success() {
    let stage = Stage::new().await;
    let session = stage.submit(CHAIN).await;
    let player = stage.player("player").await;
    let held = player.claim_one().await;
    assert!(player.ends(succeeded(held.fence)).await);
    sessions::cancel(&stage.store, session, None, None).await.unwrap();
    let before = stage.everything(session).await;
    assert!(player.ends(succeeded(held.fence)).await);
    assert_eq!(stage.everything(session).await, before);
}

#[tokio::test]
async fn nothing_of_a_cancelled_session_is_claimed() {
    let stage = Stage::new().await;
    let cancelled = stage.submit(ONE).await;
    let other = stage.submit(ONE).await;
    sessions::cancel(&stage.store, cancelled, None, None).await.unwrap();
    let player = stage.player("player").await;
    let held = player.claim(10).await;
    assert_eq!(held.iter().map(|it| it.fence.task.session).collect::<Vec<_>>(), [other]);
    assert_eq!(stage.task(cancelled, 1).await.state(), TaskState::Ready, "not swept yet");
    stage.settle().await;
    assert_eq!(stage.task(cancelled, 1).await.state(), TaskState::Cancelled);
    truth::check(stage.db.pool()).await;
}

#[tokio::test]
async fn a_worker_whose_lease_ran_out_claims_and_ends_nothing() {
    let stage = Stage::new().await;
    stage.db.freeze_clock(Utc::now()).await;
    let session = stage.submit_many(CHAIN, 2).await[0];
    let player = stage.player("player").await;
    let held = player.claim_one().await;
    stage.db.advance(Duration::from_secs(LEASE_SECS.unsigned_abs().into())).await;

    let before = stage.everything(session).await;
    assert!(player.claim(1).await.is_empty());
    for end in ENDS {
        let moved = player.finish_taking(&[end(held.fence)], 10, &[]).await;
        assert!(!moved.leased);
        assert_eq!((moved.accepted, moved.handed), (vec![false], vec![]));
    }
    assert!(!player.renew().await, "an expired lease is never renewed");
    assert_eq!(stage.everything(session).await, before);

    // Not even when it seems to hold again.
    stage.housekeep().await;
    stage.db.freeze_clock(Utc::now()).await;
    assert!(!player.renew().await);
    assert!(player.claim(1).await.is_empty());
    assert!(!player.finish(&[succeeded(held.fence)]).await.leased);
    assert_eq!(stage.task(session, 1).await.state(), TaskState::Ready);
}

#[tokio::test]
async fn a_renewed_lease_holds_to_its_new_end() {
    let stage = Stage::new().await;
    stage.db.freeze_clock(Utc::now()).await;
    stage.submit(ONE).await;
    let player = stage.player("player").await;
    for _ in 0..5 {
        stage.db.advance(Duration::from_secs(29)).await;
        assert!(player.renew().await);
        assert_eq!(stage.housekeep().await, 0);
    }
    let held = player.claim_one().await;
    stage.db.advance(Duration::from_secs(29)).await;
    assert!(player.ends(succeeded(held.fence)).await);
}

#[tokio::test]
async fn whoever_takes_over_a_data_directory_ends_its_holders_lease_at_once() {
    let stage = Stage::new().await;
    let session = stage.submit(ONE).await;
    let first = stage.player("first").await;
    let elsewhere = stage.player("elsewhere").await;
    let held = first.claim_one().await;
    let second = stage.player_with("second", &["*"], &[first.id]).await;
    assert!(!first.renew().await);
    assert!(!first.finish(&[succeeded(held.fence)]).await.leased);
    assert!(elsewhere.renew().await);
    stage.housekeep().await;
    let again = second.claim_one().await;
    assert_eq!(again.fence.task, task(session, 1));
    assert_eq!(again.fence.attempt, 2);
}

#[tokio::test]
async fn an_attempt_number_whose_claim_was_lost_is_no_fence_for_two_workers() {
    let stage = Stage::new().await;
    let session = stage.submit(ONE).await;
    let (first, second) = (stage.player("first").await, stage.player("second").await);
    let lost = first.claim_one().await;
    // A crash of Postgres forgets a claim that was committed asynchronously.
    sqlx::query("update tasks set state = 1, queued = true, attempt = 0, worker = null")
        .execute(stage.db.pool())
        .await
        .unwrap();
    assert!(!first.ends(succeeded(lost.fence)).await, "nobody holds it");
    let held = second.claim_one().await;
    assert_eq!(held.fence.attempt, lost.fence.attempt);
    assert!(!first.ends(succeeded(lost.fence)).await);
    assert!(second.ends(succeeded(held.fence)).await);
    assert!(!first.ends(succeeded(lost.fence)).await);
    assert_eq!(stage.kinds(session, 1).await.len(), 2);
}

#[tokio::test]
async fn a_start_is_reported_once_and_at_the_time_it_was() {
    let stage = Stage::new().await;
    let now = Utc::now();
    stage.db.freeze_clock(now).await;
    let session = stage.submit(CHAIN).await;
    let player = stage.player("player").await;
    let held = player.claim_one().await;
    assert_eq!(stage.task(session, 1).await.started_at, None, "a claim is no start");
    assert!(stage.kinds(session, 1).await.is_empty());
    assert_eq!(stage.state(session).await, SessionState::Queued);

    player.note(&[(held.fence, 1_500)]).await;
    let started = (now - TimeDelta::milliseconds(1_500)).timestamp_micros();
    let is_started = async || {
        let task = stage.task(session, 1).await;
        assert_eq!(task.started_at.unwrap().timestamp_micros(), started);
    };
    is_started().await;
    assert_eq!(stage.state(session).await, SessionState::Running);
    let before = stage.everything(session).await;
    stage.db.advance(Duration::from_secs(1)).await;
    player.note(&[(held.fence, 2_500), (held.fence, 2_500)]).await;
    assert_eq!(stage.everything(session).await, before);

    let mut end = succeeded(held.fence);
    end.started = Some(Duration::from_micros(2_499_250));
    assert!(player.ends(end).await);
    is_started().await;
    assert_eq!(stage.kinds(session, 1).await, [IN_PROGRESS, 18]);
    truth::check(stage.db.pool()).await;
}

#[tokio::test]
async fn a_short_attempt_is_reported_by_its_finish() {
    let stage = Stage::new().await;
    let now = Utc::now();
    stage.db.freeze_clock(now).await;
    let session = stage.submit(ONE).await;
    let player = stage.player("player").await;
    let mut end = succeeded(player.claim_one().await.fence);
    end.started = Some(Duration::from_millis(7));
    assert!(player.ends(end).await);
    let task = stage.task(session, 1).await;
    assert_eq!(task.finished_at.unwrap() - task.started_at.unwrap(), TimeDelta::milliseconds(7));
    assert_eq!(stage.kinds(session, 1).await, [IN_PROGRESS, 18]);
}

#[tokio::test]
async fn attempts_grow_with_every_claim_and_only_failures_count() {
    let stage = Stage::new().await;
    stage.db.freeze_clock(Utc::now()).await;
    let session = stage.submit(ONE).await;
    let player = stage.player("player").await;
    let counted = async || {
        let task = stage.task(session, 1).await;
        (task.attempt, task.failures, task.crashes)
    };
    for attempt in 1..=3 {
        let held = player.claim_one().await;
        assert!(player.ends(released(held.fence)).await);
        assert_eq!(counted().await, (attempt, 0, 0));
    }
    let held: Held = player.claim_one().await;
    assert_eq!((held.failures, held.crashes), (0, 0));
    assert!(player.ends(retried(held.fence, Duration::from_secs(5))).await);
    assert_eq!(counted().await, (4, 1, 0));
    assert!(player.claim(1).await.is_empty(), "it waits");
    stage.db.advance(Duration::from_secs(5)).await;
    stage.settle().await;
    let held = player.claim_one().await;
    assert_eq!((held.fence.attempt, held.failures), (5, 1));
    assert!(player.ends(failed(held.fence)).await);
    assert_eq!(counted().await, (5, 2, 0));
}
