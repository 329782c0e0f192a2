//! How git is called, in two ways. *Isolated*, for everything that meets files of an agent: no
//! configuration but the one given here, no hooks, filters or attributes, so that nothing in a
//! tree can make git execute it. *Transport*, for fetch and push, where no tree is met: with the
//! user's own configuration, because there are the credentials and proxies. It does not know what
//! the commands are for.

use std::{fs, io, path::Path, process::Stdio};

use anyhow::Context as _;
use thiserror::Error;
use tokio::{io::AsyncWriteExt as _, process::Command};

use super::halt::Halt;

/// The object every repository has without storing it. Attributes are read from it: from nowhere.
const EMPTY_TREE: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";

/// Whatever git could be made to execute or to change on its way, switched off. These win over
/// every configuration file.
const SAFE: [&str; 14] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.untrackedCache=false",
    "core.attributesFile=/dev/null",
    "core.excludesFile=/dev/null",
    "core.autocrlf=false",
    "core.symlinks=true",
    "core.fileMode=true",
    "core.sparseCheckout=false",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    "protocol.ext.allow=never",
    "gc.auto=0",
    "maintenance.auto=false",
];

/// What points git at a repository; set where we are started from a hook, for one.
const LOCAL: [&str; 13] = [
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_ATTR_SOURCE",
    "GIT_COMMON_DIR",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_INDEX_FILE",
    "GIT_NAMESPACE",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
];

const AUTHOR: [(&str, &str); 4] = [
    ("GIT_AUTHOR_NAME", "Jobshop"),
    ("GIT_AUTHOR_EMAIL", "jobshop@localhost"),
    ("GIT_COMMITTER_NAME", "Jobshop"),
    ("GIT_COMMITTER_EMAIL", "jobshop@localhost"),
];

/// A call that did not end with code 0.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("git {command}: {said}")]
pub(crate) struct GitError {
    command: String,
    pub(crate) code: Option<i32>,
    /// What it wrote to its standard error, and to its output where that is all.
    pub(crate) said: String,
}

/// Why a call gave nothing.
#[derive(Debug, Error)]
pub(crate) enum GitFailure {
    #[error(transparent)]
    Said(#[from] GitError),
    #[error("cannot execute git")]
    Io(#[from] io::Error),
}

impl From<GitFailure> for Halt {
    fn from(failure: GitFailure) -> Self {
        Self::from(anyhow::Error::from(failure))
    }
}

/// One call of git.
#[derive(Debug)]
pub(crate) struct Git {
    command: Command,
    name: String,
    input: Option<Vec<u8>>,
}

impl Git {
    /// A call that may meet hostile files.
    pub(crate) fn isolated(name: &str) -> Self {
        let mut command = Command::new("git");
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", "/nonexistent")
            .env("LC_ALL", "C.UTF-8")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_ATTR_SOURCE", EMPTY_TREE)
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .env("GIT_LITERAL_PATHSPECS", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .envs(AUTHOR);
        Self::new(command, name)
    }

    /// A fetch, push or listing of another repository.
    pub(crate) fn transport(name: &str) -> Self {
        let mut command = Command::new("git");
        command.env("LC_ALL", "C.UTF-8").env("GIT_TERMINAL_PROMPT", "0");
        for name in LOCAL {
            command.env_remove(name);
        }
        // There is nobody to ask for a passphrase, not even on a terminal.
        if std::env::var_os("SSH_ASKPASS_REQUIRE").is_none() {
            command.env("SSH_ASKPASS_REQUIRE", "force").env("SSH_ASKPASS", "false");
        }
        // An interrupted fetch must not leave a commit without what it refers to.
        command.args(["-c", "fetch.unpackLimit=1"]);
        Self::new(command, name)
    }

    fn new(mut command: Command, name: &str) -> Self {
        for setting in SAFE {
            command.args(["-c", setting]);
        }
        command
            .arg(name)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        Self { command, name: name.to_owned(), input: None }
    }

    pub(crate) fn dir(mut self, git_dir: &Path) -> Self {
        self.command.env("GIT_DIR", git_dir).current_dir(git_dir);
        self
    }

    /// Reads and writes objects elsewhere than in the repository itself.
    pub(crate) fn objects(mut self, objects: &Path) -> Self {
        self.command.env("GIT_OBJECT_DIRECTORY", objects);
        self
    }

    /// After [`Git::dir`].
    pub(crate) fn work_tree(mut self, work_tree: &Path) -> Self {
        self.command.env("GIT_WORK_TREE", work_tree).current_dir(work_tree);
        self
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub(crate) fn args<const N: usize>(mut self, args: [&str; N]) -> Self {
        self.command.args(args);
        self
    }

    pub(crate) fn input(mut self, bytes: Vec<u8>) -> Self {
        self.command.stdin(Stdio::piped());
        self.input = Some(bytes);
        self
    }

    /// The output of a call that ended with code 0. Dropped, the call is killed.
    pub(crate) async fn bytes(self) -> Result<Vec<u8>, GitFailure> {
        match self.coded().await? {
            (0, bytes, _) => Ok(bytes),
            (code, _, error) => Err(GitError { code: Some(code), ..error }.into()),
        }
    }

    /// The output as one trimmed line.
    pub(crate) async fn line(self) -> Result<String, GitFailure> {
        Ok(String::from_utf8_lossy(&self.bytes().await?).trim().to_owned())
    }

    /// The output, or `None` when it ended with code 1, which many commands use for "no".
    pub(crate) async fn answer(self) -> Result<Option<String>, GitFailure> {
        match self.line().await {
            Ok(line) => Ok(Some(line)),
            Err(GitFailure::Said(error)) if error.code == Some(1) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// The code, the output, and what would be the error.
    pub(crate) async fn coded(mut self) -> Result<(i32, Vec<u8>, GitError), GitFailure> {
        let mut child = self.command.spawn()?;
        let (stdin, input) = (child.stdin.take(), self.input.take());
        let feed = async move {
            if let (Some(mut stdin), Some(input)) = (stdin, input) {
                // Git says itself what is wrong when it stops reading.
                let _ = stdin.write_all(&input).await;
            }
        };
        let (output, ()) = tokio::join!(child.wait_with_output(), feed);
        let output = output?;
        let said = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
        let said = String::from_utf8_lossy(said).trim().replace('\n', "; ");
        let error = GitError { command: self.name, code: output.status.code(), said };
        match error.code {
            Some(code) => Ok((code, output.stdout, error)),
            None => Err(error.into()),
        }
    }
}

/// Makes `path` a bare repository with a configuration of ours, whatever was there before, without
/// templates and so without hooks. Its objects stay.
pub(crate) fn make_bare(path: &Path) -> anyhow::Result<()> {
    const CONFIG: &str = "[core]\n\trepositoryformatversion = 0\n\tbare = true\n";
    const HEAD: &str = "ref: refs/heads/none\n";
    for dir in ["objects", "refs"] {
        fs::create_dir_all(path.join(dir)).context("creating a git repository")?;
    }
    for (name, text) in [("config", CONFIG), ("HEAD", HEAD)] {
        let file = path.join(name);
        if fs::read_to_string(&file).is_ok_and(|found| found == text) {
            continue;
        }
        let fresh = tempfile::NamedTempFile::new_in(path).context("creating a git repository")?;
        fs::write(fresh.path(), text)?;
        fresh.persist(file).context("creating a git repository")?;
    }
    Ok(())
}

/// The entries of a list that git ended with NUL characters each.
pub(crate) fn entries(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == 0).filter(|entry| !entry.is_empty())
}

/// Paths may be any bytes; in outputs they are text.
pub(crate) fn text(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}
