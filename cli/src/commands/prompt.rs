//! `jobshop prompt`: one task of a coding agent as a session.

use std::path::Path;

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::host::run_to_end;
use super::request::{LabelArgs, read_text};
use crate::agents;
use crate::app::App;
use crate::exit::{Exit, Failure};
use crate::progress::Until;
use crate::words;

#[derive(Debug, Args)]
pub(super) struct Prompt {
    /// What the agent shall do; - reads it from standard input
    text: String,
    /// The repository that it works on a clone of
    #[arg(long, value_name = "PATH|URL")]
    repo: Option<String>,
    /// How the agent is run; opencode where it is installed and no command is given
    #[arg(long, value_enum)]
    runtime: Option<Runtime>,
    /// The model, for opencode PROVIDER/MODEL
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// The command line of the agent, which reads the prompt on its standard input; the setting
    /// `agent_command` when absent
    #[arg(long, value_name = "COMMAND")]
    command: Option<String>,
    /// A script that has to succeed in the agent's result
    #[arg(long, value_name = "SCRIPT")]
    verify: Option<String>,
    #[command(flatten)]
    label: LabelArgs,
    /// Count allowed failures as failures
    #[arg(long)]
    strict: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum Runtime {
    /// Any command line
    Command,
    /// The coding agent opencode
    Opencode,
    /// Any agent that speaks the Agent Client Protocol
    Acp,
}

impl Prompt {
    pub(super) async fn execute(self, app: &App) -> Result<Exit, Failure> {
        let usual = app.config.values.agent_command.as_deref();
        let body = self.body(usual, agents::opencode(app).is_some())?;
        run_to_end(app, &body, (self.strict.into(), Until::End)).await
    }

    fn body(&self, usual_command: Option<&str>, has_opencode: bool) -> Result<Value, Failure> {
        let text = if self.text == "-" { read_text(Path::new("-"))? } else { self.text.clone() };
        let runtime = self.runtime.unwrap_or_else(|| {
            let is_named = self.command.is_some() || !has_opencode;
            if is_named { Runtime::Command } else { Runtime::Opencode }
        });
        let command = match (runtime, &self.command, usual_command) {
            (Runtime::Opencode, Some(_), _) => {
                return Err(Failure::usage("--command does not go with the runtime opencode")
                    .hint("set OPENCODE_BIN to the program"));
            }
            (Runtime::Opencode | Runtime::Acp, None, _) => None,
            (_, Some(text), _) => Some(words::argv("--command", text)?),
            (Runtime::Command, None, Some(text)) => {
                Some(words::argv("JOBSHOP_AGENT_COMMAND", text)?)
            }
            (Runtime::Command, None, None) => {
                return Err(Failure::usage("no agent: there is neither --command nor JOBSHOP_AGENT_COMMAND")
                    .hint("set JOBSHOP_AGENT_COMMAND to a coding agent that reads its prompt on standard input, or install opencode with `make setup-agents`"));
            }
        };
        let mut body = Map::new();
        body.insert("prompt".into(), json!(text));
        body.insert("runtime".into(), json!(runtime));
        body.extend(command.map(|command| ("command".to_owned(), json!(command))));
        body.extend(self.model.as_ref().map(|model| ("model".to_owned(), json!(model))));
        // Relative paths start here.
        body.insert("file_dir".into(), json!(std::env::current_dir()?));
        body.extend(self.repo.as_ref().map(|repo| ("repo".to_owned(), json!(repo))));
        body.extend(self.verify.as_ref().map(|script| ("verify".to_owned(), json!(script))));
        self.label.add_to(&mut body);
        Ok(Value::Object(body))
    }
}
