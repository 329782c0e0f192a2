//! Schedules: what applying a workflow makes of its triggers, and what people do to schedules.
//! Firing them by the clock is the control loop's.

mod backfill;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use sqlx::{PgConnection, PgPool};
use thiserror::Error;

use super::{
    Hint, Store, Version, places,
    schedule_rows::{self, Cause, FireKind, FireState, Fires, Locked},
    sessions::{self, CreateError, Created, Idempotency},
    workflows,
};
use crate::{
    id::{SessionKey, TenantId},
    plan::Trigger,
    schedule::{Due, Rule, ScheduleId},
    workflow::check_inputs,
};

pub use backfill::{Backfilled, backfill};

/// Why a schedule could not be had or changed.
#[derive(Debug, Error)]
pub enum ScheduleError {
    #[error("there is no schedule `{0}`")]
    NotFound(String),
    #[error("there is a schedule `{0}` already")]
    Exists(ScheduleId),
    #[error("there is no workflow `{0}`; apply it first")]
    NoWorkflow(String),
    #[error("{0}")]
    Invalid(String),
    #[error(
        "schedule `{0}` is a trigger of its workflow: remove it there and apply the workflow, or pause it"
    )]
    OfWorkflow(ScheduleId),
    #[error("schedule `{0}` is no trigger of its workflow any more")]
    Disabled(ScheduleId),
    #[error(transparent)]
    Create(#[from] CreateError),
    #[error("the database did not take the change")]
    Database(#[from] sqlx::Error),
}

type Done<T> = Result<T, ScheduleError>;

/// Makes the triggers of a workflow its schedules, in the transaction that applies it. What did not
/// change stays as it is; a schedule that was paused stays paused, and counters go on.
pub(super) async fn sync(
    tx: &mut PgConnection,
    tenant: TenantId,
    workflow: &str,
    triggers: &[Trigger],
    actor: Option<&str>,
) -> sqlx::Result<()> {
    let known = sqlx::query!(
        r#"select id, source, rule, since, next_fire, due_at, runs, paused_at, removed_at, clock() as "now!"
             from schedules
            where tenant_id = $1 and workflow = $2
            order by id
              for no key update"#,
        tenant.0,
        workflow
    )
    .fetch_all(&mut *tx)
    .await?;
    for trigger in triggers {
        let id = ScheduleId::new(workflow, &trigger.name)
            .map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
        let Some(row) = known.iter().find(|row| row.id == id.as_str()) else {
            let now = clock(tx).await?;
            let due = trigger.rule.first_due(&id, now);
            insert(tx, tenant, &id, (&trigger.rule, due, now), (Source::Workflow, actor)).await?;
            continue;
        };
        let old: Option<Rule> = serde_json::from_value(row.rule.clone()).ok();
        let is_same = old.as_ref() == Some(&trigger.rule);
        if is_same && row.removed_at.is_none() && row.source == Source::Workflow.code() {
            continue;
        }
        let due = row.next_fire.zip(row.due_at).map(|(fire, at)| Due { fire, at });
        // What is due by now still fires, and so does what the same times promise.
        let has_same_times = old.is_some_and(|old| old.has_times_of(&trigger.rule));
        let kept = due.filter(|due| has_same_times || due.at <= row.now);
        let is_over = trigger.rule.max_runs.is_some_and(|most| i64::from(row.runs) >= most.into());
        let due = kept.or_else(|| trigger.rule.first_due(&id, row.now));
        let due = due.filter(|_| row.paused_at.is_none() && !is_over);
        let since = if has_same_times && kept.is_some() { row.since } else { row.now };
        replace(tx, tenant, &id, (&trigger.rule, due, since), actor).await?;
    }
    let kept: Vec<String> =
        triggers.iter().map(|trigger| format!("{workflow}/{}", trigger.name)).collect();
    remove(tx, tenant, workflow, &kept, actor).await
}

/// Where a schedule comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Workflow,
    Hand,
}

impl Source {
    pub(super) const fn code(self) -> i16 {
        self as i16
    }
}

/// The rule, what is due first, and since when it holds.
type Told<'r> = (&'r Rule, Option<Due>, DateTime<Utc>);

async fn insert(
    tx: &mut PgConnection,
    tenant: TenantId,
    id: &ScheduleId,
    (rule, due, now): Told<'_>,
    (source, actor): (Source, Option<&str>),
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "insert into schedules (tenant_id, id, workflow, source, rule, since, next_fire, due_at,
                                created_by, updated_by, created_at, updated_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $6, $6)
             on conflict do nothing",
        tenant.0,
        id.as_str(),
        id.workflow(),
        source.code(),
        sqlx::types::Json(rule) as _,
        now,
        due.map(|due| due.fire),
        due.map(|due| due.at),
        // The other ones are the workflow's.
        actor.filter(|_| source == Source::Hand),
        actor
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

async fn replace(
    tx: &mut PgConnection,
    tenant: TenantId,
    id: &ScheduleId,
    (rule, due, since): Told<'_>,
    actor: Option<&str>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update schedules
            set source = $3, rule = $4, since = $5, next_fire = $6, due_at = $7, removed_at = null,
                updated_at = clock(), updated_by = $8
          where tenant_id = $1 and id = $2",
        tenant.0,
        id.as_str(),
        Source::Workflow.code(),
        sqlx::types::Json(rule) as _,
        since,
        due.map(|due| due.fire),
        due.map(|due| due.at),
        actor
    )
    .execute(tx)
    .await
    .map(|_| ())
}

/// Disables the schedules that are no triggers any more; what waited in line for them is dropped.
async fn remove(
    tx: &mut PgConnection,
    tenant: TenantId,
    workflow: &str,
    kept: &[String],
    actor: Option<&str>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "with removed as (
             update schedules
                set removed_at = clock(), updated_at = clock(), updated_by = $6, next_fire = null, due_at = null,
                    queued = 0
              where tenant_id = $1 and workflow = $2 and source = $3 and removed_at is null
                and id <> all ($4)
             returning tenant_id, id
         )
         update schedule_fires f
            set state = $5, reason = 'the trigger was removed', decided_at = clock()
           from removed r
          where f.tenant_id = r.tenant_id and f.schedule_id = r.id and f.state = 0",
        tenant.0,
        workflow,
        Source::Workflow.code(),
        kept,
        FireState::Skipped.code(),
        actor
    )
    .execute(tx)
    .await
    .map(|_| ())
}

/// Makes a schedule that no workflow file knows of.
pub async fn create(
    store: &Store,
    tenant: TenantId,
    id: &ScheduleId,
    rule: &Rule,
    created_by: Option<&str>,
) -> Done<()> {
    let version = version_of(store, tenant, id).await?;
    check_inputs(&version.plan, rule.with.clone()).map_err(CreateError::Inputs)?;
    let mut tx = store.pool.begin().await?;
    let now = clock(&mut tx).await?;
    let Some(due) = rule.first_due(id, now) else {
        return Err(ScheduleError::Invalid("the schedule would never fire: it is over".to_owned()));
    };
    if !insert(&mut tx, tenant, id, (rule, Some(due), now), (Source::Hand, created_by)).await? {
        return Err(ScheduleError::Exists(id.clone()));
    }
    tx.commit().await?;
    store.hints.send(Hint::Undecided);
    Ok(())
}

/// Keeps a schedule from firing; what it started goes on. A paused one stays paused.
pub async fn pause(
    store: &Store,
    tenant: TenantId,
    id: &ScheduleId,
    reason: Option<&str>,
    actor: Option<&str>,
) -> Done<()> {
    let done = sqlx::query!(
        "update schedules
            set paused_at = clock(), pause_reason = $3, next_fire = null, due_at = null,
                updated_at = clock(), updated_by = $4
          where tenant_id = $1 and id = $2 and paused_at is null and removed_at is null",
        tenant.0,
        id.as_str(),
        reason,
        actor
    )
    .execute(&store.pool)
    .await?;
    if done.rows_affected() == 0 {
        let mut tx = store.pool.begin().await?;
        refuse_disabled(lock(&mut tx, tenant, id).await?)?;
    }
    Ok(())
}

/// Lets a schedule fire again, from now on: what it would have fired meanwhile is not made up for.
pub async fn resume(
    store: &Store,
    tenant: TenantId,
    id: &ScheduleId,
    actor: Option<&str>,
) -> Done<()> {
    let mut tx = store.pool.begin().await?;
    let found = refuse_disabled(lock(&mut tx, tenant, id).await?)?;
    if !found.is_paused {
        return Ok(());
    }
    let runs = i64::from(found.schedule.runs);
    let is_over = found.schedule.rule.max_runs.is_some_and(|most| runs >= most.into());
    let due = found.schedule.rule.first_due(id, found.now).filter(|_| !is_over);
    sqlx::query!(
        "update schedules
            set paused_at = null, pause_reason = null, failures = 0, since = $3, next_fire = $4,
                due_at = $5, updated_at = $3, updated_by = $6
          where tenant_id = $1 and id = $2",
        tenant.0,
        id.as_str(),
        found.now,
        due.map(|due| due.fire),
        due.map(|due| due.at),
        actor
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    store.hints.send(Hint::Undecided);
    Ok(())
}

/// Who asks for a session now, and the key of the request.
#[derive(Debug, Clone, Default)]
pub struct Asked<'a> {
    pub by: Option<&'a str>,
    pub idempotency: Option<Idempotency>,
}

/// Starts a session now, whatever else runs and whether the schedule is paused. `inputs` are laid
/// over those of the schedule. The same request with the same key starts nothing more.
pub async fn trigger(
    store: &Store,
    tenant: TenantId,
    id: &ScheduleId,
    inputs: Map<String, Value>,
    asked: Asked<'_>,
) -> Done<Created> {
    let existing =
        |session| Created { key: SessionKey { tenant, id: session }, existing: true, fresh: None };
    let mut tx = store.pool.begin().await?;
    if let Some(idempotency) = &asked.idempotency
        && let Some(first) = sessions::known_by(&mut tx, tenant, idempotency).await?
    {
        return Ok(existing(first));
    }
    let version = version_of(store, tenant, id).await?;
    let mut found = refuse_disabled(lock(&mut tx, tenant, id).await?)?;
    found.schedule.rule.with.extend(inputs);
    let mut fires = Fires::default();
    let cause = Cause { kind: FireKind::Hand, by: asked.by };
    let session = fires.start(&found.schedule, found.now, cause, &version)?;
    let key = SessionKey { tenant, id: session };
    if let Some(idempotency) = &asked.idempotency
        && let Some(first) = sessions::first_with_key(&mut tx, key, idempotency).await?
    {
        return Ok(existing(first));
    }
    found.schedule.open += 1;
    commit(store, tx, fires, found.schedule).await?;
    Ok(Created { key, existing: false, fresh: None })
}

/// Removes a schedule and the record of its fires; its sessions stay.
pub async fn delete(
    store: &Store,
    tenant: TenantId,
    id: &ScheduleId,
    actor: Option<&str>,
) -> Done<()> {
    let mut tx = store.pool.begin().await?;
    // Whether it is there is told by the same moment as whose it is.
    lock(&mut tx, tenant, id).await?;
    let done = sqlx::query!(
        "with gone as (
             delete from schedules
              where tenant_id = $1 and id = $2 and (source = $3 or removed_at is not null)
             returning tenant_id, id
         ), forgotten as (
             delete from schedule_fires f
              using gone g
              where f.tenant_id = g.tenant_id and f.schedule_id = g.id
         )
         select id from gone",
        tenant.0,
        id.as_str(),
        Source::Hand.code()
    )
    .fetch_optional(&mut *tx)
    .await?;
    if done.is_none() {
        return Err(ScheduleError::OfWorkflow(id.clone()));
    }
    tx.commit().await?;
    tracing::info!(tenant.id = %tenant.0, schedule.id = %id, actor, "a schedule was deleted");
    Ok(())
}

/// The rule of a schedule, and the database's clock.
pub async fn rule(db: &PgPool, tenant: TenantId, id: &ScheduleId) -> Done<(Rule, DateTime<Utc>)> {
    let found = sqlx::query!(
        r#"select rule as "rule: sqlx::types::Json<Rule>", clock() as "now!" from schedules
            where tenant_id = $1 and id = $2"#,
        tenant.0,
        id.as_str()
    )
    .fetch_optional(db)
    .await?;
    let found = found.ok_or_else(|| ScheduleError::NotFound(id.to_string()))?;
    Ok((found.rule.0, found.now))
}

async fn commit(
    store: &Store,
    mut tx: sqlx::Transaction<'_, sqlx::Postgres>,
    fires: Fires,
    schedule: Locked,
) -> sqlx::Result<()> {
    fires.write(&mut tx).await?;
    schedule_rows::write(&mut tx, &[schedule]).await?;
    places::enter_all(&mut tx, &[], fires.places()).await?;
    tx.commit().await?;
    store.hints.send(Hint::Ready);
    store.hints.send(Hint::Undecided);
    Ok(())
}

struct Found {
    schedule: Locked,
    is_paused: bool,
    is_removed: bool,
    forgotten_to: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
}

fn refuse_disabled(found: Found) -> Done<Found> {
    if found.is_removed { Err(ScheduleError::Disabled(found.schedule.id)) } else { Ok(found) }
}

async fn lock(tx: &mut PgConnection, tenant: TenantId, id: &ScheduleId) -> Done<Found> {
    let row = sqlx::query!(
        r#"select rule as "rule: sqlx::types::Json<Rule>", next_fire, due_at, runs, failures, open,
                  queued, paused_at, removed_at, forgotten_to, clock() as "now!"
             from schedules
            where tenant_id = $1 and id = $2
              for no key update"#,
        tenant.0,
        id.as_str()
    )
    .fetch_optional(tx)
    .await?
    .ok_or_else(|| ScheduleError::NotFound(id.to_string()))?;
    let schedule = Locked {
        tenant,
        id: id.clone(),
        rule: row.rule.0,
        due: row.next_fire.zip(row.due_at).map(|(fire, at)| Due { fire, at }),
        last_fire: None,
        runs: row.runs,
        failures: row.failures,
        open: row.open,
        queued: row.queued,
        pause: None,
    };
    let (is_paused, is_removed) = (row.paused_at.is_some(), row.removed_at.is_some());
    Ok(Found { schedule, is_paused, is_removed, forgotten_to: row.forgotten_to, now: row.now })
}

async fn version_of(store: &Store, tenant: TenantId, id: &ScheduleId) -> Done<Arc<Version>> {
    let found = workflows::named(store, tenant, id.workflow(), None).await?;
    found.ok_or_else(|| ScheduleError::NoWorkflow(id.workflow().to_owned()))
}

async fn clock(tx: &mut PgConnection) -> sqlx::Result<DateTime<Utc>> {
    sqlx::query_scalar!(r#"select clock() as "now!""#).fetch_one(tx).await
}
