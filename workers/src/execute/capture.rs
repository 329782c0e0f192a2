//! Takes what an agent left in its workspace as a commit, and publishes it. The agent may have
//! rewritten everything in there, its clone's `.git` included, so nothing in there is trusted: git
//! is called with a repository of ours, a private index, no attributes and no configuration; what
//! lies in nested repositories is left alone. It does not know what the agent was asked.

use std::{collections::BTreeMap, ffi::OsStr, fs, os::unix::ffi::OsStrExt as _, path::Path};

use anyhow::Context as _;
use jobshop_engine::id::Fence;
use serde::Serialize;

use super::{
    directory::remove_tree,
    git::{Git, GitFailure, entries, make_bare, text},
    halt::{Done, Halt},
    log::LogWriter,
    repository::Repository,
};

/// The mode of an entry that names a commit of another repository.
const SUBMODULE: &[u8] = b"160000";

/// A commit made of a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Captured {
    /// The base itself when nothing was changed.
    pub(crate) commit: String,
    pub(crate) diff_stat: DiffStat,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct DiffStat {
    pub(crate) files: u64,
    pub(crate) insertions: u64,
    pub(crate) deletions: u64,
}

/// A repository of our own beside the workspace, made once nothing of the attempt is alive.
struct Scratch<'a> {
    repository: &'a Repository,
    git_dir: &'a Path,
    work_tree: &'a Path,
}

/// Commits the workspace on top of `base`. Submodules stay as they are in `base`.
pub(crate) async fn capture(
    repository: &Repository,
    (git_dir, work_tree): (&Path, &Path),
    base: &str,
    message: &str,
    log: &LogWriter,
) -> Done<Captured> {
    let scratch = Scratch { repository, git_dir, work_tree };
    let tree = scratch.tree(base, log).await?;
    scratch.commit(&tree, base, message).await
}

/// The same while an agent may still work there: a commit on top of `base` and of the checkpoint
/// before it, or that one again when nothing has changed since.
pub(crate) async fn checkpoint(
    repository: &Repository,
    (git_dir, work_tree): (&Path, &Path),
    (base, last): (&str, Option<&str>),
    message: &str,
    log: &LogWriter,
) -> Done<String> {
    let scratch = Scratch { repository, git_dir, work_tree };
    let tree = scratch.tree(base, log).await?;
    let before = last.unwrap_or(base);
    if tree == scratch.git("rev-parse").arg(format!("{before}^{{tree}}")).line().await? {
        return Ok(before.to_owned());
    }
    let mut commit = scratch.git("commit-tree").args([&tree, "-p", base]);
    if let Some(last) = last.filter(|last| *last != base) {
        commit = commit.args(["-p", last]);
    }
    Ok(commit.input(message.as_bytes().to_vec()).line().await?)
}

/// Pushes a checkpoint under a name of its attempt's; those before it are its ancestors.
pub(crate) async fn publish_checkpoint(
    repository: &Repository,
    fence: &Fence,
    commit: &str,
) -> Done<()> {
    let session = fence.task.session.id;
    let name = format!("refs/jobshop/{session}/checkpoints/{}.{}", fence.task.seq, fence.attempt);
    push(repository, commit, &name).await
}

/// Pushes a captured commit under a name of its task's, for workspaces on other machines.
pub(crate) async fn publish(repository: &Repository, fence: &Fence, commit: &str) -> Done<()> {
    let name = format!("refs/jobshop/{}/{}", fence.task.session.id, fence.task.seq);
    push(repository, commit, &name).await
}

async fn push(repository: &Repository, commit: &str, name: &str) -> Done<()> {
    let pushed = repository.push(["--quiet"], &format!("+{commit}:{name}")).await;
    pushed.map_err(|failure| {
        Halt::error(format!("cannot push {name} to {}: {failure:#}", repository.name()))
    })
}

impl Scratch<'_> {
    /// The workspace as a tree.
    async fn tree(&self, base: &str, log: &LogWriter) -> Done<String> {
        if !fs::symlink_metadata(self.work_tree).is_ok_and(|found| found.is_dir()) {
            return Err(Halt::error("the workspace is no longer a directory"));
        }
        remove_tree(self.git_dir).context("clearing the place of the private index")?;
        make_bare(self.git_dir)?;
        self.git("read-tree").arg(base).bytes().await?;
        let submodules = self.submodules().await?;
        self.forget(submodules.keys()).await?;
        self.add(log).await?;
        let nested = self.submodules().await?;
        self.forget(nested.keys()).await?;
        self.put_back(&submodules).await?;
        Ok(self.git("write-tree").line().await?)
    }

    fn git(&self, name: &str) -> Git {
        Git::isolated(name)
            .dir(self.git_dir)
            .objects(&self.repository.objects())
            .work_tree(self.work_tree)
    }

    /// Puts the state of the files into the index. Its only entries are files and links, so git
    /// has no reason to look into a nested repository; those it finds on its own are skipped.
    async fn add(&self, log: &LogWriter) -> Done<()> {
        // Without a path it means everything; with one it fails where nothing is tracked.
        self.git("add").arg("--update").bytes().await?;
        let others =
            self.git("ls-files").args(["-z", "--others", "--exclude-standard"]).bytes().await?;
        let (nested, files): (Vec<_>, Vec<_>) =
            entries(&others).partition(|path| path.ends_with(b"/"));
        for path in nested {
            log.note(&format!("not captured: {} is a repository of its own", text(path)));
        }
        let files = joined(files);
        self.git("update-index").args(["--add", "-z", "--stdin"]).input(files).bytes().await?;
        Ok(())
    }

    /// The entries of submodules in the index: path and line.
    async fn submodules(&self) -> Done<BTreeMap<Vec<u8>, Vec<u8>>> {
        let listed = self.git("ls-files").args(["-z", "--stage"]).bytes().await?;
        let lines = entries(&listed).filter(|line| line.starts_with(SUBMODULE));
        let pairs = lines.filter_map(|line| {
            let tab = line.iter().position(|byte| *byte == b'\t')?;
            Some((line[tab + 1..].to_vec(), line.to_vec()))
        });
        Ok(pairs.collect())
    }

    async fn forget(&self, paths: impl Iterator<Item = &Vec<u8>>) -> Done<()> {
        let paths = joined(paths.map(Vec::as_slice).collect());
        if !paths.is_empty() {
            let forget = self.git("update-index").args(["--force-remove", "-z", "--stdin"]);
            forget.input(paths).bytes().await?;
        }
        Ok(())
    }

    /// A submodule whose folder is still there, without files of its own, stays what it was.
    async fn put_back(&self, submodules: &BTreeMap<Vec<u8>, Vec<u8>>) -> Done<()> {
        let mut kept = Vec::new();
        for (path, line) in submodules {
            let folder = self.work_tree.join(OsStr::from_bytes(path));
            let is_folder = fs::symlink_metadata(folder).is_ok_and(|found| found.is_dir());
            let listing = self.git("ls-files").args(["-z", "--"]);
            let files = listing.arg(OsStr::from_bytes(path)).bytes().await?;
            if is_folder && files.is_empty() {
                kept.push(line.as_slice());
            }
        }
        if !kept.is_empty() {
            let put = self.git("update-index").args(["-z", "--index-info"]);
            put.input(joined(kept)).bytes().await?;
        }
        Ok(())
    }

    async fn commit(&self, tree: &str, base: &str, message: &str) -> Done<Captured> {
        let before = self.git("rev-parse").arg(format!("{base}^{{tree}}")).line().await?;
        if tree == before {
            return Ok(Captured { commit: base.to_owned(), diff_stat: DiffStat::default() });
        }
        let commit = self.git("commit-tree").args([tree, "-p", base]);
        let commit = commit.input(message.as_bytes().to_vec()).line().await?;
        let diff_stat = between(self.repository, base, &commit).await?;
        Ok(Captured { commit, diff_stat })
    }
}

/// What changed from one commit to another. Asked of the cache: with a work tree or an index git would
/// read `.gitmodules` there.
pub(crate) async fn between(
    repository: &Repository,
    base: &str,
    commit: &str,
) -> Result<DiffStat, GitFailure> {
    let changes = repository
        .git("diff-tree")
        .args(["-r", "-z", "--numstat", "--no-renames", "--no-ext-diff", "--no-textconv"])
        .args([base, commit])
        .bytes()
        .await?;
    Ok(diff_stat(&changes))
}

/// Sums lines `insertions deletions path`; binary files have `-` for numbers.
fn diff_stat(numstat: &[u8]) -> DiffStat {
    let mut sum = DiffStat::default();
    for line in entries(numstat) {
        let line = text(line);
        let mut numbers = line.split('\t').map(|number| number.parse().unwrap_or(0));
        sum.files += 1;
        sum.insertions += numbers.next().unwrap_or(0);
        sum.deletions += numbers.next().unwrap_or(0);
    }
    sum
}

fn joined(paths: Vec<&[u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for path in paths {
        bytes.extend_from_slice(path);
        bytes.push(0);
    }
    bytes
}
