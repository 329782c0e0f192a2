//! Reads what the database says of a run, in one piece, after everything has come to rest.

use std::collections::HashMap;

use jobshop_engine::{event::EventKind, session::SessionState, task::TaskState};
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

use super::history::{Event, History, Session, Task};

#[derive(sqlx::FromRow)]
struct SessionRow {
    id: Uuid,
    title: String,
    state: i16,
}

#[derive(sqlx::FromRow)]
struct TaskRow {
    session_id: Uuid,
    seq: i32,
    parent: Option<i32>,
    state: i16,
    attempt: i32,
    worker: Option<Uuid>,
    failures: i32,
    crashes: i32,
    dependents: Option<Vec<i32>>,
    output: Option<Value>,
}

#[derive(sqlx::FromRow)]
struct EventRow {
    session_id: Uuid,
    kind: i16,
    task: Option<i32>,
    attempt: Option<i32>,
}

/// Adds all sessions and fires to the history.
pub(super) async fn read(db: &PgPool, history: &mut History) -> sqlx::Result<()> {
    let mut sessions: HashMap<Uuid, Session> = HashMap::new();
    let rows: Vec<SessionRow> = sqlx::query_as(
        "select s.id, s.title, p.state from sessions s
           join session_progress p on p.tenant_id = s.tenant_id and p.session_id = s.id",
    )
    .fetch_all(db)
    .await?;
    for row in rows {
        let state = SessionState::from_code(row.state).expect("a state");
        let session =
            Session { id: row.id, title: row.title, state, events: Vec::new(), tasks: Vec::new() };
        sessions.insert(row.id, session);
    }
    let rows: Vec<TaskRow> = sqlx::query_as(
        "select session_id, seq, parent, state, attempt, coalesce(last_worker, worker) as worker,
                failures, crashes, dependents, output
           from tasks order by session_id, seq",
    )
    .fetch_all(db)
    .await?;
    for row in rows {
        let Some(session) = sessions.get_mut(&row.session_id) else { continue };
        let process = row.output.as_ref().and_then(|output| output["process"].as_u64());
        session.tasks.push(Task {
            seq: row.seq,
            parent: row.parent,
            state: TaskState::from_code(row.state).expect("a state"),
            attempt: row.attempt,
            worker: row.worker,
            failures: row.failures,
            crashes: row.crashes,
            dependents: row.dependents.unwrap_or_default(),
            process: process.and_then(|process| process.try_into().ok()),
        });
    }
    let rows: Vec<EventRow> = sqlx::query_as(
        "select session_id, e.kind, e.task, e.attempt
           from events
          cross join unnest(kinds, tasks, attempts) with ordinality as e (kind, task, attempt, n)
          order by session_id, first_seq, n",
    )
    .fetch_all(db)
    .await?;
    for row in rows {
        let Some(session) = sessions.get_mut(&row.session_id) else { continue };
        let kind = EventKind::from_code(row.kind).expect("a kind");
        session.events.push(Event { kind, task: row.task, attempt: row.attempt });
    }
    history.sessions = sessions.into_values().collect();
    history.fires = fires(db).await?;
    Ok(())
}

/// The minutes at which schedules fired, with the sessions of each.
async fn fires(db: &PgPool) -> sqlx::Result<Vec<(i64, usize)>> {
    let fires: Vec<(i64, i64)> = sqlx::query_as(
        "select extract(epoch from f.fire_time)::bigint / 60,
                (select count(*) from sessions s
                  where s.tenant_id = f.tenant_id and s.id = f.session_id)
           from schedule_fires f where f.state = 1",
    )
    .fetch_all(db)
    .await?;
    Ok(fires
        .into_iter()
        .map(|(minute, count)| (minute, usize::try_from(count).unwrap_or(0)))
        .collect())
}
