//! `jobshop schedule create`: a schedule that is in no workflow file.

use chrono::{DateTime, Utc};
use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use super::{ScheduleName, tell};
use crate::app::App;
use crate::client::Client;
use crate::commands::request::{InputArgs, Source};
use crate::exit::{Exit, Failure};
use crate::moment;

#[derive(Debug, Args)]
pub(in crate::commands) struct Create {
    #[command(flatten)]
    name: ScheduleName,
    /// Minute, hour, day of month, month, day of week, as in "0 2 * * 1-5"
    #[arg(long, value_name = "CRON")]
    cron: String,
    /// The IANA zone of the cron
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    timezone: String,
    #[command(flatten)]
    inputs: InputArgs,
    /// What happens while a session of it has not ended
    #[arg(long, value_enum, default_value_t = Overlap::Skip)]
    overlap: Overlap,
    /// Which of the times that came while nothing ran are made up for
    #[arg(long, value_enum, default_value_t = CatchUp::Latest)]
    catch_up: CatchUp,
    /// For how long they are, as in 6h
    #[arg(long, value_name = "DURATION")]
    catch_up_window: Option<String>,
    /// Fire late by less than this, always by as much
    #[arg(long, value_name = "DURATION")]
    jitter: Option<String>,
    /// Pause after so many failures in a row
    #[arg(long, value_name = "N")]
    pause_after: Option<u32>,
    /// End after so many sessions
    #[arg(long, value_name = "N")]
    max_runs: Option<u32>,
    /// Fire at nothing before, as in 2026-01-31T00:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment::absolute)]
    start: Option<DateTime<Utc>>,
    /// Fire at nothing after
    #[arg(long, value_name = "TIME", value_parser = moment::absolute)]
    until: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Overlap {
    Allow,
    Skip,
    Queue,
    Cancel,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum CatchUp {
    None,
    Latest,
    All,
}

impl Create {
    pub(super) async fn execute(self, app: &App, client: &Client) -> Result<Exit, Failure> {
        let plan = Source::Workflow(self.name.id.0.clone()).plan(client).await?;
        let with = self.inputs.inputs(&plan)?;
        let word = |value: Option<clap::builder::PossibleValue>| {
            value.map(|value| value.get_name().to_owned())
        };
        let mut body = Map::new();
        for (key, value) in [
            ("id", json!(self.name.text())),
            ("cron", json!(self.cron)),
            ("timezone", json!(self.timezone)),
            ("with", Value::Object(with)),
            ("overlap", json!(word(self.overlap.to_possible_value()))),
            ("catch_up", json!(word(self.catch_up.to_possible_value()))),
            ("catch_up_window", json!(self.catch_up_window)),
            ("jitter", json!(self.jitter)),
            ("pause_after", json!(self.pause_after)),
            ("max_runs", json!(self.max_runs)),
            ("start", json!(self.start)),
            ("until", json!(self.until)),
        ] {
            if !value.is_null() {
                body.insert(key.to_owned(), value);
            }
        }
        let schedule = client.post(&["schedules"], &Value::Object(body), None).await?;
        tell(app, &schedule)
    }
}
