//! The janitor: what a session that ended, or is failing fast, left open is cancelled in bounded
//! batches. Nothing of it can start meanwhile, because a claim looks at the session.

use std::collections::HashSet;

use crate::{
    closing::Phase,
    flow,
    id::{SessionId, SessionKey, TaskKey, TenantId},
    session::SessionState,
    store::{
        Hint, Store, flags,
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
        let state = SessionState::from_code(row.state);
        let result = row.result.and_then(SessionState::from_code);
        let is_over = state.is_some_and(SessionState::is_final);
        if is_over {
            count_finally(store, key).await?;
        }
        // What is under `finally` runs when the rest has been swept.
        let spared = if is_over || row.phase > 0 { 0 } else { flags::FINALLY };
        let task = Sweep { key, reason: reason(state, result, row.phase), spared };
        swept += sweep_session(store, task).await?;
    }
    Ok(swept)
}

/// Why what is open is cancelled. A session that failed has rows left open only where it failed
/// fast.
fn reason(state: Option<SessionState>, result: Option<SessionState>, phase: i16) -> Reason {
    match (state, result) {
        (Some(SessionState::Timeout), _) => Reason::Timeout,
        (Some(state), _) if state.is_final() && state != SessionState::Failed => {
            Reason::SessionCancelled
        }
        (_, Some(SessionState::Timeout)) => Reason::Timeout,
        (_, Some(SessionState::Stopped)) if phase == 0 => Reason::SessionStopped,
        (_, Some(_)) if phase == 0 => Reason::EndedByHand,
        _ if phase > 0 => Reason::Timeout,
        _ => Reason::FailFast,
    }
}

/// Of a session that ended before its result was decided, what is under `finally` is cancelled with
/// the rest: from here on it is counted with the rest.
async fn count_finally(store: &Store, key: SessionKey) -> sqlx::Result<()> {
    sqlx::query!(
        "update session_progress p
            set phase = $4,
                open = p.open + (select count(*) from tasks t
                                  where t.tenant_id = $1 and t.session_id = $2
                                    and t.flags & $3 <> 0 and t.parent is null and t.state < 6)
          where p.tenant_id = $1 and p.session_id = $2 and p.epilogue and p.phase < $4
            and p.state >= 5",
        key.tenant.0,
        key.id.0,
        flags::FINALLY,
        Phase::Finally.code(),
    )
    .execute(&store.pool)
    .await
    .map(|_| ())
}

/// What is swept of a session.
#[derive(Clone, Copy)]
struct Sweep {
    key: SessionKey,
    reason: Reason,
    /// Flags of rows that are left alone.
    spared: i16,
}

/// Sweeps tasks first and groups when none is open any more, so that nothing can still fail in a
/// group that is ended.
async fn sweep_session(store: &Store, task: Sweep) -> sqlx::Result<usize> {
    let key = task.key;
    let tasks = sweep_rows(store, task, Which::Tasks).await?;
    let mut swept = tasks.accepted;
    if tasks.accepted == tasks.open {
        swept += sweep_rows(store, task, Which::Groups).await?.accepted;
    }
    sqlx::query!(
        "with laid as (
             update expansions set unfinished = false
              where tenant_id = $1 and session_id = $2 and unfinished
                -- Once what is swept is gone, this may be what runs after it.
                and exists (select from session_progress
                             where tenant_id = $1 and session_id = $2 and sweep > 0)
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

/// What is swept: groups stands for their items too.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    Tasks,
    Groups,
}

#[derive(Default)]
struct Swept {
    open: usize,
    accepted: usize,
}

/// Goes from the last row to the first: a group stands before what is in it, and the row that a
/// session ends with is the last that is swept.
async fn sweep_rows(store: &Store, task: Sweep, which: Which) -> sqlx::Result<Swept> {
    let Sweep { key, reason, spared } = task;
    let mut before = i32::MAX;
    let mut swept = Swept::default();
    let mut spoilt = HashSet::new();
    loop {
        let open = sqlx::query_file!(
            "src/store/sql/open_rows.sql",
            key.tenant.0,
            key.id.0,
            before,
            BATCH,
            spared
        )
        .fetch_all(&store.pool)
        .await?;
        let Some(first) = open.last() else { return Ok(swept) };
        before = first.seq;
        let mut moves = Vec::with_capacity(open.len());
        for row in &open {
            let is_group = row.flags & (flags::GROUP | flags::ITEM) != 0;
            let Some(from) = TaskState::from_code(row.state) else { continue };
            if is_group != (which == Which::Groups) {
                continue;
            }
            if reason == Reason::SessionStopped && from == TaskState::InProgress {
                // Its worker has told it to stop, and records what becomes of it.
                swept.open += 1;
                continue;
            }
            let task = TaskKey { session: key, seq: row.seq };
            let is_spoilt = row.bad > 0 || spoilt.contains(&row.seq);
            if reason == Reason::FailFast && from == TaskState::Blocked && is_spoilt {
                // It is not cut off: a task in it failed, and so it has failed.
                let (state, failure) = flow::end_of_group(row.bad.max(1), None);
                let mut end = Move::new(task, row.attempt, from, state);
                end.error = failure;
                end.locks = row.flags & flags::LOCK != 0;
                end.funded = row.flags & flags::BUDGET != 0;
                moves.push(end);
                spoilt.extend(row.parent.filter(|_| row.flags & flags::CONTINUE == 0));
            } else {
                let mut cancel = Move::new(task, row.attempt, from, TaskState::Cancelled);
                cancel.reason = Some(reason);
                cancel.quiet = true;
                cancel.locks = row.flags & flags::LOCK != 0;
                cancel.funded = row.flags & flags::BUDGET != 0;
                moves.push(cancel);
            }
        }
        let moved = transition(&store.pool, Mover::Janitor, &moves, &[], None).await?;
        if moves.is_empty() {
            continue;
        }
        swept.open += moves.len();
        swept.accepted += moved.accepted.iter().filter(|accepted| **accepted).count();
        super::tell(store, &moves, &moved);
    }
}
