//! Start notes: attempts that run longer than a moment are reported while they run.

use std::time::Duration;

use sqlx::PgPool;
use uuid::Uuid;

use crate::id::{Fence, SessionKey, WorkerId};

/// As statements take it.
pub(super) fn microseconds(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

/// Reports that attempts of one worker have started, each so long ago. What is not
/// held any more, or was reported before, is passed over.
pub async fn note_starts(
    db: &PgPool,
    worker: WorkerId,
    starts: &[(Fence, Duration)],
) -> sqlx::Result<()> {
    if starts.is_empty() {
        return Ok(());
    }
    let mut keys: Vec<SessionKey> = starts.iter().map(|(fence, _)| fence.task.session).collect();
    keys.sort_unstable();
    keys.dedup();
    let tenants: Vec<Uuid> = keys.iter().map(|key| key.tenant.0).collect();
    let sessions: Vec<Uuid> = keys.iter().map(|key| key.id.0).collect();
    let slot = |key: SessionKey| {
        let at = keys.binary_search(&key).expect("every start's session is a key");
        i32::try_from(at + 1).expect("a batch is small")
    };
    let slots: Vec<i32> = starts.iter().map(|(fence, _)| slot(fence.task.session)).collect();
    let seqs: Vec<i32> = starts.iter().map(|(fence, _)| fence.task.seq).collect();
    let attempts: Vec<i32> = starts.iter().map(|(fence, _)| fence.attempt).collect();
    let started: Vec<i64> = starts.iter().map(|(_, ago)| microseconds(*ago)).collect();
    sqlx::query_file!(
        "src/store/sql/note_starts.sql",
        &tenants,
        &sessions,
        &slots,
        &seqs,
        &attempts,
        &started,
        worker.0
    )
    .fetch_one(db)
    .await
    .map(|_| ())
}
