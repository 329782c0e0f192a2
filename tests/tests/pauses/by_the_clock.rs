//! What the clock brings about, in such company: fires of schedules, ends of leases, archiving.

use std::time::Duration;

use chrono::Utc;
use jobshop_engine::{
    id::TenantId,
    session::SessionState,
    store::{
        applying,
        archive::{Archive, Retention},
        archiving::{self, Walk},
        control,
        pauses::{Halt, Point},
        removal, schedules,
        steer::By,
        workers,
    },
};
use jobshop_tests::{
    Stage,
    stage::{LEASE_SECS, succeeded},
    truth,
};
use tokio::task::JoinSet;

use super::{Gate, ONE, somebody_waits};

const NAP: &str = "
version: 1
name: nap
tasks: { a: { sleep: 1h } }
triggers:
  schedule:
    - { id: it, cron: \"0 * * * *\" }
";

/// A schedule of which a time is due.
async fn scheduled() -> Stage {
    let stage = Stage::new().await;
    stage.db.freeze_clock("2026-01-05T09:30:00Z".parse().unwrap()).await;
    applying::apply(&stage.store, TenantId::DEFAULT, NAP, None).await.unwrap();
    stage.db.advance(Duration::from_mins(31)).await;
    stage
}

async fn sessions_of(stage: &Stage) -> i64 {
    let count = sqlx::query_scalar("select count(*) from sessions");
    count.fetch_one(stage.db.pool()).await.unwrap()
}

#[tokio::test]
async fn a_schedule_that_is_paused_after_it_was_seen_to_be_due_does_not_fire() {
    let stage = scheduled().await;
    let id = "nap/it".parse().unwrap();
    let halt = Halt::at(Point::DueRead);
    let (ticked, ()) = tokio::join!(halt.run(control::tick(&stage.store)), async {
        halt.reached().await;
        schedules::pause(&stage.store, TenantId::DEFAULT, &id, None, None).await.unwrap();
        halt.go_on();
    });
    ticked.unwrap();
    stage.settle().await;
    assert_eq!(sessions_of(&stage).await, 0);
}

#[tokio::test]
async fn a_schedule_that_another_process_fired_meanwhile_fires_once() {
    let stage = scheduled().await;
    let halt = Halt::at(Point::DueRead);
    let (ticked, ()) = tokio::join!(halt.run(control::tick(&stage.store)), async {
        halt.reached().await;
        stage.settle().await;
        assert_eq!(sessions_of(&stage).await, 1);
        halt.go_on();
    });
    ticked.unwrap();
    stage.settle().await;
    assert_eq!(sessions_of(&stage).await, 1);
    truth::check(stage.db.pool()).await;
}

#[tokio::test]
async fn an_edit_waits_for_a_fire_that_is_being_written() {
    let stage = scheduled().await;
    let halt = Halt::at(Point::FireWritten);
    let mut edits = JoinSet::new();
    let (ticked, ()) = tokio::join!(halt.run(control::tick(&stage.store)), async {
        halt.reached().await;
        let store = stage.store.clone();
        let without = NAP.split("triggers").next().unwrap().to_owned();
        edits.spawn(async move {
            applying::apply(&store, TenantId::DEFAULT, &without, None).await.map(|_| ())
        });
        somebody_waits(&stage).await;
        halt.go_on();
    });
    ticked.unwrap();
    edits.join_next().await.unwrap().unwrap().unwrap();
    stage.db.advance(Duration::from_hours(5)).await;
    stage.settle().await;
    assert_eq!(sessions_of(&stage).await, 1, "the one before the edit, none after it");
    truth::check(stage.db.pool()).await;
}

#[tokio::test]
async fn a_lease_that_is_renewed_while_the_reaper_looks_is_not_ended() {
    let mut gate = Gate::new().await;
    let session = gate.stage.submit(ONE).await;
    let player = gate.stage.player("worker").await;
    let held = player.claim_one().await;
    gate.advance(LEASE_SECS - 1).await;
    let store = gate.slow.clone();
    let mut reaping = JoinSet::new();
    reaping.spawn(async move { workers::end_expired(&store.pool).await.unwrap() });
    gate.reached().await;
    // The reaper has its snapshot, in which the lease is nearly over.
    assert!(player.renew().await);
    gate.advance(LEASE_SECS - 1).await;
    gate.open().await;
    assert_eq!(reaping.join_next().await.unwrap().unwrap(), 0);
    assert!(player.renew().await);
    assert!(player.ends(succeeded(held.fence)).await);
    assert_eq!(gate.stage.state(session).await, SessionState::Completed);
}

#[tokio::test]
async fn a_renewal_that_comes_to_the_clock_too_late_is_refused() {
    let mut gate = Gate::new().await;
    gate.stage.submit(ONE).await;
    let player = gate.stage.player("worker").await;
    let (store, id) = (gate.slow.clone(), player.id);
    let mut renewing = JoinSet::new();
    renewing.spawn(async move { workers::renew(&store.pool, id, LEASE_SECS).await.unwrap() });
    gate.reached().await;
    gate.advance(LEASE_SECS + 1).await;
    gate.open().await;
    let renewed = renewing.join_next().await.unwrap().unwrap();
    let ended = workers::end_expired(&gate.stage.store.pool).await.unwrap();
    assert_eq!((renewed, ended), (false, 1), "one of them, not both");
    assert!(player.claim(8).await.is_empty());
}

#[tokio::test]
async fn a_session_that_is_restored_after_its_file_was_written_stays() {
    let stage = Stage::new().await;
    stage.db.freeze_clock(Utc::now()).await;
    let folder = tempfile::tempdir().unwrap();
    let archive = Archive::folder(&folder.path().join("archive")).unwrap();
    let mut store = stage.another_store();
    let after = Some("1h".parse().unwrap());
    store.retention = Retention { archive: Some(archive.clone()), after };
    let session = stage.submit(ONE).await;
    let player = stage.player("worker").await;
    assert!(player.ends(succeeded(player.claim_one().await.fence)).await);
    removal::delete(&store, session, By::default()).await.unwrap();
    stage.db.advance(Duration::from_hours(2)).await;
    let due = archiving::look(&store.pool, &store.retention, &mut Walk::default()).await.unwrap();
    let halt = Halt::at(Point::FileWritten);
    let (archived, ()) =
        tokio::join!(halt.run(archiving::archive(&store, &archive, due[0])), async {
            halt.reached().await;
            removal::restore(&store, session, By::default()).await.unwrap();
            halt.go_on();
        });
    assert!(!archived.unwrap(), "its file is of what it was before");
    assert_eq!(stage.state(session).await, SessionState::Completed);
    truth::check(stage.db.pool()).await;
    let due = archiving::look(&store.pool, &store.retention, &mut Walk::default()).await.unwrap();
    assert!(archiving::archive(&store, &archive, due[0]).await.unwrap(), "at the next look");
}
