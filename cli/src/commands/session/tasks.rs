//! `jobshop session tasks`: the tasks of a session, groups and items included.

use chrono::Utc;
use clap::Args;
use serde_json::Value;

use super::SessionName;
use crate::app::App;
use crate::client::objects::{self, Task};
use crate::exit::{Exit, Failure};
use crate::table::{Rows, Text, elapsed};

#[derive(Debug, Args)]
pub(in crate::commands) struct Tasks {
    #[command(flatten)]
    name: SessionName,
    /// At most so many; without it all
    #[arg(long)]
    limit: Option<u32>,
}

impl Tasks {
    pub(super) async fn execute(self, app: &App) -> Result<Exit, Failure> {
        let client = app.client()?;
        let id = self.name.resolve(&client).await?;
        let tasks = client.list(&["sessions", &id, "tasks"], &[], self.limit).await?;
        if app.output.is_json() {
            app.output.json(&Value::Array(tasks))?;
            return Ok(Exit::Done);
        }
        let columns = ["task", "kind", "status", "attempts", "time", "why"];
        let mut rows = Rows::new(app.output, &columns);
        let now = Utc::now();
        for task in &tasks {
            let task: Task = objects::read(task)?;
            rows.push([
                Text::Plain(&task.key),
                Text::Plain(&task.kind),
                Text::Status(task.status.as_str()),
                Text::Owned(attempts(&task)),
                Text::Owned(elapsed(task.started_at, task.finished_at, now)),
                Text::Owned(task.why()),
            ]);
        }
        app.output.line(&rows.render())?;
        Ok(Exit::Done)
    }
}

fn attempts(task: &Task) -> String {
    match (task.attempt, task.max_attempts) {
        (0, _) => String::new(),
        (attempt, Some(max)) if max > 1 => format!("{attempt} (of {max})"),
        (attempt, _) => attempt.to_string(),
    }
}
