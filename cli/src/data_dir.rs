//! The data directory: where it is, who holds it, and which server runs on it. It knows nothing of
//! what the parts of Jobshop keep inside (the cluster, workspaces, caches).

mod lock;
mod server_file;

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::Uid;
use thiserror::Error;

pub use lock::{DataLock, Holder};
pub use server_file::ServerFile;

/// A named data directory; it may not exist yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataDir {
    path: PathBuf,
}

/// Why a data directory cannot be used.
#[derive(Debug, Error)]
pub enum DataDirError {
    #[error("no data directory: set JOBSHOP_DATA_DIR or HOME")]
    Unknown,
    #[error("cannot use {path}")]
    Unusable { path: PathBuf, source: io::Error },
    #[error("the data directory {path} is in use by {}", .holder.as_ref().map_or_else(|| "another process".into(), |it| format!("process {}", it.pid)))]
    InUse { path: PathBuf, holder: Option<Holder> },
}

impl DataDir {
    /// The directory that the environment names: `JOBSHOP_DATA_DIR`, else systemd's
    /// `STATE_DIRECTORY`, else for root `/var/lib/jobshop`, else `jobshop` in the user's data home.
    pub fn resolve() -> Result<Self, DataDirError> {
        resolve_from(|name| std::env::var_os(name), Uid::effective().is_root())
            .ok_or(DataDirError::Unknown)
            .and_then(Self::at)
    }

    /// The directory at `path`, relative to the current one.
    pub fn at(path: impl AsRef<Path>) -> Result<Self, DataDirError> {
        let path = path.as_ref();
        match std::path::absolute(path) {
            Ok(path) => Ok(Self { path }),
            Err(source) => Err(DataDirError::Unusable { path: path.to_owned(), source }),
        }
    }

    /// Absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Creates the directory if needed and takes it for this process, until the last clone of the
    /// answer is dropped or the process dies.
    pub fn lock(&self) -> Result<DataLock, DataDirError> {
        self.create()?;
        DataLock::take(self)
    }

    /// The live process that holds the directory, as far as its lock file tells.
    pub fn holder(&self) -> Option<Holder> {
        lock::read_holder(&self.path).filter(|holder| crate::process::is_alive(holder.pid))
    }

    fn create(&self) -> Result<(), DataDirError> {
        // Root's Postgres runs as another user, who must be able to pass through.
        let mode = if Uid::effective().is_root() { 0o711 } else { 0o700 };
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(&self.path)
            .map_err(|source| DataDirError::Unusable { path: self.path.clone(), source })
    }
}

fn resolve_from(env: impl Fn(&str) -> Option<OsString>, is_root: bool) -> Option<PathBuf> {
    let folder = |name: &str| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(own) = folder("JOBSHOP_DATA_DIR") {
        return Some(own);
    }
    if let Some(list) = env("STATE_DIRECTORY").filter(|value| !value.is_empty()) {
        // systemd joins several with colons; the first is the service's own.
        return std::env::split_paths(&list).next();
    }
    if is_root {
        // A root home is closed to the user that Postgres runs as.
        return Some("/var/lib/jobshop".into());
    }
    folder("XDG_DATA_HOME")
        .filter(|path| path.is_absolute())
        .or_else(|| folder("HOME").map(|home| home.join(".local/share")))
        .map(|home| home.join("jobshop"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_variable_names_the_directory() {
        let all = [
            ("JOBSHOP_DATA_DIR", "/own"),
            ("STATE_DIRECTORY", "/var/lib/a:/var/lib/b"),
            ("XDG_DATA_HOME", "/xdg"),
            ("HOME", "/home/me"),
        ];
        let resolve = |from: usize, is_root| {
            let env = |name: &str| {
                all[from..].iter().find(|(key, _)| *key == name).map(|(_, value)| value.into())
            };
            resolve_from(env, is_root)
        };
        assert_eq!(resolve(0, true), Some("/own".into()));
        assert_eq!(resolve(1, true), Some("/var/lib/a".into()));
        assert_eq!(resolve(2, true), Some("/var/lib/jobshop".into()));
        assert_eq!(resolve(2, false), Some("/xdg/jobshop".into()));
        assert_eq!(resolve(3, false), Some("/home/me/.local/share/jobshop".into()));
        assert_eq!(resolve(4, false), None);
    }

    #[test]
    fn an_empty_or_relative_variable_names_nothing() {
        let env = |name: &str| match name {
            "JOBSHOP_DATA_DIR" | "STATE_DIRECTORY" => Some("".into()),
            "XDG_DATA_HOME" => Some("share".into()),
            "HOME" => Some("/home/me".into()),
            _ => None,
        };
        assert_eq!(resolve_from(env, false), Some("/home/me/.local/share/jobshop".into()));
    }
}
