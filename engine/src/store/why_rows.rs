//! What [`super::why_view`] looks at: neighbours of a row, its route, and who could run it.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::types::Json;

use super::{
    view::{ReadError, Views, unknown_code},
    why_ledger::time,
};
use crate::{
    closing::Phase,
    event::EventKind,
    id::{SessionId, SessionKey},
    outcome::Failure,
    session::SessionState,
    task::{Reason, TaskState},
};

/// A row seen from another one.
#[derive(Debug)]
pub(super) struct Neighbour {
    pub(super) seq: i32,
    pub(super) state: TaskState,
    pub(super) reason: Option<Reason>,
}

impl Neighbour {
    /// Nothing in this group or item moves yet.
    pub(super) fn has_to_start(&self) -> bool {
        self.state == TaskState::Pending
            || matches!(self.reason, Some(Reason::Lock | Reason::Budget))
    }
}

struct NeighbourRow {
    seq: i32,
    state: i16,
    reason: Option<i16>,
}

impl NeighbourRow {
    fn into_neighbour(self) -> sqlx::Result<Neighbour> {
        let state = TaskState::from_code(self.state)
            .ok_or_else(|| unknown_code("state of a task", self.state))?;
        Ok(Neighbour { seq: self.seq, state, reason: self.reason.and_then(Reason::from_code) })
    }
}

/// A session that is the attempt of a task.
pub(super) struct ChildRow {
    pub(super) id: SessionId,
    pub(super) state: SessionState,
    pub(super) workflow: String,
}

/// A live worker and what it offers.
pub(super) struct Offer {
    pub(super) name: String,
    pub(super) capabilities: Vec<String>,
}

impl Offer {
    /// Whether the worker offers this capability.
    pub(super) fn has(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|offered| offered == "*" || offered == capability)
    }
}

/// Who paused a task.
pub(super) struct Pause {
    pub(super) at: DateTime<Utc>,
    pub(super) actor: Option<String>,
    pub(super) reason: Option<String>,
}

/// Where a session stands, for the question what holds it up.
pub(super) struct Standing {
    pub(super) state: i16,
    pub(super) sweep: i16,
    phase: i16,
    result: Option<i16>,
    hold: Option<Value>,
    pub(super) error: Option<Json<Failure>>,
    pub(super) finished_at: Option<DateTime<Utc>>,
}

impl Standing {
    /// Who or what holds a session, since when and why: in words, and for programs.
    pub(super) fn held(&self) -> (String, Value) {
        let hold = self.hold.clone().unwrap_or_default();
        let text = |name: &str| hold[name].as_str();
        let by = text("actor").map(|actor| format!(" by {actor}"));
        let at = text("at").and_then(|at| DateTime::parse_from_rfc3339(at).ok());
        let since = at.map(|at| format!(" since {}", time(at.to_utc())));
        let because = text("reason").map(|reason| format!(" ({reason})"));
        let missing = hold["missing"].as_array().map(|missing| {
            let names: Vec<String> =
                missing.iter().filter_map(Value::as_str).map(|it| format!("`{it}`")).collect();
            format!(": no live agent offers {}", names.join(", "))
        });
        let says = [by, since, because, missing].into_iter().flatten().collect();
        (says, hold)
    }

    pub(super) fn phase(&self) -> Option<Phase> {
        Phase::from_code(self.phase)
    }

    /// What the session ends as, as far as that is decided.
    pub(super) fn result(&self) -> String {
        let result = self.result.and_then(SessionState::from_code);
        result.map_or_else(|| "undecided".to_owned(), |result| result.to_string())
    }
}

/// Live workers that are looked at.
const OFFERS_MAX: i64 = 1_000;
/// Tasks ahead in a route are counted up to this many.
pub(super) const AHEAD_MAX: i64 = 10_000;

impl Views {
    pub(super) async fn standing(&self, session: SessionKey) -> Result<Standing, ReadError> {
        let standing = sqlx::query_as!(
            Standing,
            r#"select state, sweep, phase, result, hold, error as "error: Json<Failure>", finished_at
                 from session_progress
                where tenant_id = $1 and session_id = $2"#,
            session.tenant.0,
            session.id.0,
        )
        .fetch_optional(&self.db)
        .await?;
        self.unless_gone(session, standing).await
    }

    /// The name of the signal that a row waits for.
    pub(super) async fn awaited(
        &self,
        session: SessionKey,
        seq: i32,
    ) -> sqlx::Result<Option<String>> {
        sqlx::query_scalar!(
            "select name from signal_waits
              where tenant_id = $1 and session_id = $2 and seq = $3",
            session.tenant.0,
            session.id.0,
            seq,
        )
        .fetch_optional(&self.db)
        .await
    }

    /// The rows with these numbers, in order.
    pub(super) async fn neighbours(
        &self,
        session: SessionKey,
        seqs: &[i32],
    ) -> sqlx::Result<Vec<Neighbour>> {
        let rows = sqlx::query_as!(
            NeighbourRow,
            "select t.seq, t.state, t.reason
               from unnest($3::int[]) as k (seq)
              cross join lateral (
                    select * from tasks t
                     where t.tenant_id = $1 and t.session_id = $2 and t.seq = k.seq
                     limit 1) t
              order by t.seq",
            session.tenant.0,
            session.id.0,
            seqs,
        )
        .fetch_all(&self.db)
        .await?;
        rows.into_iter().map(NeighbourRow::into_neighbour).collect()
    }

    /// Rows directly below a group or item that are in one of these states.
    pub(super) async fn children_in(
        &self,
        session: SessionKey,
        parent: i32,
        states: &[TaskState],
        limit: i64,
    ) -> sqlx::Result<Vec<Neighbour>> {
        let states: Vec<i16> = states.iter().map(|state| state.code()).collect();
        let rows = sqlx::query_as!(
            NeighbourRow,
            "select seq, state, reason
               from tasks
              where tenant_id = $1 and session_id = $2 and seq > $3
                and parent = $3 and state = any($4)
              order by seq
              limit $5",
            session.tenant.0,
            session.id.0,
            parent,
            &states,
            limit,
        )
        .fetch_all(&self.db)
        .await?;
        rows.into_iter().map(NeighbourRow::into_neighbour).collect()
    }

    /// The first rows of the session that are in one of these states and have all of these flags.
    pub(super) async fn rows_in(
        &self,
        session: SessionKey,
        states: &[TaskState],
        flags: i16,
        limit: i64,
    ) -> sqlx::Result<Vec<i32>> {
        let states: Vec<i16> = states.iter().map(|state| state.code()).collect();
        sqlx::query_scalar!(
            "select seq
               from tasks
              where tenant_id = $1 and session_id = $2 and state = any($3)
                and (flags & $4 = $4 or (state = 4 and reason = any($6)))
              order by seq
              limit $5",
            session.tenant.0,
            session.id.0,
            &states,
            flags,
            limit,
            // Groups and items wait for these as well as tasks.
            &[Reason::Lock.code(), Reason::Budget.code()],
        )
        .fetch_all(&self.db)
        .await
    }

    /// The session that an attempt at a task is.
    pub(super) async fn child_of(
        &self,
        session: SessionKey,
        seq: i32,
        attempt: i32,
    ) -> sqlx::Result<Option<ChildRow>> {
        let row = sqlx::query!(
            "select c.child_id, p.state, v.name
               from child_sessions c
               join session_progress p on p.tenant_id = c.tenant_id and p.session_id = c.child_id
               join workflow_versions v on v.tenant_id = c.tenant_id and v.id = p.version_id
              where c.tenant_id = $1 and c.parent_id = $2 and c.parent_seq = $3
                and c.attempt = $4",
            session.tenant.0,
            session.id.0,
            seq,
            attempt,
        )
        .fetch_optional(&self.db)
        .await?;
        row.map(|row| {
            let state = SessionState::from_code(row.state)
                .ok_or_else(|| unknown_code("state of a session", row.state))?;
            Ok(ChildRow { id: SessionId(row.child_id), state, workflow: row.name })
        })
        .transpose()
    }

    /// Who paused a task last, when and why.
    pub(super) async fn pause_of(
        &self,
        session: SessionKey,
        seq: i32,
    ) -> sqlx::Result<Option<Pause>> {
        sqlx::query_as!(
            Pause,
            r#"select e.ats[n] as "at!", e.actor, e.bodies[n] ->> 'reason' as reason
                 from events e
                cross join lateral generate_subscripts(e.kinds, 1) as n
                where e.tenant_id = $1 and e.session_id = $2
                  and e.kinds[n] = $4 and e.tasks[n] = $3
                order by e.first_seq desc, n desc
                limit 1"#,
            session.tenant.0,
            session.id.0,
            seq,
            EventKind::TaskPaused.code(),
        )
        .fetch_optional(&self.db)
        .await
    }

    pub(super) async fn offers(&self) -> sqlx::Result<Vec<Offer>> {
        sqlx::query_as!(
            Offer,
            "select name, capabilities
               from workers
              where ended_at is null and lease_until > (select clock()) and drained_at is null
              order by id
              limit $1",
            OFFERS_MAX,
        )
        .fetch_all(&self.db)
        .await
    }

    /// How many tasks of the route are served before one of that rank, at most [`AHEAD_MAX`].
    pub(super) async fn ahead(&self, route: i32, rank: DateTime<Utc>) -> sqlx::Result<i64> {
        sqlx::query_scalar!(
            r#"select count(*) as "count!"
                 from (select from tasks where route = $1 and queued and rank < $2 limit $3) t"#,
            route,
            rank,
            AHEAD_MAX,
        )
        .fetch_one(&self.db)
        .await
    }
}
