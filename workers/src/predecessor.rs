//! Which worker had this worker's data directory last: its id stands in a file there, so that the
//! next one ends its lease at once instead of waiting for it. It does not know whether that one
//! still lives; whoever may use the directory at all has made sure that it does not.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use jobshop_engine::id::WorkerId;

/// The file that names the worker.
#[derive(Debug, Clone)]
pub(crate) struct Predecessor {
    path: PathBuf,
}

impl Predecessor {
    pub(crate) fn of(data_dir: &Path) -> Self {
        Self { path: data_dir.join("worker") }
    }

    /// The last worker that was noted; none in a new directory.
    pub(crate) fn id(&self) -> Option<WorkerId> {
        let text = fs::read_to_string(&self.path).ok()?;
        text.trim().parse().ok().map(WorkerId)
    }

    /// A worker has the directory now. Call it before it takes anything: until then it matters to
    /// nobody.
    pub(crate) fn note(&self, id: WorkerId) -> io::Result<()> {
        let fresh = self.path.with_extension("new");
        fs::write(&fresh, format!("{}\n", id.0))?;
        fs::rename(fresh, &self.path)
    }
}
