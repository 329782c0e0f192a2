//! What single tasks come to by what the file says of them, and by how often they are tried.

use jobshop_engine::task::{Reason, TaskState};
use serde_json::{Value, json};

use super::{Inner, Item, Level, Node};
use crate::model::flow::{Kind, Retry, Task, Verdict};

/// How a need weighs on what needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weight {
    /// It completed, or its failure is allowed: dependents treat it as completed.
    Good,
    Bad,
    /// Skipped by its own `when`, by hand, or because no need of its own completed.
    Neutral,
}

pub(super) fn weight(task: &Task, node: &Node) -> Weight {
    match (node.state, node.reason) {
        (TaskState::Completed, _) => Weight::Good,
        (TaskState::Failed, _) if task.continue_on_failure => Weight::Good,
        (
            TaskState::Skipped,
            Some(Reason::When | Reason::NoNeedCompleted | Reason::SkippedByHand),
        ) => Weight::Neutral,
        _ => Weight::Bad,
    }
}

/// Whether a task makes the group or item around it fail.
pub(super) fn spoils(task: &Task, node: &Node) -> bool {
    (node.state == TaskState::Failed && !task.continue_on_failure)
        || node.state == TaskState::Cancelled
}

/// What an item or a round comes to.
pub(super) fn item_of(key: String, value: Value, specs: &[Task], tasks: Level) -> Item {
    let state = if specs.iter().zip(&tasks).any(|(task, (_, node))| spoils(task, node)) {
        TaskState::Failed
    } else if tasks.iter().all(|(_, node)| node.state == TaskState::Skipped) {
        TaskState::Skipped
    } else {
        TaskState::Completed
    };
    Item { key, value, state, shared: false, tasks }
}

/// What an approval comes to.
pub(super) fn asked(verdict: Verdict) -> Node {
    let (decision, by) = match verdict {
        Verdict::Rejected | Verdict::RejectedInSilence => return Node::failed("rejected"),
        Verdict::Approved => ("approve", "p"),
        Verdict::Overruled => ("reject", "p"),
        Verdict::ApprovedInSilence => ("approve", "timeout"),
    };
    let outputs = [("decision", json!(decision)), ("by", json!(by)), ("comment", Value::Null)];
    let outputs = outputs.map(|(name, value)| (name.to_owned(), value)).into_iter().collect();
    Node { outputs, ..Node::ended(TaskState::Completed) }
}

/// A task that is skipped, and with it what stands in it.
pub(super) fn skipped(task: &Task, reason: Reason) -> Node {
    Node { reason: Some(reason), ..unbegun(task, TaskState::Skipped, reason) }
}

/// A condition that cannot be decided fails the task; what stands in it never runs.
pub(super) fn failed_before_it_began(task: &Task) -> Node {
    Node { class: Some("template"), ..unbegun(task, TaskState::Failed, Reason::UpstreamFailed) }
}

fn unbegun(task: &Task, state: TaskState, inside: Reason) -> Node {
    let inner = match &task.kind {
        Kind::Group(inner) => Inner::Tasks {
            begun: false,
            tasks: inner.iter().map(|task| (task.id.clone(), skipped(task, inside))).collect(),
        },
        Kind::Work(_)
        | Kind::Sleep(_)
        | Kind::Ask(_)
        | Kind::Wait(_)
        | Kind::Child(_)
        | Kind::Each(_) => Inner::Nothing,
        Kind::Rounds(_) => Inner::Rounds(Vec::new()),
    };
    Node { inner, ..Node::ended(state) }
}

/// How often a task is tried.
pub(super) struct Policy {
    pub(super) max_attempts: u32,
    errors: Vec<&'static str>,
}

impl Policy {
    pub(super) fn of(retry: Option<&Retry>) -> Self {
        let Some(retry) = retry else { return Self { max_attempts: 1, errors: Vec::new() } };
        let errors = match &retry.errors {
            None => vec!["error", "timeout"],
            Some(errors) => errors.iter().map(|class| class.as_str()).collect(),
        };
        Self { max_attempts: retry.max_attempts.unwrap_or(3).into(), errors }
    }

    pub(super) fn covers(&self, class: &str) -> bool {
        match class {
            "template" | "rejected" | "too_large" => false,
            // A mismatch with the schema is an error of the command.
            "schema" => self.errors.contains(&"schema") || self.errors.contains(&"error"),
            _ => self.errors.contains(&class),
        }
    }
}
