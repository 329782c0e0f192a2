//! Why a session or a task does not move, in the words of the rules that hold it: the question that
//! queues answer worst. Each reason names its rule, the task that is held, and by what.

use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{
    flags,
    view::{ReadError, Views, unknown_code},
    why_ledger::Ledger,
    why_people::tail,
    why_rows::Standing,
};
use crate::{
    closing::Phase,
    id::{SessionId, SessionKey},
    session::SessionState,
    task::TaskState,
};

/// What holds a session or a task, or what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct WhyObject {
    #[schema(value_type = Uuid)]
    pub session: SessionId,
    /// The key of the task asked about; null for the whole session.
    #[schema(required)]
    pub task: Option<String>,
    pub status: String,
    /// The first reason in words.
    pub summary: String,
    /// The nearest cause first, then what that one waits for.
    pub reasons: Vec<WhyReason>,
    /// Whether nothing of the session moves before somebody approves, rejects or sends a signal.
    pub waits_for_people: bool,
}

/// One rule that holds a task, or the session where `task` is null.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct WhyReason {
    pub code: WhyCode,
    #[schema(required)]
    pub task: Option<String>,
    pub message: String,
    /// The values in the message, for programs.
    #[schema(value_type = Object)]
    pub data: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhyCode {
    SessionEnded,
    SessionNotAdmitted,
    /// Somebody paused it.
    SessionPaused,
    /// Nobody has let it go yet.
    SessionPending,
    /// Some ready task has had no agent for a while.
    SessionDegraded,
    /// Somebody paused the task.
    Paused,
    SessionStopping,
    NeedNotEnded,
    GroupNotStarted,
    /// The control loop decides it next.
    Undecided,
    /// Some capability is offered by nobody.
    NoAgent,
    /// Every capability is offered, but no agent offers all of them.
    NoAgentWithAll,
    /// It waits for its turn.
    Queued,
    Running,
    Sleep,
    Approval,
    Signal,
    Backoff,
    Children,
    Completed,
    Failed,
    Cancelled,
    WhenFalse,
    UpstreamFailed,
    NoNeedCompleted,
    /// It waits for a session of its own.
    Child,
    /// What stands under `finally` waits for the result of the session.
    ResultNotDecided,
    /// The result is decided, and what follows it runs.
    Closing,
    /// It fails when it has not started by then.
    StartLimited,
    /// Others hold the locks it takes.
    Lock,
    /// Other sessions hold the places.
    Place,
    /// What a task made cannot be merged.
    Conflict,
    /// What it puts aside does not fit into its budgets.
    Budget,
    /// One agent may take it before others.
    Assigned,
    /// The provider of its agent's model lets no turn begin.
    Provider,
    /// Its agent asked people something.
    Question,
}

/// What `session_progress.sweep` says of a session that waits for its place.
const WAITS_FOR_PLACE: i16 = -1;

/// Reasons given at most.
const REASONS_MAX: usize = 20;

impl Views {
    /// Why the session, or the task with this key, does not move.
    pub async fn why(
        &self,
        session: SessionKey,
        task: Option<&str>,
    ) -> Result<WhyObject, ReadError> {
        let standing = self.standing(session).await?;
        let state = SessionState::from_code(standing.state)
            .ok_or_else(|| unknown_code("state of a session", standing.state))?;
        let version = self.version_of(session).await?;
        let mut ledger = Ledger { views: self, session, plan: &version.plan, reasons: Vec::new() };
        let (task, status) = if let Some(key) = task {
            let missing = || ReadError::NoTask { session: session.id, key: key.to_owned() };
            let seq = self.find_task(session, key).await?;
            let row = self.task_row(session, seq).await?.ok_or_else(missing)?;
            let status = row.state()?;
            if !status.is_final() {
                ledger.session(state, &standing).await?;
            }
            let path = ledger.path(seq).await?;
            // Nothing of a session moves that waits for its place.
            if status.is_final() || standing.sweep != WAITS_FOR_PLACE {
                ledger.chain(row).await?;
            }
            (Some(path), status.to_string())
        } else {
            ledger.session(state, &standing).await?;
            if state.is_final() || standing.sweep != WAITS_FOR_PLACE {
                ledger.whole(state).await?;
            }
            (None, state.to_string())
        };
        ledger.conflicts(task.as_deref()).await?;
        let mut reasons = ledger.reasons;
        reasons.truncate(REASONS_MAX);
        let summary = match reasons.first() {
            Some(reason) => reason.message.clone(),
            None => format!("the session is {state}"),
        };
        let waits_for_people = self.waits_for_people(session).await?;
        Ok(WhyObject { session: session.id, task, status, summary, reasons, waits_for_people })
    }
}

impl Ledger<'_> {
    async fn session(&mut self, state: SessionState, standing: &Standing) -> Result<(), ReadError> {
        self.standing(state, standing);
        if standing.sweep == WAITS_FOR_PLACE && !state.is_final() {
            self.place().await?;
        }
        Ok(())
    }

    fn standing(&mut self, state: SessionState, standing: &Standing) {
        if state.is_final() {
            let because = standing.error.as_ref().map(|error| format!(": {}", error.message));
            let message = format!("the session ended as {state}{}", because.unwrap_or_default());
            let data = json!({ "status": state, "finished_at": standing.finished_at });
            self.add(WhyCode::SessionEnded, None, message, data);
        } else if standing.sweep == 3 {
            let result = standing.result();
            let because = standing.error.as_ref().map_or("by hand", |error| &error.message);
            let message = format!(
                "the session is about to end as {result} ({because}): what is open of it comes to \
                 its end first"
            );
            self.add(WhyCode::SessionStopping, None, message, json!({ "result": result }));
        } else if state == SessionState::Paused {
            let (says, data) = standing.held();
            let id = self.session.id.to_string();
            let message = format!(
                "the session is paused{says}: nothing new of it starts; \
                 `jobshop session resume {}` lets it go on",
                tail(&id)
            );
            self.add(WhyCode::SessionPaused, None, message, data);
        } else if state == SessionState::Pending {
            let message = "the session is pending: `jobshop session start` lets it go".to_owned();
            self.add(WhyCode::SessionPending, None, message, json!({ "status": state }));
        } else if state == SessionState::Degraded {
            let (says, data) = standing.held();
            let message = format!("the session is degraded{says}");
            self.add(WhyCode::SessionDegraded, None, message, data);
        } else if !state.is_admitted() {
            let message = format!("the session is {state}: nothing of it starts");
            self.add(WhyCode::SessionNotAdmitted, None, message, json!({ "status": state }));
        } else if let Some(phase) = standing.phase().filter(|phase| *phase > Phase::Tasks) {
            let result = standing.result();
            let message = format!("the result is decided ({result}): `{}` runs", phase.as_str());
            let data = json!({ "result": result, "phase": phase.as_str() });
            self.add(WhyCode::Closing, None, message, data);
        } else if standing.sweep > 1 {
            let result = standing.result();
            let message = format!("the session ends as {result}: what is open is being cancelled");
            self.add(WhyCode::SessionStopping, None, message, json!({ "result": result }));
        } else if standing.sweep > 0 {
            let message =
                "a task failed and the workflow says `fail_fast`: what is open is being cancelled";
            self.add(WhyCode::SessionStopping, None, message.to_owned(), json!({}));
        }
    }

    /// What was made and cannot be merged: it holds nothing up, yet somebody has to know.
    async fn conflicts(&mut self, task: Option<&str>) -> Result<(), ReadError> {
        for conflict in self.views.conflicts(self.session, None).await? {
            let is_meant = |task| conflict.task == task || conflict.with.as_deref() == Some(task);
            if !task.is_none_or(is_meant) {
                continue;
            }
            let with = conflict.with.as_ref().or(conflict.branch.as_ref());
            let message = format!(
                "`{}` conflicts with `{}` in {}",
                conflict.task,
                with.map_or("", String::as_str),
                conflict.files.join(", ")
            );
            let data = json!({
                "with": conflict.with, "branch": conflict.branch, "files": conflict.files,
            });
            self.add(WhyCode::Conflict, Some(&conflict.task), message, data);
        }
        Ok(())
    }

    /// Reasons of the tasks that matter to the whole session.
    async fn whole(&mut self, state: SessionState) -> Result<(), ReadError> {
        use TaskState as T;
        let limit = i64::try_from(REASONS_MAX).unwrap_or(i64::MAX);
        let of = |states: &'static [T]| {
            self.views.rows_in(self.session, states, flags::EXECUTABLE, limit)
        };
        let mut seqs = if state.is_final() {
            of(&[T::Failed]).await?
        } else {
            of(&[T::Ready, T::Assigned, T::InProgress, T::Blocked, T::Paused]).await?
        };
        if seqs.is_empty() && !state.is_final() {
            seqs = self.views.rows_in(self.session, &[T::Pending], 0, 3).await?;
        }
        for seq in seqs {
            let Some(row) = self.views.task_row(self.session, seq).await? else { continue };
            // It may have ended since.
            if state.is_final() || !row.state()?.is_final() {
                self.chain(row).await?;
            }
        }
        Ok(())
    }
}
