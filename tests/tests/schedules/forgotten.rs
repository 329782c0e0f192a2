//! Fires of long ago are forgotten, and what is forgotten never fires again.

use jobshop_engine::store::{control::forget_fires, schedules};

use super::*;

const HOURLY: &str =
    "{ id: it, cron: \"0 * * * *\", overlap: skip, catch_up: all, with: { nap: 100d } }";

impl Clockwork {
    async fn forget(&self) -> u64 {
        forget_fires(&self.stage.store).await.unwrap()
    }

    async fn backfill(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<usize, String> {
        let (store, id) = (&self.stage.store, "nap/it".parse().unwrap());
        let done = schedules::backfill(store, TenantId::DEFAULT, &id, (from, to), None).await;
        done.map(|filled| filled.len()).map_err(|error| error.to_string())
    }

    /// Pauses the schedule after 300 fires, of which the first started a session that runs.
    async fn with_history() -> Self {
        let it = Self::new(HOURLY).await;
        it.after(300 * HOUR).await;
        it.after(Duration::ZERO).await;
        let (store, id) = (&it.stage.store, "nap/it".parse().unwrap());
        schedules::pause(store, TenantId::DEFAULT, &id, None, None).await.unwrap();
        assert_eq!(it.fires().await.len(), 300);
        it
    }
}

#[tokio::test]
async fn old_fires_are_forgotten_and_the_newest_and_the_open_stay() {
    let it = Clockwork::with_history().await;
    assert_eq!(it.forget().await, 0, "they are young");
    it.after(91 * DAY).await;
    assert_eq!(it.forget().await, 199);
    assert_eq!(it.forget().await, 0);
    let fires = it.fires().await;
    assert_eq!((fires.len(), fires[0].status), (101, "started"));
    // The session that runs is counted still, and its end is noticed.
    assert_eq!(it.schedule().await.open, 1);
    it.after(10 * DAY).await;
    assert_eq!((it.sessions().await, it.schedule().await.open), (vec!["completed".to_owned()], 0));
    assert_eq!(it.forget().await, 1);
    assert_eq!(it.fires().await.len(), 100);
}

#[tokio::test]
async fn a_fire_stays_as_long_as_its_session_can_be_retried() {
    let it = Clockwork::new(&HOURLY.replace("100d", "never")).await;
    it.after(HOUR).await;
    let session = it.fires().await[0].session_id.unwrap();
    it.apply(&[HOURLY]).await;
    it.after(300 * HOUR).await;
    it.after(Duration::ZERO).await;
    it.apply(&[]).await;
    it.after(91 * DAY).await;
    assert_eq!(it.sessions().await[0], "failed");
    it.forget().await;
    let first = &it.fires().await[0];
    assert_eq!(first.session_id, Some(session));
}

#[tokio::test]
async fn what_is_forgotten_is_neither_fired_nor_made_up_for() {
    let it = Clockwork::with_history().await;
    let begin = at("2026-01-05T10:00:00Z");
    it.after(91 * DAY).await;
    it.forget().await;
    let told = it.told().await;
    let forgotten_to = begin + 199 * HOUR;
    let refused = it.backfill(forgotten_to, forgotten_to + 50 * HOUR).await;
    assert!(refused.unwrap_err().contains("up to 2026-01-13T17:00:00Z is forgotten"));
    assert_eq!(it.backfill(forgotten_to + MINUTE, forgotten_to + 100 * HOUR).await, Ok(0));
    // However its time came back: a backup, a hand in the tables.
    sqlx::query("update schedules set paused_at = null, next_fire = $1, due_at = $1, since = $1")
        .bind(begin + HOUR)
        .execute(it.stage.db.pool())
        .await
        .unwrap();
    it.stage.settle().await;
    let count: i64 =
        sqlx::query_scalar("select count(*) from schedule_fires where fire_time <= $1")
            .bind(begin + 299 * HOUR)
            .fetch_one(it.stage.db.pool())
            .await
            .unwrap();
    assert_eq!(usize::try_from(count), Ok(told.len()));
    assert_eq!(it.schedule().await.runs, 1);
}
