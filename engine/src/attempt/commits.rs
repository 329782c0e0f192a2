//! Which commits a task starts at or merges, from the outputs of what it needs.

use std::collections::HashMap;

use serde_json::Value;

use super::CapturedCommit;
use crate::{
    expression::values::{ItemValue, TaskValue, Values},
    outcome::{ErrorClass, Failure},
    plan::{NodeIndex, Plan},
    task::TaskState,
};

/// The commit that a task's workspace starts at: of the task that `from` names, else of the single
/// need that captured one; where the task's own needs have none, of what its groups need.
pub(super) fn start(
    plan: &Plan,
    node: NodeIndex,
    values: &Values,
) -> Result<Option<String>, Failure> {
    let commits = Commits { plan, values };
    if let Some(from) = from(plan, node) {
        return Ok(commits.of_need(from).map(|found| found.commit));
    }
    let mut at = Some(node);
    while let Some(inner) = at {
        let chosen = from(plan, inner).filter(|_| inner != node);
        let needs = match &chosen {
            Some(need) => std::slice::from_ref(need),
            None => plan.node(inner).needs.as_slice(),
        };
        let found: Vec<CapturedCommit> =
            needs.iter().filter_map(|need| commits.of_need(*need)).collect();
        match found.as_slice() {
            [] => at = plan.node(inner).parent,
            [one] => return Ok(Some(one.commit.clone())),
            several => {
                let tasks: Vec<&str> = several.iter().map(|c| c.task.as_str()).collect();
                return Err(Failure::new(
                    ErrorClass::Template,
                    format!(
                        "several needs captured a commit ({}): say which to start at with `workspace: {{ from: … }}`",
                        tasks.join(", ")
                    ),
                ));
            }
        }
    }
    Ok(None)
}

/// What a merge collects: of each need its commit, of a group the last of each completed item.
pub(super) fn merged(plan: &Plan, node: NodeIndex, values: &Values) -> Vec<CapturedCommit> {
    let commits = Commits { plan, values };
    let needs = std::iter::successors(Some(node), |at| plan.node(*at).parent)
        .map(|at| &plan.node(at).needs)
        .find(|needs| !needs.is_empty());
    let mut found = Vec::new();
    for need in needs.into_iter().flatten() {
        match values.items.get(need) {
            Some(items) => {
                let around: Vec<&str> = commits.keys_around(*need);
                found.extend(items.iter().filter_map(|item| commits.of_item(*need, item, &around)));
            }
            None => found.extend(commits.of_need(*need)),
        }
    }
    found
}

fn from(plan: &Plan, node: NodeIndex) -> Option<NodeIndex> {
    plan.node(node).workspace.as_ref().and_then(|workspace| workspace.from)
}

struct Commits<'a> {
    plan: &'a Plan,
    values: &'a Values,
}

impl<'a> Commits<'a> {
    /// The keys of the items around a node that is loaded, outermost first.
    fn keys_around(&self, node: NodeIndex) -> Vec<&'a str> {
        let around = self.plan.enclosing_items(node);
        let items = self.values.item.iter();
        items
            .filter(|(group, _, _)| around.contains(group))
            .map(|(_, key, _)| key.as_str())
            .collect()
    }

    /// The commit of a task, or the last one in a plain group that completed.
    fn of_need(&self, need: NodeIndex) -> Option<CapturedCommit> {
        let keys = self.keys_around(need);
        self.last(
            need,
            Rows {
                tasks: &|index| self.values.tasks.get(&index),
                items: &|index| self.last_round(index),
            },
            &keys,
        )
    }

    /// What is loaded of a loop: its last round. The items of a `for_each` are no single need.
    fn last_round(&self, index: NodeIndex) -> Option<&'a [ItemValue]> {
        self.plan.group(index)?.rounds.as_ref()?;
        self.values.items.get(&index).map(Vec::as_slice)
    }

    /// The last commit captured in a completed item.
    fn of_item(
        &self,
        group: NodeIndex,
        item: &ItemValue,
        around: &[&str],
    ) -> Option<CapturedCommit> {
        if item.status != TaskState::Completed {
            return None;
        }
        let keys: Vec<&str> = around.iter().copied().chain([item.key.as_str()]).collect();
        let rows = Rows {
            tasks: &|index| item.tasks.get(&index),
            items: &|index| item.items.get(&index).map(Vec::as_slice),
        };
        self.last_of_children(group, rows, &keys)
    }

    fn last(&self, index: NodeIndex, rows: Rows<'_>, keys: &[&str]) -> Option<CapturedCommit> {
        let Some(group) = self.plan.group(index) else {
            let value = (rows.tasks)(index)?;
            return Some(CapturedCommit {
                task: self.plan.path(index, keys),
                commit: commit(self.plan, index, value)?,
            });
        };
        if !group.is_plain() {
            let items = (rows.items)(index)?;
            return items.iter().rev().find_map(|item| self.of_item(index, item, keys));
        }
        let is_failed =
            (rows.tasks)(index).is_some_and(|group| group.status != TaskState::Completed);
        if is_failed { None } else { self.last_of_children(index, rows, keys) }
    }

    fn last_of_children(
        &self,
        group: NodeIndex,
        rows: Rows<'_>,
        keys: &[&str],
    ) -> Option<CapturedCommit> {
        let mut children = self.plan.group(group).map(|group| group.children.clone())?;
        let mut depths = HashMap::new();
        for child in &children {
            depth(self.plan, *child, &mut depths);
        }
        children.sort_by_key(|child| (depths[child], *child));
        children.iter().rev().find_map(|child| self.last(*child, rows, keys))
    }
}

/// Where the rows of one level of items are looked up.
#[derive(Clone, Copy)]
struct Rows<'a> {
    tasks: &'a dyn Fn(NodeIndex) -> Option<&'a TaskValue>,
    items: &'a dyn Fn(NodeIndex) -> Option<&'a [ItemValue]>,
}

/// The commit among a task's outputs, which count if it completed or its failure was allowed.
fn commit(plan: &Plan, index: NodeIndex, value: &TaskValue) -> Option<String> {
    let allowed = plan.node(index).continue_on_failure && value.status == TaskState::Failed;
    let outputs =
        Some(&value.outputs).filter(|_| allowed || value.status == TaskState::Completed)?;
    outputs.get("commit").and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// How many needs stand one behind the other before a task.
fn depth(plan: &Plan, index: NodeIndex, known: &mut HashMap<NodeIndex, usize>) -> usize {
    if let Some(depth) = known.get(&index) {
        return *depth;
    }
    let needs = &plan.node(index).needs;
    let found = needs.iter().map(|need| depth(plan, *need, known) + 1).max().unwrap_or(0);
    known.insert(index, found);
    found
}
