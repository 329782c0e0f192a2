//! What the templates of a node look at, so that it can be loaded before they are rendered.

use serde::{Deserialize, Serialize};

use super::NodeIndex;

/// The rows whose values a template may look at. All of them are in the node's own block or in an
/// enclosing one, or below a `for_each` group that is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct References {
    /// Tasks and groups: status, outputs, error.
    pub tasks: Vec<NodeIndex>,
    /// `for_each` groups of which only the lists of keys are read (`completed`, `failed`, …).
    pub lists: Vec<NodeIndex>,
    /// `for_each` groups of which the items' tasks are read too, and loops of which those of the last
    /// round are.
    pub items: Vec<NodeIndex>,
    /// Whether the value or key of an enclosing item is read.
    pub item: bool,
    /// Whether the context of the session is read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub context: bool,
}

impl References {
    pub fn is_empty(&self) -> bool {
        let reads_tasks =
            !(self.tasks.is_empty() && self.lists.is_empty() && self.items.is_empty());
        !reads_tasks && !self.item && !self.context
    }
}
