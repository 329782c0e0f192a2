//! An embedded cluster of the test's own, durable as in production, whose Postgres may be killed.

use std::{fs::Permissions, os::unix::fs::PermissionsExt as _, path::Path};

use jobshop::{
    cluster::{Cluster, ClusterConfig},
    data_dir::DataDir,
    process,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use crate::{server::Server, wait};

/// A cluster in a folder of its own.
#[derive(Debug)]
pub struct OwnCluster {
    cluster: Cluster,
    folder: TempDir,
}

impl OwnCluster {
    /// Starts it; `launcher` is a binary that dispatches `__exec`.
    pub async fn start(launcher: &Path) -> Self {
        Self::start_with(launcher, &[]).await
    }

    /// The same with settings of Postgres besides the built-in ones.
    pub async fn start_with(launcher: &Path, settings: &[(&'static str, &str)]) -> Self {
        // The user that root's Postgres runs as must be able to pass through.
        let mode = Permissions::from_mode(0o711);
        let folder =
            tempfile::Builder::new().permissions(mode).tempdir().expect("a temporary folder");
        let data = DataDir::at(folder.path()).and_then(|it| it.lock()).expect("the lock");
        let settings = settings.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let config = ClusterConfig { data, launcher: launcher.into(), settings };
        let cluster = Cluster::start(config).await.expect("a running cluster");
        Self { cluster, folder }
    }

    /// Of its database.
    pub fn url(&self) -> &str {
        self.cluster.url()
    }

    /// For databases of tests in it.
    pub fn server(&self) -> Server {
        Server::at(self.url()).expect("the URL is valid")
    }

    /// Strikes its Postgres, as [`strike`] does.
    pub async fn strike(&self, signal: Signal) {
        strike(self.folder.path(), self.url(), signal).await;
    }

    pub async fn stop(self) {
        self.cluster.stop().await.expect("the cluster stops");
    }
}

/// Sends a signal to the Postgres of a data directory and waits until another one answers in its
/// place: SIGKILL, or SIGQUIT for an immediate stop.
pub async fn strike(data: &Path, url: &str, signal: Signal) {
    let before = postgres(data).expect("Postgres runs");
    kill(Pid::from_raw(before.cast_signed()), signal).expect("the process is there");
    wait::until("Postgres to be there again", wait::LIMIT, async || {
        let pid = postgres(data).filter(|pid| *pid != before)?;
        Server::at(url).ok()?.connect().await.ok().map(|_| pid)
    })
    .await;
}

fn postgres(data: &Path) -> Option<u32> {
    let mut clusters = std::fs::read_dir(data.join("pg")).ok()?;
    let file = clusters.next()?.ok()?.path().join("postmaster.pid");
    let pid = std::fs::read_to_string(file).ok()?.lines().next()?.parse().ok()?;
    process::is_alive(pid).then_some(pid)
}
