//! Contexts: versioned trees of values that tasks, agents and sessions share. What may be written
//! where, how two of them differ, and how they become one, as functions of values. It does not know
//! where they are kept or who may see them.

mod change;
mod merge;
mod path;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::{
    change::{Change, Refused, Write, apply, between, undo},
    merge::{Conflict, Merged, Side, Strategy, merge},
    path::Path,
};
use crate::id::SessionId;

/// How many bytes a context has at most, as compact JSON.
pub const BYTES_MAX: usize = 1024 * 1024;
/// How many places one write changes at most.
pub const WRITES_MAX: usize = 1_000;

/// Whose a context is, and how long it lives.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Of one session; its tasks read and write it. It goes with the session.
    Session,
    /// Of an agent, by its name.
    Agent,
    /// Of the tenant.
    Global,
    /// Anybody's, for a time.
    Temporary,
}

impl Scope {
    pub const ALL: [Self; 4] = [Self::Session, Self::Agent, Self::Global, Self::Temporary];

    pub const fn code(self) -> i16 {
        self as i16
    }

    pub fn from_code(code: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.code() == code)
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Agent => "agent",
            Self::Global => "global",
            Self::Temporary => "temporary",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|scope| scope.as_str() == text);
        found.ok_or_else(|| {
            format!("`{text}` is no scope; one of session, agent, global, temporary")
        })
    }
}

/// Which context: its scope, and its name there. That of a session has the session's id.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContextName {
    pub scope: Scope,
    name: String,
}

const NAME_CHARS_MAX: usize = 100;

impl ContextName {
    /// A context outside of sessions. Names have letters, digits, `_`, `-` and `.`.
    pub fn new(scope: Scope, name: &str) -> Result<Self, String> {
        let is_fit = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.chars().all(is_fit) {
            return Err(format!(
                "`{name}` is no name of a context: 1 to {NAME_CHARS_MAX} letters, digits, `_`, `-` or `.`"
            ));
        }
        Ok(Self { scope, name: name.to_owned() })
    }

    pub fn of_session(session: SessionId) -> Self {
        Self { scope: Scope::Session, name: session.to_string() }
    }

    /// Of which session it is, if it is one's.
    pub fn session(&self) -> Option<SessionId> {
        (self.scope == Scope::Session).then(|| self.name.parse().ok()).flatten()
    }

    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for ContextName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.scope, self.name)
    }
}
