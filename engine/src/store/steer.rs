//! What people do to sessions that have not ended: letting them go, pausing, resuming, and saying how
//! they end. Each act is one transaction under the session's lock, with its event. What becomes of
//! the session's tasks then is the control loop's business.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use sqlx::PgConnection;

use super::{
    Hint, Store, blobs, budgets,
    control::start_limit,
    events::{self, Entry},
    pauses::{self, Point},
    places::{self, Place},
    sessions::SteerError,
    tickets,
};
use crate::{
    event::EventKind,
    id::SessionKey,
    outcome::{ErrorClass, Failure},
    session::SessionState,
};

/// Who acts, and why if they said so.
#[derive(Debug, Clone, Copy, Default)]
pub struct By<'a> {
    pub actor: Option<&'a str>,
    pub reason: Option<&'a str>,
}

impl By<'_> {
    /// The data of the act's event.
    pub(super) fn body(self) -> Map<String, Value> {
        let mut body = Map::new();
        body.extend(self.reason.map(|reason| ("reason".to_owned(), json!(reason))));
        body
    }

    /// `did`, by whom and why, in words.
    fn says(self, did: &str) -> String {
        let by = self.actor.map(|actor| format!(" by {actor}")).unwrap_or_default();
        let because = self.reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        format!("{did}{by}{because}")
    }
}

/// A session's row, locked.
pub(super) struct Locked {
    pub(super) state: SessionState,
    started_at: Option<DateTime<Utc>>,
    /// How it is to end, where that is decided.
    result: Option<i16>,
    hold: Option<Value>,
    /// It needs a place; it waits for it.
    limited: bool,
    waits_for_place: bool,
}

impl Locked {
    /// Locks the row until the end of the transaction.
    pub(super) async fn read(tx: &mut PgConnection, key: SessionKey) -> Result<Self, SteerError> {
        Self::find(tx, key).await?.ok_or(SteerError::NotFound(key.id))
    }

    /// The same; `None` where there is no session.
    pub(super) async fn find(tx: &mut PgConnection, key: SessionKey) -> sqlx::Result<Option<Self>> {
        let row = sqlx::query!(
            "select state, started_at, result, hold, limited, sweep from session_progress
              where tenant_id = $1 and session_id = $2
                for no key update",
            key.tenant.0,
            key.id.0
        )
        .fetch_optional(tx)
        .await?;
        Ok(row.map(|row| Self {
            state: SessionState::from_code(row.state).unwrap_or(SessionState::Pending),
            started_at: row.started_at,
            result: row.result,
            hold: row.hold,
            limited: row.limited,
            waits_for_place: row.sweep == -1,
        }))
    }

    /// How it ends is decided or was asked for.
    pub(super) fn is_ending(&self) -> bool {
        self.result.is_some()
    }

    /// It was paused before it was let go.
    fn waits_for_start(&self) -> bool {
        self.hold.as_ref().is_some_and(|hold| hold["was"] == json!(SessionState::Pending))
    }

    /// What a session that is held no longer goes on as.
    pub(super) fn goes_on_as(&self) -> SessionState {
        if self.started_at.is_some() { SessionState::Running } else { SessionState::Queued }
    }
}

/// Lets a pending session go.
pub async fn start(store: &Store, key: SessionKey, by: By<'_>) -> Result<(), SteerError> {
    let mut tx = store.pool.begin().await?;
    let row = Locked::read(&mut tx, key).await?;
    if row.state != SessionState::Pending {
        return Err(SteerError::NotPending(row.state));
    }
    enter(&mut tx, key, row.state.move_to(SessionState::Queued)?, None, true).await?;
    start_limit::begin(&mut tx, store, key).await?;
    let event = Entry::of_session(EventKind::SessionQueued, by.body());
    events::append(&mut tx, key, &[event], by.actor).await?;
    admit(store, &mut tx, key, &row).await?;
    tx.commit().await?;
    tell(store, key);
    Ok(())
}

/// Nothing new of the session starts from then on; what runs goes on and is recorded.
pub async fn pause(store: &Store, key: SessionKey, by: By<'_>) -> Result<(), SteerError> {
    pause_as(store, key, by, by.body()).await
}

/// The same because a budget is used up: raising it lets the session go on.
pub(super) async fn pause_at_budget(
    store: &Store,
    key: SessionKey,
    reason: &str,
) -> Result<(), SteerError> {
    let by = By { actor: None, reason: Some(reason) };
    let mut hold = by.body();
    hold.insert("budget".to_owned(), json!(true));
    pause_as(store, key, by, hold).await
}

async fn pause_as(
    store: &Store,
    key: SessionKey,
    by: By<'_>,
    mut hold: Map<String, Value>,
) -> Result<(), SteerError> {
    let mut tx = store.pool.begin().await?;
    let row = Locked::read(&mut tx, key).await?;
    let to = row.state.move_to(SessionState::Paused)?;
    if row.is_ending() {
        return Err(SteerError::Stopping(key.id));
    }
    hold.insert("actor".to_owned(), json!(by.actor));
    hold.insert("was".to_owned(), json!(row.state));
    enter(&mut tx, key, to, Some(Value::Object(hold)), true).await?;
    let event = Entry::of_session(EventKind::SessionPaused, by.body());
    events::append(&mut tx, key, &[event], by.actor).await?;
    tickets::park(&mut tx, key).await?;
    pauses::at(Point::Paused).await;
    tx.commit().await?;
    tell(store, key);
    Ok(())
}

/// A paused session goes on from where it stands by now.
pub async fn resume(store: &Store, key: SessionKey, by: By<'_>) -> Result<(), SteerError> {
    let mut tx = store.pool.begin().await?;
    let row = Locked::read(&mut tx, key).await?;
    if row.state != SessionState::Paused {
        return Err(SteerError::NotPaused(row.state));
    }
    let to = row.state.move_to(row.goes_on_as())?;
    enter(&mut tx, key, to, None, true).await?;
    let mut body = by.body();
    body.insert("resumed".to_owned(), json!(true));
    let event = Entry::of_session(EventKind::of_session(to), body);
    events::append(&mut tx, key, &[event], by.actor).await?;
    if row.waits_for_start() {
        admit(store, &mut tx, key, &row).await?;
    } else {
        tickets::park(&mut tx, key).await?;
    }
    budgets::look_again(&mut tx, &[key]).await?;
    tx.commit().await?;
    tell(store, key);
    Ok(())
}

/// Ends the session gracefully: nothing new starts, what runs is told to stop and recorded, what
/// follows a result runs; then it is stopped.
pub async fn stop(store: &Store, key: SessionKey, by: By<'_>) -> Result<(), SteerError> {
    let error = Failure::new(ErrorClass::Cancelled, by.says("stopped"));
    end(store, key, SessionState::Stopped, Some(error), by).await
}

/// Ends the session as completed: what is open of it is cancelled, what follows a result runs.
pub async fn complete(store: &Store, key: SessionKey, by: By<'_>) -> Result<(), SteerError> {
    end(store, key, SessionState::Completed, None, by).await
}

/// Ends the session as failed: what is open of it is cancelled, what follows a result runs.
pub async fn fail(store: &Store, key: SessionKey, by: By<'_>) -> Result<(), SteerError> {
    let error = Failure::new(ErrorClass::Error, by.says("failed by hand"));
    end(store, key, SessionState::Failed, Some(error), by).await
}

async fn end(
    store: &Store,
    key: SessionKey,
    result: SessionState,
    error: Option<Failure>,
    by: By<'_>,
) -> Result<(), SteerError> {
    let mut tx = store.pool.begin().await?;
    let row = Locked::read(&mut tx, key).await?;
    row.state.move_to(result)?;
    if row.is_ending() {
        return Err(SteerError::Stopping(key.id));
    }
    let error = error.map(|error| {
        blobs::without_nul(serde_json::to_value(error).expect("a failure of ours serialises"))
    });
    let mut body = by.body();
    if row.state == SessionState::Pending || row.waits_for_place {
        end_unstarted(&mut tx, key, result, error).await?;
        let event = Entry::of_session(EventKind::of_session(result), body);
        events::append(&mut tx, key, &[event], by.actor).await?;
        if row.limited {
            places::leave(&mut tx, key).await?;
        }
    } else {
        ask(&mut tx, key, result, error).await?;
        body.insert("result".to_owned(), json!(result));
        let event = Entry::of_session(EventKind::SessionEnding, body);
        events::append(&mut tx, key, &[event], by.actor).await?;
    }
    tx.commit().await?;
    store.hints.send(Hint::Ended(key.id));
    tell(store, key);
    Ok(())
}

/// Nothing of it began, so nothing follows.
async fn end_unstarted(
    tx: &mut PgConnection,
    key: SessionKey,
    state: SessionState,
    error: Option<Value>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update session_progress
            set state = $3, sweep = 2, finished_at = clock(), timed = false, undecided = false,
                error = $4
          where tenant_id = $1 and session_id = $2",
        key.tenant.0,
        key.id.0,
        state.code(),
        error,
    )
    .execute(tx)
    .await
    .map(|_| ())
}

/// Asks for the result; the control loop brings it about.
async fn ask(
    tx: &mut PgConnection,
    key: SessionKey,
    result: SessionState,
    error: Option<Value>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update session_progress
            set result = $3, error = $4, sweep = 3, timed = false, closing = true,
                undecided = open = 0
          where tenant_id = $1 and session_id = $2",
        key.tenant.0,
        key.id.0,
        result.code(),
        error,
    )
    .execute(tx)
    .await
    .map(|_| ())
}

/// Enters a state that is not an end. Where tasks are then less or more free to run than before,
/// the janitor moves what is ready, or was.
pub(super) async fn enter(
    tx: &mut PgConnection,
    key: SessionKey,
    state: SessionState,
    hold: Option<Value>,
    is_to_move: bool,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update session_progress
            set state = $3, moving = moving or $5, hold = $4 || jsonb_build_object('at', clock())
          where tenant_id = $1 and session_id = $2",
        key.tenant.0,
        key.id.0,
        state.code(),
        hold.map(blobs::without_nul),
        is_to_move,
    )
    .execute(tx)
    .await
    .map(|_| ())
}

/// Lets a session go that nobody had let go, once it has its place if it needs one.
async fn admit(
    store: &Store,
    tx: &mut PgConnection,
    key: SessionKey,
    row: &Locked,
) -> Result<(), SteerError> {
    if !row.limited {
        return Ok(let_go(tx, key).await?);
    }
    let Some(place) = place_of(store, key, None).await? else { return Ok(let_go(tx, key).await?) };
    places::wait(tx, key).await?;
    places::enter(tx, &place).await?;
    Ok(())
}

/// The place that a session needs, with other inputs than it has or those.
pub(super) async fn place_of(
    store: &Store,
    key: SessionKey,
    inputs: Option<&Map<String, Value>>,
) -> Result<Option<Place>, SteerError> {
    let infos = store.infos.load(store, &[key]).await?;
    let info = infos.get(&key).ok_or(SteerError::NotFound(key.id))?;
    let inputs = inputs.unwrap_or(&info.inputs);
    Place::of(&info.version, key, &info.title, inputs)
        .map_err(|failure| SteerError::Inputs(vec![failure.message]))
}

/// Tasks that wait for nothing may run from here on.
async fn let_go(tx: &mut PgConnection, key: SessionKey) -> sqlx::Result<()> {
    sqlx::query!(
        "update tasks t
            set state = case when t.state = 0 then (t.flags & 2 <> 0)::int else t.state end,
                queued = t.state = 0 and t.flags & 2 <> 0,
                undecided = t.state = 0 and t.flags & 2 = 0,
                was = case when t.state = 5 then 2 - (t.flags & 2 <> 0)::int end,
                ready_at = case when t.flags & 2 <> 0 then clock() end,
                rank = case when t.flags & 2 <> 0 then clock() + priority_offset(t.priority) end
          where t.tenant_id = $1 and t.session_id = $2 and t.blockers = 0
            and ((t.state = 0 and not t.undecided) or (t.state = 5 and t.was = 0))",
        key.tenant.0,
        key.id.0
    )
    .execute(tx)
    .await
    .map(|_| ())
}

/// Sends what an act gives reason for.
pub(super) fn tell(store: &Store, key: SessionKey) {
    store.hints.send(Hint::Ready);
    store.hints.send(Hint::Undecided);
    store.hints.send(Hint::Event(key.id));
}
