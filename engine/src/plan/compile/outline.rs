//! The tasks of a workflow as one list, with their places in groups and blocks, and the checks of
//! ids and needs. It does not look into templates.

use std::collections::{HashMap, HashSet};

use petgraph::{algo::kosaraju_scc, graphmap::DiGraphMap};

use crate::{
    expression::names,
    plan::{
        Block, BlockIndex, NodeIndex,
        names::{RESERVED, is_task_id},
    },
    workflow::{
        definition::{At, Entries, Task, Workflow},
        problem::Problems,
        suggest,
    },
};

/// A task or group before it is compiled.
pub(super) struct Draft<'w> {
    pub(super) id: &'w At<String>,
    pub(super) task: &'w Task,
    pub(super) parent: Option<NodeIndex>,
    pub(super) block: BlockIndex,
    pub(super) position: i32,
    /// It stands under `finally`, or in a group there.
    pub(super) is_finally: bool,
    /// The task that it undoes.
    pub(super) compensates: Option<NodeIndex>,
    /// The block of its items or rounds, for a `for_each` group or a loop.
    pub(super) items: Option<BlockIndex>,
    pub(super) needs: Vec<NodeIndex>,
    pub(super) children: Vec<NodeIndex>,
}

impl Draft<'_> {
    pub(super) const fn is_group(&self) -> bool {
        self.task.tasks.is_some()
    }

    pub(super) const fn has_items(&self) -> bool {
        self.task.for_each.is_some() && self.task.tasks.is_some()
    }

    pub(super) const fn is_loop(&self) -> bool {
        self.task.rounds.is_some() && self.task.tasks.is_some() && self.task.for_each.is_none()
    }

    /// Its tasks are laid down any number of times: for items or rounds.
    pub(super) const fn repeats(&self) -> bool {
        self.has_items() || self.is_loop()
    }

    /// The name of an item or round inside.
    pub(super) fn item_name(&self) -> &str {
        let usual = if self.is_loop() { "round" } else { "item" };
        self.task.item_name.as_ref().map_or(usual, |name| &name.value)
    }
}

/// Where a level of tasks stands.
#[derive(Clone, Copy)]
struct Place {
    parent: Option<NodeIndex>,
    block: BlockIndex,
    is_finally: bool,
}

/// All tasks of a workflow, each group before what stands in it.
pub(super) struct Outline<'w> {
    pub(super) drafts: Vec<Draft<'w>>,
    pub(super) blocks: Vec<Block>,
    pub(super) roots: Vec<NodeIndex>,
    /// Tasks by the group they stand in and their ids.
    by_id: HashMap<(Option<NodeIndex>, &'w str), NodeIndex>,
}

impl<'w> Outline<'w> {
    /// `None` when there are too many tasks to go on.
    pub(super) fn new(
        workflow: &'w Workflow,
        tasks_max: usize,
        problems: &mut Problems,
    ) -> Option<Self> {
        let mut outline = Self {
            drafts: Vec::new(),
            blocks: vec![Block { owner: None, nodes: Vec::new() }],
            roots: Vec::new(),
            by_id: HashMap::new(),
        };
        let top = Place { parent: None, block: BlockIndex::ROOT, is_finally: false };
        outline.roots = outline.add_level(&workflow.tasks.value, top);
        if let Some(finally) = &workflow.finally {
            refuse_twins(workflow, &finally.value, problems);
            let finally = outline.add_level(&finally.value, Place { is_finally: true, ..top });
            outline.roots.extend(finally);
        }
        if outline.drafts.len() > tasks_max {
            let at = outline.drafts[tasks_max].id.at;
            problems.add(at, format!("more than {tasks_max} tasks"));
            return None;
        }
        outline.add_compensations(problems);
        let roots = outline.roots.clone();
        outline.check_ids(&roots, &mut HashMap::new(), problems);
        outline.check_item_names(problems);
        outline.connect(problems);
        outline.refuse_cycles(problems);
        Some(outline)
    }

    pub(super) fn draft(&self, index: NodeIndex) -> &Draft<'w> {
        &self.drafts[index.index()]
    }

    /// The tasks that stand in a group, or at the top.
    pub(super) fn level(&self, group: Option<NodeIndex>) -> &[NodeIndex] {
        group.map_or(&self.roots, |group| &self.draft(group).children)
    }

    pub(super) fn find(&self, group: Option<NodeIndex>, id: &str) -> Option<NodeIndex> {
        self.by_id.get(&(group, id)).copied()
    }

    pub(super) fn indices(&self) -> impl Iterator<Item = NodeIndex> + use<> {
        (0..u32::try_from(self.drafts.len()).unwrap_or(u32::MAX)).map(NodeIndex)
    }

    /// The groups around a task, innermost first.
    pub(super) fn around(&self, index: NodeIndex) -> Vec<NodeIndex> {
        std::iter::successors(self.draft(index).parent, |group| self.draft(*group).parent).collect()
    }

    /// Its path by ids, for messages.
    pub(super) fn path(&self, index: NodeIndex) -> String {
        let mut ids: Vec<&str> =
            self.around(index).iter().map(|group| self.draft(*group).id.value.as_str()).collect();
        ids.reverse();
        ids.push(&self.draft(index).id.value);
        ids.join(".")
    }

    /// What undoes tasks stands in a block of its own, after all others.
    fn add_compensations(&mut self, problems: &mut Problems) {
        let undone: Vec<NodeIndex> =
            self.indices().filter(|index| self.draft(*index).task.compensate.is_some()).collect();
        if undone.is_empty() {
            return;
        }
        let block = BlockIndex(u32::try_from(self.blocks.len()).unwrap_or(u32::MAX));
        self.blocks.push(Block { owner: None, nodes: Vec::new() });
        for of in undone {
            let Draft { task, parent, is_finally, .. } = *self.draft(of);
            let Some(compensate) = &task.compensate else { continue };
            if is_finally {
                problems.hint(
                    compensate.id.at,
                    "`compensate` means nothing under `finally`",
                    "what compensates runs before `finally`",
                );
            }
            let index = NodeIndex(u32::try_from(self.drafts.len()).unwrap_or(u32::MAX));
            let own = &mut self.blocks[block.index()];
            let position = i32::try_from(own.nodes.len()).unwrap_or(i32::MAX);
            own.nodes.push(index);
            self.drafts.push(Draft {
                id: &compensate.id,
                task: &compensate.task,
                parent,
                block,
                position,
                is_finally: false,
                compensates: Some(of),
                items: None,
                needs: Vec::new(),
                children: Vec::new(),
            });
        }
    }

    fn add_level(&mut self, tasks: &'w Entries<Task>, place: Place) -> Vec<NodeIndex> {
        let Place { parent, block, is_finally } = place;
        let mut level = Vec::with_capacity(tasks.0.len());
        for (id, task) in &tasks.0 {
            let index = NodeIndex(u32::try_from(self.drafts.len()).unwrap_or(u32::MAX));
            level.push(index);
            self.by_id.insert((parent, &id.value), index);
            let own = &mut self.blocks[block.index()];
            let position = own.nodes.len() + usize::from(own.owner.is_some());
            own.nodes.push(index);
            self.drafts.push(Draft {
                id,
                task,
                parent,
                block,
                position: i32::try_from(position).unwrap_or(i32::MAX),
                is_finally,
                compensates: None,
                items: None,
                needs: Vec::new(),
                children: Vec::new(),
            });
            let Some(inner) = &task.tasks else { continue };
            let mut inner_block = block;
            if task.for_each.is_some() || task.rounds.is_some() {
                inner_block = BlockIndex(u32::try_from(self.blocks.len()).unwrap_or(u32::MAX));
                self.blocks.push(Block { owner: Some(index), nodes: Vec::new() });
                self.drafts[index.index()].items = Some(inner_block);
            }
            let inside = Place { parent: Some(index), block: inner_block, is_finally };
            let children = self.add_level(&inner.value, inside);
            self.drafts[index.index()].children = children;
        }
        level
    }

    /// Checks the ids of a level and those below; `outer` holds the ids of the levels above.
    fn check_ids(
        &self,
        level: &[NodeIndex],
        outer: &mut HashMap<&'w str, usize>,
        problems: &mut Problems,
    ) {
        for index in level {
            let Draft { id, parent, .. } = self.draft(*index);
            if !is_task_id(&id.value) {
                problems.hint(
                    id.at,
                    format!("`{}` cannot be the id of a task", id.value),
                    "use 1 to 64 lower-case letters, digits, `_` and `-`, the first a letter",
                );
            }
            if parent.is_some() && RESERVED.contains(&id.value.as_str()) {
                problems.hint(
                    id.at,
                    format!("`{}` cannot be the id of a task in a group", id.value),
                    "it already means something in expressions; choose another id",
                );
            }
            if outer.contains_key(id.value.as_str()) {
                problems.hint(
                    id.at,
                    format!("`{}` hides the task `{}` outside of the group", id.value, id.value),
                    "choose another id",
                );
            }
        }
        let mut added = Vec::new();
        for index in level {
            let id = &self.draft(*index).id;
            if outer.insert(&id.value, id.at).is_none() {
                added.push(id.value.as_str());
            }
        }
        for index in level {
            self.check_ids(&self.draft(*index).children, outer, problems);
        }
        for id in added {
            outer.remove(id);
        }
    }

    fn check_item_names(&self, problems: &mut Problems) {
        const TAKEN: [&str; 5] = ["inputs", "tasks", "needs", "session", "workflow"];
        for index in self.indices().filter(|index| self.draft(*index).repeats()) {
            let draft = self.draft(index);
            let name = draft.item_name();
            let at = draft.task.item_name.as_ref().map_or(draft.id.at, |name| name.at);
            if !names::is_identifier(name) || names::is_word(name) {
                let hint = "use letters, digits and `_`, the first no digit";
                problems.hint(at, format!("`{name}` cannot be the name of an item"), hint);
            }
            if TAKEN.contains(&name) {
                problems.hint(at, format!("`as: {name}` hides `{name}`"), "choose another name");
            }
            let around = self.around(index);
            let mut levels =
                std::iter::once(draft.parent).chain(around.iter().map(|g| self.draft(*g).parent));
            if let Some(task) = levels.find_map(|level| self.find(level, name)) {
                problems.hint(
                    at,
                    format!("the item `{name}` hides the task `{}`", self.path(task)),
                    "choose another name with `as`",
                );
            }
            let hidden = around
                .iter()
                .find(|g| self.draft(**g).repeats() && self.draft(**g).item_name() == name);
            if let Some(group) = hidden {
                let outer = &self.draft(*group).id.value;
                problems.hint(
                    at,
                    format!("the item `{name}` hides the item of the group `{outer}`"),
                    "name one of them with `as`",
                );
            }
        }
    }

    /// Turns the ids under `needs` into tasks.
    fn connect(&mut self, problems: &mut Problems) {
        for index in self.indices() {
            let parent = self.draft(index).parent;
            // What undoes a task sees it, and all that it saw.
            let mut needs: Vec<NodeIndex> = self.draft(index).compensates.into_iter().collect();
            for need in &self.draft(index).task.needs {
                match self.find(parent, &need.value) {
                    Some(found) if self.draft(found).is_finally != self.draft(index).is_finally => {
                        let (message, hint) = across(&need.value, self.draft(index).is_finally);
                        problems.hint(need.at, message, hint);
                    }
                    Some(found) if needs.contains(&found) => {
                        problems.add(need.at, format!("`{}` is needed twice", need.value));
                    }
                    Some(found) => needs.push(found),
                    None if problems.has(need.at) || problems.is_full() => {}
                    None => {
                        let (message, hint) = self.unknown_need(index, &need.value);
                        problems.maybe(need.at, message, hint);
                    }
                }
            }
            self.drafts[index.index()].needs = needs;
        }
    }

    fn unknown_need(&self, index: NodeIndex, need: &str) -> (String, Option<String>) {
        let around = self.around(index);
        let outer = around.iter().map(|group| self.draft(*group).parent);
        if let Some((level, group)) =
            outer.zip(&around).find(|(level, _)| self.find(*level, need).is_some())
        {
            let id = &self.draft(*group).id.value;
            let hint = if self.find(level, need) == Some(*group) {
                "a task cannot need the group it stands in".to_owned()
            } else {
                format!(
                    "let the group `{id}` need it: everything in a group needs what the group needs"
                )
            };
            return (
                format!("`{need}` does not stand beside this task: `needs` names siblings"),
                Some(hint),
            );
        }
        let elsewhere = self.indices().find(|other| self.draft(*other).id.value == need);
        if let Some(group) = elsewhere.and_then(|other| self.draft(other).parent) {
            return (
                format!("`{need}` does not stand beside this task: `needs` names siblings"),
                Some(format!("it stands in the group `{}`; need the group", self.path(group))),
            );
        }
        let is_beside = |other: &&NodeIndex| {
            **other != index && self.draft(**other).is_finally == self.draft(index).is_finally
        };
        let siblings = self.level(self.draft(index).parent).iter().filter(is_beside);
        let ids = siblings.map(|other| self.draft(*other).id.value.as_str());
        (format!("there is no task `{need}`"), Some(suggest::or_list(need, ids)))
    }

    fn refuse_cycles(&self, problems: &mut Problems) {
        let mut graph = DiGraphMap::<u32, ()>::new();
        for index in self.indices() {
            graph.add_node(index.0);
            for need in &self.draft(index).needs {
                graph.add_edge(index.0, need.0, ());
            }
        }
        for component in kosaraju_scc(&graph) {
            let members: HashSet<u32> = component.iter().copied().collect();
            let Some(first) = component.iter().copied().min() else { continue };
            if members.len() == 1 && !graph.contains_edge(first, first) {
                continue;
            }
            let circle = self.circle(NodeIndex(first), &members);
            let ids: Vec<&str> =
                circle.iter().map(|index| self.draft(*index).id.value.as_str()).collect();
            let next = ids.get(1 % ids.len()).copied().unwrap_or_default();
            let draft = self.draft(NodeIndex(first));
            let at = draft
                .task
                .needs
                .iter()
                .find(|need| need.value == next)
                .map_or(draft.id.at, |n| n.at);
            problems.hint(
                at,
                format!("tasks need each other in a cycle: {} → {}", ids.join(" → "), ids[0]),
                "remove one of these needs",
            );
        }
    }

    /// A shortest way from a task back to itself.
    fn circle(&self, first: NodeIndex, members: &HashSet<u32>) -> Vec<NodeIndex> {
        let mut came_from: HashMap<NodeIndex, NodeIndex> = HashMap::new();
        let mut queue = std::collections::VecDeque::from([first]);
        while let Some(at) = queue.pop_front() {
            for need in self.draft(at).needs.iter().filter(|need| members.contains(&need.0)) {
                if *need == first {
                    let mut circle: Vec<NodeIndex> =
                        std::iter::successors(Some(at), |at| came_from.get(at).copied()).collect();
                    circle.reverse();
                    return circle;
                }
                if *need != first && !came_from.contains_key(need) {
                    came_from.insert(*need, at);
                    queue.push_back(*need);
                }
            }
        }
        vec![first]
    }
}

/// A task and one under `finally` would have the same key.
fn refuse_twins(workflow: &Workflow, finally: &Entries<Task>, problems: &mut Problems) {
    for (id, _) in &finally.0 {
        if workflow.tasks.value.0.iter().any(|(task, _)| task.value == id.value) {
            problems.hint(
                id.at,
                format!("`{}` is a task already", id.value),
                "give the one under `finally` another id",
            );
        }
    }
}

/// A need between the tasks and `finally`.
fn across(need: &str, from_finally: bool) -> (String, &'static str) {
    if from_finally {
        return (
            format!("`{need}` has ended when anything under `finally` runs"),
            "remove the need: what stands under `finally` may refer to every task",
        );
    }
    (
        format!("`{need}` stands under `finally`, which runs after all tasks"),
        "put this task under `finally` too",
    )
}
