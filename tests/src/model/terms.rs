//! Expressions of generated workflows: how they are written. What they come to, the reference model
//! works out for itself.

use std::fmt::{self, Write as _};

use serde_json::Value;

/// Something that has a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Term {
    Literal(Value),
    Input(&'static str),
    /// The item of an enclosing group, or the number of the round, by its name.
    Item(String),
    /// `session.status`, for what runs once the result is decided.
    Status,
    Task(Look),
}

/// A look at another task.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    /// Written `needs.x`, not `tasks.x`.
    pub through_needs: bool,
    pub id: String,
    /// From there into groups.
    pub way: Vec<Way>,
    pub what: What,
}

/// A step into a group.
#[derive(Debug, Clone, PartialEq)]
pub enum Way {
    Task(String),
    Item { key: String, task: String },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Status,
    Output(&'static str),
    ErrorClass,
    /// A list of item keys.
    Keys(Keys),
    /// How many keys that list has.
    Count(Keys),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    Completed,
    Failed,
    Skipped,
    Cancelled,
}

/// A condition.
#[derive(Debug, Clone, PartialEq)]
pub enum When {
    /// The value as it is, boolean or not.
    Is(Term),
    Equal(Term, Value),
    Differ(Term, Value),
    /// `value in list`.
    Has(Term, Value),
    Defined(Term),
    Not(Box<When>),
    Both(Box<When>, Box<When>),
    Either(Box<When>, Box<When>),
}

impl Keys {
    pub const ALL: [Self; 4] = [Self::Completed, Self::Failed, Self::Skipped, Self::Cancelled];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(value) => literal(value, f),
            Self::Input(name) => write!(f, "inputs.{name}"),
            Self::Item(name) => f.write_str(name),
            Self::Status => f.write_str("session.status"),
            Self::Task(look) => look.fmt(f),
        }
    }
}

impl fmt::Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut path =
            format!("{}.{}", if self.through_needs { "needs" } else { "tasks" }, self.id);
        for way in &self.way {
            match way {
                Way::Task(id) => write!(path, ".tasks.{id}")?,
                // A number is found both ways.
                Way::Item { key, task } if key.parse::<u8>().is_ok_and(|key| key % 2 == 0) => {
                    write!(path, ".items.{key}.{task}")?;
                }
                Way::Item { key, task } => write!(path, ".items['{key}'].{task}")?,
            }
        }
        match self.what {
            What::Status => write!(f, "{path}.status"),
            What::Output(name) => write!(f, "{path}.outputs.{name}"),
            What::ErrorClass => write!(f, "{path}.error.class"),
            What::Keys(keys) => write!(f, "{path}.{}", keys.as_str()),
            What::Count(keys) => write!(f, "({path}.{} | length)", keys.as_str()),
        }
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Is(term) => term.fmt(f),
            Self::Equal(term, value) => write!(f, "{term} == {}", Term::Literal(value.clone())),
            Self::Differ(term, value) => write!(f, "{term} != {}", Term::Literal(value.clone())),
            Self::Has(term, value) => write!(f, "{} in {term}", Term::Literal(value.clone())),
            Self::Defined(term) => write!(f, "{term} is defined"),
            Self::Not(inner) => write!(f, "not ({inner})"),
            Self::Both(first, second) => write!(f, "({first}) and ({second})"),
            Self::Either(first, second) => write!(f, "({first}) or ({second})"),
        }
    }
}

/// JSON as it stands in an expression.
fn literal(value: &Value, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match value {
        Value::String(text) => write!(f, "'{text}'"),
        Value::Array(items) => {
            f.write_char('[')?;
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    f.write_str(", ")?;
                }
                literal(item, f)?;
            }
            f.write_char(']')
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => write!(f, "{value}"),
    }
}
