//! What runs once the result of a session is decided.

use jobshop_engine::{
    session::SessionState,
    store::sessions,
    task::{Reason, TaskState},
};
use jobshop_tests::{Stage, stage, truth};
use serde_json::{Value, json};

use crate::{end_of, ends, fleet, told};

#[tokio::test(flavor = "multi_thread")]
async fn finally_runs_after_a_failure_and_knows_it() {
    let fleet = fleet().await;
    let definition = r#"
version: 1
name: finally
tasks:
  bad: { uses: builtin/fail, with: { message: "no" } }
  after: { uses: builtin/noop, needs: [bad] }
  good: { run: 'echo n:=7 > "$JOBSHOP_OUTPUT"' }
finally:
  report:
    run: 'echo "seen=$BAD $AFTER $GOOD $RESULT" > "$JOBSHOP_OUTPUT"'
    env:
      BAD: "${{ tasks.bad.status }}"
      AFTER: "${{ tasks.after.status }}"
      GOOD: "${{ tasks.good.outputs.n }}"
      RESULT: "${{ session.status }}"
  each:
    for_each: [a, b]
    key: ${{ item }}
    tasks: { one: { uses: builtin/noop } }
  last: { needs: [report, each], uses: builtin/noop }
outputs:
  n: ${{ tasks.good.outputs.n }}
"#;
    let key = fleet.submit(definition, Value::Null).await;
    let observed = end_of(&fleet, key).await;
    let report = observed.rows["report"].outputs.as_ref().unwrap();
    assert_eq!(report["seen"], "failed skipped 7 failed", "{}", told(&observed));
    assert_eq!(observed.outputs, Some(json!({ "n": 7 })));
    assert_eq!(
        told(&observed).trim(),
        "session failed
after skipped (upstream_failed)
bad failed (error)
each completed
each[a] completed
each[a].one completed
each[b] completed
each[b].one completed
good completed
last completed
report completed"
    );
    truth::check(fleet.db.pool()).await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_in_finally_makes_the_result_failed() {
    ends(
        "
tasks:
  good: { uses: builtin/noop }
finally:
  bad: { uses: builtin/fail }
  allowed: { uses: builtin/fail, continue_on_failure: true }
",
        "
        session failed
        allowed failed (error)
        bad failed (error)
        good completed
        ",
    )
    .await;
    ends(
        "
fail_fast: true
tasks:
  good: { uses: builtin/noop }
finally:
  allowed: { uses: builtin/fail, continue_on_failure: true }
  other: { uses: builtin/noop, needs: [allowed] }
",
        "
        session partially_completed
        allowed failed (error)
        good completed
        other completed
        ",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn finally_runs_after_fail_fast_and_all_of_it() {
    ends(
        "
fail_fast: true
tasks:
  bad: { uses: builtin/fail }
  group: { tasks: { slow: { sleep: 1h } } }
finally:
  also_bad: { uses: builtin/fail }
  then: { uses: builtin/noop, needs: [also_bad], join: all_done }
  group_then: { tasks: { last: { uses: builtin/noop } } }
",
        "
        session failed
        also_bad failed (error)
        bad failed (error)
        group cancelled (fail_fast)
        group.slow cancelled (fail_fast)
        group_then completed
        group_then.last completed
        then completed
        ",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn finally_runs_after_the_session_ran_out_of_time_and_has_a_limit_of_its_own() {
    ends(
        "
timeout: 100ms
tasks:
  slow: { run: sleep 1000 }
  after: { uses: builtin/noop, needs: [slow] }
finally:
  quick: { sleep: 200ms }
",
        "
        session timeout
        after cancelled (timeout)
        quick completed
        slow cancelled (timeout)
        ",
    )
    .await;
    ends(
        "
finally_timeout: 100ms
tasks:
  good: { uses: builtin/noop }
finally:
  quick: { uses: builtin/noop }
  group: { tasks: { slow: { run: sleep 1000 } } }
",
        "
        session failed
        good completed
        group cancelled (timeout)
        group.slow cancelled (timeout)
        quick completed
        ",
    )
    .await;
}

const PLAIN: &str = "
version: 1
name: plain
tasks:
  a: { uses: builtin/noop }
finally:
  f: { uses: builtin/noop }
  g: { uses: builtin/noop, needs: [f] }
";

#[tokio::test]
async fn a_cancelled_session_runs_no_finally() {
    let stage = Stage::new().await;
    let key = stage.submit(PLAIN).await;
    let player = stage.player("one").await;
    let held = player.claim_one().await;
    assert_eq!(held.fence.task.seq, 1, "what is under finally waits");
    sessions::cancel(&stage.store, key, None, None).await.unwrap();
    stage.settle().await;
    assert_eq!(stage.state(key).await, SessionState::Cancelled);
    for task in stage.tasks(key).await {
        assert_eq!(task.state(), TaskState::Cancelled);
        assert_eq!(task.reason(), Some(Reason::SessionCancelled));
    }
    truth::check(stage.db.pool()).await;
    // The same while finally is under way.
    let key = stage.submit(PLAIN).await;
    let held = player.claim_one().await;
    assert!(player.ends(stage::succeeded(held.fence)).await);
    stage.settle().await;
    assert_eq!(stage.state(key).await, SessionState::Running);
    assert_eq!(player.claim_one().await.fence.task.seq, 2);
    sessions::cancel(&stage.store, key, None, None).await.unwrap();
    stage.settle().await;
    use TaskState::{Cancelled, Completed};
    assert_eq!(stage.states(key).await, [Completed, Cancelled, Cancelled]);
    truth::check(stage.db.pool()).await;
}

#[tokio::test]
async fn a_retry_runs_finally_again() {
    let stage = Stage::new().await;
    let key = stage.submit(PLAIN).await;
    let player = stage.player("one").await;
    for (seq, end) in [(1, true), (2, false)] {
        let held = player.claim_one().await;
        assert_eq!(held.fence.task.seq, seq);
        let end = if end { stage::succeeded(held.fence) } else { stage::failed(held.fence) };
        assert!(player.ends(end).await);
        stage.settle().await;
        truth::check(stage.db.pool()).await;
    }
    assert_eq!(stage.state(key).await, SessionState::Failed);
    // Nothing but finally failed: only it runs again.
    assert_eq!(
        sessions::retry(&stage.store, key, sessions::Wish::default(), None).await.unwrap(),
        0
    );
    for seq in [2, 3] {
        truth::check(stage.db.pool()).await;
        stage.settle().await;
        let held = player.claim_one().await;
        assert_eq!(held.fence.task.seq, seq);
        assert_eq!(held.fence.attempt, if seq == 2 { 2 } else { 1 });
        assert!(player.ends(stage::succeeded(held.fence)).await);
        stage.settle().await;
    }
    assert_eq!(stage.state(key).await, SessionState::Completed);
    assert!(stage.states(key).await.iter().all(|state| *state == TaskState::Completed));
    truth::check(stage.db.pool()).await;
}

#[tokio::test]
async fn whoever_takes_on_the_end_of_a_session_finally_begins_once() {
    let stage = Stage::new().await;
    let keys = stage.submit_many(PLAIN, 20).await;
    let player = stage.player("one").await;
    let moves: Vec<_> =
        player.claim(20).await.iter().map(|held| stage::succeeded(held.fence)).collect();
    assert!(player.finish(&moves).await.accepted.iter().all(|accepted| *accepted));
    let others: Vec<_> = (0..4).map(|_| stage.another_store()).collect();
    let ticks = others.iter().map(|store| async move {
        while jobshop_engine::store::control::tick(store).await.unwrap() > 0 {}
    });
    futures::future::join_all(ticks).await;
    assert_eq!(player.claim(100).await.len(), 20);
    let events: Vec<i64> = sqlx::query_scalar(
        "select count(*) from events cross join unnest(kinds) as kind
          where kind = 33 group by session_id",
    )
    .fetch_all(stage.db.pool())
    .await
    .unwrap();
    assert_eq!(events, vec![1; keys.len()]);
    truth::check(stage.db.pool()).await;
}
