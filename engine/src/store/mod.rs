//! The only place with SQL. A statement a function, in the file of its table; whoever begins a
//! transaction commits it in the same function, and nothing slow happens inside one.
//!
//! Lock order everywhere: session rows first, by (tenant, id), then tasks by number, then limits by
//! name (`tickets`).

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
pub mod checkpoint_view;
pub mod checkpoints;
pub mod claim;
pub mod conflict_view;
pub mod conflicts;
pub mod control;
mod creating;
mod depot;
pub mod diff_view;
pub mod diffs;
pub mod event_view;
mod events;
pub mod evidence;
pub mod evidence_view;
pub mod flags;
pub mod fork;
mod held;
pub mod hints;
pub mod hot;
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
pub mod pauses;
pub mod pins;
pub mod places;
pub mod prompts;
pub mod receipts;
pub mod removal;
pub mod schedule_rows;
pub mod schedule_view;
pub mod schedules;
pub mod session_counts;
mod session_error;
mod session_info;
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
mod why_people;
mod why_rows;
pub mod why_view;
pub mod worker_view;
pub mod workers;
pub mod workflow_view;
pub mod workflows;

use std::{str::FromStr, time::Duration};

use sqlx::{
    Connection as _, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio_util::sync::CancellationToken;

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
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../migrations");

/// How to reach Postgres.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    pub url: String,
    /// Carries LISTEN and migrations when `url` is a transaction pooler; `None` takes `url`.
    pub direct_url: Option<String>,
    /// Connections of the general pool.
    pub connections: u32,
}

impl StoreConfig {
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), direct_url: None, connections: 10 }
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
    config: StoreConfig,
}

/// A connection that was used so shortly ago is not tried before it is used again.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

impl Store {
    /// Connects lazily: an unreachable database shows at the first statement.
    pub fn new(config: StoreConfig) -> sqlx::Result<Self> {
        let pool = PgPoolOptions::new()
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
            .connect_lazy_with(connect_options(&config.url)?);
        Ok(Self {
            pool,
            hints: Hints::new(),
            versions: Versions::default(),
            infos: SessionInfos::default(),
            creations: creating::Creations::default(),
            retention: archive::Retention::default(),
            objects: None,
            config,
        })
    }

    /// Brings the schema up to date. Several processes may do so at once.
    pub async fn migrate(&self) -> std::result::Result<(), sqlx::migrate::MigrateError> {
        let url = self.config.direct_url.as_deref().unwrap_or(&self.config.url);
        let pool =
            PgPoolOptions::new().max_connections(1).connect_with(connect_options(url)?).await?;
        let done = MIGRATIONS.run(&pool).await;
        pool.close().await;
        done
    }

    /// A pool of its own, for one kind of statement: claims commit asynchronously, finishes do not.
    /// Whoever uses it says again what a lost connection did not answer, so a connection is not tried
    /// before each statement: that would be a round trip more.
    pub fn own_pool(
        &self,
        connections: u32,
        synchronous_commit: SynchronousCommit,
    ) -> sqlx::Result<PgPool> {
        let options = connect_options(&self.config.url)?;
        let options = match synchronous_commit {
            SynchronousCommit::On => options,
            SynchronousCommit::Off => options.options([("synchronous_commit", "off")]),
        };
        Ok(PgPoolOptions::new()
            .max_connections(connections)
            .min_connections(1)
            .test_before_acquire(false)
            .acquire_timeout(Duration::from_secs(10))
            .connect_lazy_with(options))
    }

    /// Carries hints to other processes and receives theirs, until cancelled.
    pub async fn share_hints(&self, stop: CancellationToken) -> sqlx::Result<()> {
        // A hint that is lost in a crash is no loss, so its commit does not wait for the disk.
        let pool = self.own_pool(1, SynchronousCommit::Off)?;
        tokio::join!(
            self.hints.notify(pool.clone(), stop.clone()),
            self.hints.listen(self.direct_url(), stop)
        );
        pool.close().await;
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

fn connect_options(url: &str) -> sqlx::Result<PgConnectOptions> {
    Ok(PgConnectOptions::from_str(url)?
        .application_name("jobshop")
        .statement_cache_capacity(200)
        .options([("jit", "off"), ("idle_in_transaction_session_timeout", "10s")])
        // Planning a statement may cost more than executing it, and a plan for any parameters is what
        // every statement is tested with.
        .options([("plan_cache_mode", "force_generic_plan")])
        // Every statement has an index to go by. Without statistics, as in a new database, the
        // planner would read whole tables, and keep such plans while the tables grow.
        .options([("enable_seqscan", "off"), ("enable_bitmapscan", "off")]))
}
