//! How the result of a task is judged by others than the task itself, as it is kept in a plan.

use serde::{Deserialize, Serialize};

use super::Command;

/// What a task has to come to besides its own word.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Expected {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verify>,
    /// An agent in a repository has to change something.
    pub diff: bool,
    /// Files of the workspace that are kept. Text may hold `${{ }}`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<String>,
    /// Files that may be changed: a change elsewhere is a finding.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
}

impl Expected {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Commands that have to succeed in a clean checkout of what the task made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verify {
    /// One after the other; the first that fails ends the verification.
    pub commands: Vec<Command>,
    /// How many more turns an agent gets, each with what failed.
    #[serde(default)]
    pub max_rounds: u32,
    /// Whether such a turn goes on with the agent's conversation, where its runtime has one.
    #[serde(default)]
    pub resume_session: bool,
}
