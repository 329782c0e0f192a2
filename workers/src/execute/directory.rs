//! The directories of attempts below the data directory: made private, removed with whatever a
//! command left in them. It does not know what a workspace is filled with.

use std::{
    fs::{self, DirBuilder, File, Permissions},
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use jobshop_engine::id::{Fence, SessionId};

/// Where attempts work, and where failed ones are kept when that is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Directories {
    workspaces: PathBuf,
    kept: PathBuf,
}

/// What processes of an attempt may change.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    pub(crate) workspace: PathBuf,
    /// Holds `$JOBSHOP_OUTPUT`.
    pub(crate) outputs: PathBuf,
    pub(crate) tmp: PathBuf,
    pub(crate) home: PathBuf,
}

impl Room {
    /// Makes what is not there yet, but for the workspace.
    pub(crate) fn create(&self) -> io::Result<()> {
        [&self.outputs, &self.tmp, &self.home].into_iter().try_for_each(|it| create_private(it))
    }
}

/// The directory of one attempt.
#[derive(Debug, Clone)]
pub(crate) struct Directory {
    path: PathBuf,
}

impl Directories {
    pub(crate) fn open(data_dir: &Path) -> io::Result<Self> {
        let workspaces = data_dir.join("workspaces");
        create_private(&workspaces)?;
        Ok(Self { workspaces, kept: data_dir.join("kept") })
    }

    pub(crate) fn workspaces(&self) -> &Path {
        &self.workspaces
    }

    /// Makes `<session>/<seq>/<attempt>`; where that exists (the number was given twice, because
    /// its first claim was lost in a crash) a suffix keeps the two apart.
    pub(crate) fn create(&self, fence: &Fence) -> io::Result<Directory> {
        let session = self.workspaces.join(fence.task.session.id.to_string());
        let task = session.join(fence.task.seq.to_string());
        let mut copy = 1;
        loop {
            create_private(&task)?;
            let name = match copy {
                1 => fence.attempt.to_string(),
                copy => format!("{}.{copy}", fence.attempt),
            };
            let path = task.join(name);
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Directory { path }),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => copy += 1,
                // The end of another attempt has just removed the empty folder above.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Removes an attempt's directory, and the folders above it once they are empty.
    pub(crate) fn remove(&self, directory: &Directory) -> io::Result<()> {
        remove_tree(&directory.path)?;
        for above in directory.path.ancestors().skip(1).take_while(|it| *it != self.workspaces) {
            if fs::remove_dir(above).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Moves a failed attempt's directory out of the way of every later clean-up.
    pub(crate) fn keep(&self, directory: &Directory) -> io::Result<PathBuf> {
        let inner = directory.path.strip_prefix(&self.workspaces).unwrap_or(&directory.path);
        let kept = self.kept.join(inner);
        if let Some(parent) = kept.parent() {
            create_private(parent)?;
        }
        fs::rename(&directory.path, &kept)?;
        Ok(kept)
    }

    pub(crate) fn remove_session(&self, session: SessionId) -> io::Result<()> {
        remove_tree(&self.workspaces.join(session.to_string()))
    }

    /// Removes what earlier lives of the data directory left.
    pub(crate) fn remove_all(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.workspaces)? {
            remove_tree(&entry?.path())?;
        }
        Ok(())
    }
}

impl Directory {
    /// The workspace itself; the files that Jobshop exchanges with a command lie beside it.
    pub(crate) fn workspace(&self) -> PathBuf {
        self.path.join("work")
    }

    /// `$JOBSHOP_OUTPUT`.
    pub(crate) fn output(&self) -> PathBuf {
        self.path.join("out/output")
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the work is done.
    pub(crate) fn room(&self) -> Room {
        Room {
            workspace: self.workspace(),
            outputs: self.path.join("out"),
            tmp: self.path.join("tmp"),
            home: self.path.join("home"),
        }
    }

    /// Where it is verified: nothing of the other is there.
    pub(crate) fn verify_room(&self) -> Room {
        let path = self.path.join("verify-room");
        Room {
            workspace: self.verification(),
            outputs: path.join("out"),
            tmp: path.join("tmp"),
            home: path.join("home"),
        }
    }

    /// Where git keeps what it needs to capture the workspace.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.path.join("git")
    }

    /// The home of an agent that runs beside the workspace; made when there is none yet.
    pub(crate) fn create_home(&self) -> io::Result<PathBuf> {
        let home = self.path.join("home");
        create_private(&home)?;
        Ok(home)
    }

    /// The clean checkout in which a result is verified.
    pub(crate) fn verification(&self) -> PathBuf {
        self.path.join("verify")
    }

    /// Where git keeps what it needs to compare that with its commit.
    pub(crate) fn verify_scratch(&self) -> PathBuf {
        self.path.join("verify-git")
    }

    pub(crate) fn create_workspace(&self) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(self.workspace())
    }

    pub(crate) fn create_output(&self) -> io::Result<()> {
        create_private(&self.path.join("out"))?;
        self.write("out/output", "").map(drop)
    }

    /// Puts a private file beside the workspace.
    pub(crate) fn write(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.path.join(name);
        let mut file: File =
            File::options().write(true).create_new(true).mode(0o600).open(&path)?;
        io::Write::write_all(&mut file, text.as_bytes())?;
        Ok(path)
    }
}

fn create_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Removes a tree without following links; a missing one is fine. Folders that were made
/// read-only (some build caches are) are opened up first.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    let done = |result: io::Result<()>| match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    };
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            open_up(path)?;
            done(fs::remove_dir_all(path))
        }
        other => done(other),
    }
}

fn open_up(dir: &Path) -> io::Result<()> {
    fs::set_permissions(dir, Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}
