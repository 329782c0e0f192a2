//! The inbox: what tasks and their agents ask of people, and answering.

use axum::Json;
use jobshop_engine::{
    approval::{Decision, Voter},
    question::Answer,
    store::{
        answers, approvals,
        inbox_view::{EntryKind, InboxEntry, Listed},
        view::Page,
    },
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::Shared,
    auth::Caller,
    error::{ApiError, Problem},
    extract::{Body, Path, Query, page_limit},
};

const TEXT_CHARS_MAX: usize = 10_000;
const ANSWERS_MAX: usize = 20;

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show)).routes(routes!(answer))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// `open` without it.
    status: Option<Listed>,
    /// The id of a session, or an end of it.
    session: Option<String>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// At most this many items; 100 without it, 1000 at most.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<i64>,
}

/// Approvals, permissions and questions that wait for people, oldest first; or those that do no more.
#[utoipa::path(get, path = "/api/v1/inbox", tag = "inbox", operation_id = "list_inbox", params(ListQuery),
    responses((status = OK, body = Page<InboxEntry>), (status = BAD_REQUEST, body = Problem),
              (status = NOT_FOUND, body = Problem)))]
async fn list(
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<InboxEntry>>, ApiError> {
    let limit = page_limit(query.limit)?;
    let session = match &query.session {
        Some(given) => Some(caller.views.find_session(given).await?.id),
        None => None,
    };
    let listed = query.status.unwrap_or_default();
    Ok(Json(caller.views.inbox(listed, session, query.cursor.as_deref(), limit).await?))
}

/// One entry, by its id or the last 6 or more characters of it.
#[utoipa::path(get, path = "/api/v1/inbox/{id}", tag = "inbox", operation_id = "show_inbox_entry",
    params(("id" = String, Path)),
    responses((status = OK, body = InboxEntry), (status = NOT_FOUND, body = Problem),
              (status = CONFLICT, body = Problem)))]
async fn show(caller: Caller, Path(id): Path<String>) -> Result<Json<InboxEntry>, ApiError> {
    let id = caller.views.find_entry(&id).await?;
    Ok(Json(caller.views.inbox_entry(id).await?))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Said {
    Allow,
    Deny,
    /// The same as `allow`, for approvals.
    Approve,
    /// The same as `deny`.
    Reject,
}

/// Either a decision or, to a question, the answers.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
struct AnswerBody {
    decision: Option<Said>,
    /// One to each of the entry's `questions`.
    answers: Option<Vec<String>>,
    /// Goes into the event; the agent reads why something was denied.
    comment: Option<String>,
}

/// Answers. What asks for a quorum is allowed once as many keys have said so; answering again counts
/// once.
#[utoipa::path(post, path = "/api/v1/inbox/{id}/answer", tag = "inbox", operation_id = "answer_inbox_entry",
    params(("id" = String, Path)), request_body = AnswerBody,
    responses((status = OK, body = InboxEntry), (status = BAD_REQUEST, body = Problem),
              (status = FORBIDDEN, body = Problem), (status = NOT_FOUND, body = Problem),
              (status = CONFLICT, body = Problem)))]
async fn answer(
    caller: Caller,
    Path(id): Path<String>,
    Body(body): Body<AnswerBody>,
) -> Result<Json<InboxEntry>, ApiError> {
    let id = caller.views.find_entry(&id).await?;
    let kind = caller.views.inbox_entry(id).await?.kind;
    let answer = checked(&body)?;
    let comment = body.comment.as_deref();
    let voter = Voter { name: caller.name(), role: caller.role() };
    let which = (caller.tenant(), id);
    match (kind, &answer) {
        (EntryKind::Approval, Answer::Say(_)) => {
            let why = "an approval takes a decision: `approve` or `reject`";
            return Err(ApiError::InvalidBody(why.to_owned()));
        }
        (EntryKind::Approval, Answer::Allow | Answer::Deny) => {
            let decision = if answer.allows() { Decision::Approve } else { Decision::Reject };
            approvals::vote(&caller.store, which, voter, decision, comment.into()).await?;
        }
        (EntryKind::Permission | EntryKind::Question, _) => {
            answers::answer(&caller.store, which, voter, &answer, comment).await?;
        }
    }
    Ok(Json(caller.views.inbox_entry(id).await?))
}

fn checked(body: &AnswerBody) -> Result<Answer, ApiError> {
    let wrong = |why: &str| Err(ApiError::InvalidBody(why.to_owned()));
    let texts = body.answers.iter().flatten().chain(&body.comment);
    if texts.into_iter().any(|text| text.chars().count() > TEXT_CHARS_MAX || text.contains('\0')) {
        return wrong("a text has at most 10000 characters, and no NUL among them");
    }
    match (body.decision, &body.answers) {
        (Some(Said::Allow | Said::Approve), None) => Ok(Answer::Allow),
        (Some(Said::Deny | Said::Reject), None) => Ok(Answer::Deny),
        (None, Some(answers)) if answers.len() <= ANSWERS_MAX => Ok(Answer::Say(answers.clone())),
        (None, Some(_)) => wrong("these are too many answers"),
        _ => wrong("give either `decision` or `answers`"),
    }
}
