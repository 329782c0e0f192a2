//! The nodes of a plan: each task with what was handed down to it, its templates checked and its
//! references collected.

use super::{
    budgets, conversation, decompose,
    handed::{self, Handed},
    kinds, limits,
    outline::Outline,
    resolve::{Found, Resolver, Viewer},
    retry_policy,
    templates::Templates,
    verify, workspaces,
};
use crate::{
    plan::{
        Builtin, Child, ContextWrites, Estimate, Group, Join, Kind, Node, NodeIndex, References,
        context,
    },
    workflow::{
        Limits,
        definition::{Condition, Task, Text, Workflow},
        problem::Problems,
    },
};

pub(super) struct Compiler<'a, 'w> {
    workflow: &'w Workflow,
    outline: &'a Outline<'w>,
    source: &'a str,
    limits: &'a Limits,
    /// By task.
    handed: Vec<Handed<'w>>,
    dependents: Vec<Vec<NodeIndex>>,
}

impl<'a, 'w> Compiler<'a, 'w> {
    pub(super) fn new(
        workflow: &'w Workflow,
        outline: &'a Outline<'w>,
        source: &'a str,
        limits: &'a Limits,
        problems: &mut Problems,
    ) -> Self {
        let handed = handed::all(workflow, outline, source, problems);
        let mut dependents = vec![Vec::new(); outline.drafts.len()];
        let is_task = |index: &NodeIndex| outline.draft(*index).compensates.is_none();
        for index in outline.indices().filter(is_task) {
            for need in &outline.draft(index).needs {
                dependents[need.index()].push(index);
            }
        }
        Self { workflow, outline, source, limits, handed, dependents }
    }

    /// All nodes; `None` when some task could not be read.
    pub(super) fn nodes(&self, problems: &mut Problems) -> Option<Vec<Node>> {
        /// Nodes and what they refer to are stored and loaded as one.
        const REFERENCES_MAX: usize = 1_000_000;
        let mut nodes = Some(Vec::with_capacity(self.outline.drafts.len()));
        let mut references = 0;
        for index in self.outline.indices() {
            let Some(node) = self.node(index, problems) else {
                nodes = None;
                continue;
            };
            references += node.references.tasks.len() + node.references.items.len();
            if references > REFERENCES_MAX {
                let message =
                    format!("all tasks together refer to more than {REFERENCES_MAX} others");
                problems.add(self.outline.draft(index).id.at, message);
                return None;
            }
            if let Some(nodes) = &mut nodes {
                nodes.push(node);
            }
        }
        nodes
    }

    fn node(&self, index: NodeIndex, problems: &mut Problems) -> Option<Node> {
        let draft = self.outline.draft(index);
        let task = draft.task;
        self.check_limits(index, problems);
        let kind = kinds::kind(draft, self.source, self.limits, problems);
        let resolver = Resolver::new(self.outline, self.workflow, Viewer::Task(index));
        // What undoes a task starts at the task's commit.
        let undone = draft.compensates.filter(|undone| self.captures(*undone));
        let from = undone.or_else(|| workspaces::from(draft, self.outline, &resolver, problems));
        let continued = conversation::continued(draft, self.outline, &resolver, problems);
        let mut templates = Templates { resolver, source: self.source, found: Found::default() };
        self.check_templates(index, &mut templates, problems);
        let mut found = templates.found;
        let mut kind = kind?;
        if let Kind::Agent(agent) = &mut kind {
            agent.continues = continued;
        }
        if let (Some(rounds), Kind::Group(group)) = (&task.rounds, &mut kind) {
            let references = self.until(index, &rounds.value.until, problems);
            if let Some(rounds) = &mut group.rounds {
                rounds.references = references;
            }
        }
        if let Kind::Group(Group { for_each: Some(each), .. }) = &mut kind {
            each.lock_references = self.item_locks(index, problems);
        }
        self.refer_handed(index, &kind, &mut found);
        self.refer_commits(index, &kind, from, &mut found);
        if starts_somewhere(&kind) && from.is_none() {
            self.refuse_several_commits(index, problems);
        }
        let handed = &self.handed[index.index()];
        if matches!(kind, Kind::Builtin(Builtin::Merge { .. })) {
            workspaces::check_merge(self.outline, index, &handed.workspace, problems);
        }
        let is_clone = handed.workspace.is_clone();
        let is_executed = matches!(kind, Kind::Run(_) | Kind::Agent(_) | Kind::Builtin(_));
        let defaults = Some(&self.workflow.defaults).filter(|_| is_executed);
        let retry = task.retry.as_ref().or_else(|| defaults.and_then(|d| d.retry.as_ref()));
        Some(Node {
            id: self.id(index),
            title: task.title.clone(),
            parent: draft.parent,
            block: draft.block,
            position: draft.position,
            finally: draft.is_finally,
            compensates: draft.compensates,
            needs: if draft.compensates.is_some() { Vec::new() } else { draft.needs.clone() },
            dependents: self.dependents[index.index()].clone(),
            join: if draft.compensates.is_some() { Join::AllDone } else { task.join },
            when: task.when.as_ref().map(|when| when.0.text.trim().to_owned()),
            kind,
            requires: handed.requires.iter().map(|&name| name.to_owned()).collect(),
            prefers: handed.prefers.clone(),
            priority: handed.priority,
            timeout: task.timeout.or_else(|| defaults.and_then(|defaults| defaults.timeout)),
            start_timeout: task.start_timeout,
            heartbeat: task.heartbeat,
            estimate: estimate(task),
            retry: retry_policy(retry),
            env: super::environment(&task.env),
            workspace: Some(handed.workspace.spec(from)),
            outputs: task.outputs.as_ref().map(|schema| schema.0.clone()),
            expected: verify::expected(task, is_clone, self.source, problems),
            continue_on_failure: task.continue_on_failure,
            idempotency_key: task.idempotency_key.as_ref().map(|key| key.text.clone()),
            locks: limits::locks(&task.locks),
            context: self.context(index, problems),
            budget: task.budget.as_ref().map(|budget| budgets::of(&budget.value)),
            references: found.into_references(),
        })
    }

    fn check_limits(&self, index: NodeIndex, problems: &mut Problems) {
        limits::check(self.outline, index, problems);
        budgets::check(self.workflow, self.outline, index, problems);
    }

    fn id(&self, index: NodeIndex) -> String {
        let draft = self.outline.draft(index);
        match draft.compensates {
            Some(undone) => format!("{}.compensate", self.outline.draft(undone).id.value),
            None => draft.id.value.clone(),
        }
    }

    fn check_templates(
        &self,
        index: NodeIndex,
        templates: &mut Templates<'a, 'w>,
        problems: &mut Problems,
    ) {
        let task = self.outline.draft(index).task;
        if let Some(when) = &task.when {
            templates.condition(&when.0, problems);
        }
        if let Some(for_each) = &task.for_each {
            templates.tree(&for_each.0, problems);
        }
        if let Some(key) = &task.key {
            let resolver = Resolver::new(self.outline, self.workflow, Viewer::Key(index));
            let outer = std::mem::replace(&mut templates.resolver, resolver);
            let item = templates.found.item;
            templates.text(key, problems);
            templates.found.item = item || (templates.found.item && self.is_in_item(index));
            templates.resolver = outer;
        }
        if task.for_each.is_none() {
            for lock in &task.locks {
                templates.text(&lock.value.name, problems);
            }
        }
        if task.tasks.is_some() {
            return;
        }
        let agent = task.agent.as_ref().map(|agent| &agent.value);
        let texts = [
            task.idempotency_key.as_ref(),
            task.sleep.as_ref().map(|sleep| &sleep.0),
            task.approval.as_ref().and_then(|approval| approval.value.message.as_ref()),
            task.wait_for.as_ref().map(|signal| &signal.0),
            agent.and_then(|agent| agent.prompt.as_ref()),
            agent.and_then(|agent| agent.model.as_ref()),
            agent.and_then(|agent| agent.script.as_ref()),
        ];
        let fallback = agent.iter().flat_map(|agent| &agent.fallback);
        for text in texts.into_iter().flatten().chain(fallback) {
            templates.text(text, problems);
        }
        if let Some(goal) = &task.decompose {
            decompose::check(&goal.value, templates, problems);
        }
        for pattern in task.artifacts.iter().flat_map(|artifacts| &artifacts.0) {
            templates.text(pattern, problems);
        }
        for (_, value) in task.with.iter().flat_map(|with| &with.0) {
            templates.tree(&value.0, problems);
        }
    }

    /// What the locks of a group's items refer to: they see the item.
    fn item_locks(&self, index: NodeIndex, problems: &mut Problems) -> References {
        let resolver = Resolver::new(self.outline, self.workflow, Viewer::Key(index));
        let mut templates = Templates { resolver, source: self.source, found: Found::default() };
        for lock in &self.outline.draft(index).task.locks {
            templates.text(&lock.value.name, problems);
        }
        templates.found.into_references()
    }

    /// What a task writes into the context, which sees its own outputs.
    fn context(&self, index: NodeIndex, problems: &mut Problems) -> ContextWrites {
        let resolver = Resolver::new(self.outline, self.workflow, Viewer::Completed(index));
        let mut templates = Templates { resolver, source: self.source, found: Found::default() };
        let mut writes = Vec::new();
        for (place, value) in self.outline.draft(index).task.context.iter().flat_map(|it| &it.0) {
            if let Err(why) = context::check(&place.value) {
                problems.add(place.at, why);
            }
            let text =
                Text { text: place.value.clone(), raw: place.at..place.at + place.value.len() };
            templates.text(&text, problems);
            templates.tree(&value.0, problems);
            writes.push((place.value.clone(), value.0.json()));
        }
        ContextWrites { writes, references: templates.found.into_references() }
    }

    /// What the `until` of a loop refers to.
    fn until(&self, index: NodeIndex, until: &Condition, problems: &mut Problems) -> References {
        let resolver = Resolver::new(self.outline, self.workflow, Viewer::Until(index));
        let mut templates = Templates { resolver, source: self.source, found: Found::default() };
        templates.condition(&until.0, problems);
        templates.found.into_references()
    }

    /// Adds what the environment and the workspace refer to, where the kind has a use for them.
    fn refer_handed(&self, index: NodeIndex, kind: &Kind, found: &mut Found) {
        let handed = &self.handed[index.index()];
        match kind {
            Kind::Run(_) | Kind::Agent(_) | Kind::Session(Child { decompose: Some(_), .. }) => {
                found.add(&handed.env);
                found.add(&handed.places);
            }
            Kind::Builtin(Builtin::Merge { check, .. }) => {
                found.add(&handed.places);
                if !check.is_empty() {
                    found.add(&handed.env);
                }
            }
            Kind::Builtin(Builtin::Noop | Builtin::Fail { .. } | Builtin::Http(_))
            | Kind::Sleep(_)
            | Kind::Approval(_)
            | Kind::WaitFor(_)
            | Kind::Session(_)
            | Kind::Group(_) => {}
        }
    }

    fn is_in_item(&self, index: NodeIndex) -> bool {
        self.outline.around(index).iter().any(|group| self.outline.draft(*group).repeats())
    }

    /// Adds the rows that hold the commits a task starts at or merges.
    fn refer_commits(
        &self,
        index: NodeIndex,
        kind: &Kind,
        from: Option<NodeIndex>,
        found: &mut Found,
    ) {
        match kind {
            Kind::Builtin(Builtin::Merge { .. }) => {
                for need in workspaces::merged(self.outline, index) {
                    workspaces::refer_commits(self.outline, need, found);
                }
            }
            kind if starts_somewhere(kind) && self.handed[index.index()].workspace.is_clone() => {
                workspaces::refer(self.outline, index, from, found);
            }
            Kind::Run(_)
            | Kind::Agent(_)
            | Kind::Builtin(_)
            | Kind::Sleep(_)
            | Kind::Approval(_)
            | Kind::WaitFor(_)
            | Kind::Session(_)
            | Kind::Group(_) => {}
        }
    }

    /// Whether a task or plain group surely brings a commit.
    fn captures(&self, index: NodeIndex) -> bool {
        let draft = self.outline.draft(index);
        let is_merge = draft.task.uses.as_ref().is_some_and(|uses| {
            matches!(uses.value.as_str(), "builtin/merge" | "builtin/merge-train")
        });
        // A command's changes are captured to be verified.
        let task = draft.task;
        let is_agent = task.agent.is_some() || task.decompose.is_some() || task.verify.is_some();
        is_merge
            || (is_agent && self.handed[index.index()].workspace.is_clone())
            || (!draft.has_items() && draft.children.iter().any(|child| self.captures(*child)))
    }

    fn refuse_several_commits(&self, index: NodeIndex, problems: &mut Problems) {
        let draft = self.outline.draft(index);
        if !self.handed[index.index()].workspace.is_clone() {
            return;
        }
        for (at, level) in workspaces::levels(self.outline, index) {
            let capturing: Vec<&str> = level
                .iter()
                .filter(|need| self.captures(**need))
                .map(|need| self.outline.draft(*need).id.value.as_str())
                .collect();
            let chosen = at != index
                && self.outline.draft(at).task.workspace.as_ref().is_some_and(|w| w.from.is_some());
            if let ([first, _, ..], false) = (capturing.as_slice(), chosen) {
                problems.hint(
                    draft.id.at,
                    format!(
                        "it is not said which commit `{}` starts at: {}",
                        draft.id.value,
                        capturing.join(", ")
                    ),
                    format!("choose one: workspace: {{ from: {first} }}"),
                );
            }
            if !capturing.is_empty() {
                return;
            }
        }
    }
}

/// Whether its workspace starts at a commit.
const fn starts_somewhere(kind: &Kind) -> bool {
    match kind {
        Kind::Run(_) | Kind::Agent(_) => true,
        Kind::Session(child) => child.decompose.is_some(),
        Kind::Builtin(_)
        | Kind::Sleep(_)
        | Kind::Approval(_)
        | Kind::WaitFor(_)
        | Kind::Group(_) => false,
    }
}

fn estimate(task: &Task) -> Option<Estimate> {
    task.estimate.map(|given| Estimate {
        optimistic: given.optimistic,
        likely: given.likely,
        pessimistic: given.pessimistic,
    })
}
