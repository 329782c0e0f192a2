//! What the names in an expression mean, seen from one task: which rows must be loaded for it, or
//! why there is no such thing.

use std::collections::{BTreeSet, HashSet};

use super::outline::Outline;
use crate::{
    expression::names::{Name, Step},
    plan::{InputType, NodeIndex, References},
    workflow::{definition::Workflow, suggest},
};

/// Rows that templates look at, while they are collected.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) tasks: BTreeSet<NodeIndex>,
    pub(super) lists: BTreeSet<NodeIndex>,
    pub(super) items: BTreeSet<NodeIndex>,
    pub(super) item: bool,
}

impl Found {
    pub(super) fn into_references(self) -> References {
        References {
            tasks: self.tasks.into_iter().collect(),
            lists: self.lists.difference(&self.items).copied().collect(),
            items: self.items.into_iter().collect(),
            item: self.item,
        }
    }
}

/// Why a name means nothing.
#[derive(Debug)]
pub(super) struct Unknown {
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

fn unknown(message: impl Into<String>, hint: impl Into<Option<String>>) -> Unknown {
    Unknown { message: message.into(), hint: hint.into() }
}

/// Where an expression stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Viewer {
    /// In the outputs of the session, which see every task.
    Session,
    Task(NodeIndex),
    /// In the `key` of a `for_each` group, which sees the group's own item.
    Key(NodeIndex),
}

/// The names that one task sees.
pub(super) struct Resolver<'a, 'w> {
    outline: &'a Outline<'w>,
    workflow: &'w Workflow,
    viewer: Viewer,
    /// The groups around it, innermost first.
    around: Vec<NodeIndex>,
    /// All tasks that it needs, directly or not, also through its groups.
    needed: HashSet<NodeIndex>,
}

const ROOTS: [&str; 5] = ["inputs", "tasks", "needs", "session", "workflow"];
const FUNCTIONS: [&str; 2] = ["range", "dict"];
const LISTS: [&str; 4] = ["completed", "failed", "skipped", "cancelled"];

impl<'a, 'w> Resolver<'a, 'w> {
    pub(super) fn new(outline: &'a Outline<'w>, workflow: &'w Workflow, viewer: Viewer) -> Self {
        let (around, needed) = match viewer {
            Viewer::Session => (Vec::new(), HashSet::new()),
            Viewer::Task(index) | Viewer::Key(index) => {
                let around = outline.around(index);
                let mut needed = HashSet::new();
                let mut open: Vec<NodeIndex> = std::iter::once(&index)
                    .chain(&around)
                    .flat_map(|at| outline.draft(*at).needs.iter().copied())
                    .collect();
                while let Some(need) = open.pop() {
                    if needed.insert(need) {
                        open.extend(&outline.draft(need).needs);
                    }
                }
                (around, needed)
            }
        };
        Self { outline, workflow, viewer, around, needed }
    }

    /// Adds to `found` what a name refers to.
    pub(super) fn resolve(&self, name: &Name, found: &mut Found) -> Result<(), Unknown> {
        if name.is_call {
            return self.function(&name.root);
        }
        if self.item_names().any(|item| item == name.root) {
            found.item = true;
            return Ok(());
        }
        match name.root.as_str() {
            "inputs" => self.input(name),
            "tasks" => self.tasks(name, found),
            "needs" => self.needs(name, found),
            "session" => member(name, &["id", "title", "retry", "started_at"]),
            "workflow" => member(name, &["name", "version"]),
            _ => Err(self.unknown_root(name)),
        }
    }

    /// A task by its id as `workspace.from` names it: from inside out, and needed.
    pub(super) fn needed_task(&self, id: &str) -> Option<NodeIndex> {
        self.visible(id).filter(|index| self.needed.contains(index))
    }

    fn item_names(&self) -> impl Iterator<Item = &str> {
        let own = match self.viewer {
            Viewer::Key(index) => Some(index),
            Viewer::Session | Viewer::Task(_) => None,
        };
        own.into_iter()
            .chain(self.around.iter().copied())
            .map(|group| self.outline.draft(group))
            .filter(|draft| draft.has_items())
            .map(|draft| draft.item_name())
    }

    /// The levels of tasks from inside out.
    fn levels(&self) -> impl Iterator<Item = Option<NodeIndex>> {
        self.around.iter().copied().map(Some).chain([None])
    }

    fn visible(&self, id: &str) -> Option<NodeIndex> {
        self.levels().find_map(|level| self.outline.find(level, id))
    }

    fn visible_ids(&self) -> Vec<&str> {
        self.levels()
            .flat_map(|level| self.outline.level(level))
            .filter(|index| self.is_needed(**index))
            .map(|index| self.outline.draft(*index).id.value.as_str())
            .collect()
    }

    fn is_needed(&self, index: NodeIndex) -> bool {
        self.viewer == Viewer::Session || self.needed.contains(&index)
    }

    fn function(&self, name: &str) -> Result<(), Unknown> {
        if FUNCTIONS.contains(&name) {
            return Ok(());
        }
        Err(unknown(
            format!("there is no function `{name}`"),
            suggest::did_you_mean(name, FUNCTIONS)
                .or_else(|| Some(format!("filters are written `x | {name}`"))),
        ))
    }

    fn unknown_root(&self, name: &Name) -> Unknown {
        let root = name.root.as_str();
        let hint = if self.visible(root).is_some() {
            Some(format!("a task is written `tasks.{root}`"))
        } else if self.workflow.inputs.0.iter().any(|(id, _)| id.value == root) {
            Some(format!("an input is written `inputs.{root}`"))
        } else {
            match (root, self.item_names().next()) {
                ("item" | "each" | "element", Some(item)) => {
                    Some(format!("the item is called `{item}` here"))
                }
                ("item", None) => {
                    Some("there is an item only in a group with `for_each`".to_owned())
                }
                ("steps" | "jobs", _) => Some("write `tasks`".to_owned()),
                ("params" | "input" | "vars", _) => Some("write `inputs`".to_owned()),
                ("matrix", Some(item)) => Some(format!("write `{item}`")),
                ("env" | "secrets", _) => Some(
                    "the environment is for commands; expressions see `inputs` and `tasks`"
                        .to_owned(),
                ),
                ("github" | "run", _) => Some("write `session` or `workflow`".to_owned()),
                _ => suggest::did_you_mean(root, ROOTS.into_iter().chain(self.item_names())),
            }
        };
        unknown(format!("`{root}` is undefined"), hint)
    }

    fn input(&self, name: &Name) -> Result<(), Unknown> {
        let Some(Step::Key(key)) = name.steps.first() else { return Ok(()) };
        let inputs = &self.workflow.inputs.0;
        let Some((_, input)) = inputs.iter().find(|(id, _)| id.value == *key) else {
            let known = || inputs.iter().map(|(id, _)| id.value.as_str());
            let dashed = name.dashed.as_ref().filter(|_| name.steps.len() == 1);
            let hint = match dashed.filter(|dashed| known().any(|id| id == dashed.name)) {
                Some(dashed) => Some(format!("write `inputs['{}']`", dashed.name)),
                None => suggest::did_you_mean(key, known()),
            };
            return Err(unknown(format!("there is no input `{key}`"), hint));
        };
        if name.steps.len() > 1 && !matches!(input.kind, InputType::Array | InputType::Object) {
            let what = input.kind.as_str();
            return Err(unknown(
                format!("`{}` is undefined: `inputs.{key}` is {what}", name.written(2)),
                None,
            ));
        }
        Ok(())
    }

    fn needs(&self, name: &Name, found: &mut Found) -> Result<(), Unknown> {
        let direct = || {
            let (Viewer::Task(index) | Viewer::Key(index)) = self.viewer else { return Vec::new() };
            std::iter::once(&index)
                .chain(&self.around)
                .flat_map(|at| self.outline.draft(*at).needs.iter().copied())
                .collect()
        };
        let Some(Step::Key(key)) = name.steps.first() else {
            return direct().into_iter().try_for_each(|need| self.whole(need, found));
        };
        let is_named = |index: &NodeIndex| self.outline.draft(*index).id.value == *key;
        if let Some(index) = direct().into_iter().find(is_named) {
            return self.task(index, name, 1, found);
        }
        let ids: Vec<&str> =
            direct().iter().map(|index| self.outline.draft(*index).id.value.as_str()).collect();
        if let Some(cure) = dashed_cure(name, 1, &ids) {
            return Err(cure);
        }
        Err(unknown(
            format!("`{key}` is not among the needs of this task"),
            suggest::did_you_mean(key, ids)
                .or_else(|| self.visible(key).map(|_| format!("add `{key}` to `needs`"))),
        ))
    }

    fn tasks(&self, name: &Name, found: &mut Found) -> Result<(), Unknown> {
        let Some(Step::Key(key)) = name.steps.first() else {
            let levels: Vec<_> = self.levels().collect();
            return levels
                .into_iter()
                .flat_map(|level| self.outline.level(level))
                .filter(|index| self.is_needed(**index))
                .try_for_each(|index| self.whole(*index, found));
        };
        let Some(index) = self.visible(key) else {
            let all: Vec<&str> = self
                .levels()
                .flat_map(|level| self.outline.level(level))
                .map(|index| self.outline.draft(*index).id.value.as_str())
                .collect();
            if let Some(cure) = dashed_cure(name, 1, &all) {
                return Err(cure);
            }
            return Err(self.unknown_task(key));
        };
        if !self.is_needed(index) {
            let all: Vec<&str> = self
                .outline
                .level(self.outline.draft(index).parent)
                .iter()
                .map(|other| self.outline.draft(*other).id.value.as_str())
                .collect();
            if let Some(cure) = dashed_cure(name, 1, &all) {
                return Err(cure);
            }
            return Err(self.not_needed(index));
        }
        self.task(index, name, 1, found)
    }

    fn unknown_task(&self, key: &str) -> Unknown {
        let inner = self.outline.indices().find(|index| {
            self.outline.draft(*index).id.value == key
                && self.outline.draft(*index).parent.is_some()
        });
        let hint = suggest::did_you_mean(key, self.visible_ids()).or_else(|| {
            let group = self.outline.draft(inner?).parent?;
            let path = self.outline.path(group).replace('.', ".tasks.");
            Some(if self.outline.draft(group).has_items() {
                format!("it stands in a group with `for_each`: write `tasks.{path}.items[…].{key}`")
            } else {
                format!("it stands in a group: write `tasks.{path}.tasks.{key}`")
            })
        });
        unknown(format!("there is no task `{key}`"), hint)
    }

    fn not_needed(&self, index: NodeIndex) -> Unknown {
        let (Viewer::Task(own) | Viewer::Key(own)) = self.viewer else {
            return unknown("this task cannot be seen from here", None);
        };
        let id = &self.outline.draft(index).id.value;
        if own == index {
            return unknown(format!("`{id}` cannot refer to itself"), None);
        }
        if self.around.contains(&index) {
            return unknown(
                format!("`{id}` is the group around this task: it has not ended while this runs"),
                None,
            );
        }
        let parent = self.outline.draft(index).parent;
        let needer = std::iter::once(own)
            .chain(self.around.iter().copied())
            .find(|at| self.outline.draft(*at).parent == parent)
            .unwrap_or(own);
        unknown(
            format!(
                "`{id}` is not needed by `{}`, so it may not have ended",
                self.outline.path(own)
            ),
            Some(format!("add `{id}` to the `needs` of `{}`", self.outline.path(needer))),
        )
    }

    /// Everything of a task: `tasks.plan` alone, or by a key that only a value gives.
    fn whole(&self, index: NodeIndex, found: &mut Found) -> Result<(), Unknown> {
        found.tasks.insert(index);
        if self.outline.draft(index).has_items() {
            found.items.insert(index);
        } else {
            for child in &self.outline.draft(index).children {
                self.whole(*child, found)?;
            }
        }
        Ok(())
    }

    /// `name` from its look-up number `at` on, in a task or group.
    fn task(
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
            "tasks" if draft.is_group() && !draft.has_items() => {
                self.inner(index, name, at + 1, found)
            }
            _ => Err(self.unknown_member(index, name, at)),
        }
    }

    /// `tasks.my-task` where `my` is a task too, and `my-task` another.
    fn dashed_task(&self, index: NodeIndex, name: &Name, at: usize) -> Option<Unknown> {
        let level = self.outline.level(self.outline.draft(index).parent);
        let ids: Vec<&str> =
            level.iter().map(|i| self.outline.draft(*i).id.value.as_str()).collect();
        (name.steps.len() == at).then(|| dashed_cure(name, at, &ids)).flatten()
    }

    fn unknown_member(&self, index: NodeIndex, name: &Name, at: usize) -> Unknown {
        let draft = self.outline.draft(index);
        let base = name.written(at);
        let Some(Step::Key(key)) = name.steps.get(at) else { return unknown("undefined", None) };
        let hint = match key.as_str() {
            "output" | "result" => Some(format!("write `{base}.outputs`")),
            "state" | "outcome" | "conclusion" => Some(format!("write `{base}.status`")),
            "tasks" if draft.has_items() => {
                Some(format!("write `{base}.items.KEY.ID`: it has `for_each`"))
            }
            "items" if draft.is_group() => {
                Some(format!("write `{base}.tasks.ID`: it has no `for_each`"))
            }
            _ if self.outline.find(Some(index), key).is_some() => Some(if draft.has_items() {
                format!("write `{base}.items.KEY.{key}`")
            } else {
                format!("write `{base}.tasks.{key}`")
            }),
            _ if draft.has_items() => {
                suggest::did_you_mean(key, LISTS.into_iter().chain(["items", "status"]))
            }
            _ if draft.is_group() => suggest::did_you_mean(key, ["tasks", "status", "error"]),
            _ => suggest::did_you_mean(key, ["outputs", "status", "error"])
                .or_else(|| Some(format!("what it wrote is `{base}.outputs.{key}`"))),
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
            None => Err(self.unknown_child(group, name, at)),
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
            return Err(self.unknown_child(group, name, at + 1));
        };
        // The tasks of the items are loaded with their group.
        let mut inner = Found::default();
        self.task(child, name, at + 2, &mut inner)?;
        found.items.extend(inner.items);
        found.items.extend(inner.lists);
        Ok(())
    }

    fn unknown_child(&self, group: NodeIndex, name: &Name, at: usize) -> Unknown {
        let children = &self.outline.draft(group).children;
        let ids: Vec<&str> =
            children.iter().map(|child| self.outline.draft(*child).id.value.as_str()).collect();
        let Some(Step::Key(key)) = name.steps.get(at) else { return unknown("undefined", None) };
        dashed_cure(name, at + 1, &ids).unwrap_or_else(|| {
            let id = &self.outline.draft(group).id.value;
            unknown(
                format!("there is no task `{key}` in the group `{id}`"),
                suggest::did_you_mean(key, ids),
            )
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
        let undefined = |hint: Option<String>| {
            Err(unknown(format!("`{}` is undefined", name.written(at + 2)), hint))
        };
        if member == "status" {
            return undefined(Some("a status is text, such as 'completed'".to_owned()));
        }
        if member == "error" {
            return match key.as_str() {
                "class" | "message" => Ok(()),
                _ => undefined(suggest::did_you_mean(key, ["class", "message"])),
            };
        }
        if draft.is_group() {
            return undefined(Some(
                "a group has no outputs of its own, the tasks in it have".to_owned(),
            ));
        }
        match super::kinds::known_outputs(draft.task) {
            Some(known) if !known.iter().any(|known| known == key) => undefined(
                suggest::did_you_mean(key, known.iter().map(String::as_str)).or_else(|| {
                    Some(if known.is_empty() {
                        "this task has no outputs".to_owned()
                    } else {
                        format!("its outputs are {}", known.join(", "))
                    })
                }),
            ),
            _ => Ok(()),
        }
    }
}

/// `session.id`, `workflow.name`.
fn member(name: &Name, known: &[&'static str]) -> Result<(), Unknown> {
    match name.steps.first() {
        Some(Step::Key(key)) if !known.contains(&key.as_str()) => Err(unknown(
            format!("`{}` is undefined", name.written(1)),
            suggest::did_you_mean(key, known.iter().copied())
                .or_else(|| Some(format!("`{}` has {}", name.root, known.join(", ")))),
        )),
        _ => Ok(()),
    }
}

/// The cure for `tasks.my-task`, which subtracts `task` from `tasks.my`. `steps` is how many
/// look-ups the name has when the dash follows the id.
fn dashed_cure(name: &Name, steps: usize, ids: &[&str]) -> Option<Unknown> {
    let dashed = name.dashed.as_ref().filter(|_| name.steps.len() == steps)?;
    let id = ids.iter().filter(|id| is_prefix(id, &dashed.name)).max_by_key(|id| id.len())?;
    let base = name.written(steps - 1);
    Some(unknown(
        format!("`{base}.{id}` is a subtraction: an id with a dash cannot follow a dot"),
        Some(format!("write `{base}['{id}']`")),
    ))
}

/// Whether a dashed name is `id`, or starts with it up to a dash.
fn is_prefix(id: &str, dashed: &str) -> bool {
    id.contains('-')
        && (dashed == id || dashed.strip_prefix(id).is_some_and(|rest| rest.starts_with('-')))
}
