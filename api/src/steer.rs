//! What people do to sessions and tasks that are under way, and to sessions that have ended: each
//! act is one request, one transaction, one event with the caller's name and reason.

use axum::Json;
use jobshop_engine::{
    id::{SessionKey, TaskKey},
    store::{
        Store,
        session_view::SessionObject,
        sessions::SteerError,
        steer::{self, By},
        steer_task,
        task_view::TaskObject,
    },
};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::Shared,
    auth::Caller,
    error::{ApiError, Problem},
    extract::{OptionalBody, Path},
};

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(start))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(stop))
        .routes(routes!(complete))
        .routes(routes!(fail))
        .routes(routes!(pause_task))
        .routes(routes!(resume_task))
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ReasonBody {
    /// Goes into the event.
    pub(crate) reason: Option<String>,
}

impl ReasonBody {
    pub(crate) fn by<'a>(&'a self, caller: &'a Caller) -> By<'a> {
        By { actor: Some(caller.name()), reason: self.reason.as_deref() }
    }
}

/// Does something to a session and answers with what it is then.
async fn act(
    caller: &Caller,
    id: &str,
    body: &ReasonBody,
    deed: impl AsyncFnOnce(&Store, SessionKey, By<'_>) -> Result<(), SteerError>,
) -> Result<Json<SessionObject>, ApiError> {
    let key = caller.views.find_session(id).await?;
    deed(&caller.store, key, body.by(caller)).await?;
    Ok(Json(caller.views.session(key).await?))
}

/// Lets a session go that was created with `start: false`.
#[utoipa::path(post, path = "/api/v1/sessions/{id}/start", tag = "sessions", operation_id = "start_session",
    params(("id" = String, Path)), request_body = Option<ReasonBody>,
    responses((status = OK, body = SessionObject), (status = NOT_FOUND, body = Problem),
              (status = CONFLICT, body = Problem)))]
async fn start(
    caller: Caller,
    Path(id): Path<String>,
    OptionalBody(body): OptionalBody<ReasonBody>,
) -> Result<Json<SessionObject>, ApiError> {
    act(&caller, &id, &body, steer::start).await
}

/// Nothing new of the session starts; what runs goes on and is recorded, timers go on.
#[utoipa::path(post, path = "/api/v1/sessions/{id}/pause", tag = "sessions", operation_id = "pause_session",
    params(("id" = String, Path)), request_body = Option<ReasonBody>,
    responses((status = OK, body = SessionObject), (status = NOT_FOUND, body = Problem),
              (status = CONFLICT, body = Problem)))]
async fn pause(
    caller: Caller,
    Path(id): Path<String>,
    OptionalBody(body): OptionalBody<ReasonBody>,
) -> Result<Json<SessionObject>, ApiError> {
    act(&caller, &id, &body, steer::pause).await
}

/// A paused session goes on from where it stands by now.
#[utoipa::path(post, path = "/api/v1/sessions/{id}/resume", tag = "sessions", operation_id = "resume_session",
    params(("id" = String, Path)), request_body = Option<ReasonBody>,
    responses((status = OK, body = SessionObject), (status = NOT_FOUND, body = Problem),
              (status = CONFLICT, body = Problem)))]
async fn resume(
    caller: Caller,
    Path(id): Path<String>,
    OptionalBody(body): OptionalBody<ReasonBody>,
) -> Result<Json<SessionObject>, ApiError> {
    act(&caller, &id, &body, steer::resume).await
}

/// Ends a session gracefully: what runs is told to stop and has 30 s, what has not begun is cancelled,
/// what undoes or follows runs; then the session is stopped.
#[utoipa::path(post, path = "/api/v1/sessions/{id}/stop", tag = "sessions", operation_id = "stop_session",
    params(("id" = String, Path)), request_body = Option<ReasonBody>,
    responses((status = OK, body = SessionObject), (status = NOT_FOUND, body = Problem),
              (status = CONFLICT, body = Problem)))]
async fn stop(
    caller: Caller,
    Path(id): Path<String>,
    OptionalBody(body): OptionalBody<ReasonBody>,
) -> Result<Json<SessionObject>, ApiError> {
    act(&caller, &id, &body, steer::stop).await
}

/// Ends a session as completed by hand: what is open of it is cancelled.
#[utoipa::path(post, path = "/api/v1/sessions/{id}/complete", tag = "sessions", operation_id = "complete_session",
    params(("id" = String, Path)), request_body = Option<ReasonBody>,
    responses((status = OK, body = SessionObject), (status = NOT_FOUND, body = Problem),
              (status = CONFLICT, body = Problem)))]
async fn complete(
    caller: Caller,
    Path(id): Path<String>,
    OptionalBody(body): OptionalBody<ReasonBody>,
) -> Result<Json<SessionObject>, ApiError> {
    act(&caller, &id, &body, steer::complete).await
}

/// Ends a session as failed by hand: what is open of it is cancelled.
#[utoipa::path(post, path = "/api/v1/sessions/{id}/fail", tag = "sessions", operation_id = "fail_session",
    params(("id" = String, Path)), request_body = Option<ReasonBody>,
    responses((status = OK, body = SessionObject), (status = NOT_FOUND, body = Problem),
              (status = CONFLICT, body = Problem)))]
async fn fail(
    caller: Caller,
    Path(id): Path<String>,
    OptionalBody(body): OptionalBody<ReasonBody>,
) -> Result<Json<SessionObject>, ApiError> {
    act(&caller, &id, &body, steer::fail).await
}

/// The same to a task.
async fn act_on_task(
    caller: &Caller,
    (id, key): (&str, &str),
    body: &ReasonBody,
    deed: impl AsyncFnOnce(&Store, TaskKey, By<'_>) -> Result<(), SteerError>,
) -> Result<Json<TaskObject>, ApiError> {
    let session = caller.views.find_session(id).await?;
    let seq = caller.views.find_task(session, key).await?;
    deed(&caller.store, TaskKey { session, seq }, body.by(caller)).await?;
    Ok(Json(caller.views.task(session, key).await?))
}

/// The task does not start until it is resumed; of a group, nothing in it does. What runs goes on.
#[utoipa::path(post, path = "/api/v1/sessions/{id}/tasks/{key}/pause", tag = "tasks", operation_id = "pause_task",
    params(("id" = String, Path), ("key" = String, Path)), request_body = Option<ReasonBody>,
    responses((status = OK, body = TaskObject), (status = NOT_FOUND, body = Problem),
              (status = CONFLICT, body = Problem)))]
async fn pause_task(
    caller: Caller,
    Path((id, key)): Path<(String, String)>,
    OptionalBody(body): OptionalBody<ReasonBody>,
) -> Result<Json<TaskObject>, ApiError> {
    act_on_task(&caller, (&id, &key), &body, steer_task::pause).await
}

/// A paused task goes on from where it stands by now.
#[utoipa::path(post, path = "/api/v1/sessions/{id}/tasks/{key}/resume", tag = "tasks", operation_id = "resume_task",
    params(("id" = String, Path), ("key" = String, Path)), request_body = Option<ReasonBody>,
    responses((status = OK, body = TaskObject), (status = NOT_FOUND, body = Problem),
              (status = CONFLICT, body = Problem)))]
async fn resume_task(
    caller: Caller,
    Path((id, key)): Path<(String, String)>,
    OptionalBody(body): OptionalBody<ReasonBody>,
) -> Result<Json<TaskObject>, ApiError> {
    act_on_task(&caller, (&id, &key), &body, steer_task::resume).await
}
