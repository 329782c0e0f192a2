//! The repositories that workspaces are cloned from: a bare cache of each below the data
//! directory, refreshed under a lock, never cleaned up while it may be in use. It does not know
//! agents or merges.

use std::{
    collections::HashMap,
    fmt::Write as _,
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};
use tokio::{sync::Mutex as AsyncMutex, time::Instant};

use super::{
    git::{Git, GitFailure, make_bare, text},
    halt::{Done, Halt},
};

/// When the last refresh of a cache began; held while it is refreshed.
type Refreshed = Arc<AsyncMutex<Option<Instant>>>;

/// The file in a cache that says what it is one of.
const URL: &str = "jobshop-url";

/// All caches; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Repositories {
    dir: PathBuf,
    refreshed: Arc<Mutex<HashMap<PathBuf, Refreshed>>>,
}

/// A repository and its cache.
#[derive(Debug, Clone)]
pub(crate) struct Repository {
    /// What git fetches from and pushes to: a URL or an absolute path.
    pub(super) url: String,
    pub(super) cache: PathBuf,
    refreshed: Refreshed,
}

impl Repositories {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir, refreshed: Arc::default() }
    }

    /// Finds what `repo` names; a relative path starts at the folder of the workflow file.
    pub(crate) fn locate(&self, repo: &str, file_dir: Option<&str>) -> Done<Repository> {
        let url = absolute(repo, file_dir)?;
        let mut name = String::new();
        for byte in &Sha256::digest(url.as_bytes())[..16] {
            let _ = write!(name, "{byte:02x}");
        }
        let cache = self.dir.join(name);
        let mut known = self.refreshed.lock().unwrap_or_else(PoisonError::into_inner);
        let refreshed = Arc::clone(known.entry(cache.clone()).or_default());
        make_bare(&cache)?;
        if !cache.join(URL).exists() {
            fs::write(cache.join(URL), &url).context("noting where a repository is")?;
        }
        Ok(Repository { url, cache, refreshed })
    }
}

impl Repository {
    /// The one that this is a cache of, if that is known.
    pub(super) fn of_cache(cache: PathBuf) -> Option<Self> {
        let url = fs::read_to_string(cache.join(URL)).ok()?;
        Some(Self { url, cache, refreshed: Refreshed::default() })
    }

    pub(crate) fn objects(&self) -> PathBuf {
        self.cache.join("objects")
    }

    /// How it is named to people: without user and password.
    pub(crate) fn name(&self) -> String {
        let Some((scheme, rest)) = self.url.split_once("://") else { return self.url.clone() };
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        format!("{scheme}://{host}/{path}")
    }

    /// Pushes one name: `options`, then the repository, then `refspec`. Returns what went wrong,
    /// in git's words.
    pub(crate) async fn push<const N: usize>(
        &self,
        options: [&str; N],
        refspec: &str,
    ) -> Result<(), GitFailure> {
        Git::transport("push")
            .dir(&self.cache)
            .args(["--no-verify", "--no-recurse-submodules"])
            .args(options)
            .args(["--", &self.url, refspec])
            .bytes()
            .await
            .map(drop)
    }

    /// A call on the cache.
    pub(crate) fn git(&self, name: &str) -> Git {
        Git::isolated(name).dir(&self.cache)
    }

    /// Brings branches and tags up to date. Several who ask at once share one fetch, if it began
    /// after they asked.
    pub(crate) async fn refresh(&self) -> Done<()> {
        let asked = Instant::now();
        let mut refreshed = self.refreshed.lock().await;
        if refreshed.is_some_and(|began| began > asked) {
            return Ok(());
        }
        let _lock = self.lock().await?;
        *refreshed = None;
        let began = Instant::now();
        let refspecs = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"];
        self.fetch(&refspecs).await.map_err(|failure| self.unreachable(&failure))?;
        *refreshed = Some(began);
        Ok(())
    }

    /// The commit that a branch, tag or commit names; without a name that of the repository's
    /// HEAD.
    pub(crate) async fn resolve(&self, base: Option<&str>) -> Done<String> {
        if let Some(base) = base.filter(|base| is_commit_id(base))
            && self.has(base).await?
        {
            return Ok(base.to_owned());
        }
        self.refresh().await?;
        let Some(base) = base else { return self.head().await };
        for name in [format!("refs/heads/{base}"), format!("refs/tags/{base}"), base.to_owned()] {
            let is_ref = name.starts_with("refs/") || is_abbreviated_id(&name);
            if is_ref && let Some(commit) = self.commit_of(&name).await? {
                return Ok(commit);
            }
        }
        if is_commit_id(base) {
            self.obtain(base).await?;
            return Ok(base.to_owned());
        }
        let name = self.name();
        Err(Halt::error(format!("{name} has no branch, tag or commit `{base}`")))
    }

    /// The commit of a branch as of the last refresh, if there is such a branch.
    pub(crate) async fn branch(&self, branch: &str) -> Done<Option<String>> {
        self.commit_of(&format!("refs/heads/{branch}")).await
    }

    /// Makes sure that a commit, most likely one that a task captured, is in the cache.
    pub(crate) async fn obtain(&self, commit: &str) -> Done<()> {
        if !is_commit_id(commit) {
            return Err(Halt::error(format!("`{commit}` is not the id of a commit")));
        }
        if self.has(commit).await? {
            return Ok(());
        }
        let _lock = self.lock().await?;
        if self.fetch(&[commit]).await.is_err() {
            // Some servers hand out only what a name leads to.
            let refspecs = ["+refs/jobshop/*:refs/jobshop/*"];
            self.fetch(&refspecs).await.map_err(|failure| self.unreachable(&failure))?;
        }
        if self.has(commit).await? {
            return Ok(());
        }
        Err(Halt::error(format!("{} does not have the commit {commit}", self.name())))
    }

    /// Makes `path` a private clone at `commit`: its objects shared with the cache, its `origin` the
    /// repository itself, with the branches and tags of the last refresh. Not by `git clone`, which
    /// copies from a shallow cache, and only what has a name there.
    pub(crate) async fn clone_to(&self, path: &Path, commit: &str) -> Done<()> {
        let listed = self
            .git("for-each-ref")
            .args(["--format=%(objectname) %(refname)", "refs/heads", "refs/tags"])
            .bytes()
            .await?;
        let refs = text(&listed).replace(" refs/heads/", " refs/remotes/origin/");
        let git_dir = path.join(".git");
        self.lay_out(&git_dir, &refs).context("cloning")?;
        let checkout = Git::isolated("checkout").dir(&git_dir).work_tree(path);
        checkout.args(["--quiet", "--detach", commit]).bytes().await?;
        Ok(())
    }

    fn lay_out(&self, git_dir: &Path, refs: &str) -> std::io::Result<()> {
        for folder in ["hooks", "info", "objects/info", "refs"] {
            fs::create_dir_all(git_dir.join(folder))?;
        }
        let url = self.url.replace('\\', "\\\\").replace('"', "\\\"");
        let config = format!(
            "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n\
             \tlogallrefupdates = true\n\
             [remote \"origin\"]\n\turl = \"{url}\"\n\
             \tfetch = +refs/heads/*:refs/remotes/origin/*\n"
        );
        fs::write(git_dir.join("config"), config)?;
        fs::write(git_dir.join("HEAD"), "ref: refs/heads/none\n")?;
        fs::write(git_dir.join("packed-refs"), refs)?;
        let objects = format!("{}\n", self.objects().display());
        fs::write(git_dir.join("objects/info/alternates"), objects)?;
        match fs::copy(self.cache.join("shallow"), git_dir.join("shallow")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    async fn head(&self) -> Done<String> {
        let _lock = self.lock().await?;
        let nothing = |failure| {
            Halt::error(format!(
                "{} has no commit at HEAD, and no `base` is given: {failure:#}",
                self.name()
            ))
        };
        self.fetch(&["+HEAD:refs/cache/HEAD"]).await.map_err(nothing)?;
        let commit = self.commit_of("refs/cache/HEAD").await?;
        commit.ok_or_else(|| Halt::error(format!("{} has no commit at HEAD", self.name())))
    }

    async fn has(&self, commit: &str) -> Done<bool> {
        let found = self.git("cat-file").args(["-e", &format!("{commit}^{{commit}}")]).bytes();
        match found.await {
            Ok(_) => Ok(true),
            Err(GitFailure::Said(_)) => Ok(false),
            Err(failure @ GitFailure::Io(_)) => Err(failure.into()),
        }
    }

    async fn commit_of(&self, name: &str) -> Done<Option<String>> {
        let commit = format!("{name}^{{commit}}");
        let asked =
            self.git("rev-parse").args(["--verify", "--quiet", "--end-of-options", &commit]);
        Ok(asked.answer().await?)
    }

    async fn fetch(&self, refspecs: &[&str]) -> anyhow::Result<()> {
        let mut fetch = Git::transport("fetch").dir(&self.cache).args([
            "--quiet",
            "--no-tags",
            "--prune",
            "--update-shallow",
            "--no-write-fetch-head",
            "--no-recurse-submodules",
            "--",
            &self.url,
        ]);
        for refspec in refspecs {
            fetch = fetch.arg(refspec);
        }
        fetch.bytes().await?;
        Ok(())
    }

    fn unreachable(&self, failure: &anyhow::Error) -> Halt {
        Halt::error(format!("cannot fetch from {}: {failure:#}", self.name()))
    }

    /// Two processes never change a cache at once. The lock goes with the file.
    async fn lock(&self) -> Done<File> {
        let path = self.cache.with_extension("lock");
        let locked = tokio::task::spawn_blocking(move || {
            let file = File::options().create(true).append(true).open(path)?;
            file.lock().map(|()| file)
        });
        Ok(locked.await.context("locking a cache")?.context("locking a cache")?)
    }
}

/// A URL as it is; a path made absolute, and if a folder inside a repository is named, that
/// repository.
fn absolute(repo: &str, file_dir: Option<&str>) -> Done<String> {
    if repo.is_empty() || repo.starts_with('-') || repo.contains(char::is_control) {
        return Err(Halt::error(format!("`{repo}` is not a repository")));
    }
    if is_url(repo) {
        return Ok(repo.to_owned());
    }
    let path = match file_dir {
        _ if Path::new(repo).is_absolute() => PathBuf::from(repo),
        Some(dir) => Path::new(dir).join(repo),
        None => {
            return Err(Halt::error(format!(
                "the repository `{repo}` is a relative path, which has a meaning only for \
                 `jobshop run FILE`; give an absolute path or a URL"
            )));
        }
    };
    let found = path
        .canonicalize()
        .map_err(|error| Halt::error(format!("no repository at {}: {error}", path.display())))?;
    match found.ancestors().find(|above| is_repository(above)) {
        Some(root) => Ok(root.display().to_string()),
        None => Err(Halt::error(format!("{} is not in a git repository", found.display()))),
    }
}

/// As git sees it: a scheme, or `host:path` with no slash before the colon.
fn is_url(repo: &str) -> bool {
    repo.contains("://") || repo.split_once(':').is_some_and(|(host, _)| !host.contains('/'))
}

fn is_repository(path: &Path) -> bool {
    let is_bare = || path.join("HEAD").is_file() && path.join("objects").is_dir();
    fs::symlink_metadata(path.join(".git")).is_ok() || is_bare()
}

pub(crate) fn is_commit_id(text: &str) -> bool {
    text.len() == 40 && is_abbreviated_id(text)
}

fn is_abbreviated_id(text: &str) -> bool {
    (7..=40).contains(&text.len())
        && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_repository_starts_at_the_workflow_file_and_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("project/.git")).unwrap();
        fs::create_dir_all(root.join("project/workflows/deep")).unwrap();
        let project = root.join("project").display().to_string();
        let from = |path: &str| root.join(path).display().to_string();
        for (repo, file_dir) in [
            (".", Some("project")),
            ("..", Some("project/workflows")),
            (".", Some("project/workflows/deep")),
            ("project", Some(".")),
            (project.as_str(), None),
        ] {
            let file_dir = file_dir.map(from);
            assert_eq!(absolute(repo, file_dir.as_deref()), Ok(project.clone()), "{repo}");
        }
        for url in ["https://example.org/a.git", "git@example.org:a.git", "ssh://example.org/a"] {
            assert_eq!(absolute(url, None), Ok(url.to_owned()));
        }
        let Err(Halt::Failed(refused)) = absolute("..", None) else { panic!("accepted") };
        assert!(refused.message.contains("relative"), "{}", refused.message);
        for repo in ["", "--upload-pack=touch /tmp/x", "/nonexistent", "/"] {
            assert!(absolute(repo, Some("/")).is_err(), "{repo}");
        }
    }
}
