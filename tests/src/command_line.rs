//! The command line as a user has it: the real binary, a data directory and a folder of its own,
//! and nothing of this process's settings.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::wait;

/// How long a command that does not stay may take.
const LIMIT: Duration = Duration::from_mins(1);

/// A user with an empty folder.
#[derive(Debug)]
pub struct CommandLine {
    program: PathBuf,
    folder: TempDir,
    variables: Vec<(String, String)>,
    own_groups: bool,
}

/// What a command left behind.
#[derive(Debug)]
pub struct Answer {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// A command that stays. Dropped, it is killed.
#[derive(Debug)]
pub struct Staying {
    child: Child,
    output: PathBuf,
}

impl CommandLine {
    /// `program` is the binary under test.
    pub fn new(program: &str) -> Self {
        // The user that root's Postgres runs as must be able to pass through.
        let mode = Permissions::from_mode(0o711);
        let folder = tempfile::Builder::new().permissions(mode).tempdir();
        let folder = folder.expect("a temporary folder");
        let this =
            Self { program: program.into(), folder, variables: Vec::new(), own_groups: false };
        let data_dir = this.path("data").display().to_string();
        this.with("JOBSHOP_DATA_DIR", &data_dir)
    }

    /// The same with a variable set for every command from now on.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same with a process group for every command that stays, as a shell makes one; otherwise
    /// they are in the test's, and go with it.
    #[must_use]
    pub fn with_own_groups(mut self) -> Self {
        self.own_groups = true;
        self
    }

    /// A file or folder of this user.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file into the folder in which commands run.
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("a writable folder");
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> Answer {
        Answer::of(&self.command(arguments).stdin(Stdio::null()).output().expect("the binary"))
    }

    /// Runs a command that reads `input`.
    pub fn run_with_input(&self, arguments: &[&str], input: &str) -> Answer {
        self.write("input", input);
        let file = std::fs::File::open(self.path("input")).expect("the file just written");
        Answer::of(&self.command(arguments).stdin(file).output().expect("the binary"))
    }

    /// Starts a command that stays.
    pub fn start(&self, arguments: &[&str]) -> Staying {
        let output = self.path(&format!("{}.log", arguments.first().unwrap_or(&"none")));
        let file = std::fs::File::create(&output).expect("a writable folder");
        let errors = file.try_clone().expect("a second handle");
        let mut command = self.command(arguments);
        let command = command.stdin(Stdio::null()).stdout(file).stderr(errors);
        if self.own_groups {
            command.process_group(0);
        }
        Staying { child: command.spawn().expect("the binary"), output }
    }

    /// Starts `up` on a free port and waits until commands find it.
    pub async fn up(&self) -> Staying {
        let mut up = self.start(&["up", "--listen", "127.0.0.1:0"]);
        let file = self.path("data/server.json");
        wait::until("server.json", LIMIT, async || {
            assert!(up.is_running(), "up ended: {}", up.output());
            let server: Value = serde_json::from_slice(&std::fs::read(&file).ok()?).ok()?;
            (server["pid"] == up.child.id()).then_some(())
        })
        .await;
        up
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(self.folder.path()).env_clear();
        let kept = ["PATH", "HOME", "LANG", "JOBSHOP_PG_BIN"];
        command.envs(kept.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.env("XDG_CONFIG_HOME", self.path("config"));
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }
}

impl Answer {
    fn of(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Standard output as one JSON document; panics with everything there is when it is none.
    pub fn json(&self) -> Value {
        let parsed = serde_json::from_str(&self.stdout);
        assert!(parsed.is_ok(), "no JSON: {self:?}");
        parsed.unwrap_or_default()
    }

    /// Standard output as a JSON document a line.
    pub fn json_lines(&self) -> Vec<Value> {
        let lines: Result<_, _> = self.stdout.lines().map(serde_json::from_str).collect();
        assert!(lines.is_ok(), "no JSON: {self:?}");
        lines.unwrap_or_default()
    }

    /// The same, once the exit code is known to be this one.
    #[expect(clippy::return_self_not_must_use, reason = "often the code is all that matters")]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }
}

impl Staying {
    pub fn is_running(&mut self) -> bool {
        self.status().is_none()
    }

    /// Of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("our child")
    }

    pub fn send(&self, signal: Signal) {
        kill(self.pid(), signal).expect("the process is there");
    }

    /// To all of its group, which only [`CommandLine::with_own_groups`] makes.
    pub fn send_to_group(&self, signal: Signal) {
        killpg(self.pid(), signal).expect("the group is there");
    }

    /// Waits for the end of what was killed.
    pub fn reap(&mut self) {
        self.child.wait().expect("our child");
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Everything written so far.
    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.output).unwrap_or_default()
    }

    /// Its exit code, once it has ended.
    pub async fn end(&mut self) -> Option<i32> {
        let child = &mut self.child;
        let status = wait::until("the end of the command", LIMIT, async || {
            child.try_wait().expect("our child")
        });
        status.await.code()
    }
}

impl Drop for Staying {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A shipped file of this repository.
pub fn shipped(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}
