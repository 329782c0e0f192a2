//! `jobshop session why`: the exact reason that a session or task does not move.

use clap::Args;
use serde_json::Value;

use super::SessionName;
use crate::app::App;
use crate::exit::{Exit, Failure};
use crate::output::plain;

#[derive(Debug, Args)]
pub(in crate::commands) struct Why {
    #[command(flatten)]
    name: SessionName,
    /// The key of a task; without it the whole session
    task: Option<String>,
}

impl Why {
    pub(super) async fn execute(self, app: &App) -> Result<Exit, Failure> {
        let client = app.client()?;
        let id = self.name.resolve(&client).await?;
        let query: Vec<_> = self.task.iter().map(|task| ("task", task.as_str())).collect();
        let why = client.get(&["sessions", &id, "why"], &query).await?;
        if app.output.is_json() {
            app.output.json(&why)?;
            return Ok(Exit::Done);
        }
        for line in lines(&why) {
            app.output.line(&line)?;
        }
        Ok(Exit::Done)
    }
}

/// The status, then the reasons: the nearest first, then what that one waits for.
fn lines(why: &Value) -> Vec<String> {
    let text = |value: &Value| plain(value.as_str().unwrap_or_default());
    let what =
        why["task"].as_str().map_or_else(|| "the session".to_owned(), |key| format!("`{key}`"));
    let first = format!("{} is {}", plain(&what), text(&why["status"]));
    let reasons = why["reasons"].as_array().into_iter().flatten();
    let reasons = reasons.map(|reason| format!("  {}", text(&reason["message"])));
    [first].into_iter().chain(reasons).collect()
}
