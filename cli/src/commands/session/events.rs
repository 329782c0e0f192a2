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
        let (path, output) = (["sessions", &id, "events"], app.output);
        let mut pages = client.pages(&path, &query, self.limit);
        // A page at a time: there may be millions.
        let (mut is_empty, mut progress) = (true, Progress::default());
        while let Some(events) = pages.next().await? {
            if output.is_json() {
                output.json_array_part(&events, is_empty)?;
            } else if is_empty || !events.is_empty() {
                output.line(&table(app, &events, is_empty, &mut progress)?)?;
            }
            is_empty &= events.is_empty();
        }
        if output.is_json() {
            output.json_array_end(is_empty)?;
        }
        Ok(Exit::Done)
    }
}

fn table(
    app: &App,
    events: &[Value],
    is_first: bool,
    progress: &mut Progress,
) -> Result<String, Failure> {
    let columns = ["no", "at", "task", "event", ""];
    let mut rows =
        if is_first { Rows::new(app.output, &columns) } else { Rows::continued(app.output) };
    for event in events {
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
    Ok(rows.render())
}
