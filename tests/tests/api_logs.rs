//! Logs through the API: of a task, of a session in the order of time, and followed to the end.

#![expect(clippy::unwrap_used, reason = "an accident is a failed test")]

use std::time::Duration;

use jobshop_engine::{
    id::{Fence, SessionKey, TaskKey, TenantId, WorkerId},
    store::logs::{self, NewChunk},
};
use jobshop_tests::TestApp;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

const TWO: &str =
    "version: 1\nname: two\ntasks:\n  a: { uses: builtin/noop }\n  b: { uses: builtin/noop }\n";

/// A session whose attempts write when the test says so.
struct Logged {
    app: TestApp,
    session: SessionKey,
    worker: WorkerId,
}

impl Logged {
    async fn new() -> Self {
        let app = TestApp::new().await;
        let id = app.submit(TWO).await["id"].as_str().unwrap().parse().unwrap();
        let session = SessionKey { tenant: TenantId::DEFAULT, id };
        Self { app, session, worker: WorkerId(Uuid::now_v7()) }
    }

    async fn write(&self, seq: i32, attempt: i32, chunk: i32, stream: i16, body: &[u8]) {
        let fence =
            Fence { task: TaskKey { session: self.session, seq }, attempt, worker: self.worker };
        let chunk = NewChunk { chunk, stream, body: body.to_vec() };
        logs::append(&self.app.store.pool, fence, &[chunk]).await.unwrap();
    }

    async fn page(&self, path: &str) -> Value {
        let answer = self.app.get(&format!("/api/v1/sessions/{}/{path}", self.session)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json
    }
}

fn texts(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|item| item["text"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_growing_log_is_read_on_from_where_the_last_page_ended() {
    let log = Logged::new().await;
    assert_eq!(log.page("tasks/a/logs").await, json!({"items": [], "next": null}));
    log.write(1, 1, 0, 0, b"one\n").await;
    log.write(1, 1, 1, 1, b"two\n").await;
    let first = log.page("tasks/a/logs").await;
    let mut item = first["items"][1].clone();
    assert!(item["at"].as_str().unwrap().ends_with('Z'));
    item["at"] = json!("[at]");
    assert_eq!(
        item,
        json!({"task": "a", "attempt": 1, "stream": "stderr", "at": "[at]", "text": "two\n"})
    );
    let next = format!("tasks/a/logs?cursor={}", first["next"].as_str().unwrap());
    assert_eq!(log.page(&next).await, json!({"items": [], "next": null}));
    log.write(1, 2, 0, 2, b"again\n").await;
    assert_eq!(texts(&log.page(&next).await), ["again\n"]);
    assert_eq!(texts(&log.page("tasks/a/logs?attempt=2").await), ["again\n"]);
    assert_eq!(texts(&log.page("tasks/b/logs").await), [""; 0]);
    let path = format!("/api/v1/sessions/{}/tasks/a/logs?cursor=x", log.session);
    log.app.get(&path).await.problem(400, "invalid_cursor");
}

#[tokio::test]
async fn pages_of_a_large_log_are_bounded() {
    let log = Logged::new().await;
    for chunk in 0..50 {
        log.write(1, 1, chunk, 0, &vec![b'x'; 64 * 1024]).await;
    }
    let mut query = String::new();
    let mut sizes = Vec::new();
    loop {
        let page = log.page(&format!("tasks/a/logs{query}")).await;
        let Some(next) = page["next"].as_str() else { break };
        sizes.push(texts(&page).len());
        query = format!("?cursor={next}");
    }
    assert_eq!(sizes, [32, 18]);
}

#[tokio::test]
async fn the_log_of_a_session_is_in_the_order_of_time() {
    let log = Logged::new().await;
    log.write(2, 1, 0, 0, b"b1 ").await;
    log.write(1, 1, 0, 0, b"a1 ").await;
    log.write(2, 1, 1, 0, b"b2 ").await;
    // What was written just now may still be overtaken.
    assert_eq!(texts(&log.page("logs").await), [""; 0]);
    log.app.db.advance(Duration::from_secs(2)).await;
    let page = log.page("logs").await;
    assert_eq!(texts(&page), ["b1 ", "a1 ", "b2 "]);
    assert_eq!(page["items"][1]["task"], "a");
    log.write(1, 1, 1, 0, b"a2 ").await;
    log.app.post("/api/v1/sessions/@latest/cancel", &json!({})).await;
    let next = page["next"].as_str().unwrap();
    assert_eq!(texts(&log.page(&format!("logs?cursor={next}")).await), ["a2 "]);
}

#[tokio::test]
async fn a_followed_log_ends_with_its_task_or_session() {
    let log = Logged::new().await;
    log.write(1, 1, 0, 0, b"before\n").await;
    for path in ["tasks/a/logs", "logs"] {
        let path = format!("/api/v1/sessions/{}/{path}?follow=true", log.session);
        let response = log.app.request(Method::GET, &path).send().await.unwrap();
        assert_eq!(response.headers()["content-type"], "application/x-ndjson");
        if path.contains("tasks") {
            log.write(1, 1, 1, 0, b"after\n").await;
            log.app.post("/api/v1/sessions/@latest/cancel", &json!({})).await;
        }
        let body = response.text().await.unwrap();
        let lines: Vec<Value> = body.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
        let texts: Vec<&str> = lines.iter().map(|it| it["text"].as_str().unwrap()).collect();
        assert_eq!(texts, ["before\n", "after\n"]);
    }
}
