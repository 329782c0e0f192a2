//! What undoes a task, as it is written.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::{Any, At, Entries, Retry, Run, Task};
use crate::duration::Span;

/// What undoes a task: a task of its own, with the keys of [`CompensateKeys`] alone.
#[derive(Debug)]
pub struct Compensate {
    pub id: At<String>,
    pub task: Box<Task>,
}

/// What undoes a task. It has exactly one kind: run or uses.
#[derive(Debug, JsonSchema)]
#[schemars(rename = "Compensate", deny_unknown_fields)]
pub struct CompensateKeys {
    /// A shell script (text) or a command with its arguments (a list).
    #[schemars(default)]
    pub run: Option<Run>,
    /// A task that Jobshop brings along, builtin/NAME, or another workflow.
    #[schemars(default)]
    pub uses: Option<String>,
    /// What the task under `uses` is given.
    #[schemars(default)]
    pub with: Option<Entries<Any>>,
    /// Capabilities; one agent must offer all of them.
    #[schemars(default)]
    pub requires: Vec<String>,
    /// Added to the environment of its command. Values may hold `${{ }}`.
    #[schemars(default)]
    pub env: Entries<Any>,
    /// How long an attempt may take.
    #[schemars(default)]
    pub timeout: Option<Span>,
    #[schemars(default)]
    pub retry: Option<Retry>,
}

impl JsonSchema for Compensate {
    fn schema_name() -> Cow<'static, str> {
        CompensateKeys::schema_name()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        CompensateKeys::json_schema(generator)
    }
}
