//! Rules about what agents may do.

use axum::Json;
use jobshop_engine::{
    duration::Span,
    policy::{self, Action, Asking, OnTimeout, Patterns, TIMEOUT},
    store::{
        policies::{self, NewPolicy, PolicyObject},
        view::{Page, ReadError},
    },
    suggestion::Suggestion,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::Shared,
    auth::{Admin, Caller},
    error::{ApiError, Problem},
    extract::{Body, Path, Query},
};

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list, add))
        .routes(routes!(test))
        .routes(routes!(suggestions))
        .routes(routes!(remove))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Removed ones too, behind the others.
    removed: Option<bool>,
    /// How many at most; all of them unless given.
    limit: Option<u32>,
}

/// The rules in the order in which they are looked at: the first that fits decides.
#[utoipa::path(get, path = "/api/v1/policies", tag = "policies", operation_id = "list_policies", params(ListQuery),
    responses((status = OK, body = Page<PolicyObject>)))]
async fn list(
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<PolicyObject>>, ApiError> {
    let with_removed = query.removed.unwrap_or(false);
    let listed = policies::list(&caller.store.pool, caller.tenant(), with_removed).await;
    let mut items = listed.map_err(ReadError::from)?;
    items.truncate(query.limit.map_or(usize::MAX, |limit| limit as usize));
    Ok(Json(Page { items, next: None }))
}

/// A rule. In each pattern `*` stands for anything; at most one of `command`, `path` and `host`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PolicyBody {
    /// `bash`, `edit`, `webfetch`, …; every one without it, but not `question`.
    tool: Option<String>,
    command: Option<String>,
    path: Option<String>,
    host: Option<String>,
    action: Action,
    /// Of a rule that asks: names of keys and roles that may answer.
    #[serde(default)]
    from: Vec<String>,
    /// So many of them have to allow it; 1 without it.
    quorum: Option<i32>,
    /// How long they have; 1d without it.
    #[schema(value_type = Option<String>)]
    timeout: Option<Span>,
    #[serde(default)]
    on_timeout: OnTimeout,
    /// Before the rule that has this place now, from 1; behind all others without it.
    #[schema(minimum = 1)]
    position: Option<i64>,
    reason: Option<String>,
}

/// Adds a rule. It counts from the next thing that an agent asks.
#[utoipa::path(post, path = "/api/v1/policies", tag = "policies", operation_id = "add_policy",
    request_body = PolicyBody,
    responses((status = CREATED, body = PolicyObject), (status = BAD_REQUEST, body = Problem),
              (status = FORBIDDEN, body = Problem)))]
async fn add(
    Admin(caller): Admin,
    Body(body): Body<PolicyBody>,
) -> Result<(axum::http::StatusCode, Json<PolicyObject>), ApiError> {
    let texts = body.from.iter().chain(&body.reason);
    if texts.into_iter().any(|text| text.chars().count() > 1_000 || text.contains('\0')) {
        let why = "a text has at most 1000 characters, and no NUL among them";
        return Err(ApiError::InvalidBody(why.to_owned()));
    }
    let new = NewPolicy {
        patterns: Patterns {
            tool: body.tool.unwrap_or_else(|| "*".to_owned()),
            command: body.command,
            path: body.path,
            host: body.host,
        },
        action: body.action,
        asking: Asking {
            from: body.from,
            quorum: body.quorum.unwrap_or(1),
            timeout: body.timeout.unwrap_or(TIMEOUT),
            on_timeout: body.on_timeout,
        },
        position: body.position,
        reason: body.reason.as_deref(),
        by: caller.name(),
    };
    let added = policies::add(&caller.store.pool, caller.tenant(), new).await?;
    Ok((axum::http::StatusCode::CREATED, Json(added)))
}

/// Takes a rule, named by its id or the last 6 or more characters of it, out of use. It stays listed
/// among the removed ones.
#[utoipa::path(delete, path = "/api/v1/policies/{id}", tag = "policies", operation_id = "remove_policy",
    params(("id" = String, Path)),
    responses((status = OK, body = PolicyObject), (status = FORBIDDEN, body = Problem),
              (status = NOT_FOUND, body = Problem), (status = CONFLICT, body = Problem)))]
async fn remove(
    Admin(caller): Admin,
    Path(id): Path<String>,
) -> Result<Json<PolicyObject>, ApiError> {
    let removed = policies::remove(&caller.store.pool, caller.tenant(), &id, caller.name());
    Ok(Json(removed.await?))
}

/// Rules that people might want, because they answered alike again and again; the ones with most answers
/// first. Nothing is added.
#[utoipa::path(get, path = "/api/v1/policies/suggestions", tag = "policies", operation_id = "suggest_policies",
    responses((status = OK, body = Page<Suggestion>)))]
async fn suggestions(caller: Caller) -> Result<Json<Page<Suggestion>>, ApiError> {
    let found = policies::suggestions(&caller.store.pool, caller.tenant()).await;
    Ok(Json(Page { items: found.map_err(ReadError::from)?, next: None }))
}

/// What an agent would do.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TestBody {
    tool: String,
    /// A command, a path or an address.
    what: Option<String>,
    /// What the workflow says of it; `allow` without it.
    workflow: Option<Action>,
}

/// What would happen.
#[derive(Debug, Serialize, ToSchema)]
struct Tested {
    action: Action,
    /// The rule that decides; null where the workflow does.
    #[schema(required, value_type = Option<Uuid>)]
    rule: Option<String>,
}

/// Says what the rules would decide; nobody is asked.
#[utoipa::path(post, path = "/api/v1/policies/test", tag = "policies", operation_id = "test_policies",
    request_body = TestBody,
    responses((status = OK, body = Tested), (status = BAD_REQUEST, body = Problem)))]
async fn test(caller: Caller, Body(body): Body<TestBody>) -> Result<Json<Tested>, ApiError> {
    let rules = policies::rules(&caller.store.pool, caller.tenant()).await;
    let rules = rules.map_err(ReadError::from)?;
    let what: Vec<String> = body.what.into_iter().collect();
    let own = body.workflow.unwrap_or(Action::Allow);
    let decided = policy::decide(&rules, own, &body.tool, &what);
    Ok(Json(Tested { action: decided.action, rule: decided.rule.map(|rule| rule.id.to_string()) }))
}
