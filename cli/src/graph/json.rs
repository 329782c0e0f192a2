//! A graph as JSON: `{name, tasks: [{key, kind, title, group, needs, requires, when, for_each}],
//! edges: [{from, to}]}`.

use jobshop_engine::plan::{NodeIndex, Plan};
use serde_json::{Value, json};

/// The graph with the keys of its tasks; a star stands for the item.
pub fn json(plan: &Plan) -> Value {
    let key = |index: NodeIndex| super::key(plan, index);
    let task = |index: NodeIndex| {
        let node = plan.node(index);
        let for_each = plan.group(index).and_then(|group| group.for_each.as_ref());
        json!({
            "key": key(index),
            "kind": super::kind(node),
            "title": node.title,
            "group": node.parent.map(key),
            "needs": node.needs.iter().copied().map(key).collect::<Vec<_>>(),
            "requires": node.requires,
            "when": node.when,
            "for_each": for_each.map(|each| &each.items),
        })
    };
    json!({
        "name": plan.name,
        "tasks": super::indexes(plan).map(task).collect::<Vec<_>>(),
        "edges": super::edges(plan)
            .map(|(from, to)| json!({ "from": key(from), "to": key(to) }))
            .collect::<Vec<_>>(),
    })
}
