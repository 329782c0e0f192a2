//! `jobshop workflow`: the registered definitions.

mod apply;
mod diff;

use clap::Subcommand;
use serde_json::Value;

use crate::app::App;
use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::table::{Rows, Text};

#[derive(Debug, Subcommand)]
pub(super) enum WorkflowCommand {
    /// Register workflow files or all of a folder, together or not at all; shows what changes
    Apply(apply::Apply),
    /// Show what is different in two definitions
    Diff(diff::Diff),
    /// List the registered workflows
    List,
    /// Show a registered workflow
    Show {
        /// NAME or NAME@VERSION
        name: String,
    },
    /// List the versions of a registered workflow, newest first
    Versions { name: String },
}

impl WorkflowCommand {
    pub(super) async fn execute(self, app: &App) -> Result<Exit, Failure> {
        if let Self::Diff(command) = self {
            return command.execute(app).await;
        }
        let client = app.client()?;
        match self {
            Self::Apply(command) => command.execute(app, &client).await,
            Self::Diff(_) => Ok(Exit::Done),
            Self::Show { name } => {
                let workflow = find(&client, &name).await?;
                show(app, &workflow, |workflow| {
                    workflow["definition"].as_str().unwrap_or_default().trim_end().to_owned()
                })
            }
            Self::List => {
                let workflows = client.list(&["workflows"], &[], None).await?;
                list(app, workflows, &["name", "version", "description", "updated_at"])
            }
            Self::Versions { name } => {
                let versions = client.list(&["workflows", &name, "versions"], &[], None).await?;
                list(app, versions, &["name", "version", "created_at"])
            }
        }
    }
}

/// A workflow by NAME or NAME@VERSION, with its definition.
pub(super) async fn find(client: &Client, name: &str) -> Result<Value, Failure> {
    match name.split_once('@') {
        None => client.get(&["workflows", name], &[]).await,
        Some((_, version)) if version.parse::<i32>().is_err() => {
            Err(Failure::usage(format!("`{version}` is not the number of a version"))
                .hint("write NAME or NAME@VERSION, such as ship@2"))
        }
        Some((name, version)) => client.get(&["workflows", name, "versions", version], &[]).await,
    }
}

fn show(app: &App, object: &Value, text: impl Fn(&Value) -> String) -> Result<Exit, Failure> {
    if app.output.is_json() {
        app.output.json(object)?;
    } else {
        app.output.line(&text(object))?;
    }
    Ok(Exit::Done)
}

/// A column for each field that has a value of its own.
fn list(app: &App, objects: Vec<Value>, fields: &[&str]) -> Result<Exit, Failure> {
    if app.output.is_json() {
        app.output.json(&Value::Array(objects))?;
        return Ok(Exit::Done);
    }
    if objects.is_empty() {
        app.output.note("no workflow is registered; `jobshop workflow apply FILE` registers one");
        return Ok(Exit::Done);
    }
    let mut rows = Rows::new(app.output, fields);
    for object in &objects {
        rows.push(fields.iter().map(|field| match &object[*field] {
            Value::String(text) => Text::Plain(text),
            number @ (Value::Bool(_) | Value::Number(_)) => Text::Owned(number.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => Text::Plain(""),
        }));
    }
    app.output.line(&rows.render())?;
    Ok(Exit::Done)
}
