//! What the tests of the inbox share: an application with a scripted agent that asks.

use std::{fmt::Write as _, time::Duration};

use jobshop_tests::{TestApp, wait};
use jobshop_workers::WorkerConfig;
use serde_json::Value;
use tempfile::TempDir;

pub(crate) const LIMIT: Duration = Duration::from_mins(1);

/// An application, and a folder with the scripts of its agents.
pub(crate) struct Stand {
    pub(crate) app: TestApp,
    scripts: TempDir,
}

impl Stand {
    pub(crate) async fn new(change: impl FnOnce(&mut WorkerConfig)) -> Self {
        let mut app = TestApp::new().await;
        app.start_with(change);
        Self { app, scripts: tempfile::tempdir().unwrap() }
    }

    /// A session whose tasks are agents of these names that play these scripts.
    pub(crate) async fn submit(&self, agents: &[(&str, &str)]) -> String {
        let mut definition = "version: 1\nname: asks\ntasks:\n".to_owned();
        for (name, script) in agents {
            let path = self.scripts.path().join(name);
            std::fs::write(&path, script).unwrap();
            let path = path.display();
            let agent = format!("{{ runtime: scripted, prompt: x, script: {path} }}");
            writeln!(definition, "  {name}: {{ agent: {agent} }}").unwrap();
        }
        let session = self.app.submit(&definition).await;
        session["id"].as_str().unwrap().to_owned()
    }

    /// The open entries of the inbox, once there are so many.
    pub(crate) async fn open(&self, count: usize) -> Vec<Value> {
        wait::until("open entries", LIMIT, async || {
            let items = self.app.get("/api/v1/inbox").await.json["items"].as_array().cloned()?;
            (items.len() == count).then_some(items)
        })
        .await
    }

    /// The id of the only open entry, once it asks this.
    pub(crate) async fn asked(&self, message: &str) -> String {
        wait::until(&format!("`{message}` in the inbox"), LIMIT, async || {
            let items = self.app.get("/api/v1/inbox").await.json["items"].as_array().cloned()?;
            let found = items.iter().find(|it| it["message"] == message)?;
            found["id"].as_str().map(str::to_owned)
        })
        .await
    }

    pub(crate) async fn task(&self, session: &str, key: &str) -> Value {
        self.app.get(&format!("/api/v1/sessions/{session}/tasks/{key}")).await.json
    }

    pub(crate) async fn until_task(&self, session: &str, key: &str, status: &str) -> Value {
        wait::until(&format!("`{key}` is {status}"), LIMIT, async || {
            let task = self.task(session, key).await;
            (task["status"] == status).then_some(task)
        })
        .await
    }

    /// The session's events of these kinds.
    pub(crate) async fn events(&self, session: &str, kinds: &str) -> Vec<Value> {
        let path = format!("/api/v1/sessions/{session}/events?limit=1000");
        let events = self.app.get(&path).await.json["items"].as_array().cloned().unwrap();
        let is_one = |event: &Value| event["kind"].as_str().unwrap().starts_with(kinds);
        events.into_iter().filter(is_one).collect()
    }

    /// The same as `kind actor`.
    pub(crate) async fn told(&self, session: &str, kinds: &str) -> Vec<String> {
        let events = self.events(session, kinds).await;
        let word = |event: &Value, name: &str| event[name].as_str().unwrap_or("-").to_owned();
        events.iter().map(|it| format!("{} {}", word(it, "kind"), word(it, "actor"))).collect()
    }
}

/// Where an entry is answered.
pub(crate) fn answer(id: &str) -> String {
    format!("/api/v1/inbox/{id}/answer")
}
