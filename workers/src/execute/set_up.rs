//! What is executed in a workspace before the work begins there.

use anyhow::Context as _;
use jobshop_engine::{attempt::Attempt, plan::Command};

use super::{
    Inner,
    command::{Limits, Program},
    directory::Directory,
    environment::Environment,
    halt::{Done, Halt},
    log::LogWriter,
    verify::in_words,
};

impl Inner {
    /// Executes the set-up commands of a workspace, up to the first that fails.
    pub(super) async fn set_up(
        &self,
        attempt: &Attempt,
        directory: &Directory,
        env: &Environment,
        (limits, log): (&Limits, &LogWriter),
    ) -> Done<()> {
        let place = directory.workspace();
        for (number, command) in (1..).zip(&attempt.setup) {
            let argv = match command {
                Command::Argv(argv) => argv.clone(),
                Command::Script(script) => {
                    let file = directory.write(&format!("setup-{number}"), script);
                    let file = file.context("writing a set-up command")?.display().to_string();
                    ["bash", "-euo", "pipefail", &file].map(str::to_owned).into()
                }
            };
            let name = in_words(command);
            log.note(&format!("set-up: {name}"));
            let program = Program { argv: &argv, dir: &place, env, stdin: None };
            let exit = self.programs.execute(&program, limits, log).await?;
            if let Err(Halt::Failed(failure)) = exit.check() {
                let why = format!("the set-up command `{name}` failed: {}", failure.message);
                return Err(Halt::failed(failure.class, why));
            }
        }
        Ok(())
    }
}
