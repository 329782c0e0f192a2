//! Which directory a task works in, as far as the text says it: what is handed down, and which needs
//! may bring a commit.

use super::{
    kinds,
    outline::{Draft, Outline},
    resolve::{Found, Resolver},
};
use crate::{
    plan::{Command, NodeIndex, WorkspaceMode, WorkspaceSpec, repository::is_literally_relative},
    size::Size,
    workflow::{
        definition::{Text, Workflow, Workspace},
        problem::Problems,
    },
};

/// A workspace with what was handed down to it.
#[derive(Clone, Default)]
pub(super) struct Handed<'w> {
    pub(super) repo: Option<&'w Text>,
    pub(super) base: Option<&'w Text>,
    mode: Option<WorkspaceMode>,
    setup: Vec<Command>,
    quota: Option<Size>,
}

impl<'w> Handed<'w> {
    /// What a group or task adds. Another repository starts anew: its branches are others, and what
    /// has to be set up for it.
    pub(super) fn with(
        &self,
        own: Option<&'w Workspace>,
        source: &str,
        problems: &mut Problems,
    ) -> Self {
        let Some(own) = own else { return self.clone() };
        let outer = if own.repo.is_some() { Self::default() } else { self.clone() };
        let setup = own
            .setup
            .as_ref()
            .map(|setup| setup.0.iter().map(|run| kinds::command(run, source, problems)).collect());
        Self {
            repo: own.repo.as_ref().or(outer.repo),
            base: own.base.as_ref().or(outer.base),
            mode: own.mode.as_ref().map(|mode| mode.value).or(outer.mode),
            setup: setup.unwrap_or(outer.setup),
            quota: own.quota.as_ref().map(|quota| quota.value).or(self.quota),
        }
    }

    /// Refuses a clone of nothing where it is written; `own` is what made `self` of the outer one.
    pub(super) fn check(&self, own: Option<&Workspace>, problems: &mut Problems) {
        let mode = own.and_then(|own| own.mode.as_ref());
        if let Some(mode) = mode.filter(|mode| mode.value == WorkspaceMode::Clone)
            && self.repo.is_none()
        {
            problems.hint(
                mode.at,
                "`mode: clone` has no repository to clone",
                "give `repo` here or in a workspace around it",
            );
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
            setup: self.setup.clone(),
            quota: self.quota,
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

/// Refuses relative repositories: they have no folder to start at.
pub(super) fn refuse_relative(workflow: &Workflow, outline: &Outline<'_>, problems: &mut Problems) {
    let tasks = outline.drafts.iter().map(|draft| &draft.task.workspace);
    for workspace in std::iter::once(&workflow.workspace).chain(tasks).flatten() {
        let repo = workspace.repo.as_ref().filter(|repo| is_literally_relative(&repo.text));
        if let Some(repo) = repo {
            problems.hint(
                repo.raw.start,
                format!("the repository `{}` is a relative path, which starts nowhere here", repo.text),
                "give an absolute path or a URL, or use `jobshop run FILE`, where it starts at FILE's folder",
            );
        }
    }
}

/// Refuses a merge that has nothing to merge, or nowhere to.
pub(super) fn check_merge(
    outline: &Outline<'_>,
    index: NodeIndex,
    workspace: &Handed<'_>,
    problems: &mut Problems,
) {
    let task = outline.draft(index).task;
    let Some(uses) = &task.uses else { return };
    if workspace.repo.is_none() && !task.is_broken {
        problems.hint(
            uses.at,
            format!("`{}` has no repository to merge in", uses.value),
            "give `workspace: { repo: … }` here, on a group around it or at the top",
        );
    }
    let has_broken_needs = std::iter::once(index)
        .chain(outline.around(index))
        .any(|at| outline.draft(at).task.has_broken_needs);
    if merged(outline, index).is_empty() && !has_broken_needs {
        problems.hint(
            uses.at,
            format!("`{}` has nothing to merge: it needs no task", uses.value),
            "name the tasks whose commits it merges under `needs`",
        );
    }
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
    if draft.repeats() {
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
        if draft.repeats() {
            found.push(index);
        }
        open.extend(&draft.children);
    }
    found
}
