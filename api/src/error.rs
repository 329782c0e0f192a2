//! Refusals as RFC 9457 problems: one match from what went wrong to status and code. What the
//! database said is logged and never shown.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use jobshop_engine::store::view::ReadError;
use serde::Serialize;
use utoipa::ToSchema;

/// What a client reads when a request was refused.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// `urn:jobshop:problem:` and the code.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// The status in words.
    pub(crate) title: &'static str,
    pub(crate) status: u16,
    /// What is wrong with this request.
    pub(crate) detail: String,
    /// Stable; made for programs.
    pub(crate) code: &'static str,
}

/// Why a request was refused.
#[derive(Debug)]
pub(crate) enum ApiError {
    Read(ReadError),
    InvalidQuery(String),
    InvalidPath(String),
    Unauthorized,
    ForbiddenOrigin(String),
    NotAnUpgrade(String),
    NoRoute(String),
    NoMethod(String),
    TimedOut,
    NotReady,
    Panicked,
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl ApiError {
    /// The one place where a refusal gets its status, code and words.
    fn problem(self) -> (StatusCode, &'static str, String) {
        use ReadError as R;
        use StatusCode as S;
        match self {
            Self::Read(R::Database(error)) => {
                tracing::error!(%error, "a request failed in the database");
                (S::SERVICE_UNAVAILABLE, "database", "the database did not answer".to_owned())
            }
            Self::Read(error) => {
                let (status, code) = match &error {
                    R::NoSession(_) => (S::NOT_FOUND, "session_not_found"),
                    R::NoTask { .. } => (S::NOT_FOUND, "task_not_found"),
                    R::NoWorkflow(_) => (S::NOT_FOUND, "workflow_not_found"),
                    R::NoVersion { .. } => (S::NOT_FOUND, "version_not_found"),
                    R::AmbiguousSession { .. } => (S::CONFLICT, "ambiguous_id"),
                    R::NotASession(_) => (S::BAD_REQUEST, "invalid_id"),
                    R::BadCursor => (S::BAD_REQUEST, "invalid_cursor"),
                    R::Database(_) => (S::SERVICE_UNAVAILABLE, "database"),
                };
                (status, code, error.to_string())
            }
            Self::InvalidQuery(detail) => (S::BAD_REQUEST, "invalid_query", detail),
            Self::InvalidPath(detail) => (S::BAD_REQUEST, "invalid_path", detail),
            Self::Unauthorized => (
                S::UNAUTHORIZED,
                "unauthorized",
                "send `authorization: Bearer TOKEN` with the token of this server".to_owned(),
            ),
            Self::ForbiddenOrigin(origin) => (
                S::FORBIDDEN,
                "forbidden_origin",
                format!("pages of {origin} may not open sockets here"),
            ),
            Self::NotAnUpgrade(detail) => (S::BAD_REQUEST, "not_a_socket", detail),
            Self::NoRoute(path) => {
                (S::NOT_FOUND, "not_found", format!("there is nothing at {path}"))
            }
            Self::NoMethod(method) => (
                S::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                format!("{method} is not possible here"),
            ),
            Self::TimedOut => (
                S::GATEWAY_TIMEOUT,
                "timed_out",
                "the request took too long and was given up".to_owned(),
            ),
            Self::NotReady => {
                (S::SERVICE_UNAVAILABLE, "not_ready", "the database does not answer".to_owned())
            }
            Self::Panicked => (
                S::INTERNAL_SERVER_ERROR,
                "internal",
                "something broke; the server's log says what".to_owned(),
            ),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let is_unauthorized = matches!(self, Self::Unauthorized);
        let (status, code, detail) = self.problem();
        let problem = Problem {
            kind: format!("urn:jobshop:problem:{code}"),
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail,
            code,
        };
        let mut response = (status, Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if is_unauthorized {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
