//! The JSON Schema of the language, from its types, for editors.

use schemars::{
    Schema,
    generate::SchemaSettings,
    transform::{Transform, transform_subschemas},
};
use serde_json::{Value, json};

use super::definition::Workflow;

/// The JSON Schema (draft 2020-12) of a workflow file.
pub fn json_schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with_transform(Finish);
    let mut schema = settings.into_generator().into_root_schema_for::<Workflow>();
    schema.insert("title".to_owned(), json!("Jobshop workflow"));
    let mut schema = schema.to_value();
    if let Some(task) = schema.pointer_mut("/$defs/Task").and_then(Value::as_object_mut) {
        let kinds = ["run", "agent", "uses", "decompose", "sleep", "approval", "wait_for", "tasks"];
        let one: Vec<Value> = kinds.iter().map(|kind| json!({ "required": [kind] })).collect();
        task.insert("oneOf".to_owned(), Value::Array(one));
    }
    schema
}

/// What the types cannot say: keys that start with `x-` are free, no value is null.
#[derive(Clone)]
struct Finish;

impl Transform for Finish {
    fn transform(&mut self, schema: &mut Schema) {
        transform_subschemas(self, schema);
        let Some(object) = schema.as_object_mut() else { return };
        if object.get("additionalProperties") == Some(&Value::Bool(false)) {
            object.insert("patternProperties".to_owned(), json!({ "^x-": true }));
        }
        if object.get("default").is_some_and(Value::is_null) {
            object.remove("default");
        }
        if let Some(types) = object.get_mut("type").and_then(Value::as_array_mut) {
            types.retain(|name| name != "null");
            if let [only] = types.as_slice() {
                let only = only.clone();
                object.insert("type".to_owned(), only);
            }
        }
        let is_null = |schema: &Value| *schema == json!({ "type": "null" });
        if let Some(Value::Array(choices)) = object.get("anyOf")
            && let [Value::Object(value), null] = choices.as_slice()
            && is_null(null)
        {
            let value = value.clone();
            object.remove("anyOf");
            for (key, part) in value {
                object.entry(key).or_insert(part);
            }
        }
    }
}
