//! The states of a task, the reasons for them, and the one function that moves between them.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Where a task stands.
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
pub enum TaskState {
    Pending,
    Ready,
    Assigned,
    InProgress,
    Blocked,
    Paused,
    Completed,
    Failed,
    Cancelled,
    Skipped,
}

use TaskState as T;

/// A move that the table of states does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a task that is {from} cannot become {to}")]
pub struct IllegalMove {
    pub from: TaskState,
    pub to: TaskState,
}

impl TaskState {
    pub const ALL: [Self; 10] = [
        T::Pending,
        T::Ready,
        T::Assigned,
        T::InProgress,
        T::Blocked,
        T::Paused,
        T::Completed,
        T::Failed,
        T::Cancelled,
        T::Skipped,
    ];

    /// The states a task may go to from here. From a final state only a retry of the session leads
    /// back to pending.
    pub const fn successors(self) -> &'static [Self] {
        match self {
            T::Pending => &[T::Ready, T::Blocked, T::Paused, T::Skipped, T::Cancelled, T::Failed],
            T::Ready => &[
                T::Assigned,
                T::InProgress,
                T::Blocked,
                T::Paused,
                T::Skipped,
                T::Cancelled,
                T::Failed,
            ],
            T::Assigned => &[T::InProgress, T::Ready, T::Paused, T::Cancelled],
            T::InProgress => {
                &[T::Completed, T::Failed, T::Skipped, T::Ready, T::Blocked, T::Cancelled]
            }
            T::Blocked => &[T::Ready, T::Completed, T::Failed, T::Skipped, T::Paused, T::Cancelled],
            T::Paused => &[T::Pending, T::Ready, T::Blocked, T::Cancelled],
            T::Completed | T::Failed | T::Cancelled | T::Skipped => &[T::Pending],
        }
    }

    /// Moves to `to`, or says that the table has no such move.
    pub fn move_to(self, to: Self) -> Result<Self, IllegalMove> {
        if self.successors().contains(&to) { Ok(to) } else { Err(IllegalMove { from: self, to }) }
    }

    pub const fn is_final(self) -> bool {
        matches!(self, T::Completed | T::Failed | T::Cancelled | T::Skipped)
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
            T::Pending => "pending",
            T::Ready => "ready",
            T::Assigned => "assigned",
            T::InProgress => "in_progress",
            T::Blocked => "blocked",
            T::Paused => "paused",
            T::Completed => "completed",
            T::Failed => "failed",
            T::Cancelled => "cancelled",
            T::Skipped => "skipped",
        }
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for TaskState {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| {
            let all = Self::ALL.map(Self::as_str).join(", ");
            format!("`{text}` is not a state of a task; the states are {all}")
        })
    }
}

/// Why a task is blocked, paused, skipped or cancelled: the `status_reason` of a task object.
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
pub enum Reason {
    /// Blocked: its children have not all ended.
    Children,
    /// Blocked: a durable timer.
    Sleep,
    /// Blocked: waits to be tried again.
    Backoff,
    /// Skipped: its own `when` was false.
    When,
    /// Skipped: something it needs ended badly.
    UpstreamFailed,
    /// Skipped: with `join: any`, nothing it needs completed.
    NoNeedCompleted,
    /// Cancelled: another task failed and the workflow says `fail_fast`.
    FailFast,
    /// Cancelled: the session was cancelled.
    SessionCancelled,
    /// Cancelled: the session or an enclosing group ran out of time.
    Timeout,
    /// Blocked: people have to decide.
    Approval,
    /// Blocked: a signal has to come.
    Signal,
    /// Blocked: its own session has not ended.
    Child,
    /// Paused: its session is.
    SessionPaused,
    /// Paused: somebody paused it.
    Paused,
    /// Cancelled: somebody stopped the session.
    SessionStopped,
    /// Cancelled: somebody said how the session ends.
    EndedByHand,
    /// Skipped: somebody said so.
    SkippedByHand,
    /// Blocked: others hold the locks it takes.
    Lock,
    /// Blocked: what it puts aside does not fit into its budgets.
    Budget,
    /// Blocked: the provider of its agent's model lets no turn begin.
    Provider,
    /// Blocked: its agent asked people something.
    Question,
}

impl Reason {
    pub const ALL: [Self; 21] = [
        Self::Children,
        Self::Sleep,
        Self::Backoff,
        Self::When,
        Self::UpstreamFailed,
        Self::NoNeedCompleted,
        Self::FailFast,
        Self::SessionCancelled,
        Self::Timeout,
        Self::Approval,
        Self::Signal,
        Self::Child,
        Self::SessionPaused,
        Self::Paused,
        Self::SessionStopped,
        Self::EndedByHand,
        Self::SkippedByHand,
        Self::Lock,
        Self::Budget,
        Self::Provider,
        Self::Question,
    ];

    pub const fn code(self) -> i16 {
        self as i16
    }

    /// The reason kept under `code`, if there is one.
    pub fn from_code(code: i16) -> Option<Self> {
        usize::try_from(code).ok().and_then(|index| Self::ALL.get(index).copied())
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Children => "children",
            Self::Sleep => "sleep",
            Self::Backoff => "backoff",
            Self::When => "when",
            Self::UpstreamFailed => "upstream_failed",
            Self::NoNeedCompleted => "no_need_completed",
            Self::FailFast => "fail_fast",
            Self::SessionCancelled => "session_cancelled",
            Self::Timeout => "timeout",
            Self::Approval => "approval",
            Self::Signal => "signal",
            Self::Child => "child",
            Self::SessionPaused => "session_paused",
            Self::Paused => "paused",
            Self::SessionStopped => "session_stopped",
            Self::EndedByHand => "ended_by_hand",
            Self::SkippedByHand => "skipped_by_hand",
            Self::Lock => "lock",
            Self::Budget => "budget",
            Self::Provider => "provider",
            Self::Question => "question",
        }
    }
}
