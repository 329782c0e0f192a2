//! The chaos harness: real servers and workers on a real Postgres do random work while everything
//! that can break is broken on purpose; afterwards what clients were told, what commands wrote to a
//! file and what the database says are compared (docs/reliability.md).

pub mod checks;
mod clients;
mod collect;
mod disk;
mod graphs;
pub mod history;
mod hosts;
mod nemesis;
pub mod profile;
mod report;

use std::{
    fs::Permissions,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use futures::future::{join_all, pending};
use jobshop::{
    cluster::{Cluster, ClusterConfig},
    data_dir::DataDir,
};
use jobshop_engine::store::MIGRATIONS;
use nix::sys::signal::Signal;
use serde_json::json;
use sqlx::PgPool;
use tempfile::TempDir;
use tokio::time::{Instant, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::truth;
use checks::Violation;
use clients::{Caller, Told};
use disk::Disk;
use history::{History, Nanos};
use hosts::{Host, LEASE_SECS, Role};
use nemesis::Nemesis;
use profile::Profile;
pub use report::Report;

const CLIENTS: usize = 4;
const LISTENERS: usize = 2;
/// How long everything may take to come to rest once nothing breaks any more.
const REST: Duration = Duration::from_mins(5);
/// A fire that is due is there by then.
const FIRE_SLACK_SECS: i64 = 15;
const TICK: &str = "
version: 1
name: tick
triggers:
  schedule: [{ id: minutely, cron: '* * * * *', catch_up: all, overlap: allow }]
tasks: { a: { uses: builtin/noop } }
";

/// Who takes part, and where.
#[derive(Debug)]
pub struct Run {
    pub seed: u64,
    pub profile: Profile,
    /// Of the database.
    folder: PathBuf,
    database: String,
    journal: PathBuf,
    token: String,
    hosts: Vec<Host>,
    ports: Vec<u16>,
    disk: Option<Disk>,
}

/// Everything of a run that is to be kept where something went wrong.
#[derive(Debug)]
struct Ground {
    folder: TempDir,
    cluster: Cluster,
    db: PgPool,
}

/// Runs a profile to its end. `program` is the binary under test.
pub async fn run(profile: Profile, seed: u64, program: &Path) -> anyhow::Result<Report> {
    let began = Instant::now();
    let (ground, run) = set_up(profile, seed, program).await?;
    let told = Mutex::new(Told::default());
    let nemesis = Nemesis::new(Arc::clone(&run), ground.db.clone());
    until_served(&run).await?;
    let http = reqwest::Client::new();
    let applied_at = now();
    call(&run, &http, "/api/v1/workflows", &json!({ "definition": TICK })).await?;

    struggle(&run, &nemesis, &told, began + profile.limit).await;
    heal(&run, &nemesis);
    rest(&ground.db).await?;
    call(&run, &http, "/api/v1/schedules/tick/minutely/pause", &json!({})).await?;
    let paused_at = now();
    rest(&ground.db).await?;

    let told = told.into_inner().expect("nobody panics here");
    let tasks = told.tasks;
    let mut history = History {
        submissions: told.submissions,
        cancels: told.cancels,
        feeds: told.feeds,
        minutes: minutes(applied_at, paused_at),
        broken: broken(&ground.db).await?,
        ..History::default()
    };
    history.read_runs(&std::fs::read_to_string(&run.journal)?);
    collect::read(&ground.db, &mut history).await?;
    let faults = nemesis.into_faults();
    let mut violations = checks::violations(&history, i64::from(LEASE_SECS) * 1_000_000_000);
    let exits = faults.exits.iter();
    violations.extend(exits.map(|how| Violation { invariant: "exit", what: how.clone() }));
    let report = Report { violations, ..Report::new(&run, tasks, &history, faults, began) };
    ground.end(run, report).await
}

async fn set_up(profile: Profile, seed: u64, program: &Path) -> anyhow::Result<(Ground, Arc<Run>)> {
    // The user that root's Postgres runs as must be able to pass through.
    let mode = Permissions::from_mode(0o711);
    let folder = tempfile::Builder::new().prefix("chaos-").permissions(mode).tempdir()?;
    let data = folder.path().join("database");
    std::fs::create_dir(&data)?;
    std::fs::set_permissions(&data, Permissions::from_mode(0o711))?;
    let disk = if profile.full_disks > 0 { Disk::mount(&data) } else { None };
    let config = ClusterConfig {
        data: DataDir::at(&data)?.lock()?,
        launcher: program.to_owned(),
        settings: vec![("max_connections", "120".to_owned())],
    };
    let cluster = Cluster::start(config).await?;
    let database = cluster.url().to_owned();
    let db = PgPool::connect(&database).await?;
    MIGRATIONS.run(&db).await?;
    let token = format!("chaos-{seed}");
    let mut hosts = Vec::new();
    for number in 1..=profile.servers {
        hosts.push(Host::server(number, program, &database, &token).await);
    }
    for number in 1..=profile.workers {
        hosts.push(Host::worker(number, program, &database, &token).await);
    }
    let ports = hosts.iter().filter_map(|host| match host.role {
        Role::Server { port } => Some(port),
        Role::Worker => None,
    });
    let run = Run {
        seed,
        profile,
        folder: data,
        database,
        journal: folder.path().join("journal"),
        token,
        ports: ports.collect(),
        hosts,
        disk,
    };
    Ok((Ground { folder, cluster, db }, Arc::new(run)))
}

/// Load and faults, until there was enough of both or the time is over.
async fn struggle(run: &Arc<Run>, nemesis: &Nemesis, told: &Mutex<Told>, deadline: Instant) {
    let (quiet, over) = (CancellationToken::new(), CancellationToken::new());
    let strike = async {
        let hands = async {
            tokio::join!(
                nemesis.kill(&over),
                nemesis.freeze(&over),
                nemesis.partition(&over),
                nemesis.strike(&over),
            )
        };
        // Told that it is over, each hand puts right what it has in hand.
        let call_time = async {
            sleep_until(deadline).await;
            over.cancel();
            pending::<()>().await;
        };
        tokio::select! {
            _ = hands => {}
            () = call_time => {}
        }
        let mut ticks = interval(Duration::from_millis(200));
        let is_short = || told.lock().expect("nobody panics here").tasks < run.profile.tasks;
        while is_short() && Instant::now() < deadline {
            ticks.tick().await;
        }
        // Nothing is broken while the last requests are answered.
        heal(run, nemesis);
        quiet.cancel();
    };
    let callers = (0..CLIENTS).map(|number| Caller::new(Arc::clone(run), number));
    let submit = callers.map(|caller| caller.submit(told, &quiet));
    let listen = (0..LISTENERS)
        .map(|number| Caller::new(Arc::clone(run), CLIENTS + number).listen(told, &quiet));
    tokio::join!(strike, join_all(submit), join_all(listen));
}

fn heal(run: &Run, nemesis: &Nemesis) {
    if let Some(disk) = &run.disk {
        disk.free();
    }
    for host in &run.hosts {
        host.way.set(crate::proxy::Way::Open);
        if let Some(how) = host.exit() {
            nemesis.faults.lock().expect("nobody panics here").exits.push(how);
            host.start_again(false, None);
        }
        host.send(Signal::SIGCONT);
    }
}

/// Until every server answers.
async fn until_served(run: &Run) -> anyhow::Result<()> {
    let mut ticks = interval(Duration::from_millis(50));
    let deadline = Instant::now() + Duration::from_mins(1);
    for port in &run.ports {
        let url = format!("http://127.0.0.1:{port}/ready");
        while !reqwest::get(&url).await.is_ok_and(|answer| answer.status().is_success()) {
            ensure!(Instant::now() < deadline, "no server answers on port {port}");
            ticks.tick().await;
        }
    }
    Ok(())
}

/// Until nothing is open any more, or it has taken too long: the checks say what is.
async fn rest(db: &PgPool) -> anyhow::Result<()> {
    let mut ticks = interval(Duration::from_millis(200));
    let deadline = Instant::now() + REST;
    while Instant::now() < deadline {
        ticks.tick().await;
        let open: i64 = sqlx::query_scalar(
            "select count(*) from session_progress where state < 5 or sweep <> 0",
        )
        .fetch_one(db)
        .await?;
        if open == 0 {
            break;
        }
    }
    Ok(())
}

/// The rules of the database that are broken, also after what repairs them had its time.
async fn broken(db: &PgPool) -> anyhow::Result<Vec<String>> {
    let mut ticks = interval(Duration::from_millis(500));
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let broken = truth::broken(db).await?;
        if broken.is_empty() || Instant::now() > deadline {
            return Ok(broken);
        }
        ticks.tick().await;
    }
}

/// Posts to the servers, one after the other, until one takes it.
async fn call(
    run: &Run,
    http: &reqwest::Client,
    path: &str,
    body: &serde_json::Value,
) -> anyhow::Result<()> {
    let mut last = None;
    for port in run.ports.iter().cycle().take(20) {
        let request = http.post(format!("http://127.0.0.1:{port}{path}")).bearer_auth(&run.token);
        match request.json(body).send().await {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) => last = Some(answer.text().await?),
            Err(error) => last = Some(error.to_string()),
        }
    }
    anyhow::bail!("{path}: {}", last.unwrap_or_default())
}

/// The minutes in which a schedule that held between these had to fire.
fn minutes(from: Nanos, until: Nanos) -> Vec<i64> {
    const MINUTE: i64 = 60_000_000_000;
    let last = (until - FIRE_SLACK_SECS * 1_000_000_000) / MINUTE;
    // It holds from the moment of the answer at the latest.
    (from / MINUTE + 2..=last).collect()
}

/// The time by this machine's clock.
fn now() -> Nanos {
    chrono::Utc::now().timestamp_nanos_opt().unwrap_or_default()
}

impl Ground {
    /// Ends the run; what it left is kept where something was wrong.
    async fn end(self, run: Arc<Run>, mut report: Report) -> anyhow::Result<Report> {
        let keeps = !report.violations.is_empty();
        if keeps {
            let logs = self.folder.path().join("logs");
            std::fs::create_dir(&logs)?;
            for host in &run.hosts {
                std::fs::write(logs.join(&host.name), host.outputs())?;
            }
        }
        self.db.close().await;
        let run = Arc::into_inner(run).context("a client still runs")?;
        drop(run.hosts);
        self.cluster.stop().await?;
        if keeps {
            if let Some(disk) = run.disk {
                disk.leave();
            }
            let folder = self.folder.keep();
            report.write(&folder.join("report.json"))?;
            report.kept = Some(folder);
        }
        Ok(report)
    }
}
