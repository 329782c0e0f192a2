//! Sessions and groups that run out of time.

use std::time::Duration;

use chrono::Utc;
use jobshop_engine::{
    session::SessionState,
    store::{control, hot, sessions},
    task::{Reason, TaskState},
};
use jobshop_tests::{Stage, stage::succeeded, truth, wait};

async fn stage() -> Stage {
    let stage = Stage::new().await;
    stage.db.freeze_clock(Utc::now()).await;
    stage
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_session_out_of_time_ends_with_all_that_is_open() {
    let stage = stage().await;
    let session = stage
        .submit(
            "
version: 1
name: late
timeout: 10s
tasks:
  a: { uses: builtin/noop }
  b: { needs: [a], uses: builtin/noop }
",
        )
        .await;
    let player = stage.player("player").await;
    stage.db.advance(20 * SECOND).await;
    assert_eq!(stage.housekeep().await, 0, "time counts from its first start");
    assert!(player.renew().await);
    let held = player.claim_one().await;
    player.note(&[(held.fence, 0)]).await;
    stage.db.advance(9 * SECOND).await;
    assert_eq!(stage.housekeep().await, 0);
    stage.db.advance(SECOND).await;
    assert_eq!(stage.housekeep().await, 1);
    assert_eq!(stage.state(session).await, SessionState::Timeout);
    assert!(!player.ends(succeeded(held.fence)).await);
    stage.settle().await;
    for task in stage.tasks(session).await {
        assert_eq!((task.state(), task.reason()), (TaskState::Cancelled, Some(Reason::Timeout)));
    }
    truth::check(stage.db.pool()).await;
}

#[tokio::test]
async fn a_session_that_ended_in_time_is_watched_no_longer() {
    let stage = stage().await;
    let session = stage
        .submit("{ version: 1, name: timely, timeout: 10s, tasks: { a: { uses: builtin/noop } } }")
        .await;
    let player = stage.player("player").await;
    let held = player.claim_one().await;
    assert!(player.ends(succeeded(held.fence)).await);
    truth::check(stage.db.pool()).await;
    stage.db.advance(11 * SECOND).await;
    assert_eq!(stage.housekeep().await, 0);
    assert_eq!(stage.state(session).await, SessionState::Completed);
}

#[tokio::test]
async fn a_group_out_of_time_fails_with_what_is_open_in_it_and_no_more() {
    let stage = stage().await;
    let session = stage
        .submit(
            "
version: 1
name: groups
tasks:
  g:
    timeout: 10s
    tasks:
      a: { uses: builtin/noop }
      b: { needs: [a], uses: builtin/noop }
      inner:
        needs: [a]
        tasks: { c: { uses: builtin/noop }, d: { uses: builtin/noop } }
  beside: { uses: builtin/noop }
  after: { needs: [g], uses: builtin/noop }
  anyway: { needs: [g], join: all_done, uses: builtin/noop }
",
        )
        .await;
    stage.settle().await;
    let player = stage.player("player").await;
    let held = player.claim(10).await;
    assert_eq!(held.len(), 2, "a and beside");
    let a = held.iter().find(|it| it.fence.task.seq == 2).unwrap();
    assert!(player.ends(succeeded(a.fence)).await);
    stage.settle().await;
    let running = player.claim(2).await;
    assert_eq!(running.len(), 2);
    stage.db.advance(10 * SECOND).await;
    stage.settle().await;

    let failed = stage.task(session, 1).await;
    assert_eq!(failed.state(), TaskState::Failed);
    assert_eq!(failed.error.unwrap()["class"], "timeout");
    use TaskState::{Cancelled, Completed, Failed, InProgress, Ready, Skipped};
    let states = stage.states(session).await;
    assert_eq!(states[1], Completed);
    assert_eq!(states[2..6], [Cancelled; 4]);
    assert_eq!((states[0], &states[6..]), (Failed, &[InProgress, Skipped, Ready][..]));
    for held in running {
        assert!(!player.ends(succeeded(held.fence)).await);
    }
    truth::check(stage.db.pool()).await;
}

#[tokio::test]
async fn a_fan_out_out_of_time_lays_nothing_more_down_until_it_is_retried() {
    let stage = stage().await;
    let session = stage
        .submit(
            "
version: 1
name: fan
tasks:
  each:
    for_each: ${{ [1, 2, 3] }}
    max_parallel: 1
    timeout: 10s
    tasks: { a: { uses: builtin/noop } }
",
        )
        .await;
    stage.settle().await;
    let player = stage.player("player").await;
    assert!(player.ends(succeeded(player.claim_one().await.fence)).await);
    stage.settle().await;
    player.claim_one().await;
    stage.db.advance(10 * SECOND).await;
    stage.settle().await;
    assert_eq!(stage.state(session).await, SessionState::Failed);
    assert_eq!(stage.tasks(session).await.len(), 5, "the third item was never laid down");
    truth::check(stage.db.pool()).await;

    sessions::retry(&stage.store, session, sessions::Wish::default(), None).await.unwrap();
    for _ in 0..2 {
        stage.settle().await;
        assert!(player.ends(succeeded(player.claim_one().await.fence)).await);
    }
    stage.settle().await;
    assert_eq!(stage.state(session).await, SessionState::Completed);
    assert_eq!(stage.tasks(session).await.len(), 7);
    truth::check(stage.db.pool()).await;
}

#[tokio::test]
async fn a_cancelled_fan_out_leaves_nothing_to_be_looked_at() {
    let stage = stage().await;
    let session = stage
        .submit(
            "
version: 1
name: fan
tasks:
  each:
    for_each: ${{ [1, 2, 3] }}
    max_parallel: 1
    tasks: { a: { uses: builtin/noop } }
",
        )
        .await;
    stage.settle().await;
    sessions::cancel(&stage.store, session, None, None).await.unwrap();
    stage.settle().await;
    truth::check(stage.db.pool()).await;
    assert_eq!(control::tick(&stage.store).await.unwrap(), 0);
}

#[tokio::test]
async fn a_group_out_of_time_leaves_nothing_open_in_fan_outs_inside_of_it() {
    let stage = stage().await;
    let session = stage
        .submit(
            "
version: 1
name: nested
tasks:
  g:
    timeout: 10s
    tasks:
      each:
        for_each: ${{ [1, 2, 3] }}
        max_parallel: 2
        tasks:
          a: { uses: builtin/noop }
          inner: { needs: [a], as: two, for_each: '${{ [1, 2] }}', tasks: { b: { uses: builtin/noop } } }
  after: { needs: [g], join: all_done, uses: builtin/noop }
",
        )
        .await;
    stage.settle().await;
    let player = stage.player("player").await;
    assert!(player.ends(succeeded(player.claim_one().await.fence)).await);
    stage.settle().await;
    stage.db.advance(10 * SECOND).await;
    stage.settle().await;
    let states = stage.states(session).await;
    assert_eq!(states.iter().filter(|state| !state.is_final()).count(), 1, "{states:?}");
    assert_eq!(states[0], TaskState::Failed);
    truth::check(stage.db.pool()).await;
}

#[tokio::test]
async fn nothing_is_laid_down_in_a_group_that_ends_meanwhile() {
    let stage = Stage::new().await;
    let session = stage
        .submit(
            "
version: 1
name: fan
tasks:
  each:
    for_each: ${{ [1, 2, 3] }}
    max_parallel: 1
    tasks: { a: { uses: builtin/noop } }
",
        )
        .await;
    stage.settle().await;
    let before = stage.tasks(session).await.len();
    let pool = stage.db.pool();
    sqlx::query("update expansions set max_parallel = null").execute(pool).await.unwrap();
    let mut tx = pool.begin().await.unwrap();
    sqlx::query("select from session_progress for no key update").execute(&mut *tx).await.unwrap();
    let ended = async {
        wait::until("a chunk that waits", wait::LIMIT, async || {
            let waiting: i64 = sqlx::query_scalar(
                "select count(*) from pg_stat_activity
                  where datname = current_database() and wait_event_type = 'Lock'",
            )
            .fetch_one(pool)
            .await
            .ok()?;
            (waiting > 0).then_some(())
        })
        .await;
        sqlx::query("update tasks set state = 8, finished_at = clock() where seq = 1")
            .execute(&mut *tx)
            .await
            .unwrap();
        tx.commit().await.unwrap();
    };
    let (ticked, ()) = tokio::join!(control::tick(&stage.store), ended);
    ticked.unwrap();
    assert_eq!(stage.tasks(session).await.len(), before);
}

#[tokio::test]
async fn what_nobody_wakes_is_not_waited_for() {
    let stage = stage().await;
    let session = stage
        .submit("{ version: 1, name: asleep, timeout: 1h, tasks: { a: { sleep: 10s } } }")
        .await;
    stage.settle().await;
    let next = hot::STATEMENTS.iter().find(|it| it.name == "next_due").unwrap();
    let secs = async || -> Option<f64> {
        sqlx::query_scalar(next.sql).fetch_one(stage.db.pool()).await.unwrap()
    };
    assert_eq!(secs().await, Some(10.0));
    sessions::cancel(&stage.store, session, None, None).await.unwrap();
    stage.db.advance(20 * SECOND).await;
    assert_eq!(secs().await, None);
}
