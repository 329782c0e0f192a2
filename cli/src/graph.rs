//! The graph of a compiled workflow, drawn for people and programs. Pure; it knows nothing of
//! sessions.

mod dot;
mod json;
mod mermaid;

use jobshop_engine::plan::{Builtin, Kind, Node, NodeIndex, Plan};

pub use dot::dot;
pub use json::json;
pub use mermaid::mermaid;

/// The name of a node: its key with a star for the items it stands for.
fn key(plan: &Plan, index: NodeIndex) -> String {
    let stars = vec!["*"; plan.enclosing_items(index).len()];
    plan.path(index, &stars)
}

/// What a task does, as the language calls it.
fn kind(node: &Node) -> &'static str {
    match &node.kind {
        Kind::Run(_) => "run",
        Kind::Agent(_) => "agent",
        Kind::Builtin(Builtin::Noop) => "builtin/noop",
        Kind::Builtin(Builtin::Fail { .. }) => "builtin/fail",
        Kind::Builtin(Builtin::Merge { .. }) => "builtin/merge",
        Kind::Sleep(_) => "sleep",
        Kind::Group(_) => "tasks",
    }
}

/// The nodes at the top of the workflow, or directly in a group, in the order written.
fn children(plan: &Plan, parent: Option<NodeIndex>) -> Vec<NodeIndex> {
    indexes(plan).filter(|index| plan.node(*index).parent == parent).collect()
}

fn indexes(plan: &Plan) -> impl Iterator<Item = NodeIndex> {
    (0..u32::try_from(plan.nodes.len()).unwrap_or(u32::MAX)).map(NodeIndex)
}

/// From each need to the node that waits for it.
fn edges(plan: &Plan) -> impl Iterator<Item = (NodeIndex, NodeIndex)> {
    indexes(plan).flat_map(|index| plan.node(index).needs.iter().map(move |need| (*need, index)))
}

/// The heading of a group: its id, and what it is repeated for.
fn heading(plan: &Plan, index: NodeIndex) -> String {
    let node = plan.node(index);
    let repeated = plan.group(index).and_then(|group| group.for_each.as_ref());
    repeated.map_or_else(|| node.id.clone(), |each| format!("{} (for each {})", node.id, each.name))
}
