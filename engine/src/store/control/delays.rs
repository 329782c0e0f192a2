//! Delayed rows: what waited long enough becomes ready, wakes up, or has run out of time.

use std::time::Duration;

use serde_json::json;

use crate::{
    event::EventKind,
    id::{SessionId, SessionKey, TaskKey, TenantId},
    outcome::{ErrorClass, Failure},
    session::SessionState,
    store::{
        Hint, Store,
        transition::{Move, Mover, transition},
    },
    task::{Reason, TaskState},
};

/// Rows that one statement promotes at most.
const BATCH: i64 = 1_000;

/// Makes ready what waited to be tried again, and returns how many rows that were.
pub(super) async fn promote(store: &Store) -> sqlx::Result<u64> {
    let promoted = sqlx::query!(
        "update tasks t
            set state = 1, queued = true, delayed = false, reason = null, ready_at = clock(),
                rank = clock() + priority_offset(t.priority)
          where t.ctid = any (array(select q.ctid from tasks q
                                     where q.delayed and q.wake_at <= (select clock())
                                       and q.reason = $2
                                     order by q.wake_at limit $1
                                       for update skip locked))
            and t.state = 4 and t.delayed and t.reason = $2",
        BATCH,
        Reason::Backoff.code()
    )
    .execute(&store.pool)
    .await?
    .rows_affected();
    if promoted > 0 {
        store.hints.send(Hint::Ready);
    }
    Ok(promoted)
}

/// Ends sleeps that are over and groups that ran out of time; returns how many rows were due.
pub(super) async fn wake(store: &Store) -> sqlx::Result<usize> {
    let due = sqlx::query!(
        r#"select t.tenant_id, t.session_id, t.seq, t.attempt, t.reason as "reason!"
             from tasks t
             join session_progress p on p.tenant_id = t.tenant_id and p.session_id = t.session_id
            where t.delayed and t.wake_at <= (select clock()) and t.reason in (0, 1)
              and p.state in (1, 2, 3, 4) and p.sweep = 0
            order by t.wake_at
            limit 500"#
    )
    .fetch_all(&store.pool)
    .await?;
    let mut sleeps = Vec::new();
    for row in &due {
        let session = SessionKey { tenant: TenantId(row.tenant_id), id: SessionId(row.session_id) };
        let task = TaskKey { session, seq: row.seq };
        if Reason::from_code(row.reason) == Some(Reason::Sleep) {
            let mut over = Move::new(task, row.attempt, TaskState::Blocked, TaskState::Completed);
            over.output = Some(json!({}));
            sleeps.push(over);
        } else {
            time_out(store, task, row.attempt).await?;
        }
    }
    let moved = transition(&store.pool, Mover::Control, &sleeps, &[], None).await?;
    super::tell(store, &sleeps, &moved);
    Ok(due.len())
}

/// A group has run out of time: what is open in it is cancelled, and the group fails.
async fn time_out(store: &Store, group: TaskKey, attempt: i32) -> sqlx::Result<()> {
    let inside = sqlx::query!(
        "with recursive inner_rows as (
             select t.seq, t.attempt, t.state from tasks t
              where t.tenant_id = $1 and t.session_id = $2 and t.parent = $3 and t.seq > $3
              union all
             select t.seq, t.attempt, t.state from tasks t
               join inner_rows i on t.parent = i.seq
              where t.tenant_id = $1 and t.session_id = $2 and t.seq > i.seq
         )
         select seq as \"seq!\", attempt as \"attempt!\", state as \"state!\" from inner_rows
          where state < 6 order by seq",
        group.session.tenant.0,
        group.session.id.0,
        group.seq
    )
    .fetch_all(&store.pool)
    .await?;
    let mut moves: Vec<Move> = inside
        .iter()
        .filter_map(|row| {
            let task = TaskKey { session: group.session, seq: row.seq };
            let from = TaskState::from_code(row.state)?;
            let mut cancelled = Move::new(task, row.attempt, from, TaskState::Cancelled);
            cancelled.reason = Some(Reason::Timeout);
            cancelled.quiet = true;
            Some(cancelled)
        })
        .collect();
    let mut failed = Move::new(group, attempt, TaskState::Blocked, TaskState::Failed);
    failed.error = Some(Failure::new(ErrorClass::Timeout, "the group ran out of time"));
    moves.push(failed);
    let moved = transition(&store.pool, Mover::Control, &moves, &[], None).await?;
    super::tell(store, &moves, &moved);
    store.hints.send(Hint::Ended(group.session.id));
    Ok(())
}

/// Ends sessions whose deadline has passed; returns how many.
pub(super) async fn end_overdue(store: &Store) -> sqlx::Result<usize> {
    let ended = sqlx::query_scalar!(
        "with due as materialized (
             select p.tenant_id, p.session_id from session_progress p
              where p.timed and p.deadline_at <= (select clock()) and p.state in (1, 2, 3, 4)
              order by p.tenant_id, p.session_id limit 100
                for no key update skip locked
         ), ended as (
             update session_progress p
                set state = $1, sweep = 2, timed = false, undecided = false,
                    finished_at = clock(), next_event = p.next_event + 1,
                    error = jsonb_build_object('class', 'timeout', 'message',
                                               'the session ran out of time')
               from due
              where p.tenant_id = due.tenant_id and p.session_id = due.session_id
             returning p.tenant_id, p.session_id, p.next_event - 1 as number, p.finished_at
         ), logged as (
             insert into events (tenant_id, session_id, first_seq, last_seq, at, kinds, tasks,
                                 attempts, ats)
             select tenant_id, session_id, number, number, finished_at, array[$2::smallint],
                    array[null::int], array[null::int], array[finished_at]
               from ended
         )
         select session_id from ended",
        SessionState::Timeout.code(),
        EventKind::SessionTimeout.code(),
    )
    .fetch_all(&store.pool)
    .await?;
    for id in &ended {
        store.hints.send(Hint::Ended(SessionId(*id)));
        store.hints.send(Hint::Event(SessionId(*id)));
    }
    Ok(ended.len())
}

/// How long until the next delayed row or deadline is due, at most `most`.
pub(super) async fn until_next(store: &Store, most: Duration) -> sqlx::Result<Duration> {
    let secs = sqlx::query_scalar!(
        r#"select extract(epoch from least(
                      (select min(wake_at) from tasks where delayed),
                      (select min(deadline_at) from session_progress where timed)
                  ) - clock())::float8 as "secs""#
    )
    .fetch_one(&store.pool)
    .await?;
    let wait = secs.map_or(most, |secs| Duration::try_from_secs_f64(secs.max(0.0)).unwrap_or(most));
    Ok(wait.clamp(Duration::from_millis(1), most))
}
