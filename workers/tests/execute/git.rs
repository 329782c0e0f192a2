//! A repository for one test, and git as a user calls it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use jobshop_engine::attempt::{Attempt, Workspace};

/// A repository with a work tree, on the branch `main`.
pub(crate) struct Repo {
    pub(crate) path: PathBuf,
}

impl Repo {
    pub(crate) fn new(path: PathBuf, files: &[(&str, &str)]) -> Self {
        fs::create_dir_all(&path).unwrap();
        let repo = Self { path };
        repo.git(&["init", "--quiet", "--initial-branch=main"]);
        repo.commit(files);
        repo
    }

    /// Writes and commits files; returns the commit.
    pub(crate) fn commit(&self, files: &[(&str, &str)]) -> String {
        for (name, text) in files {
            let path = self.path.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        self.git(&["add", "--all", "--force"]);
        self.git(&["commit", "--quiet", "--allow-empty", "-m", "by hand"]);
        self.head()
    }

    pub(crate) fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"])
    }

    pub(crate) fn git(&self, args: &[&str]) -> String {
        git(&self.path, args)
    }

    /// The files of a commit, with their content.
    pub(crate) fn files(&self, commit: &str) -> Vec<(String, String)> {
        let names = self.git(&["ls-tree", "-r", "--name-only", commit]);
        let content = |name: &str| self.git(&["cat-file", "-p", &format!("{commit}:{name}")]);
        names.lines().map(|name| (name.to_owned(), content(name))).collect()
    }

    pub(crate) fn names(&self, commit: &str) -> Vec<String> {
        self.files(commit).into_iter().map(|(name, _)| name).collect()
    }

    /// The entries of a commit, each in a format of `git ls-tree`.
    pub(crate) fn tree(&self, commit: &str, format: &str) -> Vec<String> {
        let tree = self.git(&["ls-tree", "-r", &format!("--format={format}"), commit]);
        tree.lines().map(str::to_owned).collect()
    }

    pub(crate) fn url(&self) -> String {
        self.path.display().to_string()
    }

    pub(crate) fn workspace(&self) -> Workspace {
        Workspace::Clone { repo: self.url(), base: None, at: None }
    }

    pub(crate) fn at(&self, commit: &str) -> Workspace {
        Workspace::Clone { repo: self.url(), base: None, at: Some(commit.to_owned()) }
    }
}

pub(crate) fn git(dir: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=Ada", "-c", "user.email=ada@example.org"])
        .args(["-c", "protocol.file.allow=always"])
        .args(args)
        .current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {args:?}: {said}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// The name under which an attempt's commit is published.
pub(crate) fn published(attempt: &Attempt) -> String {
    format!("refs/jobshop/{}/{}", attempt.fence.task.session, attempt.fence.task.seq)
}
