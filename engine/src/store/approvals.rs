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
    approval_rows::{Found, cast, find, lock, status, task_of, votes},
    events::{self, Entry},
    transition::{Move, Moved, Mover, transition_in},
};
use crate::{
    approval::{self, Decision, Expiry, Refusal, Said, Status, Verdict, Vote, Voter, Weight},
    event::EventKind,
    id::{SessionKey, TaskKey, TenantId},
    plan::{self, Kind, NodeIndex},
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
    let asked = Entry::of_task(EventKind::ApprovalRequested, new.task.seq, body);
    events::append(tx, key, &[asked], None).await
}

/// Casts the vote of one voter; voting again replaces what the same voter said before.
pub async fn vote(
    store: &Store,
    (tenant, id): (TenantId, Uuid),
    voter: Voter<'_>,
    decision: Decision,
    said: Said<'_>,
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
    let comment = said.in_words();
    cast(&mut tx, (tenant, id), voter, decision, comment.as_deref()).await?;
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
    let voted = Entry::of_task(kind, task.seq, body);
    events::append(&mut tx, key, &[voted], Some(voter.name)).await?;
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
        let ending = Ending { task, status, decision, by: &by, said, actor: Some(voter.name) };
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
            let over = Entry::of_task(EventKind::ApprovalExpired, task.seq, body);
            events::append(&mut tx, key, &[over], None).await?;
            let (status, by) = (Status::Expired, approval::BY_TIMEOUT);
            let said = Said::Nothing;
            let ending = Ending { task, status, decision, by, said, actor: None };
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
    let escalated = Entry::of_task(EventKind::ApprovalEscalated, task.seq, body);
    events::append(tx, key, &[escalated], None).await
}

struct Ending<'a> {
    task: TaskKey,
    status: Status,
    decision: Decision,
    by: &'a str,
    said: Said<'a>,
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
        approval::end(spec(info, found.node)?, ending.decision, ending.by, ending.said);
    let mut done = Move::new(task, found.attempt, TaskState::Blocked, state);
    done.body = Some(match &failure {
        Some(failure) => json!({ "class": failure.class, "message": failure.message }),
        None => json!({ "decision": ending.decision, "by": ending.by }),
    });
    done.output = Some(outputs);
    done.error = failure;
    let mut moved = transition_in(tx, Mover::Control, &[done], &[], ending.actor).await?;
    moved.unlock(tx, &[]).await?;
    Ok(moved)
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
        | Kind::Session(_)
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
