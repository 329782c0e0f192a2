//! What the tests of agents share: the model, the program, a repository, and what is read of the end.

use std::{path::PathBuf, process::Command};

use jobshop_engine::id::SessionKey;
use jobshop_tests::{Fleet, model_server::ModelServer};
use jobshop_workers::execute::{ExecutorConfig, Opencode};
use serde_json::Value;
use tempfile::TempDir;

/// opencode, as `make setup-agents` installs it or `OPENCODE_BIN` names it.
pub(crate) fn opencode() -> Option<PathBuf> {
    let named = std::env::var_os("OPENCODE_BIN").map(PathBuf::from);
    let root = nix::unistd::Uid::effective().is_root();
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
    let data = if root { "/var/lib".into() } else { home().join(".local/share") };
    let installed = data.join("jobshop/agents/bin/opencode");
    let found = named.into_iter().chain([installed]).find(|path| path.is_file());
    if found.is_none() {
        eprintln!("SKIPPED: opencode is not installed; run `make setup-agents` or set OPENCODE_BIN");
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
        let program = opencode()?;
        let fleet = Fleet::new(env!("CARGO_BIN_EXE_cluster-owner")).await;
        let model = ModelServer::start().await;
        let dir = tempfile::tempdir().unwrap();
        let stand = Self { fleet, model, dir, program };
        std::fs::create_dir(stand.repo()).unwrap();
        stand.git(&["init", "-q", "-b", "main"]);
        std::fs::write(stand.repo().join("README"), "hello\n").unwrap();
        stand.git(&["add", "."]);
        stand.git(&["commit", "-q", "-m", "first"]);
        let config = stand.model.opencode_config().to_string();
        std::fs::write(stand.dir.path().join("opencode.json"), config).unwrap();
        Some(stand)
    }

    pub(crate) fn repo(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    pub(crate) fn worker(&mut self) {
        let opencode = Opencode {
            program: self.program.clone(),
            config: Some(self.dir.path().join("opencode.json")),
            auth: None,
        };
        let executing = |config: &mut ExecutorConfig| config.opencode = Some(opencode);
        self.fleet.worker_executing(executing, |_| {});
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

/// A task `name` of an agent that does these steps.
pub(crate) fn task(name: &str, steps: &[jobshop_tests::model_server::Step], more: &str) -> String {
    let prompt = Value::from(jobshop_tests::model_server::script(steps));
    format!("  {name}:\n    agent: {{ runtime: opencode, prompt: {prompt}{more} }}\n")
}
