//! Running parts of an ended session again: in the session itself, or in a new one forked off it.

use std::collections::BTreeMap;

use axum::{Json, http::StatusCode};
use jobshop_engine::{
    id::SessionKey,
    reopen::Asked,
    store::{
        fork::{self, NewFork},
        session_view::SessionObject,
        sessions::{self, SteerError, Wish},
    },
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::Shared,
    auth::Caller,
    error::{ApiError, Problem},
    extract::{Body, OptionalBody, Path},
};

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(retry)).routes(routes!(fork))
}

/// What runs again besides what failed, was cancelled, or was skipped because of that.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
struct RetryBody {
    /// Keys of tasks that run again with all that need them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    from: Vec<String>,
    /// `failed`: of the fan-outs in `from` and after it only the items that failed run again.
    #[serde(skip_serializing_if = "Option::is_none")]
    items: Option<Items>,
    /// Other values of inputs.
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    inputs: Map<String, Value>,
    /// Tasks that count as completed, with their outputs; what needs them runs again.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = Object)]
    set_output: BTreeMap<String, Value>,
    /// The number of a checkpoint: the task that made it runs again from there.
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint: Option<i32>,
    /// Keys of tasks that are left out; what needs them goes on as if they had run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    skip: Vec<String>,
    /// Goes into the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Items {
    Failed,
}

/// Opens again what failed, was cancelled, or was skipped because of that, and what the body asks
/// for; what is done stays done.
#[utoipa::path(post, path = "/api/v1/sessions/{id}/retry", tag = "sessions", operation_id = "retry_session",
    params(("id" = String, Path)), request_body = Option<RetryBody>,
    responses((status = OK, body = SessionObject), (status = NOT_FOUND, body = Problem),
              (status = CONFLICT, body = Problem), (status = UNPROCESSABLE_ENTITY, body = Problem)))]
async fn retry(
    caller: Caller,
    Path(id): Path<String>,
    OptionalBody(body): OptionalBody<RetryBody>,
) -> Result<Json<SessionObject>, ApiError> {
    let key = caller.views.find_session(&id).await?;
    let wish = wish(&caller, key, body).await?;
    sessions::retry(&caller.store, key, wish, Some(caller.name())).await?;
    Ok(Json(caller.views.session(key).await?))
}

async fn wish(caller: &Caller, key: SessionKey, body: RetryBody) -> Result<Wish, ApiError> {
    let mut told = match serde_json::to_value(&body) {
        Ok(Value::Object(told)) => told,
        _ => Map::new(),
    };
    // Which, not what: inputs and outputs may be large, and stand in the session.
    told.remove("reason");
    if !body.inputs.is_empty() {
        told.insert("inputs".to_owned(), body.inputs.keys().cloned().collect());
    }
    if !body.set_output.is_empty() {
        told.insert("set_output".to_owned(), body.set_output.keys().cloned().collect());
    }
    let mut rows = Asked { only_failed_items: body.items.is_some(), ..Asked::default() };
    rows.from = seqs(caller, key, body.from.iter()).await?;
    rows.skipped = seqs(caller, key, body.skip.iter()).await?;
    rows.completed = seqs(caller, key, body.set_output.keys()).await?;
    Ok(Wish {
        rows,
        outputs: body.set_output.into_values().collect(),
        inputs: body.inputs,
        checkpoint: body.checkpoint,
        reason: body.reason,
        told,
    })
}

async fn seqs(
    caller: &Caller,
    session: SessionKey,
    tasks: impl Iterator<Item = &String>,
) -> Result<Vec<i32>, ApiError> {
    let mut seqs = Vec::new();
    for task in tasks {
        seqs.push(caller.views.find_task(session, task).await?);
    }
    Ok(seqs)
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ForkBody {
    /// The key of the task at which the new session differs; with `checkpoint` the task that made it.
    at: Option<String>,
    /// The number of a checkpoint, from which the task goes on.
    checkpoint: Option<i32>,
    /// Other values of inputs.
    #[serde(default)]
    #[schema(value_type = Object)]
    inputs: Map<String, Value>,
    /// Without it that of the session it is forked off.
    title: Option<String>,
    /// Goes into the event.
    reason: Option<String>,
}

/// Creates a session in which a task and all that need it run again; every other ended task is
/// shared with the session that it is forked off.
#[utoipa::path(post, path = "/api/v1/sessions/{id}/fork", tag = "sessions", operation_id = "fork_session",
    params(("id" = String, Path)), request_body = ForkBody,
    responses((status = CREATED, body = SessionObject), (status = NOT_FOUND, body = Problem),
              (status = CONFLICT, body = Problem), (status = UNPROCESSABLE_ENTITY, body = Problem)))]
async fn fork(
    caller: Caller,
    Path(id): Path<String>,
    Body(body): Body<ForkBody>,
) -> Result<(StatusCode, Json<SessionObject>), ApiError> {
    let origin = caller.views.find_session(&id).await?;
    let task = match (body.at, body.checkpoint) {
        (Some(at), _) => at,
        (None, Some(number)) => task_of(&caller, origin, number).await?,
        (None, None) => {
            return Err(ApiError::InvalidBody("give `at` or `checkpoint`".to_owned()));
        }
    };
    let at = caller.views.find_task(origin, &task).await?;
    let new = NewFork {
        origin,
        at,
        task,
        checkpoint: body.checkpoint,
        inputs: body.inputs,
        title: body.title,
        reason: body.reason,
        actor: Some(caller.name().to_owned()),
    };
    let key = fork::fork(&caller.store, new).await?;
    Ok((StatusCode::CREATED, Json(caller.views.session(key).await?)))
}

/// The task that made a checkpoint.
async fn task_of(caller: &Caller, session: SessionKey, number: i32) -> Result<String, ApiError> {
    let all = caller.views.checkpoints(session, None).await?;
    let found = all.into_iter().find(|checkpoint| checkpoint.number == number);
    found.map(|it| it.task).ok_or_else(|| SteerError::NoCheckpoint(number).into())
}
