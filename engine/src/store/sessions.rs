//! Sessions: creating them and ending them by hand. What their tasks do is not decided here.

use std::{slice, sync::Arc};

use serde_json::{Map, Value, json};
use sqlx::{PgConnection, PgPool};
use thiserror::Error;

pub use super::session_retry::{Wish, retry};
use super::session_rows::Rows;
use super::{
    Hint, SessionInfo, Store, Version,
    pauses::{self, Point},
    places::{self, EnterError, Place},
    session_object::{self, SessionObject},
};
use crate::{
    id::{SessionId, SessionKey, TenantId},
    priority::Priority,
    reopen,
    schedule::ScheduleId,
    session::{IllegalMove, SessionState},
    task::{self, TaskState},
};

/// A session to be created. The inputs are checked and completed here.
#[derive(Debug, Clone)]
pub struct NewSession {
    pub version: Arc<Version>,
    pub inputs: Map<String, Value>,
    pub title: Option<String>,
    pub tags: Vec<String>,
    pub metadata: Map<String, Value>,
    /// `None` takes the workflow's.
    pub priority: Option<Priority>,
    pub prompt: Option<String>,
    pub description: Option<String>,
    pub created_by: Option<String>,
    pub file_dir: Option<String>,
    pub idempotency: Option<Idempotency>,
    /// The schedule that starts it.
    pub schedule: Option<ScheduleId>,
    /// Whether it is let go at once, or stays pending until somebody starts it.
    pub start: bool,
}

impl NewSession {
    pub fn new(version: Arc<Version>) -> Self {
        Self {
            version,
            inputs: Map::new(),
            title: None,
            tags: Vec::new(),
            metadata: Map::new(),
            priority: None,
            prompt: None,
            description: None,
            created_by: None,
            file_dir: None,
            idempotency: None,
            schedule: None,
            start: true,
        }
    }
}

/// The client's key for a request, with a digest of the request.
#[derive(Debug, Clone)]
pub struct Idempotency {
    pub key: String,
    pub request: Vec<u8>,
}

/// A session that exists now.
#[derive(Debug, Clone)]
pub struct Created {
    pub key: SessionKey,
    /// It was created before, by a request with the same idempotency key.
    pub existing: bool,
    /// What it was like then, where that need not be read.
    pub fresh: Option<Box<SessionObject>>,
}

#[derive(Debug, Error)]
pub enum CreateError {
    #[error("the inputs do not fit the workflow: {}", .0.join("; "))]
    Inputs(Vec<String>),
    #[error("the idempotency key was used before with another request")]
    KeyReused,
    #[error(transparent)]
    Full(places::Full),
    #[error("the database did not take the session")]
    Database(#[from] sqlx::Error),
}

impl From<EnterError> for CreateError {
    fn from(error: EnterError) -> Self {
        match error {
            EnterError::Full(full) => Self::Full(full),
            EnterError::Database(error) => Self::Database(error),
        }
    }
}

/// Creates a session and everything in it, in one transaction.
pub async fn create(store: &Store, new: NewSession) -> Result<Created, CreateError> {
    let tenant = new.version.tenant;
    let idempotency = new.idempotency.clone();
    let (version, file_dir) = (Arc::clone(&new.version), new.file_dir.clone());
    let rows = Rows::of(slice::from_ref(&new))?;
    let key = SessionKey { tenant, id: SessionId(rows.ids[0]) };
    let (title, inputs) = (rows.titles[0].clone(), rows.inputs[0].clone());
    let undecided = rows.undecided;
    let mut at = None;
    if idempotency.is_some() || !rows.places.is_empty() {
        let mut tx = store.pool.begin().await?;
        if let Some(idempotency) = &idempotency
            && let Some(first) = first_with_key(&mut tx, key, idempotency).await?
        {
            let key = SessionKey { tenant, id: first };
            return Ok(Created { key, existing: true, fresh: None });
        }
        rows.insert(&mut *tx).await?;
        for place in &rows.places {
            places::enter(&mut tx, place).await?;
        }
        tx.commit().await?;
    } else {
        at = Some(store.creations.write(&store.pool, rows).await?);
    }
    let mut fresh = None;
    if let Ok(inputs) = serde_json::from_str::<Map<String, Value>>(&inputs) {
        let shown = (title.clone(), inputs.clone());
        fresh = at.and_then(|at| session_object::fresh(new, key.id, shown, at).ok().map(Box::new));
        // A worker of this process will want to know it in a moment.
        store.infos.keep(SessionInfo { key, version, title, inputs, file_dir, funded: false });
    }
    tell(store, undecided);
    Ok(Created { key, existing: false, fresh })
}

/// Creates a session as a part of a transaction, without an idempotency key. The caller asks for its
/// place, if it needs one, commits, and sends the hints then.
pub(super) async fn create_in(
    tx: &mut PgConnection,
    new: NewSession,
) -> Result<(SessionKey, Option<Place>), CreateError> {
    let tenant = new.version.tenant;
    let mut rows = Rows::of(&[new])?;
    rows.insert(tx).await?;
    Ok((SessionKey { tenant, id: SessionId(rows.ids[0]) }, rows.places.pop()))
}

/// Creates many sessions in one transaction, without idempotency keys. Those that do not wait for a
/// place and find none end as failed.
pub async fn create_many(
    store: &Store,
    sessions: &[NewSession],
) -> Result<Vec<SessionKey>, CreateError> {
    let rows = Rows::of(sessions)?;
    if rows.places.is_empty() {
        rows.insert(&store.pool).await?;
    } else {
        let mut tx = store.pool.begin().await?;
        rows.insert(&mut *tx).await?;
        places::enter_all(&mut tx, &[], &rows.places).await?;
        tx.commit().await?;
    }
    tell(store, rows.undecided);
    Ok(sessions
        .iter()
        .zip(&rows.ids)
        .map(|(new, id)| SessionKey { tenant: new.version.tenant, id: SessionId(*id) })
        .collect())
}

fn tell(store: &Store, undecided: bool) {
    store.hints.send(Hint::Ready);
    if undecided {
        store.hints.send(Hint::Undecided);
    }
}

/// The session that a request with this key created before.
pub(super) async fn known_by(
    tx: &mut PgConnection,
    tenant: TenantId,
    idempotency: &Idempotency,
) -> Result<Option<SessionId>, CreateError> {
    let first = sqlx::query!(
        "select session_id, request from idempotency_keys where tenant_id = $1 and key = $2",
        tenant.0,
        idempotency.key
    )
    .fetch_optional(tx)
    .await?;
    match first {
        Some(first) if first.request != idempotency.request => Err(CreateError::KeyReused),
        first => Ok(first.map(|first| SessionId(first.session_id))),
    }
}

/// Takes the key for this session, or finds the session that has it.
pub(super) async fn first_with_key(
    tx: &mut PgConnection,
    key: SessionKey,
    idempotency: &Idempotency,
) -> Result<Option<SessionId>, CreateError> {
    let taken = sqlx::query!(
        "insert into idempotency_keys (tenant_id, key, session_id, request)
         values ($1, $2, $3, $4)
             on conflict do nothing",
        key.tenant.0,
        idempotency.key,
        key.id.0,
        idempotency.request
    )
    .execute(&mut *tx)
    .await?;
    if taken.rows_affected() == 1 {
        return Ok(None);
    }
    let first = known_by(tx, key.tenant, idempotency).await?;
    first.map(Some).ok_or(CreateError::Database(sqlx::Error::RowNotFound))
}

#[derive(Debug, Error)]
pub enum SteerError {
    #[error("there is no session {0}")]
    NotFound(SessionId),
    #[error(transparent)]
    IllegalMove(#[from] IllegalMove),
    #[error("nothing in session {0} failed, so there is nothing to retry")]
    NothingToRetry(SessionId),
    #[error("session {0} is still being stopped; try again in a moment")]
    Stopping(SessionId),
    #[error("the session is {0}, not paused")]
    NotPaused(SessionState),
    #[error("the session is {0}: only one that is pending can be started")]
    NotPending(SessionState),
    #[error(transparent)]
    IllegalTaskMove(#[from] task::IllegalMove),
    #[error("the task is {0}, not paused")]
    TaskNotPaused(TaskState),
    #[error("the task cannot be paused: {0}")]
    TaskNotPausable(&'static str),
    #[error("the session is {0}: only one that has ended can be deleted; cancel it first")]
    NotEnded(SessionState),
    #[error("the session is not deleted")]
    NotDeleted,
    #[error(
        "the session has no checkpoint {0}; it keeps the newest 100, and the last of each task"
    )]
    NoCheckpoint(i32),
    #[error("nobody would hear it: {0}")]
    NobodyHears(&'static str),
    #[error("the inputs do not fit the workflow: {}", .0.join("; "))]
    Inputs(Vec<String>),
    #[error("the outputs of a task: {0}")]
    Outputs(String),
    #[error("{0}")]
    Asked(#[from] reopen::Refusal),
    #[error(transparent)]
    Full(places::Full),
    #[error("the database did not take the change")]
    Database(#[from] sqlx::Error),
}

impl From<EnterError> for SteerError {
    fn from(error: EnterError) -> Self {
        match error {
            EnterError::Full(full) => Self::Full(full),
            EnterError::Database(error) => Self::Database(error),
        }
    }
}

/// Ends a session at once: when this returns nothing of it can end or start any more, and its
/// processes are being stopped.
pub async fn cancel(
    store: &Store,
    key: SessionKey,
    actor: Option<&str>,
    reason: Option<&str>,
) -> Result<(), SteerError> {
    let body = reason.map(|reason| json!({ "reason": reason }));
    if !end_one_at_once(store, key, SessionState::Cancelled, actor, body).await? {
        let from = state(&store.pool, key).await?.ok_or(SteerError::NotFound(key.id))?;
        return Err(IllegalMove { from, to: SessionState::Cancelled }.into());
    }
    store.hints.send(Hint::Ended(key.id));
    store.hints.send(Hint::Undecided);
    store.hints.send(Hint::Event(key.id));
    Ok(())
}

/// Ends a session that has not ended as `to`, cancelled or orphaned, and lets the next one have its
/// place; false when it has ended or there is none. The caller sends the hints.
pub(super) async fn end_one_at_once(
    store: &Store,
    key: SessionKey,
    to: SessionState,
    actor: Option<&str>,
    body: Option<Value>,
) -> sqlx::Result<bool> {
    let mut tx = store.pool.begin().await?;
    let Some(ended) = end_at_once(&mut tx, key, to, actor, body).await? else { return Ok(false) };
    if ended.leaves {
        places::leave(&mut tx, key).await?;
    }
    pauses::at(Point::Cancelled).await;
    tx.commit().await?;
    if ended.leaves {
        store.hints.send(Hint::Ready);
    }
    Ok(true)
}

/// A session that was ended at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct EndedAtOnce {
    /// It has a place, or waits for one: the caller gives it back.
    pub(super) leaves: bool,
}

/// Ends a session that has not ended as `to`, cancelled or orphaned, and voids all its fences; `None`
/// when it has ended or there is none. Whoever commits it sends the hints.
pub(super) async fn end_at_once(
    tx: &mut PgConnection,
    key: SessionKey,
    to: SessionState,
    actor: Option<&str>,
    body: Option<Value>,
) -> sqlx::Result<Option<EndedAtOnce>> {
    sqlx::query_as!(
        EndedAtOnce,
        r#"with ended as (
             update session_progress
                set state = $3, sweep = 2, finished_at = clock(), timed = false,
                    undecided = false, next_event = next_event + 1
              where tenant_id = $1 and session_id = $2 and state < 5
             returning next_event - 1 as number, finished_at, limited
         ), logged as (
             insert into events (tenant_id, session_id, first_seq, last_seq, at, kinds, tasks,
                                 attempts, ats, bodies, actor)
             select $1, $2, number, number, finished_at, array[$3::smallint], array[null::int],
                    array[null::int], array[finished_at],
                    case when $4::text is not null then array[$4::jsonb] end, $5
               from ended
         )
         select limited as "leaves!" from ended"#,
        key.tenant.0,
        key.id.0,
        to.code(),
        body.map(|body| body.to_string()) as _,
        actor as _,
    )
    .fetch_optional(tx)
    .await
}

/// Where a session stands; `None` when there is none.
pub async fn state(db: &PgPool, key: SessionKey) -> sqlx::Result<Option<SessionState>> {
    let code = sqlx::query_scalar!(
        "select state from session_progress where tenant_id = $1 and session_id = $2",
        key.tenant.0,
        key.id.0
    )
    .fetch_optional(db)
    .await?;
    Ok(code.and_then(SessionState::from_code))
}
