//! How attempts end before their time, and that nothing outlives them.

use std::{path::Path, time::Instant};

use jobshop_engine::outcome::{ErrorClass, Outcome};
use jobshop_workers::execute::{Executor, ExecutorConfig, log::Stream};
use tokio_util::sync::CancellationToken;

use crate::support::{Bench, SOON, argv, eventually, launcher, pid_in, runs, script, span};

/// Starts three processes that outlive their parent unless somebody ends them: one in the
/// background, one with a session of its own, one that also closed its streams.
fn daemons(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "sleep 600 & echo $! > {dir}/child\n\
         setsid sleep 600 & \n\
         setsid sh -c 'echo $$ > {dir}/session; exec sleep 600' &\n\
         setsid sh -c 'setsid sh -c \"echo \\$\\$ > {dir}/closed; exec sleep 600\" &' \
             </dev/null >/dev/null 2>&1 &\n\
         until [ -s {dir}/session ] && [ -s {dir}/closed ]; do :; done\n"
    )
}

async fn none_of_them_runs(dir: &Path) {
    for name in ["child", "session", "closed"] {
        let pid = pid_in(&dir.join(name)).await;
        assert!(!runs(pid), "{name} {pid} still runs");
    }
}

#[tokio::test]
async fn what_a_command_started_dies_with_it() {
    let bench = Bench::new();
    let dir = bench.dir.path();
    let started = Instant::now();
    bench.execute(&script(&daemons(dir))).await.outputs();
    none_of_them_runs(dir).await;
    assert!(started.elapsed() < SOON);
}

#[tokio::test]
async fn a_timeout_ends_everything_and_says_so() {
    let bench = Bench::new();
    let dir = bench.dir.path();
    let mut attempt = script(&format!("trap '' TERM\n{}while :; do sleep 1; done", daemons(dir)));
    attempt.timeout = Some(span("1s"));
    let ended = bench.execute(&attempt).await;
    assert_eq!(ended.failure(ErrorClass::Timeout), "timed out after 1s");
    assert_eq!(ended.stream(Stream::System), "timed out after 1s\n");
    none_of_them_runs(dir).await;
}

#[tokio::test]
async fn a_timeout_lets_a_command_clean_up() {
    let bench = Bench::with(|config| config.grace = SOON);
    let mut attempt = script("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.01; done");
    attempt.timeout = Some(span("500ms"));
    let ended = bench.execute(&attempt).await;
    ended.failure(ErrorClass::Timeout);
    assert_eq!(ended.stream(Stream::Stdout), "up\nbye\n");
}

#[tokio::test]
async fn silence_fails_an_attempt_and_output_keeps_it_alive() {
    let bench = Bench::new();
    let mut silent = script("echo one; sleep 600");
    silent.heartbeat = Some(span("200ms"));
    let ended = bench.execute(&silent).await;
    assert_eq!(ended.failure(ErrorClass::Timeout), "no output for 200ms (heartbeat)");
    let mut lively = script("for i in $(seq 15); do echo $i; sleep 0.1; done");
    lively.heartbeat = Some(span("1s"));
    bench.execute(&lively).await.outputs();
}

#[tokio::test]
async fn an_order_to_stop_ends_everything_and_counts_nothing() {
    let bench = Bench::new();
    let dir = bench.dir.path();
    let attempt = script(&format!("{}touch {}/up; sleep 600", daemons(dir), dir.display()));
    let stop = CancellationToken::new();
    let order = async {
        eventually("the command is up", || dir.join("up").exists().then_some(())).await;
        stop.cancel();
    };
    let (ended, ()) = tokio::join!(bench.execute_until(&attempt, stop.clone()), order);
    assert_eq!(ended.outcome, Outcome::Released);
    none_of_them_runs(dir).await;
    assert!(bench.left_over().is_empty());
}

#[tokio::test]
async fn all_attempts_can_be_killed_without_grace() {
    let bench = Bench::with(|config| config.grace = SOON);
    let stop = CancellationToken::new();
    let attempts: Vec<_> = (0..3)
        .map(|number| {
            let file = bench.dir.path().join(format!("pid{number}"));
            script(&format!(
                "trap '' TERM; echo $$ > {}; while :; do sleep 1; done",
                file.display()
            ))
        })
        .collect();
    let running = attempts.iter().map(|it| bench.execute_until(it, stop.clone()));
    let kill = async {
        for number in 0..3 {
            pid_in(&bench.dir.path().join(format!("pid{number}"))).await;
        }
        let began = Instant::now();
        stop.cancel();
        bench.executor.kill_all();
        began
    };
    let (ended, began) = tokio::join!(futures::future::join_all(running), kill);
    assert!(ended.iter().all(|it| it.outcome == Outcome::Released));
    assert!(began.elapsed() < SOON);
}

#[tokio::test]
async fn a_dropped_execution_kills_its_group() {
    let bench = Bench::new();
    let file = bench.dir.path().join("pid");
    let attempt = script(&format!("sleep 600 & echo $! > {}; wait", file.display()));
    let pid = tokio::select! {
        ended = bench.execute(&attempt) => panic!("{ended:?}"),
        pid = pid_in(&file) => pid,
    };
    eventually("the process is gone", || (!runs(pid)).then_some(())).await;
}

#[tokio::test]
async fn a_process_that_hides_and_holds_the_output_open_does_not_hold_the_attempt() {
    let bench = Bench::new();
    let file = bench.dir.path().join("pid");
    let hide = format!("setsid env -i sh -c 'echo $$ > {}; exec sleep 600' &", file.display());
    let wait = format!("until [ -s {} ]; do :; done", file.display());
    bench.execute(&script(&format!("{hide}\n{wait}"))).await.outputs();
    let pid = pid_in(&file).await;
    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
}

/// Not a test: a worker process to be killed, started by the test below with a data directory.
#[tokio::test]
async fn worker_process() {
    let Ok(dir) = std::env::var("EXECUTE_END_DIR") else { return };
    let dir = Path::new(&dir);
    let executor = Executor::new(ExecutorConfig::new(dir.join("data"), launcher())).unwrap();
    let (log, _chunks) = executor.log();
    let text = format!("echo $$ > {}/direct\n{}\nsleep 600", dir.display(), daemons(dir));
    let ended = executor.execute(&script(&text), log, CancellationToken::new()).await;
    panic!("it was to be killed, but ended: {ended:?}");
}

#[tokio::test]
async fn a_killed_worker_takes_its_commands_along_and_the_next_one_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let mut worker = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "end::worker_process"])
        .env("EXECUTE_END_DIR", dir.path())
        .stdout(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let closed = pid_in(&dir.path().join("closed")).await;
    let child = pid_in(&dir.path().join("child")).await;
    let direct = pid_in(&dir.path().join("direct")).await;
    worker.kill().await.unwrap();
    eventually("the direct child is gone", || (!runs(direct)).then_some(())).await;
    assert!(runs(closed) && runs(child));

    let innocent = Bench::new();
    let file = innocent.dir.path().join("pid");
    let attempt = argv(["sh", "-c", &format!("echo $$ > {}; exec sleep 600", file.display())]);
    let data = dir.path().join("data");
    let next = Executor::new(ExecutorConfig::new(&data, launcher())).unwrap();
    let stop = CancellationToken::new();
    let cleared = async {
        let other = pid_in(&file).await;
        next.kill_leftovers().await.unwrap();
        none_of_them_runs(dir.path()).await;
        assert!(runs(other));
        stop.cancel();
    };
    tokio::join!(innocent.execute_until(&attempt, stop.clone()), cleared);
    assert_eq!(std::fs::read_dir(data.join("workspaces")).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(data.join("groups")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_workspace_that_is_still_written_to_is_removed_when_that_ends() {
    let bench = Bench::new();
    let folder = bench.dir.path().join("data/workspaces/left");
    std::fs::create_dir(&folder).unwrap();
    // Enough that removing them takes longer than writing one more.
    for number in 0..2_000 {
        std::fs::write(folder.join(format!("before-{number}")), "").unwrap();
    }
    // As git does when the worker that called it was killed. It ends by itself.
    let script = ": > 0; for i in {1..3000}; do : > $i || exit; done 2>/dev/null";
    let mut writer = std::process::Command::new("bash")
        .args(["-c", script])
        .current_dir(&folder)
        .spawn()
        .unwrap();
    eventually("it writes", || folder.join("0").exists().then_some(())).await;
    let removed = bench.executor.kill_leftovers().await;
    writer.wait().unwrap();
    removed.unwrap();
    assert_eq!(bench.left_over(), Vec::<std::path::PathBuf>::new());
}
