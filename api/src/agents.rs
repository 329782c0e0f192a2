//! The registry of agents; so far each is a live worker.

use axum::Json;
use jobshop_engine::store::{view::Page, worker_view::AgentObject};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::Shared,
    auth::Caller,
    error::{ApiError, Problem},
    extract::{PageQuery, Query, page_limit},
};

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list))
}

/// Agents that live: their lease holds.
#[utoipa::path(get, path = "/api/v1/agents", tag = "agents", operation_id = "list_agents", params(PageQuery),
    responses((status = OK, body = Page<AgentObject>), (status = BAD_REQUEST, body = Problem)))]
async fn list(
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<AgentObject>>, ApiError> {
    let limit = page_limit(query.limit)?;
    Ok(Json(caller.views.agents(query.cursor.as_deref(), limit).await?))
}
