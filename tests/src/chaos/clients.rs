//! Those who use Jobshop while it is struck: they submit, signal, cancel and listen, ask again until
//! they are answered, and remember what they were told.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::StreamExt as _;
use rand::{Rng, SeedableRng as _, rngs::StdRng};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Message, client::IntoClientRequest as _},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Run, graphs,
    history::{Cancel, Feed, Submission},
};

/// Sessions that a client keeps open, at most.
const OPEN_MAX: usize = 12;
const PATIENCE: Duration = Duration::from_secs(8);

/// What all clients were told.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub submissions: Vec<Submission>,
    pub cancels: Vec<Cancel>,
    pub feeds: Vec<Feed>,
    /// Tasks of the sessions that were acknowledged.
    pub tasks: usize,
}

/// One client.
#[derive(Debug)]
pub(super) struct Caller {
    run: Arc<Run>,
    http: Client,
    random: StdRng,
    number: usize,
}

impl Caller {
    pub(super) fn new(run: Arc<Run>, number: usize) -> Self {
        let random = StdRng::seed_from_u64(run.seed.wrapping_add(1_000 + number as u64));
        let http = Client::builder().timeout(PATIENCE).build().expect("a client");
        Self { run, http, random, number }
    }

    /// Submits until it is told to stop, never much more than the workers can do.
    pub(super) async fn submit(mut self, told: &Mutex<Told>, stop: &CancellationToken) {
        let mut open: Vec<Uuid> = Vec::new();
        let mut count = 0;
        while !stop.is_cancelled() {
            while open.len() >= OPEN_MAX && !stop.is_cancelled() {
                self.pause(300).await;
                let mut still = Vec::new();
                for id in open {
                    if !self.has_ended(id).await {
                        still.push(id);
                    }
                }
                open = still;
            }
            count += 1;
            let key = format!("client-{}-{count}", self.number);
            let graph = graphs::random(&mut self.random, &self.run.journal);
            let place = {
                let mut told = told.lock().expect("nobody panics here");
                let silent = graph.silent;
                told.submissions.push(Submission { key: key.clone(), acknowledged: None, silent });
                told.submissions.len() - 1
            };
            let body = json!({ "definition": graph.definition, "title": key });
            let answer = self.insist(Method::POST, "/api/v1/sessions", &key, &body, stop).await;
            let Some((status, answer)) = answer else { return };
            assert!(status.is_success(), "a submission was refused: {status} {answer}");
            let id: Uuid = answer["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
            {
                let mut told = told.lock().expect("nobody panics here");
                told.submissions[place].acknowledged = Some(id);
                told.tasks += graph.tasks;
            }
            if graph.waits {
                self.signal(id, &key).await;
            } else if self.random.random_bool(0.06) {
                self.pause(700).await;
                self.cancel(id, told).await;
            }
            open.push(id);
        }
    }

    /// Listens to one session after the other, each to its end.
    pub(super) async fn listen(mut self, told: &Mutex<Told>, stop: &CancellationToken) {
        let mut heard = 0;
        while !stop.is_cancelled() {
            let next = {
                let told = told.lock().expect("nobody panics here");
                told.submissions.iter().rev().find_map(|it| it.acknowledged)
            };
            match next {
                Some(session) if heard != told.lock().expect("nobody panics here").tasks => {
                    heard = told.lock().expect("nobody panics here").tasks;
                    let seqs = self.hear(session).await;
                    let mut told = told.lock().expect("nobody panics here");
                    told.feeds.push(Feed { session, seqs });
                }
                _ => self.pause(200).await,
            }
        }
    }

    /// All events of a session, over as many connections as it takes.
    async fn hear(&mut self, session: Uuid) -> Vec<i64> {
        let mut seqs: Vec<i64> = Vec::new();
        loop {
            let after = seqs.last().copied().unwrap_or(0);
            let server = self.server().replace("http", "ws");
            let url = format!("{server}/ws/sessions/{session}?after={after}");
            let mut request = url.into_client_request().expect("a URL");
            let bearer = format!("Bearer {}", self.run.token).parse().expect("a header");
            request.headers_mut().insert("authorization", bearer);
            let opened = tokio::time::timeout(PATIENCE, connect_async(request)).await;
            let Ok(Ok((mut socket, _))) = opened else {
                self.pause(200).await;
                continue;
            };
            // A frozen server says nothing at all: the next one is asked.
            while let Ok(Some(Ok(message))) = tokio::time::timeout(PATIENCE, socket.next()).await {
                match message {
                    Message::Text(text) => {
                        let event: Value = serde_json::from_str(&text).expect("an event");
                        seqs.push(event["seq"].as_i64().expect("a number"));
                    }
                    Message::Close(Some(close)) if close.reason.contains("complete") => {
                        return seqs;
                    }
                    Message::Close(_) => break,
                    Message::Ping(_)
                    | Message::Pong(_)
                    | Message::Binary(_)
                    | Message::Frame(_) => {}
                }
            }
        }
    }

    async fn signal(&mut self, session: Uuid, key: &str) {
        let body = json!({ "name": "go", "data": {} });
        let path = format!("/api/v1/sessions/{session}/signals");
        let never = CancellationToken::new();
        let answer = self.insist(Method::POST, &path, &format!("{key}-go"), &body, &never).await;
        let (status, answer) = answer.expect("nobody stops it");
        assert!(status.is_success(), "a signal was refused: {status} {answer}");
    }

    async fn cancel(&mut self, session: Uuid, told: &Mutex<Told>) {
        let path = format!("/api/v1/sessions/{session}/cancel");
        let never = CancellationToken::new();
        let answer = self.insist(Method::POST, &path, "", &json!({}), &never).await;
        let (status, answer) = answer.expect("nobody stops it");
        // It may have ended before.
        assert!(status.is_success() || status == StatusCode::CONFLICT, "{status} {answer}");
        if status.is_success() {
            let at = super::now();
            told.lock().expect("nobody panics here").cancels.push(Cancel { session, at });
        }
    }

    async fn has_ended(&mut self, session: Uuid) -> bool {
        let url = format!("{}/api/v1/sessions/{session}", self.server());
        let answer = self.http.get(url).bearer_auth(&self.run.token).send().await;
        let Ok(answer) = answer else { return false };
        let session: Value = answer.json().await.unwrap_or_default();
        !session["finished_at"].is_null()
    }

    /// Asks one server after the other until one answers for good.
    async fn insist(
        &mut self,
        method: Method,
        path: &str,
        key: &str,
        body: &Value,
        stop: &CancellationToken,
    ) -> Option<(StatusCode, Value)> {
        loop {
            let url = format!("{}{path}", self.server());
            let mut request = self.http.request(method.clone(), url).bearer_auth(&self.run.token);
            if !key.is_empty() {
                request = request.header("idempotency-key", key);
            }
            if let Ok(answer) = request.json(body).send().await {
                let status = answer.status();
                if let Ok(answer) = answer.json().await
                    && !status.is_server_error()
                    && status != StatusCode::TOO_MANY_REQUESTS
                {
                    return Some((status, answer));
                }
            }
            if stop.is_cancelled() {
                return None;
            }
            self.pause(250).await;
        }
    }

    fn server(&mut self) -> String {
        let ports = &self.run.ports;
        format!("http://127.0.0.1:{}", ports[self.random.random_range(0..ports.len())])
    }

    /// A while of at most so many milliseconds.
    async fn pause(&mut self, millis: u64) {
        let while_ = Duration::from_millis(self.random.random_range(millis / 4..=millis));
        sleep_until(Instant::now() + while_).await;
    }
}
