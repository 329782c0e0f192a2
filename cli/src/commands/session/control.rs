//! `jobshop session cancel` and `retry`: what a person may do to a session.

use clap::Args;
use serde_json::{Value, json};

use super::SessionName;
use crate::app::App;
use crate::client::Client;
use crate::client::objects::{self, Session, tail};
use crate::commands::follow;
use crate::exit::{Exit, Failure};
use crate::output::plain;
use crate::progress::{Strict, Until};

#[derive(Debug, Args)]
pub(in crate::commands) struct Retry {
    #[command(flatten)]
    name: SessionName,
    /// Follow the session to its end
    #[arg(long)]
    watch: bool,
}

impl Retry {
    pub(super) async fn execute(self, app: &App) -> Result<Exit, Failure> {
        let client = app.client()?;
        let id = self.name.resolve(&client).await?;
        let session = act(&client, &id, "retry").await?;
        if self.watch {
            return follow::to_end(app, &client, &session, (Strict::No, Until::End)).await;
        }
        tell(app, &session)?;
        Ok(Exit::Done)
    }
}

/// Ends a session at once; its processes are gone within seconds.
pub(super) async fn cancel(app: &App, name: &SessionName) -> Result<Exit, Failure> {
    let client = app.client()?;
    let id = name.resolve(&client).await?;
    let session = act(&client, &id, "cancel").await?;
    tell(app, &session)?;
    Ok(Exit::Done)
}

/// The session after the act; asked for when the answer does not hold it.
async fn act(client: &Client, id: &str, verb: &str) -> Result<Value, Failure> {
    let answer = client.post(&["sessions", id, verb], &json!({}), None).await?;
    if answer.get("id").is_some() { Ok(answer) } else { client.session(id).await }
}

fn tell(app: &App, session: &Value) -> Result<(), Failure> {
    if app.output.is_json() {
        return app.output.json(session);
    }
    let session: Session = objects::read(session)?;
    let id = tail(&session.id);
    Ok(app.output.line(&format!("{id} {} is {}", plain(&session.title), session.status))?)
}
