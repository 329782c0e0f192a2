//! A plan as a picture: mermaid, Graphviz and JSON. It shows what is written, not what ran.

use std::fmt::Write;

use serde_json::{Value, json};

use super::{Builtin, Child, Command, Join, Kind, Node, NodeIndex, Plan};

/// The plan as a mermaid flow chart.
pub fn mermaid(plan: &Plan) -> String {
    let mut text = "flowchart TD\n".to_owned();
    for root in roots(plan, false) {
        mermaid_node(plan, root, 1, &mut text);
    }
    if plan.finally().next().is_some() {
        text.push_str("  subgraph _finally [\"finally\"]\n");
        for root in roots(plan, true) {
            mermaid_node(plan, root, 2, &mut text);
        }
        text.push_str("  end\n");
    }
    for (from, to) in edges(plan) {
        let _ = writeln!(text, "  {} --> {}", name(plan, from), name(plan, to));
    }
    text
}

fn mermaid_node(plan: &Plan, index: NodeIndex, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    let label = label(plan, index).replace('"', "#quot;").replace('\n', "<br/>");
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
    for root in roots(plan, false) {
        dot_node(plan, root, 1, &mut text);
    }
    if plan.finally().next().is_some() {
        text.push_str("  subgraph \"cluster:finally\" {\n    label=\"finally\";\n");
        for root in roots(plan, true) {
            dot_node(plan, root, 2, &mut text);
        }
        text.push_str("  }\n");
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
    let label = quoted(&label(plan, index));
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
    let tasks = indices(plan).filter(|index| plan.node(*index).compensates.is_none());
    let nodes = tasks.map(|index| {
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
            "uses": node.uses().map(Child::reference),
            "finally": node.finally,
            "compensate": compensation(plan, index).map(|own| kind(plan.node(own))),
            "for_each": each.map(|each| &each.items),
            "loop": plan.group(index).and_then(|group| group.rounds.as_ref()).map(|rounds| {
                json!({ "until": rounds.until, "max_rounds": rounds.max_rounds })
            }),
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

/// What stands at the top, or at the top of `finally`.
fn roots(plan: &Plan, finally: bool) -> impl Iterator<Item = NodeIndex> {
    indices(plan)
        .map(|index| (index, plan.node(index)))
        .filter(move |(_, node)| {
            node.parent.is_none() && node.finally == finally && node.compensates.is_none()
        })
        .map(|(index, _)| index)
}

/// What undoes a task.
fn compensation(plan: &Plan, task: NodeIndex) -> Option<NodeIndex> {
    plan.compensations().find(|(undone, _)| *undone == task).map(|(_, own)| own)
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
        Kind::Builtin(Builtin::Merge { check, .. }) if !check.is_empty() => "builtin/merge-train",
        Kind::Builtin(Builtin::Merge { .. }) => "builtin/merge",
        Kind::Builtin(Builtin::Http(_)) => "builtin/http",
        Kind::Sleep(_) => "sleep",
        Kind::Approval(_) => "approval",
        Kind::WaitFor(_) => "wait_for",
        Kind::Session(Child { decompose: Some(_), .. }) => "decompose",
        Kind::Session(_) => "uses",
        Kind::Group(_) => "tasks",
    }
}

fn label(plan: &Plan, index: NodeIndex) -> String {
    let node = plan.node(index);
    let mut label = node.id.clone();
    match &node.kind {
        Kind::Group(group) => {
            if let Some(each) = &group.for_each {
                let list = each.items.as_str().map_or_else(|| "list".to_owned(), str::to_owned);
                let _ = write!(label, "\nfor each {} in {list}", each.name);
            }
            if let Some(rounds) = &group.rounds {
                let (until, most) = (&rounds.until, rounds.max_rounds);
                let _ = write!(label, "\nuntil {until}, at most {most} rounds");
            }
        }
        Kind::Session(Child { decompose: Some(how), .. }) => {
            let _ = write!(label, "\ndecompose by {}", how.source.as_str());
        }
        Kind::Session(child) => {
            let _ = write!(label, "\nuses {}", child.reference());
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
    if let Some(own) = compensation(plan, index) {
        let _ = write!(label, "\ncompensate {}", kind(plan.node(own)));
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
