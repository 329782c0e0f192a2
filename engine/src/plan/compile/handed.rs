//! What the workflow and its groups hand down: `env`, `requires`, `prefers`, `priority` and `workspace`. Each
//! is checked once, where it is written; what its templates refer to goes to every task below.

use super::{
    outline::Outline,
    resolve::{Found, Resolver, Viewer},
    templates::Templates,
    workspaces,
};
use crate::{
    capability::is_capability,
    expression::names,
    plan::{self, NodeIndex},
    priority::Priority,
    workflow::{
        definition::{Any, At, Entries, Prefers, Text, Workflow, Workspace},
        problem::Problems,
    },
};

/// What holds for a task or group: its own and what was handed down to it.
#[derive(Clone, Default)]
pub(super) struct Handed<'w> {
    pub(super) requires: Vec<&'w str>,
    pub(super) prefers: Option<plan::Prefers>,
    pub(super) priority: Option<Priority>,
    pub(super) workspace: workspaces::Handed<'w>,
    /// What the environment refers to.
    pub(super) env: Found,
    /// What repository and base refer to.
    pub(super) places: Found,
}

/// One place in which something is handed down.
struct Level<'w> {
    env: &'w Entries<Any>,
    requires: &'w [At<String>],
    prefers: Option<&'w Prefers>,
    priority: Option<Priority>,
    workspace: Option<&'w Workspace>,
}

/// For every task and group what holds for it.
pub(super) fn all<'w>(
    workflow: &'w Workflow,
    outline: &Outline<'w>,
    source: &str,
    problems: &mut Problems,
) -> Vec<Handed<'w>> {
    let resolver = |viewer| Resolver::new(outline, workflow, viewer);
    let top = Level {
        env: &workflow.env,
        requires: &[],
        prefers: None,
        priority: None,
        workspace: workflow.workspace.as_ref(),
    };
    let top = Handed::default().with(&top, resolver(Viewer::Workflow), source, problems);
    let mut all: Vec<Handed<'w>> = Vec::with_capacity(outline.drafts.len());
    for index in outline.indices() {
        let draft = outline.draft(index);
        // A group stands before what is in it.
        let outer = draft.parent.map_or(&top, |group| &all[group.index()]);
        let task = draft.task;
        let level = Level {
            env: &task.env,
            requires: &task.requires,
            prefers: task.prefers.as_ref(),
            priority: task.priority,
            workspace: task.workspace.as_ref(),
        };
        let handed = outer.with(&level, resolver(viewer(outline, index)), source, problems);
        all.push(handed);
    }
    all
}

/// What a group hands down sees the item of the group; what is a task's own sees what the task sees.
fn viewer(outline: &Outline<'_>, index: NodeIndex) -> Viewer {
    if outline.draft(index).is_group() { Viewer::Key(index) } else { Viewer::Task(index) }
}

impl<'w> Handed<'w> {
    fn with(
        &self,
        level: &Level<'w>,
        resolver: Resolver<'_, 'w>,
        source: &str,
        problems: &mut Problems,
    ) -> Self {
        check_variables(level.env, problems);
        let requires = self.requires(level.requires, problems);
        let mut templates = Templates { resolver, source, found: self.env.clone() };
        for (_, value) in variables(level.env) {
            templates.tree(&value.0, problems);
        }
        let env = std::mem::take(&mut templates.found);
        // Another repository has nothing to do with the one outside.
        if level.workspace.is_none_or(|own| own.repo.is_none()) {
            templates.found = self.places.clone();
        }
        for text in level.workspace.iter().flat_map(|own| [&own.repo, &own.base]).flatten() {
            check_length(text, problems);
            templates.text(text, problems);
        }
        let workspace = self.workspace.with(level.workspace, source, problems);
        workspace.check(level.workspace, problems);
        Self {
            requires,
            prefers: self.prefers(level.prefers),
            priority: level.priority.or(self.priority),
            workspace,
            env,
            places: templates.found,
        }
    }

    /// Each of its keys goes before what a group says.
    fn prefers(&self, own: Option<&Prefers>) -> Option<plan::Prefers> {
        let Some(own) = own else { return self.prefers.clone() };
        let outer = self.prefers.clone().unwrap_or_default();
        let names = |own: &[At<String>], outer: Vec<String>| {
            let own: Vec<String> = own.iter().map(|name| name.value.clone()).collect();
            if own.is_empty() { outer } else { own }
        };
        Some(plan::Prefers {
            kind: own.kind.or(outer.kind),
            agents: names(&own.agents, outer.agents),
            technologies: names(&own.technologies, outer.technologies),
            complexity: own.complexity.or(outer.complexity),
            within: own.within.or(outer.within),
        })
    }

    /// All capabilities, sorted, without repetition.
    fn requires(&self, own: &'w [At<String>], problems: &mut Problems) -> Vec<&'w str> {
        const CAPABILITIES_MAX: usize = 64;
        for name in own.iter().filter(|name| !is_capability(&name.value)) {
            problems.hint(
                name.at,
                format!("`{}` cannot be a capability", name.value),
                "use 1 to 64 letters, digits and _ - . : / +",
            );
        }
        let mut all = self.requires.clone();
        all.extend(own.iter().map(|name| name.value.as_str()));
        all.sort_unstable();
        all.dedup();
        if let Some(last) = own.last().filter(|_| all.len() > CAPABILITIES_MAX) {
            problems
                .add(last.at, format!("more than {CAPABILITIES_MAX} capabilities for one task"));
            all.truncate(CAPABILITIES_MAX);
        }
        all
    }
}

/// The entries of an `env` that are not free keys.
pub(super) fn variables(env: &Entries<Any>) -> impl Iterator<Item = (&At<String>, &Any)> {
    let all = env.0.iter().map(|(name, value)| (name, value));
    all.filter(|(name, _)| !name.value.starts_with("x-"))
}

fn check_variables(env: &Entries<Any>, problems: &mut Problems) {
    for (name, _) in variables(env).filter(|(name, _)| !names::is_identifier(&name.value)) {
        problems.hint(
            name.at,
            format!("`{}` cannot be the name of an environment variable", name.value),
            "use letters, digits and `_`, the first no digit",
        );
    }
    for (name, _) in variables(env).filter(|(name, _)| name.value.starts_with("JOBSHOP_")) {
        problems.hint(
            name.at,
            format!("`{}` is a name that Jobshop keeps for itself", name.value),
            "choose a name that does not start with `JOBSHOP_`",
        );
    }
}

fn check_length(text: &Text, problems: &mut Problems) {
    const BYTES_MAX: usize = 4096;
    if text.text.len() > BYTES_MAX {
        problems.add(text.raw.start, format!("this is longer than {BYTES_MAX} bytes"));
    }
}
