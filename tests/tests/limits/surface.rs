//! Limits as a user sees them: `why` names who holds what one waits for and the number in line, what
//! finds no place and must not wait is refused, and tenants have their weights.

use jobshop_engine::store::control;
use jobshop_tests::{CommandLine, TestApp};
use serde_json::{Value, json};

const LOCKED: &str = "version: 1\nname: locked\ntasks:\n  deploy: { lock: prod, wait_for: go }\n";
const PLACED: &str = "version: 1\nname: placed\nconcurrency: { key: web, limit: 1 }\n\
                      tasks:\n  a: { wait_for: go }\n";
const REFUSED: &str = "version: 1\nname: refused\n\
                       concurrency: { key: api, limit: 1, on_full: reject }\n\
                       tasks:\n  a: { wait_for: go }\n";

async fn settle(app: &TestApp) {
    while control::tick(&app.store).await.unwrap() > 0 {}
}

/// So many sessions of a definition, one after the other.
async fn three(app: &TestApp, definition: &str) -> [String; 3] {
    let mut ids = [const { String::new() }; 3];
    for id in &mut ids {
        app.submit(definition).await["id"].as_str().unwrap().clone_into(id);
        settle(app).await;
    }
    ids
}

/// The one reason why a session, or a task of it, does not move.
async fn reason(app: &TestApp, id: &str, task: &str) -> Value {
    let why = app.get(&format!("/api/v1/sessions/{id}/why{task}")).await.json;
    assert_eq!(why["reasons"].as_array().map(Vec::len), Some(1), "{why}");
    why["reasons"][0].clone()
}

fn tail(id: &str) -> &str {
    &id[id.len() - 8..]
}

#[tokio::test]
async fn who_waits_for_a_lock_is_told_who_has_it_and_how_many_come_first() {
    let app = TestApp::new().await;
    let [first, second, third] = three(&app, LOCKED).await;
    for (id, position) in [(&second, 1), (&third, 2)] {
        let why = reason(&app, id, "?task=deploy").await;
        let message = why["message"].as_str().unwrap();
        let held = format!(
            "`deploy` waits for the lock `prod`: held by `deploy` of session {} since ",
            tail(&first)
        );
        assert!(message.starts_with(&held), "{message}");
        assert!(message.ends_with(&format!("; number {position} in line")), "{message}");
        assert_eq!((&why["code"], &why["data"]["position"]), (&json!("lock"), &json!(position)));
        let holder = &why["data"]["holders"][0];
        assert_eq!((&holder["session"], &holder["task"]), (&json!(first), &json!("deploy")));
    }
    app.stop().await;
}

#[tokio::test]
async fn a_group_that_waits_for_a_lock_is_told_of_the_session_and_of_what_stands_in_it() {
    let app = TestApp::new().await;
    let definition = "{ version: 1, name: held, tasks: { g: { lock: prod, tasks: {
        i: { uses: builtin/noop } } } } }";
    let [first, second, _] = three(&app, definition).await;
    for task in ["", "?task=g.i"] {
        let why = app.get(&format!("/api/v1/sessions/{second}/why{task}")).await;
        let reasons = why.json["reasons"].as_array().unwrap();
        let codes: Vec<&str> = reasons.iter().map(|it| it["code"].as_str().unwrap()).collect();
        let around: &[&str] = if task.is_empty() { &[] } else { &["group_not_started"] };
        assert_eq!(codes, [around, &["lock"]].concat(), "{}", why.text);
        let holder = &first[first.len() - 8..];
        assert!(
            reasons[around.len()]["message"].as_str().unwrap().contains(holder),
            "{}",
            why.text
        );
    }
}

#[tokio::test]
async fn who_waits_for_a_place_is_told_who_has_it_and_how_many_come_first() {
    let app = TestApp::new().await;
    let [first, second, third] = three(&app, PLACED).await;
    for (id, position) in [(&second, 1), (&third, 2)] {
        let why = reason(&app, id, "").await;
        let message = why["message"].as_str().unwrap();
        let held = format!(
            "the session waits for a place under `web`: held by session {} since ",
            tail(&first)
        );
        assert!(message.starts_with(&held), "{message}");
        assert!(message.ends_with(&format!("; number {position} in line")), "{message}");
        assert_eq!((&why["code"], &why["data"]["position"]), (&json!("place"), &json!(position)));
        assert_eq!(why["data"]["holders"][0]["session"], json!(first));
    }
    app.stop().await;
}

#[tokio::test]
async fn what_must_not_wait_for_a_place_is_refused_with_those_who_have_it() {
    let app = TestApp::new().await;
    let first = app.submit(REFUSED).await;
    settle(&app).await;
    let refused = app.post("/api/v1/sessions", &json!({ "definition": REFUSED })).await;
    refused.problem(409, "no_place");
    assert_eq!(refused.json["retryable"], json!(true));
    assert_eq!(refused.json["holders"], json!([first["id"]]));
    let cancel = format!("/api/v1/sessions/{}/cancel", first["id"].as_str().unwrap());
    assert_eq!(app.post(&cancel, &json!({})).await.status, 200);
    app.submit(REFUSED).await;
    app.stop().await;
}

#[tokio::test]
async fn limits_and_weights_at_the_command_line() {
    let user = CommandLine::new(env!("CARGO_BIN_EXE_jobshop-cli"));
    let _up = user.up().await;
    user.write("locked.yaml", LOCKED);
    user.write("refused.yaml", REFUSED);
    let waits = |id: &str| {
        user.run(&["session", "watch", id, "--exit-on-wait", "--json"]).expect(6);
    };
    let first = user.run(&["submit", "locked.yaml", "--json"]).expect(0).json();
    waits(first["id"].as_str().unwrap());
    let second = user.run(&["submit", "locked.yaml", "--json"]).expect(0).json();
    let told = jobshop_tests::wait::until("the reason", jobshop_tests::wait::LIMIT, async || {
        let told = user.run(&["session", "why", second["id"].as_str()?, "deploy"]).expect(0).stdout;
        told.contains("waits for the lock").then_some(told)
    })
    .await;
    assert!(told.contains(tail(first["id"].as_str().unwrap())), "{told}");
    assert!(told.contains("number 1 in line"), "{told}");

    let holder = user.run(&["submit", "refused.yaml", "--json"]).expect(0).json();
    let refused = user.run(&["submit", "refused.yaml"]).expect(5).stderr;
    assert!(refused.contains(tail(holder["id"].as_str().unwrap())), "{refused}");
    assert!(refused.contains("try again when one of them has ended"), "{refused}");

    user.run(&["tenant", "create", "heavy", "--weight", "3"]).expect(0);
    user.run(&["tenant", "create", "none", "--weight", "0"]).expect(2);
    let tenants = user.run(&["tenant", "list", "--json"]).expect(0).json();
    let weights = tenants.as_array().unwrap().iter().map(|it| (it["name"].as_str(), &it["weight"]));
    let weights: Vec<_> = weights.collect();
    assert!(weights.contains(&(Some("heavy"), &json!(3))), "{tenants}");
    let listed = user.run(&["tenant", "list"]).expect(0).stdout;
    let line = listed.lines().find(|line| line.contains("heavy")).unwrap();
    assert!(line.contains(" 3 "), "{listed}");
}
