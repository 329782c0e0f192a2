//! What a session has left in the database: its rows by key, its events, its counters. It only
//! reads.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use jobshop_engine::{
    event::EventKind,
    id::SessionKey,
    plan::{NodeIndex, Plan},
    session::SessionState,
    store::flags,
    task::{Reason, TaskState},
};
use serde_json::Value;
use sqlx::{PgPool, Row as _, postgres::PgRow};

use super::reference::{RowKind, Seen};

/// A session as it stands.
#[derive(Debug)]
pub struct Observed {
    pub state: SessionState,
    pub counters: Counters,
    /// Rows at the top that have not ended.
    pub open: i32,
    /// The control loop or the janitor has still something to do.
    pub is_restless: bool,
    pub next_event: i32,
    pub retry: i32,
    pub outputs: Option<Value>,
    /// By key, `build[api].check`.
    pub rows: BTreeMap<String, ObservedRow>,
    pub events: Vec<ObservedEvent>,
}

/// How many executable tasks there are, and how many ended each way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    pub total: i32,
    pub completed: i32,
    pub failed: i32,
    pub cancelled: i32,
    pub skipped: i32,
}

#[derive(Debug)]
pub struct ObservedRow {
    pub seq: i32,
    pub kind: RowKind,
    /// It runs once the result is decided.
    pub is_after: bool,
    pub state: TaskState,
    pub reason: Option<Reason>,
    pub attempt: i32,
    pub failures: i32,
    pub crashes: i32,
    pub outputs: Option<Value>,
    pub error: Option<Value>,
    /// Something would still be done with it.
    pub is_restless: bool,
    pub created_at: Option<DateTime<Utc>>,
    pub ready_at: Option<DateTime<Utc>>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone, Copy)]
pub struct ObservedEvent {
    pub number: i32,
    pub kind: EventKind,
    pub task: Option<i32>,
}

/// Reads a session of this plan.
pub async fn observe(db: &PgPool, session: SessionKey, plan: &Plan) -> sqlx::Result<Observed> {
    let progress = sqlx::query(
        "select p.*, s.outputs
           from session_progress p
           join sessions s on s.tenant_id = p.tenant_id and s.id = p.session_id
          where p.tenant_id = $1 and p.session_id = $2",
    )
    .bind(session.tenant.0)
    .bind(session.id.0)
    .fetch_one(db)
    .await?;
    let state = SessionState::from_code(progress.get("state")).expect("a state of a session");
    Ok(Observed {
        state,
        counters: Counters {
            total: progress.get("total"),
            completed: progress.get("completed"),
            failed: progress.get("failed"),
            cancelled: progress.get("cancelled"),
            skipped: progress.get("skipped"),
        },
        open: progress.get("open"),
        is_restless: progress.get::<bool, _>("undecided") || progress.get::<i16, _>("sweep") != 0,
        next_event: progress.get("next_event"),
        retry: progress.get("retry"),
        outputs: progress.get("outputs"),
        rows: rows(db, session, plan).await?,
        events: events(db, session).await?,
    })
}

async fn rows(
    db: &PgPool,
    session: SessionKey,
    plan: &Plan,
) -> sqlx::Result<BTreeMap<String, ObservedRow>> {
    let found = sqlx::query(
        "select t.*, coalesce(t.output, b.body) as outputs
           from tasks t
           left join blobs b on b.tenant_id = t.tenant_id and b.hash = t.output_blob
          where t.tenant_id = $1 and t.session_id = $2
          order by t.seq",
    )
    .bind(session.tenant.0)
    .bind(session.id.0)
    .fetch_all(db)
    .await?;
    let mut keys = Keys::default();
    let mut rows = BTreeMap::new();
    for row in &found {
        let (key, observed) = (keys.add(row, plan), observed(row));
        // What undid a task in an earlier round.
        if let Some(earlier) = rows.insert(key.clone(), observed) {
            let earlier: ObservedRow = earlier;
            rows.insert(format!("{key}#{}", earlier.seq), earlier);
        }
    }
    let is_old = |key: &str, undoing: &ObservedRow| {
        let undone = key.strip_suffix(".compensate").and_then(|key| rows.get(key));
        undone.is_some_and(|undone| undone.finished_at > undoing.finished_at)
    };
    // The task has run again since, and was not undone again: somebody cancelled the session before.
    let old = rows.iter().filter(|(key, row)| is_old(key, row)).map(|(key, _)| key.clone());
    for key in old.collect::<Vec<_>>() {
        if let Some(row) = rows.remove(&key) {
            rows.insert(format!("{key}#{}", row.seq), row);
        }
    }
    Ok(rows)
}

fn observed(row: &PgRow) -> ObservedRow {
    let has = |flag: i16| row.get::<i16, _>("flags") & flag != 0;
    let kind = match (has(flags::ITEM), has(flags::GROUP)) {
        (true, _) => RowKind::Item,
        (_, true) => RowKind::Group,
        (false, false) => RowKind::Executable,
    };
    ObservedRow {
        seq: row.get("seq"),
        kind,
        is_after: has(flags::FINALLY) || has(flags::COMPENSATION),
        state: TaskState::from_code(row.get("state")).expect("a state of a task"),
        reason: row.get::<Option<i16>, _>("reason").and_then(Reason::from_code),
        attempt: row.get("attempt"),
        failures: row.get("failures"),
        crashes: row.get("crashes"),
        outputs: row.get("outputs"),
        error: row.get("error"),
        is_restless: ["queued", "undecided", "delayed"].iter().any(|flag| row.get(*flag)),
        created_at: row.get("created_at"),
        ready_at: row.get("ready_at"),
        started_at: row.get("started_at"),
        finished_at: row.get("finished_at"),
    }
}

/// The keys of a session's rows, each made of that of the row around it.
#[derive(Debug, Default)]
pub struct Keys(HashMap<i32, String>);

impl Keys {
    /// Reads the keys of all rows that a session has now.
    pub async fn read(db: &PgPool, session: SessionKey, plan: &Plan) -> sqlx::Result<Self> {
        let rows = sqlx::query(
            "select seq, node, parent, item_key, flags from tasks
              where tenant_id = $1 and session_id = $2 order by seq",
        )
        .bind(session.tenant.0)
        .bind(session.id.0)
        .fetch_all(db)
        .await?;
        let mut keys = Self::default();
        for row in &rows {
            keys.add(row, plan);
        }
        Ok(keys)
    }

    pub fn of(&self, seq: i32) -> Option<&str> {
        self.0.get(&seq).map(String::as_str)
    }

    fn add(&mut self, row: &PgRow, plan: &Plan) -> String {
        let parent = row.get::<Option<i32>, _>("parent").and_then(|parent| self.of(parent));
        let node = NodeIndex::from_code(row.get("node"));
        let item_key: Option<&str> = row.get("item_key");
        let undone = item_key.filter(|_| row.get::<i16, _>("flags") & flags::COMPENSATION != 0);
        let undone = undone.map(|seq| seq.parse().ok().and_then(|seq| self.of(seq)));
        let key = match (parent, item_key) {
            // A task that was laid down anew since is not there any more.
            _ if undone == Some(None) => format!("#{}", row.get::<i32, _>("seq")),
            _ if let Some(Some(undone)) = undone => format!("{undone}.compensate"),
            (None, _) => plan.node(node).id.clone(),
            (Some(group), Some(key)) => format!("{group}[{key}]"),
            (Some(group), None) => format!("{group}.{}", plan.node(node).id),
        };
        self.0.insert(row.get("seq"), key.clone());
        key
    }
}

async fn events(db: &PgPool, session: SessionKey) -> sqlx::Result<Vec<ObservedEvent>> {
    let rows: Vec<(i32, i16, Option<i32>)> = sqlx::query_as(
        "select first_seq + n::int - 1, kind, task
           from events cross join lateral
                unnest(kinds, tasks) with ordinality as e (kind, task, n)
          where tenant_id = $1 and session_id = $2 order by 1",
    )
    .bind(session.tenant.0)
    .bind(session.id.0)
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(number, kind, task)| ObservedEvent {
            number,
            kind: EventKind::from_code(kind).expect("a kind of an event"),
            task,
        })
        .collect())
}

impl Observed {
    /// Something that ran after the result was decided did not end well.
    pub fn failed_after_the_result(&self) -> bool {
        let is_bad = |row: &ObservedRow| {
            row.is_after && matches!(row.state, TaskState::Failed | TaskState::Cancelled)
        };
        self.rows.values().any(is_bad)
    }

    /// Whether what undoes the task with this key completed.
    pub fn has_undone(&self, key: &str) -> bool {
        let undoing = self.rows.get(&format!("{key}.compensate"));
        undoing.is_some_and(|row| row.state == TaskState::Completed)
    }

    /// What the reference model goes on from after an interrupted round.
    pub fn seen(&self) -> BTreeMap<String, Seen> {
        self.rows
            .iter()
            .map(|(key, row)| {
                let seen = Seen {
                    state: row.state,
                    reason: row.reason,
                    has_begun: row.started_at.is_some(),
                    failures: row.failures.cast_unsigned(),
                    crashes: row.crashes.cast_unsigned(),
                };
                (key.clone(), seen)
            })
            .collect()
    }
}
