//! What the hands do next, and what is learned from what they did. The checks that need no
//! reference model stand here: what was cut off is given to nobody and accepted from nobody.

use std::time::Duration;

use jobshop_engine::{
    event::EventKind,
    id::WorkerId,
    plan,
    store::{
        claim::Held,
        transition::{Ended, Move},
    },
    task::TaskState,
};
use rand::{Rng as _, seq::SliceRandom as _};

use super::{
    Crew,
    hand::{Attempt, Deed, Done, Finish, Finished, Said},
};
use crate::model::flow::{Class, End, Ending, Output};

impl Crew<'_, '_> {
    /// What a hand does next.
    pub(super) fn decide(&mut self, at: usize) -> Deed {
        let is_doomed = self.hands[at].held.iter().any(Attempt::is_to_crash);
        if (is_doomed && self.random.random_ratio(1, 4)) || self.random.random_ratio(1, 400) {
            return self.die(at);
        }
        let held = self.hands[at].held.iter().filter(|a| !a.is_to_crash()).count();
        match self.random.random_range(0..10) {
            0 if self.hands[at].held.is_empty() && !self.hands[at].receipts.is_empty() => {
                Deed::Forget
            }
            0 => Deed::Nothing,
            1 => {
                let unnoted = self.hands[at].held.iter().filter(|a| !a.is_noted);
                Deed::Note(
                    unnoted.take(2).map(|a| (a.held.fence, Duration::from_millis(1))).collect(),
                )
            }
            2..=5 if held < 12 => Deed::Claim(self.random.random_range(1..=12)),
            _ if held > 0 => {
                let count = self.random.random_range(1..=held);
                let room = self.random.random_range(0..4);
                self.finish(at, count, room)
            }
            _ => Deed::Claim(self.random.random_range(1..=12)),
        }
    }

    /// Finishes so many of what a hand holds, in any order.
    pub(super) fn finish(&mut self, at: usize, count: usize, room: i32) -> Deed {
        let hand = &mut self.hands[at];
        hand.held.shuffle(&mut self.random);
        let mut attempts = Vec::new();
        hand.held.retain(|attempt| {
            let stays = attempt.is_to_crash() || attempts.len() >= count;
            if !stays {
                attempts.push(attempt.clone());
            }
            stays
        });
        let released = (0..attempts.len())
            .filter(|at| !attempts[*at].is_noted && self.random.random_ratio(1, 25))
            .collect();
        let knows_receipts = self.random.random_bool(0.5);
        let receipted = if knows_receipts { hand.receipted.clone() } else { Vec::new() };
        let chance = self.random.random_range(0.0..1.0);
        let others = self.others(at, &attempts);
        Deed::Finish(Finish { attempts, released, others, room, receipted, chance })
    }

    fn die(&mut self, at: usize) -> Deed {
        // What was noted would count a crash that the flow does not have.
        let held = std::mem::take(&mut self.hands[at].held);
        let (noted, lost): (Vec<Attempt>, Vec<Attempt>) =
            held.into_iter().partition(|a| a.is_noted && !a.is_to_crash());
        for Attempt { held: Held { fence, .. }, .. } in &lost {
            self.last_ended.insert(fence.task, fence.attempt);
        }
        let crashing = lost
            .iter()
            .filter(|a| a.is_to_crash())
            .map(|a| (a.held.fence, Duration::ZERO))
            .collect();
        Deed::Die(Finish { attempts: noted, ..Finish::default() }, crashing)
    }

    /// Finishes that are said again, come too late, or are false.
    fn others(&mut self, at: usize, own: &[Attempt]) -> Vec<(Move, bool)> {
        if self.said.is_empty() || !self.random.random_ratio(1, 6) {
            return Vec::new();
        }
        let said = self.said[self.random.random_range(0..self.said.len())].clone();
        let mut finish = said.finish;
        let task = finish.task;
        let is_own = said.worker == self.hands[at].id;
        let is_last = self.last_ended.get(&task) == Some(&finish.attempt);
        match self.random.random_range(0..4) {
            0 | 1 if is_own && is_last => return vec![(finish, true)],
            0 | 1 => {}
            2 => finish.attempt = self.last_ended.get(&task).copied().unwrap_or_default() + 1,
            _ => {
                finish.ended = Some(match finish.ended {
                    Some(Ended::Succeeded) => Ended::Failed,
                    _ => Ended::Succeeded,
                });
                finish.to = TaskState::Failed;
                finish.reason = None;
                finish.delay_ms = None;
                finish.event = Some(EventKind::TaskFailed);
            }
        }
        // The made-up attempt may be one that this hand really has.
        let mut held = self.hands[at].held.iter().chain(own);
        let holds_it = held.any(|attempt| attempt.held.fence.task == task);
        if holds_it { Vec::new() } else { vec![(finish, false)] }
    }

    /// Takes in what came of a deed.
    pub(super) async fn digest(&mut self, at: usize, done: Done) {
        match done {
            Done::Nothing => {}
            Done::Claimed(claimed) => {
                self.hands[at].receipts.extend(claimed.receipt);
                self.take(at, claimed.tasks).await;
            }
            Done::Forgot => {
                self.hands[at].receipts.clear();
                self.hands[at].receipted.clear();
            }
            Done::Noted(fences) => {
                for attempt in &mut self.hands[at].held {
                    attempt.is_noted |= fences.contains(&attempt.held.fence);
                }
            }
            Done::Finished(finished) => self.finished(at, *finished).await,
            Done::Died(finished, id) => {
                self.finished(at, *finished).await;
                let hand = &mut self.hands[at];
                hand.receipts.clear();
                hand.receipted.clear();
                hand.id = id;
            }
        }
    }

    async fn take(&mut self, at: usize, tasks: Vec<Held>) {
        let step = self.steps;
        self.learn(&tasks.iter().map(|held| held.fence.task).collect()).await;
        for held in tasks {
            let task = held.fence.task;
            let is_held =
                self.hands.iter().flat_map(|h| &h.held).any(|a| a.held.fence == held.fence);
            let Some(trial) = self.trial(task.session) else {
                let attempt = self.of_child(held).await;
                self.hands[at].held.push(attempt);
                continue;
            };
            let key = trial.keys.of(task.seq).expect("it was learned").to_owned();
            if is_held {
                trial.problem(format!("{key} was given twice"));
            }
            if trial.holds_back(&key, step) {
                let why = (trial.ended, trial.failing_since, &trial.pause);
                let what = format!("{key} was given in step {step} despite {why:?}");
                trial.problem(what);
            }
            let id = trial.version.plan.node(held.node).id.clone();
            let ended = usize::try_from(held.failures + held.crashes).expect("counts are positive");
            let Some(ending) = trial.ending(&key, &id, ended).cloned() else {
                trial.problem(format!("{key} was given, and is nothing to attempt"));
                continue;
            };
            let is_rendered = trial.is_rendered(&id);
            let has_locks = trial.tasks.get(id.as_str()).is_some_and(|task| !task.locks.is_empty());
            let attempt = Attempt { held, key, ending, is_rendered, is_noted: false, has_locks };
            self.hands[at].held.push(attempt);
        }
    }

    /// What the attempt of a task of a child session comes to: what its workflow says.
    async fn of_child(&self, held: Held) -> Attempt {
        let session = held.fence.task.session;
        let store = &self.lane.store;
        let infos = store.infos.load(store, &[session]).await.expect("sessions are read");
        let fails = matches!(
            infos[&session].version.plan.node(held.node).kind,
            plan::Kind::Builtin(plan::Builtin::Fail { .. })
        );
        let ending =
            if fails { Ending::Fails(Class::Error) } else { Ending::Succeeds(Output::default()) };
        let key = format!("{} of a child", held.fence.task.seq);
        let (is_rendered, is_noted, has_locks) = (false, false, false);
        Attempt { held, key, ending, is_rendered, is_noted, has_locks }
    }

    async fn finished(&mut self, at: usize, finished: Finished) {
        let Finished { finish, moves, moved, seen } = finished;
        let id = self.hands[at].id;
        for (session, key, found) in seen {
            if let Some(trial) = self.trial(session) {
                trial.seen.insert(key, found);
            }
        }
        let own = finish.attempts.len();
        for (place, attempt) in finish.attempts.iter().enumerate() {
            self.answered(id, attempt, &moves[place], moved.accepted[place]);
        }
        for ((other, right), accepted) in finish.others.iter().zip(&moved.accepted[own..]) {
            let is_last = self.last_ended.get(&other.task) == Some(&other.attempt);
            let Some(trial) = self.trial(other.task.session) else { continue };
            // Somebody may have ended the next attempt in the same step.
            let is_known = !right || (is_last && !trial.may_be_cut_off());
            if is_known && right != accepted {
                let seq = other.task.seq;
                let key = trial.keys.of(seq).unwrap_or_default().to_owned();
                trial.problem(format!(
                    "a finish of {key} said again: accepted {accepted}, {other:?}"
                ));
            }
        }
        if let Some(receipt) = moved.receipt {
            self.hands[at].receipts.push(receipt);
            let sessions = moved.handed.iter().map(|held| held.fence.task.session);
            self.hands[at].receipted.extend(sessions);
            self.hands[at].receipted.sort_unstable();
            self.hands[at].receipted.dedup();
        }
        self.take(at, moved.handed).await;
    }

    fn answered(&mut self, worker: WorkerId, attempt: &Attempt, finish: &Move, accepted: bool) {
        let step = self.steps;
        let session = attempt.held.fence.task.session;
        let Some(trial) = self.trial(session) else { return };
        let key = &attempt.key;
        let is_cancelled = trial.ended.is_some_and(|(end, _)| end == End::Cancel);
        if accepted && (is_cancelled || trial.is_over) {
            trial.problem(format!("a finish of {key} was accepted after the session's end"));
        }
        if !accepted {
            if !trial.is_over && !trial.may_be_cut_off() {
                trial.problem(format!("a finish of {key} was refused"));
            }
            return;
        }
        trial.finishes += 1;
        if finish.to == TaskState::Failed && trial.flow.fail_fast && trial.is_unallowed(key) {
            trial.failing_since.get_or_insert(step);
        }
        self.last_ended.insert(finish.task, finish.attempt);
        self.said.push(Said { worker, finish: finish.clone() });
    }
}
