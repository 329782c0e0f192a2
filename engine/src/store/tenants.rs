//! Tenants: the owners of everything else. It does not decide who may make one.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgPool;
use thiserror::Error;
use utoipa::ToSchema;
use uuid::Uuid;

use super::view::{Page, ReadError, Views, cut, from_cursor, rows_to_read, to_cursor};
use crate::{id::TenantId, role};

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TenantObject {
    pub id: Uuid,
    pub name: String,
    /// How often it has its turn where several have work, 1 to 100.
    pub weight: i16,
    pub created_at: DateTime<Utc>,
}

#[derive(Debug, Error)]
pub enum TenantError {
    #[error(
        "`{0}` cannot be the name of a tenant: use 1 to 64 lower-case letters, digits and dashes, the first no dash"
    )]
    BadName(String),
    #[error("the weight of a tenant is 1 to 100, not {0}")]
    BadWeight(i16),
    #[error("there is a tenant `{0}` already")]
    Exists(String),
    #[error("there is no tenant `{0}`")]
    NotFound(String),
    #[error("the database did not take the tenant")]
    Database(#[from] sqlx::Error),
}

pub async fn create(db: &PgPool, name: &str, weight: i16) -> Result<TenantObject, TenantError> {
    if !role::is_tenant_name(name) {
        return Err(TenantError::BadName(name.to_owned()));
    }
    if !(1..=100).contains(&weight) {
        return Err(TenantError::BadWeight(weight));
    }
    let created = sqlx::query_as!(
        TenantObject,
        "insert into tenants (tenant_id, name, weight) values ($1, $2, $3)
             on conflict on constraint tenants_name do nothing
         returning tenant_id as id, name, weight, created_at",
        Uuid::now_v7(),
        name,
        weight
    )
    .fetch_optional(db)
    .await?;
    created.ok_or_else(|| TenantError::Exists(name.to_owned()))
}

pub async fn find(db: &PgPool, name: &str) -> Result<TenantId, TenantError> {
    let id = sqlx::query_scalar!("select tenant_id from tenants where name = $1", name)
        .fetch_optional(db)
        .await?;
    id.map(TenantId).ok_or_else(|| TenantError::NotFound(name.to_owned()))
}

impl Views {
    /// All tenants in the order of their making; for the installation's own alone.
    pub async fn tenants(
        &self,
        cursor: Option<&str>,
        limit: Option<i64>,
    ) -> Result<Page<TenantObject>, ReadError> {
        let after = cursor.map(from_cursor).transpose()?.map_or(Uuid::nil(), Uuid::from_bytes);
        let read = rows_to_read(limit);
        let mut items = sqlx::query_as!(
            TenantObject,
            "select tenant_id as id, name, weight, created_at
               from tenants
              where tenant_id > $1
              order by tenant_id
              limit $2",
            after,
            read
        )
        .fetch_all(&self.db)
        .await?;
        let more = cut(&mut items, read);
        let next = if more { items.last().map(|it| to_cursor(it.id.as_bytes())) } else { None };
        Ok(Page { items, next })
    }
}
