//! `run` tasks: a bash script or an argument vector in the workspace, and what it wrote.

use anyhow::Context as _;
use jobshop_engine::{
    attempt::{Attempt, Workspace},
    plan::Command,
};
use serde_json::Value;

use super::{
    Inner,
    command::{Limits, Program},
    directory::Directory,
    environment::{self, Environment},
    halt::{Done, Halt},
    log::LogWriter,
    output::{self, Outputs},
};

impl Inner {
    pub(super) async fn run(
        &self,
        command: &Command,
        attempt: &Attempt,
        directory: &Directory,
        limits: &Limits,
        log: &LogWriter,
    ) -> Done<Value> {
        self.prepare(attempt, directory, limits, log).await?;
        let env = self.environment(attempt, directory)?;
        let argv = argv(command, directory)?;
        let workspace = directory.workspace();
        let program = Program { argv: &argv, dir: &workspace, env: &env, stdin: None };
        let exit = self.programs.execute(&program, limits, log).await?;
        exit.check()?;
        let mut outputs = self.written(attempt, directory)?;
        outputs.insert("exit_code".to_owned(), exit.code().into());
        output::check_size(&outputs, self.config.output_bytes_max)?;
        Ok(Value::Object(outputs))
    }

    /// Fills the workspace, and puts the empty output file beside it.
    pub(super) async fn prepare(
        &self,
        attempt: &Attempt,
        directory: &Directory,
        _limits: &Limits,
        _log: &LogWriter,
    ) -> Done<()> {
        directory.create_output().context("creating JOBSHOP_OUTPUT")?;
        match &attempt.workspace {
            Workspace::Empty => {
                Ok(directory.create_workspace().context("creating the workspace")?)
            }
            Workspace::Clone { .. } => Err(Halt::error("clones are not there yet")),
        }
    }

    pub(super) fn environment(
        &self,
        attempt: &Attempt,
        directory: &Directory,
    ) -> Done<Environment> {
        environment::of(
            attempt,
            &directory.workspace(),
            &directory.output(),
            &self.config.pass_env,
            |name| std::env::var(name).ok(),
        )
    }

    /// What the commands of an attempt wrote, checked against its schema.
    pub(super) fn written(&self, attempt: &Attempt, directory: &Directory) -> Done<Outputs> {
        let outputs = output::read(&directory.output(), self.config.output_bytes_max)?;
        output::check_schema(&outputs, attempt.schema.as_ref())?;
        Ok(outputs)
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
