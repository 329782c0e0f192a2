//! Checkpoints of agents' turns: kept while an attempt holds its fence, found by the attempt that goes
//! on, pinned where a person wants to go back. What a runtime wrote of a conversation is kept beside
//! them in pieces, a stream per fence.

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::{
    Store,
    events::{self, Entry},
    sessions::SteerError,
    steer::Locked,
};
use crate::{
    checkpoint::{NewCheckpoint, Resume, Snapshot, Spend},
    event::EventKind,
    id::{Fence, SessionKey, TaskKey},
    plan::AgentRuntime,
    task::TaskState,
};

/// So many checkpoints of a session are kept, and the last of each task.
const KEPT_MAX: i32 = 100;

/// Keeps a checkpoint, with its event, in one transaction. `None` when the attempt has lost its
/// fence: then nothing changes.
pub async fn keep(
    store: &Store,
    fence: Fence,
    new: &NewCheckpoint,
) -> Result<Option<i32>, sqlx::Error> {
    let key = fence.task.session;
    let mut tx = store.pool.begin().await?;
    let is_open = Locked::find(&mut tx, key).await?.is_some_and(|it| !it.state.is_final());
    if !is_open || !holds(&mut tx, fence).await? {
        return Ok(None);
    }
    if let Some(body) = &new.history {
        append(&mut tx, fence, body).await?;
    }
    let number = insert(&mut tx, fence, new).await?;
    let mut body = serde_json::json!({
        "checkpoint": number, "cause": new.cause, "spend": new.spend,
    });
    if let Some(snapshot) = &new.workspace {
        body["commit"] = serde_json::Value::from(snapshot.commit.as_str());
    }
    let event = Entry {
        attempt: Some(fence.attempt),
        ..Entry::of_task(EventKind::CheckpointCreated, fence.task.seq, body)
    };
    events::append(&mut tx, key, &[event], None).await?;
    prune(&mut tx, key, number).await?;
    tx.commit().await?;
    store.hints.send(super::Hint::Event(key.id));
    Ok(Some(number))
}

/// Whether the attempt runs under this fence.
pub(super) async fn holds(tx: &mut PgConnection, fence: Fence) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"select exists (
               select from tasks
                where tenant_id = $1 and session_id = $2 and seq = $3
                  and state = $4 and attempt = $5 and worker = $6) as "held!""#,
        fence.task.session.tenant.0,
        fence.task.session.id.0,
        fence.task.seq,
        TaskState::InProgress.code(),
        fence.attempt,
        fence.worker.0,
    )
    .fetch_one(tx)
    .await
}

async fn append(tx: &mut PgConnection, fence: Fence, body: &[u8]) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into agent_history (tenant_id, session_id, seq, attempt, worker, piece, body)
         select $1, $2, $3, $4, $5,
                (select count(*) from agent_history
                  where tenant_id = $1 and session_id = $2 and seq = $3
                    and attempt = $4 and worker = $5),
                $6",
        fence.task.session.tenant.0,
        fence.task.session.id.0,
        fence.task.seq,
        fence.attempt,
        fence.worker.0,
        body,
    )
    .execute(tx)
    .await
    .map(drop)
}

/// Whoever has not written a piece of its own yet goes on with those of the checkpoint before.
async fn insert(tx: &mut PgConnection, fence: Fence, new: &NewCheckpoint) -> sqlx::Result<i32> {
    let snapshot = new.workspace.as_ref();
    sqlx::query_scalar!(
        "with own as (
             select count(*)::int as pieces
               from agent_history
              where tenant_id = $1 and session_id = $2 and seq = $3
                and attempt = $4 and worker = $5
         ), before as (
             select history_attempt, history_worker, pieces
               from checkpoints
              where tenant_id = $1 and session_id = $2 and seq = $3 and conversation = $8
              order by number desc
              limit 1
         )
         insert into checkpoints (tenant_id, session_id, number, seq, attempt, worker, at, event,
                                  cause, runtime, conversation, history_attempt, history_worker,
                                  pieces, commit_id, base_id, spend)
         select $1, $2,
                (select coalesce(max(number), 0) + 1 from checkpoints
                  where tenant_id = $1 and session_id = $2),
                $3, $4, $5, clock(),
                (select next_event from session_progress
                  where tenant_id = $1 and session_id = $2),
                $6, $7, $8,
                case when o.pieces > 0 then $4 else b.history_attempt end,
                case when o.pieces > 0 then $5 else b.history_worker end,
                case when o.pieces > 0 then o.pieces else coalesce(b.pieces, 0) end,
                $9, $10, $11
           from own o left join before b on true
         returning number",
        fence.task.session.tenant.0,
        fence.task.session.id.0,
        fence.task.seq,
        fence.attempt,
        fence.worker.0,
        new.cause.code(),
        new.runtime.as_str(),
        new.conversation,
        snapshot.map(|it| it.commit.as_str()),
        snapshot.map(|it| it.base.as_str()),
        serde_json::to_value(new.spend).expect("a spend of ours serialises"),
    )
    .fetch_one(tx)
    .await
}

/// Removes what is older than the newest, unless it is the last of its task.
async fn prune(tx: &mut PgConnection, key: SessionKey, number: i32) -> sqlx::Result<()> {
    let gone = sqlx::query!(
        "delete from checkpoints c
          where tenant_id = $1 and session_id = $2 and number <= $3
            and exists (select from checkpoints n
                         where n.tenant_id = c.tenant_id and n.session_id = c.session_id
                           and n.seq = c.seq and n.number > c.number)",
        key.tenant.0,
        key.id.0,
        number - KEPT_MAX,
    )
    .execute(&mut *tx)
    .await?;
    if gone.rows_affected() == 0 {
        return Ok(());
    }
    sqlx::query!(
        "delete from agent_history h
          where tenant_id = $1 and session_id = $2
            and not exists (select from checkpoints c
                             where c.tenant_id = h.tenant_id and c.session_id = h.session_id
                               and c.seq = h.seq and c.history_attempt = h.attempt
                               and c.history_worker = h.worker)",
        key.tenant.0,
        key.id.0,
    )
    .execute(tx)
    .await
    .map(drop)
}

/// Where the next attempt at a task goes on: the last checkpoint of one that did not end by itself.
pub async fn resume(db: &PgPool, task: TaskKey) -> sqlx::Result<Option<Resume>> {
    let found = last(db, task, true).await?;
    load(db, task, found, true).await
}

/// The end of a task's conversation, for another task that goes on with it.
pub async fn conversation(db: &PgPool, task: TaskKey) -> sqlx::Result<Option<Resume>> {
    let found = last(db, task, false).await?;
    load(db, task, found, false).await
}

struct Found {
    number: i32,
    runtime: String,
    conversation: String,
    history_attempt: Option<i32>,
    history_worker: Option<Uuid>,
    pieces: i32,
    commit_id: Option<String>,
    base_id: Option<String>,
    spend: serde_json::Value,
}

async fn last(db: &PgPool, task: TaskKey, only_open: bool) -> sqlx::Result<Option<Found>> {
    sqlx::query_as!(
        Found,
        "select number, runtime, conversation, history_attempt, history_worker, pieces,
                commit_id, base_id, spend
           from checkpoints
          where tenant_id = $1 and session_id = $2 and seq = $3 and (open or not $4)
          order by number desc
          limit 1",
        task.session.tenant.0,
        task.session.id.0,
        task.seq,
        only_open,
    )
    .fetch_optional(db)
    .await
}

async fn load(
    db: &PgPool,
    task: TaskKey,
    found: Option<Found>,
    is_interrupted: bool,
) -> sqlx::Result<Option<Resume>> {
    let Some(found) = found else { return Ok(None) };
    let runtime = AgentRuntime::ALL.into_iter().find(|it| it.as_str() == found.runtime);
    let Some(runtime) = runtime else { return Ok(None) };
    let history = sqlx::query_scalar!(
        "select body
           from agent_history
          where tenant_id = $1 and session_id = $2 and seq = $3
            and attempt = $4 and worker = $5 and piece < $6
          order by piece
          limit 1000000",
        task.session.tenant.0,
        task.session.id.0,
        task.seq,
        found.history_attempt,
        found.history_worker,
        found.pieces,
    )
    .fetch_all(db)
    .await?;
    let workspace = match (found.commit_id, found.base_id) {
        (Some(commit), Some(base)) => Some(Snapshot { commit, base }),
        _ => None,
    };
    let spend: Spend = serde_json::from_value(found.spend).unwrap_or_default();
    Ok(Some(Resume {
        checkpoint: found.number,
        runtime,
        conversation: found.conversation,
        history,
        workspace,
        spend: if is_interrupted { spend } else { Spend::default() },
        is_interrupted,
    }))
}

/// An attempt at the task has ended by itself: the next one begins anew.
pub async fn close(db: &PgPool, task: TaskKey) -> sqlx::Result<()> {
    sqlx::query!(
        "update checkpoints set open = false
          where tenant_id = $1 and session_id = $2 and seq = $3 and open",
        task.session.tenant.0,
        task.session.id.0,
        task.seq,
    )
    .execute(db)
    .await
    .map(drop)
}

/// Nothing of a session that is retried goes on where it was interrupted, unless it is pinned.
pub(super) async fn close_all(tx: &mut PgConnection, key: SessionKey) -> sqlx::Result<()> {
    sqlx::query!(
        "update checkpoints set open = false
          where tenant_id = $1 and session_id = $2 and open",
        key.tenant.0,
        key.id.0,
    )
    .execute(tx)
    .await
    .map(drop)
}

/// The row of the task that made a checkpoint.
pub(super) async fn row_of(
    tx: &mut PgConnection,
    key: SessionKey,
    number: i32,
) -> Result<i32, SteerError> {
    sqlx::query_scalar!(
        "select seq from checkpoints
          where tenant_id = $1 and session_id = $2 and number = $3",
        key.tenant.0,
        key.id.0,
        number,
    )
    .fetch_optional(tx)
    .await?
    .ok_or(SteerError::NoCheckpoint(number))
}

/// The task that made the checkpoint goes on there, in its own session or in one forked off it. The
/// caller holds the locks and commits.
pub(super) async fn pin(
    tx: &mut PgConnection,
    from: SessionKey,
    number: i32,
    to: SessionKey,
) -> sqlx::Result<()> {
    if from != to {
        sqlx::query!(
            "insert into agent_history (tenant_id, session_id, seq, attempt, worker, piece, body)
             select h.tenant_id, $3, h.seq, h.attempt, h.worker, h.piece, h.body
               from checkpoints c
               join agent_history h on h.tenant_id = c.tenant_id and h.session_id = c.session_id
                                   and h.seq = c.seq and h.attempt = c.history_attempt
                                   and h.worker = c.history_worker and h.piece < c.pieces
              where c.tenant_id = $1 and c.session_id = $2 and c.number = $4",
            from.tenant.0,
            from.id.0,
            to.id.0,
            number,
        )
        .execute(&mut *tx)
        .await?;
    }
    sqlx::query!(
        "insert into checkpoints (tenant_id, session_id, number, seq, attempt, worker, at, event,
                                  cause, runtime, conversation, history_attempt, history_worker,
                                  pieces, commit_id, base_id, spend)
         select c.tenant_id, $3,
                (select coalesce(max(number), 0) + 1 from checkpoints
                  where tenant_id = $1 and session_id = $3),
                c.seq, c.attempt, c.worker, clock(),
                (select next_event - 1 from session_progress
                  where tenant_id = $1 and session_id = $3),
                c.cause, c.runtime, c.conversation, c.history_attempt, c.history_worker,
                c.pieces, c.commit_id, c.base_id, c.spend
           from checkpoints c
          where c.tenant_id = $1 and c.session_id = $2 and c.number = $4",
        from.tenant.0,
        from.id.0,
        to.id.0,
        number,
    )
    .execute(tx)
    .await
    .map(drop)
}

/// Removes a batch of what an archived session had. Returns how many rows.
pub(super) async fn forget(
    db: &PgPool,
    (tenant, session): (Uuid, Uuid),
    rows: i64,
) -> sqlx::Result<u64> {
    let checkpoints = sqlx::query!(
        "delete from checkpoints
          where tenant_id = $1 and session_id = $2
            and number = any (array (select number from checkpoints
                                      where tenant_id = $1 and session_id = $2
                                      order by number
                                      limit $3
                                        for update skip locked))",
        tenant,
        session,
        rows
    )
    .execute(db)
    .await?;
    let history = sqlx::query!(
        "delete from agent_history h
          using (select seq, attempt, worker, piece
                   from agent_history
                  where tenant_id = $1 and session_id = $2
                  order by seq, attempt, worker, piece
                  limit $3
                    for update skip locked) k
          where h.tenant_id = $1 and h.session_id = $2
            and h.seq = k.seq and h.attempt = k.attempt and h.worker = k.worker
            and h.piece = k.piece",
        tenant,
        session,
        rows
    )
    .execute(db)
    .await?;
    let messages = sqlx::query!(
        "delete from agent_messages
          where tenant_id = $1 and session_id = $2
            and id = any (array (select id from agent_messages
                                  where tenant_id = $1 and session_id = $2
                                  order by id
                                  limit $3
                                    for update skip locked))",
        tenant,
        session,
        rows
    )
    .execute(db)
    .await?;
    Ok(checkpoints.rows_affected() + history.rows_affected() + messages.rows_affected())
}
