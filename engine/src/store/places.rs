//! Places of sessions: a workflow with `concurrency` lets so many of its sessions run at once. A session
//! that has none yet is queued, and nothing of it is let go.

use serde_json::{Map, Value, json};
use sqlx::PgConnection;
use thiserror::Error;
use uuid::Uuid;

use super::{
    Store, Version,
    events::{self, Entry},
    tickets::{self, Granted, Kind, Wanted},
};
use crate::{
    event::EventKind,
    expression::values::{SessionFacts, Values},
    id::{SessionId, SessionKey, TaskKey},
    outcome::{ErrorClass, Failure},
    plan::OnFull,
    session::SessionState,
};

/// Holders that a refusal names at most.
const HOLDERS_MAX: i64 = 100;

/// A place that a session needs.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) session: SessionKey,
    name: String,
    capacity: i32,
    on_full: OnFull,
}

/// There is no place, and the workflow does not let its sessions wait.
#[derive(Debug, Error)]
#[error(
    "all places under `{name}` are taken ({}), and the workflow says `on_full: reject`",
    .holders.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
)]
pub struct Full {
    pub name: String,
    pub holders: Vec<SessionId>,
}

impl Place {
    /// The place that a session of this version needs with these inputs, if any.
    pub(super) fn of(
        version: &Version,
        session: SessionKey,
        title: &str,
        inputs: &Map<String, Value>,
    ) -> Result<Option<Self>, Failure> {
        let plan = &version.plan;
        let Some(concurrency) = &plan.concurrency else { return Ok(None) };
        let facts = SessionFacts {
            id: session.id.to_string(),
            title: title.to_owned(),
            ..SessionFacts::default()
        };
        let values = Values {
            inputs: inputs.clone(),
            session: facts,
            workflow: (plan.name.clone(), version.number),
            ..Values::default()
        };
        let name = concurrency.name(&values.scope(plan, None))?;
        let (capacity, on_full) = (concurrency.limit, concurrency.on_full);
        Ok(Some(Self { session, name, capacity, on_full }))
    }

    fn wanted(&self) -> Wanted {
        Wanted {
            task: TaskKey { session: self.session, seq: tickets::SESSION },
            kind: Kind::Place,
            names: vec![(self.name.clone(), self.capacity)],
            starts: false,
            ousts: self.on_full == OnFull::CancelOldest,
        }
    }
}

/// What came of sessions that asked for places and sessions that left theirs.
#[derive(Debug, Default)]
pub(super) struct Entered {
    pub(super) granted: Granted,
    /// Those that found none and do not wait.
    pub(super) refused: Vec<Place>,
}

/// Sessions leave their places, others ask for some. They are locked or new. The last step of the
/// transaction.
pub(super) async fn change(
    tx: &mut PgConnection,
    left: &[SessionKey],
    asked: &[Place],
) -> sqlx::Result<Entered> {
    let row = |session: &SessionKey| TaskKey { session: *session, seq: tickets::SESSION };
    let released: Vec<TaskKey> = left.iter().map(row).collect();
    let wanted: Vec<Wanted> = asked.iter().map(Place::wanted).collect();
    let granted = tickets::settle(tx, &released, &wanted).await?;
    let is_refused = |place: &&Place| {
        place.on_full == OnFull::Reject && !granted.admitted.contains(&place.session)
    };
    let refused = asked.iter().filter(is_refused).cloned().collect();
    Ok(Entered { granted, refused })
}

/// The same where a refusal undoes all of it: the caller does not commit then.
pub(super) async fn enter(tx: &mut PgConnection, place: &Place) -> Result<Granted, EnterError> {
    let entered = change(&mut *tx, &[], std::slice::from_ref(place)).await?;
    match entered.refused.first() {
        Some(place) => Err(EnterError::Full(full(tx, place).await?)),
        None => Ok(entered.granted),
    }
}

/// Why a session did not get its place.
#[derive(Debug, Error)]
pub(super) enum EnterError {
    #[error(transparent)]
    Full(Full),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// The same for many sessions that nobody waits for: those that are refused end as failed.
pub(super) async fn enter_all(
    tx: &mut PgConnection,
    left: &[SessionKey],
    asked: &[Place],
) -> sqlx::Result<Granted> {
    if left.is_empty() && asked.is_empty() {
        return Ok(Granted::default());
    }
    let entered = change(&mut *tx, left, asked).await?;
    for place in &entered.refused {
        refuse(&mut *tx, place).await?;
    }
    Ok(entered.granted)
}

/// A session leaves its place.
pub(super) async fn leave(tx: &mut PgConnection, session: SessionKey) -> sqlx::Result<Granted> {
    Ok(change(tx, &[session], &[]).await?.granted)
}

/// What a refusal says.
async fn full(tx: &mut PgConnection, place: &Place) -> sqlx::Result<Full> {
    let holders = sqlx::query_scalar!(
        "select session_id from tickets
          where tenant_id = $1 and kind = $2 and name = $3 and held
          order by held_since, session_id
          limit $4",
        place.session.tenant.0,
        Kind::Place.code(),
        place.name,
        HOLDERS_MAX
    )
    .fetch_all(tx)
    .await?;
    Ok(Full { name: place.name.clone(), holders: holders.into_iter().map(SessionId).collect() })
}

/// Ends a session that found no place: its ticket was the last, so nobody else is next by that.
async fn refuse(tx: &mut PgConnection, place: &Place) -> sqlx::Result<()> {
    let key = place.session;
    let full = full(&mut *tx, place).await?;
    let failure = Failure::new(ErrorClass::Rejected, full.to_string());
    let error = serde_json::to_value(&failure).expect("a failure of ours serialises");
    sqlx::query!(
        "with gone as (
             delete from tickets where tenant_id = $1 and session_id = $2 and seq = 0 and not held
         )
         update session_progress
            set state = $3, sweep = 2, finished_at = clock(), timed = false, undecided = false,
                error = $4
          where tenant_id = $1 and session_id = $2",
        key.tenant.0,
        key.id.0,
        SessionState::Failed.code(),
        error,
    )
    .execute(&mut *tx)
    .await?;
    let body = json!({ "class": failure.class, "message": failure.message });
    let ended = Entry::of_session(EventKind::SessionFailed, body);
    events::append(tx, key, &[ended], None).await
}

/// A session of which nothing was let go waits for its place from here on. Its row is locked.
pub(super) async fn wait(tx: &mut PgConnection, key: SessionKey) -> sqlx::Result<()> {
    sqlx::query!(
        "update session_progress set sweep = -1 where tenant_id = $1 and session_id = $2",
        key.tenant.0,
        key.id.0
    )
    .execute(tx)
    .await
    .map(|_| ())
}

/// A session that was let go before asks for its place, if it needs one. Its row is locked.
pub(super) async fn ask_again(
    tx: &mut PgConnection,
    place: Option<&Place>,
) -> Result<(), EnterError> {
    let Some(place) = place else { return Ok(()) };
    hold_back(tx, place.session).await?;
    enter(tx, place).await.map(|_| ())
}

/// Nothing of a session that was let go goes on before it has its place.
async fn hold_back(tx: &mut PgConnection, key: SessionKey) -> sqlx::Result<()> {
    sqlx::query!(
        "with held as (
             update session_progress
                set limited = true, sweep = -1, deadline_at = null
              where tenant_id = $1 and session_id = $2
         )
         update tasks t
            set state = 0, queued = false, undecided = true, ready_at = null, rank = null
          where t.tenant_id = $1 and t.session_id = $2 and t.state = 1",
        key.tenant.0,
        key.id.0
    )
    .execute(tx)
    .await
    .map(|_| ())
}

/// Sessions that waited are let go.
pub(super) async fn admit(tx: &mut PgConnection, sessions: &[SessionKey]) -> sqlx::Result<()> {
    if sessions.is_empty() {
        return Ok(());
    }
    let (tenants, ids): (Vec<Uuid>, Vec<Uuid>) =
        sessions.iter().map(|session| (session.tenant.0, session.id.0)).unzip();
    sqlx::query_file!(
        "src/store/sql/places_admit.sql",
        &tenants,
        &ids,
        EventKind::SessionAdmitted.code()
    )
    .execute(tx)
    .await
    .map(|_| ())
}

/// Whether a session that stands above this one has a place under the same name: its own work would
/// wait for itself.
pub(super) async fn is_shared_above(tx: &mut PgConnection, place: &Place) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"with recursive above as (
               select s.parent_id from sessions s where s.tenant_id = $1 and s.id = $2
                union all
               select s.parent_id
                 from above a
                 join sessions s on s.tenant_id = $1 and s.id = a.parent_id
           )
           select exists (select from above a
                            join tickets t on t.tenant_id = $1 and t.session_id = a.parent_id
                                          and t.seq = 0 and t.kind = $3 and t.name = $4)
                  as "is_shared!""#,
        place.session.tenant.0,
        place.session.id.0,
        Kind::Place.code(),
        place.name
    )
    .fetch_one(tx)
    .await
}

/// The oldest holders of places that sessions wait for that have them cancelled, one a limit.
pub(super) async fn ousted(store: &Store) -> sqlx::Result<Vec<SessionKey>> {
    let rows = sqlx::query!(
        r#"select w.tenant_id, h.session_id
             from (select distinct tenant_id, kind, name from tickets
                    where ousts and not held
                    order by tenant_id, kind, name
                    limit 100) w
            cross join lateral (
                  select t.session_id from tickets t
                   where t.tenant_id = w.tenant_id and t.kind = w.kind and t.name = w.name and t.held
                   order by t.held_since, t.session_id
                   limit 1) h"#
    )
    .fetch_all(&store.pool)
    .await?;
    let key = |tenant, id| SessionKey { tenant: crate::id::TenantId(tenant), id: SessionId(id) };
    Ok(rows.into_iter().map(|row| key(row.tenant_id, row.session_id)).collect())
}
