//! `jobshop workflow diff`: two definitions side by side. Two files need no server.

use std::path::Path;

use clap::Args;
use jobshop_engine::workflow::diff;
use serde_json::json;

use crate::app::App;
use crate::commands::request::read_text;
use crate::exit::{Exit, Failure};
use crate::output::printable;

#[derive(Debug, Args)]
pub(in crate::commands) struct Diff {
    /// A workflow file, - for standard input, or a registered workflow, NAME or NAME@VERSION
    a: String,
    /// What it is compared with, in the same way
    b: String,
}

impl Diff {
    pub(super) async fn execute(self, app: &App) -> Result<Exit, Failure> {
        let (a, b) = (definition(app, &self.a).await?, definition(app, &self.b).await?);
        let diff = diff::unified((&a.name, &a.text), (&b.name, &b.text));
        if app.output.is_json() {
            let object = json!({ "a": a.name, "b": b.name, "same": diff.is_empty(), "diff": diff });
            app.output.json(&object)?;
        } else if diff.is_empty() {
            app.output.note(&format!("{} and {} are the same", a.name, b.name));
        } else {
            app.output.line(printable(&diff).trim_end())?;
        }
        Ok(Exit::Done)
    }
}

struct Definition {
    name: String,
    text: String,
}

/// A file where there is one or the text can only be a path, else a registered workflow.
async fn definition(app: &App, from: &str) -> Result<Definition, Failure> {
    let path = Path::new(from);
    let is_path = from == "-" || from.contains(['/', '.']) || path.is_file();
    if is_path {
        return Ok(Definition { name: from.to_owned(), text: read_text(path)? });
    }
    let found = super::find(&app.client()?, from).await?;
    Ok(Definition {
        name: format!("{}@{}", found["name"].as_str().unwrap_or_default(), found["version"]),
        text: found["definition"].as_str().unwrap_or_default().to_owned(),
    })
}
