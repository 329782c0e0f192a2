//! `jobshop graph`: the graph of a workflow file.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use jobshop_engine::plan::graph;

use super::request::{compile, read_text};
use crate::app::App;
use crate::exit::{Exit, Failure};

#[derive(Debug, Args)]
pub(super) struct Graph {
    /// A workflow file, or - for standard input
    file: PathBuf,
    #[arg(long, value_enum)]
    format: Option<Format>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Mermaid,
    Dot,
    Json,
}

impl Graph {
    pub(super) fn execute(self, app: &App) -> Result<Exit, Failure> {
        let plan = compile(&self.file.display().to_string(), &read_text(&self.file)?)?;
        let usual = if app.output.is_json() { Format::Json } else { Format::Mermaid };
        match self.format.unwrap_or(usual) {
            Format::Mermaid => app.output.line(graph::mermaid(&plan).trim_end())?,
            Format::Dot => app.output.line(graph::dot(&plan).trim_end())?,
            Format::Json => app.output.line(graph::json(&plan).trim_end())?,
        }
        Ok(Exit::Done)
    }
}
