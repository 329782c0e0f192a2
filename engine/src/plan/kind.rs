//! What a task does, as it is kept in a plan. Groups have their shape beside their kind.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{AgentSpec, Decompose, Group};
use crate::duration::Span;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Run(Command),
    Agent(AgentSpec),
    Builtin(Builtin),
    /// A duration, or a template that gives one.
    Sleep(String),
    Approval(Approval),
    /// The name of a signal, or a template that gives one.
    WaitFor(String),
    Group(Group),
    /// Another workflow, or the subtasks of a goal, as a session of its own.
    Session(Child),
}

/// Another workflow, or one that is made of a goal, as a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Child {
    pub name: String,
    /// `None` takes what the name stands for when the task begins.
    pub version: Option<i32>,
    /// Its inputs; text may hold `${{ }}`.
    pub with: Vec<(String, Value)>,
    /// How the workflow is made, where it is no other one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decompose: Option<Box<Decompose>>,
}

impl Child {
    /// As it is written, `name@version`.
    pub fn reference(&self) -> String {
        match self.version {
            Some(version) => format!("{}@{version}", self.name),
            None => self.name.clone(),
        }
    }
}

/// What a `run` task executes. Neither form may hold `${{ }}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    Script(String),
    Argv(Vec<String>),
}

/// What people are asked before a task is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Names of keys and roles; empty: every key that may submit.
    pub from: Vec<String>,
    pub quorum: i32,
    pub message: Option<String>,
    pub on_reject: OnReject,
    pub on_timeout: OnTimeout,
    /// Who submitted the session may not decide.
    pub bars_submitter: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnReject {
    /// The task fails, class `rejected`.
    #[default]
    Fail,
    /// The task completes: what needs it looks at its `decision`.
    Continue,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnTimeout {
    Approve,
    #[default]
    Reject,
    /// It stays open for as long again, and any admin may decide; then it is rejected.
    Escalate,
}

/// A task that Jobshop brings along.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Builtin {
    Noop,
    /// Fails; `with: { message }` says what with.
    Fail {
        message: Option<String>,
    },
    /// Collects the commits of its needs on one branch. With commands it is a merge train: what makes
    /// them fail is left out.
    Merge {
        into: Option<String>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        check: Vec<Command>,
    },
    Http(HttpSpec),
}

/// One HTTP request; every text may hold `${{ }}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HttpSpec {
    pub url: String,
    pub method: Option<String>,
    pub headers: Vec<(String, Value)>,
    pub body: Option<Value>,
    /// The answers that are a success; none means any 2xx.
    pub expect: Vec<u16>,
    pub timeout: Option<Span>,
}
