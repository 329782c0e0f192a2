//! The kinds of events: one for every state that a session or task can enter, and a few for what
//! changes no state that a user sees. It does not know what an event's data hold.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{session::SessionState, task::TaskState};

/// What happened. The database keeps the position in [`EventKind::ALL`]: first the states of a
/// session, then those of a task, then the rest; new kinds go to the end.
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
pub enum EventKind {
    #[serde(rename = "session.pending")]
    SessionPending,
    #[serde(rename = "session.queued")]
    SessionQueued,
    #[serde(rename = "session.running")]
    SessionRunning,
    #[serde(rename = "session.paused")]
    SessionPaused,
    #[serde(rename = "session.degraded")]
    SessionDegraded,
    #[serde(rename = "session.completed")]
    SessionCompleted,
    #[serde(rename = "session.partially_completed")]
    SessionPartiallyCompleted,
    #[serde(rename = "session.failed")]
    SessionFailed,
    #[serde(rename = "session.timeout")]
    SessionTimeout,
    #[serde(rename = "session.stopped")]
    SessionStopped,
    #[serde(rename = "session.cancelled")]
    SessionCancelled,
    #[serde(rename = "session.orphaned")]
    SessionOrphaned,
    #[serde(rename = "task.pending")]
    TaskPending,
    #[serde(rename = "task.ready")]
    TaskReady,
    #[serde(rename = "task.assigned")]
    TaskAssigned,
    #[serde(rename = "task.in_progress")]
    TaskInProgress,
    #[serde(rename = "task.blocked")]
    TaskBlocked,
    #[serde(rename = "task.paused")]
    TaskPaused,
    #[serde(rename = "task.completed")]
    TaskCompleted,
    #[serde(rename = "task.failed")]
    TaskFailed,
    #[serde(rename = "task.cancelled")]
    TaskCancelled,
    #[serde(rename = "task.skipped")]
    TaskSkipped,
    /// An attempt failed and another follows.
    #[serde(rename = "task.attempt_failed")]
    AttemptFailed,
    /// A `for_each` group laid down items.
    #[serde(rename = "session.expanded")]
    SessionExpanded,
    /// An attempt was handed back without counting anything.
    #[serde(rename = "task.released")]
    TaskReleased,
    /// An attempt was lost with its worker.
    #[serde(rename = "task.attempt_crashed")]
    TaskCrashed,
    /// A task asks people whether it may go on.
    #[serde(rename = "approval.requested")]
    ApprovalRequested,
    /// Somebody voted for it.
    #[serde(rename = "approval.approved")]
    ApprovalApproved,
    /// Somebody rejected it.
    #[serde(rename = "approval.rejected")]
    ApprovalRejected,
    /// Nobody decided in time.
    #[serde(rename = "approval.expired")]
    ApprovalExpired,
    /// Nobody decided in time: it stays open, and any admin may decide.
    #[serde(rename = "approval.escalated")]
    ApprovalEscalated,
    /// A signal came.
    #[serde(rename = "signal.received")]
    SignalReceived,
    /// A kept signal did not fit the task that would have taken it.
    #[serde(rename = "signal.refused")]
    SignalRefused,
    /// The result is decided, and what runs after that begins.
    #[serde(rename = "session.closing")]
    SessionClosing,
    /// An attempt at a task is a session of its own, which was created.
    #[serde(rename = "task.child_created")]
    ChildCreated,
    /// Somebody said how the session ends: what is open is ended first.
    #[serde(rename = "session.ending")]
    SessionEnding,
    /// It is hidden until it is restored.
    #[serde(rename = "session.deleted")]
    SessionDeleted,
    #[serde(rename = "session.restored")]
    SessionRestored,
    /// It has its place.
    #[serde(rename = "session.admitted")]
    SessionAdmitted,
    /// An agent's turn can be taken up from here.
    #[serde(rename = "checkpoint.created")]
    CheckpointCreated,
    /// Somebody said something to a running agent.
    #[serde(rename = "task.message")]
    AgentMessage,
    /// A worker verified what a task made.
    #[serde(rename = "evidence.recorded")]
    EvidenceRecorded,
    /// Files of an attempt's workspace are kept.
    #[serde(rename = "artifact.stored")]
    ArtifactStored,
    /// What a task made cannot be merged with what another made, or with the branch it is meant for.
    #[serde(rename = "conflict.detected")]
    ConflictDetected,
    /// It can be merged again.
    #[serde(rename = "conflict.resolved")]
    ConflictResolved,
    /// Somebody gave a budget higher limits.
    #[serde(rename = "budget.raised")]
    BudgetRaised,
    /// An agent asks people something: whether it may, or what they want.
    #[serde(rename = "question.asked")]
    QuestionAsked,
    /// Somebody answered it.
    #[serde(rename = "question.answered")]
    QuestionAnswered,
    /// Nobody answered in time.
    #[serde(rename = "question.expired")]
    QuestionExpired,
    /// Nobody answered in time: it stays open, and any admin may answer.
    #[serde(rename = "question.escalated")]
    QuestionEscalated,
    /// The agent was told the answer.
    #[serde(rename = "question.told")]
    QuestionTold,
    /// A rule answered an agent; nobody was asked.
    #[serde(rename = "policy.decided")]
    PolicyDecided,
}

use EventKind as E;

impl EventKind {
    pub const ALL: [Self; 52] = [
        E::SessionPending,
        E::SessionQueued,
        E::SessionRunning,
        E::SessionPaused,
        E::SessionDegraded,
        E::SessionCompleted,
        E::SessionPartiallyCompleted,
        E::SessionFailed,
        E::SessionTimeout,
        E::SessionStopped,
        E::SessionCancelled,
        E::SessionOrphaned,
        E::TaskPending,
        E::TaskReady,
        E::TaskAssigned,
        E::TaskInProgress,
        E::TaskBlocked,
        E::TaskPaused,
        E::TaskCompleted,
        E::TaskFailed,
        E::TaskCancelled,
        E::TaskSkipped,
        E::AttemptFailed,
        E::SessionExpanded,
        E::TaskReleased,
        E::TaskCrashed,
        E::ApprovalRequested,
        E::ApprovalApproved,
        E::ApprovalRejected,
        E::ApprovalExpired,
        E::ApprovalEscalated,
        E::SignalReceived,
        E::SignalRefused,
        E::SessionClosing,
        E::ChildCreated,
        E::SessionEnding,
        E::SessionDeleted,
        E::SessionRestored,
        E::SessionAdmitted,
        E::CheckpointCreated,
        E::AgentMessage,
        E::EvidenceRecorded,
        E::ArtifactStored,
        E::ConflictDetected,
        E::ConflictResolved,
        E::BudgetRaised,
        E::QuestionAsked,
        E::QuestionAnswered,
        E::QuestionExpired,
        E::QuestionEscalated,
        E::QuestionTold,
        E::PolicyDecided,
    ];

    /// The event that a session entered `state`.
    pub const fn of_session(state: SessionState) -> Self {
        Self::ALL[state as usize]
    }

    /// The event that a task entered `state`.
    pub const fn of_task(state: TaskState) -> Self {
        Self::ALL[SessionState::ALL.len() + state as usize]
    }

    /// The state that a session entered, when this event says so.
    pub fn session_state(self) -> Option<SessionState> {
        SessionState::from_code(self.code())
    }

    /// The number under which the database keeps it.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// The kind kept under `code`, if there is one.
    pub fn from_code(code: i16) -> Option<Self> {
        usize::try_from(code).ok().and_then(|index| Self::ALL.get(index).copied())
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            E::SessionPending => "session.pending",
            E::SessionQueued => "session.queued",
            E::SessionRunning => "session.running",
            E::SessionPaused => "session.paused",
            E::SessionDegraded => "session.degraded",
            E::SessionCompleted => "session.completed",
            E::SessionPartiallyCompleted => "session.partially_completed",
            E::SessionFailed => "session.failed",
            E::SessionTimeout => "session.timeout",
            E::SessionStopped => "session.stopped",
            E::SessionCancelled => "session.cancelled",
            E::SessionOrphaned => "session.orphaned",
            E::TaskPending => "task.pending",
            E::TaskReady => "task.ready",
            E::TaskAssigned => "task.assigned",
            E::TaskInProgress => "task.in_progress",
            E::TaskBlocked => "task.blocked",
            E::TaskPaused => "task.paused",
            E::TaskCompleted => "task.completed",
            E::TaskFailed => "task.failed",
            E::TaskCancelled => "task.cancelled",
            E::TaskSkipped => "task.skipped",
            E::AttemptFailed => "task.attempt_failed",
            E::SessionExpanded => "session.expanded",
            E::TaskReleased => "task.released",
            E::TaskCrashed => "task.attempt_crashed",
            E::ApprovalRequested => "approval.requested",
            E::ApprovalApproved => "approval.approved",
            E::ApprovalRejected => "approval.rejected",
            E::ApprovalExpired => "approval.expired",
            E::ApprovalEscalated => "approval.escalated",
            E::SignalReceived => "signal.received",
            E::SignalRefused => "signal.refused",
            E::SessionClosing => "session.closing",
            E::ChildCreated => "task.child_created",
            E::SessionEnding => "session.ending",
            E::SessionDeleted => "session.deleted",
            E::SessionRestored => "session.restored",
            E::SessionAdmitted => "session.admitted",
            E::CheckpointCreated => "checkpoint.created",
            E::AgentMessage => "task.message",
            E::EvidenceRecorded => "evidence.recorded",
            E::ArtifactStored => "artifact.stored",
            E::ConflictDetected => "conflict.detected",
            E::ConflictResolved => "conflict.resolved",
            E::BudgetRaised => "budget.raised",
            E::QuestionAsked => "question.asked",
            E::QuestionAnswered => "question.answered",
            E::QuestionExpired => "question.expired",
            E::QuestionEscalated => "question.escalated",
            E::QuestionTold => "question.told",
            E::PolicyDecided => "policy.decided",
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for EventKind {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| format!("`{text}` is not a kind of event"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_its_event_and_every_code_its_kind() {
        for state in SessionState::ALL {
            assert_eq!(EventKind::of_session(state).as_str(), format!("session.{state}"));
            assert_eq!(EventKind::of_session(state).session_state(), Some(state));
        }
        for state in TaskState::ALL {
            assert_eq!(EventKind::of_task(state).as_str(), format!("task.{state}"));
            assert_eq!(EventKind::of_task(state).session_state(), None);
        }
        for kind in EventKind::ALL {
            assert_eq!(EventKind::from_code(kind.code()), Some(kind));
            assert_eq!(kind.as_str().parse(), Ok(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }
}
