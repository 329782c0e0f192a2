//! What waited too long to start: a ready task with a `start_timeout` fails, class `timeout`, and a
//! session that has not begun ends with its time-out. Nothing was tried, so a `retry` has no say.

use serde_json::json;
use sqlx::PgConnection;

use super::close;
use crate::{
    duration::Span,
    id::{SessionId, SessionKey, TaskKey, TenantId},
    outcome::{ErrorClass, Failure},
    session::SessionState,
    store::{
        Hint, Store, places,
        transition::{Move, Mover, transition},
    },
    task::TaskState,
};

/// Rows that are failed in one go.
const BATCH: i64 = 500;

/// Fails what is late; returns how much that was.
pub(super) async fn end_late(store: &Store) -> sqlx::Result<usize> {
    Ok(fail_tasks(store).await? + end_sessions(store).await?)
}

async fn fail_tasks(store: &Store) -> sqlx::Result<usize> {
    let late =
        sqlx::query_file!("src/store/sql/start_late.sql", BATCH).fetch_all(&store.pool).await?;
    if late.is_empty() {
        return Ok(0);
    }
    let moves: Vec<Move> = late
        .iter()
        .map(|row| {
            let session =
                SessionKey { tenant: TenantId(row.tenant_id), id: SessionId(row.session_id) };
            failed(TaskKey { session, seq: row.seq }, row.attempt, span(row.ms))
        })
        .collect();
    let moved = transition(&store.pool, Mover::Control, &moves, &[], None).await?;
    super::tell(store, &moves, &moved);
    Ok(moved.accepted.iter().filter(|accepted| **accepted).count())
}

/// The end of a ready task that nobody began.
fn failed(task: TaskKey, attempt: i32, limit: Span) -> Move {
    let mut failed = Move::new(task, attempt, TaskState::Ready, TaskState::Failed);
    failed.locks = true;
    failed.funded = true;
    let why = format!("it was ready for {limit} and no agent started it (`start_timeout`)");
    let failure = Failure::new(ErrorClass::Timeout, why);
    failed.body = Some(json!({ "class": failure.class, "message": failure.message }));
    failed.error = Some(failure);
    failed
}

const fn span(ms: i64) -> Span {
    Span { ms: ms.cast_unsigned() }
}

/// Ends sessions that have not begun in time; one that has is watched no longer.
async fn end_sessions(store: &Store) -> sqlx::Result<usize> {
    let due = sqlx::query!(
        "select tenant_id, session_id from session_progress
          where start_by <= (select clock())
          order by start_by
          limit $1",
        BATCH
    )
    .fetch_all(&store.pool)
    .await?;
    let mut ended = 0;
    for row in due {
        let key = SessionKey { tenant: TenantId(row.tenant_id), id: SessionId(row.session_id) };
        ended += usize::from(end_session(store, key).await?);
    }
    if ended > 0 {
        store.hints.send(Hint::Undecided);
    }
    Ok(ended)
}

async fn end_session(store: &Store, key: SessionKey) -> sqlx::Result<bool> {
    let infos = store.infos.load(store, &[key]).await?;
    let limit = infos.get(&key).and_then(|info| info.version.plan.start_timeout);
    let mut tx = store.pool.begin().await?;
    let late = sqlx::query!(
        r#"update session_progress p
            set start_by = null
           from (select tenant_id, session_id, state, sweep, start_by, started_at
                   from session_progress
                  where tenant_id = $1 and session_id = $2
                    for no key update) old
          where p.tenant_id = old.tenant_id and p.session_id = old.session_id
            and old.start_by <= clock()
         returning old.state between 1 and 4 and old.started_at is null as "waits!",
                   old.sweep = -1 as "waits_for_place!""#,
        key.tenant.0,
        key.id.0
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(late) = late.filter(|late| late.waits) else {
        tx.commit().await?;
        return Ok(false);
    };
    let limit = limit.map(|limit| format!(" within {limit}")).unwrap_or_default();
    let why = format!("the session did not begin{limit} (`start_timeout`)");
    let failure = Failure::new(ErrorClass::Timeout, why);
    close::ask_to_end(&mut tx, key, SessionState::Timeout, &failure).await?;
    if late.waits_for_place {
        // What follows its result needs none.
        places::leave(&mut tx, key).await?;
    }
    tx.commit().await?;
    Ok(true)
}

/// Begins to watch a session that is let go later than it was made. The caller holds its row.
pub(in crate::store) async fn begin(
    tx: &mut PgConnection,
    store: &Store,
    key: SessionKey,
) -> sqlx::Result<()> {
    let infos = store.infos.load(store, &[key]).await?;
    let limit = infos.get(&key).and_then(|info| info.version.plan.start_timeout);
    let Some(limit) = limit.map(Span::to_std) else { return Ok(()) };
    sqlx::query!(
        "update session_progress
            set start_by = clock() + make_interval(secs => $3)
          where tenant_id = $1 and session_id = $2",
        key.tenant.0,
        key.id.0,
        limit.as_secs_f64()
    )
    .execute(tx)
    .await
    .map(|_| ())
}
