//! Text, numbers, durations and the closed sets of words.

use std::rc::Rc;

use serde_json::Value;

use super::Read;
use crate::{
    budget::OnExceed,
    duration::Span,
    outcome::ErrorClass,
    plan::{
        AgentRuntime, InputType, Join, OnFull, OnReject, OnTimeout, PermissionAction, SessionType,
        WorkspaceMode,
    },
    priority::Priority,
    retry::Backoff,
    size::Size,
    workflow::{
        definition::{Any, Condition, OutputSchema, Text, Timer},
        problem::Problems,
        suggest,
        tree::{Node, Scalar, Tree},
    },
};

fn scalar<'t>(
    tree: &'t Tree,
    name: &str,
    what: &str,
    problems: &mut Problems,
) -> Option<&'t Scalar> {
    match &tree.node {
        Node::Scalar(scalar) => Some(scalar),
        Node::List(_) | Node::Map(_) => {
            let message = format!("{name} must be {what}, not {}", tree.noun());
            problems.unless_known(tree.at, message, None);
            None
        }
    }
}

impl Read for Text {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        let scalar = scalar(tree, name, "text", problems)?;
        if !scalar.value.is_string() {
            let hint = format!("write \"{}\", with the quotes", scalar.text);
            problems.hint(tree.at, format!("{name} must be text, not {}", tree.noun()), hint);
            return None;
        }
        Some(Self { text: scalar.text.clone(), raw: scalar.raw.clone() })
    }
}

impl Text {
    /// Reads text where a number or a boolean means its own spelling, as in a command.
    pub(super) fn spelled(tree: &Tree, name: &str, problems: &mut Problems) -> Option<Self> {
        let scalar = scalar(tree, name, "text", problems)?;
        Some(Self { text: scalar.text.clone(), raw: scalar.raw.clone() })
    }
}

impl Read for String {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        Text::read(tree, name, problems).map(|text| text.text)
    }
}

impl Read for Condition {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        if let Node::Scalar(Scalar { value: Value::Bool(_), .. }) = &tree.node {
            let mut text = Text::spelled(tree, name, problems)?;
            text.text.make_ascii_lowercase();
            return Some(Self(text));
        }
        Text::read(tree, name, problems).map(Self)
    }
}

impl Read for Timer {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        Text::spelled(tree, name, problems).map(Self)
    }
}

impl Read for Any {
    fn read(tree: &Rc<Tree>, _: &str, _: &mut Problems) -> Option<Self> {
        Some(Self(Rc::clone(tree)))
    }
}

impl Read for OutputSchema {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        let schema = tree.json();
        if !matches!(schema, Value::Object(_) | Value::Bool(_)) {
            problems.hint(
                tree.at,
                format!("{name} must be a JSON Schema, not {}", tree.noun()),
                "write { type: object, properties: { … } }",
            );
            return None;
        }
        if let Err(error) = jsonschema::meta::validate(&schema) {
            let place = error.instance_path().to_string();
            let place = if place.is_empty() { String::new() } else { format!(" at {place}") };
            problems.add(tree.at, format!("{name} is not a valid JSON Schema{place}: {error}"));
            return None;
        }
        if let Err(error) = jsonschema::validator_for(&schema) {
            problems.add(tree.at, format!("{name} is not a valid JSON Schema: {error}"));
            return None;
        }
        Some(Self(schema))
    }
}

impl Read for bool {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        let scalar = scalar(tree, name, "true or false", problems)?;
        if let Value::Bool(value) = scalar.value {
            return Some(value);
        }
        problems.add(tree.at, format!("{name} must be true or false, not `{}`", scalar.text));
        None
    }
}

impl Read for f64 {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        let scalar = scalar(tree, name, "a number", problems)?;
        let number = scalar.value.as_f64();
        if number.is_none() {
            problems.add(tree.at, format!("{name} must be a number, not `{}`", scalar.text));
        }
        number
    }
}

impl Read for u32 {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        let scalar = scalar(tree, name, "a whole number", problems)?;
        let number = scalar.value.as_u64().and_then(|number| Self::try_from(number).ok());
        if number.is_none() {
            problems.add(tree.at, format!("{name} must be a whole number, not `{}`", scalar.text));
        }
        number
    }
}

impl Read for u64 {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        let scalar = scalar(tree, name, "a whole number", problems)?;
        let number = scalar.value.as_u64();
        if number.is_none() {
            problems.add(tree.at, format!("{name} must be a whole number, not `{}`", scalar.text));
        }
        number
    }
}

impl Read for Size {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        let scalar = scalar(tree, name, "a size", problems)?;
        let size = scalar.text.trim().parse().ok();
        if size.is_none() {
            problems.hint(
                tree.at,
                format!("{name} must be a size, not `{}`", scalar.text),
                "write a number with its unit: 64KiB, 16MiB, 2GiB",
            );
        }
        size
    }
}

impl Read for Span {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        let scalar = scalar(tree, name, "a duration", problems)?;
        let span = scalar.text.trim().parse().ok();
        if span.is_none() {
            problems.hint(
                tree.at,
                format!("{name} must be a duration, not `{}`", scalar.text),
                "write a number with its unit: 250ms, 10s, 5m, 2h, 1d",
            );
        }
        span
    }
}

/// Reads one of a closed set of words.
pub(super) fn word<T: Copy>(
    tree: &Tree,
    name: &str,
    words: &[(&'static str, T)],
    problems: &mut Problems,
) -> Option<T> {
    let all = || words.iter().map(|(word, _)| *word);
    let list = || all().collect::<Vec<_>>().join(", ");
    let scalar = scalar(tree, name, &format!("one of {}", list()), problems)?;
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == scalar.text) {
        return Some(*value);
    }
    let hint = suggest::did_you_mean(&scalar.text, all());
    let message = format!("{name} must be one of {}, not `{}`", list(), scalar.text);
    problems.maybe(tree.at, message, hint);
    None
}

macro_rules! words {
    ($type:ty, $($word:literal => $value:expr),+ $(,)?) => {
        impl Read for $type {
            fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
                word(tree, name, &[$(($word, $value)),+], problems)
            }
        }
    };
}

words!(SessionType,
    "planning" => Self::Planning,
    "execution" => Self::Execution,
    "review" => Self::Review,
    "debug" => Self::Debug,
    "integration" => Self::Integration,
);
words!(OnExceed, "pause" => Self::Pause, "fail" => Self::Fail);
words!(OnFull,
    "queue" => Self::Queue,
    "reject" => Self::Reject,
    "cancel_oldest" => Self::CancelOldest,
);
words!(InputType,
    "string" => Self::String,
    "integer" => Self::Integer,
    "number" => Self::Number,
    "boolean" => Self::Boolean,
    "array" => Self::Array,
    "object" => Self::Object,
);
words!(Join, "all" => Self::All, "any" => Self::Any, "all_done" => Self::AllDone);
words!(Backoff,
    "constant" => Self::Constant,
    "linear" => Self::Linear,
    "exponential" => Self::Exponential,
);
words!(OnReject, "fail" => Self::Fail, "continue" => Self::Continue);
words!(OnTimeout,
    "approve" => Self::Approve,
    "reject" => Self::Reject,
    "escalate" => Self::Escalate,
);
words!(WorkspaceMode, "clone" => Self::Clone, "empty" => Self::Empty);

impl Read for Priority {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        word(tree, name, &Self::ALL.map(|priority| (priority.as_str(), priority)), problems)
    }
}

impl Read for ErrorClass {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        word(tree, name, &Self::ALL.map(|class| (class.as_str(), class)), problems)
    }
}

impl Read for AgentRuntime {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        word(tree, name, &Self::ALL.map(|runtime| (runtime.as_str(), runtime)), problems)
    }
}

words!(PermissionAction, "allow" => Self::Allow, "deny" => Self::Deny, "ask" => Self::Ask);
