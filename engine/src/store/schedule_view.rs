//! Schedules and their fires as users see them.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use sqlx::types::Json;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    schedule_rows::{FireKind, FireState},
    schedules::{ScheduleError, Source},
    view::{Page, ReadError, Views, bytes_of_cursor, cut, rows_to_read, to_cursor},
};
use crate::schedule::{CatchUp, Overlap, Rule, ScheduleId};

/// When sessions of a workflow start by the clock.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ScheduleObject {
    /// `WORKFLOW/NAME`.
    pub id: String,
    pub workflow: String,
    pub name: String,
    pub status: ScheduleStatus,
    /// Why it is paused, where that was said.
    #[schema(required)]
    pub status_reason: Option<String>,
    pub source: ScheduleSource,
    pub cron: String,
    pub timezone: String,
    /// The inputs of its sessions.
    #[schema(value_type = Object)]
    pub with: Map<String, Value>,
    pub overlap: Overlap,
    pub catch_up: CatchUp,
    pub catch_up_window: String,
    #[schema(required)]
    pub jitter: Option<String>,
    #[schema(required)]
    pub pause_after: Option<u32>,
    #[schema(required)]
    pub max_runs: Option<u32>,
    #[schema(required)]
    pub start: Option<DateTime<Utc>>,
    #[schema(required)]
    pub until: Option<DateTime<Utc>>,
    /// The next time of its cron; null while it does not fire.
    #[schema(required)]
    pub next_fire: Option<DateTime<Utc>>,
    /// The last time of its cron that started a session or waits in line for one.
    #[schema(required)]
    pub last_fire: Option<DateTime<Utc>>,
    /// Fires that started a session or wait in line for one.
    pub runs: i32,
    /// Failures in a row.
    pub failures: i32,
    /// Sessions that have not ended.
    pub open: i32,
    /// Fires that wait in line.
    pub queued: i32,
    #[schema(required)]
    pub created_by: Option<String>,
    /// Who made it, paused it, resumed it or applied its workflow last.
    #[schema(required)]
    pub updated_by: Option<String>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleStatus {
    Active,
    Paused,
    /// Its workflow has no such trigger any more.
    Disabled,
    /// It fires no more: its runs or its time are over.
    Ended,
}

/// Where a schedule comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleSource {
    /// A trigger in the workflow's definition.
    Workflow,
    /// Made by hand.
    Manual,
}

/// What became of one time of a schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FireObject {
    pub fire_time: DateTime<Utc>,
    /// `schedule`, `trigger` or `backfill`.
    pub kind: &'static str,
    /// `queued`, `started`, `skipped`, `missed` or `failed`.
    pub status: &'static str,
    #[schema(required)]
    pub session_id: Option<Uuid>,
    #[schema(required)]
    pub reason: Option<String>,
    /// Who asked for it; null where the clock did.
    #[schema(required)]
    pub created_by: Option<String>,
    pub decided_at: DateTime<Utc>,
}

impl Views {
    /// Schedules by their ids, those of one workflow only where that is asked for.
    pub async fn schedules(
        &self,
        workflow: Option<&str>,
        cursor: Option<&str>,
        limit: Option<i64>,
    ) -> Result<Page<ScheduleObject>, ReadError> {
        let after = cursor.map(id_from_cursor).transpose()?.unwrap_or_default();
        let read = rows_to_read(limit);
        let rows = sqlx::query_as!(
            ScheduleRow,
            r#"select id, workflow, source, rule as "rule: Json<Rule>", next_fire, last_fire, runs,
                      failures, open, queued, paused_at, pause_reason, removed_at, created_by,
                      updated_by, created_at, updated_at
                 from schedules
                where tenant_id = $1 and id > $2 and ($3::text is null or workflow = $3)
                order by id
                limit $4"#,
            self.tenant.0,
            after,
            workflow,
            read
        )
        .fetch_all(&self.db)
        .await?;
        let mut items: Vec<_> = rows.into_iter().map(ScheduleRow::into_object).collect();
        let more = cut(&mut items, read);
        let next = if more { items.last().map(|item| to_cursor(item.id.as_bytes())) } else { None };
        Ok(Page { items, next })
    }

    pub async fn schedule(&self, id: &ScheduleId) -> Result<ScheduleObject, ScheduleError> {
        let row = sqlx::query_as!(
            ScheduleRow,
            r#"select id, workflow, source, rule as "rule: Json<Rule>", next_fire, last_fire, runs,
                      failures, open, queued, paused_at, pause_reason, removed_at, created_by,
                      updated_by, created_at, updated_at
                 from schedules
                where tenant_id = $1 and id = $2"#,
            self.tenant.0,
            id.as_str()
        )
        .fetch_optional(&self.db)
        .await?;
        row.map(ScheduleRow::into_object).ok_or_else(|| ScheduleError::NotFound(id.to_string()))
    }

    /// What became of the times of a schedule, newest first.
    pub async fn schedule_fires(
        &self,
        id: &ScheduleId,
        cursor: Option<&str>,
        limit: Option<i64>,
    ) -> Result<Page<FireObject>, ReadError> {
        let before = match cursor.map(id_from_cursor).transpose()? {
            Some(text) => text.parse().map_err(|_| ReadError::BadCursor)?,
            None => DateTime::<Utc>::MAX_UTC,
        };
        let before = Some(before).filter(|before| *before < DateTime::<Utc>::MAX_UTC);
        let read = rows_to_read(limit);
        let rows = sqlx::query!(
            "select fire_time, kind, state, session_id, reason, created_by, decided_at
               from schedule_fires
              where tenant_id = $1 and schedule_id = $2
                and fire_time < coalesce($3, 'infinity'::timestamptz)
              order by fire_time desc
              limit $4",
            self.tenant.0,
            id.as_str(),
            before,
            read
        )
        .fetch_all(&self.db)
        .await?;
        let name = |all: &[&'static str], code: i16| {
            usize::try_from(code).ok().and_then(|code| all.get(code)).copied().unwrap_or("unknown")
        };
        let kinds = FireKind::ALL.map(FireKind::as_str);
        let states = FireState::ALL.map(FireState::as_str);
        let mut items: Vec<FireObject> = rows
            .into_iter()
            .map(|row| FireObject {
                fire_time: row.fire_time,
                kind: name(&kinds, row.kind),
                status: name(&states, row.state),
                session_id: row.session_id,
                reason: row.reason,
                created_by: row.created_by,
                decided_at: row.decided_at,
            })
            .collect();
        let more = cut(&mut items, read);
        let last = items.last().map(|item| to_cursor(item.fire_time.to_rfc3339().as_bytes()));
        Ok(Page { items, next: if more { last } else { None } })
    }
}

struct ScheduleRow {
    id: String,
    workflow: String,
    source: i16,
    rule: Json<Rule>,
    next_fire: Option<DateTime<Utc>>,
    last_fire: Option<DateTime<Utc>>,
    runs: i32,
    failures: i32,
    open: i32,
    queued: i32,
    paused_at: Option<DateTime<Utc>>,
    pause_reason: Option<String>,
    removed_at: Option<DateTime<Utc>>,
    created_by: Option<String>,
    updated_by: Option<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl ScheduleRow {
    fn into_object(self) -> ScheduleObject {
        let rule = self.rule.0;
        let status = if self.removed_at.is_some() {
            ScheduleStatus::Disabled
        } else if self.paused_at.is_some() {
            ScheduleStatus::Paused
        } else if self.next_fire.is_some() {
            ScheduleStatus::Active
        } else {
            ScheduleStatus::Ended
        };
        let source = if self.source == Source::Hand.code() {
            ScheduleSource::Manual
        } else {
            ScheduleSource::Workflow
        };
        ScheduleObject {
            name: self.id.split_once('/').map_or("", |(_, name)| name).to_owned(),
            id: self.id,
            workflow: self.workflow,
            status,
            status_reason: self.pause_reason.filter(|_| status == ScheduleStatus::Paused),
            source,
            cron: rule.cron.to_string(),
            timezone: rule.timezone.name().to_owned(),
            with: rule.with,
            overlap: rule.overlap,
            catch_up: rule.catch_up,
            catch_up_window: rule.catch_up_window.to_string(),
            jitter: rule.jitter.map(|jitter| jitter.to_string()),
            pause_after: rule.pause_after,
            max_runs: rule.max_runs,
            start: rule.start,
            until: rule.until,
            next_fire: self.next_fire,
            last_fire: self.last_fire,
            runs: self.runs,
            failures: self.failures,
            open: self.open,
            queued: self.queued,
            created_by: self.created_by,
            updated_by: self.updated_by,
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }
}

fn id_from_cursor(cursor: &str) -> Result<String, ReadError> {
    String::from_utf8(bytes_of_cursor(cursor)?).map_err(|_| ReadError::BadCursor)
}
