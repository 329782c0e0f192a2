//! Retries with flags, and forks.

use jobshop_tests::stage::{failed, succeeded};
use serde_json::json;

use crate::stand::Stand;

const PLAN: &str = "
version: 1
name: planned
inputs:
  goal: { type: string, default: none }
tasks:
  plan:
    uses: builtin/noop
    outputs: { type: object, required: [n], properties: { n: { type: integer } } }
  build: { needs: [plan], uses: builtin/noop }
  ship: { needs: [build], uses: builtin/noop }
outputs: { goal: '${{ inputs.goal }}' }
";

/// A session in which `plan` succeeded and `build` failed.
async fn half_done(stand: &mut Stand) -> String {
    let id = stand.submit(PLAN).await;
    let plan = stand.claim_one().await;
    assert!(stand.ends(succeeded(plan.fence)).await);
    let build = stand.claim_one().await;
    assert!(stand.ends(failed(build.fence)).await);
    stand.settle().await;
    assert_eq!(stand.status(&id).await, "failed");
    id
}

#[tokio::test]
async fn a_retry_from_a_task_runs_all_that_needs_it_again_with_other_inputs() {
    let mut stand = Stand::new().await;
    let id = half_done(&mut stand).await;
    let wrong = stand.post(&id, "retry", json!({ "inputs": { "gaol": "x" } })).await;
    wrong.problem(422, "invalid_inputs");
    stand.post(&id, "retry", json!({ "from": ["nothing"] })).await.problem(404, "task_not_found");
    let body = json!({ "from": ["plan"], "inputs": { "goal": "other" }, "reason": "again" });
    let retried = stand.post(&id, "retry", body).await;
    assert_eq!(retried.status, 200, "{}", retried.text);
    assert_eq!(
        (&retried.json["retry"], &retried.json["inputs"]["goal"]),
        (&json!(1), &json!("other"))
    );
    assert_eq!(stand.tasks(&id).await, ["plan ready", "build pending", "ship pending"]);
    let event = stand.event(&id, "session.pending").await;
    assert_eq!(
        event["data"],
        json!({ "retry": 1, "from": ["plan"], "inputs": ["goal"], "reason": "again" })
    );
    stand.work().await;
    let session = stand.session(&id).await;
    assert_eq!(
        (&session["status"], &session["outputs"]["goal"]),
        (&json!("completed"), &json!("other"))
    );
    stand.post(&id, "retry", json!({ "from": ["plan"] })).await.problem(409, "illegal_move");
}

#[tokio::test]
async fn a_task_is_taken_as_completed_with_outputs_that_fit() {
    let mut stand = Stand::new().await;
    let id = half_done(&mut stand).await;
    let wrong = json!({ "set_output": { "plan": { "n": "text" } } });
    stand.post(&id, "retry", wrong).await.problem(422, "invalid_outputs");
    let body = json!({ "set_output": { "build": { "by": "hand" } } });
    let retried = stand.post(&id, "retry", body).await;
    assert_eq!(retried.status, 200, "{}", retried.text);
    assert_eq!(stand.tasks(&id).await, ["plan completed", "build completed", "ship ready"]);
    assert_eq!(stand.task(&id, "build").await["outputs"], json!({ "by": "hand" }));
    assert_eq!(stand.event(&id, "task.completed").await["data"]["by_hand"], true);
    stand.work().await;
    let session = stand.session(&id).await;
    assert_eq!(
        (&session["status"], &session["counts"]["completed"]),
        (&json!("completed"), &json!(3))
    );
}

#[tokio::test]
async fn a_task_is_left_out() {
    let mut stand = Stand::new().await;
    let id = half_done(&mut stand).await;
    let retried = stand.post(&id, "retry", json!({ "skip": ["build"] })).await;
    assert_eq!(retried.status, 200, "{}", retried.text);
    assert_eq!(stand.tasks(&id).await, ["plan completed", "build skipped", "ship ready"]);
    assert_eq!(stand.task(&id, "build").await["status_reason"], "skipped_by_hand");
    stand.post(&id, "retry", json!({ "skip": ["plan"] })).await.problem(409, "illegal_move");
    stand.work().await;
    assert_eq!(stand.status(&id).await, "completed");
}

#[tokio::test]
async fn only_the_failed_items_of_a_fan_out_run_again() {
    let definition = "
version: 1
name: items
tasks:
  first: { uses: builtin/noop }
  all:
    needs: [first]
    for_each: [x, y]
    key: ${{ item }}
    tasks: { one: { uses: builtin/noop } }
";
    let mut stand = Stand::new().await;
    let id = stand.submit(definition).await;
    let first = stand.claim_one().await;
    assert!(stand.ends(succeeded(first.fence)).await);
    stand.settle().await;
    let held = stand.claim().await;
    assert!(stand.ends(succeeded(held[0].fence)).await);
    assert!(stand.ends(failed(held[1].fence)).await);
    stand.settle().await;
    assert_eq!(stand.status(&id).await, "failed");
    let retried = stand.post(&id, "retry", json!({ "from": ["all"], "items": "failed" })).await;
    assert_eq!(retried.status, 200, "{}", retried.text);
    assert_eq!(stand.claim().await.len(), 1, "one item failed");
    stand.acts(&id, "cancel").await;

    let id = stand.submit(definition).await;
    let first = stand.claim_one().await;
    assert!(stand.ends(succeeded(first.fence)).await);
    stand.settle().await;
    for held in stand.claim().await {
        assert!(stand.ends(failed(held.fence)).await);
    }
    stand.settle().await;
    let retried = stand.post(&id, "retry", json!({ "from": ["first"] })).await;
    assert_eq!(retried.status, 200, "{}", retried.text);
    stand.work().await;
    let session = stand.session(&id).await;
    assert_eq!((&session["status"], &session["counts"]["total"]), (&json!("completed"), &json!(3)));
}

#[tokio::test]
async fn a_fork_shares_what_was_done_and_differs_after() {
    let mut stand = Stand::new().await;
    let id = half_done(&mut stand).await;
    let body = json!({ "at": "build", "inputs": { "goal": "forked" }, "reason": "to compare" });
    let forked = stand.post(&id, "fork", body).await;
    assert_eq!(forked.status, 201, "{}", forked.text);
    let fork = forked.json["id"].as_str().unwrap().to_owned();
    assert_eq!(forked.json["forked_from"], json!({ "session_id": id, "task": "build" }));
    assert_eq!(stand.tasks(&fork).await, ["plan completed", "build ready", "ship pending"]);
    let shared = stand.task(&fork, "plan").await;
    assert_eq!(shared["outputs"], stand.task(&id, "plan").await["outputs"]);
    stand.work().await;
    let session = stand.session(&fork).await;
    assert_eq!(
        (&session["status"], &session["outputs"]["goal"]),
        (&json!("completed"), &json!("forked"))
    );
    assert_eq!(session["counts"]["completed"], 3);
    assert_eq!(stand.status(&id).await, "failed", "the origin stays as it is");
    let event = stand.event(&fork, "session.queued").await;
    assert_eq!(
        (&event["data"]["forked_from"], &event["data"]["at"]),
        (&json!(id), &json!("build"))
    );

    let done = stand.post(&fork, "fork", json!({ "at": "plan" })).await;
    assert_eq!(done.status, 201, "a completed session can be forked: {}", done.text);
    let again = done.json["id"].as_str().unwrap().to_owned();
    stand.work().await;
    assert_eq!(stand.status(&again).await, "completed");
}

#[tokio::test]
async fn what_ran_in_a_group_that_a_retry_leaves_out_is_skipped() {
    let definition = "
version: 1
name: leaves-out
inputs: { all: { type: boolean, default: true } }
tasks:
  a: { uses: builtin/noop }
  group:
    needs: [a]
    when: inputs.all
    tasks:
      one: { uses: builtin/noop }
  bad: { needs: [group], uses: builtin/fail }
";
    let mut stand = Stand::new().await;
    let id = stand.submit(definition).await;
    for end in [succeeded, succeeded, failed] {
        stand.settle().await;
        let held = stand.claim_one().await;
        assert!(stand.ends(end(held.fence)).await);
    }
    stand.settle().await;
    assert_eq!(stand.status(&id).await, "failed");
    let body = json!({ "from": ["group"], "inputs": { "all": false } });
    let retried = stand.post(&id, "retry", body).await;
    assert_eq!(retried.status, 200, "{}", retried.text);
    stand.work().await;
    assert_eq!(
        stand.tasks(&id).await,
        ["a completed", "group skipped", "group.one skipped", "bad completed"]
    );
    assert_eq!(stand.status(&id).await, "completed");
    jobshop_tests::truth::check(stand.app.db.pool()).await;
}

#[tokio::test]
async fn what_fails_without_an_attempt_after_a_retry_is_told_of_no_attempt() {
    let mut stand = Stand::new().await;
    let when = "
version: 1
name: decided
inputs: { n: { type: integer, default: 2 } }
tasks:
  a: { when: 'inputs.n == 2 or inputs.n', uses: builtin/noop }
";
    let id = stand.submit(when).await;
    stand.settle().await;
    let a = stand.claim_one().await;
    assert!(stand.ends(failed(a.fence)).await);
    stand.settle().await;
    let retried = stand.post(&id, "retry", json!({ "inputs": { "n": 3 } })).await;
    assert_eq!(retried.status, 200, "{}", retried.text);
    stand.settle().await;
    assert_eq!(stand.status(&id).await, "failed");
    let events = stand.app.get(&format!("/api/v1/sessions/{id}/events")).await.json;
    let ends = events["items"].as_array().unwrap().iter();
    let ends: Vec<_> = ends.filter(|event| event["kind"] == "task.failed").collect();
    let attempts: Vec<_> = ends.iter().map(|event| &event["attempt"]).collect();
    assert_eq!(attempts, [&json!(1), &json!(null)]);
}

#[tokio::test]
async fn a_task_is_completed_by_hand_in_a_group_that_never_began() {
    let mut stand = Stand::new().await;
    let id = stand
        .submit(
            "
version: 1
name: behind
tasks:
  first: { uses: builtin/noop }
  group:
    needs: [first]
    tasks:
      plan: { uses: builtin/noop }
      build: { needs: [plan], uses: builtin/noop }
      check: { uses: builtin/noop }
",
        )
        .await;
    let first = stand.claim_one().await;
    assert!(stand.ends(failed(first.fence)).await);
    stand.settle().await;
    assert_eq!(stand.status(&id).await, "failed");
    let retried = stand.post(&id, "retry", json!({ "set_output": { "group.plan": {} } })).await;
    assert_eq!(retried.status, 200, "{}", retried.text);
    assert_eq!(
        stand.tasks(&id).await,
        [
            "first ready",
            "group pending",
            "group.plan completed",
            "group.build pending",
            "group.check pending"
        ]
    );
    stand.work().await;
    assert_eq!(stand.status(&id).await, "completed");
}
