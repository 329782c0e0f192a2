//! The rows of approvals and votes, as who decides reads and writes them: under the session's lock,
//! but for finding out which session that is. It decides nothing.

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::{
    approval::{Decision, Question, Status, Vote, Voter},
    id::{SessionId, SessionKey, TaskKey, TenantId},
    plan::NodeIndex,
    session::SessionState,
    task::{Reason, TaskState},
};

/// An approval as it is found under its session's lock.
pub(super) struct Found {
    pub(super) id: Uuid,
    pub(super) status: Status,
    pub(super) question: Question,
    /// Its time is over, whether somebody noticed or not.
    pub(super) is_over: bool,
    /// The session has ended, or the task's row waits for it no more.
    pub(super) is_left: bool,
    pub(super) node: NodeIndex,
    pub(super) attempt: i32,
}

pub(super) async fn task_of(
    db: &PgPool,
    tenant: TenantId,
    id: Uuid,
) -> sqlx::Result<Option<TaskKey>> {
    let row = sqlx::query!(
        "select session_id, seq from approvals where tenant_id = $1 and id = $2",
        tenant.0,
        id
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| TaskKey {
        session: SessionKey { tenant, id: SessionId(row.session_id) },
        seq: row.seq,
    }))
}

/// Locks the session's row: before anything else is read.
pub(super) async fn lock(tx: &mut PgConnection, key: SessionKey) -> sqlx::Result<SessionState> {
    let state = sqlx::query_scalar!(
        "select state from session_progress
          where tenant_id = $1 and session_id = $2 for no key update",
        key.tenant.0,
        key.id.0
    )
    .fetch_one(tx)
    .await?;
    Ok(SessionState::from_code(state).unwrap_or(SessionState::Cancelled))
}

/// The open approval of a task; the session is locked.
pub(super) async fn find(
    tx: &mut PgConnection,
    task: TaskKey,
    session: SessionState,
) -> sqlx::Result<Option<Found>> {
    let row = sqlx::query!(
        r#"select a.id, a.deciders, a.quorum, a.barred, a.escalated_at is not null as "escalated!",
                  coalesce(a.expires_at <= clock(), false) as "over!",
                  t.state, t.reason, t.node, t.attempt
             from approvals a
             join tasks t on t.tenant_id = a.tenant_id and t.session_id = a.session_id
                         and t.seq = a.seq
            where a.tenant_id = $1 and a.session_id = $2 and a.seq = $3 and a.status = 0"#,
        task.session.tenant.0,
        task.session.id.0,
        task.seq
    )
    .fetch_optional(tx)
    .await?;
    Ok(row.map(|row| {
        let waits = TaskState::from_code(row.state) == Some(TaskState::Blocked)
            && row.reason.and_then(Reason::from_code) == Some(Reason::Approval);
        Found {
            id: row.id,
            status: Status::Open,
            question: Question {
                from: row.deciders,
                quorum: row.quorum,
                barred: row.barred,
                is_escalated: row.escalated,
            },
            is_over: row.over,
            is_left: session.is_final() || !waits,
            node: NodeIndex::from_code(row.node),
            attempt: row.attempt,
        }
    }))
}

/// How an approval ended that is open no more, or should not be.
pub(super) async fn status(
    tx: &mut PgConnection,
    tenant: TenantId,
    id: Uuid,
) -> sqlx::Result<Status> {
    let row = sqlx::query!(
        r#"select status, coalesce(expires_at <= clock(), false) as "over!"
             from approvals where tenant_id = $1 and id = $2"#,
        tenant.0,
        id
    )
    .fetch_one(tx)
    .await?;
    Ok(match Status::from_code(row.status) {
        Some(Status::Open) | None if row.over => Status::Expired,
        Some(Status::Open) | None => Status::Closed,
        Some(ended) => ended,
    })
}

pub(super) async fn cast(
    tx: &mut PgConnection,
    (tenant, id): (TenantId, Uuid),
    voter: Voter<'_>,
    decision: Decision,
    comment: Option<&str>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into approval_votes (tenant_id, approval_id, voter, approves, comment, at)
         values ($1, $2, $3, $4, $5, clock())
             on conflict (tenant_id, approval_id, voter)
             do update set approves = excluded.approves, comment = excluded.comment,
                           at = excluded.at",
        tenant.0,
        id,
        voter.name,
        decision == Decision::Approve,
        comment as _
    )
    .execute(tx)
    .await
    .map(|_| ())
}

/// What each voter said last, in order.
pub(super) async fn votes(
    tx: &mut PgConnection,
    tenant: TenantId,
    id: Uuid,
) -> sqlx::Result<Vec<Vote>> {
    sqlx::query_as!(
        Vote,
        "select voter as by, approves from approval_votes
          where tenant_id = $1 and approval_id = $2
          order by at, voter",
        tenant.0,
        id
    )
    .fetch_all(tx)
    .await
}
