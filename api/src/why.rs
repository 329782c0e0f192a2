//! Why a session or a task does not move.

use axum::Json;
use jobshop_engine::store::why_view::WhyObject;
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
    OpenApiRouter::new().routes(routes!(why))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct WhyQuery {
    /// The key of a task; without it the whole session is meant.
    task: Option<String>,
}

/// What exactly holds a session or one of its tasks: which need, until when, which missing
/// capability, how many ahead in the route, or what became of it.
#[utoipa::path(get, path = "/api/v1/sessions/{id}/why", tag = "sessions", operation_id = "explain_session",
    params(("id" = String, Path), WhyQuery),
    responses((status = OK, body = WhyObject), (status = NOT_FOUND, body = Problem)))]
async fn why(
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<WhyQuery>,
) -> Result<Json<WhyObject>, ApiError> {
    let session = caller.views.find_session(&id).await?;
    Ok(Json(caller.views.why(session, query.task.as_deref()).await?))
}
