//! What attempts changed in repositories: in numbers; the patches are in [`super::objects`].

use serde_json::json;

use super::{
    Store,
    contents::{self, Naming},
    held,
    objects::ContentId,
};
use crate::{
    diff::{FileChange, Stat},
    id::Fence,
};

/// A change that an attempt made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDiff {
    /// The repository, without user and password.
    pub repo: String,
    pub base: String,
    pub commit: String,
    /// Commits that it brings together.
    pub merged: Vec<String>,
    /// Of all files.
    pub stat: Stat,
    pub files: Vec<FileChange>,
    /// The content of the patch and its size.
    pub patch: Option<(ContentId, u64)>,
}

/// Keeps what an attempt changed, in the place of what it had changed before, unless it has lost its
/// fence, or the patch has to be stored again; `is_again` says that this was done.
pub async fn keep(
    store: &Store,
    fence: Fence,
    diff: &NewDiff,
    is_again: bool,
) -> sqlx::Result<Naming> {
    let key = fence.task.session;
    let patch: Vec<ContentId> = diff.patch.iter().map(|(id, _)| *id).collect();
    let mut tx = store.pool.begin().await?;
    if !held::is_held(&mut tx, fence).await? {
        contents::let_go(&mut tx, key.tenant, &patch).await?;
        tx.commit().await?;
        return Ok(Naming::Lost);
    }
    let held = contents::hold(&mut tx, key.tenant, &patch, is_again).await?;
    if held != Naming::Done {
        return Ok(held);
    }
    let before = sqlx::query_scalar!(
        "select patch_sha256 from diffs
          where tenant_id = $1 and session_id = $2 and seq = $3 and attempt = $4 and worker = $5",
        key.tenant.0,
        key.id.0,
        fence.task.seq,
        fence.attempt,
        fence.worker.0,
    )
    .fetch_optional(&mut *tx)
    .await?;
    let before: Option<ContentId> = before.flatten().and_then(|it| it.try_into().ok());
    if let Some(before) = before.filter(|it| !patch.contains(it)) {
        contents::let_go(&mut tx, key.tenant, &[before]).await?;
    }
    sqlx::query!(
        "insert into diffs (tenant_id, session_id, seq, attempt, worker, at, repo, base_id, commit_id,
                            merged, stat, files, patch_sha256, patch_bytes)
         values ($1, $2, $3, $4, $5, clock(), $6, $7, $8, $9, $10, $11, $12, $13)
             on conflict (tenant_id, session_id, seq, attempt, worker) do update
            set at = excluded.at, base_id = excluded.base_id, commit_id = excluded.commit_id,
                stat = excluded.stat, files = excluded.files, patch_sha256 = excluded.patch_sha256,
                patch_bytes = excluded.patch_bytes",
        key.tenant.0,
        key.id.0,
        fence.task.seq,
        fence.attempt,
        fence.worker.0,
        diff.repo,
        diff.base,
        diff.commit,
        &diff.merged,
        json!(diff.stat),
        super::blobs::without_nul(json!(diff.files)),
        diff.patch.map(|(id, _)| id.to_vec()),
        diff.patch.map(|(_, bytes)| bytes.cast_signed()),
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(Naming::Done)
}
