//! Takes on sessions in which everything has ended: decides the result, renders the outputs, lets
//! go what runs after that, and ends them.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use sqlx::PgConnection;

use crate::{
    closing::{self, Left, Phase},
    event::EventKind,
    expression,
    id::{SessionId, SessionKey, TenantId},
    outcome::Failure,
    plan::Plan,
    session::{self, SessionState},
    store::{
        Hint, SessionInfo, Store, blobs, contexts, flags, places,
        values::{self, Request},
    },
    task::TaskState,
};

/// A session of which everything in its phase has ended.
struct Candidate {
    key: SessionKey,
    retry: i32,
    phase: Phase,
    /// The result, where it is decided or was asked for.
    result: Option<SessionState>,
    bad: i32,
    allowed: i32,
    /// It leaves a place.
    limited: bool,
}

/// What a session comes to.
struct Result {
    state: SessionState,
    outputs: Option<Value>,
    failure: Option<Failure>,
}

/// Takes on what has come to an end, and returns how many sessions that were.
pub(super) async fn close(store: &Store) -> sqlx::Result<usize> {
    let open = sqlx::query_file!("src/store/sql/closing.sql").fetch_all(&store.pool).await?;
    let candidates: Vec<Candidate> = open
        .iter()
        .filter_map(|row| {
            Some(Candidate {
                key: SessionKey { tenant: TenantId(row.tenant_id), id: SessionId(row.session_id) },
                retry: row.retry,
                phase: Phase::from_code(row.phase)?,
                result: row.result.and_then(SessionState::from_code),
                bad: row.bad,
                allowed: row.allowed,
                limited: row.limited,
            })
        })
        .collect();
    let keys: Vec<SessionKey> = candidates.iter().map(|candidate| candidate.key).collect();
    let infos = store.infos.load(store, &keys).await?;
    for candidate in &candidates {
        let Some(info) = infos.get(&candidate.key) else { continue };
        contexts::fold(store, info).await?;
        let result = result(store, candidate, info).await?;
        let plan = &info.version.plan;
        let left = Left {
            compensation: closing::calls_for_compensation(result.state)
                && has_to_undo(store, candidate.key, plan).await?,
            finally: plan.finally().next().is_some(),
        };
        match closing::next(candidate.phase, result.state, left) {
            Some(Phase::Compensation) => compensate(store, candidate, plan, &result).await?,
            Some(_) => begin_finally(store, candidate, plan, &result).await?,
            None if candidate.limited => leave(store, candidate, &result).await?,
            None => end(&store.pool, candidate, &result).await.map(|_| ())?,
        }
        store.hints.send(Hint::Event(candidate.key.id));
    }
    Ok(candidates.len())
}

/// The result, by what ran so far. The outputs are rendered when it is decided, so that what runs
/// after that knows it.
async fn result(
    store: &Store,
    candidate: &Candidate,
    info: &Arc<SessionInfo>,
) -> sqlx::Result<Result> {
    if candidate.phase > Phase::Tasks {
        let decided = candidate.result.unwrap_or(SessionState::Failed);
        let failed = has_failed(store, candidate.key, &info.version.plan).await?;
        // What somebody completed by hand may have had failures before.
        let allowed = candidate.allowed > 0 && has_allowed(store, candidate.key).await?;
        let state = closing::after(decided, failed, allowed);
        return Ok(Result { state, outputs: None, failure: None });
    }
    let decided = || session::result(candidate.bad, candidate.allowed);
    let state = candidate.result.unwrap_or_else(decided);
    Ok(match outputs(store, info).await? {
        Ok(outputs) => {
            // As of a session that needed no closing.
            let outputs = Some(outputs).filter(|outputs| !outputs.is_empty()).map(Value::Object);
            Result { state, outputs, failure: None }
        }
        Err(failure)
            if candidate.result.is_none()
                && matches!(state, SessionState::Completed | SessionState::PartiallyCompleted) =>
        {
            Result { state: SessionState::Failed, outputs: None, failure: Some(failure) }
        }
        // Outputs of a session that did not come to its end by itself may lack what they are made
        // of.
        Err(_) => Result { state, outputs: None, failure: None },
    })
}

/// The session's outputs, rendered.
async fn outputs(
    store: &Store,
    info: &Arc<SessionInfo>,
) -> sqlx::Result<std::result::Result<Map<String, Value>, Failure>> {
    let plan = &info.version.plan;
    let request = Request::of_session(Arc::clone(info));
    let values = match values::load(store, &[request]).await?.pop() {
        Some(Ok(values)) => values,
        Some(Err(failure)) => return Ok(Err(failure)),
        None => return Ok(Ok(Map::new())),
    };
    let scope = values.scope(plan, None);
    Ok(plan
        .outputs
        .iter()
        .map(|(name, value)| Ok((name.clone(), expression::render_value(value, &scope)?)))
        .collect())
}

/// Whether something that ran after the result was decided failed unallowed.
async fn has_failed(store: &Store, key: SessionKey, plan: &Plan) -> sqlx::Result<bool> {
    let seqs: Vec<i32> = plan.finally().map(|node| plan.root_row(node)).collect();
    sqlx::query_scalar!(
        r#"select exists (select from tasks
                           where tenant_id = $1 and session_id = $2
                             and (seq = any($3) or ($7 and flags & $8 <> 0))
                             and ((state = $4 and flags & $5 = 0) or state = $6)) as "failed!""#,
        key.tenant.0,
        key.id.0,
        &seqs,
        TaskState::Failed.code(),
        flags::ALLOWED,
        TaskState::Cancelled.code(),
        plan.compensations().next().is_some(),
        flags::COMPENSATION,
    )
    .fetch_one(&store.pool)
    .await
}

/// Whether something that ran after the result was decided had an allowed failure.
async fn has_allowed(store: &Store, key: SessionKey) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"select exists (select from tasks
                           where tenant_id = $1 and session_id = $2 and flags & $3 <> 0
                             and ((state = $4 and flags & $5 <> 0)
                                  or (state = $6 and flags & $7 <> 0))) as "allowed!""#,
        key.tenant.0,
        key.id.0,
        flags::FINALLY | flags::COMPENSATION,
        TaskState::Failed.code(),
        flags::ALLOWED,
        TaskState::Cancelled.code(),
        flags::ALLOWED_BY_GROUP,
    )
    .fetch_one(&store.pool)
    .await
}

/// Whether tasks completed that can be undone.
async fn has_to_undo(store: &Store, key: SessionKey, plan: &Plan) -> sqlx::Result<bool> {
    let nodes: Vec<i32> = plan.compensations().map(|(task, _)| task.code()).collect();
    if nodes.is_empty() {
        return Ok(false);
    }
    sqlx::query_scalar!(
        r#"select exists (select from tasks
                           where tenant_id = $1 and session_id = $2 and state = $3
                             and node = any($4)) as "left!""#,
        key.tenant.0,
        key.id.0,
        TaskState::Completed.code(),
        &nodes,
    )
    .fetch_one(&store.pool)
    .await
}

/// Lays down what undoes the tasks that completed.
async fn compensate(
    store: &Store,
    candidate: &Candidate,
    plan: &Plan,
    result: &Result,
) -> sqlx::Result<()> {
    let key = candidate.key;
    let Some(block) = plan.compensations().map(|(_, own)| plan.node(own).block).next() else {
        return Ok(());
    };
    let (tasks, undoing): (Vec<i32>, Vec<i32>) =
        plan.compensations().map(|(task, own)| (task.code(), plan.node(own).position)).unzip();
    let outputs = result.outputs.as_ref().map(blobs::to_jsonb_text);
    sqlx::query_file!(
        "src/store/sql/begin_compensation.sql",
        key.tenant.0,
        key.id.0,
        candidate.retry,
        candidate.phase.code(),
        result.state.code(),
        error(result) as _,
        outputs as _,
        &tasks,
        &undoing,
        block.0.cast_signed(),
        Phase::Compensation.code(),
        EventKind::SessionClosing.code(),
        json!({ "phase": Phase::Compensation.as_str(), "result": result.state }),
        candidate.result.map(SessionState::code),
    )
    .execute(&store.pool)
    .await?;
    store.hints.send(Hint::Ready);
    store.hints.send(Hint::Undecided);
    Ok(())
}

/// Lets the tasks under `finally` go.
async fn begin_finally(
    store: &Store,
    candidate: &Candidate,
    plan: &Plan,
    result: &Result,
) -> sqlx::Result<()> {
    let phase = Phase::Finally;
    let key = candidate.key;
    let all = i32::try_from(plan.finally().count()).expect("a plan has at most 10 000 nodes");
    let first: Vec<i32> = plan
        .finally()
        .filter(|node| plan.node(*node).needs.is_empty())
        .map(|node| plan.root_row(node))
        .collect();
    let outputs = result.outputs.as_ref().map(blobs::to_jsonb_text);
    let body = json!({ "phase": phase.as_str(), "result": result.state });
    sqlx::query_file!(
        "src/store/sql/begin_finally.sql",
        key.tenant.0,
        key.id.0,
        candidate.retry,
        candidate.phase.code(),
        result.state.code(),
        error(result) as _,
        outputs as _,
        all,
        &first,
        plan.finally_timeout().ms.cast_signed(),
        phase.code(),
        EventKind::SessionClosing.code(),
        body,
        candidate.result.map(SessionState::code),
    )
    .execute(&store.pool)
    .await?;
    store.hints.send(Hint::Ready);
    store.hints.send(Hint::Undecided);
    Ok(())
}

fn error(result: &Result) -> Option<Value> {
    let failure = result.failure.as_ref()?;
    let value = serde_json::to_value(failure).expect("a failure of ours serialises");
    Some(blobs::without_nul(value))
}

/// Ends a session that has a place, and lets the next one have it.
async fn leave(store: &Store, candidate: &Candidate, result: &Result) -> sqlx::Result<()> {
    let mut tx = store.pool.begin().await?;
    if end(&mut *tx, candidate, result).await? {
        places::leave(&mut tx, candidate.key).await?;
    }
    tx.commit().await?;
    store.hints.send(Hint::Ready);
    store.hints.send(Hint::Undecided);
    Ok(())
}

/// False when somebody else did.
async fn end(
    db: impl sqlx::PgExecutor<'_>,
    candidate: &Candidate,
    result: &Result,
) -> sqlx::Result<bool> {
    let key = candidate.key;
    let outputs = result.outputs.as_ref().map(blobs::to_jsonb_text);
    sqlx::query!(
        "with ended as (
             update session_progress
                set state = $3, undecided = false, timed = false, finished_at = clock(),
                    -- Once it has ended the janitor looks for what is left, as after any sweep.
                    sweep = case when sweep > 0 then 2 else 0 end,
                    error = coalesce($5, error), next_event = next_event + 1
              where tenant_id = $1 and session_id = $2 and undecided and open = 0
                and retry = $6 and phase = $7 and state between 1 and 4
                -- Somebody may have said meanwhile how it ends.
                and result is not distinct from $8::smallint
                and (state <> 3 or result is not null)
             returning next_event - 1 as number, finished_at
         ), kept as (
             update sessions s set outputs = $4::text::jsonb
               from ended
              where s.tenant_id = $1 and s.id = $2 and $4::text is not null
         )
         insert into events (tenant_id, session_id, first_seq, last_seq, at, kinds, tasks,
                             attempts, ats)
         select $1, $2, number, number, finished_at, array[$3::smallint], array[null::int],
                array[null::int], array[finished_at]
           from ended",
        key.tenant.0,
        key.id.0,
        result.state.code(),
        outputs as _,
        error(result) as _,
        candidate.retry,
        candidate.phase.code(),
        candidate.result.map(SessionState::code),
    )
    .execute(db)
    .await
    .map(|done| done.rows_affected() > 0)
}

/// Asks a session that has not ended to end with `result`: what is open of it is cancelled, what
/// follows a result runs, then it ends. False when it is ending already. The caller commits, and
/// sends [`Hint::Undecided`] then.
pub async fn ask_to_end(
    conn: &mut PgConnection,
    key: SessionKey,
    result: SessionState,
    why: &Failure,
) -> sqlx::Result<bool> {
    let error = serde_json::to_value(why).expect("a failure of ours serialises");
    let asked = sqlx::query!(
        "update session_progress
            set result = $3, error = $4, sweep = 3, timed = false, closing = true,
                undecided = open = 0
          where tenant_id = $1 and session_id = $2 and state between 1 and 4
            and result is null",
        key.tenant.0,
        key.id.0,
        result.code(),
        blobs::without_nul(error),
    )
    .execute(conn)
    .await?;
    Ok(asked.rows_affected() == 1)
}
