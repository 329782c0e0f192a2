//! Evidence: kept while an attempt holds its fence, each with its event.

use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use super::{
    Store,
    events::{self, Entry},
    held,
};
use crate::{
    event::EventKind,
    evidence::{Signed, Statement},
    id::{Fence, WorkerId},
};

/// Says with which key a worker signs.
pub async fn introduce(db: &PgPool, worker: WorkerId, public_key: &[u8]) -> sqlx::Result<()> {
    sqlx::query!("update workers set public_key = $2 where id = $1", worker.0, public_key)
        .execute(db)
        .await
        .map(drop)
}

/// Keeps what a worker stands for, with its event, in one transaction. False when the attempt has
/// lost its fence: then nothing changes. Said twice, it is kept once.
pub async fn keep(
    store: &Store,
    fence: Fence,
    statement: &Statement,
    signed: &Signed,
) -> sqlx::Result<bool> {
    let key = fence.task.session;
    let mut tx = store.pool.begin().await?;
    if !held::is_held(&mut tx, fence).await? {
        return Ok(false);
    }
    let kept = sqlx::query!(
        "insert into evidence (tenant_id, session_id, seq, attempt, worker, round, at, commit_id,
                               passed, statement, signature, public_key)
         values ($1, $2, $3, $4, $5, $6, clock(), $7, $8, $9, $10, $11)
             on conflict do nothing",
        key.tenant.0,
        key.id.0,
        fence.task.seq,
        fence.attempt,
        fence.worker.0,
        statement.round,
        statement.commit.as_deref(),
        statement.passed,
        signed.statement,
        signed.signature,
        signed.public_key,
    )
    .execute(&mut *tx)
    .await?;
    if kept.rows_affected() == 0 {
        return Ok(true);
    }
    let body = json!({
        "round": statement.round, "passed": statement.passed, "commit": statement.commit,
    });
    let event = Entry {
        attempt: Some(fence.attempt),
        ..Entry::of_task(EventKind::EvidenceRecorded, fence.task.seq, body)
    };
    events::append(&mut tx, key, &[event], None).await?;
    tx.commit().await?;
    Ok(true)
}

/// Removes a batch of what an archived session had. Returns how many rows.
pub(super) async fn forget(
    db: &PgPool,
    (tenant, session): (Uuid, Uuid),
    rows: i64,
) -> sqlx::Result<u64> {
    sqlx::query!(
        "delete from evidence e
          using (select seq, attempt, worker, round
                   from evidence
                  where tenant_id = $1 and session_id = $2
                  order by seq, attempt, worker, round
                  limit $3
                    for update skip locked) k
          where e.tenant_id = $1 and e.session_id = $2
            and e.seq = k.seq and e.attempt = k.attempt and e.worker = k.worker
            and e.round = k.round",
        tenant,
        session,
        rows
    )
    .execute(db)
    .await
    .map(|done| done.rows_affected())
}
