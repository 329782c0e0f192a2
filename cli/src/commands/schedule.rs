//! `jobshop schedule`: when sessions start by the clock.

mod create;
mod show;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use uuid::Uuid;

use super::request::InputArgs;
use crate::app::App;
use crate::client::Client;
use crate::client::objects::{self, Session, tail};
use crate::exit::{Exit, Failure};
use crate::moment;
use crate::output::plain;
use crate::table::{Rows, Text};

#[derive(Debug, Subcommand)]
pub(super) enum ScheduleCommand {
    /// List schedules
    List {
        /// Only those of this workflow
        #[arg(long, value_name = "NAME")]
        workflow: Option<String>,
    },
    /// Show a schedule and what became of its last times
    Show(ScheduleName),
    /// Make a schedule that is in no workflow file
    Create(create::Create),
    /// Keep a schedule from firing; what it started goes on
    Pause {
        #[command(flatten)]
        name: ScheduleName,
        /// Why
        #[arg(short = 'm', long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Let a schedule fire again, from now on
    Resume(ScheduleName),
    /// Start a session of a schedule now
    Trigger {
        #[command(flatten)]
        name: ScheduleName,
        #[command(flatten)]
        inputs: InputArgs,
        /// Triggering again with the same key answers with the same session
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<String>,
    },
    /// Make up for past times that nothing was decided for
    Backfill(Backfill),
    /// Preview when a schedule fires next
    Next(Next),
    /// Remove a schedule that was made by hand
    Delete(ScheduleName),
}

/// A schedule as it is named on the command line.
#[derive(Debug, Clone, Args)]
pub(super) struct ScheduleName {
    /// The workflow and the id of the schedule
    #[arg(value_name = "NAME/ID", value_parser = parts)]
    id: (String, String),
}

#[derive(Debug, Args)]
pub(super) struct Backfill {
    #[command(flatten)]
    name: ScheduleName,
    /// The first time that may be made up for, as in 2026-01-31T00:00:00Z, or so long ago (2d)
    #[arg(long, value_name = "TIME", value_parser = moment::past)]
    from: DateTime<Utc>,
    /// The last one
    #[arg(long, value_name = "TIME", value_parser = moment::past)]
    to: DateTime<Utc>,
}

#[derive(Debug, Args)]
pub(super) struct Next {
    #[command(flatten)]
    name: ScheduleName,
    /// How many times
    #[arg(short = 'n', value_name = "N", default_value_t = 10)]
    count: u32,
    /// Only times after this one, as in 2026-01-31T00:00:00Z; now without it
    #[arg(long, value_name = "TIME", value_parser = moment::absolute)]
    after: Option<DateTime<Utc>>,
}

impl ScheduleCommand {
    pub(super) async fn execute(self, app: &App) -> Result<Exit, Failure> {
        let client = app.client()?;
        match self {
            Self::List { workflow } => list(app, &client, workflow.as_deref()).await,
            Self::Show(name) => show::execute(app, &client, &name).await,
            Self::Create(command) => command.execute(app, &client).await,
            Self::Pause { name, reason } => {
                let body = json!({ "reason": reason });
                tell(app, &client.post(&name.path(&["pause"]), &body, None).await?)
            }
            Self::Resume(name) => {
                tell(app, &client.post(&name.path(&["resume"]), &json!({}), None).await?)
            }
            Self::Trigger { name, inputs, idempotency_key } => {
                trigger(app, &client, (&name, &inputs), idempotency_key).await
            }
            Self::Backfill(command) => command.execute(app, &client).await,
            Self::Next(command) => command.execute(app, &client).await,
            Self::Delete(name) => {
                client.delete(&name.path(&[])).await?;
                app.output.note(&format!("{} is deleted", name.text()));
                Ok(Exit::Done)
            }
        }
    }
}

impl ScheduleName {
    fn path<'n>(&'n self, rest: &[&'n str]) -> Vec<&'n str> {
        let mut path = vec!["schedules", &self.id.0, &self.id.1];
        path.extend(rest);
        path
    }

    fn text(&self) -> String {
        format!("{}/{}", self.id.0, self.id.1)
    }
}

fn parts(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((workflow, id)) if !workflow.is_empty() && !id.is_empty() && !id.contains('/') => {
            Ok((workflow.to_owned(), id.to_owned()))
        }
        _ => Err("write NAME/ID, as in ship-batch/nightly".to_owned()),
    }
}

/// A time of the server's, without fractions of a second.
fn shown(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

fn tell(app: &App, schedule: &Value) -> Result<Exit, Failure> {
    if app.output.is_json() {
        app.output.json(schedule)?;
        return Ok(Exit::Done);
    }
    let (id, status) = (shown(&schedule["id"]), shown(&schedule["status"]));
    let next = match schedule["next_fire"].as_str() {
        Some(next) => format!(", next at {next}"),
        None => String::new(),
    };
    app.output.line(&format!("{id} is {status}{next}"))?;
    Ok(Exit::Done)
}

async fn list(app: &App, client: &Client, workflow: Option<&str>) -> Result<Exit, Failure> {
    let query: Vec<(&str, &str)> = workflow.map(|name| ("workflow", name)).into_iter().collect();
    let schedules = client.list(&["schedules"], &query, None).await?;
    if app.output.is_json() {
        app.output.json(&Value::Array(schedules))?;
        return Ok(Exit::Done);
    }
    if schedules.is_empty() {
        app.output.note("no schedule; a workflow with `triggers: { schedule: […] }` brings them");
        return Ok(Exit::Done);
    }
    let columns = ["id", "status", "cron", "timezone", "next_fire", "last_fire", "runs", "open"];
    let mut rows = Rows::new(app.output, &columns);
    for schedule in &schedules {
        rows.push(columns.iter().map(|column| match &schedule[*column] {
            Value::String(text) => Text::Plain(text),
            Value::Number(number) => Text::Owned(number.to_string()),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => Text::Plain("-"),
        }));
    }
    app.output.line(&rows.render())?;
    Ok(Exit::Done)
}

async fn trigger(
    app: &App,
    client: &Client,
    (name, inputs): (&ScheduleName, &InputArgs),
    key: Option<String>,
) -> Result<Exit, Failure> {
    let plan = super::request::Source::Workflow(name.id.0.clone()).plan(client).await?;
    let body = json!({ "inputs": inputs.given(&plan)? });
    let key = key.unwrap_or_else(|| Uuid::now_v7().to_string());
    let object = client.post(&name.path(&["trigger"]), &body, Some(&key)).await?;
    if app.output.is_json() {
        app.output.json(&object)?;
        return Ok(Exit::Done);
    }
    let session: Session = objects::read(&object)?;
    app.output.line(&format!("{} {}", session.id, plain(&session.title)))?;
    app.output.note(&format!("  next: jobshop session watch {}", tail(&session.id)));
    Ok(Exit::Done)
}

impl Backfill {
    async fn execute(self, app: &App, client: &Client) -> Result<Exit, Failure> {
        let body = json!({ "from": self.from, "to": self.to });
        let mut done = client.post(&self.name.path(&["backfill"]), &body, None).await?;
        let times = done["items"].take();
        if app.output.is_json() {
            app.output.json(&times)?;
            return Ok(Exit::Done);
        }
        let times = times.as_array().map_or(&[][..], Vec::as_slice);
        if times.is_empty() {
            app.output.note("nothing to make up for: every time between these was decided");
            return Ok(Exit::Done);
        }
        let columns = ["fire_time", "status", "session_id"];
        let mut rows = Rows::new(app.output, &columns);
        for time in times {
            rows.push(columns.iter().map(|column| Text::Plain(shown(&time[*column]))));
        }
        app.output.line(&rows.render())?;
        Ok(Exit::Done)
    }
}

impl Next {
    async fn execute(self, app: &App, client: &Client) -> Result<Exit, Failure> {
        let count = self.count.to_string();
        let mut query = vec![("n", count.as_str())];
        let after = self.after.map(|after| after.to_rfc3339());
        query.extend(after.as_deref().map(|after| ("after", after)));
        let answer = client.get(&self.name.path(&["next"]), &query).await?;
        let times = answer["items"].as_array().map_or(&[][..], Vec::as_slice);
        if app.output.is_json() {
            let instants: Vec<Value> = times.iter().map(|time| time["at"].clone()).collect();
            app.output.json(&Value::Array(instants))?;
            return Ok(Exit::Done);
        }
        if times.is_empty() {
            app.output.note(&format!("{} fires no more", self.name.text()));
            return Ok(Exit::Done);
        }
        let mut rows = Rows::new(app.output, &["utc", "local"]);
        for time in times {
            rows.push([Text::Plain(shown(&time["at"])), Text::Plain(shown(&time["local"]))]);
        }
        app.output.line(&rows.render())?;
        Ok(Exit::Done)
    }
}
