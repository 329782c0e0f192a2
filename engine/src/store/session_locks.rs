//! Several sessions locked at once, in the order in which everybody does it.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::id::TaskKey;

/// Locks the sessions of these rows until the end of the transaction.
pub(super) async fn lock_of(
    conn: &mut PgConnection,
    rows: impl Iterator<Item = TaskKey>,
) -> sqlx::Result<()> {
    let (tenants, sessions): (Vec<Uuid>, Vec<Uuid>) =
        rows.map(|row| (row.session.tenant.0, row.session.id.0)).unzip();
    sqlx::query!(
        "select from session_progress p
          where (p.tenant_id, p.session_id) in (select * from unnest($1::uuid[], $2::uuid[]))
          order by p.tenant_id, p.session_id
            for no key update",
        &tenants,
        &sessions
    )
    .execute(conn)
    .await
    .map(|_| ())
}
