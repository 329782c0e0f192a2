//! `jobshop session submit`, also `jobshop submit`: starts a session on the running server.

use std::path::Path;

use clap::Args;
use uuid::Uuid;

use crate::app::App;
use crate::client::objects::{self, Session, tail};
use crate::commands::follow;
use crate::commands::request::{RequestArgs, Source, read_text};
use crate::exit::{Exit, Failure};
use crate::output::plain;

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(in crate::commands) struct Submit {
    /// A workflow file, the NAME or NAME@VERSION of a registered workflow, or - for standard input
    #[arg(value_name = "FILE|NAME|-")]
    workflow: String,
    #[command(flatten)]
    request: RequestArgs,
    /// Submitting again with the same key answers with the same session
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Leave it pending until `jobshop session start`
    #[arg(long, conflicts_with = "watch")]
    no_start: bool,
    /// Follow the session to its end
    #[arg(long)]
    watch: bool,
    /// With --watch, count allowed failures as failures
    #[arg(long, requires = "watch")]
    strict: bool,
    /// Exit with 6 as soon as nothing goes on before a person decides or sends a signal
    #[arg(long, requires = "watch")]
    exit_on_wait: bool,
}

impl Submit {
    pub(in crate::commands) async fn execute(self, app: &App) -> Result<Exit, Failure> {
        let client = app.client()?;
        let source = source(&self.workflow)?;
        let mut body = self.request.body(&source, &source.plan(&client).await?)?;
        if self.no_start {
            body["start"] = false.into();
        }
        let key = self.idempotency_key.unwrap_or_else(|| Uuid::now_v7().to_string());
        let object = client.post(&["sessions"], &body, Some(&key)).await?;
        let ends = (self.strict.into(), self.exit_on_wait.into());
        if self.watch {
            return follow::to_end(app, &client, &object, ends).await;
        }
        if app.output.is_json() {
            app.output.json(&object)?;
            return Ok(Exit::Done);
        }
        let session: Session = objects::read(&object)?;
        app.output.line(&format!("{} {}", session.id, plain(&session.title)))?;
        app.output.note(&format!("  next: jobshop session watch {}", tail(&session.id)));
        Ok(Exit::Done)
    }
}

/// What the argument means: `-` and whatever looks like a path is YAML, everything else a name.
fn source(argument: &str) -> Result<Source, Failure> {
    let path = Path::new(argument);
    let is_yaml = path.extension().is_some_and(|it| it == "yaml" || it == "yml");
    if argument == "-" || is_yaml || argument.contains('/') || path.is_file() {
        let file = argument.to_owned();
        return Ok(Source::Definition { file, yaml: read_text(path)?, file_dir: None });
    }
    Ok(Source::Workflow(argument.to_owned()))
}
