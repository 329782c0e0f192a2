//! Which changes of a session cannot be merged.

use axum::Json;
use jobshop_engine::store::{conflict_view::ConflictObject, view::Page};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::Shared,
    auth::Caller,
    error::{ApiError, Problem},
    extract::Path,
};

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list))
}

/// What tasks of a session made and cannot be merged with one another, or with the branch they began
/// at, as of the last look at either. At most 1000 of them, on one page.
#[utoipa::path(get, path = "/api/v1/sessions/{id}/conflicts", tag = "tasks", operation_id = "list_conflicts",
    params(("id" = String, Path)),
    responses((status = OK, body = Page<ConflictObject>), (status = NOT_FOUND, body = Problem)))]
async fn list(
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Page<ConflictObject>>, ApiError> {
    let session = caller.views.find_session(&id).await?;
    let items = caller.views.conflicts(session, None).await?;
    Ok(Json(Page { items, next: None }))
}
