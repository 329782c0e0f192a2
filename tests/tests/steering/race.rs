//! Many people steering the same sessions at once, while workers and control loops go on: every act
//! has one defined answer, nothing waits for what waits for it, and every session comes to an end.

use std::time::Duration;

use jobshop_engine::store::control;
use jobshop_tests::{TestApp, truth, wait};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use tokio::task::JoinSet;

const DEFINITIONS: [&str; 3] = [
    "
version: 1
name: wide
tasks:
  a: { uses: builtin/noop }
  nap: { sleep: 200ms }
  each:
    needs: [a]
    for_each: [1, 2, 3, 4]
    tasks:
      one: { uses: builtin/noop }
      two: { needs: [one], uses: builtin/noop }
  last: { needs: [each, nap], uses: builtin/noop }
",
    "
version: 1
name: failing
tasks:
  a: { uses: builtin/noop, compensate: { uses: builtin/noop } }
  bad: { needs: [a], uses: builtin/fail, retry: { max_attempts: 2, initial: 50ms } }
  b: { needs: [bad], uses: builtin/noop }
finally:
  tidy: { uses: builtin/noop }
",
    "
version: 1
name: slow
timeout: 1m
tasks:
  nap: { sleep: 300ms }
  group:
    needs: [nap]
    tasks:
      x: { uses: builtin/noop }
      y: { needs: [x], sleep: 100ms }
",
];

const ACTS: [&str; 12] = [
    "pause",
    "resume",
    "pause",
    "resume",
    "stop",
    "cancel",
    "complete",
    "fail",
    "retry",
    "retry",
    "task_pause",
    "task_resume",
];
const TASKS: [&str; 6] = ["a", "nap", "each", "b", "group", "last"];

/// How much is done: small, unless a variable says otherwise.
fn scale(name: &str, small: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(small)
}

async fn act(app: &TestApp, chance: &mut StdRng, id: &str) {
    let task = TASKS[chance.random_range(0..TASKS.len())];
    let (path, body) = match ACTS[chance.random_range(0..ACTS.len())] {
        "task_pause" => (format!("tasks/{task}/pause"), json!({})),
        "task_resume" => (format!("tasks/{task}/resume"), json!({})),
        "retry" if chance.random_bool(0.5) => ("retry".to_owned(), json!({ "from": [task] })),
        act => (act.to_owned(), json!({})),
    };
    let answer = app.post(&format!("/api/v1/sessions/{id}/{path}"), &body).await;
    let status = answer.status.as_u16();
    assert!([200, 404, 409].contains(&status), "{path}: {}", answer.text);
    if status == 404 {
        assert_eq!(answer.json["code"], "task_not_found", "{path}: {}", answer.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_people_steer_at_once() {
    let (sessions, clients, acts) = (
        scale("JOBSHOP_RACE_SESSIONS", 20),
        scale("JOBSHOP_RACE_CLIENTS", 8),
        scale("JOBSHOP_RACE_ACTS", 600),
    );
    let mut app = TestApp::new().await;
    app.start();
    let mut ids = Vec::new();
    for n in 0..sessions {
        let body = json!({ "definition": DEFINITIONS[n % 3], "start": n % 7 != 0 });
        let created = app.post("/api/v1/sessions", &body).await;
        assert_eq!(created.status, 201, "{}", created.text);
        ids.push(created.json["id"].as_str().unwrap().to_owned());
    }
    let app = std::sync::Arc::new(app);
    let mut people = JoinSet::new();
    for client in 0..clients {
        let (app, ids) = (std::sync::Arc::clone(&app), ids.clone());
        let mut chance = StdRng::seed_from_u64(client as u64 + 1);
        people.spawn(async move {
            for _ in 0..acts / clients {
                let id = &ids[chance.random_range(0..ids.len())];
                act(&app, &mut chance, id).await;
            }
        });
    }
    while let Some(done) = people.join_next().await {
        done.unwrap();
    }
    for id in &ids {
        wait::until("the end of a session", Duration::from_mins(1), async || {
            let session = app.get(&format!("/api/v1/sessions/{id}")).await.json;
            let path = format!("/api/v1/sessions/{id}");
            match session["status"].as_str().unwrap() {
                "pending" => drop(app.post(&format!("{path}/start"), &json!({})).await),
                "paused" => drop(app.post(&format!("{path}/resume"), &json!({})).await),
                "queued" | "running" | "degraded" => resume_tasks(&app, &path).await,
                _ => return Some(()),
            }
            None
        })
        .await;
    }
    wait::until("nothing is left open", Duration::from_secs(20), async || {
        control::tick(&app.store).await.unwrap();
        let open: i64 = sqlx::query_scalar(
            "select count(*) from tasks t join session_progress p using (tenant_id, session_id)
              where t.state < 6 or p.sweep > 0 or p.undecided",
        )
        .fetch_one(app.db.pool())
        .await
        .unwrap();
        (open == 0).then_some(())
    })
    .await;
    truth::check(app.db.pool()).await;
    let deadlocks: i64 = sqlx::query_scalar(
        "select deadlocks from pg_stat_database where datname = current_database()",
    )
    .fetch_one(app.db.pool())
    .await
    .unwrap();
    assert_eq!(deadlocks, 0);
}

async fn resume_tasks(app: &TestApp, path: &str) {
    let page = app.get(&format!("{path}/tasks?status=paused")).await.json;
    for task in page["items"].as_array().into_iter().flatten() {
        let key = task["key"].as_str().map(Value::from).unwrap();
        let key = key.as_str().unwrap().replace('[', "%5B").replace(']', "%5D");
        app.post(&format!("{path}/tasks/{key}/resume"), &json!({})).await;
    }
}
