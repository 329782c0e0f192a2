//! What becomes of a fire: overlap, catch-up, bounds, failures, edits.

use serde_json::json;
use uuid::Uuid;

use super::*;

const HOURLY: &str = "{ id: it, cron: \"0 * * * *\" }";

fn hourly(more: &str) -> String {
    format!("{{ id: it, cron: \"0 * * * *\", {more} }}")
}

#[tokio::test]
async fn a_fire_starts_a_session_of_the_applied_version() {
    let it = Clockwork::new(HOURLY).await;
    assert_eq!(it.schedule().await.next_fire, Some(at("2026-01-05T10:00:00Z")));
    it.after(29 * MINUTE).await;
    assert_eq!(it.told().await, [""; 0]);
    it.after(MINUTE).await;
    it.after(Duration::ZERO).await;
    assert_eq!(it.told().await, ["started 10:00"]);
    let fire = &it.fires().await[0];
    let key = SessionKey { tenant: TenantId::DEFAULT, id: SessionId(fire.session_id.unwrap()) };
    let session = it.views().session(key).await.unwrap();
    assert_eq!(session.schedule_id.as_deref(), Some("nap/it"));
    assert_eq!(session.created_by.as_deref(), Some("schedule:nap/it"));
    assert_eq!(session.metadata["fire_time"], "2026-01-05T10:00:00Z");
    assert_eq!(session.created_at, at("2026-01-05T10:00:00Z"));
    let schedule = it.schedule().await;
    assert_eq!((schedule.runs, schedule.open), (1, 1));
    assert_eq!(schedule.last_fire, Some(at("2026-01-05T10:00:00Z")));
    assert_eq!(schedule.next_fire, Some(at("2026-01-05T11:00:00Z")));
    it.after(40 * MINUTE).await;
    assert_eq!((it.sessions().await, it.schedule().await.open), (vec!["completed".to_owned()], 0));
}

#[tokio::test]
async fn skip_starts_nothing_while_a_session_runs() {
    let it = Clockwork::new(&hourly("overlap: skip, catch_up: all, with: { nap: 90m }")).await;
    for _ in 0..6 {
        it.after(30 * MINUTE).await;
    }
    assert_eq!(it.told().await, ["started 10:00", "skipped 11:00", "started 12:00"]);
    assert_eq!(it.fires().await[1].reason.as_deref(), Some("overlap"));
}

#[tokio::test]
async fn allow_starts_sessions_side_by_side() {
    let it = Clockwork::new(&hourly("overlap: allow, with: { nap: 90m }")).await;
    it.after(30 * MINUTE).await;
    it.after(HOUR).await;
    assert_eq!(it.told().await, ["started 10:00", "started 11:00"]);
    assert_eq!(it.sessions().await, ["running", "running"]);
    assert_eq!(it.schedule().await.open, 2);
}

#[tokio::test]
async fn queue_starts_the_next_when_the_last_has_ended() {
    let it = Clockwork::new(&hourly("overlap: queue, with: { nap: 150m }")).await;
    it.after(30 * MINUTE).await;
    it.after(HOUR).await;
    it.after(HOUR).await;
    assert_eq!(it.told().await, ["started 10:00", "queued 11:00", "queued 12:00"]);
    assert_eq!(it.schedule().await.queued, 2);
    it.after(30 * MINUTE).await;
    assert_eq!(it.told().await, ["started 10:00", "started 11:00", "queued 12:00"]);
    assert_eq!(it.sessions().await, ["completed", "running"]);
    it.after(30 * MINUTE).await;
    assert_eq!(it.told().await[2..], ["queued 12:00", "queued 13:00"]);
    // Its workflow forgets the trigger: what waits is dropped.
    it.apply(&[]).await;
    it.after(3 * HOUR).await;
    assert_eq!(it.told().await[2..], ["skipped 12:00", "skipped 13:00"]);
    assert_eq!(it.sessions().await, ["completed", "completed"]);
}

#[tokio::test]
async fn cancel_ends_the_running_session_for_the_next() {
    let it = Clockwork::new(&hourly("overlap: cancel, with: { nap: 5h }")).await;
    it.after(30 * MINUTE).await;
    it.after(HOUR).await;
    assert_eq!(it.told().await, ["started 10:00", "started 11:00"]);
    assert_eq!(it.sessions().await, ["cancelled", "running"]);
    assert_eq!(it.schedule().await.open, 1);
}

#[tokio::test]
async fn what_nobody_saw_is_made_up_for_as_the_schedule_says() {
    for (catch_up, told) in [
        ("all", &["started 10:00", "started 11:00", "started 12:00"][..]),
        ("latest", &["missed 10:00", "started 12:00"]),
        ("none", &["missed 10:00"]),
        ("all, catch_up_window: 90m", &["missed 10:00", "started 11:00", "started 12:00"]),
    ] {
        let it = Clockwork::new(&hourly(&format!("overlap: allow, catch_up: {catch_up}"))).await;
        it.after(175 * MINUTE).await;
        assert_eq!(it.told().await, told, "{catch_up}");
        assert_eq!(it.schedule().await.next_fire, Some(at("2026-01-05T13:00:00Z")), "{catch_up}");
    }
}

#[tokio::test]
async fn jitter_delays_every_fire_and_tells_its_own_time() {
    let it = Clockwork::new(&hourly("overlap: allow, jitter: 50m")).await;
    it.after(30 * MINUTE).await;
    it.after(59 * MINUTE).await;
    let fires = it.fires().await;
    assert_eq!(it.told().await, ["started 10:00"]);
    assert!(fires[0].decided_at >= fires[0].fire_time);
}

#[tokio::test]
async fn a_schedule_ends_after_its_runs_and_after_its_time() {
    let it = Clockwork::new(&hourly("overlap: allow, catch_up: all, max_runs: 2")).await;
    it.after(6 * HOUR).await;
    assert_eq!(it.told().await, ["started 10:00", "started 11:00"]);
    assert_eq!(format!("{:?}", it.schedule().await.status), "Ended");
    let bounded = hourly(
        "overlap: allow, catch_up: all, start: \"2026-01-05T11:00:00Z\", until: \"2026-01-05T12:00:00Z\"",
    );
    let it = Clockwork::new(&bounded).await;
    it.after(6 * HOUR).await;
    assert_eq!(it.told().await, ["started 11:00", "started 12:00"]);
    assert_eq!(format!("{:?}", it.schedule().await.status), "Ended");
}

#[tokio::test]
async fn failures_in_a_row_pause_a_schedule() {
    let it = Clockwork::new(&hourly("pause_after: 2, with: { nap: never }")).await;
    it.after(30 * MINUTE).await;
    assert_eq!((it.sessions().await, it.schedule().await.failures), (vec!["failed".to_owned()], 1));
    it.after(HOUR).await;
    let schedule = it.schedule().await;
    assert_eq!(format!("{:?}", schedule.status), "Paused");
    assert!(schedule.status_reason.unwrap().contains("failed 2 times in a row"));
    it.after(5 * HOUR).await;
    assert_eq!(it.told().await, ["started 10:00", "started 11:00"]);
    // It goes on from now, with a clean slate.
    let store = &it.stage.store;
    let id = "nap/it".parse().unwrap();
    jobshop_engine::store::schedules::resume(store, TenantId::DEFAULT, &id, None).await.unwrap();
    it.after(HOUR).await;
    assert_eq!(it.told().await.len(), 3);
    assert_eq!(it.schedule().await.failures, 1);
}

#[tokio::test]
async fn a_fire_that_cannot_start_a_session_is_recorded_with_the_reason() {
    let it = Clockwork::new(HOURLY).await;
    let store = &it.stage.store;
    let by_hand = jobshop_engine::schedule::Rule {
        pause_after: Some(2),
        ..jobshop_engine::schedule::Rule::new("0 * * * *".parse().unwrap(), "UTC".parse().unwrap())
    };
    let id = "nap/hand".parse().unwrap();
    let create = jobshop_engine::store::schedules::create;
    create(store, TenantId::DEFAULT, &id, &by_hand, None).await.unwrap();
    // The workflow now wants an input that this schedule does not give.
    let stricter = "version: 1\nname: nap\ninputs: { goal: { required: true } }\n\
                    tasks: { a: { uses: builtin/noop } }\n";
    applying::apply(store, TenantId::DEFAULT, stricter, None).await.unwrap();
    it.after(30 * MINUTE).await;
    it.after(HOUR).await;
    let fires = it.views().schedule_fires(&id, None, None).await.unwrap().items;
    assert_eq!(fires.iter().map(|fire| fire.status).collect::<Vec<_>>(), ["failed", "failed"]);
    assert!(fires[0].reason.as_ref().unwrap().contains("the input `goal` is required"));
    let schedule = it.views().schedule(&id).await.unwrap();
    assert_eq!(format!("{:?}", schedule.status), "Paused");
}

#[tokio::test]
async fn applying_again_keeps_what_stands() {
    let it = Clockwork::new(HOURLY).await;
    it.after(30 * MINUTE).await;
    let before = it.schedule().await;
    it.apply(&[HOURLY, "{ id: other, cron: \"0 0 * * *\" }"]).await;
    assert_eq!(it.schedule().await, before);
    // Other inputs leave the times alone, also one that is due and not seen yet.
    it.stage.db.advance(HOUR).await;
    it.apply(&[&hourly("with: { nap: 1h }")]).await;
    it.stage.settle().await;
    assert_eq!(it.told().await, ["started 10:00", "started 11:00"]);
    assert_eq!(it.schedule().await.runs, 2);
    // Other times hold from now on; what was due by the old ones still fires.
    it.stage.db.advance(HOUR).await;
    it.apply(&["{ id: it, cron: \"15 * * * *\", catch_up: all, overlap: allow }"]).await;
    it.after(20 * MINUTE).await;
    assert_eq!(it.told().await[2..], ["started 12:00", "started 12:15"]);
}

#[tokio::test]
async fn a_schedule_stays_paused_when_its_trigger_goes_and_comes_back() {
    let it = Clockwork::new(HOURLY).await;
    it.after(30 * MINUTE).await;
    let (store, tenant, id) = (&it.stage.store, TenantId::DEFAULT, "nap/it".parse().unwrap());
    jobshop_engine::store::schedules::pause(store, tenant, &id, Some("holidays"), None)
        .await
        .unwrap();
    it.apply(&[]).await;
    assert_eq!(format!("{:?}", it.schedule().await.status), "Disabled");
    it.apply(&[&hourly("overlap: allow")]).await;
    let schedule = it.schedule().await;
    assert_eq!(format!("{:?}", schedule.status), "Paused");
    assert_eq!((schedule.status_reason.as_deref(), schedule.runs), (Some("holidays"), 1));
    it.after(5 * HOUR).await;
    assert_eq!(it.told().await, ["started 10:00"]);
    jobshop_engine::store::schedules::resume(store, tenant, &id, None).await.unwrap();
    it.after(HOUR).await;
    assert_eq!(it.told().await, ["started 10:00", "started 16:00"]);
}

/// Runs a session of the schedule again, with a nap that it takes.
async fn retry(it: &Clockwork, session: Uuid) -> Result<usize, sessions::SteerError> {
    let key = SessionKey { tenant: TenantId::DEFAULT, id: SessionId(session) };
    let inputs = json!({ "nap": "90m" }).as_object().cloned().unwrap();
    let wish = sessions::Wish { inputs, ..sessions::Wish::default() };
    sessions::retry(&it.stage.store, key, wish, Some("somebody")).await
}

#[tokio::test]
async fn a_session_that_is_retried_stands_in_the_way_again() {
    let it = Clockwork::new(&hourly("overlap: skip, catch_up: all, with: { nap: never }")).await;
    it.after(30 * MINUTE).await;
    let session = it.fires().await[0].session_id.unwrap();
    assert_eq!((it.sessions().await, it.schedule().await.open), (vec!["failed".to_owned()], 0));
    retry(&it, session).await.unwrap();
    assert_eq!(it.schedule().await.open, 1);
    it.stage.settle().await;
    it.after(HOUR).await;
    assert_eq!(it.told().await, ["started 10:00", "skipped 11:00"]);
    it.after(30 * MINUTE).await;
    assert_eq!((it.sessions().await, it.schedule().await.open), (vec!["completed".to_owned()], 0));
    it.after(30 * MINUTE).await;
    assert_eq!(it.told().await[2..], ["started 12:00"]);
}

#[tokio::test]
async fn a_session_whose_end_nobody_noticed_is_not_counted_twice() {
    let it = Clockwork::new(&hourly("overlap: queue, with: { nap: never }")).await;
    it.stage.db.advance(30 * MINUTE).await;
    control::tick(&it.stage.store).await.unwrap();
    let session = it.fires().await[0].session_id.unwrap();
    // Somebody holds the schedule while its session fails.
    let mut holder = it.stage.db.pool().begin().await.unwrap();
    sqlx::query("select from schedules for update").execute(&mut *holder).await.unwrap();
    it.stage.settle().await;
    assert_eq!((it.sessions().await, it.schedule().await.open), (vec!["failed".to_owned()], 1));
    holder.rollback().await.unwrap();
    retry(&it, session).await.unwrap();
    assert_eq!((it.schedule().await.open, it.schedule().await.failures), (1, 0));
    it.stage.settle().await;
    it.after(HOUR).await;
    assert_eq!(it.told().await, ["started 10:00", "queued 11:00"]);
    it.after(30 * MINUTE).await;
    assert_eq!(it.sessions().await, ["completed", "failed"]);
    assert_eq!((it.schedule().await.open, it.schedule().await.failures), (0, 1));
}

#[tokio::test]
async fn retries_beside_the_clock_leave_the_count_right() {
    let rule = "{ id: it, cron: \"*/5 * * * *\", overlap: cancel, with: { nap: never } }";
    let it = Clockwork::new(rule).await;
    let others: Vec<Store> = (0..3).map(|_| it.stage.another_store()).collect();
    for _ in 0..30 {
        it.stage.db.advance(5 * MINUTE).await;
        let known: Vec<Uuid> = it.fires().await.iter().filter_map(|fire| fire.session_id).collect();
        let firing = futures::future::join_all(others.iter().map(settle));
        let retrying = async {
            for session in known.iter().rev().take(3) {
                // What has not ended, or has ended well, is refused.
                let retried = retry(&it, *session).await;
                assert!(!matches!(retried, Err(sessions::SteerError::Database(_))), "{retried:?}");
            }
        };
        tokio::join!(firing, retrying);
    }
    it.stage.settle().await;
    let sessions = it.sessions().await;
    let open = sessions.iter().filter(|state| !["failed", "cancelled"].contains(&state.as_str()));
    let open = i32::try_from(open.filter(|state| *state != "completed").count()).unwrap();
    assert_eq!(it.schedule().await.open, open, "{sessions:?}");
}
