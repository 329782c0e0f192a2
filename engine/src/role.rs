//! What a key may do, and what keys and tenants may be called. It does not know how keys are kept.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// What a key may do; each role may do what those before it may.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Submits sessions and steers them, decides approvals, sends signals.
    Operator,
    /// Registers workflows and manages keys; in the default tenant, tenants too.
    Admin,
}

/// The name under which the server's own token acts, and what outcomes by themselves are ascribed
/// to: no key may be called so, or like a role.
pub const RESERVED_NAMES: [&str; 4] = ["viewer", "operator", "admin", "timeout"];

const KEY_NAME_CHARS_MAX: usize = 64;
const TENANT_NAME_CHARS_MAX: usize = 64;

impl Role {
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// The number under which the database keeps it.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// The role kept under `code`, if there is one.
    pub fn from_code(code: i16) -> Option<Self> {
        usize::try_from(code).ok().and_then(|index| Self::ALL.get(index).copied())
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| format!("`{text}` is not a role: viewer, operator or admin"))
    }
}

/// Whether text looks like the name of a key: letters, digits and `. _ @ + -`, the first a letter
/// or digit, 64 at most. The reserved names look so too.
pub fn is_key_name(name: &str) -> bool {
    name.len() <= KEY_NAME_CHARS_MAX
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._@+-".contains(&b))
}

/// Whether text can be the name of a tenant: lower-case letters, digits and dashes, the first no
/// dash, 64 at most.
pub fn is_tenant_name(name: &str) -> bool {
    let is_start = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    name.len() <= TENANT_NAME_CHARS_MAX
        && name.bytes().next().is_some_and(is_start)
        && name.bytes().all(|b| is_start(b) || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_include_each_other_and_are_read_as_they_are_written() {
        assert!(Role::Viewer < Role::Operator && Role::Operator < Role::Admin);
        for role in Role::ALL {
            assert_eq!(role.to_string().parse(), Ok(role));
            assert_eq!(Role::from_code(role.code()), Some(role));
        }
        assert!("root".parse::<Role>().is_err());
        assert_eq!(Role::from_code(3), None);
    }

    #[test]
    fn names_are_plain_words() {
        for name in ["ci", "anna@example.org", "a+b", "7", "Lead.1"] {
            assert!(is_key_name(name), "{name}");
        }
        for name in ["", ".a", "a b", "a/b", "ä", &"x".repeat(65)] {
            assert!(!is_key_name(name), "{name}");
        }
        assert!(is_tenant_name("team-1") && !is_tenant_name("Team") && !is_tenant_name("-a"));
        assert!(!is_tenant_name("") && !is_tenant_name(&"x".repeat(65)));
    }
}
