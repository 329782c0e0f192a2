//! What a task writes into the context of its session once it has completed, as a plan keeps it. It
//! does not know what is in the context.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::References;
use crate::{
    context::{Path, Write},
    expression::{self, Scope, template},
    outcome::{ErrorClass, Failure},
};

/// The `context` of a task.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ContextWrites {
    /// Places with what comes there; both may hold `${{ }}`.
    pub writes: Vec<(String, Value)>,
    /// What they refer to.
    pub references: References,
}

impl ContextWrites {
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// What they come to. A value in a place is one key or a part of one, whatever is in it.
    pub fn render(&self, scope: &Scope) -> Result<Vec<Write>, Failure> {
        let write = |(place, value): &(String, Value)| {
            let path = self::place(place, scope)?;
            Ok(Write { path, value: Some(expression::render_value(value, scope)?) })
        };
        self.writes.iter().map(write).collect()
    }
}

/// Where the values of a place go until its keys are known. No key has them otherwise.
const STAND_IN: char = '\u{e000}';

/// A place as it is written, every expression in it as a part of a key; an error says what is wrong.
pub(super) fn check(written: &str) -> Result<(), String> {
    let Ok(parts) = template::parts(written) else { return Ok(()) };
    let path = keys(&parts)?;
    if path.is_whole() {
        Err("it names no place: write at least one key".to_owned())
    } else {
        Ok(())
    }
}

fn keys(parts: &[template::Part<'_>]) -> Result<Path, String> {
    let mut text = String::new();
    for part in parts {
        match part {
            template::Part::Text(part) => text.push_str(part),
            template::Part::Expression { .. } => text.push(STAND_IN),
        }
    }
    text.parse()
}

fn place(written: &str, scope: &Scope) -> Result<Path, Failure> {
    let wrong = |why: String| Failure::new(ErrorClass::Template, why);
    let parts =
        template::parts(written).map_err(|_| wrong(format!("`{written}` is not closed")))?;
    let path = keys(&parts).map_err(wrong)?;
    let mut values = parts.iter().filter_map(|part| match part {
        template::Part::Expression { source, .. } => Some(format!("${{{{{source}}}}}")),
        template::Part::Text(_) => None,
    });
    let mut filled = Path::default();
    for key in path.keys() {
        let mut text = String::new();
        for letter in key.chars() {
            match (letter, letter == STAND_IN) {
                (_, true) => {
                    let value = values.next().unwrap_or_default();
                    text.push_str(&expression::render_text(&value, scope)?);
                }
                (letter, false) => text.push(letter),
            }
        }
        filled = filled.child(&text);
    }
    // What came in may be too long for a key.
    filled.to_string().parse().map_err(wrong)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_in_a_place_is_part_of_one_key() {
        let mut scope = Scope::default();
        scope.set_json("item", &json!("src/a.rs"));
        scope.set_json("n", &json!(3));
        let writes = ContextWrites {
            writes: vec![
                ("files.${{ item }}.round-${{ n }}".to_owned(), json!({ "n": "${{ n }}" })),
                ("\"a.b\".c".to_owned(), json!(null)),
            ],
            references: References::default(),
        };
        let told: Vec<(String, Option<Value>)> = writes
            .render(&scope)
            .unwrap()
            .into_iter()
            .map(|write| (write.path.to_string(), write.value))
            .collect();
        assert_eq!(
            told,
            [
                ("files.\"src/a.rs\".round-3".to_owned(), Some(json!({ "n": 3 }))),
                ("\"a.b\".c".to_owned(), Some(Value::Null)),
            ]
        );
        scope.set_json("item", &json!("x".repeat(300)));
        assert_eq!(writes.render(&scope).unwrap_err().class, ErrorClass::Template);
    }

    #[test]
    fn a_place_is_checked_before_its_values_are_known() {
        assert_eq!(check("a.${{ x }}.b"), Ok(()));
        assert_eq!(check("${{ x }}"), Ok(()));
        assert!(check("").unwrap_err().contains("at least one key"));
        assert!(check("a..${{ x }}").unwrap_err().contains("is no place"));
    }
}
