//! A database for one test: copied from a migrated template, with a clock that can be moved,
//! dropped at the end. It knows the migrations, not what is in them, except for `clock()`.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use jobshop_engine::store::{MIGRATIONS, StoreConfig};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, PgPool};
use tokio::sync::{Mutex, OnceCell};

use crate::{PgBouncer, server::Server};

/// Of the advisory lock under which the template is made and strays are swept.
const TEMPLATE_LOCK: i64 = 0x6a6f_6273_686f_7001;

/// A test is long over by then: what it left behind may go.
const STRAY_SECS: i64 = 900;

/// A database of its own; dropped with the value.
#[derive(Debug)]
pub struct TestDb {
    name: String,
    url: String,
    pool: PgPool,
    /// Of the server's maintenance database.
    admin: PgConnectOptions,
    clock: Mutex<Clock>,
    pooler: Option<PgBouncer>,
}

/// What `clock()` says in a test's database.
#[derive(Debug, Clone, Copy)]
enum Clock {
    /// The true time and this much more.
    Running(Duration),
    Frozen(DateTime<Utc>),
}

impl TestDb {
    /// A fresh, migrated database. Panics when there is no server, because no test can go on.
    pub async fn new() -> Self {
        static TEMPLATE: OnceCell<String> = OnceCell::const_new();
        let create = async {
            let server = Server::shared().await?;
            let template = async || prepare(server, &mut server.connect().await?).await;
            let template = TEMPLATE.get_or_try_init(template).await?;
            Self::create(server, template).await
        };
        create.await.expect("a test database")
    }

    /// The same on a server of the test's own, for what others on the shared one would disturb.
    pub async fn on(server: &Server) -> Self {
        let create = async {
            let template = prepare(server, &mut server.connect().await?).await?;
            Self::create(server, &template).await
        };
        create.await.expect("a test database")
    }

    async fn create(server: &Server, template: &str) -> anyhow::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mut admin = server.connect().await?;
        let secs: i64 = sqlx::query_scalar("select extract(epoch from clock_timestamp())::int8")
            .fetch_one(&mut admin)
            .await?;
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{secs}_{}_{count}", std::process::id());
        // A name cannot be a parameter; these consist of digits and letters of ours.
        let create = format!("create database {name} template {template}");
        sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut admin).await?;
        admin.close().await?;

        let options = server.options().clone().database(&name);
        let url = options.to_url_lossy().to_string();
        let pool = PgPoolOptions::new().max_connections(10).connect_with(options).await?;
        let clock = Mutex::new(Clock::Running(Duration::ZERO));
        let admin = server.options().clone();
        let pooler = if PgBouncer::is_wanted() { PgBouncer::start(&admin).await } else { None };
        Ok(Self { name, url, pool, admin, clock, pooler })
    }

    /// A pool of at most ten connections.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// How what is tested gets to it: directly, or with `JOBSHOP_TEST_POOLER=1` through `PgBouncer`.
    pub fn store_config(&self) -> StoreConfig {
        match &self.pooler {
            Some(pooler) => StoreConfig {
                direct_url: Some(self.url.clone()),
                statement_cache: 0,
                ..StoreConfig::new(pooler.url(&self.name))
            },
            None => StoreConfig::new(&self.url),
        }
    }

    /// For pools of other sizes and for processes.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// From now on `clock()` says `at`, in all connections and prepared statements.
    pub async fn freeze_clock(&self, at: DateTime<Utc>) {
        let mut clock = self.clock.lock().await;
        *clock = Clock::Frozen(at);
        self.set_clock(*clock).await;
    }

    /// Puts `clock()` forward; a frozen one stays frozen, a running one goes on from there.
    pub async fn advance(&self, by: Duration) {
        let mut clock = self.clock.lock().await;
        *clock = match *clock {
            Clock::Running(ahead) => Clock::Running(ahead + by),
            Clock::Frozen(at) => Clock::Frozen(at + by),
        };
        self.set_clock(*clock).await;
    }

    async fn set_clock(&self, clock: Clock) {
        let now = match clock {
            Clock::Running(ahead) => {
                format!("clock_timestamp() + interval '{} microseconds'", ahead.as_micros())
            }
            Clock::Frozen(at) => {
                format!("timestamptz '{}'", at.format("%Y-%m-%d %H:%M:%S%.6f+00"))
            }
        };
        let replace = format!(
            "create or replace function clock() returns timestamptz
             language sql volatile as $$ select {now} $$"
        );
        sqlx::raw_sql(AssertSqlSafe(replace)).execute(&self.pool).await.expect("replace clock()");
    }
}

impl Drop for TestDb {
    fn drop(&mut self) {
        let (name, admin) = (self.name.clone(), self.admin.clone());
        // On a thread and runtime of its own: the test's may be ending, or panicking.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut admin = admin.connect().await?;
                drop_database(&mut admin, &name).await?;
                anyhow::Ok(admin.close().await?)
            })
        });
        // Whatever went wrong, the next run sweeps it.
        let _ = dropping.join();
    }
}

/// Sweeps what killed tests of earlier runs left behind, makes the template of these migrations
/// unless it is there, and returns its name.
pub async fn prepare(server: &Server, admin: &mut PgConnection) -> anyhow::Result<String> {
    let mut hasher = DefaultHasher::new();
    MIGRATIONS.iter().for_each(|it| (it.version, &it.checksum).hash(&mut hasher));
    let template = format!("tmpl_{:016x}", hasher.finish());
    let is_there = "select exists (select from pg_database where datname = $1)";
    let is_there = || sqlx::query_scalar::<_, bool>(is_there).bind(&template);
    let strays = strays(admin).await?;
    if strays.is_empty() && is_there().fetch_one(&mut *admin).await? {
        return Ok(template);
    }
    sqlx::query("select pg_advisory_lock($1)").bind(TEMPLATE_LOCK).execute(&mut *admin).await?;
    for name in strays {
        drop_database(admin, &name).await?;
    }
    if !is_there().fetch_one(&mut *admin).await? {
        // Built under another name: whoever sees the template sees all of it, and nobody is
        // connected to it, which copying does not allow.
        let building = format!("building_{template}");
        drop_database(admin, &building).await?;
        let create = format!("create database {building}");
        sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut *admin).await?;
        let mut connection = server.options().clone().database(&building).connect().await?;
        MIGRATIONS.run(&mut connection).await.context("migrating the template")?;
        connection.close().await?;
        let finish = format!("alter database {building} rename to {template}");
        sqlx::raw_sql(AssertSqlSafe(finish)).execute(&mut *admin).await?;
    }
    sqlx::query("select pg_advisory_unlock($1)").bind(TEMPLATE_LOCK).execute(admin).await?;
    Ok(template)
}

/// Databases so old that their tests are over, with nobody connected.
async fn strays(admin: &mut PgConnection) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        r"select datname
            from pg_database d
           where datname ~ '^test_\d+_\d+_\d+$'
             and split_part(datname, '_', 2)::int8 < extract(epoch from clock_timestamp()) - $1
             and not exists (select from pg_stat_activity a where a.datid = d.oid)",
    )
    .bind(STRAY_SECS)
    .fetch_all(admin)
    .await
}

async fn drop_database(admin: &mut PgConnection, name: &str) -> sqlx::Result<()> {
    let drop = format!("drop database if exists {name} with (force)");
    sqlx::raw_sql(AssertSqlSafe(drop)).execute(admin).await.map(|_| ())
}
