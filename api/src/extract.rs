//! axum's extractors with our problems as refusals, and the parameters that lists share.

use std::str::FromStr;

use axum::extract::{
    FromRequestParts,
    rejection::{PathRejection, QueryRejection},
};
use serde::{Deserialize, Deserializer, de};
use utoipa::IntoParams;

use crate::error::ApiError;

/// Parameters behind the question mark.
#[derive(Debug, FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(ApiError))]
pub(crate) struct Query<T>(pub(crate) T);

/// Parts of the path.
#[derive(Debug, FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(ApiError))]
pub(crate) struct Path<T>(pub(crate) T);

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        Self::InvalidQuery(rejection.body_text())
    }
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

/// Refuses a limit that no page can have, instead of quietly taking another.
pub(crate) fn page_limit(limit: Option<i64>) -> Result<Option<i64>, ApiError> {
    match limit {
        Some(limit) if !(1..=1_000).contains(&limit) => {
            Err(ApiError::InvalidQuery(format!("limit: {limit} is not within 1 and 1000")))
        }
        limit => Ok(limit),
    }
}
