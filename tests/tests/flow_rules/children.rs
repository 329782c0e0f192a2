//! Other workflows as tasks: sessions of their own.

use std::time::Duration;

use jobshop_engine::{
    id::{SessionId, SessionKey, TenantId},
    session::SessionState,
    store::{Views, applying, control, sessions, steer},
    task::{Reason, TaskState},
};
use jobshop_tests::{Fleet, Stage, stage, truth, wait};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{end_of, fleet, told};

async fn apply(store: &jobshop_engine::store::Store, definition: &str) {
    applying::apply(store, TenantId::DEFAULT, definition, None).await.unwrap();
}

/// The children of a session in the order of their creation, with their states.
async fn children(db: &sqlx::PgPool, parent: SessionKey) -> Vec<(SessionKey, SessionState)> {
    let rows: Vec<(Uuid, i16)> = sqlx::query_as(
        "select s.id, p.state
           from sessions s join session_progress p on p.session_id = s.id
          where s.parent_id = $1 order by s.id",
    )
    .bind(parent.id.0)
    .fetch_all(db)
    .await
    .unwrap();
    rows.into_iter()
        .map(|(id, state)| {
            let key = SessionKey { tenant: parent.tenant, id: SessionId(id) };
            (key, SessionState::from_code(state).unwrap())
        })
        .collect()
}

const DOUBLE: &str = r#"
version: 1
name: double
inputs: { n: { type: integer, required: true } }
tasks:
  work:
    run: 'echo "n:=$((N * 2))" > "$JOBSHOP_OUTPUT"'
    env: { N: "${{ inputs.n }}" }
outputs: { n: "${{ tasks.work.outputs.n }}" }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_child_gets_inputs_and_gives_outputs_back() {
    let fleet = fleet().await;
    apply(&fleet.store, DOUBLE).await;
    let definition = r#"
version: 1
name: parent
tasks:
  each:
    for_each: [1, 2]
    tasks:
      child: { uses: double, with: { n: "${{ item }}" } }
  last: { needs: [each], uses: double@1, with: { n: "${{ tasks.each.items['1'].child.outputs.n }}" } }
outputs: { n: "${{ tasks.last.outputs.n }}" }
"#;
    let key = fleet.submit(definition, Value::Null).await;
    let observed = end_of(&fleet, key).await;
    assert_eq!(observed.state, SessionState::Completed, "{}", told(&observed));
    assert_eq!(observed.outputs, Some(json!({ "n": 8 })));
    let found = children(fleet.db.pool(), key).await;
    assert_eq!(found.len(), 3);
    assert!(found.iter().all(|(_, state)| *state == SessionState::Completed));
    assert_eq!(observed.rows["last"].attempt, 1);
    truth::check(fleet.db.pool()).await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_fails_fails_the_task_and_each_try_is_another_session() {
    let fleet = fleet().await;
    apply(&fleet.store, DOUBLE).await;
    apply(
        &fleet.store,
        "
version: 1
name: bad
tasks: { bad: { uses: builtin/fail, with: { message: on purpose } } }
",
    )
    .await;
    let definition = "
version: 1
name: parent
tasks:
  bad: { uses: bad, retry: { initial: 1ms, max_attempts: 3 } }
  wrong: { uses: double, with: { m: 1 }, retry: { initial: 1ms } }
  unknown: { uses: nobody-knows }
  no_version: { uses: double@7 }
  schema: { uses: double, with: { n: 1 }, outputs: { type: object, required: [x] } }
  slow: { uses: slow, timeout: 100ms }
  after: { needs: [bad], uses: builtin/noop }
";
    apply(&fleet.store, "version: 1\nname: slow\ntasks: { nap: { sleep: 1h } }\n").await;
    let key = fleet.submit(definition, Value::Null).await;
    let observed = end_of(&fleet, key).await;
    assert_eq!(
        told(&observed).trim(),
        "session failed
after skipped (upstream_failed)
bad failed (error)
no_version failed (error)
schema failed (schema)
slow failed (timeout)
unknown failed (error)
wrong failed (template)"
    );
    let said = |key: &str| observed.rows[key].error.as_ref().unwrap()["message"].to_string();
    assert!(said("bad").contains("on purpose"), "{}", said("bad"));
    assert!(said("wrong").contains("input `n` is required"), "{}", said("wrong"));
    assert_eq!((observed.rows["bad"].attempt, observed.rows["bad"].failures), (3, 3));
    assert_eq!((observed.rows["wrong"].attempt, observed.rows["wrong"].failures), (1, 1));
    assert_eq!(children(fleet.db.pool(), key).await.len(), 5);
    truth::check(fleet.db.pool()).await;
    fleet.stop().await;
}

/// A parent whose child has begun, and the child.
async fn with_a_child(fleet: &Fleet, head: &str) -> (SessionKey, SessionKey) {
    apply(&fleet.store, "version: 1\nname: slow\ntasks: { nap: { run: sleep 1000 } }\n").await;
    let definition = format!("version: 1\nname: parent\n{head}");
    let key = fleet.submit(&definition, Value::Null).await;
    let child = wait::until("the child", Duration::from_secs(20), async || {
        let found = children(fleet.db.pool(), key).await;
        let (child, _) = found.first()?;
        let rows = fleet.rows(*child).await;
        (rows[0].state == TaskState::InProgress).then_some(*child)
    })
    .await;
    (key, child)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_travels_to_the_children_and_other_ends_orphan_them() {
    let fleet = fleet().await;
    let plain = "tasks: { a: { uses: slow } }";
    let (key, child) = with_a_child(&fleet, plain).await;
    let why = Views::new(&fleet.store, key.tenant).why(key, Some("a")).await.unwrap();
    assert!(why.summary.contains(&child.id.to_string()), "{}", why.summary);
    sessions::cancel(&fleet.store, key, Some("me"), None).await.unwrap();
    assert_eq!(fleet.end_of(child).await, SessionState::Cancelled);

    let (key, child) = with_a_child(&fleet, &format!("timeout: 2s\n{plain}")).await;
    assert_eq!(fleet.end_of(child).await, SessionState::Orphaned);
    assert_eq!(fleet.end_of(key).await, SessionState::Timeout);

    let group = "tasks: { g: { timeout: 2s, tasks: { a: { uses: slow } } } }";
    let (key, child) = with_a_child(&fleet, group).await;
    assert_eq!(fleet.end_of(child).await, SessionState::Cancelled);
    assert_eq!(fleet.end_of(key).await, SessionState::Failed);
    let observed = end_of(&fleet, child).await;
    assert_eq!(observed.rows["nap"].reason, Some(Reason::SessionCancelled));
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_travels_to_the_children_as_gracefully() {
    let stage = Stage::new().await;
    let child = "
version: 1
name: books
tasks:
  book: { uses: builtin/noop, compensate: { uses: builtin/noop } }
  long: { needs: [book], uses: builtin/noop }
finally: { last: { uses: builtin/noop } }
";
    apply(&stage.store, child).await;
    let parent = stage.submit("{ version: 1, name: parent, tasks: { a: { uses: books } } }").await;
    stage.settle().await;
    let player = stage.player("player").await;
    let book = player.claim_one().await;
    assert!(player.ends(stage::succeeded(book.fence)).await);
    let long = player.claim_one().await;
    steer::stop(&stage.store, parent, steer::By::default()).await.unwrap();
    stage.settle().await;
    assert_eq!(stage.state(parent).await, SessionState::Stopped);
    let (child, _) = children(stage.db.pool(), parent).await[0];
    assert_eq!(stage.state(child).await, SessionState::Running, "its attempt may come to an end");
    assert!(player.ends(stage::succeeded(long.fence)).await);
    for expected in ["book.compensate", "last"] {
        stage.settle().await;
        let held = player.claim_one().await;
        let told = Views::new(&stage.store, child.tenant).task(child, expected).await.unwrap();
        assert_eq!(told.seq, held.fence.task.seq, "{expected}");
        assert!(player.ends(stage::succeeded(held.fence)).await);
    }
    stage.settle().await;
    assert_eq!(stage.state(child).await, SessionState::Stopped);
    truth::check(stage.db.pool()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_stand_in_each_other_only_so_deep() {
    let fleet = fleet().await;
    let again = "version: 1\nname: again\ntasks: { again: { uses: again } }\n";
    apply(&fleet.store, again).await;
    let (key, state) = fleet.run(again).await;
    assert_eq!(state, SessionState::Failed);
    let rows = fleet.rows(key).await;
    let message = rows[0].error.as_ref().unwrap()["message"].to_string();
    assert!(message.contains("deeper than 8"), "{message}");
    let count: i64 = sqlx::query_scalar("select count(*) from sessions")
        .fetch_one(fleet.db.pool())
        .await
        .unwrap();
    assert_eq!(count, 9);
    fleet.stop().await;
}

#[tokio::test]
async fn each_attempt_has_one_child_whoever_begins_it_and_its_end_is_told_once() {
    let stage = Stage::new().await;
    apply(&stage.store, "version: 1\nname: one\ntasks: { a: { uses: builtin/noop } }\n").await;
    let parent = "version: 1\nname: parent\ntasks: { a: { uses: one, retry: { initial: 1ms } } }\n";
    let keys = stage.submit_many(parent, 10).await;
    let player = stage.player("one").await;
    let others: Vec<_> = (0..4).map(|_| stage.another_store()).collect();
    let all_tick = async || {
        let ticks = others
            .iter()
            .map(|store| async move { while control::tick(store).await.unwrap() > 0 {} });
        futures::future::join_all(ticks).await;
    };
    for round in 1..=3 {
        all_tick().await;
        let held = player.claim(100).await;
        assert_eq!(held.len(), keys.len());
        let moves: Vec<_> = held.iter().map(|held| stage::failed(held.fence)).collect();
        player.finish(&moves).await;
        all_tick().await;
        for key in &keys {
            let task = stage.task(*key, 1).await;
            let begun = i32::from(task.attempt > round) + round;
            let count = children(stage.db.pool(), *key).await.len();
            assert_eq!((task.failures, i32::try_from(count)), (round, Ok(begun)));
        }
        wait::until("the back-off", Duration::from_secs(5), async || {
            all_tick().await;
            let mut ready = true;
            for key in &keys {
                let task = stage.task(*key, 1).await;
                ready &= task.attempt > round || task.state() == TaskState::Failed;
            }
            ready.then_some(())
        })
        .await;
    }
    for key in &keys {
        assert_eq!(stage.state(*key).await, SessionState::Failed);
        assert_eq!(children(stage.db.pool(), *key).await.len(), 3);
    }
    truth::check(stage.db.pool()).await;
}
