//! Budgets as people see them: shown, raised, and money by the prices of the operator.

use jobshop_engine::{
    budget::Price,
    checkpoint::Spend,
    id::TenantId,
    store::{
        budgets, control,
        prices::{self, NewPrice},
        view::Views,
    },
};
use jobshop_tests::{Answer, Stage, TestApp, stage::succeeded};
use reqwest::Method;
use serde_json::json;

#[tokio::test]
async fn money_goes_by_the_prices_and_an_unknown_price_is_not_zero() {
    let stage = Stage::new().await;
    let known = |since: &str, input, output| NewPrice {
        model: "known".to_owned(),
        since: Some(since.parse().unwrap()),
        price: Price { input, output, ..Price::default() },
    };
    let prices =
        [known("2020-01-01T00:00:00Z", 3_000_000, 15_000_000), known("2999-01-01T00:00:00Z", 1, 1)];
    prices::set(stage.db.pool(), TenantId::DEFAULT, &prices, "operator").await.unwrap();
    let agent = |model| {
        format!(
            "{{ agent: {{ runtime: opencode, prompt: x, model: {model}, limits: {{ usd: 1 }} }} }}"
        )
    };
    let session = stage
        .submit(&format!(
            "{{ version: 1, name: paid, budget: {{ usd: 5 }}, tasks: {{ a: {}, b: {} }} }}",
            agent("known"),
            agent("unknown")
        ))
        .await;
    stage.settle().await;
    let player = stage.player("player").await;
    for held in player.claim(2).await {
        let model = if held.fence.task.seq == 1 { "known" } else { "unknown" };
        let pool = stage.db.pool();
        budgets::begin(pool, held.fence, Some(model)).await.unwrap().unwrap();
        let spend = Spend { input_tokens: 1_000, output_tokens: 100, ..Spend::default() };
        budgets::note(pool, held.fence, &spend).await.unwrap();
        assert!(player.ends(succeeded(held.fence)).await);
    }
    let shown = Views::new(&stage.store, session.tenant).budgets(session).await.unwrap();
    let whole = &shown.items[0];
    // 0.0045 by the price, and all that was put aside where none is known.
    assert_eq!((whole.usd.used, whole.usd.left), (1.0045, Some(3.9955)));
    assert_eq!((whole.unpriced, whole.unmetered, whole.tokens.used), (1, 0, 2200.0));
}

#[tokio::test]
async fn a_budget_is_shown_and_raised_over_http() {
    let app = TestApp::new().await;
    let definition =
        "{ version: 1, name: two, budget: { tokens: 100, wall_time: 1h, reserve: { tokens: 60 } },
        tasks: { a: { agent: { runtime: scripted, script: /s } },
                 b: { agent: { runtime: scripted, script: /s } } } }";
    let made = app.post("/api/v1/sessions", &json!({ "definition": definition })).await.json;
    let id = made["id"].as_str().unwrap();
    while control::tick(&app.store).await.unwrap() > 0 {}
    let path = format!("/api/v1/sessions/{id}/budget");
    let shown = app.get(&path).await.json;
    assert_eq!(
        shown["items"][0]["tokens"],
        json!({ "limit": 100.0, "used": 0.0, "reserved": 60.0, "left": 40.0 })
    );
    assert_eq!(shown["items"][0]["wall_time_ms"]["reserved"], json!(360_000.0));
    assert_eq!(shown["waits"], json!(["b"]));
    let task = app.get(&format!("/api/v1/sessions/{id}/tasks/b")).await.json;
    assert_eq!((&task["status"], &task["status_reason"]), (&json!("blocked"), &json!("budget")));
    let price = json!({ "model": "m", "since": "2026-01-01T00:00:00Z", "input": 3, "output": 15 });
    let put = |body| Answer::of(app.request(Method::PUT, "/api/v1/prices").json(&body));
    let set = put(json!({ "items": [price] })).await.json;
    assert_eq!(
        (&set["items"][0]["output"], &set["items"][0]["reasoning"]),
        (&json!(15.0), &json!(null))
    );
    put(json!({ "items": [{ "model": "m", "input": -3, "output": 15 }] }))
        .await
        .problem(400, "invalid_body");
    let raise = format!("{path}/raise");
    app.post(&raise, &json!({})).await.problem(400, "invalid_body");
    app.post(&raise, &json!({ "tokens": 100 })).await.problem(409, "not_more");
    app.post(&raise, &json!({ "usd": 100 })).await.problem(404, "budget_not_found");
    app.post(&raise, &json!({ "task": "a", "tokens": 1 })).await.problem(404, "budget_not_found");
    let raised = app.post(&raise, &json!({ "tokens": 200, "reason": "worth it" })).await.json;
    assert_eq!(raised["items"][0]["tokens"]["limit"], json!(200.0));
    while control::tick(&app.store).await.unwrap() > 0 {}
    let task = app.get(&format!("/api/v1/sessions/{id}/tasks/b")).await.json;
    assert_eq!(task["status"], "ready");
    let events = app.get(&format!("/api/v1/sessions/{id}/events")).await.json;
    let event = events["items"].as_array().unwrap().iter().find(|it| it["kind"] == "budget.raised");
    assert_eq!(event.unwrap()["data"]["reason"], "worth it");
}

#[tokio::test]
async fn a_budget_that_nothing_has_asked_yet_is_raised_and_begins_so() {
    let app = TestApp::new().await;
    let agent = "agent: { runtime: scripted, script: /s }";
    let definition = format!(
        "{{ version: 1, name: later, budget: {{ tokens: 100 }}, tasks: {{
            a: {{ {agent} }}, b: {{ needs: [a], budget: {{ tokens: 50 }}, {agent} }} }} }}"
    );
    let made = app.post("/api/v1/sessions", &json!({ "definition": definition })).await.json;
    let path = format!("/api/v1/sessions/{}/budget", made["id"].as_str().unwrap());
    let raise = format!("{path}/raise");
    app.post(&raise, &json!({ "tokens": 1000 })).await;
    app.post(&raise, &json!({ "task": "b", "tokens": 500 })).await;
    app.post(&raise, &json!({ "task": "b", "tokens": 500 })).await.problem(409, "not_more");
    for (task, of) in [("a", "tokens"), ("b", "usd"), ("c", "tokens")] {
        let body = json!({ "task": task, of: 5000 });
        app.post(&raise, &body).await.problem(404, "budget_not_found");
    }
    while control::tick(&app.store).await.unwrap() > 0 {}
    let shown = app.get(&path).await.json;
    let limits: Vec<_> =
        shown["items"].as_array().unwrap().iter().map(|it| &it["tokens"]["limit"]).collect();
    assert_eq!(limits, [&json!(1000.0), &json!(500.0)]);
    // As the command line lists rules.
    assert_eq!(app.get("/api/v1/policies?limit=200").await.json["items"], json!([]));
}
