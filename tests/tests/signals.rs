//! Tasks that wait for a signal: sent before or after, fitting or not, once or twice.

#![expect(clippy::unwrap_used, reason = "an accident is a failed test")]

use std::time::Duration;

use futures::future::join_all;
use jobshop_tests::{Answer, TestApp, wait};
use reqwest::Method;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(20);

const DEPLOYED: &str = "
version: 1
name: deploy
tasks:
  wait:
    wait_for: deployed
    outputs: { type: object, required: [url], properties: { url: { type: string } } }
    timeout: 1h
  go: { needs: [wait], uses: builtin/noop }
outputs:
  url: ${{ tasks.wait.outputs.url }}
";

async fn started(definition: &str) -> (TestApp, String) {
    let mut app = TestApp::new().await;
    app.start();
    let id = app.submit(definition).await["id"].as_str().unwrap().to_owned();
    (app, id)
}

async fn send(app: &TestApp, session: &str, name: &str, data: Value) -> Answer {
    let path = format!("/api/v1/sessions/{session}/signals");
    app.post(&path, &json!({ "name": name, "data": data })).await
}

async fn task(app: &TestApp, session: &str, key: &str) -> Value {
    app.get(&format!("/api/v1/sessions/{session}/tasks/{key}")).await.json
}

async fn until_waiting(app: &TestApp, session: &str, key: &str) {
    wait::until("a task that waits for a signal", LIMIT, async || {
        (task(app, session, key).await["status_reason"] == "signal").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_signal_ends_the_wait_and_is_the_tasks_outputs() {
    let (app, session) = started(DEPLOYED).await;
    until_waiting(&app, &session, "wait").await;
    let why = app.get(&format!("/api/v1/sessions/{session}/why?task=wait")).await.json;
    assert_eq!(why["reasons"][0]["code"], "signal");
    assert_eq!(why["reasons"][0]["data"]["signal"], "deployed");
    assert!(why["summary"].as_str().unwrap().contains("jobshop session signal"), "{why}");

    send(&app, &session, "deployed", json!({ "url": 7 })).await.problem(422, "signal_misfit");
    send(&app, &session, "de ployed", json!({})).await.problem(400, "invalid_name");
    let robot = app.key("robot", "operator", "default").await;
    let path = format!("/api/v1/sessions/{session}/signals");
    let body = json!({ "name": "deployed", "data": { "url": "http://x" } });
    let sent = robot.post(&path, &body).await;
    assert_eq!(sent.status, 201);
    assert_eq!(sent.json, json!({ "number": 1, "name": "deployed", "task": "wait" }));
    let ended = app.until_status(&session, "completed").await;
    assert_eq!(ended["outputs"], json!({ "url": "http://x" }));
    let events = app.get(&format!("/api/v1/sessions/{session}/events")).await.json;
    let received: Vec<&Value> = events["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["kind"] == "signal.received")
        .collect();
    assert_eq!(received.len(), 1, "the refused one is no event");
    assert_eq!((&received[0]["actor"], &received[0]["task"]), (&json!("robot"), &json!("wait")));
    send(&app, &session, "deployed", json!({ "url": "x" })).await.problem(409, "session_ended");
    app.stop().await;
}

#[tokio::test]
async fn signals_sent_before_the_wait_are_kept_in_order_and_taken_once() {
    let (app, session) = started(
        "version: 1\nname: two\ntasks:\n  hold: { wait_for: go }\n  \
         first: { needs: [hold], wait_for: { signal: step } }\n  \
         second: { needs: [first], wait_for: step }\n  \
         third: { needs: [second], wait_for: step }\n",
    )
    .await;
    for number in [1, 2] {
        let kept = send(&app, &session, "step", json!({ "n": number })).await;
        assert_eq!((kept.status.as_u16(), &kept.json["task"]), (201, &Value::Null));
    }
    until_waiting(&app, &session, "hold").await;
    assert_eq!(send(&app, &session, "go", json!({})).await.json["task"], "hold");
    until_waiting(&app, &session, "third").await;
    assert_eq!(task(&app, &session, "first").await["outputs"], json!({ "n": 1 }));
    assert_eq!(task(&app, &session, "second").await["outputs"], json!({ "n": 2 }));
    assert_eq!(send(&app, &session, "step", json!({ "n": 3 })).await.json["task"], "third");
    app.until_status(&session, "completed").await;
    app.stop().await;
}

#[tokio::test]
async fn a_kept_signal_that_does_not_fit_is_set_aside_and_the_task_waits_on() {
    let definition =
        DEPLOYED.replace("  wait:\n", "  hold: { wait_for: go }\n  wait:\n    needs: [hold]\n");
    let (app, session) = started(&definition).await;
    assert_eq!(send(&app, &session, "deployed", json!({ "url": 1 })).await.status, 201);
    until_waiting(&app, &session, "hold").await;
    send(&app, &session, "go", json!({})).await;
    until_waiting(&app, &session, "wait").await;
    let events = app.get(&format!("/api/v1/sessions/{session}/events")).await.json;
    let refused =
        events["items"].as_array().unwrap().iter().find(|it| it["kind"] == "signal.refused");
    assert_eq!(refused.unwrap()["data"]["number"], 1);
    send(&app, &session, "deployed", json!({ "url": "x" })).await;
    app.until_status(&session, "completed").await;
    app.stop().await;
}

#[tokio::test]
async fn a_signal_sent_twice_with_one_key_counts_once() {
    let (app, session) =
        started("version: 1\nname: two\ntasks:\n  a: { wait_for: go }\n  b: { wait_for: go }\n")
            .await;
    until_waiting(&app, &session, "b").await;
    let path = format!("/api/v1/sessions/{session}/signals");
    let request = |data: Value| {
        let body = json!({ "name": "go", "data": data });
        app.request(Method::POST, &path).header("idempotency-key", "one").json(&body)
    };
    let answers = join_all((0..12).map(|_| Answer::of(request(json!({}))))).await;
    let created = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(created, 1);
    for answer in &answers {
        assert!([200, 201].contains(&answer.status.as_u16()), "{}", answer.text);
        assert_eq!((&answer.json["number"], &answer.json["task"]), (&json!(1), &json!("a")));
    }
    assert_eq!(task(&app, &session, "b").await["status"], "blocked");
    let other = Answer::of(request(json!({ "x": 1 }))).await;
    other.problem(409, "idempotency_key_reused");
    send(&app, &session, "go", json!({})).await;
    app.until_status(&session, "completed").await;
    // The answer to a request that is sent again is the same after the end.
    assert_eq!(Answer::of(request(json!({}))).await.status, 200);
    app.stop().await;
}

#[tokio::test]
async fn each_item_of_a_fan_out_waits_for_its_own_signal() {
    let (app, session) = started(
        "version: 1\nname: fan\ntasks:\n  each:\n    for_each: [a, b]\n    key: ${{ item }}\n    \
         tasks:\n      wait: { wait_for: \"built/${{ item }}\" }\n",
    )
    .await;
    until_waiting(&app, &session, "each%5Bb%5D.wait").await;
    let taken = send(&app, &session, "built/b", json!({})).await.json["task"].clone();
    assert_eq!(taken, "each[b].wait");
    assert_eq!(task(&app, &session, "each%5Ba%5D.wait").await["status"], "blocked");
    send(&app, &session, "built/a", json!({})).await;
    app.until_status(&session, "completed").await;
    app.stop().await;
}

#[tokio::test]
async fn a_signal_that_does_not_come_fails_the_task_with_class_timeout() {
    let (app, session) = started(DEPLOYED).await;
    until_waiting(&app, &session, "wait").await;
    app.db.advance(Duration::from_mins(61)).await;
    let failed = app.until_status(&session, "failed").await;
    assert_eq!(failed["error"]["class"], "timeout");
    app.post(&format!("/api/v1/sessions/{session}/retry"), &json!({})).await;
    until_waiting(&app, &session, "wait").await;
    send(&app, &session, "deployed", json!({ "url": "late" })).await;
    app.until_status(&session, "completed").await;
    app.stop().await;
}

#[tokio::test]
async fn a_signal_against_a_cancel_has_one_result() {
    let mut app = TestApp::new().await;
    app.start();
    for _ in 0..8 {
        let made = app.submit("version: 1\nname: w\ntasks:\n  wait: { wait_for: go }\n").await;
        let session = made["id"].as_str().unwrap();
        until_waiting(&app, session, "wait").await;
        let (cancel, body) = (format!("/api/v1/sessions/{session}/cancel"), json!({}));
        let (sent, _) =
            tokio::join!(send(&app, session, "go", json!({})), app.post(&cancel, &body));
        let ended = wait::until("the end of the task", LIMIT, async || {
            let status = task(&app, session, "wait").await["status"].clone();
            ["completed", "cancelled"].contains(&status.as_str().unwrap()).then_some(status)
        })
        .await;
        assert_eq!(sent.status == 201, ended == "completed", "{} {ended}", sent.text);
    }
    app.stop().await;
}
