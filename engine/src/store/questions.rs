//! What agents ask of people. A question is one row, whoever asks it: the attempt that goes on where
//! another was lost finds the row of the one before, with its answer if there is one. Whoever asks or is
//! told holds the fence of an attempt, and the session's lock for the event.

use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool, types::Json};
use uuid::Uuid;

use super::{
    Hint, Store,
    blobs::without_nul,
    checkpoints::holds,
    events::{self, Entry},
    policies,
    steer::Locked,
};
use crate::{
    event::EventKind,
    id::{Fence, TaskKey},
    policy::{self, Action, Asking, Decided},
    question::{self, Kind, NewQuestion, Reply, Status, Text},
};

/// What comes of asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// Nobody has to be waited for.
    Decided(Reply),
    /// People were asked, now or before.
    Open(Uuid),
    /// The attempt has lost its fence.
    Lost,
}

/// An answer on its way to an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    pub id: Uuid,
    /// What the agent's runtime calls the question.
    pub request: String,
    pub reply: Reply,
}

/// How a task stands with people when an attempt at it begins.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// Questions of earlier attempts that nobody has answered yet.
    pub open: usize,
    /// Answers that no agent may know of: the question in words, and the answer.
    pub untold: Vec<(Uuid, String, Reply)>,
}

/// Asks what an agent asks: of the rules, and where they or the workflow say so of people. Asking again
/// changes nothing.
pub async fn ask(
    store: &Store,
    fence: Fence,
    request: &str,
    new: &NewQuestion,
) -> sqlx::Result<Asked> {
    let key = fence.task.session;
    if new.own == Action::Deny {
        let why = "the workflow does not allow it".to_owned();
        return Ok(Asked::Decided(Reply::Deny { why }));
    }
    if new.own == Action::Allow {
        // Mostly there is no rule, and nothing to lock for.
        let rules = policies::rules(&store.pool, key.tenant).await?;
        if policy::decide(&rules, new.own, &new.tool, &new.what).rule.is_none() {
            return Ok(Asked::Decided(Reply::Allow));
        }
    }
    let mut tx = store.pool.begin().await?;
    let is_open = Locked::find(&mut tx, key).await?.is_some_and(|it| !it.state.is_final());
    if !is_open || !holds(&mut tx, fence).await? {
        return Ok(Asked::Lost);
    }
    let asked = if let Some(known) = again(&mut tx, fence, request, &new.digest()).await? {
        known
    } else {
        let rules = policies::rules(&mut *tx, key.tenant).await?;
        let decided = policy::decide(&rules, new.own, &new.tool, &new.what);
        match decided.action {
            Action::Ask => {
                let asking = decided.rule.map(|rule| rule.asking.clone()).unwrap_or_default();
                let rule = decided.rule.map(|rule| rule.id);
                Asked::Open(insert(&mut tx, (fence, request), new, (rule, &asking)).await?)
            }
            Action::Allow | Action::Deny => by_rule(&mut tx, fence, new, decided).await?,
        }
    };
    tx.commit().await?;
    store.hints.send(Hint::Event(key.id));
    Ok(asked)
}

/// The row of a question that was asked before: by this agent with the same name, or with the same words
/// by an earlier one, each of whose questions counts for one of this one's. Which of the agents of an
/// attempt asks stands before the first slash of the name.
async fn again(
    tx: &mut PgConnection,
    fence: Fence,
    request: &str,
    digest: &[u8],
) -> sqlx::Result<Option<Asked>> {
    let found = sqlx::query!(
        "update questions q set attempt = $4, worker = $5, request = $6, parked = false
          where q.tenant_id = $1
            and q.id = (select o.id from questions o
                         where o.tenant_id = $1 and o.session_id = $2 and o.seq = $3
                           and ((o.attempt = $4 and o.worker = $5 and o.request = $6)
                                or (o.digest = $7 and o.status < 3
                                    and (o.attempt <> $4 or o.worker <> $5
                                         or split_part(o.request, '/', 1)
                                            <> split_part($6, '/', 1))
                                    and o.retry = (select p.retry from session_progress p
                                                    where p.tenant_id = $1
                                                      and p.session_id = $2)))
                         order by (o.attempt = $4 and o.worker = $5 and o.request = $6) desc, o.id
                         limit 1)
         returning q.id, q.status, q.allowed, q.answers, q.comment, q.answered_by",
        fence.task.session.tenant.0,
        fence.task.session.id.0,
        fence.task.seq,
        fence.attempt,
        fence.worker.0,
        request,
        digest,
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(row) = found else { return Ok(None) };
    let Some(allowed) = row.allowed else {
        return Ok(Some(match Status::from_code(row.status) {
            Some(Status::Open) => Asked::Open(row.id),
            _ => Asked::Decided(Reply::Deny { why: "nobody answers this any more".to_owned() }),
        }));
    };
    mark_told(tx, fence, row.id).await?;
    let by = row.answered_by.unwrap_or_default();
    Ok(Some(Asked::Decided(Reply::of(allowed, row.answers, &by, row.comment.as_deref()))))
}

async fn insert(
    tx: &mut PgConnection,
    (fence, request): (Fence, &str),
    new: &NewQuestion,
    (rule, asking): (Option<Uuid>, &Asking),
) -> sqlx::Result<Uuid> {
    const SHOWN_CHARS_MAX: usize = 8_000;
    let shown = |text: &String| -> String {
        text.replace('\0', "\u{fffd}").chars().take(SHOWN_CHARS_MAX).collect()
    };
    let id = Uuid::now_v7();
    let what: Vec<String> = new.what.iter().map(shown).collect();
    let texts = without_nul(serde_json::to_value(&new.texts).expect("texts serialise"));
    let expires_at = sqlx::query_scalar!(
        "insert into questions (tenant_id, id, session_id, seq, retry, attempt, worker, request,
                                digest, kind, tool, what, texts, rule_id, deciders, quorum,
                                on_timeout, timeout_ms, created_at, expires_at)
         select $1, $2, $3, $4, p.retry, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,
                c.now, c.now + $17::bigint * interval '1 millisecond'
           from session_progress p
          cross join (select clock() as now) c
          where p.tenant_id = $1 and p.session_id = $3
         returning expires_at",
        fence.task.session.tenant.0,
        id,
        fence.task.session.id.0,
        fence.task.seq,
        fence.attempt,
        fence.worker.0,
        request,
        &new.digest(),
        new.kind.code(),
        shown(&new.tool),
        &what,
        texts,
        rule,
        &asking.from,
        asking.quorum,
        asking.on_timeout.code(),
        asking.timeout.ms.cast_signed(),
    )
    .fetch_one(&mut *tx)
    .await?;
    let body = json!({
        "id": id, "kind": new.kind, "tool": shown(&new.tool), "what": what, "questions": texts,
        "rule": rule, "from": asking.from, "quorum": asking.quorum, "expires_at": expires_at,
    });
    tell(tx, fence, EventKind::QuestionAsked, body).await?;
    Ok(id)
}

/// A rule answers, and the event says which.
async fn by_rule(
    tx: &mut PgConnection,
    fence: Fence,
    new: &NewQuestion,
    decided: Decided<'_>,
) -> sqlx::Result<Asked> {
    let rule = decided.rule.map(|rule| rule.id);
    let body = json!({
        "decision": decided.action, "tool": new.tool, "what": new.what, "rule": rule,
    });
    tell(tx, fence, EventKind::PolicyDecided, without_nul(body)).await?;
    let reply = match decided.action {
        Action::Allow => Reply::Allow,
        Action::Deny | Action::Ask => {
            Reply::Deny { why: "a rule of this installation does not allow it".to_owned() }
        }
    };
    Ok(Asked::Decided(reply))
}

async fn tell(
    tx: &mut PgConnection,
    fence: Fence,
    kind: EventKind,
    body: Value,
) -> sqlx::Result<()> {
    let event =
        Entry { attempt: Some(fence.attempt), ..Entry::of_task(kind, fence.task.seq, body) };
    events::append(tx, fence.task.session, &[event], None).await
}

async fn mark_told(tx: &mut PgConnection, fence: Fence, id: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "update questions set told_at = clock() where tenant_id = $1 and id = $2",
        fence.task.session.tenant.0,
        id,
    )
    .execute(&mut *tx)
    .await?;
    tell(tx, fence, EventKind::QuestionTold, json!({ "id": id })).await
}

/// What was answered of what an attempt asked and has not been told.
pub async fn answered(db: &PgPool, fence: Fence) -> sqlx::Result<Vec<Answered>> {
    let rows = sqlx::query!(
        r#"select id, request, allowed as "allowed!", answers, comment, answered_by
             from questions
            where tenant_id = $1 and session_id = $2 and seq = $3 and attempt = $4 and worker = $5
              and status in (1, 2) and told_at is null
            order by decided_at
            limit 100"#,
        fence.task.session.tenant.0,
        fence.task.session.id.0,
        fence.task.seq,
        fence.attempt,
        fence.worker.0,
    )
    .fetch_all(db)
    .await?;
    let answered = rows.into_iter().map(|row| {
        let by = row.answered_by.unwrap_or_default();
        let reply = Reply::of(row.allowed, row.answers, &by, row.comment.as_deref());
        Answered { id: row.id, request: row.request, reply }
    });
    Ok(answered.collect())
}

/// The agent of an attempt knows this answer. Nothing when the attempt has lost its fence.
pub async fn told(store: &Store, fence: Fence, id: Uuid) -> sqlx::Result<()> {
    let key = fence.task.session;
    let mut tx = store.pool.begin().await?;
    Locked::find(&mut tx, key).await?;
    if holds(&mut tx, fence).await? {
        mark_told(&mut tx, fence, id).await?;
        tx.commit().await?;
        store.hints.send(Hint::Event(key.id));
    }
    Ok(())
}

/// How a task stands with people. Of what an agent was told counts what came after the checkpoint
/// with this number, which it may have forgotten.
pub async fn standing(
    db: &PgPool,
    task: TaskKey,
    checkpoint: Option<i32>,
) -> sqlx::Result<Standing> {
    let rows = sqlx::query!(
        r#"select q.id, q.status, q.kind, q.tool, q.what, q.texts as "texts: Json<Vec<Text>>",
                  q.allowed, q.answers, q.comment, q.answered_by
             from questions q
            where q.tenant_id = $1 and q.session_id = $2 and q.seq = $3 and q.status < 3
              and q.retry = (select p.retry from session_progress p
                              where p.tenant_id = $1 and p.session_id = $2)
              and (q.told_at is null
                   or q.told_at > (select c.at from checkpoints c
                                    where c.tenant_id = $1 and c.session_id = $2
                                      and c.number = $4))
            order by q.id
            limit 1000"#,
        task.session.tenant.0,
        task.session.id.0,
        task.seq,
        checkpoint,
    )
    .fetch_all(db)
    .await?;
    let mut standing = Standing::default();
    for row in rows {
        let Some(allowed) = row.allowed else {
            standing.open += 1;
            continue;
        };
        let kind = Kind::from_code(row.kind).unwrap_or(Kind::Permission);
        let message = question::message(kind, &row.tool, &row.what, &row.texts);
        let by = row.answered_by.unwrap_or_default();
        let reply = Reply::of(allowed, row.answers, &by, row.comment.as_deref());
        standing.untold.push((row.id, message, reply));
    }
    Ok(standing)
}

/// The attempt ends, and its task is to wait for what it asked. False when there is nothing to wait
/// for.
pub async fn park(db: &PgPool, task: TaskKey) -> sqlx::Result<bool> {
    let parked = sqlx::query!(
        "update questions q set parked = true
          where q.tenant_id = $1 and q.session_id = $2 and q.seq = $3
            and q.status < 3 and q.told_at is null
            and q.retry = (select p.retry from session_progress p
                            where p.tenant_id = $1 and p.session_id = $2)",
        task.session.tenant.0,
        task.session.id.0,
        task.seq,
    )
    .execute(db)
    .await?;
    Ok(parked.rows_affected() > 0)
}

/// An attempt at the task has ended by itself: nobody waits for what it asked.
pub async fn close(db: &PgPool, task: TaskKey) -> sqlx::Result<()> {
    sqlx::query!(
        "update questions set status = $4, decided_at = clock(), parked = false
          where tenant_id = $1 and session_id = $2 and seq = $3 and status = 0",
        task.session.tenant.0,
        task.session.id.0,
        task.seq,
        Status::Closed.code(),
    )
    .execute(db)
    .await
    .map(drop)
}

/// Removes a batch of what an archived session had. Returns how many rows.
pub(super) async fn forget(
    db: &PgPool,
    (tenant, session): (Uuid, Uuid),
    rows: i64,
) -> sqlx::Result<u64> {
    sqlx::query!(
        "with gone as (
             delete from questions
              where tenant_id = $1 and session_id = $2
                and id = any (array (select id from questions
                                      where tenant_id = $1 and session_id = $2
                                      order by seq
                                      limit $3
                                        for update skip locked))
             returning tenant_id, id
         ), votes as (
             delete from question_votes v
              using gone g
              where v.tenant_id = g.tenant_id and v.question_id = g.id
         )
         select from gone",
        tenant,
        session,
        rows
    )
    .execute(db)
    .await
    .map(|done| done.rows_affected())
}
