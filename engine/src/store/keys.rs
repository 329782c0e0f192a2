//! Keys: what people and programs come in with. Only the SHA-256 of a key is kept, so whoever reads
//! the database cannot come in. It does not make keys up and does not decide what a role allows.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgPool;
use thiserror::Error;
use utoipa::ToSchema;
use uuid::Uuid;

use super::view::{
    Page, ReadError, Views, cut, from_cursor, rows_to_read, to_cursor, unknown_code,
};
use crate::{
    id::TenantId,
    role::{self, Role},
};

/// Whose key it is: the tenant it opens, and who acts with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub tenant: TenantId,
    pub name: String,
    pub role: Role,
    /// The key it came in with; none for the server's own token.
    pub key: Option<Uuid>,
}

/// A key, without the key itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct KeyObject {
    pub id: Uuid,
    pub name: String,
    pub role: Role,
    /// The name of its tenant.
    pub tenant: String,
    pub created_by: String,
    pub created_at: DateTime<Utc>,
    /// From then on it opens nothing.
    #[schema(required)]
    pub revoked_at: Option<DateTime<Utc>>,
}

/// A key to be kept.
#[derive(Debug, Clone, Copy)]
pub struct NewKey<'a> {
    pub name: &'a str,
    pub role: Role,
    /// SHA-256 of the key.
    pub hash: &'a [u8],
    pub created_by: &'a str,
}

#[derive(Debug, Error)]
pub enum KeyError {
    #[error(
        "`{0}` cannot be the name of a key: use 1 to 64 letters, digits and `. _ @ + -`, the first a letter or digit, and no role's name"
    )]
    BadName(String),
    #[error("there is a key `{0}` already; revoke it first")]
    Exists(String),
    #[error("there is no key `{0}`")]
    NotFound(String),
    #[error("the database did not take the key")]
    Database(#[from] sqlx::Error),
}

struct KeyRow {
    id: Uuid,
    name: String,
    role: i16,
    tenant: String,
    created_by: String,
    created_at: DateTime<Utc>,
    revoked_at: Option<DateTime<Utc>>,
}

impl KeyRow {
    fn into_object(self) -> sqlx::Result<KeyObject> {
        Ok(KeyObject {
            id: self.id,
            name: self.name,
            role: Role::from_code(self.role).ok_or_else(|| unknown_code("role", self.role))?,
            tenant: self.tenant,
            created_by: self.created_by,
            created_at: self.created_at,
            revoked_at: self.revoked_at,
        })
    }
}

/// Who holds the key with this hash; `None` for an unknown or revoked one.
pub async fn holder(db: &PgPool, hash: &[u8]) -> sqlx::Result<Option<Holder>> {
    let row = sqlx::query!(
        "select tenant_id, id, name, role from keys where hash = $1 and revoked_at is null limit 1",
        hash
    )
    .fetch_optional(db)
    .await?;
    row.map(|row| {
        let role = Role::from_code(row.role).ok_or_else(|| unknown_code("role", row.role))?;
        Ok(Holder { tenant: TenantId(row.tenant_id), name: row.name, role, key: Some(row.id) })
    })
    .transpose()
}

/// Whether what somebody came in with has been revoked since.
pub async fn is_revoked(db: &PgPool, holder: &Holder) -> sqlx::Result<bool> {
    let Some(key) = holder.key else { return Ok(false) };
    let holds = sqlx::query_scalar!(
        r#"select exists (select from keys
                           where tenant_id = $1 and id = $2 and revoked_at is null) as "holds!""#,
        holder.tenant.0,
        key
    )
    .fetch_one(db)
    .await?;
    Ok(!holds)
}

pub async fn create(db: &PgPool, tenant: TenantId, new: NewKey<'_>) -> Result<KeyObject, KeyError> {
    if !role::is_key_name(new.name) || role::RESERVED_NAMES.contains(&new.name) {
        return Err(KeyError::BadName(new.name.to_owned()));
    }
    let row = sqlx::query_as!(
        KeyRow,
        r#"with made as (
               insert into keys (tenant_id, id, name, hash, role, created_by)
               values ($1, $2, $3, $4, $5, $6)
                   on conflict (tenant_id, name) where revoked_at is null do nothing
               returning tenant_id, id, name, role, created_by, created_at, revoked_at
           )
           select k.id as "id!", k.name as "name!", k.role as "role!", t.name as tenant,
                  k.created_by as "created_by!", k.created_at as "created_at!", k.revoked_at
             from made k
             join tenants t on t.tenant_id = k.tenant_id"#,
        tenant.0,
        Uuid::now_v7(),
        new.name,
        new.hash,
        new.role.code(),
        new.created_by
    )
    .fetch_optional(db)
    .await?;
    Ok(row.ok_or_else(|| KeyError::Exists(new.name.to_owned()))?.into_object()?)
}

/// Takes its power from a key. Revoking it again changes nothing.
pub async fn revoke(db: &PgPool, tenant: TenantId, name: &str) -> Result<KeyObject, KeyError> {
    sqlx::query!(
        "update keys set revoked_at = clock()
          where tenant_id = $1 and name = $2 and revoked_at is null",
        tenant.0,
        name
    )
    .execute(db)
    .await?;
    let row = sqlx::query_as!(
        KeyRow,
        "select k.id, k.name, k.role, t.name as tenant, k.created_by, k.created_at, k.revoked_at
           from keys k
           join tenants t on t.tenant_id = k.tenant_id
          where k.tenant_id = $1 and k.name = $2
          order by k.revoked_at desc
          limit 1",
        tenant.0,
        name
    )
    .fetch_optional(db)
    .await?;
    Ok(row.ok_or_else(|| KeyError::NotFound(name.to_owned()))?.into_object()?)
}

impl Views {
    /// The keys of the tenant in the order of their making, revoked ones too.
    pub async fn keys(
        &self,
        cursor: Option<&str>,
        limit: Option<i64>,
    ) -> Result<Page<KeyObject>, ReadError> {
        let after = cursor.map(from_cursor).transpose()?.map_or(Uuid::nil(), Uuid::from_bytes);
        let read = rows_to_read(limit);
        let mut rows = sqlx::query_as!(
            KeyRow,
            "select k.id, k.name, k.role, t.name as tenant, k.created_by, k.created_at,
                    k.revoked_at
               from keys k
               join tenants t on t.tenant_id = k.tenant_id
              where k.tenant_id = $1 and k.id > $2
              order by k.id
              limit $3",
            self.tenant.0,
            after,
            read
        )
        .fetch_all(&self.db)
        .await?;
        let more = cut(&mut rows, read);
        let next = if more { rows.last().map(|row| to_cursor(row.id.as_bytes())) } else { None };
        let items = rows.into_iter().map(KeyRow::into_object).collect::<sqlx::Result<_>>()?;
        Ok(Page { items, next })
    }
}
