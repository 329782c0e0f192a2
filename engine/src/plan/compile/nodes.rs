//! The nodes of a plan: each task with what was handed down to it, its templates checked and its
//! references collected.

use std::rc::Rc;

use serde_json::Value;

use super::{
    kinds,
    outline::{Draft, Outline},
    resolve::{Found, Resolver, Viewer},
    retry_policy,
    templates::Templates,
    workspaces::{self, Handed},
};
use crate::{
    expression::names,
    plan::{Builtin, Kind, Node, NodeIndex},
    priority::Priority,
    workflow::{
        definition::{Any, At, Entries, Workflow},
        problem::Problems,
        tree::{self, Scalar, Tree},
    },
};

type Env<'w> = Vec<(&'w At<String>, &'w Any)>;

/// What a group hands down.
#[derive(Clone)]
struct Inherited<'w> {
    env: Env<'w>,
    requires: Vec<&'w str>,
    priority: Option<Priority>,
    workspace: Handed<'w>,
}

pub(super) struct Compiler<'a, 'w> {
    workflow: &'w Workflow,
    outline: &'a Outline<'w>,
    source: &'a str,
    /// By task: what it has with everything handed down.
    inherited: Vec<Inherited<'w>>,
    dependents: Vec<Vec<NodeIndex>>,
}

impl<'a, 'w> Compiler<'a, 'w> {
    pub(super) fn new(workflow: &'w Workflow, outline: &'a Outline<'w>, source: &'a str) -> Self {
        let top = Inherited {
            env: variables(&workflow.env).collect(),
            requires: Vec::new(),
            priority: None,
            workspace: Handed::of(workflow),
        };
        let mut inherited: Vec<Inherited<'w>> = Vec::with_capacity(outline.drafts.len());
        let mut dependents = vec![Vec::new(); outline.drafts.len()];
        for index in outline.indices() {
            let draft = outline.draft(index);
            // A group stands before what is in it.
            let outer = draft.parent.map_or(&top, |group| &inherited[group.index()]);
            let own = Inherited::of(outer, draft);
            inherited.push(own);
            for need in &draft.needs {
                dependents[need.index()].push(index);
            }
        }
        Self { workflow, outline, source, inherited, dependents }
    }

    /// All nodes; `None` when some task could not be read.
    pub(super) fn nodes(&self, problems: &mut Problems) -> Option<Vec<Node>> {
        check_env_names(&self.workflow.env, problems);
        let nodes: Vec<Option<Node>> =
            self.outline.indices().map(|index| self.node(index, problems)).collect();
        nodes.into_iter().collect()
    }

    fn node(&self, index: NodeIndex, problems: &mut Problems) -> Option<Node> {
        let draft = self.outline.draft(index);
        let task = draft.task;
        check_env_names(&task.env, problems);
        check_requires(&task.requires, problems);
        let kind = kinds::kind(draft, self.source, problems);
        let resolver = Resolver::new(self.outline, self.workflow, Viewer::Task(index));
        let from = workspaces::from(draft, self.outline, &resolver, problems);
        let mut templates = Templates { resolver, source: self.source, found: Found::default() };
        self.check_templates(index, &mut templates, problems);
        let mut found = templates.found;
        let kind = kind?;
        self.refer_commits(index, &kind, from, &mut found);
        if matches!(kind, Kind::Run(_) | Kind::Agent(_)) && from.is_none() {
            self.refuse_several_commits(index, problems);
        }
        let inherited = &self.inherited[index.index()];
        let is_executed = matches!(kind, Kind::Run(_) | Kind::Agent(_) | Kind::Builtin(_));
        let defaults = Some(&self.workflow.defaults).filter(|_| is_executed);
        let retry = task.retry.as_ref().or_else(|| defaults.and_then(|d| d.retry.as_ref()));
        let mut requires: Vec<String> =
            inherited.requires.iter().map(|&name| name.to_owned()).collect();
        requires.sort();
        requires.dedup();
        Some(Node {
            id: draft.id.value.clone(),
            title: task.title.clone(),
            parent: draft.parent,
            block: draft.block,
            position: draft.position,
            needs: draft.needs.clone(),
            dependents: self.dependents[index.index()].clone(),
            join: task.join,
            when: task.when.as_ref().map(|when| when.0.text.trim().to_owned()),
            kind,
            requires,
            priority: inherited.priority,
            timeout: task.timeout.or_else(|| defaults.and_then(|defaults| defaults.timeout)),
            heartbeat: task.heartbeat,
            retry: retry_policy(retry),
            env: inherited
                .env
                .iter()
                .map(|(name, value)| (name.value.clone(), env_value(value)))
                .collect(),
            workspace: Some(inherited.workspace.spec(from)),
            outputs: task.outputs.as_ref().map(|schema| schema.0.clone()),
            continue_on_failure: task.continue_on_failure,
            idempotency_key: task.idempotency_key.as_ref().map(|key| key.text.clone()),
            references: found.into_references(),
        })
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
        if task.tasks.is_some() {
            return;
        }
        let inherited = &self.inherited[index.index()];
        let agent = task.agent.as_ref().map(|agent| &agent.value);
        let texts = [
            task.idempotency_key.as_ref(),
            task.sleep.as_ref(),
            agent.and_then(|agent| agent.prompt.as_ref()),
            agent.and_then(|agent| agent.model.as_ref()),
            agent.and_then(|agent| agent.script.as_ref()),
        ];
        for text in texts.into_iter().flatten() {
            templates.text(text, problems);
        }
        for (_, value) in task.with.iter().flat_map(|with| &with.0) {
            templates.tree(&value.0, problems);
        }
        if task.sleep.is_some() {
            return;
        }
        for (_, value) in &inherited.env {
            templates.tree(&value.0, problems);
        }
        let workspace = &inherited.workspace;
        for text in [workspace.repo, workspace.base].into_iter().flatten() {
            templates.text(text, problems);
        }
    }

    fn is_in_item(&self, index: NodeIndex) -> bool {
        self.outline.around(index).iter().any(|group| self.outline.draft(*group).has_items())
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
            Kind::Run(_) | Kind::Agent(_) if self.inherited[index.index()].workspace.is_clone() => {
                workspaces::refer(self.outline, index, from, found);
            }
            Kind::Run(_) | Kind::Agent(_) | Kind::Builtin(_) | Kind::Sleep(_) | Kind::Group(_) => {}
        }
    }

    /// Whether a task or plain group surely brings a commit.
    fn captures(&self, index: NodeIndex) -> bool {
        let draft = self.outline.draft(index);
        let is_merge = draft.task.uses.as_ref().is_some_and(|uses| uses.value == "builtin/merge");
        let is_agent = draft.task.agent.is_some();
        is_merge
            || (is_agent && self.inherited[index.index()].workspace.is_clone())
            || (!draft.has_items() && draft.children.iter().any(|child| self.captures(*child)))
    }

    fn refuse_several_commits(&self, index: NodeIndex, problems: &mut Problems) {
        let draft = self.outline.draft(index);
        if !self.inherited[index.index()].workspace.is_clone() {
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

impl<'w> Inherited<'w> {
    fn of(outer: &Self, draft: &Draft<'w>) -> Self {
        let task = draft.task;
        let mut env = outer.env.clone();
        for (name, value) in variables(&task.env) {
            match env.iter_mut().find(|(known, _)| known.value == name.value) {
                Some(known) => *known = (name, value),
                None => env.push((name, value)),
            }
        }
        let mut requires = outer.requires.clone();
        requires.extend(task.requires.iter().map(|name| name.value.as_str()));
        Self {
            env,
            requires,
            priority: task.priority.or(outer.priority),
            workspace: outer.workspace.with(task.workspace.as_ref()),
        }
    }
}

/// The entries of an `env` that are not free keys.
fn variables(env: &Entries<Any>) -> impl Iterator<Item = (&At<String>, &Any)> {
    env.0
        .iter()
        .filter(|(name, _)| !name.value.starts_with("x-"))
        .map(|(name, value)| (name, value))
}

/// A value of the environment as a template: numbers and booleans as they are spelled.
fn env_value(value: &Any) -> Value {
    let tree: &Rc<Tree> = &value.0;
    match &tree.node {
        tree::Node::Scalar(Scalar { value: Value::Number(_), text, .. }) => {
            Value::String(text.clone())
        }
        _ => tree.json(),
    }
}

fn check_env_names(env: &Entries<Any>, problems: &mut Problems) {
    for (name, _) in variables(env) {
        if !names::is_identifier(&name.value) {
            problems.hint(
                name.at,
                format!("`{}` cannot be the name of an environment variable", name.value),
                "use letters, digits and `_`, the first no digit",
            );
        }
    }
}

fn check_requires(requires: &[At<String>], problems: &mut Problems) {
    for name in requires {
        let is_right = !name.value.is_empty()
            && name.value.len() <= 64
            && name.value.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.:/+".contains(&b));
        if !is_right {
            problems.hint(
                name.at,
                format!("`{}` cannot be a capability", name.value),
                "use 1 to 64 letters, digits and _ - . : / +",
            );
        }
    }
}
