//! What attempts wrote: page by page, or as a stream of lines that ends with the task or session.

use std::time::Duration;

use axum::{
    Json,
    body::{Body, Bytes},
    http::header,
    response::{IntoResponse, Response},
};
use futures::stream;
use jobshop_engine::{
    id::SessionKey,
    store::{
        log_view::{LogObject, LogOf},
        view::{Page, ReadError},
    },
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::Shared,
    auth::Caller,
    error::{ApiError, Problem},
    extract::{Path, Query},
};

/// How often a followed log is asked for more.
const LOOK_EVERY: Duration = Duration::from_millis(300);

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(of_session)).routes(routes!(of_task))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SessionQuery {
    /// `next` of the page before.
    #[serde(alias = "after")]
    cursor: Option<String>,
    /// Answer with a stream of JSON lines that ends with the session.
    #[serde(default)]
    follow: bool,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct TaskQuery {
    /// Only this attempt; all of them without it.
    #[param(minimum = 1)]
    attempt: Option<i32>,
    /// `next` of the page before.
    #[serde(alias = "after")]
    cursor: Option<String>,
    /// Answer with a stream of JSON lines that ends with the task.
    #[serde(default)]
    follow: bool,
}

/// What all attempts of a session wrote, in the order of time. `next` is null only where nothing
/// more is there yet.
#[utoipa::path(get, path = "/api/v1/sessions/{id}/logs", tag = "logs", operation_id = "show_session_logs",
    params(("id" = String, Path), SessionQuery),
    responses((status = OK, body = Page<LogObject>), (status = NOT_FOUND, body = Problem)))]
async fn of_session(
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<SessionQuery>,
) -> Result<Response, ApiError> {
    let session = caller.views.find_session(&id).await?;
    let log = Log { caller, session, of: LogOf::Session, cursor: query.cursor };
    log.answer(query.follow).await
}

/// What the attempts of a task wrote. `next` is null only where nothing more is there yet.
#[utoipa::path(get, path = "/api/v1/sessions/{id}/tasks/{key}/logs", tag = "logs", operation_id = "show_task_logs",
    params(("id" = String, Path), ("key" = String, Path), TaskQuery),
    responses((status = OK, body = Page<LogObject>), (status = NOT_FOUND, body = Problem)))]
async fn of_task(
    caller: Caller,
    Path((id, key)): Path<(String, String)>,
    Query(query): Query<TaskQuery>,
) -> Result<Response, ApiError> {
    let session = caller.views.find_session(&id).await?;
    let seq = caller.views.find_task(session, &key).await?;
    let of = LogOf::Task { seq, attempt: query.attempt };
    Log { caller, session, of, cursor: query.cursor }.answer(query.follow).await
}

/// A log and how far it was read.
struct Log {
    caller: Caller,
    session: SessionKey,
    of: LogOf,
    cursor: Option<String>,
}

impl Log {
    async fn answer(self, follow: bool) -> Result<Response, ApiError> {
        if !follow {
            let page = self.caller.views.log(self.session, self.of, self.cursor.as_deref()).await?;
            return Ok(Json(page).into_response());
        }
        let lines = stream::try_unfold(Some(self), |log| async move {
            let Some(mut log) = log else { return Ok(None) };
            let lines = log.next_lines().await?;
            Ok::<_, ReadError>(lines.map(|lines| (lines, Some(log))))
        });
        let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
        Ok((kind, Body::from_stream(lines)).into_response())
    }

    /// The next lines as soon as there are some; `None` once the log is complete.
    async fn next_lines(&mut self) -> Result<Option<Bytes>, ReadError> {
        loop {
            // Asked before the log is read: what was written before the end is not missed.
            let is_over = self.is_over().await?;
            let views = &self.caller.views;
            let page = views.log(self.session, self.of, self.cursor.as_deref()).await?;
            if page.next.is_some() {
                self.cursor = page.next;
                return Ok(Some(lines(&page.items)));
            }
            if is_over {
                return Ok(None);
            }
            let pause = tokio::time::sleep(LOOK_EVERY);
            if self.caller.shared.stop.run_until_cancelled(pause).await.is_none() {
                return Ok(None);
            }
        }
    }

    async fn is_over(&self) -> Result<bool, ReadError> {
        match self.of {
            LogOf::Session => self.caller.views.is_final(self.session).await,
            LogOf::Task { seq, .. } => self.caller.views.is_task_final(self.session, seq).await,
        }
    }
}

fn lines(items: &[LogObject]) -> Bytes {
    let mut bytes = Vec::new();
    for item in items {
        serde_json::to_writer(&mut bytes, item).expect("a piece of a log is plain JSON");
        bytes.push(b'\n');
    }
    bytes.into()
}
