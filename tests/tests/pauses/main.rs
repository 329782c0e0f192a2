//! Two acts at once, one of them stopped at the worst moment: at a named point between its statements
//! (`store::pauses`), or within a statement, where it asks for the time under its locks. Whoever is
//! first, what both say afterwards must be true.

#![expect(clippy::unwrap_used, reason = "an accident is a failed test")]

mod by_the_clock;

use std::time::Duration;

use chrono::{DateTime, Utc};
use jobshop_engine::{
    id::{Fence, SessionKey},
    session::SessionState,
    store::{
        Store, StoreConfig,
        claim::{self, Ask, Claimed},
        control,
        pauses::{Halt, Point},
        sessions::{self, Wish},
        steer,
        steer::By,
        transition::{Move, Mover, Takes, transition},
        workers,
    },
    task::TaskState as T,
};
use jobshop_tests::{
    Stage,
    stage::{LEASE_SECS, Player, failed, released, succeeded},
    truth, wait,
};
use sqlx::{PgConnection, postgres::PgPoolOptions};
use tokio::task::JoinSet;

const LIMIT: Duration = Duration::from_secs(20);
const ONE: &str = "{ version: 1, name: one, tasks: { a: { uses: builtin/noop } } }";
const JOIN: &str = "
version: 1
name: join
tasks:
  a: { uses: builtin/noop }
  b: { uses: builtin/noop }
  c: { needs: [a, b], uses: builtin/noop }
";
const LOCKED: &str =
    "{ version: 1, name: locked, tasks: { a: { lock: prod, uses: builtin/noop } } }";

/// A stage on which statements of one store stop where they ask for the time, as long as the gate is
/// shut. The time itself stands still, and is moved by hand.
struct Gate {
    stage: Stage,
    /// The store whose statements stop.
    slow: Store,
    /// Holds the lock for which they wait.
    keeper: PgConnection,
}

const GATE: i64 = 77;

impl Gate {
    async fn new() -> Self {
        let stage = Stage::new().await;
        let now: DateTime<Utc> = Utc::now();
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!(
            "create table moment as select timestamptz '{}' as at;
             create or replace function clock() returns timestamptz language plpgsql volatile as $$
             begin
                 if current_setting('jobshop.slow', true) = 'on' then
                     perform pg_advisory_lock_shared({GATE});
                     perform pg_advisory_unlock_shared({GATE});
                 end if;
                 return (select at from moment);
             end $$",
            now.to_rfc3339()
        )))
        .execute(stage.db.pool())
        .await
        .unwrap();
        let url = stage.db.url();
        let joint = if url.contains('?') { '&' } else { '?' };
        let url = format!("{url}{joint}options=-c%20jobshop.slow%3Don");
        let slow = Store::new(StoreConfig::new(url)).unwrap();
        let keeper = PgPoolOptions::new().connect(stage.db.url()).await.unwrap();
        let mut keeper = keeper.acquire().await.unwrap().detach();
        sqlx::query("select pg_advisory_lock($1)").bind(GATE).execute(&mut keeper).await.unwrap();
        Self { stage, slow, keeper }
    }

    /// A statement of the slow store stands before the gate.
    async fn reached(&self) {
        wait::until("a statement at the gate", LIMIT, async || {
            let waiting: i64 = sqlx::query_scalar(
                "select count(*) from pg_stat_activity
                  where datname = current_database() and wait_event = 'advisory'",
            )
            .fetch_one(self.stage.db.pool())
            .await
            .unwrap();
            (waiting > 0).then_some(())
        })
        .await;
    }

    async fn open(&mut self) {
        let unlock = sqlx::query("select pg_advisory_unlock($1)").bind(GATE);
        unlock.execute(&mut self.keeper).await.unwrap();
    }

    async fn advance(&self, secs: i32) {
        let moved = sqlx::query("update moment set at = at + make_interval(secs => $1)");
        moved.bind(f64::from(secs)).execute(self.stage.db.pool()).await.unwrap();
    }
}

/// Somebody waits for a lock of a row.
async fn somebody_waits(stage: &Stage) {
    wait::until("somebody to wait", LIMIT, async || {
        let waiting: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity
              where datname = current_database() and wait_event_type = 'Lock'
                and wait_event <> 'advisory'",
        )
        .fetch_one(stage.db.pool())
        .await
        .unwrap();
        (waiting > 0).then_some(())
    })
    .await;
}

async fn claim_by(store: Store, player: Player) -> Claimed {
    let ask =
        Ask { worker: player.id, routes: &player.routes, shares: &[], limit: 8, session: None };
    claim::claim(&store.pool, ask).await.unwrap()
}

async fn end_by(store: Store, fence: Fence, end: Move) -> bool {
    let mover = Mover::Worker { id: fence.worker, takes: Takes::default() };
    transition(&store.pool, mover, &[end], &[], None).await.unwrap().accepted == [true]
}

async fn cancel(store: Store, session: SessionKey) {
    sessions::cancel(&store, session, None, None).await.unwrap();
}

async fn cancelled_for_good(stage: &Stage, session: SessionKey) {
    stage.settle().await;
    assert_eq!(stage.state(session).await, SessionState::Cancelled);
    assert!(stage.states(session).await.iter().all(|state| state.is_final()));
    truth::check(stage.db.pool()).await;
}

#[tokio::test]
async fn what_is_claimed_while_its_session_is_cancelled_is_never_accepted() {
    let mut gate = Gate::new().await;
    let session = gate.stage.submit(ONE).await;
    let player = gate.stage.player("worker").await;
    let mut claims = JoinSet::new();
    claims.spawn(claim_by(gate.slow.clone(), player.clone()));
    gate.reached().await;
    // The claim has picked its task; the cancel does not wait for it.
    cancel(gate.stage.store.clone(), session).await;
    gate.open().await;
    let claimed = claims.join_next().await.unwrap().unwrap();
    for held in &claimed.tasks {
        player.note(&[(held.fence, 5)]).await;
        assert!(!player.ends(succeeded(held.fence)).await, "after the acknowledged cancel");
    }
    assert!(player.claim(8).await.is_empty());
    cancelled_for_good(&gate.stage, session).await;
}

#[tokio::test]
async fn a_claim_between_a_cancel_and_its_commit_is_never_accepted() {
    let stage = Stage::new().await;
    let session = stage.submit(ONE).await;
    let player = stage.player("worker").await;
    let halt = Halt::at(Point::Cancelled);
    let (held, ()) = tokio::join!(
        async {
            halt.reached().await;
            let held = player.claim_one().await;
            halt.go_on();
            held
        },
        halt.run(cancel(stage.store.clone(), session)),
    );
    let standing = workers::standings(&stage.store.pool, &[held.fence]).await.unwrap();
    assert_eq!(standing, [workers::Standing::Void], "its worker is told");
    assert!(!player.ends(succeeded(held.fence)).await);
    cancelled_for_good(&stage, session).await;
}

#[tokio::test]
async fn a_finish_that_had_its_locks_before_the_lease_was_over_counts_once_or_not_at_all() {
    let mut gate = Gate::new().await;
    let session = gate.stage.submit(JOIN).await;
    let player = gate.stage.player("late").await;
    let held = player.claim_one().await;
    player.note(&[(held.fence, 5)]).await;
    let mut finishes = JoinSet::new();
    finishes.spawn(end_by(gate.slow.clone(), held.fence, succeeded(held.fence)));
    gate.reached().await;
    // It holds its session. Its lease ends meanwhile, and the reaper comes.
    gate.advance(LEASE_SECS + 1).await;
    let store = gate.stage.store.clone();
    let mut reaping = JoinSet::new();
    reaping.spawn(async move { control::housekeep(&store).await.unwrap() });
    somebody_waits(&gate.stage).await;
    gate.open().await;
    let accepted = finishes.join_next().await.unwrap().unwrap();
    reaping.join_next().await.unwrap().unwrap();
    assert!(!accepted, "clock() is asked under the locks");
    let task = gate.stage.task(session, held.fence.task.seq).await;
    assert_eq!((task.state(), task.crashes), (T::Ready, 1));
    assert!(!player.ends(succeeded(held.fence)).await);
    let next = gate.stage.player("next").await;
    for held in next.claim(8).await {
        assert!(next.ends(succeeded(held.fence)).await);
    }
    let last = next.claim_one().await;
    assert!(next.ends(succeeded(last.fence)).await);
    assert_eq!(gate.stage.state(session).await, SessionState::Completed);
    truth::check(gate.stage.db.pool()).await;
}

#[tokio::test]
async fn what_was_handed_back_after_the_reaper_read_it_is_not_given_back_twice() {
    let stage = Stage::new().await;
    let session = stage.submit(ONE).await;
    let player = stage.player("dead").await;
    let held = player.claim_one().await;
    player.note(&[(held.fence, 5)]).await;
    workers::end(&stage.store.pool, player.id).await.unwrap();
    let halt = Halt::at(Point::LostRead);
    let (next, _) = tokio::join!(
        async {
            halt.reached().await;
            // Another process reaps the same worker, and the task is claimed again.
            stage.housekeep().await;
            let next = stage.player("next").await;
            let again = next.claim_one().await;
            assert_eq!(again.fence.attempt, held.fence.attempt + 1);
            halt.go_on();
            (next, again)
        },
        halt.run(control::housekeep(&stage.store)),
    );
    let (next, again) = next;
    assert_eq!(stage.task(session, 1).await.crashes, 1);
    assert!(next.ends(succeeded(again.fence)).await, "it is still the holder");
    truth::check(stage.db.pool()).await;
}

#[tokio::test]
async fn a_retry_that_waits_for_the_last_finish_opens_what_it_ended() {
    let mut gate = Gate::new().await;
    let session = gate.stage.submit(ONE).await;
    let player = gate.stage.player("worker").await;
    let held = player.claim_one().await;
    let mut acts = JoinSet::new();
    acts.spawn(end_by(gate.slow.clone(), held.fence, failed(held.fence)));
    gate.reached().await;
    let store = gate.stage.store.clone();
    let mut retries = JoinSet::new();
    retries.spawn(async move { sessions::retry(&store, session, Wish::default(), None).await });
    somebody_waits(&gate.stage).await;
    gate.open().await;
    assert!(acts.join_next().await.unwrap().unwrap());
    assert_eq!(retries.join_next().await.unwrap().unwrap().unwrap(), 1);
    let again = player.claim_one().await;
    assert!(again.fence.attempt > held.fence.attempt);
    assert!(player.ends(succeeded(again.fence)).await);
    assert_eq!(gate.stage.state(session).await, SessionState::Completed);
    truth::check(gate.stage.db.pool()).await;
}

#[tokio::test]
async fn a_finish_that_comes_during_a_retry_is_what_it_was_before() {
    let stage = Stage::new().await;
    let session = stage.submit(ONE).await;
    let player = stage.player("worker").await;
    let stale = player.claim_one().await;
    assert!(player.ends(released(stale.fence)).await);
    let held = player.claim_one().await;
    assert!(player.ends(failed(held.fence)).await);
    let halt = Halt::at(Point::RetryLocked);
    let mut finishes = JoinSet::new();
    let (opened, ()) = tokio::join!(
        halt.run(sessions::retry(&stage.store, session, Wish::default(), None)),
        async {
            halt.reached().await;
            for end in [failed(held.fence), succeeded(held.fence), succeeded(stale.fence)] {
                finishes.spawn(end_by(stage.store.clone(), held.fence, end));
            }
            somebody_waits(&stage).await;
            halt.go_on();
        },
    );
    assert_eq!(opened.unwrap(), 1);
    let answers = finishes.join_all().await;
    assert_eq!(answers.iter().filter(|accepted| **accepted).count(), 1, "said again: {answers:?}");
    assert_eq!(stage.task(session, 1).await.state(), T::Ready);
    truth::check(stage.db.pool()).await;
}

#[tokio::test]
async fn a_lock_is_not_given_to_a_session_that_is_paused_meanwhile() {
    let stage = Stage::new().await;
    let [first, second] = [stage.submit(LOCKED).await, stage.submit(LOCKED).await];
    stage.settle().await;
    let player = stage.player("worker").await;
    let held = player.claim_one().await;
    assert_eq!(held.fence.task.session, first);
    let mut end = succeeded(held.fence);
    end.locks = true;
    let halt = Halt::at(Point::Moved);
    let (accepted, ()) =
        tokio::join!(halt.run(end_by(stage.store.clone(), held.fence, end)), async {
            halt.reached().await;
            steer::pause(&stage.store, second, By::default()).await.unwrap();
            halt.go_on();
        });
    assert!(accepted);
    stage.settle().await;
    assert_eq!(stage.state(second).await, SessionState::Paused);
    assert!(player.claim(8).await.is_empty(), "nothing of a paused session is ready");
    truth::check(stage.db.pool()).await;
    // Nobody holds it, so whoever comes gets it; then the one that was paused.
    let third = stage.submit(LOCKED).await;
    stage.settle().await;
    let other = player.claim_one().await;
    assert_eq!(other.fence.task.session, third);
    steer::resume(&stage.store, second, By::default()).await.unwrap();
    stage.settle().await;
    assert!(player.claim(8).await.is_empty(), "it waits for its turn");
    assert!(player.ends(succeeded(other.fence)).await);
    stage.settle().await;
    let last = player.claim_one().await;
    assert_eq!(last.fence.task.session, second);
    assert!(player.ends(succeeded(last.fence)).await);
    truth::check(stage.db.pool()).await;
}

#[tokio::test]
async fn a_grant_goes_past_a_session_that_is_just_being_paused() {
    let stage = Stage::new().await;
    let [_first, second] = [stage.submit(LOCKED).await, stage.submit(LOCKED).await];
    stage.settle().await;
    let player = stage.player("worker").await;
    let held = player.claim_one().await;
    let halt = Halt::at(Point::Paused);
    let mut finishes = JoinSet::new();
    let (paused, ()) =
        tokio::join!(halt.run(steer::pause(&stage.store, second, By::default())), async {
            halt.reached().await;
            let mut end = succeeded(held.fence);
            end.locks = true;
            finishes.spawn(end_by(stage.store.clone(), held.fence, end));
            // The pause holds the limit; the finish waits for it, or is done.
            halt.go_on();
        });
    paused.unwrap();
    assert!(finishes.join_next().await.unwrap().unwrap());
    stage.settle().await;
    assert!(player.claim(8).await.is_empty());
    steer::resume(&stage.store, second, By::default()).await.unwrap();
    stage.settle().await;
    let last = player.claim_one().await;
    assert!(player.ends(succeeded(last.fence)).await);
    assert_eq!(stage.state(second).await, SessionState::Completed);
    truth::check(stage.db.pool()).await;
}

#[tokio::test]
async fn a_join_that_is_let_go_while_its_session_is_cancelled_does_not_run() {
    let mut gate = Gate::new().await;
    let session = gate.stage.submit(JOIN).await;
    let player = gate.stage.player("worker").await;
    let held = player.claim(8).await;
    assert!(player.ends(succeeded(held[0].fence)).await);
    let mut finishes = JoinSet::new();
    finishes.spawn(end_by(gate.slow.clone(), held[1].fence, succeeded(held[1].fence)));
    gate.reached().await;
    let mut cancels = JoinSet::new();
    cancels.spawn(cancel(gate.stage.store.clone(), session));
    somebody_waits(&gate.stage).await;
    gate.open().await;
    assert!(finishes.join_next().await.unwrap().unwrap(), "it was before the cancel");
    cancels.join_next().await.unwrap().unwrap();
    assert!(player.claim(8).await.is_empty(), "the join is not claimed");
    cancelled_for_good(&gate.stage, session).await;
}

#[tokio::test]
async fn a_finish_that_waits_for_a_cancel_lets_no_join_go() {
    let stage = Stage::new().await;
    let session = stage.submit(JOIN).await;
    let player = stage.player("worker").await;
    let held = player.claim(8).await;
    assert!(player.ends(succeeded(held[0].fence)).await);
    let halt = Halt::at(Point::Cancelled);
    let mut finishes = JoinSet::new();
    let ((), ()) = tokio::join!(halt.run(cancel(stage.store.clone(), session)), async {
        halt.reached().await;
        finishes.spawn(end_by(stage.store.clone(), held[1].fence, succeeded(held[1].fence)));
        somebody_waits(&stage).await;
        halt.go_on();
    });
    assert!(!finishes.join_next().await.unwrap().unwrap());
    cancelled_for_good(&stage, session).await;
}
