//! What the read views share: the handle with its two small caches, pages and refusals. The views
//! read what the API and the command line show, and write nothing.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Serialize;
use sqlx::PgPool;
use thiserror::Error;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Store, Version, Versions, archived_view::ArchivedObject, session_counts::Counts};
use crate::id::{SessionId, SessionKey, TenantId, VersionId};

/// Reads what users see of one tenant; cheap to clone.
#[derive(Debug, Clone)]
pub struct Views {
    pub(super) db: PgPool,
    pub(super) tenant: TenantId,
    versions: Versions,
    pub(super) routing: crate::routing::Routing,
    pub(super) counts: Arc<Mutex<HashMap<SessionId, (Instant, Counts)>>>,
}

/// Rows of a page, when nothing else is asked for and at most.
pub const PAGE_DEFAULT: i64 = 100;
pub const PAGE_MAX: i64 = 1_000;

/// A part of a list. `next` is what the next page is asked for with; null on the last page.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    #[schema(required)]
    pub next: Option<String>,
}

/// Why there is nothing to show.
#[derive(Debug, Error)]
pub enum ReadError {
    #[error("there is no session `{0}`")]
    NoSession(String),
    #[error(
        "session {} ({}@{}, {}) was archived at {} to {}",
        .0.id, .0.workflow.name, .0.workflow.version, .0.status,
        .0.archived.at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true), .0.archived.location
    )]
    Archived(Box<ArchivedObject>),
    #[error("`{given}` is the end of several ids: {}", candidates.join(", "))]
    AmbiguousSession { given: String, candidates: Vec<String> },
    #[error(
        "`{0}` is not the id of a session: give all of it, its last 6 or more characters, `@latest` or `@latest:NAME`"
    )]
    NotASession(String),
    #[error("session {session} has no task `{key}`; `jobshop session tasks` lists those it has")]
    NoTask { session: SessionId, key: String },
    #[error("there is no approval `{0}`")]
    NoApproval(String),
    #[error("nothing in the inbox has the id `{0}`")]
    NoQuestion(String),
    #[error("there is no agent `{0}`")]
    NoAgent(String),
    #[error("there is no workflow `{0}`")]
    NoWorkflow(String),
    #[error("workflow `{name}` has no version {version}")]
    NoVersion { name: String, version: i32 },
    #[error("the cursor does not come from this list")]
    BadCursor,
    #[error("the database did not answer")]
    Database(#[from] sqlx::Error),
}

impl Views {
    pub fn new(store: &Store, tenant: TenantId) -> Self {
        let (db, versions) = (store.pool.clone(), store.versions.clone());
        Self { db, tenant, versions, routing: store.routing, counts: Arc::default() }
    }

    /// The same for another tenant; what was counted a moment ago is shared.
    #[must_use]
    pub fn of_tenant(&self, tenant: TenantId) -> Self {
        Self { tenant, ..self.clone() }
    }

    pub const fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// The workflow version of a session.
    pub(super) async fn version_of(&self, session: SessionKey) -> Result<Arc<Version>, ReadError> {
        let id = sqlx::query_scalar!(
            "select version_id from session_progress where tenant_id = $1 and session_id = $2",
            session.tenant.0,
            session.id.0
        )
        .fetch_optional(&self.db)
        .await?;
        let id = self.unless_gone(session, id).await?;
        let version = self.versions.load(&self.db, session.tenant, VersionId(id)).await?;
        Ok(version.ok_or(sqlx::Error::RowNotFound)?)
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many rows to read for a page: one more than it shows, to know whether another follows.
pub(super) fn rows_to_read(limit: Option<i64>) -> i64 {
    limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX) + 1
}

/// Cuts the surplus row off and says whether there was one.
pub(super) fn cut<T>(rows: &mut Vec<T>, read: i64) -> bool {
    let shown = usize::try_from(read - 1).unwrap_or(0);
    let more = rows.len() > shown;
    rows.truncate(shown);
    more
}

pub(super) fn to_cursor(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

pub(super) fn from_cursor<const N: usize>(cursor: &str) -> Result<[u8; N], ReadError> {
    bytes_of_cursor(cursor)?.try_into().map_err(|_| ReadError::BadCursor)
}

pub(super) fn bytes_of_cursor(cursor: &str) -> Result<Vec<u8>, ReadError> {
    BASE64_URL_SAFE_NO_PAD.decode(cursor).map_err(|_| ReadError::BadCursor)
}

/// A code in a row that no state has: the row was written by a newer version.
pub(super) fn unknown_code(what: &'static str, code: i16) -> sqlx::Error {
    sqlx::Error::Decode(format!("{code} is not a {what}").into())
}

/// The end of an id as it was typed, dashes left out; `None` where that is none.
pub(super) fn tail_of(given: &str) -> Option<String> {
    let tail = given.replace('-', "").to_ascii_lowercase();
    let fits = (6..=32).contains(&tail.len()) && tail.bytes().all(|byte| byte.is_ascii_hexdigit());
    fits.then_some(tail)
}

/// The only one of those whose ids end so, if there is one.
pub(super) fn only(given: &str, found: &[Uuid]) -> Result<Option<Uuid>, ReadError> {
    match found {
        [] => Ok(None),
        [only] => Ok(Some(*only)),
        several => Err(ReadError::AmbiguousSession {
            given: given.to_owned(),
            candidates: several.iter().map(Uuid::to_string).collect(),
        }),
    }
}
