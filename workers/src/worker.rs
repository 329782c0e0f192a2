//! A worker: registers, claims, executes, finishes, and keeps its lease, until it is told to stop.
//! Where its lease is lost it kills what it runs, registers under a new id and goes on.

use std::{sync::Arc, time::Duration};

use jobshop_engine::{
    evidence::Signer,
    id::WorkerId,
    provider::ProviderKey,
    store::{
        self, Store, SynchronousCommit, evidence,
        workers::{self, NewWorker, Profile},
    },
};
use tokio::{sync::mpsc, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    claimer, dispatcher,
    execute::{Executor, Keeper},
    finisher, lease,
    life::{Life, Runner},
    names, notes,
    predecessor::Predecessor,
    queue, record, strays, watcher,
};

/// How a worker is set up.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    pub name: String,
    /// What its agents can do; `*` stands for everything, none for tasks that require nothing.
    pub capabilities: Vec<String>,
    /// How many attempts run at once.
    pub concurrency: usize,
    /// How long running attempts are waited for when the worker stops.
    pub grace: Duration,
    /// How long an attempt may go on when its session is being stopped.
    pub stop_grace: Duration,
    pub lease: Duration,
    /// How long an attempt that waits for people keeps its place.
    pub question_hold: Duration,
    /// The one session it serves, where it serves only one.
    pub session: Option<jobshop_engine::id::SessionId>,
    pub data_dir: Option<String>,
    /// What it is good for.
    pub profile: Profile,
    /// Under which account its agents call providers of models.
    pub provider_account: String,
}

impl WorkerConfig {
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            capabilities: vec!["*".to_owned()],
            concurrency: std::thread::available_parallelism().map_or(4, |n| n.get() * 4),
            grace: Duration::from_secs(30),
            stop_grace: Duration::from_secs(30),
            lease: Duration::from_secs(30),
            question_hold: Duration::from_mins(2),
            session: None,
            data_dir: None,
            profile: Profile::default(),
            provider_account: ProviderKey::DEFAULT_ACCOUNT.to_owned(),
        }
    }
}

/// A worker process's working part.
#[derive(Debug)]
pub struct Worker {
    store: Store,
    config: WorkerConfig,
    executor: Executor,
}

/// Why a life of a worker ended.
enum LifeEnd {
    Stopped,
    LeaseLost,
}

const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(500);

impl Worker {
    pub fn new(store: Store, config: WorkerConfig, executor: Executor) -> Self {
        Self { store, config, executor }
    }

    /// Works until `stop`; then hands back what has not begun, gives what runs its grace, and
    /// releases the rest without counting a failure. Errors of the database are outlived.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        self.executor.kill_leftovers().await?;
        let claims = self.store.own_pool(2, SynchronousCommit::Off);
        let finishes = self.store.own_pool(2, SynchronousCommit::On);
        while !stop.is_cancelled() {
            let id = WorkerId(Uuid::now_v7());
            let signer = Arc::new(Signer::from_seed(&rand::random()));
            let Some(asked) = self.registered(id, &signer, &stop).await else { continue };
            let life = Arc::new(Life::new(
                self.store.clone(),
                self.config.clone(),
                id,
                (claims.clone(), finishes.clone()),
                asked,
            ));
            match self.live(life, signer, &stop).await {
                LifeEnd::Stopped => break,
                LifeEnd::LeaseLost => {
                    tracing::warn!(worker.id = %id, "the lease was lost; the worker begins anew");
                }
            }
        }
        tokio::join!(claims.close(), finishes.close());
        Ok(())
    }

    /// Registers and says when it asked to; `None` when the database did not take it.
    async fn registered(
        &self,
        id: WorkerId,
        signer: &Signer,
        stop: &CancellationToken,
    ) -> Option<Instant> {
        let asked = Instant::now();
        match self.register(id, signer).await {
            Ok(()) => {
                tracing::info!(worker.id = %id, name = self.config.name, "the worker is registered");
                Some(asked)
            }
            Err(error) => {
                tracing::warn!(%error, "the worker could not register; it tries again");
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(PAUSE_AFTER_ERROR) => {}
                }
                None
            }
        }
    }

    async fn register(&self, id: WorkerId, signer: &Signer) -> store::Result<()> {
        let mut capabilities = self.config.capabilities.clone();
        capabilities.sort_unstable();
        capabilities.dedup();
        let predecessor = Predecessor::of(self.executor.data_dir());
        let follows: Vec<WorkerId> = predecessor.id().into_iter().collect();
        let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
        workers::register(
            &self.store.pool,
            &NewWorker {
                id,
                name: &self.config.name,
                host: host.as_deref().unwrap_or("unknown"),
                pid: std::process::id().cast_signed(),
                capabilities: &capabilities,
                concurrency: i32::try_from(self.config.concurrency).unwrap_or(i32::MAX),
                version: env!("CARGO_PKG_VERSION"),
                data_dir: self.config.data_dir.as_deref(),
                lease_secs: i32::try_from(self.config.lease.as_secs()).unwrap_or(i32::MAX),
                follows: &follows,
                profile: &self.config.profile,
                only_session: self.config.session,
            },
        )
        .await?;
        evidence::introduce(&self.store.pool, id, &signer.public_key()).await?;
        if let Err(error) = predecessor.note(id) {
            // Should this process die, its lease has to run out by itself.
            tracing::warn!(%error, "the worker's id could not be written down");
        }
        Ok(())
    }

    /// One life: from a registration until the lease is lost or the worker is stopped.
    async fn live(
        &self,
        life: Arc<Life>,
        signer: Arc<Signer>,
        stop: &CancellationToken,
    ) -> LifeEnd {
        let (job_sender, jobs) = mpsc::unbounded_channel();
        let (end_sender, ends) = mpsc::unbounded_channel();
        let (held_sender, held) = mpsc::unbounded_channel();
        let keeper = Keeper::new(self.store.clone(), Arc::clone(&signer));
        let executor = self.executor.keeping(keeper);
        let runner = Runner { life: Arc::clone(&life), executor };

        let mut keepers = JoinSet::new();
        keepers.spawn(lease::keep(Arc::clone(&life)));
        keepers.spawn(notes::note(Arc::clone(&life)));
        keepers.spawn(watcher::watch(Arc::clone(&life)));
        keepers.spawn(strays::give_back(Arc::clone(&life)));
        keepers.spawn(record::tell(Arc::clone(&life)));
        let folder = self.executor.data_dir().to_owned();
        keepers.spawn(names::tidy(Arc::clone(&life), folder));
        let mut work = JoinSet::new();
        work.spawn(queue::run(jobs, end_sender.clone(), runner));
        work.spawn(dispatcher::dispatch(Arc::clone(&life), held, job_sender));
        work.spawn(claimer::claim(Arc::clone(&life), held_sender.clone()));
        work.spawn(finisher::finish(Arc::clone(&life), ends, held_sender));
        drop(end_sender);

        tokio::select! {
            () = stop.cancelled() => self.stop(&life).await,
            () = life.lost.cancelled() => self.executor.kill_all(),
        }
        if life.lost.is_cancelled() {
            self.executor.kill_all();
        }
        life.stopping.cancel();
        life.done.cancel();
        while work.join_next().await.is_some() {}
        keepers.shutdown().await;
        if life.lost.is_cancelled() && !stop.is_cancelled() {
            return LifeEnd::LeaseLost;
        }
        record::tell_once(&life, 0).await;
        if let Err(error) = workers::end(&self.store.pool, life.id).await {
            tracing::debug!(%error, "the worker's row was not ended; its lease will run out");
        }
        LifeEnd::Stopped
    }

    /// Claims no more, waits for what runs, then has it released.
    async fn stop(&self, life: &Life) {
        life.stopping.cancel();
        let everything_left = async {
            // A claim may be under way.
            drop(life.taking.write().await);
            life.is_empty().await;
        };
        let graceful = tokio::time::timeout(self.config.grace, everything_left);
        tokio::select! {
            finished = graceful => if finished.is_ok() { return },
            () = life.lost.cancelled() => return,
        }
        life.release_all();
        let released = tokio::time::timeout(Duration::from_secs(10), life.is_empty());
        tokio::select! {
            _ = released => {}
            () = life.lost.cancelled() => {}
        }
    }
}
