//! The one statement that moves tasks: finishes of workers, decisions of the control loop, dead
//! workers' attempts and sweeps. It checks fences and moves rows; what to move where is decided by
//! the caller.

mod columns;

use std::time::Duration;

use serde_json::Value;
use sqlx::{Connection as _, PgConnection, PgPool};
use uuid::Uuid;

use self::columns::Columns;
use super::{
    budgets,
    claim::Held,
    pauses::{self, Point},
    tickets,
};
use crate::{
    event::EventKind,
    id::{Fence, SessionKey, TaskKey, WorkerId},
    outcome::Failure,
    plan::NodeIndex,
    task::{Reason, TaskState},
};

/// How an attempt ended, as the row remembers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Succeeded = 1,
    Failed = 2,
    Retried = 3,
    Released = 4,
    CrashedAndRetried = 5,
    Crashed = 6,
}

/// One row's move. [`Move::new`] gives the quiet defaults.
#[derive(Debug, Clone)]
pub struct Move {
    pub task: TaskKey,
    pub from: TaskState,
    /// The reason the row must have, where its state does not say enough.
    pub from_reason: Option<Reason>,
    /// The attempt the row must be at.
    pub attempt: i32,
    pub to: TaskState,
    pub reason: Option<Reason>,
    pub output: Option<Value>,
    pub error: Option<Failure>,
    /// How long the row waits in its new state.
    pub delay_ms: Option<i64>,
    /// How long ago the attempt started, by the worker's monotonic clock.
    pub started: Option<Duration>,
    pub ended: Option<Ended>,
    /// A group or item starts to wait for this many children.
    pub children: Option<i32>,
    /// So many of its children have ended badly before.
    pub bad: i32,
    /// Rows inside a group that waited for its start.
    pub opened: Vec<i32>,
    pub event: Option<EventKind>,
    pub body: Option<Value>,
    /// Nothing that waits for this row is told.
    pub quiet: bool,
    /// It may hold locks, or wait for some: they go back in the same transaction.
    pub locks: bool,
    /// It may have put something aside in budgets: it is settled in the same transaction.
    pub funded: bool,
}

impl Move {
    pub fn new(task: TaskKey, attempt: i32, from: TaskState, to: TaskState) -> Self {
        Self {
            task,
            from,
            from_reason: None,
            attempt,
            to,
            reason: None,
            output: None,
            error: None,
            delay_ms: None,
            started: None,
            ended: None,
            children: None,
            bad: 0,
            opened: Vec::new(),
            event: (!matches!(to, TaskState::Pending | TaskState::Ready))
                .then(|| EventKind::of_task(to)),
            body: None,
            quiet: false,
            locks: false,
            funded: false,
        }
    }
}

/// On whose behalf rows are moved.
#[derive(Debug, Clone, Copy)]
pub enum Mover<'a> {
    /// A live worker finishes its own attempts, and may take freed tasks.
    Worker { id: WorkerId, takes: Takes<'a> },
    /// The reaper ends attempts of a worker that is gone.
    Reaper { dead: WorkerId },
    /// The control loop decides rows of sessions that stand at these retries.
    Control,
    /// The janitor moves what a session that ended, or is failing fast, left open.
    Janitor,
}

impl<'a> Mover<'a> {
    /// The worker of the fences, where there are any, and what it takes.
    fn worker(self) -> (Option<WorkerId>, Takes<'a>) {
        match self {
            Self::Worker { id, takes } => (Some(id), takes),
            Self::Reaper { dead } => (Some(dead), Takes::default()),
            Self::Control | Self::Janitor => (None, Takes::default()),
        }
    }
}

/// What a finishing worker takes of what it frees.
#[derive(Debug, Clone, Copy, Default)]
pub struct Takes<'a> {
    pub routes: &'a [i32],
    pub room: i32,
    /// Sessions that a live receipt of the worker names already.
    pub receipted: &'a [SessionKey],
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Moved {
    /// By position in the moves given: true where the fence held, or the same end was recorded before.
    pub accepted: Vec<bool>,
    /// False when the worker's lease had run out: then nothing was accepted.
    pub leased: bool,
    /// Tasks that became ready and that nobody took.
    pub ready: i32,
    /// Rows the control loop has to decide now.
    pub undecided: i32,
    /// Sessions with nothing open any more that the control loop has to end.
    pub closing: Vec<SessionKey>,
    /// Rows that ended and may have tickets.
    pub unlocked: Vec<TaskKey>,
    /// Rows of which an attempt, or everything, has ended, and that stand under budgets.
    pub spent: Vec<TaskKey>,
    /// Tasks handed to the worker.
    pub handed: Vec<Held>,
    /// The receipt written for them, if one was needed.
    pub receipt: Option<Uuid>,
}

/// Moves rows, all in one transaction. `retries` gives, where the caller decided on what it read,
/// the retry of the session it read; a session that was retried meanwhile accepts nothing.
pub async fn transition(
    db: &PgPool,
    mover: Mover<'_>,
    moves: &[Move],
    retries: &[(SessionKey, i32)],
    actor: Option<&str>,
) -> sqlx::Result<Moved> {
    transition_over(&mut *db.acquire().await?, mover, moves, retries, actor).await
}

/// The same over a connection that is in no transaction.
pub async fn transition_over(
    conn: &mut PgConnection,
    mover: Mover<'_>,
    moves: &[Move],
    retries: &[(SessionKey, i32)],
    actor: Option<&str>,
) -> sqlx::Result<Moved> {
    if moves.is_empty() {
        return Ok(Moved { leased: true, ..Moved::default() });
    }
    if moves.iter().any(|m| m.funded || (m.locks && m.to.is_final())) {
        let mut tx = conn.begin().await?;
        let mut moved = transition_in(&mut tx, mover, moves, retries, actor).await?;
        pauses::at(Point::Moved).await;
        moved.unlock(&mut tx, &[]).await?;
        tx.commit().await?;
        return Ok(moved);
    }
    let mut moved = transition_in(conn, mover, moves, retries, actor).await?;
    if !moved.unlocked.is_empty() || !moved.spent.is_empty() {
        // Nobody said that these may hold locks, or stand under budgets.
        let mut tx = conn.begin().await?;
        moved.unlock(&mut tx, &[]).await?;
        tx.commit().await?;
    }
    Ok(moved)
}

impl Moved {
    /// Settles the budgets of what ended, gives back its tickets, and gives tickets to what waits for
    /// some from now on. The last step of the transaction.
    pub(super) async fn unlock(
        &mut self,
        tx: &mut PgConnection,
        wanted: &[tickets::Wanted],
    ) -> sqlx::Result<()> {
        self.undecided += budgets::settle(tx, &self.spent).await?;
        let granted = tickets::settle(tx, &self.unlocked, wanted).await?;
        self.ready += granted.ready;
        self.undecided += granted.undecided + i32::from(granted.is_to_decide());
        Ok(())
    }
}

/// The same in a transaction of the caller's, who locked nothing but the rows of these sessions
/// before, calls [`Moved::unlock`] at the end, and commits.
#[expect(clippy::cognitive_complexity, reason = "one statement with many columns")]
pub(super) async fn transition_in(
    conn: &mut PgConnection,
    mover: Mover<'_>,
    moves: &[Move],
    retries: &[(SessionKey, i32)],
    actor: Option<&str>,
) -> sqlx::Result<Moved> {
    if moves.is_empty() {
        return Ok(Moved { leased: true, ..Moved::default() });
    }
    let keys = distinct_sessions(moves);
    let (worker, takes) = mover.worker();
    let columns = Columns::of(moves, &keys, retries, takes.receipted);
    columns.keep_blobs(&mut *conn).await?;
    let row = sqlx::query_file!(
        "src/store/sql/transition.sql",
        &columns.tenants,
        &columns.sessions,
        &columns.retries,
        &columns.slots,
        &columns.seqs,
        &columns.from,
        &columns.attempts,
        &columns.to,
        &columns.reasons,
        &columns.outputs as _,
        &columns.blobs as _,
        &columns.errors as _,
        &columns.delays,
        &columns.started_us,
        &columns.outcomes,
        &columns.children,
        &columns.opened as _,
        &columns.events,
        &columns.bodies as _,
        &columns.quiet,
        worker.map(|worker| worker.0) as _,
        matches!(mover, Mover::Worker { .. }),
        matches!(mover, Mover::Janitor),
        takes.routes,
        takes.room,
        &columns.receipted,
        actor as _,
        Reason::SessionPaused.code(),
        Reason::Lock.code(),
        &columns.from_reasons,
        &columns.bad,
        Reason::Budget.code(),
    )
    .fetch_one(&mut *conn)
    .await?;
    let mut accepted = accepted(moves.len(), row.accepted.iter());
    accept_again(conn, worker, moves, &mut accepted).await?;
    let at = |slot: i32| keys[usize::try_from(slot - 1).expect("slots count from 1")];
    let held = |n: usize| {
        let task = TaskKey { session: at(row.slots[n]), seq: row.seqs[n] };
        let fence = Fence { task, attempt: row.attempts[n], worker: worker? };
        let node = NodeIndex::from_code(row.nodes[n]);
        Some(Held { fence, node, failures: row.failures[n], crashes: row.crashes[n] })
    };
    let handed = (0..row.seqs.len()).filter_map(held).collect();
    let nth = |ord: &i32| usize::try_from(ord - 1).ok().and_then(|n| moves.get(n));
    let tasks = |ords: &[i32]| ords.iter().filter_map(nth).map(|m| m.task).collect();
    Ok(Moved {
        accepted,
        leased: row.leased,
        ready: row.ready,
        undecided: row.undecided,
        closing: row.closing.into_iter().map(at).collect(),
        unlocked: tasks(&row.unlocked),
        spent: tasks(&row.spent),
        handed,
        receipt: row.receipt,
    })
}

/// Accepts also what was not because the same end was recorded before: a finish is said again where
/// its answer was lost.
async fn accept_again(
    conn: &mut PgConnection,
    worker: Option<WorkerId>,
    moves: &[Move],
    accepted: &mut [bool],
) -> sqlx::Result<()> {
    let refused = moves.iter().enumerate().filter(|(place, _)| !accepted[*place]);
    let open: Vec<(usize, &Move, Ended)> =
        refused.filter_map(|(place, m)| Some((place, m, m.ended?))).collect();
    let Some(worker) = worker.filter(|_| !open.is_empty()) else { return Ok(()) };
    let tenants: Vec<Uuid> = open.iter().map(|(_, m, _)| m.task.session.tenant.0).collect();
    let sessions: Vec<Uuid> = open.iter().map(|(_, m, _)| m.task.session.id.0).collect();
    let seqs: Vec<i32> = open.iter().map(|(_, m, _)| m.task.seq).collect();
    let attempts: Vec<i32> = open.iter().map(|(_, m, _)| m.attempt).collect();
    let outcomes: Vec<i16> = open.iter().map(|(.., ended)| *ended as i16).collect();
    let nths = sqlx::query_file_scalar!(
        "src/store/sql/finished_before.sql",
        &tenants,
        &sessions,
        &seqs,
        &attempts,
        &outcomes,
        worker.0,
    )
    .fetch_all(conn)
    .await?;
    let place = |nth: i64| usize::try_from(nth - 1).ok().and_then(|n| open.get(n));
    for (place, ..) in nths.into_iter().filter_map(place) {
        accepted[*place] = true;
    }
    Ok(())
}

/// Which positions, counted from 1, are named.
fn accepted<'a>(count: usize, ords: impl Iterator<Item = &'a i32>) -> Vec<bool> {
    let mut accepted = vec![false; count];
    for ord in ords {
        if let Some(named) = usize::try_from(ord - 1).ok().and_then(|n| accepted.get_mut(n)) {
            *named = true;
        }
    }
    accepted
}

/// The sessions of the moves in lock order.
fn distinct_sessions(moves: &[Move]) -> Vec<SessionKey> {
    let mut keys: Vec<SessionKey> = moves.iter().map(|m| m.task.session).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}
