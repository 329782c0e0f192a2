//! Signals: what they may be called, and whether a payload is what a task waits for. It knows no
//! rows.

use serde_json::Value;

const NAME_CHARS_MAX: usize = 128;
/// How many mismatches with a schema are named.
const NAMED_MAX: usize = 3;

/// Bytes of JSON that a payload may have: it becomes the outputs of a task.
pub const DATA_BYTES_MAX: usize = 256 * 1024;
/// Signals that nobody took yet, of one session.
pub const KEPT_MAX: i64 = 10_000;

/// Whether text can be the name of a signal: 1 to 128 of letters, digits and `. _ / : @ -`.
pub fn is_name(name: &str) -> bool {
    (1..=NAME_CHARS_MAX).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._/:@-".contains(&b))
}

/// Whether a payload matches a task's schema; else what is wrong with it.
pub fn fits(data: &Value, schema: Option<&Value>) -> Result<(), String> {
    let Some(schema) = schema else { return Ok(()) };
    let validator = jsonschema::validator_for(schema).map_err(|error| error.to_string())?;
    let mut wrong = validator.iter_errors(data).map(|error| {
        let place = error.instance_path().to_string();
        let place = if place.is_empty() { String::new() } else { format!("{place}: ") };
        format!("{place}{error}")
    });
    let named: Vec<String> = wrong.by_ref().take(NAMED_MAX).collect();
    if named.is_empty() {
        return Ok(());
    }
    let more = if wrong.next().is_some() { "; and more" } else { "" };
    Err(format!("{}{more}", named.join("; ")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_plain_words() {
        for name in ["deployed", "build/api:1", "A.b_c@d-e"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "two words", "ä", &"x".repeat(129)] {
            assert!(!is_name(name), "{name}");
        }
    }

    #[test]
    fn a_payload_is_checked_as_outputs_are() {
        let schema = json!({
            "type": "object", "required": ["url"], "properties": { "url": { "type": "string" } }
        });
        assert_eq!(fits(&json!({ "url": "x" }), Some(&schema)), Ok(()));
        assert_eq!(fits(&json!({}), None), Ok(()));
        let wrong = fits(&json!({ "url": 7 }), Some(&schema)).unwrap_err();
        assert!(wrong.starts_with("/url: "), "{wrong}");
    }
}
