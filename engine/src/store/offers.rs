//! Offers: a task that prefers some agents is for a while the best one's alone; then anybody's who can
//! do it. Who is the best is decided outside.

use sqlx::{PgConnection, PgPool};

use super::{
    Hint, Store,
    claim::{Claimed, Held},
    transition::{Move, Mover, transition},
};
use crate::{
    duration::Span,
    id::{Fence, SessionId, SessionKey, TaskKey, TenantId, WorkerId},
    plan::NodeIndex,
    task::TaskState,
};

/// Offers that are withdrawn in one go.
const BATCH: i64 = 500;

/// A task that one agent may take before others.
#[derive(Debug, Clone)]
pub(super) struct Offer {
    pub(super) task: TaskKey,
    pub(super) attempt: i32,
    pub(super) worker: WorkerId,
    /// The name of its agent.
    pub(super) agent: String,
    pub(super) score: f64,
    pub(super) within: Span,
}

/// Offers a task that is ready; the move is made by the caller, in the same transaction.
pub(super) async fn make(tx: &mut PgConnection, offer: &Offer) -> sqlx::Result<Move> {
    let TaskKey { session, seq } = offer.task;
    sqlx::query!(
        "insert into offers (tenant_id, session_id, seq, worker_id, score, offered_at, until)
         select $1, $2, $3, $4, $5, c.at, c.at + make_interval(secs => $6)
           from (select clock() as at) c
             on conflict on constraint offers_pkey
             do update set worker_id = excluded.worker_id, score = excluded.score,
                           offered_at = excluded.offered_at, until = excluded.until",
        session.tenant.0,
        session.id.0,
        seq,
        offer.worker.0,
        offer.score,
        offer.within.to_std().as_secs_f64()
    )
    .execute(tx)
    .await?;
    let mut assigned = Move::new(offer.task, offer.attempt, TaskState::Ready, TaskState::Assigned);
    assigned.body = Some(serde_json::json!({
        "agent": offer.agent, "score": offer.score, "within": offer.within,
    }));
    Ok(assigned)
}

/// Takes what was offered to a worker. Nothing is taken by a worker whose lease has run out.
pub async fn claim(
    db: &PgPool,
    worker: WorkerId,
    limit: i32,
    session: Option<SessionId>,
) -> sqlx::Result<Claimed> {
    let session = session.map(|session| session.0);
    let row = sqlx::query_file!("src/store/sql/claim_offered.sql", worker.0, limit, session as _)
        .fetch_one(db)
        .await?;
    let held = |n: usize| {
        let session =
            SessionKey { tenant: TenantId(row.tenants[n]), id: SessionId(row.sessions[n]) };
        let task = TaskKey { session, seq: row.seqs[n] };
        Held {
            fence: Fence { task, attempt: row.attempts[n], worker },
            node: NodeIndex::from_code(row.nodes[n]),
            failures: row.failures[n],
            crashes: row.crashes[n],
        }
    };
    let tasks = (0..row.seqs.len()).map(held).collect();
    Ok(Claimed { receipt: row.receipt, tasks })
}

/// Gives to everybody what was not taken in time; returns how much that was.
pub(super) async fn withdraw(store: &Store) -> sqlx::Result<usize> {
    let over =
        sqlx::query_file!("src/store/sql/offers_over.sql", BATCH).fetch_all(&store.pool).await?;
    if over.is_empty() {
        return Ok(0);
    }
    let mut moves = Vec::new();
    for row in &over {
        let session = SessionKey { tenant: TenantId(row.tenant_id), id: SessionId(row.session_id) };
        let task = TaskKey { session, seq: row.seq };
        let is_assigned = row.state == Some(TaskState::Assigned.code());
        if let Some(attempt) = row.attempt.filter(|_| is_assigned) {
            moves.push(Move::new(task, attempt, TaskState::Assigned, TaskState::Ready));
        }
    }
    let moved = transition(&store.pool, Mover::Control, &moves, &[], None).await?;
    for row in &over {
        sqlx::query!(
            "delete from offers
              where tenant_id = $1 and session_id = $2 and seq = $3 and until = $4",
            row.tenant_id,
            row.session_id,
            row.seq,
            row.until
        )
        .execute(&store.pool)
        .await?;
    }
    if moved.ready > 0 || moved.accepted.contains(&true) {
        store.hints.send(Hint::Ready);
    }
    Ok(over.len())
}
