//! The files that tasks left.

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use jobshop_engine::store::{
    artifact_view::{ArtifactObject, Wanted},
    objects,
    view::Page,
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::Shared,
    auth::Caller,
    error::{ApiError, Problem},
    extract::{Path, Query, page_limit},
};

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(content))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ArtifactQuery {
    /// The key of a task; without it the artifacts of all of them.
    task: Option<String>,
    /// Only files with this path.
    path: Option<String>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// At most this many items; 100 without it, 1000 at most.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<i64>,
}

/// The files that a session's tasks left, in the order of tasks, attempts and paths.
#[utoipa::path(get, path = "/api/v1/sessions/{id}/artifacts", tag = "tasks", operation_id = "list_artifacts",
    params(("id" = String, Path), ArtifactQuery),
    responses((status = OK, body = Page<ArtifactObject>), (status = NOT_FOUND, body = Problem)))]
async fn list(
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<ArtifactQuery>,
) -> Result<Json<Page<ArtifactObject>>, ApiError> {
    let session = caller.views.find_session(&id).await?;
    let wanted = Wanted {
        task: query.task.as_deref(),
        path: query.path.as_deref(),
        cursor: query.cursor.as_deref(),
        limit: page_limit(query.limit)?,
    };
    Ok(Json(caller.views.artifacts(session, wanted).await?))
}

/// The content of one of them, by its SHA-256.
#[utoipa::path(get, path = "/api/v1/sessions/{id}/artifacts/{sha256}", tag = "tasks", operation_id = "get_artifact",
    params(("id" = String, Path), ("sha256" = String, Path)),
    responses((status = OK, content_type = "application/octet-stream", body = Vec<u8>),
              (status = NOT_FOUND, body = Problem)))]
async fn content(
    State(shared): State<Shared>,
    caller: Caller,
    headers: HeaderMap,
    Path((id, sha256)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let session = caller.views.find_session(&id).await?;
    let missing = || ApiError::NoArtifact(sha256.clone());
    let content = objects::from_hex(&sha256).ok_or_else(missing)?;
    let (path, bytes) = caller.views.artifact_of(session, &content).await?.ok_or_else(missing)?;
    let tag = format!("\"{}\"", objects::hex(&content));
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return Ok(StatusCode::NOT_MODIFIED.into_response());
    }
    let objects = shared.store.objects.as_ref().ok_or(ApiError::NoObjects)?;
    let found = objects.get(session.tenant, &content).await?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (header::CONTENT_LENGTH, HeaderValue::from(bytes)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::CONTENT_DISPOSITION, attachment(&path)),
        (header::ETAG, HeaderValue::try_from(tag).unwrap_or(HeaderValue::from_static(""))),
    ];
    Ok((headers, Body::from_stream(found.into_stream())).into_response())
}

/// A file to be saved under the last part of its path, as far as a header can say it.
fn attachment(path: &str) -> HeaderValue {
    let name = path.rsplit('/').next().unwrap_or_default();
    let plain: String = name
        .chars()
        .map(|letter| match letter {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '_' | '-' | ' ' => letter,
            _ => '_',
        })
        .collect();
    HeaderValue::try_from(format!("attachment; filename=\"{plain}\""))
        .unwrap_or(HeaderValue::from_static("attachment"))
}
