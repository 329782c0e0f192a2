//! Whether an attempt still holds its fence, asked under the locks that keep it so.

use sqlx::PgConnection;

use super::steer::Locked;
use crate::{id::Fence, task::TaskState};

/// Locks the session, then the task. False when the session has ended or the attempt has lost its
/// fence.
pub(super) async fn is_held(tx: &mut PgConnection, fence: Fence) -> sqlx::Result<bool> {
    let key = fence.task.session;
    let is_open = Locked::find(tx, key).await?.is_some_and(|it| !it.state.is_final());
    if !is_open {
        return Ok(false);
    }
    let held = sqlx::query_scalar!(
        "select 1 as one from tasks
          where tenant_id = $1 and session_id = $2 and seq = $3
            and state = $4 and attempt = $5 and worker = $6
            for no key update",
        key.tenant.0,
        key.id.0,
        fence.task.seq,
        TaskState::InProgress.code(),
        fence.attempt,
        fence.worker.0,
    )
    .fetch_optional(tx)
    .await?;
    Ok(held.is_some())
}
