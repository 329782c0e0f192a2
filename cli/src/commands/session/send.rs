//! `jobshop session send` and `attach`: saying something to a running agent, once or for as long as
//! it works.

use std::path::Path;

use clap::Args;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::SessionName;
use super::logs;
use crate::app::App;
use crate::client::Client;
use crate::commands::request::read_text;
use crate::exit::{Exit, Failure};
use crate::output::plain;

#[derive(Debug, Args)]
pub(in crate::commands) struct Send {
    #[command(flatten)]
    name: SessionName,
    /// What the agent is told; - reads it from standard input
    text: String,
    /// The agent's task; not needed while one agent alone runs in the session
    #[arg(long, value_name = "TASK")]
    task: Option<String>,
}

#[derive(Debug, Args)]
pub(in crate::commands) struct Attach {
    #[command(flatten)]
    name: SessionName,
    /// The agent's task; not needed while one agent alone runs in the session
    task: Option<String>,
}

impl Send {
    pub(super) async fn execute(self, app: &App) -> Result<Exit, Failure> {
        let text = if self.text == "-" { read_text(Path::new("-"))? } else { self.text };
        let client = app.client()?;
        let id = self.name.resolve(&client).await?;
        let sent = say(&client, &id, self.task.as_deref(), &text).await?;
        if app.output.is_json() {
            app.output.json(&sent)?;
        } else {
            let task = plain(sent["task"].as_str().unwrap_or_default());
            app.output.line(&format!("the agent of {task} hears it after its step"))?;
        }
        Ok(Exit::Done)
    }
}

impl Attach {
    /// Shows what is said until the task or session ends; each line that is typed is a message.
    pub(super) async fn execute(self, app: &App) -> Result<Exit, Failure> {
        let client = app.client()?;
        let id = self.name.resolve(&client).await?;
        let shown = logs::follow(app, &client, &id, self.task.as_deref());
        tokio::pin!(shown);
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        let mut is_open = true;
        loop {
            tokio::select! {
                ended = &mut shown => return ended.map(|()| Exit::Done),
                line = lines.next_line(), if is_open => match line? {
                    Some(line) if line.trim().is_empty() => {}
                    Some(line) => {
                        if let Err(failure) = say(&client, &id, self.task.as_deref(), &line).await {
                            app.output.note(&format!("not sent: {}", failure.message));
                        }
                    }
                    None => is_open = false,
                },
            }
        }
    }
}

async fn say(client: &Client, id: &str, task: Option<&str>, text: &str) -> Result<Value, Failure> {
    let mut body = Map::from_iter([("text".to_owned(), json!(text))]);
    body.extend(task.map(|task| ("task".to_owned(), json!(task))));
    client.post(&["sessions", id, "messages"], &Value::Object(body), None).await
}
