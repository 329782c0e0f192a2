//! The janitor: what a session that ended, or is failing fast, left open is cancelled in bounded
//! batches. Nothing of it can start meanwhile, because a claim looks at the session.

use crate::{
    id::{SessionId, SessionKey, TaskKey, TenantId},
    session::SessionState,
    store::{
        Hint, Store,
        transition::{Move, Mover, transition},
    },
    task::{Reason, TaskState},
};

/// Rows that one transaction cancels at most.
const BATCH: i64 = 1_000;

/// Sweeps every session that needs it to its end, and returns how many rows were cancelled.
pub(super) async fn sweep(store: &Store) -> sqlx::Result<usize> {
    let sessions = sqlx::query_file!("src/store/sql/sweeping.sql").fetch_all(&store.pool).await?;
    let mut swept = 0;
    for row in sessions {
        let key = SessionKey { tenant: TenantId(row.tenant_id), id: SessionId(row.session_id) };
        let reason = match SessionState::from_code(row.state) {
            Some(SessionState::Timeout) => Reason::Timeout,
            Some(state) if state.is_final() => Reason::SessionCancelled,
            _ => Reason::FailFast,
        };
        swept += sweep_session(store, key, reason).await?;
    }
    Ok(swept)
}

async fn sweep_session(store: &Store, key: SessionKey, reason: Reason) -> sqlx::Result<usize> {
    let mut after = 0;
    let mut swept = 0;
    loop {
        let open =
            sqlx::query_file!("src/store/sql/open_rows.sql", key.tenant.0, key.id.0, after, BATCH)
                .fetch_all(&store.pool)
                .await?;
        let Some(last) = open.last() else { break };
        after = last.seq;
        let moves: Vec<Move> = open
            .iter()
            .filter_map(|row| {
                let from = TaskState::from_code(row.state)?;
                let task = TaskKey { session: key, seq: row.seq };
                let mut cancel = Move::new(task, row.attempt, from, TaskState::Cancelled);
                cancel.reason = Some(reason);
                cancel.quiet = true;
                Some(cancel)
            })
            .collect();
        let moved = transition(&store.pool, Mover::Janitor, &moves, &[], None).await?;
        swept += moved.accepted.iter().filter(|accepted| **accepted).count();
        super::tell(store, &moves, &moved);
    }
    sqlx::query!(
        "with laid as (
             update expansions set unfinished = false
              where tenant_id = $1 and session_id = $2 and unfinished
         )
         update session_progress p set sweep = 0
          where p.tenant_id = $1 and p.session_id = $2 and p.state >= 5
            and not exists (select from tasks t
                             where t.tenant_id = $1 and t.session_id = $2 and t.state < 6)",
        key.tenant.0,
        key.id.0
    )
    .execute(&store.pool)
    .await?;
    if swept > 0 {
        store.hints.send(Hint::Ended(key.id));
    }
    Ok(swept)
}
