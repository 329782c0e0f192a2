//! What a run comes to, as one line of JSON.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Run, checks::Violation, history::History, nemesis::Faults};

/// The result of a run.
#[derive(Debug, Serialize)]
pub struct Report {
    pub profile: &'static str,
    pub seed: u64,
    pub seconds: u64,
    pub sessions: usize,
    /// Tasks whose sessions were acknowledged.
    pub tasks: usize,
    /// Commands that began.
    pub commands: usize,
    pub kills: usize,
    pub faults: Faults,
    /// Faults that this machine cannot make, and where the run was cut short.
    pub short: Vec<String>,
    pub violations: Vec<Violation>,
    pub recovery_ms: Value,
    /// Where everything of it is, if something was wrong.
    pub kept: Option<PathBuf>,
}

impl Report {
    pub(super) fn new(
        run: &Run,
        tasks: usize,
        history: &History,
        faults: Faults,
        began: Instant,
    ) -> Self {
        Self {
            profile: run.profile.name,
            seed: run.seed,
            seconds: began.elapsed().as_secs(),
            sessions: history.sessions.len(),
            tasks,
            commands: history.runs.len(),
            kills: faults.kills,
            short: shortfalls(run, tasks, &faults),
            violations: Vec::new(),
            recovery_ms: percentiles(recovery(history, &faults)),
            faults,
            kept: None,
        }
    }

    pub(super) fn write(&self, path: &Path) -> std::io::Result<()> {
        std::fs::write(path, serde_json::to_vec_pretty(self)?)
    }
}

fn shortfalls(run: &Run, tasks: usize, faults: &Faults) -> Vec<String> {
    let profile = &run.profile;
    let wanted = [
        ("tasks", tasks, profile.tasks),
        ("kills", faults.kills, profile.kills),
        (
            "kills of a process with a running attempt",
            faults.kills_of_running,
            faults.kills * 4 / 5,
        ),
        ("freezes", faults.freezes, profile.freezes),
        ("partitions", faults.partitions(), profile.partitions),
        ("crashes of Postgres", faults.crashes(), profile.crashes),
        ("storms", faults.storms(), profile.storms),
        ("full disks", faults.full_disks, profile.full_disks),
    ];
    let short = wanted.into_iter().filter(|(_, done, wanted)| done < wanted);
    short.map(|(what, done, wanted)| format!("{done} of {wanted} {what}")).collect()
}

/// How long it took, in milliseconds, until another command took the place of each that died with
/// its worker.
fn recovery(history: &History, faults: &Faults) -> Vec<i64> {
    let killed: HashMap<_, _> = faults.killed.iter().copied().collect();
    let mut begins: HashMap<_, Vec<_>> = HashMap::new();
    for run in &history.runs {
        begins.entry((run.session, run.seq)).or_default().push(run.began);
    }
    let mut times = Vec::new();
    for run in history.runs.iter().filter(|run| run.ended.is_none()) {
        let Some(at) = killed.get(&run.worker) else { continue };
        let again = begins[&(run.session, run.seq)].iter().filter(|began| *began > at).min();
        times.extend(again.map(|began| (began - at) / 1_000_000));
    }
    times
}

fn percentiles(mut times: Vec<i64>) -> Value {
    times.sort_unstable();
    let at = |part: usize| times.get(times.len() * part / 100).or_else(|| times.last());
    json!({ "count": times.len(), "p50": at(50), "p99": at(99) })
}
