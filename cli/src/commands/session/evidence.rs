//! `jobshop session evidence`: what workers themselves saw of the results of tasks.

use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use super::SessionName;
use crate::app::App;
use crate::client::objects;
use crate::exit::{Exit, Failure};
use crate::table::{Rows, Text};

#[derive(Debug, Args)]
pub(in crate::commands) struct Evidence {
    #[command(flatten)]
    name: SessionName,
    /// Only of this task
    task: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Shown {
    task: String,
    attempt: i64,
    round: i64,
    commit: Option<String>,
    status: String,
    commands: Vec<Checked>,
    changed: Vec<String>,
    agent: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Checked {
    command: String,
    exit_code: Option<i64>,
}

impl Evidence {
    pub(super) async fn execute(self, app: &App) -> Result<Exit, Failure> {
        let client = app.client()?;
        let id = self.name.resolve(&client).await?;
        let only: Vec<(&str, &str)> =
            self.task.iter().map(|task| ("task", task.as_str())).collect();
        let evidence = client.list(&["sessions", &id, "evidence"], &only, None).await?;
        if app.output.is_json() {
            app.output.json(&Value::Array(evidence))?;
            return Ok(Exit::Done);
        }
        if evidence.is_empty() {
            app.output.note("nothing was verified: no task here has `verify`, or none came so far");
            return Ok(Exit::Done);
        }
        let columns = ["task", "attempt", "commit", "status", "commands", "agent"];
        let mut rows = Rows::new(app.output, &columns);
        for object in &evidence {
            let shown: Shown = objects::read(object)?;
            rows.push([
                Text::Plain(&shown.task),
                Text::Owned(format!("{}.{}", shown.attempt, shown.round)),
                Text::Owned(shown.commit.as_deref().unwrap_or("-").chars().take(12).collect()),
                Text::Plain(&shown.status),
                Text::Owned(shown.said()),
                Text::Plain(shown.agent.as_deref().unwrap_or("-")),
            ]);
        }
        app.output.line(&rows.render())?;
        Ok(Exit::Done)
    }
}

impl Shown {
    /// How each command ended, and what it changed that it should not have.
    fn said(&self) -> String {
        let mut said: Vec<String> = self.commands.iter().map(Checked::said).collect();
        if !self.changed.is_empty() {
            said.push(format!("changed {}", self.changed.join(" ")));
        }
        said.join(", ")
    }
}

impl Checked {
    fn said(&self) -> String {
        const SHOWN: usize = 40;
        let line = self.command.lines().next().unwrap_or_default();
        let short: String = line.chars().take(SHOWN).collect();
        match self.exit_code {
            Some(0) => format!("{short}: ok"),
            Some(code) => format!("{short}: exit code {code}"),
            None => format!("{short}: killed"),
        }
    }
}
