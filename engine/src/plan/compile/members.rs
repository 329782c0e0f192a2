//! What stands behind the name of a task in an expression: its status, error and outputs, the tasks
//! of a group, the items of a `for_each`.

use super::{
    kinds,
    outline::Outline,
    resolve::{Found, Unknown, unknown},
};
use crate::{
    expression::names::{Name, Step},
    plan::NodeIndex,
    workflow::suggest,
};

const LISTS: [&str; 4] = ["completed", "failed", "skipped", "cancelled"];

/// The members of tasks, as expressions look them up.
pub(super) struct Members<'a, 'w> {
    pub(super) outline: &'a Outline<'w>,
}

impl Members<'_, '_> {
    /// Everything of a task: `tasks.plan` alone, or by a key that only a value gives.
    pub(super) fn whole(&self, index: NodeIndex, found: &mut Found) -> Result<(), Unknown> {
        found.tasks.insert(index);
        if self.outline.draft(index).repeats() {
            found.items.insert(index);
        } else {
            for child in &self.outline.draft(index).children {
                self.whole(*child, found)?;
            }
        }
        Ok(())
    }

    /// `name` from its look-up number `at` on, in a task or group.
    pub(super) fn task(
        &self,
        index: NodeIndex,
        name: &Name,
        at: usize,
        found: &mut Found,
    ) -> Result<(), Unknown> {
        if let Some(cure) = self.dashed_task(index, name, at) {
            return Err(cure);
        }
        let Some(Step::Key(key)) = name.steps.get(at) else { return self.whole(index, found) };
        let draft = self.outline.draft(index);
        match key.as_str() {
            "status" | "error" | "outputs" => {
                found.tasks.insert(index);
                self.value(index, name, at)
            }
            "items" if draft.has_items() => self.items(index, name, at + 1, found),
            list if draft.has_items() && LISTS.contains(&list) => {
                found.lists.insert(index);
                Ok(())
            }
            "tasks" if draft.is_loop() => self.round(index, name, at + 1, found),
            "tasks" if draft.is_group() && !draft.has_items() => {
                self.inner(index, name, at + 1, found)
            }
            key => Err(self.unknown_member(index, name, at, key)),
        }
    }

    /// `tasks.my-task` where `my` is a task too, and `my-task` another.
    fn dashed_task(&self, index: NodeIndex, name: &Name, at: usize) -> Option<Unknown> {
        let level = self.outline.level(self.outline.draft(index).parent);
        let ids: Vec<&str> =
            level.iter().map(|i| self.outline.draft(*i).id.value.as_str()).collect();
        (name.steps.len() == at).then(|| dashed_cure(name, at, &ids)).flatten()
    }

    /// Nothing is called `key`, which is the look-up number `at`, in a task or group.
    fn unknown_member(&self, index: NodeIndex, name: &Name, at: usize, key: &str) -> Unknown {
        let draft = self.outline.draft(index);
        let base = name.written(at);
        let has_items = draft.has_items();
        let hint = match key {
            "output" | "result" => format!("write `{base}.outputs`"),
            "state" | "outcome" | "conclusion" => format!("write `{base}.status`"),
            "tasks" if has_items => format!("write `{base}.items.KEY.ID`: it has `for_each`"),
            "items" if draft.is_group() => format!("write `{base}.tasks.ID`: it has no `for_each`"),
            _ if self.outline.find(Some(index), key).is_some() => {
                let way = if has_items { "items.KEY" } else { "tasks" };
                format!("write `{base}.{way}.{key}`")
            }
            _ if has_items => {
                suggest::or_list(key, LISTS.into_iter().chain(["items", "status", "error"]))
            }
            list if draft.is_group() && LISTS.contains(&list) => {
                "only a group with `for_each` has lists of item keys".to_owned()
            }
            _ if draft.is_group() => suggest::or_list(key, ["tasks", "status", "error"]),
            _ => suggest::did_you_mean(key, ["outputs", "status", "error"])
                .unwrap_or_else(|| format!("what it wrote is `{base}.outputs.{key}`")),
        };
        unknown(format!("`{}` is undefined", name.written(at + 1)), hint)
    }

    /// `tasks.group.tasks.…` from the id on.
    fn inner(
        &self,
        group: NodeIndex,
        name: &Name,
        at: usize,
        found: &mut Found,
    ) -> Result<(), Unknown> {
        let children = &self.outline.draft(group).children;
        let Some(Step::Key(key)) = name.steps.get(at) else {
            return children.iter().try_for_each(|child| self.whole(*child, found));
        };
        match self.outline.find(Some(group), key) {
            Some(child) => self.task(child, name, at + 1, found),
            None => Err(self.unknown_child(group, name, at, key)),
        }
    }

    /// `tasks.group.items.…` from the key on.
    fn items(
        &self,
        group: NodeIndex,
        name: &Name,
        at: usize,
        found: &mut Found,
    ) -> Result<(), Unknown> {
        found.items.insert(group);
        let Some(Step::Key(key)) = name.steps.get(at + 1) else { return Ok(()) };
        let Some(child) = self.outline.find(Some(group), key) else {
            return Err(self.unknown_child(group, name, at + 1, key));
        };
        // The tasks of the items are loaded with their group.
        let mut inner = Found::default();
        self.task(child, name, at + 2, &mut inner)?;
        found.items.extend(inner.items);
        found.items.extend(inner.lists);
        Ok(())
    }

    /// `tasks.loop.tasks.…` from the id on: the tasks of the last round.
    fn round(
        &self,
        group: NodeIndex,
        name: &Name,
        at: usize,
        found: &mut Found,
    ) -> Result<(), Unknown> {
        found.items.insert(group);
        let Some(Step::Key(key)) = name.steps.get(at) else { return Ok(()) };
        let Some(child) = self.outline.find(Some(group), key) else {
            return Err(self.unknown_child(group, name, at, key));
        };
        // The tasks of the round are loaded with their group.
        let mut inner = Found::default();
        self.task(child, name, at + 1, &mut inner)?;
        found.items.extend(inner.items);
        found.items.extend(inner.lists);
        Ok(())
    }

    fn unknown_child(&self, group: NodeIndex, name: &Name, at: usize, key: &str) -> Unknown {
        let draft = self.outline.draft(group);
        let ids: Vec<&str> = draft
            .children
            .iter()
            .map(|child| self.outline.draft(*child).id.value.as_str())
            .collect();
        dashed_cure(name, at + 1, &ids).unwrap_or_else(|| {
            let message = format!("there is no task `{key}` in the group `{}`", draft.id.value);
            unknown(message, suggest::or_list(key, ids))
        })
    }

    /// What follows `status`, `error` or `outputs`.
    fn value(&self, index: NodeIndex, name: &Name, at: usize) -> Result<(), Unknown> {
        let (Some(Step::Key(member)), Some(Step::Key(key))) =
            (name.steps.get(at), name.steps.get(at + 1))
        else {
            return Ok(());
        };
        let draft = self.outline.draft(index);
        let undefined =
            |hint: String| Err(unknown(format!("`{}` is undefined", name.written(at + 2)), hint));
        if member == "status" {
            return undefined("a status is text, such as 'completed'".to_owned());
        }
        if member == "error" {
            return match key.as_str() {
                "class" | "message" => Ok(()),
                _ => undefined("an error has class and message".to_owned()),
            };
        }
        if draft.is_group() {
            return undefined("a group has no outputs of its own, the tasks in it have".to_owned());
        }
        self.output(index, key, || name.written(at + 2))
    }

    /// One of the outputs of a task, by its name.
    pub(super) fn output(
        &self,
        index: NodeIndex,
        key: &str,
        written: impl Fn() -> String,
    ) -> Result<(), Unknown> {
        let undefined = |hint: String| Err(unknown(format!("`{}` is undefined", written()), hint));
        match kinds::known_outputs(self.outline.draft(index).task) {
            Some(known) if known.is_empty() => undefined("this task has no outputs".to_owned()),
            Some(known) if !known.iter().any(|name| name == key) => {
                undefined(suggest::or_list(key, known.iter().map(String::as_str)))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// The cure for `tasks.my-task`, which subtracts `task` from `tasks.my`. `steps` is how many
/// look-ups the name has when the dash follows the id.
pub(super) fn dashed_cure(name: &Name, steps: usize, ids: &[&str]) -> Option<Unknown> {
    let dashed = name.dashed.as_ref().filter(|_| name.steps.len() == steps)?;
    let id = ids.iter().filter(|id| is_prefix(id, &dashed.name)).max_by_key(|id| id.len())?;
    let base = name.written(steps - 1);
    Some(unknown(
        format!("`{base}.{id}` is a subtraction: an id with a dash cannot follow a dot"),
        format!("write `{base}['{id}']`"),
    ))
}

/// Whether a dashed name is `id`, or starts with it up to a dash.
fn is_prefix(id: &str, dashed: &str) -> bool {
    id.contains('-')
        && (dashed == id || dashed.strip_prefix(id).is_some_and(|rest| rest.starts_with('-')))
}
