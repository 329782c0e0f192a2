//! The outcomes that a simulation makes up: what a file of stubs says, and what is taken where it says
//! nothing.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::{approval::Decision, duration::Span, outcome::ErrorClass};

/// What a file of stubs says.
#[derive(Debug, Clone, Default)]
pub struct Stubs {
    /// By task key or pattern, in the order written.
    tasks: Vec<(String, TaskStub)>,
    pub(super) signals: Vec<(String, SignalStub)>,
    expect_skipped: Vec<String>,
}

/// What becomes of a task.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TaskStub {
    pub(super) outputs: Option<Value>,
    /// How long each of its attempts takes, or the wait for people or a signal.
    pub(super) duration: Option<Span>,
    pub(super) failures: Failures,
    pub(super) decision: Option<DecisionStub>,
    pub(super) by: Option<String>,
    pub(super) comment: Option<String>,
    /// The signal that it waits for never comes.
    pub(super) never: bool,
}

/// What people say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum DecisionStub {
    Approve,
    Reject,
    /// Nobody decides.
    None,
}

impl DecisionStub {
    pub(super) const fn decision(self) -> Option<Decision> {
        match self {
            Self::Approve => Some(Decision::Approve),
            Self::Reject => Some(Decision::Reject),
            Self::None => None,
        }
    }
}

/// How its attempts fail before one succeeds.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Failures {
    Each(Vec<FailureStub>),
    Always(Always),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Always {
    Always,
}

impl Default for Failures {
    fn default() -> Self {
        Self::Each(Vec::new())
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum FailureStub {
    Class(ErrorClass),
    Told { class: ErrorClass, message: String },
}

impl TaskStub {
    /// How the `attempt`-th attempt fails, if it does.
    pub(super) fn failure(&self, attempt: usize) -> Option<(ErrorClass, String)> {
        let made_up = |class: ErrorClass| format!("made up: {class}");
        match &self.failures {
            Failures::Always(Always::Always) => {
                Some((ErrorClass::Error, made_up(ErrorClass::Error)))
            }
            Failures::Each(list) => match list.get(attempt.checked_sub(1)?)? {
                FailureStub::Class(class) => Some((*class, made_up(*class))),
                FailureStub::Told { class, message } => Some((*class, message.clone())),
            },
        }
    }
}

/// A signal that somebody sends.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SignalStub {
    #[serde(default)]
    pub(super) data: Option<Value>,
    /// After the start of the session.
    #[serde(default)]
    pub(super) at: Option<Span>,
}

#[derive(Debug, Error)]
pub enum StubsError {
    #[error("no readable YAML: {0}")]
    Yaml(String),
    #[error("{place}: {why}")]
    Value { place: String, why: String },
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    tasks: Map<String, Value>,
    signals: Map<String, Value>,
    expect_skipped: Vec<String>,
}

impl Stubs {
    /// Reads a file of stubs.
    pub fn parse(yaml: &str) -> Result<Self, StubsError> {
        let refuse = |place: String| {
            move |error: serde_json::Error| StubsError::Value { place, why: error.to_string() }
        };
        let value: Value =
            serde_saphyr::from_str(yaml).map_err(|error| StubsError::Yaml(error.to_string()))?;
        let value = if value.is_null() { json!({}) } else { value };
        let file: File =
            serde_json::from_value(value).map_err(refuse("the file of stubs".to_owned()))?;
        let mut stubs = Self { expect_skipped: file.expect_skipped, ..Self::default() };
        for (key, value) in file.tasks {
            let place = format!("the stub of `{key}`");
            stubs.tasks.push((key, serde_json::from_value(value).map_err(refuse(place))?));
        }
        for (name, value) in file.signals {
            // One of that name, or several in order.
            let list = if let Value::Array(list) = value { list } else { vec![value] };
            for value in list {
                let place = format!("the signal `{name}`");
                let stub = serde_json::from_value(value).map_err(refuse(place))?;
                stubs.signals.push((name.clone(), stub));
            }
        }
        Ok(stubs)
    }

    /// The stub of a task: the one of its key, else the first pattern that fits.
    pub(super) fn of(&self, key: &str) -> Option<&TaskStub> {
        let exact = self.tasks.iter().find(|(pattern, _)| pattern == key);
        let fitting = || self.tasks.iter().find(|(pattern, _)| fits(pattern, key));
        exact.or_else(fitting).map(|(_, stub)| stub)
    }

    /// Whether the author says that this task is left out.
    pub(super) fn expects_skip(&self, key: &str) -> bool {
        self.expect_skipped.iter().any(|pattern| fits(pattern, key))
    }

    /// The keys and patterns that fit none of these tasks.
    pub(super) fn unused(&self, keys: &[String]) -> Vec<String> {
        let named = self.tasks.iter().map(|(pattern, _)| pattern).chain(&self.expect_skipped);
        let unused = named.filter(|pattern| !keys.iter().any(|key| fits(pattern, key)));
        unused.cloned().collect()
    }
}

/// Whether a key fits a pattern, in which `*` stands for any text.
fn fits(pattern: &str, key: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == key };
    let Some(key) = key.strip_prefix(head) else { return false };
    key.char_indices()
        .map(|(at, _)| &key[at..])
        .chain(std::iter::once(""))
        .any(|tail| fits(rest, tail))
}

/// The most items that are made up for a list.
const ITEMS_MAX: u64 = 1_000;
/// The longest text that is made up.
const CHARS_MAX: u64 = 10_000;

fn sample_text(schema: &Value) -> String {
    let text = "text";
    let length = |key: &str| schema[key].as_u64();
    let least = length("minLength").unwrap_or(0).min(CHARS_MAX);
    let count = length("maxLength").unwrap_or(u64::MAX).min(least.max(text.len() as u64));
    text.chars().cycle().take(usize::try_from(count).unwrap_or(text.len())).collect()
}

fn sample_number(schema: &Value) -> Value {
    if let Some(least) = schema.get("minimum") {
        return least.clone();
    }
    if let Some(below) = schema["exclusiveMinimum"].as_i64() {
        return json!(below.saturating_add(1));
    }
    match schema.get("maximum") {
        Some(most) if most.as_f64().is_some_and(|most| most < 1.0) => most.clone(),
        _ => json!(1),
    }
}

/// A value that fits a JSON Schema, as far as it is simple: what a task without a stub puts out.
pub(super) fn sample(schema: Option<&Value>) -> Value {
    let Some(schema) = schema else { return json!({}) };
    for key in ["const", "default"] {
        if let Some(value) = schema.get(key) {
            return value.clone();
        }
    }
    for key in ["enum", "examples"] {
        if let Some(value) = schema.get(key).and_then(|all| all.get(0)) {
            return value.clone();
        }
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.first().and_then(Value::as_str),
        Value::String(kind) => Some(kind.as_str()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    };
    match kind {
        Some("string") => Value::String(sample_text(schema)),
        Some("integer" | "number") => sample_number(schema),
        Some("boolean") => json!(true),
        Some("array") => {
            let least = schema["minItems"].as_u64().unwrap_or(1);
            let count = least.min(schema["maxItems"].as_u64().unwrap_or(least)).min(ITEMS_MAX);
            Value::Array((0..count).map(|_| sample(schema.get("items"))).collect())
        }
        Some("null") => Value::Null,
        _ => {
            let properties = schema["properties"].as_object();
            let all = properties.into_iter().flatten();
            Value::Object(all.map(|(name, it)| (name.clone(), sample(Some(it)))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_stands_for_the_items_of_a_group() {
        for (pattern, key, does) in [
            ("build[*].check", "build[api].check", true),
            ("build[*].check", "build[api].test", false),
            ("*", "", true),
            ("a*b*c", "aXbYbc", true),
            ("a*b", "ab", true),
            ("a", "ab", false),
        ] {
            assert_eq!(fits(pattern, key), does, "{pattern} {key}");
        }
    }

    #[test]
    fn what_has_no_stub_puts_out_what_its_schema_asks_for() {
        let schema = json!({ "type": "object", "properties": {
            "names": { "type": "array", "items": { "type": "string" } },
            "count": { "type": "integer", "minimum": 3 },
            "level": { "enum": ["low", "high"] },
            "pair": { "type": "array", "minItems": 2, "items": { "type": "string", "maxLength": 2 } },
            "long": { "type": "string", "minLength": 6 },
            "left": { "type": "integer", "exclusiveMinimum": 4 },
            "debt": { "type": "number", "maximum": -2 },
        }});
        let made = json!({ "names": ["text"], "count": 3, "level": "low", "pair": ["te", "te"],
                           "long": "textte", "left": 5, "debt": -2 });
        assert_eq!(sample(Some(&schema)), made);
    }

    #[test]
    fn a_wrong_file_is_refused_with_the_place() {
        let error = |yaml: &str| Stubs::parse(yaml).unwrap_err().to_string();
        assert!(
            error("tasks: { a: { outptus: {} } }").starts_with("the stub of `a`: unknown field")
        );
        assert!(error("takss: {}").starts_with("the file of stubs: unknown field `takss`"));
        assert!(Stubs::parse("").is_ok());
    }
}
