//! What attempts changed in repositories: in numbers; the patches are in [`super::objects`].

use serde_json::json;

use super::{Store, held, objects::ContentId};
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

/// Keeps what an attempt changed, in the place of what it had changed before. False when it has lost its
/// fence: then nothing changes.
pub async fn keep(store: &Store, fence: Fence, diff: &NewDiff) -> sqlx::Result<bool> {
    let key = fence.task.session;
    let mut tx = store.pool.begin().await?;
    if !held::is_held(&mut tx, fence).await? {
        return Ok(false);
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
    Ok(true)
}
