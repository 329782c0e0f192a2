//! What follows the result of a session: what completed is undone, then comes `finally`.

use std::collections::BTreeMap;

use jobshop_engine::{session::SessionState, task::TaskState};

use super::{Inner, Level, Node, Round, Walk};
use crate::model::flow::{Flow, Task};

/// What ran after the result was decided.
#[derive(Debug, Default)]
pub struct Epilogue {
    /// What undid tasks, by its key, `build[api].check.compensate`.
    pub undoing: BTreeMap<String, Node>,
    pub finally: Level,
}

/// What runs after a session came to `result`, its tasks having come to `level`; marks what is undone
/// there.
pub fn epilogue(
    flow: &Flow,
    level: &mut Level,
    round: Round<'_>,
    result: SessionState,
) -> Epilogue {
    let mut walk = Walk::new(flow, round);
    walk.sight.status = Some(result);
    let mut undoing = BTreeMap::new();
    if matches!(result, SessionState::Failed | SessionState::Stopped) {
        walk.undo(&flow.tasks, level, "", &mut undoing);
    }
    walk.sight.levels.push(level.clone());
    let finally = walk.level(&flow.finally, "", None);
    Epilogue { undoing, finally }
}

/// Takes back what was marked as undone and was not, somebody having cancelled the session before:
/// `was_undone` says of a key whether what undoes the task completed.
pub fn unmark(level: &mut Level, prefix: &str, was_undone: &impl Fn(&str) -> bool) {
    for (id, node) in level {
        let key = format!("{prefix}{id}");
        node.undone &= was_undone(&key);
        match &mut node.inner {
            Inner::Nothing => {}
            Inner::Tasks { tasks, .. } => unmark(tasks, &format!("{key}."), was_undone),
            Inner::Items(items) | Inner::Rounds(items) => {
                for item in items {
                    unmark(&mut item.tasks, &format!("{key}[{}].", item.key), was_undone);
                }
            }
        }
    }
}

impl Walk<'_> {
    fn undo(
        &mut self,
        tasks: &[Task],
        level: &mut Level,
        prefix: &str,
        found: &mut BTreeMap<String, Node>,
    ) {
        self.sight.levels.push(level.clone());
        for (task, (id, node)) in tasks.iter().zip(level) {
            let key = format!("{prefix}{id}");
            if let (Some(work), TaskState::Completed) = (&task.compensate, node.state) {
                let key = format!("{key}.compensate");
                let undoing = self.work(work, &key);
                node.undone = undoing.state == TaskState::Completed;
                found.insert(key, undoing);
            }
            let name = task.item_name().unwrap_or_default();
            match &mut node.inner {
                Inner::Nothing => {}
                Inner::Tasks { tasks, .. } => {
                    self.undo(task.inner(), tasks, &format!("{key}."), found);
                }
                Inner::Items(items) | Inner::Rounds(items) => {
                    for item in items {
                        self.sight.items.push((name.to_owned(), item.value.clone()));
                        let prefix = format!("{key}[{}].", item.key);
                        self.undo(task.inner(), &mut item.tasks, &prefix, found);
                        self.sight.items.pop();
                    }
                }
            }
        }
        self.sight.levels.pop();
    }
}
