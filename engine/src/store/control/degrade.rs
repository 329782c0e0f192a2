//! The watchdog of agents: a session of which some ready task has had no live agent that could run it
//! for a while is degraded, and goes on by itself once there is one.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::{
    event::EventKind,
    id::{SessionId, SessionKey, TenantId},
    session::SessionState,
    store::{
        Hint, Store,
        events::{self, Entry},
        steer::{self, Locked},
    },
};

/// How long a ready task may be without an agent.
const PATIENCE_SECS: f64 = 60.0;
/// Ready rows of one route that are looked at in one go.
const ROWS: i64 = 5_000;

/// A route that nobody has served for too long.
struct Gap {
    tenant: Uuid,
    route: i32,
    /// What it lacks.
    missing: Vec<String>,
}

/// Degrades and heals what there is; returns how many sessions that were.
pub(super) async fn watch(store: &Store) -> sqlx::Result<usize> {
    note_gaps(store).await?;
    let mut moved = 0;
    for gap in gaps(store).await? {
        for key in waiting(store, &gap).await? {
            moved += usize::from(degrade(store, key, &gap).await?);
        }
    }
    Ok(moved + heal_all(store).await?)
}

/// Since when routes with ready tasks have had no live worker that offers all they ask for.
async fn note_gaps(store: &Store) -> sqlx::Result<()> {
    sqlx::query!(
        "with uncovered as materialized (
             select r.tenant_id, r.id
               from routes r
              cross join lateral (select from tasks t where t.queued and t.route = r.id limit 1) t
              where not exists (select from workers w
                                 where w.ended_at is null and w.lease_until > (select clock())
                                   and w.drained_at is null
                                   and (w.capabilities @> r.capabilities or '*' = any(w.capabilities)))
         ), covered as (
             delete from route_gaps g
              where not exists (select from uncovered u where u.tenant_id = g.tenant_id and u.id = g.route)
         )
         insert into route_gaps (tenant_id, route, since)
         select tenant_id, id, clock() from uncovered
             on conflict do nothing"
    )
    .execute(&store.pool)
    .await
    .map(|_| ())
}

async fn gaps(store: &Store) -> sqlx::Result<Vec<Gap>> {
    let rows = sqlx::query!(
        r#"select g.tenant_id, g.route, r.capabilities,
                  array(select c from unnest(r.capabilities) as c
                         where not exists (select from workers w
                                            where w.ended_at is null
                                              and w.lease_until > (select clock())
                                              and w.drained_at is null
                                              and c = any(w.capabilities))
                         order by c) as "missing!"
             from route_gaps g
             join routes r on r.tenant_id = g.tenant_id and r.id = g.route
            where g.since <= clock() - make_interval(secs => $1)
            order by g.tenant_id, g.route
            limit 100"#,
        PATIENCE_SECS
    )
    .fetch_all(&store.pool)
    .await?;
    // Where somebody offers each of them, nobody offers all.
    Ok(rows
        .into_iter()
        .map(|row| Gap {
            tenant: row.tenant_id,
            route: row.route,
            missing: if row.missing.is_empty() { row.capabilities } else { row.missing },
        })
        .collect())
}

/// Sessions with tasks that have been ready in the route for long enough, among its next rows.
async fn waiting(store: &Store, gap: &Gap) -> sqlx::Result<Vec<SessionKey>> {
    let sessions = sqlx::query_file_scalar!(
        "src/store/sql/route_waiting.sql",
        gap.tenant,
        gap.route,
        ROWS,
        PATIENCE_SECS
    )
    .fetch_all(&store.pool)
    .await?;
    let tenant = TenantId(gap.tenant);
    Ok(sessions.into_iter().map(|id| SessionKey { tenant, id: SessionId(id) }).collect())
}

async fn degrade(store: &Store, key: SessionKey, gap: &Gap) -> sqlx::Result<bool> {
    let mut tx = store.pool.begin().await?;
    let Some(row) = Locked::find(&mut tx, key).await? else { return Ok(false) };
    let is_open = matches!(row.state, SessionState::Queued | SessionState::Running);
    let Ok(to) = row.state.move_to(SessionState::Degraded) else { return Ok(false) };
    if !is_open || row.is_ending() {
        return Ok(false);
    }
    let body = Map::from_iter([("missing".to_owned(), json!(gap.missing))]);
    let mut hold = body.clone();
    hold.insert("routes".to_owned(), json!([gap.route]));
    steer::enter(&mut tx, key, to, Some(Value::Object(hold)), false).await?;
    let event = Entry::of_session(EventKind::SessionDegraded, body);
    events::append(&mut tx, key, &[event], None).await?;
    tx.commit().await?;
    store.hints.send(Hint::Event(key.id));
    Ok(true)
}

async fn heal_all(store: &Store) -> sqlx::Result<usize> {
    let healed = sqlx::query_file!("src/store/sql/healed.sql").fetch_all(&store.pool).await?;
    let mut count = 0;
    for row in healed {
        let key = SessionKey { tenant: TenantId(row.tenant_id), id: SessionId(row.session_id) };
        count += usize::from(heal(store, key).await?);
    }
    Ok(count)
}

async fn heal(store: &Store, key: SessionKey) -> sqlx::Result<bool> {
    let mut tx = store.pool.begin().await?;
    let Some(row) = Locked::find(&mut tx, key).await? else { return Ok(false) };
    if row.state != SessionState::Degraded {
        return Ok(false);
    }
    let Ok(to) = row.state.move_to(row.goes_on_as()) else { return Ok(false) };
    steer::enter(&mut tx, key, to, None, false).await?;
    let body = Map::from_iter([("healed".to_owned(), Value::Bool(true))]);
    let event = Entry::of_session(EventKind::of_session(to), body);
    events::append(&mut tx, key, &[event], None).await?;
    tx.commit().await?;
    store.hints.send(Hint::Event(key.id));
    Ok(true)
}
