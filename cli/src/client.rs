//! The HTTP client of the command line. It hands on the objects as the server sent them, so that
//! `--json` prints exactly those, and knows which answer means which exit code. It starts nothing.

pub mod objects;
mod pages;
mod problem;
mod server;
mod watch;

use std::time::Duration;

use reqwest::{Method, RequestBuilder, StatusCode, Url};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::Value;

use crate::exit::Failure;

pub use pages::Pages;
pub use problem::WorkflowProblem;
pub use server::Server;
pub use watch::EventStream;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);
const DOWNLOAD_TIMEOUT: Duration = Duration::from_hours(6);

/// A connection to one server.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    pub server: Server,
}

/// A part of a list.
#[derive(Debug, Clone, Deserialize)]
pub struct Page {
    pub items: Vec<Value>,
    /// Where the next page begins.
    pub next: Option<String>,
}

/// The parameters of a request, in order.
pub type Query<'a> = &'a [(&'a str, &'a str)];

impl Client {
    pub fn new(server: Server) -> Result<Self, Failure> {
        let http = reqwest::Client::builder()
            .user_agent(concat!("jobshop/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT)
            // The token goes to the server that the user named, to no other one.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|error| Failure::temporary(format!("cannot start the client: {error}")))?;
        Ok(Self { http, server })
    }

    /// Whether something answers at all.
    pub async fn answers(&self) -> bool {
        self.http.get(with_path(&self.server.url, ["live"])).send().await.is_ok()
    }

    pub async fn get(&self, path: &[&str], query: Query<'_>) -> Result<Value, Failure> {
        self.send(self.request(Method::GET, path)?.query(query)).await
    }

    /// Sends `body`. With `key`, sending it again does nothing new.
    pub async fn post(
        &self,
        path: &[&str],
        body: &Value,
        key: Option<&str>,
    ) -> Result<Value, Failure> {
        let mut request = self.request(Method::POST, path)?.json(body);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        self.send(request).await
    }

    /// The same with parameters.
    pub async fn post_with(
        &self,
        path: &[&str],
        query: Query<'_>,
        body: &Value,
    ) -> Result<Value, Failure> {
        self.send(self.request(Method::POST, path)?.query(query).json(body)).await
    }

    /// Changes what is there, if it has this version.
    pub async fn patch(
        &self,
        path: &[&str],
        body: &Value,
        version: Option<i64>,
    ) -> Result<Value, Failure> {
        let mut request = self.request(Method::PATCH, path)?.json(body);
        if let Some(version) = version {
            request = request.header("if-match", format!("\"{version}\""));
        }
        self.send(request).await
    }

    /// Makes what is there be what `body` says.
    pub async fn put(&self, path: &[&str], body: &Value) -> Result<Value, Failure> {
        self.send(self.request(Method::PUT, path)?.json(body)).await
    }

    pub async fn delete(&self, path: &[&str]) -> Result<Value, Failure> {
        self.send(self.request(Method::DELETE, path)?).await
    }

    /// Every item of a list, or the first `limit`. Long lists are read with [`Self::pages`].
    pub async fn list(
        &self,
        path: &[&str],
        query: Query<'_>,
        limit: Option<u32>,
    ) -> Result<Vec<Value>, Failure> {
        let mut pages = self.pages(path, query, limit);
        let mut items: Vec<Value> = Vec::new();
        while let Some(page) = pages.next().await? {
            items.extend(page);
        }
        Ok(items)
    }

    /// A list page by page, or the first `limit` items of it.
    pub fn pages<'p>(
        &'p self,
        path: &'p [&'p str],
        query: Query<'p>,
        limit: Option<u32>,
    ) -> Pages<'p> {
        Pages::new(self, path, query, limit)
    }

    /// One page of a list.
    async fn page(&self, path: &[&str], query: &[(&str, String)]) -> Result<Page, Failure> {
        objects::read(&self.send(self.request(Method::GET, path)?.query(query)).await?)
    }

    /// A content, given bit by bit to `take`.
    pub async fn download(
        &self,
        path: &[&str],
        query: Query<'_>,
        mut take: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<(), Failure> {
        let request = self.request(Method::GET, path)?.query(query).timeout(DOWNLOAD_TIMEOUT);
        let mut answer = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = answer.status();
        if !status.is_success() {
            let body = answer.bytes().await.map_err(|error| self.unreachable(&error))?;
            return Err(problem::refusal(&self.server, status.as_u16(), &body));
        }
        while let Some(bytes) = answer.chunk().await.map_err(|error| self.unreachable(&error))? {
            take(&bytes)?;
        }
        Ok(())
    }

    /// The session that an id, a tail of one, `@latest` or `@latest:NAME` means.
    pub async fn session(&self, name: &str) -> Result<Value, Failure> {
        self.get(&["sessions", name], &[]).await
    }

    fn request(&self, method: Method, path: &[&str]) -> Result<RequestBuilder, Failure> {
        refuse_no_names(path)?;
        let request = self.http.request(method, self.server.api(path));
        Ok(match &self.server.token {
            Some(token) => request.bearer_auth(token.expose_secret()),
            None => request,
        })
    }

    async fn send(&self, request: RequestBuilder) -> Result<Value, Failure> {
        let answer = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(|error| self.unreachable(&error))?;
        if !status.is_success() {
            return Err(problem::refusal(&self.server, status.as_u16(), &body));
        }
        if status == StatusCode::NO_CONTENT || body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).map_err(|error| {
            Failure::temporary(format!(
                "{} answered with something else than JSON: {error}",
                self.server.url
            ))
            .hint("is JOBSHOP_SERVER the URL of a Jobshop server?")
        })
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let why = if error.is_timeout() { "did not answer in time" } else { "cannot be reached" };
        let mut source: &dyn std::error::Error = error;
        while let Some(deeper) = source.source() {
            source = deeper;
        }
        Failure::temporary(format!("the server at {} {why} ({source})", self.server.url))
            .hint(self.server.advice())
    }
}

/// Refuses what would name something else in a path than the user meant.
fn refuse_no_names(path: &[&str]) -> Result<(), Failure> {
    match path.iter().find(|segment| matches!(**segment, "" | "." | "..")) {
        None => Ok(()),
        Some(&"") => Err(Failure::usage("a name or id is empty")),
        Some(segment) => Err(Failure::usage(format!("`{segment}` is no name or id"))),
    }
}

/// `url` with the segments of a path; each may hold any character.
fn with_path<'a>(url: &Url, segments: impl IntoIterator<Item = &'a str>) -> Url {
    let mut url = url.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_none_is_refused_before_anything_is_asked() {
        assert_eq!(
            refuse_no_names(&["sessions", ""]).unwrap_err().message,
            "a name or id is empty"
        );
        assert!(refuse_no_names(&["workflows", ".."]).is_err());
        assert!(refuse_no_names(&["workflows", "a.b"]).is_ok());
    }

    #[test]
    fn segments_of_a_path_may_hold_any_character() {
        let url = "http://127.0.0.1:7070/base/".parse().unwrap();
        let full = with_path(&url, ["sessions", "@latest:a", "tasks", "build[src/a?].check"]);
        assert_eq!(
            full.as_str(),
            "http://127.0.0.1:7070/base/sessions/@latest:a/tasks/build[src%2Fa%3F].check"
        );
    }
}
