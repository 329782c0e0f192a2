//! Sessions: listing them and looking one up.

use axum::{Json, extract::State};
use jobshop_engine::{
    session::SessionState,
    store::{
        session_view::{SessionFilter, SessionObject},
        view::Page,
    },
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::Shared,
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
    status: Option<Vec<SessionState>>,
    /// The name of a workflow.
    workflow: Option<String>,
    tag: Option<String>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// At most this many items; 100 without it, 1000 at most.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<i64>,
}

/// Sessions, newest first.
#[utoipa::path(get, path = "/api/v1/sessions", tag = "sessions", params(ListQuery),
    responses((status = OK, body = Page<SessionObject>), (status = BAD_REQUEST, body = Problem)))]
async fn list(
    State(shared): State<Shared>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<SessionObject>>, ApiError> {
    let filter = SessionFilter { states: query.status, workflow: query.workflow, tag: query.tag };
    let limit = page_limit(query.limit)?;
    Ok(Json(shared.views.sessions(&filter, query.cursor.as_deref(), limit).await?))
}

/// One session, by its id, the last 6 or more characters of it, `@latest` or `@latest:WORKFLOW`.
#[utoipa::path(get, path = "/api/v1/sessions/{id}", tag = "sessions",
    params(("id" = String, Path)),
    responses((status = OK, body = SessionObject), (status = NOT_FOUND, body = Problem),
              (status = CONFLICT, body = Problem)))]
async fn show(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<SessionObject>, ApiError> {
    let key = shared.views.find_session(&id).await?;
    Ok(Json(shared.views.session(key).await?))
}
