//! `jobshop validate`: every problem of workflow files, without a server.

use std::path::{Path, PathBuf};

use clap::Args;
use jobshop_engine::workflow::{self, Problem};
use serde_json::{Value, json};

use super::request::read_text;
use crate::app::App;
use crate::exit::{Exit, Failure};
use crate::output::printable;

#[derive(Debug, Args)]
pub(super) struct Validate {
    /// Workflow files; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl Validate {
    pub(super) fn execute(self, app: &App) -> Result<Exit, Failure> {
        let mut exit = Exit::Done;
        let mut listed: Vec<Value> = Vec::new();
        for file in self.files.iter().map(|file| Checked::read(file)) {
            if app.output.is_json() {
                listed.extend(file.objects());
            } else {
                app.output.line(&file.text())?;
            }
            if !file.problems.is_empty() {
                exit = Exit::Usage;
            }
        }
        if app.output.is_json() {
            app.output.json(&Value::Array(listed))?;
        }
        Ok(exit)
    }
}

/// A file and what is wrong with it.
pub(super) struct Checked {
    pub(super) name: String,
    pub(super) yaml: String,
    pub(super) problems: Vec<Problem>,
}

impl Checked {
    /// A file that cannot be read has that as its only problem.
    pub(super) fn read(file: &Path) -> Self {
        let name = file.display().to_string();
        match read_text(file) {
            Ok(yaml) => Self::of(name, yaml),
            Err(failure) => {
                let problem = Problem { line: 1, column: 1, message: failure.message, hint: None };
                Self { name, yaml: String::new(), problems: vec![problem] }
            }
        }
    }

    pub(super) fn of(name: String, yaml: String) -> Self {
        let problems = workflow::compile(&yaml).err().unwrap_or_default();
        Self { name, yaml, problems }
    }

    /// The problems as `--json` prints them.
    pub(super) fn objects(&self) -> impl Iterator<Item = Value> {
        self.problems.iter().map(|problem| self.object(problem))
    }

    fn object(&self, problem: &Problem) -> Value {
        json!({
            "file": self.name,
            "line": problem.line,
            "column": problem.column,
            "message": problem.message,
            "hint": problem.hint,
        })
    }

    pub(super) fn text(&self) -> String {
        if self.problems.is_empty() {
            return format!("{}: ok", self.name);
        }
        let told = self.problems.iter().map(|problem| problem.render(&self.name, &self.yaml));
        printable(told.collect::<Vec<_>>().join("\n").trim_end())
    }
}
