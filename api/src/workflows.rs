//! Registered workflows and their versions.

use axum::{Json, extract::State};
use jobshop_engine::store::{
    view::Page,
    workflow_view::{VersionObject, WorkflowObject},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::Shared,
    error::{ApiError, Problem},
    extract::{PageQuery, Path, Query, page_limit},
};

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(versions))
        .routes(routes!(version))
}

/// Applied workflows by name.
#[utoipa::path(get, path = "/api/v1/workflows", tag = "workflows", params(PageQuery),
    responses((status = OK, body = Page<WorkflowObject>), (status = BAD_REQUEST, body = Problem)))]
async fn list(
    State(shared): State<Shared>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<WorkflowObject>>, ApiError> {
    let limit = page_limit(query.limit)?;
    Ok(Json(shared.views.workflows(query.cursor.as_deref(), limit).await?))
}

/// The version that a workflow's name stands for.
#[utoipa::path(get, path = "/api/v1/workflows/{name}", tag = "workflows",
    params(("name" = String, Path)),
    responses((status = OK, body = VersionObject), (status = NOT_FOUND, body = Problem)))]
async fn show(
    State(shared): State<Shared>,
    Path(name): Path<String>,
) -> Result<Json<VersionObject>, ApiError> {
    Ok(Json(shared.views.workflow_version(&name, None).await?))
}

/// The versions of a workflow, newest first.
#[utoipa::path(get, path = "/api/v1/workflows/{name}/versions", tag = "workflows",
    params(("name" = String, Path), PageQuery),
    responses((status = OK, body = Page<VersionObject>), (status = NOT_FOUND, body = Problem)))]
async fn versions(
    State(shared): State<Shared>,
    Path(name): Path<String>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<VersionObject>>, ApiError> {
    let limit = page_limit(query.limit)?;
    Ok(Json(shared.views.workflow_versions(&name, query.cursor.as_deref(), limit).await?))
}

/// One version of a workflow, with its definition.
#[utoipa::path(get, path = "/api/v1/workflows/{name}/versions/{version}", tag = "workflows",
    params(("name" = String, Path), ("version" = i32, Path)),
    responses((status = OK, body = VersionObject), (status = NOT_FOUND, body = Problem)))]
async fn version(
    State(shared): State<Shared>,
    Path((name, version)): Path<(String, i32)>,
) -> Result<Json<VersionObject>, ApiError> {
    Ok(Json(shared.views.workflow_version(&name, Some(version)).await?))
}
