//! Many sessions of agents at once: none of them fails, and what Jobshop itself takes stays small.

use std::time::Duration;

use jobshop_tests::{CommandLine, model_server::Step, wait};
use serde_json::Value;
use tokio::time::Instant;

use crate::stand::{LIMIT, Stand, task};

/// What a process took, without those it started.
struct Share {
    began: Instant,
    cpu: Duration,
    pid: u32,
}

impl Share {
    fn of(pid: u32) -> Self {
        Self { began: Instant::now(), cpu: cpu(pid), pid }
    }

    /// The part of a core since then, and the most memory ever, in bytes.
    fn so_far(&self) -> (f64, u64) {
        let used = cpu(self.pid).saturating_sub(self.cpu);
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        (used.as_secs_f64() / self.began.elapsed().as_secs_f64(), kib * 1024)
    }
}

/// In ticks of 10 ms.
fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let ticks = fields.split_ascii_whitespace().skip(11).take(2);
    Duration::from_millis(ticks.map(|it| it.parse::<u64>().unwrap() * 10).sum())
}

/// Submits as many sessions of this and waits until all have completed.
async fn crowd(user: &CommandLine, definition: &str, count: usize) {
    user.write("crowd.yaml", definition);
    let submit = || user.run(&["submit", "crowd.yaml", "--json"]).expect(0).json()["id"].clone();
    let ids: Vec<Value> = (0..count).map(|_| submit()).collect();
    for id in ids {
        wait::until("the end of a session", LIMIT, async || {
            let session = user.run(&["session", "show", id.as_str()?, "--json"]).expect(0).json();
            let status = session["status"].as_str()?.to_owned();
            assert!(!["failed", "timeout", "degraded"].contains(&status.as_str()), "{session}");
            (status == "completed").then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_agents_works_without_an_error_and_costs_little() {
    let Some(stand) = Stand::new().await else { return };
    let user = stand.user().with("JOBSHOP_CONCURRENCY", "32");
    let up = user.up().await;
    user.write(
        "script.yaml",
        "steps:
  - write: { path: made.txt, text: made }
  - sleep: 5s
  - print: done
  - summary: it is made
",
    );
    let scripted = format!(
        "  work: {{ agent: {{ runtime: scripted, script: {}, prompt: make it }} }}\n",
        user.path("script.yaml").display()
    );
    let share = Share::of(up.id());
    crowd(&user, &stand.workflow(&scripted), 32).await;
    let (core, bytes) = share.so_far();
    eprintln!("32 scripted: {core:.3} of a core, {} MiB at most", bytes >> 20);

    let steps = [
        Step::Write { path: "made.txt".into(), content: "made\n".into() },
        Step::Bash("sleep 5; cat made.txt".into()),
        Step::Say("It is made.".into()),
    ];
    let share = Share::of(up.id());
    crowd(&user, &stand.workflow(&task("work", &steps, "")), 6).await;
    let (core, bytes) = share.so_far();
    eprintln!("6 opencode: {core:.3} of a core, {} MiB at most", bytes >> 20);
    assert!(core <= 0.2 && bytes <= 300 << 20, "{core} of a core, {bytes} bytes");
    drop(up);
    stand.fleet.stop().await;
}
