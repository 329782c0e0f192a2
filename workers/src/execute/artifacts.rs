//! Files of a workspace that are kept when an attempt ends: found by what the task declares, stored by
//! their contents. Whoever worked there is gone by then, but may have left links to anywhere and
//! pipes that nobody writes to, so only plain files below the workspace count. It does not know what
//! the files are.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use jobshop_engine::{
    artifact::{PATH_BYTES_MAX, Pattern},
    attempt::Attempt,
    id::Fence,
    outcome::{ErrorClass, Failure, Outcome},
    size::Size,
    store::{artifacts::NewArtifact, contents::Naming},
};
use tokio::time::sleep;

use super::{
    Inner,
    command::Limits,
    directory::Directory,
    halt::{Done, Halt},
    keeper::Keeper,
    log::LogWriter,
    verify::Judging,
};

/// Files of one attempt.
const FILES_MAX: usize = 10_000;
/// How long what a failed attempt left may take to be stored, whatever its timeout.
const SALVAGE: Duration = Duration::from_secs(30);

/// What somebody who removes a content gets for it, before it is looked at again.
pub(super) const REMOVAL: Duration = Duration::from_millis(500);

/// A file that is meant.
#[derive(Debug)]
struct Found {
    /// In the workspace, with `/` between its parts.
    name: String,
    path: PathBuf,
}

/// What was found.
#[derive(Debug, Default)]
struct Findings {
    files: Vec<Found>,
    bytes: u64,
    /// What is meant and cannot be kept, with the reason.
    passed_over: Vec<String>,
}

impl Inner {
    /// Keeps the declared files of an attempt that ended by itself. What cannot be kept fails one that
    /// went well; one that failed is told so in its log.
    pub(super) async fn collect(
        &self,
        attempt: &Attempt,
        directory: &Directory,
        outcome: Outcome,
        judging: Judging<'_>,
    ) -> Outcome {
        let (Some(keeper), false) = (judging.keeper, attempt.expected.artifacts.is_empty()) else {
            return outcome;
        };
        let has_failed = match &outcome {
            Outcome::Succeeded(_) => false,
            Outcome::Failed { .. } => true,
            Outcome::Released | Outcome::Deferred(_) | Outcome::Parked => return outcome,
        };
        let limits: &Limits =
            if has_failed { &judging.limits.extended(SALVAGE) } else { judging.limits };
        let collecting = self.kept(attempt, directory, (keeper, judging.log), has_failed);
        match (limits.hold(collecting).await, outcome) {
            (Ok(()), outcome) => outcome,
            (Err(Halt::Failed(failure)), Outcome::Succeeded(outputs)) => {
                let outputs = if attempt.is_failure_allowed { outputs } else { empty() };
                Outcome::Failed { failure, outputs }
            }
            (Err(Halt::Failed(failure)), outcome) => {
                judging.log.note(&failure.message);
                outcome
            }
            (Err(halt @ (Halt::Released | Halt::Refused { .. } | Halt::Parked)), _) => halt.into(),
        }
    }

    async fn kept(
        &self,
        attempt: &Attempt,
        directory: &Directory,
        (keeper, log): (&Keeper, &LogWriter),
        has_failed: bool,
    ) -> Done<()> {
        let patterns = attempt.expected.artifacts.iter().map(|text| text.parse::<Pattern>());
        let patterns: Vec<Pattern> = patterns
            .collect::<Result<_, _>>()
            .map_err(|error| Halt::failed(ErrorClass::Template, format!("artifacts: {error}")))?;
        let (workspace, most) = (directory.workspace(), self.config.artifact_bytes_max);
        let looking = tokio::task::spawn_blocking(move || look(&workspace, &patterns, most));
        let (findings, missing) = looking.await.context("looking for artifacts")??;
        for passed_over in &findings.passed_over {
            log.note(&format!("not kept as an artifact: {passed_over}"));
        }
        if let Some(missing) = missing.filter(|_| !has_failed) {
            return Err(Halt::error(format!("the artifact `{missing}` is not there")));
        }
        if findings.files.is_empty() {
            log.note("artifacts: no file is called so");
            return Ok(());
        }
        let files = self::keep(&findings.files, attempt.fence, keeper).await?;
        log.note(&format!("artifacts: {} file(s), {} bytes", files.len(), findings.bytes));
        Ok(())
    }
}

fn empty() -> serde_json::Value {
    serde_json::Value::Object(serde_json::Map::new())
}

/// Stores the files and names them. What somebody is just removing, because nothing named it any more, is
/// stored once more.
async fn keep(found: &[Found], fence: Fence, keeper: &Keeper) -> Done<Vec<NewArtifact>> {
    let mut is_again = false;
    loop {
        let files = store(found, fence, keeper).await?;
        match keeper.artifacts(fence, &files, is_again).await {
            Naming::Done => return Ok(files),
            Naming::Lost => return Err(Halt::Released),
            Naming::Busy => {
                is_again = false;
                sleep(REMOVAL).await;
            }
            Naming::StoreAgain => is_again = true,
        }
    }
}

async fn store(files: &[Found], fence: Fence, keeper: &Keeper) -> Done<Vec<NewArtifact>> {
    let Some(objects) = keeper.objects() else {
        return Err(Halt::error(
            "there is no place for artifacts: this worker has no folder or bucket for them \
             (JOBSHOP_ARTIFACTS)",
        ));
    };
    let mut kept = Vec::with_capacity(files.len());
    for found in files {
        let named = || format!("keeping the artifact `{}`", found.name);
        let file = open(&found.path).with_context(named)?;
        let tenant = fence.task.session.tenant;
        let stored = objects.put_file(tenant, tokio::fs::File::from_std(file)).await;
        let (sha256, bytes) = stored.with_context(named)?;
        kept.push(NewArtifact { path: found.name.clone(), bytes, sha256 });
    }
    Ok(kept)
}

/// Opens a plain file, whatever has taken its place since it was looked at.
fn open(path: &Path) -> io::Result<File> {
    let flags = nix::fcntl::OFlag::O_NOFOLLOW | nix::fcntl::OFlag::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no plain file"));
    }
    Ok(file)
}

/// The files that are meant, and the first pattern that names one file or folder which is not there.
fn look(workspace: &Path, patterns: &[Pattern], most: Size) -> Done<(Findings, Option<String>)> {
    let mut findings = Findings::default();
    let mut seen = vec![false; patterns.len()];
    let mut walk = Walk { patterns, most, seen: &mut seen, findings: &mut findings };
    walk.folder(workspace, &mut Vec::new())?;
    findings.files.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let missing = patterns
        .iter()
        .zip(&seen)
        .find(|(pattern, seen)| pattern.is_literal() && !**seen)
        .filter(|(pattern, _)| !is_folder(workspace, pattern.text()));
    Ok((findings, missing.map(|(pattern, _)| pattern.text().to_owned())))
}

/// An empty folder is there, although no file of it is.
fn is_folder(workspace: &Path, name: &str) -> bool {
    fs::symlink_metadata(workspace.join(name)).is_ok_and(|found| found.is_dir())
}

struct Walk<'a> {
    patterns: &'a [Pattern],
    most: Size,
    /// Which patterns meant something.
    seen: &'a mut [bool],
    findings: &'a mut Findings,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &Path, above: &mut Vec<String>) -> Done<()> {
        const DEPTH_MAX: usize = 128;
        let within: Vec<&str> = above.iter().map(String::as_str).collect();
        let is_wanted = self.patterns.iter().any(|pattern| pattern.leads_into(&within));
        if !is_wanted || above.len() > DEPTH_MAX {
            return Ok(());
        }
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => {
                self.findings.passed_over.push(format!("{}: {error}", above.join("/")));
                return Ok(());
            }
        };
        for entry in entries {
            let entry = entry.context("looking for artifacts")?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if above.is_empty() && name == ".git" {
                continue;
            }
            let kind = entry.file_type().context("looking for artifacts")?;
            above.push(name);
            if kind.is_dir() {
                self.folder(&entry.path(), above)?;
            } else {
                self.file(&entry, kind.is_file(), above)?;
            }
            above.pop();
        }
        Ok(())
    }

    fn file(&mut self, entry: &fs::DirEntry, is_plain: bool, parts: &[String]) -> Done<()> {
        let within: Vec<&str> = parts.iter().map(String::as_str).collect();
        let mut is_meant = false;
        for (pattern, seen) in self.patterns.iter().zip(self.seen.iter_mut()) {
            if pattern.covers(&within) {
                (is_meant, *seen) = (true, true);
            }
        }
        if !is_meant {
            return Ok(());
        }
        let name = parts.join("/");
        if !is_plain {
            self.findings.passed_over.push(format!("{name} is a link or no plain file"));
            return Ok(());
        }
        if name.len() > PATH_BYTES_MAX || name.contains('\0') {
            self.findings.passed_over.push(format!("{name} has too long a path"));
            return Ok(());
        }
        let bytes = entry.metadata().context("looking for artifacts")?.len();
        self.findings.bytes += bytes;
        if self.findings.bytes > self.most.bytes {
            return Err(Halt::Failed(Failure::new(
                ErrorClass::TooLarge,
                format!(
                    "the artifacts are larger than {} together; `{name}` has {bytes} bytes",
                    self.most
                ),
            )));
        }
        self.findings.files.push(Found { name, path: entry.path() });
        if self.findings.files.len() > FILES_MAX {
            return Err(Halt::failed(
                ErrorClass::TooLarge,
                format!("more than {FILES_MAX} files are artifacts of one attempt"),
            ));
        }
        Ok(())
    }
}
