//! A plan as people, events and other programs see it, with what follows from it: hours, the critical
//! path, and what is kept apart. It can be read again.

use serde::Serialize;
use serde_json::{Value, json};

use super::{Breakdown, Complexity, Dependency, Subtask, estimate::round, order::Order, paths};

/// What all of a plan comes to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shown {
    /// Hours of work: all subtasks one after the other.
    pub work: f64,
    /// Hours until the goal is reached, when nothing waits for an agent.
    pub expected: f64,
    pub deviation: f64,
    /// The subtasks that decide how long it takes.
    pub critical_path: Vec<String>,
}

/// What a plan comes to.
pub fn shown(breakdown: &Breakdown) -> Shown {
    let leaves = breakdown.leaves();
    let mut order = Order::new(breakdown);
    for (first, second) in paths::chains(breakdown) {
        order.chain(first, second);
    }
    let (expected, path) = order.critical();
    let on_path = leaves.iter().filter(|leaf| path.contains(&leaf.id.as_str()));
    let variance: f64 = on_path.map(|leaf| leaf.hours.deviation().powi(2)).sum();
    Shown {
        work: round(leaves.iter().map(|leaf| leaf.hours.expected()).sum()),
        expected,
        deviation: round(variance.sqrt()),
        critical_path: path.into_iter().map(str::to_owned).collect(),
    }
}

impl Breakdown {
    /// The plan as a value.
    pub fn json(&self) -> Value {
        let mut plan = json!({ "goal": self.goal });
        if let Some(template) = &self.template {
            plan["template"] = json!(template);
        }
        plan["estimate"] = json!(shown(self));
        let locks = paths::locks(self);
        if !locks.is_empty() {
            plan["locks"] = json!(locks);
        }
        plan["subtasks"] = self.subtasks.iter().map(Subtask::json).collect();
        plan
    }
}

impl Subtask {
    fn json(&self) -> Value {
        let mut shown = json!({ "id": self.id, "title": self.title });
        if !self.prompt.is_empty() {
            shown["prompt"] = json!(self.prompt);
        }
        if self.is_leaf() || !self.requires.is_empty() {
            shown["requires"] = json!(self.requires);
        }
        let needs = self.needs.iter().map(|need| match need.kind {
            Dependency::FinishToStart => json!(need.task),
            Dependency::StartToStart | Dependency::FinishToFinish | Dependency::StartToFinish => {
                json!({ "task": need.task, "type": need.kind })
            }
        });
        shown["needs"] = needs.collect();
        if !self.paths.is_empty() {
            shown["paths"] = json!(self.paths);
        }
        let complexity: Complexity = self.hours.complexity();
        if self.is_leaf() {
            shown["estimate"] = json!(self.hours);
            shown["estimate"]["expected"] = json!(round(self.hours.expected()));
            shown["complexity"] = json!(complexity);
        }
        if self.decompose {
            shown["decompose"] = json!(true);
        }
        if let Some(template) = &self.template {
            shown["template"] = json!(template);
        }
        if !self.is_leaf() {
            shown["subtasks"] = self.subtasks.iter().map(Self::json).collect();
        }
        shown
    }
}
