//! Maps of the language: the keys that are known are those that are asked for.

use std::rc::Rc;

use super::{Read, words::Vocabulary};
use crate::workflow::{
    definition::{At, Entries},
    problem::Problems,
    suggest,
    tree::{Entry, Node, Tree},
};

/// A map while its keys are read.
pub(super) struct Fields<'t, 'p> {
    entries: &'t [Entry],
    at: usize,
    vocabulary: &'static Vocabulary,
    known: Vec<&'static str>,
    pub(super) problems: &'p mut Problems,
}

impl<'t, 'p> Fields<'t, 'p> {
    /// `None` when the value is no map.
    pub(super) fn of(
        tree: &'t Tree,
        name: &str,
        vocabulary: &'static Vocabulary,
        problems: &'p mut Problems,
    ) -> Option<Self> {
        let Node::Map(entries) = &tree.node else {
            problems.unless_known(
                tree.at,
                format!("{name} must be a map, not {}", tree.noun()),
                vocabulary.example.map(|example| format!("write {example}")),
            );
            return None;
        };
        Some(Self { entries, at: tree.at, vocabulary, known: Vec::new(), problems })
    }

    pub(super) fn entry(&mut self, key: &'static str) -> Option<&'t Entry> {
        self.known.push(key);
        self.entries.iter().find(|entry| entry.key == key)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    pub(super) fn optional<T: Read>(&mut self, key: &'static str) -> Option<T> {
        let entry = self.entry(key)?;
        if entry.value.is_null() {
            // An alias without an anchor was refused where it stands.
            if self.problems.has(entry.value.at) {
                return None;
            }
            self.problems.hint(
                entry.at,
                format!("`{key}` is empty"),
                "give it a value or remove the key",
            );
            return None;
        }
        T::read(&entry.value, &format!("`{key}`"), self.problems)
    }

    pub(super) fn or_default<T: Read + Default>(&mut self, key: &'static str) -> T {
        self.optional(key).unwrap_or_default()
    }

    pub(super) fn required<T: Read>(&mut self, key: &'static str) -> Option<T> {
        if !self.has(key) {
            self.known.push(key);
            let likely =
                self.entries.iter().any(|entry| self.vocabulary.habit(&entry.key) == Some(key));
            if !likely {
                self.problems.add(self.at, format!("{} needs `{key}`", self.vocabulary.noun));
            }
            return None;
        }
        self.optional(key)
    }

    /// Reports the keys that nobody asked for.
    pub(super) fn finish(self) {
        for entry in self.entries {
            let key = entry.key.as_str();
            if self.known.contains(&key) || key.starts_with("x-") {
                continue;
            }
            if self.vocabulary.later.contains(&key) {
                self.problems.add(entry.at, format!("`{key}` is not supported yet"));
                continue;
            }
            let hint = self
                .vocabulary
                .hint(key)
                .map(str::to_owned)
                .or_else(|| {
                    let all = self.known.iter().chain(self.vocabulary.later).copied();
                    suggest::did_you_mean(key, all)
                })
                .or_else(|| Some(format!("known keys: {}", self.known.join(", "))));
            let message = format!("unknown key `{key}` in {}", self.vocabulary.noun);
            self.problems.maybe(entry.at, message, hint);
        }
    }
}

impl<T: Read> Read for At<T> {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        T::read(tree, name, problems).map(|value| Self { at: tree.at, value })
    }
}

impl<T: Read> Read for Vec<T> {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        let Node::List(items) = &tree.node else {
            let hint = match &tree.node {
                Node::Scalar(scalar) if !tree.is_null() => Some(format!("write [{}]", scalar.text)),
                Node::Scalar(_) | Node::Map(_) | Node::List(_) => None,
            };
            let message = format!("{name} must be a list, not {}", tree.noun());
            problems.unless_known(tree.at, message, hint);
            return None;
        };
        let one = format!("each of {name}");
        Some(items.iter().filter_map(|item| T::read(item, &one, problems)).collect())
    }
}

impl<T: Read> Read for Entries<T> {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        let Node::Map(entries) = &tree.node else {
            let message = format!("{name} must be a map, not {}", tree.noun());
            problems.unless_known(tree.at, message, None);
            return None;
        };
        let read = entries.iter().filter_map(|entry| {
            let value = T::read(&entry.value, &format!("`{}`", entry.key), problems)?;
            Some((At { at: entry.at, value: entry.key.clone() }, value))
        });
        Some(Self(read.collect()))
    }
}
