//! Evidence from a verified task to what is said of it: signed, kept, invalid once something changed.

#![expect(clippy::unwrap_used, reason = "what cannot be set up is a failed test")]

use std::path::Path;

use jobshop_engine::{
    event::EventKind,
    evidence::Standing,
    id::SessionKey,
    session::SessionState,
    store::{
        evidence_view::EvidenceObject,
        sessions::{self, Wish},
        view::Views,
    },
};
use jobshop_tests::{Fleet, git, truth};
use serde_json::json;

fn repository(dir: &Path) {
    git(dir, &["init", "-q", "-b", "main"]);
    std::fs::write(dir.join("a"), "1\n").unwrap();
    git(dir, &["add", "."]);
    git(dir, &["commit", "-qm", "one"]);
}

async fn evidence(fleet: &Fleet, key: SessionKey) -> Vec<EvidenceObject> {
    let views = Views::new(&fleet.store, key.tenant);
    views.evidence(key, None, None, None).await.unwrap().items
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_worker_saw_is_signed_and_invalid_once_something_changed() {
    let mut fleet = Fleet::new(env!("CARGO_BIN_EXE_cluster-owner")).await;
    fleet.worker();
    let dir = tempfile::tempdir().unwrap();
    repository(dir.path());
    let definition = format!(
        "
version: 1
name: verified
workspace: {{ repo: {} }}
tasks:
  fix:
    agent: {{ runtime: command, prompt: p, command: [bash, -c, 'grep -q failed && echo 2 > b; date >> a'] }}
    verify: [\"true\", 'test -e b || {{ echo no b; exit 7; }}']
    on_verify_fail: {{ max_rounds: 2 }}
  after: {{ needs: [fix], run: cat b }}
",
        dir.path().display()
    );
    let (key, state) = fleet.run(&definition).await;
    let rows = fleet.rows(key).await;
    assert_eq!(state, SessionState::Completed, "{rows:?}");
    let found = evidence(&fleet, key).await;
    let short: Vec<_> = found.iter().map(|it| (it.round, it.passed, it.status)).collect();
    assert_eq!(short, [(1, false, Standing::Failed), (2, true, Standing::Valid)]);
    let codes: Vec<_> = found[0].commands.iter().map(|it| it.exit_code).collect();
    assert_eq!(codes, [Some(0), Some(7)]);
    assert_eq!(found[1].task, "fix");
    assert_eq!(json!(found[1].commit), rows[0].output.as_ref().unwrap()["commit"]);
    assert_ne!(found[0].commit, found[1].commit);
    let events = fleet.events(key).await;
    let recorded = events.iter().filter(|it| it.1 == EventKind::EvidenceRecorded.code()).count();
    assert_eq!(recorded, 2);
    truth::check(fleet.db.pool()).await;

    // Another text than what was signed, and a row that says something else than it.
    for (change, back) in [
        ("statement = statement || ' '", "statement = rtrim(statement)"),
        ("commit_id = repeat('0', 40)", "commit_id = statement::json ->> 'commit'"),
    ] {
        sqlx::query(sqlx::AssertSqlSafe(format!("update evidence set {change}")))
            .execute(fleet.db.pool())
            .await
            .unwrap();
        assert_eq!(evidence(&fleet, key).await[0].status, Standing::Forged);
        sqlx::query(sqlx::AssertSqlSafe(format!("update evidence set {back}")))
            .execute(fleet.db.pool())
            .await
            .unwrap();
    }
    sqlx::query("update tasks set output = output || '{\"commit\": \"another\"}' where seq = 1")
        .execute(fleet.db.pool())
        .await
        .unwrap();
    assert_eq!(evidence(&fleet, key).await[1].status, Standing::Superseded);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_pass_fails_the_task_and_a_retry_takes_its_place() {
    let mut fleet = Fleet::new(env!("CARGO_BIN_EXE_cluster-owner")).await;
    fleet.worker();
    let dir = tempfile::tempdir().unwrap();
    repository(dir.path());
    let flag = dir.path().join("flag");
    let definition = format!(
        "
version: 1
name: verified
workspace: {{ repo: {} }}
tasks:
  fix: {{ run: date >> a, verify: 'test -e {}' }}
",
        dir.path().display(),
        flag.display()
    );
    let (key, state) = fleet.run(&definition).await;
    assert_eq!(state, SessionState::Failed);
    let error = fleet.rows(key).await[0].error.clone().unwrap();
    assert_eq!(error["class"], "error");
    let message = error["message"].as_str().unwrap();
    assert!(message.starts_with("verify failed: `test -e "), "{message}");
    std::fs::write(&flag, "").unwrap();
    sessions::retry(&fleet.store, key, Wish::default(), None).await.unwrap();
    assert_eq!(fleet.end_of(key).await, SessionState::Completed);
    let found = evidence(&fleet, key).await;
    let short: Vec<_> = found.iter().map(|it| (it.attempt, it.status)).collect();
    assert_eq!(short, [(1, Standing::Failed), (2, Standing::Valid)]);
    fleet.stop().await;
}
