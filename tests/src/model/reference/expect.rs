//! What the rows of a session must look like when the reference model is right.

use std::collections::BTreeMap;

use jobshop_engine::{
    session::SessionState,
    task::{Reason, TaskState},
};
use serde_json::{Map, Value};

use super::{Inner, Item, Level, Node, values::Sight};
use crate::model::flow::{Flow, Join, Kind, Task};

/// A session that has ended.
#[derive(Debug)]
pub struct Expected {
    pub state: SessionState,
    /// `None` where they cannot be rendered, or the workflow has none.
    pub outputs: Option<Map<String, Value>>,
    /// By key, `build[api].check`.
    pub rows: BTreeMap<String, ExpectedRow>,
}

/// What stands in a row. An item is no task: what becomes of it shows in its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowKind {
    Executable,
    Group,
    Item,
}

#[derive(Debug, Clone)]
pub struct ExpectedRow {
    pub kind: RowKind,
    pub state: TaskState,
    pub reason: Option<Reason>,
    pub class: Option<&'static str>,
    pub failures: u32,
    pub crashes: u32,
    pub outputs: Map<String, Value>,
    pub seen: Option<String>,
    /// Whether its failure is an allowed one for the session.
    pub is_allowed: bool,
    /// Its own `continue_on_failure`.
    pub is_forgiven: bool,
    pub max_parallel: Option<u8>,
    /// All of these ended before it could start.
    pub after: Vec<String>,
    /// Of each of these lists, one.
    pub after_one_of: Vec<Vec<String>>,
}

impl ExpectedRow {
    pub fn fails_unallowed(&self) -> bool {
        self.state == TaskState::Failed && self.kind != RowKind::Item && !self.is_allowed
    }
}

/// The end of a session of which every task came to what `level` says.
pub fn expect(flow: &Flow, level: &Level) -> Expected {
    let mut list = List { rows: BTreeMap::new() };
    list.level(&flow.tasks, level, "", &Around::default());
    let failures = list
        .rows
        .values()
        .filter(|row| row.state == TaskState::Failed && row.kind != RowKind::Item);
    let mut state = SessionState::Completed;
    for failure in failures {
        if !failure.is_allowed {
            state = SessionState::Failed;
        } else if state == SessionState::Completed {
            state = SessionState::PartiallyCompleted;
        }
    }
    let outputs = outputs(flow, level);
    if outputs.is_none() {
        state = SessionState::Failed;
    }
    Expected { state, outputs: outputs.filter(|outputs| !outputs.is_empty()), rows: list.rows }
}

fn outputs(flow: &Flow, level: &Level) -> Option<Map<String, Value>> {
    let sight = Sight { levels: vec![level.clone()], items: Vec::new() };
    let outputs = flow.outputs.iter().enumerate();
    outputs.map(|(index, term)| Some((format!("o{index}"), sight.value(term).ok()?))).collect()
}

/// What holds for everything in a group.
#[derive(Clone, Default)]
struct Around {
    is_allowed: bool,
    after: Vec<String>,
    after_one_of: Vec<Vec<String>>,
}

struct List {
    rows: BTreeMap<String, ExpectedRow>,
}

impl List {
    fn level(&mut self, tasks: &[Task], level: &Level, prefix: &str, around: &Around) {
        for (task, (_, node)) in tasks.iter().zip(level) {
            let mut own = around.clone();
            own.is_allowed |= task.continue_on_failure;
            let needs: Vec<String> = task.needs.iter().map(|id| format!("{prefix}{id}")).collect();
            match task.join {
                Join::Any if !needs.is_empty() => own.after_one_of.push(needs),
                Join::All | Join::AllDone | Join::Any => own.after.extend(needs),
            }
            let key = format!("{prefix}{}", task.id);
            self.rows.insert(key.clone(), row(task, node, &own));
            match (&task.kind, &node.inner) {
                (Kind::Group(tasks), Inner::Tasks { tasks: level, .. }) => {
                    self.level(tasks, level, &format!("{key}."), &own);
                }
                (Kind::Each(each), Inner::Items(items)) => {
                    for item in items.iter().filter(|item| !item.tasks.is_empty()) {
                        let key = format!("{key}[{}]", item.key);
                        self.rows.insert(key.clone(), item_row(item, &own));
                        self.level(&each.tasks, &item.tasks, &format!("{key}."), &own);
                    }
                }
                _ => {}
            }
        }
    }
}

fn row(task: &Task, node: &Node, own: &Around) -> ExpectedRow {
    let max_parallel = match &task.kind {
        Kind::Each(each) => each.max_parallel,
        Kind::Work(_) | Kind::Sleep(_) | Kind::Ask(_) | Kind::Wait(_) | Kind::Group(_) => None,
    };
    ExpectedRow {
        kind: if task.is_group() { RowKind::Group } else { RowKind::Executable },
        state: node.state,
        reason: node.reason,
        class: node.class,
        failures: node.failures,
        crashes: node.crashes,
        outputs: node.outputs.clone(),
        seen: node.seen.clone(),
        is_allowed: own.is_allowed,
        is_forgiven: task.continue_on_failure,
        max_parallel,
        after: own.after.clone(),
        after_one_of: own.after_one_of.clone(),
    }
}

fn item_row(item: &Item, own: &Around) -> ExpectedRow {
    ExpectedRow {
        kind: RowKind::Item,
        state: item.state,
        reason: None,
        class: None,
        failures: 0,
        crashes: 0,
        outputs: Map::new(),
        seen: None,
        is_allowed: own.is_allowed,
        is_forgiven: false,
        max_parallel: None,
        after: Vec::new(),
        after_one_of: Vec::new(),
    }
}

/// What was seen of a row: where it stands, why, and whether a group of it has begun.
pub type Seen = (TaskState, Option<Reason>, bool);

/// The same session as it was really left, where it was interrupted.
pub fn overlay(
    tasks: &[Task],
    level: &Level,
    prefix: &str,
    seen: &BTreeMap<String, Seen>,
) -> Level {
    tasks
        .iter()
        .zip(level)
        .map(|(task, (id, node))| {
            let key = format!("{prefix}{id}");
            let mut node = node.clone();
            let Some((state, reason, has_begun)) = seen.get(&key).copied() else {
                return (id.clone(), node);
            };
            node.state = state;
            node.reason = reason;
            match &mut node.inner {
                Inner::Nothing => {}
                Inner::Tasks { begun, tasks: level } => {
                    *begun = has_begun;
                    *level = overlay(task.inner(), level, &format!("{key}."), seen);
                }
                Inner::Items(_) if !has_begun => node.inner = Inner::Nothing,
                Inner::Items(items) => {
                    for item in items {
                        let key = format!("{key}[{}]", item.key);
                        if let Some((state, ..)) = seen.get(&key) {
                            item.state = *state;
                            item.tasks =
                                overlay(task.inner(), &item.tasks, &format!("{key}."), seen);
                        } else {
                            item.state = TaskState::Pending;
                            item.tasks = Level::new();
                        }
                    }
                }
            }
            (id.clone(), node)
        })
        .collect()
}
