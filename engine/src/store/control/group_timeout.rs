//! Groups that ran out of time: what is open in one is cancelled in bounded batches, then the group
//! fails. Whatever interrupts that leaves the group due, so that the next tick goes on with it.

use std::collections::HashSet;

use serde_json::json;

use crate::{
    id::TaskKey,
    outcome::{ErrorClass, Failure},
    store::{
        Hint, Store, flags,
        transition::{Move, Mover, transition},
    },
    task::{Reason, TaskState},
};

/// Rows that one transaction cancels at most.
const BATCH: usize = 1_000;

/// Cancels what is open in the group and fails it.
pub(super) async fn time_out(store: &Store, group: TaskKey, attempt: i32) -> sqlx::Result<()> {
    lay_no_more(store, group).await?;
    // First what may be running, or may begin: a group around it has to be found again if not all
    // of it goes.
    let (begun, others): (Vec<Open>, Vec<Open>) =
        open_inside(store, group).await?.into_iter().partition(Open::is_begun_group);
    if !cancel(store, group, &others).await? {
        // Somebody moved a row meanwhile: the group is still due.
        return Ok(());
    }
    // A group that has begun meanwhile may be laying down its items.
    lay_no_more(store, group).await?;
    let left = open_inside(store, group).await?;
    if !left.iter().map(|row| row.seq).eq(begun.iter().map(|row| row.seq)) {
        return Ok(());
    }
    cancel(store, group, &begun).await?;
    let mut failed = Move::new(group, attempt, TaskState::Blocked, TaskState::Failed);
    failed.locks = true;
    let failure = Failure::new(ErrorClass::Timeout, "the group ran out of time");
    failed.body = Some(json!({ "class": failure.class, "message": failure.message }));
    failed.error = Some(failure);
    let moves = [failed];
    let moved = transition(&store.pool, Mover::Control, &moves, &[], None).await?;
    super::tell(store, &moves, &moved);
    store.hints.send(Hint::Ended(group.session.id));
    Ok(())
}

/// Nothing more is laid down in the session's fan-outs that stand in the group or are it.
async fn lay_no_more(store: &Store, group: TaskKey) -> sqlx::Result<()> {
    sqlx::query!(
        "with recursive around as (
             select e.seq as expansion, e.seq from expansions e
              where e.tenant_id = $1 and e.session_id = $2 and e.unfinished
              union all
             select a.expansion, t.parent from around a
               join tasks t on t.tenant_id = $1 and t.session_id = $2 and t.seq = a.seq
              where t.parent is not null
         )
         update expansions e set unfinished = false
          where e.tenant_id = $1 and e.session_id = $2
            and e.seq in (select expansion from around where seq = $3)",
        group.session.tenant.0,
        group.session.id.0,
        group.seq
    )
    .execute(&store.pool)
    .await
    .map(|_| ())
}

/// An open row.
struct Open {
    seq: i32,
    parent: Option<i32>,
    flags: i16,
    attempt: i32,
    state: i16,
}

impl Open {
    /// A group or an item that waits for what is in it.
    fn is_begun_group(&self) -> bool {
        let is_group = self.flags & (flags::GROUP | flags::ITEM) != 0;
        is_group && self.state == TaskState::Blocked.code()
    }
}

/// What is open inside a group, in order. Rows stand behind what they are in, and what is open
/// stands in open rows only.
async fn open_inside(store: &Store, group: TaskKey) -> sqlx::Result<Vec<Open>> {
    let open = sqlx::query_as!(
        Open,
        "select seq, parent, flags, attempt, state from tasks
          where tenant_id = $1 and session_id = $2 and seq > $3 and state < 6
          order by seq
          limit 1000000",
        group.session.tenant.0,
        group.session.id.0,
        group.seq
    )
    .fetch_all(&store.pool)
    .await?;
    let mut inside = HashSet::from([group.seq]);
    Ok(open
        .into_iter()
        .filter(|row| {
            let is_inside = row.parent.is_some_and(|parent| inside.contains(&parent));
            is_inside && inside.insert(row.seq)
        })
        .collect())
}

/// Cancels rows; false when some of them had moved on.
async fn cancel(store: &Store, group: TaskKey, rows: &[Open]) -> sqlx::Result<bool> {
    let mut all = true;
    for batch in rows.chunks(BATCH) {
        let moves: Vec<Move> = batch
            .iter()
            .filter_map(|row| {
                let task = TaskKey { session: group.session, seq: row.seq };
                let from = TaskState::from_code(row.state)?;
                let mut cancelled = Move::new(task, row.attempt, from, TaskState::Cancelled);
                cancelled.reason = Some(Reason::Timeout);
                cancelled.quiet = true;
                cancelled.locks = row.flags & flags::LOCK != 0;
                cancelled.funded = row.flags & flags::BUDGET != 0;
                Some(cancelled)
            })
            .collect();
        let moved = transition(&store.pool, Mover::Control, &moves, &[], None).await?;
        all &= moved.accepted.iter().all(|accepted| *accepted);
        super::tell(store, &moves, &moved);
    }
    Ok(all)
}
