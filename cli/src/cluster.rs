//! The embedded cluster: a private Postgres, run from real binaries as our own child, reachable
//! over a Unix socket only, restarted when it crashes and stopped with us. It knows where the
//! database answers, not what is in it.

mod binaries;
mod init;
mod leftover;
mod log;
mod owner;
mod pid_file;
mod postmaster;
mod socket;
mod starter;
mod supervise;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::migrate::MigrateDatabase as _;
use sqlx::{Connection as _, PgConnection, Postgres};
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::data_dir::DataLock;
use postmaster::Launch;

/// How to run a cluster.
#[derive(Debug, Clone)]
pub struct ClusterConfig {
    /// The held data directory; the cluster lives in its `pg` folder.
    pub data: DataLock,
    /// A program that answers [`crate::exec::dispatch`]: in production [`crate::exec::launcher`].
    pub launcher: PathBuf,
    /// Postgres settings that go over the built-in ones.
    pub settings: Vec<(&'static str, String)>,
}

/// A running cluster. [`Cluster::stop`] ends it in order; merely dropped, Postgres is told to stop
/// and nobody waits for it.
#[derive(Debug)]
pub struct Cluster {
    url: String,
    stop: CancellationToken,
    given_up: watch::Receiver<Option<String>>,
    supervisor: JoinSet<Result<(), ClusterError>>,
    _data: DataLock,
}

/// Why a cluster does not run. Each message is one line and names the cure where there is one.
#[derive(Debug, Error)]
pub enum ClusterError {
    #[error(
        "no Postgres 14 or later found (initdb and postgres): {cure}, or set JOBSHOP_PG_BIN to the \
         folder with its programs, or DATABASE_URL to a running server"
    )]
    NoBinaries { cure: &'static str },
    #[error("JOBSHOP_PG_BIN is {path}, which has no initdb and postgres of version 14 or later")]
    WrongBinaries { path: PathBuf },
    #[error(
        "the cluster in {path} was made by Postgres {major}, which is not installed; install that \
         version (or set JOBSHOP_PG_BIN), or choose another JOBSHOP_DATA_DIR"
    )]
    OtherMajor { path: PathBuf, major: u32 },
    #[error("{0}")]
    Owner(String),
    #[error("cannot {doing}")]
    Io { doing: String, source: io::Error },
    #[error("initdb failed: {output}")]
    Init { output: String },
    #[error("Postgres did not start: {log}")]
    Start { log: String },
    #[error("Postgres did not start {times} times in a row, the last time with: {log}")]
    DoesNotStart { times: usize, log: String },
    #[error("process {pid}, a Postgres left on {path}, does not stop")]
    Leftover { pid: u32, path: PathBuf },
    #[error("cannot reach the embedded Postgres")]
    Unreachable(#[source] sqlx::Error),
}

/// The Postgres that a cluster in this data directory would run: its version and its folder.
pub fn programs(data: &Path) -> Result<(u32, PathBuf), ClusterError> {
    let existing = init::existing(&data.join("pg"))?;
    let found = binaries::find(data, existing.as_ref())?;
    Ok((found.major, found.folder))
}

impl Cluster {
    /// Finds Postgres, creates the cluster at first use, ends what a dead predecessor left running
    /// and returns once the database `jobshop` answers.
    pub async fn start(config: ClusterConfig) -> Result<Self, ClusterError> {
        let folder = config.data.dir().path().join("pg");
        let owner = owner::choose(&folder)?;
        owner.check_way_to(config.data.dir().path())?;
        let existing = init::existing(&folder)?;
        let binaries = binaries::find(config.data.dir().path(), existing.as_ref())?;
        let starter = starter::Starter { launcher: config.launcher, owner: owner.clone() };
        let path = match existing {
            Some(existing) => existing.path,
            None => init::create(&folder, &binaries, &starter).await?,
        };
        leftover::end(&path).await?;
        let socket_dir = socket::create(config.data.dir().path(), &owner)?;
        let url = socket::url(&socket_dir, "jobshop");

        let mut settings = built_in_settings(&socket_dir);
        settings.extend(config.settings);
        let launch = Launch { starter, program: binaries.postgres(), path, settings };
        let postmaster = postmaster::start(&launch).await?;
        prepare_database(&url).await?;
        config.data.note_database(&url).map_err(accident("write the lock file"))?;

        let stop = CancellationToken::new();
        let (gives_up, given_up) = watch::channel(None);
        let mut supervisor = JoinSet::new();
        supervisor.spawn(supervise::supervise(launch, postmaster, stop.clone(), gives_up));
        Ok(Self { url, stop, given_up, supervisor, _data: config.data })
    }

    /// The URL of the database `jobshop`; it stays the same through restarts.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns, with the reason, once Postgres keeps stopping and is no longer restarted.
    pub async fn given_up(&self) -> String {
        let mut given_up = self.given_up.clone();
        let reason = given_up.wait_for(Option::is_some).await;
        reason.ok().and_then(|it| it.clone()).unwrap_or_else(|| "its supervisor ended".into())
    }

    /// Stops Postgres and returns when it is gone. Close the pools first.
    pub async fn stop(mut self) -> Result<(), ClusterError> {
        self.stop.cancel();
        match self.supervisor.join_next().await {
            Some(Ok(result)) => result,
            Some(Err(error)) => Err(accident("stop Postgres")(io::Error::other(error))),
            None => Ok(()),
        }
    }
}

/// What every cluster of ours runs with. Durable: a commit that was acknowledged survives a crash
/// of the machine.
fn built_in_settings(socket_dir: &Path) -> Vec<(&'static str, String)> {
    let socket_dir = socket_dir.to_string_lossy().into_owned();
    let settings = [
        ("listen_addresses", ""),
        ("unix_socket_directories", &*socket_dir),
        ("unix_socket_permissions", "0700"),
        ("port", "5432"),
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("shared_buffers", "128MB"),
        ("max_connections", "100"),
        ("wal_level", "minimal"),
        ("max_wal_senders", "0"),
        ("max_wal_size", "2GB"),
        ("autovacuum", "on"),
        ("jit", "off"),
        ("timezone", "UTC"),
        ("log_destination", "stderr"),
        ("logging_collector", "off"),
        ("log_line_prefix", ""),
        // Rows and statements hold prompts and outputs of users: they stay out of the log.
        ("log_error_verbosity", "terse"),
        ("log_min_error_statement", "panic"),
    ];
    settings.map(|(name, value)| (name, value.to_owned())).into()
}

async fn prepare_database(url: &str) -> Result<(), ClusterError> {
    if !Postgres::database_exists(url).await.map_err(ClusterError::Unreachable)? {
        Postgres::create_database(url).await.map_err(ClusterError::Unreachable)?;
    }
    let connection = PgConnection::connect(url).await.map_err(ClusterError::Unreachable)?;
    connection.close().await.map_err(ClusterError::Unreachable)
}

fn accident(doing: impl Into<String>) -> impl FnOnce(io::Error) -> ClusterError {
    |source| ClusterError::Io { doing: doing.into(), source }
}

/// Waits until the condition holds; `false` when the time is over first.
async fn until(limit: Duration, condition: impl Fn() -> bool) -> bool {
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    let wait = async {
        while !condition() {
            ticks.tick().await;
        }
    };
    tokio::time::timeout(limit, wait).await.is_ok()
}
