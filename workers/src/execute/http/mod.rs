//! `builtin/http`: one request and its answer. Every address is checked before a connection goes to
//! it, and the connection goes to the address that was checked; redirects are followed by hand, so
//! that they are checked too. Of a request nothing but its method and origin is ever logged.

mod reach;
mod wire;

use std::{net::SocketAddr, time::Duration};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{self, CONTENT_TYPE, LOCATION, SET_COOKIE, USER_AGENT},
};
use jobshop_engine::{
    attempt::{Attempt, HttpWork},
    duration::Span,
    outcome::ErrorClass,
};
use serde_json::{Map, Value};
use tokio::net::TcpStream;
use url::Url;

pub use self::reach::Allow;
use self::wire::Answer;
use super::{
    Inner,
    command::Limits,
    halt::{Done, Halt},
    log::LogWriter,
    output,
};

/// Redirects that are followed.
const REDIRECTS_MAX: usize = 5;
/// How long a request takes at most, where the task does not say it.
const TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A request that is sent, and sent again to where it is redirected.
struct Request {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Option<Vec<u8>>,
}

impl Inner {
    pub(super) async fn http(
        &self,
        work: &HttpWork,
        attempt: &Attempt,
        limits: &Limits,
        log: &LogWriter,
    ) -> Done<Value> {
        let timeout = work.timeout.map_or(TIMEOUT, Span::to_std);
        let asked = async {
            match tokio::time::timeout(timeout, self.ask(work, attempt, log)).await {
                Ok(done) => done,
                Err(_) => {
                    Err(Halt::failed(ErrorClass::Timeout, "the server did not answer in time"))
                }
            }
        };
        let outputs = limits.hold(asked).await?;
        output::check_schema(&outputs, attempt.schema.as_ref())?;
        output::check_size(&outputs, self.config.output_bytes_max)?;
        Ok(Value::Object(outputs))
    }

    async fn ask(
        &self,
        work: &HttpWork,
        attempt: &Attempt,
        log: &LogWriter,
    ) -> Done<Map<String, Value>> {
        let mut request = Request::of(work, &attempt.idempotency_key)?;
        for _ in 0..=REDIRECTS_MAX {
            let origin = request.url.origin().ascii_serialization();
            let stream = connect(self.addresses(&request.url).await?, &origin).await?;
            let answer = wire::exchange(stream, &request, self.config.output_bytes_max).await?;
            let status = answer.status;
            log.note(&format!("{} {origin}: {}", request.method, status.as_u16()));
            let is_expected = work.expect.contains(&status.as_u16());
            let to = answer.headers.get(LOCATION).filter(|_| is_redirect(status));
            match to {
                Some(to) if !is_expected => request = request.redirected(status, to)?,
                _ if is_expected || (work.expect.is_empty() && status.is_success()) => {
                    return Ok(outputs(&answer));
                }
                _ => return Err(unexpected(status, &work.expect, &origin)),
            }
        }
        Err(Halt::error(format!("more than {REDIRECTS_MAX} redirects")))
    }

    /// The addresses of a URL's host, all of which may be reached.
    async fn addresses(&self, url: &Url) -> Done<Vec<SocketAddr>> {
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return Err(Halt::error("the URL has no host"));
        };
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let found: Vec<SocketAddr> = tokio::net::lookup_host((bare, port))
            .await
            .map_err(|error| Halt::error(format!("`{host}` is not found: {error}")))?
            .collect();
        let refused =
            found.iter().find(|it| !reach::may_reach(&self.config.http_allow, bare, port, it.ip()));
        if let Some(refused) = refused {
            return Err(Halt::error(format!(
                "`{host}` is refused: {} is not an address of the public internet; an operator may \
                 allow it in JOBSHOP_HTTP_ALLOW",
                refused.ip()
            )));
        }
        if found.is_empty() {
            return Err(Halt::error(format!("`{host}` has no address")));
        }
        Ok(found)
    }
}

/// Connects to the first address that answers, among those that were checked.
async fn connect(addresses: Vec<SocketAddr>, origin: &str) -> Done<TcpStream> {
    let mut last = String::new();
    for address in addresses {
        match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error.to_string(),
            Err(_) => "no answer".clone_into(&mut last),
        }
    }
    Err(Halt::error(format!("cannot connect to {origin}: {last}")))
}

fn outputs(answer: &Answer) -> Map<String, Value> {
    let kind = answer.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).map(str::trim);
    let is_json = kind.is_some_and(|kind| kind == "application/json" || kind.ends_with("+json"));
    let value = if is_json { serde_json::from_slice(&answer.body).ok() } else { None };
    let outputs = [
        ("status", answer.status.as_u16().into()),
        ("headers", shown(&answer.headers)),
        ("body", String::from_utf8_lossy(&answer.body).into()),
        ("json", value.unwrap_or_default()),
    ];
    outputs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

impl Request {
    fn of(work: &HttpWork, idempotency_key: &str) -> Done<Self> {
        let method = Method::from_bytes(work.method.to_ascii_uppercase().as_bytes())
            .map_err(|_| template("`method` is not the name of a method"))?;
        let url = Url::parse(&work.url).map_err(|error| template(&format!("`url`: {error}")))?;
        check(&url)?;
        let mut headers = HeaderMap::new();
        headers.insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("jobshop/", env!("CARGO_PKG_VERSION"))),
        );
        if work.body.as_ref().is_some_and(|body| !body.is_string()) {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Ok(key) = HeaderValue::from_str(idempotency_key)
            && !matches!(method, Method::GET | Method::HEAD | Method::OPTIONS)
        {
            headers.insert("idempotency-key", key);
        }
        for (name, value) in &work.headers {
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| template(&format!("`{name}` is not the name of a header")))?;
            let mut value = HeaderValue::from_str(value).map_err(|_| {
                template(&format!("the header `{name}` has a value that no header can have"))
            })?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let text = |body: &Value| body.as_str().map_or_else(|| body.to_string(), str::to_owned);
        let body = work.body.as_ref().map(|body| text(body).into_bytes());
        Ok(Self { method, url, headers, body })
    }

    /// The request that follows a redirect. What was meant for one origin is not told to another.
    fn redirected(mut self, status: StatusCode, to: &HeaderValue) -> Done<Self> {
        let to = to.to_str().ok().and_then(|to| self.url.join(to).ok());
        let to = to.ok_or_else(|| Halt::error("the server redirects to what is no URL"))?;
        check(&to)?;
        if self.url.scheme() == "https" && to.scheme() == "http" {
            return Err(Halt::error("the server redirects from https to http"));
        }
        let becomes_get = status == StatusCode::SEE_OTHER && self.method != Method::HEAD
            || matches!(status, StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND)
                && self.method == Method::POST;
        if becomes_get {
            self.method = Method::GET;
            self.body = None;
            self.headers.remove(CONTENT_TYPE);
            self.headers.remove("idempotency-key");
        }
        if to.origin() != self.url.origin() {
            if self.body.is_some() {
                return Err(Halt::error(
                    "the server redirects a request with a body to another origin",
                ));
            }
            let agent = self.headers.remove(USER_AGENT);
            let accept = self.headers.remove(header::ACCEPT);
            self.headers.clear();
            self.headers.extend(agent.map(|agent| (USER_AGENT, agent)));
            self.headers.extend(accept.map(|accept| (header::ACCEPT, accept)));
        }
        self.url = to;
        Ok(self)
    }
}

fn check(url: &Url) -> Done<()> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Halt::error(format!("`{}` is not http or https", url.scheme())));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Halt::error("the URL holds credentials: hand them over in a header"));
    }
    Ok(())
}

const fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn unexpected(status: StatusCode, expected: &[u16], origin: &str) -> Halt {
    let expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
    let what = if expected.is_empty() { "success".to_owned() } else { expected.join(" or ") };
    Halt::error(format!("{origin} answered {}, expected was {what}", status.as_u16()))
}

/// The headers of an answer that are handed on: cookies are the server's secrets.
fn shown(headers: &HeaderMap) -> Value {
    let mut shown = Map::new();
    for (name, value) in headers.iter().filter(|(name, _)| **name != SET_COOKIE) {
        let value = String::from_utf8_lossy(value.as_bytes());
        match shown.get_mut(name.as_str()) {
            Some(Value::String(before)) => {
                before.push_str(", ");
                before.push_str(&value);
            }
            _ => {
                shown.insert(name.to_string(), value.into());
            }
        }
    }
    Value::Object(shown)
}

fn template(why: &str) -> Halt {
    Halt::failed(ErrorClass::Template, why)
}
