//! What the templates of a simulated row see: the same values that are loaded for a real one.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::course::Course;
use crate::{
    context,
    expression::values::{ItemValue, SessionFacts, TaskValue, Values},
    plan::{BlockIndex, NodeIndex, References},
};

/// Where blocks begin, and the enclosing items, outermost first.
struct Place {
    bases: HashMap<BlockIndex, usize>,
    items: Vec<(NodeIndex, String, Value)>,
}

impl Course<'_> {
    /// What the templates of a row see.
    pub(super) fn values(&self, row: usize) -> Values {
        // What undoes a task sees what the task saw.
        let stands = self.rows[row].undoes.unwrap_or(row);
        let block = self.plan.node(self.rows[stands].node).block;
        let place = self.place(block, self.rows[stands].base);
        self.values_at(&self.plan.node(self.rows[row].node).references, place, None)
    }

    /// What the outputs of the session see.
    pub(super) fn values_of_session(&self) -> Values {
        let place = self.place(BlockIndex::ROOT, 0);
        self.values_at(&self.plan.output_references, place, None)
    }

    /// What the `until` of a loop sees when the round at `round` has ended.
    pub(super) fn values_of_round(
        &self,
        group: NodeIndex,
        references: &References,
        round: usize,
    ) -> Values {
        let block = self.plan.group(group).and_then(crate::plan::Group::block);
        let place = self.place(block.unwrap_or(BlockIndex::ROOT), round);
        self.values_at(references, place, Some(group))
    }

    /// Writes what a task that has completed leaves in the context. What cannot be written does not
    /// harm the task.
    pub(super) fn write_context(&mut self, at: usize) {
        let plan = self.plan;
        let row = &self.rows[at];
        let node = plan.node(row.node);
        if node.context.is_empty() || row.item.is_some() {
            return;
        }
        let place = self.place(node.block, row.base);
        let mut values = self.values_at(&node.context.references, place, None);
        values.outputs = Some(row.outputs.clone());
        let writes = node.context.render(&values.scope(plan, Some(row.node)));
        if let Ok(writes) = writes {
            let _ = context::apply(&mut self.context, &writes);
        }
    }

    fn place(&self, mut block: BlockIndex, mut base: usize) -> Place {
        let mut place = Place { bases: HashMap::from([(block, base)]), items: Vec::new() };
        while let Some(owner) = self.plan.block(block).owner {
            let item = &self.rows[base];
            let (key, value) = item.item.clone().unwrap_or_default();
            place.items.insert(0, (owner, key, value));
            block = self.plan.node(owner).block;
            base = item.parent.map_or(0, |group| self.rows[group].base);
            place.bases.insert(block, base);
        }
        place
    }

    fn values_at(
        &self,
        references: &References,
        place: Place,
        of_round: Option<NodeIndex>,
    ) -> Values {
        let row_of = |node: NodeIndex| {
            let spec = self.plan.node(node);
            let position = usize::try_from(spec.position).unwrap_or_default();
            Some(place.bases.get(&spec.block)? + position)
        };
        let mut tasks = HashMap::new();
        let mut items = HashMap::new();
        let all = references.tasks.iter().chain(&references.lists).chain(&references.items);
        for node in all {
            if let Some(row) = row_of(*node) {
                tasks.insert(*node, self.value(row));
            }
        }
        for node in references.lists.iter().chain(&references.items) {
            let Some(row) = row_of(*node) else { continue };
            let before = place
                .items
                .iter()
                .find(|(owner, _, _)| owner == node && of_round != Some(*node))
                .and_then(|(_, key, _)| key.parse::<usize>().ok())
                .map(|round| round - 1);
            items.insert(*node, self.items(row, references.items.contains(node), before));
        }
        Values {
            inputs: self.inputs.clone(),
            session: SessionFacts {
                id: uuid::Uuid::nil().to_string(),
                title: "simulated".to_owned(),
                retry: 0,
                started_at: Some("2000-01-01T00:00:00.000Z".to_owned()),
                result: self.result,
                inputs: None,
            },
            workflow: (self.plan.name.clone(), 1),
            tasks,
            items,
            item: place.items,
            context: references.context.then(|| Value::Object(self.context.clone())),
            outputs: None,
        }
    }

    fn value(&self, row: usize) -> TaskValue {
        let row = &self.rows[row];
        TaskValue { status: row.state, outputs: row.outputs.clone(), error: row.error.clone() }
    }

    /// The items of a group, or of a loop the last round, or the last before another.
    fn items(&self, group: usize, deep: bool, rounds: Option<usize>) -> Vec<ItemValue> {
        let Some(fan) = self.fans.get(&group) else { return Vec::new() };
        let laid = fan.firsts.len();
        let end = rounds.unwrap_or(laid).min(laid);
        let start = if fan.is_loop { end.saturating_sub(1) } else { 0 };
        let block = self.plan.group(self.rows[group].node).and_then(crate::plan::Group::block);
        let size = block.map_or(1, |block| self.plan.block(block).nodes.len() + 1);
        (start..end)
            .map(|index| {
                let first = fan.firsts[index];
                let (mut tasks, mut items) = (BTreeMap::new(), BTreeMap::new());
                for row in (first + 1..first + size).filter(|_| deep) {
                    let node = self.rows[row].node;
                    tasks.insert(node, self.value(row));
                    if self.plan.group(node).is_some_and(|group| !group.is_plain()) {
                        items.insert(node, self.items(row, true, None));
                    }
                }
                let key = self.rows[first].item.as_ref().map(|(key, _)| key.clone());
                let status = self.rows[first].state;
                ItemValue { key: key.unwrap_or_default(), index, status, tasks, items }
            })
            .collect()
    }
}
