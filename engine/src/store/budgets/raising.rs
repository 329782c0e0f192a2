//! Raising a budget: somebody says a higher limit, and what waited goes on.

use serde_json::json;
use sqlx::PgConnection;
use thiserror::Error;

use super::{
    FREED, SESSION,
    asking::{chain, session_account},
    mark,
};
use crate::{
    budget::{Caps, Dimension},
    event::EventKind,
    id::{SessionKey, TaskKey},
    plan::{NodeIndex, Plan},
    session::SessionState,
    store::{
        Store, Views,
        events::{self, Entry},
        sessions::SteerError,
        steer::{self, By, Locked},
    },
};

/// Why a budget was not raised.
#[derive(Debug, Error)]
pub enum RaiseError {
    #[error(transparent)]
    Steer(#[from] SteerError),
    #[error("{} has no budget for {of}", whose(.task))]
    NoBudget { task: String, of: &'static str },
    #[error("the budget of {} is {now} already: say more than that", whose(.task))]
    NotMore { task: String, now: String },
    #[error("say at least one of tokens, usd and wall_time")]
    Nothing,
    #[error("the database did not take the change")]
    Database(#[from] sqlx::Error),
}

fn whose(task: &str) -> String {
    if task.is_empty() { "the session".to_owned() } else { format!("`{task}`") }
}

/// Gives the budget of a session, or of a task or group in it, higher limits. What was paused because
/// it was used up goes on.
pub async fn raise(
    store: &Store,
    key: SessionKey,
    task: Option<&str>,
    to: Caps,
    by: By<'_>,
) -> Result<(), RaiseError> {
    if to == [None; 3] {
        return Err(RaiseError::Nothing);
    }
    // Read before: no second connection is asked for while one holds the lock.
    let info = store.infos.load(store, &[key]).await?.remove(&key);
    let row = match task {
        Some(name) => Views::new(store, key.tenant).find_task(key, name).await.ok(),
        None => Some(SESSION),
    };
    let mut tx = store.pool.begin().await?;
    let state = Locked::read(&mut tx, key).await?.state;
    let name = task.unwrap_or_default();
    let mut found = find(&mut tx, key, name).await?;
    if let (None, Some(info), Some(seq)) = (&found, &info, row) {
        open(&mut tx, &info.version.plan, TaskKey { session: key, seq }).await?;
        found = find(&mut tx, key, name).await?;
    }
    let mut limits = found.as_ref().map_or([None; 3], |(_, limits)| *limits);
    for (of, dimension) in Dimension::ALL.into_iter().enumerate() {
        let Some(to) = to[of] else { continue };
        let Some(now) = limits[of] else {
            return Err(RaiseError::NoBudget { task: name.to_owned(), of: dimension.as_str() });
        };
        if to <= now {
            let now = dimension.show(now);
            return Err(RaiseError::NotMore { task: name.to_owned(), now });
        }
        limits[of] = Some(to);
    }
    let seq = found.map_or(SESSION, |(seq, _)| seq);
    sqlx::query!(
        "update budgets set limits = $4 where tenant_id = $1 and session_id = $2 and seq = $3",
        key.tenant.0,
        key.id.0,
        seq,
        &limits as _,
    )
    .execute(&mut *tx)
    .await?;
    mark(&mut tx, &[key], FREED).await?;
    let mut body = by.body();
    let said = Dimension::ALL.into_iter().zip(limits);
    let said = said.filter_map(|(of, limit)| Some((of.as_str().to_owned(), json!(limit?))));
    body.insert("limits".to_owned(), serde_json::Value::Object(said.collect()));
    let event = if seq == SESSION {
        Entry::of_session(EventKind::BudgetRaised, body)
    } else {
        Entry::of_task(EventKind::BudgetRaised, seq, body)
    };
    events::append(&mut tx, key, &[event], by.actor).await?;
    let is_held = state == SessionState::Paused && is_paused_by_budget(&mut tx, key).await?;
    tx.commit().await?;
    steer::tell(store, key);
    if is_held {
        match steer::resume(store, key, by).await {
            // Somebody else was quicker.
            Ok(()) | Err(SteerError::NotPaused(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Makes the account of a session, or of a row in it, that nothing has asked yet; none where the workflow
/// gives it no budget.
async fn open(tx: &mut PgConnection, plan: &Plan, row: TaskKey) -> sqlx::Result<()> {
    let key = row.session;
    if row.seq == SESSION {
        if plan.budget.is_some() {
            session_account(tx, key, plan).await?;
        }
        return Ok(());
    }
    let node = sqlx::query_scalar!(
        "select node from tasks where tenant_id = $1 and session_id = $2 and seq = $3",
        key.tenant.0,
        key.id.0,
        row.seq
    )
    .fetch_optional(&mut *tx)
    .await?;
    if node.is_some_and(|node| plan.node(NodeIndex::from_code(node)).budget.is_some()) {
        chain(tx, plan, row).await?;
    }
    Ok(())
}

async fn find(
    tx: &mut PgConnection,
    key: SessionKey,
    name: &str,
) -> sqlx::Result<Option<(i32, Caps)>> {
    let row = sqlx::query!(
        r#"select seq, limits as "limits: Vec<Option<i64>>" from budgets
            where tenant_id = $1 and session_id = $2 and name = $3
            order by seq
            limit 1"#,
        key.tenant.0,
        key.id.0,
        name
    )
    .fetch_optional(tx)
    .await?;
    Ok(row.map(|row| (row.seq, super::caps(&row.limits))))
}

async fn is_paused_by_budget(tx: &mut PgConnection, key: SessionKey) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"select coalesce((hold ->> 'budget')::bool, false) as "is!" from session_progress
            where tenant_id = $1 and session_id = $2"#,
        key.tenant.0,
        key.id.0
    )
    .fetch_one(tx)
    .await
}
