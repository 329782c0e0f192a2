//! Files of workspaces from the task that left them to whoever asks for them.

#![expect(clippy::unwrap_used, reason = "what cannot be set up is a failed test")]

use jobshop_engine::{
    event::EventKind,
    id::SessionKey,
    session::SessionState,
    store::{
        artifact_view::{ArtifactObject, Wanted},
        objects::{Objects, from_hex},
        sessions::{self, Wish},
        view::Views,
    },
};
use jobshop_tests::{Fleet, truth};

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
