//! What archived sessions left in the repositories that tasks of this worker were given: the names under
//! which their commits are kept go, a batch at a time, once no session that is kept goes on with them.
//! It does not know how a repository is reached.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jobshop_engine::{
    id::SessionId,
    store::{Store, commits},
};
use tokio::time::sleep;

use crate::{
    life::Life,
    workspaces::{self, Repository},
};

/// Each time every repository is asked for its names.
const EVERY: Duration = Duration::from_hours(1);
/// Sessions that the database is asked about at once.
const SESSIONS_MAX: usize = 500;

/// Looks after the repositories again and again. Errors are logged and outlived.
pub(crate) async fn tidy(life: Arc<Life>, folder: PathBuf) {
    loop {
        sleep(EVERY).await;
        match remove(&life.store, &folder).await {
            Ok(0) => {}
            Ok(names) => {
                tracing::info!(names, "removed what archived sessions left in repositories");
            }
            Err(error) => {
                tracing::warn!(error = %format!("{error:#}"), "names of archived sessions stay");
            }
        }
    }
}

/// Removes the names of archived sessions from every repository of which this folder has a cache, but not
/// those of sessions that are pinned here. Returns how many. A repository that cannot be reached is
/// passed over.
pub async fn remove(store: &Store, folder: &Path) -> anyhow::Result<usize> {
    if !commits::is_any_archived(&store.pool).await? {
        return Ok(0);
    }
    let mut removed = 0;
    let mut seen = HashSet::new();
    for repository in workspaces::repositories(folder)? {
        if !seen.insert(repository.name()) {
            continue;
        }
        match remove_from(store, folder, &repository).await {
            Ok(names) => removed += names,
            Err(error) => {
                let repo = repository.name();
                tracing::warn!(repo, error = %format!("{error:#}"), "a repository is passed over");
            }
        }
    }
    Ok(removed)
}

async fn remove_from(
    store: &Store,
    folder: &Path,
    repository: &Repository,
) -> anyhow::Result<usize> {
    let refs = repository.refs().await?;
    let sessions: HashSet<SessionId> = refs.iter().map(|it| it.session).collect();
    let sessions: Vec<SessionId> = sessions.into_iter().collect();
    let mut unneeded = HashSet::new();
    for some in sessions.chunks(SESSIONS_MAX) {
        for session in commits::unneeded(&store.pool, some).await? {
            if !workspaces::has_pins(folder, session)? {
                unneeded.insert(session);
            }
        }
    }
    let names = refs.into_iter().filter(|it| unneeded.contains(&it.session)).map(|it| it.name);
    let names: Vec<String> = names.collect();
    if !names.is_empty() {
        repository.remove(&names).await?;
    }
    Ok(names.len())
}
