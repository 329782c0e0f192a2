//! Which tasks a retry runs again, by what was asked for.

use jobshop_engine::task::{Reason, TaskState};
use serde_json::{Map, json};

use super::{Inner, Item, Level, Node};
use crate::model::flow::{Again, Flow, Kind, Task};

/// What a retry is asked for, by the keys of tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chosen {
    Plain,
    From(String),
    FailedItems(String),
    Skip(String),
    /// The task completed with `n` 3.
    Output(String),
    Inputs,
}

/// Chooses among the tasks that a session has; where there is nothing to choose, it is a plain retry.
pub fn choose(flow: &Flow, level: &Level, again: Again) -> Chosen {
    let among = |which: fn(&Task, &Node) -> bool, pick: usize| {
        let nodes = flow.tasks.iter().zip(level);
        let keys: Vec<&String> =
            nodes.filter(|(task, (_, node))| which(task, node)).map(|(task, _)| &task.id).collect();
        (!keys.is_empty()).then(|| keys[pick % keys.len()].clone())
    };
    let is_work = |task: &Task, _: &Node| matches!(task.kind, Kind::Work(_));
    let is_each = |task: &Task, node: &Node| {
        matches!((&task.kind, &node.inner), (Kind::Each(_), Inner::Items(_)))
    };
    let is_open = |task: &Task, node: &Node| !task.is_group() && node.state != TaskState::Completed;
    let chosen = match again {
        Again::Plain => None,
        Again::From(pick) => {
            let mut keys = Vec::new();
            collect(&flow.tasks, level, "", &mut keys);
            Some(Chosen::From(keys.swap_remove(pick % keys.len())))
        }
        Again::FailedItems(pick) => among(is_each, pick).map(Chosen::FailedItems),
        Again::Skip(pick) => among(is_open, pick).map(Chosen::Skip),
        Again::Output(pick) => among(is_work, pick).map(Chosen::Output),
        Again::Inputs => Some(Chosen::Inputs),
    };
    chosen.unwrap_or(Chosen::Plain)
}

/// The keys of tasks and groups that stand in no loop.
fn collect(tasks: &[Task], level: &Level, prefix: &str, keys: &mut Vec<String>) {
    for (task, (id, node)) in tasks.iter().zip(level) {
        let key = format!("{prefix}{id}");
        match &node.inner {
            Inner::Tasks { begun: true, tasks } => {
                collect(task.inner(), tasks, &format!("{key}."), keys);
            }
            Inner::Items(items) => {
                for item in items.iter().filter(|item| !item.tasks.is_empty()) {
                    collect(task.inner(), &item.tasks, &format!("{key}[{}].", item.key), keys);
                }
            }
            Inner::Nothing | Inner::Tasks { .. } | Inner::Rounds(_) => {}
        }
        keys.push(key);
    }
}

/// Marks what is asked for in what a session came to.
pub fn mark(flow: &Flow, level: &mut Level, chosen: &Chosen) {
    let given = match chosen {
        Chosen::Skip(key) | Chosen::Output(key) => Some(key),
        Chosen::Plain | Chosen::From(_) | Chosen::FailedItems(_) | Chosen::Inputs => None,
    };
    undone(&flow.tasks, level, given);
    match chosen {
        Chosen::Plain | Chosen::Inputs => {}
        Chosen::From(key) => {
            from(&flow.tasks, level, "", key, true);
        }
        Chosen::FailedItems(key) => {
            from(&flow.tasks, level, "", key, true);
            keep_items(&flow.tasks, level);
        }
        Chosen::Skip(key) => {
            let (_, node) = level.iter_mut().find(|(id, _)| id == key).expect("it was chosen");
            *node = Node {
                reason: Some(Reason::SkippedByHand),
                failures: node.failures,
                crashes: node.crashes,
                by_hand: true,
                ..Node::ended(TaskState::Skipped)
            };
        }
        Chosen::Output(key) => {
            from(&flow.tasks, level, "", key, false);
            let (_, node) = level.iter_mut().find(|(id, _)| id == key).expect("it was chosen");
            *node = Node {
                outputs: Map::from_iter([("n".to_owned(), json!(3))]),
                failures: node.failures,
                crashes: node.crashes,
                by_hand: true,
                ..Node::ended(TaskState::Completed)
            };
        }
    }
}

/// Marks everything as shared with a fork.
pub fn share(level: &mut Level) {
    for (_, node) in level {
        node.shared = true;
        match &mut node.inner {
            Inner::Nothing => {}
            Inner::Tasks { tasks, .. } => share(tasks),
            Inner::Items(items) | Inner::Rounds(items) => {
                for item in items {
                    item.shared = true;
                    share(&mut item.tasks);
                }
            }
        }
    }
}

/// Marks the task with this key, if it is or stands in this level, and all that need it; `itself`
/// unless only what needs it is meant. Returns whether it was found.
fn from(tasks: &[Task], level: &mut Level, prefix: &str, key: &str, itself: bool) -> bool {
    for at in 0..tasks.len() {
        let (id, node) = &mut level[at];
        let own = format!("{prefix}{id}");
        let is_it = own == key;
        let is_in_it = !is_it
            && match &mut node.inner {
                Inner::Tasks { tasks: inner, .. } => {
                    from(tasks[at].inner(), inner, &format!("{own}."), key, itself)
                }
                // Some were never laid down.
                Inner::Items(items) => {
                    items.iter_mut().filter(|it| !it.tasks.is_empty()).any(|item| {
                        let prefix = format!("{own}[{}].", item.key);
                        from(tasks[at].inner(), &mut item.tasks, &prefix, key, itself)
                    })
                }
                Inner::Nothing | Inner::Rounds(_) => false,
            };
        if is_it || is_in_it {
            node.again |= is_it && itself;
            let mut reached = vec![tasks[at].id.clone()];
            for (task, (id, node)) in tasks.iter().zip(level).skip(at + 1) {
                if task.needs.iter().any(|need| reached.contains(need)) {
                    node.again = true;
                    reached.push(id.clone());
                }
            }
            return true;
        }
    }
    false
}

/// Marks all that needs a task which was undone, wherever it stands; `given` is given an end by hand.
/// Returns whether anything was undone.
fn undone(tasks: &[Task], level: &mut Level, given: Option<&String>) -> bool {
    let mut reached: Vec<String> = Vec::new();
    for (task, (id, node)) in tasks.iter().zip(level) {
        if Some(&*id) == given {
            continue;
        }
        let is_undone = node.undone
            || match &mut node.inner {
                Inner::Nothing => false,
                Inner::Tasks { tasks, .. } => undone(task.inner(), tasks, None),
                Inner::Items(items) => undone_items(task, items) > 0,
                Inner::Rounds(rounds) => {
                    let earlier = rounds.len().saturating_sub(1);
                    let was_decided_anew = undone_items(task, &mut rounds[..earlier]) > 0;
                    node.again |= was_decided_anew;
                    was_decided_anew | (undone_items(task, &mut rounds[earlier..]) > 0)
                }
            };
        let needs = task.needs.iter().any(|need| reached.contains(need));
        node.again |= needs;
        if is_undone || needs {
            reached.push(id.clone());
        }
    }
    !reached.is_empty()
}

/// How many of some items or rounds have something undone in them.
fn undone_items(task: &Task, items: &mut [Item]) -> usize {
    items
        .iter_mut()
        .filter(|item| !item.tasks.is_empty())
        .map(|item| undone(task.inner(), &mut item.tasks, None))
        .filter(|is_undone| *is_undone)
        .count()
}

/// Fan-outs that were to run again go on with what they have.
fn keep_items(tasks: &[Task], level: &mut Level) {
    for (task, (_, node)) in tasks.iter().zip(level) {
        if matches!((&task.kind, &node.inner), (Kind::Each(_), Inner::Items(_))) {
            node.again = false;
        }
    }
}

/// Whether a retry would let a task go on at once, because its needs are done, while something that
/// those needed runs again: what it then sees depends on who is faster.
pub fn is_overtaken(tasks: &[Task], level: &Level) -> bool {
    let node = |id: &String| level.iter().find(|(other, _)| other == id).map(|(_, node)| node);
    let is_reopened = |id: &String| node(id).is_some_and(Node::is_reopened);
    let mut behind: Vec<&String> = Vec::new();
    for task in tasks {
        // Tasks stand behind what they need.
        let is_behind = |need: &String| behind.contains(&need);
        if is_reopened(&task.id) {
            if task.needs.iter().any(is_behind) {
                return true;
            }
        } else if task.needs.iter().any(|need| is_reopened(need) || is_behind(need)) {
            behind.push(&task.id);
        }
        let Some(node) = node(&task.id).filter(|node| !node.again) else { continue };
        let inner = match &node.inner {
            Inner::Nothing => false,
            Inner::Tasks { tasks, .. } => is_overtaken(task.inner(), tasks),
            Inner::Items(items) => items.iter().any(|it| is_overtaken(task.inner(), &it.tasks)),
            Inner::Rounds(rounds) => {
                let earlier = &rounds[..rounds.len().saturating_sub(1)];
                earlier.iter().any(Item::is_reopened)
                    || rounds.iter().any(|it| is_overtaken(task.inner(), &it.tasks))
            }
        };
        if inner {
            return true;
        }
    }
    false
}

/// The keys of tasks that are done and stay so.
pub fn kept(tasks: &[Task], level: &Level, prefix: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (task, (id, node)) in tasks.iter().zip(level).filter(|(_, (_, node))| !node.again) {
        let key = format!("{prefix}{id}");
        match &node.inner {
            Inner::Nothing if !task.is_group() && !node.is_reopened() => found.push(key),
            Inner::Tasks { begun: true, tasks } => {
                found.extend(kept(task.inner(), tasks, &format!("{key}.")));
            }
            // The last round may run anew as a whole.
            Inner::Items(items) | Inner::Rounds(items)
                if !matches!(node.inner, Inner::Rounds(_))
                    || !node.is_reopened()
                    || items.iter().any(Item::is_reopened) =>
            {
                for item in items {
                    let prefix = format!("{key}[{}].", item.key);
                    found.extend(kept(task.inner(), &item.tasks, &prefix));
                }
            }
            Inner::Nothing | Inner::Tasks { .. } | Inner::Items(_) | Inner::Rounds(_) => {}
        }
    }
    found
}
