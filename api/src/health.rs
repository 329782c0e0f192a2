//! Whether the server lives and whether it can work.

use std::time::Duration;

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::Shared,
    error::{ApiError, Problem},
};

const ANSWER_WITHIN: Duration = Duration::from_secs(2);

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(health)).routes(routes!(live)).routes(routes!(ready))
}

/// How the server is.
#[derive(Debug, Serialize, ToSchema)]
struct Health {
    /// `ok`, or `degraded` while the database does not answer.
    status: &'static str,
    version: &'static str,
    database: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
struct Status {
    status: &'static str,
}

/// How the server and its database are; always 200 while the server lives.
#[utoipa::path(get, path = "/health", tag = "health", security(()),
    responses((status = OK, body = Health)))]
async fn health(State(shared): State<Shared>) -> Json<Health> {
    let (status, database) =
        if answers(&shared).await { ("ok", "ok") } else { ("degraded", "unreachable") };
    Json(Health { status, version: env!("CARGO_PKG_VERSION"), database })
}

/// The process answers.
#[utoipa::path(get, path = "/live", tag = "health", security(()),
    responses((status = OK, body = Status)))]
async fn live() -> Json<Status> {
    Json(Status { status: "ok" })
}

/// The database answers too.
#[utoipa::path(get, path = "/ready", tag = "health", security(()),
    responses((status = OK, body = Status), (status = SERVICE_UNAVAILABLE, body = Problem)))]
async fn ready(State(shared): State<Shared>) -> Result<Json<Status>, ApiError> {
    if answers(&shared).await { Ok(Json(Status { status: "ok" })) } else { Err(ApiError::NotReady) }
}

async fn answers(shared: &Shared) -> bool {
    matches!(tokio::time::timeout(ANSWER_WITHIN, shared.ping()).await, Ok(Ok(())))
}
