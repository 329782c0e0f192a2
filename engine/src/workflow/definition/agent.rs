//! A coding agent's turn, as it is written.

use schemars::JsonSchema;

use super::{At, Entries, Text};
use crate::plan::{AgentLimits, AgentRuntime, Permission, PermissionAction};

/// A coding agent's turn.
#[derive(Debug, JsonSchema)]
#[schemars(rename = "Agent", deny_unknown_fields)]
pub struct Agent {
    /// Who does it; what the worker usually starts unless given.
    #[schemars(default)]
    pub runtime: AgentRuntime,
    /// What the agent is asked to do.
    #[schemars(default)]
    pub prompt: Option<Text>,
    /// With the runtime `opencode`: provider/model.
    #[schemars(default)]
    pub model: Option<Text>,
    /// Models that are taken in its place, in this order, while its provider lets no turn begin.
    #[schemars(default)]
    pub fallback: Vec<Text>,
    /// With the runtimes `command` and `acp`: the command and its arguments.
    #[schemars(default)]
    pub command: Option<Vec<Text>>,
    /// With the runtime `scripted`: the file that is played.
    #[schemars(default)]
    pub script: Option<Text>,
    /// `fresh`, or `continue:TASK` to go on with the conversation of a task that this one needs.
    #[schemars(default)]
    pub session: Option<Conversation>,
    /// What the agent may do: for each kind of action `allow`, `deny` or `ask`, or a map of patterns.
    #[schemars(with = "Entries<Rule>", default)]
    pub permissions: Vec<Permission>,
    /// What the turn may take.
    #[schemars(default)]
    pub limits: AgentLimits,
}

/// The conversation that a turn belongs to.
#[derive(Debug)]
pub enum Conversation {
    Fresh,
    /// Of the task with this id.
    Continue(At<String>),
}

/// What may be done with a kind of action, as it is written.
#[derive(Debug, JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "the shape of what is read into a list of permissions")]
enum Rule {
    Always(PermissionAction),
    ByPattern(Entries<PermissionAction>),
}
