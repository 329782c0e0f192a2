//! A plan as a picture: mermaid, Graphviz and JSON. It shows what is written, not what ran.

use std::fmt::Write;

use serde_json::{Value, json};

use super::{Builtin, Command, Join, Kind, Node, NodeIndex, Plan};

/// The plan as a mermaid flow chart.
pub fn mermaid(plan: &Plan) -> String {
    let mut text = "flowchart TD\n".to_owned();
    for root in roots(plan) {
        mermaid_node(plan, root, 1, &mut text);
    }
    for (from, to) in edges(plan) {
        let _ = writeln!(text, "  {} --> {}", name(plan, from), name(plan, to));
    }
    text
}

fn mermaid_node(plan: &Plan, index: NodeIndex, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    let label = label(plan.node(index)).replace('"', "#quot;").replace('\n', "<br/>");
    match plan.group(index) {
        Some(group) => {
            let _ = writeln!(text, "{indent}subgraph {}[\"{label}\"]", name(plan, index));
            for child in &group.children {
                mermaid_node(plan, *child, depth + 1, text);
            }
            let _ = writeln!(text, "{indent}end");
        }
        None => {
            let _ = writeln!(text, "{indent}{}[\"{label}\"]", name(plan, index));
        }
    }
}

/// The plan in the language of Graphviz.
pub fn dot(plan: &Plan) -> String {
    let mut text = format!("digraph {} {{\n", quoted(&plan.name));
    text.push_str("  compound=true;\n  node [shape=box];\n");
    for root in roots(plan) {
        dot_node(plan, root, 1, &mut text);
    }
    for (from, to) in edges(plan) {
        let mut attributes = Vec::new();
        if plan.group(from).is_some() {
            attributes.push(format!("ltail={}", cluster(plan, from)));
        }
        if plan.group(to).is_some() {
            attributes.push(format!("lhead={}", cluster(plan, to)));
        }
        let attributes = if attributes.is_empty() {
            String::new()
        } else {
            format!(" [{}]", attributes.join(", "))
        };
        let _ = writeln!(text, "  {} -> {}{attributes};", inside(plan, from), inside(plan, to));
    }
    text.push_str("}\n");
    text
}

fn dot_node(plan: &Plan, index: NodeIndex, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    let label = quoted(&label(plan.node(index)));
    match plan.group(index) {
        Some(group) => {
            let _ = writeln!(text, "{indent}subgraph {} {{", cluster(plan, index));
            let _ = writeln!(text, "{indent}  label={label};");
            for child in &group.children {
                dot_node(plan, *child, depth + 1, text);
            }
            let _ = writeln!(text, "{indent}}}");
        }
        None => {
            let _ = writeln!(text, "{indent}{} [label={label}];", quoted(&path(plan, index)));
        }
    }
}

/// The plan as JSON: its tasks, groups included, and what needs what, by path.
pub fn json(plan: &Plan) -> String {
    let path = |index: NodeIndex| path(plan, index);
    let nodes = indices(plan).map(|index| {
        let node = plan.node(index);
        let each = plan.group(index).and_then(|group| group.for_each.as_ref());
        json!({
            "id": path(index),
            "title": node.title,
            "kind": kind(node),
            "parent": node.parent.map(path),
            "needs": node.needs.iter().map(|need| path(*need)).collect::<Vec<_>>(),
            "join": node.join,
            "when": node.when,
            "requires": node.requires,
            "for_each": each.map(|each| &each.items),
        })
    });
    let edges = edges(plan).map(|(from, to)| json!({ "from": path(from), "to": path(to) }));
    let graph = json!({
        "name": plan.name,
        "nodes": nodes.collect::<Vec<Value>>(),
        "edges": edges.collect::<Vec<Value>>(),
    });
    format!("{graph:#}\n")
}

fn indices(plan: &Plan) -> impl Iterator<Item = NodeIndex> + use<> {
    (0..u32::try_from(plan.nodes.len()).unwrap_or(u32::MAX)).map(NodeIndex)
}

fn roots(plan: &Plan) -> impl Iterator<Item = NodeIndex> {
    indices(plan).filter(|index| plan.node(*index).parent.is_none())
}

fn edges(plan: &Plan) -> impl Iterator<Item = (NodeIndex, NodeIndex)> {
    indices(plan).flat_map(|to| plan.node(to).needs.iter().map(move |from| (*from, to)))
}

fn path(plan: &Plan, index: NodeIndex) -> String {
    let mut ids: Vec<&str> = std::iter::successors(Some(index), |at| plan.node(*at).parent)
        .map(|at| plan.node(at).id.as_str())
        .collect();
    ids.reverse();
    ids.join(".")
}

/// The path of a task as mermaid takes it: some words end a diagram.
fn name(plan: &Plan, index: NodeIndex) -> String {
    const WORDS: [&str; 9] = [
        "end",
        "graph",
        "flowchart",
        "subgraph",
        "style",
        "class",
        "click",
        "default",
        "direction",
    ];
    let path = path(plan, index);
    if WORDS.contains(&path.as_str()) { format!("{path}_") } else { path }
}

fn cluster(plan: &Plan, index: NodeIndex) -> String {
    quoted(&format!("cluster_{}", path(plan, index)))
}

/// Graphviz draws edges between tasks: of a group its first task stands for it.
fn inside(plan: &Plan, index: NodeIndex) -> String {
    match plan.group(index).and_then(|group| group.children.first()) {
        Some(child) => inside(plan, *child),
        None => quoted(&path(plan, index)),
    }
}

/// The key under which the kind is written, with the name of a builtin.
fn kind(node: &Node) -> &'static str {
    match &node.kind {
        Kind::Run(Command::Script(_) | Command::Argv(_)) => "run",
        Kind::Agent(_) => "agent",
        Kind::Builtin(Builtin::Noop) => "builtin/noop",
        Kind::Builtin(Builtin::Fail { .. }) => "builtin/fail",
        Kind::Builtin(Builtin::Merge { .. }) => "builtin/merge",
        Kind::Sleep(_) => "sleep",
        Kind::Approval(_) => "approval",
        Kind::WaitFor(_) => "wait_for",
        Kind::Group(_) => "tasks",
    }
}

fn label(node: &Node) -> String {
    let mut label = node.id.clone();
    match &node.kind {
        Kind::Group(group) => {
            if let Some(each) = &group.for_each {
                let list = each.items.as_str().map_or_else(|| "list".to_owned(), str::to_owned);
                let _ = write!(label, "\nfor each {} in {list}", each.name);
            }
        }
        Kind::Sleep(span) => {
            let _ = write!(label, "\nsleep {span}");
        }
        Kind::WaitFor(signal) => {
            let _ = write!(label, "\nwait for {signal}");
        }
        Kind::Run(_) | Kind::Agent(_) | Kind::Builtin(_) | Kind::Approval(_) => {
            let _ = write!(label, "\n{}", kind(node));
        }
    }
    if let Some(when) = &node.when {
        let _ = write!(label, "\nwhen {when}");
    }
    match node.join {
        Join::All => {}
        Join::Any => label.push_str("\njoin any"),
        Join::AllDone => label.push_str("\njoin all_done"),
    }
    label
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
