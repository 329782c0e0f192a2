//! Fires schedules: notes which of their sessions ended, starts what is due, moves lines on. Any
//! process may win a schedule; its lock, the key of its fires and one transaction for a fire and its
//! session make each fire happen once.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    id::{SessionId, SessionKey, TenantId, VersionId},
    schedule::{self, Due, Rule, ScheduleId, Standing, Then},
    session::SessionState,
    store::{
        Hint, Store, Version,
        pauses::{self, Point},
        places,
        schedule_rows::{self, Cause, FireState, Fires, Locked},
        sessions::{self, EndedAtOnce},
    },
};

/// Schedules that one transaction handles at most.
const BATCH: i64 = 50;

/// Does what schedules have to do now; returns how much that was.
pub(super) async fn fire(store: &Store) -> sqlx::Result<usize> {
    let settled = settle(store).await?;
    let waiting = sqlx::query_file!("src/store/sql/schedules_waiting.sql", BATCH)
        .fetch_all(&store.pool)
        .await?;
    if waiting.is_empty() {
        return Ok(settled);
    }
    // Read before anything is locked.
    let mut versions = HashMap::new();
    for row in &waiting {
        let Some(id) = row.version_id.map(VersionId) else { continue };
        if let Some(version) = store.versions.load(&store.pool, TenantId(row.tenant_id), id).await?
        {
            versions.insert(id.0, version);
        }
    }
    pauses::at(Point::DueRead).await;
    let keys: (Vec<Uuid>, Vec<String>) =
        waiting.into_iter().map(|row| (row.tenant_id, row.id)).unzip();
    let mut tx = store.pool.begin().await?;
    let rows = lock(&mut tx, &keys, &versions).await?;
    if rows.is_empty() {
        return Ok(settled);
    }
    let firsts: Vec<_> =
        rows.iter().filter_map(|row| Some((&row.schedule, row.schedule.due?.fire))).collect();
    let known = schedule_rows::known(&mut tx, &firsts).await?;
    let mut fires = Fires::default();
    let mut cancelled = Vec::new();
    let mut schedules = Vec::with_capacity(rows.len());
    for mut row in rows {
        row.move_line(&mut fires);
        if row.fire(&known, &mut fires) {
            cancelled.extend(cancel_open(&mut tx, &row.schedule).await?);
        }
        schedules.push(row.schedule);
    }
    fires.write(&mut tx).await?;
    schedule_rows::write(&mut tx, &schedules).await?;
    let leaving = cancelled.iter().filter(|(_, ended)| ended.leaves);
    let left: Vec<SessionKey> = leaving.map(|(key, _)| *key).collect();
    places::enter_all(&mut tx, &left, fires.places()).await?;
    pauses::at(Point::FireWritten).await;
    tx.commit().await?;
    let cancelled: Vec<SessionId> = cancelled.into_iter().map(|(key, _)| key.id).collect();
    tell(store, &fires, &cancelled);
    Ok(settled + schedules.len())
}

fn tell(store: &Store, fires: &Fires, cancelled: &[SessionId]) {
    for id in cancelled {
        store.hints.send(Hint::Ended(*id));
        store.hints.send(Hint::Event(*id));
    }
    if fires.len() > 0 {
        store.hints.send(Hint::Ready);
    }
    if fires.is_undecided() || !cancelled.is_empty() {
        store.hints.send(Hint::Undecided);
    }
}

/// A locked schedule with what it could start.
struct Row {
    schedule: Locked,
    since: DateTime<Utc>,
    forgotten_to: Option<DateTime<Utc>>,
    queued_fire: Option<DateTime<Utc>>,
    /// Who asked for it.
    queued_by: Option<String>,
    /// What its workflow's name stands for.
    version: Option<Arc<Version>>,
    now: DateTime<Utc>,
}

/// Locks what is still due. A schedule whose workflow has just changed is left to the next look.
async fn lock(
    tx: &mut PgConnection,
    (tenants, ids): &(Vec<Uuid>, Vec<String>),
    versions: &HashMap<Uuid, Arc<Version>>,
) -> sqlx::Result<Vec<Row>> {
    let rows =
        sqlx::query_file!("src/store/sql/schedules_lock.sql", tenants, ids).fetch_all(tx).await?;
    let mut locked = Vec::with_capacity(rows.len());
    for row in rows {
        let version = row.version_id.and_then(|id| versions.get(&id).cloned());
        if row.version_id.is_some() && version.is_none() {
            continue;
        }
        let id: ScheduleId =
            row.id.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
        let (rule, pause) = match serde_json::from_value::<Rule>(row.rule) {
            Ok(rule) => (rule, None),
            Err(error) => {
                tracing::error!(%error, schedule.id = %id, "a schedule cannot be read; it is paused");
                let never = Rule::new("0 0 1 1 *".parse().expect("a cron"), chrono_tz::Tz::UTC);
                (never, Some("this version of Jobshop cannot read it".to_owned()))
            }
        };
        let due = row.next_fire.zip(row.due_at).map(|(fire, at)| Due { fire, at });
        let schedule = Locked {
            tenant: TenantId(row.tenant_id),
            id,
            rule,
            due: due.filter(|_| pause.is_none()),
            last_fire: None,
            runs: row.runs,
            failures: row.failures,
            open: row.open,
            queued: row.queued,
            pause,
        };
        locked.push(Row {
            schedule,
            since: row.since,
            forgotten_to: row.forgotten_to,
            queued_fire: row.queued_fire,
            queued_by: row.queued_by,
            version,
            now: row.now,
        });
    }
    Ok(locked)
}

impl Row {
    /// Starts the first in line where nothing is in its way.
    fn move_line(&mut self, fires: &mut Fires) {
        let schedule = &mut self.schedule;
        if schedule.open > 0 || schedule.queued == 0 || schedule.pause.is_some() {
            return;
        }
        // A line that is shorter than it was counted is counted anew.
        let Some(time) = self.queued_fire else {
            schedule.queued = 0;
            return;
        };
        schedule.queued -= 1;
        let by = self.queued_by.take();
        self.start(time, Cause { by: by.as_deref(), ..Cause::CLOCK }, fires);
    }

    /// Does what is due; returns whether sessions that run are to be cancelled.
    fn fire(&mut self, known: &HashSet<(Uuid, String, DateTime<Utc>)>, fires: &mut Fires) -> bool {
        let Some(due) = self.schedule.due.filter(|due| due.at <= self.now) else { return false };
        let schedule = &self.schedule;
        let count = |number: i32| u32::try_from(number).unwrap_or(0);
        let standing = Standing {
            next: due.fire,
            since: self.since,
            runs: count(schedule.runs),
            open: count(schedule.open),
            queued: count(schedule.queued),
        };
        let turn = schedule::turn(&schedule.rule, &schedule.id, &standing, self.now);
        self.schedule.due = turn.next;
        let (tenant, id) = (self.schedule.tenant.0, self.schedule.id.to_string());
        let mut started = false;
        for fire in &turn.fires {
            if self.schedule.pause.is_some() {
                break;
            }
            // Somebody made up for it by hand, and that may be forgotten by now.
            let is_known = known.contains(&(tenant, id.clone(), fire.time));
            if is_known || self.forgotten_to.is_some_and(|to| fire.time <= to) {
                continue;
            }
            let note = |fires: &mut Fires, schedule: &Locked, state, reason: Option<&str>| {
                let reason = reason.map(str::to_owned);
                fires.note(schedule, fire.time, (Cause::CLOCK, state), reason);
            };
            match fire.then {
                Then::Start => {
                    self.schedule.runs += 1;
                    self.schedule.last_fire = Some(fire.time);
                    started |= self.start(fire.time, Cause::CLOCK, fires);
                }
                Then::Queue => {
                    self.schedule.runs += 1;
                    self.schedule.queued += 1;
                    self.schedule.last_fire = Some(fire.time);
                    note(fires, &self.schedule, FireState::Queued, None);
                }
                Then::Skip => note(fires, &self.schedule, FireState::Skipped, Some("overlap")),
                Then::Miss => note(fires, &self.schedule, FireState::Missed, Some("late")),
            }
        }
        turn.cancels && started
    }

    /// Starts a session, or records why that was not possible.
    fn start(&mut self, time: DateTime<Utc>, cause: Cause<'_>, fires: &mut Fires) -> bool {
        let why = match &self.version {
            None => format!("the workflow `{}` is not applied", self.schedule.id.workflow()),
            Some(version) => match fires.start(&self.schedule, time, cause, version) {
                Ok(_) => {
                    self.schedule.open += 1;
                    return true;
                }
                Err(error) => error.to_string(),
            },
        };
        self.schedule.count_failure(&why);
        fires.note(&self.schedule, time, (cause, FireState::Failed), Some(why));
        false
    }
}

/// Cancels what the schedule has running, in the same transaction.
async fn cancel_open(
    tx: &mut PgConnection,
    schedule: &Locked,
) -> sqlx::Result<Vec<(SessionKey, EndedAtOnce)>> {
    let open = sqlx::query_scalar!(
        r#"select session_id as "session_id!"
             from schedule_fires
            where tenant_id = $1 and schedule_id = $2 and open
            order by session_id"#,
        schedule.tenant.0,
        schedule.id.as_str()
    )
    .fetch_all(&mut *tx)
    .await?;
    let actor = format!("schedule:{}", schedule.id);
    let mut cancelled = Vec::new();
    for id in open.into_iter().map(SessionId) {
        let key = SessionKey { tenant: schedule.tenant, id };
        let body = json!({ "reason": "a later fire of its schedule took its place" });
        let to = SessionState::Cancelled;
        if let Some(ended) = sessions::end_at_once(tx, key, to, Some(&actor), Some(body)).await? {
            cancelled.push((key, ended));
        }
    }
    Ok(cancelled)
}

/// Notes which sessions of schedules ended, counts failures in a row, and pauses what failed too
/// often. Returns how many sessions that were.
async fn settle(store: &Store) -> sqlx::Result<usize> {
    let ended = sqlx::query!(
        "select distinct f.tenant_id, f.schedule_id
           from schedule_fires f
           left join session_progress p on p.tenant_id = f.tenant_id and p.session_id = f.session_id
          where f.open and (p.state is null or p.state >= 5)
          limit $1",
        BATCH
    )
    .fetch_all(&store.pool)
    .await?;
    if ended.is_empty() {
        return Ok(0);
    }
    let keys = ended.into_iter().map(|row| (row.tenant_id, row.schedule_id)).unzip();
    let mut tx = store.pool.begin().await?;
    let mut schedules = lock_ended(&mut tx, &keys).await?;
    let (tenants, ids): (Vec<Uuid>, Vec<String>) = schedules.keys().cloned().unzip();
    let ended = sqlx::query_file!("src/store/sql/schedules_ended.sql", &tenants, &ids)
        .fetch_all(&mut *tx)
        .await?;
    for row in &ended {
        let Some(schedule) = schedules.get_mut(&(row.tenant_id, row.schedule_id.clone())) else {
            continue;
        };
        schedule.open = (schedule.open - 1).max(0);
        match row.state.and_then(SessionState::from_code) {
            Some(SessionState::Failed | SessionState::Timeout | SessionState::Orphaned) => {
                schedule.count_failure("its session failed");
            }
            Some(SessionState::Completed | SessionState::PartiallyCompleted) => {
                schedule.failures = 0;
            }
            // A person ended it, or it is gone: that says nothing of the schedule.
            Some(
                SessionState::Pending
                | SessionState::Queued
                | SessionState::Running
                | SessionState::Paused
                | SessionState::Degraded
                | SessionState::Stopped
                | SessionState::Cancelled,
            )
            | None => {}
        }
    }
    let schedules: Vec<Locked> = schedules.into_values().collect();
    schedule_rows::write(&mut tx, &schedules).await?;
    tx.commit().await?;
    Ok(ended.len())
}

/// Locks schedules of which a session ended; those that another process holds are left to it.
async fn lock_ended(
    tx: &mut PgConnection,
    (tenants, ids): &(Vec<Uuid>, Vec<String>),
) -> sqlx::Result<HashMap<(Uuid, String), Locked>> {
    let rows = sqlx::query!(
        "select s.tenant_id, s.id, s.rule, s.next_fire, s.due_at, s.runs, s.failures, s.open,
                s.queued
           from unnest($1::uuid[], $2::text[]) as k (tenant_id, id)
           join schedules s on s.tenant_id = k.tenant_id and s.id = k.id
          order by s.tenant_id, s.id
            for no key update of s skip locked",
        tenants,
        ids
    )
    .fetch_all(tx)
    .await?;
    let mut schedules = HashMap::new();
    for row in rows {
        let id: ScheduleId =
            row.id.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
        // A rule that cannot be read is paused when it is due.
        let Ok(rule) = serde_json::from_value(row.rule) else { continue };
        let schedule = Locked {
            tenant: TenantId(row.tenant_id),
            id,
            rule,
            due: row.next_fire.zip(row.due_at).map(|(fire, at)| Due { fire, at }),
            last_fire: None,
            runs: row.runs,
            failures: row.failures,
            open: row.open,
            queued: row.queued,
            pause: None,
        };
        schedules.insert((row.tenant_id, row.id), schedule);
    }
    Ok(schedules)
}
