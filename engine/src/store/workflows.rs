//! Registered workflows: what a name stands for.

use std::sync::Arc;

use thiserror::Error;

use super::{Hint, Store, Version, schedules};
use crate::{
    id::{TenantId, VersionId},
    workflow::{self, Problem},
};

/// What applying a definition did.
#[derive(Debug)]
pub struct Applied {
    pub name: String,
    pub version: i32,
    /// False when the workflow stood at this content already.
    pub changed: bool,
}

#[derive(Debug, Error)]
pub enum DefinitionError {
    #[error("the workflow is not valid")]
    Invalid(Vec<Problem>),
    #[error("the database did not take the workflow")]
    Database(#[from] sqlx::Error),
}

/// The version with this content, compiled and stored if it is new. It does not change what the
/// workflow's name stands for.
pub async fn version_of(
    store: &Store,
    tenant: TenantId,
    definition: &str,
) -> Result<Arc<Version>, DefinitionError> {
    if let Some(version) = store.versions.known(tenant, definition) {
        return Ok(version);
    }
    let plan = workflow::compile(definition).map_err(DefinitionError::Invalid)?;
    let version = store.versions.intern(&store.pool, tenant, definition, &plan).await?;
    store.hints.send(Hint::Route);
    Ok(version)
}

/// Makes a definition what its name stands for, whatever that was before.
pub async fn apply(
    store: &Store,
    tenant: TenantId,
    definition: &str,
) -> Result<Applied, DefinitionError> {
    let version = version_of(store, tenant, definition).await?;
    let mut tx = store.pool.begin().await?;
    let changed = sqlx::query!(
        "update workflows set applied = $3, updated_at = clock()
          where tenant_id = $1 and name = $2 and applied is distinct from $3",
        tenant.0,
        version.plan.name,
        version.number
    )
    .execute(&mut *tx)
    .await?
    .rows_affected();
    if changed == 1 {
        schedules::sync(&mut tx, tenant, &version.plan.name, &version.plan.schedules).await?;
    }
    tx.commit().await?;
    store.hints.send(Hint::Undecided);
    Ok(Applied { name: version.plan.name.clone(), version: version.number, changed: changed == 1 })
}

/// Makes a definition what its name stands for if the name stands for version `over` until then,
/// or, with `None`, for nothing; otherwise nothing is changed and the answer is `None`.
pub async fn apply_over(
    store: &Store,
    tenant: TenantId,
    definition: &str,
    over: Option<i32>,
) -> Result<Option<Applied>, DefinitionError> {
    let version = version_of(store, tenant, definition).await?;
    let mut tx = store.pool.begin().await?;
    let done = sqlx::query!(
        "update workflows set applied = $3, updated_at = clock()
          where tenant_id = $1 and name = $2 and applied is not distinct from $4",
        tenant.0,
        version.plan.name,
        version.number,
        over
    )
    .execute(&mut *tx)
    .await?
    .rows_affected();
    if done == 1 {
        schedules::sync(&mut tx, tenant, &version.plan.name, &version.plan.schedules).await?;
    }
    tx.commit().await?;
    store.hints.send(Hint::Undecided);
    let changed = over != Some(version.number);
    let applied = Applied { name: version.plan.name.clone(), version: version.number, changed };
    Ok((done == 1).then_some(applied))
}

/// The version that a name stands for, or its version of that number; `None` when there is none.
pub async fn named(
    store: &Store,
    tenant: TenantId,
    name: &str,
    number: Option<i32>,
) -> sqlx::Result<Option<Arc<Version>>> {
    let id = sqlx::query_scalar!(
        "select v.id
           from workflows w
           join workflow_versions v on v.tenant_id = w.tenant_id and v.name = w.name
                                   and v.version = coalesce($3, w.applied)
          where w.tenant_id = $1 and w.name = $2",
        tenant.0,
        name,
        number
    )
    .fetch_optional(&store.pool)
    .await?;
    match id {
        Some(id) => store.versions.load(&store.pool, tenant, VersionId(id)).await,
        None => Ok(None),
    }
}
