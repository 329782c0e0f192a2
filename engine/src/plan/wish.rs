//! What a task asks of the agent that does it.

use super::{NodeIndex, Plan};
use crate::routing::Wish;

impl Plan {
    /// What this task requires and prefers.
    pub fn wish(&self, node: NodeIndex) -> Wish {
        let requires = self.node(node).requires.clone();
        Wish { requires, session_type: Some(self.kind), ..Wish::default() }
    }
}
