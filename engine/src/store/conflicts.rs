//! Which changes of a session cannot be merged with one another, or with the branch they are meant
//! for. Each look at a commit says again what holds for it.

use serde_json::json;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::{
    Store,
    events::{self, Entry},
    held,
};
use crate::{event::EventKind, id::Fence, task::TaskState};

/// What a task made so far, with which another's may conflict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sibling {
    pub seq: i32,
    pub commit: String,
}

/// What somebody's changes were compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Other {
    /// The row of another task of the session.
    Task(i32),
    /// The branch that the workspace began at.
    Branch(String),
}

/// What a comparison came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    pub other: Other,
    pub commit: String,
    /// Files that conflict; none when both can be merged.
    pub files: Vec<String>,
}

/// Tasks compared with at most.
const SIBLINGS_MAX: i64 = 100;

/// The newest commit of each other task of the session that runs or has completed.
pub async fn siblings(db: &PgPool, fence: Fence) -> sqlx::Result<Vec<Sibling>> {
    let key = fence.task.session;
    let rows = sqlx::query!(
        r#"select t.seq, coalesce(c.commit_id, d.commit_id) as "commit_id!"
             from tasks t
             left join lateral (
                 select commit_id
                   from checkpoints c
                  where c.tenant_id = t.tenant_id and c.session_id = t.session_id
                    and c.seq = t.seq and c.commit_id is not null and t.state = $4
                  order by c.number desc
                  limit 1) c on true
             left join lateral (
                 select commit_id
                   from diffs d
                  where d.tenant_id = t.tenant_id and d.session_id = t.session_id
                    and d.seq = t.seq
                    and (t.state = $5 or (t.state = $4 and d.attempt = t.attempt))
                  order by d.attempt desc, d.at desc
                  limit 1) d on true
            where t.tenant_id = $1 and t.session_id = $2 and t.seq <> $3
              and t.seq in (select seq from checkpoints
                             where tenant_id = $1 and session_id = $2
                             union
                            select seq from diffs
                             where tenant_id = $1 and session_id = $2)
              and coalesce(c.commit_id, d.commit_id) is not null
            order by t.seq
            limit $6"#,
        key.tenant.0,
        key.id.0,
        fence.task.seq,
        TaskState::InProgress.code(),
        TaskState::Completed.code(),
        SIBLINGS_MAX,
    )
    .fetch_all(db)
    .await?;
    let siblings = rows.into_iter().map(|row| Sibling { seq: row.seq, commit: row.commit_id });
    Ok(siblings.collect())
}

/// Records what looks at a commit came to, and tells what is new by events, in one transaction. False
/// when the attempt has lost its fence: then nothing changes.
pub async fn record(
    store: &Store,
    fence: Fence,
    commit: &str,
    looks: &[Look],
) -> sqlx::Result<bool> {
    let key = fence.task.session;
    let mut tx = store.pool.begin().await?;
    if !held::is_held(&mut tx, fence).await? {
        return Ok(false);
    }
    let mut told = Vec::new();
    for look in looks {
        let changed = if look.files.is_empty() {
            resolve(&mut tx, fence, look).await?
        } else {
            enter(&mut tx, fence, commit, look).await?
        };
        if changed {
            told.push(event(fence, commit, look));
        }
    }
    if !told.is_empty() {
        events::append(&mut tx, key, &told, None).await?;
    }
    tx.commit().await?;
    Ok(true)
}

fn event(fence: Fence, commit: &str, look: &Look) -> Entry {
    let mut body = json!({ "commit": commit, "other_commit": look.commit });
    match &look.other {
        Other::Task(seq) => body["with_seq"] = json!(seq),
        Other::Branch(branch) => body["branch"] = json!(branch),
    }
    let kind = if look.files.is_empty() {
        EventKind::ConflictResolved
    } else {
        body["files"] = json!(look.files);
        EventKind::ConflictDetected
    };
    Entry { attempt: Some(fence.attempt), ..Entry::of_task(kind, fence.task.seq, body) }
}

/// The two numbers under which a pair is kept.
fn pair(fence: Fence, other: &Other) -> (i32, i32) {
    let own = fence.task.seq;
    match other {
        Other::Task(seq) => (own.min(*seq), own.max(*seq)),
        Other::Branch(_) => (0, own),
    }
}

/// Whether there was a conflict.
async fn resolve(tx: &mut PgConnection, fence: Fence, look: &Look) -> sqlx::Result<bool> {
    let (low, high) = pair(fence, &look.other);
    let gone = sqlx::query!(
        "delete from conflicts
          where tenant_id = $1 and session_id = $2 and low_seq = $3 and high_seq = $4",
        fence.task.session.tenant.0,
        fence.task.session.id.0,
        low,
        high,
    )
    .execute(tx)
    .await?;
    Ok(gone.rows_affected() > 0)
}

/// Whether there was none yet, or one in other files.
async fn enter(
    tx: &mut PgConnection,
    fence: Fence,
    commit: &str,
    look: &Look,
) -> sqlx::Result<bool> {
    let (low, high) = pair(fence, &look.other);
    let branch = match &look.other {
        Other::Branch(branch) => Some(branch.as_str()),
        Other::Task(_) => None,
    };
    let is_high = high == fence.task.seq;
    let (low_commit, high_commit) =
        if is_high { (look.commit.as_str(), commit) } else { (commit, look.commit.as_str()) };
    let known = sqlx::query_scalar!(
        "select files from conflicts
          where tenant_id = $1 and session_id = $2 and low_seq = $3 and high_seq = $4",
        fence.task.session.tenant.0,
        fence.task.session.id.0,
        low,
        high,
    )
    .fetch_optional(&mut *tx)
    .await?;
    sqlx::query!(
        "insert into conflicts (tenant_id, session_id, low_seq, high_seq, branch, low_commit,
                                high_commit, files, at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, clock())
             on conflict (tenant_id, session_id, low_seq, high_seq) do update
            set branch = excluded.branch, low_commit = excluded.low_commit,
                high_commit = excluded.high_commit, files = excluded.files, at = excluded.at",
        fence.task.session.tenant.0,
        fence.task.session.id.0,
        low,
        high,
        branch,
        low_commit,
        high_commit,
        &look.files,
    )
    .execute(tx)
    .await?;
    Ok(known.as_ref() != Some(&look.files))
}

/// Removes what an archived session had. Returns how many rows.
pub(super) async fn forget(db: &PgPool, (tenant, session): (Uuid, Uuid)) -> sqlx::Result<u64> {
    sqlx::query!("delete from conflicts where tenant_id = $1 and session_id = $2", tenant, session)
        .execute(db)
        .await
        .map(|done| done.rows_affected())
}
