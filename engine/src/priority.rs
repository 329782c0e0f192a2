//! The five priorities and what each is worth in a route's order.

use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How urgent a session or task is. A route is served in the order of `ready_at + offset`, so a
/// waiting task ages without being touched.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    Critical,
    High,
    #[default]
    Medium,
    Low,
    Deferred,
}

impl Priority {
    pub const ALL: [Self; 5] =
        [Self::Critical, Self::High, Self::Medium, Self::Low, Self::Deferred];

    /// What is added to the moment a task became ready, in seconds.
    pub const fn offset_secs(self) -> i64 {
        match self {
            Self::Critical => -86_400,
            Self::High => -600,
            Self::Medium => 0,
            Self::Low => 1_800,
            Self::Deferred => 21_600,
        }
    }

    /// The number under which the database keeps it.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// The priority kept under `code`, if there is one.
    pub fn from_code(code: i16) -> Option<Self> {
        usize::try_from(code).ok().and_then(|index| Self::ALL.get(index).copied())
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
            Self::Deferred => "deferred",
        }
    }
}

impl FromStr for Priority {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|p| p.as_str() == text).ok_or_else(|| {
            format!("`{text}` is not a priority (critical, high, medium, low, deferred)")
        })
    }
}
