//! axum's extractors with our problems as refusals, and the parameters that lists share.

use std::str::FromStr;

use axum::{
    extract::{
        FromRequest, FromRequestParts, Request,
        rejection::{JsonRejection, PathRejection, QueryRejection},
    },
    http::{HeaderMap, HeaderName, StatusCode, header},
};
use chrono::{DateTime, Utc};
use jobshop_engine::store::sessions::Idempotency;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, DeserializeOwned},
};
use sha2::{Digest, Sha256};
use utoipa::IntoParams;

use crate::error::ApiError;

/// A JSON body.
#[derive(Debug, FromRequest)]
#[from_request(via(axum::Json), rejection(ApiError))]
pub(crate) struct Body<T>(pub(crate) T);

/// A JSON body, or its default where there is none.
#[derive(Debug)]
pub(crate) struct OptionalBody<T>(pub(crate) T);

impl<S: Send + Sync, T: Default + DeserializeOwned> FromRequest<S> for OptionalBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let is_there = request.headers().contains_key(header::CONTENT_TYPE);
        if !is_there {
            return Ok(Self(T::default()));
        }
        Body::from_request(request, state).await.map(|Body(body)| Self(body))
    }
}

/// Parameters behind the question mark.
#[derive(Debug, FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(ApiError))]
pub(crate) struct Query<T>(pub(crate) T);

/// Parts of the path.
#[derive(Debug, FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(ApiError))]
pub(crate) struct Path<T>(pub(crate) T);

impl From<JsonRejection> for ApiError {
    fn from(rejection: JsonRejection) -> Self {
        match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Self::BodyTooLarge,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::NotJson,
            _ => Self::InvalidBody(cause(&rejection.body_text())),
        }
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        Self::InvalidQuery(cause(&rejection.body_text()))
    }
}

/// What is wrong and where, without the parser's words about itself.
fn cause(text: &str) -> String {
    let intro = [
        "Failed to deserialize query string: ",
        "Failed to deserialize the JSON body into the target type: ",
    ];
    intro.iter().find_map(|intro| text.strip_prefix(intro)).unwrap_or(text).to_owned()
}

impl From<PathRejection> for ApiError {
    fn from(rejection: PathRejection) -> Self {
        Self::InvalidPath(rejection.body_text())
    }
}

/// Where a page begins and how long it is.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// `next` of the page before.
    pub(crate) cursor: Option<String>,
    /// At most this many items; 100 without it, 1000 at most.
    #[param(minimum = 1, maximum = 1000)]
    pub(crate) limit: Option<i64>,
}

/// Several values in one parameter, separated by commas.
pub(crate) fn comma_separated<'de, D, T>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err = String>,
{
    let text = String::deserialize(deserializer)?;
    text.split(',').map(str::parse).collect::<Result<_, _>>().map(Some).map_err(de::Error::custom)
}

/// A point in time.
pub(crate) fn moment<'de, D: Deserializer<'de>>(de: D) -> Result<DateTime<Utc>, D::Error> {
    let text = String::deserialize(de)?;
    let refuse = |_| format!("`{text}` is not a time; write it as in 2026-01-31T12:00:00Z");
    let at = DateTime::parse_from_rfc3339(&text).map_err(refuse).map_err(de::Error::custom)?;
    Ok(at.to_utc())
}

/// A point in time that may be left out.
pub(crate) fn optional_moment<'de, D>(de: D) -> Result<Option<DateTime<Utc>>, D::Error>
where
    D: Deserializer<'de>,
{
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Moment(#[serde(deserialize_with = "moment")] DateTime<Utc>);
    Ok(Option::<Moment>::deserialize(de)?.map(|Moment(at)| at))
}

/// Refuses a limit that no page can have, instead of quietly taking another.
pub(crate) fn page_limit(limit: Option<i64>) -> Result<Option<i64>, ApiError> {
    match limit {
        Some(limit) if !(1..=1_000).contains(&limit) => {
            Err(ApiError::InvalidQuery(format!("limit: {limit} is not within 1 and 1000")))
        }
        limit => Ok(limit),
    }
}

/// The number of the last event that a client knows.
pub(crate) fn after_event(after: Option<i32>) -> Result<i32, ApiError> {
    match after {
        Some(after) if after < 0 => {
            Err(ApiError::InvalidQuery(format!("after: {after} is below 0")))
        }
        after => Ok(after.unwrap_or(0)),
    }
}

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const KEY_CHARS_MAX: usize = 255;

/// The client's key with a digest of what it asks for, however it was written.
pub(crate) fn idempotency(
    headers: &HeaderMap,
    body: &impl Serialize,
) -> Result<Option<Idempotency>, ApiError> {
    let Some(key) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let key = key.to_str().unwrap_or_default();
    if key.is_empty() || key.len() > KEY_CHARS_MAX {
        return Err(ApiError::InvalidKey);
    }
    let text =
        serde_json::to_vec(body).map_err(|error| ApiError::InvalidBody(error.to_string()))?;
    Ok(Some(Idempotency { key: key.to_owned(), request: Sha256::digest(text).to_vec() }))
}
