//! The one statement that moves tasks: finishes of workers, decisions of the control loop, dead
//! workers' attempts and sweeps. It checks fences and moves rows; what to move where is decided by
//! the caller.

use serde_json::Value;
use sqlx::{Connection as _, PgConnection, PgPool};
use uuid::Uuid;

use super::{blobs, claim::Held, tickets};
use crate::{
    event::EventKind,
    id::{Fence, SessionKey, TaskKey, TenantId, WorkerId},
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
    pub started_ms: Option<i32>,
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
            started_ms: None,
            ended: None,
            children: None,
            bad: 0,
            opened: Vec::new(),
            event: (!matches!(to, TaskState::Pending | TaskState::Ready))
                .then(|| EventKind::of_task(to)),
            body: None,
            quiet: false,
            locks: false,
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
    /// Tasks handed to the worker.
    pub handed: Vec<Held>,
    /// The receipt written for them, if one was needed.
    pub receipt: Option<Uuid>,
}

/// The statement's parameters, as columns.
#[derive(Default)]
struct Columns {
    tenants: Vec<Uuid>,
    sessions: Vec<Uuid>,
    retries: Vec<i32>,
    slots: Vec<i32>,
    seqs: Vec<i32>,
    from: Vec<i16>,
    attempts: Vec<i32>,
    to: Vec<i16>,
    reasons: Vec<i16>,
    outputs: Vec<Option<String>>,
    blobs: Vec<Option<Vec<u8>>>,
    errors: Vec<Option<String>>,
    delays: Vec<i64>,
    started: Vec<i32>,
    outcomes: Vec<i16>,
    children: Vec<i32>,
    bad: Vec<i32>,
    opened: Vec<Option<String>>,
    events: Vec<i16>,
    bodies: Vec<Option<String>>,
    quiet: Vec<bool>,
    from_reasons: Vec<i16>,
    receipted: Vec<bool>,
    /// Outputs that are too large for their row; stored before the rows that name them.
    bodies_of_blobs: Vec<(TenantId, blobs::Blob)>,
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
    if moves.is_empty() {
        return Ok(Moved { leased: true, ..Moved::default() });
    }
    if moves.iter().any(|m| m.locks && m.to.is_final()) {
        let mut tx = db.begin().await?;
        let mut moved = transition_in(&mut tx, mover, moves, retries, actor).await?;
        moved.unlock(&mut tx, &[]).await?;
        tx.commit().await?;
        return Ok(moved);
    }
    let mut conn = db.acquire().await?;
    let mut moved = transition_in(&mut conn, mover, moves, retries, actor).await?;
    if !moved.unlocked.is_empty() {
        // Nobody said that these may hold locks.
        let mut tx = conn.begin().await?;
        moved.unlock(&mut tx, &[]).await?;
        tx.commit().await?;
    }
    Ok(moved)
}

impl Moved {
    /// Gives back the tickets of what ended, and gives tickets to what waits for some from now on. The
    /// last step of the transaction.
    pub(super) async fn unlock(
        &mut self,
        tx: &mut PgConnection,
        wanted: &[tickets::Wanted],
    ) -> sqlx::Result<()> {
        let granted = tickets::settle(tx, &self.unlocked, wanted).await?;
        self.ready += granted.ready;
        self.undecided += granted.undecided + i32::from(granted.is_to_decide());
        Ok(())
    }
}

/// The same in a transaction of the caller's, who locked nothing but the rows of these sessions
/// before, calls [`Moved::unlock`] at the end, and commits.
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
    for (tenant, blob) in &columns.bodies_of_blobs {
        blobs::keep(&mut *conn, *tenant, blob).await?;
    }
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
        &columns.started,
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
    )
    .fetch_one(conn)
    .await?;
    let accepted = accepted(moves.len(), row.accepted.iter().chain(&row.again));
    let at = |slot: i32| keys[usize::try_from(slot - 1).expect("slots count from 1")];
    let held = |n: usize| {
        let task = TaskKey { session: at(row.slots[n]), seq: row.seqs[n] };
        let fence = Fence { task, attempt: row.attempts[n], worker: worker? };
        let node = NodeIndex::from_code(row.nodes[n]);
        Some(Held { fence, node, failures: row.failures[n], crashes: row.crashes[n] })
    };
    let handed = (0..row.seqs.len()).filter_map(held).collect();
    let nth = |ord: &i32| usize::try_from(ord - 1).ok().and_then(|n| moves.get(n));
    let unlocked = row.unlocked.iter().filter_map(nth).map(|m| m.task).collect();
    Ok(Moved {
        accepted,
        leased: row.leased,
        ready: row.ready,
        undecided: row.undecided,
        closing: row.closing.into_iter().map(at).collect(),
        unlocked,
        handed,
        receipt: row.receipt,
    })
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

impl Columns {
    fn of(
        moves: &[Move],
        keys: &[SessionKey],
        retries: &[(SessionKey, i32)],
        receipted: &[SessionKey],
    ) -> Self {
        let mut columns = Self {
            tenants: keys.iter().map(|key| key.tenant.0).collect(),
            sessions: keys.iter().map(|key| key.id.0).collect(),
            retries: keys
                .iter()
                .map(|key| retries.iter().find(|(k, _)| k == key).map_or(-1, |(_, retry)| *retry))
                .collect(),
            receipted: keys.iter().map(|key| receipted.contains(key)).collect(),
            ..Self::default()
        };
        for m in moves {
            let slot = keys.binary_search(&m.task.session).expect("every move's session is a key");
            columns.push(m, i32::try_from(slot + 1).expect("a batch is small"));
        }
        columns
    }

    fn push(&mut self, m: &Move, slot: i32) {
        let (output, blob) = match m.output.as_ref().map(blobs::place) {
            None => (None, None),
            Some(blobs::Place::Inline(text)) => (Some(text), None),
            Some(blobs::Place::Outside(blob)) => {
                let hash = blob.hash.clone();
                self.bodies_of_blobs.push((m.task.session.tenant, blob));
                (None, Some(hash))
            }
        };
        self.slots.push(slot);
        self.seqs.push(m.task.seq);
        self.from.push(m.from.code());
        self.attempts.push(m.attempt);
        self.to.push(m.to.code());
        self.reasons.push(m.reason.map_or(-1, Reason::code));
        self.outputs.push(output);
        self.blobs.push(blob);
        self.errors.push(m.error.as_ref().map(to_text));
        self.delays.push(m.delay_ms.unwrap_or(-1));
        self.started.push(m.started_ms.unwrap_or(-1));
        self.outcomes.push(m.ended.map_or(0, |ended| ended as i16));
        self.children.push(m.children.unwrap_or(-1));
        self.bad.push(m.bad);
        self.opened.push((!m.opened.is_empty()).then(|| int_array(&m.opened)));
        self.events.push(m.event.map_or(-1, EventKind::code));
        self.bodies.push(m.body.as_ref().map(to_text));
        self.quiet.push(m.quiet);
        self.from_reasons.push(m.from_reason.map_or(-1, Reason::code));
    }
}

fn to_text(value: &impl serde::Serialize) -> String {
    blobs::to_jsonb_text(&serde_json::to_value(value).expect("a value of ours serialises"))
}

/// A Postgres array literal.
fn int_array(numbers: &[i32]) -> String {
    let words: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    format!("{{{}}}", words.join(","))
}
