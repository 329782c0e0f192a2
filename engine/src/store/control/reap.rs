//! The reaper: workers whose lease ran out are marked ended, and what they held is given back. What
//! they held is found through their receipts.

use uuid::Uuid;

use crate::{
    id::{SessionId, SessionKey, TaskKey, TenantId, WorkerId},
    outcome::{ErrorClass, Failure},
    store::{
        Store, claim,
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
    let mut given_back = 0;
    loop {
        let receipts = sqlx::query_file!("src/store/sql/receipts.sql", dead.0, BATCH)
            .fetch_all(&store.pool)
            .await?;
        if receipts.is_empty() {
            break;
        }
        let mut done = Vec::new();
        for receipt in receipts {
            let held =
                held(store, dead, &receipt.tenants, &receipt.sessions, receipt.seqs.as_deref())
                    .await?;
            let moves: Vec<Move> = held.iter().map(Held::give_back).collect();
            let moved = transition(&store.pool, Mover::Reaper { dead }, &moves, &[], None).await?;
            given_back += moved.accepted.iter().filter(|accepted| **accepted).count();
            super::tell(store, &moves, &moved);
            // What was not accepted belongs to a session that ended: the janitor takes it. A
            // receipt of which not everything was looked at is looked at again.
            if held.len() < HELD_MAX {
                done.push(receipt.id);
            }
        }
        claim::forget(&store.pool, dead, &done).await?;
    }
    sqlx::query!(
        "update workers w set swept = true
          where w.id = $1 and not exists (select from receipts r where r.worker_id = $1)
            and w.ended_at < clock() - interval '5 seconds'",
        dead.0
    )
    .execute(&store.pool)
    .await?;
    Ok(given_back)
}

/// Gives back what no receipt named, and says so: it proves that the receipts miss nothing.
pub(super) async fn reap_missed(store: &Store) -> sqlx::Result<usize> {
    let missed = sqlx::query_file!("src/store/sql/missed.sql").fetch_all(&store.pool).await?;
    let mut given_back = 0;
    for row in &missed {
        let session = SessionKey { tenant: TenantId(row.tenant_id), id: SessionId(row.session_id) };
        let held = Held {
            task: TaskKey { session, seq: row.seq },
            attempt: row.attempt,
            crashes: row.crashes,
            started: row.started,
        };
        let moves = [held.give_back()];
        let dead = WorkerId(row.worker);
        let moved = transition(&store.pool, Mover::Reaper { dead }, &moves, &[], None).await?;
        if moved.accepted == [true] {
            tracing::error!(task = %held.task, worker.id = %dead, "a receipt had missed a task");
            given_back += 1;
        }
        super::tell(store, &moves, &moved);
    }
    Ok(given_back)
}

/// A task that a dead worker held.
struct Held {
    task: TaskKey,
    attempt: i32,
    crashes: i32,
    /// Its start had been reported: its loss counts as a crash.
    started: bool,
}

impl Held {
    fn give_back(&self) -> Move {
        let message = "the worker that ran it was lost";
        let mut back = if !self.started {
            let mut back =
                Move::new(self.task, self.attempt, TaskState::InProgress, TaskState::Ready);
            back.ended = Some(Ended::Released);
            back
        } else if self.crashes + 1 < CRASH_LIMIT {
            let mut back =
                Move::new(self.task, self.attempt, TaskState::InProgress, TaskState::Ready);
            back.ended = Some(Ended::CrashedAndRetried);
            back.event = Some(crate::event::EventKind::TaskCrashed);
            back
        } else {
            let mut back =
                Move::new(self.task, self.attempt, TaskState::InProgress, TaskState::Failed);
            back.ended = Some(Ended::Crashed);
            back
        };
        if self.started {
            let failure = Failure::new(ErrorClass::Crash, message);
            back.body =
                Some(serde_json::json!({ "class": failure.class, "message": failure.message }));
            back.error = Some(failure);
        }
        back
    }
}

/// What a receipt's worker still holds: the rows it names, or, of a receipt for hand-offs, any row
/// of its sessions.
async fn held(
    store: &Store,
    dead: WorkerId,
    tenants: &[Uuid],
    sessions: &[Uuid],
    seqs: Option<&[i32]>,
) -> sqlx::Result<Vec<Held>> {
    let rows = match seqs {
        Some(seqs) => {
            sqlx::query_file!("src/store/sql/held_rows.sql", tenants, sessions, seqs, dead.0)
                .fetch_all(&store.pool)
                .await?
                .into_iter()
                .map(|row| {
                    (row.tenant_id, row.session_id, row.seq, row.attempt, row.crashes, row.started)
                })
                .collect::<Vec<_>>()
        }
        None => sqlx::query_file!("src/store/sql/held_sessions.sql", tenants, sessions, dead.0)
            .fetch_all(&store.pool)
            .await?
            .into_iter()
            .map(|row| {
                (row.tenant_id, row.session_id, row.seq, row.attempt, row.crashes, row.started)
            })
            .collect(),
    };
    Ok(rows
        .into_iter()
        .map(|(tenant, session, seq, attempt, crashes, started)| Held {
            task: TaskKey {
                session: SessionKey { tenant: TenantId(tenant), id: SessionId(session) },
                seq,
            },
            attempt,
            crashes,
            started,
        })
        .collect())
}
