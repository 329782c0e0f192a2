//! The tasks of a session.

use axum::Json;
use jobshop_engine::{
    store::{task_view::TaskObject, view::Page},
    task::TaskState,
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::Shared,
    auth::Caller,
    error::{ApiError, Problem},
    extract::{Path, Query, comma_separated, page_limit},
};

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Statuses, separated by commas.
    #[serde(default, deserialize_with = "comma_separated")]
    #[param(value_type = Option<String>)]
    status: Option<Vec<TaskState>>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// At most this many items; 100 without it, 1000 at most.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<i64>,
}

/// The tasks of a session, groups and items among them, in the order of their numbers. A page with
/// very large outputs may be shorter than asked for.
#[utoipa::path(get, path = "/api/v1/sessions/{id}/tasks", tag = "tasks", operation_id = "list_tasks",
    params(("id" = String, Path), ListQuery),
    responses((status = OK, body = Page<TaskObject>), (status = BAD_REQUEST, body = Problem),
              (status = NOT_FOUND, body = Problem)))]
async fn list(
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<TaskObject>>, ApiError> {
    let session = caller.views.find_session(&id).await?;
    let limit = page_limit(query.limit)?;
    let page = caller
        .views
        .tasks(session, query.status.as_deref(), query.cursor.as_deref(), limit)
        .await?;
    Ok(Json(page))
}

/// One task, by its key (`build[api].check`, percent-encoded) or its number.
#[utoipa::path(get, path = "/api/v1/sessions/{id}/tasks/{key}", tag = "tasks", operation_id = "show_task",
    params(("id" = String, Path), ("key" = String, Path)),
    responses((status = OK, body = TaskObject), (status = NOT_FOUND, body = Problem)))]
async fn show(
    caller: Caller,
    Path((id, key)): Path<(String, String)>,
) -> Result<Json<TaskObject>, ApiError> {
    let session = caller.views.find_session(&id).await?;
    Ok(Json(caller.views.task(session, &key).await?))
}
