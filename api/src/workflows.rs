//! Registered workflows and their versions.

use axum::{
    Json,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
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
    auth::{Admin, Caller},
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
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<WorkflowObject>>, ApiError> {
    let limit = page_limit(query.limit)?;
    Ok(Json(caller.views.workflows(query.cursor.as_deref(), limit).await?))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ApplyBody {
    /// The YAML of the workflow.
    definition: String,
}

/// Makes a definition what its name stands for. A content that is new becomes a version; applying
/// what stands there already changes nothing. With `if-match` it is applied over that version only,
/// with `if-none-match: *` only where the name stands for nothing yet.
#[utoipa::path(post, path = "/api/v1/workflows", tag = "workflows",
    operation_id = "apply_workflow", request_body = ApplyBody,
    params(("if-match" = Option<String>, Header, description = "The `etag` of a workflow"),
           ("if-none-match" = Option<String>, Header, description = "`*`")),
    responses((status = CREATED, body = VersionObject),
              (status = OK, body = VersionObject, description = "It stood there already"),
              (status = FORBIDDEN, body = Problem),
              (status = PRECONDITION_FAILED, body = Problem),
              (status = UNPROCESSABLE_ENTITY, body = Problem)))]
async fn apply(
    Admin(caller): Admin,
    headers: HeaderMap,
    Body(body): Body<ApplyBody>,
) -> Result<Response, ApiError> {
    let (store, tenant) = (&caller.store, caller.tenant());
    let applied = match Precondition::of(&headers)? {
        Precondition::None => workflows::apply(store, tenant, &body.definition).await?,
        Precondition::Over(over) => workflows::apply_over(store, tenant, &body.definition, over)
            .await?
            .ok_or(ApiError::VersionChanged)?,
    };
    let version = caller.views.workflow_version(&applied.name, Some(applied.version)).await?;
    let status = if applied.changed { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, tagged(version)).into_response())
}

/// What a definition may be applied over.
enum Precondition {
    None,
    /// Only this version, or only nothing.
    Over(Option<i32>),
}

impl Precondition {
    fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        match (text(header::IF_MATCH), text(header::IF_NONE_MATCH)) {
            (None, None) => Ok(Self::None),
            (None, Some("*")) => Ok(Self::Over(None)),
            (Some(tag), None) => {
                let number = tag.trim_matches('"').parse().map_err(|_| ApiError::InvalidTag)?;
                Ok(Self::Over(Some(number)))
            }
            _ => Err(ApiError::InvalidTag),
        }
    }
}

/// A version with its number as `etag`.
fn tagged(version: VersionObject) -> impl IntoResponse {
    ([(header::ETAG, format!("\"{}\"", version.version))], Json(version))
}

/// The version that a workflow's name stands for; its `etag` is for applying another over it.
#[utoipa::path(get, path = "/api/v1/workflows/{name}", tag = "workflows",
    operation_id = "show_workflow", params(("name" = String, Path)),
    responses((status = OK, body = VersionObject), (status = NOT_FOUND, body = Problem)))]
async fn show(caller: Caller, Path(name): Path<String>) -> Result<impl IntoResponse, ApiError> {
    Ok(tagged(caller.views.workflow_version(&name, None).await?))
}

/// The versions of a workflow, newest first.
#[utoipa::path(get, path = "/api/v1/workflows/{name}/versions", tag = "workflows", operation_id = "list_workflow_versions",
    params(("name" = String, Path), PageQuery),
    responses((status = OK, body = Page<VersionObject>), (status = NOT_FOUND, body = Problem)))]
async fn versions(
    caller: Caller,
    Path(name): Path<String>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<VersionObject>>, ApiError> {
    let limit = page_limit(query.limit)?;
    Ok(Json(caller.views.workflow_versions(&name, query.cursor.as_deref(), limit).await?))
}

/// One version of a workflow, with its definition.
#[utoipa::path(get, path = "/api/v1/workflows/{name}/versions/{version}", tag = "workflows", operation_id = "show_workflow_version",
    params(("name" = String, Path), ("version" = i32, Path)),
    responses((status = OK, body = VersionObject), (status = NOT_FOUND, body = Problem)))]
async fn version(
    caller: Caller,
    Path((name, version)): Path<(String, i32)>,
) -> Result<Json<VersionObject>, ApiError> {
    Ok(Json(caller.views.workflow_version(&name, Some(version)).await?))
}
