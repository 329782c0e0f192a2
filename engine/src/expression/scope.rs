//! The names that an expression sees, and the way between JSON and the values of minijinja.

use std::sync::Arc;

use minijinja::value::{Enumerator, Object, ObjectRepr, Value as Eval, ValueKind};
use serde_json::{Map, Number, Value};

/// The names that an expression sees. Cheap to clone and to extend.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    names: Vec<(Arc<str>, Eval)>,
}

impl Scope {
    /// Adds a name, or replaces it.
    pub fn set(&mut self, name: &str, value: Eval) {
        self.names.retain(|(known, _)| **known != *name);
        self.names.push((name.into(), value));
    }

    /// Adds a name that stands for a JSON value.
    pub fn set_json(&mut self, name: &str, value: &Value) {
        self.set(name, from_json(value));
    }

    pub fn get(&self, name: &str) -> Option<&Eval> {
        self.names.iter().find(|(known, _)| **known == *name).map(|(_, value)| value)
    }

    pub(super) fn context(&self) -> Eval {
        Eval::from_object(self.clone())
    }
}

impl Object for Scope {
    fn get_value(self: &Arc<Self>, key: &Eval) -> Option<Eval> {
        self.get(key.as_str()?).cloned()
    }
    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Eval> {
        self.get(key).cloned()
    }
}

/// A map with text keys that are found by a number too (`items.0` and `items['0']`), in the order
/// in which they were added.
#[derive(Debug, Default)]
pub(super) struct Keyed {
    entries: Vec<(Eval, Eval)>,
    places: std::collections::HashMap<Box<str>, usize>,
}

impl Keyed {
    pub(super) fn set(&mut self, key: &str, value: Eval) {
        if let Some(place) = self.places.get(key) {
            self.entries[*place].1 = value;
        } else {
            self.places.insert(key.into(), self.entries.len());
            self.entries.push((Eval::from(key), value));
        }
    }

    pub(super) fn into_value(self) -> Eval {
        Eval::from_object(self)
    }

    fn find(&self, key: &str) -> Option<Eval> {
        self.places.get(key).map(|place| self.entries[*place].1.clone())
    }
}

impl Object for Keyed {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }
    fn get_value(self: &Arc<Self>, key: &Eval) -> Option<Eval> {
        match key.as_str() {
            Some(key) => self.find(key),
            None if key.is_integer() => self.find(&key.to_string()),
            None => None,
        }
    }
    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Eval> {
        self.find(key)
    }
    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.entries.iter().map(|(key, _)| key.clone()).collect())
    }
    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.entries.len())
    }
}

/// A JSON value as minijinja sees it.
pub fn from_json(value: &Value) -> Eval {
    match value {
        Value::Null => Eval::from(()),
        Value::Bool(bool) => Eval::from(*bool),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Eval::from(number),
            (None, Some(number)) => Eval::from(number),
            (None, None) => Eval::from(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => Eval::from(text.as_str()),
        Value::Array(items) => items.iter().map(from_json).collect::<Vec<_>>().into(),
        Value::Object(map) => {
            let mut keyed = Keyed::default();
            for (key, value) in map {
                keyed.set(key, from_json(value));
            }
            keyed.into_value()
        }
    }
}

/// Why a value of minijinja is not JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NotJson {
    Undefined,
    Kind(String),
    TooLarge,
}

/// How much one expression may give: values and bytes of text together.
pub(super) const SIZE_MAX: usize = 32 * 1024 * 1024;

/// The JSON of what an expression gave.
pub(super) fn to_json(value: &Eval) -> Result<Value, NotJson> {
    convert(value, &mut SIZE_MAX.clone(), 0)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "minijinja may have more kinds in time")]
fn convert(value: &Eval, left: &mut usize, depth: usize) -> Result<Value, NotJson> {
    const DEPTH_MAX: usize = 100;
    let size = 16 + value.as_str().map_or(0, str::len);
    *left = left.checked_sub(size).ok_or(NotJson::TooLarge)?;
    if depth > DEPTH_MAX {
        return Err(NotJson::TooLarge);
    }
    match value.kind() {
        ValueKind::Undefined => Err(NotJson::Undefined),
        ValueKind::None => Ok(Value::Null),
        ValueKind::Bool => Ok(Value::Bool(value.is_true())),
        ValueKind::Number => number(value),
        ValueKind::String => Ok(Value::String(value.as_str().unwrap_or_default().to_owned())),
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value.try_iter().map_err(|error| NotJson::Kind(error.to_string()))?;
            items.map(|item| convert(&item, left, depth + 1)).collect()
        }
        ValueKind::Map => {
            let mut map = Map::new();
            for key in value.try_iter().map_err(|error| NotJson::Kind(error.to_string()))? {
                let found = value.get_item(&key).map_err(|e| NotJson::Kind(e.to_string()))?;
                let name = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
                map.insert(name, convert(&found, left, depth + 1)?);
            }
            Ok(Value::Object(map))
        }
        kind => Err(NotJson::Kind(format!("{kind} is no JSON value"))),
    }
}

fn number(value: &Eval) -> Result<Value, NotJson> {
    if value.is_integer() {
        if let Some(number) = value.as_i64() {
            return Ok(number.into());
        }
        if let Ok(number) = u64::try_from(value.clone()) {
            return Ok(number.into());
        }
    }
    let float = f64::try_from(value.clone()).map_err(|e| NotJson::Kind(e.to_string()))?;
    Number::from_f64(float)
        .map(Value::Number)
        .ok_or_else(|| NotJson::Kind(format!("{float} is no JSON number")))
}
