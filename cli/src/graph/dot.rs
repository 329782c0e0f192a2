//! A graph in the language of Graphviz.

use std::fmt::Write as _;

use jobshop_engine::plan::{NodeIndex, Plan};

/// The digraph; groups are clusters.
pub fn dot(plan: &Plan) -> String {
    let mut text = format!("digraph \"{}\" {{\n", escape(&plan.name));
    text.push_str("  compound=true;\n  node [shape=box, style=rounded];\n");
    add(&mut text, plan, None, 1);
    for (from, to) in super::edges(plan) {
        let mut options = Vec::new();
        options.extend(plan.group(from).map(|_| format!("ltail=cluster_{}", from.0)));
        options.extend(plan.group(to).map(|_| format!("lhead=cluster_{}", to.0)));
        options.extend(plan.node(to).when.as_ref().map(|_| "style=dashed".to_owned()));
        let options =
            if options.is_empty() { String::new() } else { format!(" [{}]", options.join(", ")) };
        let (from, to) = (anchor(plan, from).0, anchor(plan, to).0);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  n{from} -> n{to}{options};");
    }
    text.push_str("}\n");
    text
}

fn add(text: &mut String, plan: &Plan, parent: Option<NodeIndex>, depth: usize) {
    let margin = "  ".repeat(depth);
    for index in super::children(plan, parent) {
        let number = index.0;
        if plan.group(index).is_some() {
            let heading = escape(&super::heading(plan, index));
            let _ = writeln!(text, "{margin}subgraph cluster_{number} {{");
            let _ = writeln!(text, "{margin}  label=\"{heading}\";");
            add(text, plan, Some(index), depth + 1);
            let _ = writeln!(text, "{margin}}}");
        } else {
            let node = plan.node(index);
            let (id, kind) = (escape(&node.id), super::kind(node));
            let _ = writeln!(text, "{margin}n{number} [label=\"{id}\\n{kind}\"];");
        }
    }
}

/// Edges end at nodes: a group is entered through the first task inside it.
fn anchor(plan: &Plan, index: NodeIndex) -> NodeIndex {
    match plan.group(index).and_then(|group| group.children.first()) {
        Some(first) => anchor(plan, *first),
        None => index,
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}
