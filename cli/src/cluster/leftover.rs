//! Ends a Postgres that a dead predecessor left running on our cluster. We hold the lock of the
//! data directory, so nobody owns it any more.

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::pid_file::{self, PidFile};
use super::{ClusterError, accident, until};
use crate::process;

/// Returns once no Postgres runs on this cluster and no file claims it for a stranger.
pub(super) async fn end(cluster: &Path) -> Result<(), ClusterError> {
    let Some(PidFile { pid, .. }) = PidFile::read(cluster) else { return Ok(()) };
    if !process::is_alive(pid) {
        // Postgres itself tidies up after a dead one.
        return Ok(());
    }
    if !process::has_argument(pid, "-D", cluster) {
        // The number was given to another process since; Postgres could not tell and would refuse.
        let file = cluster.join(pid_file::NAME);
        return std::fs::remove_file(&file)
            .map_err(accident(format!("remove the stale {}", file.display())));
    }
    tracing::warn!(pid, "stopping a Postgres that was left running");
    for (signal, limit) in [(Signal::SIGINT, 10), (Signal::SIGQUIT, 10)] {
        // It may be gone already, which is what we want.
        let _ = kill(Pid::from_raw(pid.cast_signed()), signal);
        if until(Duration::from_secs(limit), || !process::is_alive(pid)).await {
            return Ok(());
        }
    }
    Err(ClusterError::Leftover { pid, path: cluster.to_owned() })
}
