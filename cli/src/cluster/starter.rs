//! Starts the cluster's processes through `jobshop __exec`, from one thread that never ends: the
//! kernel sends the parent-death signal when the *thread* that forked a child dies, and the threads
//! of an async runtime come and go.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::{LazyLock, mpsc};

use nix::sys::signal::Signal;
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::owner::Owner;
use crate::exec::Request;

/// How processes of a cluster are started: through whom, and as whom.
#[derive(Debug, Clone)]
pub(super) struct Starter {
    pub(super) launcher: PathBuf,
    pub(super) owner: Owner,
}

impl Starter {
    /// Starts a program that gets `signal` when we die; its errors come through a pipe.
    pub(super) async fn start(&self, program: Vec<OsString>, signal: Signal) -> io::Result<Child> {
        spawn(self.command(program, signal)).await
    }

    /// Runs a program to its end.
    pub(super) async fn output(&self, program: Vec<OsString>) -> io::Result<Output> {
        let mut command = self.command(program, Signal::SIGKILL);
        command.kill_on_drop(true);
        spawn(command).await?.wait_with_output().await
    }

    fn command(&self, program: Vec<OsString>, signal: Signal) -> Command {
        let owner = self.owner.is_other.then_some((self.owner.uid, self.owner.gid));
        let request = Request { signal, parent: std::process::id(), owner, program };
        let mut command = Command::new(&self.launcher);
        command
            .args(request.arguments())
            .env_clear()
            .envs([("LC_ALL", "C"), ("TZ", "UTC"), ("PATH", "/usr/bin:/bin")])
            .current_dir("/")
            // Ctrl-C at the terminal is for us alone: the cluster goes last.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }
}

struct Job {
    command: Command,
    runtime: Handle,
    reply: oneshot::Sender<io::Result<Child>>,
}

static THREAD: LazyLock<mpsc::Sender<Job>> = LazyLock::new(|| {
    let (jobs, queue) = mpsc::channel::<Job>();
    std::thread::Builder::new()
        .name("starter".into())
        .spawn(move || queue.into_iter().for_each(Job::run))
        .expect("a process that cannot start a thread cannot run at all");
    jobs
});

impl Job {
    fn run(mut self) {
        if self.reply.is_closed() {
            return;
        }
        let _inside = self.runtime.enter();
        let Err(unwanted) = self.reply.send(self.command.spawn()) else { return };
        if let Ok(mut child) = unwanted {
            // The asker is gone; it takes its child along.
            let _ = child.start_kill();
        }
    }
}

async fn spawn(command: Command) -> io::Result<Child> {
    let (reply, answer) = oneshot::channel();
    let job = Job { command, runtime: Handle::current(), reply };
    THREAD.send(job).map_err(|_| io::Error::other("the starting thread is gone"))?;
    answer.await.map_err(io::Error::other)?
}
