//! Providers of models, whose quota the fleet shares: a turn that is refused waits without a worker,
//! others do not call meanwhile, and many workers at once make no storm.

#![expect(clippy::unwrap_used, reason = "an accident is a failed test")]

use std::time::Duration;

use jobshop_engine::{
    provider::{Breaker, ProviderKey},
    session::SessionState,
    store::{
        providers::{self, Turn},
        view::Views,
    },
    task::{Reason, TaskState},
};
use jobshop_tests::{Fleet, TestApp, TestDb, wait};
use serde_json::{Value, json};
use tokio::task::JoinSet;

const LAUNCHER: &str = env!("CARGO_BIN_EXE_cluster-owner");
const LIMIT: Duration = Duration::from_mins(1);

fn key() -> ProviderKey {
    ProviderKey::of_model("acme/large", ProviderKey::DEFAULT_ACCOUNT).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_turn_waits_without_a_worker_and_nobody_else_calls_meanwhile() {
    let mut fleet = Fleet::new(LAUNCHER).await;
    fleet.worker_with(|config| config.concurrency = 1);
    let script = fleet.folder().join("script.yaml");
    let steps =
        "attempts: { '1': [{ refuse: { retry_after: 20s } }] }\nsteps: [{ summary: done }]\n";
    std::fs::write(&script, steps).unwrap();
    let told = fleet.folder().join("told.yaml");
    std::fs::write(&told, "steps: [{ summary: '{{ model }}' }]").unwrap();
    let session = fleet
        .submit(
            &format!(
                "version: 1\nname: providers\ntasks:\n  first:\n    agent: {{ runtime: scripted, \
                 script: {0}, model: acme/large }}\n    allow_empty: true\n  second:\n    needs: \
                 [free]\n    agent: {{ runtime: scripted, script: {0}, model: acme/large }}\n    \
                 allow_empty: true\n  free: {{ run: 'true' }}\n  \
                 third:\n    needs: [free]\n    agent: {{ runtime: scripted, script: {1}, model: \
                 acme/large, fallback: [acme/large, other/small] }}\n    allow_empty: true\n",
                script.display(),
                told.display()
            ),
            Value::Null,
        )
        .await;
    let views = Views::new(&fleet.store, session.tenant);
    let others_wait = async || {
        let rows = fleet.rows(session).await;
        let waits = |row: &jobshop_tests::fleet::Row| {
            (row.state, row.reason) == (TaskState::Blocked, Some(Reason::Provider))
        };
        let is_done = rows[3].state == TaskState::Completed;
        (waits(&rows[0]) && waits(&rows[1]) && is_done).then_some(rows)
    };
    let rows = wait::until("all but two to be done", LIMIT, others_wait).await;
    assert_eq!(rows[2].state, TaskState::Completed, "the only worker was free for it");
    assert_eq!(rows[3].output.as_ref().unwrap()["summary"], "other/small");
    let why = views.why(session, Some("first")).await.unwrap();
    let says = "`first` waits for acme/large (acme/large refused: 429 Too Many Requests)";
    assert!(why.summary.starts_with(says), "{}", why.summary);
    let why = views.why(session, Some("second")).await.unwrap();
    assert!(why.summary.contains("acme/large lets no turn begin"), "{}", why.summary);
    let [shown, _] = providers::list(fleet.db.pool()).await.unwrap().try_into().unwrap();
    assert_eq!((shown.breaker, shown.begun, shown.refused), (Breaker::Open, 1, 1));
    assert_eq!(fleet.end_of(session).await, SessionState::Completed);
    let rows = fleet.rows(session).await;
    assert!(rows.iter().all(|row| row.failures == 0), "nothing is counted: {rows:?}");
    let [shown, _] = providers::list(fleet.db.pool()).await.unwrap().try_into().unwrap();
    assert_eq!(shown.refused, 1, "the second never called in vain");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_workers_that_are_refused_call_once_in_a_window_until_it_answers() {
    let db = TestDb::new().await;
    db.freeze_clock("2026-01-01T00:00:00Z".parse().unwrap()).await;
    let everybody_asks = async || {
        let mut asking = JoinSet::new();
        for _ in 0..50 {
            let pool = db.pool().clone();
            asking.spawn(async move { providers::ask(&pool, &key(), 1).await.unwrap() });
        }
        asking.join_all().await.into_iter().filter(|turn| matches!(turn, Turn::Granted(_))).count()
    };
    assert_eq!(everybody_asks().await, 50, "nobody knows better yet");
    let mut refused = JoinSet::new();
    for _ in 0..50 {
        let pool = db.pool().clone();
        refused.spawn(async move { providers::refused(&pool, &key(), None).await.unwrap() });
    }
    refused.join_all().await;
    let mut wasted = 0;
    for window in [15, 30, 60, 120] {
        assert_eq!(everybody_asks().await, 0, "the window is {window} s long");
        db.advance(Duration::from_secs(window)).await;
        wasted += everybody_asks().await;
        providers::refused(db.pool(), &key(), None).await.unwrap();
    }
    assert_eq!(wasted, 4, "one in each window");
    db.advance(Duration::from_mins(4)).await;
    for more in [1, 2, 3, 5, 9, 17] {
        assert_eq!(
            everybody_asks().await,
            more,
            "one was answered, and twice as many may be under way"
        );
        providers::passed(db.pool(), &key()).await.unwrap();
    }
    assert_eq!(everybody_asks().await, 50, "it answers again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_is_set_shown_and_kept_to() {
    let app = TestApp::new().await;
    app.db.freeze_clock("2026-01-01T00:00:00Z".parse().unwrap()).await;
    let body = json!({ "model": "acme/large", "turns_per_minute": 6, "tokens_per_minute": 600 });
    let put = |body: Value| app.request(reqwest::Method::PUT, "/api/v1/providers").json(&body);
    let set = jobshop_tests::Answer::of(put(body)).await;
    assert_eq!(set.status, 200, "{}", set.text);
    let wrong = jobshop_tests::Answer::of(put(json!({ "model": "large" }))).await;
    assert!(wrong.problem(400, "invalid_body").contains("provider/model"), "{}", wrong.text);
    let pool = app.db.pool();
    assert_eq!(providers::ask(pool, &key(), 16).await.unwrap(), Turn::Granted(1));
    assert!(matches!(providers::ask(pool, &key(), 16).await.unwrap(), Turn::Wait(_)));
    app.db.advance(Duration::from_secs(10)).await;
    assert_eq!(providers::ask(pool, &key(), 16).await.unwrap(), Turn::Granted(1));
    let shown = app.get("/api/v1/providers").await;
    let it = &shown.json["items"][0];
    assert_eq!(
        (&it["provider"], &it["model"], &it["quota"]["turns"], &it["breaker"], &it["updated_by"]),
        (&json!("acme"), &json!("large"), &json!(6), &json!("closed"), &json!("admin"))
    );
}
