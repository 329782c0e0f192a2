//! What a task waits for that is neither the end of what it needs nor of this world: that another task
//! of its session has started, or has ended. It waits as for a signal, which Jobshop itself sends.

use crate::{
    plan::{BlockIndex, NodeIndex, Plan},
    task::TaskState,
};

/// Signals of Jobshop's own begin so; nobody else sends them.
pub const OWN: &str = "jobshop/";
const STARTED: &str = "jobshop/started/";
const ENDED: &str = "jobshop/ended/";

/// The name of the signal that a task has started.
pub(super) fn started(task: &str) -> String {
    format!("{STARTED}{task}")
}

/// The name of the signal that a task has ended.
pub(super) fn ended(task: &str) -> String {
    format!("{ENDED}{task}")
}

/// A task that is looked at, and whether its end is what counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gate {
    pub node: NodeIndex,
    pub at_end: bool,
}

/// What a row has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stand {
    pub state: TaskState,
    /// Its start was reported.
    pub is_started: bool,
    pub attempt: i32,
}

/// What becomes of the task that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Waits,
    Passes,
    /// What it waits for will not come.
    InVain,
}

/// What is waited for, in words, where a signal is Jobshop's own.
pub fn awaited(name: &str) -> Option<String> {
    let started = name.strip_prefix(STARTED).map(|task| format!("`{task}` has started"));
    started.or_else(|| name.strip_prefix(ENDED).map(|task| format!("`{task}` has ended")))
}

impl Gate {
    /// The gate that a name stands for; `None` when it is none, or its task is not there once.
    pub fn of(plan: &Plan, name: &str) -> Option<Self> {
        let (task, at_end) = match (name.strip_prefix(STARTED), name.strip_prefix(ENDED)) {
            (Some(task), _) => (task, false),
            (None, Some(task)) => (task, true),
            (None, None) => return None,
        };
        let once = |id: &str| {
            let mut found = (0..).zip(&plan.nodes).filter(|(_, node)| node.id == id);
            let (index, node) = found.next()?;
            let is_once = node.block == BlockIndex::ROOT && found.next().is_none();
            is_once.then_some(NodeIndex(index))
        };
        // What waits itself starts with its work.
        let work = (!at_end).then(|| once(&super::definition::work_id(task))).flatten();
        Some(Self { node: work.or_else(|| once(task))?, at_end })
    }

    /// Whether the other task has come so far. One that is a session of its own, or a group, starts when
    /// that is created or opened.
    pub fn verdict(self, plan: &Plan, stand: Stand) -> Verdict {
        use TaskState as S;
        let node = plan.node(self.node);
        let is_begun = match stand.state {
            S::InProgress | S::Blocked | S::Ready | S::Assigned | S::Paused => {
                stand.is_started
                    || (node.child().is_some() && stand.attempt > 0)
                    || (plan.group(self.node).is_some() && stand.state == S::Blocked)
            }
            S::Completed => true,
            S::Failed | S::Cancelled => stand.is_started || stand.attempt > 0,
            S::Pending | S::Skipped => false,
        };
        match (self.at_end, stand.state) {
            (false, _) if is_begun => Verdict::Passes,
            (true, S::Completed) => Verdict::Passes,
            (true, S::Failed) if node.continue_on_failure => Verdict::Passes,
            (_, S::Failed | S::Cancelled | S::Skipped) => Verdict::InVain,
            (
                _,
                S::Pending
                | S::Ready
                | S::Assigned
                | S::InProgress
                | S::Blocked
                | S::Paused
                | S::Completed,
            ) => Verdict::Waits,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_of_our_own_are_told_in_words() {
        assert_eq!(awaited(&started("api")).unwrap(), "`api` has started");
        assert_eq!(awaited(&ended("api")).unwrap(), "`api` has ended");
        assert_eq!(awaited("deploy"), None);
    }
}
