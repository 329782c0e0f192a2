//! Approvals: asking people, taking their votes, and what happens when the time is over. Whoever
//! decides holds the session's lock, so that of two votes at once, of a vote and the timeout, and of
//! a vote and a cancel exactly one is first, and the other one is told so.

use std::sync::Arc;

use serde_json::json;
use sqlx::{PgConnection, PgPool};
use thiserror::Error;
use uuid::Uuid;

use super::{
    Hint, SessionInfo, Store,
    session_log::{self, Entry},
    transition::{Move, Moved, Mover, transition_in},
};
use crate::{
    approval::{self, Decision, Expiry, Question, Refusal, Status, Verdict, Vote, Voter, Weight},
    event::EventKind,
    id::{SessionId, SessionKey, TaskKey, TenantId},
    plan::{self, Kind, NodeIndex},
    session::SessionState,
    task::{Reason, TaskState},
};

#[derive(Debug, Error)]
pub enum VoteError {
    #[error("there is no approval {0}")]
    NotFound(Uuid),
    #[error("approval {id} is {} already", status.as_str())]
    Ended { id: Uuid, status: Status },
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("the database did not take the vote")]
    Database(#[from] sqlx::Error),
}

/// What a task asks of people.
#[derive(Debug, Clone)]
pub(super) struct NewApproval {
    pub(super) task: TaskKey,
    pub(super) message: String,
    pub(super) from: Vec<String>,
    pub(super) quorum: i32,
    pub(super) bars_submitter: bool,
}

/// Keeps what a task asks. Its row waits already; what it asked before is closed.
pub(super) async fn ask(tx: &mut PgConnection, new: &NewApproval) -> sqlx::Result<()> {
    let key = new.task.session;
    let id = Uuid::now_v7();
    sqlx::query!(
        "update approvals set status = $4, decided_at = clock()
          where tenant_id = $1 and session_id = $2 and seq = $3 and status = 0",
        key.tenant.0,
        key.id.0,
        new.task.seq,
        Status::Closed.code(),
    )
    .execute(&mut *tx)
    .await?;
    let expires_at = sqlx::query_scalar!(
        "insert into approvals (tenant_id, id, session_id, seq, message, deciders, quorum, barred,
                                created_at, expires_at)
         select $1, $4, $2, $3, $5, $6, $7, case when $8 then s.created_by end, clock(),
                case when t.delayed then t.wake_at end
           from tasks t
           join sessions s on s.tenant_id = t.tenant_id and s.id = t.session_id
          where t.tenant_id = $1 and t.session_id = $2 and t.seq = $3
         returning expires_at",
        key.tenant.0,
        key.id.0,
        new.task.seq,
        id,
        new.message.replace('\0', "\u{fffd}"),
        &new.from,
        new.quorum,
        new.bars_submitter,
    )
    .fetch_one(&mut *tx)
    .await?;
    let body = json!({
        "id": id, "message": new.message, "from": new.from, "quorum": new.quorum,
        "expires_at": expires_at,
    });
    let asked = Entry { kind: EventKind::ApprovalRequested, task: Some(new.task.seq), body };
    session_log::append(tx, key, &[asked], None).await
}

/// An approval as it is found under its session's lock.
struct Found {
    id: Uuid,
    status: Status,
    question: Question,
    /// Its time is over, whether somebody noticed or not.
    is_over: bool,
    /// The session has ended, or the task's row waits for it no more.
    is_left: bool,
    node: NodeIndex,
    attempt: i32,
}

/// Casts the vote of one voter; voting again replaces what the same voter said before.
pub async fn vote(
    store: &Store,
    (tenant, id): (TenantId, Uuid),
    voter: Voter<'_>,
    decision: Decision,
    comment: Option<&str>,
) -> Result<(), VoteError> {
    let task = task_of(&store.pool, tenant, id).await?.ok_or(VoteError::NotFound(id))?;
    let key = task.session;
    // Read before: no second connection is asked for while one holds the lock.
    let info = info(store, key).await?;
    let mut tx = store.pool.begin().await?;
    let state = lock(&mut tx, key).await?;
    let found = find(&mut tx, task, state).await?.filter(|found| found.id == id);
    let Some(found) = found.filter(|it| it.status == Status::Open && !it.is_left && !it.is_over)
    else {
        let status = status(&mut tx, tenant, id).await?;
        return Err(VoteError::Ended { id, status });
    };
    let weight = found.question.weight_of(voter)?;
    cast(&mut tx, (tenant, id), voter, decision, comment).await?;
    let votes = votes(&mut tx, tenant, id).await?;
    let verdict = found.question.verdict(&votes, decision, weight);
    let kind = match decision {
        Decision::Approve => EventKind::ApprovalApproved,
        Decision::Reject => EventKind::ApprovalRejected,
    };
    let approvals = votes.iter().filter(|vote| vote.approves).count();
    let body = json!({
        "id": id, "by": voter.name, "comment": comment, "approvals": approvals,
        "quorum": found.question.quorum, "decided": matches!(verdict, Verdict::Decided(_)),
    });
    let said = Entry { kind, task: Some(task.seq), body };
    session_log::append(&mut tx, key, &[said], Some(voter.name)).await?;
    let mut moved = None;
    if let Verdict::Decided(decision) = verdict {
        let by = match (decision, weight) {
            (Decision::Approve, Weight::One) => approvers(&votes),
            (Decision::Reject, _) | (_, Weight::All) => voter.name.to_owned(),
        };
        let status = match decision {
            Decision::Approve => Status::Approved,
            Decision::Reject => Status::Rejected,
        };
        let ending = Ending { task, status, decision, by: &by, comment, actor: Some(voter.name) };
        moved = Some(end(&mut tx, &info, &found, ending).await?);
    }
    tx.commit().await?;
    tell(store, key, moved.as_ref());
    Ok(())
}

/// Does what the workflow says for an approval whose time is over. Nothing when somebody was first.
pub(super) async fn expire(store: &Store, task: TaskKey) -> sqlx::Result<()> {
    let key = task.session;
    let info = info(store, key).await?;
    let mut tx = store.pool.begin().await?;
    let state = lock(&mut tx, key).await?;
    let Some(found) = find(&mut tx, task, state).await?.filter(|it| !it.is_left && it.is_over)
    else {
        return Ok(());
    };
    let mut moved = None;
    match approval::at_timeout(spec(&info, found.node)?, found.question.is_escalated) {
        Expiry::Escalate => {
            let timeout = info.version.plan.node(found.node).timeout;
            let timeout_ms = timeout.map_or(0, |span| span.ms.cast_signed());
            escalate(&mut tx, task, found.id, timeout_ms).await?;
        }
        Expiry::Decide(decision) => {
            let body = json!({ "id": found.id, "decision": decision });
            let over = Entry { kind: EventKind::ApprovalExpired, task: Some(task.seq), body };
            session_log::append(&mut tx, key, &[over], None).await?;
            let (status, by) = (Status::Expired, approval::BY_TIMEOUT);
            let ending = Ending { task, status, decision, by, comment: None, actor: None };
            moved = Some(end(&mut tx, &info, &found, ending).await?);
        }
    }
    tx.commit().await?;
    tell(store, key, moved.as_ref());
    Ok(())
}

/// Closes approvals whose tasks were ended by something else; returns how many.
pub(super) async fn close_left(db: &PgPool) -> sqlx::Result<u64> {
    let done = sqlx::query!(
        "update approvals a set status = $1, decided_at = clock()
           from (select a.tenant_id, a.id
                   from approvals a
                  cross join lateral (
                        select t.state, t.reason
                          from tasks t
                         where t.tenant_id = a.tenant_id and t.session_id = a.session_id
                           and t.seq = a.seq
                         limit 1) t
                  where a.status = 0 and not (t.state = 4 and t.reason = $2)
                  order by a.tenant_id, a.id
                  limit 500
                    for update of a skip locked) left_alone
          where a.tenant_id = left_alone.tenant_id and a.id = left_alone.id and a.status = 0",
        Status::Closed.code(),
        Reason::Approval.code(),
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}

async fn task_of(db: &PgPool, tenant: TenantId, id: Uuid) -> sqlx::Result<Option<TaskKey>> {
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
async fn lock(tx: &mut PgConnection, key: SessionKey) -> sqlx::Result<SessionState> {
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
async fn find(
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
async fn status(tx: &mut PgConnection, tenant: TenantId, id: Uuid) -> sqlx::Result<Status> {
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

async fn cast(
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
async fn votes(tx: &mut PgConnection, tenant: TenantId, id: Uuid) -> sqlx::Result<Vec<Vote>> {
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

fn approvers(votes: &[Vote]) -> String {
    let names: Vec<&str> =
        votes.iter().filter(|vote| vote.approves).map(|vote| vote.by.as_str()).collect();
    names.join(", ")
}

async fn escalate(
    tx: &mut PgConnection,
    task: TaskKey,
    id: Uuid,
    timeout_ms: i64,
) -> sqlx::Result<()> {
    let key = task.session;
    let expires_at = sqlx::query_scalar!(
        r#"with later as (
               update tasks t set wake_at = clock() + $4::bigint * interval '1 millisecond'
                where t.tenant_id = $1 and t.session_id = $2 and t.seq = $3
               returning t.wake_at
           )
           update approvals a set escalated_at = clock(), expires_at = later.wake_at
             from later
            where a.tenant_id = $1 and a.id = $5
           returning a.expires_at"#,
        key.tenant.0,
        key.id.0,
        task.seq,
        timeout_ms,
        id
    )
    .fetch_one(&mut *tx)
    .await?;
    let body = json!({ "id": id, "expires_at": expires_at });
    let escalated = Entry { kind: EventKind::ApprovalEscalated, task: Some(task.seq), body };
    session_log::append(tx, key, &[escalated], None).await
}

struct Ending<'a> {
    task: TaskKey,
    status: Status,
    decision: Decision,
    by: &'a str,
    comment: Option<&'a str>,
    actor: Option<&'a str>,
}

/// Ends the approval and its task.
async fn end(
    tx: &mut PgConnection,
    info: &SessionInfo,
    found: &Found,
    ending: Ending<'_>,
) -> sqlx::Result<Moved> {
    let task = ending.task;
    sqlx::query!(
        "update approvals set status = $3, decided_at = clock()
          where tenant_id = $1 and id = $2 and status = 0",
        task.session.tenant.0,
        found.id,
        ending.status.code(),
    )
    .execute(&mut *tx)
    .await?;
    let (state, outputs, failure) =
        approval::end(spec(info, found.node)?, ending.decision, ending.by, ending.comment);
    let mut done = Move::new(task, found.attempt, TaskState::Blocked, state);
    done.body = Some(match &failure {
        Some(failure) => json!({ "class": failure.class, "message": failure.message }),
        None => json!({ "decision": ending.decision, "by": ending.by }),
    });
    done.output = Some(outputs);
    done.error = failure;
    transition_in(tx, Mover::Control, &[done], &[], ending.actor).await
}

async fn info(store: &Store, key: SessionKey) -> sqlx::Result<Arc<SessionInfo>> {
    store.infos.load(store, &[key]).await?.remove(&key).ok_or(sqlx::Error::RowNotFound)
}

/// What the workflow says of an approval.
fn spec(info: &SessionInfo, node: NodeIndex) -> sqlx::Result<&plan::Approval> {
    match &info.version.plan.node(node).kind {
        Kind::Approval(approval) => Ok(approval),
        Kind::Run(_)
        | Kind::Agent(_)
        | Kind::Builtin(_)
        | Kind::Sleep(_)
        | Kind::WaitFor(_)
        | Kind::Group(_) => Err(sqlx::Error::RowNotFound),
    }
}

fn tell(store: &Store, key: SessionKey, moved: Option<&Moved>) {
    if moved.is_some_and(|moved| moved.ready > 0) {
        store.hints.send(Hint::Ready);
    }
    if moved.is_some() {
        store.hints.send(Hint::Undecided);
    }
    store.hints.send(Hint::Event(key.id));
}
