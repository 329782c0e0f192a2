//! Signals to sessions.

use axum::{Json, http::HeaderMap, http::StatusCode};
use jobshop_engine::store::signals::{self, NewSignal};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::Shared,
    auth::Caller,
    error::{ApiError, Problem},
    extract::{Body, Path, idempotency},
};

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(send))
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SignalBody {
    /// What tasks wait for.
    name: String,
    /// The outputs of the task that takes it; `{}` without it.
    #[serde(default)]
    #[schema(value_type = Object)]
    data: Map<String, Value>,
}

/// A signal that was sent.
#[derive(Debug, Serialize, ToSchema)]
struct SignalObject {
    /// From 1 in the session, in the order of their coming.
    number: i32,
    name: String,
    /// The key of the task that took it; null while it is kept for one that will wait for it.
    #[schema(required)]
    task: Option<String>,
}

/// Sends a signal to a session. The first task that waits for its name takes it; without one it is
/// kept for the first that will. With the header `idempotency-key` the same signal sent again
/// counts once.
#[utoipa::path(post, path = "/api/v1/sessions/{id}/signals", tag = "sessions", operation_id = "send_signal",
    params(("id" = String, Path),
           ("idempotency-key" = Option<String>, Header,
            description = "Makes the request safe to send again")),
    request_body = SignalBody,
    responses((status = CREATED, body = SignalObject),
              (status = OK, body = SignalObject, description = "It was sent before"),
              (status = BAD_REQUEST, body = Problem), (status = NOT_FOUND, body = Problem),
              (status = CONFLICT, body = Problem), (status = UNPROCESSABLE_ENTITY, body = Problem)))]
async fn send(
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    Body(body): Body<SignalBody>,
) -> Result<(StatusCode, Json<SignalObject>), ApiError> {
    let key = caller.views.find_session(&id).await?;
    let idempotency = idempotency(&headers, &json!(body))?;
    let SignalBody { name, data } = body;
    let data = Value::Object(data);
    let new = NewSignal { name: &name, data: &data, sent_by: caller.name(), idempotency };
    let sent = signals::send(&caller.store, key, new).await?;
    let task = match sent.task {
        Some(seq) => Some(caller.views.task(key, &seq.to_string()).await?.key),
        None => None,
    };
    let status = if sent.existing { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(SignalObject { number: sent.number, name, task })))
}
