//! Votes, signals, cancels and retries of several people at once, with several control loops:
//! nothing waits for what waits for it, every approval has one result, every signal is taken once.

use std::time::Duration;

use jobshop_engine::store::{Store, StoreConfig, control};
use jobshop_tests::{TestApp, truth, wait};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const SESSIONS: usize = 10;
const PEOPLE: u64 = 8;
const ACTS: usize = 60;

/// Each item asks two people, then waits for a signal; all items wait for the same name.
const BATCH: &str = "
version: 1
name: batch
tasks:
  each:
    for_each: [a, b, c]
    key: ${{ item }}
    tasks:
      ask: { approval: { quorum: 2 } }
      wait: { needs: [ask], wait_for: go, outputs: { type: object, properties: { n: { type: integer } } } }
      done: { needs: [wait], uses: builtin/noop }
";

/// One person with a key, doing whatever comes to mind.
struct Person {
    http: reqwest::Client,
    url: String,
    key: String,
    sessions: Vec<String>,
    chance: StdRng,
}

impl Person {
    async fn new(app: &TestApp, seed: u64, sessions: &[String]) -> Self {
        let body = json!({ "name": format!("p{seed}"), "role": "operator" });
        let made = app.post("/api/v1/keys", &body).await.json;
        Self {
            http: reqwest::Client::new(),
            url: app.url.clone(),
            key: made["key"].as_str().unwrap_or_default().to_owned(),
            sessions: sessions.to_vec(),
            chance: StdRng::seed_from_u64(seed),
        }
    }

    async fn get(&self, path: &str) -> Value {
        let request = self.http.get(format!("{}{path}", self.url)).bearer_auth(&self.key);
        let answer = request.send().await.expect("the API answers");
        answer.json().await.expect("JSON")
    }

    /// What is asked may come too late, never break anything.
    async fn post(&self, path: &str, body: &Value) {
        let request = self.http.post(format!("{}{path}", self.url)).bearer_auth(&self.key);
        let answer = request.json(body).send().await.expect("the API answers");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("a body");
        assert!([200, 201, 409, 422].contains(&status), "{path}: {status} {text}");
    }

    async fn act(&mut self) {
        let session = self.sessions[self.chance.random_range(0..self.sessions.len())].clone();
        match self.chance.random_range(0..100) {
            0..60 => {
                let open = self.get(&format!("/api/v1/approvals?session={session}")).await;
                let open = open["items"].as_array().cloned().unwrap_or_default();
                if open.is_empty() {
                    return;
                }
                let chosen = &open[self.chance.random_range(0..open.len())];
                let verb = if self.chance.random_bool(0.9) { "approve" } else { "reject" };
                let id = chosen["id"].as_str().unwrap_or_default();
                self.post(&format!("/api/v1/approvals/{id}/{verb}"), &json!({})).await;
            }
            60..85 => {
                let n = if self.chance.random_bool(0.8) { json!(1) } else { json!("no number") };
                let body = json!({ "name": "go", "data": { "n": n } });
                self.post(&format!("/api/v1/sessions/{session}/signals"), &body).await;
            }
            85..97 => self.post(&format!("/api/v1/sessions/{session}/retry"), &json!({})).await,
            _ => self.post(&format!("/api/v1/sessions/{session}/cancel"), &json!({})).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn people_who_act_at_once_get_one_result_each() {
    let mut app = TestApp::new().await;
    app.start();
    let stop = CancellationToken::new();
    let mut loops = JoinSet::new();
    for _ in 0..2 {
        let store = Store::new(StoreConfig::new(app.db.url())).expect("the URL of a test");
        loops.spawn(control::run(store, stop.clone()));
    }
    let mut sessions = Vec::new();
    for _ in 0..SESSIONS {
        sessions.push(app.submit(BATCH).await["id"].as_str().unwrap_or_default().to_owned());
    }
    let mut people = JoinSet::new();
    for seed in 0..PEOPLE {
        let mut person = Person::new(&app, seed, &sessions).await;
        people.spawn(async move {
            for _ in 0..ACTS {
                person.act().await;
            }
        });
    }
    while let Some(ended) = people.join_next().await {
        ended.expect("nobody was refused in a way that must not be");
    }
    for session in &sessions {
        app.post(&format!("/api/v1/sessions/{session}/cancel"), &json!({})).await;
    }
    wait::until("the janitor's end", Duration::from_secs(30), async || {
        let open: i64 = sqlx::query_scalar(
            "select (select count(*) from tasks t where t.state < 6)
                  + (select count(*) from approvals a where a.status = 0)",
        )
        .fetch_one(app.db.pool())
        .await
        .expect("counted");
        (open == 0).then_some(())
    })
    .await;
    truth::check(app.db.pool()).await;
    let wrong: Vec<String> =
        sqlx::query_scalar(WRONG).fetch_all(app.db.pool()).await.expect("read");
    assert!(wrong.is_empty(), "{wrong:?}");
    let (approved, rejected, taken): (i64, i64, i64) = sqlx::query_as(
        "select (select count(*) from approvals where status = 1),
                (select count(*) from approvals where status = 2),
                (select count(*) from signals where fate = 1)",
    )
    .fetch_one(app.db.pool())
    .await
    .expect("counted");
    assert!(approved > 0 && rejected > 0 && taken > 0, "{approved} {rejected} {taken}");
    let deadlocks: i64 = sqlx::query_scalar(
        "select deadlocks from pg_stat_database where datname = current_database()",
    )
    .fetch_one(app.db.pool())
    .await
    .expect("counted");
    assert_eq!(deadlocks, 0);
    stop.cancel();
    while let Some(ended) = loops.join_next().await {
        ended.expect("no loop panics");
    }
    app.stop().await;
}

/// Approvals whose votes do not say what became of them, and signals that were taken other than once.
const WRONG: &str = "
    with told as (
        select e.session_id, k.kind, k.task, e.bodies[k.n] as body
          from events e cross join lateral
               unnest(e.kinds, e.tasks) with ordinality as k (kind, task, n)
    ), decided as (
        select body ->> 'id' as id, count(*) as times from told
         where (body ->> 'decided')::bool group by 1
    ), taken as (
        select session_id, (body ->> 'signal')::int as number, count(*) as times from told
         where body ? 'signal' group by 1, 2
    )
    select format('approval %s: status %s, decided %s times', a.id, a.status, d.times)
      from approvals a left join decided d on d.id = a.id::text
     where coalesce(d.times, 0) <> (a.status in (1, 2))::int
     union all
    select format('approval %s: %s votes for it', a.id, count(v.voter))
      from approvals a left join approval_votes v on v.approval_id = a.id and v.approves
     where a.status = 1 group by a.id having count(v.voter) <> 2
     union all
    select format('signal %s of %s: fate %s, taken %s times', s.number, s.session_id, s.fate, t.times)
      from signals s left join taken t on t.session_id = s.session_id and t.number = s.number
     where coalesce(t.times, 0) <> (s.fate = 1)::int";
