//! The rules of a tenant about what its agents may do. What is removed stays as a row, because events
//! name it and because who removed it matters.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{PgExecutor, PgPool};
use thiserror::Error;
use utoipa::ToSchema;
use uuid::Uuid;

use super::view::unknown_code;
use crate::{
    duration::Span,
    id::TenantId,
    policy::{Action, Asking, OnTimeout, Patterns, Rule, Unfit},
    question::{Kind, Status},
    suggestion::{self, Past, Suggestion},
};

/// Rules that a tenant may have.
const RULES_MAX: i64 = 1_000;

/// A rule as users see it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct PolicyObject {
    pub id: Uuid,
    /// From 1, in the order in which rules are looked at; null of one that was removed.
    #[schema(required)]
    pub position: Option<i64>,
    /// A pattern, as those that follow: `*` stands for anything.
    pub tool: String,
    #[schema(required)]
    pub command: Option<String>,
    #[schema(required)]
    pub path: Option<String>,
    #[schema(required)]
    pub host: Option<String>,
    pub action: Action,
    /// Of a rule that asks: names of keys and roles that may answer; empty: every key that may submit.
    pub from: Vec<String>,
    pub quorum: i32,
    #[schema(value_type = String)]
    pub timeout: Span,
    pub on_timeout: OnTimeout,
    #[schema(required)]
    pub reason: Option<String>,
    pub created_by: String,
    pub created_at: DateTime<Utc>,
    #[schema(required)]
    pub removed_by: Option<String>,
    #[schema(required)]
    pub removed_at: Option<DateTime<Utc>>,
}

/// A rule to be kept, and where.
#[derive(Debug, Clone)]
pub struct NewPolicy<'a> {
    pub patterns: Patterns,
    pub action: Action,
    pub asking: Asking,
    /// Before the rule that is there now, from 1; behind all others without it.
    pub position: Option<i64>,
    pub reason: Option<&'a str>,
    pub by: &'a str,
}

#[derive(Debug, Error)]
pub enum PolicyError {
    #[error("there is no rule `{0}`")]
    NotFound(String),
    #[error("`{given}` is the end of several ids: {}", candidates.join(", "))]
    Ambiguous { given: String, candidates: Vec<String> },
    #[error(transparent)]
    Unfit(#[from] Unfit),
    #[error("a tenant has at most 1000 rules")]
    TooMany,
    #[error("the database did not take the rule")]
    Database(#[from] sqlx::Error),
}

/// The rules of a tenant in the order in which they are looked at.
pub async fn rules(db: impl PgExecutor<'_>, tenant: TenantId) -> sqlx::Result<Vec<Rule>> {
    let rows = sqlx::query!(
        "select id, tool, command, path, host, action, deciders, quorum, timeout_ms, on_timeout
           from policies
          where tenant_id = $1 and removed_at is null
          order by position, id
          limit $2",
        tenant.0,
        RULES_MAX,
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| {
            let action = Action::from_code(row.action);
            let on_timeout = OnTimeout::from_code(row.on_timeout);
            Ok(Rule {
                id: row.id,
                patterns: Patterns {
                    tool: row.tool,
                    command: row.command,
                    path: row.path,
                    host: row.host,
                },
                action: action.ok_or_else(|| unknown_code("action of a rule", row.action))?,
                asking: Asking {
                    from: row.deciders,
                    quorum: row.quorum,
                    timeout: Span { ms: row.timeout_ms.cast_unsigned() },
                    on_timeout: on_timeout
                        .ok_or_else(|| unknown_code("timeout of a rule", row.on_timeout))?,
                },
            })
        })
        .collect()
}

/// The rules as users see them, in order; removed ones behind them where asked for.
pub async fn list(
    db: &PgPool,
    tenant: TenantId,
    with_removed: bool,
) -> sqlx::Result<Vec<PolicyObject>> {
    let rows = sqlx::query!(
        "select id, tool, command, path, host, action, deciders, quorum, timeout_ms, on_timeout,
                reason, created_by, created_at, removed_by, removed_at
           from policies
          where tenant_id = $1 and (removed_at is null or $3)
          order by removed_at is not null, position, id
          limit $2",
        tenant.0,
        RULES_MAX,
        with_removed,
    )
    .fetch_all(db)
    .await?;
    (1..)
        .zip(rows)
        .map(|(place, row)| {
            let action = Action::from_code(row.action);
            let on_timeout = OnTimeout::from_code(row.on_timeout);
            Ok(PolicyObject {
                id: row.id,
                position: row.removed_at.is_none().then_some(place),
                tool: row.tool,
                command: row.command,
                path: row.path,
                host: row.host,
                action: action.ok_or_else(|| unknown_code("action of a rule", row.action))?,
                from: row.deciders,
                quorum: row.quorum,
                timeout: Span { ms: row.timeout_ms.cast_unsigned() },
                on_timeout: on_timeout
                    .ok_or_else(|| unknown_code("timeout of a rule", row.on_timeout))?,
                reason: row.reason,
                created_by: row.created_by,
                created_at: row.created_at,
                removed_by: row.removed_by,
                removed_at: row.removed_at,
            })
        })
        .collect()
}

/// Keeps a rule. Questions that are open stay as they are.
pub async fn add(
    db: &PgPool,
    tenant: TenantId,
    new: NewPolicy<'_>,
) -> Result<PolicyObject, PolicyError> {
    let NewPolicy { patterns, action, asking, .. } = new;
    let rule = Rule { id: Uuid::now_v7(), patterns, action, asking };
    rule.check()?;
    let mut tx = db.begin().await?;
    // Places are given one after another.
    sqlx::query_scalar!(
        "select tenant_id from tenants where tenant_id = $1 for no key update",
        tenant.0
    )
    .fetch_optional(&mut *tx)
    .await?;
    let places = sqlx::query_scalar!(
        "select position from policies
          where tenant_id = $1 and removed_at is null
          order by position, id
          limit $2",
        tenant.0,
        RULES_MAX,
    )
    .fetch_all(&mut *tx)
    .await?;
    if places.len() >= usize::try_from(RULES_MAX).unwrap_or(usize::MAX) {
        return Err(PolicyError::TooMany);
    }
    let before = new.position.and_then(|it| usize::try_from(it.max(1) - 1).ok());
    sqlx::query!(
        "insert into policies (tenant_id, id, position, tool, command, path, host, action, deciders,
                               quorum, timeout_ms, on_timeout, reason, created_by, created_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, clock())",
        tenant.0,
        rule.id,
        place(&places, before),
        rule.patterns.tool,
        rule.patterns.command,
        rule.patterns.path,
        rule.patterns.host,
        rule.action.code(),
        &rule.asking.from,
        rule.asking.quorum,
        rule.asking.timeout.ms.cast_signed(),
        rule.asking.on_timeout.code(),
        new.reason,
        new.by,
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    one(db, tenant, rule.id).await
}

async fn one(db: &PgPool, tenant: TenantId, id: Uuid) -> Result<PolicyObject, PolicyError> {
    let found = list(db, tenant, true).await?.into_iter().find(|policy| policy.id == id);
    found.ok_or_else(|| PolicyError::NotFound(id.to_string()))
}

/// Rules that people might want, by what they answered last.
pub async fn suggestions(db: &PgPool, tenant: TenantId) -> sqlx::Result<Vec<Suggestion>> {
    const LOOKED_AT: i64 = 2_000;
    let rows = sqlx::query!(
        r#"select tool, what, allowed as "allowed!", answered_by as "by!"
             from questions
            where tenant_id = $1 and status = $2 and kind = $3
              and allowed is not null and answered_by is not null
            order by decided_at desc
            limit $4"#,
        tenant.0,
        Status::Answered.code(),
        Kind::Permission.code(),
        LOOKED_AT,
    )
    .fetch_all(db)
    .await?;
    let past: Vec<Past> = rows
        .into_iter()
        .flat_map(|row| {
            let (tool, allowed, by) = (row.tool, row.allowed, row.by);
            row.what.into_iter().map(move |what| Past {
                tool: tool.clone(),
                what,
                allowed,
                by: by.clone(),
            })
        })
        .collect();
    let rules = rules(db, tenant).await?;
    Ok(suggestion::suggest(&past, &rules))
}

/// A number before the place that is named, and behind the one before it.
fn place(places: &[f64], before: Option<usize>) -> f64 {
    let Some(before) = before.filter(|it| *it < places.len()) else {
        return places.last().map_or(1.0, |last| last + 1.0);
    };
    match before.checked_sub(1).map(|it| places[it]) {
        Some(last) => f64::midpoint(last, places[before]),
        None => places[before] - 1.0,
    }
}

/// Takes a rule, named by its id or an end of it, out of use.
pub async fn remove(
    db: &PgPool,
    tenant: TenantId,
    given: &str,
    by: &str,
) -> Result<PolicyObject, PolicyError> {
    let tail = given.replace('-', "").to_ascii_lowercase();
    let found = sqlx::query_scalar!(
        "select id from policies
          where tenant_id = $1 and removed_at is null
            and right(replace(id::text, '-', ''), length($2)) = $2
          order by id
          limit 4",
        tenant.0,
        tail,
    )
    .fetch_all(db)
    .await?;
    let id = match found.as_slice() {
        [only] if tail.len() >= 6 => *only,
        [] | [_] => return Err(PolicyError::NotFound(given.to_owned())),
        several => {
            let candidates = several.iter().map(Uuid::to_string).collect();
            return Err(PolicyError::Ambiguous { given: given.to_owned(), candidates });
        }
    };
    sqlx::query!(
        "update policies set removed_by = $3, removed_at = clock()
          where tenant_id = $1 and id = $2 and removed_at is null",
        tenant.0,
        id,
        by,
    )
    .execute(db)
    .await?;
    one(db, tenant, id).await
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn there_is_room_before_each_rule_and_behind_all() {
        let places = [1.0, 2.0, 4.0];
        assert!(place(&places, Some(0)) < 1.0);
        assert!((1.0..2.0).contains(&place(&places, Some(1))));
        assert!((2.0..4.0).contains(&place(&places, Some(2))));
        assert!(place(&places, Some(9)) > 4.0 && place(&places, None) > 4.0);
        assert!(place(&[], None) > 0.0);
    }
}
