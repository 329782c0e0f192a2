//! Rows of schedules and of their fires, written together under the schedules' locks: a fire is
//! recorded in the transaction that starts its session. What is due is decided elsewhere.

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    Version,
    places::Place,
    session_rows::Rows,
    sessions::{CreateError, NewSession},
};
use crate::{
    id::{SessionId, SessionKey, TenantId},
    schedule::{Due, Rule, ScheduleId},
};
use std::sync::Arc;

/// Why a fire came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FireKind {
    /// By the clock.
    Clock,
    /// Somebody wanted a session now.
    Hand,
    /// Somebody wanted a session for a time that is past.
    Backfill,
}

/// Why a fire came, and who asked for it where that was not the clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cause<'a> {
    pub(super) kind: FireKind,
    pub(super) by: Option<&'a str>,
}

impl Cause<'_> {
    pub(super) const CLOCK: Self = Self { kind: FireKind::Clock, by: None };
}

/// What became of a fire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FireState {
    Queued,
    Started,
    Skipped,
    Missed,
    Failed,
}

impl FireKind {
    pub const ALL: [Self; 3] = [Self::Clock, Self::Hand, Self::Backfill];

    pub const fn code(self) -> i16 {
        self as i16
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Clock => "schedule",
            Self::Hand => "trigger",
            Self::Backfill => "backfill",
        }
    }
}

impl FireState {
    pub const ALL: [Self; 5] =
        [Self::Queued, Self::Started, Self::Skipped, Self::Missed, Self::Failed];

    pub const fn code(self) -> i16 {
        self as i16
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Started => "started",
            Self::Skipped => "skipped",
            Self::Missed => "missed",
            Self::Failed => "failed",
        }
    }
}

/// A locked schedule while it is decided what comes of it.
#[derive(Debug, Clone)]
pub(super) struct Locked {
    pub(super) tenant: TenantId,
    pub(super) id: ScheduleId,
    pub(super) rule: Rule,
    pub(super) due: Option<Due>,
    pub(super) last_fire: Option<DateTime<Utc>>,
    pub(super) runs: i32,
    pub(super) failures: i32,
    pub(super) open: i32,
    pub(super) queued: i32,
    /// Why it is to be paused.
    pub(super) pause: Option<String>,
}

impl Locked {
    /// Counts a failure, and pauses where that is one too many.
    pub(super) fn count_failure(&mut self, what: &str) {
        self.failures += 1;
        let most = self.rule.pause_after.and_then(|most| i32::try_from(most).ok());
        if most.is_some_and(|most| self.failures >= most) {
            let times = self.failures;
            self.pause(format!("failed {times} times in a row; the last time {what}"));
        }
    }

    pub(super) fn pause(&mut self, reason: String) {
        self.due = None;
        self.pause = Some(reason);
    }
}

/// Writes where locked schedules stand now.
pub(super) async fn write(tx: &mut PgConnection, all: &[Locked]) -> sqlx::Result<()> {
    let tenants: Vec<Uuid> = all.iter().map(|s| s.tenant.0).collect();
    let ids: Vec<String> = all.iter().map(|s| s.id.to_string()).collect();
    let next: Vec<_> = all.iter().map(|s| s.due.map(|due| due.fire)).collect();
    let due: Vec<_> = all.iter().map(|s| s.due.map(|due| due.at)).collect();
    let last: Vec<_> = all.iter().map(|s| s.last_fire).collect();
    let runs: Vec<i32> = all.iter().map(|s| s.runs).collect();
    let failures: Vec<i32> = all.iter().map(|s| s.failures).collect();
    let open: Vec<i32> = all.iter().map(|s| s.open).collect();
    let queued: Vec<i32> = all.iter().map(|s| s.queued).collect();
    let reasons: Vec<_> = all.iter().map(|s| s.pause.clone()).collect();
    sqlx::query_file!(
        "src/store/sql/schedules_write.sql",
        &tenants,
        &ids,
        &next as _,
        &due as _,
        &last as _,
        &runs,
        &failures,
        &open,
        &queued,
        &reasons as _
    )
    .execute(tx)
    .await
    .map(|_| ())
}

/// Fires to be recorded, and the sessions that they start.
#[derive(Default)]
pub(super) struct Fires {
    sessions: Rows,
    tenants: Vec<Uuid>,
    schedules: Vec<String>,
    times: Vec<DateTime<Utc>>,
    kinds: Vec<i16>,
    states: Vec<i16>,
    session_ids: Vec<Option<Uuid>>,
    reasons: Vec<Option<String>>,
    asked_by: Vec<Option<String>>,
}

impl Fires {
    /// Starts a session of this version; refuses inputs that do not fit it.
    pub(super) fn start(
        &mut self,
        schedule: &Locked,
        time: DateTime<Utc>,
        cause: Cause<'_>,
        version: &Arc<Version>,
    ) -> Result<SessionId, CreateError> {
        let fire_time = time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true);
        let metadata = json!({ "schedule": schedule.id, "fire_time": fire_time });
        let new = NewSession {
            inputs: schedule.rule.with.clone(),
            metadata: metadata.as_object().cloned().unwrap_or_default(),
            created_by: Some(match cause.by {
                Some(person) => person.to_owned(),
                None => format!("schedule:{}", schedule.id),
            }),
            schedule: Some(schedule.id.clone()),
            ..NewSession::new(Arc::clone(version))
        };
        let session = self.sessions.push(&new)?;
        self.push(schedule, time, (cause, FireState::Started), Some(session.0), None);
        Ok(session)
    }

    /// Records a fire that starts no session now.
    pub(super) fn note(
        &mut self,
        schedule: &Locked,
        time: DateTime<Utc>,
        what: (Cause<'_>, FireState),
        reason: Option<String>,
    ) {
        self.push(schedule, time, what, None, reason);
    }

    fn push(
        &mut self,
        schedule: &Locked,
        time: DateTime<Utc>,
        (cause, state): (Cause<'_>, FireState),
        session: Option<Uuid>,
        reason: Option<String>,
    ) {
        self.tenants.push(schedule.tenant.0);
        self.schedules.push(schedule.id.to_string());
        self.times.push(time);
        self.kinds.push(cause.kind.code());
        self.asked_by.push(cause.by.map(str::to_owned));
        self.states.push(state.code());
        self.session_ids.push(session);
        self.reasons.push(reason);
    }

    /// How many fires these are.
    pub(super) fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether a new session has something that the control loop decides.
    pub(super) fn is_undecided(&self) -> bool {
        self.sessions.undecided
    }

    /// The places that new sessions need; whoever writes them asks for these as the last step.
    pub(super) fn places(&self) -> &[Place] {
        &self.sessions.places
    }

    /// Writes all of it. A fire that was decided before, which the locks rule out, is an error: its
    /// session would be a second one.
    pub(super) async fn write(&self, tx: &mut PgConnection) -> sqlx::Result<()> {
        if self.times.is_empty() {
            return Ok(());
        }
        let written = sqlx::query_file!(
            "src/store/sql/schedule_fires_write.sql",
            &self.tenants,
            &self.schedules,
            &self.times,
            &self.kinds,
            &self.states,
            &self.session_ids as _,
            &self.reasons as _,
            &self.asked_by as _
        )
        .execute(&mut *tx)
        .await?
        .rows_affected();
        if usize::try_from(written).ok() != Some(self.times.len()) {
            return Err(sqlx::Error::Protocol("a fire of a schedule was decided before".into()));
        }
        if !self.sessions.is_empty() {
            self.sessions.insert(tx).await?;
        }
        Ok(())
    }
}

/// The fires from `from` on that were decided or wait in line.
pub(super) async fn known(
    tx: &mut PgConnection,
    schedules: &[(&Locked, DateTime<Utc>)],
) -> sqlx::Result<std::collections::HashSet<(Uuid, String, DateTime<Utc>)>> {
    let tenants: Vec<Uuid> = schedules.iter().map(|(s, _)| s.tenant.0).collect();
    let ids: Vec<String> = schedules.iter().map(|(s, _)| s.id.to_string()).collect();
    let from: Vec<DateTime<Utc>> = schedules.iter().map(|(_, from)| *from).collect();
    let known = sqlx::query!(
        "select f.tenant_id, f.schedule_id, f.fire_time
           from unnest($1::uuid[], $2::text[], $3::timestamptz[]) as k (tenant_id, id, since)
           join schedule_fires f on f.tenant_id = k.tenant_id and f.schedule_id = k.id
                                and f.fire_time >= k.since",
        &tenants,
        &ids,
        &from
    )
    .fetch_all(tx)
    .await?;
    Ok(known.into_iter().map(|row| (row.tenant_id, row.schedule_id, row.fire_time)).collect())
}

/// Locks the schedule that started a session, before the session: whoever fires locks them in that
/// order.
pub(super) async fn lock_of(tx: &mut PgConnection, session: SessionKey) -> sqlx::Result<()> {
    sqlx::query!(
        "select s.id
           from sessions x
           join schedules s on s.tenant_id = x.tenant_id and s.id = x.schedule_id
          where x.tenant_id = $1 and x.id = $2
            for no key update of s",
        session.tenant.0,
        session.id.0
    )
    .fetch_optional(tx)
    .await
    .map(|_| ())
}

/// Counts a session that was opened again among those that its schedule has running, under the lock
/// of [`lock_of`]. One whose end the schedule has not noticed yet is counted still.
pub(super) async fn count_again(tx: &mut PgConnection, session: SessionKey) -> sqlx::Result<()> {
    sqlx::query!(
        "with again as (
             update schedule_fires set open = true
              where tenant_id = $1 and session_id = $2 and state = $3 and not open
             returning tenant_id, schedule_id
         )
         update schedules s set open = s.open + 1
           from again a
          where s.tenant_id = a.tenant_id and s.id = a.schedule_id",
        session.tenant.0,
        session.id.0,
        FireState::Started.code()
    )
    .execute(tx)
    .await
    .map(|_| ())
}
