//! `jobshop schedule show`: one schedule, and what became of its last times.

use serde_json::Value;

use super::{ScheduleName, shown};
use crate::app::App;
use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::output::plain;
use crate::table::{Rows, Text};

/// How many of its last times are shown.
const FIRES: u32 = 10;

const FACTS: [&str; 20] = [
    "id",
    "status",
    "status_reason",
    "source",
    "cron",
    "timezone",
    "with",
    "overlap",
    "catch_up",
    "catch_up_window",
    "jitter",
    "pause_after",
    "max_runs",
    "start",
    "until",
    "next_fire",
    "last_fire",
    "runs",
    "created_by",
    "updated_by",
];

pub(super) async fn execute(
    app: &App,
    client: &Client,
    name: &ScheduleName,
) -> Result<Exit, Failure> {
    let schedule = client.get(&name.path(&[]), &[]).await?;
    if app.output.is_json() {
        app.output.json(&schedule)?;
        return Ok(Exit::Done);
    }
    for fact in FACTS {
        let text = match &schedule[fact] {
            Value::Null => continue,
            Value::String(text) => plain(text),
            other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                plain(&other.to_string())
            }
        };
        app.output.line(&format!("{fact:<16} {text}"))?;
    }
    let fires = client.list(&name.path(&["fires"]), &[], Some(FIRES)).await?;
    if !fires.is_empty() {
        let columns = ["fire_time", "kind", "status", "session_id", "created_by", "reason"];
        let mut rows = Rows::new(app.output, &columns);
        for fire in &fires {
            rows.push(columns.iter().map(|column| Text::Plain(shown(&fire[*column]))));
        }
        app.output.line(&format!("\n{}", rows.render()))?;
    }
    Ok(Exit::Done)
}
