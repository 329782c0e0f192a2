//! A coding agent's turn as it is kept in a plan: who does the work, on whose conversation it goes
//! on, what it may do, and how much of everything it may take.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NodeIndex;
use crate::{duration::Span, size::Size};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentSpec {
    pub runtime: AgentRuntime,
    pub prompt: Option<String>,
    pub model: Option<String>,
    /// Taken in its place, in this order, while its provider lets no turn begin.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallback: Vec<String>,
    pub command: Option<Vec<String>>,
    pub script: Option<String>,
    /// The task whose conversation goes on; `None` begins a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continues: Option<NodeIndex>,
    /// In the order in which they are written: the last that matches decides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub permissions: Vec<Permission>,
    #[serde(default, skip_serializing_if = "AgentLimits::is_empty")]
    pub limits: AgentLimits,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AgentRuntime {
    /// Plays a file of outcomes and edits.
    Scripted,
    /// Any command line that reads the prompt on its standard input.
    Command,
    /// The coding agent opencode, through its own server.
    Opencode,
    /// Any agent that speaks the Agent Client Protocol on its standard input and output.
    Acp,
    /// What the worker has: a file that it is told to play, opencode where it is installed, else the
    /// command of `JOBSHOP_AGENT_COMMAND`.
    #[default]
    Usual,
}

impl AgentRuntime {
    pub const ALL: [Self; 5] =
        [Self::Scripted, Self::Command, Self::Opencode, Self::Acp, Self::Usual];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scripted => "scripted",
            Self::Command => "command",
            Self::Opencode => "opencode",
            Self::Acp => "acp",
            Self::Usual => "usual",
        }
    }

    /// Whether it has conversations that can be continued, steered and bounded.
    pub const fn converses(self) -> bool {
        matches!(self, Self::Opencode | Self::Acp)
    }
}

/// What an agent may do with a tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permission {
    /// A kind of action, such as `bash`, `edit` or `webfetch`; `*` is every one.
    pub tool: String,
    /// What it is done with, `*` standing for anything.
    pub pattern: String,
    pub action: PermissionAction,
}

#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum PermissionAction {
    Allow,
    Deny,
    /// People are asked.
    Ask,
}

impl PermissionAction {
    pub const ALL: [Self; 3] = [Self::Allow, Self::Deny, Self::Ask];

    /// The number under which the database keeps it.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// The action kept under `code`, if there is one.
    pub fn from_code(code: i16) -> Option<Self> {
        usize::try_from(code).ok().and_then(|index| Self::ALL.get(index).copied())
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Ask => "ask",
        }
    }
}

/// What a turn may take; the worker's defaults stand for what is not said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AgentLimits", deny_unknown_fields)]
#[serde(default)]
pub struct AgentLimits {
    /// Answers of the model.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u32>,
    /// Tokens read and written, those from the provider's cache not counted.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Money, as the agent reckons it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usd: Option<f64>,
    /// How long nothing may be heard of the agent; the task's `heartbeat` comes before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<Span>,
    /// What the agent and its tools may write.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Size>,
    /// How often in a row the same tool may be called with the same input.
    #[schemars(range(min = 2))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeated_calls: Option<u32>,
}

impl AgentLimits {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
