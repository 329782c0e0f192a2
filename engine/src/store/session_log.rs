//! Events that say more than that a row moved. They are numbered like all others, so whoever appends
//! them holds the lock on the session's row.

use serde_json::Value;
use sqlx::PgConnection;

use super::blobs;
use crate::{event::EventKind, id::SessionKey};

/// One event of a session.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) kind: EventKind,
    /// The row it is about; `None` for the session itself.
    pub(super) task: Option<i32>,
    pub(super) body: Value,
}

/// Appends events in order. The caller has locked the session's row and commits.
pub(super) async fn append(
    tx: &mut PgConnection,
    key: SessionKey,
    entries: &[Entry],
    actor: Option<&str>,
) -> sqlx::Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let kinds: Vec<i16> = entries.iter().map(|entry| entry.kind.code()).collect();
    let tasks: Vec<Option<i32>> = entries.iter().map(|entry| entry.task).collect();
    let bodies: Vec<String> =
        entries.iter().map(|entry| blobs::to_jsonb_text(&entry.body)).collect();
    sqlx::query!(
        "with numbered as (
             update session_progress
                set next_event = next_event + cardinality($3::smallint[])
              where tenant_id = $1 and session_id = $2
             returning next_event - cardinality($3::smallint[]) as first, clock() as at
         )
         insert into events (tenant_id, session_id, first_seq, last_seq, at, kinds, tasks,
                             attempts, ats, bodies, actor)
         select $1, $2, first, first + cardinality($3::smallint[]) - 1, at, $3, $4,
                array_fill(null::int, array[cardinality($3::smallint[])]),
                array_fill(at, array[cardinality($3::smallint[])]),
                (select array_agg(b.body::jsonb order by b.n)
                   from unnest($5::text[]) with ordinality as b (body, n)),
                $6
           from numbered",
        key.tenant.0,
        key.id.0,
        &kinds,
        &tasks as _,
        &bodies,
        actor as _,
    )
    .execute(tx)
    .await
    .map(|_| ())
}
