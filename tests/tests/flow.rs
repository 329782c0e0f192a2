//! Sessions from their definition to their end: joins, conditions, groups, fan-outs, retries.

use std::fmt::Write as _;

use jobshop_engine::{
    session::SessionState,
    store::sessions,
    task::{Reason, TaskState},
};
use jobshop_tests::Fleet;
use serde_json::json;

async fn fleet() -> Fleet {
    let mut fleet = Fleet::new(env!("CARGO_BIN_EXE_cluster-owner")).await;
    fleet.worker();
    fleet
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_runs_in_order_and_its_events_have_no_gap() {
    let fleet = fleet().await;
    let (key, state) = fleet
        .run(
            "
version: 1
name: chain
tasks:
  a: { uses: builtin/noop }
  b: { needs: [a], uses: builtin/noop }
  c: { needs: [b], uses: builtin/noop }
",
        )
        .await;
    assert_eq!(state, SessionState::Completed);
    let rows = fleet.rows(key).await;
    assert!(rows.iter().all(|row| row.state == TaskState::Completed && row.attempt == 1));
    let events = fleet.events(key).await;
    let numbers: Vec<i32> = events.iter().map(|event| event.0).collect();
    assert_eq!(numbers, (1..=i32::try_from(events.len()).unwrap()).collect::<Vec<_>>());
    // queued, running, three times started and completed, completed
    assert_eq!(events.len(), 9);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_flow_from_commands_through_groups_into_outputs() {
    let fleet = fleet().await;
    let key = fleet
        .submit(
            r#"
version: 1
name: values
inputs:
  who: { type: string, default: world }
tasks:
  list:
    run: |
      echo 'names:=["x","y","z"]' >> "$JOBSHOP_OUTPUT"
  each:
    needs: [list]
    for_each: ${{ tasks.list.outputs.names }}
    key: ${{ item }}
    max_parallel: 2
    tasks:
      hello:
        run: echo "text=hello $WHO $NAME" >> "$JOBSHOP_OUTPUT"
        env: { NAME: "${{ item }}", WHO: "${{ inputs.who }}" }
      again:
        needs: [hello]
        when: item != 'y'
        run: echo "text=$TEXT!" >> "$JOBSHOP_OUTPUT"
        env: { TEXT: "${{ tasks.hello.outputs.text }}" }
  end:
    needs: [each]
    run: echo "all=$ALL" >> "$JOBSHOP_OUTPUT"
    env: { ALL: "${{ tasks.each.completed }}" }
outputs:
  all: ${{ tasks.end.outputs.all }}
  y: ${{ tasks.each.items.y.hello.outputs.text }}
"#,
            json!({ "who": "you" }),
        )
        .await;
    let state = fleet.end_of(key).await;
    let rows = fleet.rows(key).await;
    assert_eq!(state, SessionState::Completed, "{rows:#?}");
    let skipped: Vec<_> = rows.iter().filter(|row| row.state == TaskState::Skipped).collect();
    assert_eq!(skipped.len(), 1);
    assert_eq!(skipped[0].reason, Some(Reason::When));
    let outputs: serde_json::Value =
        sqlx::query_scalar("select outputs from sessions where id = $1")
            .bind(key.id.0)
            .fetch_one(fleet.db.pool())
            .await
            .unwrap();
    assert_eq!(outputs, json!({ "all": r#"["x","y","z"]"#, "y": "hello you y" }));
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_skip_what_needs_them_and_retries_count() {
    let fleet = fleet().await;
    let (key, state) = fleet
        .run(
            r#"
version: 1
name: failures
tasks:
  flaky:
    run: test "$JOBSHOP_ATTEMPT" -ge 3
    retry: { max_attempts: 3, initial: 10ms }
  bad: { uses: builtin/fail, needs: [flaky] }
  after: { uses: builtin/noop, needs: [bad] }
  far: { uses: builtin/noop, needs: [after] }
  always: { uses: builtin/noop, needs: [bad], join: all_done }
  any: { uses: builtin/noop, needs: [bad, flaky], join: any }
  allowed: { uses: builtin/fail, continue_on_failure: true }
  on: { uses: builtin/noop, needs: [allowed] }
"#,
        )
        .await;
    assert_eq!(state, SessionState::Failed);
    let rows = fleet.rows(key).await;
    let states: Vec<_> = rows.iter().map(|row| (row.state, row.reason)).collect();
    use TaskState::{Completed, Failed, Skipped};
    let upstream = Some(Reason::UpstreamFailed);
    assert_eq!(
        states,
        [
            (Completed, None),
            (Failed, None),
            (Skipped, upstream),
            (Skipped, upstream),
            (Completed, None),
            (Completed, None),
            (Failed, None),
            (Completed, None)
        ]
    );
    assert_eq!(rows[0].attempt, 3);
    assert_eq!(rows[0].failures, 2);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_runs_again_what_failed_and_nothing_else() {
    let fleet = fleet().await;
    let dir = tempfile::tempdir().unwrap();
    let flag = dir.path().join("mended");
    let ran = dir.path().join("ran");
    let definition = format!(
        r#"
version: 1
name: retried
env: {{ FLAG: {flag:?}, RAN: {ran:?} }}
tasks:
  first: {{ run: 'echo first >> "$RAN"' }}
  group:
    needs: [first]
    for_each: [1, 2]
    tasks:
      work:
        run: |
          echo "work $N" >> "$RAN"
          test "$N" = 1 || test -e "$FLAG"
        env: {{ N: "${{{{ item }}}}" }}
      after: {{ needs: [work], run: 'echo after >> "$RAN"' }}
  last: {{ needs: [group], run: 'echo last >> "$RAN"' }}
outputs:
  done: ${{{{ tasks.group.completed }}}}
"#
    );
    let (key, state) = fleet.run(&definition).await;
    assert_eq!(state, SessionState::Failed);
    std::fs::write(&flag, "").unwrap();
    let opened = sessions::retry(&fleet.store, key, sessions::Wish::default(), None).await.unwrap();
    // work and after of the second item, the item, the group, and last
    assert_eq!(opened, 5);
    assert_eq!(fleet.end_of(key).await, SessionState::Completed);
    let mut lines: Vec<String> =
        std::fs::read_to_string(&ran).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["after", "after", "first", "last", "work 1", "work 2", "work 2"]);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_session_stops_at_once_and_keeps_no_open_task() {
    let fleet = fleet().await;
    let key = fleet
        .submit(
            "
version: 1
name: long
tasks:
  a: { run: sleep 1000 }
  b: { needs: [a], uses: builtin/noop }
",
            json!({}),
        )
        .await;
    jobshop_tests::wait::until("the start", std::time::Duration::from_secs(10), async || {
        let rows = fleet.rows(key).await;
        (rows[0].state == TaskState::InProgress).then_some(())
    })
    .await;
    jobshop_engine::store::sessions::cancel(&fleet.store, key, Some("me"), None).await.unwrap();
    assert_eq!(fleet.end_of(key).await, SessionState::Cancelled);
    jobshop_tests::wait::until("the sweep", std::time::Duration::from_secs(10), async || {
        let rows = fleet.rows(key).await;
        rows.iter().all(|row| row.state == TaskState::Cancelled).then_some(())
    })
    .await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_jsonb_does_not_take_holds_up_nobody() {
    let fleet = fleet().await;
    let definition = r#"
version: 1
name: nul
tasks:
  group:
    for_each: ${{ ["a\u0000b", "c"] }}
    tasks:
      say: { run: 'printf "x\\0y" >&2; exit 3' }
"#;
    let (key, state) = fleet.run(definition).await;
    assert_eq!(state, SessionState::Failed);
    let rows = fleet.rows(key).await;
    let failed = rows.iter().filter(|row| row.error.is_some() && row.attempt == 1);
    assert!(
        failed.clone().count() == 2
            && failed.clone().all(|row| {
                row.error.as_ref().unwrap()["message"].as_str().unwrap().contains("code 3")
            }),
        "{rows:#?}"
    );
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_runs_out_of_time_leaves_nothing_open() {
    let fleet = fleet().await;
    let mut definition = String::from(
        "
version: 1
name: slow
tasks:
  group:
    timeout: 300ms
    tasks:
",
    );
    for chain in 0..6 {
        writeln!(definition, "      c{chain}-0: {{ uses: builtin/noop }}").unwrap();
        for step in 1..250 {
            let before = step - 1;
            writeln!(
                definition,
                "      c{chain}-{step}: {{ needs: [c{chain}-{before}], uses: builtin/noop }}"
            )
            .unwrap();
        }
    }
    definition.push_str("      last: { run: sleep 1000 }\n");
    let (key, state) = fleet.run(&definition).await;
    assert_eq!(state, SessionState::Failed);
    let rows = fleet.rows(key).await;
    assert!(rows.iter().all(|row| row.state.is_final()), "nothing is left open");
    assert_eq!(rows[0].error.as_ref().unwrap()["class"], "timeout");
    fleet.stop().await;
}
