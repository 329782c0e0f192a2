//! Why a session or task does not move: the rule that holds it, named.

#![expect(clippy::unwrap_used, reason = "an accident is a failed test")]

use std::time::Duration;

use jobshop_engine::id::WorkerId;
use jobshop_engine::store::workers::{self, NewWorker, Profile};
use jobshop_tests::{TestApp, wait};
use serde_json::{Value, json};
use uuid::Uuid;

async fn why(app: &TestApp, task: Option<&str>) -> Vec<Value> {
    let query = task.map(|task| format!("?task={task}")).unwrap_or_default();
    let answer = app.get(&format!("/api/v1/sessions/@latest/why{query}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.json["task"], json!(task));
    let reasons = answer.json["reasons"].as_array().unwrap().clone();
    if let Some(first) = reasons.first() {
        assert_eq!(answer.json["summary"], first["message"]);
    }
    reasons
}

fn codes(reasons: &[Value]) -> Vec<&str> {
    reasons.iter().map(|reason| reason["code"].as_str().unwrap()).collect()
}

fn message(reason: &Value) -> &str {
    reason["message"].as_str().unwrap()
}

async fn register(app: &TestApp, name: &str, capabilities: &[&str]) {
    let mut capabilities: Vec<String> = capabilities.iter().map(|it| (*it).to_owned()).collect();
    capabilities.sort();
    let worker = NewWorker {
        id: WorkerId(Uuid::now_v7()),
        name,
        host: "here",
        pid: 1,
        capabilities: &capabilities,
        concurrency: 1,
        version: "1",
        data_dir: None,
        lease_secs: 30,
        follows: &[],
        profile: &Profile::default(),
        only_session: None,
    };
    workers::register(&app.store.pool, &worker).await.unwrap();
}

#[tokio::test]
async fn a_need_is_followed_down_to_what_moves_by_itself() {
    let app = TestApp::new().await;
    app.submit(
        "
version: 1
name: deep
tasks:
  a: { requires: [rust], uses: builtin/noop }
  b: { needs: [a], uses: builtin/noop }
  c:
    needs: [b]
    tasks:
      d: { uses: builtin/noop }
",
    )
    .await;
    let reasons = why(&app, Some("c.d")).await;
    assert_eq!(
        codes(&reasons),
        ["group_not_started", "need_not_ended", "need_not_ended", "no_agent"]
    );
    assert_eq!(reasons[0]["data"], json!({"group": "c", "status": "pending"}));
    assert_eq!(message(&reasons[1]), "`c` waits for `b`, which is pending");
    assert_eq!(reasons[2]["data"], json!({"need": "a", "status": "ready"}));
    assert_eq!(message(&reasons[3]), "`a` is ready, but no agent lives; start `jobshop worker`");
}

#[tokio::test]
async fn a_missing_capability_is_named_and_the_place_in_the_route_counted() {
    let app = TestApp::new().await;
    let definition =
        "version: 1\nname: r\ntasks:\n  a: { requires: [gpu, rust], uses: builtin/noop }\n";
    app.submit(definition).await;
    app.submit(definition).await;
    register(&app, "plain", &[]).await;
    register(&app, "rusty", &["rust"]).await;
    let reasons = why(&app, None).await;
    assert_eq!(message(&reasons[0]), "`a` is ready, but no live agent offers `gpu`");
    assert_eq!(reasons[0]["data"], json!({"missing": ["gpu"]}));
    register(&app, "graphic", &["gpu"]).await;
    let reasons = why(&app, None).await;
    assert_eq!(codes(&reasons), ["no_agent_with_all"]);
    register(&app, "both", &["gpu", "rust"]).await;
    let reasons = why(&app, Some("a")).await;
    assert_eq!(codes(&reasons), ["queued"]);
    assert_eq!(
        (&reasons[0]["data"]["ahead"], &reasons[0]["data"]["agents"]),
        (&json!(1), &json!(["both"]))
    );
    app.db.advance(Duration::from_secs(31)).await;
    assert_eq!(codes(&why(&app, Some("a")).await), ["no_agent"]);
}

#[tokio::test]
async fn what_waits_for_time_says_until_when_and_why() {
    let mut app = TestApp::new().await;
    app.start();
    app.submit(
        "
version: 1
name: timed
tasks:
  again:
    uses: builtin/fail
    with: { message: not yet }
    retry: { max_attempts: 4, initial: 1h, errors: [error] }
  rest: { sleep: 2h }
  group:
    for_each: [x]
    key: ${{ item }}
    tasks:
      inner: { sleep: 3h }
",
    )
    .await;
    let blocked = async |task: &str| {
        wait::until("the task is blocked", Duration::from_secs(15), async || {
            let task = app.get(&format!("/api/v1/sessions/@latest/tasks/{task}")).await.json;
            (task["status"] == "blocked").then_some(())
        })
        .await;
    };
    blocked("again").await;
    let reasons = why(&app, Some("again")).await;
    assert_eq!(codes(&reasons), ["backoff"]);
    assert_eq!(
        (&reasons[0]["data"]["failures"], &reasons[0]["data"]["max_attempts"]),
        (&json!(1), &json!(4))
    );
    assert!(
        message(&reasons[0]).contains("1 of 4 attempts failed (error: not yet)"),
        "{reasons:?}"
    );
    blocked("rest").await;
    let reasons = why(&app, Some("rest")).await;
    assert_eq!(codes(&reasons), ["sleep"]);
    assert!(reasons[0]["data"]["until"].is_string());
    blocked("group%5Bx%5D.inner").await;
    let reasons = why(&app, Some("group")).await;
    assert_eq!(codes(&reasons), ["children", "children", "sleep"]);
    assert_eq!(reasons[0]["data"], json!({"open": 1, "tasks": ["group[x]"]}));
    let mut all = codes(&why(&app, None).await).into_iter().map(str::to_owned).collect::<Vec<_>>();
    all.sort();
    assert_eq!(all, ["backoff", "sleep", "sleep"]);
    app.stop().await;
}

#[tokio::test]
async fn a_skip_is_traced_to_the_failure_that_caused_it() {
    let mut app = TestApp::new().await;
    app.start();
    let session = app
        .submit(
            "
version: 1
name: broken
tasks:
  group:
    for_each: [x]
    key: ${{ item }}
    tasks:
      bad: { uses: builtin/fail, with: { message: no luck } }
      after: { needs: [bad], uses: builtin/noop }
  next: { needs: [group], uses: builtin/noop }
  last:
    needs: [next]
    tasks:
      leaf: { uses: builtin/noop }
  never: { when: 'false', uses: builtin/noop }
",
        )
        .await;
    app.until_status(session["id"].as_str().unwrap(), "failed").await;
    for task in ["last.leaf", "next", "group", "group%5Bx%5D.after"] {
        let answer = app.get(&format!("/api/v1/sessions/@latest/why?task={task}")).await.json;
        let last = answer["reasons"].as_array().unwrap().last().unwrap();
        assert_eq!(last["code"], "upstream_failed", "{task}: {answer}");
        assert_eq!(last["data"]["task"], "group[x].bad", "{task}: {answer}");
        assert!(message(last).contains("no luck"), "{task}: {answer}");
    }
    assert_eq!(codes(&why(&app, Some("never")).await), ["when_false"]);
    let whole = why(&app, None).await;
    assert_eq!(codes(&whole), ["session_ended", "failed"]);
    assert_eq!(message(&whole[1]), "`group[x].bad` failed: error: no luck");
    app.stop().await;
}

#[tokio::test]
async fn what_has_ended_says_so() {
    let app = TestApp::new().await;
    app.submit("version: 1\nname: c\ntasks:\n  a: { uses: builtin/noop }\n").await;
    app.post("/api/v1/sessions/@latest/cancel", &json!({})).await;
    assert_eq!(codes(&why(&app, None).await), ["session_ended"]);
    app.get("/api/v1/sessions/@latest/why?task=x").await.problem(404, "task_not_found");
}
