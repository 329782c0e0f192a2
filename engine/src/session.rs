//! The states of a session and the one function that moves between them. It knows nothing of who
//! asks or how a state is stored.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Where a session stands.
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
    JsonSchema,
    utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum SessionState {
    Pending,
    Queued,
    Running,
    Paused,
    Degraded,
    Completed,
    PartiallyCompleted,
    Failed,
    Timeout,
    Stopped,
    Cancelled,
    Orphaned,
}

use SessionState as S;

/// A move that the table of states does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a {from} session cannot become {to}")]
pub struct IllegalMove {
    pub from: SessionState,
    pub to: SessionState,
}

impl SessionState {
    pub const ALL: [Self; 12] = [
        S::Pending,
        S::Queued,
        S::Running,
        S::Paused,
        S::Degraded,
        S::Completed,
        S::PartiallyCompleted,
        S::Failed,
        S::Timeout,
        S::Stopped,
        S::Cancelled,
        S::Orphaned,
    ];

    /// The states a session may go to from here.
    pub const fn successors(self) -> &'static [Self] {
        match self {
            S::Pending => &[S::Queued, S::Running, S::Paused, S::Cancelled, S::Failed, S::Orphaned],
            S::Queued => &[
                S::Running,
                S::Degraded,
                S::Paused,
                S::Stopped,
                S::Cancelled,
                S::Failed,
                S::Timeout,
                S::Orphaned,
            ],
            S::Running => &[
                S::Completed,
                S::PartiallyCompleted,
                S::Failed,
                S::Timeout,
                S::Paused,
                S::Degraded,
                S::Stopped,
                S::Cancelled,
                S::Orphaned,
            ],
            S::Paused => &[
                S::Running,
                S::Queued,
                S::Stopped,
                S::Cancelled,
                S::Failed,
                S::Timeout,
                S::Orphaned,
            ],
            S::Degraded => &[
                S::Running,
                S::Queued,
                S::Paused,
                S::Completed,
                S::PartiallyCompleted,
                S::Failed,
                S::Timeout,
                S::Stopped,
                S::Cancelled,
                S::Orphaned,
            ],
            S::Failed | S::Timeout | S::Stopped | S::Orphaned | S::PartiallyCompleted => {
                &[S::Pending]
            }
            S::Completed | S::Cancelled => &[],
        }
    }

    /// Moves to `to`, or says that the table has no such move.
    pub fn move_to(self, to: Self) -> Result<Self, IllegalMove> {
        if self.successors().contains(&to) { Ok(to) } else { Err(IllegalMove { from: self, to }) }
    }

    /// Nothing of the session will run any more, unless it is retried.
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            S::Completed
                | S::PartiallyCompleted
                | S::Failed
                | S::Timeout
                | S::Stopped
                | S::Cancelled
                | S::Orphaned
        )
    }

    /// A retry may re-open it.
    pub const fn is_retryable(self) -> bool {
        matches!(self, S::Failed | S::Timeout | S::Stopped | S::Orphaned | S::PartiallyCompleted)
    }

    /// New attempts of its tasks may start.
    pub const fn is_admitted(self) -> bool {
        matches!(self, S::Queued | S::Running | S::Degraded)
    }

    /// The number under which the database keeps it.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// The state kept under `code`, if there is one.
    pub fn from_code(code: i16) -> Option<Self> {
        usize::try_from(code).ok().and_then(|index| Self::ALL.get(index).copied())
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            S::Pending => "pending",
            S::Queued => "queued",
            S::Running => "running",
            S::Paused => "paused",
            S::Degraded => "degraded",
            S::Completed => "completed",
            S::PartiallyCompleted => "partially_completed",
            S::Failed => "failed",
            S::Timeout => "timeout",
            S::Stopped => "stopped",
            S::Cancelled => "cancelled",
            S::Orphaned => "orphaned",
        }
    }
}

impl fmt::Display for SessionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for SessionState {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| {
            let all = Self::ALL.map(Self::as_str).join(", ");
            format!("`{text}` is not a state of a session; the states are {all}")
        })
    }
}

/// What a session comes to when all its tasks have ended: `failed` counts failures that nobody
/// allowed (cancelled tasks too), `allowed` those that `continue_on_failure` covers.
pub const fn result(failed: i32, allowed: i32) -> SessionState {
    if failed > 0 {
        S::Failed
    } else if allowed > 0 {
        S::PartiallyCompleted
    } else {
        S::Completed
    }
}
