//! The bits of `tasks.flags`: what the hot statements must know of a row's node without its plan.

use crate::plan::{Join, Kind, NodeIndex, Plan};

/// Counted in the session's counters.
pub const EXECUTABLE: i16 = 1;
/// May become ready without a decision of the control loop.
pub const PLAIN: i16 = 2;
pub const JOIN_ANY: i16 = 4;
pub const JOIN_ALL_DONE: i16 = 8;
/// `continue_on_failure` of its own.
pub const CONTINUE: i16 = 16;
/// For the session its failure is an allowed one.
pub const ALLOWED: i16 = 32;
/// The row of an item of a `for_each` group.
pub const ITEM: i16 = 64;
pub const GROUP: i16 = 128;
/// A group around it allows failures: of the session's failures, even a cancelled task is one of
/// the allowed then.
pub const ALLOWED_BY_GROUP: i16 = 256;

/// It stands under `finally`: the janitor leaves it alone until the result is decided.
pub const FINALLY: i16 = 512;

/// It undoes a task; `item_key` is the number of the task's row.
pub const COMPENSATION: i16 = 1024;

/// It takes locks before it does anything: once it has ended its tickets go back.
pub const LOCK: i16 = 2048;

/// An attempt puts something aside in budgets first.
pub const BUDGET: i16 = 4_096;

/// It may wait to start only so long: its limit stands in `start_limits`.
pub const START_LIMITED: i16 = 8_192;

/// Since a retry it waits for the group around it to go on.
pub const GATED: i16 = 16_384;

/// The flags of a node's row.
pub fn of_node(plan: &Plan, index: NodeIndex) -> i16 {
    let node = plan.node(index);
    let group = plan.group(index).is_some();
    let waits = matches!(
        node.kind,
        Kind::Sleep(_) | Kind::Session(_) | Kind::Approval(_) | Kind::WaitFor(_)
    );
    let mut flags = if group { GROUP } else { EXECUTABLE };
    let takes_locks = !node.locks.is_empty() && !plan.locks_items(index);
    let is_budgeted = plan.is_budgeted(index);
    let is_plain = !group && !waits && !takes_locks && !is_budgeted;
    if is_plain && node.when.is_none() && node.prefers.is_none() {
        flags |= PLAIN;
    }
    flags |= match node.join {
        Join::All => 0,
        Join::Any => JOIN_ANY,
        Join::AllDone => JOIN_ALL_DONE,
    };
    if node.continue_on_failure {
        flags |= CONTINUE;
    }
    if plan.is_failure_allowed(index) {
        flags |= ALLOWED;
    }
    if node.parent.is_some_and(|parent| plan.is_failure_allowed(parent)) {
        flags |= ALLOWED_BY_GROUP;
    }
    if node.start_timeout.is_some() {
        flags |= START_LIMITED;
    }
    if node.finally {
        flags |= FINALLY;
    }
    if node.compensates.is_some() {
        flags |= COMPENSATION;
    }
    if takes_locks {
        flags |= LOCK;
    }
    if is_budgeted {
        flags |= BUDGET;
    }
    flags
}

/// The flags of the rows of a group's items.
pub fn of_item(plan: &Plan, group: NodeIndex) -> i16 {
    let allowed = if plan.is_failure_allowed(group) { ALLOWED | ALLOWED_BY_GROUP } else { 0 };
    let finally = if plan.node(group).finally { FINALLY } else { 0 };
    let lock = if plan.locks_items(group) { LOCK } else { 0 };
    ITEM | allowed | finally | lock
}
