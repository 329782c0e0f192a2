//! What tasks changed in repositories.

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use futures::{StreamExt as _, stream};
use jobshop_engine::{
    id::TenantId,
    store::{
        diff_view::{ChangeObject, DiffObject},
        objects::{Objects, ObjectsError},
    },
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::Shared,
    auth::Caller,
    error::{ApiError, Problem},
    extract::{Path, Query},
};

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(show)).routes(routes!(patch))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DiffQuery {
    /// The key of a task; without it the whole session.
    task: Option<String>,
}

/// What a session, or one of its tasks, changed in its repository: file by file, in numbers.
#[utoipa::path(get, path = "/api/v1/sessions/{id}/diff", tag = "tasks", operation_id = "show_diff",
    params(("id" = String, Path), DiffQuery),
    responses((status = OK, body = DiffObject), (status = NOT_FOUND, body = Problem)))]
async fn show(
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<DiffQuery>,
) -> Result<Json<DiffObject>, ApiError> {
    let session = caller.views.find_session(&id).await?;
    Ok(Json(caller.views.diff(session, query.task.as_deref()).await?))
}

/// The same as a patch for `git apply`. Of a whole session it is that of each task, one after the
/// other, each below a line that names the task.
#[utoipa::path(get, path = "/api/v1/sessions/{id}/patch", tag = "tasks", operation_id = "show_patch",
    params(("id" = String, Path), DiffQuery),
    responses((status = OK, content_type = "text/x-diff", body = String),
              (status = NOT_FOUND, body = Problem)))]
async fn patch(
    State(shared): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<DiffQuery>,
) -> Result<Response, ApiError> {
    let session = caller.views.find_session(&id).await?;
    let diff = caller.views.diff(session, query.task.as_deref()).await?;
    let objects = shared.store.objects.clone();
    if objects.is_none() && diff.changes.iter().any(|change| change.patch.is_some()) {
        return Err(ApiError::NoObjects);
    }
    let is_whole = query.task.is_none();
    let parts = stream::iter(diff.changes).then(move |change| {
        let objects = objects.clone();
        async move { part(objects.as_ref(), session.tenant, &change, is_whole).await }
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/x-diff; charset=utf-8")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    Ok((headers, Body::from_stream(parts)).into_response())
}

/// What stands before the first `diff --git` is passed over by those who apply it.
async fn part(
    objects: Option<&Objects>,
    tenant: TenantId,
    change: &ChangeObject,
    is_named: bool,
) -> Result<Vec<u8>, ObjectsError> {
    let mut text = Vec::new();
    let ChangeObject { task, attempt, base, commit, .. } = change;
    if is_named || change.patch.is_none() {
        text.extend(format!("# {task}, attempt {attempt}: {base}..{commit}\n").bytes());
    }
    match objects.zip(change.patch.as_ref()) {
        Some((objects, content)) => text.extend(objects.read(tenant, content).await?),
        None => text.extend(b"# its patch is not kept\n"),
    }
    Ok(text)
}
