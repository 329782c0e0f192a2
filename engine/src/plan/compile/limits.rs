//! Locks and concurrency, from the keys they are written with.

use super::{
    outline::Outline,
    resolve::{Found, Resolver, Viewer},
    templates::Templates,
};
use crate::{
    plan::{self, Concurrency, NodeIndex},
    workflow::{
        definition::{At, Lock, Workflow},
        problem::Problems,
    },
};

pub(super) fn locks(written: &[At<Lock>]) -> Vec<plan::Lock> {
    let lock = |lock: &At<Lock>| plan::Lock {
        name: lock.value.name.text.clone(),
        limit: lock.value.limit,
    };
    written.iter().map(lock).collect()
}

/// What holds a lock must not wait for another: two that do could wait for each other for ever.
pub(super) fn check(outline: &Outline<'_>, index: NodeIndex, problems: &mut Problems) {
    let draft = outline.draft(index);
    let Some(first) = draft.task.locks.first() else { return };
    let around = outline.around(index);
    let Some(group) = around.iter().find(|group| !outline.draft(**group).task.locks.is_empty())
    else {
        return;
    };
    problems.hint(
        first.at,
        format!(
            "`{}` stands in the group `{}`, which takes a lock already",
            draft.id.value,
            outline.path(*group)
        ),
        "what holds a lock must not wait for another: name all of them on the group, or on its tasks",
    );
}

/// The places of the workflow's sessions; their key sees what is known when a session is created.
pub(super) fn concurrency(
    workflow: &Workflow,
    outline: &Outline<'_>,
    source: &str,
    problems: &mut Problems,
) -> Option<Concurrency> {
    let written = &workflow.concurrency.as_ref()?.value;
    if let Some(key) = &written.key {
        let resolver = Resolver::new(outline, workflow, Viewer::Workflow);
        let mut templates = Templates { resolver, source, found: Found::default() };
        templates.text(key, problems);
        if templates.found.context {
            problems.hint(
                key.raw.start,
                "a session has no context before it is created",
                "use `inputs` in the key",
            );
        }
    }
    let key = written.key.as_ref().map_or(&workflow.name.value, |key| &key.text);
    Some(Concurrency {
        key: key.clone(),
        limit: i32::try_from(written.limit).unwrap_or(1),
        on_full: written.on_full,
    })
}
