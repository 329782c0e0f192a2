//! `jobshop session checkpoints`: where the agents of a session can be taken up again.

use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use super::SessionName;
use crate::app::App;
use crate::client::objects;
use crate::exit::{Exit, Failure};
use crate::table::{Rows, Text};

#[derive(Debug, Args)]
pub(in crate::commands) struct Checkpoints {
    #[command(flatten)]
    name: SessionName,
    /// Only those of this task
    task: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Checkpoint {
    number: i64,
    task: String,
    attempt: i64,
    at: String,
    cause: String,
    commit: Option<String>,
    spend: Spend,
}

#[derive(Debug, Deserialize)]
struct Spend {
    steps: u64,
    cost_usd: f64,
}

impl Checkpoints {
    pub(super) async fn execute(self, app: &App) -> Result<Exit, Failure> {
        let client = app.client()?;
        let id = self.name.resolve(&client).await?;
        let query: Vec<_> = self.task.iter().map(|task| ("task", task.as_str())).collect();
        let answer = client.get(&["sessions", &id, "checkpoints"], &query).await?;
        let items = answer.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
        if app.output.is_json() {
            app.output.json(&Value::Array(items))?;
            return Ok(Exit::Done);
        }
        let columns = ["number", "task", "attempt", "at", "after", "commit", "steps", "usd"];
        let mut rows = Rows::new(app.output, &columns);
        for item in &items {
            let it: Checkpoint = objects::read(item)?;
            let commit = it.commit.as_deref().and_then(|commit| commit.get(..12)).unwrap_or("-");
            rows.push([
                Text::Plain(&it.number.to_string()),
                Text::Plain(&it.task),
                Text::Plain(&it.attempt.to_string()),
                Text::Plain(&it.at),
                Text::Plain(&it.cause),
                Text::Plain(commit),
                Text::Plain(&it.spend.steps.to_string()),
                Text::Plain(&format!("{:.4}", it.spend.cost_usd)),
            ]);
        }
        app.output.line(&rows.render())?;
        Ok(Exit::Done)
    }
}
