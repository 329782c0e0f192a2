//! The checkpoints of a session as users see them.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::view::{ReadError, Views};
use crate::{
    checkpoint::{Cause, Spend},
    id::SessionKey,
};

/// A recovery point of an agent's turn.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct CheckpointObject {
    /// From 1 in its session.
    pub number: i32,
    /// The key of the task.
    pub task: String,
    pub attempt: i32,
    pub at: DateTime<Utc>,
    /// The number of the event that tells of it: those before say how every task stood.
    pub event: i32,
    pub cause: Cause,
    pub runtime: String,
    /// The agent's own name of the conversation.
    pub conversation: String,
    /// The workspace; null where it is no clone.
    #[schema(required)]
    pub commit: Option<String>,
    #[schema(required)]
    pub base: Option<String>,
    pub spend: Spend,
}

/// A session keeps 100, and the last of each task.
const ITEMS_MAX: i64 = 10_000;

impl Views {
    /// The checkpoints of a session, or of one of its tasks, oldest first.
    pub async fn checkpoints(
        &self,
        session: SessionKey,
        task: Option<i32>,
    ) -> Result<Vec<CheckpointObject>, ReadError> {
        let rows = sqlx::query!(
            "select number, seq, attempt, at, event, cause, runtime, conversation, commit_id,
                    base_id, spend
               from checkpoints
              where tenant_id = $1 and session_id = $2 and ($3::int is null or seq = $3)
              order by number
              limit $4",
            session.tenant.0,
            session.id.0,
            task,
            ITEMS_MAX,
        )
        .fetch_all(&self.db)
        .await?;
        let plan = &self.version_of(session).await?.plan;
        let paths = self.paths(session, plan, rows.iter().map(|row| row.seq), []).await?;
        let items = rows.into_iter().map(|row| CheckpointObject {
            number: row.number,
            task: paths.path(plan, row.seq).unwrap_or_default(),
            attempt: row.attempt,
            at: row.at,
            event: row.event,
            cause: Cause::from_code(row.cause).unwrap_or(Cause::Step),
            runtime: row.runtime,
            conversation: row.conversation,
            commit: row.commit_id,
            base: row.base_id,
            spend: serde_json::from_value(row.spend).unwrap_or_default(),
        });
        Ok(items.collect())
    }
}
