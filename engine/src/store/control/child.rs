//! Child sessions: begins them, tells their ends to the tasks that wait for them, and ends those that
//! nobody waits for. Each attempt has exactly one, because it is created in the transaction that
//! counts the attempt.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::decompose::{self, Made};
use crate::{
    child,
    event::EventKind,
    expression::{self, values::Values},
    id::{SessionId, SessionKey, TaskKey, TenantId},
    outcome::{ErrorClass, Failure},
    plan::{Child, Node, NodeIndex},
    priority::Priority,
    session::SessionState,
    store::{
        Hint, SessionInfo, Store, blobs, budgets,
        events::{self, Entry},
        places::{self, Place},
        sessions::{self, CreateError, NewSession, SteerError},
        steer::{self, By},
        transition::{Ended, Move, Mover, transition_in},
        values::{self, Request},
        workflows,
    },
    task::{Reason, TaskState},
};

/// Does what there is to do for child sessions; returns how much that was.
pub(super) async fn tend(store: &Store) -> sqlx::Result<usize> {
    Ok(begin(store).await? + leave(store).await? + settle(store).await?)
}

/// A task of which a session is to begin.
struct Due {
    task: TaskKey,
    node: NodeIndex,
    attempt: i32,
    failures: i32,
    retry: i32,
    depth: i16,
    priority: i16,
    created_by: Option<String>,
}

async fn begin(store: &Store) -> sqlx::Result<usize> {
    let rows = sqlx::query_file!("src/store/sql/children_due.sql", Reason::Child.code())
        .fetch_all(&store.pool)
        .await?;
    if rows.is_empty() {
        return Ok(0);
    }
    let due: Vec<Due> = rows
        .into_iter()
        .map(|row| {
            let session =
                SessionKey { tenant: TenantId(row.tenant_id), id: SessionId(row.session_id) };
            Due {
                task: TaskKey { session, seq: row.seq },
                node: NodeIndex::from_code(row.node),
                attempt: row.attempt,
                failures: row.failures,
                retry: row.retry,
                depth: row.depth,
                priority: row.priority,
                created_by: row.created_by,
            }
        })
        .collect();
    let keys: Vec<SessionKey> = due.iter().map(|due| due.task.session).collect();
    let infos = store.infos.load(store, &keys).await?;
    let known: Vec<(&Due, &Arc<SessionInfo>)> =
        due.iter().filter_map(|due| Some((due, infos.get(&due.task.session)?))).collect();
    let requests: Vec<Request> = known
        .iter()
        .map(|(due, info)| Request::new(Arc::clone(info), due.node, due.task.seq))
        .collect();
    let loaded = values::load(store, &requests).await?;
    let mut begun = 0;
    for ((due, info), values) in known.into_iter().zip(loaded) {
        let new = match values {
            Ok(values) => new_session(store, due, info, &values).await?,
            Err(failure) => Err(failure),
        };
        begun += usize::from(begin_one(store, due, info, new).await?);
    }
    Ok(begun)
}

/// The session that the task asks for, or why there is none.
async fn new_session(
    store: &Store,
    due: &Due,
    info: &SessionInfo,
    values: &Values,
) -> sqlx::Result<Result<Made, Failure>> {
    let plan = &info.version.plan;
    let Some(child) = plan.node(due.node).child() else {
        return Ok(Err(Failure::new(ErrorClass::Error, "the task uses no workflow")));
    };
    if due.depth >= child::DEPTH_MAX {
        let why = format!("sessions stand in each other deeper than {}", child::DEPTH_MAX);
        return Ok(Err(Failure::new(ErrorClass::Error, why)));
    }
    let scope = values.scope(plan, Some(due.node));
    let with: Result<Map<String, Value>, Failure> = child
        .with
        .iter()
        .map(|(name, value)| Ok((name.clone(), expression::render_value(value, &scope)?)))
        .collect();
    let inputs = match with {
        Ok(inputs) => inputs,
        Err(failure) => return Ok(Err(failure)),
    };
    let tenant = due.task.session.tenant;
    if child.decompose.is_some() {
        let node = (due.node, values);
        let made = decompose::new_session(store, tenant, info, node, inputs).await?;
        return Ok(made.map(|made| Made {
            new: NewSession {
                priority: Priority::from_code(due.priority),
                created_by: due.created_by.clone(),
                ..made.new
            },
            ..made
        }));
    }
    let Some(version) = workflows::named(store, tenant, &child.name, child.version).await? else {
        return Ok(Err(no_workflow(child)));
    };
    let new = NewSession {
        inputs,
        priority: Priority::from_code(due.priority),
        created_by: due.created_by.clone(),
        file_dir: info.file_dir.clone(),
        ..NewSession::new(version)
    };
    Ok(Ok(Made { new, plan: None }))
}

fn no_workflow(child: &Child) -> Failure {
    let name = &child.name;
    let why = match child.version {
        Some(version) => format!("the workflow `{name}` has no version {version}"),
        None => format!("there is no workflow `{name}`: apply it first"),
    };
    Failure::new(ErrorClass::Error, why)
}

/// Counts the attempt and creates its session, or records why there is none: one transaction. False
/// when somebody else did, or the task waits no longer.
async fn begin_one(
    store: &Store,
    due: &Due,
    info: &SessionInfo,
    new: Result<Made, Failure>,
) -> sqlx::Result<bool> {
    let node = info.version.plan.node(due.node);
    let mut tx = store.pool.begin().await?;
    let Some(attempt) = take(&mut tx, due).await? else { return Ok(false) };
    let created = match new {
        Ok(Made { new, plan }) => match create(&mut tx, due, info, new).await {
            Ok((key, place)) => Ok((key, place, plan)),
            Err(CreateError::Database(error)) => return Err(error),
            Err(refused) => Err(Failure::new(ErrorClass::Template, refused.to_string())),
        },
        Err(failure) => Err(failure),
    };
    match created {
        Ok((key, place, plan)) => {
            adopt(&mut tx, due, (attempt, node), key, plan).await?;
            if let Some(place) = place {
                enter(&mut tx, place).await?;
            }
        }
        Err(failure) => {
            let end = failed(due.task, attempt, due.failures, node, failure);
            let mut moved = transition_in(&mut tx, Mover::Control, &[end], &[], None).await?;
            moved.unlock(&mut tx, &[]).await?;
        }
    }
    tx.commit().await?;
    store.hints.send(Hint::Ready);
    store.hints.send(Hint::Undecided);
    store.hints.send(Hint::Event(due.task.session.id));
    Ok(true)
}

/// The session with the place that it needs; it draws from the budgets around its task.
async fn create(
    tx: &mut PgConnection,
    due: &Due,
    info: &SessionInfo,
    new: NewSession,
) -> Result<(SessionKey, Option<Place>), CreateError> {
    let version = Arc::clone(&new.version);
    let (key, place) = sessions::create_in(tx, new).await?;
    budgets::fund(tx, info, (due.task, due.node), (key, &version.plan)).await?;
    Ok((key, place))
}

/// Asks for the place that a child needs. What stands above it may have one under the same name: the
/// child works in that, because otherwise it would wait for what waits for it.
async fn enter(tx: &mut PgConnection, place: Place) -> sqlx::Result<()> {
    if places::is_shared_above(tx, &place).await? {
        return places::admit(tx, &[place.session]).await;
    }
    places::enter_all(tx, &[], &[place]).await.map(|_| ())
}

/// Counts the attempt and returns its number; `None` when the row waits no longer.
async fn take(tx: &mut PgConnection, due: &Due) -> sqlx::Result<Option<i32>> {
    sqlx::query_scalar!(
        "with locked as materialized (
             select from session_progress p
              where p.tenant_id = $1 and p.session_id = $2 and p.retry = $6
                and p.state in (1, 2, 4) and p.sweep = 0
                for no key update
         )
         update tasks t
            set attempt = t.attempt + 1, delayed = false
           from locked
          where t.tenant_id = $1 and t.session_id = $2 and t.seq = $3
            and t.state = 4 and t.reason = $4 and t.delayed and t.attempt = $5
         returning t.attempt",
        due.task.session.tenant.0,
        due.task.session.id.0,
        due.task.seq,
        Reason::Child.code(),
        due.attempt,
        due.retry,
    )
    .fetch_optional(tx)
    .await
}

/// Records whose child the new session is. Its end is always the control loop's, which then looks at
/// the task; the time limit of the task is one of the session.
async fn adopt(
    tx: &mut PgConnection,
    due: &Due,
    (attempt, node): (i32, &Node),
    child: SessionKey,
    made: Option<Value>,
) -> sqlx::Result<()> {
    let parent = due.task.session;
    let timeout = node.timeout.map(|span| span.ms.cast_signed());
    sqlx::query!(
        "with link as (
             insert into child_sessions (tenant_id, parent_id, parent_seq, attempt, child_id)
             values ($1, $2, $3, $4, $5)
         ), above as (
             update sessions set parent_id = $2, depth = $6
              where tenant_id = $1 and id = $5
         )
         update session_progress
            set closing = true, timeout_ms = least(timeout_ms, $7),
                timed = timed or $7::bigint is not null
          where tenant_id = $1 and session_id = $5",
        parent.tenant.0,
        parent.id.0,
        due.task.seq,
        attempt,
        child.id.0,
        due.depth + 1,
        timeout,
    )
    .execute(&mut *tx)
    .await?;
    let uses = node.child().map(Child::reference);
    let mut body = json!({ "session": child.id, "uses": uses });
    if let Some(plan) = made {
        body["plan"] = plan;
    }
    let event = Entry {
        attempt: Some(attempt),
        ..Entry::of_task(EventKind::ChildCreated, due.task.seq, body)
    };
    events::append(tx, parent, &[event], None).await
}

/// The move of an attempt that failed: another follows, or none.
fn failed(task: TaskKey, attempt: i32, failures: i32, node: &Node, failure: Failure) -> Move {
    // Some chance for the jitter: the last bits of a random id.
    let chance = f64::from(Uuid::new_v4().as_fields().0) / f64::from(u32::MAX);
    let delay = node.retry.next_delay(failure.class, failures + 1, chance);
    let to = if delay.is_some() { TaskState::Blocked } else { TaskState::Failed };
    let mut end = Move::new(task, attempt, TaskState::Blocked, to);
    end.ended = Some(Ended::Failed);
    if let Some(delay) = delay {
        end.ended = Some(Ended::Retried);
        end.reason = Some(Reason::Child);
        end.delay_ms = Some(delay.ms.cast_signed());
        end.event = Some(EventKind::AttemptFailed);
    }
    end.body = Some(json!({ "class": failure.class, "message": failure.message }));
    end.error = Some(failure);
    end
}

/// Ends children that nobody waits for.
async fn leave(store: &Store) -> sqlx::Result<usize> {
    let left = sqlx::query_file!(
        "src/store/sql/children_left.sql",
        Reason::Child.code(),
        Reason::EndedByHand.code(),
        SessionState::Stopped.code()
    )
    .fetch_all(&store.pool)
    .await?;
    let mut ended = 0;
    for row in left {
        let Some(parent) = SessionState::from_code(row.state) else { continue };
        let result = row.result.and_then(SessionState::from_code);
        // By hand the session was ended, and the task with it.
        let to = match result.filter(|_| row.by_hand) {
            Some(result) => child::left_behind(result, None, false),
            None => child::left_behind(parent, result, row.task_first),
        };
        let key = SessionKey { tenant: TenantId(row.tenant_id), id: SessionId(row.child_id) };
        if to == SessionState::Stopped {
            ended += usize::from(stop(store, key).await?);
            continue;
        }
        let body = json!({ "reason": "its parent does not wait for it", "parent": row.parent_id });
        if sessions::end_one_at_once(store, key, to, None, Some(body)).await? {
            store.hints.send(Hint::Ended(key.id));
            store.hints.send(Hint::Undecided);
            store.hints.send(Hint::Event(key.id));
            ended += 1;
        }
    }
    Ok(ended)
}

/// Stops a child with its parent, as gracefully.
async fn stop(store: &Store, key: SessionKey) -> sqlx::Result<bool> {
    let by = By { actor: None, reason: Some("its parent was stopped") };
    match steer::stop(store, key, by).await {
        Ok(()) => Ok(true),
        Err(SteerError::Database(error)) => Err(error),
        // It has ended, or is just ending.
        Err(_) => Ok(false),
    }
}

/// Tells the ends of children to the tasks that wait for them.
async fn settle(store: &Store) -> sqlx::Result<usize> {
    let rows = sqlx::query_file!("src/store/sql/children_over.sql", Reason::Child.code())
        .fetch_all(&store.pool)
        .await?;
    let mut settled = 0;
    for row in rows {
        let tenant = TenantId(row.tenant_id);
        let session = SessionKey { tenant, id: SessionId(row.parent_id) };
        let Some(state) = SessionState::from_code(row.state) else { continue };
        let infos = store.infos.load(store, &[session]).await?;
        let Some(info) = infos.get(&session) else { continue };
        let node = info.version.plan.node(NodeIndex::from_code(row.node));
        let failure = |value: Option<Value>| value.and_then(|v| serde_json::from_value(v).ok());
        let id = SessionId(row.child_id).to_string();
        let ended = child::Ended {
            name: id[id.len().saturating_sub(8)..].to_owned(),
            state,
            outputs: row.outputs,
            error: failure(row.error).or_else(|| failure(row.failed)),
            task: node,
        };
        let task = TaskKey { session, seq: row.parent_seq };
        let end = row.waits.then(|| match child::outcome(ended) {
            Ok(outputs) => {
                let mut done =
                    Move::new(task, row.attempt, TaskState::Blocked, TaskState::Completed);
                done.output = Some(blobs::without_nul(outputs));
                done.ended = Some(Ended::Succeeded);
                done
            }
            Err(error) => failed(task, row.attempt, row.failures, node, error),
        });
        let child = SessionKey { tenant, id: SessionId(row.child_id) };
        settled += usize::from(settle_one(store, (task, row.attempt), child, end).await?);
    }
    Ok(settled)
}

/// Moves the task and closes the matter, both or neither. False when somebody else did.
async fn settle_one(
    store: &Store,
    (task, attempt): (TaskKey, i32),
    child: SessionKey,
    end: Option<Move>,
) -> sqlx::Result<bool> {
    let mut tx = store.pool.begin().await?;
    let closed = sqlx::query!(
        "update child_sessions set over = true
          where tenant_id = $1 and parent_id = $2 and parent_seq = $3 and attempt = $4
            and not over",
        task.session.tenant.0,
        task.session.id.0,
        task.seq,
        attempt,
    )
    .execute(&mut *tx)
    .await?;
    if closed.rows_affected() == 0 {
        return Ok(false);
    }
    budgets::over(&mut tx, child).await?;
    let moves: Vec<Move> = end.into_iter().collect();
    let moved = if moves.is_empty() {
        None
    } else {
        let mut moved = transition_in(&mut tx, Mover::Control, &moves, &[], None).await?;
        moved.unlock(&mut tx, &[]).await?;
        Some(moved)
    };
    tx.commit().await?;
    if let Some(moved) = moved {
        super::tell(store, &moves, &moved);
    }
    Ok(true)
}
