//! Locks and concurrency.

use std::rc::Rc;

use super::{
    Read,
    fields::Fields,
    words::{CONCURRENCY, LOCK},
};
use crate::{
    plan::{CAPACITY_MAX, LOCKS_MAX},
    workflow::{
        definition::{At, Concurrency, Lock, Text},
        problem::Problems,
        tree::{Node, Tree},
    },
};

/// The locks of a task: one, or a list of them.
pub(super) fn locks(fields: &mut Fields<'_, '_>) -> Vec<At<Lock>> {
    let Some(entry) = fields.entry("lock") else { return Vec::new() };
    let Node::List(list) = &entry.value.node else {
        return fields.optional("lock").into_iter().collect();
    };
    let problems = &mut *fields.problems;
    if list.is_empty() {
        problems.hint(entry.at, "`lock` is an empty list", "name a lock or remove the key");
    }
    if list.len() > LOCKS_MAX {
        problems.add(entry.at, format!("a task has at most {LOCKS_MAX} locks, not {}", list.len()));
    }
    list.iter().filter_map(|one| At::<Lock>::read(one, "each of `lock`", problems)).collect()
}

impl Read for Lock {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        if !matches!(tree.node, Node::Map(_)) {
            let name = named(Text::read(tree, name, problems)?, "a lock", problems)?;
            return Some(Self { name, limit: 1 });
        }
        let mut fields = Fields::of(tree, name, &LOCK, problems)?;
        let text: Option<Text> = fields.required("name");
        let limit = limit(&mut fields);
        let text = text.and_then(|text| named(text, "a lock", fields.problems));
        fields.finish();
        Some(Self { name: text?, limit: i32::try_from(limit).unwrap_or(1) })
    }
}

impl Read for Concurrency {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(tree, name, &CONCURRENCY, problems)?;
        let key: Option<Text> = fields.optional("key");
        let limit = limit(&mut fields);
        let on_full = fields.or_default("on_full");
        let key = key.and_then(|key| named(key, "a concurrency key", fields.problems));
        fields.finish();
        Some(Self { key, limit, on_full })
    }
}

fn limit(fields: &mut Fields<'_, '_>) -> u32 {
    let Some(limit) = fields.optional::<At<u32>>("limit") else { return 1 };
    if !(1..=CAPACITY_MAX).contains(&limit.value) {
        let message = format!("`limit` must be 1 to {CAPACITY_MAX}, not {}", limit.value);
        fields.problems.add(limit.at, message);
        return 1;
    }
    limit.value
}

fn named(text: Text, what: &str, problems: &mut Problems) -> Option<Text> {
    if text.text.trim().is_empty() {
        problems.add(text.raw.start, format!("{what} needs a name"));
        return None;
    }
    Some(text)
}
