//! `jobshop run`: a workflow file from its start to its end.

use std::path::{Path, PathBuf};

use clap::Args;

use super::host::run_to_end;
use super::request::{RequestArgs, Source, compile, read_text};
use crate::app::App;
use crate::exit::{Exit, Failure};

#[derive(Debug, Args)]
pub(super) struct Run {
    /// A workflow file, or - for standard input
    file: PathBuf,
    #[command(flatten)]
    request: RequestArgs,
    /// Count allowed failures as failures
    #[arg(long)]
    strict: bool,
    /// Exit with 6 as soon as nothing goes on before a person decides or sends a signal
    #[arg(long)]
    exit_on_wait: bool,
}

impl Run {
    pub(super) async fn execute(self, app: &App) -> Result<Exit, Failure> {
        let yaml = read_text(&self.file)?;
        let file = self.file.display().to_string();
        let plan = compile(&file, &yaml)?;
        let source = Source::Definition { file, yaml, file_dir: Some(folder_of(&self.file)?) };
        let body = self.request.body(&source, &plan)?;
        run_to_end(app, &body, (self.strict.into(), self.exit_on_wait.into())).await
    }
}

/// The folder of the file; the current one for standard input.
fn folder_of(file: &Path) -> Result<PathBuf, Failure> {
    if file == Path::new("-") {
        return Ok(std::env::current_dir()?);
    }
    let file = std::fs::canonicalize(file)?;
    Ok(file.parent().map_or_else(|| file.clone(), Path::to_owned))
}
