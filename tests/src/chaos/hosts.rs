//! The processes of a run: servers and workers, each with its own data directory, way to Postgres
//! and clock. A host can be struck; it knows nothing of when.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    sync::Mutex,
};

use nix::sys::signal::Signal;
use sqlx::PgPool;
use uuid::Uuid;

use crate::{CommandLine, Proxy, command_line::Staying};

/// Short, so that much is lost and found within minutes.
pub(super) const LEASE_SECS: u32 = 6;
/// Tasks of a worker at once.
const CONCURRENCY: &str = "6";
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// What a host does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Server { port: u16 },
    Worker,
}

/// A machine with one process, as far as the others can tell.
#[derive(Debug)]
pub(super) struct Host {
    pub name: String,
    pub role: Role,
    pub way: Proxy,
    program: PathBuf,
    token: String,
    life: Mutex<Life>,
}

#[derive(Debug)]
struct Life {
    user: CommandLine,
    process: Staying,
    outputs: Vec<String>,
}

impl Host {
    /// A server on a port of its own.
    pub(super) async fn server(number: usize, program: &Path, database: &str, token: &str) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
        let port = free.expect("a free port").port();
        let name = format!("server-{number}");
        Self::start(name, Role::Server { port }, program, database, token).await
    }

    pub(super) async fn worker(number: usize, program: &Path, database: &str, token: &str) -> Self {
        Self::start(format!("worker-{number}"), Role::Worker, program, database, token).await
    }

    async fn start(name: String, role: Role, program: &Path, database: &str, token: &str) -> Self {
        let way = Proxy::start(database).await;
        let user = user(program, way.url(), token, None);
        let process = user.start(&arguments(&name, role).each_ref().map(String::as_str));
        let life = Mutex::new(Life { user, process, outputs: Vec::new() });
        Self { name, role, way, program: program.into(), token: token.to_owned(), life }
    }

    /// Sends its process a signal.
    pub(super) fn send(&self, signal: Signal) {
        self.with(|life| life.process.send(signal));
    }

    /// Kills it and waits until it is gone.
    pub(super) fn kill(&self) {
        self.with(|life| {
            life.process.send(Signal::SIGKILL);
            life.process.reap();
        });
    }

    /// Starts it again: on the same data directory, or as another machine in its place, which
    /// takes over nothing; perhaps with a clock that is wrong by so many minutes.
    pub(super) fn start_again(&self, is_other_machine: bool, skew: Option<i32>) {
        self.with(|life| {
            life.outputs.push(life.process.output());
            if is_other_machine || skew.is_some() {
                life.user = user(&self.program, self.way.url(), &self.token, skew);
            }
            let arguments = arguments(&self.name, self.role);
            life.process = life.user.start(&arguments.each_ref().map(String::as_str));
        });
    }

    /// How its process ended, if it did so without having been told to.
    pub(super) fn exit(&self) -> Option<String> {
        self.with(|life| {
            let status = life.process.status()?;
            let output = life.process.output();
            let last = output.lines().last().unwrap_or("it said nothing");
            Some(format!("{} ended by itself, {status}: {last}", self.name))
        })
    }

    /// What its lives wrote.
    pub(super) fn outputs(&self) -> String {
        self.with(|life| {
            let last = life.process.output();
            life.outputs.iter().chain([&last]).map(String::as_str).collect::<Vec<_>>().join("\n")
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut Life) -> T) -> T {
        act(&mut self.life.lock().expect("nobody panics here"))
    }

    /// The worker it is at present, as far as it is registered.
    pub(super) async fn worker_id(&self, db: &PgPool) -> Option<Uuid> {
        sqlx::query_scalar("select id from workers where name = $1 order by id desc limit 1")
            .bind(&self.name)
            .fetch_optional(db)
            .await
            .ok()
            .flatten()
    }
}

fn arguments(name: &str, role: Role) -> [String; 3] {
    match role {
        Role::Server { port } => ["serve".into(), "--listen".into(), format!("127.0.0.1:{port}")],
        Role::Worker => ["worker".into(), "--name".into(), name.to_owned()],
    }
}

fn user(program: &Path, database: &str, token: &str, skew: Option<i32>) -> CommandLine {
    let user = CommandLine::new(&program.display().to_string())
        .with("DATABASE_URL", database)
        .with("JOBSHOP_TOKEN", token)
        .with("JOBSHOP_LEASE", &format!("{LEASE_SECS}s"))
        .with("JOBSHOP_CONCURRENCY", CONCURRENCY);
    match skew {
        Some(minutes) => user
            .with("LD_PRELOAD", FAKETIME)
            .with("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .with("FAKETIME", &format!("{minutes:+}m")),
        None => user,
    }
}

/// Whether clocks can be made wrong here.
pub(super) fn can_skew() -> bool {
    Path::new(FAKETIME).is_file()
}
