//! A whole Jobshop for one test: its database, the API on a port of its own, and, where asked for,
//! the control loop and a worker that offers every capability.

use std::time::Duration;

use jobshop_api::App;
use jobshop_engine::{
    id::TenantId,
    store::{Store, Views, control, objects::Objects},
};
use jobshop_workers::{
    Worker, WorkerConfig,
    execute::{Executor, ExecutorConfig},
};
use reqwest::{Method, RequestBuilder, StatusCode, header::HeaderMap};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{TestDb, wait};

/// What the API wants to be shown.
pub const TOKEN: &str = "a-token-of-the-tests";

/// A running API; stopped with the value.
#[derive(Debug)]
pub struct TestApp {
    pub db: TestDb,
    pub store: Store,
    pub url: String,
    http: reqwest::Client,
    stop: CancellationToken,
    tasks: JoinSet<()>,
    /// Where workers work.
    folder: TempDir,
}

/// An answer of the API.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// Null where the body is not JSON.
    pub json: Value,
    pub text: String,
}

impl TestApp {
    /// The API alone: nothing moves.
    pub async fn new() -> Self {
        Self::with(|app| app).await
    }

    /// The API alone, set up otherwise.
    pub async fn with(change: impl FnOnce(App) -> App) -> Self {
        let db = TestDb::new().await;
        let folder = TempDir::new().expect("a folder for workers");
        let mut store = Store::new(db.store_config()).expect("the URL of a test's database");
        let objects = Objects::folder(&folder.path().join("artifacts"));
        store.objects = Some(objects.expect("a place for artifacts"));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("a bound port"));
        let app = change(App::new(store.clone(), TOKEN.into()));
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let stopping = stop.clone();
        tasks.spawn(async move {
            jobshop_api::serve(listener, app, stopping).await.expect("the API serves");
        });
        Self { db, store, url, http: reqwest::Client::new(), stop, tasks, folder }
    }

    /// Lets sessions move: the control loop, and a worker for what needs no command.
    pub fn start(&mut self) {
        self.start_with(|_| {});
    }

    /// The same with a worker that is set up otherwise.
    pub fn start_with(&mut self, change: impl FnOnce(&mut WorkerConfig)) {
        let (store, stop) = (self.store.clone(), self.stop.clone());
        self.tasks.spawn(control::run(store.clone(), stop.clone()));
        let config = ExecutorConfig::new(self.folder.path(), "/bin/false");
        let executor = Executor::new(config).expect("an executor");
        let mut config = WorkerConfig::new("worker-1");
        change(&mut config);
        let worker = Worker::new(store, config, executor);
        self.tasks.spawn(async move {
            worker.run(stop).await.expect("the worker works");
        });
    }

    pub fn views(&self) -> Views {
        Views::new(&self.store, TenantId::DEFAULT)
    }

    /// A request with the token.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.bare_request(method, path).bearer_auth(TOKEN)
    }

    /// A request without the token.
    pub fn bare_request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url))
    }

    pub async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        Answer::of(self.request(Method::POST, path).json(body)).await
    }

    /// A new session of this definition.
    pub async fn submit(&self, definition: &str) -> Value {
        let body = serde_json::json!({ "definition": definition });
        let answer = self.post("/api/v1/sessions", &body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        answer.json
    }

    /// The session once it has this status.
    pub async fn until_status(&self, id: &str, status: &str) -> Value {
        let what = format!("session {id} is {status}");
        let path = format!("/api/v1/sessions/{id}");
        wait::until(&what, Duration::from_secs(15), async || {
            let session = self.get(&path).await.json;
            (session["status"] == status).then_some(session)
        })
        .await
    }

    /// Stops everything and waits for it.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("nothing panics");
        }
    }
}

impl Answer {
    pub async fn of(request: RequestBuilder) -> Self {
        let response = request.send().await.expect("the API answers");
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.expect("a body of text");
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        Self { status, headers, json, text }
    }

    /// Checks that this is a problem with that status and code, and gives its detail.
    pub fn problem(&self, status: u16, code: &str) -> &str {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert_eq!(self.json["code"], code, "{}", self.text);
        assert_eq!(self.json["status"], status, "{}", self.text);
        assert_eq!(self.json["type"], format!("urn:jobshop:problem:{code}"));
        assert!(self.json["title"].is_string(), "{}", self.text);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        self.json["detail"].as_str().expect("a problem has a detail")
    }
}
