//! `jobshop artifact`: the files that tasks left.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use jobshop_engine::store::objects::hex;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::app::App;
use crate::client::{Client, objects};
use crate::exit::{Exit, Failure};
use crate::table::{Rows, Text};

#[derive(Debug, Subcommand)]
pub(super) enum ArtifactCommand {
    /// List the files that the tasks of a session, or one task, left
    List(List),
    /// Write a file that a task left to standard output or a file
    Get(Get),
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// An id or its last characters (6 or more), @latest, or @latest:WORKFLOW
    session: String,
    /// Only of this task
    task: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Get {
    /// An id or its last characters (6 or more), @latest, or @latest:WORKFLOW
    session: String,
    /// The path of the file in the workspace of its task
    path: String,
    /// The task that left it, where several left a file with this path
    #[arg(long)]
    task: Option<String>,
    /// Write to this file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct Shown {
    task: String,
    attempt: i64,
    path: String,
    bytes: u64,
    sha256: String,
}

impl ArtifactCommand {
    pub(super) async fn execute(self, app: &App) -> Result<Exit, Failure> {
        match self {
            Self::List(command) => command.execute(app).await,
            Self::Get(command) => command.execute(app).await,
        }
    }
}

async fn resolve(client: &Client, session: &str) -> Result<String, Failure> {
    let session: objects::Session = objects::read(&client.session(session).await?)?;
    Ok(session.id)
}

impl List {
    async fn execute(self, app: &App) -> Result<Exit, Failure> {
        let client = app.client()?;
        let id = resolve(&client, &self.session).await?;
        let only: Vec<(&str, &str)> =
            self.task.iter().map(|task| ("task", task.as_str())).collect();
        let artifacts = client.list(&["sessions", &id, "artifacts"], &only, None).await?;
        if app.output.is_json() {
            app.output.json(&Value::Array(artifacts))?;
            return Ok(Exit::Done);
        }
        if artifacts.is_empty() {
            app.output.note("nothing was kept: no task here has `artifacts`, or none ended so far");
            return Ok(Exit::Done);
        }
        let columns = ["task", "attempt", "path", "bytes", "sha256"];
        let mut rows = Rows::new(app.output, &columns);
        for object in &artifacts {
            let shown: Shown = objects::read(object)?;
            rows.push([
                Text::Owned(shown.task),
                Text::Owned(shown.attempt.to_string()),
                Text::Owned(shown.path),
                Text::Owned(shown.bytes.to_string()),
                Text::Owned(shown.sha256.chars().take(12).collect()),
            ]);
        }
        app.output.line(&rows.render())?;
        Ok(Exit::Done)
    }
}

impl Get {
    async fn execute(self, app: &App) -> Result<Exit, Failure> {
        if app.output.is_json() && self.output.is_none() {
            return Err(Failure::usage("with --json the file goes to a file of its own")
                .hint("add --output FILE"));
        }
        let client = app.client()?;
        let id = resolve(&client, &self.session).await?;
        let (object, artifact) = self.find(&client, &id).await?;
        let path = ["sessions", &id, "artifacts", &artifact.sha256];
        match &self.output {
            None => fetch(&client, &path, &artifact, &mut std::io::stdout().lock()).await?,
            Some(file) => save(&client, &path, &artifact, file).await?,
        }
        if app.output.is_json() {
            app.output.json(&object)?;
        }
        Ok(Exit::Done)
    }

    /// Of several attempts the last; several tasks have to be told apart.
    async fn find(&self, client: &Client, id: &str) -> Result<(Value, Shown), Failure> {
        let mut query = vec![("path", self.path.as_str())];
        query.extend(self.task.iter().map(|task| ("task", task.as_str())));
        let found = client.list(&["sessions", id, "artifacts"], &query, None).await?;
        let mut tasks: Vec<String> = Vec::new();
        let mut last = None;
        for object in found {
            let shown: Shown = objects::read(&object)?;
            if !tasks.contains(&shown.task) {
                tasks.push(shown.task.clone());
            }
            last = Some((object, shown));
        }
        if tasks.len() > 1 {
            return Err(Failure::new(
                Exit::Conflict,
                format!("several tasks left `{}`: {}", self.path, tasks.join(", ")),
            )
            .hint("say which: --task TASK"));
        }
        last.ok_or_else(|| {
            Failure::new(Exit::NotFound, format!("no task left a file `{}`", self.path))
                .hint(format!("jobshop artifact list {}", self.session))
        })
    }
}

/// Hands on what was kept and nothing else.
async fn fetch(
    client: &Client,
    path: &[&str],
    artifact: &Shown,
    to: &mut impl std::io::Write,
) -> Result<(), Failure> {
    let mut digest = Sha256::new();
    let take = |bytes: &[u8]| {
        digest.update(bytes);
        to.write_all(bytes)
    };
    client.download(path, &[], take).await?;
    if hex(&digest.finalize()) != artifact.sha256 {
        return Err(Failure::temporary(format!(
            "what came of `{}` is not what was kept: its SHA-256 is another",
            artifact.path
        )));
    }
    Ok(to.flush()?)
}

/// The file stands there once all of it came.
async fn save(
    client: &Client,
    path: &[&str],
    artifact: &Shown,
    file: &Path,
) -> Result<(), Failure> {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = file.with_file_name(name);
    let cannot =
        |error: std::io::Error| Failure::usage(format!("cannot write {}: {error}", file.display()));
    let mut target = std::fs::File::create(&part).map_err(cannot)?;
    let fetched = fetch(client, path, artifact, &mut target).await;
    if fetched.is_err() {
        let _ = std::fs::remove_file(&part);
        return fetched;
    }
    std::fs::rename(&part, file).map_err(cannot)
}
