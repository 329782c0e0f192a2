//! Live workers as the agents they are, for the list of agents.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::view::{Page, ReadError, Views, cut, from_cursor, rows_to_read, to_cursor};

/// An agent: so far each is a live worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct AgentObject {
    pub id: Uuid,
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
    /// What it offers; `*` stands for every capability.
    pub capabilities: Vec<String>,
    /// How many attempts it runs at once.
    pub capacity: i32,
    pub host: String,
    pub pid: i32,
    pub version: String,
    pub started_at: DateTime<Utc>,
    pub lease_until: DateTime<Utc>,
}

impl Views {
    /// Workers whose lease holds, oldest first.
    pub async fn agents(
        &self,
        cursor: Option<&str>,
        limit: Option<i64>,
    ) -> Result<Page<AgentObject>, ReadError> {
        let after = cursor.map(from_cursor).transpose()?.map(Uuid::from_bytes);
        let read = rows_to_read(limit);
        let mut items = sqlx::query_as!(
            AgentObject,
            r#"select id, name, 'worker' as "kind!", capabilities, concurrency as capacity,
                      host, pid, version, started_at, lease_until
                 from workers
                where ended_at is null and lease_until > (select clock())
                  and ($1::uuid is null or id > $1)
                order by id
                limit $2"#,
            after,
            read,
        )
        .fetch_all(&self.db)
        .await?;
        let more = cut(&mut items, read);
        let next =
            if more { items.last().map(|agent| to_cursor(agent.id.as_bytes())) } else { None };
        Ok(Page { items, next })
    }
}
