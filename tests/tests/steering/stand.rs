//! An API beside a worker and a control loop that the test plays.

use jobshop_engine::{
    id::WorkerId,
    store::{
        claim::Held,
        control,
        transition::Move,
        workers::{self, NewWorker, Profile},
    },
};
use jobshop_tests::{
    Answer, TestApp,
    stage::{LEASE_SECS, Player},
};
use serde_json::{Value, json};
use uuid::Uuid;

pub(crate) const CHAIN: &str = "
version: 1
name: chain
tasks:
  a: { uses: builtin/noop }
  b: { needs: [a], uses: builtin/noop }
";

pub(crate) struct Stand {
    pub(crate) app: TestApp,
    pub(crate) player: Option<Player>,
    /// What the worker runs, where a test keeps it here.
    pub(crate) held: Option<Held>,
}

impl Stand {
    pub(crate) async fn new() -> Self {
        Self { app: TestApp::new().await, player: None, held: None }
    }

    pub(crate) async fn submit(&self, definition: &str) -> String {
        self.app.submit(definition).await["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn create(&self, body: Value) -> String {
        let answer = self.app.post("/api/v1/sessions", &body).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.json["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn act(&self, id: &str, act: &str) -> Answer {
        let body = json!({ "reason": "because" });
        self.app.post(&format!("/api/v1/sessions/{id}/{act}"), &body).await
    }

    /// An act that is accepted; the object after it.
    pub(crate) async fn acts(&self, id: &str, act: &str) -> Value {
        let answer = self.act(id, act).await;
        assert_eq!(answer.status, 200, "{act}: {}", answer.text);
        answer.json
    }

    pub(crate) async fn post(&self, id: &str, act: &str, body: Value) -> Answer {
        self.app.post(&format!("/api/v1/sessions/{id}/{act}"), &body).await
    }

    pub(crate) async fn session(&self, id: &str) -> Value {
        self.app.get(&format!("/api/v1/sessions/{id}")).await.json
    }

    pub(crate) async fn status(&self, id: &str) -> String {
        self.session(id).await["status"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn task(&self, id: &str, key: &str) -> Value {
        self.app.get(&format!("/api/v1/sessions/{id}/tasks/{key}")).await.json
    }

    /// `key status` of every task, in order.
    pub(crate) async fn tasks(&self, id: &str) -> Vec<String> {
        let page = self.app.get(&format!("/api/v1/sessions/{id}/tasks")).await.json;
        let word = |task: &Value, name: &str| task[name].as_str().unwrap().to_owned();
        let all = page["items"].as_array().unwrap().iter();
        all.map(|task| format!("{} {}", word(task, "key"), word(task, "status"))).collect()
    }

    pub(crate) async fn why(&self, id: &str) -> Value {
        self.app.get(&format!("/api/v1/sessions/{id}/why")).await.json
    }

    /// The last event of that kind.
    pub(crate) async fn event(&self, id: &str, kind: &str) -> Value {
        let page = self.app.get(&format!("/api/v1/sessions/{id}/events")).await.json;
        let events = page["items"].as_array().unwrap();
        events.iter().rfind(|event| event["kind"] == kind).cloned().unwrap_or_default()
    }

    /// Whatever the control loop finds to do.
    pub(crate) async fn settle(&self) {
        while control::tick(&self.app.store).await.unwrap() > 0 {}
    }

    /// The worker takes what there is.
    pub(crate) async fn claim(&mut self) -> Vec<Held> {
        let player = match self.player.take() {
            Some(player) => player,
            None => self.hire(&["*"]).await,
        };
        let held = player.claim(10).await;
        self.player = Some(player);
        held
    }

    pub(crate) async fn claim_one(&mut self) -> Held {
        let held = self.claim().await;
        assert_eq!(held.len(), 1, "one task is ready");
        held[0]
    }

    /// Whether the end of an attempt counted.
    pub(crate) async fn ends(&self, end: Move) -> bool {
        self.player.as_ref().unwrap().ends(end).await
    }

    pub(crate) async fn hire(&self, capabilities: &[&str]) -> Player {
        let mut capabilities: Vec<String> = capabilities.iter().map(|it| (*it).into()).collect();
        capabilities.sort_unstable();
        let id = WorkerId(Uuid::now_v7());
        let worker = NewWorker {
            id,
            name: "played",
            host: "here",
            pid: 1,
            capabilities: &capabilities,
            concurrency: 8,
            version: "0",
            data_dir: None,
            lease_secs: LEASE_SECS,
            follows: &[],
            profile: &Profile::default(),
            only_session: None,
        };
        workers::register(&self.app.store.pool, &worker).await.unwrap();
        let routes = workers::routes(&self.app.store.pool, &capabilities).await.unwrap();
        Player { store: self.app.store.clone(), id, routes }
    }

    /// Everything runs and succeeds until nothing is ready.
    pub(crate) async fn work(&mut self) {
        loop {
            self.settle().await;
            let held = self.claim().await;
            if held.is_empty() {
                return;
            }
            for held in held {
                assert!(self.ends(jobshop_tests::stage::succeeded(held.fence)).await);
            }
        }
    }
}
