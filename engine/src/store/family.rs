//! A session with its children and theirs, for workers that serve one session alone.

use sqlx::PgPool;

use crate::id::SessionId;

/// A session of the family that has a task ready; the head of it where none has.
pub async fn with_ready(db: &PgPool, head: SessionId) -> sqlx::Result<SessionId> {
    let found = sqlx::query_scalar!(
        r#"with recursive family as (
               select s.tenant_id, s.id
                 from tenants x
                 join sessions s on s.tenant_id = x.tenant_id and s.id = $1
                union all
               select s.tenant_id, s.id
                 from family f
                 join sessions s on s.tenant_id = f.tenant_id and s.parent_id = f.id
           )
           select f.id as "id!"
             from family f
            where exists (select from tasks t
                           where t.tenant_id = f.tenant_id and t.session_id = f.id
                             and t.queued and t.state = 1)
            limit 1"#,
        head.0
    )
    .fetch_optional(db)
    .await?;
    Ok(found.map_or(head, SessionId))
}
