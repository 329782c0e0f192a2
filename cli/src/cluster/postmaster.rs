//! One run of Postgres, from its start as our direct child to its end. It restarts nothing.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::log::{self, LastWords};
use super::pid_file::PidFile;
use super::starter::Starter;
use super::{ClusterError, accident};

/// All that is needed to start Postgres on a cluster, again and again.
#[derive(Debug)]
pub(super) struct Launch {
    pub(super) starter: Starter,
    pub(super) program: PathBuf,
    pub(super) path: PathBuf,
    pub(super) settings: Vec<(&'static str, String)>,
}

/// A Postgres that was started; dropped, it is told to stop.
#[derive(Debug)]
pub(super) struct Postmaster {
    child: Child,
    last_words: LastWords,
    log: JoinSet<()>,
}

/// How long a predecessor's remains may keep us from starting.
const REMAINS_LIMIT: Duration = Duration::from_secs(10);

/// Starts Postgres and returns once it accepts connections, recovery after a crash included.
pub(super) async fn start(launch: &Launch) -> Result<Postmaster, ClusterError> {
    let began = Instant::now();
    loop {
        let mut postmaster = Postmaster::spawn(launch).await?;
        let Err(error) = postmaster.ready(launch).await else { return Ok(postmaster) };
        // A postmaster that was killed may wait to be collected by a slow process 1, and its
        // children take a moment to notice.
        let log = postmaster.last_words.summary();
        let remains = log.contains("\"postmaster.pid\" already exists")
            || log.contains("pre-existing shared memory block");
        if !remains || began.elapsed() > REMAINS_LIMIT {
            return Err(error);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

impl Postmaster {
    async fn spawn(launch: &Launch) -> Result<Self, ClusterError> {
        let mut program: Vec<OsString> = vec![(&launch.program).into()];
        program.extend(["-D".into(), (&launch.path).into()]);
        for (name, value) in &launch.settings {
            program.extend(["-c".into(), format!("{name}={value}").into()]);
        }
        let mut child = launch
            .starter
            .start(program, Signal::SIGINT)
            .await
            .map_err(accident(format!("start {}", launch.program.display())))?;
        let last_words = LastWords::default();
        let mut log = JoinSet::new();
        log.spawn(log::follow(child.stderr.take().expect("piped"), last_words.clone()));
        Ok(Self { child, last_words, log })
    }

    async fn ready(&mut self, launch: &Launch) -> Result<(), ClusterError> {
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        let mut notices = tokio::time::interval(Duration::from_secs(10));
        notices.tick().await;
        loop {
            tokio::select! {
                status = self.child.wait() => {
                    status.map_err(accident("wait for Postgres"))?;
                    return Err(ClusterError::Start { log: self.last_words().await });
                }
                _ = ticks.tick() => {
                    // The file of a crash says ready too: it must be this process that says so.
                    let file = PidFile::read(&launch.path);
                    if file.is_some_and(|it| it.is_ready && Some(it.pid) == self.child.id()) {
                        return Ok(());
                    }
                }
                _ = notices.tick() => tracing::info!("Postgres is still starting or recovering"),
            }
        }
    }

    /// Returns when Postgres has ended by itself. Cancel-safe.
    pub(super) async fn ended(&mut self) -> Result<ExitStatus, ClusterError> {
        self.child.wait().await.map_err(accident("wait for Postgres"))
    }

    /// What it said last; only complete after its end.
    pub(super) async fn last_words(&mut self) -> String {
        // Its own children may hold the pipe a moment longer.
        let _ = timeout(Duration::from_secs(1), self.log.join_next()).await;
        self.last_words.summary()
    }

    /// Stops Postgres: open connections end and everything is written. When that takes too long it
    /// is aborted, and recovers at its next start.
    pub(super) async fn stop(mut self) -> Result<(), ClusterError> {
        for (signal, limit) in [(Signal::SIGINT, 20), (Signal::SIGQUIT, 5)] {
            self.signal(signal);
            if let Ok(ended) = timeout(Duration::from_secs(limit), self.ended()).await {
                return ended.map(|_| ());
            }
            tracing::warn!(signal = signal.as_str(), "Postgres does not stop");
        }
        self.child.kill().await.map_err(accident("kill Postgres"))
    }

    fn signal(&self, signal: Signal) {
        // No id means that it has ended and was collected, so the number is never a stranger's.
        if let Some(pid) = self.child.id() {
            let _ = kill(Pid::from_raw(pid.cast_signed()), signal);
        }
    }
}

impl Drop for Postmaster {
    fn drop(&mut self) {
        self.signal(Signal::SIGINT);
    }
}
