//! Taking sessions that were archived out of the tables. The file is written first; then one
//! transaction, under the session's lock, puts a mark in the session's place; what is left of it goes
//! afterwards, a batch at a time. Whatever is cut short is taken up again by any process.

use sqlx::PgPool;
use uuid::Uuid;

use super::{
    Store,
    archive::{Archive, ArchiveError, Retention, content},
    artifacts, budgets, checkpoints, conflicts, contexts, evidence,
    pauses::{self, Point},
    questions,
};
use crate::id::{SessionId, SessionKey, TenantId};

/// Sessions that are looked at in one statement.
const STRETCH: i64 = 500;
/// However short the retention is: what processes of a cancelled session still print gets into the
/// file.
const KEPT_MS: i64 = 6_000;
/// Rows of one table that a transaction removes at most; logs have up to 64 KiB a row.
const ROWS: i64 = 1_000;
const CHUNKS: i64 = 100;
/// Marks whose rows are removed in one turn.
const MARKS: i64 = 20;

/// A session that is to be archived, as it was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    pub key: SessionKey,
    next_event: i32,
    retry: i32,
}

/// How far a walk over all sessions has come.
#[derive(Debug, Clone, Copy, Default)]
pub struct Walk {
    after: (Uuid, Uuid),
}

impl Walk {
    /// Whether the next step begins a new walk.
    pub fn is_at_start(self) -> bool {
        self.after == <(Uuid, Uuid)>::default()
    }
}

/// Whether any session may ever be due, so that a walk is worth it.
pub async fn is_wanted(db: &PgPool, retention: &Retention) -> sqlx::Result<bool> {
    if retention.archive.is_none() {
        return Ok(false);
    }
    if retention.after.is_some() {
        return Ok(true);
    }
    sqlx::query_scalar!(
        r#"select exists (select from workflow_versions where retention_ms is not null)
                  as "exists!""#
    )
    .fetch_one(db)
    .await
}

/// Goes a step on and returns the sessions that are due in it.
pub async fn look(db: &PgPool, retention: &Retention, walk: &mut Walk) -> sqlx::Result<Vec<Due>> {
    let rows = sqlx::query_file!(
        "src/store/sql/archive_due.sql",
        walk.after.0,
        walk.after.1,
        STRETCH,
        retention.after.map(|span| span.ms.cast_signed()),
        KEPT_MS
    )
    .fetch_all(db)
    .await?;
    let is_last = rows.len() < usize::try_from(STRETCH).unwrap_or_default();
    walk.after = match rows.last() {
        Some(last) if !is_last => (last.tenant_id, last.id),
        _ => <(Uuid, Uuid)>::default(),
    };
    let due = rows.into_iter().filter(|row| row.is_due).map(|row| Due {
        key: SessionKey { tenant: TenantId(row.tenant_id), id: SessionId(row.id) },
        next_event: row.next_event,
        retry: row.retry,
    });
    Ok(due.collect())
}

/// Archives a session: writes its file, then takes it out of the tables. False when something
/// happened to it meanwhile; then it stays.
pub async fn archive(store: &Store, archive: &Archive, due: Due) -> Result<bool, ArchiveError> {
    let digest = content::write(store, archive, due.key).await?;
    pauses::at(Point::FileWritten).await;
    Ok(remove(&store.pool, archive, due, &digest).await?)
}

/// Puts the mark of an archive in the place of its session. The rest is left to [`clear`].
pub async fn remove(db: &PgPool, archive: &Archive, due: Due, digest: &[u8]) -> sqlx::Result<bool> {
    let removed = sqlx::query_file!(
        "src/store/sql/archive_remove.sql",
        due.key.tenant.0,
        due.key.id.0,
        due.next_event,
        due.retry,
        archive.location(due.key),
        digest
    )
    .execute(db)
    .await?;
    Ok(removed.rows_affected() > 0)
}

/// Removes a batch of what archived sessions left in the tables and returns how many rows and marks
/// that was: 0 when nothing is left.
pub async fn clear(db: &PgPool) -> sqlx::Result<u64> {
    let marks = sqlx::query!(
        "select tenant_id, id from archived_sessions
          where not cleared
          order by tenant_id, id
          limit $1",
        MARKS
    )
    .fetch_all(db)
    .await?;
    let mut done = 0;
    for mark in marks {
        let removed = clear_rows(db, mark.tenant_id, mark.id).await?
            + clear_streams(db, mark.tenant_id, mark.id).await?
            + clear_people(db, mark.tenant_id, mark.id).await?
            + questions::forget(db, (mark.tenant_id, mark.id), ROWS).await?
            + checkpoints::forget(db, (mark.tenant_id, mark.id), CHUNKS).await?
            + budgets::forget(db, (mark.tenant_id, mark.id), ROWS).await?
            + evidence::forget(db, (mark.tenant_id, mark.id), ROWS).await?
            + artifacts::forget(db, (mark.tenant_id, mark.id), ROWS).await?
            + conflicts::forget(db, (mark.tenant_id, mark.id)).await?
            + contexts::forget_session(db, (mark.tenant_id, mark.id)).await?;
        done += removed;
        if removed > 0 {
            continue;
        }
        // What another process is just removing may yet stay, if it dies.
        done += sqlx::query!(
            "update archived_sessions a set cleared = true
              where a.tenant_id = $1 and a.id = $2 and not a.cleared
                and not exists (select from tasks where tenant_id = $1 and session_id = $2)
                and not exists (select from expansions where tenant_id = $1 and session_id = $2)
                and not exists (select from child_sessions where tenant_id = $1 and parent_id = $2)
                and not exists (select from events where tenant_id = $1 and session_id = $2)
                and not exists (select from log_chunks where tenant_id = $1 and session_id = $2)
                and not exists (select from approvals where tenant_id = $1 and session_id = $2)
                and not exists (select from signals where tenant_id = $1 and session_id = $2)
                and not exists (select from signal_waits where tenant_id = $1 and session_id = $2)",
            mark.tenant_id,
            mark.id
        )
        .execute(db)
        .await?
        .rows_affected();
    }
    Ok(done)
}

/// Tasks, and what a group still would have laid down.
async fn clear_rows(db: &PgPool, tenant: Uuid, session: Uuid) -> sqlx::Result<u64> {
    let tasks = sqlx::query!(
        "delete from tasks
          where tenant_id = $1 and session_id = $2
            and seq = any (array (select seq from tasks
                                   where tenant_id = $1 and session_id = $2
                                   order by seq
                                   limit $3
                                     for update skip locked))",
        tenant,
        session,
        ROWS
    )
    .execute(db)
    .await?;
    let expansions = sqlx::query!(
        "delete from expansions
          where tenant_id = $1 and session_id = $2
            and seq = any (array (select seq from expansions
                                   where tenant_id = $1 and session_id = $2
                                   order by seq
                                   limit $3
                                     for update skip locked))",
        tenant,
        session,
        ROWS
    )
    .execute(db)
    .await?;
    let children = sqlx::query!(
        "delete from child_sessions
          where tenant_id = $1 and parent_id = $2
            and parent_seq = any (array (select parent_seq from child_sessions
                                          where tenant_id = $1 and parent_id = $2
                                          order by parent_seq
                                          limit $3
                                            for update skip locked))",
        tenant,
        session,
        ROWS
    )
    .execute(db)
    .await?;
    Ok(tasks.rows_affected() + expansions.rows_affected() + children.rows_affected())
}

/// Events and logs.
async fn clear_streams(db: &PgPool, tenant: Uuid, session: Uuid) -> sqlx::Result<u64> {
    let events = sqlx::query!(
        "delete from events
          where tenant_id = $1 and session_id = $2
            and first_seq = any (array (select first_seq from events
                                         where tenant_id = $1 and session_id = $2
                                         order by first_seq
                                         limit $3
                                           for update skip locked))",
        tenant,
        session,
        ROWS
    )
    .execute(db)
    .await?;
    let chunks = sqlx::query!(
        "delete from log_chunks l
          using (select seq, attempt, worker, chunk
                   from log_chunks
                  where tenant_id = $1 and session_id = $2
                  order by seq, attempt, worker, chunk
                  limit $3
                    for update skip locked) k
          where l.tenant_id = $1 and l.session_id = $2
            and l.seq = k.seq and l.attempt = k.attempt and l.worker = k.worker
            and l.chunk = k.chunk",
        tenant,
        session,
        CHUNKS
    )
    .execute(db)
    .await?;
    Ok(events.rows_affected() + chunks.rows_affected())
}

/// What people were asked and sent.
async fn clear_people(db: &PgPool, tenant: Uuid, session: Uuid) -> sqlx::Result<u64> {
    let approvals = sqlx::query!(
        "with gone as (
             delete from approvals
              where tenant_id = $1 and session_id = $2
                and id = any (array (select id from approvals
                                      where tenant_id = $1 and session_id = $2
                                      order by seq
                                      limit $3
                                        for update skip locked))
             returning tenant_id, id
         ), votes as (
             delete from approval_votes v
              using gone g
              where v.tenant_id = g.tenant_id and v.approval_id = g.id
         )
         select from gone",
        tenant,
        session,
        ROWS
    )
    .execute(db)
    .await?;
    let signals = sqlx::query!(
        "delete from signals
          where tenant_id = $1 and session_id = $2
            and number = any (array (select number from signals
                                      where tenant_id = $1 and session_id = $2
                                      order by number
                                      limit $3
                                        for update skip locked))",
        tenant,
        session,
        ROWS
    )
    .execute(db)
    .await?;
    let waits = sqlx::query!(
        "delete from signal_waits
          where tenant_id = $1 and session_id = $2
            and seq = any (array (select seq from signal_waits
                                   where tenant_id = $1 and session_id = $2
                                   order by seq
                                   limit $3
                                     for update skip locked))",
        tenant,
        session,
        ROWS
    )
    .execute(db)
    .await?;
    Ok(approvals.rows_affected() + signals.rows_affected() + waits.rows_affected())
}
