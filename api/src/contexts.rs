//! Contexts: what tasks, agents and people share, its versions, and how they become one.

use axum::{
    Json,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use jobshop_engine::{
    context::{Conflict, ContextName, Path as Place, Scope, Strategy, Write},
    duration::Span,
    store::{
        contexts::{
            self, Asked, By, ChangeObject, ContextError, ContextObject, Difference, Merge, Outcome,
            Source,
        },
        view::Page,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::Shared,
    auth::Caller,
    error::{ApiError, Problem},
    extract::{Body, OptionalBody, PageQuery, Path, Query, page_limit},
};

/// Where a context goes that is promoted without a name.
const PROMOTED: &str = "default";

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show, write, delete))
        .routes(routes!(history))
        .routes(routes!(diff))
        .routes(routes!(merge))
        .routes(routes!(share))
        .routes(routes!(promote))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    scope: Option<Scope>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// At most this many items; 100 without it, 1000 at most.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<i64>,
}

/// Contexts by scope and name, without what is in them.
#[utoipa::path(get, path = "/api/v1/contexts", tag = "contexts", operation_id = "list_contexts", params(ListQuery),
    responses((status = OK, body = Page<ContextObject>), (status = BAD_REQUEST, body = Problem)))]
async fn list(
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<ContextObject>>, ApiError> {
    let limit = page_limit(query.limit)?;
    Ok(Json(caller.views.contexts(query.scope, query.cursor.as_deref(), limit).await?))
}

type Named = Path<(String, String)>;

/// The context that a path or a body names; that of a session by whatever names the session, with
/// everything that its tasks have written.
async fn named(caller: &Caller, scope: &str, name: &str) -> Result<ContextName, ApiError> {
    let scope: Scope = scope.parse().map_err(ContextError::BadName)?;
    if scope == Scope::Session {
        let session = caller.views.find_session(name).await?;
        contexts::fold_session(&caller.store, session).await.map_err(ContextError::from)?;
        return Ok(ContextName::of_session(session.id));
    }
    Ok(ContextName::new(scope, name).map_err(ContextError::BadName)?)
}

/// A context as `SCOPE:NAME`.
async fn told(caller: &Caller, text: &str) -> Result<ContextName, ApiError> {
    if let Some((scope, name)) = text.split_once(':') {
        return named(caller, scope, name).await;
    }
    let why = format!("`{text}` is no context: write `SCOPE:NAME`, as in `global:default`");
    Err(ContextError::BadName(why).into())
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ShowQuery {
    /// Only what is at this place: keys with dots between them.
    path: Option<String>,
    /// As of this version.
    version: Option<i64>,
}

fn place(text: &str) -> Result<Place, ApiError> {
    text.parse().map_err(ApiError::InvalidBody)
}

/// One context, with its version as the entity tag.
#[utoipa::path(get, path = "/api/v1/contexts/{scope}/{name}", tag = "contexts", operation_id = "show_context",
    params(("scope" = Scope, Path), ("name" = String, Path), ShowQuery),
    responses((status = OK, body = ContextObject), (status = NOT_FOUND, body = Problem)))]
async fn show(
    caller: Caller,
    Path((scope, name)): Named,
    Query(query): Query<ShowQuery>,
) -> Result<Response, ApiError> {
    let name = named(&caller, &scope, &name).await?;
    let path = query.path.as_deref().unwrap_or_default();
    let path = path.parse().map_err(ApiError::InvalidQuery)?;
    let context = caller.views.context(&name, query.version, &path).await?;
    let tag = format!("\"{}\"", context.version);
    Ok(([(header::ETAG, tag)], Json(context)).into_response())
}

/// What is written: first what is removed, then what is set.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct WriteBody {
    /// Values by their places.
    #[serde(default)]
    #[schema(value_type = Object)]
    set: Map<String, Value>,
    #[serde(default)]
    remove: Vec<String>,
    /// Kept with the change.
    why: Option<String>,
    /// How long it lives from now on without another write: a duration, as in 6h.
    ttl: Option<String>,
}

/// What a write came to.
#[derive(Debug, Serialize, ToSchema)]
struct WrittenObject {
    version: i64,
    changes: Vec<jobshop_engine::context::Change>,
    /// Places that both sides of a merge had changed, and whose value was taken.
    conflicts: Vec<Conflict>,
}

impl WrittenObject {
    fn of(outcome: Outcome) -> Self {
        let Outcome { written, conflicts } = outcome;
        Self { version: written.version, changes: written.changes, conflicts }
    }
}

/// Writes into a context, which need not exist before. With `if-match` only where it has that version;
/// otherwise status 412 names the places that others changed meanwhile.
#[utoipa::path(patch, path = "/api/v1/contexts/{scope}/{name}", tag = "contexts", operation_id = "write_context",
    params(("scope" = Scope, Path), ("name" = String, Path), ("if-match" = Option<String>, Header, description = "The version it has to have; 0: none yet")),
    request_body = WriteBody,
    responses((status = OK, body = WrittenObject), (status = PRECONDITION_FAILED, body = Problem),
              (status = UNPROCESSABLE_ENTITY, body = Problem)))]
async fn write(
    caller: Caller,
    Path((scope, name)): Named,
    headers: HeaderMap,
    Body(body): Body<WriteBody>,
) -> Result<Response, ApiError> {
    let name = named(&caller, &scope, &name).await?;
    let mut writes = Vec::with_capacity(body.remove.len() + body.set.len());
    for path in &body.remove {
        writes.push(Write { path: place(path)?, value: None });
    }
    for (path, value) in body.set {
        writes.push(Write { path: place(&path)?, value: Some(value) });
    }
    let ttl = body.ttl.as_deref().map(str::parse::<Span>).transpose();
    let ttl = ttl.map_err(|error| ApiError::InvalidBody(format!("ttl: {error}")))?;
    let asked = Asked { writes, expected: expected(&headers)?, ttl };
    let by = By { actor: caller.name(), why: body.why.as_deref() };
    let written = contexts::write(&caller.store, caller.tenant(), &name, &asked, by).await?;
    let tag = format!("\"{}\"", written.version);
    let written = WrittenObject::of(Outcome { written, conflicts: Vec::new() });
    Ok(([(header::ETAG, tag)], Json(written)).into_response())
}

/// The version that `if-match` asks for.
fn expected(headers: &HeaderMap) -> Result<Option<i64>, ApiError> {
    let Some(tag) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let number = tag.to_str().ok().map(|tag| tag.trim_matches('"'));
    let number = number.and_then(|tag| tag.parse::<i64>().ok());
    number.map(Some).ok_or_else(|| {
        ApiError::InvalidQuery("if-match: takes the version of a context, as in \"3\"".to_owned())
    })
}

/// Removes a context with all its versions.
#[utoipa::path(delete, path = "/api/v1/contexts/{scope}/{name}", tag = "contexts", operation_id = "delete_context",
    params(("scope" = Scope, Path), ("name" = String, Path)),
    responses((status = NO_CONTENT), (status = NOT_FOUND, body = Problem)))]
async fn delete(caller: Caller, Path((scope, name)): Named) -> Result<StatusCode, ApiError> {
    let name = named(&caller, &scope, &name).await?;
    contexts::delete(&caller.store, caller.tenant(), &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How a context became what it is, the newest change first.
#[utoipa::path(get, path = "/api/v1/contexts/{scope}/{name}/history", tag = "contexts", operation_id = "list_context_changes",
    params(("scope" = Scope, Path), ("name" = String, Path), PageQuery),
    responses((status = OK, body = Page<ChangeObject>), (status = NOT_FOUND, body = Problem)))]
async fn history(
    caller: Caller,
    Path((scope, name)): Named,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<ChangeObject>>, ApiError> {
    let name = named(&caller, &scope, &name).await?;
    let limit = page_limit(query.limit)?;
    Ok(Json(caller.views.context_history(&name, query.cursor.as_deref(), limit).await?))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DiffQuery {
    /// The other context, `SCOPE:NAME`; the same one without it.
    to: Option<String>,
    /// As of this version.
    version: Option<i64>,
    /// The other one as of this version.
    to_version: Option<i64>,
}

/// What this context has to become the other one, or an earlier version of it to become a later one.
#[utoipa::path(get, path = "/api/v1/contexts/{scope}/{name}/diff", tag = "contexts", operation_id = "diff_contexts",
    params(("scope" = Scope, Path), ("name" = String, Path), DiffQuery),
    responses((status = OK, body = Difference), (status = NOT_FOUND, body = Problem)))]
async fn diff(
    caller: Caller,
    Path((scope, name)): Named,
    Query(query): Query<DiffQuery>,
) -> Result<Json<Difference>, ApiError> {
    let from = named(&caller, &scope, &name).await?;
    let to = match &query.to {
        Some(to) => told(&caller, to).await?,
        None => from.clone(),
    };
    let (from, to) = ((&from, query.version), (&to, query.to_version));
    Ok(Json(caller.views.context_difference(from, to).await?))
}

/// What is merged into a context: another one, or what was made of a version of it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct MergeBody {
    /// `SCOPE:NAME`.
    from: Option<String>,
    #[schema(value_type = Option<Object>)]
    data: Option<Map<String, Value>>,
    /// The version that `data` was made of.
    base: Option<i64>,
    #[serde(default)]
    strategy: Strategy,
    /// Nothing is written.
    #[serde(default)]
    dry_run: bool,
    /// Kept with the change.
    why: Option<String>,
}

/// Merges into a context, as seen from what both were when they were merged or shared last. What only
/// one side changed is taken; where both did, the strategy decides, and what it does not settle
/// refuses all of it with status 409 and the conflicts.
#[utoipa::path(post, path = "/api/v1/contexts/{scope}/{name}/merge", tag = "contexts", operation_id = "merge_context",
    params(("scope" = Scope, Path), ("name" = String, Path)), request_body = MergeBody,
    responses((status = OK, body = WrittenObject), (status = NOT_FOUND, body = Problem),
              (status = CONFLICT, body = Problem)))]
async fn merge(
    caller: Caller,
    Path((scope, name)): Named,
    Body(body): Body<MergeBody>,
) -> Result<Json<WrittenObject>, ApiError> {
    let target = named(&caller, &scope, &name).await?;
    let source = match (body.from, body.data, body.base) {
        (Some(from), None, None) => Source::Context(told(&caller, &from).await?),
        (None, Some(data), Some(base)) => Source::Data { data, base },
        _ => {
            let why = "give either `from`, or `data` with the version `base` it was made of";
            return Err(ApiError::InvalidBody(why.to_owned()));
        }
    };
    let wanted = Merge { target, source, strategy: body.strategy, dry_run: body.dry_run };
    carry_out(&caller, &wanted, body.why.as_deref()).await
}

async fn carry_out(
    caller: &Caller,
    wanted: &Merge,
    why: Option<&str>,
) -> Result<Json<WrittenObject>, ApiError> {
    let by = By { actor: caller.name(), why };
    let outcome = contexts::merge(&caller.store, caller.tenant(), wanted, by).await?;
    Ok(Json(WrittenObject::of(outcome)))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ShareBody {
    /// `SCOPE:NAME`; it need not exist.
    to: String,
    #[serde(default)]
    strategy: Strategy,
    /// Kept with the change.
    why: Option<String>,
}

/// Merges this context into another one; both remember what they were, for the next time.
#[utoipa::path(post, path = "/api/v1/contexts/{scope}/{name}/share", tag = "contexts", operation_id = "share_context",
    params(("scope" = Scope, Path), ("name" = String, Path)), request_body = ShareBody,
    responses((status = OK, body = WrittenObject), (status = NOT_FOUND, body = Problem),
              (status = CONFLICT, body = Problem)))]
async fn share(
    caller: Caller,
    Path((scope, name)): Named,
    Body(body): Body<ShareBody>,
) -> Result<Json<WrittenObject>, ApiError> {
    let source = Source::Context(named(&caller, &scope, &name).await?);
    let target = told(&caller, &body.to).await?;
    let wanted = Merge { target, source, strategy: body.strategy, dry_run: false };
    carry_out(&caller, &wanted, body.why.as_deref()).await
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PromoteBody {
    /// The name of the global context; `default` without it.
    name: Option<String>,
    #[serde(default)]
    strategy: Strategy,
    /// Kept with the change.
    why: Option<String>,
}

/// Merges this context into a global one.
#[utoipa::path(post, path = "/api/v1/contexts/{scope}/{name}/promote", tag = "contexts", operation_id = "promote_context",
    params(("scope" = Scope, Path), ("name" = String, Path)), request_body = Option<PromoteBody>,
    responses((status = OK, body = WrittenObject), (status = NOT_FOUND, body = Problem),
              (status = CONFLICT, body = Problem)))]
async fn promote(
    caller: Caller,
    Path((scope, name)): Named,
    OptionalBody(body): OptionalBody<PromoteBody>,
) -> Result<Json<WrittenObject>, ApiError> {
    let source = named(&caller, &scope, &name).await?;
    if source.scope == Scope::Temporary {
        return Err(ContextError::Fleeting.into());
    }
    let target = named(&caller, "global", body.name.as_deref().unwrap_or(PROMOTED)).await?;
    let wanted =
        Merge { target, source: Source::Context(source), strategy: body.strategy, dry_run: false };
    carry_out(&caller, &wanted, body.why.as_deref()).await
}
