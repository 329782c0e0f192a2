//! Tasks as users see them: the rows of a session in the order of their numbers, groups and items
//! among them, and one task by its key.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use sqlx::types::Json;
use utoipa::ToSchema;

use super::{
    artifact_view::{ArtifactObject, Wanted},
    flags,
    task_path::Place,
    view::{
        PAGE_MAX, Page, ReadError, Views, cut, from_cursor, rows_to_read, to_cursor, unknown_code,
    },
};
use crate::{
    id::SessionKey,
    outcome::Failure,
    plan::{Child, Kind, Node, NodeIndex, Plan},
    priority::Priority,
    task::{Reason, TaskState},
};

/// A task, group or item of a session.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct TaskObject {
    /// Its path, `build[api].check`.
    pub key: String,
    pub seq: i32,
    pub kind: TaskKind,
    #[schema(required)]
    pub title: Option<String>,
    pub status: TaskState,
    #[schema(required)]
    pub status_reason: Option<Reason>,
    /// The number of the last attempt; 0 before the first.
    pub attempt: i32,
    pub failures: i32,
    pub crashes: i32,
    pub max_attempts: i32,
    /// Capabilities; all must be offered by one agent.
    pub requires: Vec<String>,
    pub priority: Priority,
    /// Keys of the tasks it waits for.
    pub needs: Vec<String>,
    /// The name of the agent that runs it or ran it last.
    #[schema(required)]
    pub agent: Option<String>,
    /// Null until it completed, and for groups and items.
    #[schema(required, value_type = Option<Object>)]
    pub outputs: Option<Value>,
    #[schema(required)]
    pub error: Option<Failure>,
    pub created_at: DateTime<Utc>,
    #[schema(required)]
    pub ready_at: Option<DateTime<Utc>>,
    #[schema(required)]
    pub started_at: Option<DateTime<Utc>>,
    #[schema(required)]
    pub finished_at: Option<DateTime<Utc>>,
    /// Files that it left, the first 1000; only told of one task that is asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<ArtifactObject>,
}

/// The key of the workflow language that says what a task does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaskKind {
    Run,
    Agent,
    Uses,
    Sleep,
    Approval,
    WaitFor,
    /// A group, or an item of one.
    Tasks,
    Decompose,
}

impl TaskKind {
    fn of(node: &Node) -> Self {
        match node.kind {
            Kind::Run(_) => Self::Run,
            Kind::Agent(_) => Self::Agent,
            Kind::Session(Child { decompose: Some(_), .. }) => Self::Decompose,
            Kind::Builtin(_) | Kind::Session(_) => Self::Uses,
            Kind::Sleep(_) => Self::Sleep,
            Kind::Approval(_) => Self::Approval,
            Kind::WaitFor(_) => Self::WaitFor,
            Kind::Group(_) => Self::Tasks,
        }
    }
}

/// Outputs over 8 KiB on one page, which ends early beyond that: each has at most 256 KiB.
const LARGE_OUTPUTS_MAX: usize = 64;

impl Views {
    /// Tasks in the order of their numbers: what the workflow lists, then the items.
    pub async fn tasks(
        &self,
        session: SessionKey,
        states: Option<&[TaskState]>,
        cursor: Option<&str>,
        limit: Option<i64>,
    ) -> Result<Page<TaskObject>, ReadError> {
        let version = self.version_of(session).await?;
        let after = cursor.map(from_cursor).transpose()?.map_or(0, i32::from_be_bytes);
        let read = rows_to_read(limit);
        let mut rows = self.task_rows(session, after, states, read).await?;
        let mut more = cut(&mut rows, read);
        let shown = fitting(&rows);
        if shown < rows.len() {
            rows.truncate(shown);
            more = true;
        }
        let next =
            if more { rows.last().map(|row| to_cursor(&row.seq.to_be_bytes())) } else { None };
        Ok(Page { items: self.task_objects(session, &version.plan, rows).await?, next })
    }

    /// The task with this key or number.
    pub async fn task(&self, session: SessionKey, key: &str) -> Result<TaskObject, ReadError> {
        let missing = || ReadError::NoTask { session: session.id, key: key.to_owned() };
        let seq = self.find_task(session, key).await?;
        let version = self.version_of(session).await?;
        let row = self.task_row(session, seq).await?.ok_or_else(missing)?;
        let node = row.node_index();
        let mut found = self.task_objects(session, &version.plan, vec![row]).await?;
        let mut task = found.pop().ok_or_else(missing)?;
        if !version.plan.node(node).expected.artifacts.is_empty() {
            let number = seq.to_string();
            let own = Wanted { task: Some(&number), limit: Some(PAGE_MAX), ..Wanted::default() };
            task.artifacts = self.artifacts(session, own).await?.items;
        }
        Ok(task)
    }

    /// Whether the task with this number has ended, or its session has.
    pub async fn is_task_final(&self, session: SessionKey, seq: i32) -> Result<bool, ReadError> {
        let code = sqlx::query_scalar!(
            "select state from tasks where tenant_id = $1 and session_id = $2 and seq = $3",
            session.tenant.0,
            session.id.0,
            seq,
        )
        .fetch_optional(&self.db)
        .await?;
        let is_final = code.and_then(TaskState::from_code).is_none_or(TaskState::is_final);
        Ok(is_final || self.is_final(session).await?)
    }

    pub(super) async fn task_row(
        &self,
        session: SessionKey,
        seq: i32,
    ) -> Result<Option<TaskRow>, ReadError> {
        let mut rows = self.task_rows(session, seq.saturating_sub(1), None, 1).await?;
        Ok(rows.pop().filter(|row| row.seq == seq))
    }

    async fn task_rows(
        &self,
        session: SessionKey,
        after: i32,
        states: Option<&[TaskState]>,
        limit: i64,
    ) -> Result<Vec<TaskRow>, ReadError> {
        let states: Option<Vec<i16>> =
            states.map(|states| states.iter().map(|state| state.code()).collect());
        let rows = sqlx::query_file_as!(
            TaskRow,
            "src/store/sql/task_view.sql",
            session.tenant.0,
            session.id.0,
            after,
            states.as_deref() as _,
            limit,
        )
        .fetch_all(&self.db)
        .await?;
        Ok(rows)
    }

    async fn task_objects(
        &self,
        session: SessionKey,
        plan: &Plan,
        rows: Vec<TaskRow>,
    ) -> Result<Vec<TaskObject>, ReadError> {
        let places = rows.iter().map(TaskRow::place);
        let paths = self.paths(session, plan, rows.iter().map(|row| row.seq), places).await?;
        let outputs = self.blobs(rows.iter().filter_map(|row| row.output_blob.clone())).await?;
        rows.into_iter()
            .map(|mut row| {
                if let Some(hash) = &row.output_blob {
                    row.output = outputs.get(hash).cloned();
                }
                let path = paths.path(plan, row.seq).unwrap_or_default();
                Ok(row.into_object(plan, path)?)
            })
            .collect()
    }

    /// Payloads by their hash.
    async fn blobs(
        &self,
        hashes: impl Iterator<Item = Vec<u8>>,
    ) -> sqlx::Result<HashMap<Vec<u8>, Value>> {
        let hashes: Vec<Vec<u8>> = hashes.collect();
        if hashes.is_empty() {
            return Ok(HashMap::new());
        }
        let rows = sqlx::query!(
            "select hash, body from blobs where tenant_id = $1 and hash = any($2)",
            self.tenant.0,
            &hashes,
        )
        .fetch_all(&self.db)
        .await?;
        Ok(rows.into_iter().map(|row| (row.hash, row.body)).collect())
    }
}

/// How many of the rows fit on a page.
fn fitting(rows: &[TaskRow]) -> usize {
    let mut large = 0;
    rows.iter()
        .take_while(|row| {
            large += usize::from(row.output_blob.is_some());
            large <= LARGE_OUTPUTS_MAX
        })
        .count()
}

/// A row as the views read it.
#[derive(Debug)]
pub(super) struct TaskRow {
    pub(super) seq: i32,
    pub(super) node: i32,
    pub(super) parent: Option<i32>,
    pub(super) flags: i16,
    pub(super) item_key: Option<String>,
    pub(super) route: i32,
    pub(super) priority: i16,
    pub(super) state: i16,
    pub(super) reason: Option<i16>,
    pub(super) blockers: i32,
    pub(super) undecided: bool,
    pub(super) attempt: i32,
    pub(super) failures: i32,
    pub(super) crashes: i32,
    pub(super) rank: Option<DateTime<Utc>>,
    pub(super) wake_at: Option<DateTime<Utc>>,
    pub(super) worker: Option<String>,
    pub(super) lease_until: Option<DateTime<Utc>>,
    pub(super) output: Option<Value>,
    pub(super) output_blob: Option<Vec<u8>>,
    pub(super) error: Option<Json<Failure>>,
    pub(super) created_at: DateTime<Utc>,
    pub(super) ready_at: Option<DateTime<Utc>>,
    pub(super) started_at: Option<DateTime<Utc>>,
    pub(super) finished_at: Option<DateTime<Utc>>,
}

impl TaskRow {
    pub(super) fn place(&self) -> Place {
        Place {
            seq: self.seq,
            node: self.node,
            parent: self.parent,
            flags: self.flags,
            item_key: self.item_key.clone(),
        }
    }

    pub(super) fn is_item(&self) -> bool {
        self.flags & flags::ITEM != 0
    }

    /// A group or an item.
    pub(super) fn has_children(&self) -> bool {
        self.flags & (flags::ITEM | flags::GROUP) != 0
    }

    pub(super) fn node_index(&self) -> NodeIndex {
        NodeIndex::from_code(self.node)
    }

    pub(super) fn state(&self) -> sqlx::Result<TaskState> {
        TaskState::from_code(self.state).ok_or_else(|| unknown_code("state of a task", self.state))
    }

    pub(super) fn reason(&self) -> sqlx::Result<Option<Reason>> {
        let known = |code| Reason::from_code(code).ok_or_else(|| unknown_code("reason", code));
        self.reason.map(known).transpose()
    }

    fn into_object(self, plan: &Plan, key: String) -> sqlx::Result<TaskObject> {
        let node = plan.node(self.node_index());
        let (status, status_reason) = (self.state()?, self.reason()?);
        let priority = Priority::from_code(self.priority)
            .ok_or_else(|| unknown_code("priority", self.priority))?;
        let kind = TaskKind::of(node);
        let is_item = self.is_item();
        let siblings = key.strip_suffix(&node.id).unwrap_or_default().to_owned();
        let sibling = |need: &NodeIndex| format!("{siblings}{}", plan.node(*need).id);
        let outputs = match (kind, status) {
            (TaskKind::Tasks, _) => None,
            (_, TaskState::Completed) => Some(self.output.unwrap_or(Value::Object(Map::new()))),
            (_, _) => self.output,
        };
        Ok(TaskObject {
            key,
            seq: self.seq,
            kind,
            title: if is_item { None } else { node.title.clone() },
            status,
            status_reason,
            attempt: self.attempt,
            failures: self.failures,
            crashes: self.crashes,
            max_attempts: if kind == TaskKind::Tasks { 1 } else { node.retry.max_attempts },
            requires: node.requires.clone(),
            priority,
            needs: if is_item { Vec::new() } else { node.needs.iter().map(sibling).collect() },
            agent: self.worker,
            outputs,
            error: self.error.map(|Json(failure)| failure),
            created_at: self.created_at,
            ready_at: self.ready_at,
            started_at: self.started_at,
            finished_at: self.finished_at,
            artifacts: Vec::new(),
        })
    }
}
