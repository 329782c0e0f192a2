//! How many tasks of a session stand where. Ended tasks are counted in the session's row by what
//! ends them; the others are counted from their rows when asked, and of large sessions not too
//! often.

use std::time::{Duration, Instant};

use serde::Serialize;
use utoipa::ToSchema;

use super::{
    flags,
    view::{ReadError, Views, lock},
};
use crate::id::SessionId;

/// The session's executable tasks by status; groups and items are not counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Counts {
    pub total: i64,
    pub pending: i64,
    pub ready: i64,
    pub assigned: i64,
    pub in_progress: i64,
    pub blocked: i64,
    pub paused: i64,
    pub completed: i64,
    pub failed: i64,
    pub cancelled: i64,
    pub skipped: i64,
}

/// Sessions with more tasks than this are counted at most once in [`COUNTS_AGE_MAX`].
pub(super) const COUNTED_AT_ONCE_MAX: i32 = 10_000;
const COUNTS_AGE_MAX: Duration = Duration::from_secs(1);
/// Sessions whose counts are kept in memory.
const COUNTS_KEPT_MAX: usize = 1_000;

/// The counters of a session's row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counters {
    pub(super) total: i32,
    pub(super) completed: i32,
    pub(super) failed: i32,
    pub(super) cancelled: i32,
    pub(super) skipped: i32,
}

impl Counters {
    /// All counts, given the live ones; what is then missing is pending, whether it has a row
    /// or not.
    pub(super) fn with(self, live: Counts) -> Counts {
        let counts = Counts {
            total: self.total.into(),
            completed: self.completed.into(),
            failed: self.failed.into(),
            cancelled: self.cancelled.into(),
            skipped: self.skipped.into(),
            ..live
        };
        let live = live.ready + live.assigned + live.in_progress + live.blocked + live.paused;
        let ended = counts.completed + counts.failed + counts.cancelled + counts.skipped;
        Counts { pending: (counts.total - live - ended).max(0), ..counts }
    }
}

impl Views {
    /// The counts of a session with many tasks, at most a second old.
    pub(super) async fn kept_counts(
        &self,
        session: SessionId,
        counters: Counters,
    ) -> Result<Counts, ReadError> {
        if let Some((at, counts)) = lock(&self.counts).get(&session)
            && at.elapsed() < COUNTS_AGE_MAX
        {
            return Ok(*counts);
        }
        let live = sqlx::query!(
            r#"select count(*) filter (where state = 1) as "ready!",
                      count(*) filter (where state = 2) as "assigned!",
                      count(*) filter (where state = 3) as "in_progress!",
                      count(*) filter (where state = 4) as "blocked!",
                      count(*) filter (where state = 5) as "paused!"
                 from tasks
                where tenant_id = $1 and session_id = $2
                  and state between 1 and 5 and flags & $3 <> 0"#,
            self.tenant.0,
            session.0,
            flags::EXECUTABLE,
        )
        .fetch_one(&self.db)
        .await?;
        let counts = counters.with(Counts {
            ready: live.ready,
            assigned: live.assigned,
            in_progress: live.in_progress,
            blocked: live.blocked,
            paused: live.paused,
            ..Counts::default()
        });
        let mut kept = lock(&self.counts);
        if kept.len() >= COUNTS_KEPT_MAX {
            kept.clear();
        }
        kept.insert(session, (Instant::now(), counts));
        Ok(counts)
    }
}
