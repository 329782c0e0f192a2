//! A small disk of its own for the database, which can be filled.

use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

const SIZE: &str = "1536m";

/// A file system in memory, mounted for this run.
#[derive(Debug)]
pub(super) struct Disk {
    path: PathBuf,
}

impl Disk {
    /// None where mounting is not permitted.
    pub(super) fn mount(path: &Path) -> Option<Self> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={SIZE},mode=0711"), "jobshop-chaos"])
            .arg(path)
            .output();
        mounted.is_ok_and(|it| it.status.success()).then(|| Self { path: path.to_owned() })
    }

    /// Takes all the room there is.
    pub(super) fn fill(&self) {
        let Ok(mut file) = File::create(self.ballast()) else { return };
        let block = vec![0; 1 << 20];
        while file.write_all(&block).is_ok() {}
    }

    /// Gives it back.
    pub(super) fn free(&self) {
        let _ = std::fs::remove_file(self.ballast());
    }

    /// It stays mounted, with what is on it.
    pub(super) fn leave(self) {
        std::mem::forget(self);
    }

    fn ballast(&self) -> PathBuf {
        self.path.join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.path).output();
    }
}
