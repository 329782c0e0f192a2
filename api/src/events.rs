//! The events of a session, page by page. [`crate::live`] sends them as they come.

use axum::Json;
use jobshop_engine::store::{event_view::EventObject, view::Page};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::Shared,
    auth::Caller,
    error::{ApiError, Problem},
    extract::{Path, Query, after_event, page_limit},
};

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// The number of the last event already known; `next` of the page before.
    #[param(minimum = 0)]
    after: Option<i32>,
    /// At most this many items; 100 without it, 1000 at most.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<i64>,
}

/// The events of a session after a number, in order and without a gap.
#[utoipa::path(get, path = "/api/v1/sessions/{id}/events", tag = "events", operation_id = "list_events",
    params(("id" = String, Path), ListQuery),
    responses((status = OK, body = Page<EventObject>), (status = BAD_REQUEST, body = Problem),
              (status = NOT_FOUND, body = Problem)))]
async fn list(
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<EventObject>>, ApiError> {
    let session = caller.views.find_session(&id).await?;
    let (after, limit) = (after_event(query.after)?, page_limit(query.limit)?);
    Ok(Json(caller.views.events(session, after, limit).await?))
}
