//! Deleting sessions and restoring them. A deleted session is hidden from every list and look-up;
//! nothing of it is gone.

use super::{
    Store,
    events::{self, Entry},
    sessions::SteerError,
    steer::{self, By, Locked},
};
use crate::{event::EventKind, id::SessionKey};

/// Hides a session that has ended.
pub async fn delete(store: &Store, key: SessionKey, by: By<'_>) -> Result<(), SteerError> {
    let mut tx = store.pool.begin().await?;
    let state = Locked::read(&mut tx, key).await?.state;
    if !state.is_final() {
        return Err(SteerError::NotEnded(state));
    }
    let hidden = sqlx::query!(
        "update sessions set deleted_at = clock(), deleted_by = $3
          where tenant_id = $1 and id = $2 and deleted_at is null",
        key.tenant.0,
        key.id.0,
        by.actor,
    )
    .execute(&mut *tx)
    .await?;
    if hidden.rows_affected() == 0 {
        return Err(SteerError::NotFound(key.id));
    }
    let event = Entry::of_session(EventKind::SessionDeleted, by.body());
    events::append(&mut tx, key, &[event], by.actor).await?;
    tx.commit().await?;
    steer::tell(store, key);
    Ok(())
}

/// Shows a deleted session again.
pub async fn restore(store: &Store, key: SessionKey, by: By<'_>) -> Result<(), SteerError> {
    let mut tx = store.pool.begin().await?;
    Locked::read(&mut tx, key).await?;
    let shown = sqlx::query!(
        "update sessions set deleted_at = null, deleted_by = null
          where tenant_id = $1 and id = $2 and deleted_at is not null",
        key.tenant.0,
        key.id.0,
    )
    .execute(&mut *tx)
    .await?;
    if shown.rows_affected() == 0 {
        return Err(SteerError::NotDeleted);
    }
    let event = Entry::of_session(EventKind::SessionRestored, by.body());
    events::append(&mut tx, key, &[event], by.actor).await?;
    tx.commit().await?;
    steer::tell(store, key);
    Ok(())
}
