//! What follows from a single node of a plan.

use super::{Child, Decompose, Group, Kind, Node, Plan};

impl Node {
    /// What its session is of, where it is a session of its own.
    pub const fn child(&self) -> Option<&Child> {
        if let Kind::Session(child) = &self.kind { Some(child) } else { None }
    }

    /// The workflow that the task uses by its name.
    pub fn uses(&self) -> Option<&Child> {
        self.child().filter(|child| child.decompose.is_none())
    }

    /// How the task breaks down a goal.
    pub fn decompose(&self) -> Option<&Decompose> {
        self.child()?.decompose.as_deref()
    }

    /// Needs that have not ended when the row is laid down. What stands in a plain group and needs
    /// no sibling waits for the group's start; the roots of an item's block wait for nothing but
    /// the item's locks.
    pub fn blockers(&self, plan: &Plan) -> i32 {
        let needs = i32::try_from(self.needs.len()).expect("a plan has at most 10 000 nodes");
        let in_plain_group =
            self.parent.and_then(|parent| plan.group(parent)).is_some_and(Group::is_plain);
        // What stands under `finally` waits for the result of the session.
        let in_finally = self.finally && self.parent.is_none();
        let in_locked_item = self.parent.is_some_and(|parent| plan.locks_items(parent));
        needs + i32::from(needs == 0 && (in_plain_group || in_finally || in_locked_item))
    }
}
