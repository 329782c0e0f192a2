//! `jobshop session diff`: what the tasks of a session changed in its repository.

use std::io::Write as _;

use clap::Args;
use serde::Deserialize;

use super::SessionName;
use crate::app::App;
use crate::client::objects;
use crate::exit::{Exit, Failure};
use crate::table::{Rows, Text};

#[derive(Debug, Args)]
pub(in crate::commands) struct Diff {
    #[command(flatten)]
    name: SessionName,
    /// Only of this task
    task: Option<String>,
    /// Only which files, and how many lines of each
    #[arg(long)]
    stat: bool,
}

#[derive(Debug, Deserialize)]
struct Shown {
    stat: Stat,
    changes: Vec<Change>,
}

#[derive(Debug, Deserialize)]
struct Stat {
    files: u64,
    insertions: u64,
    deletions: u64,
}

#[derive(Debug, Deserialize)]
struct Change {
    task: String,
    files: Vec<File>,
}

#[derive(Debug, Deserialize)]
struct File {
    path: String,
    status: String,
    insertions: Option<u64>,
    deletions: Option<u64>,
}

impl Diff {
    pub(super) async fn execute(self, app: &App) -> Result<Exit, Failure> {
        let client = app.client()?;
        let id = self.name.resolve(&client).await?;
        let query: Vec<(&str, &str)> =
            self.task.iter().map(|task| ("task", task.as_str())).collect();
        if !self.stat && !app.output.is_json() {
            let mut out = std::io::stdout().lock();
            let mut is_empty = true;
            let path = ["sessions", &id, "patch"];
            client
                .download(&path, &query, |bytes| {
                    is_empty = false;
                    out.write_all(bytes)
                })
                .await?;
            out.flush()?;
            if is_empty {
                app.output.note("nothing changed in a repository so far");
            }
            return Ok(Exit::Done);
        }
        let object = client.get(&["sessions", &id, "diff"], &query).await?;
        if app.output.is_json() {
            app.output.json(&object)?;
            return Ok(Exit::Done);
        }
        let shown: Shown = objects::read(&object)?;
        if shown.changes.is_empty() {
            app.output.note("nothing changed in a repository so far");
            return Ok(Exit::Done);
        }
        app.output.line(&shown.render(app))?;
        let Stat { files, insertions, deletions } = shown.stat;
        app.output.note(&format!("{files} file(s), +{insertions} -{deletions}"));
        Ok(Exit::Done)
    }
}

impl Shown {
    fn render(&self, app: &App) -> String {
        let mut rows = Rows::new(app.output, &["task", "file", "status", "+", "-"]);
        for change in &self.changes {
            for file in &change.files {
                // Of what is no text no lines are counted.
                let lines =
                    |count: Option<u64>| count.map_or_else(|| "-".to_owned(), |it| it.to_string());
                rows.push([
                    Text::Plain(&change.task),
                    Text::Plain(&file.path),
                    Text::Plain(&file.status),
                    Text::Owned(lines(file.insertions)),
                    Text::Owned(lines(file.deletions)),
                ]);
            }
        }
        rows.render()
    }
}
