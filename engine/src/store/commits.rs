//! Which sessions' commits nobody goes on with: those that were archived, and whose commits no session
//! that is kept was forked off. It does not know where the commits are.

use sqlx::PgPool;
use uuid::Uuid;

use crate::id::SessionId;

/// Whether anything was ever archived here.
pub async fn is_any_archived(db: &PgPool) -> sqlx::Result<bool> {
    sqlx::query_scalar!(r#"select exists (select from archived_sessions) as "exists!""#)
        .fetch_one(db)
        .await
}

/// Those of these sessions that were archived and whose commits nobody goes on with: neither they nor a
/// session whose task they were is the origin of a fork that is kept, or of a fork of such a fork.
pub async fn unneeded(db: &PgPool, sessions: &[SessionId]) -> sqlx::Result<Vec<SessionId>> {
    let ids: Vec<Uuid> = sessions.iter().map(|it| it.0).collect();
    let found = sqlx::query_scalar!(
        r#"with recursive origins as (
               select s.tenant_id, s.forked_from as id
                 from sessions s
                where s.forked_from is not null
                union
               select a.tenant_id, a.forked_from
                 from origins o
                 join archived_sessions a on a.tenant_id = o.tenant_id and a.id = o.id
                where a.forked_from is not null
           ), above as (
               select a.id as session_id, a.tenant_id, a.id, a.parent_id
                 from tenants t
                cross join unnest($1::uuid[]) c (id)
                 join archived_sessions a on a.tenant_id = t.tenant_id and a.id = c.id
                union
               select b.session_id, a.tenant_id, a.id, a.parent_id
                 from above b
                 join archived_sessions a on a.tenant_id = b.tenant_id and a.id = b.parent_id
           )
           select b.session_id as "session_id!"
             from above b
            group by b.session_id
           having not bool_or(exists (select from origins o
                                       where o.tenant_id = b.tenant_id and o.id = b.id))"#,
        &ids
    )
    .fetch_all(db)
    .await?;
    Ok(found.into_iter().map(SessionId).collect())
}
