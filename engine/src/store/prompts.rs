//! The versions of the built-in workflow that prompts run as.

use std::sync::Arc;

use super::{Hint, Store, Version, workflows::DefinitionError};
use crate::{
    id::TenantId,
    prompt::{self, Agent},
};

/// The version for this agent, stored if it is new. No name stands for it.
pub async fn version_of(
    store: &Store,
    tenant: TenantId,
    agent: &Agent,
) -> Result<Arc<Version>, DefinitionError> {
    let (definition, plan) = prompt::definition(agent).map_err(DefinitionError::Invalid)?;
    let version = store.versions.intern(&store.pool, tenant, &definition, &plan).await?;
    store.hints.send(Hint::Route);
    Ok(version)
}
