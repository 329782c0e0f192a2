//! What workers themselves saw of the results of tasks.

use axum::Json;
use jobshop_engine::store::{evidence_view::EvidenceObject, view::Page};
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
    OpenApiRouter::new().routes(routes!(list))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct EvidenceQuery {
    /// The key of a task; without it the evidence of all of them.
    task: Option<String>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// At most this many items; 100 without it, 1000 at most.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<i64>,
}

/// What each verification of a session's tasks came to, signed by the worker that made it, and what
/// that is worth now.
#[utoipa::path(get, path = "/api/v1/sessions/{id}/evidence", tag = "tasks", operation_id = "list_evidence",
    params(("id" = String, Path), EvidenceQuery),
    responses((status = OK, body = Page<EvidenceObject>), (status = NOT_FOUND, body = Problem)))]
async fn list(
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<EvidenceQuery>,
) -> Result<Json<Page<EvidenceObject>>, ApiError> {
    let session = caller.views.find_session(&id).await?;
    let limit = page_limit(query.limit)?;
    let (task, cursor) = (query.task.as_deref(), query.cursor.as_deref());
    Ok(Json(caller.views.evidence(session, task, cursor, limit).await?))
}
