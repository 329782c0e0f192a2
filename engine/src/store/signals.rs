//! Signals: sending one, and tasks that take what was sent. A signal that nobody waits for yet is
//! kept, in order, until a task does; each is taken once. Whoever sends or takes holds the
//! session's lock.

use serde_json::{Value, json};
use sqlx::PgConnection;
use thiserror::Error;

use super::{
    Hint, SessionInfo, Store,
    events::{self, Entry},
    sessions::Idempotency,
    transition::{Move, Moved, Mover, transition_in},
};
use crate::{
    event::EventKind,
    id::{SessionId, SessionKey, TaskKey},
    plan::NodeIndex,
    session::SessionState,
    signal,
    task::{Reason, TaskState},
};

/// A signal to be sent.
#[derive(Debug, Clone)]
pub struct NewSignal<'a> {
    pub name: &'a str,
    /// A JSON object.
    pub data: &'a Value,
    pub sent_by: &'a str,
    pub idempotency: Option<Idempotency>,
}

/// A signal that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// From 1 in the session.
    pub number: i32,
    /// The row of the task that took it at once.
    pub task: Option<i32>,
    /// It was sent before, with the same idempotency key.
    pub existing: bool,
}

#[derive(Debug, Error)]
pub enum SignalError {
    #[error("there is no session {0}")]
    NotFound(SessionId),
    #[error("session {0} is {1}: nothing of it takes a signal any more")]
    Ended(SessionId, SessionState),
    #[error("`{0}` cannot be the name of a signal: use 1 to 128 letters, digits and `. _ / : @ -`")]
    BadName(String),
    #[error("the payload of a signal is a JSON object of at most 256 KiB")]
    BadData,
    #[error("the payload does not fit what a task waits for: {0}")]
    Misfit(String),
    #[error("10000 signals of session {0} wait to be taken already")]
    TooMany(SessionId),
    #[error("the idempotency key was used before with another signal")]
    KeyReused,
    #[error("the database did not take the signal")]
    Database(#[from] sqlx::Error),
}

/// A task that waits for a signal.
struct Waiting {
    seq: i32,
    node: NodeIndex,
    attempt: i32,
}

/// Sends a signal to a session: the first task that waits for its name takes it, else it is kept.
pub async fn send(store: &Store, key: SessionKey, new: NewSignal<'_>) -> Result<Sent, SignalError> {
    if !signal::is_name(new.name) || new.name.starts_with(crate::decompose::OWN) {
        return Err(SignalError::BadName(new.name.to_owned()));
    }
    if !new.data.is_object() || new.data.to_string().len() > signal::DATA_BYTES_MAX {
        return Err(SignalError::BadData);
    }
    let infos = store.infos.load(store, &[key]).await?;
    let info = infos.get(&key).ok_or(SignalError::NotFound(key.id))?;
    let mut tx = store.pool.begin().await?;
    let state = sqlx::query_scalar!(
        "select state from session_progress
          where tenant_id = $1 and session_id = $2 for no key update",
        key.tenant.0,
        key.id.0
    )
    .fetch_optional(&mut *tx)
    .await?
    .ok_or(SignalError::NotFound(key.id))?;
    if let Some(idempotency) = &new.idempotency
        && let Some(sent) = sent_before(&mut tx, key, idempotency).await?
    {
        return Ok(sent);
    }
    let state = SessionState::from_code(state).unwrap_or(SessionState::Cancelled);
    if state.is_final() {
        return Err(SignalError::Ended(key.id, state));
    }
    let waiting = first_waiting(&mut tx, key, new.name).await?;
    match &waiting {
        Some(waiting) => {
            let schema = info.version.plan.node(waiting.node).outputs.as_ref();
            signal::fits(new.data, schema).map_err(SignalError::Misfit)?;
        }
        None if is_full(&mut tx, key).await? => return Err(SignalError::TooMany(key.id)),
        None => {}
    }
    let seq = waiting.as_ref().map(|waiting| waiting.seq);
    let number = insert(&mut tx, key, &new, seq).await?;
    let body = json!({ "name": new.name, "number": number });
    let received = Entry { task: seq, ..Entry::of_session(EventKind::SignalReceived, body) };
    events::append(&mut tx, key, &[received], Some(new.sent_by)).await?;
    let mut moved = None;
    if let Some(waiting) = &waiting {
        let task = TaskKey { session: key, seq: waiting.seq };
        let end = taken(task, waiting.attempt, number, new.data.clone());
        let mut ended =
            transition_in(&mut tx, Mover::Control, &[end], &[], Some(new.sent_by)).await?;
        ended.unlock(&mut tx, &[]).await?;
        moved = Some(ended);
    }
    tx.commit().await?;
    tell(store, key, moved.as_ref());
    Ok(Sent { number, task: seq, existing: false })
}

/// Lets a task wait for a name, or hands it the oldest kept signal that fits. The session is locked
/// and the row waits already. A kept signal that does not fit is set aside.
pub(super) async fn wait(
    tx: &mut PgConnection,
    info: &SessionInfo,
    (task, node, attempt): (TaskKey, NodeIndex, i32),
    name: &str,
) -> sqlx::Result<Option<Move>> {
    let key = task.session;
    sqlx::query!(
        "insert into signal_waits (tenant_id, session_id, seq, name) values ($1, $2, $3, $4)
             on conflict (tenant_id, session_id, seq) do update set name = excluded.name",
        key.tenant.0,
        key.id.0,
        task.seq,
        name
    )
    .execute(&mut *tx)
    .await?;
    let schema = info.version.plan.node(node).outputs.as_ref();
    while let Some((number, data)) = first_kept(&mut *tx, key, name).await? {
        let fit = signal::fits(&data, schema);
        let fate = if fit.is_ok() { TAKEN } else { REFUSED };
        sqlx::query!(
            "update signals set fate = $4, seq = $5
              where tenant_id = $1 and session_id = $2 and number = $3",
            key.tenant.0,
            key.id.0,
            number,
            fate,
            task.seq
        )
        .execute(&mut *tx)
        .await?;
        let Err(why) = fit else { return Ok(Some(taken(task, attempt, number, data))) };
        let body = json!({ "name": name, "number": number, "message": why });
        let refused = Entry::of_task(EventKind::SignalRefused, task.seq, body);
        events::append(&mut *tx, key, &[refused], None).await?;
    }
    Ok(None)
}

const TAKEN: i16 = 1;
const REFUSED: i16 = 2;

fn taken(task: TaskKey, attempt: i32, number: i32, data: Value) -> Move {
    let mut end = Move::new(task, attempt, TaskState::Blocked, TaskState::Completed);
    end.output = Some(data);
    end.body = Some(json!({ "signal": number }));
    end
}

async fn sent_before(
    tx: &mut PgConnection,
    key: SessionKey,
    idempotency: &Idempotency,
) -> Result<Option<Sent>, SignalError> {
    let first = sqlx::query!(
        "select number, fate, seq, request from signals
          where tenant_id = $1 and session_id = $2 and key = $3",
        key.tenant.0,
        key.id.0,
        idempotency.key
    )
    .fetch_optional(tx)
    .await?;
    match first {
        Some(first) if first.request.as_ref() != Some(&idempotency.request) => {
            Err(SignalError::KeyReused)
        }
        Some(first) => {
            let task = first.seq.filter(|_| first.fate == TAKEN);
            Ok(Some(Sent { number: first.number, task, existing: true }))
        }
        None => Ok(None),
    }
}

/// The first task that waits for this name and has time left.
async fn first_waiting(
    tx: &mut PgConnection,
    key: SessionKey,
    name: &str,
) -> sqlx::Result<Option<Waiting>> {
    let row = sqlx::query!(
        "select t.seq, t.node, t.attempt
           from signal_waits w
           join tasks t on t.tenant_id = w.tenant_id and t.session_id = w.session_id
                       and t.seq = w.seq
          where w.tenant_id = $1 and w.session_id = $2 and w.name = $3
            and t.state = 4 and t.reason = $4 and not (t.delayed and t.wake_at <= clock())
          order by w.seq
          limit 1",
        key.tenant.0,
        key.id.0,
        name,
        Reason::Signal.code()
    )
    .fetch_optional(tx)
    .await?;
    Ok(row.map(|row| Waiting {
        seq: row.seq,
        node: NodeIndex::from_code(row.node),
        attempt: row.attempt,
    }))
}

async fn is_full(tx: &mut PgConnection, key: SessionKey) -> sqlx::Result<bool> {
    let kept = sqlx::query_scalar!(
        r#"select count(*) as "count!"
             from (select from signals
                    where tenant_id = $1 and session_id = $2 and fate = 0
                    limit $3) s"#,
        key.tenant.0,
        key.id.0,
        signal::KEPT_MAX
    )
    .fetch_one(tx)
    .await?;
    Ok(kept >= signal::KEPT_MAX)
}

/// Stores the signal under the next number.
async fn insert(
    tx: &mut PgConnection,
    key: SessionKey,
    new: &NewSignal<'_>,
    taken_by: Option<i32>,
) -> sqlx::Result<i32> {
    sqlx::query_scalar!(
        "insert into signals (tenant_id, session_id, number, name, data, sent_by, sent_at, key,
                              request, fate, seq)
         select $1, $2,
                coalesce((select max(number) from signals
                           where tenant_id = $1 and session_id = $2), 0) + 1,
                $3, $4::text::jsonb, $5, clock(), $6, $7,
                case when $8::int is null then 0 else 1 end, $8
         returning number",
        key.tenant.0,
        key.id.0,
        new.name,
        super::blobs::to_jsonb_text(new.data),
        new.sent_by,
        new.idempotency.as_ref().map(|it| it.key.as_str()) as _,
        new.idempotency.as_ref().map(|it| it.request.as_slice()) as _,
        taken_by as _,
    )
    .fetch_one(tx)
    .await
}

async fn first_kept(
    tx: &mut PgConnection,
    key: SessionKey,
    name: &str,
) -> sqlx::Result<Option<(i32, Value)>> {
    let row = sqlx::query!(
        "select number, data from signals
          where tenant_id = $1 and session_id = $2 and name = $3 and fate = 0
          order by number
          limit 1",
        key.tenant.0,
        key.id.0,
        name
    )
    .fetch_optional(tx)
    .await?;
    Ok(row.map(|row| (row.number, row.data)))
}

fn tell(store: &Store, key: SessionKey, moved: Option<&Moved>) {
    if moved.is_some_and(|moved| moved.ready > 0) {
        store.hints.send(Hint::Ready);
    }
    if moved.is_some() {
        store.hints.send(Hint::Undecided);
    }
    store.hints.send(Hint::Event(key.id));
}
