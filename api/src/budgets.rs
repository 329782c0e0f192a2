//! Budgets of sessions, and what models cost.

use axum::Json;
use chrono::{DateTime, Utc};
use jobshop_engine::{
    budget::{Caps, micros},
    duration::Span,
    store::{
        budget_view::BudgetsObject,
        budgets,
        prices::{self, NewPrice, PriceObject},
        steer::By,
        view::{Page, ReadError},
    },
};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::Shared,
    auth::{Admin, Caller},
    error::{ApiError, Problem},
    extract::{Body, Path, Query, optional_moment},
};

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(show))
        .routes(routes!(raise))
        .routes(routes!(list_prices, set_prices))
}

/// The budgets of a session, its groups and its tasks: what each may take, what is used, reserved and
/// left, and who waits.
#[utoipa::path(get, path = "/api/v1/sessions/{id}/budget", tag = "budgets", operation_id = "show_budget",
    params(("id" = String, Path)),
    responses((status = OK, body = BudgetsObject), (status = NOT_FOUND, body = Problem)))]
async fn show(caller: Caller, Path(id): Path<String>) -> Result<Json<BudgetsObject>, ApiError> {
    let session = caller.views.find_session(&id).await?;
    Ok(Json(caller.views.budgets(session).await?))
}

/// The new limits, each more than the present one.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
struct RaiseBody {
    /// The key of a task or group; without it the budget of the session.
    task: Option<String>,
    #[schema(minimum = 1)]
    tokens: Option<i64>,
    /// Dollars.
    usd: Option<f64>,
    /// As in `4h`.
    #[schema(value_type = Option<String>)]
    wall_time: Option<Span>,
    /// Goes into the event.
    reason: Option<String>,
}

/// Gives a budget higher limits; what was paused because it was used up goes on.
#[utoipa::path(post, path = "/api/v1/sessions/{id}/budget/raise", tag = "budgets", operation_id = "raise_budget",
    params(("id" = String, Path)), request_body = RaiseBody,
    responses((status = OK, body = BudgetsObject), (status = NOT_FOUND, body = Problem),
              (status = CONFLICT, body = Problem), (status = BAD_REQUEST, body = Problem)))]
async fn raise(
    caller: Caller,
    Path(id): Path<String>,
    Body(body): Body<RaiseBody>,
) -> Result<Json<BudgetsObject>, ApiError> {
    const MOST: i64 = 1_000_000_000_000;
    let session = caller.views.find_session(&id).await?;
    let wall_time = body.wall_time.and_then(|span| i64::try_from(span.ms).ok());
    let to: Caps = [body.tokens, body.usd.map(micros), wall_time];
    if to.iter().flatten().any(|limit| *limit > MOST) {
        let why = "at most 1000000000000 tokens and 1000000 dollars can be given";
        return Err(ApiError::InvalidBody(why.to_owned()));
    }
    let by = By { actor: Some(caller.name()), reason: body.reason.as_deref() };
    budgets::raise(&caller.store, session, body.task.as_deref(), to, by).await?;
    Ok(Json(caller.views.budgets(session).await?))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PriceQuery {
    /// Only of this model.
    model: Option<String>,
}

/// What models cost, by model and date, the newest first.
#[utoipa::path(get, path = "/api/v1/prices", tag = "budgets", operation_id = "list_prices", params(PriceQuery),
    responses((status = OK, body = Page<PriceObject>)))]
async fn list_prices(
    caller: Caller,
    Query(query): Query<PriceQuery>,
) -> Result<Json<Page<PriceObject>>, ApiError> {
    Ok(Json(caller.views.prices(query.model.as_deref()).await?))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PricesBody {
    items: Vec<PriceBody>,
}

/// Dollars for a million tokens of each kind.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PriceBody {
    /// As tasks name it.
    model: String,
    /// From when on; from now on without it.
    #[serde(default, deserialize_with = "optional_moment")]
    since: Option<DateTime<Utc>>,
    input: f64,
    output: f64,
    /// What output costs, without it.
    reasoning: Option<f64>,
    /// What input costs, without it.
    cache_read: Option<f64>,
    /// What input costs, without it.
    cache_write: Option<f64>,
}

/// Sets prices; others stay. One of the same model and date takes the place of the one before.
#[utoipa::path(put, path = "/api/v1/prices", tag = "budgets", operation_id = "set_prices",
    request_body = PricesBody,
    responses((status = OK, body = Page<PriceObject>), (status = BAD_REQUEST, body = Problem),
              (status = FORBIDDEN, body = Problem)))]
async fn set_prices(
    Admin(caller): Admin,
    Body(body): Body<PricesBody>,
) -> Result<Json<Page<PriceObject>>, ApiError> {
    let new: Vec<NewPrice> = body.items.into_iter().map(price).collect::<Result<_, _>>()?;
    let tenant = caller.views.tenant();
    let set = prices::set(&caller.store.pool, tenant, &new, caller.name()).await;
    set.map_err(ReadError::from)?;
    Ok(Json(caller.views.prices(None).await?))
}

fn price(body: PriceBody) -> Result<NewPrice, ApiError> {
    const USD_MAX: f64 = 1_000_000.0;
    let wrong = |why: String| Err(ApiError::InvalidBody(why));
    if body.model.trim().is_empty() || body.model.len() > 256 {
        return wrong("`model` must have 1 to 256 characters".to_owned());
    }
    let all =
        [Some(body.input), Some(body.output), body.reasoning, body.cache_read, body.cache_write];
    if let Some(usd) = all.into_iter().flatten().find(|usd| !(0.0..=USD_MAX).contains(usd)) {
        return wrong(format!("a price is 0 to {USD_MAX} dollars for a million tokens, not {usd}"));
    }
    Ok(NewPrice {
        model: body.model,
        since: body.since,
        price: jobshop_engine::budget::Price {
            input: micros(body.input),
            output: micros(body.output),
            reasoning: body.reasoning.map(micros),
            cache_read: body.cache_read.map(micros),
            cache_write: body.cache_write.map(micros),
        },
    })
}
