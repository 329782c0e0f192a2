//! Registered workflows and their versions.

use axum::{
    Json,
    extract::DefaultBodyLimit,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use jobshop_engine::store::{
    applying::{self, Applied, Applying, Change, Over},
    view::Page,
    workflow_view::{VersionObject, WorkflowObject},
};
use serde::{Deserialize, Serialize};
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
        .merge(
            OpenApiRouter::new()
                .routes(routes!(apply_set))
                .layer(DefaultBodyLimit::max(SET_BYTES_MAX)),
        )
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
    let definitions = [body.definition.as_str()];
    let applying = Applying {
        definitions: &definitions,
        prune: false,
        dry_run: false,
        actor: Some(caller.name()),
        over: over(&headers)?,
    };
    let changes = applying::apply_all(&caller.store, caller.tenant(), applying).await?;
    let [applied] = changes.as_slice() else { return Err(ApiError::Panicked) };
    let version = caller.views.workflow_version(&applied.name, applied.version).await?;
    let is_changed = applied.change != Change::Unchanged;
    let status = if is_changed { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, tagged(version)).into_response())
}

/// What the headers say a definition may be applied over.
fn over(headers: &HeaderMap) -> Result<Over, ApiError> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    match (text(header::IF_MATCH), text(header::IF_NONE_MATCH)) {
        (None, None) => Ok(Over::Anything),
        (None, Some("*")) => Ok(Over::Nothing),
        (Some(tag), None) => {
            tag.trim_matches('"').parse().map(Over::Version).map_err(|_| ApiError::InvalidTag)
        }
        _ => Err(ApiError::InvalidTag),
    }
}

/// What the definitions of a set may have together.
const SET_BYTES_MAX: usize = 64 * 1024 * 1024;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SetBody {
    definitions: Vec<NamedDefinition>,
    /// Retires every other workflow of the tenant: its name starts no session any more.
    #[serde(default)]
    prune: bool,
    /// Says what would be done, refuses what would be refused, and does nothing.
    #[serde(default)]
    dry_run: bool,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NamedDefinition {
    /// How problems call it.
    file: Option<String>,
    /// The YAML of the workflow.
    definition: String,
}

/// What became of each name, by name.
#[derive(Debug, Serialize, ToSchema)]
struct AppliedSet {
    dry_run: bool,
    changes: Vec<Applied>,
}

/// Applies several definitions at once: all of them, or on any problem none.
#[utoipa::path(put, path = "/api/v1/workflows", tag = "workflows",
    operation_id = "apply_workflows", request_body = SetBody,
    responses((status = OK, body = AppliedSet), (status = FORBIDDEN, body = Problem),
              (status = UNPROCESSABLE_ENTITY, body = Problem)))]
async fn apply_set(
    Admin(caller): Admin,
    Body(body): Body<SetBody>,
) -> Result<Json<AppliedSet>, ApiError> {
    let definitions: Vec<&str> =
        body.definitions.iter().map(|named| named.definition.as_str()).collect();
    let applying = Applying {
        definitions: &definitions,
        prune: body.prune,
        dry_run: body.dry_run,
        actor: Some(caller.name()),
        over: Over::Anything,
    };
    match applying::apply_all(&caller.store, caller.tenant(), applying).await {
        Ok(changes) => Ok(Json(AppliedSet { dry_run: body.dry_run, changes })),
        Err(error) => {
            let files = body.definitions.into_iter().map(|named| named.file).collect();
            Err(ApiError::ApplySet { error, files })
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
