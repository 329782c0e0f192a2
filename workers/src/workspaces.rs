//! Workspaces below a worker's folder as those see them who look after its disk: which there are, which
//! are to stay, and what tasks left in repositories. Nobody has to have the folder for that. It does
//! not know which sessions are over.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use jobshop_engine::id::{SessionId, TaskKey};
use uuid::Uuid;

use crate::execute::{Shared, on_disk, remove_tree};

/// What a directory of an attempt is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The attempt runs, or its worker died.
    Running,
    /// The attempt is over.
    Kept,
}

/// The directory of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workspace {
    pub session: SessionId,
    pub seq: i32,
    /// Its number, and what tells it from others with that number.
    pub attempt: String,
    pub state: State,
    pub is_pinned: bool,
    pub bytes: u64,
    pub changed: SystemTime,
    pub path: PathBuf,
}

const PLACES: [(&str, State); 2] = [("workspaces", State::Running), ("kept", State::Kept)];
const PINS: &str = "pins";

/// Everything below a worker's folder, in the order of sessions and tasks.
pub fn list(folder: &Path) -> io::Result<Vec<Workspace>> {
    let mut found = Vec::new();
    for (place, state) in PLACES {
        for (session, path) in below::<Uuid>(&folder.join(place))? {
            for (seq, path) in below::<i32>(&path)? {
                for (attempt, path) in below::<String>(&path)? {
                    // It may just be going away.
                    let Ok(about) = fs::symlink_metadata(&path) else { continue };
                    found.push(Workspace {
                        session: SessionId(session),
                        seq,
                        attempt,
                        state,
                        is_pinned: is_pinned(folder, SessionId(session), seq),
                        bytes: on_disk(&path),
                        changed: about.modified()?,
                        path,
                    });
                }
            }
        }
    }
    found.sort_by(|a, b| (a.session.0, a.seq, &a.attempt).cmp(&(b.session.0, b.seq, &b.attempt)));
    Ok(found)
}

/// The folders in a folder whose names are of this kind.
fn below<N: std::str::FromStr>(folder: &Path) -> io::Result<Vec<(N, PathBuf)>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let (Some(name), true) = (name, entry.file_type()?.is_dir()) {
            found.push((name, entry.path()));
        }
    }
    Ok(found)
}

/// Removes what is over, with the folders above it once they are empty.
pub fn remove(workspace: &Workspace) -> io::Result<()> {
    remove_tree(&workspace.path)?;
    for above in workspace.path.ancestors().skip(1).take(2) {
        if fs::remove_dir(above).is_err() {
            break;
        }
    }
    Ok(())
}

fn pin_of(folder: &Path, session: SessionId, seq: Option<i32>) -> PathBuf {
    let name = match seq {
        Some(seq) => format!("{session}.{seq}"),
        None => session.to_string(),
    };
    folder.join(PINS).join(name)
}

/// What this session, or this task of it, works in here stays when it is over.
pub fn pin(folder: &Path, session: SessionId, seq: Option<i32>) -> io::Result<()> {
    fs::create_dir_all(folder.join(PINS))?;
    fs::write(pin_of(folder, session, seq), "")
}

/// Takes that back. False when it was not said.
pub fn unpin(folder: &Path, session: SessionId, seq: Option<i32>) -> io::Result<bool> {
    match fs::remove_file(pin_of(folder, session, seq)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        done => done.map(|()| true),
    }
}

/// Whether something of a session is to stay.
pub fn has_pins(folder: &Path, session: SessionId) -> io::Result<bool> {
    let own = session.to_string();
    let entries = match fs::read_dir(folder.join(PINS)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        entries => entries?,
    };
    for entry in entries {
        let name = entry?.file_name();
        if name.to_str().is_some_and(|name| name.split('.').next() == Some(&own)) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_pinned(folder: &Path, session: SessionId, seq: i32) -> bool {
    [None, Some(seq)].into_iter().any(|seq| pin_of(folder, session, seq).exists())
}

/// Whether what this task works in is to stay.
pub(crate) fn stays(folder: &Path, task: TaskKey) -> bool {
    is_pinned(folder, task.session.id, task.seq)
}

/// A repository that tasks of this worker were given.
#[derive(Debug, Clone)]
pub struct Repository {
    shared: Shared,
}

/// A name in a repository under which a session keeps a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ref {
    pub name: String,
    pub session: SessionId,
}

/// The repositories that a worker's folder has a cache of.
pub fn repositories(folder: &Path) -> io::Result<Vec<Repository>> {
    let shared = Shared::all(&folder.join("clones"))?;
    Ok(shared.into_iter().map(|shared| Repository { shared }).collect())
}

impl Repository {
    /// Without user and password.
    pub fn name(&self) -> String {
        self.shared.name()
    }

    /// Every name that a session keeps a commit under.
    pub async fn refs(&self) -> anyhow::Result<Vec<Ref>> {
        let names = self.shared.kept_names().await?;
        let session = |name: &str| name.split('/').nth(2)?.parse().ok().map(SessionId);
        let refs = names.into_iter().filter_map(|name| {
            let session = session(&name)?;
            Some(Ref { name, session })
        });
        Ok(refs.collect())
    }

    /// Removes such names from the repository.
    pub async fn remove(&self, names: &[String]) -> anyhow::Result<()> {
        const AT_ONCE: usize = 200;
        for names in names.chunks(AT_ONCE) {
            self.shared.remove_names(names).await?;
        }
        Ok(())
    }
}
