//! The fast lane: sessions of flows in one database, run by the real statements and the real control
//! loop, with hands in place of workers. What an attempt comes to is what the flow says, so no
//! process is started. In every step the hands, the control loop and the person who steers do
//! something each, at once, over connections of their own.

mod crew;
mod hand;
mod people;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::join_all;
use jobshop_engine::{
    id::{SessionKey, TaskKey, TenantId},
    session::SessionState,
    store::{
        Store, StoreConfig, SynchronousCommit, Version, control,
        sessions::{self, NewSession, SteerError},
        workflows,
    },
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use sqlx::PgPool;

use self::hand::{Deed, Done, Hand};
use super::{
    flow::{Coming, Ending, Flow, Kind, Steering, Task},
    observe::{self, Keys, Observed},
};
use crate::TestDb;

/// A session in which nothing happens for so long hangs.
const PATIENCE: Duration = Duration::from_secs(10);
const HANDS: usize = 4;

/// A database with the pools of a process.
#[derive(Debug)]
pub struct Lane {
    db: TestDb,
    store: Store,
    claims: PgPool,
    finishes: PgPool,
}

/// What became of a flow's session.
#[derive(Debug)]
pub struct Report {
    /// One for each round: the first, and the retry if there was one.
    pub rounds: Vec<Observed>,
    /// What a person could see go wrong meanwhile.
    pub problems: Vec<String>,
    /// By key, what the attempts of tasks found in `$SEEN`.
    pub seen: BTreeMap<String, String>,
}

/// A session on its way.
struct Trial<'f> {
    flow: &'f Flow,
    tasks: HashMap<&'f str, &'f Task>,
    key: SessionKey,
    version: Arc<Version>,
    keys: Keys,
    retries: i32,
    finishes: usize,
    /// Nothing of it may start or be accepted from the next step on.
    is_cancelled: bool,
    /// The step in which it failed under `fail_fast`: nothing of it may start in a later one.
    failing_since: Option<u32>,
    /// It ended before it could be cancelled.
    is_too_late: bool,
    is_over: bool,
    report: Report,
}

impl Lane {
    pub async fn new() -> Self {
        let db = TestDb::new().await;
        let store = Store::new(StoreConfig::new(db.url())).expect("the URL is valid");
        let claims = store.own_pool(8, SynchronousCommit::Off).expect("the URL is valid");
        let finishes = store.own_pool(8, SynchronousCommit::On).expect("the URL is valid");
        Self { db, store, claims, finishes }
    }

    /// Runs the sessions of some flows beside each other to their ends.
    pub async fn run(&self, flows: &[Flow], seed: u64) -> Vec<Report> {
        let mut trials = Vec::with_capacity(flows.len());
        for flow in flows {
            trials.push(self.submit(flow).await);
        }
        let mut crew = Crew::new(self, trials, seed).await;
        let mut last_change = Instant::now();
        while !crew.is_over() {
            if crew.step().await || (crew.steps % 3 == 0 && crew.look().await) {
                last_change = Instant::now();
            }
            if last_change.elapsed() > PATIENCE {
                crew.give_up();
            }
        }
        crew.finish_all().await;
        self.reports(crew.trials).await
    }

    async fn submit<'f>(&self, flow: &'f Flow) -> Trial<'f> {
        let definition = flow.to_string();
        let version = workflows::version_of(&self.store, TenantId::DEFAULT, &definition).await;
        let version = version.unwrap_or_else(|error| {
            unreachable!("a generated workflow is valid: {error}: {error:?}\n{definition}")
        });
        let created = sessions::create(&self.store, NewSession::new(Arc::clone(&version))).await;
        let key = created.expect("the session is created").key;
        let tasks: HashMap<&str, &Task> =
            flow.all_tasks().into_iter().map(|task| (task.id.as_str(), task)).collect();
        for task in tasks.values().filter(|task| matches!(task.kind, Kind::Wait(Coming::Early))) {
            people::signal(&self.store, key, &task.id).await;
        }
        Trial {
            tasks,
            flow,
            key,
            version,
            keys: Keys::default(),
            retries: 0,
            finishes: 0,
            is_cancelled: false,
            failing_since: None,
            is_too_late: false,
            is_over: false,
            report: Report { rounds: Vec::new(), problems: Vec::new(), seen: BTreeMap::new() },
        }
    }

    /// Looks a last time: what came too late must not have changed anything.
    async fn reports(&self, trials: Vec<Trial<'_>>) -> Vec<Report> {
        let mut reports = Vec::with_capacity(trials.len());
        for mut trial in trials {
            let observed = self.observe(&trial).await;
            trial.report.rounds.push(observed);
            reports.push(trial.report);
        }
        reports
    }

    async fn observe(&self, trial: &Trial<'_>) -> Observed {
        observe::observe(self.db.pool(), trial.key, &trial.version.plan)
            .await
            .expect("the session is read")
    }
}

impl Trial<'_> {
    /// What the next attempt of a task comes to.
    fn ending(&self, key: &str, id: &str, ended: usize) -> Option<&Ending> {
        let Kind::Work(work) = &self.tasks.get(id)?.kind else { return None };
        let endings = work.endings_of(key, self.retries > 0);
        endings.get(ended).or_else(|| endings.last())
    }

    /// Whether a failure of this task is nobody's to allow.
    fn is_unallowed(&self, key: &str) -> bool {
        let ids = key.split(['.', '[', ']']);
        !ids.filter_map(|id| self.tasks.get(id)).any(|task| task.continue_on_failure)
    }

    /// Whether the environment of a task's attempts has to be rendered.
    fn is_rendered(&self, id: &str) -> bool {
        let kind = self.tasks.get(id).map(|task| &task.kind);
        matches!(kind, Some(Kind::Work(work)) if work.env.is_some())
    }

    fn problem(&mut self, what: String) {
        self.report.problems.push(what);
    }
}

/// Everybody who has to do with the sessions.
struct Crew<'l, 'f> {
    lane: &'l Lane,
    trials: Vec<Trial<'f>>,
    by_session: HashMap<SessionKey, usize>,
    hands: Vec<Hand>,
    random: StdRng,
    steps: u32,
    /// Finishes that were accepted, for saying them again.
    said: Vec<hand::Said>,
    /// The attempt of each task that ended last.
    last_ended: HashMap<TaskKey, i32>,
}

impl<'l, 'f> Crew<'l, 'f> {
    async fn new(lane: &'l Lane, trials: Vec<Trial<'f>>, seed: u64) -> Self {
        let mut hands = Vec::new();
        for _ in 0..HANDS {
            hands.push(Hand::new(lane).await);
        }
        Self {
            lane,
            by_session: trials.iter().enumerate().map(|(at, trial)| (trial.key, at)).collect(),
            trials,
            hands,
            random: StdRng::seed_from_u64(seed),
            steps: 0,
            said: Vec::new(),
            last_ended: HashMap::new(),
        }
    }

    fn is_over(&self) -> bool {
        self.trials.iter().all(|trial| trial.is_over)
    }

    fn trial(&mut self, session: SessionKey) -> Option<&mut Trial<'f>> {
        self.by_session.get(&session).map(|at| &mut self.trials[*at])
    }

    /// Lets everybody do something at once; true if it changed anything.
    async fn step(&mut self) -> bool {
        self.steps += 1;
        let deeds: Vec<Deed> = (0..HANDS).map(|at| self.decide(at)).collect();
        let ticks = self.random.random_range(0..3);
        let housekeeping = self.random.random_ratio(1, 8) || deeds.iter().any(Deed::is_death);
        let cancelled: Vec<SessionKey> =
            self.trials.iter().filter(|trial| trial.is_to_be_cancelled()).map(|t| t.key).collect();
        let lane = self.lane;
        let deeds =
            join_all(self.hands.iter().zip(deeds).map(|(hand, deed)| hand.perform(lane, deed)));
        let ticks = join_all((0..ticks).map(|_| control::tick(&lane.store)));
        let housekeeping =
            async { if housekeeping { control::housekeep(&lane.store).await } else { Ok(0) } };
        let people = people::act(lane, &self.by_session);
        let cancels =
            join_all(cancelled.iter().map(|key| sessions::cancel(&lane.store, *key, None, None)));
        let (done, ticked, reaped, cancels, acts) =
            tokio::join!(deeds, ticks, housekeeping, cancels, people);
        let mut changed = reaped.expect("the reaper reads and writes") > 0 || acts > 0;
        for decided in ticked {
            changed |= decided.expect("the control loop reads and writes") > 0;
        }
        for (at, done) in done.into_iter().enumerate() {
            changed |= !matches!(done, Done::Nothing);
            self.digest(at, done).await;
        }
        for (key, result) in cancelled.into_iter().zip(cancels) {
            self.cancelled(key, result);
        }
        changed
    }

    fn cancelled(&mut self, key: SessionKey, result: Result<(), SteerError>) {
        let Some(trial) = self.trial(key) else { return };
        match result {
            Ok(()) => trial.is_cancelled = true,
            Err(SteerError::IllegalMove(_)) => trial.is_too_late = true,
            Err(error) => trial.problem(format!("it cannot be cancelled: {error}")),
        }
    }

    /// Looks which sessions have ended, and retries those that are to be; true if one had.
    async fn look(&mut self) -> bool {
        let open: Vec<uuid::Uuid> =
            self.trials.iter().filter(|trial| !trial.is_over).map(|t| t.key.id.0).collect();
        let ended: Vec<(uuid::Uuid, i16)> = sqlx::query_as(
            "select session_id, state from session_progress
              where session_id = any($1) and state >= 5 and sweep = 0",
        )
        .bind(&open)
        .fetch_all(self.lane.db.pool())
        .await
        .expect("the sessions are read");
        let ended: HashMap<uuid::Uuid, i16> = ended.into_iter().collect();
        for at in 0..self.trials.len() {
            let Some(state) = ended.get(&self.trials[at].key.id.0) else { continue };
            let state = SessionState::from_code(*state).expect("a state of a session");
            if !self.trials[at].is_over {
                self.ended(at, state).await;
            }
        }
        !ended.is_empty()
    }

    async fn ended(&mut self, at: usize, state: SessionState) {
        let lane = self.lane;
        let trial = &mut self.trials[at];
        let is_to_be_retried = trial.flow.steering == Steering::Retried && trial.retries == 0;
        if !is_to_be_retried || !state.is_retryable() {
            trial.is_over = true;
            return;
        }
        let observed = lane.observe(trial).await;
        match sessions::retry(&lane.store, trial.key, sessions::Wish::default(), None).await {
            Ok(_) => {
                trial.retries = 1;
                trial.failing_since = None;
                trial.report.rounds.push(observed);
            }
            Err(SteerError::NothingToRetry(_)) => trial.is_over = true,
            Err(error) => {
                trial.problem(format!("it cannot be retried: {error}"));
                trial.is_over = true;
            }
        }
    }

    fn give_up(&mut self) {
        for trial in self.trials.iter_mut().filter(|trial| !trial.is_over) {
            trial.is_over = true;
            trial.problem("it hangs: nothing happens any more".to_owned());
        }
    }

    /// Lets the hands finish what they hold of sessions that are over.
    async fn finish_all(&mut self) {
        for at in 0..HANDS {
            let deed = self.finish(at, usize::MAX, 0);
            let done = self.hands[at].perform(self.lane, deed).await;
            self.digest(at, done).await;
        }
    }

    /// Learns the keys of rows that a hand holds for the first time.
    async fn learn(&mut self, tasks: &HashSet<TaskKey>) {
        let mut unknown: Vec<usize> = Vec::new();
        for task in tasks {
            let Some(at) = self.by_session.get(&task.session) else { continue };
            if self.trials[*at].keys.of(task.seq).is_none() && !unknown.contains(at) {
                unknown.push(*at);
            }
        }
        for at in unknown {
            let trial = &mut self.trials[at];
            let read = Keys::read(self.lane.db.pool(), trial.key, &trial.version.plan).await;
            trial.keys = read.expect("the rows are read");
        }
    }
}

impl Trial<'_> {
    /// Whether what is open in it may be cancelled at any moment.
    fn may_be_cut_off(&self) -> bool {
        self.flow.fail_fast || matches!(self.flow.steering, Steering::Cancelled { .. })
    }

    fn is_to_be_cancelled(&self) -> bool {
        match self.flow.steering {
            Steering::Cancelled { after } => {
                let is_open = !self.is_over && !self.is_cancelled && !self.is_too_late;
                is_open && self.finishes >= after
            }
            Steering::LeftAlone | Steering::Retried => false,
        }
    }
}
