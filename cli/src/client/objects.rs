//! What people are shown of the objects that the server sends. Everything else in them is left
//! alone: `--json` prints the objects themselves.

use std::fmt;

use chrono::{DateTime, Utc};
use jobshop_engine::session::SessionState;
use jobshop_engine::task::TaskState;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::exit::Failure;
use crate::output::plain;

#[derive(Debug, Clone, Deserialize)]
pub struct Session {
    pub id: String,
    pub title: String,
    pub workflow: Option<WorkflowName>,
    pub status: SessionState,
    pub status_reason: Option<String>,
    pub priority: String,
    pub outputs: Option<Map<String, Value>>,
    pub error: Option<Error>,
    pub created_at: DateTime<Utc>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
    pub counts: Counts,
    #[serde(default)]
    pub health: Option<f64>,
    #[serde(default)]
    pub tags: Vec<String>,
    #[serde(default)]
    pub schedule_id: Option<String>,
    #[serde(default)]
    pub metadata: Map<String, Value>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct ArchivedSession {
    pub id: String,
    pub title: String,
    pub workflow: WorkflowName,
    pub status: SessionState,
    pub finished_at: DateTime<Utc>,
    pub archived: Archived,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Archived {
    pub location: String,
}

#[derive(Debug, Clone, Deserialize)]
pub struct WorkflowName {
    pub name: String,
    pub version: i64,
}

/// Executable tasks by status.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub struct Counts {
    pub total: u64,
    pub in_progress: u64,
    pub completed: u64,
    pub failed: u64,
    pub cancelled: u64,
    pub skipped: u64,
}

impl Counts {
    pub fn ended(&self) -> u64 {
        self.completed + self.failed + self.cancelled + self.skipped
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} completed", self.completed, self.total)?;
        for (number, word) in [
            (self.in_progress, "running"),
            (self.failed, "failed"),
            (self.cancelled, "cancelled"),
            (self.skipped, "skipped"),
        ] {
            if number > 0 {
                write!(f, ", {number} {word}")?;
            }
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Error {
    pub class: String,
    pub message: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.class, plain(&self.message))
    }
}

#[derive(Debug, Clone, Deserialize)]
pub struct Task {
    pub key: String,
    #[serde(default)]
    pub seq: i64,
    pub kind: String,
    pub status: TaskState,
    pub status_reason: Option<String>,
    pub attempt: i64,
    pub max_attempts: Option<i64>,
    pub error: Option<Error>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
}

impl Task {
    /// Whether it only holds other tasks: a group or an item.
    pub fn is_group(&self) -> bool {
        self.kind == "tasks"
    }

    /// Its error, else the reason for its status, else nothing.
    pub fn why(&self) -> String {
        let reason = || self.status_reason.clone().unwrap_or_default();
        self.error.as_ref().map_or_else(reason, ToString::to_string)
    }
}

#[derive(Debug, Clone, Deserialize)]
pub struct Event {
    pub seq: i64,
    pub at: DateTime<Utc>,
    pub kind: String,
    pub task: Option<String>,
    pub attempt: Option<i64>,
    #[serde(default)]
    pub data: Value,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Agent {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub status: String,
    pub tier: String,
    pub capabilities: Vec<String>,
    pub running: i64,
    pub capacity: i64,
    pub host: String,
    pub pid: i64,
    pub started_at: DateTime<Utc>,
}

/// The shown part of an object.
pub fn read<T: DeserializeOwned>(object: &Value) -> Result<T, Failure> {
    T::deserialize(object).map_err(|error| {
        Failure::temporary(format!("the server's answer cannot be read: {error}"))
            .hint("are server and command of the same version?")
    })
}

/// The last 8 characters of an id, as tables print it.
pub fn tail(id: &str) -> &str {
    id.char_indices().rev().nth(7).map_or(id, |(start, _)| &id[start..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_print_the_end_of_an_id() {
        assert_eq!(tail("01997a1c-0000-7000-8000-0123456789ab"), "456789ab");
        assert_eq!(tail("short"), "short");
    }
}
