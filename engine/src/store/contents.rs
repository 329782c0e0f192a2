//! Contents that nobody names any more, and their removal. Whoever lets go of a content notes it; after a
//! while, if nothing names it by then, it is marked, removed from its place, and the mark stays for a
//! day. Who keeps a file finds such a mark and stores the content once more, so that a name never
//! stands for what has just been removed. This does not know what the contents are.

use std::time::Duration;

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::{Store, objects::ContentId};
use crate::id::TenantId;

/// How long a content stays that nothing names: longer than a file takes from being stored to being
/// named.
const SPARED_SECS: f64 = 3_600.0;
/// After so long another process goes on with a removal.
const TAKEN_OVER_SECS: f64 = 300.0;
/// How long a removal is remembered.
const REMEMBERED_SECS: f64 = 86_400.0;
/// Contents that are removed in one turn.
const BATCH: i64 = 100;
/// How long the removal of one may take.
const REMOVAL_LIMIT: Duration = Duration::from_mins(1);

/// What came of naming contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    Done,
    /// The attempt has lost its fence.
    Lost,
    /// Some are just being removed: nothing is named, and another look says more.
    Busy,
    /// Some were removed: nothing is named, and they have to be stored again.
    StoreAgain,
}

/// Notes that something which named these is gone.
pub(super) async fn let_go(
    tx: &mut PgConnection,
    tenant: TenantId,
    contents: &[ContentId],
) -> sqlx::Result<()> {
    let digests: Vec<&[u8]> = contents.iter().map(|it| &it[..]).collect();
    sqlx::query!(
        "insert into loose_contents as l (tenant_id, sha256, since, state)
         select distinct $1::uuid, d, clock(), 0 from unnest($2::bytea[]) d order by d
             on conflict (tenant_id, sha256) do update set since = clock() where l.state = 0",
        tenant.0,
        &digests as _,
    )
    .execute(tx)
    .await
    .map(drop)
}

/// Makes sure that these contents are where they should be when they are named in the same transaction,
/// which they may be where this is [`Naming::Done`]. `is_again` says that they were stored after
/// [`Naming::StoreAgain`] was the answer.
pub(super) async fn hold(
    tx: &mut PgConnection,
    tenant: TenantId,
    contents: &[ContentId],
    is_again: bool,
) -> sqlx::Result<Naming> {
    let digests: Vec<&[u8]> = contents.iter().map(|it| &it[..]).collect();
    let found = sqlx::query_scalar!(
        "select state from loose_contents
          where tenant_id = $1 and sha256 = any($2)
          order by sha256
            for update",
        tenant.0,
        &digests as _,
    )
    .fetch_all(&mut *tx)
    .await?;
    if found.contains(&1) {
        return Ok(Naming::Busy);
    }
    if found.contains(&2) && !is_again {
        return Ok(Naming::StoreAgain);
    }
    if !found.is_empty() {
        sqlx::query!(
            "delete from loose_contents where tenant_id = $1 and sha256 = any($2)",
            tenant.0,
            &digests as _,
        )
        .execute(tx)
        .await?;
    }
    Ok(Naming::Done)
}

/// Removes a batch of contents that nothing names. Returns how many; 0 where this process has no place
/// for contents.
pub async fn remove(store: &Store) -> sqlx::Result<u64> {
    let Some(objects) = &store.objects else { return Ok(0) };
    let marked = mark(&store.pool).await?;
    let mut removed = 0;
    for (tenant, content) in marked {
        let removing = objects.remove(TenantId(tenant), &content);
        match tokio::time::timeout(REMOVAL_LIMIT, removing).await {
            Ok(Ok(())) => removed += forget(&store.pool, tenant, &content).await?,
            // It stays marked, and is tried again.
            Ok(Err(error)) => tracing::warn!(%error, "a content that nothing names stays"),
            Err(_) => tracing::warn!("the place for artifacts is slow; a content stays for now"),
        }
    }
    Ok(removed)
}

/// Marks a batch that nothing names, with what another process left marked.
async fn mark(db: &PgPool) -> sqlx::Result<Vec<(Uuid, ContentId)>> {
    let mut tx = db.begin().await?;
    let due = sqlx::query!(
        "select tenant_id, sha256, state from loose_contents
          where (state = 0 and since < clock() - $1 * interval '1 second')
             or (state = 1 and since < clock() - $2 * interval '1 second')
          order by tenant_id, sha256
          limit $3
            for update skip locked",
        SPARED_SECS,
        TAKEN_OVER_SECS,
        BATCH,
    )
    .fetch_all(&mut *tx)
    .await?;
    let tenants: Vec<Uuid> = due.iter().map(|it| it.tenant_id).collect();
    let digests: Vec<Vec<u8>> = due.into_iter().map(|it| it.sha256).collect();
    // A new statement: what was named before the rows were locked is seen.
    sqlx::query!(
        "delete from loose_contents l
          using unnest($1::uuid[], $2::bytea[]) d (tenant_id, sha256)
          where l.tenant_id = d.tenant_id and l.sha256 = d.sha256 and l.state = 0
            and (exists (select from artifacts a
                          where a.tenant_id = d.tenant_id and a.sha256 = d.sha256)
                 or exists (select from diffs f
                             where f.tenant_id = d.tenant_id and f.patch_sha256 = d.sha256))",
        &tenants,
        &digests,
    )
    .execute(&mut *tx)
    .await?;
    let marked = sqlx::query!(
        "update loose_contents l set state = 1, since = clock()
           from unnest($1::uuid[], $2::bytea[]) d (tenant_id, sha256)
          where l.tenant_id = d.tenant_id and l.sha256 = d.sha256
        returning l.tenant_id, l.sha256",
        &tenants,
        &digests,
    )
    .fetch_all(&mut *tx)
    .await?;
    // Whoever finds that it was removed by then has stored it again already.
    sqlx::query!(
        "delete from loose_contents l
          using (select tenant_id, sha256 from loose_contents
                  where state = 2 and since < clock() - $1 * interval '1 second'
                  limit $2
                    for update skip locked) o
          where l.tenant_id = o.tenant_id and l.sha256 = o.sha256",
        REMEMBERED_SECS,
        BATCH,
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    let marked =
        marked.into_iter().filter_map(|it| Some((it.tenant_id, it.sha256.try_into().ok()?)));
    Ok(marked.collect())
}

async fn forget(db: &PgPool, tenant: Uuid, content: &ContentId) -> sqlx::Result<u64> {
    let done = sqlx::query!(
        "update loose_contents set state = 2, since = clock()
          where tenant_id = $1 and sha256 = $2 and state = 1",
        tenant,
        &content[..],
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}
