//! What comes free reaches those who wait for it: slices tell what they spent, and give back what they
//! do not need, when somebody else in their tree waits, and when their session is over.

use std::collections::HashSet;

use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    FREED, LOOK, SESSION,
    granting::{Places, books, lock, path, put_back},
    load, mark, save,
    settling::settle_left,
};
use crate::{
    id::{SessionId, SessionKey, TaskKey, TenantId},
    store::{Hint, Store},
};

/// Rows and sessions that are looked at in one turn.
const BATCH: i64 = 500;

/// Slices of the tree that have something to tell or to give back do so.
pub(super) async fn wake_idle(store: &Store, key: SessionKey) -> sqlx::Result<()> {
    let idle = sqlx::query_scalar!(
        "select b.session_id
           from budgets b
          where b.tenant_id = $1 and b.session_id <> $2 and b.seq = 0 and b.due < $3
            and b.root_id = (select o.root_id from budgets o
                              where o.tenant_id = $1 and o.session_id = $2 and o.seq = 0)
            and b.credit is not null
            and (b.spent <> b.told or b.credit <> b.reserved)
          limit 1000",
        key.tenant.0,
        key.id.0,
        FREED
    )
    .fetch_all(&store.pool)
    .await?;
    wake(store, key, idle, FREED).await
}

/// What waits elsewhere in the tree is looked at again.
pub(super) async fn wake_others(store: &Store, key: SessionKey) -> sqlx::Result<()> {
    let others = sqlx::query_scalar!(
        "select distinct r.session_id
           from reservations r
          where r.tenant_id = $1 and not r.held and r.session_id <> $2
            and r.root_id = (select o.root_id from budgets o
                              where o.tenant_id = $1 and o.session_id = $2 and o.seq = 0)
          limit 1000",
        key.tenant.0,
        key.id.0
    )
    .fetch_all(&store.pool)
    .await?;
    wake(store, key, others, LOOK).await
}

async fn wake(store: &Store, key: SessionKey, ids: Vec<Uuid>, due: i16) -> sqlx::Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let session = |id| SessionKey { tenant: key.tenant, id: SessionId(id) };
    let keys: Vec<SessionKey> = ids.into_iter().map(session).collect();
    let mut conn = store.pool.acquire().await?;
    mark(&mut conn, &keys, due).await.map(|_| ())
}

/// A slice tells what it has spent, once it is over or somebody else waits, and gives back the rest.
pub(super) async fn tell(store: &Store, key: SessionKey, is_over: bool) -> sqlx::Result<()> {
    let mut tx = store.pool.begin().await?;
    let mut path = path(&mut tx, key, true).await?;
    path.truncate(1);
    let Some(above) = path.first() else { return Ok(()) };
    if !is_over && !has_others(&mut tx, key).await? {
        return Ok(());
    }
    let upper = above.session;
    lock(&mut tx, &[key, upper], key).await?;
    let places: Places =
        vec![vec![(key, SESSION)], above.seqs.iter().map(|seq| (upper, *seq)).collect()];
    let wanted: Vec<(SessionKey, i32)> = places.concat();
    let before = load(&mut tx, &wanted).await?;
    let mut now = before.clone();
    let mut books = books(&now, &places);
    if !books.tell(false) {
        return Ok(());
    }
    put_back(&mut now, &places, books);
    save(&mut tx, &before, &now).await?;
    mark(&mut tx, &[upper], FREED).await?;
    tx.commit().await?;
    store.hints.send(Hint::Undecided);
    Ok(())
}

/// Whether anybody in the tree waits.
async fn has_others(tx: &mut PgConnection, key: SessionKey) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"select exists (select from reservations r
                           where r.tenant_id = $1 and not r.held
                             and r.root_id = (select o.root_id from budgets o
                                               where o.tenant_id = $1 and o.session_id = $2
                                                 and o.seq = 0)) as "waits!""#,
        key.tenant.0,
        key.id.0
    )
    .fetch_one(tx)
    .await
}

/// Settles what belongs to rows that have ended without it, of which there should be none, and has
/// everything that waits looked at again. Returns how many rows were left.
pub(in crate::store) async fn find_left(store: &Store) -> sqlx::Result<usize> {
    let rows = sqlx::query!(
        "select r.tenant_id, r.session_id, r.seq
           from reservations r
           left join tasks t on t.tenant_id = r.tenant_id and t.session_id = r.session_id
                            and t.seq = r.seq
          where t.state is null or t.state >= 6
             or (r.held and (t.state = 4 or r.attempt = t.last_attempt))
          order by r.tenant_id, r.session_id, r.seq
          limit $1",
        BATCH
    )
    .fetch_all(&store.pool)
    .await?;
    let task = |tenant, session, seq| TaskKey {
        session: SessionKey { tenant: TenantId(tenant), id: SessionId(session) },
        seq,
    };
    let left: Vec<TaskKey> =
        rows.into_iter().map(|row| task(row.tenant_id, row.session_id, row.seq)).collect();
    if !left.is_empty() {
        tracing::warn!(rows = left.len(), "attempts had ended without their budgets");
        let mut tx = store.pool.begin().await?;
        settle_left(&mut tx, &left).await?;
        tx.commit().await?;
    }
    let waiting = sqlx::query!(
        "select distinct tenant_id, session_id from reservations where not held limit 1000"
    )
    .fetch_all(&store.pool)
    .await?;
    let keys: HashSet<SessionKey> =
        waiting.into_iter().map(|row| task(row.tenant_id, row.session_id, 0).session).collect();
    if !keys.is_empty() {
        let keys: Vec<SessionKey> = keys.into_iter().collect();
        let mut conn = store.pool.acquire().await?;
        mark(&mut conn, &keys, LOOK).await?;
    }
    Ok(left.len())
}
