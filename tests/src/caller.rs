//! Somebody who comes in with a key of their own.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::{Answer, TestApp};

/// A caller with a key.
#[derive(Debug, Clone)]
pub struct Caller<'a> {
    app: &'a TestApp,
    key: String,
}

impl TestApp {
    /// Somebody with a new key of that name and role in the tenant.
    pub async fn key(&self, name: &str, role: &str, tenant: &str) -> Caller<'_> {
        let body = json!({ "name": name, "role": role, "tenant": tenant });
        let made = self.post("/api/v1/keys", &body).await;
        assert_eq!(made.status, 201, "{}", made.text);
        Caller::new(self, made.json["key"].as_str().unwrap_or_default().to_owned())
    }
}

impl<'a> Caller<'a> {
    pub const fn new(app: &'a TestApp, key: String) -> Self {
        Self { app, key }
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.app.bare_request(method, path).bearer_auth(&self.key)
    }

    pub async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        Answer::of(self.request(Method::POST, path).json(body)).await
    }
}
