//! The parts of a Jobshop process that stays: database, API, control loop, worker. They are started
//! in this order and stopped in the other one. It does not know which command wants which parts.

mod database;
mod part;

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use jobshop_engine::store::workers::Profile;
use jobshop_engine::store::{Store, control};
use jobshop_workers::execute::{Executor, ExecutorConfig, Mode, SandboxConfig};
use jobshop_workers::{Worker, WorkerConfig};
use secrecy::SecretString;
use sqlx::migrate::MigrateError;
use tokio::net::TcpListener;

use crate::app::App;
use crate::config;
use crate::data_dir::{DataDir, DataDirError, DataLock, ServerFile};
use crate::exec;
use crate::exit::{Exit, Failure};
use crate::signals::Signals;

pub use database::Database;
use database::{BACK_WITHIN, Patience};
use part::Part;

/// A running process; [`Service::stop`] ends it in order.
#[derive(Debug)]
pub struct Service {
    pub store: Store,
    database: Database,
    upkeep: Part,
    api: Part,
    worker: Part,
}

/// Why the schema cannot be brought up to date, and what helps where another version of Jobshop made it.
fn out_of_date(error: MigrateError) -> Failure {
    let is_strange = matches!(
        error,
        MigrateError::VersionMismatch(_) | MigrateError::VersionMissing(_) | MigrateError::Dirty(_)
    );
    let failure =
        Failure::from(anyhow::Error::new(error).context("cannot bring the database up to date"));
    if !is_strange {
        return failure;
    }
    failure.hint("another version of Jobshop made this database: run that one, or name another database or data directory (--data-dir)")
}

impl Service {
    /// Brings the schema up to date and runs the control loop.
    pub async fn start(database: Database, store: Store) -> Result<Self, Failure> {
        let mut patience = Patience::new(BACK_WITHIN);
        while let Err(error) = store.migrate().await {
            let cause = if let MigrateError::Execute(cause)
            | MigrateError::ExecuteMigration(cause, _) = &error
            {
                Some(cause)
            } else {
                None
            };
            let is_worth_it = match cause {
                Some(cause) => patience.waits(cause).await,
                None => false,
            };
            if !is_worth_it {
                return Err(out_of_date(error));
            }
        }
        let mut upkeep = Part::new("the control loop");
        let stop = upkeep.stop.clone();
        let sharing = store.clone();
        upkeep.run(async move { Ok(sharing.share_hints(stop).await?) });
        let (looping, stop) = (store.clone(), upkeep.stop.clone());
        upkeep.run(async move {
            control::run(looping, stop).await;
            Ok(())
        });
        Ok(Self {
            store,
            database,
            upkeep,
            api: Part::new("the API"),
            worker: Part::new("the worker"),
        })
    }

    /// Answers requests that bring `token`.
    pub fn serve(&mut self, listener: TcpListener, token: SecretString) {
        let app = jobshop_api::App::new(self.store.clone(), token);
        let stop = self.api.stop.clone();
        self.api.run(jobshop_api::serve(listener, app, stop));
    }

    /// Executes tasks.
    pub fn work(&mut self, executor: Executor, config: WorkerConfig) {
        let worker = Worker::new(self.store.clone(), config, executor);
        let stop = self.worker.stop.clone();
        self.worker.run(worker.run(stop));
    }

    /// Executes no more tasks, until [`Service::work`] is called again.
    pub async fn rest(&mut self) {
        self.worker.end().await;
        self.worker = Part::new("the worker");
    }

    /// Returns, with the reason, once a part ended that should not have.
    pub async fn failed(&mut self) -> Failure {
        tokio::select! {
            failure = self.worker.ended() => failure,
            failure = self.api.ended() => failure,
            failure = self.upkeep.ended() => failure,
            failure = self.database.given_up() => failure,
        }
    }

    /// Runs until a signal comes or a part fails, then stops in order; a second signal stops at
    /// once. `published` is taken back first: nobody should come any more.
    pub async fn stay(
        mut self,
        mut signals: Signals,
        published: Option<Published>,
    ) -> Result<Exit, Failure> {
        let failure = tokio::select! {
            () = signals.next() => None,
            failure = self.failed() => Some(failure),
        };
        drop(published);
        tracing::info!("stopping; a second signal stops at once");
        signals.or_die(self.stop()).await?;
        failure.map_or(Ok(Exit::Done), Err)
    }

    /// Hands back what the worker holds, lets requests finish, closes the pools, then stops the
    /// database if it is ours.
    pub async fn stop(mut self) -> Result<(), Failure> {
        self.worker.end().await;
        self.api.end().await;
        self.upkeep.end().await;
        self.store.close().await;
        self.database.stop().await
    }
}

/// `server.json` while it stands; dropped, it is removed.
#[derive(Debug)]
pub struct Published {
    dir: DataDir,
}

impl Published {
    pub fn new(dir: &DataDir, server: &ServerFile) -> std::io::Result<Self> {
        server.write(dir)?;
        Ok(Self { dir: dir.clone() })
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        if let Err(error) = ServerFile::remove(&self.dir) {
            tracing::warn!("server.json stays behind: {error}");
        }
    }
}

/// Listens on `address`; port 0 picks one.
pub async fn listen(address: SocketAddr) -> Result<(TcpListener, String), Failure> {
    let bound = async {
        let listener = TcpListener::bind(address).await?;
        let url = format!("http://{}", listener.local_addr()?);
        Ok::<_, std::io::Error>((listener, url))
    };
    bound.await.map_err(|error| {
        Failure::temporary(format!("cannot listen on {address}: {error}"))
            .hint("set JOBSHOP_LISTEN to another address; port 0 picks a free one")
    })
}

/// So many workers share one data directory at most, each with a folder of its own.
const FOLDERS_MAX: u32 = 1_000;

/// The first folder below the data directory that no other worker uses. Whoever takes the folder
/// of a dead worker also ends what that one left running.
pub fn free_folder(dir: &DataDir) -> Result<DataLock, Failure> {
    for number in 1..=FOLDERS_MAX {
        match DataDir::at(dir.path().join("workers").join(number.to_string()))?.lock() {
            Err(DataDirError::InUse { .. }) => {}
            taken => return Ok(taken?),
        }
    }
    let dir = dir.path().display();
    Err(Failure::temporary(format!("{FOLDERS_MAX} workers run in {dir} already")))
}

/// What executes attempts, with the folder that is this process's own.
pub fn executor(app: &App, folder: PathBuf) -> Result<Executor, Failure> {
    let values = &app.config.values;
    let launcher = exec::launcher().context("cannot find this binary")?;
    let argv = |text| crate::words::argv("JOBSHOP_AGENT_COMMAND", text);
    let agent_command = values.agent_command.as_deref().map(argv).transpose()?;
    let allowed = values.http_allow.iter().map(|allow| allow.parse());
    let http_allow = allowed
        .collect::<Result<_, String>>()
        .map_err(|why| Failure::usage(format!("JOBSHOP_HTTP_ALLOW: {why}")))?;
    let usual = ExecutorConfig::new(folder, launcher);
    let config = ExecutorConfig {
        pass_env: values.pass_env.clone(),
        http_allow,
        agent_command,
        agent_script: values.agent_script.clone(),
        opencode: crate::agents::opencode(app),
        agents: crate::agents::folder(app).unwrap_or_else(|| usual.agents.clone()),
        sandbox: sandbox(app),
        artifact_bytes_max: values.artifacts_max,
        quota: values.workspace_quota,
        keep_failed: values.keep_workspaces == config::KeepWorkspaces::Failed,
        ..usual
    };
    Ok(Executor::new(config).context("cannot prepare the executor")?)
}

/// The sandbox as the settings describe it. Files with settings may hold secrets.
fn sandbox(app: &App) -> SandboxConfig {
    let values = &app.config.values;
    let artifacts = app.data_dir().ok().map(|dir| dir.path().join("artifacts"));
    let agents = crate::agents::folder(app);
    let own = std::env::current_dir().ok().map(|folder| folder.join("jobshop.toml"));
    SandboxConfig {
        mode: match values.sandbox {
            config::Sandbox::Off => Mode::Off,
            config::Sandbox::Auto => Mode::Auto,
            config::Sandbox::Require => Mode::Require,
        },
        is_offline: values.sandbox_network == config::SandboxNetwork::None,
        read: values.sandbox_read.iter().cloned().chain(agents).collect(),
        hide: values.sandbox_hide.iter().cloned().chain(own).chain(artifacts).collect(),
    }
}

/// A worker as the settings describe it, with these capabilities, in `folder`.
pub fn worker_config(
    app: &App,
    capabilities: Vec<String>,
    folder: &std::path::Path,
) -> WorkerConfig {
    let values = &app.config.values;
    let name = values.worker_name.clone().unwrap_or_else(host);
    let usual = WorkerConfig::new(name);
    WorkerConfig {
        capabilities,
        concurrency: values.concurrency.map_or(usual.concurrency, |it| it.max(1) as usize),
        grace: values.grace.to_std(),
        question_hold: values.question_hold.to_std(),
        lease: values.lease.to_std(),
        data_dir: Some(folder.display().to_string()),
        profile: profile(values),
        provider_account: values.provider_account.clone(),
        ..usual
    }
}

fn profile(values: &config::Values) -> Profile {
    let pair = |label: &String| {
        label.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
    };
    Profile {
        kind: values.agent_type,
        technologies: values.agent_technologies.clone(),
        avoids: values.agent_avoids.clone(),
        complexity: Some(values.agent_complexity),
        session_types: values.agent_session_types.clone(),
        labels: values.agent_labels.iter().filter_map(pair).collect(),
    }
}

fn host() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    name.unwrap_or_else(|| "worker".to_owned())
}
