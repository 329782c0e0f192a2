//! The embedded cluster, with real processes and real deaths.

use std::fs::Permissions;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use jobshop::cluster::{Cluster, ClusterConfig};
use jobshop::data_dir::DataDir;
use jobshop::process;
use jobshop_tests::wait;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;

const OWNER: &str = env!("CARGO_BIN_EXE_cluster-owner");
const LIMIT: Duration = Duration::from_secs(15);

/// A folder that the user of root's Postgres can pass through.
fn folder() -> TempDir {
    let mode = Permissions::from_mode(0o711);
    tempfile::Builder::new().permissions(mode).tempdir().expect("a temporary folder")
}

async fn start(folder: &TempDir) -> Cluster {
    start_through(folder, Path::new(OWNER)).await
}

async fn start_through(folder: &TempDir, launcher: &Path) -> Cluster {
    let data = DataDir::at(folder.path()).and_then(|it| it.lock()).expect("the lock");
    let config = ClusterConfig { data, launcher: launcher.into(), settings: Vec::new() };
    Cluster::start(config).await.expect("a running cluster")
}

/// The one cluster in this data directory.
fn cluster_path(folder: &Path) -> PathBuf {
    let mut clusters = std::fs::read_dir(folder.join("pg")).expect("the folder of clusters");
    clusters.next().expect("a cluster").expect("readable").path()
}

/// Of the Postgres that runs on this data directory.
fn postgres_pid(folder: &TempDir) -> Option<u32> {
    let file = cluster_path(folder.path()).join("postmaster.pid");
    let pid = std::fs::read_to_string(file).ok()?.lines().next()?.parse().ok()?;
    process::is_alive(pid).then_some(pid)
}

fn send(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.cast_signed()), signal).expect("the process is there");
}

async fn wait_for_end(pid: u32) {
    wait::until("the end of the process", LIMIT, async || (!process::is_alive(pid)).then_some(()))
        .await;
}

async fn execute(url: &str, sql: &'static str) -> sqlx::Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::raw_sql(sql).execute(&mut connection).await?;
    connection.close().await
}

async fn count(url: &str) -> sqlx::Result<i64> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::query_scalar("select count(*) from kept").fetch_one(&mut connection).await
}

/// A process of its own that owns a cluster, and the URL it printed.
fn spawn_owner(command: &mut Command) -> (Child, String) {
    let mut owner = command.stdout(Stdio::piped()).spawn().expect("the owner starts");
    let mut url = String::new();
    let output = owner.stdout.as_mut().expect("piped");
    BufReader::new(output).read_line(&mut url).expect("a line");
    assert!(url.starts_with("postgres://"), "the owner printed {url:?}");
    (owner, url.trim_end().to_owned())
}

#[tokio::test]
async fn what_was_written_is_there_after_a_stop_and_a_start() {
    let folder = folder();
    let cluster = start(&folder).await;
    execute(cluster.url(), "create table kept as select 1").await.unwrap();
    let pid = postgres_pid(&folder).unwrap();
    cluster.stop().await.unwrap();
    assert!(!process::is_alive(pid));
    assert!(!cluster_path(folder.path()).join("postmaster.pid").exists(), "stopped in order");

    let cluster = start(&folder).await;
    assert_eq!(count(cluster.url()).await.unwrap(), 1);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn the_cluster_is_durable_private_and_out_of_reach_of_the_terminal() {
    let folder = folder();
    let cluster = start(&folder).await;
    let mut connection = PgConnection::connect(cluster.url()).await.unwrap();
    for (name, value) in [
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        ("listen_addresses", ""),
        ("server_encoding", "UTF8"),
    ] {
        let set: String = sqlx::query_scalar("select current_setting($1)")
            .bind(name)
            .fetch_one(&mut connection)
            .await
            .unwrap();
        assert_eq!(set, value, "{name}");
    }
    connection.close().await.unwrap();
    for path in [cluster_path(folder.path()), folder.path().join("run")] {
        let found = path.metadata().unwrap();
        assert_eq!(found.mode() & 0o777, 0o700, "{}", path.display());
        assert!(!Uid::from_raw(found.uid()).is_root(), "{}", path.display());
    }
    let pid = Pid::from_raw(postgres_pid(&folder).unwrap().cast_signed());
    assert_eq!(nix::unistd::getpgid(Some(pid)).unwrap(), pid, "Ctrl-C is not for Postgres");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_killed_postgres_comes_back_with_its_data() {
    let folder = folder();
    let cluster = start(&folder).await;
    execute(cluster.url(), "create table kept as select 1").await.unwrap();
    for signal in [Signal::SIGKILL, Signal::SIGQUIT] {
        let before = postgres_pid(&folder).unwrap();
        send(before, signal);
        let found = wait::until("Postgres to answer again", LIMIT, async || {
            let pid = postgres_pid(&folder).filter(|pid| *pid != before)?;
            Some((pid, count(cluster.url()).await.ok()?))
        })
        .await;
        assert_eq!(found.1, 1);
        assert_ne!(found.0, before);
    }
    let pid = postgres_pid(&folder).unwrap();
    cluster.stop().await.unwrap();
    assert!(!process::is_alive(pid));
}

#[tokio::test]
async fn postgres_goes_with_its_killed_owner_and_the_next_start_finds_the_data() {
    let folder = folder();
    let (mut owner, url) = spawn_owner(Command::new(OWNER).arg(folder.path()));
    execute(&url, "create table kept as select 1").await.unwrap();
    let pid = postgres_pid(&folder).unwrap();
    owner.kill().unwrap();
    owner.wait().unwrap();
    wait_for_end(pid).await;

    let data = DataDir::at(folder.path()).unwrap().lock().unwrap();
    assert_eq!(
        data.previous().map(|it| it.pid),
        Some(owner.id()),
        "the successor knows whom it follows"
    );
    drop(data);
    let cluster = start(&folder).await;
    assert_eq!(count(cluster.url()).await.unwrap(), 1);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn the_next_start_need_not_wait_for_the_postgres_of_a_killed_owner() {
    let folder = folder();
    let (mut owner, url) = spawn_owner(Command::new(OWNER).arg(folder.path()));
    execute(&url, "create table kept as select 1").await.unwrap();
    owner.kill().unwrap();
    owner.wait().unwrap();
    // At once, while Postgres is still on its way down.
    let cluster = start(&folder).await;
    assert_eq!(count(cluster.url()).await.unwrap(), 1);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_second_start_is_refused_with_the_pid_of_the_first() {
    let folder = folder();
    let (mut owner, _) = spawn_owner(Command::new(OWNER).arg(folder.path()));
    let refused = Command::new(OWNER).arg(folder.path()).output().unwrap();
    assert!(!refused.status.success());
    let message = String::from_utf8(refused.stderr).unwrap();
    assert!(message.contains(&format!("in use by process {}", owner.id())), "{message}");

    let pid = postgres_pid(&folder).unwrap();
    send(owner.id(), Signal::SIGTERM);
    assert!(owner.wait().unwrap().success());
    assert!(!process::is_alive(pid), "an owner that ends in order leaves nothing running");
}

#[tokio::test]
async fn an_unprivileged_user_has_a_cluster_of_its_own() {
    let folder = folder();
    // Where any user may start it.
    let program = folder.path().join("cluster-owner");
    std::fs::copy(OWNER, &program).unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let mut command = Command::new(&program);
    command.arg(&data);
    let us = if Uid::effective().is_root() {
        let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
        let (uid, gid) = (nobody.uid.as_raw(), nobody.gid.as_raw());
        std::os::unix::fs::chown(&data, Some(uid), Some(gid)).unwrap();
        command.uid(uid).gid(gid);
        uid
    } else {
        Uid::effective().as_raw()
    };
    let (mut owner, _) = spawn_owner(&mut command);
    assert_eq!(cluster_path(&data).metadata().unwrap().uid(), us);
    send(owner.id(), Signal::SIGTERM);
    assert!(owner.wait().unwrap().success());
}

#[tokio::test]
async fn an_owner_killed_while_creating_its_cluster_leaves_nothing_in_the_way() {
    let folder = folder();
    let mut owner = Command::new(OWNER).arg(folder.path()).stdout(Stdio::null()).spawn().unwrap();
    wait::until("the creation to begin", LIMIT, async || {
        let mut entries = std::fs::read_dir(folder.path().join("pg")).ok()?;
        let building = entries.next()?.ok()?.path();
        building.join("global").exists().then_some(())
    })
    .await;
    owner.kill().unwrap();
    owner.wait().unwrap();
    let cluster = start(&folder).await;
    execute(cluster.url(), "create table kept as select 1").await.unwrap();
    cluster.stop().await.unwrap();
}

/// Starts a program as the user that the cluster belongs to.
fn as_owner_of(cluster: &Path, program: impl AsRef<Path>) -> Command {
    let found = cluster.metadata().expect("the cluster");
    let mut command = Command::new(program.as_ref());
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if Uid::effective().is_root() {
        command.uid(found.uid()).gid(found.gid());
    }
    command
}

#[tokio::test]
async fn a_postgres_that_was_left_running_is_ended_first() {
    let folder = folder();
    let cluster = start(&folder).await;
    let program = format!("/proc/{}/exe", postgres_pid(&folder).unwrap());
    let program = std::fs::read_link(program).unwrap();
    cluster.stop().await.unwrap();

    // As on a system without parent-death signals.
    let path = cluster_path(folder.path());
    let mut left = as_owner_of(&path, program)
        .arg("-D")
        .arg(&path)
        .args(["-c", "listen_addresses=", "-k", folder.path().join("run").to_str().unwrap()])
        .spawn()
        .unwrap();
    wait::until("the leftover to run", LIMIT, async || {
        let file = std::fs::read_to_string(path.join("postmaster.pid")).ok()?;
        file.lines().nth(7).filter(|status| status.trim() == "ready").map(|_| ())
    })
    .await;

    let (cluster, ()) = tokio::join!(start(&folder), wait_for_end(left.id()));
    assert_ne!(postgres_pid(&folder), Some(left.id()));
    left.wait().unwrap();
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_number_that_now_belongs_to_a_stranger_stops_nobody() {
    let folder = folder();
    start(&folder).await.stop().await.unwrap();
    let path = cluster_path(folder.path());
    let mut stranger = as_owner_of(&path, "cat").stdin(Stdio::piped()).spawn().unwrap();
    write_stale_file(&path, stranger.id());
    start(&folder).await.stop().await.unwrap();
    assert!(stranger.try_wait().unwrap().is_none(), "the stranger was left alone");
    drop(stranger.stdin.take());
    stranger.wait().unwrap();
}

#[tokio::test]
async fn a_dead_postgres_that_nobody_has_collected_yet_is_waited_for() {
    let folder = folder();
    start(&folder).await.stop().await.unwrap();
    let path = cluster_path(folder.path());
    let mut dead = as_owner_of(&path, "true").spawn().unwrap();
    wait_for_end(dead.id()).await;
    write_stale_file(&path, dead.id());

    // A launcher that counts the starts: the second one proves that the first was refused.
    let (launcher, starts) = (folder.path().join("launcher"), folder.path().join("starts"));
    let script = format!("#!/bin/sh\necho >>{}\nexec {OWNER} \"$@\"\n", starts.display());
    std::fs::write(&launcher, script).unwrap();
    std::fs::set_permissions(&launcher, Permissions::from_mode(0o755)).unwrap();
    let collect = async {
        wait::until("Postgres to be refused and started again", LIMIT, async || {
            (std::fs::metadata(&starts).ok()?.len() >= 2).then_some(())
        })
        .await;
        dead.wait().expect("a dead child");
    };
    let (cluster, ()) = tokio::join!(start_through(&folder, &launcher), collect);
    cluster.stop().await.unwrap();
}

/// As a crash leaves it, with a process that is none of ours.
fn write_stale_file(cluster: &Path, pid: u32) {
    let file = cluster.join("postmaster.pid");
    let text = format!("{pid}\n{}\n1700000000\n5432\n\n\n\nready\n", cluster.display());
    std::fs::write(&file, text).expect("written");
    let found = cluster.metadata().expect("the cluster");
    std::os::unix::fs::chown(&file, Some(found.uid()), Some(found.gid())).expect("given away");
    std::fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("made private");
}
