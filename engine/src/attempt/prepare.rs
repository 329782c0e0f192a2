//! From a node of a plan and the values it refers to, to an attempt with everything rendered.

use std::cell::OnceCell;

use serde_json::Value;

use super::{AgentWork, Attempt, HttpWork, MergeWork, Work, Workspace, commits};
use crate::{
    duration::Span,
    expression::{self, Scope, template::has_expression, values::Values},
    id::{Fence, TaskKey},
    outcome::{ErrorClass, Failure},
    plan::{
        AgentSpec, Builtin, Child, Expected, HttpSpec, Kind, Node, NodeIndex, Plan, WorkspaceMode,
        WorkspaceSpec, is_relative_repo,
    },
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
    let rendering = Rendering { plan, node, values, scope: OnceCell::new() };
    let spec = plan.node(node);
    let env = rendering.env()?;
    let work = rendering.work(identity.fence.task)?;
    let expected = rendering.expected()?;
    let workspace = rendering.workspace(identity.file_dir.as_deref())?;
    let idempotency_key = match &spec.idempotency_key {
        Some(source) => rendering.text(source)?,
        None => format!("{}/{}", identity.fence.task.session.id, identity.task),
    };
    Ok(Attempt {
        fence: identity.fence,
        task: identity.task,
        work,
        env,
        workspace,
        setup: spec.workspace.as_ref().map(|it| it.setup.clone()).unwrap_or_default(),
        quota: spec.workspace.as_ref().and_then(|it| it.quota),
        timeout: spec.timeout,
        heartbeat: spec.heartbeat,
        is_failure_allowed: plan.is_failure_allowed(node),
        expected,
        schema: spec.outputs.clone(),
        idempotency_key,
        file_dir: identity.file_dir,
    })
}

/// Where a task that is broken down works and with which environment: its subtasks inherit both.
pub fn surroundings(
    plan: &Plan,
    node: NodeIndex,
    values: &Values,
    file_dir: Option<&str>,
) -> Result<(Workspace, Vec<(String, String)>), Failure> {
    let rendering = Rendering { plan, node, values, scope: OnceCell::new() };
    Ok((rendering.workspace(file_dir)?, rendering.env()?))
}

/// How long a `sleep` task sleeps.
pub fn sleep(plan: &Plan, node: NodeIndex, values: &Values) -> Result<Span, Failure> {
    let Kind::Sleep(source) = &plan.node(node).kind else { return Ok(Span { ms: 0 }) };
    let rendering = Rendering { plan, node, values, scope: OnceCell::new() };
    let text = rendering.text(source)?;
    text.trim().parse().map_err(|error| failure(format!("`sleep`: {error}")))
}

/// The templates of one node over the values loaded for it.
struct Rendering<'a> {
    plan: &'a Plan,
    node: NodeIndex,
    values: &'a Values,
    /// Built for the first expression: many tasks have none.
    scope: OnceCell<Scope>,
}

impl Rendering<'_> {
    fn scope(&self) -> &Scope {
        self.scope.get_or_init(|| self.values.scope(self.plan, Some(self.node)))
    }

    fn text(&self, source: &str) -> Result<String, Failure> {
        if !has_expression(source) {
            return Ok(source.to_owned());
        }
        expression::render_text(source, self.scope())
    }

    fn optional(&self, source: Option<&String>) -> Result<Option<String>, Failure> {
        source.map(|source| self.text(source)).transpose()
    }

    /// The environment of a command; a built-in task has no use for one.
    fn env(&self) -> Result<Vec<(String, String)>, Failure> {
        match &self.plan.node(self.node).kind {
            Kind::Builtin(Builtin::Merge { check, .. }) if check.is_empty() => Ok(Vec::new()),
            Kind::Run(_)
            | Kind::Agent(_)
            | Kind::Session(Child { decompose: Some(_), .. })
            | Kind::Builtin(Builtin::Merge { .. }) => {
                let env = self.plan.environment(self.node).into_iter();
                env.map(|(name, value)| Ok((name.to_owned(), self.variable(value)?))).collect()
            }
            Kind::Builtin(_)
            | Kind::Sleep(_)
            | Kind::Session(_)
            | Kind::Approval(_)
            | Kind::WaitFor(_)
            | Kind::Group(_) => Ok(Vec::new()),
        }
    }

    /// Every text in the value rendered, then the rule for values as text.
    fn variable(&self, value: &Value) -> Result<String, Failure> {
        match value.as_str() {
            Some(source) => self.text(source),
            None => Ok(expression::to_text(&expression::render_value(value, self.scope())?)),
        }
    }

    fn work(&self, own: TaskKey) -> Result<Work, Failure> {
        Ok(match &self.plan.node(self.node).kind {
            Kind::Run(command) => Work::Run(command.clone()),
            Kind::Agent(agent) => Work::Agent(self.agent(agent, own)?),
            Kind::Builtin(Builtin::Noop) => Work::Noop,
            Kind::Builtin(Builtin::Fail { message }) => {
                let message = self.optional(message.as_ref())?;
                let message = message.unwrap_or_else(|| "it is there to fail".to_owned());
                Work::Fail(ErrorClass::Error, message)
            }
            Kind::Builtin(Builtin::Merge { into, check }) => Work::Merge(MergeWork {
                check: check.clone(),
                into: self.optional(into.as_ref())?.filter(|branch| !branch.is_empty()),
                commits: commits::merged(self.plan, self.node, self.values),
            }),
            Kind::Builtin(Builtin::Http(spec)) => Work::Http(self.http(spec)?),
            Kind::Sleep(_)
            | Kind::Session(_)
            | Kind::Approval(_)
            | Kind::WaitFor(_)
            | Kind::Group(_) => {
                return Err(failure("this kind of task has nothing to execute".to_owned()));
            }
        })
    }

    fn expected(&self) -> Result<Expected, Failure> {
        let spec = &self.plan.node(self.node).expected;
        let artifacts = spec.artifacts.iter().map(|pattern| self.text(pattern));
        Ok(Expected { artifacts: artifacts.collect::<Result<_, _>>()?, ..spec.clone() })
    }

    fn http(&self, spec: &HttpSpec) -> Result<HttpWork, Failure> {
        let headers = spec.headers.iter();
        let body = spec.body.as_ref();
        Ok(HttpWork {
            url: self.text(&spec.url)?,
            method: self.optional(spec.method.as_ref())?.unwrap_or_else(|| "GET".to_owned()),
            headers: headers
                .map(|(name, value)| Ok((name.clone(), self.variable(value)?)))
                .collect::<Result<_, Failure>>()?,
            body: body.map(|body| expression::render_value(body, self.scope())).transpose()?,
            expect: spec.expect.clone(),
            timeout: spec.timeout,
        })
    }

    fn agent(&self, agent: &AgentSpec, own: TaskKey) -> Result<AgentWork, Failure> {
        Ok(AgentWork {
            runtime: agent.runtime,
            prompt: self.optional(agent.prompt.as_ref())?.unwrap_or_default(),
            model: self.optional(agent.model.as_ref())?.filter(|model| !model.is_empty()),
            fallback: agent.fallback.iter().map(|it| self.text(it)).collect::<Result<_, _>>()?,
            command: agent.command.clone(),
            script: self.optional(agent.script.as_ref())?,
            continues: agent.continues.map(|node| self.row_of(node, own)),
            permissions: agent.permissions.clone(),
            limits: agent.limits,
        })
    }

    /// The row of a task in the same block, or at the top.
    fn row_of(&self, node: NodeIndex, own: TaskKey) -> TaskKey {
        let (here, there) = (self.plan.node(self.node), self.plan.node(node));
        let seq = if there.block == here.block {
            own.seq - here.position + there.position
        } else {
            self.plan.root_row(node)
        };
        TaskKey { seq, ..own }
    }

    fn workspace(&self, file_dir: Option<&str>) -> Result<Workspace, Failure> {
        let Node { workspace, kind, .. } = self.plan.node(self.node);
        let needs_none =
            matches!(kind, Kind::Builtin(Builtin::Noop | Builtin::Fail { .. } | Builtin::Http(_)));
        let is_clone = |spec: &&WorkspaceSpec| spec.mode == WorkspaceMode::Clone && !needs_none;
        let Some(spec) = workspace.as_ref().filter(is_clone) else { return Ok(Workspace::Empty) };
        let repo = self.optional(spec.repo.as_ref())?.filter(|repo| !repo.is_empty());
        let Some(repo) = repo else { return Ok(Workspace::Empty) };
        if file_dir.is_none() && is_relative_repo(&repo) {
            return Err(failure(format!(
                "the repository `{repo}` is a relative path, which only `jobshop run FILE` and `jobshop prompt` can follow: give an absolute path or a URL"
            )));
        }
        let base = self.optional(spec.base.as_ref())?.filter(|base| !base.is_empty());
        let at = match kind {
            Kind::Run(_) | Kind::Agent(_) | Kind::Session(Child { decompose: Some(_), .. }) => {
                commits::start(self.plan, self.node, self.values)?
            }
            Kind::Builtin(_)
            | Kind::Sleep(_)
            | Kind::Session(_)
            | Kind::Approval(_)
            | Kind::WaitFor(_)
            | Kind::Group(_) => None,
        };
        Ok(Workspace::Clone { repo, base, at })
    }
}

fn failure(message: String) -> Failure {
    Failure::new(ErrorClass::Template, message)
}
