//! Keys: who may come in, and as what. A key is shown once, when it is made.

use std::fmt::Write as _;

use axum::{Json, http::StatusCode};
use jobshop_engine::{
    id::TenantId,
    role::Role,
    store::{
        keys::{self, KeyObject, NewKey},
        tenants,
        view::Page,
    },
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::Shared,
    auth::{self, Admin, Caller},
    error::{ApiError, Problem},
    extract::{Body, Path, Query, page_limit},
};

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(revoke))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// The name of a tenant; the caller's own without it. Another one is open to admins of the
    /// installation's own tenant only.
    tenant: Option<String>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// At most this many items; 100 without it, 1000 at most.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<i64>,
}

/// The keys of a tenant in the order of their making, revoked ones too. None of them shows itself.
#[utoipa::path(get, path = "/api/v1/keys", tag = "keys", operation_id = "list_keys", params(ListQuery),
    responses((status = OK, body = Page<KeyObject>), (status = FORBIDDEN, body = Problem),
              (status = NOT_FOUND, body = Problem)))]
async fn list(
    Admin(caller): Admin,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<KeyObject>>, ApiError> {
    let tenant = tenant(&caller, query.tenant.as_deref()).await?;
    let limit = page_limit(query.limit)?;
    Ok(Json(caller.views.of_tenant(tenant).keys(query.cursor.as_deref(), limit).await?))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct TenantQuery {
    /// The name of a tenant; the caller's own without it.
    tenant: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewKeyBody {
    /// The actor of what is done with the key.
    name: String,
    role: Role,
    /// The name of a tenant; the caller's own without it.
    tenant: Option<String>,
}

/// A key that was made now.
#[derive(Debug, Serialize, ToSchema)]
struct MadeKey {
    #[serde(flatten)]
    object: KeyObject,
    /// The key itself: it is kept nowhere and never shown again.
    key: String,
}

/// Makes a key. The answer is the only place where it stands.
#[utoipa::path(post, path = "/api/v1/keys", tag = "keys", operation_id = "create_key", request_body = NewKeyBody,
    responses((status = CREATED, body = MadeKey), (status = BAD_REQUEST, body = Problem),
              (status = FORBIDDEN, body = Problem), (status = NOT_FOUND, body = Problem),
              (status = CONFLICT, body = Problem)))]
async fn create(
    Admin(caller): Admin,
    Body(body): Body<NewKeyBody>,
) -> Result<(StatusCode, Json<MadeKey>), ApiError> {
    let tenant = tenant(&caller, body.tenant.as_deref()).await?;
    let key = random();
    let new = NewKey {
        name: &body.name,
        role: body.role,
        hash: &auth::hash(&key),
        created_by: caller.name(),
    };
    let object = keys::create(&caller.store.pool, tenant, new).await?;
    tracing::info!(key.name = body.name, key.role = %body.role, actor = caller.name(), "a key was made");
    Ok((StatusCode::CREATED, Json(MadeKey { object, key })))
}

/// Takes its power from a key, at once. Revoking it again changes nothing.
#[utoipa::path(post, path = "/api/v1/keys/{name}/revoke", tag = "keys", operation_id = "revoke_key",
    params(("name" = String, Path), TenantQuery),
    responses((status = OK, body = KeyObject), (status = FORBIDDEN, body = Problem),
              (status = NOT_FOUND, body = Problem)))]
async fn revoke(
    Admin(caller): Admin,
    Path(name): Path<String>,
    Query(query): Query<TenantQuery>,
) -> Result<Json<KeyObject>, ApiError> {
    let tenant = tenant(&caller, query.tenant.as_deref()).await?;
    let revoked = keys::revoke(&caller.store.pool, tenant, &name).await?;
    tracing::info!(key.name = name, actor = caller.name(), "a key was revoked");
    Ok(Json(revoked))
}

/// The tenant that a name means to this caller.
async fn tenant(caller: &Caller, name: Option<&str>) -> Result<TenantId, ApiError> {
    let Some(name) = name else { return Ok(caller.tenant()) };
    if caller.is_of_installation() {
        return Ok(tenants::find(&caller.store.pool, name).await?);
    }
    // Whether another tenant exists is nothing that this caller may learn.
    match tenants::find(&caller.store.pool, name).await {
        Ok(tenant) if tenant == caller.tenant() => Ok(tenant),
        _ => Err(ApiError::ForbiddenTenant),
    }
}

/// A key that nobody can guess: 256 random bits.
fn random() -> String {
    let bytes: [u8; 32] = rand::random();
    let mut key = auth::KEY_PREFIX.to_owned();
    for byte in bytes {
        write!(key, "{byte:02x}").expect("text takes everything");
    }
    key
}
