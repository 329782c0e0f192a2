//! `jobshop session conflicts`: what the tasks of a session made and cannot be merged.

use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use super::SessionName;
use crate::app::App;
use crate::client::objects;
use crate::exit::{Exit, Failure};
use crate::table::{Rows, Text};

#[derive(Debug, Args)]
pub(in crate::commands) struct Conflicts {
    #[command(flatten)]
    name: SessionName,
}

#[derive(Debug, Deserialize)]
struct Shown {
    task: String,
    with: Option<String>,
    branch: Option<String>,
    files: Vec<String>,
}

impl Conflicts {
    pub(super) async fn execute(self, app: &App) -> Result<Exit, Failure> {
        let client = app.client()?;
        let id = self.name.resolve(&client).await?;
        let conflicts = client.list(&["sessions", &id, "conflicts"], &[], None).await?;
        if app.output.is_json() {
            app.output.json(&Value::Array(conflicts))?;
            return Ok(Exit::Done);
        }
        if conflicts.is_empty() {
            app.output.note("what was made so far can be merged, as far as it is known");
            return Ok(Exit::Done);
        }
        let mut rows = Rows::new(app.output, &["task", "with", "files"]);
        for object in &conflicts {
            let shown: Shown = objects::read(object)?;
            let branch = || format!("branch {}", shown.branch.unwrap_or_default());
            rows.push([
                Text::Owned(shown.task),
                Text::Owned(shown.with.unwrap_or_else(branch)),
                Text::Owned(shown.files.join(", ")),
            ]);
        }
        app.output.line(&rows.render())?;
        Ok(Exit::Done)
    }
}
