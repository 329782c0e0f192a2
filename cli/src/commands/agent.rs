//! `jobshop agent`: who works for this installation.

use chrono::Utc;
use clap::Subcommand;
use serde_json::Value;

use crate::app::App;
use crate::client::objects::{self, Agent};
use crate::exit::{Exit, Failure};
use crate::table::{Rows, Text, span};

#[derive(Debug, Subcommand)]
pub(super) enum AgentCommand {
    /// List the agents, with what they offer and how busy they are
    List,
}

impl AgentCommand {
    pub(super) async fn execute(self, app: &App) -> Result<Exit, Failure> {
        let Self::List = self;
        let agents = app.client()?.list(&["agents"], &[], None).await?;
        if app.output.is_json() {
            app.output.json(&Value::Array(agents))?;
            return Ok(Exit::Done);
        }
        if agents.is_empty() {
            app.output.note("no agent is registered; `jobshop worker` starts one");
            return Ok(Exit::Done);
        }
        let columns = ["name", "type", "capabilities", "capacity", "host", "pid", "up"];
        let mut rows = Rows::new(app.output, &columns);
        let now = Utc::now();
        for agent in &agents {
            let agent: Agent = objects::read(agent)?;
            rows.push([
                Text::Plain(&agent.name),
                Text::Plain(&agent.kind),
                Text::Owned(agent.capabilities.join(" ")),
                Text::Owned(agent.capacity.to_string()),
                Text::Plain(&agent.host),
                Text::Owned(agent.pid.to_string()),
                Text::Owned(span(now - agent.started_at)),
            ]);
        }
        app.output.line(&rows.render())?;
        Ok(Exit::Done)
    }
}
