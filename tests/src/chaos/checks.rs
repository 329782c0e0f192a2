//! What must hold of every history, whatever broke while it was made. Each check is a pure function
//! from the history to what contradicts it; the numbers are those of docs/reliability.md.

use std::collections::{HashMap, HashSet};

use jobshop_engine::{event::EventKind, session::SessionState, task::TaskState};
use serde::Serialize;
use uuid::Uuid;

use super::history::{History, Nanos, Run, Session, Task};

/// Failures after which a task of the load is over, and crashes.
pub const MAX_ATTEMPTS: i32 = 3;
pub const CRASH_LIMIT: i32 = 3;
/// How long processes of a cancelled session may go on: a worker that hears of nothing kills them
/// before its lease has ended.
const CANCEL_GRACE: Nanos = 5_000_000_000;

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    pub invariant: &'static str,
    pub what: String,
}

/// Everything that contradicts a promise. `lease` is that of the workers, in nanoseconds.
pub fn violations(history: &History, lease: Nanos) -> Vec<Violation> {
    let index = Index::of(history);
    let mut found = Findings::default();
    acknowledged_work_is_there(history, &mut found);
    for session in &history.sessions {
        ends(session, &mut found);
        outcomes_are_what_commands_did(session, &index, &mut found);
        needs_come_first(session, &index, &mut found);
        attempts_keep_to_their_limits(session, &mut found);
        nothing_is_accepted_after_a_cancel(session, &mut found);
    }
    locks_are_held_by_one(history, &index, &mut found);
    schedules_fire_once(history, &mut found);
    feeds_are_complete(history, &index, &mut found);
    cancelled_work_stops(history, lease, &mut found);
    for what in &history.broken {
        found.add("I14", what.clone());
    }
    found.0
}

#[derive(Default)]
struct Findings(Vec<Violation>);

impl Findings {
    fn add(&mut self, invariant: &'static str, what: String) {
        self.0.push(Violation { invariant, what });
    }
}

struct Index<'a> {
    runs: HashMap<(Uuid, i32), Vec<&'a Run>>,
    silent: HashMap<&'a str, usize>,
    sessions: HashMap<Uuid, &'a Session>,
}

impl<'a> Index<'a> {
    fn of(history: &'a History) -> Self {
        let mut runs: HashMap<_, Vec<_>> = HashMap::new();
        for run in &history.runs {
            runs.entry((run.session, run.seq)).or_default().push(run);
        }
        let silent = history.submissions.iter().map(|it| (it.key.as_str(), it.silent)).collect();
        let sessions = history.sessions.iter().map(|session| (session.id, session)).collect();
        Self { runs, silent, sessions }
    }

    fn runs(&self, session: &Session, seq: i32) -> &[&'a Run] {
        self.runs.get(&(session.id, seq)).map_or(&[], Vec::as_slice)
    }

    /// The command whose end the row records; none where it was lost or never ran.
    fn accepted(&self, session: &Session, task: &Task) -> Option<&'a Run> {
        let runs = self.runs(session, task.seq).iter();
        let mut of_fence =
            runs.filter(|run| run.attempt == task.attempt && Some(run.worker) == task.worker);
        match (task.state, task.process) {
            (TaskState::Completed, Some(process)) => {
                of_fence.find(|run| run.process == process).copied()
            }
            (TaskState::Failed, _) => of_fence.find(|run| run.ended.is_some()).copied(),
            _ => None,
        }
    }
}

/// A lock goes back with the end of its holder, which is recorded after its command has ended: commands
/// whose ends count never run at once under one lock, whatever became of attempts that were lost.
fn locks_are_held_by_one(history: &History, index: &Index<'_>, found: &mut Findings) {
    let mut held: HashMap<&str, Vec<(Nanos, Nanos, &Run)>> = HashMap::new();
    for session in &history.sessions {
        for task in &session.tasks {
            if let Some(name) = history.locks.get(&(session.id, task.seq))
                && let Some(run) = index.accepted(session, task)
                && let Some((ended, _)) = run.ended
            {
                held.entry(name).or_default().push((run.began, ended, run));
            }
        }
    }
    for (name, mut held) in held {
        held.sort_unstable_by_key(|it| it.0);
        for pair in held.windows(2).filter(|pair| pair[1].0 < pair[0].1) {
            let [first, second] = [pair[0].2, pair[1].2].map(|it| (it.session, it.seq));
            found.add("I8", format!("{first:?} and {second:?} held the lock {name} at once"));
        }
    }
}

fn acknowledged_work_is_there(history: &History, found: &mut Findings) {
    let mut titles: HashMap<&str, Vec<Uuid>> = HashMap::new();
    for session in &history.sessions {
        titles.entry(&session.title).or_default().push(session.id);
    }
    for submission in &history.submissions {
        let there = titles.get(submission.key.as_str()).map_or(&[][..], Vec::as_slice);
        if let Some(id) = submission.acknowledged
            && !there.contains(&id)
        {
            found.add("I1", format!("{} was acknowledged as {id} and is lost", submission.key));
        }
        if there.len() > 1 {
            found.add("I1", format!("{} made {} sessions: {there:?}", submission.key, there.len()));
        }
    }
}

fn ends(session: &Session, found: &mut Findings) {
    if !session.state.is_final() {
        found.add("I2", format!("session {} is still {}", session.id, session.state));
    }
    let ends = session.events.iter().filter(|event| {
        SessionState::ALL.iter().any(|it| it.is_final() && EventKind::of_session(*it) == event.kind)
    });
    let ends = ends.count();
    if session.state.is_final() && ends != 1 {
        found.add("I2", format!("session {} ended {ends} times", session.id));
    }
}

fn outcomes_are_what_commands_did(session: &Session, index: &Index<'_>, found: &mut Findings) {
    let mut completions: HashMap<i32, usize> = HashMap::new();
    let mut attempts: HashMap<(i32, i32), usize> = HashMap::new();
    for event in &session.events {
        let Some(task) = event.task else { continue };
        if event.kind == EventKind::TaskCompleted {
            *completions.entry(task).or_default() += 1;
        }
        let ends = [EventKind::TaskCompleted, EventKind::TaskFailed, EventKind::AttemptFailed];
        if let Some(attempt) = event.attempt
            && ends.contains(&event.kind)
        {
            *attempts.entry((task, attempt)).or_default() += 1;
        }
    }
    for (task, count) in completions.iter().filter(|it| *it.1 > 1) {
        found.add("I3", format!("{}/{task} completed {count} times", session.id));
    }
    for ((task, attempt), count) in attempts.iter().filter(|it| *it.1 > 1) {
        found.add("I3", format!("{}/{task} attempt {attempt} ended {count} times", session.id));
    }
    let groups: HashSet<i32> = session.tasks.iter().filter_map(|task| task.parent).collect();
    // What no client submitted runs no commands.
    let silent = index.silent.get(session.title.as_str()).copied();
    let mut silent = silent.unwrap_or(session.tasks.len());
    for task in session.tasks.iter().filter(|task| !groups.contains(&task.seq)) {
        if task.state != TaskState::Completed {
            continue;
        }
        let name = format!("{}/{} attempt {}", session.id, task.seq, task.attempt);
        let Some(process) = task.process else {
            match silent.checked_sub(1) {
                Some(rest) => silent = rest,
                None => found.add("I3", format!("{name} completed and no command says so")),
            }
            continue;
        };
        match index.accepted(session, task) {
            None => {
                found.add("I3", format!("{name}: process {process} never ran under this fence"));
            }
            Some(run) if run.ended.is_none_or(|(_, code)| code != 0) => {
                found.add("I3", format!("{name} completed, its command: {run:?}"));
            }
            Some(_) => {}
        }
        let later = index.runs(session, task.seq).iter().find(|run| run.attempt > task.attempt);
        if let Some(run) = later {
            found.add("I7", format!("{name} was accepted though {run:?} had begun"));
        }
    }
}

/// Rows of the session below this one, itself where nothing is.
fn leaves<'a>(children: &HashMap<i32, Vec<&'a Task>>, task: &'a Task, into: &mut Vec<&'a Task>) {
    match children.get(&task.seq) {
        Some(below) => below.iter().for_each(|child| leaves(children, child, into)),
        None => into.push(task),
    }
}

fn needs_come_first(session: &Session, index: &Index<'_>, found: &mut Findings) {
    let mut children: HashMap<i32, Vec<&Task>> = HashMap::new();
    for task in &session.tasks {
        if let Some(parent) = task.parent {
            children.entry(parent).or_default().push(task);
        }
    }
    let rows: HashMap<i32, &Task> = session.tasks.iter().map(|task| (task.seq, task)).collect();
    for need in &session.tasks {
        let mut before = Vec::new();
        leaves(&children, need, &mut before);
        let ended = before.iter().filter_map(|task| index.accepted(session, task)?.ended);
        let Some(ended) = ended.map(|it| it.0).max() else { continue };
        for dependent in need.dependents.iter().filter_map(|seq| rows.get(seq)) {
            let mut after = Vec::new();
            leaves(&children, dependent, &mut after);
            for run in after.iter().flat_map(|task| index.runs(session, task.seq)) {
                if run.began < ended {
                    let ahead = (ended - run.began) / 1_000_000;
                    let name = format!("{}/{} began {ahead} ms before", session.id, run.seq);
                    found.add("I4", format!("{name} its need {} had ended: {run:?}", need.seq));
                }
            }
        }
    }
}

fn attempts_keep_to_their_limits(session: &Session, found: &mut Findings) {
    let crashes = |seq| {
        let is_crash = |event: &&super::history::Event| {
            event.kind == EventKind::TaskCrashed && event.task == Some(seq)
        };
        session.events.iter().filter(is_crash).count()
    };
    for task in &session.tasks {
        let name = format!("{}/{}", session.id, task.seq);
        if task.failures > MAX_ATTEMPTS {
            found.add("I6", format!("{name} failed {} times", task.failures));
        }
        if task.crashes > CRASH_LIMIT || crashes(task.seq) > CRASH_LIMIT as usize {
            found.add("I6", format!("{name} crashed {} times", task.crashes));
        }
    }
}

fn nothing_is_accepted_after_a_cancel(session: &Session, found: &mut Findings) {
    let cancelled = session.events.iter().position(|it| it.kind == EventKind::SessionCancelled);
    let Some(cancelled) = cancelled else { return };
    let outcomes = [
        EventKind::TaskCompleted,
        EventKind::TaskFailed,
        EventKind::AttemptFailed,
        EventKind::TaskInProgress,
    ];
    for (number, event) in session.events.iter().enumerate().skip(cancelled + 1) {
        if outcomes.contains(&event.kind) {
            let name = format!("{}: event {} is {}", session.id, number + 1, event.kind);
            found.add("I13", format!("{name}, after the cancel"));
        }
    }
}

fn schedules_fire_once(history: &History, found: &mut Findings) {
    let mut counts: HashMap<i64, usize> = HashMap::new();
    for (minute, sessions) in &history.fires {
        *counts.entry(*minute).or_default() += sessions;
    }
    for (minute, count) in counts.iter().filter(|it| *it.1 > 1) {
        found.add("I9", format!("minute {minute} started {count} sessions"));
    }
    for minute in history.minutes.iter().filter(|it| counts.get(it).is_none_or(|n| *n == 0)) {
        found.add("I9", format!("minute {minute} started no session"));
    }
}

fn feeds_are_complete(history: &History, index: &Index<'_>, found: &mut Findings) {
    for feed in &history.feeds {
        let Some(session) = index.sessions.get(&feed.session) else { continue };
        let wrong = (1..).zip(&feed.seqs).find(|(wanted, got)| wanted != *got);
        if let Some((wanted, got)) = wrong {
            let name = feed.session;
            found.add("I10", format!("a socket of {name} got event {got} in place of {wanted}"));
        } else if feed.seqs.len() != session.events.len() {
            let (got, all) = (feed.seqs.len(), session.events.len());
            found.add("I10", format!("a socket of {} got {got} of {all} events", feed.session));
        }
    }
}

fn cancelled_work_stops(history: &History, lease: Nanos, found: &mut Findings) {
    let cancels: HashMap<Uuid, Nanos> =
        history.cancels.iter().map(|it| (it.session, it.at)).collect();
    for run in &history.runs {
        let Some(at) = cancels.get(&run.session) else { continue };
        let last = run.ended.map_or(run.began, |it| it.0);
        if last > at + lease + CANCEL_GRACE {
            let late = (last - at) / 1_000_000;
            found
                .add("I13", format!("{run:?} was alive {late} ms after the cancel of its session"));
        }
    }
}
