//! The conflicts of a session as users see them.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::view::{ReadError, Views};
use crate::id::SessionKey;

/// Two changes that cannot be merged, as of the last look at either.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ConflictObject {
    /// The key of the task whose changes they are.
    pub task: String,
    pub commit: String,
    /// The key of the other task; null where it is a branch.
    #[schema(required)]
    pub with: Option<String>,
    #[schema(required)]
    pub branch: Option<String>,
    /// The commit of the other task or of the branch.
    pub other_commit: String,
    pub files: Vec<String>,
    pub at: DateTime<Utc>,
}

/// A session has so many that are shown.
const ITEMS_MAX: i64 = 1_000;

impl Views {
    /// The conflicts of a session, or of one of its tasks.
    pub async fn conflicts(
        &self,
        session: SessionKey,
        task: Option<i32>,
    ) -> Result<Vec<ConflictObject>, ReadError> {
        let rows = sqlx::query!(
            "select low_seq, high_seq, branch, low_commit, high_commit, files, at
               from conflicts
              where tenant_id = $1 and session_id = $2
                and ($3::int is null or $3 in (low_seq, high_seq))
              order by low_seq, high_seq
              limit $4",
            session.tenant.0,
            session.id.0,
            task as _,
            ITEMS_MAX,
        )
        .fetch_all(&self.db)
        .await?;
        let plan = &self.version_of(session).await?.plan;
        let seqs = rows.iter().flat_map(|row| [row.low_seq, row.high_seq]).filter(|seq| *seq > 0);
        let paths = self.paths(session, plan, seqs, []).await?;
        let key = |seq: i32| paths.path(plan, seq).unwrap_or_default();
        let items = rows.into_iter().map(|row| ConflictObject {
            task: key(row.high_seq),
            commit: row.high_commit,
            with: (row.low_seq > 0).then(|| key(row.low_seq)),
            branch: row.branch,
            other_commit: row.low_commit,
            files: row.files,
            at: row.at,
        });
        Ok(items.collect())
    }
}
