//! Lets tasks go on that wait for the start or the end of another one of their session.

use std::collections::BTreeMap;

use serde_json::json;

use crate::{
    decompose::{Gate, Stand, Verdict},
    id::{SessionId, SessionKey, TaskKey, TenantId},
    store::{
        Store,
        transition::{Move, Mover, transition},
    },
    task::{Reason, TaskState},
};

/// Looks at what such tasks wait for; returns how many went on.
pub(super) async fn tend(store: &Store) -> sqlx::Result<usize> {
    let rows = sqlx::query_file!("src/store/sql/gates.sql", Reason::Signal.code())
        .fetch_all(&store.pool)
        .await?;
    if rows.is_empty() {
        return Ok(0);
    }
    let mut waiting: BTreeMap<SessionKey, Vec<(i32, i32, String)>> = BTreeMap::new();
    for row in rows {
        let key = SessionKey { tenant: TenantId(row.tenant_id), id: SessionId(row.session_id) };
        waiting.entry(key).or_default().push((row.seq, row.attempt, row.name));
    }
    let keys: Vec<SessionKey> = waiting.keys().copied().collect();
    let infos = store.infos.load(store, &keys).await?;
    let mut moves = Vec::new();
    for (key, tasks) in waiting {
        let Some(info) = infos.get(&key) else { continue };
        let plan = &info.version.plan;
        for (seq, attempt, name) in tasks {
            let Some(gate) = Gate::of(plan, &name) else { continue };
            let Some(stand) = stand(store, key, plan.root_row(gate.node)).await? else { continue };
            let (to, output, reason) = match gate.verdict(plan, stand) {
                Verdict::Waits => continue,
                Verdict::Passes => (TaskState::Completed, Some(json!({})), None),
                Verdict::InVain => (TaskState::Skipped, None, Some(Reason::UpstreamFailed)),
            };
            let task = TaskKey { session: key, seq };
            let mut done = Move::new(task, attempt, TaskState::Blocked, to);
            done.from_reason = Some(Reason::Signal);
            (done.output, done.reason) = (output, reason);
            moves.push(done);
        }
    }
    let moved = transition(&store.pool, Mover::Control, &moves, &[], None).await?;
    super::tell(store, &moves, &moved);
    for done in moves.iter().zip(&moved.accepted).filter(|(_, ok)| **ok).map(|(done, _)| done) {
        forget(store, done.task).await?;
    }
    Ok(moved.accepted.iter().filter(|ok| **ok).count())
}

async fn stand(store: &Store, key: SessionKey, seq: i32) -> sqlx::Result<Option<Stand>> {
    let row = sqlx::query!(
        "select state, attempt, started_at is not null as \"is_started!\"
           from tasks
          where tenant_id = $1 and session_id = $2 and seq = $3",
        key.tenant.0,
        key.id.0,
        seq
    )
    .fetch_optional(&store.pool)
    .await?;
    Ok(row.and_then(|row| {
        let state = TaskState::from_code(row.state)?;
        Some(Stand { state, is_started: row.is_started, attempt: row.attempt })
    }))
}

/// What does not wait any more is not looked at again.
async fn forget(store: &Store, task: TaskKey) -> sqlx::Result<()> {
    sqlx::query!(
        "delete from signal_waits where tenant_id = $1 and session_id = $2 and seq = $3",
        task.session.tenant.0,
        task.session.id.0,
        task.seq
    )
    .execute(&store.pool)
    .await
    .map(|_| ())
}
