//! What an attempt changed in its repository: file by file, and as a patch. It is kept when the work is
//! done, so that it can be shown when no name leads to the commits any more. It does not know who made
//! the commits.

use std::path::Path;

use anyhow::Context as _;
use jobshop_engine::{
    attempt::{Attempt, Work, Workspace},
    checkpoint::Snapshot,
    diff::{FILES_MAX, FileChange, FileStatus, Stat},
    outcome::Outcome,
    store::{contents::Naming, diffs::NewDiff, objects::ContentId},
};
use serde_json::{Map, Value};
use tokio::{fs, time::sleep};

use super::{
    Inner,
    artifacts::REMOVAL,
    git::{GitFailure, entries, text},
    halt::{Done, Halt},
    keeper::Keeper,
    log::LogWriter,
    repository::{Repository, is_commit_id},
    verify::Judging,
};

/// The longest patch that is kept.
const PATCH_BYTES_MAX: u64 = 64 << 20;

impl Inner {
    /// Keeps what an attempt changed, once its outcome stands. An accident here is told in its log and
    /// fails nothing.
    pub(super) async fn keep_diff(
        &self,
        attempt: &Attempt,
        outcome: Outcome,
        judging: Judging<'_>,
    ) -> Outcome {
        let outputs = match &outcome {
            Outcome::Succeeded(Value::Object(outputs))
            | Outcome::Failed { outputs: Value::Object(outputs), .. } => outputs,
            Outcome::Succeeded(_)
            | Outcome::Failed { .. }
            | Outcome::Released
            | Outcome::Deferred(_)
            | Outcome::Parked => return outcome,
        };
        let (Some(keeper), true) = (judging.keeper, captures(attempt)) else { return outcome };
        let Some(step) = Step::of(outputs) else { return outcome };
        let commit = step.commit.clone();
        let keeping = async {
            self.kept_diff(attempt, step, (keeper, judging.log)).await?;
            // A merge is what conflicts are for.
            if !matches!(attempt.work, Work::Merge(_)) {
                self.compare(attempt, &commit, keeper, judging.log).await;
            }
            Ok(())
        };
        match judging.limits.hold(keeping).await {
            Ok(()) => outcome,
            Err(Halt::Failed(failure)) => {
                judging.log.note(&format!("the diff is not kept: {}", failure.message));
                outcome
            }
            Err(halt @ (Halt::Released | Halt::Refused { .. } | Halt::Parked)) => halt.into(),
        }
    }

    /// What an attempt that goes on has changed so far. The next look shows more, so nothing is lost
    /// when this one cannot.
    pub(super) async fn show_so_far(
        &self,
        attempt: &Attempt,
        snapshot: &Snapshot,
        (keeper, log): (&Keeper, &LogWriter),
    ) {
        let Snapshot { base, commit } = snapshot.clone();
        if base == commit {
            return;
        }
        let step = Step { base, commit, merged: Vec::new() };
        if let Err(halt) = self.kept_diff(attempt, step, (keeper, log)).await {
            tracing::debug!(?halt, "what an attempt changed so far is not shown");
        }
    }

    async fn kept_diff(
        &self,
        attempt: &Attempt,
        step: Step,
        (keeper, log): (&Keeper, &LogWriter),
    ) -> Done<()> {
        let Workspace::Clone { repo, .. } = &attempt.workspace else { return Ok(()) };
        let repository = self.repositories.locate(repo, attempt.file_dir.as_deref())?;
        let mut files = changes(&repository, &step.base, &step.commit).await?;
        let stat = Stat::of(&files);
        files.truncate(FILES_MAX);
        let mut diff = NewDiff {
            repo: repository.name(),
            base: step.base.clone(),
            commit: step.commit.clone(),
            merged: step.merged.clone(),
            stat,
            files,
            patch: None,
        };
        let mut is_again = false;
        loop {
            if let Some(objects) = keeper.objects() {
                let file = tempfile::NamedTempFile::new_in(&self.config.data_dir);
                let file = file.context("making a file for the patch")?.into_temp_path();
                let file = patch(&repository, &step, &file).await?;
                let tenant = attempt.fence.task.session.tenant;
                diff.patch = kept_patch(objects, tenant, file, log).await?;
            }
            match keeper.diff(attempt.fence, &diff, is_again).await {
                Naming::Done => return Ok(()),
                Naming::Lost => return Err(Halt::Released),
                // Somebody just removes what nothing named any more.
                Naming::Busy => {
                    is_again = false;
                    sleep(REMOVAL).await;
                }
                Naming::StoreAgain => is_again = true,
            }
        }
    }
}

/// Whether `commit` and `base` among the outputs are ours and not the task's own words.
fn captures(attempt: &Attempt) -> bool {
    match &attempt.work {
        Work::Agent(_) | Work::Merge(_) => true,
        Work::Run(_) => attempt.expected.verify.is_some(),
        Work::Noop | Work::Fail(..) | Work::Http(_) => false,
    }
}

/// From one commit to another.
struct Step {
    base: String,
    commit: String,
    merged: Vec<String>,
}

impl Step {
    /// `None` where nothing changed.
    fn of(outputs: &Map<String, Value>) -> Option<Self> {
        let commit_of = |name: &str| {
            let found = outputs.get(name)?.as_str()?;
            is_commit_id(found).then(|| found.to_owned())
        };
        let (base, commit) = (commit_of("base")?, commit_of("commit")?);
        let merged = outputs.get("merged").and_then(Value::as_array).into_iter().flatten();
        let merged = merged.filter_map(|entry| entry.get("commit")?.as_str().map(str::to_owned));
        let merged = merged.collect();
        (base != commit).then_some(Self { base, commit, merged })
    }
}

/// The files that differ, in the order of their paths.
async fn changes(
    repository: &Repository,
    base: &str,
    commit: &str,
) -> Result<Vec<FileChange>, GitFailure> {
    let tree = |form: &str| {
        repository
            .git("diff-tree")
            .args(["-r", "-z", "--no-renames", "--no-ext-diff", "--no-textconv"])
            .args([form, base, commit])
    };
    let statuses = tree("--name-status").bytes().await?;
    let numbers = tree("--numstat").bytes().await?;
    let statuses: Vec<&[u8]> = entries(&statuses).collect();
    let files = statuses.chunks_exact(2).zip(entries(&numbers)).map(|(pair, numbers)| {
        let numbers = text(numbers);
        let mut numbers = numbers.split('\t').map(|number| number.parse().ok());
        FileChange {
            path: text(pair[1]),
            status: match pair[0] {
                b"A" => FileStatus::Added,
                b"D" => FileStatus::Deleted,
                b"T" => FileStatus::Retyped,
                _ => FileStatus::Modified,
            },
            insertions: numbers.next().flatten(),
            deletions: numbers.next().flatten(),
        }
    });
    Ok(files.collect())
}

/// Writes the patch into a file: it may be longer than what fits into memory.
async fn patch(repository: &Repository, step: &Step, file: &Path) -> Done<fs::File> {
    let mut output = std::ffi::OsString::from("--output=");
    output.push(file);
    repository
        .git("diff-tree")
        .args(["-r", "-p", "--binary", "--full-index", "--no-renames"])
        .args(["--no-ext-diff", "--no-textconv", "--no-color"])
        .arg(output)
        .args([&step.base, &step.commit])
        .bytes()
        .await?;
    Ok(fs::File::open(file).await.context("opening the patch")?)
}

async fn kept_patch(
    objects: &jobshop_engine::store::objects::Objects,
    tenant: jobshop_engine::id::TenantId,
    file: fs::File,
    log: &LogWriter,
) -> Done<Option<(ContentId, u64)>> {
    let bytes = file.metadata().await.context("reading the patch")?.len();
    if bytes > PATCH_BYTES_MAX {
        log.note(&format!(
            "the patch has {bytes} bytes and is not kept: at most {PATCH_BYTES_MAX}"
        ));
        return Ok(None);
    }
    Ok(Some(objects.put_file(tenant, file).await.context("keeping the patch")?))
}
