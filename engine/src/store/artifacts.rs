//! Files that attempts left: which they are. Their contents are in [`super::objects`].

use serde_json::json;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::{
    Store,
    contents::{self, Naming},
    events::{self, Entry},
    held,
    objects::ContentId,
};
use crate::{
    event::EventKind,
    id::{Fence, SessionKey, TenantId},
};

/// A file whose content is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewArtifact {
    /// In the workspace.
    pub path: String,
    pub bytes: u64,
    pub sha256: ContentId,
}

/// Keeps which files an attempt left, with an event, in one transaction, unless the attempt has lost its
/// fence, or their contents have to be stored again; `is_again` says that this was done. Said twice, it
/// is kept once.
pub async fn keep(
    store: &Store,
    fence: Fence,
    files: &[NewArtifact],
    is_again: bool,
) -> sqlx::Result<Naming> {
    let key = fence.task.session;
    let contents: Vec<ContentId> = files.iter().map(|it| it.sha256).collect();
    let mut tx = store.pool.begin().await?;
    if !held::is_held(&mut tx, fence).await? {
        // They were stored for nothing.
        contents::let_go(&mut tx, key.tenant, &contents).await?;
        tx.commit().await?;
        return Ok(Naming::Lost);
    }
    let held = contents::hold(&mut tx, key.tenant, &contents, is_again).await?;
    if held != Naming::Done {
        return Ok(held);
    }
    let paths: Vec<&str> = files.iter().map(|it| it.path.as_str()).collect();
    let sizes: Vec<i64> = files.iter().map(|it| it.bytes.cast_signed()).collect();
    let digests: Vec<&[u8]> = files.iter().map(|it| &it.sha256[..]).collect();
    let kept = sqlx::query!(
        "insert into artifacts (tenant_id, session_id, seq, attempt, worker, path, bytes, sha256, at)
         select $1, $2, $3, $4, $5, f.path, f.bytes, f.sha256, clock()
           from unnest($6::text[], $7::bigint[], $8::bytea[]) f (path, bytes, sha256)
             on conflict do nothing",
        key.tenant.0,
        key.id.0,
        fence.task.seq,
        fence.attempt,
        fence.worker.0,
        &paths as _,
        &sizes,
        &digests as _,
    )
    .execute(&mut *tx)
    .await?;
    if kept.rows_affected() == 0 {
        return Ok(Naming::Done);
    }
    let body = json!({ "files": files.len(), "bytes": sizes.iter().sum::<i64>() });
    let event = Entry {
        attempt: Some(fence.attempt),
        ..Entry::of_task(EventKind::ArtifactStored, fence.task.seq, body)
    };
    events::append(&mut tx, key, &[event], None).await?;
    tx.commit().await?;
    Ok(Naming::Done)
}

/// A fork has what the tasks left that it shares. The caller holds the locks and commits.
pub(super) async fn share(
    tx: &mut PgConnection,
    from: SessionKey,
    to: SessionKey,
    seqs: &[i32],
) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into artifacts (tenant_id, session_id, seq, attempt, worker, path, bytes, sha256, at)
         select tenant_id, $3, seq, attempt, worker, path, bytes, sha256, at
           from artifacts
          where tenant_id = $1 and session_id = $2 and seq = any($4)",
        from.tenant.0,
        from.id.0,
        to.id.0,
        seqs,
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "insert into diffs (tenant_id, session_id, seq, attempt, worker, at, repo, base_id, commit_id,
                            merged, stat, files, patch_sha256, patch_bytes)
         select tenant_id, $3, seq, attempt, worker, at, repo, base_id, commit_id,
                merged, stat, files, patch_sha256, patch_bytes
           from diffs
          where tenant_id = $1 and session_id = $2 and seq = any($4)",
        from.tenant.0,
        from.id.0,
        to.id.0,
        seqs,
    )
    .execute(tx)
    .await
    .map(drop)
}

/// Removes a batch of what an archived session had, and lets go of the contents. Returns how many rows.
pub(super) async fn forget(
    db: &PgPool,
    (tenant, session): (Uuid, Uuid),
    rows: i64,
) -> sqlx::Result<u64> {
    let mut tx = db.begin().await?;
    let artifacts = sqlx::query_scalar!(
        "delete from artifacts a
          using (select seq, attempt, worker, path
                   from artifacts
                  where tenant_id = $1 and session_id = $2
                  order by seq, attempt, worker, path
                  limit $3
                    for update skip locked) k
          where a.tenant_id = $1 and a.session_id = $2
            and a.seq = k.seq and a.attempt = k.attempt and a.worker = k.worker
            and a.path = k.path
        returning a.sha256",
        tenant,
        session,
        rows
    )
    .fetch_all(&mut *tx)
    .await?;
    let patches = sqlx::query_scalar!(
        "delete from diffs d
          using (select seq, attempt, worker
                   from diffs
                  where tenant_id = $1 and session_id = $2
                  order by seq, attempt, worker
                  limit $3
                    for update skip locked) k
          where d.tenant_id = $1 and d.session_id = $2
            and d.seq = k.seq and d.attempt = k.attempt and d.worker = k.worker
        returning d.patch_sha256",
        tenant,
        session,
        rows
    )
    .fetch_all(&mut *tx)
    .await?;
    let removed = artifacts.len() + patches.len();
    let digests = artifacts.into_iter().chain(patches.into_iter().flatten());
    let contents: Vec<ContentId> = digests.filter_map(|it| it.try_into().ok()).collect();
    if !contents.is_empty() {
        contents::let_go(&mut tx, TenantId(tenant), &contents).await?;
    }
    tx.commit().await?;
    Ok(u64::try_from(removed).unwrap_or(u64::MAX))
}
