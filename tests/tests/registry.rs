//! The registry of agents: who gets nothing new, how well agents did, and who should do what.

use std::time::Duration;

use jobshop_engine::{
    id::TenantId,
    routing::{AgentType, Complexity, End, Rule, Wish, Work},
    session::SessionState,
    store::{
        Views,
        agents::{self, AgentError, Drain},
        worker_view::{AgentObject, AgentStatus},
        workers::Profile,
    },
    task::TaskState,
};
use jobshop_tests::{Fleet, Stage, TestApp, stage::succeeded, wait};
use serde_json::{Value, json};

const LAUNCHER: &str = env!("CARGO_BIN_EXE_cluster-owner");
const LIMIT: Duration = Duration::from_secs(30);
const DRAIN: Drain<'_> = Drain { by: "anna", reason: Some("a new disk"), maintenance: false };

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_drained_agent_gets_nothing_new_by_any_way_until_it_is_resumed() {
    let stage = Stage::new().await;
    let chain = "{ version: 1, name: chain, tasks: { a: { uses: builtin/noop }, \
                 b: { needs: [a], uses: builtin/noop }, other: { uses: builtin/noop } } }";
    let session = stage.submit(chain).await;
    let (one, two) = (stage.player("one").await, stage.player("two").await);
    let held = one.claim_one().await;
    agents::drain(&stage.store, "one", DRAIN).await.unwrap();

    assert!(one.claim(5).await.is_empty(), "a claim gives it nothing");
    let moved = one.finish_taking(&[succeeded(held.fence)], 5, &[]).await;
    assert_eq!((moved.accepted, moved.handed.len()), (vec![true], 0), "nothing is handed over");
    // What registers under its name is drained too; an id means one worker alone.
    let again = stage.player("one").await;
    assert!(again.claim(5).await.is_empty());
    agents::resume(&stage.store, &again.id.to_string()).await.unwrap();
    assert!(one.claim(5).await.is_empty());
    assert_eq!(again.claim(1).await.len(), 1);
    agents::resume(&stage.store, "one").await.unwrap();
    assert_eq!(one.claim(5).await.len(), 1);
    assert!(two.claim(5).await.is_empty(), "nothing is left");
    assert_eq!(stage.states(session).await[0], TaskState::Completed);
    let unknown = agents::drain(&stage.store, "nobody", DRAIN).await;
    assert!(matches!(unknown, Err(AgentError::NotFound(name)) if name == "nobody"));
}

async fn until(views: &Views, name: &str, what: impl Fn(&AgentObject) -> bool) -> AgentObject {
    wait::until(&format!("agent {name}"), LIMIT, async || {
        views.agent(name).await.ok().filter(&what)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_worker_finishes_what_it_runs_and_others_go_on() {
    let mut fleet = Fleet::new(LAUNCHER).await;
    fleet.worker();
    let views = Views::new(&fleet.store, TenantId::DEFAULT);
    until(&views, "worker-1", |_| true).await;
    let gate = fleet.folder().join("gate");
    let definition = format!(
        "version: 1\nname: drain\ntasks:\n  \
         a: {{ requires: [rust], run: 'until [ -e {0} ]; do :; done' }}\n  \
         b: {{ needs: [a], requires: [rust], run: 'true' }}\n  \
         c: {{ needs: [b], run: 'exit 1', continue_on_failure: true }}\n",
        gate.display()
    );
    let session = fleet.submit(&definition, json!({})).await;
    until(&views, "worker-1", |agent| agent.running == 1).await;
    agents::drain(&fleet.store, "worker-1", DRAIN).await.unwrap();
    let draining = views.agent("worker-1").await.unwrap();
    assert_eq!(draining.status, AgentStatus::Draining);
    assert_eq!(draining.drained.unwrap().reason.as_deref(), Some("a new disk"));
    fleet.worker_with(|config| {
        config.profile = Profile {
            kind: Some(AgentType::Reviewer),
            complexity: Some(Complexity::Expert),
            technologies: names(&["rust"]),
            ..Profile::default()
        };
    });
    until(&views, "worker-2", |_| true).await;
    std::fs::write(&gate, "").unwrap();
    assert_eq!(fleet.end_of(session).await, SessionState::PartiallyCompleted);

    let did = async |name: &str, ended: u64| {
        let is_told = |it: &AgentObject| it.performance.succeeded + it.performance.failed == ended;
        until(&views, name, is_told).await
    };
    let one = did("worker-1", 1).await;
    assert_eq!((one.performance.succeeded, one.performance.failed), (1, 0), "what it had begun");
    assert_eq!(one.performance.capabilities.keys().collect::<Vec<_>>(), ["rust"]);
    until(&views, "worker-1", |agent| agent.status == AgentStatus::Drained).await;
    let two = did("worker-2", 2).await;
    assert_eq!((two.performance.succeeded, two.performance.failed), (1, 1));
    assert_eq!((two.kind, two.complexity), (AgentType::Reviewer, Complexity::Expert));
    fleet.stop().await;
}

fn failures(count: usize) -> Vec<Work> {
    let bad =
        Work { end: End::Bad, requires: Vec::new(), took_ms: 10, tokens: None, cost_usd: None };
    vec![bad; count]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_fails_too_often_leaves_the_work_to_others_while_there_are_any() {
    let mut fleet = Fleet::new(LAUNCHER).await;
    let routing = fleet.store.routing;
    agents::fold(&fleet.store.pool, &routing, "worker-1", &failures(6)).await.unwrap();
    fleet.worker();
    let views = Views::new(&fleet.store, TenantId::DEFAULT);
    until(&views, "worker-1", |agent| agent.status == AgentStatus::Broken).await;
    let alone = "version: 1\nname: alone\ntasks: { a: { run: 'true' } }\n";
    assert_eq!(fleet.run(alone).await.1, SessionState::Completed, "nobody else is there");

    fleet.worker();
    let two = until(&views, "worker-2", |_| true).await;
    // Once it has seen that there is another one.
    let first = views.agent("worker-1").await.unwrap().id;
    let routes: Vec<i32> =
        sqlx::query_scalar("select id from routes").fetch_all(fleet.db.pool()).await.unwrap();
    let left =
        agents::left_to_others(&fleet.store.pool, first.into(), "worker-1", &routes).await.unwrap();
    assert_eq!(left.routes.len(), routes.len());
    wait::until("tasks of the other alone", LIMIT, async || {
        let many = "version: 1\nname: many\ntasks: { a: { run: 'true' }, b: { run: 'true' }, \
                    c: { needs: [a, b], run: 'true' } }\n";
        let (session, _) = fleet.run(many).await;
        let by: Vec<sqlx::types::Uuid> =
            sqlx::query_scalar("select distinct last_worker from tasks where session_id = $1")
                .bind(session.id.0)
                .fetch_all(fleet.db.pool())
                .await
                .unwrap();
        (by == [two.id]).then_some(())
    })
    .await;
    let wish = Wish::default();
    let route = views.route(&wish).await.unwrap();
    assert_eq!(route.agent.as_deref(), Some("worker-2"));
    let broken = route.candidates.iter().find(|it| it.agent == "worker-1").unwrap();
    assert_eq!(broken.excluded[0].rule, Rule::BreakerOpen);
    fleet.stop().await;
}

#[tokio::test]
async fn the_api_tells_who_should_do_what_and_why_not_others() {
    let mut app = TestApp::new().await;
    app.start();
    let agent = wait::until("an agent", LIMIT, async || {
        app.get("/api/v1/agents").await.json["items"].get(0).cloned()
    })
    .await;
    assert_eq!((&agent["status"], &agent["tier"]), (&json!("available"), &json!("competent")));
    assert_eq!(agent["breaker"], json!({ "state": "closed" }));
    let path = format!("/api/v1/agents/{}", agent["id"].as_str().unwrap());
    assert_eq!(app.get(&path).await.json["name"], "worker-1");
    app.get("/api/v1/agents/nobody").await.problem(404, "agent_not_found");

    let query = "requires=rust&type=reviewer&agents=worker-1&technologies=sql&complexity=expert";
    let route = app.get(&format!("/api/v1/routing?{query}")).await.json;
    assert_eq!(route["agent"], "worker-1");
    let candidate = &route["candidates"][0];
    let parts = candidate["parts"].as_array().unwrap();
    let sum: f64 = parts.iter().map(|part| part["points"].as_f64().unwrap()).sum();
    assert!((sum - candidate["score"].as_f64().unwrap()).abs() < 1e-9, "{candidate}");
    assert_eq!(parts.len(), 10, "{candidate}");
    app.get("/api/v1/routing?requires=a%20b").await.problem(400, "invalid_query");
    app.get("/api/v1/routing?type=coder").await.problem(400, "invalid_query");

    let session = app
        .submit(
            "version: 1\nname: m\ntasks: { ask: { approval: {} }, \
                 a: { needs: [ask], requires: [rust], uses: builtin/noop } }\n",
        )
        .await;
    let path = format!("/api/v1/sessions/{}/tasks/a/match", session["id"].as_str().unwrap());
    assert_eq!(app.get(&path).await.json["agent"], "worker-1");
    let body = json!({ "reason": "a new disk", "maintenance": true });
    let drained = app.post("/api/v1/agents/worker-1/drain", &body).await.json;
    assert_eq!(
        (&drained["status"], &drained["drained"]["by"]),
        (&json!("maintenance"), &json!("admin"))
    );
    let found = app.get(&path).await.json;
    assert_eq!((&found["agent"], &found["task"]), (&Value::Null, &json!("a")));
    assert_eq!(found["candidates"][0]["excluded"][0]["rule"], "maintenance");
    let resumed = app.post("/api/v1/agents/worker-1/resume", &json!({})).await.json;
    assert_eq!((&resumed["status"], &resumed["drained"]), (&json!("available"), &Value::Null));

    app.post("/api/v1/tenants", &json!({ "name": "a" })).await;
    let other = app.key("x", "admin", "a").await;
    other.post("/api/v1/agents/worker-1/drain", &json!({})).await.problem(403, "forbidden");
    app.stop().await;
}
