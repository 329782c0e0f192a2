//! Schedules: when sessions start by the clock, and what people do to that.

use axum::{
    Json,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use jobshop_engine::{
    duration::Span,
    schedule::{CatchUp, Cron, CronError, Overlap, Rule, ScheduleId, zone_from_name},
    store::{
        schedule_view::{FireObject, ScheduleObject},
        schedules::{self, Asked, ScheduleError},
        session_view::SessionObject,
        view::Page,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::Shared,
    auth::{Admin, Caller},
    error::{ApiError, Problem},
    extract::{
        Body, OptionalBody, PageQuery, Path, Query, idempotency, moment, optional_moment,
        page_limit,
    },
};

/// Times that are previewed at most, and unless something else is asked for.
const NEXT_MAX: usize = 10_000;
const NEXT_DEFAULT: usize = 10;

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, delete))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(trigger))
        .routes(routes!(backfill))
        .routes(routes!(next))
        .routes(routes!(fires))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// The name of a workflow.
    workflow: Option<String>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// At most this many items; 100 without it, 1000 at most.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<i64>,
}

/// Schedules by their ids.
#[utoipa::path(get, path = "/api/v1/schedules", tag = "schedules", operation_id = "list_schedules", params(ListQuery),
    responses((status = OK, body = Page<ScheduleObject>), (status = BAD_REQUEST, body = Problem)))]
async fn list(
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<ScheduleObject>>, ApiError> {
    let limit = page_limit(query.limit)?;
    let (workflow, cursor) = (query.workflow.as_deref(), query.cursor.as_deref());
    Ok(Json(caller.views.schedules(workflow, cursor, limit).await?))
}

/// A schedule that no workflow file knows of.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewScheduleBody {
    /// `WORKFLOW/NAME`, with a registered workflow.
    id: String,
    /// Minute, hour, day of month, month, day of week.
    cron: String,
    /// An IANA zone; UTC without it.
    timezone: Option<String>,
    /// The inputs of its sessions.
    #[serde(default)]
    #[schema(value_type = Object)]
    with: Map<String, Value>,
    #[serde(default)]
    overlap: Overlap,
    #[serde(default)]
    catch_up: CatchUp,
    /// A duration, as in 6h; 365d without it.
    catch_up_window: Option<String>,
    /// A duration, as in 5m.
    jitter: Option<String>,
    #[schema(minimum = 1)]
    pause_after: Option<u32>,
    #[schema(minimum = 1)]
    max_runs: Option<u32>,
    #[serde(default, deserialize_with = "optional_moment")]
    start: Option<DateTime<Utc>>,
    #[serde(default, deserialize_with = "optional_moment")]
    until: Option<DateTime<Utc>>,
}

impl NewScheduleBody {
    fn rule(&self) -> Result<Rule, ApiError> {
        let cron: Cron =
            self.cron.parse().map_err(|error: CronError| invalid("cron", &error.to_string()))?;
        let zone = self.timezone.as_deref().unwrap_or("UTC");
        let zone = zone_from_name(zone)
            .map_err(|cure| invalid("timezone", &format!("there is no zone `{zone}`; {cure}")))?;
        let span = |field: &str, text: &Option<String>| -> Result<Option<Span>, ApiError> {
            let parsed = text.as_ref().map(|text| text.parse::<Span>()).transpose();
            parsed.map_err(|error| invalid(field, &error.to_string()))
        };
        for (field, number) in [("pause_after", self.pause_after), ("max_runs", self.max_runs)] {
            if number == Some(0) {
                return Err(invalid(field, "must be 1 or more"));
            }
        }
        let usual = Rule::new(cron, zone);
        Ok(Rule {
            with: self.with.clone(),
            overlap: self.overlap,
            catch_up: self.catch_up,
            catch_up_window: span("catch_up_window", &self.catch_up_window)?
                .unwrap_or(usual.catch_up_window),
            jitter: span("jitter", &self.jitter)?,
            pause_after: self.pause_after,
            max_runs: self.max_runs,
            start: self.start,
            until: self.until,
            ..usual
        })
    }
}

fn invalid(field: &str, why: &str) -> ApiError {
    ScheduleError::Invalid(format!("{field}: {why}")).into()
}

/// Makes a schedule that no workflow file knows of.
#[utoipa::path(post, path = "/api/v1/schedules", tag = "schedules", operation_id = "create_schedule",
    request_body = NewScheduleBody,
    responses((status = CREATED, body = ScheduleObject), (status = NOT_FOUND, body = Problem),
              (status = CONFLICT, body = Problem), (status = UNPROCESSABLE_ENTITY, body = Problem)))]
async fn create(
    Admin(caller): Admin,
    Body(body): Body<NewScheduleBody>,
) -> Result<Response, ApiError> {
    let id: ScheduleId =
        body.id.parse().map_err(|error| ScheduleError::Invalid(format!("id: {error}")))?;
    schedules::create(&caller.store, caller.tenant(), &id, &body.rule()?, Some(caller.name()))
        .await?;
    let location = format!("/api/v1/schedules/{id}");
    let schedule = caller.views.schedule(&id).await?;
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(schedule)).into_response())
}

type SchedulePath = Path<(String, String)>;

fn id_of(Path((workflow, name)): SchedulePath) -> Result<ScheduleId, ApiError> {
    let id = ScheduleId::new(&workflow, &name);
    Ok(id.map_err(|_| ScheduleError::NotFound(format!("{workflow}/{name}")))?)
}

/// One schedule.
#[utoipa::path(get, path = "/api/v1/schedules/{workflow}/{name}", tag = "schedules", operation_id = "show_schedule",
    params(("workflow" = String, Path), ("name" = String, Path)),
    responses((status = OK, body = ScheduleObject), (status = NOT_FOUND, body = Problem)))]
async fn show(caller: Caller, path: SchedulePath) -> Result<Json<ScheduleObject>, ApiError> {
    Ok(Json(caller.views.schedule(&id_of(path)?).await?))
}

/// Removes a schedule that was made by hand, or one whose trigger is gone. Its sessions stay.
#[utoipa::path(delete, path = "/api/v1/schedules/{workflow}/{name}", tag = "schedules", operation_id = "delete_schedule",
    params(("workflow" = String, Path), ("name" = String, Path)),
    responses((status = NO_CONTENT), (status = NOT_FOUND, body = Problem),
              (status = CONFLICT, body = Problem)))]
async fn delete(Admin(caller): Admin, path: SchedulePath) -> Result<StatusCode, ApiError> {
    let id = id_of(path)?;
    schedules::delete(&caller.store, caller.tenant(), &id, Some(caller.name())).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
struct PauseBody {
    reason: Option<String>,
}

/// Keeps a schedule from firing; what it started goes on.
#[utoipa::path(post, path = "/api/v1/schedules/{workflow}/{name}/pause", tag = "schedules", operation_id = "pause_schedule",
    params(("workflow" = String, Path), ("name" = String, Path)), request_body = Option<PauseBody>,
    responses((status = OK, body = ScheduleObject), (status = NOT_FOUND, body = Problem),
              (status = CONFLICT, body = Problem)))]
async fn pause(
    caller: Caller,
    path: SchedulePath,
    OptionalBody(body): OptionalBody<PauseBody>,
) -> Result<Json<ScheduleObject>, ApiError> {
    let id = id_of(path)?;
    let (reason, actor) = (body.reason.as_deref(), Some(caller.name()));
    schedules::pause(&caller.store, caller.tenant(), &id, reason, actor).await?;
    Ok(Json(caller.views.schedule(&id).await?))
}

/// Lets a schedule fire again, from now on.
#[utoipa::path(post, path = "/api/v1/schedules/{workflow}/{name}/resume", tag = "schedules", operation_id = "resume_schedule",
    params(("workflow" = String, Path), ("name" = String, Path)),
    responses((status = OK, body = ScheduleObject), (status = NOT_FOUND, body = Problem),
              (status = CONFLICT, body = Problem)))]
async fn resume(caller: Caller, path: SchedulePath) -> Result<Json<ScheduleObject>, ApiError> {
    let id = id_of(path)?;
    schedules::resume(&caller.store, caller.tenant(), &id, Some(caller.name())).await?;
    Ok(Json(caller.views.schedule(&id).await?))
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
struct TriggerBody {
    /// Laid over the inputs of the schedule.
    #[schema(value_type = Object)]
    inputs: Map<String, Value>,
}

/// Starts a session of the schedule now, whatever else runs and even while it is paused. With the
/// header `idempotency-key` the same request sent again answers with the same session.
#[utoipa::path(post, path = "/api/v1/schedules/{workflow}/{name}/trigger", tag = "schedules", operation_id = "trigger_schedule",
    params(("workflow" = String, Path), ("name" = String, Path),
           ("idempotency-key" = Option<String>, Header,
            description = "Makes the request safe to send again")),
    request_body = Option<TriggerBody>,
    responses((status = CREATED, body = SessionObject),
              (status = OK, body = SessionObject, description = "It was started before"),
              (status = BAD_REQUEST, body = Problem), (status = NOT_FOUND, body = Problem),
              (status = CONFLICT, body = Problem), (status = UNPROCESSABLE_ENTITY, body = Problem)))]
async fn trigger(
    caller: Caller,
    path: SchedulePath,
    headers: HeaderMap,
    OptionalBody(body): OptionalBody<TriggerBody>,
) -> Result<Response, ApiError> {
    let (id, tenant) = (id_of(path)?, caller.tenant());
    let request = json!({ "schedule": id, "inputs": body.inputs });
    let idempotency = idempotency(&headers, &request)?;
    let asked = Asked { by: Some(caller.name()), idempotency };
    let started = schedules::trigger(&caller.store, tenant, &id, body.inputs, asked).await?;
    let location = format!("/api/v1/sessions/{}", started.key.id);
    let session = caller.views.session(started.key).await?;
    let status = if started.existing { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, [(header::LOCATION, location)], Json(session)).into_response())
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct BackfillBody {
    /// The first time that may be made up for.
    #[serde(deserialize_with = "moment")]
    from: DateTime<Utc>,
    /// The last one; not in the future.
    #[serde(deserialize_with = "moment")]
    to: DateTime<Utc>,
}

/// Times that are made up for.
#[derive(Debug, Serialize, ToSchema)]
struct Backfill {
    items: Vec<BackfilledTime>,
}

#[derive(Debug, Serialize, ToSchema)]
struct BackfilledTime {
    fire_time: DateTime<Utc>,
    /// `started`, or `queued` where sessions of the schedule may not overlap.
    status: &'static str,
    #[schema(required, format = "uuid")]
    session_id: Option<String>,
}

/// Makes up for past times of the schedule that nothing was decided for.
#[utoipa::path(post, path = "/api/v1/schedules/{workflow}/{name}/backfill", tag = "schedules", operation_id = "backfill_schedule",
    params(("workflow" = String, Path), ("name" = String, Path)), request_body = BackfillBody,
    responses((status = OK, body = Backfill), (status = NOT_FOUND, body = Problem),
              (status = CONFLICT, body = Problem), (status = UNPROCESSABLE_ENTITY, body = Problem)))]
async fn backfill(
    caller: Caller,
    path: SchedulePath,
    Body(body): Body<BackfillBody>,
) -> Result<Json<Backfill>, ApiError> {
    let (id, tenant) = (id_of(path)?, caller.tenant());
    if body.from > body.to {
        return Err(invalid("to", "is before `from`"));
    }
    let (span, actor) = ((body.from, body.to), Some(caller.name()));
    let done = schedules::backfill(&caller.store, tenant, &id, span, actor).await?;
    let items = done.into_iter().map(|time| BackfilledTime {
        fire_time: time.fire_time,
        status: time.state.as_str(),
        session_id: time.session.map(|session| session.to_string()),
    });
    Ok(Json(Backfill { items: items.collect() }))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct NextQuery {
    /// How many; 10 without it, 10000 at most.
    #[param(minimum = 1, maximum = 10000)]
    n: Option<usize>,
    /// Only times after this one; now without it.
    #[serde(default, deserialize_with = "optional_moment")]
    after: Option<DateTime<Utc>>,
}

/// Times to come.
#[derive(Debug, Serialize, ToSchema)]
struct NextTimes {
    items: Vec<NextTime>,
}

/// A time to come, and what the clock of the schedule's zone shows then.
#[derive(Debug, Serialize, ToSchema)]
struct NextTime {
    at: DateTime<Utc>,
    local: String,
}

/// When the schedule would fire next, jitter left out, whether it is paused or not.
#[utoipa::path(get, path = "/api/v1/schedules/{workflow}/{name}/next", tag = "schedules", operation_id = "preview_schedule",
    params(("workflow" = String, Path), ("name" = String, Path), NextQuery),
    responses((status = OK, body = NextTimes), (status = BAD_REQUEST, body = Problem),
              (status = NOT_FOUND, body = Problem)))]
async fn next(
    caller: Caller,
    path: SchedulePath,
    Query(query): Query<NextQuery>,
) -> Result<Json<NextTimes>, ApiError> {
    let count = query.n.unwrap_or(NEXT_DEFAULT);
    if !(1..=NEXT_MAX).contains(&count) {
        return Err(ApiError::InvalidQuery(format!("n: {count} is not within 1 and {NEXT_MAX}")));
    }
    let id = id_of(path)?;
    let (rule, now) = schedules::rule(&caller.store.pool, caller.tenant(), &id).await?;
    let fires = rule.fires(query.after.unwrap_or(now)).take(count);
    let items =
        fires.map(|at| NextTime { at, local: at.with_timezone(&rule.timezone).to_rfc3339() });
    Ok(Json(NextTimes { items: items.collect() }))
}

/// What became of the times of a schedule, newest first.
#[utoipa::path(get, path = "/api/v1/schedules/{workflow}/{name}/fires", tag = "schedules", operation_id = "list_schedule_fires",
    params(("workflow" = String, Path), ("name" = String, Path), PageQuery),
    responses((status = OK, body = Page<FireObject>), (status = NOT_FOUND, body = Problem)))]
async fn fires(
    caller: Caller,
    path: SchedulePath,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<FireObject>>, ApiError> {
    let id = id_of(path)?;
    let limit = page_limit(query.limit)?;
    caller.views.schedule(&id).await?;
    Ok(Json(caller.views.schedule_fires(&id, query.cursor.as_deref(), limit).await?))
}
