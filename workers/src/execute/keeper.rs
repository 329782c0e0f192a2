//! Keeps what an attempt proves, signed with the key of this worker. It outlasts an outage of the
//! database, so drop it when the attempt is lost.

use std::{sync::Arc, time::Duration};

use jobshop_engine::{
    checkpoint::Resume,
    evidence::{Finding, Signer, Statement},
    id::{Fence, TaskKey},
    store::{
        self, Store,
        artifacts::{self, NewArtifact},
        checkpoints,
        conflicts::{self, Look, Sibling},
        contents::Naming,
        diffs::{self, NewDiff},
        evidence,
        objects::Objects,
    },
};

const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Cheap to clone; one for each registration of a worker.
#[derive(Debug, Clone)]
pub struct Keeper {
    store: Store,
    signer: Arc<Signer>,
}

impl Keeper {
    pub fn new(store: Store, signer: Arc<Signer>) -> Self {
        Self { store, signer }
    }

    /// False when the attempt has lost its fence.
    pub(super) async fn evidence(&self, fence: Fence, task: &str, finding: Finding) -> bool {
        let statement = Statement::new(fence, task, finding);
        let signed = self.signer.sign(&statement);
        insist(fence, || evidence::keep(&self.store, fence, &statement, &signed)).await
    }

    /// The files that an attempt left, whose contents are stored; `is_again` where they were stored again.
    pub(super) async fn artifacts(
        &self,
        fence: Fence,
        files: &[NewArtifact],
        is_again: bool,
    ) -> Naming {
        insist(fence, || artifacts::keep(&self.store, fence, files, is_again)).await
    }

    /// What it changed in a repository; the same for the patch.
    pub(super) async fn diff(&self, fence: Fence, diff: &NewDiff, is_again: bool) -> Naming {
        insist(fence, || diffs::keep(&self.store, fence, diff, is_again)).await
    }

    /// What other tasks of the session made so far, as far as it is known.
    pub(super) async fn siblings(&self, fence: Fence) -> Vec<Sibling> {
        match conflicts::siblings(&self.store.pool, fence).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "conflicts with other tasks are not looked for");
                Vec::new()
            }
        }
    }

    /// What a commit conflicts with. It is said again after the next look, so an outage is not waited
    /// for.
    pub(super) async fn conflicts(&self, fence: Fence, commit: &str, looks: &[Look]) {
        if let Err(error) = conflicts::record(&self.store, fence, commit, looks).await {
            tracing::warn!(%error, %fence, "conflicts cannot be recorded");
        }
    }

    /// Where contents of files go, if anywhere.
    pub(super) fn objects(&self) -> Option<&Objects> {
        self.store.objects.as_ref()
    }

    /// What an agent's conversation came to so far, as far as it is kept.
    pub(super) async fn conversation(&self, task: TaskKey) -> Option<Resume> {
        match checkpoints::conversation(&self.store.pool, task).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "the conversation with an agent begins anew");
                None
            }
        }
    }
}

/// Asks until the database answers.
async fn insist<A, T>(fence: Fence, ask: impl Fn() -> A) -> T
where
    A: Future<Output = store::Result<T>>,
{
    let mut delay = RETRY_FIRST;
    loop {
        match ask().await {
            Ok(is_kept) => return is_kept,
            Err(error) => tracing::warn!(%error, %fence, "cannot store what an attempt left yet"),
        }
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(RETRY_MAX);
    }
}
