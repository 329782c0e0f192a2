//! How agents word it that their model's provider is asked too much. It does not know which agent says
//! it, or what becomes of the turn.

use jobshop_engine::duration::Span;
use serde_json::Value;

/// HTTP statuses by which providers say it.
const STATUSES: [u64; 2] = [429, 529];
const WORDS: [&str; 6] =
    ["too many requests", "rate limit", "rate-limit", "rate_limit", "overloaded", "quota"];
/// What comes before the time in words.
const BEFORE_TIMES: [&str; 3] = ["try again in ", "retry after ", "retry-after: "];
/// Where structured errors keep the time.
const TIME_KEYS: [&str; 3] = ["retryafter", "retry_after", "retry-after"];
/// Errors hold errors, but not for ever.
const DEPTH_MAX: usize = 6;

/// Whether the provider is asked too much, by the words of its refusal.
pub(super) fn is_told(why: &str) -> bool {
    let why = why.to_lowercase();
    let numbers = why.split(|it: char| !it.is_ascii_alphanumeric());
    WORDS.iter().any(|word| why.contains(word))
        || numbers.filter_map(|it| it.parse().ok()).any(|it| STATUSES.contains(&it))
}

/// A refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    /// How long it is for, if that is said.
    pub(super) wait: Option<Span>,
}

/// The refusal that an error tells which a program put together.
pub(super) fn of_error(error: &Value) -> Option<Refusal> {
    let mut found = Found::default();
    found.look(error, 0);
    found.is_refusal.then_some(Refusal { wait: found.wait })
}

#[derive(Debug, Default)]
struct Found {
    is_refusal: bool,
    wait: Option<Span>,
}

impl Found {
    fn look(&mut self, value: &Value, depth: usize) {
        match value {
            Value::String(text) => {
                self.is_refusal |= is_told(text);
                self.wait = self.wait.or_else(|| time_in(text));
            }
            Value::Object(object) if depth < DEPTH_MAX => {
                for (key, value) in object {
                    let key = key.to_lowercase();
                    let status = value.as_u64().filter(|_| key == "code" || key.contains("status"));
                    self.is_refusal |= status.is_some_and(|it| STATUSES.contains(&it));
                    if TIME_KEYS.contains(&key.as_str()) {
                        self.wait = time(value).or(self.wait);
                    }
                    self.look(value, depth + 1);
                }
            }
            Value::Array(values) if depth < DEPTH_MAX => {
                for value in values {
                    self.look(value, depth + 1);
                }
            }
            Value::Object(_)
            | Value::Array(_)
            | Value::Null
            | Value::Bool(_)
            | Value::Number(_) => {}
        }
    }
}

/// Seconds as HTTP has them, or a duration as people write it.
pub(in crate::execute) fn time(value: &Value) -> Option<Span> {
    match value {
        Value::Number(number) => seconds(number.as_f64()?),
        Value::String(text) => {
            let text = text.trim();
            text.parse().ok().and_then(seconds).or_else(|| text.parse().ok())
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn time_in(text: &str) -> Option<Span> {
    let text = text.to_lowercase();
    let after = BEFORE_TIMES.iter().find_map(|words| text.split_once(words))?.1;
    let end = after.find(|it: char| !it.is_ascii_digit() && it != '.').unwrap_or(after.len());
    let (number, unit) = after.split_at(end);
    let number: f64 = number.trim_end_matches('.').parse().ok()?;
    let unit = unit.trim_start();
    seconds(match unit {
        _ if unit.starts_with("ms") || unit.starts_with("milli") => number / 1_000.0,
        _ if unit.starts_with('m') => number * 60.0,
        _ if unit.starts_with('h') => number * 3_600.0,
        _ => number,
    })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a conversion of floats saturates, and what is no time is none"
)]
fn seconds(seconds: f64) -> Option<Span> {
    let ms = (seconds * 1_000.0).ceil();
    (ms.is_finite() && ms > 0.0).then_some(Span { ms: ms as u64 })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn refusals_are_told_from_other_errors_with_the_time_if_it_is_said() {
        let s = |seconds| Some(Refusal { wait: Some(Span::from_secs(seconds)) });
        let untimed = Some(Refusal { wait: None });
        for (error, expected) in [
            (json!({ "message": "no such file" }), None),
            (json!({ "code": -32603, "message": "line 4290 is wrong" }), None),
            (json!({ "message": "API Error: 429 slow down" }), untimed),
            (json!({ "data": { "errorKind": "rate_limit" } }), untimed),
            (json!({ "data": { "statusCode": 529 } }), untimed),
            (json!({ "data": { "status": 500, "retryAfter": 3 } }), None),
            (json!({ "data": { "status": 429, "retry_after": "20" } }), s(20)),
            (json!({ "data": { "status": 429, "headers": { "Retry-After": "20s" } } }), s(20)),
            (json!({ "message": "Rate limit reached. Please try again in 20s." }), s(20)),
            (json!({ "message": "429: retry after 2 minutes" }), s(120)),
            (json!([{ "data": "exceeded retry limit, last status: 429" }]), untimed),
        ] {
            assert_eq!(of_error(&error), expected, "{error}");
        }
        assert_eq!(time_in("try again in 1.5s"), Some(Span { ms: 1_500 }));
        assert_eq!(time(&json!("-1")), None);
    }
}
