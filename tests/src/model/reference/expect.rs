//! What the rows of a session must look like when the reference model is right.

use std::collections::{BTreeMap, BTreeSet};

use jobshop_engine::{
    session::SessionState,
    task::{Reason, TaskState},
};
use serde_json::{Map, Value};

use super::{Epilogue, Inner, Item, Level, Node, Round, epilogue, values::Sight};
use crate::model::flow::{End, Flow, Join, Kind, Task};

/// A session that has ended.
#[derive(Debug)]
pub struct Expected {
    pub state: SessionState,
    /// `None` where they cannot be rendered, or the workflow has none.
    pub outputs: Option<Map<String, Value>>,
    /// By key, `build[api].check`.
    pub rows: BTreeMap<String, ExpectedRow>,
    /// The keys of what undid tasks in earlier rounds.
    pub undone_before: BTreeSet<String>,
}

impl Expected {
    /// The keys of what undoes tasks.
    pub fn undoing(&self) -> impl Iterator<Item = String> + '_ {
        self.rows.keys().filter(|key| key.ends_with(".compensate")).cloned()
    }
}

/// What stands in a row. An item is no task: what becomes of it shows in its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowKind {
    Executable,
    Group,
    Item,
}

#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each says one thing of the row")]
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
    /// A group around it says so: being cancelled is allowed then, too.
    pub is_allowed_by_group: bool,
    /// Its own `continue_on_failure`.
    pub is_forgiven: bool,
    pub max_parallel: Option<u8>,
    /// All of these ended before it could start.
    pub after: Vec<String>,
    /// Of each of these lists, one.
    pub after_one_of: Vec<Vec<String>>,
    /// It runs once the result is decided.
    pub is_after: bool,
    pub by_hand: bool,
}

impl ExpectedRow {
    pub fn fails_unallowed(&self) -> bool {
        let is_cancelled = self.state == TaskState::Cancelled;
        let is_allowed = if is_cancelled { self.is_allowed_by_group } else { self.is_allowed };
        self.ends_badly() && !is_allowed
    }

    /// It failed, or was cancelled in a session of which this one is a fork.
    fn ends_badly(&self) -> bool {
        matches!(self.state, TaskState::Failed | TaskState::Cancelled) && self.kind != RowKind::Item
    }
}

/// The end of a session whose tasks must come to `level` and were left as `left`, where what was
/// undone is marked. `end` is how a person ended it.
pub fn expect(
    flow: &Flow,
    level: &Level,
    left: &mut Level,
    round: Round<'_>,
    end: Option<End>,
) -> Expected {
    let mut list = List { rows: BTreeMap::new() };
    list.level(&flow.tasks, left, "", &Around::default());
    let outputs = outputs(flow, left, round);
    let by_itself = match outputs {
        Some(_) => worst(SessionState::Completed, list.rows.values()),
        None => SessionState::Failed,
    };
    let mut state = match end {
        None => by_itself,
        Some(End::Cancel) => SessionState::Cancelled,
        Some(End::Stop) => SessionState::Stopped,
        Some(End::Complete) => SessionState::Completed,
        Some(End::Fail) => SessionState::Failed,
    };
    list.rows.clear();
    list.level(&flow.tasks, level, "", &Around::default());
    // A cancel may come when that had begun.
    let decided = if end == Some(End::Cancel) { by_itself } else { state };
    let Epilogue { undoing, finally } = epilogue(flow, left, round, decided);
    let mut after = List { rows: BTreeMap::new() };
    after.level(&flow.finally, &finally, "", &Around::default());
    after.rows.extend(undoing.iter().map(|(key, node)| (key.clone(), undoing_row(node))));
    let all: Vec<String> = flow.tasks.iter().map(|task| task.id.clone()).collect();
    for (key, row) in &mut after.rows {
        row.is_after = true;
        row.after.extend_from_slice(&all);
        if !undoing.contains_key(key) {
            row.after.extend(undoing.keys().cloned());
        }
    }
    if end != Some(End::Cancel) {
        state = worst(state, after.rows.values());
    }
    list.rows.extend(after.rows);
    Expected {
        state,
        outputs: outputs.filter(|outputs| !outputs.is_empty()),
        rows: list.rows,
        undone_before: BTreeSet::new(),
    }
}

/// Whether something failed that nobody allowed to.
pub fn fails_unallowed(flow: &Flow, level: &Level) -> bool {
    let mut list = List { rows: BTreeMap::new() };
    list.level(&flow.tasks, level, "", &Around::default());
    list.rows.values().any(ExpectedRow::fails_unallowed)
}

/// What a result becomes by what failed.
fn worst<'r>(
    result: SessionState,
    mut rows: impl Iterator<Item = &'r ExpectedRow> + Clone,
) -> SessionState {
    if rows.clone().any(ExpectedRow::fails_unallowed) {
        SessionState::Failed
    } else if result == SessionState::Completed && rows.any(ExpectedRow::ends_badly) {
        SessionState::PartiallyCompleted
    } else {
        result
    }
}

fn outputs(flow: &Flow, level: &Level, round: Round<'_>) -> Option<Map<String, Value>> {
    let sight = Sight { levels: vec![level.clone()], changed: round.changed, ..Sight::default() };
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
            let mut found = row(task, node, &own);
            found.is_allowed_by_group = around.is_allowed;
            self.rows.insert(key.clone(), found);
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
                (Kind::Rounds(rounds), Inner::Rounds(done)) => {
                    let mut own = own.clone();
                    for round in done {
                        let key = format!("{key}[{}]", round.key);
                        self.rows.insert(key.clone(), item_row(round, &own));
                        self.level(&rounds.tasks, &round.tasks, &format!("{key}."), &own);
                        own.after.push(key);
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
        Kind::Work(_)
        | Kind::Sleep(_)
        | Kind::Ask(_)
        | Kind::Wait(_)
        | Kind::Child(_)
        | Kind::Group(_) => None,
        Kind::Rounds(_) => Some(1),
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
        is_allowed_by_group: false,
        is_forgiven: task.continue_on_failure,
        max_parallel,
        after: own.after.clone(),
        after_one_of: own.after_one_of.clone(),
        is_after: false,
        by_hand: node.by_hand,
    }
}

fn undoing_row(node: &Node) -> ExpectedRow {
    ExpectedRow {
        kind: RowKind::Executable,
        state: node.state,
        reason: node.reason,
        class: node.class,
        failures: node.failures,
        crashes: node.crashes,
        outputs: node.outputs.clone(),
        seen: node.seen.clone(),
        ..item_row(
            &Item {
                key: String::new(),
                value: Value::Null,
                state: node.state,
                shared: false,
                tasks: Level::new(),
            },
            &Around::default(),
        )
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
        is_allowed_by_group: own.is_allowed,
        is_forgiven: false,
        max_parallel: None,
        after: Vec::new(),
        after_one_of: Vec::new(),
        is_after: false,
        by_hand: false,
    }
}

/// What was seen of a row.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    pub state: TaskState,
    pub reason: Option<Reason>,
    /// A group or item of it has begun.
    pub has_begun: bool,
    pub failures: u32,
    pub crashes: u32,
}

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
            let Some(there) = seen.get(&key).copied() else {
                return (id.clone(), node);
            };
            let has_begun = there.has_begun;
            (node.state, node.reason) = (there.state, there.reason);
            (node.failures, node.crashes) = (there.failures, there.crashes);
            if there.state != TaskState::Completed {
                // Perhaps no attempt of it ever looked.
                node.seen = None;
            }
            match &mut node.inner {
                Inner::Nothing => {}
                Inner::Tasks { begun, tasks: level } => {
                    *begun = has_begun;
                    *level = overlay(task.inner(), level, &format!("{key}."), seen);
                }
                Inner::Items(_) if !has_begun => node.inner = Inner::Nothing,
                Inner::Rounds(rounds) if !has_begun => rounds.clear(),
                Inner::Rounds(rounds) => {
                    rounds.retain(|round| seen.contains_key(&format!("{key}[{}]", round.key)));
                    for round in rounds {
                        let key = format!("{key}[{}]", round.key);
                        round.state = seen[&key].state;
                        round.tasks = overlay(task.inner(), &round.tasks, &format!("{key}."), seen);
                    }
                }
                Inner::Items(items) => {
                    for item in items {
                        let key = format!("{key}[{}]", item.key);
                        if let Some(there) = seen.get(&key) {
                            item.state = there.state;
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
