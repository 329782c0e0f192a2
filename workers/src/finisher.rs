//! Finishes: batches what came to its end into one statement, flushed at once when none is under
//! way and gathered while one is. It decides retries by the plan's policy; the fence decides
//! whether an end counts.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use jobshop_engine::{
    event::EventKind,
    id::SessionKey,
    outcome::{ErrorClass, Failure, Outcome},
    store::{
        self, Hint, claim,
        claim::Held,
        transition::{Ended, Move, Moved, Mover, Takes, transition_over},
        wire::Wire,
    },
    task::{Reason, TaskState},
};
use rand::Rng as _;
use serde_json::json;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use crate::{held::StopReason, life::Life, queue::End};

/// Ends that one statement takes at most.
const BATCH: usize = 1_000;
/// Tasks handed over in a row before an ordinary claim has its turn.
const HANDED_MAX: usize = 64;
const FORGET_EVERY: Duration = Duration::from_secs(1);
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(200);

/// Records ends until nothing can end any more.
pub(crate) async fn finish(
    life: Arc<Life>,
    mut ends: UnboundedReceiver<End>,
    held: UnboundedSender<Vec<Held>>,
) {
    let mut batch = Vec::new();
    let mut wire = Wire::new(life.finishes.clone());
    let mut forget = tokio::time::interval(FORGET_EVERY);
    loop {
        tokio::select! {
            received = ends.recv_many(&mut batch, BATCH) => {
                if received == 0 {
                    break;
                }
                let ended = std::mem::take(&mut batch);
                let handed_before = life.handed_in_row.load(Ordering::Relaxed);
                let most = HANDED_MAX.saturating_sub(handed_before);
                let handed = record(&life, &mut wire, ended, most).await;
                life.handed_in_row.fetch_add(handed.len(), Ordering::Relaxed);
                if handed.len() >= most {
                    // Nothing more is handed over until an ordinary claim has had its turn.
                    life.room_made.notify_one();
                }
                if !handed.is_empty() {
                    let _ = held.send(handed);
                }
            }
            _ = forget.tick() => forget_receipts(&life).await,
            () = nothing_left(&life) => break,
        }
    }
    forget_receipts(&life).await;
}

/// The life is over and every attempt has left.
async fn nothing_left(life: &Life) {
    life.done.cancelled().await;
    life.is_empty().await;
}

/// Receipts nobody needs are deleted between finishes, because a finish relies on those it was
/// told of.
async fn forget_receipts(life: &Life) {
    let idle = life.receipts.take_idle();
    if idle.is_empty() {
        return;
    }
    if let Err(error) = claim::forget(&life.claims, life.id, &idle).await {
        // The reaper deletes what a worker leaves behind.
        tracing::debug!(%error, "receipts were not deleted");
    }
}

/// Records one batch and returns what was handed over in exchange.
async fn record(life: &Life, wire: &mut Wire, ends: Vec<End>, handed_max: usize) -> Vec<Held> {
    let mut recorded = Vec::with_capacity(ends.len());
    let mut moves = Vec::with_capacity(ends.len());
    for end in ends {
        if life.held.stop_reason(&end.held.fence) == Some(StopReason::Void)
            || life.lost.is_cancelled()
        {
            life.left(&end.held.fence);
            continue;
        }
        moves.push(to_move(life, &end, &end.outcome));
        recorded.push(end);
    }
    if moves.is_empty() {
        return Vec::new();
    }
    let routes = life.routes();
    let room =
        if life.stopping.is_cancelled() { 0 } else { (life.room() + moves.len()).min(handed_max) };
    let _taking = life.taking.read().await;
    let takes = (&*routes, room);
    let Some(moved) = insist_on(life, wire, (&recorded, &mut moves), takes).await else {
        for end in &recorded {
            life.left(&end.held.fence);
        }
        return Vec::new();
    };
    let mut handed = moved.handed;
    let fences: Vec<_> = handed.iter().map(|task| task.fence).collect();
    life.receipts.handed(moved.receipt, &fences);
    handed.retain(|task| life.take(task.fence));
    for (end, accepted) in recorded.iter().zip(&moved.accepted) {
        let fence = end.held.fence;
        if *accepted {
            life.record.ended(end, life.held.started(&fence));
        } else {
            tracing::warn!(%fence, "a finish was lost: the fence holds no longer");
        }
        life.left(&fence);
    }
    handed
}

/// Repeats the statement until the database answers; saying it twice is harmless. A batch that the
/// database refuses for its content is taken apart to find the row.
async fn insist_on(
    life: &Life,
    wire: &mut Wire,
    (ends, moves): (&[End], &mut [Move]),
    takes: (&[i32], usize),
) -> Option<Moved> {
    let mut is_refused = false;
    loop {
        match send(life, wire, moves, takes).await {
            Ok(moved) => {
                if !moved.leased {
                    life.lost.cancel();
                }
                return Some(moved);
            }
            Err(error) if store::is_about_content(&error) && !is_refused => {
                tracing::error!(%error, "an outcome could not be stored");
                let ([only], [said]) = (ends, &mut *moves) else {
                    return Some(one_by_one(life, wire, ends, moves).await);
                };
                // The retry policy decides about this failure as about any other.
                let failure = Failure::new(ErrorClass::Error, "the outcome could not be stored");
                *said = to_move(life, only, &Outcome::failed(failure));
                is_refused = true;
            }
            Err(error) => {
                tracing::warn!(%error, "a finish was not recorded yet; it is said again");
                let sessions: Vec<SessionKey> = moves.iter().map(|m| m.task.session).collect();
                life.doubt(&sessions);
                tokio::select! {
                    () = life.lost.cancelled() => return None,
                    () = tokio::time::sleep(PAUSE_AFTER_ERROR) => {}
                }
            }
        }
    }
}

async fn one_by_one(life: &Life, wire: &mut Wire, ends: &[End], moves: &mut [Move]) -> Moved {
    let mut all = Moved { leased: true, ..Moved::default() };
    for single in ends.chunks(1).zip(moves.chunks_mut(1)) {
        let moved = Box::pin(insist_on(life, wire, single, (&[], 0))).await;
        all.accepted.push(moved.is_some_and(|moved| moved.accepted == [true]));
    }
    all
}

async fn send(
    life: &Life,
    wire: &mut Wire,
    moves: &[Move],
    (routes, room): (&[i32], usize),
) -> store::Result<Moved> {
    let mut sessions: Vec<SessionKey> = moves.iter().map(|m| m.task.session).collect();
    sessions.sort_unstable();
    sessions.dedup();
    let covered = life.receipts.covering(&sessions);
    let takes = Takes {
        routes,
        room: i32::try_from(room).expect("the window is small"),
        receipted: &covered,
    };
    let mover = Mover::Worker { id: life.id, takes };
    let mut connection = wire.connection().await?;
    let moved = transition_over(&mut connection, mover, moves, &[], None).await?;
    connection.keep();
    let hints = &life.store.hints;
    if moved.ready > 0 || moves.iter().any(|m| m.to == TaskState::Ready) {
        hints.send(Hint::Ready);
    }
    let decided = moved.undecided > 0 || !moved.closing.is_empty();
    if decided || moves.iter().any(|m| m.to != TaskState::Completed) {
        hints.send(Hint::Undecided);
    }
    for session in sessions {
        hints.send(Hint::Event(session.id));
    }
    Ok(moved)
}

/// The move that an end with this outcome is.
fn to_move(life: &Life, end: &End, outcome: &Outcome) -> Move {
    let Held { fence, node, failures, .. } = end.held;
    let to = |state| Move::new(fence.task, fence.attempt, TaskState::InProgress, state);
    let mut m = match outcome {
        Outcome::Succeeded(outputs) => {
            let mut done = to(TaskState::Completed);
            done.output = Some(outputs.clone());
            done.ended = Some(Ended::Succeeded);
            done
        }
        Outcome::Released | Outcome::Deferred(_) | Outcome::Parked
            if life.held.stop_reason(&fence) == Some(StopReason::Session) =>
        {
            let mut cancelled = to(TaskState::Cancelled);
            cancelled.ended = Some(Ended::Released);
            cancelled.reason = Some(Reason::SessionStopped);
            cancelled
        }
        Outcome::Released => {
            let mut back = to(TaskState::Ready);
            back.ended = Some(Ended::Released);
            back.funded = is_funded(end);
            return back;
        }
        Outcome::Deferred(deferral) => {
            let mut waits = to(TaskState::Blocked);
            waits.ended = Some(Ended::Released);
            waits.reason = Some(Reason::Provider);
            waits.delay_ms = Some(deferral.wait.map_or(0, |wait| wait.ms.cast_signed()));
            waits.body = Some(json!({
                "reason": Reason::Provider, "provider": deferral.provider,
                "until": deferral.until, "message": deferral.why,
            }));
            waits.funded = is_funded(end);
            waits.started = life.held.started(&fence);
            return waits;
        }
        Outcome::Parked => {
            let mut waits = to(TaskState::Blocked);
            waits.ended = Some(Ended::Released);
            waits.reason = Some(Reason::Question);
            waits.body = Some(json!({ "reason": Reason::Question }));
            waits
        }
        Outcome::Failed { failure, outputs } => {
            let plan = &end.info.version.plan;
            let policy = &plan.node(node).retry;
            let chance = rand::rng().random_range(0.0..1.0);
            let delay = policy.next_delay(failure.class, failures + 1, chance);
            let mut failed = if let Some(delay) = delay {
                let mut again = to(TaskState::Blocked);
                again.reason = Some(Reason::Backoff);
                again.delay_ms = Some(delay.ms.cast_signed());
                again.event = Some(EventKind::AttemptFailed);
                again.ended = Some(Ended::Retried);
                again
            } else {
                let mut failed = to(TaskState::Failed);
                failed.ended = Some(Ended::Failed);
                failed.output = plan.is_failure_allowed(node).then(|| outputs.clone());
                failed
            };
            failed.body = Some(json!({ "class": failure.class, "message": failure.message }));
            failed.error = Some(failure.clone());
            failed
        }
    };
    m.locks = !end.info.version.plan.node(node).locks.is_empty();
    m.funded = is_funded(end);
    m.started = Some(life.held.started(&fence).unwrap_or_default());
    m
}

/// Whether budgets may have put something aside for the attempt.
fn is_funded(end: &End) -> bool {
    end.info.funded || end.info.version.plan.is_budgeted(end.held.node)
}
