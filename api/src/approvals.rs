//! What tasks ask of people: the inbox, and deciding.

use axum::Json;
use jobshop_engine::{
    approval::{Decision, Said, Status, Voter},
    decompose,
    store::{
        approval_view::{ApprovalFilter, ApprovalObject},
        approvals,
        view::Page,
    },
};
use serde::Deserialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::Shared,
    auth::Caller,
    error::{ApiError, Problem},
    extract::{OptionalBody, Path, Query, page_limit},
};

const COMMENT_CHARS_MAX: usize = 10_000;

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(approve))
        .routes(routes!(reject))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// `open` without it.
    status: Option<Status>,
    /// The id of a session, or an end of it.
    session: Option<String>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// At most this many items; 100 without it, 1000 at most.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<i64>,
}

/// Approvals, oldest first; the open ones, unless another status is asked for.
#[utoipa::path(get, path = "/api/v1/approvals", tag = "approvals", operation_id = "list_approvals", params(ListQuery),
    responses((status = OK, body = Page<ApprovalObject>), (status = BAD_REQUEST, body = Problem),
              (status = NOT_FOUND, body = Problem)))]
async fn list(
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<ApprovalObject>>, ApiError> {
    let limit = page_limit(query.limit)?;
    let session = match &query.session {
        Some(given) => Some(caller.views.find_session(given).await?.id),
        None => None,
    };
    let filter = ApprovalFilter { status: query.status.unwrap_or(Status::Open), session };
    Ok(Json(caller.views.approvals(filter, query.cursor.as_deref(), limit).await?))
}

/// One approval, by its id or the last 6 or more characters of it.
#[utoipa::path(get, path = "/api/v1/approvals/{id}", tag = "approvals", operation_id = "show_approval",
    params(("id" = String, Path)),
    responses((status = OK, body = ApprovalObject), (status = NOT_FOUND, body = Problem),
              (status = CONFLICT, body = Problem)))]
async fn show(caller: Caller, Path(id): Path<String>) -> Result<Json<ApprovalObject>, ApiError> {
    let id = caller.views.find_approval(&id).await?;
    Ok(Json(caller.views.approval(id).await?))
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
struct VoteBody {
    /// Goes into the task's outputs and the event.
    comment: Option<String>,
    /// Only with a vote for a plan: another plan, which is followed instead. It stands for the comment.
    #[schema(value_type = Option<Object>)]
    plan: Option<Value>,
}

/// Votes for it. It is approved once as many keys as its quorum asks for have voted so; voting
/// again counts once.
#[utoipa::path(post, path = "/api/v1/approvals/{id}/approve", tag = "approvals", operation_id = "approve",
    params(("id" = String, Path)), request_body = Option<VoteBody>,
    responses((status = OK, body = ApprovalObject), (status = FORBIDDEN, body = Problem),
              (status = NOT_FOUND, body = Problem), (status = CONFLICT, body = Problem)))]
async fn approve(
    caller: Caller,
    Path(id): Path<String>,
    OptionalBody(body): OptionalBody<VoteBody>,
) -> Result<Json<ApprovalObject>, ApiError> {
    check_plan(&body)?;
    vote(&caller, &id, Decision::Approve, &body).await
}

/// Rejects it: one vote is enough.
#[utoipa::path(post, path = "/api/v1/approvals/{id}/reject", tag = "approvals", operation_id = "reject",
    params(("id" = String, Path)), request_body = Option<VoteBody>,
    responses((status = OK, body = ApprovalObject), (status = FORBIDDEN, body = Problem),
              (status = NOT_FOUND, body = Problem), (status = CONFLICT, body = Problem)))]
async fn reject(
    caller: Caller,
    Path(id): Path<String>,
    OptionalBody(body): OptionalBody<VoteBody>,
) -> Result<Json<ApprovalObject>, ApiError> {
    if body.plan.is_some() {
        return Err(ApiError::InvalidBody(
            "plan: nothing is followed when it is rejected".to_owned(),
        ));
    }
    vote(&caller, &id, Decision::Reject, &body).await
}

/// Judges a plan that is handed in.
fn check_plan(body: &VoteBody) -> Result<(), ApiError> {
    let Some(plan) = &body.plan else { return Ok(()) };
    if body.comment.is_some() {
        return Err(ApiError::InvalidBody("plan: stands for the comment, give one".to_owned()));
    }
    // What it is a plan for is known where it was asked about.
    decompose::read(plan, "the goal", decompose::DEPTH_MAX)
        .map_err(|faults| ApiError::InvalidBody(format!("plan: {faults}")))?;
    Ok(())
}

async fn vote(
    caller: &Caller,
    id: &str,
    decision: Decision,
    body: &VoteBody,
) -> Result<Json<ApprovalObject>, ApiError> {
    let id = caller.views.find_approval(id).await?;
    let comment = body.comment.as_deref().map(str::trim).filter(|text| !text.is_empty());
    if let Some(text) = comment
        && (text.contains('\0') || text.chars().nth(COMMENT_CHARS_MAX).is_some())
    {
        let why = format!("comment: holds a NUL or more than {COMMENT_CHARS_MAX} characters");
        return Err(ApiError::InvalidBody(why));
    }
    let said = body.plan.as_ref().map_or_else(|| Said::from(comment), Said::Plan);
    let voter = Voter { name: caller.name(), role: caller.role() };
    approvals::vote(&caller.store, (caller.tenant(), id), voter, decision, said).await?;
    Ok(Json(caller.views.approval(id).await?))
}
