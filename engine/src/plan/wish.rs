//! What a task asks of the agent that does it, and for how long only the best is asked.

use serde::{Deserialize, Serialize};

use super::{NodeIndex, Plan};
use crate::{
    duration::Span,
    routing::{AgentType, Complexity, Wish},
};

/// How long a task waits for the agent that it was offered to.
const WITHIN_MS: u64 = 10_000;

/// What a task prefers, its own and what its groups handed down.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Prefers {
    #[serde(rename = "type")]
    pub kind: Option<AgentType>,
    /// Names.
    pub agents: Vec<String>,
    pub technologies: Vec<String>,
    pub complexity: Option<Complexity>,
    pub within: Option<Span>,
}

impl Prefers {
    pub fn within(&self) -> Span {
        self.within.unwrap_or(Span { ms: WITHIN_MS })
    }
}

impl Plan {
    /// What this task requires and prefers.
    pub fn wish(&self, node: NodeIndex) -> Wish {
        let node = self.node(node);
        let prefers = node.prefers.clone().unwrap_or_default();
        Wish {
            requires: node.requires.clone(),
            kind: prefers.kind,
            agents: prefers.agents,
            technologies: prefers.technologies,
            complexity: prefers.complexity,
            session_type: Some(self.kind),
            tier: None,
        }
    }
}
