//! Tenants, for admins of the installation's own one.

use axum::{Json, http::StatusCode};
use jobshop_engine::store::{
    tenants::{self, TenantObject},
    view::Page,
};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::Shared,
    auth::Admin,
    error::{ApiError, Problem},
    extract::{Body, PageQuery, Query, page_limit},
};

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list, create))
}

/// All tenants in the order of their making.
#[utoipa::path(get, path = "/api/v1/tenants", tag = "tenants", operation_id = "list_tenants", params(PageQuery),
    responses((status = OK, body = Page<TenantObject>), (status = FORBIDDEN, body = Problem)))]
async fn list(
    Admin(caller): Admin,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<TenantObject>>, ApiError> {
    if !caller.is_of_installation() {
        return Err(ApiError::ForbiddenTenant);
    }
    let limit = page_limit(query.limit)?;
    Ok(Json(caller.views.tenants(query.cursor.as_deref(), limit).await?))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewTenantBody {
    /// Lower-case letters, digits and dashes.
    name: String,
    /// How often it has its turn where several tenants have work, 1 to 100; 1 unless given.
    #[serde(default = "usual_weight")]
    weight: i16,
}

const fn usual_weight() -> i16 {
    1
}

/// Makes a tenant. It has no keys yet: make one with its name as `tenant`.
#[utoipa::path(post, path = "/api/v1/tenants", tag = "tenants", operation_id = "create_tenant",
    request_body = NewTenantBody,
    responses((status = CREATED, body = TenantObject), (status = BAD_REQUEST, body = Problem),
              (status = FORBIDDEN, body = Problem), (status = CONFLICT, body = Problem)))]
async fn create(
    Admin(caller): Admin,
    Body(body): Body<NewTenantBody>,
) -> Result<(StatusCode, Json<TenantObject>), ApiError> {
    if !caller.is_of_installation() {
        return Err(ApiError::ForbiddenTenant);
    }
    let tenant = tenants::create(&caller.store.pool, &body.name, body.weight).await?;
    tracing::info!(tenant.name = body.name, actor = caller.name(), "a tenant was made");
    Ok((StatusCode::CREATED, Json(tenant)))
}
