//! A hand does what a worker does with the store: claims, notes starts, finishes, dies. Besides, it
//! says finishes again and makes false ones up.

use std::{collections::HashSet, sync::Arc, time::Duration};

use jobshop_engine::{
    attempt::{self, Identity},
    event::EventKind,
    id::{Fence, SessionKey, WorkerId},
    outcome::{ErrorClass, Failure},
    plan::NodeIndex,
    store::{
        claim::{self, Ask, Claimed, Held},
        notes,
        transition::{Ended, Move, Moved, Mover, Takes, transition},
        values::{self, Request},
        workers::{self, NewWorker, Profile},
    },
    task::{Reason, TaskState},
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::Lane;
use crate::model::flow::Ending;

pub(super) struct Hand {
    pub(super) id: WorkerId,
    pub(super) held: Vec<Attempt>,
    pub(super) routes: Vec<i32>,
    /// Sessions that a receipt for hand-offs names.
    pub(super) receipted: Vec<SessionKey>,
    pub(super) receipts: Vec<Uuid>,
}

/// What a hand holds.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    pub(super) held: Held,
    pub(super) key: String,
    pub(super) ending: Ending,
    /// Its environment has to be rendered.
    pub(super) is_rendered: bool,
    pub(super) is_noted: bool,
    pub(super) has_locks: bool,
}

/// A finish that was accepted.
#[derive(Debug, Clone)]
pub(super) struct Said {
    pub(super) worker: WorkerId,
    pub(super) finish: Move,
}

/// What a hand does in one step.
pub(super) enum Deed {
    Nothing,
    Claim(i32),
    /// Forgets its receipts: it holds nothing.
    Forget,
    Note(Vec<(Fence, Duration)>),
    Finish(Finish),
    /// Finishes first what it must not lose, reports the starts of what is to crash, and is gone.
    Die(Finish, Vec<(Fence, Duration)>),
}

#[derive(Default)]
pub(super) struct Finish {
    pub(super) attempts: Vec<Attempt>,
    /// Handed back unstarted, by place among the attempts.
    pub(super) released: HashSet<usize>,
    /// Moves that are not its own or not for the first time, and whether they must be accepted.
    pub(super) others: Vec<(Move, bool)>,
    pub(super) room: i32,
    pub(super) receipted: Vec<SessionKey>,
    pub(super) chance: f64,
}

/// What came of a deed.
pub(super) enum Done {
    Nothing,
    Claimed(Claimed),
    Forgot,
    Noted(Vec<Fence>),
    Finished(Box<Finished>),
    Died(Box<Finished>, WorkerId),
}

pub(super) struct Finished {
    pub(super) finish: Finish,
    pub(super) moves: Vec<Move>,
    pub(super) moved: Moved,
    /// Session, key of the task, and what it found in `$SEEN`.
    pub(super) seen: Vec<(SessionKey, String, String)>,
}

impl Deed {
    pub(super) const fn is_death(&self) -> bool {
        matches!(self, Self::Die(..))
    }
}

impl Hand {
    pub(super) async fn new(lane: &Lane) -> Self {
        let everything = ["*".to_owned()];
        let routes = workers::routes(&lane.store.pool, &everything).await;
        Self {
            id: register(lane).await,
            held: Vec::new(),
            routes: routes.expect("the routes are read"),
            receipted: Vec::new(),
            receipts: Vec::new(),
        }
    }

    pub(super) async fn perform(&self, lane: &Lane, deed: Deed) -> Done {
        match deed {
            Deed::Nothing => Done::Nothing,
            Deed::Claim(limit) => {
                let ask = Ask {
                    worker: self.id,
                    routes: &self.routes,
                    shares: &[],
                    limit,
                    session: None,
                };
                let claimed = claim::claim(&lane.claims, ask).await.expect("a claim is answered");
                if claimed.tasks.is_empty() { Done::Nothing } else { Done::Claimed(claimed) }
            }
            Deed::Forget => {
                let forgotten = claim::forget(&lane.claims, self.id, &self.receipts).await;
                forgotten.expect("receipts are deleted");
                Done::Forgot
            }
            Deed::Note(starts) => {
                self.note(lane, &starts).await;
                Done::Noted(starts.into_iter().map(|(fence, _)| fence).collect())
            }
            Deed::Finish(finish) => Done::Finished(Box::new(self.finish(lane, finish).await)),
            Deed::Die(finish, crashing) => {
                let finished = self.finish(lane, finish).await;
                self.note(lane, &crashing).await;
                workers::end(&lane.store.pool, self.id).await.expect("a worker ends");
                Done::Died(Box::new(finished), register(lane).await)
            }
        }
    }

    async fn note(&self, lane: &Lane, starts: &[(Fence, Duration)]) {
        notes::note_starts(&lane.finishes, self.id, starts).await.expect("starts are noted");
    }

    async fn finish(&self, lane: &Lane, finish: Finish) -> Finished {
        let rendered = render(lane, &finish.attempts).await;
        let mut moves = Vec::with_capacity(finish.attempts.len());
        let mut seen = Vec::new();
        for (at, (attempt, rendered)) in finish.attempts.iter().zip(rendered).enumerate() {
            if finish.released.contains(&at) {
                moves.push(released(attempt.held.fence));
                continue;
            }
            let session = attempt.held.fence.task.session;
            let failure = match rendered {
                Ok(Some(found)) => {
                    seen.push((session, attempt.key.clone(), found));
                    None
                }
                Ok(None) => None,
                Err(failure) => Some(failure),
            };
            let mut end = to_move(lane, attempt, failure, finish.chance).await;
            end.locks = attempt.has_locks;
            moves.push(end);
        }
        moves.extend(finish.others.iter().map(|(other, _)| other.clone()));
        let takes = Takes { routes: &self.routes, room: finish.room, receipted: &finish.receipted };
        let mover = Mover::Worker { id: self.id, takes };
        let moved = transition(&lane.finishes, mover, &moves, &[], None).await;
        Finished { finish, moves, moved: moved.expect("a finish is answered"), seen }
    }
}

async fn register(lane: &Lane) -> WorkerId {
    let id = WorkerId(Uuid::now_v7());
    let worker = NewWorker {
        id,
        name: "hand",
        host: "here",
        pid: 1,
        capabilities: &["*".to_owned()],
        concurrency: 8,
        version: "0",
        data_dir: None,
        // The clock makes leaps of hours.
        lease_secs: 1_000_000_000,
        follows: &[],
        profile: &Profile::default(),
        only_session: None,
    };
    workers::register(&lane.store.pool, &worker).await.expect("a hand registers");
    id
}

/// What the attempts find in `$SEEN`, as a worker would render it before it starts them.
async fn render(lane: &Lane, attempts: &[Attempt]) -> Vec<Result<Option<String>, Failure>> {
    let sessions: Vec<SessionKey> = attempts.iter().map(|a| a.held.fence.task.session).collect();
    let infos = lane.store.infos.load(&lane.store, &sessions).await.expect("sessions are read");
    let mut found = Vec::with_capacity(attempts.len());
    for attempt in attempts {
        if !attempt.is_rendered {
            found.push(Ok(None));
            continue;
        }
        let Held { fence, node, .. } = attempt.held;
        let info = &infos[&fence.task.session];
        let request = Request::new(Arc::clone(info), node, fence.task.seq);
        let loaded = values::load(&lane.store, &[request]).await.expect("values are read").pop();
        let rendered = loaded.expect("one request has one answer").and_then(|values| {
            let identity = Identity { fence, task: attempt.key.clone(), file_dir: None };
            attempt::prepare(&info.version.plan, node, &values, identity)
        });
        found.push(rendered.map(|attempt| {
            attempt.env.into_iter().find(|(name, _)| name == "SEEN").map(|(_, value)| value)
        }));
    }
    found
}

fn released(fence: Fence) -> Move {
    let mut back = Move::new(fence.task, fence.attempt, TaskState::InProgress, TaskState::Ready);
    back.ended = Some(Ended::Released);
    back
}

/// The move that the end of an attempt is; the plan's policy decides whether another follows.
async fn to_move(lane: &Lane, attempt: &Attempt, failure: Option<Failure>, chance: f64) -> Move {
    let Held { fence, node, failures, .. } = attempt.held;
    let to = |state| Move::new(fence.task, fence.attempt, TaskState::InProgress, state);
    let failure = failure.or_else(|| match &attempt.ending {
        Ending::Fails(class) => {
            let class: ErrorClass = class.as_str().parse().expect("a class of errors");
            Some(Failure::new(class, "it was to fail"))
        }
        Ending::Succeeds(_) | Ending::Crashes => None,
    });
    let mut end = if let Some(failure) = &failure {
        failed(to, next_delay(lane, fence, node, (failure.class, failures + 1), chance).await)
    } else if let Ending::Succeeds(output) = &attempt.ending {
        let mut done = to(TaskState::Completed);
        done.output = Some(Value::Object(output.json()));
        done.ended = Some(Ended::Succeeded);
        done
    } else {
        unreachable!("what is to crash is not finished");
    };
    end.body = failure.as_ref().map(|it| json!({ "class": it.class, "message": it.message }));
    end.error = failure;
    end.started = Some(Duration::ZERO);
    end
}

/// A failed attempt, with another after a while or without.
fn failed(to: impl Fn(TaskState) -> Move, delay_ms: Option<i64>) -> Move {
    if delay_ms.is_some() {
        let mut again = to(TaskState::Blocked);
        again.reason = Some(Reason::Backoff);
        again.delay_ms = delay_ms;
        again.event = Some(EventKind::AttemptFailed);
        again.ended = Some(Ended::Retried);
        return again;
    }
    let mut failed = to(TaskState::Failed);
    failed.ended = Some(Ended::Failed);
    failed
}

async fn next_delay(
    lane: &Lane,
    fence: Fence,
    node: NodeIndex,
    (class, failures): (ErrorClass, i32),
    chance: f64,
) -> Option<i64> {
    let session = fence.task.session;
    let infos = lane.store.infos.load(&lane.store, &[session]).await.expect("sessions are read");
    let policy = &infos[&session].version.plan.node(node).retry;
    policy.next_delay(class, failures, chance).map(|delay| delay.ms.cast_signed())
}

impl Attempt {
    pub(super) fn is_to_crash(&self) -> bool {
        self.ending == Ending::Crashes
    }
}
