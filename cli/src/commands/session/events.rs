//! `jobshop session events`: what happened in a session so far.

use clap::Args;
use serde_json::Value;

use super::SessionName;
use crate::app::App;
use crate::client::objects::{self, Event};
use crate::exit::{Exit, Failure};
use crate::progress::Progress;
use crate::table::{Rows, Text};

#[derive(Debug, Args)]
pub(in crate::commands) struct Events {
    #[command(flatten)]
    name: SessionName,
    /// Only events with higher numbers
    #[arg(long, value_name = "N")]
    after: Option<u32>,
    /// At most so many; without it all
    #[arg(long)]
    limit: Option<u32>,
}

impl Events {
    pub(super) async fn execute(self, app: &App) -> Result<Exit, Failure> {
        let client = app.client()?;
        let id = self.name.resolve(&client).await?;
        let after = self.after.map(|after| after.to_string());
        let query: Vec<_> = after.iter().map(|after| ("after", after.as_str())).collect();
        let events = client.list(&["sessions", &id, "events"], &query, self.limit).await?;
        if app.output.is_json() {
            app.output.json(&Value::Array(events))?;
            return Ok(Exit::Done);
        }
        let mut rows = Rows::new(app.output, &["no", "at", "task", "event", ""]);
        let mut progress = Progress::default();
        for event in &events {
            let event: Event = objects::read(event)?;
            let step = progress.apply(&event);
            rows.push([
                Text::Owned(event.seq.to_string()),
                Text::Owned(event.at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)),
                Text::Plain(event.task.as_deref().unwrap_or_default()),
                Text::Plain(&event.kind),
                Text::Owned(step.detail()),
            ]);
        }
        app.output.line(&rows.render())?;
        Ok(Exit::Done)
    }
}
