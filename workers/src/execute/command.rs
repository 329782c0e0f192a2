//! One command from its start to the end of everything it started: its output to the log, its time
//! limits, the order to stop. It does not know workflows or outputs.

use std::{
    collections::VecDeque,
    ffi::OsString,
    fmt::Write as _,
    io::ErrorKind,
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use futures::{
    FutureExt as _,
    future::{FusedFuture as _, join3},
};
use jobshop_engine::{duration::Span, outcome::ErrorClass};
use nix::{sys::signal::Signal, unistd::Pid};
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStdin, Command},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    environment::{Environment, FENCE, WORKSPACE, look_up},
    groups::{Group, Groups},
    halt::{Done, Halt},
    log::{LogWriter, Stream},
    sandbox::Sandbox,
    spawner::{Spawner, launched},
};

/// What an attempt may take, from its start.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) timeout: Option<Span>,
    pub(crate) deadline: Option<Instant>,
    pub(crate) heartbeat: Option<Span>,
    /// Between SIGTERM and SIGKILL.
    pub(crate) grace: Duration,
    pub(crate) stop: CancellationToken,
    /// Asks for an end; `stop` follows when there is none.
    pub(crate) gently: CancellationToken,
}

/// A program with its surroundings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Program<'a> {
    pub(crate) argv: &'a [String],
    pub(crate) dir: &'a Path,
    pub(crate) env: &'a Environment,
    pub(crate) stdin: Option<&'a str>,
}

/// How a program ended by itself, and the last of what it printed.
#[derive(Debug)]
pub(crate) struct Exit {
    status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// SHA-256 of everything it printed, in hexadecimal digits.
    pub(crate) log_sha256: String,
}

/// What is needed to execute programs; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    pub(crate) spawner: Spawner,
    pub(crate) groups: Groups,
    pub(crate) launcher: std::path::PathBuf,
    pub(crate) sandbox: Sandbox,
}

/// Lines of the standard error that a failure's message repeats.
const MESSAGE_LINES: usize = 5;
const TAIL_BYTES: usize = 4 * 1024;
/// Who is told to stop has had its time, or none: a cancelled attempt is gone within seconds.
const STOP_GRACE_MAX: Duration = Duration::from_secs(2);
/// How long output is still read after everything that could write it was killed: only a process
/// that hid itself from us can hold it open that long.
const DRAIN: Duration = Duration::from_secs(1);

impl Limits {
    /// Awaits work that is stopped by dropping it, within the attempt's limits.
    pub(crate) async fn hold<T>(&self, work: impl Future<Output = Done<T>>) -> Done<T> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Halt::Released),
            done = work => done,
            () = self.passed() => Err(self.timed_out()),
        }
    }

    /// The same with at least so much time from now on.
    pub(crate) fn extended(&self, least: Duration) -> Self {
        let deadline = self.deadline.map(|deadline| deadline.max(Instant::now() + least));
        Self { deadline, ..self.clone() }
    }

    pub(super) async fn passed(&self) {
        match self.deadline {
            Some(deadline) => sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    }

    pub(super) fn timed_out(&self) -> Halt {
        let after = self.timeout.map(|span| format!(" after {span}")).unwrap_or_default();
        Halt::failed(ErrorClass::Timeout, format!("timed out{after}"))
    }

    /// Ends with a failure once `last` is as long ago as the heartbeat allows.
    pub(crate) async fn silence(&self, last: impl Fn() -> Instant) -> Halt {
        let Some(heartbeat) = self.heartbeat else { return std::future::pending().await };
        loop {
            let due = last() + heartbeat.to_std();
            if due <= Instant::now() {
                let why = format!("no output for {heartbeat} (heartbeat)");
                return Halt::failed(ErrorClass::Timeout, why);
            }
            sleep_until(due).await;
        }
    }
}

impl Exit {
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Fails for everything but exit code 0, with the last lines of the standard error.
    pub(crate) fn check(&self) -> Done<()> {
        let how = match (self.status.code(), self.status.signal()) {
            (Some(0), _) => return Ok(()),
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => match Signal::try_from(signal) {
                Ok(name) => format!("killed by {name}"),
                Err(_) => format!("killed by signal {signal}"),
            },
            (None, None) => "ended in an unknown way".to_owned(),
        };
        let lines: Vec<&str> = self.stderr.lines().filter(|it| !it.trim().is_empty()).collect();
        let last = &lines[lines.len().saturating_sub(MESSAGE_LINES)..];
        let colon = if last.is_empty() { "" } else { ": " };
        Err(Halt::error(format!("{how}{colon}{}", last.join("\n"))))
    }
}

impl Programs {
    /// Executes a program to its end. When it returns, nothing the program started is alive.
    pub(crate) async fn execute(
        &self,
        program: &Program<'_>,
        limits: &Limits,
        log: &LogWriter,
    ) -> Done<Exit> {
        let mut child = self.spawn(program).await?;
        let group = self.record(&child)?;
        let output = Output::new(log);
        let stdin = feed(child.stdin.take(), program.stdin);
        let stdout = output.pump(Stream::Stdout, child.stdout.take());
        let stderr = output.pump(Stream::Stderr, child.stderr.take());
        let pumps = join3(stdin, stdout, stderr).fuse();
        tokio::pin!(pumps);
        let ended = {
            let watch = watch(&mut child, &group, limits, &output);
            tokio::pin!(watch);
            tokio::select! {
                ended = &mut watch => ended,
                _ = &mut pumps => watch.await,
            }
        };
        if !group.end(look_up(program.env, FENCE).unwrap_or_default()).await {
            log.note("a process of this attempt does not react to SIGKILL");
        }
        if !pumps.is_terminated() {
            let _ = timeout(DRAIN, pumps).await;
        }
        let status = ended?;
        Ok(output.exit(status))
    }

    pub(super) async fn spawn(&self, program: &Program<'_>) -> Done<Child> {
        let workspace = look_up(program.env, WORKSPACE);
        let confined = self.sandbox.wrap(workspace, program.argv, program.dir)?;
        let plain = || program.argv.iter().map(OsString::from).collect();
        let argv: Vec<OsString> = confined.unwrap_or_else(plain);
        let mut command: Command = launched(&self.launcher, &argv);
        command
            .current_dir(program.dir)
            .env_clear()
            .envs(program.env.iter().map(|(name, value)| (name, value)))
            .stdin(if program.stdin.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let name = program.argv.first().map_or("", String::as_str);
        let child = self.spawner.spawn(command).await;
        if child.as_ref().is_err_and(|error| error.kind() == ErrorKind::ArgumentListTooLong) {
            let why = format!("cannot start `{name}`: its arguments and environment are too large");
            return Err(Halt::failed(ErrorClass::TooLarge, why));
        }
        Ok(child.with_context(|| format!("cannot start `{name}`"))?)
    }

    pub(super) fn record(&self, child: &Child) -> Done<Group> {
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        let leader = Pid::from_raw(pid.context("the child has no process id")?);
        Ok(self.groups.record(leader).context("recording a process group")?)
    }
}

/// Waits for the end of the program, or brings it about.
async fn watch(
    child: &mut Child,
    group: &Group,
    limits: &Limits,
    output: &Output<'_>,
) -> Done<ExitStatus> {
    let halt = tokio::select! {
        biased;
        ended = child.wait() => {
            let status = ended.context("waiting for a command")?;
            let is_killed = limits.stop.is_cancelled() && !status.success();
            return if is_killed { Err(Halt::Released) } else { Ok(status) };
        }
        () = limits.stop.cancelled() => Halt::Released,
        () = limits.gently.cancelled() => return asked(child, group, limits, output).await,
        () = limits.passed() => limits.timed_out(),
        halt = limits.silence(|| output.seen().last) => halt,
    };
    match &halt {
        Halt::Failed(failure) => output.log.note(&failure.message),
        Halt::Released | Halt::Refused { .. } | Halt::Parked => output.log.note("told to stop"),
    }
    group.signal(Signal::SIGTERM);
    let grace = match &halt {
        Halt::Failed(_) => limits.grace,
        Halt::Released | Halt::Refused { .. } | Halt::Parked => limits.grace.min(STOP_GRACE_MAX),
    };
    if timeout(grace, child.wait()).await.is_err() {
        group.signal(Signal::SIGKILL);
        let _ = child.wait().await;
    }
    Err(halt)
}

/// Tells the program to stop and gives it until it is killed. What it does in that time by itself,
/// it has done.
async fn asked(
    child: &mut Child,
    group: &Group,
    limits: &Limits,
    output: &Output<'_>,
) -> Done<ExitStatus> {
    output.log.note("told to stop: the session is being stopped");
    group.signal(Signal::SIGTERM);
    tokio::select! {
        biased;
        ended = child.wait() => {
            let status = ended.context("waiting for a command")?;
            return if status.success() { Ok(status) } else { Err(Halt::Released) };
        }
        () = limits.stop.cancelled() => {}
    }
    group.signal(Signal::SIGKILL);
    let _ = child.wait().await;
    Err(Halt::Released)
}

/// A program that does not read its input, or not to the end, is not at fault.
async fn feed(stdin: Option<ChildStdin>, text: Option<&str>) {
    if let (Some(mut stdin), Some(text)) = (stdin, text) {
        let _ = stdin.write_all(text.as_bytes()).await;
    }
}

/// What a program prints: to the log, and the last of it kept.
#[derive(Debug)]
struct Output<'a> {
    log: &'a LogWriter,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    last: Instant,
    stdout: VecDeque<u8>,
    stderr: VecDeque<u8>,
    digest: Sha256,
}

impl<'a> Output<'a> {
    fn new(log: &'a LogWriter) -> Self {
        let seen = Seen {
            last: Instant::now(),
            stdout: VecDeque::new(),
            stderr: VecDeque::new(),
            digest: Sha256::new(),
        };
        Self { log, seen: Mutex::new(seen) }
    }

    async fn pump(&self, stream: Stream, pipe: Option<impl AsyncRead + Unpin>) {
        let Some(mut pipe) = pipe else { return };
        let mut buffer = Vec::with_capacity(16 * 1024);
        while pipe.read_buf(&mut buffer).await.is_ok_and(|count| count > 0) {
            self.see(stream, &buffer);
            buffer.clear();
        }
    }

    fn see(&self, stream: Stream, bytes: &[u8]) {
        self.log.bytes(stream, bytes);
        let mut seen = self.seen();
        seen.last = Instant::now();
        seen.digest.update(bytes);
        let tail = match stream {
            Stream::Stdout => &mut seen.stdout,
            Stream::Stderr | Stream::System | Stream::Transcript => &mut seen.stderr,
        };
        tail.extend(bytes);
        let surplus = tail.len().saturating_sub(TAIL_BYTES);
        tail.drain(..surplus);
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn exit(&self, status: ExitStatus) -> Exit {
        let mut seen = self.seen();
        let stdout = text(std::mem::take(&mut seen.stdout));
        let stderr = text(std::mem::take(&mut seen.stderr));
        let log_sha256 = hex(&std::mem::take(&mut seen.digest).finalize());
        Exit { status, stdout, stderr, log_sha256 }
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The kept end as text, without the line whose beginning was cut off.
fn text(tail: VecDeque<u8>) -> String {
    let bytes = Vec::from(tail);
    let is_cut = bytes.len() >= TAIL_BYTES;
    let text = String::from_utf8_lossy(&bytes);
    match text.split_once('\n') {
        Some((_, whole)) if is_cut => whole.to_owned(),
        _ => text.into_owned(),
    }
}
