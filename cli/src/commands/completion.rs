//! `jobshop completion`: a completion script for a shell.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::CommandLine;
use crate::app::App;
use crate::exit::{Exit, Failure};

#[derive(Debug, Args)]
pub(super) struct Completion {
    shell: Shell,
}

impl Completion {
    pub(super) fn execute(self, app: &App) -> Result<Exit, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut CommandLine::command(), "jobshop", &mut script);
        app.output.bytes(&script)?;
        Ok(Exit::Done)
    }
}
