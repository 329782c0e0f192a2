//! Starts children from one thread that ends with the process: the parent-death signal that our
//! launcher sets comes at the death of the *thread* that forked, and the runtime's threads come
//! and go. It does not know what the children are for.

use std::{ffi::OsString, io, path::Path, sync::mpsc, thread};

use tokio::{
    process::{Child, Command},
    runtime::Handle,
    sync::oneshot,
};

/// A handle to the thread; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Spawner {
    requests: mpsc::Sender<Request>,
}

#[derive(Debug)]
struct Request {
    command: Command,
    runtime: Handle,
    reply: oneshot::Sender<io::Result<Child>>,
}

impl Spawner {
    pub(crate) fn start() -> io::Result<Self> {
        let (requests, incoming) = mpsc::channel::<Request>();
        thread::Builder::new().name("spawner".to_owned()).spawn(move || {
            for request in incoming {
                let mut command = request.command;
                let _inside = request.runtime.enter();
                // Nobody waits any longer: the child is dropped, and killed by that.
                let _ = request.reply.send(command.spawn());
            }
        })?;
        Ok(Self { requests })
    }

    /// Starts `command`; it is killed when what is returned here is dropped.
    pub(crate) async fn spawn(&self, mut command: Command) -> io::Result<Child> {
        command.kill_on_drop(true);
        let (reply, started) = oneshot::channel();
        let request = Request { command, runtime: Handle::current(), reply };
        let gone = || io::Error::other("the thread that starts children is gone");
        self.requests.send(request).map_err(|_| gone())?;
        started.await.map_err(|_| gone())?
    }
}

/// A command whose program dies with this process: the launcher sets the parent-death signal and
/// becomes the program.
pub(crate) fn launched(launcher: &Path, program: &[OsString]) -> Command {
    let mut command = Command::new(launcher);
    command
        .args(["__exec", "--signal", "KILL", "--parent"])
        .arg(std::process::id().to_string())
        .arg("--")
        .args(program);
    command
}
