//! How the result of a task is judged, as it is written.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{At, Run};

/// Commands that have to succeed in a clean checkout of the task's commit.
#[derive(Debug)]
pub struct Verify(pub Vec<Run>);

impl JsonSchema for Verify {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Verify".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let scalar = ["string", "number", "boolean"];
        json_schema!({
            "oneOf": [
                { "type": scalar },
                {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "oneOf": [
                            { "type": scalar },
                            { "type": "array", "minItems": 1, "items": { "type": scalar } },
                        ]
                    },
                },
            ]
        })
    }
}

/// Commands that are executed in a workspace before the work begins.
#[derive(Debug)]
pub struct Setup(pub Vec<Run>);

impl JsonSchema for Setup {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Setup".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Verify::json_schema(generator)
    }
}

/// What happens when the verification of an agent's work fails.
#[derive(Debug, JsonSchema)]
#[schemars(rename = "OnVerifyFail", deny_unknown_fields)]
pub struct OnVerifyFail {
    /// How many more turns the agent gets, each with what failed.
    #[schemars(range(min = 1, max = 20), with = "u32")]
    pub max_rounds: At<u32>,
    /// Whether such a turn goes on with the agent's conversation, where its runtime has one; true
    /// unless given.
    #[schemars(default)]
    pub resume_session: Option<bool>,
}
