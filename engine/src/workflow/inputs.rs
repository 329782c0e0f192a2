//! What a session is started with: checked against the inputs that its workflow declares.

use serde_json::{Map, Value};

use super::suggest;
use crate::plan::{Input, InputType, Plan};

/// How large the inputs of a session may be together, as JSON.
pub const INPUTS_BYTES_MAX: usize = 1024 * 1024;

/// The inputs of a session: what is given, then defaults, then null. All problems at once.
pub fn check_inputs(
    plan: &Plan,
    given: Map<String, Value>,
) -> Result<Map<String, Value>, Vec<String>> {
    let mut problems = Vec::new();
    for name in given.keys().filter(|name| find(&plan.inputs, name).is_none()) {
        problems.push(unknown(&plan.inputs, name));
    }
    let mut given = given;
    let mut inputs = Map::new();
    for (name, input) in &plan.inputs {
        let value = match given.remove(name).filter(|value| !value.is_null()) {
            Some(value) => {
                problems.extend(mismatch(name, input, &value));
                value
            }
            None if input.required => {
                let what =
                    input.description.as_ref().map(|text| format!(": {text}")).unwrap_or_default();
                problems.push(format!("the input `{name}` is required{what}"));
                continue;
            }
            None => input.default.clone().unwrap_or_default(),
        };
        inputs.insert(name.clone(), value);
    }
    if problems.is_empty() && Value::Object(inputs.clone()).to_string().len() > INPUTS_BYTES_MAX {
        problems.push(format!("the inputs are larger than {INPUTS_BYTES_MAX} bytes"));
    }
    if problems.is_empty() { Ok(inputs) } else { Err(problems) }
}

/// What is wrong with one value that is given; null counts as not given.
pub(crate) fn input_problem(
    inputs: &[(String, Input)],
    name: &str,
    value: &Value,
) -> Option<String> {
    match find(inputs, name) {
        None => Some(unknown(inputs, name)),
        Some(_) if value.is_null() => None,
        Some(input) => mismatch(name, input, value),
    }
}

/// The required inputs that are not given.
pub(crate) fn missing_inputs(
    inputs: &[(String, Input)],
    is_given: impl Fn(&str) -> bool,
) -> impl Iterator<Item = &str> {
    let required = inputs.iter().filter(|(_, input)| input.required).map(|(name, _)| name.as_str());
    required.filter(move |name| !is_given(name))
}

/// The value of `-i name=text`: the text itself for a string, JSON for everything else.
pub fn input_from_text(plan: &Plan, name: &str, text: &str) -> Result<Value, String> {
    let input = find(&plan.inputs, name).ok_or_else(|| unknown(&plan.inputs, name))?;
    let value = if input.kind == InputType::String {
        Value::String(text.to_owned())
    } else {
        serde_json::from_str(text).map_err(|error| {
            format!("the input `{name}` must be {} as JSON: {error}", input.kind.as_str())
        })?
    };
    mismatch(name, input, &value).map_or(Ok(value), Err)
}

/// Larger numbers that are not whole by their type have lost digits when they were read.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// Whether a value has the type of an input.
pub(super) fn matches_type(kind: InputType, value: &Value) -> bool {
    match kind {
        InputType::String => value.is_string(),
        InputType::Integer => {
            let is_exact = |n: f64| n.fract() == 0.0 && n.abs() <= EXACT_MAX;
            value.is_i64() || value.is_u64() || value.as_f64().is_some_and(is_exact)
        }
        InputType::Number => value.is_number(),
        InputType::Boolean => value.is_boolean(),
        InputType::Array => value.is_array(),
        InputType::Object => value.is_object(),
    }
}

fn find<'p>(inputs: &'p [(String, Input)], name: &str) -> Option<&'p Input> {
    inputs.iter().find(|(known, _)| known == name).map(|(_, input)| input)
}

fn mismatch(name: &str, input: &Input, value: &Value) -> Option<String> {
    if !matches_type(input.kind, value) {
        if input.kind == InputType::Integer
            && value.as_f64().is_some_and(|number| number.abs() > EXACT_MAX)
        {
            return Some(format!(
                "the input `{name}` has more digits than a number keeps: make it a string"
            ));
        }
        return Some(format!(
            "the input `{name}` must be {}, not {}",
            input.kind.as_str(),
            noun(value)
        ));
    }
    let choices = input.choices.as_ref().filter(|choices| !choices.contains(value))?;
    let all: Vec<String> = choices.iter().map(Value::to_string).collect();
    Some(format!("the input `{name}` must be one of {}, not {value}", all.join(", ")))
}

fn unknown(inputs: &[(String, Input)], name: &str) -> String {
    let known = || inputs.iter().map(|(name, _)| name.as_str());
    let hint = match suggest::did_you_mean(name, known()) {
        Some(hint) => hint,
        None if inputs.is_empty() => "the workflow has no inputs".to_owned(),
        None => format!("its inputs are {}", known().collect::<Vec<_>>().join(", ")),
    };
    format!("there is no input `{name}`: {hint}")
}

const fn noun(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}
