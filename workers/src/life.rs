//! One life of a worker: what its parts share between its registration and its end.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use jobshop_engine::{
    id::{Fence, SessionKey, WorkerId},
    outcome::Outcome,
    store::{self, Pool, Store, claim::Held},
    turns::Lane,
};
use tokio::{
    sync::{Notify, RwLock, mpsc},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    agents::{self, Begun},
    budgets::{self, Share},
    execute::{Executor, log_storage},
    held::{HeldAttempts, StopReason},
    providers::{self, Gates},
    queue::{Execute, Job},
    receipts::Receipts,
    record::Record,
    worker::WorkerConfig,
};

/// What the worker claims beyond its concurrency while tasks take no time.
const WINDOW_MAX: usize = 1_000;
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) store: Store,
    pub(crate) config: WorkerConfig,
    pub(crate) id: WorkerId,
    /// Commits asynchronously: a claim that is lost is a task that is still ready.
    pub(crate) claims: Pool,
    pub(crate) finishes: Pool,
    pub(crate) held: HeldAttempts,
    pub(crate) receipts: Receipts,
    pub(crate) record: Record,
    pub(crate) gates: Gates,
    /// The breaker of its agent may not be closed.
    broken: AtomicBool,
    /// It is tried again, with one attempt at a time.
    probing: AtomicBool,
    pub(crate) routes: Mutex<Vec<i32>>,
    /// The same by tenants.
    lanes: Mutex<Arc<Vec<Lane>>>,
    /// Read from before a statement that takes tasks until they are in `held`: whoever writes sees
    /// either both or none.
    pub(crate) taking: RwLock<()>,
    /// Tasks that finishes were given since the last ordinary claim.
    pub(crate) handed_in_row: AtomicUsize,
    /// Sessions in which a finish was sent whose answer was lost.
    doubtful: Mutex<Vec<SessionKey>>,
    /// A statement that takes tasks may have done so without its answer arriving.
    pub(crate) doubt: Notify,
    /// No more claims.
    pub(crate) stopping: CancellationToken,
    /// The lease is lost: everything is void.
    pub(crate) lost: CancellationToken,
    /// The parts that run without an end of their own stop.
    pub(crate) done: CancellationToken,
    /// Room was made while the last claim had been full.
    pub(crate) room_made: Notify,
    /// An attempt that takes time has begun.
    pub(crate) begun: Notify,
    left: Notify,
    window: AtomicUsize,
    /// Attempts that take a place of `concurrency`: all but the ones that take no time.
    heavy: AtomicUsize,
    last_claim_full: AtomicBool,
    /// By this worker's own clock the lease lasts at least until then.
    lease_until: Mutex<Instant>,
}

impl Life {
    pub(crate) fn new(
        store: Store,
        config: WorkerConfig,
        id: WorkerId,
        (claims, finishes): (Pool, Pool),
        registered: Instant,
    ) -> Self {
        let lease_until = Mutex::new(registered + config.lease);
        let lost = CancellationToken::new();
        Self {
            store,
            id,
            claims,
            finishes,
            held: HeldAttempts::default(),
            receipts: Receipts::default(),
            record: Record::default(),
            gates: Gates::default(),
            broken: AtomicBool::new(true),
            probing: AtomicBool::new(false),
            routes: Mutex::default(),
            lanes: Mutex::default(),
            taking: RwLock::default(),
            handed_in_row: AtomicUsize::new(0),
            doubtful: Mutex::default(),
            doubt: Notify::new(),
            stopping: lost.child_token(),
            done: lost.child_token(),
            lost,
            room_made: Notify::new(),
            begun: Notify::new(),
            left: Notify::new(),
            window: AtomicUsize::new(config.concurrency),
            heavy: AtomicUsize::new(0),
            last_claim_full: AtomicBool::new(false),
            lease_until,
            config,
        }
    }

    /// How many more attempts may be held.
    pub(crate) fn room(&self) -> usize {
        if self.stopping.is_cancelled() {
            return 0;
        }
        let is_probing = self.probing.load(Ordering::Relaxed);
        let window = if is_probing { 1 } else { self.window.load(Ordering::Relaxed) };
        window.saturating_sub(self.held.len())
    }

    /// A claim took all there was room for, or not: only then is room worth another claim.
    pub(crate) fn claim_was(&self, full: bool) {
        self.last_claim_full.store(full, Ordering::Relaxed);
    }

    /// What was taken changes how much is claimed at once: tasks that take no time are taken in
    /// ever larger batches, others never beyond the concurrency.
    pub(crate) fn brought(&self, light: usize, all: usize) {
        let window = self.window.load(Ordering::Relaxed);
        let next = if light < all {
            self.config.concurrency
        } else if self.last_claim_full.load(Ordering::Relaxed) {
            (window * 2).min(WINDOW_MAX)
        } else {
            window
        };
        self.window.store(next, Ordering::Relaxed);
    }

    /// Takes an attempt in; false when it runs here already, and then goes on.
    pub(crate) fn take(&self, fence: Fence) -> bool {
        self.held.take(fence, &self.lost)
    }

    /// Takes a place of the concurrency, if one is free.
    pub(crate) fn take_place(&self) -> bool {
        let most = self.config.concurrency;
        self.heavy
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| (n < most).then_some(n + 1))
            .is_ok()
    }

    pub(crate) fn free_place(&self) {
        self.heavy.fetch_sub(1, Ordering::AcqRel);
    }

    /// How many attempts run that take a place.
    pub(crate) fn running(&self) -> usize {
        self.heavy.load(Ordering::Relaxed)
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    pub(crate) fn set_broken(&self, is_broken: bool) {
        self.broken.store(is_broken, Ordering::Relaxed);
    }

    pub(crate) fn set_probing(&self, is_probing: bool) {
        self.probing.store(is_probing, Ordering::Relaxed);
    }

    /// An attempt has left this worker, whatever became of it.
    pub(crate) fn left(&self, fence: &Fence) {
        self.held.remove(fence);
        self.receipts.left(fence);
        self.left.notify_waiters();
        if self.last_claim_full.load(Ordering::Relaxed) {
            self.room_made.notify_one();
        }
    }

    /// Waits until nothing is held any more.
    pub(crate) async fn is_empty(&self) {
        loop {
            let left = self.left.notified();
            tokio::pin!(left);
            left.as_mut().enable();
            if self.held.len() == 0 {
                return;
            }
            left.await;
        }
    }

    /// Asks the database until it answers; `None` when the life was lost before it did.
    pub(crate) async fn insist<T, F, A>(&self, ask: F) -> Option<T>
    where
        F: Fn() -> A + Send,
        A: Future<Output = store::Result<T>> + Send,
    {
        loop {
            match ask().await {
                Ok(answer) => return Some(answer),
                Err(error) => tracing::warn!(%error, "the database did not answer; asking again"),
            }
            tokio::select! {
                () = self.lost.cancelled() => return None,
                () = tokio::time::sleep(PAUSE_AFTER_ERROR) => {}
            }
        }
    }

    /// A statement that could have handed over tasks of these sessions was not answered.
    pub(crate) fn doubt(&self, sessions: &[SessionKey]) {
        self.doubtful.lock().unwrap_or_else(PoisonError::into_inner).extend(sessions);
        self.doubt.notify_one();
    }

    pub(crate) fn take_doubtful(&self) -> Vec<SessionKey> {
        let mut sessions =
            std::mem::take(&mut *self.doubtful.lock().unwrap_or_else(PoisonError::into_inner));
        sessions.sort_unstable();
        sessions.dedup();
        sessions
    }

    /// Asks every attempt to be handed back.
    pub(crate) fn release_all(&self) {
        self.held.stop(&self.held.all_started(), StopReason::Release);
    }

    pub(crate) fn routes(&self) -> Vec<i32> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn lanes(&self) -> Arc<Vec<Lane>> {
        Arc::clone(&self.lanes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_lanes(&self, lanes: Vec<Lane>) {
        let mut routes: Vec<i32> = lanes.iter().flat_map(|lane| lane.routes.clone()).collect();
        routes.sort_unstable();
        *self.routes.lock().unwrap_or_else(PoisonError::into_inner) = routes;
        *self.lanes.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(lanes);
    }

    /// The lease was renewed by a request sent at `asked`.
    pub(crate) fn renewed(&self, asked: Instant) {
        *self.lease_until.lock().unwrap_or_else(PoisonError::into_inner) =
            asked + self.config.lease;
    }

    /// When the worker has to have let go of everything: some time before the lease ends.
    pub(crate) fn let_go_at(&self) -> Instant {
        let margin = (self.config.lease / 10).min(Duration::from_secs(2));
        *self.lease_until.lock().unwrap_or_else(PoisonError::into_inner) - margin
    }
}

/// Executes jobs for one life.
#[derive(Debug, Clone)]
pub(crate) struct Runner {
    pub(crate) life: Arc<Life>,
    pub(crate) executor: Executor,
}

impl Execute for Runner {
    async fn execute(&self, job: Job) -> Outcome {
        let mut attempt = match job.attempt {
            Ok(attempt) => attempt,
            Err(outcome) => return outcome,
        };
        self.executor.settle_runtime(&mut attempt);
        let Held { fence, .. } = job.held;
        if self.life.stopping.is_cancelled() {
            return self.leave(Outcome::Released);
        }
        let gate = match providers::admit(&self.life, &mut attempt).await {
            Ok(gate) => gate,
            Err(outcome) => {
                self.life.free_place();
                return outcome;
            }
        };
        let stop = self.life.held.start(&fence);
        self.life.begun.notify_one();
        let (mut link, ends) = match agents::link(&self.life, &attempt).await {
            Begun::Linked(link, ends) => (link, ends),
            ended @ (Begun::Lost | Begun::Waits) => return self.leave(ended.outcome()),
        };
        let node = (&*job.info, job.held.node);
        let share = budgets::begin(&self.life, node, &mut attempt, &mut link).await;
        if share == Share::Lost {
            return self.leave(Outcome::Released);
        }
        let (hears, heard) = mpsc::unbounded_channel();
        link.provider = Some(hears);
        let (log, chunks) = self.executor.log();
        let stored = async {
            tokio::select! {
                () = log_storage::keep(&self.life.store, fence, chunks) => {}
                () = self.life.lost.cancelled() => {}
            }
        };
        // Dropped, the execution kills its processes at once: they must be gone before the lease is.
        let executed = async move {
            tokio::select! {
                outcome = self.executor.execute_linked(&attempt, log, stop, &mut link) => {
                    // Let go of first: what it still carries is kept before the attempt ends.
                    let spent = link.spent();
                    drop(link);
                    (attempt, outcome, spent)
                }
                () = self.life.lost.cancelled() => (attempt, Outcome::Released, None),
            }
        };
        let carried = async {
            if let Some(ends) = ends {
                tokio::select! {
                    () = ends.carry(&self.life, share) => {}
                    () = self.life.lost.cancelled() => {}
                }
            }
        };
        let listened = providers::listen(&self.life, gate, heard);
        let ((attempt, outcome, spent), (), (), told) =
            tokio::join!(executed, stored, carried, listened);
        let outcome = providers::settle(&self.life, told, outcome, spent).await;
        if share == Share::Held {
            budgets::settle(&self.life, &attempt, &outcome, spent).await;
        }
        let closed = agents::close(&self.life.store, &attempt, &outcome).await;
        if let Err(error) = closed {
            tracing::warn!(%error, "another attempt may go on where this one ended");
        }
        let outcome = agents::parked(&self.life, fence.task, outcome).await;
        self.leave(outcome)
    }
}

impl Runner {
    /// The place of an attempt is free again, whatever it came to.
    fn leave(&self, outcome: Outcome) -> Outcome {
        self.life.free_place();
        outcome
    }
}
