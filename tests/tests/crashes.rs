//! Deaths of real processes: workers killed and frozen, whole servers, Postgres under load. What
//! ran is known from a file outside Postgres, and what was recorded is compared with it.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    time::{Duration, Instant},
};

use jobshop::data_dir::DataDir;
use jobshop_engine::{
    id::{SessionId, SessionKey, TenantId},
    session::SessionState,
};
use jobshop_tests::{
    CommandLine, Journal, OwnCluster, Stage, TestDb, command_line::Staying, own_cluster::strike,
    stage::tasks, truth, wait,
};
use nix::sys::signal::Signal;
use sqlx::PgPool;
use uuid::Uuid;

const PROGRAM: &str = env!("CARGO_BIN_EXE_jobshop-cli");

/// Short, but longer than a busy machine lets a worker wait.
const LEASE_SECS: f64 = 6.0;

/// How long thousands of commands may take on a machine that is busy with other things.
const LIMIT: Duration = Duration::from_mins(4);

/// A machine with one worker process.
struct Host {
    _user: CommandLine,
    worker: Staying,
    name: &'static str,
}

impl Host {
    /// With a short lease.
    fn start(url: &str, name: &'static str, concurrency: u32) -> Self {
        let lease = format!("{LEASE_SECS}s");
        Self::of(CommandLine::new(PROGRAM).with("JOBSHOP_LEASE", &lease), url, name, concurrency)
    }

    fn of(user: CommandLine, url: &str, name: &'static str, concurrency: u32) -> Self {
        let concurrency = concurrency.to_string();
        let user = user.with("DATABASE_URL", url).with("JOBSHOP_CONCURRENCY", &concurrency);
        let worker = user.start(&["worker", "--name", name]);
        Self { _user: user, worker, name }
    }

    fn with_long_lease(url: &str, name: &'static str) -> Self {
        Self::of(CommandLine::new(PROGRAM), url, name, 2)
    }

    /// Its lives so far, as they are registered, oldest first.
    async fn lives(&self, db: &PgPool) -> Vec<Uuid> {
        sqlx::query_scalar("select id from workers where name = $1 order by id")
            .bind(self.name)
            .fetch_all(db)
            .await
            .expect("the workers are read")
    }

    async fn kill(&mut self) {
        self.worker.send(Signal::SIGKILL);
        self.worker.end().await;
    }
}

/// Attempts that a worker holds, as (seq, attempt).
async fn held(db: &PgPool, worker: Uuid) -> Vec<(i32, i32)> {
    sqlx::query_as("select seq, attempt from tasks where state = 3 and worker = $1")
        .bind(worker)
        .fetch_all(db)
        .await
        .expect("the rows are read")
}

/// The numbers of the tasks that are known to be completed.
async fn completed(db: &PgPool, session: SessionKey) -> HashSet<i32> {
    let seqs: Vec<i32> =
        sqlx::query_scalar("select seq from tasks where session_id = $1 and state = 6")
            .bind(session.id.0)
            .fetch_all(db)
            .await
            .expect("the rows are read");
    seqs.into_iter().collect()
}

/// How often commands of each of these tasks began.
fn executions(journal: &Journal, of: &HashSet<i32>) -> HashMap<i32, usize> {
    let mut counts = HashMap::new();
    for line in journal.lines().iter().filter(|line| of.contains(&line.seq)) {
        *counts.entry(line.seq).or_default() += 1;
    }
    counts
}

/// The start of an attempt, in seconds.
#[derive(sqlx::FromRow)]
struct Start {
    seq: i32,
    attempt: i32,
    at: f64,
}

/// In order.
async fn starts(db: &PgPool, session: SessionKey) -> Vec<Start> {
    sqlx::query_as(
        "select seq, attempt, extract(epoch from n.at)::float8 as at
           from events e cross join unnest(kinds, tasks, attempts, ats) as n (kind, seq, attempt, at)
          where session_id = $1 and kind = 15 order by n.at",
    )
    .bind(session.id.0)
    .fetch_all(db)
    .await
    .expect("the events are read")
}

async fn seconds(db: &PgPool) -> f64 {
    sqlx::query_scalar("select extract(epoch from clock())::float8")
        .fetch_one(db)
        .await
        .expect("the database has a clock")
}

async fn end_of(stage: &Stage, session: SessionKey) -> SessionState {
    wait::until("the end of the session", LIMIT, async || {
        let state = stage.state(session).await;
        state.is_final().then_some(state)
    })
    .await
}

/// So many items of two commands each, one after the other.
fn pairs(journal: &Journal, items: usize) -> String {
    let items: Vec<String> = (0..items).map(|n| n.to_string()).collect();
    format!(
        "
version: 1
name: pairs
tasks:
  each:
    for_each: [{items}]
    tasks:
      first: {{ run: [sh, -c, '{entry}'] }}
      second: {{ needs: [first], run: [sh, -c, '{entry}'] }}
",
        items = items.join(","),
        entry = journal.entry()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_worker_held_runs_again_in_time_and_nothing_is_recorded_twice() {
    let stage = Stage::new().await;
    let db = stage.db.pool();
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::at(folder.path().join("journal"));
    let mut hosts = ["doomed", "other"].map(|name| Host::start(stage.db.url(), name, 8));
    let session = stage.submit(&pairs(&journal, 1_000)).await;

    let doomed = &mut hosts[0];
    wait::until("both to be in the middle of it", LIMIT, async || {
        let lives = doomed.lives(db).await;
        let holds = held(db, *lives.first()?).await.len() >= 4;
        (holds && completed(db, session).await.len() >= 300).then_some(())
    })
    .await;
    let worker = doomed.lives(db).await[0];
    let done = completed(db, session).await;
    let before = executions(&journal, &done);
    doomed.kill().await;
    let killed_at = seconds(db).await;
    let lost = held(db, worker).await;

    assert_eq!(end_of(&stage, session).await, SessionState::Completed);
    truth::check(db).await;
    truth::check_order(db).await;
    let tasks = stage.tasks(session).await;
    journal.check(&tasks);
    assert_eq!(executions(&journal, &done), before, "what was known to be done ran again");
    let starts = starts(db, session).await;
    let mut restarted = 0;
    for (seq, attempt) in lost {
        let task = tasks.iter().find(|task| task.seq == seq).unwrap();
        // Its finish was on the way when it died.
        if (task.attempt, task.worker) == (attempt, Some(worker)) {
            continue;
        }
        let again = starts.iter().find(|it| it.seq == seq && it.attempt > attempt).unwrap();
        let late = again.at - killed_at - LEASE_SECS;
        assert!(late < 2.0, "{seq} restarted {late} s after the lease: {task:?}");
        restarted += 1;
    }
    assert!(restarted > 0, "it held nothing when it died");
}

/// Attempts wait for the file with the name that this variable says.
fn gated(journal: &Journal, gates: &str, name: &str) -> String {
    format!(
        "
version: 1
name: gated
tasks:
  slow:
    run: |
      {entry}
      while [ ! -e {gates}/${name} ]; do sleep 0.02; done
",
        entry = journal.entry()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_frozen_past_its_lease_changes_nothing_and_works_on_under_a_new_id() {
    let stage = Stage::new().await;
    let db = stage.db.pool();
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::at(folder.path().join("journal"));
    let gates = folder.path().display().to_string();
    let open = |attempt: i32| std::fs::write(folder.path().join(attempt.to_string()), "").unwrap();
    let sessions = stage.submit_many(&gated(&journal, &gates, "JOBSHOP_ATTEMPT"), 3).await;
    let started = async |attempt: i32| {
        wait::until("the start of every attempt", wait::LIMIT, async || {
            for session in &sessions {
                let task = stage.task(*session, 1).await;
                if (task.attempt, task.noted) != (attempt, attempt) {
                    return None;
                }
            }
            Some(())
        })
        .await;
    };
    let frozen = Host::start(stage.db.url(), "frozen", 3);
    started(1).await;
    let first = frozen.lives(db).await[0];
    let other = Host::start(stage.db.url(), "other", 3);
    wait::until("the other worker", wait::LIMIT, async || {
        (!other.lives(db).await.is_empty()).then_some(())
    })
    .await;

    frozen.worker.send(Signal::SIGSTOP);
    // What it ran goes on without it, and ends well.
    open(1);
    started(2).await;
    let mut before = Vec::new();
    for session in &sessions {
        before.push(stage.everything(*session).await);
    }
    frozen.worker.send(Signal::SIGCONT);
    let second = wait::until("its next life", wait::LIMIT, async || {
        frozen.lives(db).await.into_iter().find(|id| *id != first)
    })
    .await;
    // The other worker has no room left.
    let next = stage.submit("{ version: 1, name: next, tasks: { a: { run: ':' } } }").await;
    assert_eq!(end_of(&stage, next).await, SessionState::Completed);
    assert_eq!(stage.task(next, 1).await.worker, Some(second));
    for (session, before) in sessions.iter().zip(before) {
        assert_eq!(stage.everything(*session).await, before, "a stale attempt changed something");
    }

    open(2);
    for session in sessions {
        assert_eq!(end_of(&stage, session).await, SessionState::Completed);
        let tasks = stage.tasks(session).await;
        assert_eq!((tasks[0].attempt, tasks[0].crashes, tasks[0].failures), (2, 1, 0));
        journal.check(&tasks);
    }
    truth::check(db).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_whose_claim_a_crash_took_back_ends_nothing_though_its_number_is_given_again() {
    // Only what must be durable is: a claim stays in memory until somebody commits for good.
    let cluster = OwnCluster::start_with(Path::new(PROGRAM), &[("wal_writer_delay", "10s")]).await;
    let stage = Stage::of(TestDb::on(&cluster.server()).await);
    let db = stage.db.pool();
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::at(folder.path().join("journal"));
    let gates = folder.path().display().to_string();
    let definition = gated(&journal, &gates, "JOBSHOP_SESSION");
    let open = |session: SessionKey| {
        std::fs::write(folder.path().join(session.to_string()), "").unwrap();
    };
    let attempts = |session: SessionKey| {
        let lines = journal.lines().into_iter().filter(|line| line.session == session.id.0);
        lines.map(|line| (line.attempt, line.worker)).collect::<Vec<_>>()
    };
    let mut first = Host::with_long_lease(stage.db.url(), "first");
    let session =
        wait::until("a crash between a claim and its start note", wait::LIMIT, async || {
            let session = stage.submit(&definition).await;
            wait::until("the attempt", wait::LIMIT, async || attempts(session).pop()).await;
            first.worker.send(Signal::SIGSTOP);
            if stage.task(session, 1).await.noted == 0 {
                cluster.strike(Signal::SIGKILL).await;
                if stage.task(session, 1).await.attempt == 0 {
                    return Some(session);
                }
            }
            // Too late: the next one.
            open(session);
            first.worker.send(Signal::SIGCONT);
            end_of(&stage, session).await;
            None
        })
        .await;
    let second = Host::with_long_lease(stage.db.url(), "second");
    wait::until("the same number under another worker", wait::LIMIT, async || {
        (attempts(session).len() == 2).then_some(())
    })
    .await;
    open(session);
    assert_eq!(end_of(&stage, session).await, SessionState::Completed);
    let before = stage.everything(session).await;

    // Its attempt has ended too, and it says so before it can end another one.
    second.worker.send(Signal::SIGSTOP);
    first.worker.send(Signal::SIGCONT);
    let next = stage.submit("{ version: 1, name: next, tasks: { a: { run: ':' } } }").await;
    assert_eq!(end_of(&stage, next).await, SessionState::Completed);
    let [ours, theirs] = [first.lives(db).await, second.lives(db).await];
    assert_eq!(stage.task(next, 1).await.worker, ours.first().copied());
    assert_eq!(ours.len(), 1, "its lease did not run out");
    assert_eq!(attempts(session), [(1, ours[0]), (1, theirs[0])]);
    assert_eq!(stage.everything(session).await, before);
    journal.check(&stage.tasks(session).await);
    truth::check(db).await;
    assert!(first.worker.is_running(), "{}", first.worker.output());
    drop((first, second, stage));
    cluster.stop().await;
}

/// Where the embedded database of a user answers.
async fn database(user: &CommandLine) -> (String, PgPool) {
    let dir = DataDir::at(user.path("data")).expect("an absolute path");
    let holder = dir.holder().expect("a server runs");
    let url = holder.database_url.expect("it has a database");
    let db = PgPool::connect(&url).await.expect("it answers");
    (url, db)
}

/// Submits a file and returns the session.
fn submit(user: &CommandLine, file: &str) -> SessionKey {
    let session = user.run(&["submit", file, "--json"]).expect(0).json();
    let id: Uuid = session["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
    SessionKey { tenant: TenantId::DEFAULT, id: SessionId(id) }
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_may_be_killed_under_load_and_everything_is_done_and_recorded_once() {
    let user = CommandLine::new(PROGRAM);
    let journal = Journal::at(user.path("journal"));
    user.write("pairs.yaml", &pairs(&journal, 120));
    let mut up = user.up().await;
    let mut worker = user.start(&["worker", "--name", "second"]);
    let (url, db) = database(&user).await;
    let session = submit(&user, "pairs.yaml");
    let mut known = Vec::new();
    for (round, signal) in (1..).zip([Signal::SIGKILL, Signal::SIGQUIT, Signal::SIGKILL]) {
        wait::until("work to go on", LIMIT, async || {
            (completed(&db, session).await.len() >= round * 60).then_some(())
        })
        .await;
        let done = completed(&db, session).await;
        known.push((executions(&journal, &done), done));
        strike(&user.path("data"), &url, signal).await;
    }
    user.run(&["session", "watch", "@latest"]).expect(0);
    let tasks = tasks(&db, session).await;
    journal.check(&tasks);
    truth::check(&db).await;
    for (before, done) in known {
        assert_eq!(executions(&journal, &done), before, "what was known to be done ran again");
    }
    for staying in [&mut worker, &mut up] {
        assert!(staying.is_running(), "{}", staying.output());
        staying.send(Signal::SIGTERM);
        assert_eq!(staying.end().await, Some(0), "{}", staying.output());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_with_its_whole_group_goes_on_where_it_was() {
    let user = CommandLine::new(PROGRAM).with_own_groups();
    let (journal, gate) = (Journal::at(user.path("journal")), user.path("gate"));
    user.write(
        "batch.yaml",
        &format!(
            "
version: 1
name: batch
tasks:
  quick: {{ for_each: [1, 2, 3, 4, 5, 6, 7, 8], tasks: {{ a: {{ run: '{entry}' }} }} }}
  slow:
    needs: [quick]
    for_each: [1, 2, 3]
    tasks:
      b: {{ run: '{entry}; while [ ! -e {gate} ]; do sleep 0.02; done' }}
  last: {{ needs: [slow], run: '{entry}' }}
",
            entry = journal.entry(),
            gate = gate.display()
        ),
    );
    let mut up = user.up().await;
    let session = submit(&user, "batch.yaml");
    let lines = wait::until("the middle of it", wait::LIMIT, async || {
        Some(journal.lines()).filter(|lines| lines.len() == 8 + 3)
    })
    .await;
    up.send_to_group(Signal::SIGKILL);
    up.end().await;
    user.write("gate", "");
    let began = Instant::now();
    let _up = user.up().await;
    user.run(&["session", "watch", "@latest"]).expect(0);
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "it waited for the lease of the dead worker"
    );

    let sessions = user.run(&["session", "list", "--json"]).expect(0).json();
    let ids: Vec<_> = sessions.as_array().unwrap().iter().map(|it| it["id"].clone()).collect();
    assert_eq!(ids, [session.to_string()], "it is the same session");
    let (_, db) = database(&user).await;
    journal.check(&tasks(&db, session).await);
    truth::check(&db).await;
    let mut counts: HashMap<i32, usize> = HashMap::new();
    for line in journal.lines() {
        *counts.entry(line.seq).or_default() += 1;
    }
    let mut again: Vec<i32> = counts.iter().filter(|it| *it.1 > 1).map(|it| *it.0).collect();
    let mut cut_off: Vec<i32> = lines[8..].iter().map(|line| line.seq).collect();
    again.sort_unstable();
    cut_off.sort_unstable();
    assert_eq!(again, cut_off, "only what was cut off runs again");
}
