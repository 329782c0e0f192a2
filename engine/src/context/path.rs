//! Places in a context: keys with dots between them. A key that has a dot or a quote in it, or is
//! empty, stands in double quotes, as in JSON.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// How deep a place may be, and how long its keys are.
const STEPS_MAX: usize = 32;
const KEY_CHARS_MAX: usize = 200;

/// A place; without keys, the whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path(Vec<String>);

impl Path {
    pub fn keys(&self) -> &[String] {
        &self.0
    }

    pub fn is_whole(&self) -> bool {
        self.0.is_empty()
    }

    /// The place of a key in this one.
    #[must_use]
    pub fn child(&self, key: &str) -> Self {
        Self(self.0.iter().cloned().chain([key.to_owned()]).collect())
    }

    /// The place that so many of the first keys name.
    #[must_use]
    pub fn first(&self, keys: usize) -> Self {
        Self(self.0[..keys].to_vec())
    }

    /// Whether one of the two stands in the other, or both are the same.
    pub fn touches(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).all(|(one, another)| one == another)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, key) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str(".")?;
            }
            let is_plain = !key.is_empty() && !key.contains(['.', '"', '\\']);
            if is_plain {
                f.write_str(key)?;
            } else {
                f.write_str(&serde_json::Value::from(key.as_str()).to_string())?;
            }
        }
        Ok(())
    }
}

impl FromStr for Path {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut keys = Vec::new();
        let mut rest = text;
        while !text.is_empty() {
            let (key, after) = if rest.starts_with('"') {
                let mut read = serde_json::Deserializer::from_str(rest).into_iter::<String>();
                let key = read.next().and_then(Result::ok);
                let key = key.ok_or_else(|| format!("`{text}`: a quote is not closed"))?;
                (key, &rest[read.byte_offset()..])
            } else {
                let end = rest.find('.').unwrap_or(rest.len());
                let key = &rest[..end];
                if key.is_empty() || key.contains('"') {
                    return Err(format!(
                        "`{text}` is no place: keys with dots between them, as in `build.status`"
                    ));
                }
                (key.to_owned(), &rest[end..])
            };
            if key.chars().count() > KEY_CHARS_MAX || keys.len() == STEPS_MAX {
                return Err(format!(
                    "`{text}`: at most {STEPS_MAX} keys of at most {KEY_CHARS_MAX} characters"
                ));
            }
            keys.push(key);
            match after.strip_prefix('.') {
                Some(after) => rest = after,
                None if after.is_empty() => break,
                None => return Err(format!("`{text}`: a dot has to follow a quoted key")),
            }
        }
        Ok(Self(keys))
    }
}

impl Serialize for Path {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Path {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Path {
        text.parse().unwrap()
    }

    #[test]
    fn places_are_read_as_they_are_written() {
        for text in ["", "a", "a.b.c", r#"files."src/a.rs".owner"#, r#""".x"#, r#""a\"b""#] {
            assert_eq!(path(text).to_string(), text);
        }
        assert_eq!(path(r#"files."src/a.rs""#).keys(), ["files", "src/a.rs"]);
        assert_eq!(path("").keys(), <[String; 0]>::default());
    }

    #[test]
    fn what_is_no_place_is_refused() {
        let deep = vec!["a"; 33].join(".");
        for text in [".", "a.", ".a", "a..b", r#"a""#, r#""a"#, r#""a"b"#, &deep] {
            assert!(text.parse::<Path>().is_err(), "{text}");
        }
    }

    #[test]
    fn places_touch_where_one_holds_the_other() {
        assert!(path("a").touches(&path("a.b")) && path("a.b").touches(&path("a")));
        assert!(!path("a.b").touches(&path("a.c")) && path("").touches(&path("x")));
    }
}
