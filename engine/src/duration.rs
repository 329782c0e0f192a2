//! Durations as people write them: `250ms 10s 5m 2h 1d`.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use thiserror::Error;

/// A span of time in whole milliseconds, written with one unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    pub ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not a duration (write 250ms, 10s, 5m, 2h or 1d)")]
pub struct NotADuration(String);

const UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// The longest span accepted: 100 years.
const MS_MAX: u64 = 100 * 365 * 86_400_000;

impl Span {
    pub const fn from_secs(secs: u64) -> Self {
        Self { ms: secs * 1_000 }
    }

    pub const fn to_std(self) -> Duration {
        Duration::from_millis(self.ms)
    }
}

impl FromStr for Span {
    type Err = NotADuration;
    fn from_str(text: &str) -> Result<Self, NotADuration> {
        let refuse = || NotADuration(text.to_owned());
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(refuse)?;
        let number: u64 = text[..digits].parse().map_err(|_| refuse())?;
        let (_, unit_ms) =
            UNITS.into_iter().find(|(unit, _)| *unit == &text[digits..]).ok_or_else(refuse)?;
        let ms = number.checked_mul(unit_ms).filter(|ms| *ms <= MS_MAX).ok_or_else(refuse)?;
        Ok(Self { ms })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, unit_ms) = UNITS
            .into_iter()
            .rev()
            .find(|(_, ms)| self.ms.is_multiple_of(*ms) && self.ms > 0)
            .unwrap_or(("s", 1_000));
        write!(f, "{}{unit}", self.ms / unit_ms)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl schemars::JsonSchema for Span {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^[0-9]+(ms|s|m|h|d)$",
            "description": "A duration: 250ms, 10s, 5m, 2h, 1d",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_back() {
        for (text, ms) in [
            ("250ms", 250),
            ("10s", 10_000),
            ("5m", 300_000),
            ("2h", 7_200_000),
            ("1d", 86_400_000),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.ms, ms);
            assert_eq!(span.to_string(), text);
        }
        for text in
            ["", "5", "s", "1.5s", "-1s", "1 s", "5w", "99999999999999999999d", "999999999d"]
        {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
