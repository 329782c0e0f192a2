//! Whose conversation an agent goes on with: a task that it needs, of the same kind, one row.

use super::{
    outline::{Draft, Outline},
    resolve::Resolver,
};
use crate::{
    plan::{BlockIndex, NodeIndex},
    workflow::{definition::Conversation, problem::Problems},
};

/// The task that `session: continue:TASK` names.
pub(super) fn continued(
    draft: &Draft<'_>,
    outline: &Outline<'_>,
    resolver: &Resolver<'_, '_>,
    problems: &mut Problems,
) -> Option<NodeIndex> {
    let agent = &draft.task.agent.as_ref()?.value;
    let Some(Conversation::Continue(task)) = &agent.session else { return None };
    let id = &task.value;
    let Some(found) = resolver.needed_task(id) else {
        problems.hint(
            task.at,
            format!("`session: continue:{id}` names no task that this one needs"),
            "name an agent's task, and need it",
        );
        return None;
    };
    let other = outline.draft(found);
    let is_same = other.task.agent.as_ref().is_some_and(|it| it.value.runtime == agent.runtime);
    if !is_same {
        let runtime = agent.runtime.as_str();
        let why = format!(
            "`{id}` is no agent with the runtime `{runtime}`, whose conversation could go on"
        );
        problems.add(task.at, why);
        return None;
    }
    if other.block != draft.block && other.block != BlockIndex::ROOT {
        problems.hint(
            task.at,
            format!("`{id}` stands in another group, whose items are not this one's"),
            "continue a task of the same group, or of the top",
        );
        return None;
    }
    Some(found)
}
