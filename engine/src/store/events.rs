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
    pub(super) attempt: Option<i32>,
    /// An object; empty where the event says no more than its kind.
    pub(super) body: Value,
}

impl Entry {
    pub(super) fn of_session(kind: EventKind, body: impl Into<Value>) -> Self {
        Self { kind, task: None, attempt: None, body: body.into() }
    }

    pub(super) fn of_task(kind: EventKind, seq: i32, body: impl Into<Value>) -> Self {
        Self { kind, task: Some(seq), attempt: None, body: body.into() }
    }
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
    let attempts: Vec<Option<i32>> = entries.iter().map(|entry| entry.attempt).collect();
    let bodies: Vec<Option<String>> = entries.iter().map(body_of).collect();
    sqlx::query!(
        "with numbered as (
             update session_progress
                set next_event = next_event + cardinality($3::smallint[])
              where tenant_id = $1 and session_id = $2
             returning next_event - cardinality($3::smallint[]) as first, clock() as at
         )
         insert into events (tenant_id, session_id, first_seq, last_seq, at, kinds, tasks,
                             attempts, ats, bodies, actor)
         select $1, $2, first, first + cardinality($3::smallint[]) - 1, at, $3, $4, $5,
                array_fill(at, array[cardinality($3::smallint[])]),
                (select case when count(b.body) > 0 then array_agg(b.body::jsonb order by b.n) end
                   from unnest($6::text[]) with ordinality as b (body, n)),
                $7
           from numbered",
        key.tenant.0,
        key.id.0,
        &kinds,
        &tasks as _,
        &attempts as _,
        &bodies as _,
        actor as _,
    )
    .execute(tx)
    .await
    .map(|_| ())
}

fn body_of(entry: &Entry) -> Option<String> {
    let is_empty = entry.body.as_object().is_some_and(serde_json::Map::is_empty);
    (!is_empty).then(|| blobs::to_jsonb_text(&entry.body))
}
