//! The names that a workflow's expressions see, built from the values that were loaded for one
//! node: `inputs`, `tasks`, `needs`, the item, `session`, `workflow`. What was not loaded is not
//! there; [`crate::plan::References`] says what a node needs. It does not load anything.

use std::collections::{BTreeMap, HashMap, HashSet};

use minijinja::value::Value as Eval;
use serde_json::{Map, Value, json};

use super::scope::{Keyed, Scope, from_json};
use crate::{
    outcome::Failure,
    plan::{Group, NodeIndex, Plan},
    session::SessionState,
    task::TaskState,
};

/// What is known of a task or group.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskValue {
    pub status: TaskState,
    pub outputs: Value,
    pub error: Option<Failure>,
}

/// What is known of one item of a `for_each` group.
#[derive(Debug, Clone, PartialEq)]
pub struct ItemValue {
    pub key: String,
    pub index: usize,
    pub status: TaskState,
    /// The tasks of its graph, those in plain groups too. Empty where only keys were loaded.
    pub tasks: BTreeMap<NodeIndex, TaskValue>,
    /// The items of `for_each` groups inside of it.
    pub items: BTreeMap<NodeIndex, Vec<ItemValue>>,
}

/// What is known of the session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionFacts {
    pub id: String,
    pub title: String,
    pub retry: i32,
    /// RFC 3339, once it has started.
    pub started_at: Option<String>,
    /// What it ends as, once that is decided.
    pub result: Option<SessionState>,
    /// Its inputs, where they are others than those it was created with.
    pub inputs: Option<Map<String, Value>>,
}

/// Everything loaded for the templates of one node.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Values {
    pub inputs: Map<String, Value>,
    pub session: SessionFacts,
    /// Name and version.
    pub workflow: (String, i32),
    pub tasks: HashMap<NodeIndex, TaskValue>,
    /// The items of `for_each` groups, in item order.
    pub items: HashMap<NodeIndex, Vec<ItemValue>>,
    /// Group, key and value of the enclosing items, outermost first.
    pub item: Vec<(NodeIndex, String, Value)>,
    /// The context of the session, where it is read.
    pub context: Option<Value>,
    /// What the task itself put out, once it has completed.
    pub outputs: Option<Value>,
}

impl Values {
    /// The names as `node` sees them; without a node as the session's outputs see them.
    pub fn scope(&self, plan: &Plan, node: Option<NodeIndex>) -> Scope {
        self.scope_of(
            plan,
            &View::new(self, plan, node, node.and_then(|node| plan.node(node).parent)),
        )
    }

    /// The names as the `until` of a loop sees them when a round has ended.
    pub fn scope_of_round(&self, plan: &Plan, group: NodeIndex) -> Scope {
        self.scope_of(plan, &View::new(self, plan, None, Some(group)))
    }

    fn scope_of(&self, plan: &Plan, view: &View<'_>) -> Scope {
        let mut scope = Scope::default();
        scope.set("inputs", from_json(&Value::Object(self.inputs.clone())));
        let session = &self.session;
        let mut facts = json!({
            "id": session.id,
            "title": session.title,
            "retry": session.retry,
            "started_at": session.started_at,
        });
        if let Some(result) = session.result {
            facts["status"] = json!(result);
        }
        scope.set_json("session", &facts);
        let (name, version) = &self.workflow;
        scope.set_json("workflow", &json!({ "name": name, "version": version }));
        for (group, _, value) in &self.item {
            if let Some(name) = plan.group(*group).and_then(Group::item_name) {
                scope.set_json(name, value);
            }
        }
        for (name, value) in [("context", &self.context), ("outputs", &self.outputs)] {
            if let Some(value) = value {
                scope.set_json(name, value);
            }
        }
        scope.set("tasks", view.tasks());
        scope.set("needs", view.needs());
        scope
    }
}

/// The loaded rows as one node sees them.
struct View<'a> {
    values: &'a Values,
    plan: &'a Plan,
    node: Option<NodeIndex>,
    /// The groups around the node, innermost first.
    around: Vec<NodeIndex>,
    /// What is loaded, and the groups around it, by the group they stand in.
    children: BTreeMap<Option<NodeIndex>, Vec<NodeIndex>>,
}

impl<'a> View<'a> {
    /// What `node` sees that stands in `group`.
    fn new(
        values: &'a Values,
        plan: &'a Plan,
        node: Option<NodeIndex>,
        group: Option<NodeIndex>,
    ) -> Self {
        let around =
            std::iter::successors(group, |group| plan.node(*group).parent).collect::<Vec<_>>();
        let mut children: BTreeMap<Option<NodeIndex>, Vec<NodeIndex>> = BTreeMap::new();
        let mut seen = HashSet::new();
        for loaded in values.tasks.keys().chain(values.items.keys()) {
            let mut next = Some(*loaded);
            while let Some(index) = next.filter(|index| seen.insert(*index)) {
                let parent = plan.node(index).parent;
                children.entry(parent).or_default().push(index);
                next = parent;
            }
        }
        for list in children.values_mut() {
            list.sort_unstable();
        }
        Self { values, plan, node, around, children }
    }

    /// `tasks`: from outside in, so that what is nearer is found first.
    fn tasks(&self) -> Eval {
        let mut tasks = Keyed::default();
        let groups = self.around.iter().rev().copied().map(Some);
        for level in std::iter::once(None).chain(groups) {
            for child in self.children.get(&level).into_iter().flatten() {
                // Of a loop around it, it sees the round before.
                if !self.around.contains(child) || self.is_loop(*child) {
                    tasks.set(&self.plan.node(*child).id, self.task(*child, self.root()));
                }
            }
        }
        tasks.into_value()
    }

    /// `needs`: what the node and the groups around it need.
    fn needs(&self) -> Eval {
        let mut needs = Keyed::default();
        for inner in self.around.iter().rev().copied().chain(self.node) {
            for need in &self.plan.node(inner).needs {
                if self.is_known(*need) {
                    needs.set(&self.plan.node(*need).id, self.task(*need, self.root()));
                }
            }
        }
        needs.into_value()
    }

    fn is_loop(&self, index: NodeIndex) -> bool {
        self.plan.group(index).is_some_and(|group| group.rounds.is_some())
    }

    /// Whether something of the task is loaded, or of what stands in it.
    fn is_known(&self, index: NodeIndex) -> bool {
        let level = self.children.get(&self.plan.node(index).parent);
        level.is_some_and(|level| level.binary_search(&index).is_ok())
    }

    const fn root(&self) -> Rows<'a> {
        Rows { tasks: Tasks::Loaded(&self.values.tasks), items: Items::Loaded(&self.values.items) }
    }

    fn task(&self, index: NodeIndex, rows: Rows<'_>) -> Eval {
        let mut object = Keyed::default();
        if let Some(value) = rows.task(index) {
            object.set("status", Eval::from(value.status.as_str()));
            let error =
                value.error.as_ref().map(|e| json!({ "class": e.class, "message": e.message }));
            object.set("error", from_json(&error.unwrap_or_default()));
            let is_shown = value.outputs.is_object()
                && self.plan.group(index).is_none()
                && self.shows_outputs(index, value.status);
            let outputs = if is_shown { from_json(&value.outputs) } else { nothing() };
            object.set("outputs", outputs);
        }
        let Some(group) = self.plan.group(index) else { return object.into_value() };
        if group.for_each.is_some() {
            self.add_items(&mut object, index, rows);
        } else if group.rounds.is_some() {
            object.set("tasks", self.last_round(index, &group.children, rows));
        } else {
            let mut inner = Keyed::default();
            for child in self.known_children(index, &group.children, rows) {
                inner.set(&self.plan.node(child).id, self.task(child, rows));
            }
            object.set("tasks", inner.into_value());
        }
        object.into_value()
    }

    /// The tasks of the last round of a loop, as far as it is loaded.
    fn last_round(&self, index: NodeIndex, children: &[NodeIndex], rows: Rows<'_>) -> Eval {
        let mut tasks = Keyed::default();
        let round = rows.items(index).and_then(<[ItemValue]>::last);
        let never_begun = match rows.task(index).map(|group| group.status) {
            Some(TaskState::Cancelled) => TaskState::Cancelled,
            Some(status) if status.is_final() => TaskState::Skipped,
            _ => TaskState::Pending,
        };
        for child in children {
            let value = match round {
                Some(round) => {
                    let rows =
                        Rows { tasks: Tasks::Item(&round.tasks), items: Items::Item(&round.items) };
                    self.task(*child, rows)
                }
                None => self.before_the_first_round(*child, never_begun),
            };
            tasks.set(&self.plan.node(*child).id, value);
        }
        tasks.into_value()
    }

    /// A task of a loop of which no round has ended; what stands in a plain group that is left out or
    /// cancelled has such a status too.
    fn before_the_first_round(&self, index: NodeIndex, status: TaskState) -> Eval {
        let mut object = Keyed::default();
        object.set("status", Eval::from(status.as_str()));
        object.set("error", from_json(&Value::Null));
        object.set("outputs", nothing());
        if let Some(group) = self.plan.group(index) {
            let mut inner = Keyed::default();
            if group.for_each.is_none() {
                for child in &group.children {
                    inner.set(
                        &self.plan.node(*child).id,
                        self.before_the_first_round(*child, status),
                    );
                }
                object.set("tasks", inner.into_value());
            } else {
                for list in ["completed", "failed", "skipped", "cancelled"] {
                    object.set(list, Vec::<Eval>::new().into());
                }
                object.set("items", inner.into_value());
            }
        }
        object.into_value()
    }

    fn add_items(&self, object: &mut Keyed, index: NodeIndex, rows: Rows<'_>) {
        let Some(items) = rows.items(index) else { return };
        let lists = [
            ("completed", TaskState::Completed),
            ("failed", TaskState::Failed),
            ("skipped", TaskState::Skipped),
            ("cancelled", TaskState::Cancelled),
        ];
        for (name, status) in lists {
            let keys = items.iter().filter(|item| item.status == status);
            object.set(
                name,
                keys.map(|item| Eval::from(item.key.as_str())).collect::<Vec<_>>().into(),
            );
        }
        let children = self.plan.group(index).map_or(&[][..], |group| &group.children);
        let mut by_key = Keyed::default();
        for item in items {
            let rows = Rows { tasks: Tasks::Item(&item.tasks), items: Items::Item(&item.items) };
            let mut tasks = Keyed::default();
            for child in self.known_children(index, children, rows) {
                tasks.set(&self.plan.node(child).id, self.task(child, rows));
            }
            by_key.set(&item.key, tasks.into_value());
        }
        object.set("items", by_key.into_value());
    }

    /// The children of a group of which something is loaded.
    fn known_children(
        &self,
        group: NodeIndex,
        all: &[NodeIndex],
        rows: Rows<'_>,
    ) -> Vec<NodeIndex> {
        match rows.tasks {
            Tasks::Loaded(_) => self.children.get(&Some(group)).cloned().unwrap_or_default(),
            Tasks::Item(_) => {
                let is_known = |index: &NodeIndex| {
                    self.plan.group(*index).is_some() || rows.task(*index).is_some()
                };
                all.iter().copied().filter(is_known).collect()
            }
        }
    }

    /// Whether the task completed or its failure is an allowed one for who looks: the flag of a
    /// group counts for those outside of it.
    fn shows_outputs(&self, index: NodeIndex, status: TaskState) -> bool {
        let allowed = || {
            let mut inner = Some(index);
            while let Some(at) = inner.filter(|at| !self.around.contains(at)) {
                if self.plan.node(at).continue_on_failure {
                    return true;
                }
                inner = self.plan.node(at).parent;
            }
            false
        };
        status == TaskState::Completed || (status == TaskState::Failed && allowed())
    }
}

/// An empty map.
fn nothing() -> Eval {
    Keyed::default().into_value()
}

/// Where rows are looked up: among what was loaded, or in one item.
#[derive(Clone, Copy)]
struct Rows<'a> {
    tasks: Tasks<'a>,
    items: Items<'a>,
}

#[derive(Clone, Copy)]
enum Tasks<'a> {
    Loaded(&'a HashMap<NodeIndex, TaskValue>),
    Item(&'a BTreeMap<NodeIndex, TaskValue>),
}

#[derive(Clone, Copy)]
enum Items<'a> {
    Loaded(&'a HashMap<NodeIndex, Vec<ItemValue>>),
    Item(&'a BTreeMap<NodeIndex, Vec<ItemValue>>),
}

impl<'a> Rows<'a> {
    fn task(&self, index: NodeIndex) -> Option<&'a TaskValue> {
        match self.tasks {
            Tasks::Loaded(tasks) => tasks.get(&index),
            Tasks::Item(tasks) => tasks.get(&index),
        }
    }
    fn items(&self, index: NodeIndex) -> Option<&'a [ItemValue]> {
        match self.items {
            Items::Loaded(items) => items.get(&index),
            Items::Item(items) => items.get(&index),
        }
        .map(Vec::as_slice)
    }
}
