//! Limits as they are written: the locks of tasks and the places of sessions.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::Text;
use crate::plan::{CAPACITY_MAX, LOCKS_MAX, OnFull};

/// A name that a limited number of tasks hold at once. May hold `${{ }}`.
#[derive(Debug, Clone)]
pub struct Lock {
    pub name: Text,
    /// How many tasks hold it at once; 1 unless given.
    pub limit: i32,
}

/// A name, a name with a limit, or a list of these: only its schema is used.
#[derive(Debug)]
pub struct Locks;

impl JsonSchema for Locks {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Locks".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let one = json_schema!({
            "oneOf": [
                { "type": "string" },
                {
                    "type": "object",
                    "properties": {
                        "name": { "type": "string" },
                        "limit": { "type": "integer", "minimum": 1, "maximum": CAPACITY_MAX },
                    },
                    "required": ["name"],
                    "additionalProperties": false,
                },
            ]
        });
        json_schema!({
            "anyOf": [one, { "type": "array", "items": one, "minItems": 1, "maxItems": LOCKS_MAX }]
        })
    }
}

/// How many sessions run at once. Sessions of other workflows count too where they have the same key.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(rename = "Concurrency", deny_unknown_fields)]
pub struct Concurrency {
    /// What sessions share their places by; the name of the workflow unless given. May hold `${{ }}`
    /// with `inputs`, `session` and `workflow`.
    #[schemars(default)]
    pub key: Option<Text>,
    /// How many run at once; 1 unless given.
    #[schemars(range(min = 1, max = 10_000), default = "one")]
    pub limit: u32,
    #[schemars(default)]
    pub on_full: OnFull,
}

const fn one() -> u32 {
    1
}
