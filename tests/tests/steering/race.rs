//! Many people steering the same sessions at once, while workers and control loops go on: every act
//! has one defined answer, nothing waits for what waits for it, and every session comes to an end.
//! `JOBSHOP_RACE_SESSIONS`, `_CLIENTS` and `_ACTS` make it larger (docs/testing.md).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jobshop_engine::{session::SessionState, store::control};
use jobshop_tests::{Answer, TestApp, truth, wait};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

const DEFINITIONS: [&str; 5] = [
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
    "
version: 1
name: people
tasks:
  a:
    approval: { message: go on?, on_timeout: reject }
    timeout: 300ms
  b: { wait_for: news, timeout: 500ms, continue_on_failure: true }
  last: { needs: [a, b], join: all_done, uses: builtin/noop }
",
    "
version: 1
name: parent
tasks:
  a: { uses: raced, retry: { max_attempts: 2, initial: 20ms } }
  group:
    loop: { until: round == 3, max_rounds: 4 }
    tasks:
      x: { uses: builtin/noop }
      y: { needs: [x], sleep: 20ms }
finally:
  tidy: { needs: [], sleep: 10ms }
",
];

/// What is applied, scheduled and used as a task while it changes.
const RACED: &str =
    "version: 1\nname: raced\ntasks: { a: { uses: builtin/noop }, b: { sleep: 50ms } }\n";
const CHANGED: &str = "version: 1\nname: raced\ntasks: { a: { sleep: 30ms } }\n";

/// Acts on a session, more of those that race each other.
const ACTS: [&str; 18] = [
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
    "retry",
    "start",
    "tasks/pause",
    "tasks/resume",
    "signals",
    "signals",
    "vote",
    "vote",
];
const TASKS: [&str; 8] = ["a", "nap", "each", "b", "group", "last", "bad", "each%5B1%5D.two"];

/// Every refusal that an act may get; nothing else is answered.
const REFUSALS: [&str; 15] = [
    "illegal_move",
    "not_paused",
    "not_pending",
    "still_stopping",
    "nothing_to_retry",
    "not_possible",
    "task_not_found",
    "task_not_paused",
    "task_not_pausable",
    "approval_ended",
    "session_ended",
    "schedule_exists",
    "schedule_not_found",
    "schedule_disabled",
    "version_changed",
];

/// How much is done: small, unless a variable says otherwise.
fn scale(name: &str, small: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(small)
}

/// What everybody shares.
struct Race {
    app: TestApp,
    ids: Vec<String>,
    approvals: std::sync::Mutex<Vec<String>>,
}

/// Somebody who acts, and what was answered.
struct Person {
    race: Arc<Race>,
    chance: StdRng,
    answers: BTreeMap<String, usize>,
}

impl Person {
    async fn act(&mut self) {
        match self.chance.random_range(0..20) {
            0 => self.schedule().await,
            1 => {
                let definition = if self.chance.random_bool(0.5) { RACED } else { CHANGED };
                self.post("/api/v1/workflows", &json!({ "definition": definition })).await;
            }
            _ => self.steer().await,
        }
    }

    async fn steer(&mut self) {
        let race = Arc::clone(&self.race);
        let id = race.ids.choose(&mut self.chance).unwrap();
        let task = *TASKS.choose(&mut self.chance).unwrap();
        let path = format!("/api/v1/sessions/{id}");
        match *ACTS.choose(&mut self.chance).unwrap() {
            "tasks/pause" => self.post(&format!("{path}/tasks/{task}/pause"), &json!({})).await,
            "tasks/resume" => self.post(&format!("{path}/tasks/{task}/resume"), &json!({})).await,
            "retry" if self.chance.random_bool(0.5) => {
                self.post(&format!("{path}/retry"), &json!({ "from": [task] })).await;
            }
            "signals" => {
                let key = format!("{id}-{}", self.chance.random_range(0..4));
                let body = json!({ "name": "news", "data": { "n": 1 } });
                let request = race.app.request(Method::POST, &format!("{path}/signals"));
                let answer = Answer::of(request.header("idempotency-key", key).json(&body)).await;
                self.note("signals", &answer);
            }
            "vote" => self.vote().await,
            act => self.post(&format!("{path}/{act}"), &json!({})).await,
        }
    }

    /// Votes on an approval of which it was heard some time ago.
    async fn vote(&mut self) {
        let race = Arc::clone(&self.race);
        let known = race.approvals.lock().unwrap().choose(&mut self.chance).cloned();
        if let Some(id) = known.filter(|_| self.chance.random_bool(0.7)) {
            let vote = if self.chance.random_bool(0.7) { "approve" } else { "reject" };
            self.post(&format!("/api/v1/approvals/{id}/{vote}"), &json!({})).await;
            return;
        }
        let open = race.app.get("/api/v1/approvals").await.json;
        let ids = open["items"].as_array().into_iter().flatten();
        let ids = ids.map(|approval| approval["id"].as_str().unwrap().to_owned());
        race.approvals.lock().unwrap().extend(ids);
    }

    /// Edits a schedule, most of them while they are due.
    async fn schedule(&mut self) {
        let name = format!("raced/s{}", self.chance.random_range(0..3));
        let path = format!("/api/v1/schedules/{name}");
        let race = Arc::clone(&self.race);
        match self.chance.random_range(0..6) {
            0 => self.post(&format!("{path}/pause"), &json!({})).await,
            1 => self.post(&format!("{path}/resume"), &json!({})).await,
            2 => self.post(&format!("{path}/trigger"), &json!({})).await,
            3 => {
                let answer = Answer::of(race.app.request(Method::DELETE, &path)).await;
                self.note("schedule delete", &answer);
            }
            4 => race.app.db.advance(Duration::from_secs(1)).await,
            _ => {
                let body = json!({ "id": name, "cron": "* * * * *", "overlap": "allow" });
                self.post("/api/v1/schedules", &body).await;
            }
        }
    }

    async fn post(&mut self, path: &str, body: &Value) {
        let answer = self.race.app.post(path, body).await;
        self.note(path, &answer);
    }

    fn note(&mut self, path: &str, answer: &Answer) {
        let status = answer.status.as_u16();
        let code = answer.json["code"].as_str().unwrap_or("done");
        let is_done = matches!(status, 200 | 201 | 204) && code == "done";
        let is_refused = matches!(status, 404 | 409) && REFUSALS.contains(&code);
        assert!(is_done || is_refused, "{path}: {}", answer.text);
        *self.answers.entry(format!("{status} {code}")).or_default() += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_people_steer_at_once() {
    let (sessions, clients, acts) = (
        scale("JOBSHOP_RACE_SESSIONS", 20),
        scale("JOBSHOP_RACE_CLIENTS", 8),
        scale("JOBSHOP_RACE_ACTS", 800),
    );
    let mut app = TestApp::new().await;
    app.start();
    let applied = app.post("/api/v1/workflows", &json!({ "definition": RACED })).await;
    assert!(applied.status.is_success(), "{}", applied.text);
    let mut ids = Vec::new();
    for n in 0..sessions {
        let definition = DEFINITIONS[n % DEFINITIONS.len()];
        let body = json!({ "definition": definition, "start": n % 7 != 0 });
        let created = app.post("/api/v1/sessions", &body).await;
        assert_eq!(created.status, 201, "{}", created.text);
        ids.push(created.json["id"].as_str().unwrap().to_owned());
    }
    let race = Arc::new(Race { app, ids, approvals: std::sync::Mutex::default() });
    let mut people = JoinSet::new();
    for client in 0..clients {
        let chance = StdRng::seed_from_u64(client as u64 + 1);
        let race = Arc::clone(&race);
        let mut person = Person { race, chance, answers: BTreeMap::new() };
        people.spawn(async move {
            for _ in 0..acts / clients {
                person.act().await;
            }
            person.answers
        });
    }
    let mut answers: BTreeMap<String, usize> = BTreeMap::new();
    while let Some(done) = people.join_next().await {
        for (answer, count) in done.unwrap() {
            *answers.entry(answer).or_default() += count;
        }
    }
    for answer in ["200 done", "201 done", "409 illegal_move"] {
        assert!(answers.contains_key(answer), "{answers:?}");
    }
    come_to_an_end(&race).await;
    truth::check(race.app.db.pool()).await;
    let deadlocks: i64 = sqlx::query_scalar(
        "select deadlocks from pg_stat_database where datname = current_database()",
    )
    .fetch_one(race.app.db.pool())
    .await
    .unwrap();
    assert_eq!(deadlocks, 0);
}

/// Lets everything go that is held, and waits until every session has ended in a lawful state.
async fn come_to_an_end(race: &Race) {
    let app = &race.app;
    for n in 0..3 {
        app.request(Method::DELETE, &format!("/api/v1/schedules/raced/s{n}")).send().await.unwrap();
    }
    for id in &race.ids {
        let path = format!("/api/v1/sessions/{id}");
        let status = wait::until("the end of a session", Duration::from_mins(1), async || {
            let session = app.get(&path).await.json;
            let status = session["status"].as_str().unwrap().to_owned();
            match status.as_str() {
                "pending" => drop(app.post(&format!("{path}/start"), &json!({})).await),
                "paused" => drop(app.post(&format!("{path}/resume"), &json!({})).await),
                "queued" | "running" | "degraded" => resume_tasks(app, &path).await,
                _ => return Some(status),
            }
            None
        })
        .await;
        assert!(status.parse::<SessionState>().unwrap().is_final(), "{status}");
    }
    wait::until("nothing is left open", Duration::from_secs(30), async || {
        control::tick(&app.store).await.unwrap();
        let open: i64 = sqlx::query_scalar(
            "select count(*) from tasks t join session_progress p using (tenant_id, session_id)
              where t.state < 6 or p.sweep > 0 or p.undecided or p.state < 5",
        )
        .fetch_one(app.db.pool())
        .await
        .unwrap();
        (open == 0).then_some(())
    })
    .await;
}

async fn resume_tasks(app: &TestApp, path: &str) {
    let page = app.get(&format!("{path}/tasks?status=paused")).await.json;
    for task in page["items"].as_array().into_iter().flatten() {
        let key = task["key"].as_str().unwrap().replace('[', "%5B").replace(']', "%5D");
        app.post(&format!("{path}/tasks/{key}/resume"), &json!({})).await;
    }
}
