//! The environment of a command: what the workflow, its groups and the task itself say.

use std::collections::{HashMap, hash_map::Entry};

use serde_json::Value;

use super::{NodeIndex, Plan};

impl Plan {
    /// The environment of a node: the workflow's, its groups' and its own, in order of first mention;
    /// what is nearer wins.
    pub fn environment(&self, node: NodeIndex) -> Vec<(&str, &Value)> {
        let mut layers = vec![&self.node(node).env];
        let mut inner = node;
        while let Some(group) = self.node(inner).parent {
            layers.push(&self.node(group).env);
            inner = group;
        }
        layers.push(&self.env);
        let mut merged: Vec<(&str, &Value)> = Vec::new();
        let mut places: HashMap<&str, usize> = HashMap::new();
        for (name, value) in layers.into_iter().rev().flatten() {
            match places.entry(name.as_str()) {
                Entry::Occupied(place) => merged[*place.get()].1 = value,
                Entry::Vacant(place) => {
                    place.insert(merged.len());
                    merged.push((name, value));
                }
            }
        }
        merged
    }
}
