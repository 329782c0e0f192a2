//! Sessions: listing them, looking one up, and steering it. [`crate::create`] makes new ones.

use axum::Json;
use chrono::{DateTime, Utc};
use jobshop_engine::{
    plan::SessionType,
    session::{IllegalMove, SessionState},
    store::{
        removal,
        session_tree::TreeObject,
        session_view::{SessionFilter, SessionObject},
        sessions::{self, SteerError},
        view::Page,
    },
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::Shared,
    auth::Caller,
    error::{ApiError, Problem},
    extract::{OptionalBody, Path, Query, comma_separated, optional_moment, page_limit},
    steer::ReasonBody,
};

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(cancel))
        .routes(routes!(delete))
        .routes(routes!(restore))
        .routes(routes!(tree))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Statuses, separated by commas.
    #[serde(default, deserialize_with = "comma_separated")]
    #[param(value_type = Option<String>)]
    status: Option<Vec<SessionState>>,
    /// The name of a workflow.
    workflow: Option<String>,
    tag: Option<String>,
    /// The type that the workflow says.
    #[serde(rename = "type")]
    kind: Option<SessionType>,
    /// Created then or later; RFC 3339.
    #[serde(default, deserialize_with = "optional_moment")]
    since: Option<DateTime<Utc>>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// At most this many items; 100 without it, 1000 at most.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<i64>,
}

/// Sessions, newest first.
#[utoipa::path(get, path = "/api/v1/sessions", tag = "sessions", operation_id = "list_sessions", params(ListQuery),
    responses((status = OK, body = Page<SessionObject>), (status = BAD_REQUEST, body = Problem)))]
async fn list(
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<SessionObject>>, ApiError> {
    let filter = SessionFilter {
        states: query.status,
        workflow: query.workflow,
        tag: query.tag,
        kind: query.kind,
        since: query.since,
    };
    let limit = page_limit(query.limit)?;
    Ok(Json(caller.views.sessions(&filter, query.cursor.as_deref(), limit).await?))
}

/// One session, by its id, the last 6 or more characters of it, `@latest` or `@latest:WORKFLOW`.
/// Of one that was archived the answer, 410, says what is still known and where its file is.
#[utoipa::path(get, path = "/api/v1/sessions/{id}", tag = "sessions", operation_id = "show_session",
    params(("id" = String, Path)),
    responses((status = OK, body = SessionObject), (status = NOT_FOUND, body = Problem),
              (status = GONE, body = Problem), (status = CONFLICT, body = Problem)))]
async fn show(caller: Caller, Path(id): Path<String>) -> Result<Json<SessionObject>, ApiError> {
    let key = caller.views.find_session(&id).await?;
    Ok(Json(caller.views.session(key).await?))
}

/// Ends a session at once: nothing of it starts or counts from then on, and its processes are
/// stopped. A session that was cancelled before stays so.
#[utoipa::path(post, path = "/api/v1/sessions/{id}/cancel", tag = "sessions", operation_id = "cancel_session",
    params(("id" = String, Path)), request_body = Option<ReasonBody>,
    responses((status = OK, body = SessionObject), (status = NOT_FOUND, body = Problem),
              (status = CONFLICT, body = Problem)))]
async fn cancel(
    caller: Caller,
    Path(id): Path<String>,
    OptionalBody(body): OptionalBody<ReasonBody>,
) -> Result<Json<SessionObject>, ApiError> {
    let key = caller.views.find_session(&id).await?;
    match sessions::cancel(&caller.store, key, Some(caller.name()), body.reason.as_deref()).await {
        Ok(())
        | Err(SteerError::IllegalMove(IllegalMove { from: SessionState::Cancelled, .. })) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(Json(caller.views.session(key).await?))
}

/// Hides a session that has ended; it can be restored.
#[utoipa::path(delete, path = "/api/v1/sessions/{id}", tag = "sessions", operation_id = "delete_session",
    params(("id" = String, Path)), request_body = Option<ReasonBody>,
    responses((status = OK, body = SessionObject), (status = NOT_FOUND, body = Problem),
              (status = CONFLICT, body = Problem)))]
async fn delete(
    caller: Caller,
    Path(id): Path<String>,
    OptionalBody(body): OptionalBody<ReasonBody>,
) -> Result<Json<SessionObject>, ApiError> {
    let key = caller.views.find_session(&id).await?;
    removal::delete(&caller.store, key, body.by(&caller)).await?;
    Ok(Json(caller.views.session(key).await?))
}

/// Shows a deleted session again.
#[utoipa::path(post, path = "/api/v1/sessions/{id}/restore", tag = "sessions", operation_id = "restore_session",
    params(("id" = String, Path)), request_body = Option<ReasonBody>,
    responses((status = OK, body = SessionObject), (status = NOT_FOUND, body = Problem),
              (status = CONFLICT, body = Problem)))]
async fn restore(
    caller: Caller,
    Path(id): Path<String>,
    OptionalBody(body): OptionalBody<ReasonBody>,
) -> Result<Json<SessionObject>, ApiError> {
    let key = caller.views.find_deleted(&id).await?;
    removal::restore(&caller.store, key, body.by(&caller)).await?;
    Ok(Json(caller.views.session(key).await?))
}

/// A session and the sessions that its tasks are, at any depth.
#[utoipa::path(get, path = "/api/v1/sessions/{id}/tree", tag = "sessions", operation_id = "session_tree",
    params(("id" = String, Path)),
    responses((status = OK, body = TreeObject), (status = NOT_FOUND, body = Problem)))]
async fn tree(caller: Caller, Path(id): Path<String>) -> Result<Json<TreeObject>, ApiError> {
    let key = caller.views.find_session(&id).await?;
    Ok(Json(caller.views.tree(key).await?))
}
