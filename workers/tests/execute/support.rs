//! What the tests of the executor share: a data directory, attempts, logs, and waiting for
//! conditions.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use jobshop_engine::{
    attempt::{Attempt, Work, Workspace},
    duration::Span,
    id::{Fence, SessionId, SessionKey, TaskKey, TenantId, WorkerId},
    outcome::{ErrorClass, Failure, Outcome},
    plan::{Command, Expected},
};
use jobshop_workers::execute::{
    Executor, ExecutorConfig,
    log::{LogChunk, Stream},
};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Longer than anything here takes on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(15);

/// An executor on a data directory of its own.
pub(crate) struct Bench {
    pub(crate) dir: TempDir,
    pub(crate) executor: Executor,
}

/// What came of an attempt.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) outcome: Outcome,
    pub(crate) log: Vec<LogChunk>,
}

pub(crate) fn launcher() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/execute/launcher.sh")
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut ExecutorConfig)) -> Self {
        Self::at(tempfile::tempdir().unwrap(), change)
    }

    pub(crate) fn at(dir: TempDir, change: impl FnOnce(&mut ExecutorConfig)) -> Self {
        let mut config = ExecutorConfig::new(dir.path().join("data"), launcher());
        config.grace = Duration::from_millis(200);
        change(&mut config);
        Self { executor: Executor::new(config).unwrap(), dir }
    }

    pub(crate) async fn execute(&self, attempt: &Attempt) -> Ended {
        self.execute_until(attempt, CancellationToken::new()).await
    }

    pub(crate) async fn execute_until(&self, attempt: &Attempt, stop: CancellationToken) -> Ended {
        let (log, mut chunks) = self.executor.log();
        let taken = async {
            let mut taken = Vec::new();
            while let Some(mut batch) = chunks.next().await {
                taken.append(&mut batch);
            }
            taken
        };
        let (outcome, log) = tokio::join!(self.executor.execute(attempt, log, stop), taken);
        Ended { outcome, log }
    }

    /// Files and folders left below the workspaces.
    pub(crate) fn left_over(&self) -> Vec<PathBuf> {
        let workspaces = self.dir.path().join("data/workspaces");
        std::fs::read_dir(workspaces).unwrap().map(|it| it.unwrap().path()).collect()
    }
}

impl Ended {
    pub(crate) fn outputs(&self) -> &Value {
        let Outcome::Succeeded(outputs) = &self.outcome else {
            panic!("{:?}\n{}", self.outcome, self.text())
        };
        outputs
    }

    pub(crate) fn failure(&self, class: ErrorClass) -> &str {
        match &self.outcome {
            Outcome::Failed { failure: Failure { class: found, message }, .. }
                if *found == class =>
            {
                message
            }
            Outcome::Succeeded(_)
            | Outcome::Failed { .. }
            | Outcome::Released
            | Outcome::Deferred(_)
            | Outcome::Parked => {
                panic!("{:?}\n{}", self.outcome, self.text())
            }
        }
    }

    pub(crate) fn text(&self) -> String {
        let bytes: Vec<u8> = self.log.iter().flat_map(|it| it.body.clone()).collect();
        String::from_utf8(bytes).unwrap()
    }

    pub(crate) fn stream(&self, stream: Stream) -> String {
        let chunks = self.log.iter().filter(|it| it.stream == stream);
        let bytes: Vec<u8> = chunks.flat_map(|it| it.body.clone()).collect();
        String::from_utf8(bytes).unwrap()
    }
}

pub(crate) fn fence() -> Fence {
    let session = SessionKey { tenant: TenantId::DEFAULT, id: SessionId(Uuid::new_v4()) };
    Fence { task: TaskKey { session, seq: 3 }, attempt: 1, worker: WorkerId(Uuid::new_v4()) }
}

pub(crate) fn attempt(work: Work) -> Attempt {
    let fence = fence();
    Attempt {
        fence,
        task: "build[api].check".to_owned(),
        work,
        env: Vec::new(),
        workspace: Workspace::Empty,
        setup: Vec::new(),
        quota: None,
        timeout: None,
        heartbeat: None,
        is_failure_allowed: false,
        expected: Expected::default(),
        schema: None,
        idempotency_key: fence.task.to_string(),
        file_dir: None,
    }
}

pub(crate) fn script(text: &str) -> Attempt {
    attempt(Work::Run(Command::Script(text.to_owned())))
}

pub(crate) fn argv<const N: usize>(argv: [&str; N]) -> Attempt {
    attempt(Work::Run(Command::Argv(argv.map(str::to_owned).into())))
}

pub(crate) fn span(text: &str) -> Span {
    text.parse().unwrap()
}

/// Waits until `found` gives something.
pub(crate) async fn eventually<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let looked = async {
        loop {
            if let Some(found) = found() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, looked).await.unwrap_or_else(|_| panic!("never: {what}"))
}

/// The process id that a command wrote into `path`.
pub(crate) async fn pid_in(path: &Path) -> Pid {
    eventually(&format!("a process id in {}", path.display()), || {
        let text = std::fs::read_to_string(path).ok()?;
        text.strip_suffix('\n')?.parse().ok().map(Pid::from_raw)
    })
    .await
}

/// Whether a process still runs; one that only waits to be reaped does not.
pub(crate) fn runs(pid: Pid) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(") ").unwrap().1.starts_with('Z'))
}
