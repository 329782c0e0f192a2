//! Retries of sessions: reads the ended rows, lets the rule decide which are opened again, and
//! opens them, all under the session's lock.

use std::collections::HashMap;

use sqlx::PgConnection;

use super::{Hint, Store, flags, sessions::SteerError};
use crate::{
    id::SessionKey,
    plan::{Join, NodeIndex},
    reopen::{EndedRow, Reopened, RowKind, reopen},
    session::{IllegalMove, SessionState},
    task::{Reason, TaskState},
};

/// Opens a session's failed, cancelled and upstream-failed tasks again; done tasks stay done.
/// Returns how many tasks were opened.
pub async fn retry(
    store: &Store,
    key: SessionKey,
    actor: Option<&str>,
) -> Result<usize, SteerError> {
    let mut tx = store.pool.begin().await?;
    let session = sqlx::query!(
        "select state, sweep from session_progress
          where tenant_id = $1 and session_id = $2 for update",
        key.tenant.0,
        key.id.0
    )
    .fetch_optional(&mut *tx)
    .await?
    .ok_or(SteerError::NotFound(key.id))?;
    let from = SessionState::from_code(session.state).unwrap_or(SessionState::Pending);
    if !from.is_retryable() {
        return Err(IllegalMove { from, to: SessionState::Pending }.into());
    }
    if session.sweep > 0 {
        return Err(SteerError::Stopping(key.id));
    }
    let (rows, nodes) = ended_rows(&mut tx, key).await?;
    let opened = reopen(&rows);
    if opened.is_empty() {
        return Err(SteerError::NothingToRetry(key.id));
    }
    let infos = store.infos.load(store, &[key]).await?;
    let timeout = |row: &Reopened| {
        let node = nodes.get(&row.seq)?;
        let timeout = infos.get(&key)?.version.plan.node(*node).timeout?;
        (row.state == TaskState::Blocked).then(|| timeout.ms.cast_signed())
    };
    let timeouts: Vec<i64> = opened.iter().map(|row| timeout(row).unwrap_or(-1)).collect();
    write(&mut tx, key, actor, &opened, &timeouts).await?;
    tx.commit().await?;
    store.hints.send(Hint::Ready);
    store.hints.send(Hint::Undecided);
    store.hints.send(Hint::Event(key.id));
    Ok(opened.len())
}

/// The rows, and the nodes of groups by row.
async fn ended_rows(
    tx: &mut PgConnection,
    key: SessionKey,
) -> sqlx::Result<(Vec<EndedRow>, HashMap<i32, NodeIndex>)> {
    let rows = sqlx::query!(
        r#"select t.seq, t.node, t.parent, t.state, t.reason, t.flags, t.dependents,
                  t.started_at is not null as "begun!",
                  e.seq is not null as "expanded!", e.items - e.laid as unlaid
             from tasks t
             left join expansions e on e.tenant_id = t.tenant_id and e.session_id = t.session_id
                                   and e.seq = t.seq
            where t.tenant_id = $1 and t.session_id = $2
            order by t.seq"#,
        key.tenant.0,
        key.id.0
    )
    .fetch_all(tx)
    .await?;
    let nodes = rows
        .iter()
        .filter(|row| row.flags & flags::GROUP != 0)
        .map(|row| (row.seq, NodeIndex::from_code(row.node)))
        .collect();
    let rows = rows
        .into_iter()
        .filter_map(|row| {
            let has = |flag: i16| row.flags & flag != 0;
            let kind = if has(flags::ITEM) {
                RowKind::Item
            } else if !has(flags::GROUP) {
                RowKind::Task
            } else if row.expanded {
                RowKind::ForEachGroup
            } else {
                RowKind::PlainGroup
            };
            let join = if has(flags::JOIN_ANY) {
                Join::Any
            } else if has(flags::JOIN_ALL_DONE) {
                Join::AllDone
            } else {
                Join::All
            };
            Some(EndedRow {
                seq: row.seq,
                parent: row.parent,
                state: TaskState::from_code(row.state)?,
                reason: row.reason.and_then(Reason::from_code),
                kind,
                join,
                plain: has(flags::PLAIN),
                continue_on_failure: has(flags::CONTINUE),
                dependents: row.dependents.unwrap_or_default(),
                begun: row.begun,
                unlaid: row.unlaid.unwrap_or_default(),
            })
        })
        .collect();
    Ok((rows, nodes))
}

async fn write(
    tx: &mut PgConnection,
    key: SessionKey,
    actor: Option<&str>,
    opened: &[Reopened],
    timeouts: &[i64],
) -> sqlx::Result<()> {
    let seqs: Vec<i32> = opened.iter().map(|row| row.seq).collect();
    let states: Vec<i16> = opened.iter().map(|row| row.state.code()).collect();
    let blockers: Vec<i32> = opened.iter().map(|row| row.blockers).collect();
    let undecided: Vec<bool> = opened.iter().map(|row| row.undecided).collect();
    sqlx::query_file!(
        "src/store/sql/reopen.sql",
        key.tenant.0,
        key.id.0,
        actor as _,
        &seqs,
        &states,
        &blockers,
        &undecided,
        timeouts
    )
    .execute(tx)
    .await
    .map(|_| ())
}
