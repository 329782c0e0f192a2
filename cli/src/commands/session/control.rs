//! What a person may do to a session or task that is under way: `jobshop session start`, `pause`,
//! `resume`, `stop`, `cancel`, `complete` and `fail`; and to one that has ended: `delete`, `restore`.

use clap::Args;
use serde_json::{Map, Value, json};

use super::SessionName;
use crate::app::App;
use crate::client::Client;
use crate::client::objects::{self, Session, tail};
use crate::exit::{Exit, Failure};
use crate::output::plain;

/// A session and why something is done to it.
#[derive(Debug, Args)]
pub(in crate::commands) struct Act {
    #[command(flatten)]
    name: SessionName,
    #[command(flatten)]
    why: Why,
}

/// A session or one of its tasks, and why something is done to it.
#[derive(Debug, Args)]
pub(in crate::commands) struct TaskAct {
    #[command(flatten)]
    act: Act,
    /// Only this task, or what is in this group
    #[arg(long, value_name = "TASK")]
    task: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Why {
    /// Why; recorded with your name
    #[arg(short = 'm', long = "reason", value_name = "TEXT")]
    reason: Option<String>,
}

impl Why {
    pub(super) fn add_to(self, body: &mut Map<String, Value>) {
        body.extend(self.reason.map(|reason| ("reason".to_owned(), json!(reason))));
    }
}

impl Act {
    /// Does what the verb says to the session.
    pub(super) async fn execute(self, app: &App, verb: &str) -> Result<Exit, Failure> {
        let client = app.client()?;
        let id = self.name.resolve(&client).await?;
        let session = act(&client, &id, verb, self.why).await?;
        tell(app, &session)?;
        Ok(Exit::Done)
    }

    /// The same with more to say.
    pub(super) async fn post(
        self,
        app: &App,
        verb: &str,
        mut body: Map<String, Value>,
    ) -> Result<Exit, Failure> {
        let client = app.client()?;
        let id = self.name.resolve(&client).await?;
        self.why.add_to(&mut body);
        let session = client.post(&["sessions", &id, verb], &Value::Object(body), None).await?;
        tell(app, &session)?;
        Ok(Exit::Done)
    }

    /// Hides a session that has ended.
    pub(super) async fn delete(self, app: &App) -> Result<Exit, Failure> {
        let client = app.client()?;
        let (object, session) = self.name.find(&client).await?;
        client.delete(&["sessions", &session.id]).await?;
        if app.output.is_json() {
            app.output.json(&object)?;
        } else {
            let id = tail(&session.id);
            app.output.line(&format!("{id} {} is deleted", plain(&session.title)))?;
            app.output.note(&format!("  undo: jobshop session restore {}", session.id));
        }
        Ok(Exit::Done)
    }

    /// Shows a deleted session again; only the server finds it.
    pub(super) async fn restore(self, app: &App) -> Result<Exit, Failure> {
        let client = app.client()?;
        let session = act(&client, self.name.given(), "restore", self.why).await?;
        tell(app, &session)?;
        Ok(Exit::Done)
    }
}

impl TaskAct {
    pub(super) async fn execute(self, app: &App, verb: &str) -> Result<Exit, Failure> {
        let Some(task) = self.task else { return self.act.execute(app, verb).await };
        let client = app.client()?;
        let id = self.act.name.resolve(&client).await?;
        let mut body = Map::new();
        self.act.why.add_to(&mut body);
        let path = ["sessions", &id, "tasks", &task, verb];
        let task = client.post(&path, &Value::Object(body), None).await?;
        if app.output.is_json() {
            app.output.json(&task)?;
        } else {
            let word = |name: &str| plain(task[name].as_str().unwrap_or_default());
            app.output.line(&format!("{} {} is {}", tail(&id), word("key"), word("status")))?;
        }
        Ok(Exit::Done)
    }
}

/// The session after the act.
async fn act(client: &Client, id: &str, verb: &str, why: Why) -> Result<Value, Failure> {
    let mut body = Map::new();
    why.add_to(&mut body);
    client.post(&["sessions", id, verb], &Value::Object(body), None).await
}

pub(super) fn tell(app: &App, session: &Value) -> Result<(), Failure> {
    if app.output.is_json() {
        return app.output.json(session);
    }
    let session: Session = objects::read(session)?;
    let id = tail(&session.id);
    Ok(app.output.line(&format!("{id} {} is {}", plain(&session.title), session.status))?)
}
