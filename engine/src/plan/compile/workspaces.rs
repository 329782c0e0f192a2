//! Which directory a task works in, as far as the text says it: what is handed down, and which needs
//! may bring a commit.

use super::{
    outline::{Draft, Outline},
    resolve::{Found, Resolver},
};
use crate::{
    plan::{NodeIndex, WorkspaceMode, WorkspaceSpec},
    workflow::{
        definition::{Text, Workspace},
        problem::Problems,
    },
};

/// A workspace with what was handed down to it.
#[derive(Clone, Default)]
pub(super) struct Handed<'w> {
    pub(super) repo: Option<&'w Text>,
    pub(super) base: Option<&'w Text>,
    mode: Option<WorkspaceMode>,
}

impl<'w> Handed<'w> {
    /// What a group or task adds. Another repository starts anew: its branches are others.
    pub(super) fn with(&self, own: Option<&'w Workspace>) -> Self {
        let Some(own) = own else { return self.clone() };
        let outer = if own.repo.is_some() { Self::default() } else { self.clone() };
        Self {
            repo: own.repo.as_ref().or(outer.repo),
            base: own.base.as_ref().or(outer.base),
            mode: own.mode.or(outer.mode),
        }
    }

    pub(super) fn is_clone(&self) -> bool {
        self.repo.is_some() && self.mode != Some(WorkspaceMode::Empty)
    }

    pub(super) fn spec(&self, from: Option<NodeIndex>) -> WorkspaceSpec {
        let text = |text: Option<&Text>| text.map(|text| text.text.clone());
        WorkspaceSpec {
            repo: text(self.repo),
            base: text(self.base),
            from,
            mode: if self.is_clone() { WorkspaceMode::Clone } else { WorkspaceMode::Empty },
        }
    }
}

/// The task that `from` names.
pub(super) fn from(
    draft: &Draft<'_>,
    outline: &Outline<'_>,
    resolver: &Resolver<'_, '_>,
    problems: &mut Problems,
) -> Option<NodeIndex> {
    let from = draft.task.workspace.as_ref()?.from.as_ref()?;
    let Some(found) = resolver.needed_task(&from.value) else {
        problems.hint(
            from.at,
            format!("`from: {}` names no task that this one needs", from.value),
            "name a task whose commit to start at, and need it",
        );
        return None;
    };
    if outline.draft(found).has_items() {
        problems.hint(
            from.at,
            format!("`from: {}` is a group with `for_each`, which has many commits", from.value),
            "merge them with `uses: builtin/merge` and start from that",
        );
        return None;
    }
    Some(found)
}

/// The needs of a task, then of the groups around it: where a commit is looked for, nearest first.
pub(super) fn levels(outline: &Outline<'_>, index: NodeIndex) -> Vec<(NodeIndex, Vec<NodeIndex>)> {
    std::iter::once(index)
        .chain(outline.around(index))
        .map(|at| (at, outline.draft(at).needs.clone()))
        .collect()
}

/// What a merge takes commits from: its own needs, or those of the nearest group that has some.
pub(super) fn merged(outline: &Outline<'_>, index: NodeIndex) -> Vec<NodeIndex> {
    let levels = levels(outline, index).into_iter().map(|(_, needs)| needs);
    levels.into_iter().find(|needs| !needs.is_empty()).unwrap_or_default()
}

/// Adds the rows whose outputs may hold the commit to start at.
pub(super) fn refer(
    outline: &Outline<'_>,
    index: NodeIndex,
    from: Option<NodeIndex>,
    found: &mut Found,
) {
    if let Some(from) = from {
        refer_commits(outline, from, found);
        return;
    }
    for need in levels(outline, index).into_iter().flat_map(|(_, needs)| needs) {
        if !outline.draft(need).has_items() {
            refer_commits(outline, need, found);
        }
    }
}

/// Adds the rows in which a task's or group's commits are found.
pub(super) fn refer_commits(outline: &Outline<'_>, index: NodeIndex, found: &mut Found) {
    let draft = outline.draft(index);
    if draft.has_items() {
        found.items.insert(index);
        for inner in inner_groups(outline, index) {
            found.items.insert(inner);
        }
        return;
    }
    found.tasks.insert(index);
    for child in &draft.children {
        refer_commits(outline, *child, found);
    }
}

/// The `for_each` groups in the items of a group.
fn inner_groups(outline: &Outline<'_>, group: NodeIndex) -> Vec<NodeIndex> {
    let mut open = outline.draft(group).children.clone();
    let mut found = Vec::new();
    while let Some(index) = open.pop() {
        let draft = outline.draft(index);
        if draft.has_items() {
            found.push(index);
        }
        open.extend(&draft.children);
    }
    found
}
