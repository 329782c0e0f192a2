//! Which database a process uses: the one that is named, its own embedded one, or that of the
//! process which holds the data directory.

use std::future::pending;
use std::path::Path;
use std::time::{Duration, Instant};

use jobshop_engine::routing::Weights;
use jobshop_engine::store::archive::{Archive, Retention};
use jobshop_engine::store::objects::Objects;
use jobshop_engine::store::{Store, StoreConfig};
use secrecy::ExposeSecret as _;

use crate::app::App;
use crate::cluster::{Cluster, ClusterConfig, ClusterError};
use crate::data_dir::{DataDir, DataLock};
use crate::exec;
use crate::exit::{Exit, Failure};

/// How long a first answer is waited for.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How long the parts of a fleet wait, at their start, for a database that is away.
pub(super) const BACK_WITHIN: Duration = Duration::from_mins(1);
const ASK_EVERY: Duration = Duration::from_millis(500);

/// A database, and who stops it.
#[derive(Debug)]
pub enum Database {
    /// It is somebody else's.
    External,
    /// It is our child.
    Embedded(Box<Cluster>),
}

impl Database {
    /// The external one when it is named, else one of our own on the held directory.
    pub async fn open(app: &App, lock: &DataLock) -> Result<(Self, Store), Failure> {
        if let Some(config) = external(app) {
            reach(&config).await?;
            let mut store = store(app, config, None)?;
            store.objects = Some(objects(app, lock.dir())?);
            return Ok((Self::External, store));
        }
        let config =
            ClusterConfig { data: lock.clone(), launcher: exec::launcher()?, settings: Vec::new() };
        let cluster = Cluster::start(config).await?;
        let archives = lock.dir().path().join("archive");
        let mut store = store(app, StoreConfig::new(cluster.url()), Some(&archives))?;
        store.objects = Some(objects(app, lock.dir())?);
        Ok((Self::Embedded(Box::new(cluster)), store))
    }

    /// The external one when it is named, else that of the process which holds the directory.
    pub async fn join(app: &App, dir: &DataDir) -> Result<(Self, Store), Failure> {
        let neighbour = || Some(StoreConfig::new(dir.holder()?.database_url?));
        let Some(config) = external(app).or_else(neighbour) else {
            return Err(Failure::usage(
                "no database: DATABASE_URL is not set and no `jobshop up` runs here",
            )
            .hint("set DATABASE_URL to a Postgres that all processes share"));
        };
        let mut patience = Patience::new(BACK_WITHIN);
        while let Err(error) = connect(&config).await {
            if !patience.waits(&error).await {
                return Err(unreached(&error));
            }
        }
        let mut store = store(app, config, None)?;
        store.objects = Some(objects(app, dir)?);
        Ok((Self::External, store))
    }

    /// Whether the settings name one, so that none of our own is needed.
    pub fn is_named(app: &App) -> bool {
        app.config.values.database_url.is_some()
    }

    /// Whether the external database answers.
    pub async fn ask(app: &App) -> Result<(), Failure> {
        match external(app) {
            Some(config) => reach(&config).await,
            None => Ok(()),
        }
    }

    /// Returns, with the reason, once our database does not come back.
    pub(super) async fn given_up(&self) -> Failure {
        match self {
            Self::External => pending().await,
            Self::Embedded(cluster) => {
                let why = cluster.given_up().await;
                Failure::temporary(format!("the embedded database is gone: {why}"))
                    .hint("mend the cause and start again; what was committed is still there")
            }
        }
    }

    pub(super) async fn stop(self) -> Result<(), Failure> {
        match self {
            Self::External => Ok(()),
            Self::Embedded(cluster) => Ok(cluster.stop().await?),
        }
    }
}

fn external(app: &App) -> Option<StoreConfig> {
    let values = &app.config.values;
    let url = values.database_url.as_ref()?.expose_secret();
    let direct_url = values.database_direct_url.as_ref().map(|url| url.expose_secret().to_owned());
    let statement_cache = values.statement_cache as usize;
    Some(StoreConfig { direct_url, statement_cache, ..StoreConfig::new(url) })
}

/// Asks once whether it answers.
async fn reach(config: &StoreConfig) -> Result<(), Failure> {
    connect(config).await.map_err(|error| unreached(&error))
}

/// Connects once: a pool would try in silence until its time is over.
async fn connect(config: &StoreConfig) -> sqlx::Result<()> {
    let reached = tokio::time::timeout(ANSWER_WITHIN, Store::reach(config));
    reached.await.map_err(|_| sqlx::Error::PoolTimedOut)?
}

fn unreached(error: &sqlx::Error) -> Failure {
    if matches!(error, sqlx::Error::Configuration(_)) {
        Failure::usage("DATABASE_URL: this is no URL of a Postgres database")
    } else if matches!(error, sqlx::Error::PoolTimedOut) {
        Failure::temporary("the database of DATABASE_URL does not answer")
    } else {
        Failure::temporary(format!("cannot reach the database of DATABASE_URL: {error}"))
    }
}

/// How long a database is waited for that restarts, fails over or is full.
pub(super) struct Patience {
    until: Instant,
    was_told: bool,
}

impl Patience {
    pub(super) fn new(limit: Duration) -> Self {
        Self { until: Instant::now() + limit, was_told: false }
    }

    /// Waits a little, if it is worth it: with this error, and within the limit.
    pub(super) async fn waits(&mut self, error: &sqlx::Error) -> bool {
        if !is_away(error) || Instant::now() >= self.until {
            return false;
        }
        if !std::mem::replace(&mut self.was_told, true) {
            tracing::warn!(%error, "waiting for the database");
        }
        tokio::time::sleep(ASK_EVERY).await;
        true
    }
}

/// Whether the same may succeed a moment later.
fn is_away(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    // Class 57: stopping, crashed, starting. 53300: every connection is taken.
    matches!(error, sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut)
        || code.is_some_and(|code| code.starts_with("57P0") || code == "53300")
}

/// `archives` is where sessions are archived when the settings name no place.
fn store(app: &App, config: StoreConfig, archives: Option<&Path>) -> Result<Store, Failure> {
    let connections = app.config.values.database_connections.max(2);
    let mut store = Store::new(StoreConfig { connections, ..config })
        .map_err(|_| Failure::usage("DATABASE_URL: this is no URL of a Postgres database"))?;
    store.retention = retention(app, archives)?;
    let weights = Weights::with(&app.config.values.routing_weights);
    store.routing.weights = weights.map_err(|wrong| Failure::usage(wrong.to_string()))?;
    Ok(store)
}

/// Where files of tasks are kept: in the data directory, when the settings name no place.
fn objects(app: &App, dir: &DataDir) -> Result<Objects, Failure> {
    let place = match &app.config.values.artifacts {
        Some(url) => Objects::open(url),
        None => Objects::folder(&dir.path().join("artifacts")),
    };
    place.map_err(|error| Failure::usage(format!("JOBSHOP_ARTIFACTS: {error}")))
}

fn retention(app: &App, archives: Option<&Path>) -> Result<Retention, Failure> {
    let values = &app.config.values;
    let archive = match (&values.archive, archives) {
        (Some(url), _) => Some(Archive::open(url)),
        (None, Some(folder)) => Some(Archive::folder(folder)),
        (None, None) => None,
    };
    let archive = archive
        .transpose()
        .map_err(|error| Failure::usage(format!("JOBSHOP_ARCHIVE: this is no archive: {error}")))?;
    if archive.is_none() && values.retention.is_some() {
        tracing::warn!(
            "JOBSHOP_RETENTION is set, but JOBSHOP_ARCHIVE is not: nothing is archived here"
        );
    }
    Ok(Retention { archive, after: values.retention })
}

impl From<ClusterError> for Failure {
    fn from(error: ClusterError) -> Self {
        use std::error::Error as _;
        let exit = match &error {
            ClusterError::NoBinaries { .. }
            | ClusterError::WrongBinaries { .. }
            | ClusterError::OtherMajor { .. } => Exit::Usage,
            ClusterError::Owner(_)
            | ClusterError::Io { .. }
            | ClusterError::Init { .. }
            | ClusterError::Start { .. }
            | ClusterError::DoesNotStart { .. }
            | ClusterError::Leftover { .. }
            | ClusterError::Unreachable(_) => Exit::Temporary,
        };
        let source = error.source().map_or_else(String::new, |source| format!(": {source}"));
        Self::new(exit, format!("{error}{source}"))
    }
}
