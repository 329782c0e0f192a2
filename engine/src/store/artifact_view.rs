//! Files that tasks left, as users see them.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    objects::{ContentId, hex},
    view::{Page, ReadError, Views, bytes_of_cursor, cut, rows_to_read, to_cursor},
};
use crate::id::SessionKey;

/// A file of a task's workspace, kept when an attempt ended.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ArtifactObject {
    /// The key of the task.
    pub task: String,
    pub attempt: i32,
    /// In the workspace.
    pub path: String,
    pub bytes: i64,
    /// Of the content, by which it is asked for.
    pub sha256: String,
    pub at: DateTime<Utc>,
}

/// Which of them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted<'a> {
    /// The key of a task.
    pub task: Option<&'a str>,
    pub path: Option<&'a str>,
    pub cursor: Option<&'a str>,
    pub limit: Option<i64>,
}

struct Row {
    seq: i32,
    attempt: i32,
    worker: Uuid,
    path: String,
    bytes: i64,
    sha256: Vec<u8>,
    at: DateTime<Utc>,
}

/// After which row a page begins.
struct Place {
    seq: i32,
    attempt: i32,
    worker: Uuid,
    path: String,
}

impl Views {
    /// The artifacts of a session in the order of tasks, attempts and paths.
    pub async fn artifacts(
        &self,
        session: SessionKey,
        wanted: Wanted<'_>,
    ) -> Result<Page<ArtifactObject>, ReadError> {
        let only = match wanted.task {
            Some(key) => Some(self.find_task(session, key).await?),
            None => None,
        };
        let after = wanted.cursor.map(Place::read).transpose()?.unwrap_or(Place {
            seq: -1,
            attempt: 0,
            worker: Uuid::nil(),
            path: String::new(),
        });
        let read = rows_to_read(wanted.limit);
        let mut rows = sqlx::query_as!(
            Row,
            "select seq, attempt, worker, path, bytes, sha256, at
               from artifacts
              where tenant_id = $1 and session_id = $2
                and ($3::int is null or seq = $3)
                and ($4::text is null or path = $4)
                and (seq, attempt, worker, path) > ($5, $6, $7, $8)
              order by seq, attempt, worker, path
              limit $9",
            session.tenant.0,
            session.id.0,
            only as _,
            wanted.path as _,
            after.seq,
            after.attempt,
            after.worker,
            after.path,
            read,
        )
        .fetch_all(&self.db)
        .await?;
        let more = cut(&mut rows, read);
        let next = rows.last().filter(|_| more).map(Row::cursor);
        let plan = &self.version_of(session).await?.plan;
        let paths = self.paths(session, plan, rows.iter().map(|row| row.seq), []).await?;
        let items = rows.into_iter().map(|row| ArtifactObject {
            task: paths.path(plan, row.seq).unwrap_or_default(),
            attempt: row.attempt,
            path: row.path,
            bytes: row.bytes,
            sha256: hex(&row.sha256),
            at: row.at,
        });
        Ok(Page { items: items.collect(), next })
    }

    /// The name and size of a content that a task of this session left, if one did.
    pub async fn artifact_of(
        &self,
        session: SessionKey,
        content: &ContentId,
    ) -> Result<Option<(String, i64)>, ReadError> {
        let found = sqlx::query!(
            "select path, bytes
               from artifacts
              where tenant_id = $1 and session_id = $2 and sha256 = $3
              order by seq, attempt, worker, path
              limit 1",
            session.tenant.0,
            session.id.0,
            &content[..],
        )
        .fetch_optional(&self.db)
        .await?;
        Ok(found.map(|row| (row.path, row.bytes)))
    }
}

impl Row {
    fn cursor(&self) -> String {
        let mut bytes = [self.seq, self.attempt].map(i32::to_be_bytes).concat();
        bytes.extend(self.worker.as_bytes());
        bytes.extend(self.path.as_bytes());
        to_cursor(&bytes)
    }
}

impl Place {
    fn read(cursor: &str) -> Result<Self, ReadError> {
        let bytes = bytes_of_cursor(cursor)?;
        let (seq, rest) = bytes.split_first_chunk().ok_or(ReadError::BadCursor)?;
        let (attempt, rest) = rest.split_first_chunk().ok_or(ReadError::BadCursor)?;
        let (worker, path) = rest.split_first_chunk().ok_or(ReadError::BadCursor)?;
        Ok(Self {
            seq: i32::from_be_bytes(*seq),
            attempt: i32::from_be_bytes(*attempt),
            worker: Uuid::from_bytes(*worker),
            path: String::from_utf8(path.to_vec()).map_err(|_| ReadError::BadCursor)?,
        })
    }
}
