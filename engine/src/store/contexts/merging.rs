//! Merging one context into another, from what both were when that was done last.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use sqlx::{PgConnection, types::Json};

use super::{By, ContextError, Held, Record, Written, last_change};
use crate::{
    context::{self, Change, Conflict, ContextName, Path, Refused, Side, Strategy},
    id::TenantId,
    store::Store,
};

/// What is merged into a context.
#[derive(Debug, Clone)]
pub enum Source {
    Context(ContextName),
    /// What somebody made of this version of the target.
    Data {
        data: Map<String, Value>,
        base: i64,
    },
}

/// A merge to be made.
#[derive(Debug, Clone)]
pub struct Merge {
    pub target: ContextName,
    pub source: Source,
    pub strategy: Strategy,
    /// Nothing is written.
    pub dry_run: bool,
}

/// What a merge came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    pub written: Written,
    /// Places that both sides had changed, and whose value was taken.
    pub conflicts: Vec<Conflict>,
}

/// What is known of the source.
struct Other {
    data: Map<String, Value>,
    base: Map<String, Value>,
    changes: Vec<(DateTime<Utc>, Vec<Change>)>,
}

/// Merges. A conflict that the strategy does not settle refuses all of it; a dry run tells it.
pub async fn merge(
    store: &Store,
    tenant: TenantId,
    merge: &Merge,
    by: By<'_>,
) -> Result<Outcome, ContextError> {
    let mut tx = store.pool.begin().await?;
    let mut held = Held::lock(&mut tx, tenant, &merge.target).await?;
    let other = match &merge.source {
        Source::Context(name) if *name == merge.target => return Err(ContextError::Itself),
        Source::Context(name) => of_context(&mut tx, &held, name).await?,
        Source::Data { data, base } => {
            Other { data: data.clone(), base: held.at(&mut tx, *base).await?, changes: Vec::new() }
        }
    };
    let own = changes_of(&mut tx, tenant, &merge.target).await?;
    let is_new = matches!(merge.source, Source::Data { .. });
    let later = |path: &Path| {
        let is_later = last_change(&other.changes, path) > last_change(&own, path);
        if is_new || is_later { Side::Source } else { Side::Target }
    };
    let merged = context::merge(&other.base, &held.data, &other.data, merge.strategy, &later);
    let bytes = Value::Object(merged.data.clone()).to_string().len();
    if bytes > context::BYTES_MAX {
        return Err(Refused::TooLarge(bytes).into());
    }
    if merge.dry_run {
        let written = Written { version: held.version, changes: merged.changes };
        return Ok(Outcome { written, conflicts: merged.conflicts });
    }
    if !merged.is_settled() {
        return Err(ContextError::Conflicts(merged.conflicts));
    }
    held.data = merged.data;
    let how = match &merge.source {
        Source::Context(name) => format!("merged {name} ({})", merge.strategy),
        Source::Data { base, .. } => {
            format!("merged a change of version {base} ({})", merge.strategy)
        }
    };
    let why = by.why.map_or_else(|| how.clone(), |why| format!("{how}: {why}"));
    held.keep(&mut tx, &merged.changes, Record::of(By { why: Some(&why), ..by }, None)).await?;
    if let Source::Context(name) = &merge.source {
        keep_base(&mut tx, &held, name, &other.data).await?;
    }
    tx.commit().await?;
    let written = Written { version: held.version, changes: merged.changes };
    Ok(Outcome { written, conflicts: merged.conflicts })
}

async fn of_context(
    tx: &mut PgConnection,
    target: &Held<'_>,
    name: &ContextName,
) -> Result<Other, ContextError> {
    let data = sqlx::query_scalar!(
        r#"select data as "data: Json<Map<String, Value>>" from contexts
            where tenant_id = $1 and scope = $2 and name = $3
              and (expires_at is null or expires_at > clock())"#,
        target.tenant.0,
        name.scope.code(),
        name.name()
    )
    .fetch_optional(&mut *tx)
    .await?;
    let data = data.ok_or_else(|| ContextError::NotFound(name.to_string()))?;
    let (first, second) = pair(target.name, name);
    let base = sqlx::query_scalar!(
        r#"select data as "data: Json<Map<String, Value>>" from context_bases
            where tenant_id = $1 and scope = $2 and name = $3
              and other_scope = $4 and other_name = $5"#,
        target.tenant.0,
        first.scope.code(),
        first.name(),
        second.scope.code(),
        second.name()
    )
    .fetch_optional(&mut *tx)
    .await?;
    let changes = changes_of(tx, target.tenant, name).await?;
    Ok(Other { data: data.0, base: base.map(|base| base.0).unwrap_or_default(), changes })
}

fn pair<'a>(one: &'a ContextName, another: &'a ContextName) -> (&'a ContextName, &'a ContextName) {
    if one < another { (one, another) } else { (another, one) }
}

async fn keep_base(
    tx: &mut PgConnection,
    target: &Held<'_>,
    source: &ContextName,
    data: &Map<String, Value>,
) -> sqlx::Result<()> {
    let (first, second) = pair(target.name, source);
    sqlx::query!(
        "insert into context_bases (tenant_id, scope, name, other_scope, other_name, data)
         values ($1, $2, $3, $4, $5, $6)
             on conflict on constraint context_bases_pkey do update set data = excluded.data",
        target.tenant.0,
        first.scope.code(),
        first.name(),
        second.scope.code(),
        second.name(),
        Json(data) as _
    )
    .execute(tx)
    .await
    .map(drop)
}

async fn changes_of(
    tx: &mut PgConnection,
    tenant: TenantId,
    name: &ContextName,
) -> sqlx::Result<Vec<(DateTime<Utc>, Vec<Change>)>> {
    let rows = sqlx::query!(
        r#"select at, changes as "changes: Json<Vec<Change>>" from context_changes
            where tenant_id = $1 and scope = $2 and name = $3
            order by version desc"#,
        tenant.0,
        name.scope.code(),
        name.name()
    )
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(|row| (row.at, row.changes.0)).collect())
}

impl Held<'_> {
    /// What it was at a version.
    async fn at(
        &self,
        tx: &mut PgConnection,
        version: i64,
    ) -> Result<Map<String, Value>, ContextError> {
        super::reading::at(&mut *tx, self.tenant, self.name, version).await
    }
}
