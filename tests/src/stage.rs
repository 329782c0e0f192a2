//! A store whose workers a test plays by hand, statement by statement: it claims, finishes, is late
//! and dies as the test says. Nothing runs by itself here.

use std::time::Duration;

use chrono::{DateTime, Utc};
use jobshop_engine::{
    id::{Fence, SessionKey, TaskKey, TenantId, WorkerId},
    outcome::{ErrorClass, Failure},
    session::SessionState,
    store::{
        Store,
        claim::{self, Ask, Held},
        control::{self, Patrol},
        notes,
        sessions::{self, NewSession},
        transition::{Ended, Move, Moved, Mover, Takes, transition},
        workers::{self, NewWorker, Profile},
        workflows,
    },
    task::{Reason, TaskState},
};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::TestDb;

/// How long the leases of players last.
pub const LEASE_SECS: i32 = 30;

/// A store without anything that acts by itself.
#[derive(Debug)]
pub struct Stage {
    pub store: Store,
    pub db: TestDb,
}

/// A worker played by the test.
#[derive(Debug, Clone)]
pub struct Player {
    pub store: Store,
    pub id: WorkerId,
    pub routes: Vec<i32>,
}

/// A task as the storage rules see it.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Task {
    pub seq: i32,
    state: i16,
    reason: Option<i16>,
    pub attempt: i32,
    pub noted: i32,
    pub failures: i32,
    pub crashes: i32,
    pub worker: Option<Uuid>,
    pub ready_at: Option<DateTime<Utc>>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
    pub wake_at: Option<DateTime<Utc>>,
    pub output: Option<Value>,
    pub error: Option<Value>,
}

impl Task {
    pub fn state(&self) -> TaskState {
        TaskState::from_code(self.state).expect("a state")
    }

    pub fn reason(&self) -> Option<Reason> {
        self.reason.and_then(Reason::from_code)
    }
}

impl Stage {
    pub async fn new() -> Self {
        Self::of(TestDb::new().await)
    }

    pub fn of(db: TestDb) -> Self {
        let store = Store::new(db.store_config()).expect("the URL is valid");
        Self { store, db }
    }

    /// Another process on the same database.
    pub fn another_store(&self) -> Store {
        Store::new(self.db.store_config()).expect("the URL is valid")
    }

    pub async fn submit(&self, definition: &str) -> SessionKey {
        self.submit_many(definition, 1).await[0]
    }

    pub async fn submit_many(&self, definition: &str, count: usize) -> Vec<SessionKey> {
        let version = workflows::version_of(&self.store, TenantId::DEFAULT, definition)
            .await
            .expect("the workflow is valid");
        let new = vec![NewSession::new(version); count];
        sessions::create_many(&self.store, &new).await.expect("the sessions are created")
    }

    /// A new worker that serves every route there is now.
    pub async fn player(&self, name: &str) -> Player {
        self.player_with(name, &["*"], &[]).await
    }

    pub async fn player_with(
        &self,
        name: &str,
        capabilities: &[&str],
        follows: &[WorkerId],
    ) -> Player {
        let capabilities: Vec<String> = capabilities.iter().map(ToString::to_string).collect();
        let id = WorkerId(Uuid::now_v7());
        let worker = NewWorker {
            id,
            name,
            host: "here",
            pid: 1,
            capabilities: &capabilities,
            concurrency: 8,
            version: "0",
            data_dir: None,
            lease_secs: LEASE_SECS,
            follows,
            profile: &Profile::default(),
            only_session: None,
        };
        workers::register(&self.store.pool, &worker).await.expect("the worker is registered");
        let routes = workers::routes(&self.store.pool, &capabilities).await.expect("routes");
        Player { store: self.store.clone(), id, routes }
    }

    /// Whatever the control loop finds to do, until it finds nothing.
    pub async fn settle(&self) {
        while control::tick(&self.store).await.expect("a tick") > 0 {}
    }

    /// Ends what is overdue and gives back what dead workers held.
    pub async fn housekeep(&self) -> usize {
        control::housekeep(&self.store).await.expect("housekeeping")
    }

    /// Walks over all tasks; returns how many attempts of ended workers were given back.
    pub async fn patrol(&self) -> usize {
        let mut patrol = Patrol::default();
        let mut missed = 0;
        loop {
            let step = patrol.step(&self.store).await.expect("a step");
            missed += step.missed;
            if step.is_last {
                return missed;
            }
        }
    }

    pub async fn task(&self, session: SessionKey, seq: i32) -> Task {
        let mut all = self.tasks(session).await;
        let at = all.iter().position(|task| task.seq == seq).expect("the row is there");
        all.swap_remove(at)
    }

    pub async fn tasks(&self, session: SessionKey) -> Vec<Task> {
        tasks(self.db.pool(), session).await
    }

    pub async fn states(&self, session: SessionKey) -> Vec<TaskState> {
        self.tasks(session).await.iter().map(Task::state).collect()
    }

    pub async fn state(&self, session: SessionKey) -> SessionState {
        sessions::state(&self.store.pool, session).await.expect("read").expect("a session")
    }

    /// Everything that is stored of a session, to see whether anything changed.
    pub async fn everything(&self, session: SessionKey) -> Value {
        sqlx::query_scalar(
            "select jsonb_build_object(
                 'tasks', (select jsonb_agg(to_jsonb(t) order by seq) from tasks t
                            where session_id = $1),
                 'progress', (select to_jsonb(p) from session_progress p where session_id = $1),
                 'events', (select jsonb_agg(to_jsonb(e) order by first_seq) from events e
                             where session_id = $1))",
        )
        .bind(session.id.0)
        .fetch_one(self.db.pool())
        .await
        .expect("everything is read")
    }

    /// The kinds of a task's events, in order.
    pub async fn kinds(&self, session: SessionKey, seq: i32) -> Vec<i16> {
        sqlx::query_scalar(
            "select kind
               from events cross join lateral
                    unnest(kinds, tasks) with ordinality as e (kind, task, n)
              where session_id = $1 and task = $2 order by first_seq, n",
        )
        .bind(session.id.0)
        .bind(seq)
        .fetch_all(self.db.pool())
        .await
        .expect("the events are read")
    }

    pub async fn receipts(&self) -> i64 {
        sqlx::query_scalar("select count(*) from receipts")
            .fetch_one(self.db.pool())
            .await
            .expect("the receipts are counted")
    }
}

/// The rows of a session, in order.
pub async fn tasks(db: &PgPool, session: SessionKey) -> Vec<Task> {
    sqlx::query_as(
        "select seq, state, reason, attempt, noted, failures, crashes, worker, ready_at,
                started_at, finished_at, wake_at, output, error
           from tasks where tenant_id = $1 and session_id = $2 order by seq",
    )
    .bind(session.tenant.0)
    .bind(session.id.0)
    .fetch_all(db)
    .await
    .expect("the rows are read")
}

impl Player {
    /// Claims up to `limit` tasks.
    pub async fn claim(&self, limit: i32) -> Vec<Held> {
        let ask = Ask { worker: self.id, routes: &self.routes, shares: &[], limit, session: None };
        claim::claim(&self.store.pool, ask).await.expect("a claim").tasks
    }

    /// Claims the one task that there must be.
    pub async fn claim_one(&self) -> Held {
        self.claim(1).await.pop().expect("a task is ready")
    }

    /// Records ends and takes nothing for it.
    pub async fn finish(&self, moves: &[Move]) -> Moved {
        self.finish_taking(moves, 0, &[]).await
    }

    /// Records ends and takes up to `room` of what they free.
    pub async fn finish_taking(
        &self,
        moves: &[Move],
        room: i32,
        receipted: &[SessionKey],
    ) -> Moved {
        let takes = Takes { routes: &self.routes, room, receipted };
        let mover = Mover::Worker { id: self.id, takes };
        transition(&self.store.pool, mover, moves, &[], None).await.expect("a finish")
    }

    /// Whether the end of one attempt was accepted.
    pub async fn ends(&self, end: Move) -> bool {
        self.finish(&[end]).await.accepted == [true]
    }

    /// Reports that attempts started so many milliseconds ago.
    /// Reports starts of so many milliseconds ago.
    pub async fn note(&self, starts: &[(Fence, u64)]) {
        let starts: Vec<_> =
            starts.iter().map(|(fence, ms)| (*fence, Duration::from_millis(*ms))).collect();
        notes::note_starts(&self.store.pool, self.id, &starts).await.expect("a start note");
    }

    pub async fn renew(&self) -> bool {
        workers::renew(&self.store.pool, self.id, LEASE_SECS).await.expect("a renewal")
    }
}

/// The attempt succeeded, having started 5 ms ago.
pub fn succeeded(fence: Fence) -> Move {
    let mut done = ended(fence, TaskState::Completed, Ended::Succeeded);
    done.output = Some(json!({ "by": fence.worker.0 }));
    done
}

/// The attempt failed for good.
pub fn failed(fence: Fence) -> Move {
    let mut failed = ended(fence, TaskState::Failed, Ended::Failed);
    failed.error = Some(Failure::new(ErrorClass::Error, "it failed"));
    failed
}

/// The attempt failed and is to be tried again after a while.
pub fn retried(fence: Fence, delay: Duration) -> Move {
    let mut again = ended(fence, TaskState::Blocked, Ended::Retried);
    again.reason = Some(Reason::Backoff);
    again.delay_ms = Some(i64::try_from(delay.as_millis()).expect("a short delay"));
    again.error = Some(Failure::new(ErrorClass::Error, "it failed"));
    again
}

/// The attempt is handed back and counts nothing.
pub fn released(fence: Fence) -> Move {
    let mut back = Move::new(fence.task, fence.attempt, TaskState::InProgress, TaskState::Ready);
    back.ended = Some(Ended::Released);
    back
}

fn ended(fence: Fence, to: TaskState, how: Ended) -> Move {
    let mut end = Move::new(fence.task, fence.attempt, TaskState::InProgress, to);
    end.ended = Some(how);
    end.started = Some(Duration::from_millis(5));
    end
}

/// The task of that number in a session.
pub fn task(session: SessionKey, seq: i32) -> TaskKey {
    TaskKey { session, seq }
}

/// The attempt was ended like this, and counts nothing.
pub fn ended_as(fence: Fence, to: TaskState, reason: Reason) -> Move {
    let mut end = ended(fence, to, Ended::Released);
    end.reason = Some(reason);
    end
}
