//! `builtin/merge`: brings the commits of several tasks onto one branch, without a checkout. A
//! commit that conflicts is left out and reported. The branch moves by compare-and-swap; when
//! somebody else moved it meanwhile, everything is computed again. It knows commits, not tasks.

use jobshop_engine::{
    attempt::{Attempt, CapturedCommit, MergeWork, Workspace},
    id::Fence,
};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Inner,
    command::Limits,
    git::{Git, GitFailure, entries, text},
    halt::{Done, Halt},
    log::LogWriter,
    output,
    repository::Repository,
};

/// How often the branch may be moved under our hands.
pub(super) const TRIES: usize = 8;

/// By this line of its message a merge is recognised as one of ours when the task is tried again.
const TRAILER: &str = "Jobshop-Merge";

/// What git says when a compare-and-swap lost.
const LOST: [&str; 5] = [
    "stale info",
    "cannot lock ref",
    "failed to update ref",
    "incorrect old value",
    "reference already exists",
];

/// What became of one commit.
#[derive(Debug, Serialize)]
pub(super) struct Entry {
    pub(super) task: String,
    pub(super) commit: String,
    pub(super) files: Vec<String>,
}

/// The result branch as it grows.
#[derive(Debug)]
pub(super) struct Merge<'a> {
    repository: &'a Repository,
    /// The task that merges, `session/seq`.
    task: String,
    pub(super) branch: String,
    /// Where the branch was found; `None` when there is none yet.
    found: Option<String>,
    /// Where the result began.
    base: String,
    pub(super) tip: String,
    pub(super) merged: Vec<Entry>,
    pub(super) conflicts: Vec<Entry>,
}

impl Inner {
    pub(super) async fn merge(
        &self,
        work: &MergeWork,
        attempt: &Attempt,
        limits: &Limits,
        log: &LogWriter,
    ) -> Done<Value> {
        let Workspace::Clone { repo, base, .. } = &attempt.workspace else {
            return Err(Halt::error("`builtin/merge` needs a `workspace` with a `repo`"));
        };
        let repository = self.repositories.locate(repo, attempt.file_dir.as_deref())?;
        let branch = branch_name(work, &attempt.fence);
        let merging = async {
            check_name(&branch).await?;
            let mut last = String::new();
            for _ in 0..TRIES {
                let mut merge =
                    Merge::begin(&repository, &branch, base.as_deref(), &attempt.fence).await?;
                for commit in &work.commits {
                    merge.add(commit, log).await?;
                }
                let Some(lost) = merge.publish().await? else { return Ok(merge.outputs()) };
                log.note(&format!("`{branch}` was moved meanwhile, merging again: {lost}"));
                last = lost;
            }
            Err(Halt::error(format!("cannot move `{branch}`, tried {TRIES} times: {last}")))
        };
        let outputs = limits.hold(merging).await?;
        let Value::Object(outputs) = outputs else { return Ok(outputs) };
        output::check_schema(&outputs, attempt.schema.as_ref())?;
        output::check_size(&outputs, self.config.output_bytes_max)?;
        Ok(Value::Object(outputs))
    }
}

pub(super) fn branch_name(work: &MergeWork, fence: &Fence) -> String {
    work.into.clone().unwrap_or_else(|| {
        let session = fence.task.session.id.to_string();
        format!("jobshop/{}", &session[session.len() - 8..])
    })
}

pub(super) async fn check_name(branch: &str) -> Done<()> {
    let name = format!("refs/heads/{branch}");
    let is_name = Git::isolated("check-ref-format").arg(name).answer().await?.is_some();
    if is_name && !branch.starts_with('-') {
        return Ok(());
    }
    Err(Halt::error(format!("`{branch}` is not the name of a branch")))
}

impl<'a> Merge<'a> {
    pub(super) async fn begin(
        repository: &'a Repository,
        branch: &str,
        base: Option<&str>,
        fence: &Fence,
    ) -> Done<Self> {
        repository.refresh().await?;
        let found = repository.branch(branch).await?;
        let tip = match &found {
            Some(tip) => tip.clone(),
            None => repository.resolve(base).await?,
        };
        let mut merge = Self {
            repository,
            task: fence.task.to_string(),
            branch: branch.to_owned(),
            found,
            base: tip.clone(),
            tip,
            merged: Vec::new(),
            conflicts: Vec::new(),
        };
        while merge.is_ours(&merge.base).await? {
            merge.base = merge.git("rev-parse").arg(format!("{}^1", merge.base)).line().await?;
        }
        Ok(merge)
    }

    fn git(&self, name: &str) -> Git {
        self.repository.git(name)
    }

    /// Whether an earlier attempt of this task made this commit, whose end was then lost.
    async fn is_ours(&self, commit: &str) -> Done<bool> {
        let format = format!("--format=%(trailers:key={TRAILER},valueonly)");
        let found = self.git("log").args(["-1", &format, commit]).line().await?;
        Ok(found == self.task)
    }

    pub(super) async fn add(&mut self, captured: &CapturedCommit, log: &LogWriter) -> Done<()> {
        let CapturedCommit { task, commit } = captured;
        self.repository.obtain(commit).await?;
        let entry = |files| Entry { task: task.clone(), commit: commit.clone(), files };
        let merge_base = self.git("merge-base").args([&self.base, commit]).answer().await?;
        let Some(merge_base) = merge_base else {
            let name = self.repository.name();
            return Err(Halt::error(format!("{commit} of `{task}` has no history with {name}")));
        };
        let contained = self.git("merge-base").args(["--is-ancestor", commit, &self.tip]);
        if contained.answer().await?.is_some() {
            let files = self.changed(&merge_base, commit).await?;
            self.merged.push(entry(files));
            return Ok(());
        }
        let (code, listed, error) = self
            .git("merge-tree")
            .args(["--write-tree", "-z", "--name-only", "--no-messages", &self.tip, commit])
            .coded()
            .await?;
        let mut listed = entries(&listed).map(text);
        match (code, listed.next()) {
            (0, Some(tree)) => {
                let tip = self.commit(&tree, task, commit).await?;
                let files = self.changed(&self.tip, &tip).await?;
                self.tip = tip;
                self.merged.push(entry(files));
            }
            (1, Some(_)) => {
                let files: Vec<String> = listed.collect();
                log.note(&format!("`{task}` conflicts in {}", files.join(", ")));
                self.conflicts.push(entry(files));
            }
            _ => return Err(GitFailure::from(error).into()),
        }
        Ok(())
    }

    async fn commit(&self, tree: &str, task: &str, commit: &str) -> Done<String> {
        let message = format!("Merge {task}\n\n{TRAILER}: {}\n", self.task);
        let made = self.git("commit-tree").args([tree, "-p", &self.tip, "-p", commit]);
        Ok(made.input(message.into_bytes()).line().await?)
    }

    async fn changed(&self, from: &str, to: &str) -> Done<Vec<String>> {
        let names = self
            .git("diff-tree")
            .args(["-r", "-z", "--name-only", "--no-renames", from, to])
            .bytes()
            .await?;
        Ok(entries(&names).map(text).collect())
    }

    /// Moves the branch from where it was found; says why when it is no longer there.
    pub(super) async fn publish(&self) -> Done<Option<String>> {
        if self.found.as_ref() == Some(&self.tip) {
            return Ok(None);
        }
        let name = format!("refs/heads/{}", self.branch);
        let found = self.found.as_deref().unwrap_or_default();
        let lease = format!("--force-with-lease={name}:{found}");
        match self.repository.push([&lease], &format!("{}:{name}", self.tip)).await {
            Ok(()) => Ok(None),
            Err(GitFailure::Said(error)) if LOST.iter().any(|it| error.said.contains(it)) => {
                Ok(Some(error.said))
            }
            Err(failure) => {
                let (branch, repo) = (&self.branch, self.repository.name());
                Err(Halt::error(format!("cannot push `{branch}` to {repo}: {failure:#}")))
            }
        }
    }

    pub(super) fn outputs(self) -> Value {
        json!({
            "branch": self.branch,
            "commit": self.tip,
            "base": self.base,
            "merged": self.merged,
            "conflicts": self.conflicts,
        })
    }
}
