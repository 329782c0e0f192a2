//! What expressions come to in the reference model.

use jobshop_engine::{session::SessionState, task::TaskState};
use serde_json::{Value, json};

use super::{Inner, Level, Node};
use crate::model::{
    flow::{KeyRule, input},
    terms::{Keys, Look, Term, Way, What, When},
};

/// What can be seen from where the walk stands.
#[derive(Default)]
pub(super) struct Sight {
    /// From outside in.
    pub(super) levels: Vec<Level>,
    /// Name and value of the items and rounds around.
    pub(super) items: Vec<(String, Value)>,
    /// The input `number` is 3.
    pub(super) changed: bool,
    /// The result, once it is decided.
    pub(super) status: Option<SessionState>,
}

/// Something is undefined, or of the wrong type.
#[derive(Debug)]
pub(super) struct Wrong;

impl Sight {
    pub(super) fn current(&mut self) -> &mut Level {
        self.levels.last_mut().expect("the walk stands on a level")
    }

    /// A task that has ended, the nearest first.
    pub(super) fn find(&self, id: &str) -> Option<&Node> {
        self.levels.iter().rev().find_map(|level| among(level, id))
    }

    pub(super) fn holds(&self, when: &When) -> Result<bool, Wrong> {
        Ok(match when {
            When::Is(term) => self.value(term)?.as_bool().ok_or(Wrong)?,
            When::Equal(term, value) => self.value(term)? == *value,
            When::Differ(term, value) => self.value(term)? != *value,
            When::Has(term, value) => self.value(term)?.as_array().ok_or(Wrong)?.contains(value),
            When::Defined(term) => self.look(term)?.is_some(),
            When::Not(inner) => !self.holds(inner)?,
            When::Both(first, second) => self.holds(first)? && self.holds(second)?,
            When::Either(first, second) => self.holds(first)? || self.holds(second)?,
        })
    }

    /// The value of a term, which must be defined.
    pub(super) fn value(&self, term: &Term) -> Result<Value, Wrong> {
        self.look(term)?.ok_or(Wrong)
    }

    /// `None` where the last name of a term is undefined, an error where one before it is.
    fn look(&self, term: &Term) -> Result<Option<Value>, Wrong> {
        match term {
            Term::Literal(value) => Ok(Some(value.clone())),
            Term::Input("number") if self.changed => Ok(Some(json!(3))),
            Term::Input(name) => Ok(Some(input(name))),
            Term::Status => Ok(self.status.map(|state| state.as_str().into())),
            Term::Item(name) => {
                let item = self.items.iter().rev().find(|(known, _)| known == name);
                Ok(item.map(|(_, value)| value.clone()))
            }
            Term::Task(look) => self.task(look),
        }
    }

    fn task(&self, look: &Look) -> Result<Option<Value>, Wrong> {
        let mut node = self.find(&look.id).ok_or(Wrong)?;
        for (at, way) in look.way.iter().enumerate() {
            if matches!(&node.inner, Inner::Rounds(rounds) if rounds.is_empty()) {
                // There are no items either.
                let is_seen = !look.way[at..].iter().any(|way| matches!(way, Way::Item { .. }));
                return is_seen.then(|| before_the_first_round(node, look.what)).ok_or(Wrong);
            }
            let inside = match (way, &node.inner) {
                (Way::Task(id), Inner::Rounds(rounds)) => {
                    rounds.last().and_then(|round| among(&round.tasks, id))
                }
                (Way::Task(id), Inner::Tasks { tasks, .. }) => among(tasks, id),
                (Way::Item { key, task }, Inner::Items(items)) => {
                    let item = items.iter().find(|item| item.key == *key);
                    item.and_then(|item| among(&item.tasks, task))
                }
                _ => None,
            };
            node = inside.ok_or(Wrong)?;
        }
        Ok(match look.what {
            What::Status => Some(node.state.as_str().into()),
            What::Output(name) => {
                node.outputs.get(name).filter(|_| node.state == TaskState::Completed).cloned()
            }
            What::ErrorClass => {
                node.class.filter(|_| node.state == TaskState::Failed).map(Value::from)
            }
            What::Keys(keys) => Some(Value::Array(self::keys(node, keys))),
            What::Count(keys) => Some(self::keys(node, keys).len().into()),
        })
    }
}

/// What is seen of a task in a loop of which no round has ended.
fn before_the_first_round(around: &Node, what: What) -> Option<Value> {
    let status = match around.state {
        TaskState::Cancelled => "cancelled",
        // It never began.
        TaskState::Skipped | TaskState::Failed | TaskState::Completed => "skipped",
        TaskState::Pending
        | TaskState::Ready
        | TaskState::Assigned
        | TaskState::InProgress
        | TaskState::Blocked
        | TaskState::Paused => "pending",
    };
    match what {
        What::Status => Some(status.into()),
        What::Output(_) | What::ErrorClass => None,
        What::Keys(_) => Some(json!([])),
        What::Count(_) => Some(json!(0)),
    }
}

fn among<'l>(level: &'l Level, id: &str) -> Option<&'l Node> {
    level.iter().find(|(known, _)| known == id).map(|(_, node)| node)
}

/// The keys of the items that ended in one way, in item order.
fn keys(node: &Node, keys: Keys) -> Vec<Value> {
    let state = match keys {
        Keys::Completed => TaskState::Completed,
        Keys::Failed => TaskState::Failed,
        Keys::Skipped => TaskState::Skipped,
        Keys::Cancelled => TaskState::Cancelled,
    };
    match &node.inner {
        Inner::Items(items) => items
            .iter()
            .filter(|item| item.state == state)
            .map(|item| item.key.as_str().into())
            .collect(),
        Inner::Nothing | Inner::Tasks { .. } | Inner::Rounds(_) => Vec::new(),
    }
}

/// A value in a string: text as it is, null empty, everything else compact JSON.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// The keys of a group's items, or the class of the group's failure.
pub(super) fn keys_of_items(rule: KeyRule, list: &[Value]) -> Result<Vec<String>, &'static str> {
    let mut keys: Vec<String> = Vec::with_capacity(list.len());
    for (index, item) in list.iter().enumerate() {
        let key = match (rule, item) {
            (KeyRule::Index, _) => index.to_string(),
            (KeyRule::Prefixed, item) => format!("k-{}", text(item)),
            (KeyRule::Item, Value::String(text)) => text.clone(),
            (KeyRule::Item, Value::Number(number)) if !number.is_f64() => number.to_string(),
            (KeyRule::Item, _) => return Err("template"),
        };
        let is_key = (1..=128).contains(&key.len())
            && key.chars().all(|c| c.is_ascii_alphanumeric() || "._/@:-".contains(c));
        if !is_key {
            return Err("template");
        }
        if keys.contains(&key) {
            return Err("error");
        }
        keys.push(key);
    }
    Ok(keys)
}
