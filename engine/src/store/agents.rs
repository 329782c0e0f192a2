//! Agents: how well they did, folded in from attempts that ended, and whether they get anything new.
//! What is told here is told after a finish, by whoever saw it; no finish waits for it.

use std::collections::HashSet;

use serde_json::Value;
use sqlx::{PgPool, types::Json};
use thiserror::Error;
use uuid::Uuid;

use super::{Hint, Store};
use crate::{
    id::WorkerId,
    routing::{Breaker, End, Performance, Routing, Standing, Work},
};

/// Adds attempts that ended to what is known of the agent, and returns its breaker.
pub async fn fold(
    db: &PgPool,
    routing: &Routing,
    name: &str,
    works: &[Work],
) -> sqlx::Result<Breaker> {
    let mut tx = db.begin().await?;
    sqlx::query!(
        "insert into agents (name, registered_at) values ($1, clock())
             on conflict on constraint agents_pkey do nothing",
        name
    )
    .execute(&mut *tx)
    .await?;
    let row = sqlx::query!(
        r#"select performance, breaker, clock() as "now!"
             from agents
            where name = $1
              for update"#,
        name
    )
    .fetch_one(&mut *tx)
    .await?;
    let (mut performance, mut breaker) = (performance(row.performance), breaker(row.breaker));
    for work in works {
        performance.fold(work, row.now, &routing.smoothing);
        breaker.fold(work.end == End::Good, row.now, &routing.breaker);
    }
    sqlx::query!(
        "update agents set performance = $2, breaker = $3, folded_at = $4 where name = $1",
        name,
        Json(&performance) as _,
        Json(&breaker) as _,
        row.now
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(breaker)
}

/// What a newer version wrote otherwise counts as nothing.
pub(super) fn performance(kept: Value) -> Performance {
    serde_json::from_value(kept).unwrap_or_default()
}

pub(super) fn breaker(kept: Value) -> Breaker {
    serde_json::from_value(kept).unwrap_or_default()
}

/// Attempts that were lost with a worker count as its agent's.
pub(super) async fn fold_crashes(
    store: &Store,
    worker: WorkerId,
    count: usize,
) -> sqlx::Result<()> {
    let name = sqlx::query_scalar!("select name from workers where id = $1", worker.0)
        .fetch_optional(&store.pool)
        .await?;
    let Some(name) = name.filter(|_| count > 0) else { return Ok(()) };
    let lost =
        Work { end: End::Crashed, requires: Vec::new(), took_ms: 0, tokens: None, cost_usd: None };
    fold(&store.pool, &store.routing, &name, &vec![lost; count]).await.map(|_| ())
}

/// Says how many attempts a worker runs.
pub async fn note_running(db: &PgPool, worker: WorkerId, running: i32) -> sqlx::Result<()> {
    sqlx::query!("update workers set running = $2 where id = $1", worker.0, running)
        .execute(db)
        .await
        .map(|_| ())
}

/// What an agent that fails too often leaves to others.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct LeftToOthers {
    /// Its breaker is: it leaves nothing.
    pub is_closed: bool,
    /// Routes that others serve whose breakers are closed.
    pub routes: HashSet<i32>,
    /// It is tried again, with one attempt at a time.
    pub is_probing: bool,
}

/// What the worker leaves to others while its breaker is not closed: only what somebody else can do.
pub async fn left_to_others(
    db: &PgPool,
    worker: WorkerId,
    name: &str,
    routes: &[i32],
) -> sqlx::Result<LeftToOthers> {
    let nothing = || LeftToOthers { is_closed: true, ..LeftToOthers::default() };
    let kept =
        sqlx::query!(r#"select breaker, clock() as "now!" from agents where name = $1"#, name)
            .fetch_optional(db)
            .await?;
    let Some(kept) = kept else { return Ok(nothing()) };
    let standing = breaker(kept.breaker).standing(kept.now);
    if standing == Standing::Closed {
        return Ok(nothing());
    }
    let covered = sqlx::query_scalar!(
        "select r.id
           from routes r
          where r.id = any($3)
            and exists (select from workers w
                          left join agents a on a.name = w.name
                         where w.ended_at is null and w.lease_until > (select clock())
                           and w.id <> $1 and w.name <> $2
                           and w.drained_at is null and w.only_session is null
                           and a.breaker ->> 'trip' is null
                           and (w.capabilities @> r.capabilities or '*' = any(w.capabilities)))",
        worker.0,
        name,
        routes
    )
    .fetch_all(db)
    .await?;
    let is_probing = matches!(standing, Standing::HalfOpen { .. }) && !covered.is_empty();
    // Whoever is tried again takes what comes, one at a time.
    let routes = if is_probing { HashSet::new() } else { covered.into_iter().collect() };
    Ok(LeftToOthers { is_closed: false, routes, is_probing })
}

/// Why an agent was not drained or resumed.
#[derive(Debug, Error)]
pub enum AgentError {
    #[error("there is no agent `{0}`")]
    NotFound(String),
    #[error("the database did not take it")]
    Database(#[from] sqlx::Error),
}

/// Who drains an agent, and why.
#[derive(Debug, Clone, Copy)]
pub struct Drain<'a> {
    pub by: &'a str,
    pub reason: Option<&'a str>,
    pub maintenance: bool,
}

/// Gives an agent nothing new; what it runs it finishes. A name stands for all that run under it now
/// and later, an id for one worker until that one ends.
pub async fn drain(store: &Store, agent: &str, drain: Drain<'_>) -> Result<(), AgentError> {
    change(store, agent, Some(drain)).await
}

/// Lets a drained agent take tasks again. An agent that is not drained is left as it is.
pub async fn resume(store: &Store, agent: &str) -> Result<(), AgentError> {
    change(store, agent, None).await
}

async fn change(store: &Store, agent: &str, drain: Option<Drain<'_>>) -> Result<(), AgentError> {
    let id = agent.parse::<Uuid>().ok();
    let (by, reason) = (drain.map(|it| it.by), drain.and_then(|it| it.reason));
    let maintenance = drain.is_some_and(|it| it.maintenance);
    let mut tx = store.pool.begin().await?;
    let named = sqlx::query!(
        "update agents
            set drained_at = case when $2::text is not null then coalesce(drained_at, clock()) end,
                drained_by = $2, drain_reason = $3, maintenance = $4
          where name = $1 and not $5",
        agent,
        by,
        reason,
        maintenance,
        id.is_some()
    )
    .execute(&mut *tx)
    .await?;
    let workers = sqlx::query_scalar!(
        "update workers
            set drained_at = case when $3 then coalesce(drained_at, clock()) end
          where ended_at is null and (id = $2 or ($2::uuid is null and name = $1))
         returning id",
        agent,
        id,
        drain.is_some()
    )
    .fetch_all(&mut *tx)
    .await?;
    sqlx::query!(
        "update agent_profiles
            set drained_by = $2, drain_reason = $3, maintenance = $4
          where worker_id = any($1)",
        &workers,
        by,
        reason,
        maintenance
    )
    .execute(&mut *tx)
    .await?;
    if named.rows_affected() == 0 && workers.is_empty() {
        return Err(AgentError::NotFound(agent.to_owned()));
    }
    tx.commit().await?;
    store.hints.send(Hint::Route);
    Ok(())
}

/// Forgets agents of which no worker is known any more, some at a time.
pub(super) async fn forget(db: &PgPool) -> sqlx::Result<u64> {
    sqlx::query!(
        "delete from agents a
          where a.name = any (array(
                select o.name from agents o
                 where o.registered_at < (select clock()) - interval '30 days'
                   and not exists (select from workers w where w.name = o.name)
                 order by o.registered_at
                 limit 100
                   for update skip locked))"
    )
    .execute(db)
    .await
    .map(|done| done.rows_affected())
}
