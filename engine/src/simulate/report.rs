//! What a simulation tells.

use serde::Serialize;
use serde_json::Value;

use super::{begin::rounded, course::Course, path};
use crate::{
    outcome::Failure,
    plan::{Kind, NodeIndex},
    session::SessionState,
    task::{Reason, TaskState},
};

/// How a simulated session went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    pub workflow: String,
    /// What the session ended as; null when it would wait for ever.
    pub status: Option<SessionState>,
    pub error: Option<Failure>,
    pub outputs: Option<Value>,
    /// The tasks that ran, or were to, in the order in which that was decided.
    pub steps: Vec<Step>,
    /// The keys of the tasks that made it last as long as it did.
    pub critical_path: Vec<String>,
    /// How long it lasted, attempts taking what their stubs say, else what PERT expects of their
    /// estimates, else no time.
    pub duration_ms: u64,
    /// The standard deviation of that, by the estimates on the critical path.
    pub deviation_ms: u64,
    /// The tasks on the critical path of which nobody says how long they take.
    pub unestimated: Vec<String>,
    /// What can never run with these inputs and stubs.
    pub never_runs: Vec<NeverRun>,
    /// What would wait for ever.
    pub waits_for_ever: Vec<String>,
    /// Keys and patterns of the stubs that fit no task.
    pub unused_stubs: Vec<String>,
}

/// A task in a simulation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    pub task: String,
    pub status: TaskState,
    pub reason: Option<Reason>,
    pub error: Option<Failure>,
    pub attempts: usize,
    /// After the beginning of the session: when its needs let it go, when it started, when it ended.
    pub ready_ms: Option<u64>,
    pub started_ms: Option<u64>,
    pub finished_ms: Option<u64>,
    /// The tasks whose ends it waited for.
    pub waited_for: Vec<String>,
    /// The task whose end freed the worker that it had to wait for.
    pub waited_for_worker: Option<String>,
}

/// A task or group that never runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NeverRun {
    pub task: String,
    pub why: String,
}

pub(super) fn report(course: &Course<'_>) -> Report {
    let critical = path::critical(course);
    let rows = &course.rows;
    let has_time = |at: &usize| {
        let key = course.key(*at);
        let node = course.plan.node(rows[*at].node);
        let is_stubbed = course.stubs.of(&key).is_some_and(|stub| stub.duration.is_some());
        let needs_none = matches!(node.kind, Kind::Builtin(_) | Kind::Sleep(_));
        is_stubbed || needs_none || node.estimate.is_some()
    };
    let duration = rows.iter().filter_map(|row| row.finished_at).max().unwrap_or_default();
    let variance: f64 = critical.iter().map(|at| rows[*at].variance).sum();
    let keys: Vec<String> = (0..rows.len()).map(|at| course.key(at)).collect();
    Report {
        workflow: course.plan.name.clone(),
        status: course.end,
        error: course.error.clone(),
        outputs: course.outputs.clone().filter(|_| course.end.is_some()),
        steps: steps(course, &keys),
        unestimated: critical
            .iter()
            .filter(|at| !has_time(at))
            .map(|at| keys[*at].clone())
            .collect(),
        critical_path: critical.iter().map(|at| keys[*at].clone()).collect(),
        duration_ms: duration,
        deviation_ms: rounded(variance.sqrt()),
        never_runs: never_runs(course),
        waits_for_ever: waits_for_ever(course, &keys),
        unused_stubs: course.stubs.unused(&keys),
    }
}

impl Course<'_> {
    /// The key of a row, as that of a task.
    pub(super) fn key(&self, at: usize) -> String {
        let stands = self.rows[at].undoes.unwrap_or(at);
        let around = std::iter::successors(Some(stands), |at| self.rows[*at].parent);
        let mut items: Vec<&str> = around
            .filter_map(|at| self.rows[at].item.as_ref().map(|(key, _)| key.as_str()))
            .collect();
        items.reverse();
        let own = self.rows[at].item.as_ref().and_then(|_| items.pop());
        let path = self.plan.path(self.rows[at].node, &items);
        match own {
            // A group's own path has no key of its own.
            Some(key) => {
                let path = path.strip_suffix("[?]").unwrap_or(&path);
                format!("{path}[{key}]")
            }
            None => path.strip_suffix("[?]").unwrap_or(&path).to_owned(),
        }
    }
}

/// How many rows had to come one after the other before this one.
fn depth<I: Iterator<Item = usize>>(
    at: usize,
    waits_for: &impl Fn(usize) -> I,
    depths: &mut [Option<usize>],
) -> usize {
    if let Some(known) = depths[at] {
        return known;
    }
    depths[at] = Some(0);
    let before: Vec<usize> = waits_for(at).collect();
    let most = before.into_iter().map(|before| 1 + depth(before, waits_for, depths)).max();
    *depths[at].insert(most.unwrap_or(0))
}

fn steps(course: &Course<'_>, keys: &[String]) -> Vec<Step> {
    let is_group = |at: usize| {
        course.plan.group(course.rows[at].node).is_some() || course.rows[at].item.is_some()
    };
    let waits_for = |at: usize| {
        // A group ends with what is in it, and that was let go by the group.
        let inside = move |before: usize| is_group(at) && course.rows[before].parent == Some(at);
        course.rows[at].after.iter().copied().filter(move |before| !inside(*before))
    };
    // What happens in one moment stands in the order of cause and effect.
    let mut depths: Vec<Option<usize>> = vec![None; course.rows.len()];
    for at in 0..course.rows.len() {
        depth(at, &waits_for, &mut depths);
    }
    let mut order: Vec<usize> = (0..course.rows.len()).collect();
    order.sort_by_key(|at| {
        let row = &course.rows[*at];
        (row.begun_at.or(row.finished_at).unwrap_or(u64::MAX), depths[*at], *at)
    });
    order
        .into_iter()
        .map(|at| {
            let row = &course.rows[at];
            let mut waited_for: Vec<String> = row
                .after
                .iter()
                // What opened it is the group it stands in, and a group waits for what is in it.
                .filter(|before| row.parent != Some(**before))
                .filter(|before| !is_group(at) || course.rows[**before].parent != Some(at))
                .map(|before| keys[*before].clone())
                .collect();
            waited_for.dedup();
            let has_begun = row.begun_at.is_some();
            Step {
                task: keys[at].clone(),
                status: row.state,
                reason: row.reason,
                error: row.error.clone(),
                attempts: if is_group(at) { 0 } else { row.attempts },
                ready_ms: row.begun_at,
                started_ms: row.started_at.or_else(|| row.begun_at.filter(|_| has_begun)),
                finished_ms: row.finished_at,
                waited_for,
                waited_for_worker: row.made_room.map(|room| keys[room].clone()),
            }
        })
        .collect()
}

/// The outermost tasks of which no instance ran, unless the author says that they are left out. What
/// undoes tasks runs only where something goes wrong.
fn never_runs(course: &Course<'_>) -> Vec<NeverRun> {
    let plan = course.plan;
    let has_run =
        |node: NodeIndex| course.rows.iter().any(|row| row.node == node && row.begun_at.is_some());
    let indices = (0..plan.nodes.len()).filter_map(|at| Some(NodeIndex(u32::try_from(at).ok()?)));
    indices
        .filter(|index| plan.node(*index).compensates.is_none() && !has_run(*index))
        .filter(|index| plan.node(*index).parent.is_none_or(has_run))
        .filter_map(|index| {
            let key = plan.path(index, &[]);
            let key = key.replace("[?]", "[*]");
            let found = course.rows.iter().find(|row| row.node == index);
            let expected =
                course.stubs.expects_skip(&key) || course.stubs.expects_skip(&plan.node(index).id);
            let why = match found {
                None => "its group has no items".to_owned(),
                Some(row) => match (row.state, row.reason, &row.error) {
                    (_, Some(Reason::When), _) => "its `when` is false".to_owned(),
                    (_, Some(Reason::UpstreamFailed), _) => {
                        "something it needs ends badly".to_owned()
                    }
                    (_, Some(Reason::NoNeedCompleted), _) => {
                        "nothing it needs completes".to_owned()
                    }
                    (TaskState::Failed, _, Some(error)) => error.message.clone(),
                    (TaskState::Cancelled, _, _) => "it is cancelled before".to_owned(),
                    _ => "what it needs never ends".to_owned(),
                },
            };
            (!expected).then_some(NeverRun { task: key, why })
        })
        .collect()
}

fn waits_for_ever(course: &Course<'_>, keys: &[String]) -> Vec<String> {
    if course.end.is_some() {
        return Vec::new();
    }
    let waits = course.rows.iter().zip(keys).filter(|(row, _)| {
        matches!(row.reason, Some(Reason::Approval | Reason::Signal)) && !row.state.is_final()
    });
    waits.map(|(_, key)| key.clone()).collect()
}
