//! Archiving: a walk over all sessions, a stretch at a time, that archives what ended long enough ago
//! and removes what archived sessions left, and contents of files that nothing names any more. Any
//! number of processes may walk at once.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::store::{
    Store,
    archiving::{self, Walk},
    contents,
};

/// Between two stretches, and between two walks.
const STRETCH_EVERY: Duration = Duration::from_millis(500);
const WALK_EVERY: Duration = Duration::from_secs(5);
/// Between two batches of rows that are removed.
const BREATH: Duration = Duration::from_millis(20);

/// Walks until cancelled. Errors are logged and outlived.
pub(super) async fn run(store: &Store, stop: &CancellationToken) {
    let mut walk = Walk::default();
    while !stop.is_cancelled() {
        let wait = match turn(store, &mut walk).await {
            Ok(0) if walk.is_at_start() => WALK_EVERY,
            Ok(0) => STRETCH_EVERY,
            Ok(_) => BREATH,
            Err(error) => {
                tracing::warn!(%error, "archiving could not read or write; it goes on");
                WALK_EVERY
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Archives everything that is due and clears all of it; returns how many sessions that were.
pub async fn retain(store: &Store) -> sqlx::Result<usize> {
    let mut walk = Walk::default();
    let mut archived = 0;
    loop {
        archived += stretch(store, &mut walk).await?;
        if walk.is_at_start() {
            break;
        }
    }
    while archiving::clear(&store.pool).await? > 0 {}
    while contents::remove(store).await? > 0 {}
    Ok(archived)
}

/// A batch of what is left to clear, else a stretch of the walk.
async fn turn(store: &Store, walk: &mut Walk) -> sqlx::Result<usize> {
    let cleared = archiving::clear(&store.pool).await?;
    if cleared > 0 {
        return Ok(usize::try_from(cleared).unwrap_or(usize::MAX));
    }
    if walk.is_at_start() {
        let removed = contents::remove(store).await?;
        if removed > 0 {
            return Ok(usize::try_from(removed).unwrap_or(usize::MAX));
        }
    }
    stretch(store, walk).await
}

async fn stretch(store: &Store, walk: &mut Walk) -> sqlx::Result<usize> {
    if !archiving::is_wanted(&store.pool, &store.retention).await? {
        *walk = Walk::default();
        return Ok(0);
    }
    let Some(archive) = &store.retention.archive else { return Ok(0) };
    let mut due = archiving::look(&store.pool, &store.retention, walk).await?;
    // Processes that walk at once begin at different places, so that they seldom write the same file.
    let middle = uuid::Uuid::new_v4().as_u128() % (due.len().max(1) as u128);
    due.rotate_left(usize::try_from(middle).unwrap_or_default());
    let mut archived = 0;
    for session in due {
        match archiving::archive(store, archive, session).await {
            Ok(true) => {
                archived += 1;
                tracing::info!(session.id = %session.key.id, "archived");
            }
            Ok(false) => {}
            Err(error) => {
                // What went wrong with one session says nothing of the next.
                let source = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(session.id = %session.key.id, %error, source, "not archived");
            }
        }
    }
    Ok(archived)
}
