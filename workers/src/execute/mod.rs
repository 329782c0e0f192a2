//! Turns an attempt into its outcome: directories, clones, commands, agents, merges. It does not
//! know how attempts are claimed, nor what becomes of their outcomes and logs.

mod agent;
mod artifacts;
mod capture;
mod command;
mod complaint;
mod confine;
mod conflicts;
mod converse;
mod diff;
mod directory;
mod ending;
mod environment;
mod git;
mod groups;
mod halt;
pub mod http;
mod keeper;
mod link;
pub mod log;
pub mod log_storage;
mod merge;
mod merge_train;
mod output;
mod outside;
mod proc;
mod quota;
mod repository;
mod run;
mod running;
mod runtimes;
mod sandbox;
pub mod scripted;
mod set_up;
mod shared;
mod spawner;
mod still;
mod sweep;
mod usual;
mod verify;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use jobshop_engine::{
    attempt::{Attempt, Work},
    id::SessionId,
    outcome::{Failure, Outcome},
    size::Size,
};
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::workspaces;

use self::{
    command::{Limits, Programs},
    conflicts::Passing,
    directory::{Directories, Directory},
    groups::Groups,
    halt::{Done, Halt},
    log::{LogChunks, LogWriter},
    quota::Quota,
    repository::Repositories,
    sandbox::Sandbox,
    spawner::Spawner,
    verify::{Judging, Turns},
};

pub(crate) use self::{directory::remove_tree, quota::on_disk, shared::Shared};

pub use self::{
    agent::split_command,
    keeper::Keeper,
    link::{Ask, Heard, Keep, Link, Message, Told},
    runtimes::opencode::Installed as Opencode,
    sandbox::{Mode, SandboxConfig, try_out as sandbox_fault},
};

/// How long the removal of old workspaces is tried again while something still writes there.
const REMOVAL_LIMIT: Duration = Duration::from_secs(30);
const REMOVAL_PAUSE: Duration = Duration::from_millis(100);

/// What an executor needs to know of its surroundings.
#[derive(Debug, Clone)]
pub struct ExecutorConfig {
    /// Holds workspaces, the clone cache and the records of process groups. Exactly one live
    /// process may use it: whatever is found in it at the start is ended.
    pub data_dir: PathBuf,
    /// The binary whose hidden `__exec` starts children.
    pub launcher: PathBuf,
    /// Variables of our own environment that commands get, besides the usual four.
    pub pass_env: Vec<String>,
    /// What a command gets between SIGTERM and SIGKILL.
    pub grace: Duration,
    /// The largest outputs of a task, as JSON.
    pub output_bytes_max: usize,
    /// The longest log of an attempt.
    pub log_bytes_max: usize,
    /// The files that one attempt may leave, together.
    pub artifact_bytes_max: Size,
    /// What an attempt may put on the disk, whatever its workflow says.
    pub quota: Option<Size>,
    /// Whether the directory of a failed attempt stays, below `kept`.
    pub keep_failed: bool,
    /// What `builtin/http` may reach besides the public internet.
    pub http_allow: Vec<http::Allow>,
    /// What a `command` agent executes where its task names no command.
    pub agent_command: Option<Vec<String>>,
    /// What the scripted agent plays where a task names no runtime.
    pub agent_script: Option<PathBuf>,
    /// The coding agent opencode, where it is installed.
    pub opencode: Option<Opencode>,
    /// Holds other agents in its folder `bin`, where they are installed for Jobshop.
    pub agents: PathBuf,
    /// Who is put into a sandbox; nobody unless it is said.
    pub sandbox: SandboxConfig,
}

impl ExecutorConfig {
    /// The defaults for everything that has one.
    pub fn new(data_dir: impl Into<PathBuf>, launcher: impl Into<PathBuf>) -> Self {
        let data_dir = data_dir.into();
        Self {
            agents: data_dir.join("agents"),
            data_dir,
            launcher: launcher.into(),
            pass_env: Vec::new(),
            grace: Duration::from_secs(2),
            output_bytes_max: 256 * 1024,
            log_bytes_max: 16 * 1024 * 1024,
            artifact_bytes_max: Size::mebibytes(1024),
            quota: None,
            keep_failed: false,
            http_allow: Vec::new(),
            agent_command: None,
            agent_script: None,
            opencode: None,
            sandbox: SandboxConfig::default(),
        }
    }
}

/// What stops an attempt.
#[derive(Debug, Clone)]
pub struct Stop {
    /// Its processes are told and, a moment later, killed.
    pub now: CancellationToken,
    /// Its processes are told, and what becomes of them by themselves counts.
    pub gently: CancellationToken,
}

impl From<CancellationToken> for Stop {
    fn from(now: CancellationToken) -> Self {
        Self { now, gently: CancellationToken::new() }
    }
}

/// Executes attempts; cheap to clone.
#[derive(Debug, Clone)]
pub struct Executor {
    inner: Arc<Inner>,
    /// Takes what attempts prove; without it nobody hears of it.
    keeper: Option<Keeper>,
}

#[derive(Debug)]
struct Inner {
    config: ExecutorConfig,
    directories: Directories,
    programs: Programs,
    repositories: Repositories,
}

impl Executor {
    pub fn new(mut config: ExecutorConfig) -> anyhow::Result<Self> {
        let dir = &config.data_dir;
        std::fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
        config.data_dir = dir.canonicalize().context("resolving the data directory")?;
        let directories = Directories::open(&config.data_dir).context("opening workspaces")?;
        let programs = Programs {
            spawner: Spawner::start().context("starting the spawner")?,
            groups: Groups::open(config.data_dir.join("groups")).context("opening groups")?,
            launcher: config.launcher.clone(),
            sandbox: Sandbox::new(config.sandbox.clone(), &config.data_dir),
        };
        let repositories = Repositories::new(config.data_dir.join("clones"));
        let inner = Inner { config, directories, programs, repositories };
        Ok(Self { inner: Arc::new(inner), keeper: None })
    }

    /// The same, with somebody to keep what attempts prove.
    #[must_use]
    pub fn keeping(&self, keeper: Keeper) -> Self {
        Self { keeper: Some(keeper), ..self.clone() }
    }

    /// The folder that no other live process uses.
    pub(crate) fn data_dir(&self) -> &Path {
        &self.inner.config.data_dir
    }

    /// A log for one attempt, and the end where its chunks are taken and stored.
    pub fn log(&self) -> (LogWriter, LogChunks) {
        LogWriter::new(self.inner.config.log_bytes_max)
    }

    /// Kills the processes and removes the workspaces that an earlier life of the data directory
    /// left. Call it before the first attempt.
    pub async fn kill_leftovers(&self) -> anyhow::Result<()> {
        let directories = &self.inner.directories;
        let groups = &self.inner.programs.groups;
        if !groups.kill_leftovers(directories.workspaces()).await.context("killing leftovers")? {
            tracing::warn!("a process of an earlier worker does not react to SIGKILL");
        }
        let deadline = Instant::now() + REMOVAL_LIMIT;
        loop {
            let directories = directories.clone();
            match tokio::task::spawn_blocking(move || directories.remove_all()).await? {
                // What git was doing for a killed worker it finishes on its own.
                Err(error)
                    if error.kind() == io::ErrorKind::DirectoryNotEmpty
                        && Instant::now() < deadline =>
                {
                    sleep(REMOVAL_PAUSE).await;
                }
                removed => break removed.context("removing the workspaces of an earlier worker"),
            }
        }
    }

    /// Says who does what names no runtime.
    pub fn settle_runtime(&self, attempt: &mut Attempt) {
        usual::settle(&self.inner.config, attempt);
    }

    /// Kills the process groups of all attempts at once, for a worker that may no longer hold them.
    /// Stop their tokens first; then their executions end as [`Outcome::Released`].
    pub fn kill_all(&self) {
        self.inner.programs.groups.kill_all();
    }

    /// Removes what is left of an ended session's workspaces.
    pub async fn cleanup(&self, session: SessionId) -> anyhow::Result<()> {
        let directories = self.inner.directories.clone();
        tokio::task::spawn_blocking(move || directories.remove_session(session))
            .await?
            .context("removing the workspaces of a session")
    }

    /// Executes an attempt to its end. When it returns, nothing the attempt started is alive and
    /// its log is complete. `stop` ends it with [`Outcome::Released`]: SIGTERM, the grace period,
    /// SIGKILL; asked gently it may still come to its own end. Dropped before its end, it kills the
    /// attempt's process group at once.
    pub async fn execute(
        &self,
        attempt: &Attempt,
        log: LogWriter,
        stop: impl Into<Stop>,
    ) -> Outcome {
        self.execute_linked(attempt, log, stop, &mut Link::default()).await
    }

    /// The same for an attempt that may go on where another stopped, keeps checkpoints, and is
    /// spoken to.
    pub async fn execute_linked(
        &self,
        attempt: &Attempt,
        log: LogWriter,
        stop: impl Into<Stop>,
        link: &mut Link,
    ) -> Outcome {
        let stop = stop.into();
        match &attempt.work {
            Work::Noop => Outcome::Succeeded(Value::Object(Map::new())),
            Work::Fail(class, message) => Outcome::failed(Failure::new(*class, message.clone())),
            Work::Run(_) | Work::Agent(_) | Work::Merge(_) | Work::Http(_) => {
                // A turn of an agent is a large future, and many attempts wait at once.
                let keeper = self.keeper.as_ref();
                let done = Box::pin(self.inner.work(attempt, (&log, link, keeper), stop));
                done.await.unwrap_or_else(Outcome::from)
            }
        }
    }
}

impl Inner {
    async fn work(
        &self,
        attempt: &Attempt,
        (log, link, keeper): (&LogWriter, &mut Link, Option<&Keeper>),
        Stop { now: stop, gently }: Stop,
    ) -> Done<Outcome> {
        if stop.is_cancelled() || gently.is_cancelled() {
            return Err(Halt::Released);
        }
        // Who runs out of space is stopped, and not handed back.
        let own = stop.child_token();
        let limits = Limits {
            timeout: attempt.timeout,
            deadline: attempt.timeout.map(|timeout| Instant::now() + timeout.to_std()),
            heartbeat: attempt.heartbeat,
            grace: self.config.grace,
            stop,
            gently,
        };
        let mut directory =
            self.directories.create(&attempt.fence).context("creating the attempt's directory")?;
        let quota = [attempt.quota, self.config.quota].into_iter().flatten().min();
        let quota = Quota::new(quota, directory.path(), own.clone());
        let stopped = Limits { stop: own, ..limits.clone() };
        let passing = Passing::over(link);
        let judging = Judging { limits: &stopped, log, keeper };
        let rounds = quota.hold(self.rounds(attempt, &mut directory, judging, link));
        let looks = self.look_at_checkpoints(passing, attempt, (keeper, log));
        let (done, ()) = tokio::join!(rounds, looks);
        let outcome = done.unwrap_or_else(Outcome::from);
        let judging = Judging { limits: &limits, log, keeper };
        let outcome = Box::pin(self.collect(attempt, &directory, outcome, judging)).await;
        let outcome = Box::pin(self.keep_diff(attempt, outcome, judging)).await;
        self.tidy(directory, attempt, &outcome, log).await;
        Ok(outcome)
    }

    /// The turns of an attempt, up to the one that is the last.
    async fn rounds(
        &self,
        attempt: &Attempt,
        directory: &mut Directory,
        judging: Judging<'_>,
        link: &mut Link,
    ) -> Done<Outcome> {
        let Judging { limits, log, keeper } = judging;
        let mut turns = Turns::new(attempt);
        let done = loop {
            let done = self.perform(turns.current(), directory, limits, (log, link)).await;
            if let Some(done) = self.judge(done, &mut turns, directory, judging).await {
                break done;
            }
            link.resume = turns.conversation(keeper).await;
        };
        // Whoever looks at checkpoints waits for the last.
        link.checkpoints = None;
        done
    }

    async fn perform(
        &self,
        attempt: &Attempt,
        directory: &Directory,
        limits: &Limits,
        (log, link): (&LogWriter, &mut Link),
    ) -> Done<Outcome> {
        match &attempt.work {
            Work::Run(command) => self.run(command, attempt, directory, limits, log).await,
            Work::Agent(agent) => self.agent(agent, attempt, directory, limits, (log, link)).await,
            Work::Merge(merge) if !merge.check.is_empty() => {
                let train = self.merge_train(merge, attempt, directory, (limits, log));
                train.await.map(Outcome::Succeeded)
            }
            Work::Merge(merge) => {
                self.merge(merge, attempt, limits, log).await.map(Outcome::Succeeded)
            }
            Work::Http(http) => self.http(http, attempt, limits, log).await.map(Outcome::Succeeded),
            Work::Noop | Work::Fail(..) => Ok(Outcome::Succeeded(Value::Object(Map::new()))),
        }
    }

    /// An accident here costs disk, not the outcome.
    async fn tidy(
        &self,
        directory: Directory,
        attempt: &Attempt,
        outcome: &Outcome,
        log: &LogWriter,
    ) {
        self.programs.sandbox.forget(directory.path());
        let directories = self.directories.clone();
        let is_pinned = workspaces::stays(&self.config.data_dir, attempt.fence.task);
        let is_kept = match outcome {
            Outcome::Succeeded(_) => is_pinned,
            Outcome::Failed { .. } => is_pinned || self.config.keep_failed,
            Outcome::Released | Outcome::Deferred(_) | Outcome::Parked => false,
        };
        let tidied = tokio::task::spawn_blocking(move || {
            if is_kept {
                directories.keep(&directory).map(|kept| format!("kept in {}", kept.display()))
            } else {
                directories.remove(&directory).map(|()| String::new())
            }
        });
        match tidied.await.map_err(std::io::Error::other).flatten() {
            Ok(said) if said.is_empty() => {}
            Ok(said) => log.note(&said),
            Err(error) => tracing::warn!(%error, "cannot tidy an attempt's directory"),
        }
    }
}
