//! The critical path of a simulated session: the chain of waits that made it last as long as it did.

use petgraph::{algo::toposort, graph::DiGraph, visit::EdgeRef as _};

use super::course::Course;

/// The rows on the critical path, in order, without groups.
pub(super) fn critical(course: &Course<'_>) -> Vec<usize> {
    // A row is two points in time, so that what stands in a group lies between those of the group.
    let mut graph: DiGraph<usize, u64> = DiGraph::new();
    let rows = &course.rows;
    let points: Vec<_> =
        (0..rows.len()).map(|at| (graph.add_node(at), graph.add_node(at))).collect();
    for (at, row) in rows.iter().enumerate() {
        let (begin, end) = points[at];
        let (Some(begun_at), Some(finished_at)) = (row.begun_at, row.finished_at) else { continue };
        let is_group = course.plan.group(row.node).is_some() || row.item.is_some();
        // A wait for a worker is the time of those that had it.
        let from =
            if row.made_room.is_some() { row.started_at.unwrap_or(begun_at) } else { begun_at };
        graph.add_edge(begin, end, if is_group { 0 } else { finished_at - from });
        for before in row.after.iter().chain(&row.made_room) {
            if *before == at || rows[*before].finished_at.is_none() {
                continue;
            }
            let is_inside = rows[*before].parent == Some(at);
            graph.add_edge(points[*before].1, if is_inside { end } else { begin }, 0);
        }
        if let Some(parent) = row.parent {
            graph.add_edge(points[parent].0, begin, 0);
        }
    }
    // What opened the first rows of a group is the group's begin, not its end.
    graph.retain_edges(|graph, edge| {
        let Some((from, to)) = graph.edge_endpoints(edge) else { return false };
        let (outer, inner) = (graph[from], graph[to]);
        let is_end_of_parent = rows[inner].parent == Some(outer) && from == points[outer].1;
        !is_end_of_parent
    });
    let Ok(order) = toposort(&graph, None) else { return Vec::new() };
    let mut longest: Vec<(u64, Option<petgraph::graph::NodeIndex>)> =
        vec![(0, None); graph.node_count()];
    for point in order {
        let so_far = longest[point.index()].0;
        for edge in graph.edges(point) {
            let known = &mut longest[edge.target().index()];
            if known.1.is_none() || so_far + edge.weight() > known.0 {
                *known = (so_far + edge.weight(), Some(point));
            }
        }
    }
    let Some(last) = graph.node_indices().max_by_key(|point| longest[point.index()].0) else {
        return Vec::new();
    };
    let chain = std::iter::successors(Some(last), |point| longest[point.index()].1);
    let mut path: Vec<usize> = chain.map(|point| graph[point]).collect();
    path.reverse();
    path.dedup();
    path.retain(|at| course.plan.group(rows[*at].node).is_none() && rows[*at].item.is_none());
    path
}
