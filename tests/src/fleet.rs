//! A whole Jobshop inside a test: control loop and workers over a database of the test's own.

use std::{path::PathBuf, time::Duration};

use jobshop_engine::{
    id::{SessionKey, TenantId},
    session::SessionState,
    store::{
        Store, StoreConfig, control,
        sessions::{self, NewSession},
        workflows,
    },
    task::{Reason, TaskState},
};
use jobshop_workers::{
    Worker, WorkerConfig,
    execute::{Executor, ExecutorConfig},
};
use serde_json::{Map, Value};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{TestDb, wait};

/// How long a session of a test may take.
const LIMIT: Duration = Duration::from_mins(1);

/// A store with its control loop, and as many workers as were started.
#[derive(Debug)]
pub struct Fleet {
    pub store: Store,
    pub db: TestDb,
    /// Of the test itself; its hints reach the others where the way to the database is the same.
    direct: Store,
    launcher: PathBuf,
    dir: TempDir,
    stop: CancellationToken,
    parts: JoinSet<()>,
    workers: usize,
}

/// A row as it is read.
type Read = (i32, i32, i16, Option<i16>, i32, i32, Option<Value>, Option<Value>, Option<String>);

/// A task as a test looks at it.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub seq: i32,
    pub node: i32,
    pub state: TaskState,
    pub reason: Option<Reason>,
    pub attempt: i32,
    pub failures: i32,
    pub output: Option<Value>,
    pub error: Option<Value>,
    pub item_key: Option<String>,
}

impl Fleet {
    /// A store and its control loop; `launcher` is a binary that dispatches `__exec`.
    pub async fn new(launcher: &str) -> Self {
        let db = TestDb::new().await;
        let config = db.store_config();
        Self::with(launcher, db, config)
    }

    /// The same, reaching the database by another URL than the test does.
    pub fn through(launcher: &str, db: TestDb, url: &str) -> Self {
        Self::with(launcher, db, StoreConfig::new(url))
    }

    /// The same with everything about the way.
    pub fn with(launcher: &str, db: TestDb, config: StoreConfig) -> Self {
        let is_direct = config.url == db.url();
        let store = Store::new(config).expect("the URL is valid");
        let stop = CancellationToken::new();
        let mut parts = JoinSet::new();
        parts.spawn(control::run(store.clone(), stop.clone()));
        let dir = tempfile::tempdir().expect("a temporary directory");
        let direct = if is_direct {
            store.clone()
        } else {
            Store::new(StoreConfig::new(db.url())).expect("the URL is valid")
        };
        Self { store, db, direct, launcher: launcher.into(), dir, stop, parts, workers: 0 }
    }

    /// Adds a worker that serves everything.
    pub fn worker(&mut self) {
        self.worker_with(|_| {});
    }

    pub fn worker_with(&mut self, change: impl FnOnce(&mut WorkerConfig)) {
        self.worker_executing(|_| {}, change);
    }

    /// Adds a worker whose executor and itself are set up otherwise.
    pub fn worker_executing(
        &mut self,
        executing: impl FnOnce(&mut ExecutorConfig),
        change: impl FnOnce(&mut WorkerConfig),
    ) {
        self.workers += 1;
        let data = self.dir.path().join(format!("worker-{}", self.workers));
        let mut executor = ExecutorConfig::new(data, self.launcher.clone());
        executing(&mut executor);
        let executor = Executor::new(executor).expect("an executor starts");
        let mut config = WorkerConfig::new(format!("worker-{}", self.workers));
        change(&mut config);
        let worker = Worker::new(self.store.clone(), config, executor);
        let stop = self.stop.clone();
        self.parts.spawn(async move { worker.run(stop).await.expect("a worker starts") });
    }

    /// Where the workers have their folders.
    pub fn folder(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// Submits a workflow and returns at once.
    pub async fn submit(&self, definition: &str, inputs: Value) -> SessionKey {
        let version = workflows::version_of(&self.direct, TenantId::DEFAULT, definition)
            .await
            .expect("the workflow is valid");
        let inputs = match inputs {
            Value::Object(inputs) => inputs,
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => Map::new(),
        };
        let new = NewSession { inputs, ..NewSession::new(version) };
        sessions::create(&self.direct, new).await.expect("the session is created").key
    }

    /// Waits until the session has ended.
    pub async fn end_of(&self, key: SessionKey) -> SessionState {
        let what = format!("the end of session {key}");
        wait::until(&what, LIMIT, async || {
            let state = sessions::state(&self.direct.pool, key).await.ok().flatten()?;
            state.is_final().then_some(state)
        })
        .await
    }

    /// Submits a workflow without inputs and waits for its end.
    pub async fn run(&self, definition: &str) -> (SessionKey, SessionState) {
        let key = self.submit(definition, Value::Null).await;
        (key, self.end_of(key).await)
    }

    /// The rows of a session in order.
    pub async fn rows(&self, key: SessionKey) -> Vec<Row> {
        let rows: Vec<Read> = sqlx::query_as(
            "select seq, node, state, reason, attempt, failures, output, error, item_key
                   from tasks where tenant_id = $1 and session_id = $2 order by seq",
        )
        .bind(key.tenant.0)
        .bind(key.id.0)
        .fetch_all(self.db.pool())
        .await
        .expect("the rows are read");
        rows.into_iter()
            .map(|(seq, node, state, reason, attempt, failures, output, error, item_key)| Row {
                seq,
                node,
                state: TaskState::from_code(state).expect("a state"),
                reason: reason.and_then(Reason::from_code),
                attempt,
                failures,
                output,
                error,
                item_key,
            })
            .collect()
    }

    /// The session's events as `(number, kind, task)`.
    pub async fn events(&self, key: SessionKey) -> Vec<(i32, i16, Option<i32>)> {
        sqlx::query_as(
            "select first_seq + n::int - 1, kind, task
               from events cross join lateral
                    unnest(kinds, tasks) with ordinality as e (kind, task, n)
              where tenant_id = $1 and session_id = $2 order by 1",
        )
        .bind(key.tenant.0)
        .bind(key.id.0)
        .fetch_all(self.db.pool())
        .await
        .expect("the events are read")
    }

    /// Stops everything in order.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while self.parts.join_next().await.is_some() {}
    }
}
