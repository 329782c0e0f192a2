//! The janitor of paused sessions: what was ready when a session was paused becomes paused, and goes
//! back when the session is resumed, in bounded batches. Claims look at the session itself, so
//! nothing starts meanwhile.

use sqlx::PgConnection;

use crate::{
    id::{SessionId, SessionKey, TenantId},
    session::SessionState,
    store::{Hint, Store},
    task::Reason,
};

/// Rows that one transaction moves at most.
const BATCH: i64 = 1_000;

/// Moves what there is to move, and returns how many rows that were.
pub(super) async fn hold(store: &Store) -> sqlx::Result<usize> {
    let sessions = sqlx::query_file!("src/store/sql/moving.sql").fetch_all(&store.pool).await?;
    let mut moved = 0;
    for row in sessions {
        let key = SessionKey { tenant: TenantId(row.tenant_id), id: SessionId(row.session_id) };
        while let Some(rows) = step(store, key).await? {
            moved += rows;
        }
    }
    Ok(moved)
}

/// One batch, and how many rows it held; `None` once there was none.
async fn step(store: &Store, key: SessionKey) -> sqlx::Result<Option<usize>> {
    let mut tx = store.pool.begin().await?;
    // The session first: what frees tasks looks at its state under the same lock.
    let state = sqlx::query_scalar!(
        "select state from session_progress
          where tenant_id = $1 and session_id = $2 and moving
            for no key update",
        key.tenant.0,
        key.id.0
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(state) = state.and_then(SessionState::from_code) else { return Ok(None) };
    let rows = if state == SessionState::Paused {
        pause_ready(&mut tx, key).await?
    } else if state.is_final() {
        // What is left of it is swept.
        0
    } else {
        release(&mut tx, key).await?
    };
    if rows == 0 {
        sqlx::query!(
            "update session_progress set moving = false where tenant_id = $1 and session_id = $2",
            key.tenant.0,
            key.id.0
        )
        .execute(&mut *tx)
        .await?;
    }
    tx.commit().await?;
    if rows == 0 {
        return Ok(None);
    }
    if state != SessionState::Paused {
        store.hints.send(Hint::Ready);
    }
    Ok(Some(usize::try_from(rows).unwrap_or(usize::MAX)))
}

async fn pause_ready(tx: &mut PgConnection, key: SessionKey) -> sqlx::Result<u64> {
    sqlx::query!(
        "update tasks t
            set state = 5, queued = false, reason = $3
          where t.tenant_id = $1 and t.session_id = $2 and t.state = 1
            and t.seq = any (array(select seq from tasks
                                    where tenant_id = $1 and session_id = $2 and state = 1
                                    order by seq limit $4
                                      for no key update))",
        key.tenant.0,
        key.id.0,
        Reason::SessionPaused.code(),
        BATCH
    )
    .execute(tx)
    .await
    .map(|done| done.rows_affected())
}

/// They keep their place in the queue.
async fn release(tx: &mut PgConnection, key: SessionKey) -> sqlx::Result<u64> {
    sqlx::query!(
        "update tasks t
            set state = 1, queued = true, reason = null
          where t.tenant_id = $1 and t.session_id = $2 and t.state = 5 and t.reason = $3
            and t.seq = any (array(select seq from tasks
                                    where tenant_id = $1 and session_id = $2 and state = 5
                                      and reason = $3
                                    order by seq limit $4
                                      for no key update))",
        key.tenant.0,
        key.id.0,
        Reason::SessionPaused.code(),
        BATCH
    )
    .execute(tx)
    .await
    .map(|done| done.rows_affected())
}
