//! Pausing, resuming, starting, and ending by hand.

use std::time::Duration;

use jobshop_engine::store::workers::{self, Standing};
use jobshop_engine::task::{Reason, TaskState};
use jobshop_tests::stage::{ended_as, failed, released, retried, succeeded};
use serde_json::json;

use crate::stand::{CHAIN, Stand};

#[tokio::test]
async fn nothing_of_a_paused_session_starts_until_it_is_resumed() {
    let mut stand = Stand::new().await;
    let id = stand.submit(CHAIN).await;
    let session = stand.acts(&id, "pause").await;
    assert_eq!(session["status"], "paused");
    assert!(session["status_reason"].as_str().unwrap().starts_with("paused by "));
    assert_eq!(stand.claim().await.len(), 0, "a claim looks at the session itself");
    stand.settle().await;
    let task = stand.task(&id, "a").await;
    assert_eq!(
        (&task["status"], &task["status_reason"]),
        (&json!("paused"), &json!("session_paused"))
    );
    let event = stand.event(&id, "session.paused").await;
    assert_eq!(event["data"]["reason"], "because");
    assert!(event["actor"].is_string());
    let why = stand.why(&id).await;
    assert_eq!(why["reasons"][0]["code"], "session_paused");
    assert!(why["summary"].as_str().unwrap().contains("because"), "{why}");
    let detail = stand.act(&id, "pause").await;
    assert_eq!(detail.problem(409, "illegal_move"), "a paused session cannot become paused");

    assert_eq!(stand.acts(&id, "resume").await["status"], "queued");
    stand.act(&id, "resume").await.problem(409, "not_paused");
    stand.work().await;
    assert_eq!(stand.status(&id).await, "completed");
}

#[tokio::test]
async fn what_runs_in_a_paused_session_is_recorded_and_frees_nothing() {
    let mut stand = Stand::new().await;
    let id = stand.submit(CHAIN).await;
    let a = stand.claim_one().await;
    stand.acts(&id, "pause").await;
    stand.settle().await;
    assert!(stand.ends(succeeded(a.fence)).await);
    assert_eq!(stand.tasks(&id).await, ["a completed", "b paused"]);
    assert_eq!(stand.claim().await.len(), 0);
    assert_eq!(stand.acts(&id, "resume").await["status"], "running");
    stand.settle().await;
    let b = stand.claim_one().await;
    stand.acts(&id, "pause").await;
    assert!(stand.ends(succeeded(b.fence)).await);
    stand.settle().await;
    assert_eq!(stand.status(&id).await, "paused", "it ends when it is resumed");
    stand.acts(&id, "resume").await;
    stand.settle().await;
    assert_eq!(stand.status(&id).await, "completed");
}

#[tokio::test]
async fn what_is_handed_back_in_a_paused_session_is_paused() {
    let mut stand = Stand::new().await;
    let id = stand.submit(CHAIN).await;
    let a = stand.claim_one().await;
    stand.acts(&id, "pause").await;
    assert!(stand.ends(released(a.fence)).await);
    assert_eq!(stand.tasks(&id).await, ["a paused", "b pending"]);
    stand.acts(&id, "resume").await;
    stand.work().await;
    assert_eq!(stand.status(&id).await, "completed");
}

#[tokio::test]
async fn a_session_that_is_not_started_stays_pending() {
    let mut stand = Stand::new().await;
    let id = stand.create(json!({ "definition": CHAIN, "start": false })).await;
    assert_eq!(stand.status(&id).await, "pending");
    stand.settle().await;
    assert_eq!(stand.claim().await.len(), 0);
    assert_eq!(stand.why(&id).await["reasons"][0]["code"], "session_pending");
    stand.act(&id, "stop").await.problem(409, "illegal_move");
    stand.act(&id, "complete").await.problem(409, "illegal_move");
    assert_eq!(stand.acts(&id, "start").await["status"], "queued");
    stand.act(&id, "start").await.problem(409, "not_pending");
    stand.work().await;
    assert_eq!(stand.status(&id).await, "completed");

    let paused = stand.create(json!({ "definition": CHAIN, "start": false })).await;
    stand.acts(&paused, "pause").await;
    stand.acts(&paused, "resume").await;
    stand.work().await;
    assert_eq!(stand.status(&paused).await, "completed");

    let failed = stand.create(json!({ "definition": CHAIN, "start": false })).await;
    assert_eq!(stand.acts(&failed, "fail").await["status"], "failed");
    stand.settle().await;
    assert_eq!(stand.tasks(&failed).await, ["a cancelled", "b cancelled"]);
}

#[tokio::test]
async fn a_paused_task_waits_while_the_rest_goes_on() {
    let mut stand = Stand::new().await;
    let id = stand.submit(CHAIN).await;
    let task = stand.acts(&id, "tasks/b/pause").await;
    assert_eq!((&task["status"], &task["status_reason"]), (&json!("paused"), &json!("paused")));
    stand.work().await;
    assert_eq!(stand.tasks(&id).await, ["a completed", "b paused"]);
    let why = stand.why(&id).await;
    assert!(why["summary"].as_str().unwrap().contains("(because)"), "{why}");
    stand.act(&id, "tasks/a/pause").await.problem(409, "illegal_move");
    assert_eq!(stand.acts(&id, "tasks/b/resume").await["status"], "ready");
    stand.act(&id, "tasks/b/resume").await.problem(409, "task_not_paused");
    stand.work().await;
    assert_eq!(stand.status(&id).await, "completed");
}

#[tokio::test]
async fn a_ready_a_sleeping_and_a_pending_task_go_on_from_where_they_were() {
    let definition = "
version: 1
name: three
tasks:
  ready: { uses: builtin/noop }
  nap: { sleep: 1h }
  guarded: { needs: [ready], when: 'true', uses: builtin/noop }
";
    let mut stand = Stand::new().await;
    let id = stand.submit(definition).await;
    stand.settle().await;
    for task in ["ready", "nap", "guarded"] {
        stand.acts(&id, &format!("tasks/{task}/pause")).await;
    }
    assert_eq!(stand.claim().await.len(), 0);
    stand.app.db.advance(std::time::Duration::from_hours(2)).await;
    stand.settle().await;
    assert_eq!(stand.tasks(&id).await, ["ready paused", "nap paused", "guarded paused"]);
    assert_eq!(stand.acts(&id, "tasks/ready/resume").await["status"], "ready");
    assert_eq!(stand.acts(&id, "tasks/nap/resume").await["status"], "blocked");
    stand.player = None;
    stand.work().await;
    assert_eq!(stand.tasks(&id).await, ["ready completed", "nap completed", "guarded paused"]);
    assert_eq!(stand.acts(&id, "tasks/guarded/resume").await["status"], "pending");
    stand.work().await;
    assert_eq!(stand.status(&id).await, "completed");
}

#[tokio::test]
async fn what_is_in_a_paused_group_waits_too() {
    let definition = "
version: 1
name: grouped
tasks:
  all:
    for_each: [1, 2]
    tasks:
      one: { uses: builtin/noop }
      two: { needs: [one], uses: builtin/noop }
";
    let mut stand = Stand::new().await;
    let id = stand.submit(definition).await;
    stand.settle().await;
    let held = stand.claim().await;
    assert_eq!(held.len(), 2);
    stand.acts(&id, "tasks/all/pause").await;
    for held in &held {
        assert!(stand.ends(succeeded(held.fence)).await);
    }
    stand.settle().await;
    assert_eq!(stand.claim().await.len(), 0);
    stand.acts(&id, "tasks/all/resume").await;
    stand.work().await;
    assert_eq!(stand.status(&id).await, "completed");
}

#[tokio::test]
async fn a_stopped_session_lets_what_runs_come_to_its_end() {
    let mut stand = Stand::new().await;
    let id = stand.submit(CHAIN).await;
    let a = stand.claim_one().await;
    let session = stand.acts(&id, "stop").await;
    assert_eq!(session["status_reason"], "ending");
    stand.act(&id, "pause").await.problem(409, "still_stopping");
    stand.act(&id, "stop").await.problem(409, "still_stopping");
    stand.settle().await;
    assert_eq!(stand.tasks(&id).await, ["a in_progress", "b cancelled"]);
    assert_eq!(stand.task(&id, "b").await["status_reason"], "session_stopped");
    let standings = workers::standings(&stand.app.store.pool, &[a.fence]).await.unwrap();
    assert_eq!(standings, [Standing::Stopping]);
    assert!(stand.ends(ended_as(a.fence, TaskState::Cancelled, Reason::SessionStopped)).await);
    stand.settle().await;
    let session = stand.session(&id).await;
    assert_eq!(session["status"], "stopped");
    assert!(session["error"]["message"].as_str().unwrap().contains("because"), "{session}");
    let asked = stand.event(&id, "session.ending").await;
    assert_eq!(
        (&asked["data"]["result"], &asked["data"]["reason"]),
        (&json!("stopped"), &json!("because"))
    );
    stand.acts(&id, "retry").await;
    stand.work().await;
    assert_eq!(stand.status(&id).await, "completed");
}

#[tokio::test]
async fn a_session_is_completed_or_failed_by_hand() {
    let definition = "
version: 1
name: promising
tasks:
  a: { uses: builtin/noop }
  b: { needs: [a], run: 'true', outputs: { type: object, properties: { x: {} } } }
outputs: { it: '${{ tasks.b.outputs.x }}' }
";
    let mut stand = Stand::new().await;
    for (act, status) in [("complete", "completed"), ("fail", "failed")] {
        let id = stand.submit(definition).await;
        let a = stand.claim_one().await;
        stand.player.as_ref().unwrap().note(&[(a.fence, 5)]).await;
        stand.acts(&id, act).await;
        stand.settle().await;
        assert_eq!(stand.status(&id).await, status);
        assert_eq!(stand.task(&id, "a").await["status_reason"], "ended_by_hand");
        assert!(!stand.ends(succeeded(a.fence)).await, "the attempt is void");
    }
    let queued = stand.submit(CHAIN).await;
    let detail = stand.act(&queued, "complete").await;
    assert_eq!(detail.problem(409, "illegal_move"), "a queued session cannot become completed");
}

#[tokio::test]
async fn an_allowed_failure_does_not_take_back_that_somebody_completed_the_session() {
    let definition = "
version: 1
name: nearly
tasks:
  a: { uses: builtin/noop, continue_on_failure: true }
  b: { needs: [a], uses: builtin/noop }
finally:
  last: { uses: builtin/noop }
";
    let mut stand = Stand::new().await;
    let id = stand.submit(definition).await;
    stand.settle().await;
    let a = stand.claim_one().await;
    assert!(stand.ends(failed(a.fence)).await);
    stand.acts(&id, "complete").await;
    stand.settle().await;
    let last = stand.claim_one().await;
    assert!(stand.ends(succeeded(last.fence)).await);
    stand.settle().await;
    assert_eq!(stand.status(&id).await, "completed");
    assert_eq!(stand.tasks(&id).await, ["a failed", "b cancelled", "last completed"]);
}

#[tokio::test]
async fn finally_runs_after_a_stop_and_compensation_before_it() {
    let definition = "
version: 1
name: tidy
tasks:
  a: { uses: builtin/noop, compensate: { uses: builtin/noop } }
  b: { needs: [a], uses: builtin/noop }
finally:
  last: { uses: builtin/noop }
";
    let mut stand = Stand::new().await;
    let id = stand.submit(definition).await;
    let a = stand.claim_one().await;
    assert!(stand.ends(succeeded(a.fence)).await);
    stand.acts(&id, "pause").await;
    stand.acts(&id, "stop").await;
    stand.work().await;
    let session = stand.session(&id).await;
    assert_eq!(session["status"], "stopped", "{session}");
    let tasks = stand.tasks(&id).await;
    assert!(tasks.contains(&"last completed".to_owned()), "{tasks:?}");
    assert!(tasks.contains(&"b cancelled".to_owned()), "{tasks:?}");
    assert_eq!(session["counts"]["completed"], 3, "{tasks:?}");
}

#[tokio::test]
async fn a_deleted_session_is_hidden_until_it_is_restored() {
    let mut stand = Stand::new().await;
    let id = stand.submit(CHAIN).await;
    let path = format!("/api/v1/sessions/{id}");
    let delete = async |stand: &Stand| {
        jobshop_tests::Answer::of(stand.app.request(reqwest::Method::DELETE, &path)).await
    };
    delete(&stand).await.problem(409, "not_ended");
    stand.work().await;
    assert_eq!(delete(&stand).await.status, 200);
    stand.app.get(&path).await.problem(404, "session_not_found");
    let all = stand.app.get("/api/v1/sessions").await.json;
    assert_eq!(all["items"], json!([]));
    let tail = &id[id.len() - 8..];
    assert_eq!(stand.acts(tail, "restore").await["id"], id.as_str());
    stand.act(tail, "restore").await.problem(409, "not_deleted");
    assert_eq!(stand.status(&id).await, "completed");
    assert!(stand.event(&id, "session.deleted").await["actor"].is_string());
}

#[tokio::test]
async fn sessions_are_listed_by_type_and_age() {
    let stand = Stand::new().await;
    let id = stand.submit(&format!("{CHAIN}\ntype: review")).await;
    stand.submit(CHAIN).await;
    let ids = async |query: &str| {
        let page = stand.app.get(&format!("/api/v1/sessions?{query}")).await.json;
        page["items"].as_array().unwrap().len()
    };
    assert_eq!(ids("type=review").await, 1);
    assert_eq!(ids("since=2020-01-01T00:00:00Z").await, 2);
    assert_eq!(ids("since=2999-01-01T00:00:00Z").await, 0);
    let tree = stand.app.get(&format!("/api/v1/sessions/{id}/tree")).await.json;
    assert_eq!((&tree["id"], &tree["children"]), (&json!(id), &json!([])));
}

#[tokio::test]
async fn a_failing_task_under_a_pause_is_retried_after_it() {
    let mut stand = Stand::new().await;
    let id = stand.submit(CHAIN).await;
    let a = stand.claim_one().await;
    stand.acts(&id, "pause").await;
    assert!(stand.ends(failed(a.fence)).await);
    stand.settle().await;
    stand.acts(&id, "resume").await;
    stand.settle().await;
    assert_eq!(stand.status(&id).await, "failed");
}

#[tokio::test]
async fn what_fails_in_a_paused_group_is_tried_again_when_the_group_goes_on() {
    let definition = "
version: 1
name: grouped
tasks:
  all:
    for_each: [1, 2]
    tasks:
      one: { uses: builtin/noop, retry: { max_attempts: 3, initial: 1s } }
";
    let mut stand = Stand::new().await;
    let id = stand.submit(definition).await;
    stand.settle().await;
    let held = stand.claim().await;
    stand.acts(&id, "tasks/all/pause").await;
    for held in &held {
        assert!(stand.ends(retried(held.fence, Duration::ZERO)).await);
    }
    stand.settle().await;
    assert_eq!(stand.claim().await.len(), 0);
    let paused =
        ["all paused", "all[0] paused", "all[1] paused", "all[0].one paused", "all[1].one paused"];
    let mut tasks = stand.tasks(&id).await;
    tasks.sort_unstable();
    let mut wanted = paused.map(str::to_owned);
    wanted.sort_unstable();
    assert_eq!(tasks, wanted);
    stand.acts(&id, "tasks/all/resume").await;
    stand.settle().await;
    let again = stand.claim().await;
    assert_eq!(again.iter().map(|held| held.fence.attempt).collect::<Vec<_>>(), [2, 2]);
    for held in &again {
        assert!(stand.ends(succeeded(held.fence)).await);
    }
    stand.work().await;
    assert_eq!(stand.status(&id).await, "completed");
}

#[tokio::test]
async fn a_group_that_is_paused_with_its_session_stays_so_when_the_session_goes_on() {
    let definition = "
version: 1
name: grouped
tasks:
  all:
    tasks:
      one: { uses: builtin/noop }
      two: { uses: builtin/noop }
  other: { uses: builtin/noop }
";
    let mut stand = Stand::new().await;
    let id = stand.submit(definition).await;
    stand.settle().await;
    stand.acts(&id, "pause").await;
    stand.settle().await;
    stand.acts(&id, "tasks/all/pause").await;
    stand.acts(&id, "resume").await;
    stand.work().await;
    assert_eq!(
        stand.tasks(&id).await,
        ["all paused", "all.one paused", "all.two paused", "other completed"]
    );
    stand.acts(&id, "tasks/all/resume").await;
    stand.work().await;
    assert_eq!(stand.status(&id).await, "completed");
}

#[tokio::test]
async fn what_is_paused_in_a_group_that_never_begins_is_skipped_with_it() {
    let definition = "
version: 1
name: never
tasks:
  a: { uses: builtin/noop }
  all:
    needs: [a]
    tasks:
      one: { uses: builtin/noop }
      inner: { tasks: { two: { uses: builtin/noop } } }
";
    let mut stand = Stand::new().await;
    let id = stand.submit(definition).await;
    stand.acts(&id, "tasks/all.inner/pause").await;
    let a = stand.claim_one().await;
    assert!(stand.ends(failed(a.fence)).await);
    stand.settle().await;
    assert_eq!(
        stand.tasks(&id).await,
        [
            "a failed",
            "all skipped",
            "all.one skipped",
            "all.inner skipped",
            "all.inner.two skipped"
        ]
    );
    assert_eq!(stand.status(&id).await, "failed");
    jobshop_tests::truth::check(stand.app.db.pool()).await;
}
