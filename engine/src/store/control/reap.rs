//! The reaper: workers whose lease ran out are marked ended, and what they held is given back. What
//! they held is found through their receipts; a slow patrol over all tasks proves that none was
//! missed.

use std::collections::HashSet;

use sqlx::PgPool;
use uuid::Uuid;

use crate::{
    event::EventKind,
    id::{Fence, SessionId, SessionKey, TaskKey, TenantId, WorkerId},
    outcome::{ErrorClass, Failure},
    store::{
        Hint, Store, agents, claim,
        pauses::{self, Point},
        receipts::{self, Holding},
        transition::{Ended, Move, Mover, transition},
        workers,
    },
    task::TaskState,
};

/// Crashes after which a task fails with class `crash`.
const CRASH_LIMIT: i32 = 3;
/// Receipts that are looked at in one go.
const BATCH: i64 = 200;
/// Rows of a receipt that are looked at in one go (the limit of `held_sessions.sql`).
const HELD_MAX: usize = 10_000;
/// Rows that one step of a patrol looks at.
const STRETCH: i64 = 5_000;

/// Ends dead workers and gives back what they held; returns how many tasks that were.
pub(super) async fn reap(store: &Store) -> sqlx::Result<usize> {
    workers::end_expired(&store.pool).await?;
    let dead = sqlx::query_file_scalar!("src/store/sql/unswept.sql").fetch_all(&store.pool).await?;
    let mut given_back = 0;
    for id in dead {
        given_back += reap_worker(store, WorkerId(id)).await?;
    }
    Ok(given_back)
}

async fn reap_worker(store: &Store, dead: WorkerId) -> sqlx::Result<usize> {
    let mut back = 0;
    loop {
        let receipts = receipts::of_worker(&store.pool, dead, BATCH).await?;
        if receipts.is_empty() {
            break;
        }
        let mut done = Vec::new();
        for receipt in &receipts {
            let held = receipts::held(&store.pool, dead, receipt).await?;
            pauses::at(Point::LostRead).await;
            // What is not accepted belongs to a session that ended: the janitor takes it. A
            // receipt of which not everything was looked at is looked at again.
            back += give_back(store, dead, &held).await?;
            if held.len() < HELD_MAX {
                done.push(receipt.id);
            }
        }
        claim::forget(&store.pool, dead, &done).await?;
    }
    // Not at once: a claim of its may still be on its way to its commit.
    sqlx::query!(
        "update workers w set swept = true
          where w.id = $1 and not exists (select from receipts r where r.worker_id = $1)
            and w.ended_at < clock() - interval '5 seconds'",
        dead.0
    )
    .execute(&store.pool)
    .await?;
    Ok(back)
}

/// Returns how many of the attempts were given back.
async fn give_back(store: &Store, dead: WorkerId, held: &[Holding]) -> sqlx::Result<usize> {
    let asking = asking(&store.pool, held).await?;
    let end = |lost: &Holding| end_of(lost, asking.contains(&lost.fence.task));
    let moves: Vec<Move> = held.iter().map(end).collect();
    let moved = transition(&store.pool, Mover::Reaper { dead }, &moves, &[], None).await?;
    super::tell(store, &moves, &moved);
    let is_crash = |m: &Move| matches!(m.ended, Some(Ended::Crashed | Ended::CrashedAndRetried));
    let ended = moves.iter().zip(&moved.accepted);
    let crashes = ended.filter(|(m, accepted)| **accepted && is_crash(m)).count();
    agents::fold_crashes(store, dead, crashes).await?;
    Ok(moved.accepted.iter().filter(|accepted| **accepted).count())
}

/// Those whose agents waited for people: they are asked once, and what comes of it reaches the next
/// attempt.
async fn asking(db: &PgPool, held: &[Holding]) -> sqlx::Result<HashSet<TaskKey>> {
    let fences: Vec<Fence> = held.iter().filter(|it| it.started).map(|it| it.fence).collect();
    if fences.is_empty() {
        return Ok(HashSet::new());
    }
    let tenants: Vec<Uuid> = fences.iter().map(|it| it.task.session.tenant.0).collect();
    let sessions: Vec<Uuid> = fences.iter().map(|it| it.task.session.id.0).collect();
    let seqs: Vec<i32> = fences.iter().map(|it| it.task.seq).collect();
    let attempts: Vec<i32> = fences.iter().map(|it| it.attempt).collect();
    let rows = sqlx::query!(
        "select q.tenant_id, q.session_id, q.seq
           from questions q
          where (q.tenant_id, q.session_id, q.seq, q.attempt) in
                (select * from unnest($1::uuid[], $2::uuid[], $3::int[], $4::int[]))
            and q.status in (0, 1) and q.told_at is null",
        &tenants,
        &sessions,
        &seqs,
        &attempts
    )
    .fetch_all(db)
    .await?;
    let key = |tenant, session| SessionKey { tenant: TenantId(tenant), id: SessionId(session) };
    let task = |tenant, session, seq| TaskKey { session: key(tenant, session), seq };
    Ok(rows.into_iter().map(|row| task(row.tenant_id, row.session_id, row.seq)).collect())
}

/// How a lost attempt ends: one that had been reported started counts as a crash, unless its agent only
/// waited for people.
fn end_of(lost: &Holding, is_asking: bool) -> Move {
    let Fence { task, attempt, .. } = lost.fence;
    let to = |state| {
        let mut to = Move::new(task, attempt, TaskState::InProgress, state);
        to.funded = true;
        to
    };
    if !lost.started || is_asking {
        let mut back = to(TaskState::Ready);
        back.ended = Some(Ended::Released);
        return back;
    }
    let mut crashed = if lost.crashes + 1 < CRASH_LIMIT {
        let mut back = to(TaskState::Ready);
        back.ended = Some(Ended::CrashedAndRetried);
        back.event = Some(EventKind::TaskCrashed);
        back
    } else {
        let mut failed = to(TaskState::Failed);
        failed.ended = Some(Ended::Crashed);
        failed.locks = true;
        failed
    };
    let failure = Failure::new(ErrorClass::Crash, "the worker that ran it was lost");
    crashed.body = Some(serde_json::json!({ "class": failure.class, "message": failure.message }));
    crashed.error = Some(failure);
    crashed
}

/// A walk over all tasks, in bounded steps, for attempts of ended workers that no receipt led to and
/// rows that an ended session left open. There should be none.
#[derive(Debug, Default)]
pub struct Patrol {
    after: Option<TaskKey>,
}

/// What a step of a patrol did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Attempts given back.
    pub missed: usize,
    /// All tasks were looked at; the next step begins anew.
    pub is_last: bool,
}

impl Patrol {
    pub async fn step(&mut self, store: &Store) -> sqlx::Result<Step> {
        let (missed, last) = stretch(store, self.after).await?;
        sweep_leftovers(store, self.after, last).await?;
        self.after = last;
        let mut given_back = 0;
        for lost in missed {
            let worker = lost.fence.worker;
            given_back += give_back(store, worker, &[lost]).await?;
        }
        if given_back > 0 {
            tracing::error!(given_back, "no receipt led to attempts of a lost worker");
        }
        Ok(Step { missed: given_back, is_last: last.is_none() })
    }
}

/// Has the janitor look at the sessions of a stretch that ended and left rows open.
async fn sweep_leftovers(
    store: &Store,
    after: Option<TaskKey>,
    last: Option<TaskKey>,
) -> sqlx::Result<()> {
    let Some(last) = last else { return Ok(()) };
    let (tenant, session, seq) = key_of(after);
    let left = sqlx::query_file!(
        "src/store/sql/patrol_leftovers.sql",
        tenant,
        session,
        seq,
        last.session.tenant.0,
        last.session.id.0,
        last.seq
    )
    .execute(&store.pool)
    .await?
    .rows_affected();
    if left > 0 {
        tracing::error!(sessions = left, "sessions that ended had left rows open");
        store.hints.send(Hint::Undecided);
    }
    Ok(())
}

/// Before the first row where there is none.
fn key_of(task: Option<TaskKey>) -> (Uuid, Uuid, i32) {
    task.map_or((Uuid::nil(), Uuid::nil(), 0), |task| {
        (task.session.tenant.0, task.session.id.0, task.seq)
    })
}

/// The attempts of ended workers among the next rows, and the last of these rows.
async fn stretch(
    store: &Store,
    after: Option<TaskKey>,
) -> sqlx::Result<(Vec<Holding>, Option<TaskKey>)> {
    let (tenant, session, seq) = key_of(after);
    let rows = sqlx::query_file!("src/store/sql/patrol.sql", tenant, session, seq, STRETCH)
        .fetch_all(&store.pool)
        .await?;
    let (mut missed, mut last) = (Vec::new(), None);
    for row in rows {
        let session = SessionKey { tenant: TenantId(row.tenant_id), id: SessionId(row.session_id) };
        let task = TaskKey { session, seq: row.seq };
        if row.is_last {
            last = Some(task);
        }
        if let Some(worker) = row.worker.map(WorkerId) {
            let fence = Fence { task, attempt: row.attempt, worker };
            missed.push(Holding { fence, crashes: row.crashes, started: row.started });
        }
    }
    Ok((missed, last))
}
