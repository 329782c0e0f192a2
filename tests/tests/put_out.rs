//! What tasks put out and are told, from their processes to the templates of others.

use jobshop_engine::{session::SessionState, task::TaskState};
use jobshop_tests::{Fleet, truth};
use serde_json::json;

const LAUNCHER: &str = env!("CARGO_BIN_EXE_cluster-owner");

#[tokio::test(flavor = "multi_thread")]
async fn an_allowed_failure_has_outputs_and_another_has_none() {
    let mut fleet = Fleet::new(LAUNCHER).await;
    fleet.worker();
    let (session, state) = fleet
        .run(
            "
version: 1
name: outputs
tasks:
  allowed: { run: 'echo a=1 > $JOBSHOP_OUTPUT; exit 3', continue_on_failure: true }
  after:
    needs: [allowed]
    env: { CODE: '${{ tasks.allowed.outputs.exit_code }}', A: '${{ tasks.allowed.outputs.a }}' }
    run: '[ $CODE$A = 31 ]'
  group:
    continue_on_failure: true
    tasks: { inside: { run: 'exit 4' } }
  bad: { run: 'echo a=1 > $JOBSHOP_OUTPUT; exit 3' }
  rest:
    needs: [bad]
    join: all_done
    when: tasks.bad.outputs == {}
    uses: builtin/noop
",
        )
        .await;
    assert_eq!(state, SessionState::Failed);
    let rows = fleet.rows(session).await;
    let of = |seq: i32| rows.iter().find(|row| row.seq == seq).expect("a row");
    assert_eq!(of(1).output, Some(json!({"a": "1", "exit_code": 3})));
    assert_eq!(of(2).state, TaskState::Completed);
    assert_eq!(of(4).output, Some(json!({"exit_code": 4})));
    assert_eq!((of(5).state, &of(5).output), (TaskState::Failed, &None));
    assert_eq!(of(6).state, TaskState::Completed);
    truth::check(fleet.db.pool()).await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_tasks_are_told_the_same_start_of_their_session() {
    let mut fleet = Fleet::new(LAUNCHER).await;
    fleet.worker();
    fleet.worker();
    let (session, state) = fleet
        .run(
            "
version: 1
name: started
timeout: 10m
env: { AT: '${{ session.started_at }}' }
defaults: { timeout: 1m }
tasks:
  a: { run: 'echo at=$AT > $JOBSHOP_OUTPUT' }
  b: { run: 'echo at=$AT > $JOBSHOP_OUTPUT' }
  c: { needs: [a, b], run: 'echo at=$AT > $JOBSHOP_OUTPUT' }
  d: { when: session.started_at != none, uses: builtin/noop }
",
        )
        .await;
    assert_eq!(state, SessionState::Completed);
    let rows = fleet.rows(session).await;
    let told: Vec<_> =
        rows.iter().take(3).map(|row| row.output.as_ref().unwrap()["at"].clone()).collect();
    let stored: String = sqlx::query_scalar(
        "select to_char(date_trunc('milliseconds', started_at) at time zone 'utc',
                        'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')
           from session_progress where session_id = $1 and timed is false",
    )
    .bind(session.id.0)
    .fetch_one(fleet.db.pool())
    .await
    .unwrap();
    assert_eq!(told, [stored.as_str(); 3]);
    assert_eq!(rows[3].state, TaskState::Completed);
    truth::check(fleet.db.pool()).await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_that_cannot_be_stored_is_a_failure_like_any_other() {
    let mut fleet = Fleet::new(LAUNCHER).await;
    sqlx::query(
        "alter table tasks add constraint poison check (output ->> 'a' is distinct from 'poison')",
    )
    .execute(fleet.db.pool())
    .await
    .unwrap();
    fleet.worker();
    let (session, state) = fleet
        .run(
            "
version: 1
name: poison
tasks:
  a:
    run: 'echo a=poison > $JOBSHOP_OUTPUT'
    retry: { max_attempts: 2, initial: 10ms }
  b: { run: 'echo a=food > $JOBSHOP_OUTPUT' }
",
        )
        .await;
    assert_eq!(state, SessionState::Failed);
    let rows = fleet.rows(session).await;
    assert_eq!((rows[0].state, rows[0].attempt, rows[0].failures), (TaskState::Failed, 2, 2));
    let error = rows[0].error.as_ref().unwrap();
    assert_eq!(error, &json!({"class": "error", "message": "the outcome could not be stored"}));
    assert_eq!(rows[1].state, TaskState::Completed);
    truth::check(fleet.db.pool()).await;
    fleet.stop().await;
}
