//! Groups whose tasks run round after round.

use jobshop_engine::{
    session::SessionState,
    store::{sessions, steer},
    task::TaskState,
};
use jobshop_tests::{Stage, stage, truth};
use serde_json::{Value, json};

use crate::{end_of, ends, fleet, told};

#[tokio::test(flavor = "multi_thread")]
async fn rounds_follow_each_other_until_the_condition_holds() {
    let fleet = fleet().await;
    let definition = r#"
version: 1
name: fix
tasks:
  before: { run: 'echo n:=2 > "$JOBSHOP_OUTPUT"' }
  fix:
    needs: [before]
    loop: { until: tasks.fix.tasks.check.outputs.n > tasks.before.outputs.n, max_rounds: 5 }
    tasks:
      edit:
        run: 'echo "last=$LAST" > "$JOBSHOP_OUTPUT"'
        env: { LAST: "${{ tasks.fix.tasks.check.outputs.n | default('none') }} ${{ tasks.fix.tasks.check.status }}" }
      check:
        needs: [edit]
        run: 'echo "n:=$N" > "$JOBSHOP_OUTPUT"'
        env: { N: "${{ round }}" }
  after:
    needs: [fix]
    run: 'echo "n:=$N" > "$JOBSHOP_OUTPUT"'
    env: { N: "${{ tasks.fix.tasks.check.outputs.n }}" }
outputs:
  n: ${{ tasks.after.outputs.n }}
  last: ${{ tasks.fix.tasks.edit.outputs.last }}
"#;
    let key = fleet.submit(definition, Value::Null).await;
    let observed = end_of(&fleet, key).await;
    assert_eq!(
        told(&observed).trim(),
        "session completed
after completed
before completed
fix completed
fix[1] completed
fix[1].check completed
fix[1].edit completed
fix[2] completed
fix[2].check completed
fix[2].edit completed
fix[3] completed
fix[3].check completed
fix[3].edit completed"
    );
    assert_eq!(observed.outputs, Some(json!({ "n": 3, "last": "2 completed" })));
    let first = observed.rows["fix[1].edit"].outputs.as_ref().unwrap();
    assert_eq!(first["last"], "none pending");
    truth::check(fleet.db.pool()).await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_that_runs_out_of_rounds_fails_and_so_does_one_whose_round_failed() {
    ends(
        "
tasks:
  long:
    loop: { until: 1 == 2, max_rounds: 2 }
    tasks: { a: { uses: builtin/noop }, g: { tasks: { b: { uses: builtin/noop } } } }
  after: { uses: builtin/noop, needs: [long] }
  bad:
    loop: { until: 1 == 2, max_rounds: 2 }
    tasks: { a: { uses: builtin/fail } }
  wrong:
    loop: { until: tasks.a.outputs, max_rounds: 2 }
    tasks: { a: { uses: builtin/noop } }
  unwanted:
    when: 1 == 2
    loop: { until: 1 == 2, max_rounds: 2 }
    tasks: { a: { uses: builtin/noop } }
  of_it:
    needs: [unwanted]
    when: tasks.unwanted.tasks.a.status == 'skipped'
    uses: builtin/noop
",
        "
        session failed
        after skipped (upstream_failed)
        bad failed (error)
        bad[1] failed (error)
        bad[1].a failed (error)
        long failed (max_rounds)
        long[1] completed
        long[1].a completed
        long[1].g completed
        long[1].g.b completed
        long[2] completed
        long[2].a completed
        long[2].g completed
        long[2].g.b completed
        of_it completed
        unwanted skipped (when)
        wrong failed (template)
        wrong[1] completed
        wrong[1].a completed
        ",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn loops_and_items_stand_in_each_other() {
    ends(
        "
tasks:
  each:
    for_each: [1, 2]
    key: ${{ item }}
    tasks:
      fix:
        loop: { until: tasks.inner.completed | length == round and round >= item, max_rounds: 3 }
        tasks:
          inner:
            for_each: ${{ range(round) | list }}
            as: part
            tasks: { one: { uses: builtin/noop } }
  last:
    needs: [each]
    when: tasks.each.items['2'].fix.tasks.inner.completed | length == 2
    uses: builtin/noop
",
        "
        session completed
        each completed
        each[1] completed
        each[1].fix completed
        each[1].fix[1] completed
        each[1].fix[1].inner completed
        each[1].fix[1].inner[0] completed
        each[1].fix[1].inner[0].one completed
        each[2] completed
        each[2].fix completed
        each[2].fix[1] completed
        each[2].fix[1].inner completed
        each[2].fix[1].inner[0] completed
        each[2].fix[1].inner[0].one completed
        each[2].fix[2] completed
        each[2].fix[2].inner completed
        each[2].fix[2].inner[0] completed
        each[2].fix[2].inner[0].one completed
        each[2].fix[2].inner[1] completed
        each[2].fix[2].inner[1].one completed
        last completed
        ",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_limit_of_a_loop_is_that_of_all_its_rounds() {
    let fleet = fleet().await;
    let definition = "
version: 1
name: endless
tasks:
  endless:
    timeout: 300ms
    loop: { until: 1 == 2, max_rounds: 1000 }
    tasks: { nap: { sleep: 20ms } }
";
    let (key, state) = fleet.run(definition).await;
    assert_eq!(state, SessionState::Failed);
    let rows = fleet.rows(key).await;
    assert_eq!(rows[0].error.as_ref().unwrap()["class"], "timeout");
    assert!(rows.iter().all(|row| row.state.is_final()));
    truth::check(fleet.db.pool()).await;
    fleet.stop().await;
}

#[tokio::test]
async fn a_retry_runs_the_last_round_again_and_nothing_before() {
    let stage = Stage::new().await;
    let key = stage
        .submit(
            "
version: 1
name: again
tasks:
  fix:
    loop: { until: tasks.fix.tasks.b.status != 'completed', max_rounds: 2 }
    tasks:
      a: { uses: builtin/noop }
      g:
        needs: [a]
        for_each: [x]
        tasks: { c: { uses: builtin/noop } }
      b: { uses: builtin/noop, needs: [g] }
",
        )
        .await;
    let player = stage.player("one").await;
    let mut ran = 0;
    let mut play = async |most: usize| {
        for _ in 0..most {
            stage.settle().await;
            let held = player.claim_one().await;
            assert!(player.ends(stage::succeeded(held.fence)).await);
            ran += 1;
        }
        stage.settle().await;
        truth::check(stage.db.pool()).await;
    };
    play(6).await;
    assert_eq!(stage.state(key).await, SessionState::Failed);
    assert_eq!(stage.task(key, 1).await.error.unwrap()["class"], "max_rounds");
    // The round, a, g and b; what was laid down in g is laid down anew.
    assert_eq!(
        sessions::retry(&stage.store, key, sessions::Wish::default(), None).await.unwrap(),
        5
    );
    truth::check(stage.db.pool()).await;
    play(3).await;
    assert_eq!(stage.state(key).await, SessionState::Failed);
    assert!(stage.tasks(key).await.iter().all(|task| task.state().is_final()));
    let completed = stage.states(key).await;
    let count = completed.iter().filter(|state| **state == TaskState::Completed).count();
    assert_eq!(count, completed.len() - 1, "all but the loop itself");
}

#[tokio::test]
async fn what_stands_in_a_loop_that_never_began_is_seen_like_that_of_any_group() {
    let stage = Stage::new().await;
    let definition = "
version: 1
name: never
tasks:
  gate: { wait_for: gate }
  group: { needs: [gate], tasks: { a: { uses: builtin/noop } } }
  loop:
    needs: [gate]
    loop: { until: 1 == 1, max_rounds: 2 }
    tasks: { b: { uses: builtin/noop } }
outputs:
  group: ${{ tasks.group.tasks.a.status }}
  loop: ${{ tasks.loop.tasks.b.status }}
";
    let key = stage.submit(definition).await;
    stage.settle().await;
    let by = steer::By { actor: Some("p"), reason: None };
    steer::fail(&stage.store, key, by).await.unwrap();
    stage.settle().await;
    let outputs: Option<Value> = sqlx::query_scalar("select outputs from sessions where id = $1")
        .bind(key.id.0)
        .fetch_one(stage.db.pool())
        .await
        .unwrap();
    assert_eq!(outputs, Some(json!({ "group": "cancelled", "loop": "cancelled" })));
}
