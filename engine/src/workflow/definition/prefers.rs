//! Which agents a task prefers, as it is written.

use schemars::JsonSchema;

use super::At;
use crate::{
    duration::Span,
    routing::{AgentType, Complexity},
};

/// Which agents are asked first. Nobody who offers what is required is left out for it, but who avoids
/// one of the technologies.
#[derive(Debug, Clone, Default, JsonSchema)]
#[schemars(rename = "Prefers", deny_unknown_fields)]
pub struct Prefers {
    #[schemars(rename = "type", default)]
    pub kind: Option<AgentType>,
    /// Their names.
    #[schemars(default)]
    pub agents: Vec<At<String>>,
    #[schemars(default)]
    pub technologies: Vec<At<String>>,
    #[schemars(default)]
    pub complexity: Option<Complexity>,
    /// How long the best of them is waited for; then any agent may take it. 10s unless given.
    #[schemars(default)]
    pub within: Option<Span>,
}
