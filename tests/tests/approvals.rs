//! Tasks that ask people: who may decide, what a decision does, and that exactly one of two things
//! at once happens.

#![expect(clippy::unwrap_used, reason = "an accident is a failed test")]

use std::time::Duration;

use futures::future::join_all;
use jobshop_tests::{TestApp, wait};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(20);

/// A workflow with one approval and a task behind it.
fn workflow(approval: &str, more: &str) -> String {
    format!(
        "version: 1\nname: ship\ninputs:\n  goal: {{ default: it }}\ntasks:\n  \
         ask: {{ approval: {approval}{more} }}\n  \
         go: {{ needs: [ask], uses: builtin/noop }}\n\
         outputs: {{ by: \"${{{{ tasks.ask.outputs.by }}}}\" }}\n"
    )
}

/// The open approvals of the session, once there are so many.
async fn open(app: &TestApp, session: &str, count: usize) -> Vec<Value> {
    let path = format!("/api/v1/approvals?session={session}");
    wait::until("open approvals", LIMIT, async || {
        let items = app.get(&path).await.json["items"].as_array().cloned()?;
        (items.len() == count).then_some(items)
    })
    .await
}

async fn started(definition: &str) -> (TestApp, String) {
    let mut app = TestApp::new().await;
    app.start();
    let id = app.submit(definition).await["id"].as_str().unwrap().to_owned();
    (app, id)
}

async fn asked(definition: &str) -> (TestApp, String, String) {
    let (app, session) = started(definition).await;
    let approval = open(&app, &session, 1).await[0]["id"].as_str().unwrap().to_owned();
    (app, session, approval)
}

fn vote(id: &str, verb: &str) -> String {
    format!("/api/v1/approvals/{id}/{verb}")
}

async fn task(app: &TestApp, session: &str, key: &str) -> Value {
    app.get(&format!("/api/v1/sessions/{session}/tasks/{key}")).await.json
}

/// The events about approvals and the end of the task, as `kind actor`.
async fn told(app: &TestApp, session: &str) -> Vec<String> {
    let events = app.get(&format!("/api/v1/sessions/{session}/events")).await.json;
    let told = |event: &Value| {
        let kind = event["kind"].as_str().unwrap();
        let is_told = kind.starts_with("approval.") || event["task"] == "ask";
        is_told.then(|| format!("{kind} {}", event["actor"].as_str().unwrap_or("-")))
    };
    events["items"].as_array().unwrap().iter().filter_map(told).collect()
}

#[tokio::test]
async fn who_is_asked_decides_and_the_session_goes_on() {
    let (app, session, id) =
        asked(&workflow("{ from: [lead], message: \"Ship ${{ inputs.goal }}?\" }", "")).await;
    let anna = app.key("anna", "operator", "default").await;
    let lead = app.key("lead", "operator", "default").await;
    let approval = app.get(&format!("/api/v1/approvals/{}", &id[28..])).await.json;
    assert_eq!(approval["message"], "Ship it?");
    assert_eq!((&approval["session_id"], &approval["task"]), (&json!(session), &json!("ask")));
    assert_eq!((&approval["from"], &approval["quorum"]), (&json!(["lead"]), &json!(1)));
    assert_eq!((&approval["status"], &approval["expires_at"]), (&json!("open"), &Value::Null));
    let waiting = task(&app, &session, "ask").await;
    assert_eq!(waiting["kind"], "approval");
    assert_eq!(
        (&waiting["status"], &waiting["status_reason"], &waiting["agent"]),
        (&json!("blocked"), &json!("approval"), &Value::Null)
    );
    let why = app.get(&format!("/api/v1/sessions/{session}/why?task=go")).await.json;
    assert_eq!(why["waits_for_people"], true);
    let reason = &why["reasons"][1];
    assert_eq!((&reason["code"], &reason["data"]["from"]), (&json!("approval"), &json!(["lead"])));
    let message = reason["message"].as_str().unwrap();
    assert!(message.contains("by `lead`: 0 of 1 so far"), "{message}");

    anna.post(&vote(&id, "approve"), &json!({})).await.problem(403, "not_a_decider");
    let done = lead.post(&vote(&id, "approve"), &json!({ "comment": "well done" })).await.json;
    assert_eq!(done["status"], "approved");
    assert_eq!(done["votes"][0]["by"], "lead");
    let ended = app.until_status(&session, "completed").await;
    assert_eq!(ended["outputs"], json!({ "by": "lead" }));
    let outputs = json!({ "decision": "approve", "by": "lead", "comment": "well done" });
    assert_eq!(task(&app, &session, "ask").await["outputs"], outputs);
    assert_eq!(
        told(&app, &session).await,
        ["task.blocked -", "approval.requested -", "approval.approved lead", "task.completed lead"]
    );
    lead.post(&vote(&id, "approve"), &json!({})).await.problem(409, "approval_ended");
    lead.post(&vote("ffffff", "approve"), &json!({})).await.problem(404, "approval_not_found");
    app.stop().await;
}

#[tokio::test]
async fn a_quorum_counts_each_key_once_and_a_role_may_be_asked() {
    let (app, session, id) = asked(&workflow("{ from: [operator], quorum: 2 }", "")).await;
    let anna = app.key("anna", "operator", "default").await;
    let bert = app.key("bert", "admin", "default").await;
    let carl = app.key("carl", "viewer", "default").await;
    carl.post(&vote(&id, "approve"), &json!({})).await.problem(403, "forbidden");
    for _ in 0..2 {
        let open = anna.post(&vote(&id, "approve"), &json!({})).await.json;
        assert_eq!((&open["status"], open["votes"].as_array().unwrap().len()), (&json!("open"), 1));
    }
    assert_eq!(bert.post(&vote(&id, "approve"), &json!({})).await.json["status"], "approved");
    let ended = app.until_status(&session, "completed").await;
    assert_eq!(ended["outputs"], json!({ "by": "anna, bert" }));
    app.stop().await;
}

#[tokio::test]
async fn a_rejection_fails_the_task_and_a_retry_asks_again() {
    let (app, session, id) = asked(&workflow("{}", "")).await;
    let anna = app.key("anna", "operator", "default").await;
    anna.post(&vote(&id, "reject"), &json!({ "comment": "not yet" })).await;
    let failed = app.until_status(&session, "failed").await;
    assert_eq!(failed["error"]["class"], "rejected");
    let ask = task(&app, &session, "ask").await;
    assert_eq!(ask["error"]["message"], "rejected by anna: not yet");
    assert_eq!(task(&app, &session, "go").await["status_reason"], "upstream_failed");
    app.post(&format!("/api/v1/sessions/{session}/retry"), &json!({})).await;
    let again = open(&app, &session, 1).await[0]["id"].as_str().unwrap().to_owned();
    assert_ne!(again, id);
    anna.post(&vote(&id, "approve"), &json!({})).await.problem(409, "approval_ended");
    anna.post(&vote(&again, "approve"), &json!({})).await;
    app.until_status(&session, "completed").await;
    app.stop().await;
}

#[tokio::test]
async fn a_workflow_may_go_on_after_a_rejection() {
    let (app, session, id) = asked(&workflow("{ on_reject: continue }", "")).await;
    app.post(&vote(&id, "reject"), &json!({})).await;
    let ended = app.until_status(&session, "completed").await;
    assert_eq!(ended["outputs"], json!({ "by": "admin" }));
    assert_eq!(task(&app, &session, "ask").await["outputs"]["decision"], "reject");
    app.stop().await;
}

#[tokio::test]
async fn who_submitted_may_be_kept_from_deciding() {
    let (app, session, id) = asked(&workflow("{ no_self_approval: true }", "")).await;
    app.post(&vote(&id, "approve"), &json!({})).await.problem(403, "self_approval");
    let anna = app.key("anna", "operator", "default").await;
    assert_eq!(anna.post(&vote(&id, "approve"), &json!({})).await.json["status"], "approved");
    app.until_status(&session, "completed").await;
    app.stop().await;
}

#[tokio::test]
async fn when_nobody_decides_in_time_the_workflow_does() {
    for (on_timeout, status, decision) in
        [("approve", "completed", "approve"), ("reject", "failed", "reject")]
    {
        let approval = format!("{{ on_timeout: {on_timeout} }}");
        let (app, session, id) = asked(&workflow(&approval, ", timeout: 1h")).await;
        let expires = app.get(&format!("/api/v1/approvals/{id}")).await.json["expires_at"].clone();
        assert!(expires.is_string(), "{expires}");
        app.db.advance(Duration::from_mins(61)).await;
        app.until_status(&session, status).await;
        let ask = task(&app, &session, "ask").await;
        assert_eq!(
            (&ask["outputs"]["decision"], &ask["outputs"]["by"]),
            (&json!(decision), &json!("timeout"))
        );
        let path = format!("/api/v1/approvals?status=expired&session={session}");
        assert_eq!(app.get(&path).await.json["items"][0]["id"], id);
        app.post(&vote(&id, "approve"), &json!({})).await.problem(409, "approval_ended");
        assert_eq!(told(&app, &session).await[2], "approval.expired -");
        app.stop().await;
    }
}

#[tokio::test]
async fn an_escalated_approval_is_decided_by_any_admin_alone() {
    let approval = "{ from: [a, b], quorum: 2, on_timeout: escalate }";
    let (app, session, id) = asked(&workflow(approval, ", timeout: 1h")).await;
    app.post(&vote(&id, "approve"), &json!({})).await.problem(403, "not_a_decider");
    app.db.advance(Duration::from_mins(61)).await;
    wait::until("the escalation", LIMIT, async || {
        let found = app.get(&format!("/api/v1/approvals/{id}")).await.json;
        found["escalated_at"].is_string().then_some(())
    })
    .await;
    let why = app.get(&format!("/api/v1/sessions/{session}/why")).await.json;
    assert!(why["summary"].as_str().unwrap().contains("any admin alone"), "{why}");
    assert_eq!(app.post(&vote(&id, "approve"), &json!({})).await.json["status"], "approved");
    app.until_status(&session, "completed").await;

    let (second, id) = {
        let made = app.submit(&workflow(approval, ", timeout: 1h")).await;
        let session = made["id"].as_str().unwrap().to_owned();
        let id = open(&app, &session, 1).await[0]["id"].as_str().unwrap().to_owned();
        (session, id)
    };
    app.db.advance(Duration::from_mins(61)).await;
    wait::until("the escalation", LIMIT, async || {
        let found = app.get(&format!("/api/v1/approvals/{id}")).await.json;
        found["escalated_at"].is_string().then_some(())
    })
    .await;
    app.db.advance(Duration::from_mins(61)).await;
    app.until_status(&second, "failed").await;
    assert_eq!(
        told(&app, &second).await[2..],
        ["approval.escalated -", "approval.expired -", "task.failed -"]
    );
    app.stop().await;
}

#[tokio::test]
async fn each_item_of_a_fan_out_asks_for_itself() {
    let (app, session) = started(
        "version: 1\nname: fan\ntasks:\n  each:\n    for_each: [a, b, c]\n    \
         key: ${{ item }}\n    tasks:\n      \
         ask: { approval: { message: \"${{ item }}?\" } }\n      \
         go: { needs: [ask], uses: builtin/noop }\n\
         outputs: { done: \"${{ tasks.each.completed }}\" }\n",
    )
    .await;
    let approvals = open(&app, &session, 3).await;
    let messages: Vec<&str> = approvals.iter().map(|it| it["message"].as_str().unwrap()).collect();
    assert_eq!(messages, ["a?", "b?", "c?"]);
    assert_eq!(approvals[1]["task"], "each[b].ask");
    for (approval, verb) in approvals.iter().zip(["approve", "reject", "approve"]) {
        app.post(&vote(approval["id"].as_str().unwrap(), verb), &json!({})).await;
    }
    app.until_status(&session, "failed").await;
    assert_eq!(task(&app, &session, "each%5Bb%5D").await["status"], "failed");
    assert_eq!(task(&app, &session, "each%5Bc%5D").await["status"], "completed");
    app.stop().await;
}

#[tokio::test]
async fn what_ends_the_task_otherwise_closes_the_approval() {
    let (app, session, id) = asked(&workflow("{}", "")).await;
    app.post(&format!("/api/v1/sessions/{session}/cancel"), &json!({})).await;
    open(&app, &session, 0).await;
    app.post(&vote(&id, "approve"), &json!({})).await.problem(409, "approval_ended");
    assert_eq!(app.get(&format!("/api/v1/approvals/{id}")).await.json["status"], "closed");

    let group = "version: 1\nname: g\ntasks:\n  all:\n    timeout: 1h\n    tasks:\n      \
                 ask: { approval: {} }\n";
    let made = app.submit(group).await;
    let session = made["id"].as_str().unwrap();
    let id = open(&app, session, 1).await[0]["id"].as_str().unwrap().to_owned();
    app.db.advance(Duration::from_mins(61)).await;
    app.until_status(session, "failed").await;
    app.post(&vote(&id, "approve"), &json!({})).await.problem(409, "approval_ended");
    // The janitor writes down what everybody sees already.
    wait::until("the approval is closed", LIMIT, async || {
        let kept: i16 = sqlx::query_scalar("select min(status) from approvals")
            .fetch_one(app.db.pool())
            .await
            .unwrap();
        (kept == 4).then_some(())
    })
    .await;
    app.stop().await;
}

#[tokio::test]
async fn of_many_votes_at_once_one_decides() {
    let (app, session, id) = asked(&workflow("{ quorum: 3 }", "")).await;
    let mut voters = Vec::new();
    for number in 0..12 {
        voters.push(app.key(&format!("k{number}"), "operator", "default").await);
    }
    let (path, body) = (vote(&id, "approve"), json!({}));
    let answers = join_all(voters.iter().map(|voter| voter.post(&path, &body))).await;
    let taken = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(taken, 3, "two open votes and the one that decides");
    for late in answers.iter().filter(|answer| answer.status != 200) {
        late.problem(409, "approval_ended");
    }
    app.until_status(&session, "completed").await;
    let told = told(&app, &session).await;
    assert_eq!(told.iter().filter(|it| it.starts_with("approval.approved")).count(), 3);
    assert_eq!(told.iter().filter(|it| it.starts_with("task.completed")).count(), 1);
    app.stop().await;
}

#[tokio::test]
async fn a_vote_against_a_cancel_or_the_timeout_has_one_result() {
    let mut app = TestApp::new().await;
    app.start();
    let definition = workflow("{ on_timeout: reject }", ", timeout: 1h");
    let body = json!({});
    for round in 0..12 {
        let made = app.submit(&definition).await;
        let session = made["id"].as_str().unwrap();
        let id = open(&app, session, 1).await[0]["id"].as_str().unwrap().to_owned();
        let approve = vote(&id, "approve");
        let voted = if round % 2 == 0 {
            let cancel = format!("/api/v1/sessions/{session}/cancel");
            let (voted, _) = tokio::join!(app.post(&approve, &body), app.post(&cancel, &body));
            voted
        } else {
            let (voted, ()) =
                tokio::join!(app.post(&approve, &body), app.db.advance(Duration::from_hours(1)));
            voted
        };
        let ask = wait::until("the end of the task", LIMIT, async || {
            let ask = task(&app, session, "ask").await;
            ["completed", "failed", "cancelled"]
                .contains(&ask["status"].as_str().unwrap())
                .then_some(ask)
        })
        .await;
        if voted.status == 200 {
            assert_eq!(ask["status"], "completed", "{ask}");
        } else {
            voted.problem(409, "approval_ended");
            assert_ne!(ask["status"], "completed", "{ask}");
        }
        let ends = told(&app, session).await;
        let ends = ends.iter().filter(|it| {
            ["task.completed", "task.failed", "task.cancelled"]
                .iter()
                .any(|end| it.starts_with(end))
        });
        assert_eq!(ends.count(), 1);
    }
    app.stop().await;
}
