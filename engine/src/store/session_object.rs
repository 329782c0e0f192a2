//! A session as users see it, made of its row. It reads nothing.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use sqlx::types::Json;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    blobs, flags,
    session_counts::{Counters, Counts},
    sessions::NewSession,
    view::unknown_code,
};
use crate::{
    closing::Phase,
    health::{self, Facts, Time},
    id::SessionId,
    outcome::{ErrorClass, Failure},
    plan::{BlockIndex, NodeIndex, SessionType},
    priority::Priority,
    session::SessionState,
};

/// A session.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct SessionObject {
    #[schema(value_type = Uuid)]
    pub id: SessionId,
    pub title: String,
    pub workflow: WorkflowName,
    #[serde(rename = "type")]
    pub kind: SessionType,
    pub status: SessionState,
    /// More about the status, where there is more to say.
    #[schema(required)]
    pub status_reason: Option<String>,
    pub priority: Priority,
    #[schema(required)]
    pub prompt: Option<String>,
    #[schema(required)]
    pub description: Option<String>,
    pub tags: Vec<String>,
    #[schema(value_type = Object)]
    pub metadata: Value,
    #[schema(value_type = Object)]
    pub inputs: Value,
    /// Null until the session has completed.
    #[schema(required, value_type = Option<Object>)]
    pub outputs: Option<Value>,
    /// Its own, or what the first task that failed says.
    #[schema(required)]
    pub error: Option<Failure>,
    #[schema(required)]
    pub created_by: Option<String>,
    pub created_at: DateTime<Utc>,
    #[schema(required)]
    pub started_at: Option<DateTime<Utc>>,
    #[schema(required)]
    pub finished_at: Option<DateTime<Utc>>,
    pub counts: Counts,
    /// The session whose task this one is.
    #[schema(required)]
    pub parent_id: Option<Uuid>,
    /// The schedule that started it, `WORKFLOW/NAME`.
    #[schema(required)]
    pub schedule_id: Option<String>,
    /// The session that it was forked off, and where.
    #[schema(required)]
    pub forked_from: Option<Fork>,
    /// How often it was retried.
    pub retry: i32,
    /// How well it is, from 0 to 1; docs/operations.md says how it is computed.
    pub health: f64,
}

/// Where a session was forked off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Fork {
    pub session_id: Uuid,
    /// The key of the first task that ran again.
    pub task: String,
}

/// The workflow version that a session executes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct WorkflowName {
    pub name: String,
    pub version: i32,
}

/// What an object is made of.
pub(super) struct SessionRow {
    pub(super) id: Uuid,
    pub(super) title: String,
    pub(super) kind: String,
    pub(super) priority: i16,
    pub(super) prompt: Option<String>,
    pub(super) description: Option<String>,
    pub(super) tags: Vec<String>,
    pub(super) metadata: Value,
    pub(super) inputs: Value,
    pub(super) outputs: Option<Value>,
    pub(super) created_by: Option<String>,
    pub(super) parent_id: Option<Uuid>,
    pub(super) forked_from: Option<Uuid>,
    pub(super) forked_at: Option<String>,
    pub(super) created_at: DateTime<Utc>,
    pub(super) schedule_id: Option<String>,
    pub(super) name: String,
    pub(super) version: i32,
    pub(super) state: i16,
    pub(super) sweep: i16,
    pub(super) hold: Option<Value>,
    pub(super) phase: i16,
    pub(super) retry: i32,
    pub(super) bad: i32,
    pub(super) error: Option<Json<Failure>>,
    pub(super) started_at: Option<DateTime<Utc>>,
    pub(super) finished_at: Option<DateTime<Utc>>,
    pub(super) timeout_ms: Option<i64>,
    pub(super) now: DateTime<Utc>,
    pub(super) total: i32,
    pub(super) completed: i32,
    pub(super) failed: i32,
    pub(super) cancelled: i32,
    pub(super) skipped: i32,
    /// Whether the live states were counted with the row.
    pub(super) is_counted: bool,
    pub(super) ready: i64,
    pub(super) assigned: i64,
    pub(super) in_progress: i64,
    pub(super) blocked: i64,
    pub(super) paused: i64,
}

impl SessionRow {
    pub(super) fn counters(&self) -> Counters {
        Counters {
            total: self.total,
            completed: self.completed,
            failed: self.failed,
            cancelled: self.cancelled,
            skipped: self.skipped,
        }
    }

    pub(super) fn live(&self) -> Counts {
        Counts {
            ready: self.ready,
            assigned: self.assigned,
            in_progress: self.in_progress,
            blocked: self.blocked,
            paused: self.paused,
            ..Counts::default()
        }
    }

    pub(super) fn into_object(self, counts: Counts) -> sqlx::Result<SessionObject> {
        let status = SessionState::from_code(self.state)
            .ok_or_else(|| unknown_code("state of a session", self.state))?;
        let priority = Priority::from_code(self.priority)
            .ok_or_else(|| unknown_code("priority", self.priority))?;
        let kind = serde_json::from_value(Value::String(self.kind))
            .map_err(|error| sqlx::Error::Decode(error.into()))?;
        let timeout = || Failure::new(ErrorClass::Timeout, "the session ran out of time");
        let error = self
            .error
            .map(|Json(failure)| failure)
            .or_else(|| (status == SessionState::Timeout).then(timeout));
        let health = health::health(&Facts {
            state: status,
            total: self.total,
            failed: self.failed + self.cancelled,
            is_lost: self.bad > 0,
            time: self.started_at.zip(self.timeout_ms).map(|(since, limit_ms)| Time {
                elapsed_ms: (self.now - since).num_milliseconds(),
                limit_ms,
            }),
        });
        Ok(SessionObject {
            id: SessionId(self.id),
            title: self.title,
            workflow: WorkflowName { name: self.name, version: self.version },
            kind,
            status,
            status_reason: hold_reason(status, self.hold.as_ref())
                .or_else(|| closing_reason(status, self.phase))
                .or_else(|| status_reason(status, error.as_ref(), self.bad, self.sweep)),
            priority,
            prompt: self.prompt,
            description: self.description,
            tags: self.tags,
            metadata: self.metadata,
            inputs: self.inputs,
            outputs: self.outputs,
            error,
            created_by: self.created_by,
            created_at: self.created_at,
            started_at: self.started_at,
            finished_at: self.finished_at,
            counts,
            parent_id: self.parent_id,
            schedule_id: self.schedule_id,
            forked_from: self
                .forked_from
                .zip(self.forked_at)
                .map(|(session_id, task)| Fork { session_id, task }),
            retry: self.retry,
            health,
        })
    }
}

/// What a session is like at the moment of its creation, without asking the database for it.
/// `inputs` are complete.
pub(super) fn fresh(
    new: NewSession,
    id: SessionId,
    (title, inputs): (String, Map<String, Value>),
    at: DateTime<Utc>,
) -> sqlx::Result<SessionObject> {
    let plan = &new.version.plan;
    let begins = |index: &&NodeIndex| {
        let flags = flags::of_node(plan, **index);
        let wanted = flags::PLAIN | flags::EXECUTABLE;
        flags & wanted == wanted && plan.node(**index).blockers(plan) == 0
    };
    let ready = plan.block(BlockIndex::ROOT).nodes.iter().filter(begins).count();
    let count = |n: usize| i32::try_from(n).expect("a plan has at most 10 000 nodes");
    let state = if new.start { SessionState::Queued } else { SessionState::Pending };
    let row = SessionRow {
        id: id.0,
        title,
        kind: plan.kind.as_str().to_owned(),
        priority: new.priority.unwrap_or(plan.priority).code(),
        description: new.description.or_else(|| plan.description.clone()),
        name: plan.name.clone(),
        version: new.version.number,
        total: count(plan.executable(BlockIndex::ROOT)),
        ready: if new.start { count(ready).into() } else { 0 },
        prompt: new.prompt,
        tags: new.tags,
        metadata: blobs::without_nul(Value::Object(new.metadata)),
        inputs: Value::Object(inputs),
        outputs: None,
        created_by: new.created_by,
        parent_id: None,
        forked_from: None,
        forked_at: None,
        created_at: at,
        schedule_id: new.schedule.map(|id| id.to_string()),
        state: state.code(),
        sweep: 0,
        hold: None,
        phase: 0,
        retry: 0,
        bad: 0,
        error: None,
        started_at: None,
        finished_at: None,
        timeout_ms: None,
        now: at,
        completed: 0,
        failed: 0,
        cancelled: 0,
        skipped: 0,
        is_counted: true,
        assigned: 0,
        in_progress: 0,
        blocked: 0,
        paused: 0,
    };
    let counts = row.counters().with(row.live());
    row.into_object(counts)
}

/// Who or what holds a session that is paused or degraded.
fn hold_reason(status: SessionState, hold: Option<&Value>) -> Option<String> {
    let hold = hold?;
    if status == SessionState::Paused {
        return Some(format!("paused by {}", hold["actor"].as_str().unwrap_or("somebody")));
    }
    let missing = hold["missing"].as_array().filter(|_| status == SessionState::Degraded)?;
    let names: Vec<&str> = missing.iter().filter_map(Value::as_str).collect();
    Some(format!("no agent offers {}", names.join(", ")))
}

/// Which part of its end a session is in.
fn closing_reason(status: SessionState, phase: i16) -> Option<String> {
    let phase = Phase::from_code(phase).filter(|phase| *phase > Phase::Tasks)?;
    (!status.is_final()).then(|| phase.as_str().to_owned())
}

/// What there is to say about a status beyond its name: the class of the session's own error, or
/// what its tasks did to it.
fn status_reason(
    status: SessionState,
    error: Option<&Failure>,
    bad: i32,
    sweep: i16,
) -> Option<String> {
    use SessionState as S;
    let reason = match (status, error) {
        (S::Queued | S::Running | S::Paused | S::Degraded, _) if sweep == 3 => "ending",
        (S::Queued | S::Running | S::Degraded, _) if sweep == -1 => "place",
        (_, Some(failure)) => failure.class.as_str(),
        (S::Failed, None) if bad > 0 => "task_failed",
        (S::PartiallyCompleted, None) => "failures_allowed",
        (S::Running, None) if sweep == 1 => "fail_fast",
        _ => return None,
    };
    Some(reason.to_owned())
}
