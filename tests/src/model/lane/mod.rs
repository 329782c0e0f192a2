//! The fast lane: sessions of flows in one database, run by the real statements and the real control
//! loop, with hands in place of workers. What an attempt comes to is what the flow says, so no
//! process is started. In every step the hands, the control loop and the person who steers do
//! something each, at once, over connections of their own.

mod crew;
mod hand;
mod locks;
mod people;
mod steering;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use futures::future::join_all;
use jobshop_engine::{
    id::{SessionKey, TaskKey, TenantId},
    session::SessionState,
    store::{
        Store, StoreConfig, SynchronousCommit, Version, applying, control,
        sessions::{self, NewSession},
        workflows,
    },
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use sqlx::PgPool;

use self::{
    hand::{Deed, Done, Hand},
    locks::Lines,
    steering::Pause,
};
use super::{
    flow::{Coming, End, Ending, Flow, Kind, Task, Uses, Work},
    lock::REALM,
    observe::{self, Keys, Observed},
    round::Progress,
};
use crate::{TestDb, truth};

/// A session in which nothing happens for so long hangs.
const PATIENCE: Duration = Duration::from_secs(10);
const HANDS: usize = 4;
/// How far the clock goes when nothing else does.
const LEAP: Duration = Duration::from_mins(61);

/// A database with the pools of a process.
#[derive(Debug)]
pub struct Lane {
    db: TestDb,
    store: Store,
    claims: PgPool,
    finishes: PgPool,
    /// How often sessions were run here: what hangs in one run holds nothing up in the next.
    runs: AtomicU32,
}

/// A session on its way.
struct Trial<'f> {
    flow: &'f Flow,
    tasks: HashMap<&'f str, &'f Task>,
    key: SessionKey,
    version: Arc<Version>,
    keys: Keys,
    retries: usize,
    finishes: usize,
    /// How somebody ended this round of it, and in which step: nothing of it may start in a later
    /// one but what follows the result.
    ended: Option<(End, u32)>,
    /// Nobody ends it any more.
    is_left_alone: bool,
    /// The step in which it failed under `fail_fast`: nothing of it may start in a later one.
    failing_since: Option<u32>,
    pauses: u8,
    pause: Option<Pause>,
    is_over: bool,
    is_fork: bool,
    progress: Progress,
    /// What a person could see go wrong meanwhile.
    problems: Vec<String>,
    /// By key, what the attempts of tasks found in `$SEEN`.
    seen: BTreeMap<String, String>,
}

impl Lane {
    pub async fn new() -> Self {
        let db = TestDb::new().await;
        let store = Store::new(StoreConfig::new(db.url())).expect("the URL is valid");
        let claims = store.own_pool(8, SynchronousCommit::Off);
        let finishes = store.own_pool(8, SynchronousCommit::On);
        for definition in Uses::DEFINITIONS {
            let applied = applying::apply(&store, TenantId::DEFAULT, definition, None).await;
            applied.expect("the workflow is valid");
        }
        Self { db, store, claims, finishes, runs: AtomicU32::new(0) }
    }

    /// What must hold of everything that ever ran here.
    pub async fn check(&self) {
        truth::check(self.db.pool()).await;
    }

    /// Runs the sessions of some flows beside each other to their ends; returns what was found wrong
    /// with each.
    pub async fn run(&self, flows: &[Flow], seed: u64) -> Vec<Vec<String>> {
        self.play(flows, seed).await.into_iter().map(Trial::problems).collect()
    }

    /// Runs them all and tells how each stands at the end.
    pub async fn observed(&self, flows: &[Flow], seed: u64) -> Vec<Observed> {
        let mut observed = Vec::with_capacity(flows.len());
        for trial in self.play(flows, seed).await {
            observed.push(self.observe(&trial).await);
        }
        observed
    }

    async fn play<'f>(&self, flows: &'f [Flow], seed: u64) -> Vec<Trial<'f>> {
        let realm = format!("run{}", self.runs.fetch_add(1, Ordering::Relaxed));
        let mut trials = Vec::with_capacity(flows.len());
        for flow in flows {
            trials.push(self.submit(flow, &realm).await);
        }
        let mut crew = Crew::new(self, trials, seed).await;
        crew.realm = realm;
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
        crew.trials
    }

    async fn submit<'f>(&self, flow: &'f Flow, realm: &str) -> Trial<'f> {
        let definition = flow.to_string();
        let version = workflows::version_of(&self.store, TenantId::DEFAULT, &definition).await;
        let version = version.unwrap_or_else(|error| {
            unreachable!("a generated workflow is valid: {error}: {error:?}\n{definition}")
        });
        let mut new = NewSession::new(Arc::clone(&version));
        if version.plan.inputs.iter().any(|(name, _)| name == REALM.0) {
            new.inputs.insert(REALM.0.to_owned(), realm.into());
        }
        let created = sessions::create(&self.store, new).await;
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
            ended: None,
            is_left_alone: false,
            failing_since: None,
            pauses: flow.steering.pauses,
            pause: None,
            is_over: false,
            is_fork: false,
            progress: Progress::new(),
            problems: Vec::new(),
            seen: BTreeMap::new(),
        }
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
        let work = self.work(id)?;
        let endings = work.endings_of(key, self.retries > 0);
        endings.get(ended).or_else(|| endings.last())
    }

    /// Whether a failure of this task is nobody's to allow.
    fn is_unallowed(&self, key: &str) -> bool {
        let ids = key.split(['.', '[', ']']);
        !self.is_after(key)
            && !ids.filter_map(|id| self.tasks.get(id)).any(|task| task.continue_on_failure)
    }

    /// What its attempts come to; that of what undoes a task goes by `id.compensate`.
    fn work(&self, id: &str) -> Option<&Work> {
        if let Some(undone) = id.strip_suffix(".compensate") {
            return self.tasks.get(undone)?.compensate.as_ref();
        }
        self.tasks.get(id)?.work()
    }

    /// Whether a task runs once the result is decided.
    fn is_after(&self, key: &str) -> bool {
        let first = key.split(['.', '[']).next().unwrap_or_default();
        key.ends_with(".compensate") || self.flow.finally.iter().any(|task| task.id == first)
    }

    /// Whether the environment of a task's attempts has to be rendered.
    fn is_rendered(&self, id: &str) -> bool {
        self.work(id).is_some_and(|work| work.env.is_some())
    }

    /// Whether a task must not start in this step, having been cut off or paused in an earlier one.
    fn holds_back(&self, key: &str, step: u32) -> bool {
        let since = |since: Option<u32>| since.is_some_and(|since| since < step);
        let is_after = self.is_after(key);
        let is_ended =
            self.ended.is_some_and(|(end, at)| at < step && (end == End::Cancel || !is_after));
        let is_paused = self.pause.as_ref().is_some_and(|it| it.since < step && it.holds(key));
        is_ended || is_paused || (!is_after && since(self.failing_since))
    }

    /// Everything that was found wrong.
    fn problems(self) -> Vec<String> {
        let mut problems = self.problems;
        problems.extend(self.progress.problems);
        for (key, right) in &self.progress.seen {
            let found = self.seen.get(key);
            if found != Some(right) {
                problems.push(format!("{key} saw {found:?}, it must see {right:?}"));
            }
        }
        problems
    }

    fn problem(&mut self, what: String) {
        self.problems.push(what);
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
    /// Which locks their sessions share.
    realm: String,
    /// How the lines for these stood after the last step.
    lines: Lines,
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
            realm: String::new(),
            lines: Lines::default(),
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
        let acts = self.acts();
        let lane = self.lane;
        let deeds =
            join_all(self.hands.iter().zip(deeds).map(|(hand, deed)| hand.perform(lane, deed)));
        let ticks = join_all((0..ticks).map(|_| control::tick(&lane.store)));
        let housekeeping =
            async { if housekeeping { control::housekeep(&lane.store).await } else { Ok(0) } };
        let people = people::act(lane, &self.by_session, &self.trials);
        let acts = join_all(acts.into_iter().map(|act| act.perform(lane)));
        let (done, ticked, reaped, acts, answers) =
            tokio::join!(deeds, ticks, housekeeping, acts, people);
        let mut changed = reaped.expect("the reaper reads and writes") > 0 || answers > 0;
        for decided in ticked {
            changed |= decided.expect("the control loop reads and writes") > 0;
        }
        changed |= !acts.is_empty();
        self.steered(&acts, true);
        for (at, done) in done.into_iter().enumerate() {
            changed |= !matches!(done, Done::Nothing);
            self.digest(at, done).await;
        }
        self.steered(&acts, false);
        self.watch_locks().await;
        if !changed && self.random.random_ratio(1, 3) {
            // Whatever waits for nothing but time.
            lane.db.advance(LEAP).await;
        }
        changed
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
        self.flow.fail_fast || self.flow.steering.end.is_some()
    }
}
