//! A language model that does what it is told: the chat completions of an OpenAI-compatible provider,
//! and what agents of others speak, on loopback, played from the conversation itself. It keeps no state that a dead process could take
//! along: the last user message with a script in it says what to do, and the number of answers after
//! it says how far that has come.

mod answer;
mod dialect;
mod script;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::post,
};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

use self::dialect::Dialect;
pub use self::script::{MARK, Step, script};
use crate::wait;

/// A running model; it ends with the value.
#[derive(Debug)]
pub struct ModelServer {
    /// What a provider's `baseURL` is.
    pub url: String,
    seen: Seen,
    _serving: JoinSet<()>,
}

/// What the requests are answered from.
#[derive(Debug, Clone)]
struct Model {
    seen: Seen,
    play: Option<Arc<str>>,
}

type Seen = Arc<Mutex<Vec<(DateTime<Utc>, Value)>>>;

impl ModelServer {
    /// On a port of its own.
    pub async fn start() -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a free port")
    }

    /// On this address.
    pub async fn at(address: SocketAddr) -> std::io::Result<Self> {
        Self::playing(address, None).await
    }

    /// The same, with a command that whoever has no script is told to run.
    pub async fn playing(address: SocketAddr, play: Option<String>) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let url = format!("http://{}/v1", listener.local_addr()?);
        let seen = Seen::default();
        let app = Router::new()
            .route("/v1/chat/completions", post(complete))
            .route("/v1/messages", post(converse))
            .route("/v1/responses", post(respond))
            .with_state(Model { seen: Arc::clone(&seen), play: play.map(Into::into) });
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let _ = axum::serve(listener, app).await;
        });
        Ok(Self { url, seen, _serving: serving })
    }

    /// The requests so far, in order.
    pub fn requests(&self) -> Vec<Value> {
        self.seen().iter().map(|(_, request)| request.clone()).collect()
    }

    /// When an agent whose conversation holds this text asked last.
    pub fn last_asked(&self, text: &str) -> Option<DateTime<Utc>> {
        let seen = self.seen();
        let of_agent = |it: &&(_, Value)| has_tools(&it.1) && it.1.to_string().contains(text);
        seen.iter().rfind(of_agent).map(|(at, _)| *at)
    }

    fn seen(&self) -> MutexGuard<'_, Vec<(DateTime<Utc>, Value)>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until this many requests with tools, so of the agent itself, have come.
    pub async fn until_requests(&self, count: usize) {
        let what = format!("{count} requests to the model");
        wait::until(&what, wait::LIMIT, async || {
            let requests = self.requests();
            let own = requests.iter().filter(|it| has_tools(it)).count();
            (own >= count).then_some(())
        })
        .await;
    }

    /// The configuration of opencode that makes this its only model.
    pub fn opencode_config(&self) -> Value {
        json!({
            "enabled_providers": ["scripted"],
            "model": "scripted/scripted",
            "small_model": "scripted/scripted",
            "provider": { "scripted": {
                "npm": "@ai-sdk/openai-compatible",
                "options": { "baseURL": self.url, "apiKey": "none" },
                "models": { "scripted": {
                    "tool_call": true,
                    "limit": { "context": 200_000, "output": 20_000 },
                    "cost": { "input": 1, "output": 10, "cache_read": 0.1 },
                }},
            }},
        })
    }
}

async fn complete(State(model): State<Model>, Json(request): Json<Value>) -> Response {
    answer(&model, Dialect::Chat, request).await
}

async fn converse(State(model): State<Model>, Json(request): Json<Value>) -> Response {
    answer(&model, Dialect::Messages, request).await
}

async fn respond(State(model): State<Model>, Json(request): Json<Value>) -> Response {
    answer(&model, Dialect::Responses, request).await
}

async fn answer(model: &Model, dialect: Dialect, request: Value) -> Response {
    let request = dialect.in_chat(request);
    let earlier = {
        let mut seen = model.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let messages = &request["messages"];
        let earlier = seen.iter().filter(|(_, it)| it["messages"] == *messages).count();
        seen.push((Utc::now(), request.clone()));
        earlier
    };
    let is_streamed = request["stream"] == true;
    let step = if has_tools(&request) {
        script::step(&request, model.play.as_deref())
    } else {
        Step::Say("A title".into())
    };
    match step {
        Step::Stall => {
            tokio::time::sleep(Duration::from_hours(1)).await;
            StatusCode::GATEWAY_TIMEOUT.into_response()
        }
        Step::Error { status, times } if times.is_none_or(|times| earlier < times) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
            let error = json!({ "error": { "message": "scripted", "type": "scripted_error" } });
            let mut response = (status, Json(error)).into_response();
            if status == StatusCode::TOO_MANY_REQUESTS {
                response.headers_mut().insert("retry-after", HeaderValue::from_static("1"));
            }
            response
        }
        step @ (Step::Say(_)
        | Step::Write { .. }
        | Step::Bash(_)
        | Step::Tool { .. }
        | Step::Flood(_)
        | Step::Error { .. }
        | Step::Child(_)) => {
            let place = messages_of(&request).len();
            if dialect != Dialect::Chat {
                let body = dialect.answer(&step, place, &request);
                return ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response();
            }
            let chunks = answer::chunks(&step, place);
            if !is_streamed {
                return Json(answer::whole(&chunks)).into_response();
            }
            let body = answer::stream(&chunks);
            ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
        }
    }
}

fn has_tools(request: &Value) -> bool {
    request["tools"].as_array().is_some_and(|tools| !tools.is_empty())
}

fn messages_of(request: &Value) -> &[Value] {
    request["messages"].as_array().map_or(&[], Vec::as_slice)
}
