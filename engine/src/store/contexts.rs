//! Contexts in the database: every write is one transaction that locks its context, and one record
//! of what it changed, so that each earlier version can be had again.

mod folding;
mod merging;
mod reading;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use sqlx::{PgConnection, types::Json};
use thiserror::Error;

pub(super) use self::folding::{bring_along, data, fold, forget as forget_session};
pub use self::{
    folding::fold_session,
    merging::{Merge, Outcome, Source, merge},
    reading::{ChangeObject, ContextObject, Difference},
};
use super::{Store, view::ReadError};
use crate::{
    context::{self, Change, Conflict, ContextName, Path, Refused, Scope, Write},
    duration::Span,
    id::TenantId,
};

/// How many versions back a context can be had again.
pub const HISTORY_MAX: i64 = 1_000;
/// How long a temporary context lives after its last write, unless its writer says otherwise.
const TEMPORARY_MS: u64 = 60 * 60 * 1_000;

#[derive(Debug, Error)]
pub enum ContextError {
    #[error("there is no context `{0}`")]
    NotFound(String),
    #[error("{0}")]
    BadName(String),
    /// Somebody else wrote meanwhile; these of the places were changed by both.
    #[error("`{name}` has version {now} by now, not {expected}")]
    Changed { name: ContextName, expected: i64, now: i64, places: Vec<Path> },
    #[error("both sides changed the same places: {}", told(.0))]
    Conflicts(Vec<Conflict>),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("version {version} of `{name}` is not kept; {oldest} to {newest} are")]
    NoVersion { name: ContextName, version: i64, oldest: i64, newest: i64 },
    #[error("a temporary context goes away, and so cannot be promoted: share it with another one")]
    Fleeting,
    #[error("a context cannot be merged into itself")]
    Itself,
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the database did not take the change")]
    Database(#[from] sqlx::Error),
}

/// The places of conflicts, as far as they are worth a line.
fn told(conflicts: &[Conflict]) -> String {
    let open: Vec<&Conflict> = conflicts.iter().filter(|it| it.taken.is_none()).collect();
    let places: Vec<String> = open.iter().take(10).map(|it| format!("`{}`", it.path)).collect();
    let more = if open.len() > places.len() { ", …" } else { "" };
    format!("{}{more}", places.join(", "))
}

/// Who changes a context, and why.
#[derive(Debug, Clone, Copy)]
pub struct By<'a> {
    pub actor: &'a str,
    pub why: Option<&'a str>,
}

/// How a change is recorded.
struct Record<'a> {
    by: By<'a>,
    ttl: Option<Span>,
    /// Now, unless it was made of something that happened before.
    at: Option<DateTime<Utc>>,
    origin: Option<Origin>,
    /// Why what was asked for was not done.
    error: Option<String>,
}

impl<'a> Record<'a> {
    const fn of(by: By<'a>, ttl: Option<Span>) -> Self {
        Self { by, ttl, at: None, origin: None, error: None }
    }
}

/// The attempt of which a change was made.
#[derive(Clone, Copy)]
struct Origin {
    seq: i32,
    attempt: i32,
}

/// What is to be written.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// In order; all or none.
    pub writes: Vec<Write>,
    /// Refused unless the context has this version; 0: there is none yet.
    pub expected: Option<i64>,
    /// How long it lives from now on, without another write.
    pub ttl: Option<Span>,
}

/// What a write came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    pub version: i64,
    pub changes: Vec<Change>,
}

/// Writes into a context, which need not exist before. What is already so makes no new version.
pub async fn write(
    store: &Store,
    tenant: TenantId,
    name: &ContextName,
    asked: &Asked,
    by: By<'_>,
) -> Result<Written, ContextError> {
    let mut tx = store.pool.begin().await?;
    let mut held = Held::lock(&mut tx, tenant, name).await?;
    if let Some(expected) = asked.expected.filter(|expected| *expected != held.version) {
        let since = held.since(&mut tx, expected).await?;
        let is_asked = |path: &Path| asked.writes.iter().any(|write| write.path.touches(path));
        let places = since.into_iter().map(|change| change.path).filter(is_asked).collect();
        let (name, now) = (name.clone(), held.version);
        return Err(ContextError::Changed { name, expected, now, places });
    }
    let changes = context::apply(&mut held.data, &asked.writes)?;
    held.keep(&mut tx, &changes, Record::of(by, asked.ttl)).await?;
    tx.commit().await?;
    Ok(Written { version: held.version, changes })
}

/// Removes a context with all its versions.
pub async fn delete(
    store: &Store,
    tenant: TenantId,
    name: &ContextName,
) -> Result<(), ContextError> {
    let mut tx = store.pool.begin().await?;
    let gone = forget(&mut tx, tenant, name).await?;
    tx.commit().await?;
    if gone { Ok(()) } else { Err(ContextError::NotFound(name.to_string())) }
}

/// Removes contexts whose time is over, a few at a time, and returns how many.
pub async fn forget_expired(store: &Store) -> sqlx::Result<usize> {
    let over = sqlx::query!(
        "select tenant_id, scope, name from contexts
          where expires_at <= clock()
          order by tenant_id, expires_at
          limit 100"
    )
    .fetch_all(&store.pool)
    .await?;
    let mut gone = 0;
    for row in over {
        let Some(scope) = Scope::from_code(row.scope) else { continue };
        let Ok(name) = ContextName::new(scope, &row.name) else { continue };
        let mut tx = store.pool.begin().await?;
        // Somebody may have written meanwhile.
        let is_over = sqlx::query_scalar!(
            r#"select expires_at <= clock() as "over!" from contexts
                where tenant_id = $1 and scope = $2 and name = $3
                  for update"#,
            row.tenant_id,
            row.scope,
            row.name
        )
        .fetch_optional(&mut *tx)
        .await?;
        if is_over == Some(true) {
            gone += usize::from(forget(&mut tx, TenantId(row.tenant_id), &name).await?);
        }
        tx.commit().await?;
    }
    Ok(gone)
}

async fn forget(tx: &mut PgConnection, tenant: TenantId, name: &ContextName) -> sqlx::Result<bool> {
    let scope = name.scope.code();
    let gone = sqlx::query!(
        "delete from contexts where tenant_id = $1 and scope = $2 and name = $3",
        tenant.0,
        scope,
        name.name()
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "delete from context_changes where tenant_id = $1 and scope = $2 and name = $3",
        tenant.0,
        scope,
        name.name()
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "delete from context_bases
          where tenant_id = $1
            and ((scope = $2 and name = $3) or (other_scope = $2 and other_name = $3))",
        tenant.0,
        scope,
        name.name()
    )
    .execute(&mut *tx)
    .await?;
    Ok(gone.rows_affected() > 0)
}

/// A context whose row this transaction has locked.
struct Held<'a> {
    tenant: TenantId,
    name: &'a ContextName,
    data: Map<String, Value>,
    version: i64,
}

impl<'a> Held<'a> {
    /// Makes it where it is not there, or where its time is over.
    async fn lock(
        tx: &mut PgConnection,
        tenant: TenantId,
        name: &'a ContextName,
    ) -> sqlx::Result<Self> {
        sqlx::query!(
            "insert into contexts (tenant_id, scope, name) values ($1, $2, $3)
                 on conflict do nothing",
            tenant.0,
            name.scope.code(),
            name.name()
        )
        .execute(&mut *tx)
        .await?;
        let row = sqlx::query!(
            r#"select data as "data: Json<Map<String, Value>>", version,
                      coalesce(expires_at <= clock(), false) as "over!"
                 from contexts
                where tenant_id = $1 and scope = $2 and name = $3
                  for update"#,
            tenant.0,
            name.scope.code(),
            name.name()
        )
        .fetch_optional(&mut *tx)
        .await?;
        match row {
            Some(row) if !row.over => {
                Ok(Self { tenant, name, data: row.data.0, version: row.version })
            }
            // It went between the two statements, or is about to.
            _ => {
                forget(&mut *tx, tenant, name).await?;
                Box::pin(Self::lock(tx, tenant, name)).await
            }
        }
    }

    /// What changed after a version, newest first; nothing where that is not known any more.
    async fn since(&self, tx: &mut PgConnection, version: i64) -> sqlx::Result<Vec<Change>> {
        let rows = sqlx::query_scalar!(
            r#"select changes as "changes: Json<Vec<Change>>" from context_changes
                where tenant_id = $1 and scope = $2 and name = $3 and version > $4
                order by version desc"#,
            self.tenant.0,
            self.name.scope.code(),
            self.name.name(),
            version
        )
        .fetch_all(tx)
        .await?;
        // Each record's changes are taken back as a whole.
        Ok(rows.into_iter().flat_map(|changes| changes.0.into_iter().rev()).collect())
    }

    /// Keeps what it has become; without changes only how long it lives.
    async fn keep(
        &mut self,
        tx: &mut PgConnection,
        changes: &[Change],
        Record { by, ttl, at, origin, error }: Record<'_>,
    ) -> sqlx::Result<()> {
        let is_temporary = self.name.scope == Scope::Temporary;
        let ttl = ttl.map(|ttl| ttl.ms).or_else(|| is_temporary.then_some(TEMPORARY_MS));
        let ttl = ttl.and_then(|ms| i64::try_from(ms).ok());
        let is_told = !changes.is_empty() || error.is_some();
        self.version += i64::from(is_told);
        let (scope, name) = (self.name.scope.code(), self.name.name());
        sqlx::query!(
            "update contexts
                set data = $4, version = $5,
                    updated_at = case when version <> $5 then clock() else updated_at end,
                    updated_by = case when version <> $5 then $6 else updated_by end,
                    expires_at = case when $7::bigint is null then expires_at
                                      else clock() + $7 * interval '1 millisecond' end
              where tenant_id = $1 and scope = $2 and name = $3",
            self.tenant.0,
            scope,
            name,
            Json(&self.data) as _,
            self.version,
            by.actor,
            ttl
        )
        .execute(&mut *tx)
        .await?;
        if !is_told {
            return Ok(());
        }
        sqlx::query!(
            "insert into context_changes (tenant_id, scope, name, version, at, actor, why, changes,
                                          seq, attempt, error)
             values ($1, $2, $3, $4, coalesce($8, clock()), $5, $6, $7, $9, $10, $11)",
            self.tenant.0,
            scope,
            name,
            self.version,
            by.actor,
            by.why,
            Json(changes) as _,
            at,
            origin.map(|origin| origin.seq),
            origin.map(|origin| origin.attempt),
            error
        )
        .execute(&mut *tx)
        .await?;
        sqlx::query!(
            "delete from context_changes
              where tenant_id = $1 and scope = $2 and name = $3 and version <= $4",
            self.tenant.0,
            scope,
            name,
            self.version - HISTORY_MAX
        )
        .execute(&mut *tx)
        .await?;
        Ok(())
    }
}

/// When a place was changed last, by what is known of it.
fn last_change(changes: &[(DateTime<Utc>, Vec<Change>)], path: &Path) -> Option<DateTime<Utc>> {
    let touching = changes.iter().filter(|(_, made)| made.iter().any(|it| it.path.touches(path)));
    touching.map(|(at, _)| *at).max()
}
