//! Deaths in the middle of a tool: of the worker, of the agent, of its sandbox, of Postgres. Each time
//! the work goes on in the same conversation, nothing is done twice, and nothing is left behind.

use std::{
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use jobshop_engine::{id::SessionKey, session::SessionState};
use jobshop_tests::{
    CommandLine, Fleet, OwnCluster, TestDb, command_line::Staying, model_server::Step, wait,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::stand::{LIMIT, Process, Stand, opencode, running, task};

const PROGRAM: &str = env!("CARGO_BIN_EXE_jobshop-cli");

/// Who dies, and how many attempts more that may take: on a machine that is busy, leases are lost with
/// Postgres.
const DEATHS: [(&str, RangeInclusive<i32>); 4] =
    [("worker", 1..=1), ("agent", 0..=1), ("sandbox", 0..=1), ("postgres", 0..=1)];

/// Two steps that are kept, a tool that runs until it is told to end, and one more step.
fn steps() -> Vec<Step> {
    let hold = "echo hold >> log.txt; touch ready; until test -e go; do sleep 0.1; done";
    vec![
        Step::Write { path: "log.txt".into(), content: "one\n".into() },
        Step::Bash("echo two >> log.txt".into()),
        Step::Bash(hold.into()),
        Step::Bash("echo three >> log.txt".into()),
        Step::Say("I am through.".into()),
    ]
}

/// A worker process for one of the tasks.
struct Host {
    user: CommandLine,
    worker: Staying,
    name: &'static str,
}

impl Host {
    fn start(stand: &Stand, url: &str, name: &'static str) -> Self {
        let lease = if name == "worker" { "20s" } else { "2m" };
        let user = stand.user().with("DATABASE_URL", url).with("JOBSHOP_LEASE", lease);
        let worker = user.start(&["worker", "--capability", name]);
        Self { user, worker, name }
    }

    /// The workspace, once the tool in it runs.
    async fn held(&self) -> PathBuf {
        wait::until("the tool", LIMIT, async || {
            let mut found = running(&self.user.path("data")).into_iter();
            found.find(|it| it.workspace.join("ready").exists()).map(|it| it.workspace)
        })
        .await
    }

    /// What works in its workspaces, and has these words among its arguments in this order.
    fn running(&self, words: &[&str]) -> Vec<i32> {
        let has_words = |process: &Process| {
            let mut arguments = process.arguments.iter();
            words.iter().all(|word| arguments.any(|argument| argument.ends_with(word)))
        };
        let found = running(&self.user.path("data"));
        found.into_iter().filter(has_words).map(|it| it.pid).collect()
    }

    fn strike(&self, pids: &[i32]) {
        let pid = pids.first().unwrap_or_else(|| panic!("{}: {:?}", self.name, self.running(&[])));
        kill(Pid::from_raw(*pid), Signal::SIGKILL).unwrap();
    }
}

impl Stand {
    async fn until_kept(&self, key: SessionKey, seq: i32, steps: i32) {
        wait::until("a checkpoint after these steps", LIMIT, async || {
            let kept: i64 = sqlx::query_scalar(
                "select count(*) from checkpoints
                  where session_id = $1 and seq = $2 and (spend->>'steps')::int = $3",
            )
            .bind(key.id.0)
            .bind(seq)
            .bind(steps)
            .fetch_one(self.fleet.db.pool())
            .await
            .ok()?;
            (kept > 0).then_some(())
        })
        .await;
    }

    async fn lines_of(&self, key: SessionKey, seq: usize) -> (i32, Vec<String>, Value) {
        let row = self.fleet.rows(key).await.remove(seq);
        let outputs = row.output.unwrap_or_else(|| panic!("{:?}", row.error));
        let commit = outputs["commit"].as_str().unwrap();
        let log = self.git(&["show", &format!("{commit}:log.txt")]);
        (row.attempt, log.lines().map(str::to_owned).collect(), outputs)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn work_goes_on_after_each_death_and_nothing_is_done_twice() {
    if opencode().is_none() {
        return;
    }
    let cluster = OwnCluster::start(Path::new(PROGRAM)).await;
    let db = TestDb::on(&cluster.server()).await;
    let url = db.url().to_owned();
    let fleet = Fleet::through(env!("CARGO_BIN_EXE_cluster-owner"), db, &url);
    let Some(stand) = Stand::of(fleet).await else { return };
    let mut hosts: Vec<Host> =
        DEATHS.iter().map(|(name, _)| Host::start(&stand, &url, name)).collect();
    let one = |name: &str| task(name, &steps(), "") + &format!("    requires: [{name}]\n");
    let tasks: String = DEATHS.iter().map(|(name, _)| one(name)).collect();
    let key = stand.fleet.submit(&stand.workflow(&tasks), Value::Null).await;
    let mut workspaces = Vec::new();
    for (host, seq) in hosts.iter().zip(1..) {
        stand.until_kept(key, seq, 2).await;
        workspaces.push(host.held().await);
    }
    let before = stand.fleet.rows(key).await;

    // All of them are in the middle of the tool.
    hosts[1].strike(&innermost(&hosts[1].running(&["opencode", "serve"])));
    hosts[2].strike(&hosts[2].running(&["bwrap", "opencode", "serve"]));
    hosts[0].worker.send(Signal::SIGKILL);
    hosts[0].worker.reap();
    let left = || (hosts[0].running(&[]).is_empty()).then_some(());
    wait::until("nothing is left of the worker that was killed", LIMIT, async || left()).await;
    cluster.strike(Signal::SIGKILL).await;
    std::fs::write(workspaces[3].join("go"), "").unwrap();
    let another = Host::start(&stand, &url, "worker");

    assert_eq!(stand.end_of(key).await, SessionState::Completed, "{}", stand.log(key, 2).await);
    let base = stand.git(&["rev-parse", "main"]);
    for (place, (name, attempts)) in DEATHS.into_iter().enumerate() {
        let (attempt, lines, outputs) = stand.lines_of(key, place).await;
        let more = attempt - before[place].attempt;
        assert!(attempts.contains(&more), "{name}: {more} attempts more");
        // What the tool did before it was cut off may be there; nothing is there twice.
        let done: Vec<&str> = lines.iter().map(String::as_str).filter(|it| *it != "hold").collect();
        assert_eq!(done, ["one", "two", "three"], "{name}");
        assert!(lines.iter().filter(|it| *it == "hold").count() <= 1, "{name}: {lines:?}");
        assert_eq!(outputs["base"], base, "{name}");
        assert_eq!(outputs["summary"], "I am through.", "{name}");
        let steps = outputs["usage"]["steps"].as_u64().unwrap();
        assert!((4..=5).contains(&steps), "{name}: {outputs}");
    }
    hosts.push(another);
    for host in &hosts {
        assert_eq!(host.running(&[]), Vec::<i32>::new(), "left of {}", host.name);
    }
    drop(hosts);
    stand.fleet.stop().await;
    cluster.stop().await;
}

/// Those that are no sandbox around another.
fn innermost(pids: &[i32]) -> Vec<i32> {
    let name = |pid: &i32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    pids.iter().copied().filter(|pid| name(pid).trim() != "bwrap").collect()
}
