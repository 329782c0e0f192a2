//! Sessions that were archived: what is still known of them, and where their files are.

use axum::Json;
use jobshop_engine::store::{archived_view::ArchivedObject, view::Page};
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

/// Archived sessions, newest first. Whatever else is asked about one of them is answered with
/// status 410 and the same object under `archived_session`.
#[utoipa::path(get, path = "/api/v1/archives", tag = "sessions", operation_id = "list_archives", params(PageQuery),
    responses((status = OK, body = Page<ArchivedObject>), (status = BAD_REQUEST, body = Problem)))]
async fn list(
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<ArchivedObject>>, ApiError> {
    let limit = page_limit(query.limit)?;
    Ok(Json(caller.views.archived(query.cursor.as_deref(), limit).await?))
}
