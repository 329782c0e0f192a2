//! In which order the ends of subtasks come: each has a start and a finish, every dependency joins two
//! of them, and what stands in a subtask lies between its start and its finish.

use std::collections::HashMap;

use petgraph::{
    Direction,
    algo::{tarjan_scc, toposort},
    graph::{DiGraph, NodeIndex},
    visit::{Dfs, EdgeRef},
};

use super::{Breakdown, Dependency, Faults, Subtask, estimate::round};

/// The starts and finishes of a plan's subtasks; an edge says how many hours lie between.
pub(super) struct Order<'a> {
    graph: DiGraph<&'a str, f64>,
    ends: HashMap<&'a str, (NodeIndex, NodeIndex)>,
}

impl<'a> Order<'a> {
    pub(super) fn new(breakdown: &'a Breakdown) -> Self {
        let mut order = Self { graph: DiGraph::new(), ends: HashMap::new() };
        order.add(&breakdown.subtasks, None);
        order.join(&breakdown.subtasks);
        order
    }

    fn add(&mut self, subtasks: &'a [Subtask], around: Option<(NodeIndex, NodeIndex)>) {
        for subtask in subtasks {
            let start = self.graph.add_node(&subtask.id);
            let finish = self.graph.add_node(&subtask.id);
            let hours = if subtask.is_leaf() { subtask.hours.expected() } else { 0.0 };
            self.graph.add_edge(start, finish, hours);
            if let Some((outer_start, outer_finish)) = around {
                self.graph.add_edge(outer_start, start, 0.0);
                self.graph.add_edge(finish, outer_finish, 0.0);
            }
            self.ends.insert(&subtask.id, (start, finish));
            self.add(&subtask.subtasks, Some((start, finish)));
        }
    }

    fn join(&mut self, subtasks: &'a [Subtask]) {
        for subtask in subtasks {
            for need in &subtask.needs {
                if let Some((from, to)) = self.edge(subtask, &need.task, need.kind) {
                    self.graph.add_edge(from, to, 0.0);
                }
            }
            self.join(&subtask.subtasks);
        }
    }

    fn edge(
        &self,
        subtask: &Subtask,
        other: &str,
        kind: Dependency,
    ) -> Option<(NodeIndex, NodeIndex)> {
        let ((start, finish), (other_start, other_finish)) =
            (*self.ends.get(subtask.id.as_str())?, *self.ends.get(other)?);
        Some(match kind {
            Dependency::FinishToStart => (other_finish, start),
            Dependency::StartToStart => (other_start, start),
            Dependency::FinishToFinish => (other_finish, finish),
            Dependency::StartToFinish => (other_start, finish),
        })
    }

    /// Lets one subtask start only when another has finished.
    pub(super) fn chain(&mut self, first: &str, second: &str) {
        if let (Some((_, finish)), Some((start, _))) = (self.ends.get(first), self.ends.get(second))
        {
            self.graph.add_edge(*finish, *start, 0.0);
        }
    }

    /// Whether one subtask has surely finished before another starts.
    pub(super) fn is_before(&self, first: &str, second: &str) -> bool {
        let (Some((_, finish)), Some((start, _))) = (self.ends.get(first), self.ends.get(second))
        else {
            return false;
        };
        let mut walk = Dfs::new(&self.graph, *finish);
        while let Some(seen) = walk.next(&self.graph) {
            if seen == *start {
                return true;
            }
        }
        false
    }

    /// The longest way through the plan, by the hours expected: how many, and what is on it.
    pub(super) fn critical(&self) -> (f64, Vec<&'a str>) {
        let Ok(sorted) = toposort(&self.graph, None) else { return (0.0, Vec::new()) };
        let mut best: HashMap<NodeIndex, (f64, Option<NodeIndex>)> = HashMap::new();
        for node in &sorted {
            let into = self.graph.edges_directed(*node, Direction::Incoming);
            let from = into.map(|edge| {
                let hours = best.get(&edge.source()).map_or(0.0, |known| known.0);
                (hours + edge.weight(), Some(edge.source()))
            });
            let longest = from.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or((0.0, None));
            best.insert(*node, longest);
        }
        let Some(mut at) =
            sorted.iter().copied().reduce(|a, b| if best[&b].0 > best[&a].0 { b } else { a })
        else {
            return (0.0, Vec::new());
        };
        let hours = round(best[&at].0);
        let mut path = Vec::new();
        while let Some(before) = best[&at].1 {
            let is_work = self.graph[before] == self.graph[at]
                && self.graph.find_edge(before, at).is_some_and(|edge| self.graph[edge] > 0.0);
            if is_work {
                path.push(self.graph[at]);
            }
            at = before;
        }
        path.reverse();
        (hours, path)
    }
}

/// Refuses what waits for itself.
pub(super) fn check(breakdown: &Breakdown, faults: &mut Faults) {
    let order = Order::new(breakdown);
    let circles: Vec<Vec<NodeIndex>> =
        tarjan_scc(&order.graph).into_iter().filter(|circle| circle.len() > 1).collect();
    if !circles.is_empty() {
        refuse(&order, &circles, &breakdown.subtasks, "subtasks", faults);
    }
}

fn refuse(
    order: &Order<'_>,
    circles: &[Vec<NodeIndex>],
    subtasks: &[Subtask],
    place: &str,
    faults: &mut Faults,
) {
    for (index, subtask) in subtasks.iter().enumerate() {
        for (need, at) in subtask.needs.iter().zip(0..) {
            let Some((from, to)) = order.edge(subtask, &need.task, need.kind) else { continue };
            let circle =
                circles.iter().find(|circle| circle.contains(&from) && circle.contains(&to));
            let Some(circle) = circle else { continue };
            let mut names: Vec<&str> = circle.iter().map(|node| order.graph[*node]).collect();
            names.sort_unstable();
            names.dedup();
            let why = format!("`{}` waits for itself: {}", subtask.id, names.join(", "));
            faults.add(&format!("{place}[{index}].needs[{at}]"), why);
        }
        let inner = format!("{place}[{index}].subtasks");
        refuse(order, circles, &subtask.subtasks, &inner, faults);
    }
}
