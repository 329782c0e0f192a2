//! How much an attempt may put on the disk. It is looked at again and again while the attempt goes on,
//! and stopped once it is beyond. It does not know what is written.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use jobshop_engine::{outcome::ErrorClass, size::Size};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::halt::{Done, Halt};

const LOOK_FIRST: Duration = Duration::from_millis(500);
const LOOK_MAX: Duration = Duration::from_secs(4);
/// A look at many files may take no more than this part of the time.
const SHARE: u32 = 10;
const BLOCK_BYTES: u64 = 512;

/// What one attempt may put on the disk.
#[derive(Debug)]
pub(crate) struct Quota {
    most: Option<Size>,
    /// The directories of the attempt: this one, and those whose names begin with it and a dot.
    directory: PathBuf,
    /// Stops the attempt.
    stop: CancellationToken,
}

impl Quota {
    pub(crate) fn new(most: Option<Size>, directory: &Path, stop: CancellationToken) -> Self {
        Self { most, directory: directory.to_owned(), stop }
    }

    /// Does the work, unless it takes more than it may: then it is stopped and has failed.
    pub(crate) async fn hold<T>(&self, work: impl Future<Output = Done<T>>) -> Done<T> {
        let Some(most) = self.most else { return work.await };
        tokio::pin!(work);
        let taken = tokio::select! {
            done = &mut work => return done,
            taken = self.exceeded(most) => taken,
        };
        self.stop.cancel();
        match work.await {
            Err(Halt::Released) => {
                let why = format!(
                    "the workspace takes {} on the disk, more than its quota of {most}",
                    rounded(taken)
                );
                Err(Halt::failed(ErrorClass::TooLarge, why))
            }
            done => done,
        }
    }

    /// Returns how much it is, once it is too much.
    async fn exceeded(&self, most: Size) -> u64 {
        let mut pause = LOOK_FIRST;
        loop {
            sleep(pause).await;
            let begun = Instant::now();
            let directory = self.directory.clone();
            let taken = tokio::task::spawn_blocking(move || of_attempt(&directory)).await;
            let taken = taken.unwrap_or_default();
            if taken > most.bytes {
                return taken;
            }
            pause = (begun.elapsed() * SHARE).clamp(LOOK_FIRST, LOOK_MAX);
        }
    }
}

fn of_attempt(directory: &Path) -> u64 {
    let name = directory.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let first = name.split('.').next().unwrap_or_default();
    let Some(beside) = directory.parent().and_then(|above| fs::read_dir(above).ok()) else {
        return 0;
    };
    let own = beside.flatten().filter(|entry| {
        let name = entry.file_name();
        name.to_str().is_some_and(|name| name.split('.').next() == Some(first))
    });
    own.map(|entry| on_disk(&entry.path())).sum()
}

/// What a directory takes, as far as it can be read; what goes away meanwhile takes nothing.
pub(crate) fn on_disk(directory: &Path) -> u64 {
    let mut open = vec![directory.to_owned()];
    let mut bytes = 0;
    while let Some(folder) = open.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let found: io::Result<fs::Metadata> = entry.metadata();
            let Ok(found) = found else { continue };
            bytes += found.blocks() * BLOCK_BYTES;
            if found.is_dir() {
                open.push(entry.path());
            }
        }
    }
    bytes
}

/// In whole units that people read.
fn rounded(bytes: u64) -> Size {
    let unit = [1_u64 << 30, 1 << 20, 1 << 10].into_iter().find(|unit| bytes >= 10 * unit);
    let unit = unit.unwrap_or(1);
    Size { bytes: bytes / unit * unit }
}
