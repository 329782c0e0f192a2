//! Which files of its workspace a task keeps, as it is written.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::Text;

/// Files, folders or patterns, relative to the workspace.
#[derive(Debug)]
pub struct Artifacts(pub Vec<Text>);

impl JsonSchema for Artifacts {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Artifacts".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "oneOf": [
                { "type": "string" },
                { "type": "array", "minItems": 1, "items": { "type": "string" } },
            ]
        })
    }
}
