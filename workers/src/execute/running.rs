//! A program that goes on beside an attempt, such as the server of an agent: started like every
//! other, spoken to through its pipes, ended with everything it started. It does not know what is
//! said.

use std::{io, process::ExitStatus, time::Duration};

use nix::sys::signal::Signal;
use tokio::{
    process::{Child, ChildStderr, ChildStdin, ChildStdout},
    time::timeout,
};

use super::{
    command::{Program, Programs},
    environment::{FENCE, look_up},
    groups::Group,
    halt::{Done, Halt},
    log::LogWriter,
    still::Still,
};

/// A program and its process group; dropped, the group is killed.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    group: Group,
    fence: String,
}

/// The ends of its pipes that are ours.
#[derive(Debug)]
pub(crate) struct Pipes {
    pub(crate) stdin: ChildStdin,
    pub(crate) stdout: ChildStdout,
    pub(crate) stderr: ChildStderr,
}

impl Programs {
    /// Starts a program that is spoken to; `program.stdin` is left to the caller.
    pub(crate) async fn start(&self, program: &Program<'_>) -> Done<(Running, Pipes)> {
        let mut child = self.spawn(&Program { stdin: Some(""), ..*program }).await?;
        let group = self.record(&child)?;
        let fence = look_up(program.env, FENCE).unwrap_or_default().to_owned();
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(Halt::error("a child came without its pipes"));
        };
        Ok((Running { child, group, fence }, Pipes { stdin, stdout, stderr }))
    }
}

impl Running {
    /// How it ended by itself. Cancel-safe.
    pub(crate) async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// It and what it started, held still.
    pub(crate) async fn hold_still(&self) -> Done<Still> {
        self.group.hold_still().await
    }

    /// Asks it to end, then kills it and whatever it started. Nothing of it is alive afterwards.
    pub(crate) async fn end(mut self, grace: Duration, log: &LogWriter) {
        self.group.signal(Signal::SIGTERM);
        if timeout(grace, self.child.wait()).await.is_err() {
            self.group.signal(Signal::SIGKILL);
            let _ = self.child.wait().await;
        }
        if !self.group.end(&self.fence).await {
            log.note("a process of this attempt does not react to SIGKILL");
        }
    }
}
