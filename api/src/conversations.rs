//! Conversations with the agents of a session: their checkpoints, and what people say to them.

use axum::{Json, http::StatusCode};
use jobshop_engine::{
    id::{SessionKey, TaskKey},
    store::{
        checkpoint_view::CheckpointObject, messages, sessions::SteerError, task_view::TaskKind,
    },
    task::TaskState,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::Shared,
    auth::Caller,
    error::{ApiError, Problem},
    extract::{Body, Path, Query},
};

const MESSAGE_CHARS_MAX: usize = 100_000;

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(checkpoints)).routes(routes!(say))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct CheckpointsQuery {
    /// Only those of this task.
    task: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Checkpoints {
    items: Vec<CheckpointObject>,
}

/// The checkpoints of a session's agents, oldest first: the newest 100, and the last of each task.
#[utoipa::path(get, path = "/api/v1/sessions/{id}/checkpoints", tag = "sessions", operation_id = "list_checkpoints",
    params(("id" = String, Path), CheckpointsQuery),
    responses((status = OK, body = Checkpoints), (status = NOT_FOUND, body = Problem)))]
async fn checkpoints(
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<CheckpointsQuery>,
) -> Result<Json<Checkpoints>, ApiError> {
    let session = caller.views.find_session(&id).await?;
    let task = match &query.task {
        Some(task) => Some(caller.views.find_task(session, task).await?),
        None => None,
    };
    let items = caller.views.checkpoints(session, task).await?;
    Ok(Json(Checkpoints { items }))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct MessageBody {
    /// What the agent is told.
    text: String,
    /// The key of the agent's task; not needed while one agent alone runs in the session.
    task: Option<String>,
}

/// A message to an agent.
#[derive(Debug, Serialize, ToSchema)]
struct MessageObject {
    id: String,
    /// The key of the task whose agent is told.
    task: String,
}

/// Says something to a running agent, which hears it after the step that it is taking.
#[utoipa::path(post, path = "/api/v1/sessions/{id}/messages", tag = "sessions", operation_id = "send_message",
    params(("id" = String, Path)), request_body = MessageBody,
    responses((status = CREATED, body = MessageObject), (status = NOT_FOUND, body = Problem),
              (status = BAD_REQUEST, body = Problem), (status = CONFLICT, body = Problem)))]
async fn say(
    caller: Caller,
    Path(id): Path<String>,
    Body(body): Body<MessageBody>,
) -> Result<(StatusCode, Json<MessageObject>), ApiError> {
    if body.text.trim().is_empty() {
        return Err(ApiError::InvalidBody("text: is empty".to_owned()));
    }
    if body.text.chars().nth(MESSAGE_CHARS_MAX).is_some() {
        let why = format!("text: has more than {MESSAGE_CHARS_MAX} characters");
        return Err(ApiError::InvalidBody(why));
    }
    let session = caller.views.find_session(&id).await?;
    let task = match body.task {
        Some(task) => task,
        None => only_agent(&caller, session).await?,
    };
    let seq = caller.views.find_task(session, &task).await?;
    let key = TaskKey { session, seq };
    let id = messages::say(&caller.store, key, &body.text, Some(caller.name())).await?;
    Ok((StatusCode::CREATED, Json(MessageObject { id: id.to_string(), task })))
}

/// The task of the one agent that runs.
async fn only_agent(caller: &Caller, session: SessionKey) -> Result<String, ApiError> {
    let running = caller.views.tasks(session, Some(&[TaskState::InProgress]), None, None).await?;
    let mut agents = running.items.into_iter().filter(|task| task.kind == TaskKind::Agent);
    match (agents.next(), agents.next()) {
        (Some(one), None) => Ok(one.key),
        (None, _) => Err(SteerError::NobodyHears("no agent of the session runs").into()),
        (Some(one), Some(another)) => Err(ApiError::InvalidBody(format!(
            "task: several agents run, say which: `{}`, `{}`, …",
            one.key, another.key
        ))),
    }
}
