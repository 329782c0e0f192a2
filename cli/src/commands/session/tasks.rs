//! `jobshop session tasks`: the tasks of a session, groups and items included.

use chrono::Utc;
use clap::Args;
use jobshop_engine::task::TaskState;
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
    /// Only those with one of these statuses, separated by commas
    #[arg(long, value_name = "STATUS", value_delimiter = ',',
          value_parser = |text: &str| text.parse::<TaskState>())]
    status: Vec<TaskState>,
    /// At most so many; without it all
    #[arg(long)]
    limit: Option<u32>,
}

impl Tasks {
    pub(super) async fn execute(self, app: &App) -> Result<Exit, Failure> {
        let client = app.client()?;
        let id = self.name.resolve(&client).await?;
        let (path, output) = (["sessions", &id, "tasks"], app.output);
        let states: Vec<&str> = self.status.iter().map(|state| state.as_str()).collect();
        let states = states.join(",");
        let query: Vec<(&str, &str)> =
            (!states.is_empty()).then_some(("status", states.as_str())).into_iter().collect();
        let mut pages = client.pages(&path, &query, self.limit);
        // A page at a time: there may be a million.
        let mut is_empty = true;
        while let Some(tasks) = pages.next().await? {
            if output.is_json() {
                output.json_array_part(&tasks, is_empty)?;
            } else if is_empty || !tasks.is_empty() {
                output.line(&table(app, &tasks, is_empty)?)?;
            }
            is_empty &= tasks.is_empty();
        }
        if output.is_json() {
            output.json_array_end(is_empty)?;
        }
        Ok(Exit::Done)
    }
}

fn table(app: &App, tasks: &[Value], is_first: bool) -> Result<String, Failure> {
    let columns = ["task", "kind", "status", "attempts", "time", "why"];
    let mut rows =
        if is_first { Rows::new(app.output, &columns) } else { Rows::continued(app.output) };
    let now = Utc::now();
    for task in tasks {
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
    Ok(rows.render())
}

fn attempts(task: &Task) -> String {
    match (task.attempt, task.max_attempts) {
        (0, _) => String::new(),
        (attempt, Some(max)) if max > 1 => format!("{attempt} (of {max})"),
        (attempt, _) => attempt.to_string(),
    }
}
