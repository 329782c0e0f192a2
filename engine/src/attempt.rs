//! One attempt as an executor gets it: everything rendered, nothing left to look up. It does not
//! know the plan or the database.

mod commits;
mod prepare;

use serde_json::Value;

pub use self::prepare::{Identity, prepare, sleep, surroundings};
use crate::{
    duration::Span,
    id::{Fence, TaskKey},
    outcome::ErrorClass,
    plan::{AgentLimits, AgentRuntime, Command, Expected, Permission},
    size::Size,
};

#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    pub fence: Fence,
    /// The key of the task as users read it, `build[api].check`.
    pub task: String,
    pub work: Work,
    /// In order; later entries win.
    pub env: Vec<(String, String)>,
    pub workspace: Workspace,
    /// Executed in the workspace before the work begins.
    pub setup: Vec<Command>,
    /// How much it may put on the disk.
    pub quota: Option<Size>,
    pub timeout: Option<Span>,
    pub heartbeat: Option<Span>,
    /// What it puts out counts even if it fails: it, or a group around it, has
    /// `continue_on_failure`.
    pub is_failure_allowed: bool,
    pub expected: Expected,
    /// The JSON Schema that the outputs must match.
    pub schema: Option<Value>,
    pub idempotency_key: String,
    /// The folder of the workflow file, where there is one: relative repositories and scripts start
    /// there.
    pub file_dir: Option<String>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    Noop,
    Fail(ErrorClass, String),
    Run(Command),
    Agent(AgentWork),
    Merge(MergeWork),
    Http(HttpWork),
}

#[derive(Debug, Clone, PartialEq)]
pub struct AgentWork {
    pub runtime: AgentRuntime,
    pub prompt: String,
    pub model: Option<String>,
    /// Models that take its place, in this order, while its provider lets no turn begin.
    pub fallback: Vec<String>,
    pub command: Option<Vec<String>>,
    pub script: Option<String>,
    /// The row of the task whose conversation goes on.
    pub continues: Option<TaskKey>,
    pub permissions: Vec<Permission>,
    pub limits: AgentLimits,
}

impl AgentWork {
    /// A turn of its own with nothing special about it.
    pub fn new(runtime: AgentRuntime, prompt: impl Into<String>) -> Self {
        Self {
            runtime,
            prompt: prompt.into(),
            model: None,
            fallback: Vec::new(),
            command: None,
            script: None,
            continues: None,
            permissions: Vec::new(),
            limits: AgentLimits::default(),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct MergeWork {
    /// The branch to merge into; without it `jobshop/<last 8 of the session>`.
    pub into: Option<String>,
    /// With commands, it is a merge train: they have to succeed on the result.
    pub check: Vec<Command>,
    /// What is merged, in order.
    pub commits: Vec<CapturedCommit>,
}

/// One HTTP request.
#[derive(Clone, PartialEq)]
pub struct HttpWork {
    pub url: String,
    pub method: String,
    pub headers: Vec<(String, String)>,
    /// Text is sent as it is, everything else as JSON.
    pub body: Option<Value>,
    /// The answers that are a success; none means any 2xx.
    pub expect: Vec<u16>,
    pub timeout: Option<Span>,
}

impl std::fmt::Debug for HttpWork {
    /// Everything but the method may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpWork").field("method", &self.method).finish_non_exhaustive()
    }
}

/// A commit that a task captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapturedCommit {
    pub task: String,
    pub commit: String,
}

/// The directory an attempt works in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Workspace {
    /// A private, empty directory.
    Empty,
    /// A private clone of `repo` at `at` (a commit captured by a need), else at `base` (a branch,
    /// tag or commit; without one the repository's HEAD).
    Clone { repo: String, base: Option<String>, at: Option<String> },
}

#[cfg(test)]
mod tests;
