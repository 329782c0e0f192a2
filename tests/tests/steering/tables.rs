//! The table of session states, row by row: every state is reached by a real scenario, and every act
//! that a person has is accepted exactly where the table has its move.

use std::time::Duration;

use jobshop_engine::{session::SessionState, store::control, task::TaskState};
use jobshop_tests::stage::{failed, succeeded};
use serde_json::json;

use crate::stand::{CHAIN, Stand};

const PICKY: &str = "
version: 1
name: picky
tasks: { a: { requires: [gpu], uses: builtin/noop } }
";
const ALLOWED: &str = "
version: 1
name: allowed
tasks: { a: { uses: builtin/noop, continue_on_failure: true } }
";
const SHORT: &str = "
version: 1
name: short
timeout: 1s
tasks: { a: { uses: builtin/noop } }
";
const PARENT: &str = "
version: 1
name: parent
tasks: { child: { uses: chain } }
";

/// A session in that state.
async fn reach(stand: &mut Stand, state: SessionState) -> String {
    use SessionState as S;
    let id = match state {
        S::Pending => return stand.create(json!({ "definition": CHAIN, "start": false })).await,
        S::Degraded => {
            let id = stand.submit(PICKY).await;
            control::watch_agents(&stand.app.store).await.unwrap();
            stand.app.db.advance(Duration::from_secs(61)).await;
            control::watch_agents(&stand.app.store).await.unwrap();
            return id;
        }
        S::PartiallyCompleted => stand.submit(ALLOWED).await,
        S::Timeout => stand.submit(SHORT).await,
        S::Orphaned => return orphan(stand).await,
        S::Queued
        | S::Running
        | S::Paused
        | S::Completed
        | S::Failed
        | S::Stopped
        | S::Cancelled => stand.submit(CHAIN).await,
    };
    stand.settle().await;
    match state {
        S::Running | S::Failed | S::PartiallyCompleted | S::Timeout => {
            let a = stand.claim_one().await;
            stand.player.as_ref().unwrap().note(&[(a.fence, 1)]).await;
            if state == S::Timeout {
                stand.app.db.advance(Duration::from_secs(2)).await;
                control::housekeep(&stand.app.store).await.unwrap();
            } else if state != S::Running {
                assert!(stand.ends(failed(a.fence)).await);
            }
        }
        S::Completed => {
            for _ in ["a", "b"] {
                let task = stand.claim_one().await;
                assert!(stand.ends(succeeded(task.fence)).await);
            }
        }
        S::Paused => drop(stand.acts(&id, "pause").await),
        S::Stopped => drop(stand.acts(&id, "stop").await),
        S::Cancelled => drop(stand.acts(&id, "cancel").await),
        S::Pending | S::Queued | S::Degraded | S::Orphaned => {}
    }
    stand.settle().await;
    id
}

/// The child of a session that was failed by hand.
async fn orphan(stand: &mut Stand) -> String {
    let applied = json!({ "definition": CHAIN });
    let answer = stand.app.post("/api/v1/workflows", &applied).await;
    assert!(answer.status.is_success(), "{}", answer.text);
    let parent = stand.submit(PARENT).await;
    stand.settle().await;
    let tree = stand.app.get(&format!("/api/v1/sessions/{parent}/tree")).await.json;
    let child = tree["children"][0]["id"].as_str().expect("a child").to_owned();
    assert_eq!(tree["children"][0]["task"], "child");
    // By hand a session is failed from any state but those that have ended.
    stand.acts(&parent, "fail").await;
    stand.settle().await;
    child
}

/// What each act leads to.
const ACTS: [(&str, SessionState); 6] = [
    ("pause", SessionState::Paused),
    ("stop", SessionState::Stopped),
    ("cancel", SessionState::Cancelled),
    ("complete", SessionState::Completed),
    ("fail", SessionState::Failed),
    ("retry", SessionState::Pending),
];

async fn check_row(from: SessionState) {
    let mut stand = Stand::new().await;
    for (act, to) in ACTS {
        stand.player = None;
        let id = reach(&mut stand, from).await;
        assert_eq!(stand.status(&id).await, from.as_str(), "before {act}");
        check_act(&mut stand, &id, from, (act, to)).await;
    }
    let id = reach(&mut stand, from).await;
    let resumed = stand.act(&id, "resume").await;
    if from == SessionState::Paused {
        assert_eq!(resumed.json["status"], "queued");
    } else {
        resumed.problem(409, "not_paused");
    }
    if from == SessionState::Pending {
        assert_eq!(stand.acts(&id, "start").await["status"], "queued");
    } else {
        stand.act(&id, "start").await.problem(409, "not_pending");
    }
    jobshop_tests::truth::check(stand.app.db.pool()).await;
}

/// The act is done where the table has its move, and refused with the table's reason elsewhere.
async fn check_act(
    stand: &mut Stand,
    id: &str,
    from: SessionState,
    (act, to): (&str, SessionState),
) {
    let answer = stand.act(id, act).await;
    // To cancel what is cancelled is what was asked for.
    let is_repeated = from == to && from == SessionState::Cancelled;
    if !from.successors().contains(&to) && !is_repeated {
        let says = format!("a {from} session cannot become {to}");
        assert_eq!(answer.problem(409, "illegal_move"), says, "{act}");
        assert_eq!(stand.status(id).await, from.as_str(), "{act} changes nothing");
        return;
    }
    assert_eq!(answer.status, 200, "{from} {act}: {}", answer.text);
    if act == "stop" && from == SessionState::Running {
        // What runs comes to its end first.
        let held = stand.task(id, "a").await;
        assert_eq!(held["status"], "in_progress");
        return;
    }
    stand.settle().await;
    let now = stand.status(id).await;
    if act == "retry" {
        // Pending is left in the transaction that enters it.
        assert_eq!(now, "queued");
        assert_eq!(stand.event(id, "session.pending").await["data"]["retry"], 1);
    } else {
        assert_eq!(now, to.as_str(), "{from} {act}");
    }
    let ended = stand.act(id, "cancel").await.status;
    assert!([200, 409].contains(&ended.as_u16()));
    stand.settle().await;
}

macro_rules! rows {
    ($($name:ident: $state:ident,)+) => {
        $(#[tokio::test]
        async fn $name() {
            check_row(SessionState::$state).await;
        })+
    };
}

rows! {
    from_pending: Pending,
    from_queued: Queued,
    from_running: Running,
    from_paused: Paused,
    from_degraded: Degraded,
    from_completed: Completed,
    from_partially_completed: PartiallyCompleted,
    from_failed: Failed,
    from_timeout: Timeout,
    from_stopped: Stopped,
    from_cancelled: Cancelled,
    from_orphaned: Orphaned,
}

#[tokio::test]
async fn a_task_is_paused_exactly_where_the_table_has_the_move() {
    let definition = "
version: 1
name: each
tasks:
  ready: { uses: builtin/noop }
  running: { uses: builtin/noop }
  blocked: { sleep: 1h }
  pending: { needs: [blocked], uses: builtin/noop }
  skipped: { when: 'false', uses: builtin/noop }
";
    let mut stand = Stand::new().await;
    let id = stand.submit(definition).await;
    stand.settle().await;
    let held = stand.claim().await;
    assert_eq!(held.len(), 2);
    assert!(stand.ends(jobshop_tests::stage::released(held[0].fence)).await);
    for task in ["ready", "running", "blocked", "pending", "skipped"] {
        let status = stand.task(&id, task).await["status"].clone();
        assert_eq!(status, if task == "running" { "in_progress" } else { task });
        let answer = stand.act(&id, &format!("tasks/{task}/pause")).await;
        if ["ready", "blocked", "pending"].contains(&task) {
            assert_eq!(answer.json["status"], "paused", "{}", answer.text);
            let again = stand.act(&id, &format!("tasks/{task}/pause")).await;
            assert_eq!(
                again.problem(409, "illegal_move"),
                "a task that is paused cannot become paused"
            );
        } else {
            let says = format!("a task that is {} cannot become paused", status.as_str().unwrap());
            assert_eq!(answer.problem(409, "illegal_move"), says);
        }
    }
    assert!(stand.ends(succeeded(held[1].fence)).await);
    stand.act(&id, "tasks/running/pause").await.problem(409, "illegal_move");
    stand.acts(&id, "cancel").await;
    stand.settle().await;
    stand.act(&id, "tasks/ready/pause").await.problem(409, "illegal_move");
    assert_eq!(stand.task(&id, "ready").await["status"], "cancelled");
}

/// A running session whose tasks are called as what they are, except the one that runs.
async fn one_of_each(stand: &mut Stand) -> String {
    let definition = "
version: 1
name: all
tasks:
  ready: { uses: builtin/noop }
  in_progress: { uses: builtin/noop }
  completed: { uses: builtin/noop }
  failed: { uses: builtin/noop, continue_on_failure: true }
  paused: { uses: builtin/noop }
  blocked: { sleep: 1h }
  pending: { needs: [blocked], uses: builtin/noop }
  skipped: { when: 'false', uses: builtin/noop }
";
    stand.player = None;
    let id = stand.submit(definition).await;
    stand.settle().await;
    stand.acts(&id, "tasks/paused/pause").await;
    for held in stand.claim().await {
        let fence = held.fence;
        let end = match fence.task.seq {
            1 => jobshop_tests::stage::released(fence),
            3 => succeeded(fence),
            4 => failed(fence),
            _ => continue,
        };
        assert!(stand.ends(end).await);
    }
    stand.settle().await;
    for task in stand.tasks(&id).await {
        let (key, status) = task.split_once(' ').unwrap();
        assert_eq!(key, status);
    }
    id
}

/// What a retry says of a task, as the flags of the command line do.
fn flags(task: &str) -> [(&'static str, serde_json::Value); 3] {
    [
        ("from", json!({ "from": [task] })),
        ("skip", json!({ "skip": [task] })),
        ("set_output", json!({ "set_output": { task: {} } })),
    ]
}

#[tokio::test]
async fn every_act_on_a_task_is_refused_where_the_table_has_no_such_move() {
    let mut stand = Stand::new().await;
    for state in TaskState::ALL {
        // Nobody is given a task that is not in progress at once.
        if matches!(state, TaskState::Assigned | TaskState::Cancelled) {
            continue;
        }
        let id = one_of_each(&mut stand).await;
        let resumed = stand.act(&id, &format!("tasks/{state}/resume")).await;
        if state == TaskState::Paused {
            assert_eq!(resumed.json["status"], "ready", "{}", resumed.text);
            stand.acts(&id, "tasks/paused/pause").await;
        } else {
            let says = format!("the task is {state}, not paused");
            assert_eq!(resumed.problem(409, "task_not_paused"), says);
        }
        for (flag, body) in flags(state.as_str()) {
            let says = "a running session cannot become pending";
            let answer = stand.post(&id, "retry", body).await;
            assert_eq!(answer.problem(409, "illegal_move"), says, "{flag}");
        }
        let paused = stand.act(&id, &format!("tasks/{state}/pause")).await;
        if state.successors().contains(&TaskState::Paused) {
            assert_eq!(paused.json["status"], "paused", "{}", paused.text);
        } else {
            let says = format!("a task that is {state} cannot become paused");
            assert_eq!(paused.problem(409, "illegal_move"), says);
            assert_eq!(stand.task(&id, state.as_str()).await["status"], state.as_str());
        }
        stand.acts(&id, "cancel").await;
        stand.settle().await;
    }
    jobshop_tests::truth::check(stand.app.db.pool()).await;
}

#[tokio::test]
async fn what_a_retry_says_of_a_task_is_done_or_refused_by_the_state_it_ended_in() {
    let mut stand = Stand::new().await;
    for (task, state) in [
        ("completed", "completed"),
        ("failed", "failed"),
        ("ready", "cancelled"),
        ("skipped", "skipped"),
    ] {
        for (flag, body) in flags(task) {
            let id = one_of_each(&mut stand).await;
            stand.acts(&id, "fail").await;
            stand.settle().await;
            assert_eq!(stand.task(&id, task).await["status"], state);
            for act in ["pause", "resume"] {
                let says = "a failed session cannot become paused";
                let refused = stand.act(&id, &format!("tasks/{task}/{act}")).await;
                assert_eq!(refused.problem(409, "illegal_move"), says, "{act} {state}");
            }
            let answer = stand.post(&id, "retry", body).await;
            if (flag, state) == ("skip", "completed") {
                let says = "a task that has completed cannot be skipped";
                assert_eq!(answer.problem(409, "not_possible"), says);
                assert_eq!(stand.status(&id).await, "failed");
                continue;
            }
            assert_eq!(answer.status, 200, "{flag} {state}: {}", answer.text);
            stand.settle().await;
            let now = stand.task(&id, task).await["status"].clone();
            let becomes = match flag {
                "skip" => "skipped",
                "set_output" => "completed",
                _ if state == "skipped" => "skipped",
                _ => "ready",
            };
            assert_eq!(now, becomes, "{flag} {state}");
            stand.acts(&id, "cancel").await;
            stand.settle().await;
        }
    }
    jobshop_tests::truth::check(stand.app.db.pool()).await;
}
