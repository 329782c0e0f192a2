//! Registered workflows and their versions.

use axum::{Json, extract::State, http::StatusCode};
use jobshop_engine::store::{
    view::Page,
    workflow_view::{VersionObject, WorkflowObject},
    workflows,
};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::Shared,
    error::{ApiError, Problem},
    extract::{Body, PageQuery, Path, Query, page_limit},
};

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list, apply))
        .routes(routes!(show))
        .routes(routes!(versions))
        .routes(routes!(version))
}

/// Applied workflows by name.
#[utoipa::path(get, path = "/api/v1/workflows", tag = "workflows", operation_id = "list_workflows", params(PageQuery),
    responses((status = OK, body = Page<WorkflowObject>), (status = BAD_REQUEST, body = Problem)))]
async fn list(
    State(shared): State<Shared>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<WorkflowObject>>, ApiError> {
    let limit = page_limit(query.limit)?;
    Ok(Json(shared.views.workflows(query.cursor.as_deref(), limit).await?))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ApplyBody {
    /// The YAML of the workflow.
    definition: String,
}

/// Makes a definition what its name stands for. A content that is new becomes a version; applying
/// what stands there already changes nothing.
#[utoipa::path(post, path = "/api/v1/workflows", tag = "workflows", operation_id = "apply_workflow", request_body = ApplyBody,
    responses((status = CREATED, body = VersionObject),
              (status = OK, body = VersionObject, description = "It stood there already"),
              (status = UNPROCESSABLE_ENTITY, body = Problem)))]
async fn apply(
    State(shared): State<Shared>,
    Body(body): Body<ApplyBody>,
) -> Result<(StatusCode, Json<VersionObject>), ApiError> {
    let tenant = shared.views.tenant();
    let applied = workflows::apply(&shared.store, tenant, &body.definition).await?;
    let version = shared.views.workflow_version(&applied.name, Some(applied.version)).await?;
    let status = if applied.changed { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(version)))
}

/// The version that a workflow's name stands for.
#[utoipa::path(get, path = "/api/v1/workflows/{name}", tag = "workflows", operation_id = "show_workflow",
    params(("name" = String, Path)),
    responses((status = OK, body = VersionObject), (status = NOT_FOUND, body = Problem)))]
async fn show(
    State(shared): State<Shared>,
    Path(name): Path<String>,
) -> Result<Json<VersionObject>, ApiError> {
    Ok(Json(shared.views.workflow_version(&name, None).await?))
}

/// The versions of a workflow, newest first.
#[utoipa::path(get, path = "/api/v1/workflows/{name}/versions", tag = "workflows", operation_id = "list_workflow_versions",
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
#[utoipa::path(get, path = "/api/v1/workflows/{name}/versions/{version}", tag = "workflows", operation_id = "show_workflow_version",
    params(("name" = String, Path), ("version" = i32, Path)),
    responses((status = OK, body = VersionObject), (status = NOT_FOUND, body = Problem)))]
async fn version(
    State(shared): State<Shared>,
    Path((name, version)): Path<(String, i32)>,
) -> Result<Json<VersionObject>, ApiError> {
    Ok(Json(shared.views.workflow_version(&name, Some(version)).await?))
}
