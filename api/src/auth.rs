//! Who may come in: the bearer of the token. A browser cannot send the header when it opens a
//! socket or the viewer of the description, so those take the token as a parameter too; the viewer
//! keeps it in a cookie that is good for nothing else.

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, header},
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
};

use crate::{app::Shared, error::ApiError};

const OPEN: [&str; 3] = ["/health", "/live", "/ready"];
const DOCS_COOKIE: &str = "jobshop_docs";

/// Whether a path asks for no token.
pub(crate) fn is_open(path: &str) -> bool {
    OPEN.contains(&path)
}

/// Lets requests with the token through.
pub(crate) async fn require_token(
    State(shared): State<Shared>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    let accepts = |token: Option<&str>| token.is_some_and(|it| shared.access.accepts_token(it));
    if is_open(path) || accepts(bearer(request.headers())) {
        return next.run(request).await;
    }
    let parameter = request.uri().query().and_then(token_parameter);
    if path.starts_with("/ws/") && accepts(parameter.as_deref()) {
        return next.run(request).await;
    }
    let is_read = request.method() == Method::GET || request.method() == Method::HEAD;
    if is_read && is_docs(path) {
        if let Some(token) = parameter.filter(|token| accepts(Some(token))) {
            return enter_docs(&token);
        }
        if accepts(cookie(request.headers())) {
            return next.run(request).await;
        }
    }
    ApiError::Unauthorized.into_response()
}

fn is_docs(path: &str) -> bool {
    path == "/docs" || path.starts_with("/docs/") || path == "/openapi.json"
}

fn enter_docs(token: &str) -> Response {
    let cookie = format!("{DOCS_COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict");
    let Ok(cookie) = HeaderValue::from_str(&cookie) else {
        return ApiError::Unauthorized.into_response();
    };
    ([(header::SET_COOKIE, cookie)], Redirect::to("/docs/")).into_response()
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    headers
        .get(header::COOKIE)?
        .to_str()
        .ok()?
        .split(';')
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(name, value)| (name == DOCS_COOKIE).then_some(value))
}

/// The token among the parameters. Tokens have no characters that would have to be escaped.
fn token_parameter(query: &str) -> Option<String> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find_map(|(name, value)| (name == "token").then(|| value.to_owned()))
}
