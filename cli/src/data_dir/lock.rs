//! The lock of a data directory: a kernel lock on `jobshop.lock`, whose text tells who holds it.
//! The kernel lock decides; the text only informs, and outlives a crash so that the next holder
//! learns whom it follows.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{DataDir, DataDirError};

const FILE: &str = "jobshop.lock";

/// Who holds a data directory, as its lock file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub pid: u32,
    /// The holder's version of Jobshop.
    pub version: String,
    /// Where its database answers, once it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database_url: Option<String>,
    /// The worker it runs, once registered: its lease can be ended by whoever follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<Uuid>,
}

/// A data directory that belongs to this process. Clones share it; the last one gives it back.
#[derive(Debug, Clone)]
pub struct DataLock {
    dir: DataDir,
    previous: Option<Holder>,
    note: Arc<Note>,
}

/// The locked file and what it says.
#[derive(Debug)]
struct Note {
    file: Mutex<(File, Holder)>,
}

impl DataLock {
    pub(super) fn take(dir: &DataDir) -> Result<Self, DataDirError> {
        let path = dir.path().join(FILE);
        let unusable = |source| DataDirError::Unusable { path: path.clone(), source };
        let mut file = open(&path).map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = read_holder(dir.path());
                return Err(DataDirError::InUse { path: dir.path().to_owned(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(unusable)?;
        let previous = serde_json::from_str(&text).ok();
        let holder = Holder {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            database_url: None,
            worker: None,
        };
        write(&mut file, &holder).map_err(unusable)?;
        let note = Arc::new(Note { file: Mutex::new((file, holder)) });
        Ok(Self { dir: dir.clone(), previous, note })
    }

    /// The locked directory.
    pub fn dir(&self) -> &DataDir {
        &self.dir
    }

    /// The holder before this one, if it died without giving the directory back.
    pub fn previous(&self) -> Option<&Holder> {
        self.previous.as_ref()
    }

    /// Tells readers of the lock file where the holder's database answers.
    pub fn note_database(&self, url: &str) -> io::Result<()> {
        self.note.change(|holder| holder.database_url = Some(url.to_owned()))
    }

    /// Tells the next holder whose lease to end, should this process die.
    pub fn note_worker(&self, worker: Uuid) -> io::Result<()> {
        self.note.change(|holder| holder.worker = Some(worker))
    }
}

impl Note {
    fn change(&self, change: impl FnOnce(&mut Holder)) -> io::Result<()> {
        let mut guard = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, holder) = &mut *guard;
        change(holder);
        write(file, holder)
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        let (file, _) = self.file.get_mut().unwrap_or_else(PoisonError::into_inner);
        // An empty file means: given back in order. If this fails, the next holder ends a lease
        // that has already ended.
        let _ = file.set_len(0);
    }
}

pub(super) fn read_holder(dir: &Path) -> Option<Holder> {
    let text = std::fs::read_to_string(dir.join(FILE)).ok()?;
    serde_json::from_str(&text).ok()
}

fn open(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// In place: a rename would leave the kernel lock on a file that nobody sees any more.
fn write(file: &mut File, holder: &Holder) -> io::Result<()> {
    let text = serde_json::to_vec(holder)?;
    file.rewind()?;
    file.write_all(&text)?;
    file.set_len(text.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir() -> (tempfile::TempDir, DataDir) {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::at(folder.path().join("data")).unwrap();
        (folder, dir)
    }

    #[test]
    fn a_held_directory_is_refused_with_the_holders_pid() {
        let (_folder, dir) = dir();
        let lock = dir.lock().unwrap();
        lock.note_database("postgres://somewhere").unwrap();
        let refusal = dir.lock().unwrap_err();
        let pid = std::process::id();
        assert!(refusal.to_string().ends_with(&format!("is in use by process {pid}")), "{refusal}");
        let holder = dir.holder().unwrap();
        assert_eq!(holder.database_url.as_deref(), Some("postgres://somewhere"));
        drop(lock);
        assert_eq!(dir.holder(), None);
        assert_eq!(dir.lock().unwrap().previous(), None);
    }

    #[test]
    fn whoever_follows_a_crash_learns_whom_it_follows() {
        let (_folder, dir) = dir();
        dir.create().unwrap();
        let dead = Holder {
            pid: u32::MAX >> 1,
            version: "0.0.1".into(),
            database_url: None,
            worker: Some(Uuid::from_u128(7)),
        };
        std::fs::write(dir.path().join(FILE), serde_json::to_vec(&dead).unwrap()).unwrap();
        assert_eq!(dir.holder(), None, "a dead holder holds nothing");
        assert_eq!(dir.lock().unwrap().previous(), Some(&dead));
    }
}
