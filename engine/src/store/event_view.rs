//! Events as users see them: numbered from 1 without a gap within a session.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::view::{Page, ReadError, Views, cut, rows_to_read, unknown_code};
use crate::{event::EventKind, id::SessionKey, plan::Plan};

/// One recorded transition.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct EventObject {
    pub seq: i32,
    pub at: DateTime<Utc>,
    pub kind: EventKind,
    /// The key of the task; null when the event is about the session.
    #[schema(required)]
    pub task: Option<String>,
    #[schema(required)]
    pub attempt: Option<i32>,
    /// Who asked for it, when somebody did.
    #[schema(required)]
    pub actor: Option<String>,
    #[schema(value_type = Object)]
    pub data: Value,
}

impl Views {
    /// The events after number `after`, in order. The next page is asked for with the number of
    /// the last event.
    pub async fn events(
        &self,
        session: SessionKey,
        after: i32,
        limit: Option<i64>,
    ) -> Result<Page<EventObject>, ReadError> {
        let version = self.version_of(session).await?;
        let read = rows_to_read(limit);
        let mut rows = self.event_rows(session, after, read).await?;
        let more = cut(&mut rows, read);
        let next = if more { rows.last().map(|row| row.seq.to_string()) } else { None };
        Ok(Page { items: self.event_objects(session, &version.plan, rows).await?, next })
    }

    /// The number of the last event; 0 of none.
    pub async fn last_event(&self, session: SessionKey) -> Result<i32, ReadError> {
        let last = sqlx::query_scalar!(
            "select next_event - 1 as \"last!\" from session_progress
              where tenant_id = $1 and session_id = $2",
            session.tenant.0,
            session.id.0
        )
        .fetch_optional(&self.db)
        .await?;
        self.unless_gone(session, last).await
    }

    async fn event_rows(
        &self,
        session: SessionKey,
        after: i32,
        limit: i64,
    ) -> sqlx::Result<Vec<EventRow>> {
        sqlx::query_file_as!(
            EventRow,
            "src/store/sql/event_view.sql",
            session.tenant.0,
            session.id.0,
            after.clamp(0, i32::MAX - 1),
            limit,
        )
        .fetch_all(&self.db)
        .await
    }

    async fn event_objects(
        &self,
        session: SessionKey,
        plan: &Plan,
        rows: Vec<EventRow>,
    ) -> Result<Vec<EventObject>, ReadError> {
        let tasks = rows.iter().filter_map(EventRow::task);
        let paths = self.paths(session, plan, tasks, []).await?;
        rows.into_iter()
            .map(|row| {
                let kind = EventKind::from_code(row.kind)
                    .ok_or_else(|| unknown_code("kind of event", row.kind))?;
                Ok(EventObject {
                    seq: row.seq,
                    at: row.at,
                    kind,
                    task: row.task().and_then(|seq| paths.path(plan, seq)),
                    attempt: row.attempt.filter(|attempt| *attempt > 0),
                    actor: row.actor,
                    data: row.body.unwrap_or(Value::Object(Map::new())),
                })
            })
            .collect()
    }
}

struct EventRow {
    seq: i32,
    at: DateTime<Utc>,
    kind: i16,
    task: Option<i32>,
    attempt: Option<i32>,
    actor: Option<String>,
    body: Option<Value>,
}

impl EventRow {
    /// The number of the task; events about the session keep 0.
    fn task(&self) -> Option<i32> {
        self.task.filter(|seq| *seq > 0)
    }
}
