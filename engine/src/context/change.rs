//! What a write does to a context, what two contexts differ in, and how a change is taken back
//! exactly.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;
use utoipa::ToSchema;

use super::{BYTES_MAX, Path, WRITES_MAX};

/// What is to be at a place; `None`: nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Write {
    pub path: Path,
    pub value: Option<Value>,
}

/// What changed at a place. A side that is left out: nothing was there, which is not null.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    #[schema(value_type = String, example = "build.status")]
    pub path: Path,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub old: Option<Value>,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub new: Option<Value>,
}

/// Null is a value.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// Why a write is not made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refused {
    #[error("`{path}` cannot be written: `{within}` is no object")]
    NoObject { path: Path, within: Path },
    #[error("the whole of a context is an object")]
    WholeNoObject,
    #[error("a write changes at most {WRITES_MAX} places")]
    TooMany,
    #[error("a context has at most {BYTES_MAX} bytes; with this it would have {0}")]
    TooLarge(usize),
}

/// Makes writes in their order, all or none, and returns what changed. What is already so does not
/// count.
pub fn apply(data: &mut Map<String, Value>, writes: &[Write]) -> Result<Vec<Change>, Refused> {
    if writes.len() > WRITES_MAX {
        return Err(Refused::TooMany);
    }
    let mut next = data.clone();
    for write in writes {
        place(&mut next, write)?;
    }
    let bytes = Value::Object(next.clone()).to_string().len();
    if bytes > BYTES_MAX {
        return Err(Refused::TooLarge(bytes));
    }
    let changes = between(data, &next);
    *data = next;
    Ok(changes)
}

fn place(data: &mut Map<String, Value>, write: &Write) -> Result<(), Refused> {
    let Some((last, parents)) = write.path.keys().split_last() else {
        return match &write.value {
            Some(Value::Object(whole)) => {
                data.clone_from(whole);
                Ok(())
            }
            Some(_) => Err(Refused::WholeNoObject),
            None => {
                data.clear();
                Ok(())
            }
        };
    };
    let mut at = data;
    for (depth, key) in parents.iter().enumerate() {
        if write.value.is_none() && !at.contains_key(key) {
            return Ok(());
        }
        let inner = at.entry(key.as_str()).or_insert_with(|| Value::Object(Map::new()));
        let Value::Object(inner) = inner else {
            let within = write.path.first(depth + 1);
            return Err(Refused::NoObject { path: write.path.clone(), within });
        };
        at = inner;
    }
    match &write.value {
        Some(value) => {
            at.insert(last.clone(), value.clone());
        }
        None => {
            at.remove(last);
        }
    }
    Ok(())
}

/// What is to be changed to come from one to the other, by the order of the places. Objects that both
/// have are looked into; everything else is one value.
pub fn between(from: &Map<String, Value>, to: &Map<String, Value>) -> Vec<Change> {
    let mut changes = Vec::new();
    compare(&Path::default(), from, to, &mut changes);
    changes
}

fn compare(
    at: &Path,
    from: &Map<String, Value>,
    to: &Map<String, Value>,
    changes: &mut Vec<Change>,
) {
    let added = to.keys().filter(|key| !from.contains_key(*key));
    let mut keys: Vec<&String> = from.keys().chain(added).collect();
    keys.sort_unstable();
    for key in keys {
        let path = at.child(key);
        match (from.get(key), to.get(key)) {
            (Some(Value::Object(old)), Some(Value::Object(new))) => {
                compare(&path, old, new, changes);
            }
            (old, new) if old == new => {}
            (old, new) => changes.push(Change { path, old: old.cloned(), new: new.cloned() }),
        }
    }
}

/// Takes changes back, the last first: what they were made to becomes what it was.
pub fn undo(data: &mut Map<String, Value>, changes: &[Change]) {
    for change in changes.iter().rev() {
        let write = Write { path: change.path.clone(), value: change.old.clone() };
        // Where a change was made there is an object around it.
        let made = place(data, &write);
        debug_assert!(made.is_ok(), "{change:?}");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    fn set(path: &str, value: Value) -> Write {
        Write { path: path.parse().unwrap(), value: Some(value) }
    }

    fn gone(path: &str) -> Write {
        Write { path: path.parse().unwrap(), value: None }
    }

    #[test]
    fn objects_on_the_way_are_made_and_null_is_a_value() {
        let mut data = object(json!({ "a": 1 }));
        let changes = apply(&mut data, &[set("b.c.d", json!(null)), gone("a"), gone("x.y")]);
        assert_eq!(Value::Object(data), json!({ "b": { "c": { "d": null } } }));
        let told = serde_json::to_value(changes.unwrap()).unwrap();
        assert_eq!(
            told,
            json!([
                { "path": "a", "old": 1 }, { "path": "b", "new": { "c": { "d": null } } },
            ])
        );
    }

    #[test]
    fn a_write_is_made_whole_or_not_at_all() {
        let mut data = object(json!({ "a": 1 }));
        let refused = apply(&mut data, &[set("b", json!(2)), set("a.b", json!(3))]);
        assert_eq!(refused.unwrap_err().to_string(), "`a.b` cannot be written: `a` is no object");
        assert_eq!(Value::Object(data.clone()), json!({ "a": 1 }));
        let large = set("b", json!("x".repeat(BYTES_MAX)));
        assert!(matches!(apply(&mut data, &[large]), Err(Refused::TooLarge(_))));
        assert!(matches!(apply(&mut data, &[set("", json!(1))]), Err(Refused::WholeNoObject)));
        assert_eq!(apply(&mut data, &[set("a", json!(1))]).unwrap(), []);
    }

    fn tree() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            (0..3).prop_map(Value::from),
            Just(json!([1])),
            Just(json!({})),
        ];
        leaf.prop_recursive(3, 20, 3, |inner| {
            prop::collection::btree_map("[ab.\"]{1,2}", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect()))
        })
    }

    fn whole() -> impl Strategy<Value = Map<String, Value>> {
        prop::collection::btree_map("[abc]", tree(), 0..4).prop_map(|map| map.into_iter().collect())
    }

    proptest! {
        #[test]
        fn differences_lead_from_one_to_the_other_and_back(from in whole(), to in whole()) {
            let changes = between(&from, &to);
            let text = serde_json::to_string(&changes).unwrap();
            let changes: Vec<Change> = serde_json::from_str(&text).unwrap();
            let mut data = from.clone();
            let write = |change: &Change| Write { path: change.path.clone(), value: change.new.clone() };
            let writes: Vec<Write> = changes.iter().map(write).collect();
            prop_assert_eq!(&apply(&mut data, &writes).unwrap(), &changes);
            prop_assert_eq!(&data, &to);
            undo(&mut data, &changes);
            prop_assert_eq!(data, from);
        }
    }
}
