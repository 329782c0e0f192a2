//! What an attempt returned, and the classes of errors. It does not decide whether a failure is
//! tried again: that is [`crate::retry`].

use std::{fmt, str::FromStr};

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{duration::Span, provider::ProviderKey};

/// The kind of a failure; retry policies select by it.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    Error,
    Timeout,
    Crash,
    Schema,
    Template,
    Rejected,
    Cancelled,
    TooLarge,
    MaxRounds,
    Budget,
    NoAgent,
}

impl ErrorClass {
    pub const ALL: [Self; 11] = [
        Self::Error,
        Self::Timeout,
        Self::Crash,
        Self::Schema,
        Self::Template,
        Self::Rejected,
        Self::Cancelled,
        Self::TooLarge,
        Self::MaxRounds,
        Self::Budget,
        Self::NoAgent,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Timeout => "timeout",
            Self::Crash => "crash",
            Self::Schema => "schema",
            Self::Template => "template",
            Self::Rejected => "rejected",
            Self::Cancelled => "cancelled",
            Self::TooLarge => "too_large",
            Self::MaxRounds => "max_rounds",
            Self::Budget => "budget",
            Self::NoAgent => "no_agent",
        }
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for ErrorClass {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|class| class.as_str() == text)
            .ok_or_else(|| format!("`{text}` is not an error class"))
    }
}

/// A failure as it is stored and shown: the `error` of a task object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Failure {
    pub class: ErrorClass,
    pub message: String,
}

impl Failure {
    pub fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        Self { class, message: message.into() }
    }
}

/// What an attempt returned to the worker that ran it.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The task did what it is for; the value is its outputs, a JSON object.
    Succeeded(Value),
    /// The attempt failed; whether another follows is the retry policy's decision. What it put out
    /// nevertheless counts where its failure is allowed: a JSON object.
    Failed { failure: Failure, outputs: Value },
    /// The attempt was handed back without counting anything: the worker is stopping.
    Released,
    /// Nothing is counted: another attempt follows once the provider of the agent's model lets it.
    Deferred(Deferral),
    /// The attempt ended, without counting anything, to wait for people: another one goes on once they
    /// have answered.
    Parked,
}

/// Why an attempt has to wait for a provider, and for how long.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deferral {
    /// `None`: of no provider that is known by name.
    pub provider: Option<ProviderKey>,
    /// From now on; none where the provider did not say.
    pub wait: Option<Span>,
    /// The provider is asked again then.
    pub until: Option<DateTime<Utc>>,
    pub why: String,
}

impl Outcome {
    /// A failure that put out nothing.
    pub fn failed(failure: Failure) -> Self {
        Self::Failed { failure, outputs: Value::Object(serde_json::Map::new()) }
    }
}

/// Whether a task may come to these outputs; the refusal says why not.
pub fn check_outputs(outputs: &Value, schema: Option<&Value>) -> Result<(), String> {
    if !outputs.is_object() {
        return Err("outputs have to be a JSON object".to_owned());
    }
    let Some(schema) = schema else { return Ok(()) };
    let validator = jsonschema::validator_for(schema)
        .map_err(|error| format!("`outputs` is not a usable JSON Schema: {error}"))?;
    validator
        .validate(outputs)
        .map_err(|error| format!("the outputs do not match the schema: {error}"))
}
