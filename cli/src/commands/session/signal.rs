//! `jobshop session signal`: tells a session what its tasks wait for.

use clap::Args;
use serde_json::{Value, json};
use uuid::Uuid;

use super::SessionName;
use crate::app::App;
use crate::exit::{Exit, Failure};
use crate::output::plain;

#[derive(Debug, Args)]
pub(in crate::commands) struct Signal {
    #[command(flatten)]
    session: SessionName,
    /// The name that tasks wait for
    name: String,
    /// What the task that takes it has as outputs: a JSON object
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = object)]
    data: Value,
    /// Sending again with the same key counts once
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

fn object(text: &str) -> Result<Value, String> {
    match serde_json::from_str(text) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err("write a JSON object: '{\"key\": \"value\"}'".to_owned()),
        Err(error) => Err(format!("not JSON: {error}")),
    }
}

impl Signal {
    pub(super) async fn execute(self, app: &App) -> Result<Exit, Failure> {
        let client = app.client()?;
        let id = self.session.resolve(&client).await?;
        let key = self.idempotency_key.unwrap_or_else(|| Uuid::now_v7().to_string());
        let body = json!({ "name": self.name, "data": self.data });
        let sent = client.post(&["sessions", &id, "signals"], &body, Some(&key)).await?;
        if app.output.is_json() {
            app.output.json(&sent)?;
            return Ok(Exit::Done);
        }
        let name = plain(&self.name);
        app.output.line(&match sent["task"].as_str() {
            Some(task) => format!("`{}` took the signal {name}", plain(task)),
            None => format!("the signal {name} is kept until a task waits for it"),
        })?;
        Ok(Exit::Done)
    }
}
