//! What is known of sessions that were archived: who they were, how they ended, where their file is.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    session_view::WorkflowName,
    view::{Page, ReadError, Views, cut, from_cursor, rows_to_read, to_cursor, unknown_code},
};
use crate::{
    id::{SessionId, SessionKey},
    session::SessionState,
};

/// A session that was archived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ArchivedObject {
    #[schema(value_type = Uuid)]
    pub id: SessionId,
    pub title: String,
    pub workflow: WorkflowName,
    pub status: SessionState,
    pub created_at: DateTime<Utc>,
    pub finished_at: DateTime<Utc>,
    pub archived: Archived,
}

/// Where the rest of it is, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Archived {
    /// A URL.
    pub location: String,
    pub at: DateTime<Utc>,
    /// The SHA-256 of the file, in hexadecimal digits.
    pub sha256: String,
}

struct Row {
    id: Uuid,
    title: String,
    workflow: String,
    version: i32,
    state: i16,
    created_at: DateTime<Utc>,
    finished_at: DateTime<Utc>,
    archived_at: DateTime<Utc>,
    location: String,
    digest: Vec<u8>,
}

impl Row {
    fn into_object(self) -> sqlx::Result<ArchivedObject> {
        let status = SessionState::from_code(self.state)
            .ok_or_else(|| unknown_code("state of a session", self.state))?;
        let sha256 = self.digest.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        Ok(ArchivedObject {
            id: SessionId(self.id),
            title: self.title,
            workflow: WorkflowName { name: self.workflow, version: self.version },
            status,
            created_at: self.created_at,
            finished_at: self.finished_at,
            archived: Archived { location: self.location, at: self.archived_at, sha256 },
        })
    }
}

impl Views {
    /// Archived sessions, newest first.
    pub async fn archived(
        &self,
        cursor: Option<&str>,
        limit: Option<i64>,
    ) -> Result<Page<ArchivedObject>, ReadError> {
        let before = cursor.map(from_cursor).transpose()?.map_or(Uuid::max(), Uuid::from_bytes);
        let read = rows_to_read(limit);
        let mut rows = sqlx::query_as!(
            Row,
            "select id, title, workflow, version, state, created_at, finished_at, archived_at,
                    location, digest
               from archived_sessions
              where tenant_id = $1 and id < $2 and not deleted
              order by id desc
              limit $3",
            self.tenant.0,
            before,
            read
        )
        .fetch_all(&self.db)
        .await?;
        let more = cut(&mut rows, read);
        let next = if more { rows.last().map(|row| to_cursor(row.id.as_bytes())) } else { None };
        let items: sqlx::Result<Vec<_>> = rows.into_iter().map(Row::into_object).collect();
        Ok(Page { items: items?, next })
    }

    /// Archived sessions whose id, dashes left out, ends like this: a few at most.
    pub(super) async fn archived_ending_with(
        &self,
        tail: &str,
    ) -> Result<Vec<ArchivedObject>, ReadError> {
        let rows = sqlx::query_as!(
            Row,
            "select id, title, workflow, version, state, created_at, finished_at, archived_at,
                    location, digest
               from archived_sessions
              where tenant_id = $1
                and right(id::text, 6) = right($2, 6)
                and right(replace(id::text, '-', ''), length($2)) = $2
                and not deleted
              order by id desc
              limit 4",
            self.tenant.0,
            tail
        )
        .fetch_all(&self.db)
        .await?;
        let objects: sqlx::Result<Vec<_>> = rows.into_iter().map(Row::into_object).collect();
        Ok(objects?)
    }

    /// What was read of a session that was there a moment ago; it may have been archived meanwhile.
    pub(super) async fn unless_gone<T>(
        &self,
        session: SessionKey,
        read: Option<T>,
    ) -> Result<T, ReadError> {
        let id = session.id.0;
        match read {
            Some(read) => Ok(read),
            None => Err(self.absent(&id.to_string(), &id.simple().to_string()).await?),
        }
    }

    /// What is said of a session that is not in the tables: it was archived, or never was.
    pub(super) async fn absent(&self, given: &str, tail: &str) -> Result<ReadError, ReadError> {
        let mut archived = self.archived_ending_with(tail).await?;
        Ok(match (archived.pop(), archived.is_empty()) {
            (Some(only), true) => ReadError::Archived(Box::new(only)),
            (Some(one), false) => ReadError::AmbiguousSession {
                given: given.to_owned(),
                candidates: archived.iter().chain([&one]).map(|it| it.id.to_string()).collect(),
            },
            (None, _) => ReadError::NoSession(given.to_owned()),
        })
    }
}
