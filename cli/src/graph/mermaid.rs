//! A graph as a Mermaid flowchart.

use std::fmt::Write as _;

use jobshop_engine::plan::{NodeIndex, Plan};

/// The flowchart; groups are subgraphs.
pub fn mermaid(plan: &Plan) -> String {
    let mut text = "flowchart TD\n".to_owned();
    add(&mut text, plan, None, 1);
    for (from, to) in super::edges(plan) {
        let arrow = if plan.node(to).when.is_some() { "-. when .->" } else { "-->" };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  n{} {arrow} n{}", from.0, to.0);
    }
    text
}

fn add(text: &mut String, plan: &Plan, parent: Option<NodeIndex>, depth: usize) {
    let margin = "  ".repeat(depth);
    for index in super::children(plan, parent) {
        let number = index.0;
        if plan.group(index).is_some() {
            let heading = escape(&super::heading(plan, index));
            let _ = writeln!(text, "{margin}subgraph n{number}[\"{heading}\"]");
            add(text, plan, Some(index), depth + 1);
            let _ = writeln!(text, "{margin}end");
        } else {
            let node = plan.node(index);
            let (id, kind) = (escape(&node.id), super::kind(node));
            let _ = writeln!(text, "{margin}n{number}[\"{id}<br/><small>{kind}</small>\"]");
        }
    }
}

fn escape(text: &str) -> String {
    text.replace('"', "#quot;").replace('<', "#lt;").replace('>', "#gt;")
}
