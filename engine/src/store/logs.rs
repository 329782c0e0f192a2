//! What attempts print: a stream of chunks per fence, with a single writer. It does not know how
//! chunks are gathered or bounded: that is the executor's.

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use crate::id::{Fence, TaskKey};

/// A chunk to be stored; the body is at most 64 KiB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewChunk {
    pub chunk: i32,
    /// 0 standard output, 1 standard error, 2 Jobshop itself, 3 a conversation.
    pub stream: i16,
    pub body: Vec<u8>,
}

/// A stored chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredChunk {
    pub place: LogPlace,
    pub stream: i16,
    pub at: DateTime<Utc>,
    pub body: Vec<u8>,
}

/// Where a chunk stands in the log of its task; places are ordered as the chunks were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogPlace {
    pub attempt: i32,
    pub worker: Uuid,
    pub chunk: i32,
}

impl LogPlace {
    /// Before every chunk.
    pub const START: Self = Self { attempt: 0, worker: Uuid::nil(), chunk: -1 };
}

/// Stores chunks of one attempt in one statement. Storing a chunk twice is harmless.
pub async fn append(db: &PgPool, fence: Fence, chunks: &[NewChunk]) -> sqlx::Result<()> {
    let numbers: Vec<i32> = chunks.iter().map(|it| it.chunk).collect();
    let streams: Vec<i16> = chunks.iter().map(|it| it.stream).collect();
    let bodies: Vec<&[u8]> = chunks.iter().map(|it| it.body.as_slice()).collect();
    sqlx::query!(
        "insert into log_chunks
                (tenant_id, session_id, seq, attempt, worker, chunk, stream, at, body)
         select $1, $2, $3, $4, $5, c.chunk, c.stream, (select clock()), c.body
           from unnest($6::int[], $7::smallint[], $8::bytea[]) as c (chunk, stream, body)
             on conflict do nothing",
        fence.task.session.tenant.0,
        fence.task.session.id.0,
        fence.task.seq,
        fence.attempt,
        fence.worker.0,
        &numbers,
        &streams,
        &bodies as &[&[u8]]
    )
    .execute(db)
    .await
    .map(drop)
}

/// The chunks of a task after a place, in order; of one attempt, or of all.
pub async fn read(
    db: &PgPool,
    task: TaskKey,
    attempt: Option<i32>,
    after: LogPlace,
    limit: i64,
) -> sqlx::Result<Vec<StoredChunk>> {
    let rows = sqlx::query!(
        "select attempt, worker, chunk, stream, at, body
           from log_chunks
          where tenant_id = $1 and session_id = $2 and seq = $3
            and (attempt, worker, chunk) > ($4, $5, $6)
            and ($7::int is null or attempt = $7)
          order by attempt, worker, chunk
          limit $8",
        task.session.tenant.0,
        task.session.id.0,
        task.seq,
        after.attempt,
        after.worker,
        after.chunk,
        attempt,
        limit
    )
    .fetch_all(db)
    .await?;
    let chunks = rows.into_iter().map(|row| StoredChunk {
        place: LogPlace { attempt: row.attempt, worker: row.worker, chunk: row.chunk },
        stream: row.stream,
        at: row.at,
        body: row.body,
    });
    Ok(chunks.collect())
}
