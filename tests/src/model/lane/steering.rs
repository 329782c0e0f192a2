//! People who steer: they pause and resume, end sessions, and retry them. Each act comes at any
//! moment, and what it came to is learned after everybody has done something.

use std::sync::Arc;

use jobshop_engine::{
    id::{SessionKey, TaskKey},
    reopen::Asked,
    session::SessionState,
    store::{
        Version,
        fork::{self, NewFork},
        sessions::{self, SteerError, Wish},
        steer::{self, By},
        steer_task,
    },
};
use rand::{Rng as _, seq::IndexedRandom as _};
use serde_json::{Map, json};

use super::{Crew, Lane, Trial, locks};
use crate::model::{flow::End, observe::Keys, reference::Chosen, round::Retry};

const PERSON: By<'static> = By { actor: Some("p"), reason: None };

/// Somebody paused a session, or something in it.
#[derive(Debug, Clone)]
pub(super) struct Pause {
    /// The row and its key; the session itself without.
    what: Option<(i32, String)>,
    /// What ran in it then goes on, and may be tried again.
    running: Vec<String>,
    /// The step in which it was paused.
    pub(super) since: u32,
}

impl Pause {
    /// Whether a task must not start while this lasts.
    pub(super) fn holds(&self, key: &str) -> bool {
        let Some((_, paused)) = &self.what else { return true };
        if self.running.iter().any(|running| running == key) {
            return false;
        }
        key.strip_prefix(paused.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
            && !key.ends_with(".compensate")
    }
}

/// What a person does in a step.
pub(super) struct Act {
    trial: usize,
    session: SessionKey,
    version: Arc<Version>,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    End(End),
    /// Some task, or the session.
    Pause(Option<u64>),
    Resume(Option<i32>),
}

/// What an act came to.
pub(super) struct Acted {
    trial: usize,
    what: What,
    paused: Option<(i32, String)>,
    running: Vec<String>,
    result: Result<(), SteerError>,
}

impl Act {
    pub(super) async fn perform(self, lane: &Lane) -> Acted {
        let Self { trial, session, version, what } = self;
        let store = &lane.store;
        let mut paused = None;
        let mut running = Vec::new();
        let result = match what {
            What::End(End::Cancel) => sessions::cancel(store, session, None, None).await,
            What::End(End::Stop) => steer::stop(store, session, PERSON).await,
            What::End(End::Complete) => steer::complete(store, session, PERSON).await,
            What::End(End::Fail) => steer::fail(store, session, PERSON).await,
            What::Pause(None) => steer::pause(store, session, PERSON).await,
            What::Resume(None) => steer::resume(store, session, PERSON).await,
            What::Resume(Some(seq)) => {
                steer_task::resume(store, TaskKey { session, seq }, PERSON).await
            }
            What::Pause(Some(pick)) => match some_task(lane, session, pick).await {
                Some(seq) => {
                    let keys = Keys::read(lane.db.pool(), session, &version.plan).await;
                    let keys = keys.expect("the rows are read");
                    paused = keys.of(seq).map(|key| (seq, key.to_owned()));
                    let result = steer_task::pause(store, TaskKey { session, seq }, PERSON).await;
                    running = tried(lane, session, &version).await;
                    result
                }
                None => Err(SteerError::NotFound(session.id)),
            },
        };
        Acted { trial, what, paused, running, result }
    }
}

async fn some_task(lane: &Lane, session: SessionKey, pick: u64) -> Option<i32> {
    let seqs: Vec<i32> = sqlx::query_scalar(
        "select seq from tasks where session_id = $1 and state in (0, 1, 4) and flags & 1536 = 0
          order by seq",
    )
    .bind(session.id.0)
    .fetch_all(lane.db.pool())
    .await
    .expect("the rows are read");
    let at = usize::try_from(pick).ok()?.checked_rem(seqs.len())?;
    seqs.get(at).copied()
}

/// The keys of tasks that were given to somebody at some time and are not paused.
async fn tried(lane: &Lane, session: SessionKey, version: &Version) -> Vec<String> {
    let seqs: Vec<i32> = sqlx::query_scalar(
        "select seq from tasks where session_id = $1 and state <> 5 and attempt > 0",
    )
    .bind(session.id.0)
    .fetch_all(lane.db.pool())
    .await
    .expect("the rows are read");
    let keys = Keys::read(lane.db.pool(), session, &version.plan).await;
    let keys = keys.expect("the rows are read");
    seqs.into_iter().filter_map(|seq| keys.of(seq).map(str::to_owned)).collect()
}

impl Crew<'_, '_> {
    /// What people do now.
    pub(super) fn acts(&mut self) -> Vec<Act> {
        let mut acts = Vec::new();
        for (at, trial) in self.trials.iter_mut().enumerate().filter(|(_, it)| !it.is_over) {
            let (session, version) = (trial.key, Arc::clone(&trial.version));
            let mut act = |what| {
                acts.push(Act { trial: at, session, version: Arc::clone(&version), what });
            };
            if let Some(end) = trial.end_now() {
                act(What::End(end));
            }
            if let Some(pause) = &trial.pause {
                if self.random.random_ratio(1, 4) {
                    act(What::Resume(pause.what.as_ref().map(|(seq, _)| *seq)));
                }
            } else if trial.pauses > 0 && self.random.random_ratio(1, 4) {
                trial.pauses -= 1;
                let task = [None, Some(self.random.random_range(0..1_000))];
                act(What::Pause(*task.choose(&mut self.random).expect("there are two")));
            }
        }
        acts
    }

    /// Takes in what the acts came to: what lets tasks go before what others did in the same step,
    /// what holds them back after it.
    pub(super) fn steered(&mut self, acts: &[Acted], is_before: bool) {
        let step = self.steps;
        for act in acts {
            let trial = &mut self.trials[act.trial];
            if matches!(act.what, What::Resume(_)) == is_before {
                trial.steered(act, step);
            }
        }
    }

    /// A session has ended: judges it, and retries or forks it if that is wanted.
    pub(super) async fn ended(&mut self, at: usize, state: SessionState) {
        let lane = self.lane;
        let trial = &mut self.trials[at];
        let observed = lane.observe(trial).await;
        let tickets = locks::tickets_of(lane, trial.key.id.0).await;
        if tickets > 0 {
            trial.problem(format!("it has ended and has {tickets} tickets"));
        }
        let end = trial.ended.map(|(end, _)| end);
        trial.progress.judge(trial.flow, observed, end);
        let key = trial.key;
        trial.is_over = !trial.retry(lane, state).await;
        // What stood in items or rounds may be laid down anew: nobody says its finish again.
        self.said.retain(|said| said.finish.task.session != key);
        if self.trials[at].is_over && !self.trials[at].is_fork {
            self.fork(at).await;
        }
    }

    /// Forks a session that is over, if that is wanted: the fork takes its place.
    async fn fork(&mut self, at: usize) {
        let lane = self.lane;
        let trial = &mut self.trials[at];
        let Some(pick) = trial.flow.steering.fork else { return };
        let Some(key) = trial.progress.fork(trial.flow, pick) else { return };
        let new = NewFork {
            origin: trial.key,
            at: trial.progress.seq(&key).expect("a key of a row"),
            task: key,
            inputs: Map::new(),
            title: None,
            checkpoint: None,
            reason: None,
            actor: None,
        };
        match fork::fork(&lane.store, new).await {
            Ok(forked) => {
                self.by_session.remove(&trial.key);
                self.by_session.insert(forked, at);
                trial.becomes(forked);
            }
            Err(error) => trial.problem(format!("a fork gave {error:?}")),
        }
    }
}

impl Trial<'_> {
    /// Retries the session that has ended, if that is wanted and can be; true if it goes on.
    async fn retry(&mut self, lane: &Lane, state: SessionState) -> bool {
        let wanted = self.flow.steering.retries.get(self.retries).copied();
        let wanted = wanted.filter(|_| state.is_retryable() && !self.is_fork);
        let has_number = self.version.plan.inputs.iter().any(|(name, _)| name == "number");
        let retry = wanted.and_then(|again| self.progress.retry(self.flow, again, has_number));
        let Some(Retry { chosen, opens }) = retry else { return false };
        let wish = self.wish(&chosen);
        match sessions::retry(&lane.store, self.key, wish, None).await {
            Ok(_) if opens => {
                self.goes_on();
                true
            }
            Err(SteerError::NothingToRetry(_)) if !opens => false,
            result => {
                self.problem(format!("a retry ({chosen:?}, opens: {opens}) gave {result:?}"));
                false
            }
        }
    }

    /// From now on it is its fork that is looked at.
    fn becomes(&mut self, forked: SessionKey) {
        self.key = forked;
        self.keys = Keys::default();
        self.is_fork = true;
        self.is_left_alone = true;
        self.is_over = false;
        self.goes_on();
    }

    fn end_now(&self) -> Option<End> {
        let (end, after) = self.flow.steering.end?;
        (self.ended.is_none() && !self.is_left_alone && self.finishes >= after).then_some(end)
    }

    fn steered(&mut self, act: &Acted, step: u32) {
        match (&act.what, &act.result) {
            (What::End(end), Ok(())) => {
                self.ended = Some((*end, step));
                // What follows the result is not held back.
                self.pause = None;
                self.is_left_alone = true;
            }
            // Later, perhaps: only what runs can be completed.
            (What::End(_), Err(SteerError::IllegalMove(illegal))) => {
                self.is_left_alone = illegal.from.is_final();
            }
            (What::End(_), Err(SteerError::Stopping(_))) => self.is_left_alone = true,
            (What::Pause(_), Ok(())) => {
                let (what, running) = (act.paused.clone(), act.running.clone());
                self.pause = Some(Pause { what, running, since: step });
            }
            (What::Resume(_), Ok(()) | Err(SteerError::IllegalMove(_))) => self.pause = None,
            // With the group around it, which never began.
            (What::Resume(_), Err(SteerError::TaskNotPaused(now))) if now.is_final() => {
                self.pause = None;
            }
            (What::Resume(_), Err(SteerError::NotPaused(_) | SteerError::TaskNotPaused(_)))
                if self.ended.is_some() || self.failing_since.is_some() =>
            {
                self.pause = None;
            }
            (
                What::Pause(_),
                Err(
                    SteerError::IllegalMove(_)
                    | SteerError::IllegalTaskMove(_)
                    | SteerError::TaskNotPausable(_)
                    | SteerError::Stopping(_)
                    | SteerError::NotFound(_),
                ),
            ) => {}
            (what, result) => self.problem(format!("{what:?} gave {result:?}")),
        }
    }

    /// A retry has begun.
    fn goes_on(&mut self) {
        self.retries += 1;
        self.ended = None;
        self.failing_since = None;
        self.pause = None;
    }

    /// What was chosen, by rows.
    fn wish(&self, chosen: &Chosen) -> Wish {
        let seq = |key: &String| vec![self.progress.seq(key).expect("a key of a row")];
        let mut wish = Wish::default();
        match chosen {
            Chosen::Plain => {}
            Chosen::From(key) => wish.rows = Asked { from: seq(key), ..Asked::default() },
            Chosen::FailedItems(key) => {
                let only_failed_items = true;
                wish.rows = Asked { from: seq(key), only_failed_items, ..Asked::default() };
            }
            Chosen::Skip(key) => wish.rows.skipped = seq(key),
            Chosen::Output(key) => {
                wish.rows.completed = seq(key);
                wish.outputs = vec![json!({ "n": 3 })];
            }
            Chosen::Inputs => wish.inputs = Map::from_iter([("number".to_owned(), json!(3))]),
        }
        wish
    }
}
