//! What people say to running agents: kept until the agent's attempt has heard it.

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use super::{
    Hint, Store,
    events::{self, Entry},
    sessions::SteerError,
    steer::Locked,
};
use crate::{
    event::EventKind,
    id::TaskKey,
    plan::{Kind, NodeIndex},
    session::IllegalMove,
    session::SessionState,
    task::TaskState,
};

/// Messages that are handed over at once.
const BATCH: i64 = 20;

/// A message on its way to an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    pub id: Uuid,
    pub text: String,
    pub sent_by: Option<String>,
    pub at: DateTime<Utc>,
}

/// Says something to the agent that runs a task, with its event. A task that does not run, or no
/// conversing agent's, is refused.
pub async fn say(
    store: &Store,
    task: TaskKey,
    text: &str,
    actor: Option<&str>,
) -> Result<Uuid, SteerError> {
    let key = task.session;
    let mut tx = store.pool.begin().await?;
    let from = Locked::read(&mut tx, key).await?.state;
    if from.is_final() {
        return Err(IllegalMove { from, to: SessionState::Running }.into());
    }
    let infos = store.infos.load(store, &[key]).await?;
    let plan = &infos.get(&key).ok_or(SteerError::NotFound(key.id))?.version.plan;
    let row = sqlx::query!(
        "select state, node from tasks where tenant_id = $1 and session_id = $2 and seq = $3",
        key.tenant.0,
        key.id.0,
        task.seq,
    )
    .fetch_optional(&mut *tx)
    .await?
    .ok_or(SteerError::NotFound(key.id))?;
    let hears = match &plan.node(NodeIndex::from_code(row.node)).kind {
        Kind::Agent(agent) => agent.runtime.converses(),
        Kind::Run(_)
        | Kind::Builtin(_)
        | Kind::Sleep(_)
        | Kind::Session(_)
        | Kind::Approval(_)
        | Kind::WaitFor(_)
        | Kind::Group(_) => false,
    };
    if !hears {
        return Err(SteerError::NobodyHears("it is no agent that converses"));
    }
    if row.state != TaskState::InProgress.code() {
        return Err(SteerError::NobodyHears("it does not run"));
    }
    let id = Uuid::now_v7();
    sqlx::query!(
        "insert into agent_messages (tenant_id, session_id, id, seq, body, sent_by, at)
         values ($1, $2, $3, $4, $5, $6, clock())",
        key.tenant.0,
        key.id.0,
        id,
        task.seq,
        text.replace('\0', ""),
        actor,
    )
    .execute(&mut *tx)
    .await?;
    let body = serde_json::json!({ "message": id });
    let event = Entry::of_task(EventKind::AgentMessage, task.seq, body);
    events::append(&mut tx, key, &[event], actor).await?;
    tx.commit().await?;
    store.hints.send(Hint::Event(key.id));
    Ok(id)
}

/// What the agent of a task has not been told, oldest first; of what it was told, what came after
/// the checkpoint with this number, which it may have forgotten.
pub async fn waiting(
    db: &PgPool,
    task: TaskKey,
    checkpoint: Option<i32>,
) -> sqlx::Result<Vec<Waiting>> {
    sqlx::query_as!(
        Waiting,
        "select id, body as text, sent_by, at
           from agent_messages m
          where tenant_id = $1 and session_id = $2 and seq = $3
            and (heard_at is null
                 or heard_at > (select c.at from checkpoints c
                                 where c.tenant_id = $1 and c.session_id = $2 and c.number = $4))
          order by id
          limit $5",
        task.session.tenant.0,
        task.session.id.0,
        task.seq,
        checkpoint,
        BATCH,
    )
    .fetch_all(db)
    .await
}

/// The agent has been told these.
pub async fn heard(db: &PgPool, task: TaskKey, ids: &[Uuid]) -> sqlx::Result<()> {
    sqlx::query!(
        "update agent_messages set heard_at = clock()
          where tenant_id = $1 and session_id = $2 and id = any ($3)",
        task.session.tenant.0,
        task.session.id.0,
        ids,
    )
    .execute(db)
    .await
    .map(drop)
}
