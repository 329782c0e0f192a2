//! From a node of a plan and the values it refers to, to an attempt with everything rendered.

use super::{AgentWork, Attempt, MergeWork, Work, Workspace, commits};
use crate::{
    duration::Span,
    expression::{self, Scope, values::Values},
    id::Fence,
    outcome::{ErrorClass, Failure},
    plan::{AgentSpec, Builtin, Command, Kind, Node, NodeIndex, Plan, WorkspaceMode},
};

/// Whose attempt it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub fence: Fence,
    /// The key of the task, `build[api].check`.
    pub task: String,
    /// The folder of the workflow file, where there is one.
    pub file_dir: Option<String>,
}

/// Renders everything that an attempt at `node` needs. A failure here is one of the task.
pub fn prepare(
    plan: &Plan,
    node: NodeIndex,
    values: &Values,
    identity: Identity,
) -> Result<Attempt, Failure> {
    let spec = plan.node(node);
    let scope = values.scope(plan, Some(node));
    let env = env(plan, node, &scope)?;
    let work = work(plan, node, values, &scope)?;
    let workspace = workspace(plan, node, values, &scope, identity.file_dir.as_deref())?;
    let idempotency_key = match &spec.idempotency_key {
        Some(source) => expression::render_text(source, &scope)?,
        None => format!("{}/{}", identity.fence.task.session.id, identity.task),
    };
    Ok(Attempt {
        fence: identity.fence,
        task: identity.task,
        work,
        env,
        workspace,
        timeout: spec.timeout,
        heartbeat: spec.heartbeat,
        schema: spec.outputs.clone(),
        idempotency_key,
        file_dir: identity.file_dir,
    })
}

/// The environment of a command; a built-in task has no use for one.
fn env(plan: &Plan, node: NodeIndex, scope: &Scope) -> Result<Vec<(String, String)>, Failure> {
    match plan.node(node).kind {
        Kind::Run(_) | Kind::Agent(_) => {
            let env = plan.environment(node).into_iter();
            env.map(|(name, value)| Ok((name.to_owned(), text(value, scope)?))).collect()
        }
        Kind::Builtin(_) | Kind::Sleep(_) | Kind::Group(_) => Ok(Vec::new()),
    }
}

/// How long a `sleep` task sleeps.
pub fn sleep(plan: &Plan, node: NodeIndex, values: &Values) -> Result<Span, Failure> {
    let Kind::Sleep(source) = &plan.node(node).kind else { return Ok(Span { ms: 0 }) };
    let text = expression::render_text(source, &values.scope(plan, Some(node)))?;
    text.trim().parse().map_err(|error| failure(format!("`sleep`: {error}")))
}

/// A value as text: every text in it rendered, then the rule for text.
fn text(value: &serde_json::Value, scope: &Scope) -> Result<String, Failure> {
    match value.as_str() {
        Some(source) => expression::render_text(source, scope),
        None => Ok(expression::to_text(&expression::render_value(value, scope)?)),
    }
}

fn optional(source: Option<&String>, scope: &Scope) -> Result<Option<String>, Failure> {
    source.map(|source| expression::render_text(source, scope)).transpose()
}

fn work(plan: &Plan, node: NodeIndex, values: &Values, scope: &Scope) -> Result<Work, Failure> {
    Ok(match &plan.node(node).kind {
        Kind::Run(Command::Script(script)) => Work::Run(Command::Script(script.clone())),
        Kind::Run(Command::Argv(argv)) => Work::Run(Command::Argv(argv.clone())),
        Kind::Agent(agent) => Work::Agent(agent_work(agent, scope)?),
        Kind::Builtin(Builtin::Noop) => Work::Noop,
        Kind::Builtin(Builtin::Fail { message }) => {
            let message = optional(message.as_ref(), scope)?;
            Work::Fail(
                ErrorClass::Error,
                message.unwrap_or_else(|| "it is there to fail".to_owned()),
            )
        }
        Kind::Builtin(Builtin::Merge { into }) => Work::Merge(MergeWork {
            into: optional(into.as_ref(), scope)?.filter(|branch| !branch.is_empty()),
            commits: commits::merged(plan, node, values),
        }),
        Kind::Sleep(_) | Kind::Group(_) => {
            return Err(failure("a sleep or a group has nothing to execute".to_owned()));
        }
    })
}

fn agent_work(agent: &AgentSpec, scope: &Scope) -> Result<AgentWork, Failure> {
    Ok(AgentWork {
        runtime: agent.runtime,
        prompt: optional(agent.prompt.as_ref(), scope)?.unwrap_or_default(),
        model: optional(agent.model.as_ref(), scope)?.filter(|model| !model.is_empty()),
        command: agent.command.clone(),
        script: optional(agent.script.as_ref(), scope)?,
    })
}

fn workspace(
    plan: &Plan,
    node: NodeIndex,
    values: &Values,
    scope: &Scope,
    file_dir: Option<&str>,
) -> Result<Workspace, Failure> {
    let Node { workspace, kind, .. } = plan.node(node);
    let needs_none = matches!(kind, Kind::Builtin(Builtin::Noop | Builtin::Fail { .. }));
    let spec = workspace.as_ref().filter(|spec| spec.mode == WorkspaceMode::Clone && !needs_none);
    let Some(spec) = spec else {
        return Ok(Workspace::Empty);
    };
    let Some(repo) = optional(spec.repo.as_ref(), scope)?.filter(|repo| !repo.is_empty()) else {
        return Ok(Workspace::Empty);
    };
    if file_dir.is_none() && is_relative(&repo) {
        return Err(failure(format!(
            "the repository `{repo}` is a relative path, which only `jobshop run FILE` and `jobshop prompt` can follow: give an absolute path or a URL"
        )));
    }
    let base = optional(spec.base.as_ref(), scope)?.filter(|base| !base.is_empty());
    let at = match kind {
        Kind::Run(_) | Kind::Agent(_) => commits::start(plan, node, values)?,
        Kind::Builtin(_) | Kind::Sleep(_) | Kind::Group(_) => None,
    };
    Ok(Workspace::Clone { repo, base, at })
}

/// Neither an absolute path, nor a URL, nor `host:path`.
fn is_relative(repo: &str) -> bool {
    let is_remote = repo.contains("://")
        || repo.split_once(':').is_some_and(|(host, _)| !host.is_empty() && !host.contains('/'));
    !repo.starts_with('/') && !is_remote
}

fn failure(message: String) -> Failure {
    Failure::new(ErrorClass::Template, message)
}
