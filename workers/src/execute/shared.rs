//! The names in repositories under which tasks keep commits for others, as seen without any attempt.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use super::{git::Git, repository::Repository};

/// A repository of which there is a cache.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    repository: Repository,
}

impl Shared {
    /// Those that have a cache in this folder.
    pub(crate) fn all(caches: &Path) -> io::Result<Vec<Self>> {
        let entries = match fs::read_dir(caches) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut paths: Vec<PathBuf> = Vec::new();
        for entry in entries {
            paths.push(entry?.path());
        }
        paths.sort();
        let repositories = paths.into_iter().filter_map(Repository::of_cache);
        Ok(repositories.map(|repository| Self { repository }).collect())
    }

    pub(crate) fn name(&self) -> String {
        self.repository.name()
    }

    pub(crate) async fn kept_names(&self) -> anyhow::Result<Vec<String>> {
        let listed = Git::transport("ls-remote")
            .dir(&self.repository.cache)
            .args(["--refs", "--", &self.repository.url, "refs/jobshop/*"])
            .bytes()
            .await
            .with_context(|| format!("asking {} for its names", self.name()))?;
        let listed = String::from_utf8_lossy(&listed);
        let names = listed.lines().filter_map(|line| Some(line.split_once('\t')?.1.to_owned()));
        Ok(names.collect())
    }

    /// A name that is gone already is no fault.
    pub(crate) async fn remove_names(&self, names: &[String]) -> anyhow::Result<()> {
        let mut push = Git::transport("push").dir(&self.repository.cache).args([
            "--quiet",
            "--no-verify",
            "--no-recurse-submodules",
            "--",
            &self.repository.url,
        ]);
        for name in names {
            push = push.arg(format!(":{name}"));
        }
        push.bytes().await.with_context(|| format!("removing names from {}", self.name()))?;
        let cached = names.iter().fold(String::new(), |text, name| text + "delete " + name + "\n");
        let delete = Git::isolated("update-ref").dir(&self.repository.cache).args(["--stdin"]);
        delete.input(cached.into_bytes()).bytes().await.context("removing names from a cache")?;
        Ok(())
    }
}
