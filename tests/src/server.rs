//! The Postgres server that tests share. `JOBSHOP_TEST_DATABASE_URL` names one; otherwise a cluster
//! is started by whoever needs it first, in a process of its own (`test-postgres serve`), used by
//! all tests of this user, and stopped when none has used it for a minute.
//!
//! Its `fsync` is off: nothing in it outlives a test. Tests of durability start their own cluster.

use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr as _;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use jobshop::cluster::{Cluster, ClusterConfig};
use jobshop::data_dir::DataDir;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, PgConnection};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::OnceCell;

const IDLE_LIMIT: Duration = Duration::from_mins(1);
const START_LIMIT: Duration = Duration::from_mins(1);

/// The server, for as long as this process lives.
#[derive(Debug)]
pub struct Server {
    options: PgConnectOptions,
    /// Locked, and thereby the sign that the server is in use.
    _in_use: Option<File>,
}

impl Server {
    /// The one server of this process, started if need be.
    pub async fn shared() -> anyhow::Result<&'static Self> {
        static SERVER: OnceCell<Server> = OnceCell::const_new();
        SERVER.get_or_try_init(Self::find_or_start).await
    }

    /// Another server than the shared one, by the URL of its maintenance database.
    pub fn at(url: &str) -> sqlx::Result<Self> {
        Ok(Self { options: PgConnectOptions::from_str(url)?, _in_use: None })
    }

    /// A connection to the server's maintenance database.
    pub async fn connect(&self) -> sqlx::Result<PgConnection> {
        self.options.connect().await
    }

    /// How to connect to the maintenance database.
    pub fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    async fn find_or_start() -> anyhow::Result<Self> {
        if let Ok(url) = std::env::var("JOBSHOP_TEST_DATABASE_URL") {
            let options = PgConnectOptions::from_str(&url).context("JOBSHOP_TEST_DATABASE_URL")?;
            return Ok(Self { options, _in_use: None });
        }
        let home = Home::create()?;
        // Before looking: the server cannot go away any more once this is held.
        let in_use = home.in_use()?;
        in_use.lock_shared()?;
        let starting = File::create(home.dir.path().join("start.lock"))?;
        starting.lock()?;
        let url = match home.running() {
            Some(url) => url,
            None => home.start().await?,
        };
        let options = PgConnectOptions::from_str(&url)?.database("postgres");
        Ok(Self { options, _in_use: Some(in_use) })
    }
}

/// Where the shared server of this user lives.
struct Home {
    dir: DataDir,
}

impl Home {
    fn create() -> anyhow::Result<Self> {
        let us = nix::unistd::Uid::effective();
        let path = std::env::temp_dir().join(format!("jobshop-tests-{us}"));
        // The user that root's Postgres runs as must be able to pass through.
        match std::fs::DirBuilder::new().mode(0o711).create(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
            _ => {}
        }
        let found = path.symlink_metadata()?;
        ensure!(found.is_dir() && found.uid() == us.as_raw(), "{} is not ours", path.display());
        Ok(Self { dir: DataDir::at(path)? })
    }

    fn in_use(&self) -> io::Result<File> {
        File::create(self.dir.path().join("in-use.lock"))
    }

    fn running(&self) -> Option<String> {
        self.dir.holder()?.database_url
    }

    async fn start(&self) -> anyhow::Result<String> {
        let log = self.dir.path().join("server.log");
        let mut server = Command::new(program()?)
            .arg("serve")
            // It outlives this process and whatever ends this one's group.
            .process_group(0)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()?;
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        let waiting = async {
            loop {
                ticks.tick().await;
                if let Some(url) = self.running() {
                    return Ok(url);
                }
                if let Some(status) = server.try_wait()? {
                    bail!("{status}: {}", std::fs::read_to_string(&log)?);
                }
            }
        };
        let started = tokio::time::timeout(START_LIMIT, waiting).await;
        started.context("it takes too long").flatten().context("starting the test server")
    }
}

/// `test-postgres`, which Cargo builds beside the tests of this package.
fn program() -> anyhow::Result<PathBuf> {
    let us = std::env::current_exe()?;
    let beside = us.ancestors().skip(1).take(2).map(|it| it.join("test-postgres"));
    beside.into_iter().find(|it| it.is_file()).with_context(|| {
        format!(
            "no test-postgres beside {}: run `cargo build -p jobshop-tests`, or set \
             JOBSHOP_TEST_DATABASE_URL",
            us.display()
        )
    })
}

/// Runs the shared server until nobody has used it for a while or a signal asks it to stop. Its
/// files go with it.
pub async fn serve(launcher: &Path) -> anyhow::Result<()> {
    let home = Home::create()?;
    let data = home.dir.lock()?;
    let settings = [
        ("max_connections", "300"),
        ("fsync", "off"),
        ("synchronous_commit", "off"),
        ("full_page_writes", "off"),
    ];
    let config = ClusterConfig {
        data: data.clone(),
        launcher: launcher.to_owned(),
        settings: settings.map(|(name, value)| (name, value.to_owned())).into(),
    };
    let cluster = Cluster::start(config).await?;
    let mut terminated = signal(SignalKind::terminate())?;
    // Kept to the end: who comes now waits, finds no server and starts one.
    let _unused = tokio::select! {
        file = unused(&home) => Some(file?),
        _ = terminated.recv() => None,
        reason = cluster.given_up() => bail!(reason),
    };
    cluster.stop().await?;
    std::fs::remove_dir_all(home.dir.path().join("pg"))?;
    Ok(())
}

/// Returns the exclusive lock, once the server was found unused for long enough.
async fn unused(home: &Home) -> io::Result<File> {
    let file = home.in_use()?;
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    let mut idle_since = tokio::time::Instant::now();
    loop {
        ticks.tick().await;
        if file.try_lock().is_err() {
            idle_since = tokio::time::Instant::now();
        } else if idle_since.elapsed() >= IDLE_LIMIT {
            return Ok(file);
        } else {
            file.unlock()?;
        }
    }
}
