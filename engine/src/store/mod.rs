//! The only place with SQL. A statement a function, in the file of its table; whoever begins a
//! transaction commits it in the same function, and nothing slow happens inside one.
//!
//! Lock order everywhere: session rows first, by (tenant, id), then tasks by number, then limits by
//! name (`tickets`), or accounts of budgets by session and row (`budgets`).

pub mod agents;
pub mod answers;
pub mod applying;
mod approval_rows;
pub mod approval_view;
pub mod approvals;
pub mod archive;
pub mod archived_view;
pub mod archiving;
pub mod artifact_view;
pub mod artifacts;
pub(crate) mod blobs;
pub mod budget_view;
pub mod budgets;
pub mod checkpoint_view;
pub mod checkpoints;
pub mod claim;
pub mod commits;
pub mod conflict_view;
pub mod conflicts;
pub mod contents;
pub mod contexts;
pub mod control;
mod creating;
mod depot;
pub mod diff_view;
pub mod diffs;
pub mod event_view;
mod events;
pub mod evidence;
pub mod evidence_view;
pub mod family;
pub mod flags;
pub mod fork;
mod held;
pub mod hints;
mod hosts;
pub mod hot;
pub mod inbox_view;
mod item_values;
mod kept;
pub mod keys;
pub mod load_view;
pub mod log_view;
pub mod logs;
pub mod measure;
pub mod messages;
pub mod notes;
pub mod objects;
pub mod offers;
pub mod pauses;
pub mod pins;
pub mod places;
pub mod policies;
mod pooler;
pub mod prices;
pub mod prompts;
pub mod providers;
pub mod questions;
pub mod receipts;
pub mod removal;
pub mod schedule_rows;
pub mod schedule_view;
pub mod schedules;
pub mod session_counts;
mod session_error;
mod session_info;
mod session_locks;
mod session_object;
mod session_retry;
mod session_rows;
pub mod session_tree;
pub mod session_view;
pub mod sessions;
pub mod signals;
pub mod steer;
pub mod steer_task;
mod task_path;
pub mod task_view;
pub mod tenants;
mod tickets;
pub mod transition;
pub mod trust;
pub mod values;
pub mod versions;
pub mod view;
mod why_ledger;
mod why_limits;
mod why_offers;
mod why_people;
mod why_provider;
mod why_rows;
pub mod why_view;
mod why_waits;
pub mod wire;
pub mod worker_view;
pub mod workers;
pub mod workflow_view;
pub mod workflows;

use std::time::Duration;

use sqlx::{
    ConnectOptions as _, Connection as _, PgPool,
    migrate::{MigrateError, Migrator},
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio_util::sync::CancellationToken;

use hosts::Hosts;
use pooler::Pooler;

pub use hints::{Hint, Hints};
pub use sqlx::{Error, PgPool as Pool};

pub use session_info::{SessionInfo, SessionInfos};
pub use versions::{Version, Versions};
pub use view::Views;

/// What a statement answers.
pub type Result<T> = std::result::Result<T, Error>;

/// Whether the database refused what was to be stored, so that another try does not mend it: data
/// exceptions, violated constraints, limits of a program.
pub fn is_about_content(error: &Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| ["22", "23", "54"].iter().any(|class| code.starts_with(class)))
}

/// The embedded migrations, forward only.
pub static MIGRATIONS: Migrator = sqlx::migrate!("../migrations");

/// How to reach Postgres.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    pub url: String,
    /// Carries LISTEN and migrations when `url` is a transaction pooler; `None` takes `url`.
    pub direct_url: Option<String>,
    /// Connections of the general pool.
    pub connections: u32,
    /// Statements that a connection keeps prepared. With 0 nothing outlives a transaction, as a pooler
    /// in transaction mode wants it.
    pub statement_cache: usize,
}

/// Of a [`StoreConfig`] that says nothing of it.
const STATEMENTS: usize = 200;

impl StoreConfig {
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), direct_url: None, connections: 10, statement_cache: STATEMENTS }
    }
}

/// A handle to the database and to the hints between processes; cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    pub pool: PgPool,
    pub hints: Hints,
    pub versions: Versions,
    pub infos: SessionInfos,
    /// Sessions that are about to be written.
    creations: creating::Creations,
    /// What this process does with sessions that ended long ago; nothing, unless it is set.
    pub retention: archive::Retention,
    /// Where files of tasks are kept; nowhere, unless it is set.
    pub objects: Option<objects::Objects>,
    /// How agents are judged.
    pub routing: crate::routing::Routing,
    config: StoreConfig,
    hosts: Hosts,
    pooler: Option<Pooler>,
}

/// A connection that was used so shortly ago is not tried before it is used again.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

impl Store {
    /// Connects lazily: an unreachable database shows at the first statement. Without a statement cache
    /// it has to be called within a runtime.
    pub fn new(config: StoreConfig) -> sqlx::Result<Self> {
        let (hosts, pooler) = ways(&config)?;
        let pool = pool_of(&hosts)
            .max_connections(config.connections)
            .acquire_timeout(Duration::from_secs(10))
            .idle_timeout(Duration::from_mins(5))
            // A round trip before every statement would be most of what many of them cost.
            .test_before_acquire(false)
            .before_acquire(|connection, meta| {
                Box::pin(async move {
                    if meta.idle_for >= TRUSTED_FOR {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .connect_lazy_with(way(&hosts, pooler.as_ref(), SynchronousCommit::On));
        hosts.lead(&pool, SynchronousCommit::On);
        Ok(Self {
            pool,
            hints: Hints::new(),
            versions: Versions::default(),
            infos: SessionInfos::default(),
            creations: creating::Creations::default(),
            retention: archive::Retention::default(),
            objects: None,
            routing: crate::routing::Routing::default(),
            config,
            hosts,
            pooler,
        })
    }

    /// Brings the schema up to date. Several processes may do so at once.
    pub async fn migrate(&self) -> std::result::Result<(), MigrateError> {
        let (hosts, pooler) = match &self.config.direct_url {
            Some(url) => (direct_hosts(url)?, None),
            None => (self.hosts.clone(), self.pooler.as_ref()),
        };
        if hosts.are_several() {
            hosts.find().await;
        }
        let options = way(&hosts, pooler, SynchronousCommit::On);
        let pool = PgPoolOptions::new().max_connections(1).connect_with(options).await?;
        let done = if pooler.is_some() {
            // The lock would be of a connection, and through a pooler there is none to hold it. Two
            // processes that begin at once may get into each other's way; one of them says so.
            let mut unlocked = Migrator::with_migrations(MIGRATIONS.iter().cloned().collect());
            unlocked.set_locking(false).run(&pool).await
        } else {
            MIGRATIONS.run(&pool).await
        };
        pool.close().await;
        done
    }

    /// Connects once, to the primary where several hosts are named: a pool would try in silence.
    pub async fn reach(config: &StoreConfig) -> Result<()> {
        let (hosts, pooler) = ways(config)?;
        if hosts.are_several() {
            return if hosts.find().await { Ok(()) } else { Err(Error::PoolTimedOut) };
        }
        let connection = way(&hosts, pooler.as_ref(), SynchronousCommit::On).connect().await?;
        // It answered; how it says goodbye does not matter.
        let _ = connection.close().await;
        Ok(())
    }

    /// Looks which of several hosts is the primary, so that the first statement need not wait for it.
    pub async fn find_primary(&self) {
        if self.hosts.are_several() {
            self.hosts.find().await;
        }
    }

    /// A pool of its own, for one kind of statement: claims commit asynchronously, finishes do not.
    /// Whoever uses it says again what a lost connection did not answer, so a connection is not tried
    /// before each statement: that would be a round trip more.
    pub fn own_pool(&self, connections: u32, synchronous_commit: SynchronousCommit) -> PgPool {
        let pool = pool_of(&self.hosts)
            .max_connections(connections)
            .min_connections(1)
            .test_before_acquire(false)
            .acquire_timeout(Duration::from_secs(10))
            .connect_lazy_with(way(&self.hosts, self.pooler.as_ref(), synchronous_commit));
        self.hosts.lead(&pool, synchronous_commit);
        pool
    }

    /// Closes the pool once its connections have come back; nothing can be asked afterwards.
    pub async fn close(&self) {
        self.creations.rest().await;
        self.pool.close().await;
    }

    /// Carries hints to other processes and receives theirs, until cancelled.
    pub async fn share_hints(&self, stop: CancellationToken) -> sqlx::Result<()> {
        // A hint that is lost in a crash is no loss, so its commit does not wait for the disk.
        let pool = self.own_pool(1, SynchronousCommit::Off);
        let direct = match &self.config.direct_url {
            Some(url) => direct_hosts(url)?,
            None => self.hosts.clone(),
        };
        let listens = self.pooler.is_none() || self.config.direct_url.is_some();
        let listener = pool_of(&direct)
            .max_connections(1)
            .max_lifetime(None)
            .idle_timeout(None)
            .connect_lazy_with(way(&direct, None, SynchronousCommit::On));
        direct.lead(&listener, SynchronousCommit::On);
        let listening = async {
            if listens {
                self.hints.listen(&listener, stop.clone()).await;
            } else {
                tracing::info!("without DATABASE_DIRECT_URL polling alone finds new work");
            }
        };
        let following = async {
            // They are the same where there is no direct way.
            if self.config.direct_url.is_some() {
                direct.follow(stop.clone()).await;
            }
        };
        tokio::join!(
            self.hints.notify(pool.clone(), stop.clone()),
            listening,
            following,
            self.hosts.follow(stop.clone())
        );
        pool.close().await;
        listener.close().await;
        Ok(())
    }

    /// The connection string that may carry LISTEN, if any connection may.
    pub fn direct_url(&self) -> &str {
        self.config.direct_url.as_deref().unwrap_or(&self.config.url)
    }
}

/// Whether a commit waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SynchronousCommit {
    On,
    Off,
}

/// The hosts of the general way, and the pooler that stands there.
fn ways(config: &StoreConfig) -> sqlx::Result<(Hosts, Option<Pooler>)> {
    let hosts = Hosts::new(dressed(&config.url, config.statement_cache)?);
    if config.statement_cache > 0 {
        return Ok((hosts, None));
    }
    if hosts.are_several() {
        let why =
            "several hosts: with statement_cache 0 the pooler has to know which is the primary";
        return Err(Error::Configuration(why.into()));
    }
    let pooler = Pooler::start(&hosts.current())?;
    Ok((hosts, Some(pooler)))
}

/// The hosts of a way that no pooler stands in.
fn direct_hosts(url: &str) -> sqlx::Result<Hosts> {
    Ok(Hosts::new(dressed(url, STATEMENTS)?))
}

/// How a pool gets to the database now.
fn way(hosts: &Hosts, pooler: Option<&Pooler>, commit: SynchronousCommit) -> PgConnectOptions {
    match pooler {
        Some(pooler) => pooler.lead(&hosts.current()),
        None => committing(hosts.current(), commit),
    }
}

/// A pool that takes no connection to a standby, where there may be one.
fn pool_of(hosts: &Hosts) -> PgPoolOptions {
    let are_several = hosts.are_several();
    PgPoolOptions::new().after_connect(move |connection, _| {
        Box::pin(async move {
            if are_several && !hosts::writes(connection).await? {
                return Err(Error::Configuration("this host is a standby".into()));
            }
            Ok(())
        })
    })
}

fn committing(options: PgConnectOptions, commit: SynchronousCommit) -> PgConnectOptions {
    match commit {
        SynchronousCommit::On => options,
        SynchronousCommit::Off => options.options([("synchronous_commit", "off")]),
    }
}

fn dressed(url: &str, statement_cache: usize) -> sqlx::Result<Vec<PgConnectOptions>> {
    Ok(hosts::parse(url)?.into_iter().map(|it| dress(it, statement_cache)).collect())
}

fn dress(options: PgConnectOptions, statement_cache: usize) -> PgConnectOptions {
    options
        .application_name("jobshop")
        .statement_cache_capacity(statement_cache)
        .options([("jit", "off"), ("idle_in_transaction_session_timeout", "10s")])
        // Planning a statement may cost more than executing it, and a plan for any parameters is what
        // every statement is tested with.
        .options([("plan_cache_mode", "force_generic_plan")])
        // Every statement has an index to go by. Without statistics, as in a new database, the
        // planner would read whole tables, and keep such plans while the tables grow.
        .options([("enable_seqscan", "off"), ("enable_bitmapscan", "off")])
}
