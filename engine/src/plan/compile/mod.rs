//! From a workflow as it is written to a [`Plan`]: every id, need and name is checked here. It does
//! not read YAML and does not evaluate expressions.

mod budgets;
mod conversation;
mod decompose;
mod handed;
mod http;
mod kinds;
mod limits;
mod members;
mod merge_train;
mod nodes;
mod outline;
mod people;
mod resolve;
mod templates;
mod triggers;
mod verify;
mod workspaces;

use serde_json::Value;

use self::{
    nodes::Compiler,
    outline::Outline,
    resolve::{Found, Resolver, Viewer},
    templates::Templates,
};
use super::{Input, Plan};
use crate::{
    expression::names,
    retry::RetryPolicy,
    workflow::{
        Limits,
        definition::{Any, At, Entries, Retry, Workflow},
        problem::Problems,
        tree::{self, Scalar},
    },
};

/// Compiles a workflow. `None` when nothing can be made of it; otherwise the plan is right only if
/// no problem was found.
pub fn compile(
    workflow: &Workflow,
    source: &str,
    limits: &Limits,
    problems: &mut Problems,
) -> Option<Plan> {
    if workflow.tasks.value.0.is_empty() && problems.is_empty() {
        problems.add(workflow.tasks.at, "a workflow needs at least one task under `tasks`");
    }
    check_names(workflow, problems);
    let outline = Outline::new(workflow, limits.tasks, problems)?;
    if !limits.relative_repo {
        workspaces::refuse_relative(workflow, &outline, problems);
    }
    let nodes = Compiler::new(workflow, &outline, source, limits, problems).nodes(problems);
    let mut outputs = Templates {
        resolver: Resolver::new(&outline, workflow, Viewer::Session),
        source,
        found: Found::default(),
    };
    for (_, value) in &workflow.outputs.0 {
        outputs.tree(&value.0, problems);
    }
    let concurrency = limits::concurrency(workflow, &outline, source, problems);
    let inputs = inputs(workflow);
    let schedules = triggers::schedules(workflow, &inputs, problems);
    Some(Plan {
        name: workflow.name.value.clone(),
        description: workflow.description.clone(),
        kind: workflow.kind,
        priority: workflow.priority,
        timeout: workflow.timeout,
        start_timeout: workflow.start_timeout,
        retention: workflow.retention,
        fail_fast: workflow.fail_fast,
        inputs,
        env: environment(&workflow.env),
        finally_timeout: workflow.finally_timeout,
        outputs: workflow
            .outputs
            .0
            .iter()
            .map(|(name, value)| (name.value.clone(), value.0.json()))
            .collect(),
        output_references: outputs.found.into_references(),
        nodes: nodes?,
        blocks: outline.blocks,
        concurrency,
        budget: workflow.budget.as_ref().map(|budget| budgets::of(&budget.value)),
        schedules,
    })
}

/// An `env` as templates: numbers as they are spelled.
fn environment(env: &Entries<Any>) -> Vec<(String, Value)> {
    let spelled = |value: &Any| match &value.0.node {
        tree::Node::Scalar(Scalar { value: Value::Number(_), text, .. }) => {
            Value::String(text.clone())
        }
        tree::Node::Scalar(_) | tree::Node::List(_) | tree::Node::Map(_) => value.0.json(),
    };
    handed::variables(env).map(|(name, value)| (name.value.clone(), spelled(value))).collect()
}

fn inputs(workflow: &Workflow) -> Vec<(String, Input)> {
    let compiled = workflow.inputs.0.iter().map(|(name, input)| {
        let choices = input.choices.as_ref();
        let compiled = Input {
            kind: input.kind,
            required: input.required,
            default: input.default.as_ref().map(|value| value.0.json()),
            description: input.description.clone(),
            choices: choices.map(|all| all.iter().map(|choice| choice.0.json()).collect()),
        };
        (name.value.clone(), compiled)
    });
    compiled.collect()
}

/// Checks the names of inputs and outputs and of the workspace's `from`.
fn check_names(workflow: &Workflow, problems: &mut Problems) {
    fn refuse<T>(entries: &Entries<T>, what: &str, problems: &mut Problems) {
        for (name, _) in &entries.0 {
            if !names::is_identifier(&name.value.replace('-', "_")) {
                problems.hint(
                    name.at,
                    format!("`{}` cannot be the name of {what}", name.value),
                    "use letters, digits, `_` and `-`, the first no digit",
                );
            }
        }
    }
    refuse(&workflow.inputs, "an input", problems);
    refuse(&workflow.outputs, "an output", problems);
    if let Some(At { at, .. }) = workflow.workspace.as_ref().and_then(|w| w.from.as_ref()) {
        problems.hint(*at, "`from` means nothing here", "it belongs to the `workspace` of a task");
    }
}

/// The policy that a `retry` means; without one there is one attempt.
fn retry_policy(retry: Option<&Retry>) -> RetryPolicy {
    let Some(retry) = retry else { return RetryPolicy::once() };
    let usual = RetryPolicy::default();
    RetryPolicy {
        max_attempts: retry.max_attempts.unwrap_or(usual.max_attempts),
        backoff: retry.backoff.unwrap_or(usual.backoff),
        initial: retry.initial.unwrap_or(usual.initial),
        max: retry.max.unwrap_or(usual.max),
        jitter: retry.jitter.unwrap_or(usual.jitter),
        errors: retry.errors.clone().unwrap_or(usual.errors),
    }
}
