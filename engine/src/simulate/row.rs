//! A row of a simulated session: what a row of the table of tasks is to a real one.

use serde_json::Value;

use crate::{
    outcome::Failure,
    plan::NodeIndex,
    task::{Reason, TaskState},
};

/// A task, a group, or an item or round of one.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) node: NodeIndex,
    pub(super) parent: Option<usize>,
    /// The first row of its block.
    pub(super) base: usize,
    /// Of the row of an item or round: its key and value.
    pub(super) item: Option<(String, Value)>,
    /// The row that it undoes.
    pub(super) undoes: Option<usize>,
    pub(super) state: TaskState,
    pub(super) reason: Option<Reason>,
    pub(super) blockers: i32,
    pub(super) bad: i32,
    pub(super) dependents: Vec<usize>,
    pub(super) outputs: Value,
    pub(super) error: Option<Failure>,
    pub(super) attempts: usize,
    pub(super) failures: i32,
    pub(super) crashes: usize,
    /// It occupies a worker.
    pub(super) holds_worker: bool,
    /// When it was decided that it runs.
    pub(super) begun_at: Option<u64>,
    /// When it became ready last.
    pub(super) ready_at: u64,
    /// When its first attempt started.
    pub(super) started_at: Option<u64>,
    pub(super) finished_at: Option<u64>,
    /// The rows whose ends let it go.
    pub(super) after: Vec<usize>,
    /// The row whose end made room for it, when it had to wait for a worker.
    pub(super) made_room: Option<usize>,
    /// The sum of the variances of its attempts, by their estimates, in ms².
    pub(super) variance: f64,
}

impl Row {
    pub(super) fn new(node: NodeIndex, parent: Option<usize>, base: usize, blockers: i32) -> Self {
        Self {
            node,
            parent,
            base,
            item: None,
            undoes: None,
            state: TaskState::Pending,
            reason: None,
            blockers,
            bad: 0,
            dependents: Vec::new(),
            outputs: Value::Null,
            error: None,
            attempts: 0,
            failures: 0,
            crashes: 0,
            holds_worker: false,
            begun_at: None,
            ready_at: 0,
            started_at: None,
            finished_at: None,
            after: Vec::new(),
            made_room: None,
            variance: 0.0,
        }
    }

    /// It waits for what is in it.
    pub(super) fn waits_for_children(&self) -> bool {
        self.state == TaskState::Blocked && self.reason == Some(Reason::Children)
    }
}

/// What a `for_each` group or a loop lays down.
#[derive(Debug)]
pub(super) struct Fan {
    /// The row of the first item or round, and of those after it.
    pub(super) firsts: Vec<usize>,
    /// What is still to be laid down, the last first.
    pub(super) left: Vec<(String, Value)>,
    pub(super) is_loop: bool,
}
