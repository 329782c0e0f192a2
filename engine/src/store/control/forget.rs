//! Forgets what became of fires long ago: a walk over all of them, a stretch at a time. What is
//! removed is noted in its schedule first and last: up to there nothing fires and nothing is made up
//! for. It does not know how fires are decided.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;
use uuid::Uuid;

use crate::store::Store;

/// Fires that are looked at in one step, and that a transaction removes at most.
const STRETCH: i64 = 1_000;
/// So long after it was decided what becomes of a fire, that may be forgotten.
const KEPT: Duration = Duration::from_hours(90 * 24);
/// The newest of each schedule are kept in any case.
const NEWEST: i64 = 100;
/// Between two walks.
const WALK_EVERY: Duration = Duration::from_hours(1);

/// How far a walk over all fires has come.
#[derive(Debug, Default)]
pub(super) struct Walk {
    after: Option<(Uuid, String, DateTime<Utc>)>,
    rests_since: Option<Instant>,
}

impl Walk {
    /// Goes a step on unless it rests; returns how many fires were forgotten.
    pub(super) async fn step(&mut self, store: &Store) -> sqlx::Result<u64> {
        if self.rests_since.is_some_and(|since| since.elapsed() < WALK_EVERY) {
            return Ok(0);
        }
        let gone = self.stretch(store).await?;
        self.rests_since = self.after.is_none().then(Instant::now);
        Ok(gone)
    }

    async fn stretch(&mut self, store: &Store) -> sqlx::Result<u64> {
        let (tenant, schedule, time) = self.after.take().unwrap_or_default();
        let rows = sqlx::query_file!(
            "src/store/sql/schedule_fires_old.sql",
            tenant,
            schedule,
            time,
            STRETCH,
            f64::from(u32::try_from(KEPT.as_secs()).unwrap_or(u32::MAX)),
            NEWEST
        )
        .fetch_all(&store.pool)
        .await?;
        let is_last = rows.len() < usize::try_from(STRETCH).unwrap_or_default();
        let after = rows.last().map(|row| (row.tenant_id, row.schedule_id.clone(), row.fire_time));
        let mut old = Old::default();
        for row in rows.into_iter().filter(|row| row.is_old) {
            old.tenants.push(row.tenant_id);
            old.schedules.push(row.schedule_id);
            old.times.push(row.fire_time);
        }
        let gone = old.forget(store).await?;
        self.after = after.filter(|_| !is_last);
        Ok(gone)
    }
}

/// Forgets everything that may be forgotten now; returns how many fires that were.
pub async fn forget_fires(store: &Store) -> sqlx::Result<u64> {
    let mut walk = Walk::default();
    let mut gone = 0;
    loop {
        gone += walk.stretch(store).await?;
        if walk.after.is_none() {
            return Ok(gone);
        }
    }
}

/// Fires that were seen to be old.
#[derive(Default)]
struct Old {
    tenants: Vec<Uuid>,
    schedules: Vec<String>,
    times: Vec<DateTime<Utc>>,
}

impl Old {
    /// Under the locks of their schedules, as everything that reads fires to decide. What another
    /// process holds is left to the next walk.
    async fn forget(mut self, store: &Store) -> sqlx::Result<u64> {
        if self.times.is_empty() {
            return Ok(0);
        }
        let mut tx = store.pool.begin().await?;
        let locked = sqlx::query!(
            "select s.tenant_id, s.id
               from schedules s
              where (s.tenant_id, s.id) in (select * from unnest($1::uuid[], $2::text[]))
              order by s.tenant_id, s.id
                for no key update skip locked",
            &self.tenants,
            &self.schedules
        )
        .fetch_all(&mut *tx)
        .await?;
        let locked: std::collections::HashSet<_> =
            locked.into_iter().map(|row| (row.tenant_id, row.id)).collect();
        let keys = self.tenants.into_iter().zip(self.schedules).zip(self.times);
        ((self.tenants, self.schedules), self.times) =
            keys.filter(|(schedule, _)| locked.contains(schedule)).unzip();
        let gone = sqlx::query_file_scalar!(
            "src/store/sql/schedule_fires_forget.sql",
            &self.tenants,
            &self.schedules,
            &self.times
        )
        .fetch_one(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(gone.unsigned_abs())
    }
}
