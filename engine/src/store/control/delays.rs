//! Delayed rows: what waited long enough becomes ready, wakes up, or has run out of time.

use std::time::Duration;

use serde_json::json;
use uuid::Uuid;

use super::group_timeout;
use crate::{
    event::EventKind,
    id::{SessionId, SessionKey, TaskKey, TenantId},
    outcome::{ErrorClass, Failure},
    session::SessionState,
    store::{
        Hint, Store, approvals, budgets, flags, places,
        transition::{Move, Mover, transition},
    },
    task::{Reason, TaskState},
};

/// Rows that one statement promotes at most.
const BATCH: i64 = 1_000;

/// Makes ready what waited to be tried again, in a paused group paused; returns how many rows that
/// were.
pub(super) async fn promote(store: &Store) -> sqlx::Result<usize> {
    let promoted = sqlx::query_file!(
        "src/store/sql/promote.sql",
        BATCH,
        &[Reason::Backoff.code(), Reason::Provider.code()],
        Reason::Paused.code(),
        Reason::Budget.code()
    )
    .fetch_one(&store.pool)
    .await?;
    if promoted.promoted > 0 {
        hold_again(store, &promoted.tenants, &promoted.sessions).await?;
        let asking = promoted.asking_tenants.iter().zip(&promoted.asking);
        let asking: Vec<SessionKey> = asking
            .map(|(tenant, id)| SessionKey { tenant: TenantId(*tenant), id: SessionId(*id) })
            .collect();
        if !asking.is_empty() {
            budgets::look_again(&mut *store.pool.acquire().await?, &asking).await?;
        }
        store.hints.send(Hint::Ready);
    }
    Ok(usize::try_from(promoted.promoted).unwrap_or(usize::MAX))
}

/// Those of the sessions that are paused have ready rows to be paused. Not in the statement that
/// makes them ready: sessions are locked before tasks.
async fn hold_again(store: &Store, tenants: &[Uuid], sessions: &[Uuid]) -> sqlx::Result<()> {
    sqlx::query!(
        "with locked as materialized (
             select p.tenant_id, p.session_id from session_progress p
              where p.tenant_id = any($1) and p.session_id = any($2) and p.state = $3
              order by p.tenant_id, p.session_id
                for no key update
         )
         update session_progress p set moving = true
           from locked l
          where p.tenant_id = l.tenant_id and p.session_id = l.session_id",
        tenants,
        sessions,
        SessionState::Paused.code(),
    )
    .execute(&store.pool)
    .await
    .map(|_| ())
}

/// Ends sleeps that are over and what ran out of time; returns how many rows were due.
pub(super) async fn wake(store: &Store) -> sqlx::Result<usize> {
    let due = sqlx::query_file!("src/store/sql/due.sql").fetch_all(&store.pool).await?;
    let mut sleeps = Vec::new();
    let mut waited = Vec::new();
    let mut overdue = Vec::new();
    for row in &due {
        let session = SessionKey { tenant: TenantId(row.tenant_id), id: SessionId(row.session_id) };
        let task = TaskKey { session, seq: row.seq };
        match Reason::from_code(row.reason) {
            Some(Reason::Sleep) => {
                let mut over =
                    Move::new(task, row.attempt, TaskState::Blocked, TaskState::Completed);
                over.output = Some(json!({}));
                over.locks = row.flags & flags::LOCK != 0;
                sleeps.push(over);
            }
            Some(Reason::Signal) => {
                waited.push(in_vain(task, row.attempt, "the signal did not come in time"));
            }
            Some(Reason::Lock) if row.flags & flags::GROUP == 0 => {
                waited.push(in_vain(task, row.attempt, "it did not get its locks in time"));
            }
            Some(Reason::Approval) => approvals::expire(store, task).await?,
            _ => overdue.push((task, row.attempt)),
        }
    }
    for ended in [sleeps, waited] {
        let moved = transition(&store.pool, Mover::Control, &ended, &[], None).await?;
        super::tell(store, &ended, &moved);
    }
    // After the sleeps: what was over in time is not cancelled because it was looked at late.
    for (group, attempt) in overdue {
        group_timeout::time_out(store, group, attempt).await?;
    }
    Ok(due.len())
}

/// The end of a wait for something that did not come in time.
fn in_vain(task: TaskKey, attempt: i32, why: &str) -> Move {
    let mut failed = Move::new(task, attempt, TaskState::Blocked, TaskState::Failed);
    failed.locks = true;
    let failure = Failure::new(ErrorClass::Timeout, why);
    failed.body = Some(json!({ "class": failure.class, "message": failure.message }));
    failed.error = Some(failure);
    failed
}

/// Ends sessions whose deadline has passed; returns how many.
pub(super) async fn end_overdue(store: &Store) -> sqlx::Result<usize> {
    let mut tx = store.pool.begin().await?;
    let ended = sqlx::query_file!(
        "src/store/sql/overdue.sql",
        SessionState::Timeout.code(),
        EventKind::SessionTimeout.code(),
        SessionState::Failed.code(),
    )
    .fetch_all(&mut *tx)
    .await?;
    let key = |tenant, id| SessionKey { tenant: TenantId(tenant), id: SessionId(id) };
    let leaving = ended.iter().filter(|row| row.leaves);
    let left: Vec<SessionKey> = leaving.map(|row| key(row.tenant_id, row.session_id)).collect();
    places::enter_all(&mut tx, &left, &[]).await?;
    tx.commit().await?;
    for row in &ended {
        store.hints.send(Hint::Ended(SessionId(row.session_id)));
        store.hints.send(Hint::Event(SessionId(row.session_id)));
    }
    if !left.is_empty() {
        store.hints.send(Hint::Ready);
    }
    Ok(ended.len())
}

/// How long until the next delayed row or deadline is due, at most `most`.
pub(super) async fn until_next(store: &Store, most: Duration) -> sqlx::Result<Duration> {
    let secs =
        sqlx::query_file_scalar!("src/store/sql/next_due.sql").fetch_one(&store.pool).await?;
    let wait = secs.map_or(most, |secs| Duration::try_from_secs_f64(secs.max(0.0)).unwrap_or(most));
    Ok(wait.clamp(Duration::from_millis(1), most))
}
