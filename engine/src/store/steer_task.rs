//! Pausing and resuming single tasks, and groups with what is in them. One transaction under the
//! session's lock, with its event.

use serde_json::{Value, json};
use sqlx::PgConnection;

use super::{
    Store, budgets,
    events::{self, Entry},
    flags,
    sessions::SteerError,
    steer::{self, By, Locked},
    tickets,
};
use crate::{
    event::EventKind,
    id::TaskKey,
    session::{IllegalMove, SessionState},
    task::{Reason, TaskState},
};

/// Rows of a group that are paused in one transaction at most.
const ROWS_MAX: i64 = 10_000;
/// A row that was pending and had to be decided, as `tasks.was` says it.
const UNDECIDED: i16 = 2;

/// The task does not start until it is resumed; of a group, nothing in it does. What it needs goes
/// on, and so does what runs in it.
pub async fn pause(store: &Store, task: TaskKey, by: By<'_>) -> Result<(), SteerError> {
    let mut tx = store.pool.begin().await?;
    open(&mut tx, task).await?;
    let row = row(&mut tx, task).await?;
    row.state.move_to(TaskState::Paused)?;
    if row.flags & (flags::FINALLY | flags::COMPENSATION) != 0 {
        return Err(SteerError::TaskNotPausable("it runs once the result is decided"));
    }
    match row.reason {
        Some(
            Reason::Children
            | Reason::Sleep
            | Reason::Backoff
            | Reason::Lock
            | Reason::Budget
            | Reason::Provider,
        )
        | None => {}
        Some(Reason::Child) => {
            return Err(SteerError::TaskNotPausable("pause the session that it is instead"));
        }
        Some(_) => return Err(SteerError::TaskNotPausable("what it waits for goes on outside")),
    }
    let rows = inside(&mut tx, task).await?;
    let paused = sqlx::query!(
        "update tasks t
            set was = case when t.undecided and t.state = 0 then $6::smallint
                           -- Once offered, it is not offered again.
                           when t.state in (2, 5) then 1 else t.state end,
                was_reason = case when t.state = 4 then t.reason end,
                state = $4, reason = $5, queued = false, undecided = false, delayed = false
          where t.tenant_id = $1 and t.session_id = $2 and t.seq = any($3)
            and (t.state in (0, 1, 2)
                 or (t.state = 4 and (t.reason in (0, 1, 2) or t.reason in ($8, $9, $10)))
                 -- What is held with the session, of a group, stays when the session is resumed.
                 or (t.state = 5 and t.reason = $7))",
        task.session.tenant.0,
        task.session.id.0,
        &rows,
        TaskState::Paused.code(),
        Reason::Paused.code(),
        UNDECIDED,
        Reason::SessionPaused.code(),
        Reason::Lock.code(),
        Reason::Budget.code(),
        Reason::Provider.code(),
    )
    .execute(&mut *tx)
    .await?
    .rows_affected();
    let mut body = by.body();
    if rows.len() > 1 {
        body.insert("tasks".to_owned(), json!(paused));
    }
    let event = Entry::of_task(EventKind::TaskPaused, task.seq, body);
    events::append(&mut tx, task.session, &[event], by.actor).await?;
    tickets::park(&mut tx, task.session).await?;
    tx.commit().await?;
    steer::tell(store, task.session);
    Ok(())
}

/// A paused task goes on from where it stands by now, and so does what was paused in it.
pub async fn resume(store: &Store, task: TaskKey, by: By<'_>) -> Result<(), SteerError> {
    let mut tx = store.pool.begin().await?;
    let session = open(&mut tx, task).await?;
    let paused = row(&mut tx, task).await?;
    if (paused.state, paused.reason) != (TaskState::Paused, Some(Reason::Paused)) {
        return Err(SteerError::TaskNotPaused(paused.state));
    }
    let rows = inside(&mut tx, task).await?;
    sqlx::query!(
        "update tasks t
            set state = case t.was when 1 then case when $5 then 5 else 1 end
                                   when 4 then 4 else 0 end,
                reason = case t.was when 1 then case when $5 then $6::smallint end
                                    when 4 then t.was_reason end,
                queued = t.was = 1 and not $5,
                -- What has got its locks meanwhile, or had just got them, is to be decided.
                undecided = t.was = 2 or (t.was = 4 and t.was_reason = 0 and t.blockers = 0)
                            or (t.was = 4 and t.was_reason = $7
                                and not exists (select from tickets k
                                                 where k.tenant_id = $1 and k.session_id = $2
                                                   and k.seq = t.seq and not k.held)),
                -- A sleep, a back-off, or a group's time.
                delayed = t.was = 4 and t.wake_at is not null,
                ready_at = case when t.was = 1 then clock() else t.ready_at end,
                rank = case when t.was = 1 then clock() + priority_offset(t.priority) else t.rank end,
                was = null, was_reason = null
           from unnest($3::int[]) as k (seq)
          where t.tenant_id = $1 and t.session_id = $2 and t.seq = k.seq
            and t.state = 5 and t.reason = $4",
        task.session.tenant.0,
        task.session.id.0,
        &rows,
        Reason::Paused.code(),
        session == SessionState::Paused,
        Reason::SessionPaused.code(),
        Reason::Lock.code(),
    )
    .execute(&mut *tx)
    .await?;
    // What waits to be tried again is written anew as it is: whoever is just promoting it and still
    // sees the group paused does not find it, and looks again.
    sqlx::query!(
        "update tasks t
            set delayed = t.delayed
          where t.tenant_id = $1 and t.session_id = $2 and t.seq = any ($3)
            and t.state = 4 and t.reason = any ($4)",
        task.session.tenant.0,
        task.session.id.0,
        &rows,
        &[Reason::Backoff.code(), Reason::Provider.code()],
    )
    .execute(&mut *tx)
    .await?;
    let now = row(&mut tx, task).await?;
    let mut body = by.body();
    body.insert("resumed".to_owned(), Value::Bool(true));
    let event = Entry::of_task(EventKind::of_task(now.state), task.seq, body);
    events::append(&mut tx, task.session, &[event], by.actor).await?;
    tickets::park(&mut tx, task.session).await?;
    budgets::look_again(&mut tx, &[task.session]).await?;
    tx.commit().await?;
    steer::tell(store, task.session);
    Ok(())
}

/// Locks a session that has not ended and gives its state.
async fn open(tx: &mut PgConnection, task: TaskKey) -> Result<SessionState, SteerError> {
    let from = Locked::read(tx, task.session).await?.state;
    if from.is_final() {
        return Err(IllegalMove { from, to: SessionState::Paused }.into());
    }
    Ok(from)
}

struct Row {
    state: TaskState,
    reason: Option<Reason>,
    flags: i16,
}

async fn row(tx: &mut PgConnection, task: TaskKey) -> Result<Row, SteerError> {
    let row = sqlx::query!(
        "select state, reason, flags from tasks
          where tenant_id = $1 and session_id = $2 and seq = $3
            for no key update",
        task.session.tenant.0,
        task.session.id.0,
        task.seq
    )
    .fetch_optional(tx)
    .await?
    .ok_or(SteerError::NotFound(task.session.id))?;
    Ok(Row {
        state: TaskState::from_code(row.state).unwrap_or(TaskState::Pending),
        reason: row.reason.and_then(Reason::from_code),
        flags: row.flags,
    })
}

/// The row and everything in it that has not ended, locked in order.
async fn inside(tx: &mut PgConnection, task: TaskKey) -> Result<Vec<i32>, SteerError> {
    let rows = sqlx::query_scalar!(
        r#"with recursive inside as (
               select $3::int as seq
                union all
               select t.seq
                 from inside i
                 join tasks t on t.tenant_id = $1 and t.session_id = $2 and t.parent = i.seq
                where t.state < 6
           )
           select t.seq
             from tasks t
            where t.tenant_id = $1 and t.session_id = $2
              and t.seq = any (array(select seq from inside limit $4))
            order by t.seq
              for no key update"#,
        task.session.tenant.0,
        task.session.id.0,
        task.seq,
        ROWS_MAX + 1,
    )
    .fetch_all(tx)
    .await?;
    if i64::try_from(rows.len()).is_ok_and(|count| count > ROWS_MAX) {
        let why = "more than 10 000 tasks stand in it; pause the session instead";
        return Err(SteerError::TaskNotPausable(why));
    }
    Ok(rows)
}
