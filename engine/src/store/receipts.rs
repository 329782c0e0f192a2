//! Receipts: what a worker may hold, as its claims and hand-offs wrote it down. What it does hold is
//! what its rows say.

use sqlx::PgPool;
use uuid::Uuid;

use crate::id::{Fence, SessionId, SessionKey, TaskKey, TenantId, WorkerId};

/// A row of a claim batch, or of the hand-offs of some sessions.
#[derive(Debug)]
pub(crate) struct Receipt {
    pub(crate) id: Uuid,
    tenants: Vec<Uuid>,
    sessions: Vec<Uuid>,
    /// None where it stands for any row of the sessions.
    seqs: Option<Vec<i32>>,
}

/// An attempt in progress.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Holding {
    pub(crate) fence: Fence,
    pub(crate) crashes: i32,
    /// Its start had been reported.
    pub(crate) started: bool,
}

/// The oldest receipts of a worker.
pub(crate) async fn of_worker(
    db: &PgPool,
    worker: WorkerId,
    limit: i64,
) -> sqlx::Result<Vec<Receipt>> {
    sqlx::query_file_as!(Receipt, "src/store/sql/receipts.sql", worker.0, limit).fetch_all(db).await
}

/// What the receipt's worker still holds of what the receipt names.
pub(crate) async fn held(
    db: &PgPool,
    worker: WorkerId,
    receipt: &Receipt,
) -> sqlx::Result<Vec<Holding>> {
    let Receipt { tenants, sessions, seqs, .. } = receipt;
    let Some(seqs) = seqs else { return held_of(db, worker, tenants, sessions).await };
    let rows = sqlx::query_file!("src/store/sql/held_rows.sql", tenants, sessions, seqs, worker.0)
        .fetch_all(db)
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| Holding {
            fence: fence(row.tenant_id, row.session_id, row.seq, row.attempt, worker),
            crashes: row.crashes,
            started: row.started,
        })
        .collect())
}

/// What a worker holds of some sessions.
async fn held_of(
    db: &PgPool,
    worker: WorkerId,
    tenants: &[Uuid],
    sessions: &[Uuid],
) -> sqlx::Result<Vec<Holding>> {
    let rows = sqlx::query_file!("src/store/sql/held_sessions.sql", tenants, sessions, worker.0)
        .fetch_all(db)
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| Holding {
            fence: fence(row.tenant_id, row.session_id, row.seq, row.attempt, worker),
            crashes: row.crashes,
            started: row.started,
        })
        .collect())
}

/// What the claims of a worker, made more than a moment ago, say it holds.
pub async fn claimed(db: &PgPool, worker: WorkerId) -> sqlx::Result<Vec<Fence>> {
    let rows = sqlx::query_file!("src/store/sql/held_claims.sql", worker.0).fetch_all(db).await?;
    Ok(rows
        .into_iter()
        .map(|row| fence(row.tenant_id, row.session_id, row.seq, row.attempt, worker))
        .collect())
}

/// What a worker holds of some sessions, however it came to it.
pub async fn held_in(
    db: &PgPool,
    worker: WorkerId,
    sessions: &[SessionKey],
) -> sqlx::Result<Vec<Fence>> {
    let tenants: Vec<Uuid> = sessions.iter().map(|session| session.tenant.0).collect();
    let ids: Vec<Uuid> = sessions.iter().map(|session| session.id.0).collect();
    let held = held_of(db, worker, &tenants, &ids).await?;
    Ok(held.into_iter().map(|holding| holding.fence).collect())
}

fn fence(tenant: Uuid, session: Uuid, seq: i32, attempt: i32, worker: WorkerId) -> Fence {
    let session = SessionKey { tenant: TenantId(tenant), id: SessionId(session) };
    Fence { task: TaskKey { session, seq }, attempt, worker }
}
