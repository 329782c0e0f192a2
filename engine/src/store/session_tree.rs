//! A session with the sessions that its tasks are, at any depth.

use std::collections::HashMap;

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::view::{ReadError, Views, unknown_code};
use crate::{
    id::{SessionId, SessionKey},
    session::SessionState,
};

/// A session in a tree.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct TreeObject {
    #[schema(value_type = Uuid)]
    pub id: SessionId,
    pub title: String,
    /// The name of its workflow.
    pub workflow: String,
    pub status: SessionState,
    /// The key of the task that it is in the session above.
    #[schema(required)]
    pub task: Option<String>,
    /// The sessions that its tasks are, in the order of their creation.
    #[schema(no_recursion)]
    pub children: Vec<TreeObject>,
}

/// Sessions of a tree that are shown at most.
const SESSIONS_MAX: i64 = 1_000;

struct Found {
    id: Uuid,
    title: String,
    workflow: String,
    state: i16,
    parent_id: Option<Uuid>,
    parent_seq: Option<i32>,
}

impl Views {
    /// The session and everything below it.
    pub async fn tree(&self, session: SessionKey) -> Result<TreeObject, ReadError> {
        let found = sqlx::query_as!(
            Found,
            r#"with recursive tree as (
                   select s.id, null::uuid as parent_id
                     from sessions s where s.tenant_id = $1 and s.id = $2
                    union all
                   select s.id, s.parent_id
                     from tree t
                     join sessions s on s.tenant_id = $1 and s.parent_id = t.id
               )
               select s.id, s.title, v.name as workflow, p.state, t.parent_id as "parent_id?",
                      c.parent_seq as "parent_seq?"
                 from tree t
                 join sessions s on s.tenant_id = $1 and s.id = t.id
                 join session_progress p on p.tenant_id = $1 and p.session_id = t.id
                 join workflow_versions v on v.tenant_id = $1 and v.id = s.version_id
                 left join child_sessions c on c.tenant_id = $1 and c.parent_id = t.parent_id
                                           and c.child_id = t.id
                where s.deleted_at is null or t.parent_id is null
                order by s.id
                limit $3"#,
            session.tenant.0,
            session.id.0,
            SESSIONS_MAX,
        )
        .fetch_all(&self.db)
        .await?;
        let mut below: HashMap<Option<Uuid>, Vec<Found>> = HashMap::new();
        for row in found {
            below.entry(row.parent_id).or_default().push(row);
        }
        let root = below.remove(&None).and_then(|mut roots| roots.pop());
        let root = self.unless_gone(session, root).await?;
        self.grown(session, root, &mut below).await
    }

    /// The tree of a row. Sessions stand in each other a few deep at most.
    async fn grown(
        &self,
        above: SessionKey,
        row: Found,
        below: &mut HashMap<Option<Uuid>, Vec<Found>>,
    ) -> Result<TreeObject, ReadError> {
        let key = SessionKey { tenant: above.tenant, id: SessionId(row.id) };
        let task = match row.parent_seq {
            Some(seq) => {
                let version = self.version_of(above).await?;
                self.paths(above, &version.plan, [seq], []).await?.path(&version.plan, seq)
            }
            None => None,
        };
        let mut children = Vec::new();
        for child in below.remove(&Some(row.id)).unwrap_or_default() {
            children.push(Box::pin(self.grown(key, child, below)).await?);
        }
        Ok(TreeObject {
            id: key.id,
            title: row.title,
            workflow: row.workflow,
            status: SessionState::from_code(row.state)
                .ok_or_else(|| unknown_code("state of a session", row.state))?,
            task,
            children,
        })
    }
}
