//! Locks of tasks: in whose turn they are given, how long they are kept, and that they go back
//! whatever becomes of who holds them.

use std::time::Duration;

use jobshop_engine::{
    id::SessionKey,
    session::SessionState,
    store::{control, sessions, steer, steer_task, workers},
    task::{Reason, TaskState as T},
};
use jobshop_tests::{
    Stage,
    stage::{self, failed, retried, succeeded},
    truth,
};

use crate::line::{line, tickets};

const ONE: &str = "{ version: 1, name: one, tasks: { a: { lock: prod, uses: builtin/noop } } }";

async fn waits_for_lock(stage: &Stage, session: SessionKey, seq: i32) -> bool {
    let task = stage.task(session, seq).await;
    (task.state(), task.reason()) == (T::Blocked, Some(Reason::Lock))
}

#[tokio::test]
async fn a_lock_is_given_by_whoever_ends_its_holder() {
    let stage = Stage::new().await;
    let [first, second] = [stage.submit(ONE).await, stage.submit(ONE).await];
    stage.settle().await;
    let player = stage.player("player").await;
    let held = player.claim(10).await;
    assert_eq!(held.len(), 1, "the other one is not ready");
    assert_eq!(held[0].fence.task.session, first);
    assert!(waits_for_lock(&stage, second, 1).await);
    truth::check(stage.db.pool()).await;
    assert!(player.ends(succeeded(held[0].fence)).await);
    assert_eq!(stage.task(second, 1).await.state(), T::Ready, "in the same transaction");
    truth::check(stage.db.pool()).await;
    let next = player.claim_one().await;
    assert!(player.ends(succeeded(next.fence)).await);
    assert_eq!(tickets(&stage).await, 0);
    assert_eq!(stage.state(second).await, SessionState::Completed);
}

#[tokio::test]
async fn it_is_kept_through_back_off_and_goes_back_with_the_last_attempt() {
    let stage = Stage::new().await;
    let [first, second] = [stage.submit(ONE).await, stage.submit(ONE).await];
    stage.settle().await;
    let player = stage.player("player").await;
    let held = player.claim_one().await;
    assert!(player.ends(retried(held.fence, Duration::from_mins(1))).await);
    stage.settle().await;
    assert!(waits_for_lock(&stage, second, 1).await, "another try follows");
    assert!(player.claim(10).await.is_empty());
    stage.db.advance(Duration::from_secs(61)).await;
    player.renew().await;
    stage.settle().await;
    let player = stage.player("another").await;
    let again = player.claim_one().await;
    assert_eq!(again.fence.task.session, first);
    assert!(player.ends(failed(again.fence)).await);
    truth::check(stage.db.pool()).await;
    assert_eq!(player.claim_one().await.fence.task.session, second);
}

#[tokio::test]
async fn the_older_session_is_first_and_then_who_came_first() {
    let stage = Stage::new().await;
    let two = "{ version: 1, name: two, tasks: {
        first: { uses: builtin/noop },
        late: { needs: [first], lock: prod, uses: builtin/noop } } }";
    let old = stage.submit(two).await;
    stage.db.advance(Duration::from_secs(1)).await;
    let holder = stage.submit(ONE).await;
    stage.db.advance(Duration::from_secs(1)).await;
    let young = stage.submit(ONE).await;
    stage.settle().await;
    let player = stage.player("player").await;
    let held = player.claim(10).await;
    let of = |session: SessionKey| held.iter().find(|it| it.fence.task.session == session);
    assert!(of(young).is_none(), "it waits");
    assert!(player.ends(succeeded(of(old).unwrap().fence)).await);
    stage.settle().await;
    let waiting = line(&stage, "prod").await;
    assert_eq!(waiting.holds, [(holder, 1)], "nobody is driven out");
    assert_eq!(waiting.waits, [(old, 2), (young, 1)], "it came last and is first");
    assert!(player.ends(succeeded(of(holder).unwrap().fence)).await);
    assert_eq!(line(&stage, "prod").await.holds, [(old, 2)]);
    truth::check(stage.db.pool()).await;
}

#[tokio::test]
async fn a_task_takes_all_its_locks_at_once_or_none() {
    let stage = Stage::new().await;
    let taking = |locks: &str| {
        format!(
            "{{ version: 1, name: some, tasks: {{ a: {{ lock: {locks}, uses: builtin/noop }} }} }}"
        )
    };
    let a = stage.submit(&taking("a")).await;
    stage.db.advance(Duration::from_secs(1)).await;
    let both = stage.submit(&taking("[b, a]")).await;
    stage.db.advance(Duration::from_secs(1)).await;
    let b = stage.submit(&taking("b")).await;
    stage.settle().await;
    let player = stage.player("player").await;
    let held = player.claim(10).await;
    assert_eq!(held.len(), 1);
    assert_eq!(held[0].fence.task.session, a);
    assert_eq!(line(&stage, "b").await.waits, [(both, 1), (b, 1)], "who is before it goes first");
    assert!(player.ends(succeeded(held[0].fence)).await);
    assert_eq!(line(&stage, "a").await.holds, [(both, 1)]);
    assert_eq!(line(&stage, "b").await.holds, [(both, 1)]);
    let next = player.claim_one().await;
    assert!(player.ends(succeeded(next.fence)).await);
    assert_eq!(player.claim_one().await.fence.task.session, b);
    truth::check(stage.db.pool()).await;
}

#[tokio::test]
async fn as_many_hold_it_as_the_newest_definition_says() {
    let stage = Stage::new().await;
    let limited = |limit: i32| {
        format!(
            "{{ version: 1, name: gpu, tasks: {{
                a: {{ lock: {{ name: gpu, limit: {limit} }}, uses: builtin/noop }} }} }}"
        )
    };
    let count = async || {
        let found = line(&stage, "gpu").await;
        (found.holds.len(), found.waits.len())
    };
    stage.submit_many(&limited(2), 4).await;
    stage.settle().await;
    assert_eq!(count().await, (2, 2));
    stage.db.advance(Duration::from_secs(1)).await;
    stage.submit(&limited(3)).await;
    stage.settle().await;
    assert_eq!(count().await, (3, 2), "it was raised");
    stage.db.advance(Duration::from_secs(1)).await;
    stage.submit(&limited(1)).await;
    stage.db.advance(Duration::from_secs(1)).await;
    stage.submit(&limited(2)).await;
    stage.settle().await;
    assert_eq!(count().await, (3, 4), "it was lowered, and nobody is driven out");
    truth::check(stage.db.pool()).await;
    let player = stage.player("player").await;
    for left in [(2, 4), (1, 4), (1, 3)] {
        let held = player.claim_one().await;
        assert!(player.ends(succeeded(held.fence)).await);
        assert_eq!(count().await, left, "the older version is not the newest definition");
    }
    truth::check(stage.db.pool()).await;
}

#[tokio::test]
async fn a_group_keeps_its_lock_until_all_of_it_has_ended() {
    let stage = Stage::new().await;
    let group = "{ version: 1, name: group, inputs: { repo: { default: web } }, tasks: {
        g: { lock: \"repo-${{ inputs.repo }}\", tasks: {
            a: { uses: builtin/noop }, b: { needs: [a], uses: builtin/noop } } } } }";
    let [first, second] = [stage.submit(group).await, stage.submit(group).await];
    stage.settle().await;
    assert!(waits_for_lock(&stage, second, 1).await);
    assert_eq!(stage.states(second).await, [T::Blocked, T::Pending, T::Pending]);
    let player = stage.player("player").await;
    for _ in 0..2 {
        assert_eq!(line(&stage, "repo-web").await.holds, [(first, 1)]);
        let held = player.claim_one().await;
        assert_eq!(held.fence.task.session, first);
        assert!(player.ends(succeeded(held.fence)).await);
        truth::check(stage.db.pool()).await;
    }
    stage.settle().await;
    assert_eq!(line(&stage, "repo-web").await.holds, [(second, 1)]);
    assert_eq!(stage.states(second).await, [T::Blocked, T::Ready, T::Pending]);
    truth::check(stage.db.pool()).await;
}

/// Two items that take a lock each, one of them the same as another session's.
const ITEMS: &str = "{ version: 1, name: items, tasks: {
    g: { for_each: [web, api, web2], key: \"${{ item }}\",
         lock: \"repo-${{ item | replace('2', '') }}\", tasks: {
        a: { uses: builtin/noop }, b: { needs: [a], uses: builtin/noop } } } } }";

#[tokio::test]
async fn each_item_of_a_fan_out_takes_its_own_lock() {
    let stage = Stage::new().await;
    let session = stage.submit(ITEMS).await;
    stage.settle().await;
    // 1 the group; 2, 5, 8 the items.
    assert_eq!(line(&stage, "repo-web").await.holds, [(session, 2)]);
    assert_eq!(line(&stage, "repo-api").await.holds, [(session, 5)]);
    assert_eq!(line(&stage, "repo-web").await.waits, [(session, 8)]);
    assert_eq!(
        stage.states(session).await,
        [
            T::Blocked,
            T::Blocked,
            T::Ready,
            T::Pending,
            T::Blocked,
            T::Ready,
            T::Pending,
            T::Blocked,
            T::Pending,
            T::Pending
        ]
    );
    truth::check(stage.db.pool()).await;
    let player = stage.player("player").await;
    loop {
        let held = player.claim(10).await;
        if held.is_empty() {
            break;
        }
        let ends: Vec<_> = held.iter().map(|it| succeeded(it.fence)).collect();
        player.finish(&ends).await;
        stage.settle().await;
        truth::check(stage.db.pool()).await;
    }
    assert_eq!(stage.state(session).await, SessionState::Completed);
    assert_eq!(tickets(&stage).await, 0);
}

#[tokio::test]
async fn what_ends_in_another_way_gives_its_lock_back_too() {
    let stage = Stage::new().await;
    let next = async |held: SessionKey| {
        stage.settle().await;
        truth::check(stage.db.pool()).await;
        assert!(!line(&stage, "prod").await.holds.contains(&(held, 1)), "it is still held");
    };
    let sessions = stage.submit_many(ONE, 4).await;
    let [cancelled, waiting, stopped, crashed] = sessions[..] else { panic!() };
    stage.settle().await;
    let holder = line(&stage, "prod").await.holds[0].0;
    assert_eq!(holder, cancelled);
    sessions::cancel(&stage.store, waiting, None, None).await.unwrap();
    sessions::cancel(&stage.store, cancelled, None, None).await.unwrap();
    next(cancelled).await;
    assert_eq!(line(&stage, "prod").await.holds, [(stopped, 1)], "who waited has gone too");
    steer::stop(&stage.store, stopped, steer::By::default()).await.unwrap();
    next(stopped).await;
    for _ in 0..3 {
        let player = stage.player("player").await;
        let held = player.claim_one().await;
        assert_eq!(held.fence.task.session, crashed);
        player.note(&[(held.fence, 0)]).await;
        workers::end(&stage.store.pool, player.id).await.unwrap();
        assert_eq!(line(&stage, "prod").await.holds, [(crashed, 1)], "it is tried again");
        stage.housekeep().await;
    }
    assert_eq!(stage.task(crashed, 1).await.state(), T::Failed);
    assert_eq!(tickets(&stage).await, 0);
    truth::check(stage.db.pool()).await;
}

#[tokio::test]
async fn a_retry_takes_the_locks_of_groups_and_items_again() {
    let stage = Stage::new().await;
    let session = stage.submit(ITEMS).await;
    let player = stage.player("player").await;
    stage.settle().await;
    while stage.state(session).await == SessionState::Running
        || stage.state(session).await == SessionState::Queued
    {
        let held = player.claim_one().await;
        // What stands in the first item fails.
        let is_first = (3..=4).contains(&held.fence.task.seq);
        player.finish(&[if is_first { failed(held.fence) } else { succeeded(held.fence) }]).await;
        stage.settle().await;
    }
    assert_eq!(stage.state(session).await, SessionState::Failed);
    assert_eq!(tickets(&stage).await, 0);
    let other = "{ version: 1, name: other, tasks: { a: { lock: repo-web, uses: builtin/noop } } }";
    stage.db.advance(Duration::from_secs(1)).await;
    let other = stage.submit(other).await;
    stage.settle().await;
    sessions::retry(&stage.store, session, sessions::Wish::default(), None).await.unwrap();
    stage.settle().await;
    truth::check(stage.db.pool()).await;
    assert_eq!(line(&stage, "repo-web").await.holds, [(other, 1)]);
    assert_eq!(line(&stage, "repo-web").await.waits, [(session, 2)]);
    assert_eq!(stage.task(session, 3).await.state(), T::Pending);
    let player = stage.player("another").await;
    for expected in [other, session, session] {
        let held = player.claim_one().await;
        assert_eq!(held.fence.task.session, expected);
        player.finish(&[succeeded(held.fence)]).await;
        stage.settle().await;
        truth::check(stage.db.pool()).await;
    }
    assert_eq!(stage.state(session).await, SessionState::Completed);
    assert_eq!(tickets(&stage).await, 0);
}

#[tokio::test]
async fn who_is_paused_keeps_the_turn_and_lets_others_pass() {
    let stage = Stage::new().await;
    let sessions = stage.submit_many(ONE, 4).await;
    let [holder, paused, third, fourth] = sessions[..] else { panic!() };
    stage.settle().await;
    let by = steer::By::default;
    steer::pause(&stage.store, paused, by()).await.unwrap();
    steer_task::pause(&stage.store, stage::task(third, 1), by()).await.unwrap();
    stage.settle().await;
    truth::check(stage.db.pool()).await;
    let player = stage.player("player").await;
    let held = player.claim_one().await;
    assert_eq!(held.fence.task.session, holder);
    player.finish(&[succeeded(held.fence)]).await;
    assert_eq!(line(&stage, "prod").await.holds, [(fourth, 1)]);
    steer_task::resume(&stage.store, stage::task(third, 1), by()).await.unwrap();
    assert!(waits_for_lock(&stage, third, 1).await);
    steer::resume(&stage.store, paused, by()).await.unwrap();
    assert_eq!(line(&stage, "prod").await.waits, [(paused, 1), (third, 1)], "in the old order");
    truth::check(stage.db.pool()).await;
    let held = player.claim_one().await;
    player.finish(&[succeeded(held.fence)]).await;
    assert_eq!(line(&stage, "prod").await.holds, [(paused, 1)]);
    // With nobody in front a resumed one takes it at once.
    steer::pause(&stage.store, third, by()).await.unwrap();
    let held = player.claim_one().await;
    player.finish(&[succeeded(held.fence)]).await;
    assert!(line(&stage, "prod").await.holds.is_empty());
    steer::resume(&stage.store, third, by()).await.unwrap();
    assert_eq!(line(&stage, "prod").await.holds, [(third, 1)]);
    truth::check(stage.db.pool()).await;
}

#[tokio::test]
async fn a_wait_for_locks_counts_for_the_time_limit_of_a_group() {
    let stage = Stage::new().await;
    let holder = stage.submit(ONE).await;
    let group = "{ version: 1, name: group, tasks: {
        g: { lock: prod, timeout: 10s, tasks: { a: { uses: builtin/noop } } } } }";
    let late = stage.submit(group).await;
    stage.settle().await;
    assert!(waits_for_lock(&stage, late, 1).await);
    stage.db.advance(Duration::from_secs(11)).await;
    stage.settle().await;
    assert_eq!(stage.states(late).await, [T::Failed, T::Cancelled]);
    assert_eq!(line(&stage, "prod").await.holds, [(holder, 1)]);
    assert!(line(&stage, "prod").await.waits.is_empty());
    truth::check(stage.db.pool()).await;
}

#[tokio::test]
async fn a_ticket_that_was_left_behind_is_found() {
    let stage = Stage::new().await;
    let sessions = stage.submit_many(ONE, 2).await;
    stage.settle().await;
    // As if somebody had ended the row without saying so.
    sqlx::query(
        "update tasks set state = 6, queued = false, finished_at = clock() where session_id = $1",
    )
    .bind(sessions[0].id.0)
    .execute(stage.db.pool())
    .await
    .unwrap();
    control::find_left_tickets(&stage.store).await.unwrap();
    assert_eq!(line(&stage, "prod").await.holds, [(sessions[1], 1)]);
}

/// Between the grant and the decision what a group does that has its locks, somebody pauses what is
/// around it.
#[tokio::test]
async fn what_has_just_got_its_locks_does_not_begin_in_a_paused_group() {
    let stage = Stage::new().await;
    let first = stage.submit(ONE).await;
    let group = "{ version: 1, name: group, tasks: { outer: { tasks: {
        inner: { lock: prod, tasks: { b: { uses: builtin/noop } } } } } } }";
    let second = stage.submit(group).await;
    stage.settle().await;
    let player = stage.player("player").await;
    let held = player.claim_one().await;
    assert_eq!(held.fence.task.session, first);
    assert!(player.ends(succeeded(held.fence)).await);
    steer_task::pause(&stage.store, stage::task(second, 1), steer::By::default()).await.unwrap();
    stage.settle().await;
    assert!(player.claim(10).await.is_empty());
    assert_eq!(stage.task(second, 2).await.state(), T::Paused);
    steer_task::resume(&stage.store, stage::task(second, 1), steer::By::default()).await.unwrap();
    stage.settle().await;
    let held = player.claim_one().await;
    assert_eq!((held.fence.task.session, held.fence.task.seq), (second, 3));
    assert!(player.ends(succeeded(held.fence)).await);
    stage.settle().await;
    assert_eq!(stage.state(second).await, SessionState::Completed);
    assert_eq!(tickets(&stage).await, 0);
}
