//! What people, or the end of the time, say to what agents ask, and what becomes of the task that waits
//! for it. Whoever decides holds the session's lock, so that of two at once exactly one is first.

use serde_json::json;
use sqlx::{PgConnection, PgPool};
use thiserror::Error;
use uuid::Uuid;

use super::{
    Hint, Store,
    approval_rows::lock,
    events::{self, Entry},
};
use crate::{
    approval::{self, Question as Asked, Refusal, Voter},
    event::EventKind,
    id::{SessionId, SessionKey, TaskKey, TenantId},
    policy::OnTimeout,
    question::{self, Answer, Expiry, Kind, Status},
    session::SessionState,
    task::{Reason, TaskState},
};

/// Questions that one round looks at.
const BATCH: i64 = 200;

#[derive(Debug, Error)]
pub enum AnswerError {
    #[error("there is no question {0}")]
    NotFound(Uuid),
    #[error("question {id} is {} already", status.as_str())]
    Ended { id: Uuid, status: Status },
    #[error("{0}")]
    Unsuited(&'static str),
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("the database did not take the answer")]
    Database(#[from] sqlx::Error),
}

/// A question as it is found under its session's lock.
struct Found {
    kind: Kind,
    texts: usize,
    asked: Asked,
    status: Status,
    on_timeout: OnTimeout,
    timeout_ms: i64,
    attempt: i32,
    is_over: bool,
    /// Its task has ended.
    is_left: bool,
}

/// Answers a question in the name of a voter; answering again replaces what the same voter said.
pub async fn answer(
    store: &Store,
    (tenant, id): (TenantId, Uuid),
    voter: Voter<'_>,
    answer: &Answer,
    comment: Option<&str>,
) -> Result<(), AnswerError> {
    let task = task_of(&store.pool, tenant, id).await?.ok_or(AnswerError::NotFound(id))?;
    let key = task.session;
    let mut tx = store.pool.begin().await?;
    let session = lock(&mut tx, key).await?;
    let found = find(&mut tx, (tenant, id), session).await?.ok_or(AnswerError::NotFound(id))?;
    if found.status != Status::Open || found.is_over || found.is_left {
        let status = match found.status {
            Status::Open if found.is_over => Status::Expired,
            Status::Open => Status::Closed,
            ended @ (Status::Answered | Status::Expired | Status::Closed) => ended,
        };
        return Err(AnswerError::Ended { id, status });
    }
    if !answer.suits(found.kind, found.texts) {
        return Err(AnswerError::Unsuited(match found.kind {
            Kind::Permission => "this asks for a permission: answer `allow` or `deny`",
            Kind::Question => "this asks questions: answer each of them, or `deny`",
        }));
    }
    let others = cast(&mut tx, (tenant, id), voter, answer, comment).await?;
    let is_decided = question::verdict(&found.asked, voter, answer, others)?;
    let said = match answer {
        Answer::Say(said) => Some(said.as_slice()),
        Answer::Allow | Answer::Deny => None,
    };
    let body = json!({
        "id": id, "by": voter.name, "allowed": answer.allows(), "answers": said,
        "comment": comment, "decided": is_decided,
    });
    let event = Entry {
        attempt: Some(found.attempt),
        ..Entry::of_task(EventKind::QuestionAnswered, task.seq, body)
    };
    events::append(&mut tx, key, &[event], Some(voter.name)).await?;
    if is_decided {
        let decision = Decision {
            status: Status::Answered,
            allowed: answer.allows(),
            answers: said,
            comment,
            by: voter.name,
        };
        decide(&mut tx, (tenant, id), decision).await?;
        wake(&mut tx, task).await?;
    }
    tx.commit().await?;
    tell(store, key);
    Ok(())
}

struct Decision<'a> {
    status: Status,
    allowed: bool,
    answers: Option<&'a [String]>,
    comment: Option<&'a str>,
    by: &'a str,
}

async fn task_of(db: &PgPool, tenant: TenantId, id: Uuid) -> sqlx::Result<Option<TaskKey>> {
    let row = sqlx::query!(
        "select session_id, seq from questions where tenant_id = $1 and id = $2",
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

async fn find(
    tx: &mut PgConnection,
    (tenant, id): (TenantId, Uuid),
    session: SessionState,
) -> sqlx::Result<Option<Found>> {
    let row = sqlx::query!(
        r#"select q.kind, jsonb_array_length(q.texts) as "texts!", q.deciders, q.quorum, q.status,
                  q.on_timeout, q.timeout_ms, q.attempt,
                  q.escalated_at is not null as "escalated!", q.expires_at <= clock() as "over!",
                  coalesce((select t.state from tasks t
                             where t.tenant_id = q.tenant_id and t.session_id = q.session_id
                               and t.seq = q.seq), 8::smallint) as "state!"
             from questions q
            where q.tenant_id = $1 and q.id = $2
              for update of q"#,
        tenant.0,
        id,
    )
    .fetch_optional(tx)
    .await?;
    Ok(row.map(|row| Found {
        kind: Kind::from_code(row.kind).unwrap_or(Kind::Permission),
        texts: usize::try_from(row.texts).unwrap_or_default(),
        asked: Asked {
            from: row.deciders,
            quorum: row.quorum,
            barred: None,
            is_escalated: row.escalated,
        },
        status: Status::from_code(row.status).unwrap_or(Status::Closed),
        on_timeout: OnTimeout::from_code(row.on_timeout).unwrap_or_default(),
        timeout_ms: row.timeout_ms,
        attempt: row.attempt,
        is_over: row.over,
        is_left: session.is_final()
            || TaskState::from_code(row.state).is_none_or(TaskState::is_final),
    }))
}

/// Keeps what a voter says; returns how many others have allowed it.
async fn cast(
    tx: &mut PgConnection,
    (tenant, id): (TenantId, Uuid),
    voter: Voter<'_>,
    answer: &Answer,
    comment: Option<&str>,
) -> sqlx::Result<i64> {
    let said = match answer {
        Answer::Say(said) => Some(said.as_slice()),
        Answer::Allow | Answer::Deny => None,
    };
    sqlx::query!(
        "insert into question_votes (tenant_id, question_id, voter, allows, answers, comment, at)
         values ($1, $2, $3, $4, $5, $6, clock())
         on conflict on constraint question_votes_pkey
         do update set allows = excluded.allows, answers = excluded.answers,
                       comment = excluded.comment, at = excluded.at",
        tenant.0,
        id,
        voter.name,
        answer.allows(),
        said,
        comment,
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query_scalar!(
        r#"select count(*) as "count!" from question_votes
            where tenant_id = $1 and question_id = $2 and voter <> $3 and allows"#,
        tenant.0,
        id,
        voter.name,
    )
    .fetch_one(tx)
    .await
}

async fn decide(
    tx: &mut PgConnection,
    (tenant, id): (TenantId, Uuid),
    decision: Decision<'_>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update questions
            set status = $3, allowed = $4, answers = $5, comment = $6, answered_by = $7,
                decided_at = clock()
          where tenant_id = $1 and id = $2 and status = 0",
        tenant.0,
        id,
        decision.status.code(),
        decision.allowed,
        decision.answers,
        decision.comment,
        decision.by,
    )
    .execute(tx)
    .await
    .map(drop)
}

/// A task that waits for answers goes on, as one does whose back-off is over, once it has all of them.
/// The session is locked. Returns whether it goes on.
async fn wake(tx: &mut PgConnection, task: TaskKey) -> sqlx::Result<bool> {
    let woken = sqlx::query!(
        "with woken as (
             update tasks t set reason = $5, delayed = true, wake_at = clock()
              where t.tenant_id = $1 and t.session_id = $2 and t.seq = $3
                and t.state = 4 and t.reason = $4
                and not exists (select from questions q
                                 where q.tenant_id = $1 and q.session_id = $2 and q.seq = $3
                                   and q.status = 0)
             returning t.tenant_id, t.session_id, t.seq
         )
         update questions q set parked = false
           from woken w
          where q.tenant_id = w.tenant_id and q.session_id = w.session_id and q.seq = w.seq
            and q.parked",
        task.session.tenant.0,
        task.session.id.0,
        task.seq,
        Reason::Question.code(),
        Reason::Backoff.code(),
    )
    .execute(tx)
    .await?;
    Ok(woken.rows_affected() > 0)
}

/// Does what is to be done when nobody answered in time, and lets go on what has its answers; returns
/// how much that was.
pub(super) async fn tend(store: &Store) -> sqlx::Result<usize> {
    let due = sqlx::query!(
        "select tenant_id, id, session_id, seq
           from questions
          where status = 0 and expires_at <= (select clock())
          order by expires_at
          limit $1",
        BATCH,
    )
    .fetch_all(&store.pool)
    .await?;
    for row in &due {
        let session = SessionKey { tenant: TenantId(row.tenant_id), id: SessionId(row.session_id) };
        expire(store, TaskKey { session, seq: row.seq }, row.id).await?;
    }
    // An answer that came while an attempt was about to wait for it.
    let answered = sqlx::query!(
        "select distinct q.tenant_id, q.session_id, q.seq
           from questions q
          cross join lateral (
                select t.state, t.reason from tasks t
                 where t.tenant_id = q.tenant_id and t.session_id = q.session_id and t.seq = q.seq
                 limit 1) t
          where q.parked and t.state = 4 and t.reason = $1
            and not exists (select from questions o
                             where o.tenant_id = q.tenant_id and o.session_id = q.session_id
                               and o.seq = q.seq and o.status = 0)
          limit $2",
        Reason::Question.code(),
        BATCH,
    )
    .fetch_all(&store.pool)
    .await?;
    let mut done = due.len();
    for row in answered {
        let session = SessionKey { tenant: TenantId(row.tenant_id), id: SessionId(row.session_id) };
        let mut tx = store.pool.begin().await?;
        lock(&mut tx, session).await?;
        done += usize::from(wake(&mut tx, TaskKey { session, seq: row.seq }).await?);
        tx.commit().await?;
    }
    Ok(done)
}

/// Does what the rule says for a question whose time is over. Nothing when somebody was first.
async fn expire(store: &Store, task: TaskKey, id: Uuid) -> sqlx::Result<()> {
    let key = task.session;
    let mut tx = store.pool.begin().await?;
    let session = lock(&mut tx, key).await?;
    let found = find(&mut tx, (key.tenant, id), session).await?;
    let Some(found) = found.filter(|it| it.status == Status::Open && it.is_over) else {
        return Ok(());
    };
    let expiry = question::at_timeout(found.kind, found.on_timeout, found.asked.is_escalated);
    if found.is_left {
        close(&mut tx, key.tenant, id).await?;
    } else if expiry == Expiry::Escalate {
        escalate(&mut tx, task, id, found.timeout_ms).await?;
    } else {
        let allowed = expiry == Expiry::Allow;
        let body = json!({ "id": id, "allowed": allowed });
        let over = Entry {
            attempt: Some(found.attempt),
            ..Entry::of_task(EventKind::QuestionExpired, task.seq, body)
        };
        events::append(&mut tx, key, &[over], None).await?;
        let decision = Decision {
            status: Status::Expired,
            allowed,
            answers: None,
            comment: Some("nobody answered in time"),
            by: approval::BY_TIMEOUT,
        };
        decide(&mut tx, (key.tenant, id), decision).await?;
        wake(&mut tx, task).await?;
    }
    tx.commit().await?;
    tell(store, key);
    Ok(())
}

async fn close(tx: &mut PgConnection, tenant: TenantId, id: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "update questions set status = $3, decided_at = clock(), parked = false
          where tenant_id = $1 and id = $2 and status = 0",
        tenant.0,
        id,
        Status::Closed.code(),
    )
    .execute(tx)
    .await
    .map(drop)
}

async fn escalate(
    tx: &mut PgConnection,
    task: TaskKey,
    id: Uuid,
    timeout_ms: i64,
) -> sqlx::Result<()> {
    let key = task.session;
    let expires_at = sqlx::query_scalar!(
        "update questions
            set escalated_at = clock(),
                expires_at = clock() + $3::bigint * interval '1 millisecond'
          where tenant_id = $1 and id = $2
         returning expires_at",
        key.tenant.0,
        id,
        timeout_ms,
    )
    .fetch_one(&mut *tx)
    .await?;
    let body = json!({ "id": id, "expires_at": expires_at });
    let escalated = Entry::of_task(EventKind::QuestionEscalated, task.seq, body);
    events::append(tx, key, &[escalated], None).await
}

/// Closes questions whose tasks or sessions have ended; returns how many.
pub(super) async fn close_left(db: &PgPool) -> sqlx::Result<u64> {
    let done = sqlx::query!(
        "update questions q set status = $1, decided_at = clock(), parked = false
           from (select q.tenant_id, q.id
                   from questions q
                  where q.status = 0
                    and (exists (select from session_progress p
                                  where p.tenant_id = q.tenant_id
                                    and p.session_id = q.session_id and p.state >= 5)
                         or not exists (select from tasks t
                                         where t.tenant_id = q.tenant_id
                                           and t.session_id = q.session_id
                                           and t.seq = q.seq and t.state < 6))
                  order by q.tenant_id, q.id
                  limit 500
                    for update of q skip locked) left_alone
          where q.tenant_id = left_alone.tenant_id and q.id = left_alone.id and q.status = 0",
        Status::Closed.code(),
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}

fn tell(store: &Store, key: SessionKey) {
    store.hints.send(Hint::Undecided);
    store.hints.send(Hint::Event(key.id));
}
