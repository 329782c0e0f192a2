//! YAML text as a tree in which every key and value knows where it stands. It does not know the
//! workflow language; the builder beside it makes it.

use std::{ops::Range, rc::Rc};

use serde_json::Value;

/// A value with its place: `at` is a byte offset into the source.
#[derive(Debug)]
pub struct Tree {
    pub at: usize,
    pub node: Node,
    /// How many keys and values it holds, itself included; aliases count as what they stand for.
    pub(super) nodes: usize,
    /// How deep collections are nested in it.
    pub(super) height: usize,
}

#[derive(Debug)]
pub enum Node {
    Scalar(Scalar),
    List(Vec<Rc<Tree>>),
    Map(Vec<Entry>),
}

#[derive(Debug)]
pub struct Scalar {
    pub value: Value,
    /// The text as it was written, unescaped: of `1.10` this is `1.10`.
    pub text: String,
    /// Where it stands in the source, quotes included.
    pub raw: Range<usize>,
}

#[derive(Debug, Clone)]
pub struct Entry {
    pub key: String,
    pub at: usize,
    pub value: Rc<Tree>,
}

impl Tree {
    /// A value that stands for itself, such as text that was read before.
    pub(crate) const fn leaf(at: usize, node: Node) -> Self {
        Self { at, node, nodes: 1, height: 0 }
    }

    /// The value without its places.
    pub fn json(&self) -> Value {
        match &self.node {
            Node::Scalar(scalar) => scalar.value.clone(),
            Node::List(items) => items.iter().map(|item| item.json()).collect(),
            Node::Map(entries) => {
                Value::Object(entries.iter().map(|e| (e.key.clone(), e.value.json())).collect())
            }
        }
    }

    /// What it is, for messages.
    pub const fn noun(&self) -> &'static str {
        match &self.node {
            Node::Map(_) => "a map",
            Node::List(_) => "a list",
            Node::Scalar(scalar) => match scalar.value {
                Value::Null => "empty",
                Value::Bool(_) => "a boolean",
                Value::Number(_) => "a number",
                Value::String(_) | Value::Array(_) | Value::Object(_) => "text",
            },
        }
    }

    pub const fn is_null(&self) -> bool {
        matches!(&self.node, Node::Scalar(Scalar { value: Value::Null, .. }))
    }
}
