//! Registered workflows: what a name stands for. Changing that is [`super::applying`]'s.

use std::sync::Arc;

use thiserror::Error;

use super::{Hint, Store, Version};
use crate::{
    id::{TenantId, VersionId},
    workflow::{self, Problem},
};

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
