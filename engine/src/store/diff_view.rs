//! What tasks changed, as users see it.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::types::Json;
use utoipa::ToSchema;

use super::{
    objects::ContentId,
    view::{ReadError, Views},
};
use crate::{
    diff::{self, FileChange, Stat, Step},
    id::{SessionId, SessionKey},
};

/// What a session, or one of its tasks, changed.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct DiffObject {
    #[schema(value_type = Uuid)]
    pub session_id: SessionId,
    /// The key of the task; null for the whole session.
    #[schema(required)]
    pub task: Option<String>,
    /// Of all changes.
    pub stat: Stat,
    /// In the order of the tasks. What a merge took in is told by the merge alone.
    pub changes: Vec<ChangeObject>,
}

/// What one task changed: the last attempt at it that changed something.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ChangeObject {
    /// The key of the task.
    pub task: String,
    pub attempt: i32,
    pub at: DateTime<Utc>,
    pub repo: String,
    pub base: String,
    pub commit: String,
    pub stat: Stat,
    /// At most 5000 of them.
    pub files: Vec<FileChange>,
    /// The size of the patch; null where it is not kept.
    #[schema(required)]
    pub patch_bytes: Option<i64>,
    #[serde(skip)]
    #[schema(ignore)]
    pub patch: Option<ContentId>,
}

struct Row {
    seq: i32,
    attempt: i32,
    at: DateTime<Utc>,
    repo: String,
    base_id: String,
    commit_id: String,
    merged: Vec<String>,
    stat: Json<Stat>,
    files: Json<Vec<FileChange>>,
    patch_sha256: Option<Vec<u8>>,
    patch_bytes: Option<i64>,
}

/// Tasks of which changes are shown.
const TASKS_MAX: i64 = 1_000;

impl Views {
    /// What a session, or the task with this key, changed.
    pub async fn diff(
        &self,
        session: SessionKey,
        task: Option<&str>,
    ) -> Result<DiffObject, ReadError> {
        let only = match task {
            Some(key) => Some(self.find_task(session, key).await?),
            None => None,
        };
        let mut rows = self.diff_rows(session, only).await?;
        if only.is_none() {
            let steps: Vec<Step<'_>> = rows.iter().map(Row::step).collect();
            let whole = diff::whole(&steps);
            let mut index = 0;
            rows.retain(|_| {
                index += 1;
                whole.binary_search(&(index - 1)).is_ok()
            });
        }
        let plan = &self.version_of(session).await?.plan;
        let paths = self.paths(session, plan, rows.iter().map(|row| row.seq), []).await?;
        let changes: Vec<ChangeObject> = rows
            .into_iter()
            .map(|row| {
                let task = paths.path(plan, row.seq).unwrap_or_default();
                row.into_object(task)
            })
            .collect();
        let stat = changes.iter().fold(Stat::default(), |sum, change| sum.and(change.stat));
        Ok(DiffObject { session_id: session.id, task: task.map(str::to_owned), stat, changes })
    }

    async fn diff_rows(&self, session: SessionKey, seq: Option<i32>) -> sqlx::Result<Vec<Row>> {
        sqlx::query_as!(
            Row,
            r#"select distinct on (seq)
                      seq, attempt, at, repo, base_id, commit_id, merged,
                      stat as "stat: Json<Stat>", files as "files: Json<Vec<FileChange>>",
                      patch_sha256, patch_bytes
                 from diffs
                where tenant_id = $1 and session_id = $2 and ($3::int is null or seq = $3)
                order by seq, attempt desc, at desc
                limit $4"#,
            session.tenant.0,
            session.id.0,
            seq as _,
            TASKS_MAX,
        )
        .fetch_all(&self.db)
        .await
    }
}

impl Row {
    fn step(&self) -> Step<'_> {
        Step { base: &self.base_id, commit: &self.commit_id, merged: &self.merged }
    }

    fn into_object(self, task: String) -> ChangeObject {
        ChangeObject {
            task,
            attempt: self.attempt,
            at: self.at,
            repo: self.repo,
            base: self.base_id,
            commit: self.commit_id,
            stat: self.stat.0,
            files: self.files.0,
            patch_bytes: self.patch_bytes,
            patch: self.patch_sha256.and_then(|id| id.try_into().ok()),
        }
    }
}
