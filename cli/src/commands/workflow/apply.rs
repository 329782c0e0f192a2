//! `jobshop workflow apply`: files and folders of definitions, all of them or none.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use crate::app::App;
use crate::client::Client;
use crate::commands::request::read_text;
use crate::commands::validate::Checked;
use crate::exit::{Exit, Failure};
use crate::output::{plain, printable};

#[derive(Debug, Args)]
pub(in crate::commands) struct Apply {
    /// Workflow files, or folders: every .yaml and .yml in them; - is standard input
    #[arg(required = true, value_name = "FILE|FOLDER")]
    paths: Vec<PathBuf>,
    /// Retire every other registered workflow: its name starts no session any more
    #[arg(long)]
    prune: bool,
    /// Show what would be done, refuse what would be refused, change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Apply {
    pub(super) async fn execute(self, app: &App, client: &Client) -> Result<Exit, Failure> {
        let mut files = Vec::new();
        for path in &self.paths {
            files.extend(definitions(path)?);
        }
        if files.iter().any(|file| !file.problems.is_empty()) {
            return refuse(app, &files);
        }
        let definitions: Vec<Value> = files
            .iter()
            .map(|file| json!({ "file": file.name, "definition": file.yaml }))
            .collect();
        let body =
            json!({ "definitions": definitions, "prune": self.prune, "dry_run": self.dry_run });
        let applied = client.put(&["workflows"], &body).await?;
        let changes = applied["changes"].as_array().map(Vec::as_slice).unwrap_or_default();
        if !app.output.is_json() {
            for change in changes {
                app.output.line(&told(change, self.dry_run))?;
            }
            return Ok(Exit::Done);
        }
        let is_plain = !self.prune && !self.dry_run && self.paths.len() == 1;
        match changes {
            // One file is answered with the one workflow.
            [change] if is_plain && !self.paths[0].is_dir() => {
                app.output.json(&with_version(client, change).await?)?;
            }
            _ => app.output.json(&applied)?,
        }
        Ok(Exit::Done)
    }
}

/// The files that a path stands for, checked.
fn definitions(path: &Path) -> Result<Vec<Checked>, Failure> {
    if !path.is_dir() {
        return Ok(vec![Checked::of(path.display().to_string(), read_text(path)?)]);
    }
    let unreadable =
        |error| Failure::usage(format!("cannot read the folder {}: {error}", path.display()));
    let mut files = Vec::new();
    for entry in path.read_dir().map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        let is_hidden =
            file.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let is_yaml =
            file.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        if is_yaml && !is_hidden && file.is_file() {
            files.push(file);
        }
    }
    if files.is_empty() {
        let message = format!("there are no workflow files in {}", path.display());
        return Err(Failure::usage(message).hint("their names end in .yaml or .yml"));
    }
    files.sort();
    Ok(files.iter().map(|file| Checked::read(file)).collect())
}

/// Tells every problem of every file; nothing is sent.
fn refuse(app: &App, files: &[Checked]) -> Result<Exit, Failure> {
    if app.output.is_json() {
        app.output.json(&files.iter().flat_map(Checked::objects).collect())?;
        return Ok(Exit::Usage);
    }
    let broken: Vec<&Checked> = files.iter().filter(|file| !file.problems.is_empty()).collect();
    let told: Vec<String> = broken.iter().map(|file| file.text()).collect();
    let names: Vec<&str> = broken.iter().map(|file| file.name.as_str()).collect();
    let what = if names.len() == 1 { "is no valid workflow" } else { "are no valid workflows" };
    let message = format!("{} {what}; nothing is applied\n{}", names.join(", "), told.join("\n"));
    Err(Failure::usage(message))
}

/// The version that is applied now, and how it came to be.
async fn with_version(client: &Client, change: &Value) -> Result<Value, Failure> {
    let name = change["name"].as_str().unwrap_or_default();
    let number = change["version"].to_string();
    let mut version = client.get(&["workflows", name, "versions", &number], &[]).await?;
    if let (Value::Object(version), Value::Object(change)) = (&mut version, change) {
        for (key, value) in change {
            version.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    Ok(version)
}

/// A change as people read it, with the diff below.
fn told(change: &Value, is_dry: bool) -> String {
    let name = change["name"].as_str().unwrap_or_default();
    let version = &change["version"];
    let before = &change["before"];
    let be = if is_dry { "would be" } else { "is" };
    let mut text = match change["change"].as_str().unwrap_or_default() {
        "unchanged" => format!("= {name}@{version} is unchanged"),
        "retired" => format!("- {name}@{before} {be} retired"),
        "revived" => format!("+ {name}@{version} {be} applied again"),
        "new" => format!("+ {name}@{version} {be} applied, new"),
        _ => format!("~ {name}@{version} {be} applied over {name}@{before}"),
    };
    // What is new is its own file: there is nothing to compare it with.
    let diff = change["diff"].as_str().filter(|_| !change["before"].is_null());
    for line in diff.into_iter().flat_map(str::lines) {
        text.push_str("\n  ");
        text.push_str(printable(line).trim_end());
    }
    for warning in change["warnings"].as_array().into_iter().flatten() {
        text.push_str("\n  warning: ");
        text.push_str(&plain(warning.as_str().unwrap_or_default()));
    }
    text
}
