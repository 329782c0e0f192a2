//! Whether what an attempt made so far can be merged with the branch it is meant for, and with what its
//! siblings made: looked at whenever its workspace becomes a commit. Nothing is stopped by it: people
//! and merges decide what comes of a conflict. It does not know how commits are made.

use std::{future::pending, pin::Pin, time::Duration};

use jobshop_engine::{
    attempt::{Attempt, Workspace},
    checkpoint::Snapshot,
    store::conflicts::{Look, Other},
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until, timeout},
};

use super::{
    Inner,
    git::{GitFailure, entries, text},
    halt::Done,
    keeper::Keeper,
    link::{Keep, Link},
    log::LogWriter,
    repository::{Repository, is_commit_id},
};

/// Checkpoints may follow one another quickly; looks do not.
const PAUSE: Duration = Duration::from_secs(3);
/// What cannot be told in this time is not told.
const LOOK_WITHIN: Duration = Duration::from_mins(1);
/// Files that are named of one conflict.
const FILES_MAX: usize = 200;

/// Checkpoints on their way to who keeps them, each looked at as it passes.
pub(super) struct Passing {
    checkpoints: mpsc::Receiver<Keep>,
    onward: mpsc::Sender<Keep>,
}

impl Passing {
    /// Puts itself into the way. `None` where nobody keeps checkpoints.
    pub(super) fn over(link: &mut Link) -> Option<Self> {
        let onward = link.checkpoints.take()?;
        let (sender, checkpoints) = mpsc::channel(1);
        link.checkpoints = Some(sender);
        Some(Self { checkpoints, onward })
    }
}

impl Inner {
    /// Hands checkpoints on until nobody makes any more. Nobody waits for a look.
    pub(super) async fn look_at_checkpoints(
        &self,
        passing: Option<Passing>,
        attempt: &Attempt,
        (keeper, log): (Option<&Keeper>, &LogWriter),
    ) {
        let Some(Passing { mut checkpoints, onward }) = passing else { return };
        let mut look: Option<Pin<Box<dyn Future<Output = ()> + Send + '_>>> = None;
        // What is looked at next, and when.
        let mut waiting: Option<(Snapshot, watch::Receiver<bool>)> = None;
        let mut due = Instant::now();
        loop {
            let is_due = look.is_none() && waiting.is_some();
            let looking = async {
                match &mut look {
                    Some(look) => look.await,
                    None => pending().await,
                }
            };
            tokio::select! {
                checkpoint = checkpoints.recv() => {
                    let Some(checkpoint) = checkpoint else { return };
                    if let Some(snapshot) = checkpoint.checkpoint.workspace.clone() {
                        waiting = Some((snapshot, checkpoint.kept.subscribe()));
                    }
                    // Who keeps them is gone only when the attempt is lost.
                    let _ = onward.send(checkpoint).await;
                }
                () = looking => {
                    look = None;
                    due = Instant::now() + PAUSE;
                }
                () = sleep_until(due), if is_due => {
                    look = waiting.take().zip(keeper).map(|((snapshot, mut kept), keeper)| {
                        Box::pin(async move {
                            // Of two that look at once, the later sees what the other made.
                            if kept.wait_for(|is_kept| *is_kept).await.is_err() {
                                return;
                            }
                            self.show_so_far(attempt, &snapshot, (keeper, log)).await;
                            self.compare(attempt, &snapshot.commit, keeper, log).await;
                        }) as Pin<Box<dyn Future<Output = ()> + Send + '_>>
                    });
                }
            }
        }
    }

    /// Compares a commit with the branch and with the siblings, and records what came of it. What
    /// cannot be compared is passed over.
    pub(super) async fn compare(
        &self,
        attempt: &Attempt,
        commit: &str,
        keeper: &Keeper,
        log: &LogWriter,
    ) {
        match timeout(LOOK_WITHIN, self.looks(attempt, commit, keeper)).await {
            Ok(Ok(looks)) => {
                for look in looks.iter().filter(|look| !look.files.is_empty()) {
                    let with = match &look.other {
                        Other::Task(seq) => format!("task {seq}"),
                        Other::Branch(branch) => format!("`{branch}`"),
                    };
                    log.note(&format!("conflicts with {with} in {}", look.files.join(", ")));
                }
                keeper.conflicts(attempt.fence, commit, &looks).await;
            }
            Ok(Err(halt)) => tracing::warn!(?halt, "cannot look for conflicts"),
            Err(_) => tracing::warn!("looking for conflicts takes too long"),
        }
    }

    async fn looks(&self, attempt: &Attempt, commit: &str, keeper: &Keeper) -> Done<Vec<Look>> {
        let Workspace::Clone { repo, base, .. } = &attempt.workspace else { return Ok(Vec::new()) };
        let repository = self.repositories.locate(repo, attempt.file_dir.as_deref())?;
        let mut others = Vec::new();
        if let Some(target) = target(&repository, base.as_deref()).await {
            others.push(target);
        }
        for sibling in keeper.siblings(attempt.fence).await {
            if repository.obtain(&sibling.commit).await.is_ok() {
                others.push((Other::Task(sibling.seq), sibling.commit));
            }
        }
        let mut looks = Vec::with_capacity(others.len());
        for (other, theirs) in others {
            if let Some(files) = conflicting(&repository, commit, &theirs).await? {
                looks.push(Look { other, commit: theirs, files });
            }
        }
        Ok(looks)
    }
}

/// The branch that a workspace began at, as it is now.
async fn target(repository: &Repository, base: Option<&str>) -> Option<(Other, String)> {
    if base.is_some_and(is_commit_id) {
        return None;
    }
    let tip = match base {
        Some(branch) => {
            repository.refresh().await.ok()?;
            repository.branch(branch).await.ok()??
        }
        None => repository.resolve(None).await.ok()?,
    };
    Some((Other::Branch(base.unwrap_or("HEAD").to_owned()), tip))
}

/// The files in which two commits conflict; `None` where they have nothing to do with each other.
async fn conflicting(
    repository: &Repository,
    ours: &str,
    theirs: &str,
) -> Result<Option<Vec<String>>, GitFailure> {
    let (code, listed, error) = repository
        .git("merge-tree")
        .args(["--write-tree", "-z", "--name-only", "--no-messages", ours, theirs])
        .coded()
        .await?;
    // The tree comes first.
    let mut files = entries(&listed).map(text).skip(1);
    match code {
        0 => Ok(Some(Vec::new())),
        1 => {
            let mut files: Vec<String> = files.by_ref().take(FILES_MAX).collect();
            files.sort_unstable();
            files.dedup();
            Ok(Some(files))
        }
        _ => {
            tracing::debug!(%error, "two commits cannot be compared");
            Ok(None)
        }
    }
}
