//! Forks: a new session beside one that exists, sharing what had ended there. Its rows are copied
//! inside the server with the numbers they have; outputs that stand in blobs are shared by their
//! hash, and what attempts printed stays with the session they ran in.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use serde_json::{Map, Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    Hint, Store, artifacts, blobs, checkpoints, contexts, flags,
    places::{self, Place},
    session_info::SessionInfo,
    session_retry::{self, Ended},
    sessions::SteerError,
    steer::Locked,
};
use crate::{
    id::{SessionId, SessionKey},
    plan::Plan,
    reopen::{self, Reopened, Reopening},
    task::TaskState,
    workflow,
};

/// A fork to be made.
#[derive(Debug, Clone)]
pub struct NewFork {
    pub origin: SessionKey,
    /// The row at which it differs, and the key of the task.
    pub at: i32,
    pub task: String,
    /// Inputs that take the place of the origin's, by name.
    pub inputs: Map<String, Value>,
    /// `None` takes the origin's.
    pub title: Option<String>,
    /// The task at which it differs goes on from this checkpoint of the origin's.
    pub checkpoint: Option<i32>,
    pub reason: Option<String>,
    pub actor: Option<String>,
}

/// The state of rows that are shared as they are.
const SHARED: i16 = -1;

/// Makes a fork, in one transaction.
pub async fn fork(store: &Store, new: NewFork) -> Result<SessionKey, SteerError> {
    contexts::fold_session(store, new.origin).await?;
    let mut tx = store.pool.begin().await?;
    let forked = copy(store, &mut tx, new).await?;
    tx.commit().await?;
    store.hints.send(Hint::Ready);
    store.hints.send(Hint::Undecided);
    Ok(forked)
}

async fn copy(
    store: &Store,
    tx: &mut PgConnection,
    new: NewFork,
) -> Result<SessionKey, SteerError> {
    let origin = new.origin;
    let info = hold(store, tx, origin).await?;
    let plan = &info.version.plan;
    let (title, inputs) = named(tx, origin, new.inputs).await?;
    let inputs = workflow::check_inputs(plan, inputs).map_err(SteerError::Inputs)?;
    let copies = Copies::read(tx, plan, origin, new.at).await?;
    let id = Uuid::now_v7();
    let title = new.title.unwrap_or_else(|| retitled(title, origin.id, id));
    let forked = SessionKey { tenant: origin.tenant, id: SessionId(id) };
    let place = Place::of(&info.version, forked, &title, &inputs)
        .map_err(|failure| SteerError::Inputs(vec![failure.message]))?;
    let told = told(&new.task, origin.id, new.reason);
    sqlx::query_file!(
        "src/store/sql/fork.sql",
        origin.tenant.0,
        origin.id.0,
        id,
        title,
        blobs::without_nul(Value::Object(inputs)),
        new.actor,
        new.task,
        &copies.seqs,
        &copies.states,
        &copies.blockers,
        &copies.undecided,
        &copies.timeouts,
        plan.fail_fast,
        plan.needs_closing() || place.is_some(),
        plan.has_epilogue(),
        blobs::without_nul(Value::Object(told)),
        flags::FINALLY,
        &copies.begun,
        &copies.gated,
        flags::GATED,
        &copies.bad,
    )
    .execute(&mut *tx)
    .await?;
    contexts::bring_along(tx, (origin, forked), new.actor.as_deref()).await?;
    bring_along(tx, (origin, new.at), (new.checkpoint, &copies), forked).await?;
    places::ask_again(tx, place.as_ref()).await?;
    Ok(forked)
}

/// What is known of the origin, of which nothing moves while it is read and copied.
async fn hold(
    store: &Store,
    tx: &mut PgConnection,
    origin: SessionKey,
) -> Result<Arc<SessionInfo>, SteerError> {
    Locked::read(tx, origin).await?;
    let mut infos = store.infos.load(store, &[origin]).await?;
    infos.remove(&origin).ok_or(SteerError::NotFound(origin.id))
}

/// What shared tasks left; and the fork's task goes on from a checkpoint of the origin's, where one is
/// named.
async fn bring_along(
    tx: &mut PgConnection,
    (origin, at): (SessionKey, i32),
    (number, copies): (Option<i32>, &Copies),
    forked: SessionKey,
) -> Result<(), SteerError> {
    artifacts::share(tx, origin, forked, &copies.shared()).await?;
    let Some(number) = number else { return Ok(()) };
    if checkpoints::row_of(tx, origin, number).await? != at {
        return Err(SteerError::NoCheckpoint(number));
    }
    checkpoints::pin(tx, origin, number, forked).await?;
    Ok(())
}

/// What the event says of the fork.
fn told(task: &str, origin: SessionId, reason: Option<String>) -> Map<String, Value> {
    let mut told =
        Map::from_iter([("forked_from".to_owned(), json!(origin)), ("at".to_owned(), json!(task))]);
    told.extend(reason.map(|reason| ("reason".to_owned(), Value::String(reason))));
    told
}

/// The title and the inputs that a session has by now, with others over them.
async fn named(
    tx: &mut PgConnection,
    key: SessionKey,
    over: Map<String, Value>,
) -> sqlx::Result<(String, Map<String, Value>)> {
    let session = sqlx::query!(
        r#"select s.title, coalesce(p.inputs, s.inputs) as "inputs!"
             from sessions s
             join session_progress p on p.tenant_id = s.tenant_id and p.session_id = s.id
            where s.tenant_id = $1 and s.id = $2"#,
        key.tenant.0,
        key.id.0
    )
    .fetch_one(tx)
    .await?;
    let mut inputs = session.inputs.as_object().cloned().unwrap_or_default();
    inputs.extend(over);
    Ok((session.title, inputs))
}

/// The rows of the fork, as columns.
#[derive(Default)]
struct Copies {
    seqs: Vec<i32>,
    states: Vec<i16>,
    blockers: Vec<i32>,
    bad: Vec<i32>,
    undecided: Vec<bool>,
    timeouts: Vec<i64>,
    /// Groups that have begun and go on, now or later.
    begun: Vec<bool>,
    /// Rows that wait for such a group.
    gated: Vec<bool>,
}

impl Copies {
    /// Those of a fork at this row.
    async fn read(
        tx: &mut PgConnection,
        plan: &Plan,
        origin: SessionKey,
        at: i32,
    ) -> Result<Self, SteerError> {
        let rows = session_retry::ended_rows(tx, origin).await?;
        Ok(Self::of(plan, &rows, &reopen::fork(&rows.rows, at)))
    }

    /// The rows that are as they are in the origin.
    fn shared(&self) -> Vec<i32> {
        let rows = self.seqs.iter().zip(&self.states);
        rows.filter(|(_, state)| **state == SHARED).map(|(seq, _)| *seq).collect()
    }

    fn of(plan: &Plan, rows: &Ended, reopening: &Reopening) -> Self {
        let timeout = |row: &Reopened| {
            let timeout = plan.node(*rows.groups.get(&row.seq)?).timeout?;
            (row.state == TaskState::Blocked).then(|| timeout.ms.cast_signed())
        };
        let opened: HashMap<i32, &Reopened> =
            reopening.opened.iter().map(|row| (row.seq, row)).collect();
        let dropped: HashSet<i32> = reopening.dropped.iter().copied().collect();
        let mut copies = Self::default();
        for row in rows.rows.iter().filter(|row| !dropped.contains(&row.seq)) {
            let open = opened.get(&row.seq).copied();
            copies.seqs.push(row.seq);
            copies.states.push(open.map_or(SHARED, |row| row.state.code()));
            copies.blockers.push(open.map_or(0, |row| row.blockers));
            copies.bad.push(open.map_or(0, |row| row.bad));
            copies.undecided.push(open.is_some_and(|row| row.undecided));
            copies.timeouts.push(open.and_then(timeout).unwrap_or(-1));
            let goes_on = open.is_some_and(|row| row.state == TaskState::Blocked);
            copies.begun.push(goes_on || reopening.held.contains(&row.seq));
            copies.gated.push(reopening.gated.contains(&row.seq));
        }
        copies
    }
}

/// The origin's title, unless nobody gave it one.
fn retitled(title: String, origin: SessionId, id: Uuid) -> String {
    let default = |id: Uuid| format!("IND-{}", &id.simple().to_string()[24..]);
    if title == default(origin.0) { default(id) } else { title }
}
