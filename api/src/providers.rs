//! The gates before providers' models, which the whole fleet shares.

use axum::Json;
use jobshop_engine::{
    provider::{ProviderKey, Quota},
    store::{
        providers::{self, ProviderObject},
        view::{Page, ReadError},
    },
};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::Shared,
    auth::{Admin, Caller},
    error::{ApiError, Problem},
    extract::Body,
};

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list, set))
}

/// Providers' models that agents called or that have a quota: who is let through, who refused.
#[utoipa::path(get, path = "/api/v1/providers", tag = "providers", operation_id = "list_providers",
    responses((status = OK, body = Page<ProviderObject>)))]
async fn list(caller: Caller) -> Result<Json<Page<ProviderObject>>, ApiError> {
    let items = providers::list(&caller.store.pool).await.map_err(ReadError::from)?;
    Ok(Json(Page { items, next: None }))
}

/// What an account may take of a model in a minute.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct QuotaBody {
    /// As tasks name it: provider/model.
    model: String,
    /// `default` without it.
    account: Option<String>,
    /// Turns of agents that may begin; any number without it.
    #[schema(minimum = 1)]
    turns_per_minute: Option<u32>,
    /// Tokens read and written; any number without it.
    #[schema(minimum = 1)]
    tokens_per_minute: Option<u64>,
}

/// Sets the quota of an account for a model; only an admin of the installation may.
#[utoipa::path(put, path = "/api/v1/providers", tag = "providers", operation_id = "set_provider_quota",
    request_body = QuotaBody,
    responses((status = OK, body = Page<ProviderObject>), (status = BAD_REQUEST, body = Problem),
              (status = FORBIDDEN, body = Problem)))]
async fn set(
    Admin(caller): Admin,
    Body(body): Body<QuotaBody>,
) -> Result<Json<Page<ProviderObject>>, ApiError> {
    const MOST: u64 = 1_000_000_000_000;
    if !caller.is_of_installation() {
        return Err(ApiError::ForbiddenTenant);
    }
    let account = body.account.as_deref().unwrap_or(ProviderKey::DEFAULT_ACCOUNT);
    let key = ProviderKey::of_model(&body.model, account)
        .filter(|_| body.model.len() <= 200 && !account.is_empty() && account.len() <= 100)
        .ok_or_else(|| {
            ApiError::InvalidBody(format!(
                "model: write provider/model as tasks do, as in anthropic/claude-opus, not `{}`",
                body.model
            ))
        })?;
    let turns = body.turns_per_minute;
    let tokens = body.tokens_per_minute;
    let is_possible = turns.is_none_or(|turns| (1..=1_000_000).contains(&turns))
        && tokens.is_none_or(|tokens| (1..=MOST).contains(&tokens));
    if !is_possible {
        let why = "a quota is 1 to 1000000 turns and 1 to 1000000000000 tokens a minute";
        return Err(ApiError::InvalidBody(why.to_owned()));
    }
    let quota = Quota { turns, tokens };
    providers::limit(&caller.store.pool, &key, quota, Some(caller.name()))
        .await
        .map_err(ReadError::from)?;
    let items = providers::list(&caller.store.pool).await.map_err(ReadError::from)?;
    Ok(Json(Page { items, next: None }))
}
