//! `jobshop session retry` and `fork`: running parts of a session again, in it or in a new one.

use std::path::Path;

use clap::{Args, ValueEnum};
use jobshop_engine::workflow::input_from_text;
use serde_json::{Map, Value, json};

use super::SessionName;
use super::control::{Act, Why, tell};
use crate::app::App;
use crate::client::Client;
use crate::client::objects::Session;
use crate::commands::request::{compile, pair, read_text};
use crate::commands::{follow, workflow};
use crate::exit::{Exit, Failure};
use crate::progress::{Strict, Until};

#[derive(Debug, Args)]
pub(in crate::commands) struct Retry {
    #[command(flatten)]
    name: SessionName,
    /// Run this task and all that need it again; may be repeated
    #[arg(long, value_name = "TASK")]
    from: Vec<String>,
    /// Of the fan-outs that run again, only these items
    #[arg(long, value_enum)]
    items: Option<Items>,
    /// Another value of an input: text for string inputs, JSON for the others
    #[arg(short = 'i', long = "input", value_name = "NAME=VALUE", value_parser = pair)]
    inputs: Vec<(String, String)>,
    /// Take the task as completed with these outputs, a JSON object
    #[arg(long, value_name = "TASK=@FILE", value_parser = pair)]
    set_output: Vec<(String, String)>,
    /// Leave this task out; what needs it goes on as if it had run
    #[arg(long, value_name = "TASK")]
    skip: Vec<String>,
    #[command(flatten)]
    why: Why,
    /// Follow the session to its end
    #[arg(long)]
    watch: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Items {
    Failed,
}

#[derive(Debug, Args)]
pub(in crate::commands) struct Fork {
    #[command(flatten)]
    name: SessionName,
    /// Where the new session differs: this task and all that need it run again
    #[arg(long, value_name = "TASK", required_unless_present = "checkpoint")]
    at: Option<String>,
    /// The task that made this checkpoint goes on from there
    #[arg(long, value_name = "NUMBER", conflicts_with = "at")]
    checkpoint: Option<i32>,
    /// Another value of an input: text for string inputs, JSON for the others
    #[arg(short = 'i', long = "input", value_name = "NAME=VALUE", value_parser = pair)]
    inputs: Vec<(String, String)>,
    /// How the new session is called in lists
    #[arg(long)]
    title: Option<String>,
    #[command(flatten)]
    why: Why,
    /// Follow the new session to its end
    #[arg(long)]
    watch: bool,
}

#[derive(Debug, Args)]
pub(in crate::commands) struct Restore {
    #[command(flatten)]
    act: Act,
    /// The task that made this checkpoint runs again from there, and so does all that needs it
    #[arg(long, value_name = "NUMBER")]
    checkpoint: Option<i32>,
}

impl Restore {
    pub(super) async fn execute(self, app: &App) -> Result<Exit, Failure> {
        let Some(number) = self.checkpoint else { return self.act.restore(app).await };
        let body = Map::from_iter([("checkpoint".to_owned(), json!(number))]);
        self.act.post(app, "retry", body).await
    }
}

impl Retry {
    pub(super) async fn execute(self, app: &App) -> Result<Exit, Failure> {
        let client = app.client()?;
        let (_, session) = self.name.find(&client).await?;
        let mut body = Map::new();
        if !self.from.is_empty() {
            body.insert("from".to_owned(), json!(self.from));
        }
        if let Some(Items::Failed) = self.items {
            body.insert("items".to_owned(), json!("failed"));
        }
        if !self.skip.is_empty() {
            body.insert("skip".to_owned(), json!(self.skip));
        }
        let mut outputs = Map::new();
        for (task, given) in &self.set_output {
            outputs.insert(task.clone(), output(task, given)?);
        }
        if !outputs.is_empty() {
            body.insert("set_output".to_owned(), Value::Object(outputs));
        }
        add_inputs(&client, &session, &self.inputs, &mut body).await?;
        self.why.add_to(&mut body);
        let path = ["sessions", &session.id, "retry"];
        let retried = client.post(&path, &Value::Object(body), None).await?;
        if self.watch {
            return follow::to_end(app, &client, &retried, (Strict::No, Until::End)).await;
        }
        tell(app, &retried)?;
        Ok(Exit::Done)
    }
}

impl Fork {
    pub(super) async fn execute(self, app: &App) -> Result<Exit, Failure> {
        let client = app.client()?;
        let (_, session) = self.name.find(&client).await?;
        let mut body = Map::new();
        body.extend(self.at.map(|at| ("at".to_owned(), json!(at))));
        body.extend(self.checkpoint.map(|number| ("checkpoint".to_owned(), json!(number))));
        body.extend(self.title.map(|title| ("title".to_owned(), json!(title))));
        add_inputs(&client, &session, &self.inputs, &mut body).await?;
        self.why.add_to(&mut body);
        let path = ["sessions", &session.id, "fork"];
        let forked = client.post(&path, &Value::Object(body), None).await?;
        if self.watch {
            return follow::to_end(app, &client, &forked, (Strict::No, Until::End)).await;
        }
        tell(app, &forked)?;
        Ok(Exit::Done)
    }
}

/// `@FILE`, or the JSON itself.
fn output(task: &str, given: &str) -> Result<Value, Failure> {
    let text = match given.strip_prefix('@') {
        Some(file) => read_text(Path::new(file))?,
        None => given.to_owned(),
    };
    serde_json::from_str(&text)
        .map_err(|error| Failure::usage(format!("the outputs of `{task}` are not JSON: {error}")))
}

/// Inputs are read as the session's workflow says.
async fn add_inputs(
    client: &Client,
    session: &Session,
    given: &[(String, String)],
    body: &mut Map<String, Value>,
) -> Result<(), Failure> {
    let Some(version) = session.workflow.as_ref().filter(|_| !given.is_empty()) else {
        return Ok(());
    };
    let name = format!("{}@{}", version.name, version.version);
    let object = workflow::find(client, &name).await?;
    let plan = compile(&name, object["definition"].as_str().unwrap_or_default())?;
    let mut inputs = Map::new();
    for (name, text) in given {
        let value = input_from_text(&plan, name, text).map_err(Failure::usage)?;
        inputs.insert(name.clone(), value);
    }
    body.insert("inputs".to_owned(), Value::Object(inputs));
    Ok(())
}
