//! What the tests of agents share: the model, the program, a repository, and what is read of the end.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use jobshop_engine::{
    approval::Voter,
    id::{SessionKey, TenantId},
    question::Answer,
    role::Role,
    session::SessionState,
    store::{Views, answers, inbox_view::Listed, sessions},
};
use jobshop_tests::{CommandLine, Fleet, model_server::ModelServer, wait};
use jobshop_workers::{
    WorkerConfig,
    execute::{ExecutorConfig, Mode, Opencode},
};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;
use uuid::Uuid;

const PROGRAM: &str = env!("CARGO_BIN_EXE_jobshop-cli");

/// How long a session of several agents may take on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_mins(5);

/// The folder into which agents are installed.
pub(crate) fn agents() -> PathBuf {
    let root = nix::unistd::Uid::effective().is_root();
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
    let data = if root { "/var/lib".into() } else { home().join(".local/share") };
    data.join("jobshop/agents/bin")
}

/// opencode, as `make setup-agents` installs it or `OPENCODE_BIN` names it.
pub(crate) fn opencode() -> Option<PathBuf> {
    let named = std::env::var_os("OPENCODE_BIN").map(PathBuf::from);
    let installed = agents().join("opencode");
    let found = named.into_iter().chain([installed]).find(|path| path.is_file());
    if found.is_none() {
        eprintln!(
            "SKIPPED: opencode is not installed; run `make setup-agents` or set OPENCODE_BIN"
        );
    }
    found
}

/// A fleet without workers, the model, and a repository with a file.
pub(crate) struct Stand {
    pub(crate) fleet: Fleet,
    pub(crate) model: ModelServer,
    pub(crate) dir: TempDir,
    program: PathBuf,
}

impl Stand {
    /// `None` where there is no opencode.
    pub(crate) async fn new() -> Option<Self> {
        opencode()?;
        Self::of(Fleet::new(env!("CARGO_BIN_EXE_cluster-owner")).await).await
    }

    /// The same with a fleet that is there.
    pub(crate) async fn of(fleet: Fleet) -> Option<Self> {
        let program = opencode()?;
        let model = ModelServer::start().await;
        let dir = tempfile::tempdir().unwrap();
        let stand = Self { fleet, model, dir, program };
        std::fs::create_dir(stand.repo()).unwrap();
        stand.git(&["init", "-q", "-b", "main"]);
        std::fs::write(stand.repo().join("README"), "hello\n").unwrap();
        stand.git(&["add", "."]);
        stand.git(&["commit", "-q", "-m", "first"]);
        let config = stand.model.opencode_config().to_string();
        std::fs::write(stand.config(), config).unwrap();
        Some(stand)
    }

    pub(crate) fn repo(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    /// The configuration that makes the scripted model the only one.
    pub(crate) fn config(&self) -> PathBuf {
        self.dir.path().join("opencode.json")
    }

    /// A worker that runs two agents at once.
    pub(crate) fn worker(&mut self) {
        self.workers(2);
    }

    /// A worker that runs so many agents at once, in sandboxes as every worker of a user does.
    pub(crate) fn workers(&mut self, concurrency: usize) {
        self.workers_with(concurrency, |_| {});
    }

    /// The same with a worker that is set up otherwise.
    pub(crate) fn workers_with(
        &mut self,
        concurrency: usize,
        change: impl FnOnce(&mut WorkerConfig),
    ) {
        let opencode =
            Opencode { program: self.program.clone(), config: Some(self.config()), auth: None };
        let executing = |config: &mut ExecutorConfig| {
            config.opencode = Some(opencode);
            config.sandbox.mode = Mode::Auto;
            config.sandbox.read.extend(agents().parent().map(Path::to_owned));
        };
        self.fleet.worker_executing(executing, |config| {
            config.concurrency = concurrency;
            change(config);
        });
    }

    /// A user of the real program who has opencode with this model.
    pub(crate) fn user(&self) -> CommandLine {
        CommandLine::new(PROGRAM)
            .with("OPENCODE_BIN", &self.program.display().to_string())
            .with("JOBSHOP_OPENCODE_CONFIG", &self.config().display().to_string())
    }

    /// Waits until the session has ended, for as long as several agents take.
    pub(crate) async fn end_of(&self, key: SessionKey) -> SessionState {
        wait::until("the end of the session", LIMIT, async || {
            let state = sessions::state(&self.fleet.store.pool, key).await.ok().flatten()?;
            state.is_final().then_some(state)
        })
        .await
    }

    /// Submits a workflow with these tasks and waits for its end.
    pub(crate) async fn run(&self, tasks: &str) -> (SessionKey, SessionState) {
        let key = self.fleet.submit(&self.workflow(tasks), Value::Null).await;
        (key, self.end_of(key).await)
    }

    /// Answers what an agent asks, once it does; returns the id of the entry.
    pub(crate) async fn answer(&self, message: &str, answer: Answer) -> Uuid {
        let views = Views::new(&self.fleet.store, TenantId::DEFAULT);
        let id = wait::until(&format!("`{message}` in the inbox"), LIMIT, async || {
            let open = views.inbox(Listed::Open, None, None, None).await.ok()?;
            open.items.iter().find(|it| it.message == message).map(|it| it.id)
        })
        .await;
        let anna = Voter { name: "anna", role: Role::Operator };
        let which = (TenantId::DEFAULT, id);
        answers::answer(&self.fleet.store, which, anna, &answer, None).await.unwrap();
        id
    }

    /// Kills what has this word among its arguments and belongs to this test's fleet.
    pub(crate) fn kill(&self, word: &str) {
        let mut killed = 0;
        for process in self.processes() {
            if process.arguments.iter().any(|argument| argument == word) {
                killed += 1;
                let pid = nix::unistd::Pid::from_raw(process.pid);
                // With its sandbox it may be gone already.
                let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
            }
        }
        assert!(killed > 0, "no `{word}` runs: {:?}", self.processes());
    }

    /// What works in workspaces of this test's fleet.
    pub(crate) fn processes(&self) -> Vec<Process> {
        running(self.fleet.folder())
    }

    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        let mut git = Command::new("git");
        git.current_dir(self.repo()).args(["-c", "user.name=A", "-c", "user.email=a@example.org"]);
        let output = git.args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// A workflow on the repository; `tasks` are the lines below `tasks:`.
    pub(crate) fn workflow(&self, tasks: &str) -> String {
        let repo = self.repo();
        format!(
            "version: 1\nname: agents\nworkspace: {{ repo: {}, base: main }}\ntasks:\n{tasks}",
            repo.display()
        )
    }

    /// What the attempts of a session wrote into a stream, by its number.
    pub(crate) async fn log(&self, key: SessionKey, stream: i16) -> String {
        let bodies: Vec<Vec<u8>> = sqlx::query_scalar(
            "select body from log_chunks where session_id = $1 and stream = $2
              order by seq, attempt, worker, chunk",
        )
        .bind(key.id.0)
        .bind(stream)
        .fetch_all(self.fleet.db.pool())
        .await
        .unwrap();
        String::from_utf8(bodies.concat()).unwrap()
    }

    /// The transcript of all conversations of a session.
    pub(crate) async fn transcript(&self, key: SessionKey) -> Vec<Value> {
        let text = self.log(key, 3).await;
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// A process of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) arguments: Vec<String>,
    pub(crate) workspace: PathBuf,
}

/// What works in workspaces below a folder.
pub(crate) fn running(folder: &Path) -> Vec<Process> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let found = entries.filter_map(|entry| {
        let pid: i32 = entry.file_name().to_string_lossy().parse().ok()?;
        let environ = std::fs::read(entry.path().join("environ")).ok()?;
        let environ = String::from_utf8_lossy(&environ);
        let own = environ.split('\0').find_map(|it| it.strip_prefix("JOBSHOP_WORKSPACE="))?;
        let workspace = PathBuf::from(own);
        let command = std::fs::read_to_string(entry.path().join("cmdline")).ok()?;
        let arguments: Vec<String> = command.split('\0').map(str::to_owned).collect();
        let is_one = workspace.starts_with(folder) && !command.is_empty();
        is_one.then_some(Process { pid, arguments, workspace })
    });
    found.collect()
}

/// A task `name` of an agent that does these steps.
pub(crate) fn task(name: &str, steps: &[jobshop_tests::model_server::Step], more: &str) -> String {
    let prompt = Value::from(jobshop_tests::model_server::script(steps));
    format!("  {name}:\n    agent: {{ runtime: opencode, prompt: {prompt}{more} }}\n")
}
