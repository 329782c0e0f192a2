//! Amounts of bytes as people write them: `500 64KiB 16MiB 2GiB`, or with KB, MB, GB.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use thiserror::Error;

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size {
    pub bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not a size (write 64KiB, 16MiB or 2GiB)")]
pub struct NotASize(String);

const UNITS: [(&str, u64); 8] = [
    ("", 1),
    ("B", 1),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

impl Size {
    pub const fn mebibytes(count: u64) -> Self {
        Self { bytes: count << 20 }
    }
}

impl FromStr for Size {
    type Err = NotASize;
    fn from_str(text: &str) -> Result<Self, NotASize> {
        let refuse = || NotASize(text.to_owned());
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let number: u64 = text[..digits].parse().map_err(|_| refuse())?;
        let (_, unit) =
            UNITS.into_iter().find(|(unit, _)| *unit == &text[digits..]).ok_or_else(refuse)?;
        let bytes = number.checked_mul(unit).ok_or_else(refuse)?;
        Ok(Self { bytes })
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |unit: &&(&str, u64)| unit.0 != "B" && self.bytes.is_multiple_of(unit.1);
        let (unit, bytes) =
            UNITS.iter().filter(whole).max_by_key(|(_, bytes)| *bytes).unwrap_or(&UNITS[0]);
        if self.bytes == 0 { f.write_str("0") } else { write!(f, "{}{unit}", self.bytes / bytes) }
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl schemars::JsonSchema for Size {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Size".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": ["string", "integer"],
            "pattern": "^[0-9]+(B|[KMG]B|[KMG]iB)?$",
            "description": "An amount of bytes: 64KiB, 16MiB, 2GiB",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written_back() {
        for (text, bytes) in
            [("0", 0), ("7", 7), ("3KB", 3_000), ("64KiB", 65_536), ("16MiB", 16 << 20)]
        {
            let size: Size = text.parse().unwrap();
            assert_eq!(size.bytes, bytes);
            assert_eq!(size.to_string(), text);
        }
        assert_eq!("5B".parse::<Size>().unwrap().to_string(), "5");
        for text in ["", "MiB", "1.5MiB", "-1", "1 KB", "99999999999999999999", "99999999999GiB"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }
}
