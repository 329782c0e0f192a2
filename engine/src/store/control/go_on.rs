//! Groups that had begun before a retry and waited for what they need: now they go on, and with them
//! what a retry opened in them.

use std::{collections::HashSet, sync::Arc};

use super::decide::Candidate;
use crate::{
    store::{SessionInfo, Store, flags, transition::Move},
    task::{Reason, TaskState},
};

/// The move with which a group goes on. Nothing in it moves until then.
pub(super) async fn go_on(
    store: &Store,
    group: &Candidate,
    info: Option<&Arc<SessionInfo>>,
) -> sqlx::Result<Move> {
    let key = group.task.session;
    let open = sqlx::query!(
        "select seq, parent, state, flags from tasks
          where tenant_id = $1 and session_id = $2 and seq > $3 and state < 6
          order by seq
          limit 1000000",
        key.tenant.0,
        key.id.0,
        group.task.seq
    )
    .fetch_all(&store.pool)
    .await?;
    let unlaid = sqlx::query_scalar!(
        r#"update expansions set unfinished = laid < items
            where tenant_id = $1 and session_id = $2 and seq = $3
           returning items - laid as "unlaid!""#,
        key.tenant.0,
        key.id.0,
        group.task.seq
    )
    .fetch_optional(&store.pool)
    .await?;
    // In a fork others may have ended badly before.
    let bad = sqlx::query_scalar!(
        r#"select count(*)::int as "bad!" from tasks
            where tenant_id = $1 and session_id = $2 and parent = $3
              and (state = $4 or (state = $5 and flags & $6 = 0))"#,
        key.tenant.0,
        key.id.0,
        group.task.seq,
        TaskState::Cancelled.code(),
        TaskState::Failed.code(),
        flags::CONTINUE
    )
    .fetch_one(&store.pool)
    .await?;
    // Rows stand behind what they are in.
    let mut goes_on = HashSet::from([group.task.seq]);
    let mut opened = Vec::new();
    let mut children = unlaid.unwrap_or_default();
    for row in open {
        let Some(parent) = row.parent.filter(|parent| goes_on.contains(parent)) else { continue };
        children += i32::from(parent == group.task.seq);
        if row.state == TaskState::Blocked.code() {
            goes_on.insert(row.seq);
        } else if row.flags & flags::GATED != 0 {
            opened.push(row.seq);
        }
    }
    let mut moved = group.to(TaskState::Blocked);
    moved.reason = Some(Reason::Children);
    moved.children = Some(children);
    moved.bad = bad;
    moved.opened = opened;
    let is_item = group.flags & flags::ITEM != 0;
    moved.delay_ms = info
        .filter(|_| !is_item)
        .and_then(|info| info.version.plan.node(group.node).timeout)
        .map(|timeout| timeout.ms.cast_signed());
    Ok(moved)
}
