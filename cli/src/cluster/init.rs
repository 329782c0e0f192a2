//! Creates a cluster on disk, all or nothing, and recognises one that is there.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::binaries::Binaries;
use super::starter::Starter;
use super::{ClusterError, accident};

/// Folders of clusters that are not complete yet start with this.
const BUILDING: &str = ".new-";

/// A cluster on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Existing {
    pub(super) path: PathBuf,
    pub(super) major: u32,
}

/// The cluster in this folder; of several, which only an upgrade leaves, the newest.
pub(super) fn existing(folder: &Path) -> Result<Option<Existing>, ClusterError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(accident(format!("read {}", folder.display()))(error)),
    };
    let clusters = entries.flatten().filter_map(|entry| {
        let major = entry.file_name().to_str()?.parse().ok()?;
        entry.path().join("PG_VERSION").exists().then(|| Existing { path: entry.path(), major })
    });
    Ok(clusters.max_by_key(|it| it.major))
}

/// Makes `folder/<major>`: built beside it and renamed, so that a crash leaves nothing half made.
pub(super) async fn create(
    folder: &Path,
    binaries: &Binaries,
    starter: &Starter,
) -> Result<PathBuf, ClusterError> {
    prepare(folder, starter).map_err(accident(format!("prepare {}", folder.display())))?;
    sweep(folder);
    // A fresh name: what a killed predecessor started may still be writing into its own.
    let building = folder.join(format!("{BUILDING}{}", Uuid::new_v4()));
    let arguments = ["-U", "jobshop", "-A", "trust", "--encoding=UTF8", "--locale=C"];
    let mut program = vec![binaries.initdb().into_os_string(), "-D".into(), (&building).into()];
    program.extend(arguments.map(Into::into));
    program.push("--no-instructions".into());
    let output = starter.output(program).await.map_err(accident("run initdb"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(ClusterError::Init { output: one_line(&text) });
    }
    let path = folder.join(binaries.major.to_string());
    std::fs::rename(&building, &path)
        .and_then(|()| std::fs::File::open(folder)?.sync_all())
        .map_err(accident(format!("create {}", path.display())))?;
    tracing::info!(path = %path.display(), postgres = binaries.major, "created a Postgres cluster");
    Ok(path)
}

fn prepare(folder: &Path, starter: &Starter) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    starter.owner.take(folder)
}

/// Removes what earlier, killed starts were building. What resists goes at another time.
fn sweep(folder: &Path) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries.filter(|it| it.file_name().to_string_lossy().starts_with(BUILDING)) {
        let _ = std::fs::remove_dir_all(entry.path());
    }
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}
