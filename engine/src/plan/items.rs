//! The items of a `for_each` group: from its list and its `key` to keys and values.

use std::collections::HashSet;

use serde_json::Value;

use super::{NodeIndex, Plan};
use crate::{
    expression::{self, values::Values},
    outcome::{ErrorClass, Failure},
};

/// How many items one group may have.
pub const ITEMS_MAX: usize = 100_000;

const KEY_CHARS_MAX: usize = 128;

/// Keys and values of a `for_each` group, in the order of its list.
pub fn expand(
    plan: &Plan,
    group: NodeIndex,
    values: &Values,
) -> Result<Vec<(String, Value)>, Failure> {
    let Some(each) = plan.group(group).and_then(|group| group.for_each.as_ref()) else {
        return Err(template("the group has no `for_each`".to_owned()));
    };
    let scope = values.scope(plan, Some(group));
    let given = expression::render_value(&each.items, &scope)?;
    let what = noun(&given);
    let Value::Array(list) = given else {
        return Err(template(format!("`for_each` must give a list, not {what}")));
    };
    if list.len() > ITEMS_MAX {
        let message =
            format!("`for_each` gives {} items, at most {ITEMS_MAX} are allowed", list.len());
        return Err(Failure::new(ErrorClass::TooLarge, message));
    }
    let mut seen = HashSet::with_capacity(list.len());
    let mut items = Vec::with_capacity(list.len());
    for (index, item) in list.into_iter().enumerate() {
        let key = match &each.key {
            None => index.to_string(),
            Some(source) => {
                let mut scope = scope.clone();
                scope.set_json(&each.name, &item);
                key(&expression::render(source, &scope)?, index)?
            }
        };
        if !seen.insert(key.clone()) {
            return Err(Failure::new(
                ErrorClass::Error,
                format!("duplicate_key: two items have the key `{key}`"),
            ));
        }
        items.push((key, item));
    }
    Ok(items)
}

/// The key of an item from what its template gave.
fn key(value: &Value, index: usize) -> Result<String, Failure> {
    let key = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_i64() || number.is_u64() => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            let what = noun(value);
            return Err(template(format!(
                "the key of item {index} must be text or an integer, not {what}"
            )));
        }
    };
    let is_right = (1..=KEY_CHARS_MAX).contains(&key.len())
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"._/@:-".contains(&b));
    if is_right {
        return Ok(key);
    }
    let shown: String = key.chars().take(KEY_CHARS_MAX).collect();
    Err(template(format!(
        "`{shown}` cannot be the key of item {index}: a key has 1 to {KEY_CHARS_MAX} characters of A-Z a-z 0-9 . _ / @ : -"
    )))
}

fn template(message: String) -> Failure {
    Failure::new(ErrorClass::Template, message)
}

const fn noun(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}
