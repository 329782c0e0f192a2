//! Files of workspaces from the task that left them to whoever asks for them.

#![expect(clippy::unwrap_used, reason = "what cannot be set up is a failed test")]

use std::time::Duration;

use jobshop_engine::{
    event::EventKind,
    id::SessionKey,
    session::SessionState,
    store::{
        archive::{Archive, Retention},
        artifact_view::{ArtifactObject, Wanted},
        contents, control,
        objects::{Objects, from_hex},
        sessions::{self, Wish},
        view::Views,
    },
};
use jobshop_tests::{Fleet, truth, wait};
use serde_json::Value;

async fn fleet() -> (Fleet, tempfile::TempDir) {
    let mut fleet = Fleet::new(env!("CARGO_BIN_EXE_cluster-owner")).await;
    let place = tempfile::tempdir().unwrap();
    fleet.store.objects = Some(Objects::folder(place.path()).unwrap());
    fleet.worker();
    (fleet, place)
}

async fn artifacts(fleet: &Fleet, key: SessionKey) -> Vec<ArtifactObject> {
    let views = Views::new(&fleet.store, key.tenant);
    views.artifacts(key, Wanted::default()).await.unwrap().items
}

fn named(found: &[ArtifactObject]) -> Vec<(&str, i32, &str, i64)> {
    found.iter().map(|it| (it.task.as_str(), it.attempt, it.path.as_str(), it.bytes)).collect()
}

async fn content(fleet: &Fleet, key: SessionKey, artifact: &ArtifactObject) -> Vec<u8> {
    let objects = fleet.store.objects.as_ref().unwrap();
    objects.read(key.tenant, &from_hex(&artifact.sha256).unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_task_declares_is_kept_by_content_and_nothing_else_is() {
    let (fleet, place) = fleet().await;
    let definition = r#"
version: 1
name: kept
tasks:
  one:
    env: { NAME: a }
    run: |
      mkdir -p out/deep empty && printf hello > out/deep/a.txt && printf hello > b.txt
      printf no > other && ln -s /etc/passwd out/link && mkfifo out/pipe
      head -c 9000000 /dev/zero > big.bin
      ln -s / root
    artifacts: ["out/**", "*.txt", big.bin, empty, "none/*", "root/etc/*"]
  two:
    run: printf hello > c.txt
    artifacts: c.txt
"#;
    let (key, state) = fleet.run(definition).await;
    let rows = fleet.rows(key).await;
    assert_eq!(state, SessionState::Completed, "{rows:?}");
    let found = artifacts(&fleet, key).await;
    assert_eq!(
        named(&found),
        [
            ("one", 1, "b.txt", 5),
            ("one", 1, "big.bin", 9_000_000),
            ("one", 1, "out/deep/a.txt", 5),
            ("two", 1, "c.txt", 5),
        ]
    );
    assert_eq!(found[0].sha256, found[2].sha256);
    assert_eq!(content(&fleet, key, &found[3]).await, b"hello");
    assert_eq!(content(&fleet, key, &found[1]).await, vec![0; 9_000_000]);
    let views = Views::new(&fleet.store, key.tenant);
    assert_eq!(named(&views.task(key, "two").await.unwrap().artifacts), named(&found[3..]));
    let tenant = place.path().join(key.tenant.to_string());
    let folders = std::fs::read_dir(tenant).unwrap();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
    assert_eq!(files.count(), 2);
    let events = fleet.events(key).await;
    let stored = events.iter().filter(|it| it.1 == EventKind::ArtifactStored.code()).count();
    assert_eq!(stored, 2);
    truth::check(fleet.db.pool()).await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_file_fails_the_task_and_a_failed_attempt_leaves_its_report() {
    let (fleet, _place) = fleet().await;
    let definition = r#"
version: 1
name: reports
tasks:
  missing: { run: "true", artifacts: [report.xml] }
  tests: { run: "printf bad > report.xml; exit 3", artifacts: [report.xml, absent.xml] }
"#;
    let (key, state) = fleet.run(definition).await;
    assert_eq!(state, SessionState::Failed);
    let rows = fleet.rows(key).await;
    let message = |at: usize| rows[at].error.as_ref().unwrap()["message"].as_str().unwrap();
    assert_eq!(message(0), "the artifact `report.xml` is not there");
    assert!(message(1).starts_with("exit code 3"), "{}", message(1));
    sessions::retry(&fleet.store, key, Wish::default(), None).await.unwrap();
    fleet.end_of(key).await;
    let found = artifacts(&fleet, key).await;
    let both = [("tests", 1, "report.xml", 3), ("tests", 2, "report.xml", 3)];
    assert_eq!(named(&found), both);
    let views = Views::new(&fleet.store, key.tenant);
    let first = Wanted { limit: Some(1), path: Some("report.xml"), ..Wanted::default() };
    let page = views.artifacts(key, first).await.unwrap();
    assert_eq!(named(&page.items), both[..1]);
    let rest = Wanted { cursor: page.next.as_deref(), task: Some("tests"), ..first };
    assert_eq!(named(&views.artifacts(key, rest).await.unwrap().items), both[1..]);
    fleet.stop().await;
}

/// What was let go of, and what is just being removed, has been so for hours.
async fn age(fleet: &Fleet) {
    let pool = fleet.db.pool();
    let back = "update loose_contents set since = since - interval '2 hours'";
    sqlx::query(back).execute(pool).await.unwrap();
    let back = "update session_progress set finished_at = finished_at - interval '2 hours'";
    sqlx::query(back).execute(pool).await.unwrap();
}

async fn loose(fleet: &Fleet) -> Vec<i16> {
    let states = "select state from loose_contents order by state";
    sqlx::query_scalar(states).fetch_all(fleet.db.pool()).await.unwrap()
}

fn leaving(name: &str, more: &str, tasks: &[(&str, &str)]) -> String {
    let tasks = tasks
        .iter()
        .map(|(id, text)| format!("  {id}: {{ run: \"printf {text} > f\", artifacts: f }}\n"));
    format!("version: 1\nname: {name}\n{more}\ntasks:\n{}", tasks.collect::<String>())
}

#[tokio::test(flavor = "multi_thread")]
async fn contents_that_nothing_names_any_more_go_and_what_another_session_names_stays() {
    let (mut fleet, place) = fleet().await;
    let archive = Archive::folder(&place.path().join("archive")).unwrap();
    fleet.store.retention = Retention { archive: Some(archive), after: None };
    let old = leaving("old", "retention: 1h", &[("a", "shared"), ("b", "own")]);
    let (old, state) = fleet.run(&old).await;
    assert_eq!(state, SessionState::Completed);
    let (kept, _) = fleet.run(&leaving("kept", "", &[("a", "shared")])).await;
    let before = artifacts(&fleet, old).await;
    age(&fleet).await;
    assert_eq!(control::retain(&fleet.store).await.unwrap(), 1);
    assert_eq!(loose(&fleet).await, [0, 0], "both were let go of");
    assert_eq!(content(&fleet, old, &before[1]).await, b"own", "it is spared for a while");
    age(&fleet).await;
    assert_eq!(contents::remove(&fleet.store).await.unwrap(), 1);
    assert_eq!(contents::remove(&fleet.store).await.unwrap(), 0);
    let objects = fleet.store.objects.clone().unwrap();
    let own = from_hex(&before[1].sha256).unwrap();
    assert!(objects.read(old.tenant, &own).await.is_err(), "nobody names it");
    let named = artifacts(&fleet, kept).await;
    assert_eq!(content(&fleet, kept, &named[0]).await, b"shared");
    // Left again, it is there again.
    let (again, state) = fleet.run(&leaving("again", "", &[("a", "own")])).await;
    assert_eq!(state, SessionState::Completed, "{:?}", fleet.rows(again).await);
    let named = artifacts(&fleet, again).await;
    assert_eq!(content(&fleet, again, &named[0]).await, b"own");
    assert_eq!(loose(&fleet).await, [] as [i16; 0]);
    truth::check(fleet.db.pool()).await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_just_being_removed_is_stored_once_more_by_who_leaves_it_now() {
    let (fleet, _place) = fleet().await;
    let objects = fleet.store.objects.clone().unwrap();
    let tenant = jobshop_engine::id::TenantId::DEFAULT;
    let id = objects.put(tenant, b"fresh".to_vec()).await.unwrap();
    let pool = fleet.db.pool();
    sqlx::query("insert into loose_contents values ($1, $2, clock(), 1)")
        .bind(tenant.0)
        .bind(&id[..])
        .execute(pool)
        .await
        .unwrap();
    let definition = leaving("fresh", "", &[("a", "fresh")]);
    let key = fleet.submit(&definition, Value::Null).await;
    // Its content is there, but somebody is about to remove it.
    wait::until("the attempt", Duration::from_mins(1), async || {
        (fleet.rows(key).await[0].attempt == 1).then_some(())
    })
    .await;
    assert!(artifacts(&fleet, key).await.is_empty());
    age(&fleet).await;
    assert_eq!(contents::remove(&fleet.store).await.unwrap(), 1);
    assert_eq!(fleet.end_of(key).await, SessionState::Completed);
    let named = artifacts(&fleet, key).await;
    assert_eq!(content(&fleet, key, &named[0]).await, b"fresh");
    assert_eq!(loose(&fleet).await, [] as [i16; 0]);
    fleet.stop().await;
}
