//! What the names in an expression mean, seen from one task: which rows must be loaded for it, or
//! why there is no such thing.

use std::{cell::OnceCell, collections::BTreeSet};

use super::{
    members::{Members, dashed_cure},
    outline::{Draft, Outline},
};
use crate::{
    expression::names::{Name, Step},
    plan::{InputType, NodeIndex, References},
    workflow::{definition::Workflow, suggest},
};

/// Rows that templates look at, while they are collected.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    pub(super) tasks: BTreeSet<NodeIndex>,
    pub(super) lists: BTreeSet<NodeIndex>,
    pub(super) items: BTreeSet<NodeIndex>,
    pub(super) item: bool,
    pub(super) context: bool,
}

impl Found {
    pub(super) fn add(&mut self, other: &Self) {
        self.tasks.extend(&other.tasks);
        self.lists.extend(&other.lists);
        self.items.extend(&other.items);
        self.item |= other.item;
        self.context |= other.context;
    }

    pub(super) fn into_references(self) -> References {
        References {
            tasks: self.tasks.into_iter().collect(),
            lists: self.lists.difference(&self.items).copied().collect(),
            items: self.items.into_iter().collect(),
            item: self.item,
            context: self.context,
        }
    }
}

/// Why a name means nothing.
#[derive(Debug)]
pub(super) struct Unknown {
    pub(super) message: String,
    pub(super) hint: String,
}

pub(super) fn unknown(message: impl Into<String>, hint: impl Into<String>) -> Unknown {
    Unknown { message: message.into(), hint: hint.into() }
}

/// Where an expression stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Viewer {
    /// In what the workflow hands down to every task: it sees no task.
    Workflow,
    /// In the outputs of the session, which see every task.
    Session,
    Task(NodeIndex),
    /// In the `key` of a group or in what it hands down, which sees the group's own item.
    Key(NodeIndex),
    /// In the `until` of a loop, which sees the round that has ended.
    Until(NodeIndex),
    /// In what a task writes once it has completed, which sees its own outputs.
    Completed(NodeIndex),
}

/// The names that one task sees.
pub(super) struct Resolver<'a, 'w> {
    outline: &'a Outline<'w>,
    workflow: &'w Workflow,
    viewer: Viewer,
    /// The groups around it, innermost first.
    around: Vec<NodeIndex>,
    /// Found when it is first asked for: most tasks refer to nothing.
    needed: OnceCell<Needed>,
    members: Members<'a, 'w>,
}

const ROOTS: [&str; 6] = ["inputs", "tasks", "needs", "context", "session", "workflow"];
const FUNCTIONS: [&str; 2] = ["range", "dict"];

/// What a task needs, directly or not, also through its groups.
enum Needed {
    /// Everything, or needs could not be read, so that everything may be one.
    All,
    /// By task.
    Some(Vec<bool>),
}

impl<'a, 'w> Resolver<'a, 'w> {
    pub(super) fn new(outline: &'a Outline<'w>, workflow: &'w Workflow, viewer: Viewer) -> Self {
        let around = match viewer {
            Viewer::Session | Viewer::Workflow => Vec::new(),
            Viewer::Task(index) | Viewer::Key(index) | Viewer::Completed(index) => {
                outline.around(index)
            }
            Viewer::Until(index) => std::iter::once(index).chain(outline.around(index)).collect(),
        };
        let members = Members { outline };
        Self { outline, workflow, viewer, around, needed: OnceCell::new(), members }
    }

    /// Adds to `found` what a name refers to.
    pub(super) fn resolve(&self, name: &Name, found: &mut Found) -> Result<(), Unknown> {
        if name.is_call {
            return function(&name.root);
        }
        if self.item_names().any(|item| item == name.root) {
            found.item = true;
            return Ok(());
        }
        match name.root.as_str() {
            "inputs" => self.input(name),
            "tasks" => self.tasks(name, found),
            "needs" => self.needs(name, found),
            "context" => {
                found.context = true;
                Ok(())
            }
            "outputs" => self.own_outputs(name),
            "session" => self.session(name),
            "workflow" => member(name, &["name", "version"]),
            _ => Err(self.unknown_root(name)),
        }
    }

    /// A task by its id as `workspace.from` names it: from inside out, and needed.
    pub(super) fn needed_task(&self, id: &str) -> Option<NodeIndex> {
        self.visible(id).filter(|index| self.is_needed(*index))
    }

    fn item_names(&self) -> impl Iterator<Item = &str> {
        let own = match self.viewer {
            Viewer::Key(index) => Some(index),
            Viewer::Session
            | Viewer::Workflow
            | Viewer::Task(_)
            | Viewer::Until(_)
            | Viewer::Completed(_) => None,
        };
        own.into_iter()
            .chain(self.around.iter().copied())
            .map(|group| self.outline.draft(group))
            .filter(|draft| draft.repeats())
            .map(Draft::item_name)
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
        match self.needed() {
            Needed::All => true,
            Needed::Some(needed) => needed[index.index()],
        }
    }

    /// The task and the groups around it.
    fn chain(&self) -> impl Iterator<Item = NodeIndex> {
        let own = match self.viewer {
            Viewer::Session | Viewer::Workflow | Viewer::Until(_) => None,
            Viewer::Task(index) | Viewer::Key(index) | Viewer::Completed(index) => Some(index),
        };
        own.into_iter().chain(self.around.iter().copied())
    }

    fn needed(&self) -> &Needed {
        self.needed.get_or_init(|| {
            if self.viewer == Viewer::Session {
                return Needed::Some(self.tasks_alone());
            }
            let mut needed = match self.chain().next() {
                Some(own) if self.outline.draft(own).is_finally => self.tasks_alone(),
                _ => vec![false; self.outline.drafts.len()],
            };
            if let Viewer::Until(group) = self.viewer {
                for child in &self.outline.draft(group).children {
                    needed[child.index()] = true;
                }
            }
            let mut open: Vec<NodeIndex> = self.chain().collect();
            while let Some(at) = open.pop() {
                let draft = self.outline.draft(at);
                if draft.task.has_broken_needs {
                    return Needed::All;
                }
                for need in &draft.needs {
                    if !std::mem::replace(&mut needed[need.index()], true) {
                        open.push(*need);
                    }
                }
            }
            Needed::Some(needed)
        })
    }

    /// Everything that has ended when the result is decided.
    fn tasks_alone(&self) -> Vec<bool> {
        self.outline.drafts.iter().map(|draft| !draft.is_finally).collect()
    }

    /// Whether it stands where the result of the session is known.
    fn is_after_the_result(&self) -> bool {
        let own = self.chain().next().map(|own| self.outline.draft(own));
        own.is_some_and(|own| own.is_finally || own.compensates.is_some())
    }

    fn unknown_root(&self, name: &Name) -> Unknown {
        let root = name.root.as_str();
        let hint = if self.visible(root).is_some() {
            format!("a task is written `tasks.{root}`")
        } else if self.workflow.inputs.0.iter().any(|(id, _)| id.value == root) {
            format!("an input is written `inputs.{root}`")
        } else {
            match (root, self.item_names().next()) {
                ("item" | "each" | "element", Some(item)) => {
                    format!("the item is called `{item}` here")
                }
                ("item", None) => "there is an item only in a group with `for_each`".to_owned(),
                ("steps" | "jobs", _) => "write `tasks`".to_owned(),
                ("params" | "input" | "vars", _) => "write `inputs`".to_owned(),
                ("matrix", Some(item)) => format!("write `{item}`"),
                ("env" | "secrets", _) => {
                    "the environment is for commands; expressions see `inputs` and `tasks`"
                        .to_owned()
                }
                ("github" | "run", _) => "write `session` or `workflow`".to_owned(),
                _ => suggest::or_list(root, ROOTS.into_iter().chain(self.item_names())),
            }
        };
        unknown(format!("`{root}` is undefined"), hint)
    }

    /// `outputs`: what the task itself put out.
    fn own_outputs(&self, name: &Name) -> Result<(), Unknown> {
        let Viewer::Completed(index) = self.viewer else { return Err(self.unknown_root(name)) };
        let Some(Step::Key(key)) = name.steps.first() else { return Ok(()) };
        self.members.output(index, key, || name.written(1))
    }

    fn session(&self, name: &Name) -> Result<(), Unknown> {
        let is_status = matches!(name.steps.first(), Some(Step::Key(key)) if key == "status");
        if is_status && self.is_after_the_result() {
            return Ok(());
        }
        if is_status {
            return Err(unknown(
                "`session.status` is undefined here".to_owned(),
                "it is known once the result is decided: under `finally` and `compensate`",
            ));
        }
        member(name, &["id", "title", "retry", "started_at"])
    }

    fn input(&self, name: &Name) -> Result<(), Unknown> {
        let Some(Step::Key(key)) = name.steps.first() else { return Ok(()) };
        let inputs = &self.workflow.inputs.0;
        let Some((_, input)) = inputs.iter().find(|(id, _)| id.value == *key) else {
            let known = || inputs.iter().map(|(id, _)| id.value.as_str());
            let dashed = name.dashed.as_ref().filter(|_| name.steps.len() == 1);
            let hint = match dashed.filter(|dashed| known().any(|id| id == dashed.name)) {
                Some(dashed) => format!("write `inputs['{}']`", dashed.name),
                None => suggest::or_list(key, known()),
            };
            return Err(unknown(format!("there is no input `{key}`"), hint));
        };
        if name.steps.len() > 1 && !matches!(input.kind, InputType::Array | InputType::Object) {
            let what = input.kind.as_str();
            return Err(unknown(
                format!("`{}` is undefined", name.written(2)),
                format!("`inputs.{key}` is of type {what}, which has no parts"),
            ));
        }
        Ok(())
    }

    fn needs(&self, name: &Name, found: &mut Found) -> Result<(), Unknown> {
        let direct = || -> Vec<NodeIndex> {
            self.chain().flat_map(|at| self.outline.draft(at).needs.iter().copied()).collect()
        };
        let Some(Step::Key(key)) = name.steps.first() else {
            return direct().into_iter().try_for_each(|need| self.members.whole(need, found));
        };
        let is_named = |index: &NodeIndex| self.outline.draft(*index).id.value == *key;
        if let Some(index) = direct().into_iter().find(is_named) {
            return self.members.task(index, name, 1, found);
        }
        let ids: Vec<&str> =
            direct().iter().map(|index| self.outline.draft(*index).id.value.as_str()).collect();
        if let Some(cure) = dashed_cure(name, 1, &ids) {
            return Err(cure);
        }
        if matches!(self.needed(), Needed::All) && self.visible(key).is_some() {
            return Ok(());
        }
        Err(unknown(
            format!("`{key}` is not among the needs of this task"),
            match self.visible(key) {
                Some(_) => format!("add `{key}` to `needs`"),
                None => suggest::or_list(key, ids),
            },
        ))
    }

    fn tasks(&self, name: &Name, found: &mut Found) -> Result<(), Unknown> {
        let Some(Step::Key(key)) = name.steps.first() else {
            let levels: Vec<_> = self.levels().collect();
            return levels
                .into_iter()
                .flat_map(|level| self.outline.level(level))
                .filter(|index| self.is_needed(**index))
                .try_for_each(|index| self.members.whole(*index, found));
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
        let of_round = matches!(name.steps.get(1), Some(Step::Key(key)) if key == "tasks");
        if of_round && self.around.contains(&index) && self.outline.draft(index).is_loop() {
            // Of a loop around the task: the round before; in `until`: the one that has ended.
            return self.members.task(index, name, 1, found);
        }
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
        self.members.task(index, name, 1, found)
    }

    fn unknown_task(&self, key: &str) -> Unknown {
        let inner = self.outline.indices().find(|index| {
            self.outline.draft(*index).id.value == key
                && self.outline.draft(*index).parent.is_some()
        });
        let in_group = inner.and_then(|inner| self.outline.draft(inner).parent).map(|group| {
            let path = self.outline.path(group).replace('.', ".tasks.");
            if self.outline.draft(group).has_items() {
                format!("it stands in a group with `for_each`: write `tasks.{path}.items[…].{key}`")
            } else {
                format!("it stands in a group: write `tasks.{path}.tasks.{key}`")
            }
        });
        let hint = in_group.unwrap_or_else(|| suggest::or_list(key, self.visible_ids()));
        unknown(format!("there is no task `{key}`"), hint)
    }

    fn not_needed(&self, index: NodeIndex) -> Unknown {
        let id = &self.outline.draft(index).id.value;
        let in_finally = self.chain().any(|own| self.outline.draft(own).is_finally);
        if self.outline.draft(index).is_finally && !in_finally {
            return unknown(
                format!("`{id}` stands under `finally`, which runs once the result is decided"),
                "only other tasks under `finally` may refer to it",
            );
        }
        let (Viewer::Task(own) | Viewer::Key(own) | Viewer::Until(own) | Viewer::Completed(own)) =
            self.viewer
        else {
            return unknown(
                format!("`{id}` is a task, and this is for every task"),
                "put it on the tasks that need it",
            );
        };
        let own = self.outline.draft(own).compensates.unwrap_or(own);
        if own == index && self.outline.draft(own).is_loop() {
            return unknown(
                format!("`{id}` has not ended while its rounds run"),
                format!("of the round it has `tasks.{id}.tasks`"),
            );
        }
        if own == index {
            return unknown(
                format!("`{id}` cannot refer to itself"),
                "its outputs are there for the tasks that need it",
            );
        }
        if self.around.contains(&index) {
            return unknown(
                format!("`{id}` is the group around this task: it has not ended while this runs"),
                "refer to it from a task that needs the group",
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
            format!("add `{id}` to the `needs` of `{}`", self.outline.path(needer)),
        )
    }
}

fn function(name: &str) -> Result<(), Unknown> {
    if FUNCTIONS.contains(&name) {
        return Ok(());
    }
    Err(unknown(
        format!("there is no function `{name}`"),
        suggest::did_you_mean(name, FUNCTIONS)
            .unwrap_or_else(|| format!("filters are written `x | {name}`")),
    ))
}

/// `session.id`, `workflow.name`.
fn member(name: &Name, known: &[&'static str]) -> Result<(), Unknown> {
    match name.steps.first() {
        Some(Step::Key(key)) if !known.contains(&key.as_str()) => Err(unknown(
            format!("`{}` is undefined", name.written(1)),
            suggest::did_you_mean(key, known.iter().copied())
                .unwrap_or_else(|| format!("`{}` has {}", name.root, known.join(", "))),
        )),
        _ => Ok(()),
    }
}
