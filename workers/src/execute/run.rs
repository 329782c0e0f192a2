//! `run` tasks: a bash script or an argument vector in the workspace, and what it wrote.

use anyhow::Context as _;
use jobshop_engine::{
    attempt::{Attempt, Workspace},
    outcome::Outcome,
    plan::Command,
};

use super::{
    Inner,
    command::{Exit, Limits, Program},
    directory::Directory,
    ending::Ending,
    environment::{self, Environment},
    halt::{Done, Halt},
    log::LogWriter,
    output::{self, Outputs},
    repository::Repository,
    verify,
};

/// A workspace that is a clone, and the commit it began at.
#[derive(Debug)]
pub(super) struct Checkout {
    pub(super) repository: Repository,
    pub(super) commit: String,
}

impl Inner {
    pub(super) async fn run(
        &self,
        command: &Command,
        attempt: &Attempt,
        directory: &Directory,
        limits: &Limits,
        log: &LogWriter,
    ) -> Done<Outcome> {
        let checkout = self.prepare(attempt, directory, limits, log).await?;
        let env = self.environment(attempt, directory)?;
        self.set_up(attempt, directory, &env, (limits, log)).await?;
        let argv = argv(command, directory)?;
        let workspace = directory.workspace();
        let program = Program { argv: &argv, dir: &workspace, env: &env, stdin: None };
        let mut ending = Ending::new(attempt.is_failure_allowed);
        let exit = ending.take(self.programs.execute(&program, limits, log).await)?;
        if let Some(exit) = &exit {
            ending.take(exit.check())?;
        }
        let written = self.written(attempt, directory, Outputs::new());
        let mut outputs = ending.take(written)?.unwrap_or_default();
        outputs.insert("exit_code".to_owned(), exit.as_ref().and_then(Exit::code).into());
        if let Some(checkout) = checkout.filter(|_| attempt.expected.verify.is_some()) {
            let captured = verify::captured(&checkout, attempt, directory, log);
            let captured = ending.take(limits.hold(captured).await)?;
            let captured = captured.into_iter().flatten();
            outputs.extend(captured.map(|(name, value)| (name.to_owned(), value)));
        }
        ending.outcome(outputs, self.config.output_bytes_max)
    }

    /// What the attempt wrote to its output file, on top of `others`.
    pub(super) fn written(
        &self,
        attempt: &Attempt,
        directory: &Directory,
        mut others: Outputs,
    ) -> Done<Outputs> {
        others.extend(output::read(&directory.output(), self.config.output_bytes_max)?);
        output::check_text(&others)?;
        output::check_schema(&others, attempt.schema.as_ref())?;
        Ok(others)
    }

    /// Fills the workspace, and puts the empty output file beside it.
    pub(super) async fn prepare(
        &self,
        attempt: &Attempt,
        directory: &Directory,
        limits: &Limits,
        log: &LogWriter,
    ) -> Done<Option<Checkout>> {
        let Some(repository) = self.begin_workspace(attempt, directory)? else { return Ok(None) };
        let cloning = async {
            let commit = match &attempt.workspace {
                Workspace::Clone { at: Some(at), .. } => {
                    repository.obtain(at).await.map(|()| at.clone())?
                }
                Workspace::Clone { base, at: None, .. } => {
                    repository.resolve(base.as_deref()).await?
                }
                Workspace::Empty => return Err(Halt::error("a workspace without a repository")),
            };
            repository.clone_to(&directory.workspace(), &commit).await?;
            Ok(commit)
        };
        let commit = limits.hold(cloning).await?;
        log.note(&format!("workspace: {} at {}", repository.name(), &commit[..12]));
        Ok(Some(Checkout { repository, commit }))
    }

    /// Puts the empty output file beside the workspace, which is done where it is none to clone.
    pub(super) fn begin_workspace(
        &self,
        attempt: &Attempt,
        directory: &Directory,
    ) -> Done<Option<Repository>> {
        directory.create_output().context("creating JOBSHOP_OUTPUT")?;
        match &attempt.workspace {
            Workspace::Clone { repo, .. } => {
                self.repositories.locate(repo, attempt.file_dir.as_deref()).map(Some)
            }
            Workspace::Empty => {
                directory.create_workspace().context("creating the workspace")?;
                Ok(None)
            }
        }
    }

    pub(super) fn environment(
        &self,
        attempt: &Attempt,
        directory: &Directory,
    ) -> Done<Environment> {
        let own = |name: &str| std::env::var(name).ok();
        let (workspace, output) = (directory.workspace(), directory.output());
        let mut env = environment::of(attempt, &workspace, &output, &self.config.pass_env, own)?;
        self.confine(attempt, directory, &directory.room(), &mut env)?;
        Ok(env)
    }
}

/// A script goes into a file beside the workspace, so that its length is not limited to that of an
/// argument and bash names its lines.
fn argv(command: &Command, directory: &Directory) -> Done<Vec<String>> {
    match command {
        Command::Argv(argv) if argv.is_empty() => Err(Halt::error("the command is empty")),
        Command::Argv(argv) => Ok(argv.clone()),
        Command::Script(script) => {
            directory.write("script", script).context("writing the script")?;
            Ok(["bash", "-euo", "pipefail", "../script"].map(String::from).into())
        }
    }
}
