//! What undoes tasks when their session comes to a bad end.

use jobshop_engine::{
    session::SessionState,
    store::{Views, sessions},
    task::TaskState,
};
use jobshop_tests::{Stage, stage, truth};
use serde_json::Value;

use crate::{end_of, ends, fleet, told};

#[tokio::test(flavor = "multi_thread")]
async fn what_completed_is_undone_in_reverse_order_before_finally() {
    let fleet = fleet().await;
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let definition = format!(
        r#"
version: 1
name: undo
env: {{ LOG: {log:?} }}
tasks:
  first:
    run: 'echo id:=7 > "$JOBSHOP_OUTPUT"'
    compensate:
      run: 'echo "undo first $ID $RESULT" >> "$LOG"'
      env: {{ ID: "${{{{ tasks.first.outputs.id }}}}", RESULT: "${{{{ session.status }}}}" }}
  each:
    needs: [first]
    for_each: [a, b]
    key: ${{{{ item }}}}
    max_parallel: 1
    tasks:
      one:
        run: ":"
        compensate:
          run: 'echo "undo $ITEM $ID" >> "$LOG"'
          env: {{ ITEM: "${{{{ item }}}}", ID: "${{{{ tasks.first.outputs.id }}}}" }}
  never: {{ needs: [bad], run: ":", compensate: {{ run: 'echo never >> "$LOG"' }} }}
  bad: {{ needs: [each], uses: builtin/fail, compensate: {{ run: 'echo bad >> "$LOG"' }} }}
finally:
  last: {{ run: 'echo finally >> "$LOG"' }}
"#
    );
    let key = fleet.submit(&definition, Value::Null).await;
    let observed = end_of(&fleet, key).await;
    assert_eq!(observed.state, SessionState::Failed, "{}", told(&observed));
    let lines = std::fs::read_to_string(&log).unwrap();
    assert_eq!(lines, "undo b 7\nundo a 7\nundo first 7 failed\nfinally\n");
    let views = Views::new(&fleet.store, key.tenant);
    for (path, state) in
        [("each[b].one.compensate", "completed"), ("first.compensate", "completed")]
    {
        let task = views.task(key, path).await.unwrap();
        assert_eq!((task.key.as_str(), task.status.as_str()), (path, state));
    }
    truth::check(fleet.db.pool()).await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_compensation_runs_whatever_became_of_the_others() {
    ends(
        "
fail_fast: true
tasks:
  a: { uses: builtin/noop, compensate: { uses: builtin/noop } }
  b: { needs: [a], uses: builtin/noop, compensate: { uses: builtin/fail } }
  c: { needs: [b], uses: builtin/fail }
",
        "
        session failed
        a completed
        a.compensate completed
        b completed
        b.compensate failed (error)
        c failed (error)
        ",
    )
    .await;
    ends(
        "
tasks:
  a: { uses: builtin/noop, compensate: { uses: builtin/fail } }
  b: { needs: [a], uses: builtin/fail, continue_on_failure: true }
",
        "
        session partially_completed
        a completed
        b failed (error)
        ",
    )
    .await;
    ends(
        "
timeout: 500ms
tasks:
  a: { uses: builtin/noop, compensate: { uses: builtin/noop } }
  b: { needs: [a], sleep: 1h }
",
        "
        session timeout
        a completed
        a.compensate completed
        b cancelled (timeout)
        ",
    )
    .await;
}

#[tokio::test]
async fn a_cancel_undoes_nothing_and_a_retry_does_again_what_was_undone() {
    let stage = Stage::new().await;
    let definition = "
version: 1
name: undo
tasks:
  a: { uses: builtin/noop, compensate: { uses: builtin/noop } }
  b: { needs: [a], uses: builtin/noop, compensate: { uses: builtin/noop } }
  c: { needs: [b], uses: builtin/noop }
";
    let key = stage.submit(definition).await;
    let player = stage.player("one").await;
    let play = async |seq: i32, good: bool| {
        stage.settle().await;
        let held = player.claim_one().await;
        assert_eq!(held.fence.task.seq, seq);
        let end = if good { stage::succeeded(held.fence) } else { stage::failed(held.fence) };
        assert!(player.ends(end).await);
        stage.settle().await;
        truth::check(stage.db.pool()).await;
    };
    for (seq, good) in [(1, true), (2, true), (3, false), (4, true), (5, false)] {
        play(seq, good).await;
    }
    assert_eq!(stage.state(key).await, SessionState::Failed);
    // c failed, b was undone; a was not, because what should undo it failed.
    assert_eq!(
        sessions::retry(&stage.store, key, sessions::Wish::default(), None).await.unwrap(),
        2
    );
    truth::check(stage.db.pool()).await;
    play(2, true).await;
    stage.settle().await;
    assert_eq!(player.claim_one().await.fence.task.seq, 3);
    sessions::cancel(&stage.store, key, None, None).await.unwrap();
    stage.settle().await;
    assert_eq!(stage.state(key).await, SessionState::Cancelled);
    let states = stage.states(key).await;
    assert_eq!(states.len(), 4, "nothing more was laid down");
    assert_eq!(states[2], TaskState::Cancelled);
    truth::check(stage.db.pool()).await;
}
