//! Worker processes for a benchmark: the same binary, as it would work in a fleet.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use jobshop_engine::id::TenantId;
use jobshop_engine::store::{Store, Views};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::exec::{self, Request};
use crate::exit::Failure;

const LOOK_EVERY: Duration = Duration::from_millis(20);
const READY_WITHIN: Duration = Duration::from_secs(30);

/// So many processes, while they work.
#[derive(Debug)]
pub(super) struct Crowd {
    count: u16,
    children: Vec<Child>,
}

impl Crowd {
    pub(super) const fn new(count: u16) -> Self {
        Self { count, children: Vec::new() }
    }

    /// Starts them and waits until all are registered.
    pub(super) async fn work(&mut self, store: &Store, folder: &Path) -> Result<(), Failure> {
        let launcher = exec::launcher()?;
        let views = Views::new(store, TenantId::DEFAULT);
        let wanted = live(&views).await? + i32::from(self.count);
        for _ in 0..self.count {
            let request = Request {
                signal: Signal::SIGTERM,
                parent: std::process::id(),
                owner: None,
                program: vec![
                    std::env::current_exe()?.into(),
                    "worker".into(),
                    "--capability".into(),
                    "*".into(),
                ],
            };
            let child = Command::new(&launcher)
                .args(request.arguments())
                .env("DATABASE_URL", store.direct_url())
                .env("JOBSHOP_DATA_DIR", folder.join("fleet"))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .kill_on_drop(true)
                .spawn()?;
            self.children.push(child);
        }
        let deadline = Instant::now() + READY_WITHIN;
        while live(&views).await? < wanted {
            if Instant::now() >= deadline {
                return Err(Failure::temporary("the worker processes did not register"));
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Stops them and waits until they are gone.
    pub(super) async fn rest(&mut self) {
        for child in &self.children {
            if let Some(pid) = child.id() {
                // Who is gone already needs no signal.
                let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGTERM);
            }
        }
        for mut child in self.children.drain(..) {
            if let Err(error) = child.wait().await {
                tracing::warn!(%error, "a worker of the benchmark did not end");
            }
        }
    }

    /// The most memory that one of them has used so far, in bytes.
    pub(super) fn memory(&self) -> Option<u64> {
        self.children.iter().filter_map(Child::id).filter_map(peak).max()
    }
}

async fn live(views: &Views) -> Result<i32, Failure> {
    views.live_workers().await.map_err(|error| Failure::temporary(error.to_string()))
}

/// `VmHWM` of proc(5), which is in KiB.
fn peak(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}
